//! A client's session with an SMP router, on any runtime.

use std::sync::Arc;
use std::time::Duration;

use super::answers::{Addressed, AnsweringMailbox, Answers};
use super::{
    Capacity, ConnectError, DriveError, Network, Owner, Policy, Reach, Receiver, Sender, drive,
    mailbox,
};
use crate::crypto::certificate::Fingerprint;
use crate::machine::CloseReason;
use crate::rng::Rng;
use crate::smp::client::{
    Call, Client, ClientError, Config, Event, Request, RequestError, RequestId, Response,
};
use crate::socks::{self, Route, Socks, Target};
use crate::tls::{self, ClientConfig, ClientOptions, ConfigError, Tls, TlsError};
use crate::wire::{Scheme as _, ServerAddress, SmpScheme};

/// The protocol of TLS's application layer.
const PROTOCOL: &str = "smp/1";

/// The port of browsers, and what they say there.
const WEB_PORT: u16 = 443;
const WEB_PROTOCOL: &str = "http/1.1";

/// A session with a router: asks it, and gets its answers.
///
/// Clones share the session. Dropping the last one ends it in an orderly way, after what was asked before is sent.
///
/// What the router says unasked, and the responses that come after their time-out, are [`Event`]s for the owner of the session, who
/// reads them all the time: while they wait unread, nothing else is read either.
#[derive(Debug, Clone)]
pub struct SmpClient {
    calls: Sender<Call>,
    answers: Answers<Result<Response, RequestError>>,
}

impl SmpClient {
    /// A session that [`drive`] is to run, with the events of its owner, and with what ties it to them.
    #[must_use]
    pub fn new(capacity: Capacity) -> (Self, Receiver<Event>, SmpMailbox) {
        let (calls, events, mailbox) = mailbox(capacity);
        let answers = Answers::new();
        let client = Self {
            calls,
            answers: answers.clone(),
        };
        let mailbox = AnsweringMailbox::new(mailbox.farewell(Call::Close), answers, address);
        (client, events, mailbox)
    }

    /// Asks for one thing.
    ///
    /// Requests wait until the session is established, and get [`RequestError::Disconnected`] when it ends. The client names them
    /// itself: the id that they come with does not matter.
    ///
    /// Cancel safety: a future that is dropped early has sent nothing; later, the command may be executed, and its response is discarded.
    /// Both leave the session as it is.
    pub async fn request(&self, request: Request) -> Result<Response, RequestError> {
        let mut responses = self.batch(vec![request]).await;
        responses.pop().unwrap_or(Err(RequestError::Disconnected))
    }

    /// Asks for many things, which share as few blocks as hold them; the responses are in the order of the requests.
    ///
    /// Cancel safety: as for [`request`](Self::request); nothing of a batch is sent, or all.
    pub async fn batch(&self, mut requests: Vec<Request>) -> Vec<Result<Response, RequestError>> {
        if requests.is_empty() {
            return Vec::new();
        }
        let count = requests.len();
        let awaited = self.answers.expect(count);
        for (request, number) in requests.iter_mut().zip(awaited.numbers()) {
            request.id = RequestId(number);
        }
        let mut responses = match self.calls.send(Call::Send(requests)).await {
            Ok(()) => awaited.await,
            Err(_) => Vec::new(),
        };
        responses.resize_with(count, || None);
        let disconnected = || Err(RequestError::Disconnected);
        responses
            .into_iter()
            .map(|response| response.unwrap_or_else(disconnected))
            .collect()
    }

    /// Connects to a router.
    ///
    /// Returns the client, the events of the session's owner, and the session itself, which runs while that future is polled and says why
    /// it has ended. The first event is [`Event::Established`], unless the handshake fails.
    ///
    /// Cancel safety: a future that is dropped before it is done leaves nothing open.
    pub async fn connect<N: Network>(
        network: &N,
        options: SmpOptions,
        mut rng: Rng,
    ) -> Result<(Self, Receiver<Event>, impl Future<Output = SmpEnd> + use<N>), SmpConnectError>
    {
        let (client, events, mailbox) = Self::new(options.capacity);
        let connection = open(network, options, &mut rng).await?.run(mailbox);
        Ok((client, events, connection))
    }
}

/// A session whose stream is open, and whose handshakes have yet to come.
pub(super) struct Opened<N: Network> {
    machine: Machine,
    stream: N::Stream,
    clock: N::Clock,
    policy: Policy,
}

/// A session, with everything below it.
type Machine = Socks<Tls<Client>>;

