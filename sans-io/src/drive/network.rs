//! Dialling a target over any runtime.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::{Clock, Io};
use crate::socks::Target;
use crate::time::Instant;
use crate::wire::{TransportHost, is_public};

/// A runtime that dials and resolves names. Its futures leave nothing open when they are dropped before they are done.
pub trait Network {
    /// A stream to a peer.
    type Stream: Io;
    /// The time of this runtime.
    type Clock: Clock;

    /// A clock with a timer of its own. All clocks of one network share the origin of their time.
    fn clock(&self) -> Self::Clock;

    /// All addresses of a name, in the order in which they are to be tried.
    fn resolve(
        &self,
        name: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;

    /// Opens a stream, without delay of small writes and kept alive as [`KeepAlive::DIALLED`] says.
    fn dial(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// How the operating system asks a silent peer whether it is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// How long the peer may be silent before it is asked.
    pub idle: Duration,
    /// How long it may take to answer before it is asked again.
    pub interval: Duration,
    /// How often it is asked before it is given up.
    pub retries: u32,
}

impl KeepAlive {
    /// What streams that are dialled have.
    pub const DIALLED: Self = Self {
        idle: Duration::from_secs(30),
        interval: Duration::from_secs(15),
        retries: 4,
    };
}

/// Which addresses are dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// All.
    #[default]
    Anywhere,
    /// Only [public](is_public) ones, whatever a name is resolved to.
    Public,
}

/// Why no stream to a target could be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The domain name system must not hear of an onion name: only a proxy can reach it.
    #[error("{0} can be reached through a SOCKS proxy only")]
    Onion(TransportHost),
    /// Only public addresses are dialled, and it has none.
    #[error("{0} has no public address")]
    NotPublic(TransportHost),
    /// The name was not resolved.
    #[error("{name} was not resolved: {error}")]
    Resolve {
        /// What was asked for.
        name: TransportHost,
        /// What the resolver said.
        error: io::Error,
    },
    /// The name has no address.
    #[error("{0} has no address")]
    NoAddress(TransportHost),
    /// No address could be reached.
    #[error("{address} was not reached: {error}")]
    Unreachable {
        /// The one that was tried last.
        address: SocketAddr,
        /// What happened to it.
        error: io::Error,
    },
    /// It took too long.
    #[error("not connected in time")]
    TimedOut,
}

/// Opens a stream to a target: resolves its name, then tries all addresses in order.
///
/// It takes no longer than `within`. An address that does not answer takes no more than its share of the time, so that the next ones
/// have theirs. Onion names are refused; a target behind a proxy is reached by connecting to the
/// [proxy](crate::socks::Proxy::target) and putting [`Socks`](crate::socks::Socks) in front of the machine.
///
/// Cancel safety: a future that is dropped before it is done leaves nothing open.
pub async fn connect<N: Network>(
    network: &N,
    target: &Target,
    within: Duration,
) -> Result<N::Stream, ConnectError> {
    Reach::Anywhere.connect(network, target, within).await
}

impl Reach {
    /// The same, within this reach: no other address is dialled.
    pub async fn connect<N: Network>(
        self,
        network: &N,
        target: &Target,
        within: Duration,
    ) -> Result<N::Stream, ConnectError> {
        let mut clock = network.clock();
        let until = clock.now().instant + within;
        let mut addresses = timeout(&mut clock, until, addresses(network, target))
            .await
            .ok_or(ConnectError::TimedOut)??;
        if self == Self::Public {
            addresses.retain(|address| is_public(address.ip()));
            if addresses.is_empty() {
                return Err(ConnectError::NotPublic(target.host.clone()));
            }
        }
        let mut last = ConnectError::TimedOut;
        let mut remaining = addresses.len();
        for address in addresses {
            let now = clock.now().instant;
            let share = until - now;
            let share = share
                .checked_div(u32::try_from(remaining).unwrap_or(u32::MAX))
                .unwrap_or(share);
            remaining = remaining.saturating_sub(1);
            match timeout(&mut clock, now + share, network.dial(address)).await {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => last = ConnectError::Unreachable { address, error },
                None => last = ConnectError::TimedOut,
            }
        }
        Err(last)
    }
}

