//! Sessions with many routers, on any runtime.

mod event_loop;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use self::event_loop::drive_pool;

use super::answers::{Addressed, AnsweringMailbox, Answers};
use super::{
    Capacity, Closed, ConnectError, DriveError, Receiver, Sender, SmpConnectError, SmpEnd, mailbox,
};
use crate::machine::CloseReason;
use crate::smp::ServiceQueues;
use crate::smp::client::{ClientError, Request, RequestError, RequestId, Response};
use crate::smp::error::{BrokerError, ErrorText, NetworkError};
use crate::smp::pool::{Call, Event, PoolError, SessionKey, SubscriberRole, Subscription};
use crate::socks;
use crate::tls::{self, CertificateRefused, TlsError};
use crate::wire::{BasicAuth, EntityId, ServerAddress, SmpScheme};

/// Sessions with many routers: asks them, and keeps subscriptions.
///
/// There is no connecting: a session exists as long as something needs it. Clones share the sessions. Dropping the last one ends them
/// in an orderly way.
///
/// Everything but the responses to requests is told as an [`Event`] to the owner of the pool, who reads them all the time.
///
/// ```no_run
/// # async fn run<N>(network: N, rng: simplex_sans_io::rng::Rng, spawn: impl Fn(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>))
/// # -> Result<(), Box<dyn std::error::Error>>
/// # where N: simplex_sans_io::drive::Network<Stream: Send, Clock: Send> + Clone + Send + Sync + 'static {
/// use simplex_sans_io::drive::{Capacity, SmpOptions, SmpPool, drive_pool};
/// use simplex_sans_io::smp::Command;
/// use simplex_sans_io::smp::client::{Request, RequestId, Response};
/// use simplex_sans_io::smp::pool::{Config, Pool, SessionKey, UserId};
/// use simplex_sans_io::wire::EntityId;
///
/// let (pool, mut events, mailbox) = SmpPool::new(Capacity::default());
/// let options = |session: &SessionKey| SmpOptions::to(&session.router);
/// spawn(Box::pin(drive_pool(Pool::new(Config::default()), network, options, mailbox, rng)));
/// spawn(Box::pin(async move { while let Some(event) = events.next().await { println!("{event:?}") } }));
///
/// let router = "smp://u2dS9sG8nMNURyZwqASV4yROM28Er0luVTx5X1CsMrU=@smp4.simplex.im".parse()?;
/// let session = SessionKey { user: UserId(1), router, scope: None };
/// let ping = Request::new(RequestId(0), EntityId::EMPTY, Command::Ping);
/// assert_eq!(pool.request(&session, ping).await?, Response::Pong);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SmpPool {
    calls: Sender<Call>,
    answers: Answers<Result<Response, PoolError>>,
}

/// The end of a pool for [`drive_pool`]: responses go to those who wait for them, everything else to the owner.
pub type SmpPoolMailbox = AnsweringMailbox<Call, Event, Result<Response, PoolError>>;

const DISCONNECTED: PoolError = PoolError::Request(RequestError::Disconnected);

impl SmpPool {
    /// A pool that [`drive_pool`] is to run, with the events of its owner, and with what ties it to them.
    #[must_use]
    pub fn new(capacity: Capacity) -> (Self, Receiver<Event>, SmpPoolMailbox) {
        let (calls, events, mailbox) = mailbox(capacity);
        let answers = Answers::new();
        let pool = Self {
            calls,
            answers: answers.clone(),
        };
        let mailbox = AnsweringMailbox::new(mailbox, answers, address);
        (pool, events, mailbox)
    }

    /// Asks the router of a session for one thing.
    ///
    /// Requests wait until the session is established. They are never repeated, because what was executed is not known. The pool names
    /// them itself: the id that they come with does not matter.
    ///
    /// Cancel safety: a future that is dropped early has sent nothing; later, the command may be executed, and its response is discarded.
    pub async fn request(
        &self,
        session: &SessionKey,
        request: Request,
    ) -> Result<Response, PoolError> {
        let mut responses = self.batch(session, vec![request]).await;
        responses.pop().unwrap_or(Err(DISCONNECTED))
    }

    /// Asks the router of a session for many things; the responses are in the order of the requests.
    ///
    /// Cancel safety: as for [`request`](Self::request); nothing of a batch is sent, or all.
    pub async fn batch(
        &self,
        session: &SessionKey,
        mut requests: Vec<Request>,
    ) -> Vec<Result<Response, PoolError>> {
        let count = requests.len();
        let call = |numbers: Range<u64>| {
            for (request, number) in requests.iter_mut().zip(numbers) {
                request.id = RequestId(number);
            }
            let session = session.clone();
            Call::Send { session, requests }
        };
        self.ask(count, call).await
    }

    /// Asks a relay for one thing, through the router of a session as its proxy, which may have a password.
    ///
    /// Cancel safety: as for [`request`](Self::request).
    pub async fn forward(
        &self,
        proxy: &SessionKey,
        relay: &ServerAddress<SmpScheme>,
        password: Option<BasicAuth>,
        request: Request,
    ) -> Result<Response, PoolError> {
        let call = |numbers: Range<u64>| Call::Forward {
            proxy: proxy.clone(),
            relay: relay.clone(),
            password,
            request: Box::new(Request {
                id: RequestId(numbers.start),
                ..request
            }),
        };
        let mut responses = self.ask(1, call).await;
        responses.pop().unwrap_or(Err(DISCONNECTED))
    }

    /// Keeps these subscriptions, also when the session is lost.
    ///
    /// Cancel safety: a future that is dropped before it is done has done nothing.
    pub async fn subscribe(
        &self,
        session: &SessionKey,
        subscriptions: Vec<Subscription>,
    ) -> Result<(), PoolEnded> {
        let session = session.clone();
        self.call(Call::Subscribe {
            session,
            subscriptions,
        })
        .await
    }