/// Opens the stream of a session with a router.
pub(super) async fn open<N: Network>(
    network: &N,
    options: SmpOptions,
    rng: &mut Rng,
) -> Result<Opened<N>, SmpConnectError> {
    let SmpOptions {
        route,
        reach,
        within,
        tls,
        session,
        policy,
        capacity: _,
    } = options;
    let clock = network.clock();
    let start = super::Clock::now(&clock);
    let stream = reach.connect(network, route.first(), within).await?;
    let now = super::Clock::now(&clock);
    let left = within.saturating_sub(now.instant - start.instant);
    let (of_tls, of_client) = (rng.fork(), rng.fork());
    let tls = Tls::client(&tls, now, of_tls, move |facts, now| {
        Client::secured(session, facts, of_client, now)
    })?;
    Ok(Opened {
        machine: Socks::on(route, tls, now, left),
        stream,
        clock,
        policy,
    })
}

impl<N: Network> Opened<N> {
    /// Runs the session for its owner.
    pub(super) fn run<O>(self, owner: O) -> impl Future<Output = SmpEnd> + use<N, O>
    where
        O: Owner<Command = Call, Event = Event>,
    {
        drive(self.machine, self.stream, self.clock, owner, self.policy)
    }
}

/// How to connect to a router.
#[derive(Debug, Clone)]
pub struct SmpOptions {
    /// The way to it.
    pub route: Route,
    /// Which addresses the first host of that way may have.
    pub reach: Reach,
    /// How long the way may take. The handshakes of TLS and of SMP have their own limits.
    pub within: Duration,
    /// Whom TLS is to find there.
    pub tls: Arc<ClientConfig>,
    /// What the session is to be.
    pub session: Config,
    /// How much waits between the session and its owner.
    pub capacity: Capacity,
    /// How the session balances its two directions.
    pub policy: Policy,
}

impl SmpOptions {
    /// The usual session with a router, straight there: at the first of its hosts that needs no proxy.
    pub fn to(address: &ServerAddress<SmpScheme>) -> Result<Self, SmpConnectError> {
        let host = address.hosts().iter().find(|host| !host.is_onion());
        let target = Target {
            host: host.ok_or(SmpConnectError::NoHost)?.clone(),
            port: address.port().unwrap_or(SmpScheme::PORT),
        };
        Self::with(Route::Direct(target), address)
    }

    /// The usual session with a router, this way.
    pub fn with(route: Route, address: &ServerAddress<SmpScheme>) -> Result<Self, SmpConnectError> {
        let identity =
            Fingerprint::try_from(&**address.key_hash()).map_err(|_| SmpConnectError::Identity)?;
        let tls = ClientConfig::new(ClientOptions {
            protocols: vec![PROTOCOL],
            ..ClientOptions::new(identity)
        })?;
        let session = Config::new(address.key_hash().clone());
        Ok(Self::new(route, Arc::new(tls), session))
    }

    /// The same at the port that the router shares with browsers, in whose words TLS begins: networks that let nothing else pass let
    /// this pass. For a router that has such a port; one whose address names another port is reached there.
    #[must_use]
    pub fn at_web_port(self, address: &ServerAddress<SmpScheme>) -> Self {
        if address.port().is_some() {
            return self;
        }
        Self {
            route: self.route.to_port(WEB_PORT),
            tls: Arc::new(self.tls.offering(vec![WEB_PROTOCOL])),
            ..self
        }
    }

    /// The usual session.
    #[must_use]
    pub fn new(route: Route, tls: Arc<ClientConfig>, session: Config) -> Self {
        Self {
            route,
            reach: Reach::Anywhere,
            within: Duration::from_secs(45),
            tls,
            session,
            capacity: Capacity::default(),
            policy: Policy::CLIENT,
        }
    }
}

/// Why there is no connection to a router.
#[derive(Debug, thiserror::Error)]
pub enum SmpConnectError {
    /// There is no way to it.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// TLS refuses to begin.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// TLS cannot be configured.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The router can be reached through a proxy only.
    #[error("all hosts of the router are onion names")]
    NoHost,
    /// The user has not chosen the router, and may not be led to it.
    #[error("the user has not chosen the router, and it may not be reached")]
    Stranger,
    /// The identity in the address is none.
    #[error("the identity in the router's address is no fingerprint")]
    Identity,
}

/// Why a session has ended.
pub type SmpEnd = Result<CloseReason, DriveError<socks::Error<tls::Error<ClientError>>>>;

/// Ties a session to its [`SmpClient`]: responses go to those who wait for them, everything else goes to the owner.
pub type SmpMailbox = AnsweringMailbox<Call, Event, Result<Response, RequestError>>;

