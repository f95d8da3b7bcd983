//! Which routers can be used now.

use super::machine::{Action, Sessions};
use super::{Files, Wake};
use crate::agent::config::{Protection, Use, UserRouter};
use crate::smp::pool::{Backoff, UserId};
use crate::time::{Instant, Now};
use crate::wire::{ServerAddress, TransportHost, XftpScheme};

/// A router, as a user sees it.
pub(super) type RouterKey = (UserId, ServerAddress<XftpScheme>);

/// A router that has failed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Rest {
    backoff: Backoff,
    /// Until when it is left alone.
    pub(super) until: Option<Instant>,
}

/// Whether a router can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usable {
    Now,
    /// When something that it is asked for has ended.
    Soon,
    /// When it has been left alone for long enough.
    Later,
}

impl Files {
    pub(super) fn usable(&self, router: &RouterKey) -> Usable {
        let resting = self.rests.get(router);
        if resting.is_some_and(|rest| rest.until.is_some()) {
            return Usable::Later;
        }
        let asked = self.jobs.values().filter_map(|begun| begun.router.as_ref());
        match asked.filter(|asked| *asked == router).count() < self.config.per_router {
            true => Usable::Now,
            false => Usable::Soon,
        }
    }

    /// A router has failed for now.
    pub(super) fn rest(&mut self, now: Now, router: &RouterKey) {
        let rest = self.rests.entry(router.clone()).or_default();
        // Others of the same moment have failed with it.
        if rest.until.is_none() {
            let until = rest.backoff.next(now.instant, &self.config.retry);
            rest.until = Some(until);
            self.deadlines.insert((until, Wake::Router(router.clone())));
        }
    }

    /// A router has done what it was asked for.
    pub(super) fn rested(&mut self, router: &RouterKey) {
        if let Some(rest) = self.rests.remove(router)
            && let Some(until) = rest.until
        {
            self.deadlines
                .remove(&(until, Wake::Router(router.clone())));
        }
    }

    /// It has been left alone for long enough.
    pub(super) fn wake_router(&mut self, router: &RouterKey) {
        if let Some(rest) = self.rests.get_mut(router) {
            rest.until = None;
        }
    }

    /// Sessions are ended when nobody has needed them for a while.
    pub(super) fn watch_sessions(&mut self, now: Now) {
        let asked = self.jobs.values().any(|begun| begun.router.is_some());
        match (asked, self.sessions) {
            (true, Sessions::Used) | (false, Sessions::Idle(_) | Sessions::None) => {}
            (true, Sessions::None) => self.sessions = Sessions::Used,
            (true, Sessions::Idle(until)) => {
                self.deadlines.remove(&(until, Wake::Idle));
                self.sessions = Sessions::Used;
            }
            (false, Sessions::Used) => {
                let until = now.instant + self.config.idle;
                self.deadlines.insert((until, Wake::Idle));
                self.sessions = Sessions::Idle(until);
            }
        }
    }

    pub(super) fn disconnect(&mut self) {
        if let Sessions::Idle(until) = self.sessions {
            self.deadlines.remove(&(until, Wake::Idle));
        }
        if self.sessions != Sessions::None {
            self.sessions = Sessions::None;
            self.actions.push(Action::Disconnect);
        }
    }

    /// The network is another one: nothing is known of any router.
    pub(super) fn forget_rests(&mut self) {
        let rests = std::mem::take(&mut self.rests);
        for (router, rest) in rests {
            if let Some(until) = rest.until {
                self.deadlines.remove(&(until, Wake::Router(router)));
            }
        }
    }

    /// The routers that a user sends files to.
    pub(super) fn storing(&self, user: UserId) -> impl Iterator<Item = &UserRouter<XftpScheme>> {
        let routers = self.users.get(&user).into_iter().flatten();
        routers.filter(|router| router.roles.storage == Use::Yes)
    }

    /// Whether a router that a description names may learn where this machine is, or does not.
    pub(super) fn is_approved(&self, user: UserId, router: &ServerAddress<XftpScheme>) -> bool {
        let own = self.users.get(&user).into_iter().flatten();
        let protected = match self.config.protection {
            Protection::Socks => true,
            Protection::Onion => router.hosts().iter().any(|host| host.is_onion()),
            Protection::None => false,
        };
        protected
            || own
                .into_iter()
                .any(|known| leads_to(&known.address, router))
    }
}

/// Whether an address leads nowhere but to a router that is known: it may name it by other onion hosts, or by fewer hosts.
fn leads_to(known: &ServerAddress<XftpScheme>, router: &ServerAddress<XftpScheme>) -> bool {
    let is_known = |host: &TransportHost| host.is_onion() || known.hosts().contains(host);
    known.key_hash() == router.key_hash()
        && known.port() == router.port()
        && router.hosts().iter().all(is_known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_may_be_named_by_more_of_its_hosts_than_are_known_if_they_are_onions() {
        let key = "u2dS9sG8nMNURyZwqASV4yROM28Er0luVTx5X1CsMrU=";
        let address = |hosts: &str| -> ServerAddress<XftpScheme> {
            format!("xftp://{key}@{hosts}").parse().unwrap()
        };
        let onion = "vww4mc54qbw3lzhbq2jjv7kcbwrxzmzqlfpgxqlaeqchgedfqqxm5cqd.onion";
        let known = address("a.example");
        assert!(leads_to(&known, &address("a.example")));
        assert!(leads_to(&known, &address(&format!("a.example,{onion}"))));
        assert!(leads_to(&address(&format!("a.example,{onion}")), &known));
        assert!(!leads_to(&known, &address("a.example,b.example")));
        assert!(!leads_to(&known, &address("a.example:5223")));
        let other = "xftp://LcJUMfVhwD8yxjAiSaDzzGF3-kLG4Uh0Fl_ZIjrRwjI=@a.example";
        assert!(!leads_to(&known, &other.parse().unwrap()));
    }
}