async fn addresses<N: Network>(
    network: &N,
    target: &Target,
) -> Result<Vec<SocketAddr>, ConnectError> {
    let Target { host, port } = target;
    if let Some(ip) = host.ip() {
        return Ok(vec![SocketAddr::new(ip, *port)]);
    }
    let name = host.to_string();
    if host.is_onion() || resembles_onion(&name) {
        return Err(ConnectError::Onion(host.clone()));
    }
    match network.resolve(&name, *port).await {
        Ok(addresses) if addresses.is_empty() => Err(ConnectError::NoAddress(host.clone())),
        Ok(addresses) => Ok(addresses),
        Err(error) => Err(ConnectError::Resolve {
            name: host.clone(),
            error,
        }),
    }
}

/// Whether a resolver would take it for an onion name, however it is written.
fn resembles_onion(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next();
    last.is_some_and(|label| label.eq_ignore_ascii_case("onion"))
}

/// The outcome of a future, or `None` if it is not there by `until`.
///
/// Cancel safety: as safe as `future`, which is dropped with it, or when the time is over.
pub async fn timeout<C: Clock, F: Future>(
    clock: &mut C,
    until: Instant,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => clock.poll_sleep(cx, until).map(|()| None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Duplex, Link, Settled, SimClock, Tasks, abandon, duplex};
    use std::future::pending;
    use std::io::IoSlice;
    use std::sync::{Arc, Mutex};
    use std::task::Context;

    const WITHIN: Duration = Duration::from_secs(30);

    #[test]
    fn addresses_are_tried_in_order_until_one_answers() {
        let (net, outcome, took) = run("two.example:1", WITHIN);
        assert!(outcome.is_ok());
        assert_eq!(net.dialled(), ["127.0.0.1:1", "127.0.0.3:1"]);
        assert_eq!(took, Duration::ZERO);
    }

    #[test]
    fn an_address_that_does_not_answer_takes_its_share_of_the_time() {
        let (net, outcome, took) = run("slow.example:1", WITHIN);
        assert!(outcome.is_ok());
        assert_eq!(net.dialled(), ["127.0.0.2:1", "127.0.0.1:1", "127.0.0.3:1"]);
        assert_eq!(took, WITHIN / 3);
    }

    #[test]
    fn the_limit_of_time_covers_everything() {
        let (_, outcome, took) = run("127.0.0.2:1", WITHIN);
        assert!(matches!(outcome, Err(ConnectError::TimedOut)));
        assert_eq!(took, WITHIN);
        let (_, outcome, took) = run("unresolved.example:1", WITHIN);
        assert!(matches!(outcome, Err(ConnectError::TimedOut)));
        assert_eq!(took, WITHIN);
    }

    #[test]
    fn every_failure_has_a_name() {
        let (_, outcome, _) = run("127.0.0.1:1", WITHIN);
        assert_eq!(
            outcome.err().map(|error| error.to_string()).as_deref(),
            Some("127.0.0.1:1 was not reached: connection refused")
        );
        let (_, outcome, _) = run("nothing.example:1", WITHIN);
        assert!(matches!(outcome, Err(ConnectError::NoAddress(_))));
        let (_, outcome, _) = run("unknown.example:1", WITHIN);
        assert!(matches!(outcome, Err(ConnectError::Resolve { .. })));
    }

    #[test]
    fn a_name_that_leads_to_neighbours_is_not_followed() {
        for target in ["two.example:1", "127.0.0.3:1", "[::1]:1"] {
            let (net, outcome, _) = run_within(target, Reach::Public, WITHIN);
            let refused = matches!(outcome, Err(ConnectError::NotPublic(_)));
            assert!(refused && net.dialled().is_empty(), "{target}");
        }
        let (net, outcome, _) = run_within("mixed.example:1", Reach::Public, WITHIN);
        assert!(outcome.is_ok());
        assert_eq!(net.dialled(), ["1.1.1.1:1"]);
    }

    #[test]
    fn onion_names_are_never_resolved() {
        for name in ["abc.onion:1", "abc.ONION:1", "abc.onion.:1", "onion:1"] {
            let (net, outcome, _) = run(name, WITHIN);
            assert!(matches!(outcome, Err(ConnectError::Onion(_))), "{name}");
            assert!(net.log.lock().unwrap().is_empty());
        }
    }

    #[test]
    fn a_dial_that_is_abandoned_leaves_nothing_open() {
        for polls in 0..5 {
            let mut tasks = Tasks::new(1);
            let net = Net::new(&tasks);
            let dialling = net.clone();
            let dialled = tasks.spawn(async move {
                let target = "slow.example:1".parse().unwrap();
                abandon(polls, connect(&dialling, &target, WITHIN)).await
            });
            assert_eq!(tasks.run(100), Settled::Idle);
            let stream = dialled.take().flatten();
            assert_eq!(stream.is_some(), polls >= 2);
            drop(stream);
            assert_eq!(Arc::strong_count(&net.open), 1);
        }
    }

    fn run(target: &str, within: Duration) -> (Net, Result<Stream, ConnectError>, Duration) {
        run_within(target, Reach::Anywhere, within)
    }

    fn run_within(
        target: &str,
        reach: Reach,
        within: Duration,
    ) -> (Net, Result<Stream, ConnectError>, Duration) {
        let mut tasks = Tasks::new(1);
        let (net, target) = (Net::new(&tasks), target.parse().unwrap());
        let dialling = net.clone();
        let outcome = tasks.spawn(async move { reach.connect(&dialling, &target, within).await });
        assert_eq!(tasks.run(100), Settled::Idle);
        let took = net.clock.now().instant - Instant::START;
        (net, outcome.take().unwrap(), took)
    }

    /// 127.0.0.1 refuses, 127.0.0.2 does not answer, 127.0.0.3 accepts.
    #[derive(Clone)]
    struct Net {
        clock: SimClock,
        log: Arc<Mutex<Vec<String>>>,
        open: Arc<()>,
    }

    struct Stream {
        inner: Duplex,
        _open: Arc<()>,
    }

    impl Net {
        fn new(tasks: &Tasks) -> Self {
            Self {
                clock: tasks.clock(),
                log: Arc::default(),
                open: Arc::default(),
            }
        }

        fn dialled(&self) -> Vec<String> {
            self.log.lock().unwrap().clone()
        }
    }

    impl Network for Net {
        type Stream = Stream;
        type Clock = SimClock;

        fn clock(&self) -> SimClock {
            self.clock.clone()
        }

        async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
            let hosts: &[u8] = match name {
                "two.example" => &[1, 3],
                "slow.example" => &[2, 1, 3],
                "nothing.example" => &[],
                "mixed.example" => {
                    let neighbour = ([127, 0, 0, 3], port).into();
                    return Ok(vec![neighbour, ([1, 1, 1, 1], port).into()]);
                }
                "unresolved.example" => pending().await,
                _ => return Err(io::ErrorKind::NotFound.into()),
            };
            Ok(hosts
                .iter()
                .map(|host| ([127, 0, 0, *host], port).into())
                .collect())
        }

        async fn dial(&self, address: SocketAddr) -> io::Result<Stream> {
            self.log.lock().unwrap().push(address.to_string());
            match address.ip().to_string().as_str() {
                "127.0.0.1" => Err(io::ErrorKind::ConnectionRefused.into()),
                "127.0.0.2" => {
                    let _open = self.open.clone();
                    pending().await
                }
                _ => Ok(Stream {
                    inner: duplex(&self.clock, Tasks::new(1).rng(), &Link::IDEAL, 1).0,
                    _open: self.open.clone(),
                }),
            }
        }
    }

    impl Io for Stream {
        fn poll_read(
            &mut self,
            cx: &mut Context<'_>,
            buffer: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            self.inner.poll_read(cx, buffer)
        }

        fn poll_write(
            &mut self,
            cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.inner.poll_write(cx, slices)
        }

        fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.inner.poll_flush(cx)
        }

        fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.inner.poll_close(cx)
        }
    }
}