fn address(event: Event) -> Addressed<Event, Result<Response, RequestError>> {
    match event {
        Event::Response {
            request: RequestId(number),
            result,
        } => Addressed::Caller(number, result),
        event @ (Event::Established(_)
        | Event::Late { .. }
        | Event::Message { .. }
        | Event::Unexpected(_)) => Addressed::Owner(event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Algorithm;
    use crate::sim::identity::{Credentials, transports};
    use crate::sim::{Checked, Link, Settled, Task, Tasks, abandon, duplex};
    use crate::smp::Command;
    use crate::smp::server::{self, Server};
    use crate::time::Now;
    use crate::wire::EntityId;
    use std::task::{Context, Poll, Waker};

    fn ping() -> Request {
        Request::new(RequestId(0), EntityId::EMPTY, Command::Ping)
    }

    /// Only the owner of the router could answer this, and it does not.
    fn unanswered() -> Request {
        Request::new(RequestId(0), EntityId::from([1; 24]), Command::LGet)
    }

    #[test]
    fn requests_wait_for_the_session_and_get_their_responses() {
        let mut net = Net::new(1);
        let client = net.client.clone();
        let pong = net.tasks.spawn(async move { client.request(ping()).await });
        let client = net.client.clone();
        let pongs = net
            .tasks
            .spawn(async move { client.batch(vec![ping(); 300]).await });
        assert_eq!(net.tasks.run(100_000), Settled::Idle);
        assert_eq!(pong.take(), Some(Ok(Response::Pong)));
        assert_eq!(pongs.take(), Some(vec![Ok(Response::Pong); 300]));
        let established = net.tasks.spawn(async move { net.events.next().await });
        net.tasks.run(10);
        assert!(matches!(
            established.take(),
            Some(Some(Event::Established(_)))
        ));
    }

    #[test]
    fn a_session_that_ends_leaves_nobody_waiting() {
        let mut net = Net::new(2);
        let client = net.client.clone();
        let waiting = net
            .tasks
            .spawn(async move { client.batch(vec![unanswered(); 2]).await });
        let cx = Context::from_waker(Waker::noop());
        while !matches!(
            net.router_events.poll_next(&cx),
            Poll::Ready(Some(server::Event::Lookup { .. }))
        ) {
            assert!(net.tasks.step());
        }
        net.router.try_send(server::Call::Close).unwrap();
        let client = net.client.clone();
        let later = net.tasks.spawn(async move {
            let ended = client.request(unanswered()).await;
            (ended, client.request(ping()).await)
        });
        assert_eq!(net.tasks.run(100_000), Settled::Idle);
        let disconnected = Err(RequestError::Disconnected);
        assert_eq!(waiting.take(), Some(vec![disconnected.clone(); 2]));
        assert_eq!(later.take(), Some((disconnected.clone(), disconnected)));
    }

    #[test]
    fn the_last_client_ends_the_session_after_what_was_asked() {
        let mut net = Net::new(3);
        let client = net.client.clone();
        let pong = net.tasks.spawn(async move { client.request(ping()).await });
        drop((net.client, net.events));
        assert_eq!(net.tasks.run(100_000), Settled::Idle);
        assert_eq!(pong.take(), Some(Ok(Response::Pong)));
        assert!(matches!(net.ended.take(), Some(Ok(CloseReason::Finished))));
    }

    #[test]
    fn a_request_that_is_abandoned_anywhere_leaves_the_session_as_it_is() {
        for polls in 0..4 {
            let mut net = Net::new(4);
            let client = net.client.clone();
            let responses = net.tasks.spawn(async move {
                let abandoned = abandon(polls, client.request(ping())).await;
                (abandoned, client.request(ping()).await)
            });
            assert_eq!(net.tasks.run(100_000), Settled::Idle);
            let (abandoned, next) = responses.take().unwrap();
            assert_eq!(abandoned.is_some(), polls >= 2);
            assert_eq!(next, Ok(Response::Pong));
        }
    }

    struct Net {
        tasks: Tasks,
        client: SmpClient,
        events: Receiver<Event>,
        ended: Task<Result<CloseReason, DriveError<ClientError>>>,
        router: Sender<server::Call>,
        router_events: Receiver<server::Event>,
    }

    impl Net {
        fn new(seed: u64) -> Self {
            let mut tasks = Tasks::new(seed);
            let mut rng = tasks.rng();
            let credentials = Credentials::issue(Algorithm::Ed25519, &mut rng);
            let (of_client, of_router) = transports(&credentials, None, &mut rng);
            let config = server::Config::new(credentials.router());
            let router = Checked::new(Server::new(config, of_router, rng.fork(), Now::START));
            let config = Config::new(credentials.key_hash());
            let machine = Checked::new(Client::new(config, of_client, rng.fork(), Now::START));
            let clock = tasks.clock();
            let (near, far) = duplex(&clock, rng, &Link::WAN, 100_000);

            let (router_calls, router_events, mailbox) = mailbox(Capacity::default());
            tasks.spawn(drive(router, far, clock.clone(), mailbox, Policy::ROUTER));
            let (client, events, mailbox) = SmpClient::new(Capacity::default());
            let ended = tasks.spawn(drive(machine, near, clock, mailbox, Policy::CLIENT));
            Self {
                tasks,
                client,
                events,
                ended,
                router: router_calls,
                router_events,
            }
        }
    }
}