    /// Keeps these subscriptions no longer. The router is not told.
    ///
    /// Cancel safety: as for [`subscribe`](Self::subscribe).
    pub async fn unsubscribe(
        &self,
        session: &SessionKey,
        queues: Vec<EntityId>,
    ) -> Result<(), PoolEnded> {
        let session = session.clone();
        self.call(Call::Unsubscribe { session, queues }).await
    }

    /// Keeps the subscription of the session's service to all its queues.
    ///
    /// Cancel safety: as for [`subscribe`](Self::subscribe).
    pub async fn subscribe_service(
        &self,
        session: &SessionKey,
        role: SubscriberRole,
        queues: ServiceQueues,
    ) -> Result<(), PoolEnded> {
        let session = session.clone();
        self.call(Call::SubscribeService {
            session,
            role,
            queues,
        })
        .await
    }

    /// Keeps the service's subscription no longer.
    ///
    /// Cancel safety: as for [`subscribe`](Self::subscribe).
    pub async fn unsubscribe_service(&self, session: &SessionKey) -> Result<(), PoolEnded> {
        let session = session.clone();
        self.call(Call::UnsubscribeService { session }).await
    }

    /// Ends a session and forgets its subscriptions.
    ///
    /// Cancel safety: as for [`subscribe`](Self::subscribe).
    pub async fn disconnect(&self, session: &SessionKey) -> Result<(), PoolEnded> {
        let session = session.clone();
        self.call(Call::Disconnect { session }).await
    }

    /// Says that the network has changed: what waits to be tried again is tried now.
    ///
    /// Cancel safety: as for [`subscribe`](Self::subscribe).
    pub async fn network_changed(&self) -> Result<(), PoolEnded> {
        self.call(Call::NetworkChanged).await
    }

    async fn call(&self, call: Call) -> Result<(), PoolEnded> {
        self.calls.send(call).await.map_err(|Closed(_)| PoolEnded)
    }

    async fn ask(
        &self,
        count: usize,
        call: impl FnOnce(Range<u64>) -> Call,
    ) -> Vec<Result<Response, PoolError>> {
        if count == 0 {
            return Vec::new();
        }
        let awaited = self.answers.expect(count);
        let mut responses = match self.calls.send(call(awaited.numbers())).await {
            Ok(()) => awaited.await,
            Err(Closed(_)) => Vec::new(),
        };
        responses.resize_with(count, || None);
        responses
            .into_iter()
            .map(|response| response.unwrap_or(Err(DISCONNECTED)))
            .collect()
    }
}

fn address(event: Event) -> Addressed<Event, Result<Response, PoolError>> {
    match event {
        Event::Response {
            request: RequestId(number),
            result,
        } => Addressed::Caller(number, result),
        event @ (Event::Connected { .. }
        | Event::Disconnected { .. }
        | Event::Late { .. }
        | Event::Subscribed { .. }
        | Event::NotSubscribed { .. }
        | Event::ServiceSubscribed { .. }
        | Event::ServiceNotSubscribed { .. }
        | Event::Message { .. }) => Addressed::Owner(event),
    }
}

/// The pool is not driven any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pool is not driven any more")]
pub struct PoolEnded;

/// Why a session could not begin, in the words of the protocol.
pub(super) fn unreachable(error: &SmpConnectError) -> BrokerError {
    match error {
        SmpConnectError::Connect(ConnectError::Onion(_) | ConnectError::NotPublic(_))
        | SmpConnectError::Stranger
        | SmpConnectError::NoHost
        | SmpConnectError::Identity => BrokerError::Host,
        SmpConnectError::Connect(ConnectError::TimedOut) => network(NetworkError::Timeout),
        SmpConnectError::Connect(
            error @ (ConnectError::Resolve { .. }
            | ConnectError::NoAddress(_)
            | ConnectError::Unreachable { .. }),
        ) => network(NetworkError::Connect { error: text(error) }),
        SmpConnectError::Tls(error) => tls_error(error),
        SmpConnectError::Config(error) => network(NetworkError::Tls { error: text(error) }),
    }
}

/// Why a session has ended, in the words of the protocol.
pub(super) fn broker_error(end: &SmpEnd) -> BrokerError {
    match end {
        Ok(CloseReason::TimedOut) => network(NetworkError::Timeout),
        Ok(CloseReason::Finished | CloseReason::PeerClosed | CloseReason::Truncated)
        | Err(DriveError::Io(_) | DriveError::Stalled | DriveError::Flooded(_)) => {
            network(NetworkError::Failed)
        }
        Err(DriveError::Machine(socks::Error::Proxy(error))) => {
            network(NetworkError::Connect { error: text(error) })
        }
        Err(DriveError::Machine(socks::Error::Inner(tls::Error::Tls(error)))) => tls_error(error),
        Err(DriveError::Machine(socks::Error::Inner(tls::Error::Upper(
            ClientError::Handshake(error),
        )))) => BrokerError::Transport { error: *error },
    }
}

fn tls_error(error: &TlsError) -> BrokerError {
    network(match error {
        TlsError::Certificate(CertificateRefused::OtherIdentity { .. }) => NetworkError::UnknownCa,
        TlsError::Certificate(_)
        | TlsError::Protocol(_)
        | TlsError::SessionId(_)
        | TlsError::HandshakeTooLong(_)
        | TlsError::TooMuchUnsent(_) => NetworkError::Tls { error: text(error) },
    })
}

const fn network(error: NetworkError) -> BrokerError {
    BrokerError::Network { error }
}

fn text(error: &dyn std::error::Error) -> ErrorText {
    error.to_string().as_str().into()
}
