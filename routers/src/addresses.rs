//! How much one address may ask for: connections at a time, and connections in a minute. Nobody is limited unless the operator says so.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ini::{Ini, IniError};

/// The keys of [LIMITS].
pub(crate) const LIMITS: &[&str] = &["connections_per_address", "connections_per_minute"];

const MINUTE: Duration = Duration::from_secs(60);

/// What one address may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AddressLimits {
    /// Connections at a time.
    pub connections: Option<u32>,
    /// New connections in a minute.
    pub per_minute: Option<u32>,
}

impl AddressLimits {
    pub(crate) fn of(ini: &Ini) -> Result<Self, IniError> {
        Ok(Self {
            connections: ini.parse("LIMITS", "connections_per_address", "a number")?,
            per_minute: ini.parse("LIMITS", "connections_per_minute", "a number")?,
        })
    }
}

/// What addresses have, while there are limits.
///
/// An address is one of IPv4, or a network of IPv6 that one customer of a provider usually has (/64). Those of this machine are not
/// limited: what comes through an onion service or another proxy comes from there.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    limits: AddressLimits,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    of: HashMap<IpAddr, Usage>,
    /// When it was last looked for those who are gone.
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Usage {
    open: u32,
    /// The minute that is counted began then.
    since: Instant,
    came: u32,
}

/// A connection among those of its address, until it ends.
#[derive(Debug)]
pub(crate) struct Counted(Option<(Arc<Addresses>, IpAddr)>);

impl Addresses {
    pub(crate) fn new(limits: AddressLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            used: Mutex::default(),
        })
    }

    /// Takes a connection, unless its address has too many.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<Counted> {
        let AddressLimits {
            connections,
            per_minute,
        } = self.limits;
        let address = network(address);
        if (connections, per_minute) == (None, None) || address.is_loopback() {
            return Some(Counted(None));
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.sweep(now);
        let usage = used.of.entry(address).or_insert(Usage {
            open: 0,
            since: now,
            came: 0,
        });
        if now.duration_since(usage.since) >= MINUTE {
            (usage.since, usage.came) = (now, 0);
        }
        let too_many = connections.is_some_and(|limit| usage.open >= limit)
            || per_minute.is_some_and(|limit| usage.came >= limit);
        if too_many {
            return None;
        }
        usage.open = usage.open.saturating_add(1);
        usage.came = usage.came.saturating_add(1);
        Some(Counted(Some((Arc::clone(self), address))))
    }
}

impl Used {
    /// Forgets, once in a minute, who has nothing and has not come for a minute.
    fn sweep(&mut self, now: Instant) {
        let due = |since| now.duration_since(since) >= MINUTE;
        if self.swept.is_none_or(due) {
            self.swept = Some(now);
            self.of
                .retain(|_, usage| usage.open > 0 || !due(usage.since));
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some((addresses, address)) = &self.0 {
            let used = &addresses.used;
            let mut used = used.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(usage) = used.of.get_mut(address) {
                usage.open = usage.open.saturating_sub(1);
            }
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ (IpAddr::V4(_) | IpAddr::V6(_)) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(connections: Option<u32>, per_minute: Option<u32>) -> Arc<Addresses> {
        Addresses::new(AddressLimits {
            connections,
            per_minute,
        })
    }

    #[test]
    fn an_address_has_so_many_connections_at_a_time_and_others_have_theirs() {
        let (limited, now) = (addresses(Some(2), None), Instant::now());
        let admit = |address: &str| limited.admit(address.parse().unwrap(), now);
        let first = admit("192.0.2.1").unwrap();
        let _second = admit("::ffff:192.0.2.1").unwrap();
        assert!(admit("192.0.2.1").is_none());
        assert!(admit("192.0.2.2").is_some());
        drop(first);
        assert!(admit("192.0.2.1").is_some());
        // A customer's addresses are one.
        let _network = (admit("2001:db8::1").unwrap(), admit("2001:db8::2").unwrap());
        assert!(admit("2001:db8::3").is_none());
        assert!(admit("2001:db8:0:1::3").is_some());
        for _ in 0..3 {
            std::mem::forget(admit("127.0.0.1").unwrap());
            std::mem::forget(admit("::1").unwrap());
        }
    }

    #[test]
    fn an_address_makes_so_many_connections_in_a_minute_and_is_forgotten() {
        let (limited, start) = (addresses(None, Some(2)), Instant::now());
        let admit = |at| limited.admit("192.0.2.1".parse().unwrap(), at).is_some();
        assert!(admit(start) && admit(start) && !admit(start));
        assert!(admit(start + MINUTE));
        assert!(
            limited
                .admit("192.0.2.2".parse().unwrap(), start + MINUTE * 2)
                .is_some()
        );
        assert_eq!(limited.used.lock().unwrap().of.len(), 1);
    }

    #[test]
    fn nothing_is_kept_of_addresses_without_limits() {
        let free = addresses(None, None);
        let counted = free.admit("192.0.2.1".parse().unwrap(), Instant::now());
        assert!(counted.is_some() && free.used.lock().unwrap().of.is_empty());
    }
}
