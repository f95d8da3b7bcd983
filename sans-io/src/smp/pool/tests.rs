//! A pool whose driver, routers and owner the tests play.

use std::sync::Arc;

use super::*;
use crate::crypto::certificate::SignedKey;
use crate::crypto::{Algorithm, AuthPrivateKey, x25519};
use crate::rng::Rng;
use crate::sim::identity::Credentials;
use crate::smp::client::{Established, Relay, Route};
use crate::smp::error::{ErrorType, ProxyError};
use crate::smp::transmission::Session as SmpSession;
use crate::smp::version::PROXIED;
use crate::smp::{BlockingInfo, BlockingReason, CertificateChain, Command};
use crate::wire::{Id, KeyHash, Large, Version, VersionRange};

struct Script {
    pool: Pool,
    now: Now,
    actions: Vec<Action>,
}

impl Script {
    fn new() -> Self {
        Self {
            pool: Pool::new(Config::default()),
            now: Now::START,
            actions: Vec::new(),
        }
    }

    fn give(&mut self, input: Input) {
        self.pool.handle(self.now, input).unwrap();
        self.actions.extend(std::iter::from_fn(|| self.pool.poll()));
    }

    fn call(&mut self, call: Call) {
        self.give(Input::Command(call));
    }

    /// Waits until the pool wants to be woken, and wakes it.
    fn wake(&mut self) -> Duration {
        let deadline = self.pool.deadline().unwrap();
        let waited = deadline - self.now.instant;
        self.now = self.now + waited;
        self.give(Input::Timeout);
        assert!(
            self.pool
                .deadline()
                .is_none_or(|next| next > self.now.instant)
        );
        waited
    }

    fn connects(&mut self) -> Vec<ConnId> {
        let (connects, rest) = std::mem::take(&mut self.actions)
            .into_iter()
            .partition(|action| matches!(action, Action::Connect(..)));
        self.actions = rest;
        let connects: Vec<_> = connects;
        let id = |action| match action {
            Action::Connect(connection, _) => connection,
            _ => unreachable!(),
        };
        connects.into_iter().map(id).collect()
    }

    fn connect(&mut self) -> ConnId {
        let connects = self.connects();
        assert_eq!(connects.len(), 1, "one connection is wanted");
        self.establish(connects[0]);
        connects[0]
    }

    fn establish(&mut self, connection: ConnId) {
        let established = Established {
            session: SmpSession {
                version: Version(20),
                id: Id::try_from([1; 32].as_slice()).unwrap(),
            },
            versions: VersionRange::new(6, 20).unwrap(),
            router: None,
            secret: None,
            service: None,
            chains: None,
        };
        let event = client::Event::Established(Box::new(established));
        self.give(Input::Conn(connection, event));
    }

    fn events(&mut self) -> Vec<Event> {
        let (events, rest): (Vec<_>, _) = std::mem::take(&mut self.actions)
            .into_iter()
            .partition(|action| matches!(action, Action::Event(_)));
        self.actions = rest;
        let event = |action| match action {
            Action::Event(event) => *event,
            _ => unreachable!(),
        };
        events.into_iter().map(event).collect()
    }

    /// The requests that were passed to connections.
    fn requests(&mut self) -> Vec<(ConnId, Request)> {
        let (calls, rest): (Vec<_>, _) = std::mem::take(&mut self.actions)
            .into_iter()
            .partition(|action| matches!(action, Action::Call(..)));
        self.actions = rest;
        let requests = calls.into_iter().flat_map(|action| match action {
            Action::Call(connection, client::Call::Send(requests)) => requests
                .into_iter()
                .map(move |request| (connection, request)),
            _ => panic!("nothing else is passed"),
        });
        requests.collect()
    }

    fn answer(
        &mut self,
        (connection, request): &(ConnId, Request),
        result: Result<Response, RequestError>,
    ) {
        let request = request.id;
        let event = client::Event::Response { request, result };
        self.give(Input::Conn(*connection, event));
    }

    fn close(&mut self, connection: ConnId) {
        self.give(Input::Closed(connection, BrokerError::Timeout));
    }
}

fn session(name: u8) -> SessionKey {
    let host = format!("smp{name}.example").parse().unwrap();
    let hosts = crate::wire::NonEmpty::one(host);
    SessionKey {
        user: UserId(1),
        router: ServerAddress::new(hosts, None, KeyHash::from([name; 32])),
        scope: None,
    }
}

fn ping(id: u64) -> Request {
    Request::new(RequestId(id), EntityId::EMPTY, Command::Ping)
}

fn send(name: u8, id: u64) -> Call {
    Call::Send {
        session: session(name),
        requests: vec![ping(id)],
    }
}

fn subscription(queue: u16) -> Subscription {
    let mut id = [0; 24];
    id[..2].copy_from_slice(&queue.to_be_bytes());
    let mut rng = Rng::from_seed([1; 32]);
    Subscription {
        queue: EntityId::from(id),
        role: SubscriberRole::Recipient,
        key: Arc::new(AuthPrivateKey::generate(Algorithm::X25519, &mut rng).unwrap()),
    }
}

fn subscribe(count: u16) -> Call {
    Call::Subscribe {
        session: session(1),
        subscriptions: (0..count).map(subscription).collect(),
    }
}

const SUBSCRIBED: Result<Response, RequestError> = Ok(Response::Subscribed { service_id: None });

#[test]
fn requests_wait_for_one_connection_and_are_answered_under_their_own_names() {
    let mut script = Script::new();
    script.call(send(1, 7));
    script.call(send(1, 7));
    let connection = script.connect();
    let requests = script.requests();
    assert_eq!(requests.len(), 2);
    assert_ne!(requests[0].1.id, requests[1].1.id);
    assert_eq!(requests[0].0, connection);
    script.events();
    script.answer(&requests[1], Ok(Response::Pong));
    let response = Event::Response {
        request: RequestId(7),
        result: Ok(Response::Pong),
    };
    assert_eq!(script.events(), [response]);
}

#[test]
fn sessions_of_routers_users_and_scopes_are_apart() {
    let mut script = Script::new();
    script.call(send(1, 1));
    script.call(send(2, 2));
    let mut other_user = session(1);
    other_user.user = UserId(2);
    let mut other_scope = session(1);
    other_scope.scope = Some(EntityId::from([1; 24]));
    for session in [other_user, other_scope] {
        script.call(Call::Send {
            session,
            requests: vec![ping(3)],
        });
    }
    assert_eq!(script.connects().len(), 4);
}

#[test]
fn a_router_that_cannot_be_reached_fails_requests_at_once_for_a_while() {
    let mut script = Script::new();
    script.call(send(1, 1));
    assert_eq!(
        script.pool.deadline(),
        Some(Instant::START + Duration::from_secs(45))
    );
    assert_eq!(script.wake(), Duration::from_secs(45));
    let failed = |request| Event::Response {
        request: RequestId(request),
        result: Err(PoolError::Unreachable(BrokerError::Timeout)),
    };
    assert_eq!(script.events(), [failed(1)]);
    assert_eq!(script.connects().len(), 1);
    assert_eq!(script.actions, [Action::Disconnect(ConnId(0))]);

    script.call(send(1, 2));
    assert_eq!(
        (script.connects(), script.events()),
        (vec![], vec![failed(2)])
    );
    assert_eq!(script.wake(), Duration::from_secs(30));
    assert_eq!(script.pool.sessions.len(), 0);
    script.call(send(1, 3));
    assert_eq!(script.connects(), [ConnId(1)]);
}

#[test]
fn what_waits_for_a_response_fails_with_the_session_and_is_not_repeated() {
    let mut script = Script::new();
    script.call(send(1, 1));
    let connection = script.connect();
    script.requests();
    script.events();
    script.close(connection);
    assert_eq!(
        script.events(),
        [
            Event::Response {
                request: RequestId(1),
                result: Err(RequestError::Disconnected.into())
            },
            Event::Disconnected {
                session: session(1),
                queues: vec![]
            },
        ]
    );
    assert_eq!((script.connects(), script.pool.deadline()), (vec![], None));
    assert_eq!(script.pool.sessions.len(), 0);
}

#[test]
fn subscriptions_are_asked_for_in_chunks_and_the_next_when_all_are_answered() {
    let mut script = Script::new();
    script.call(subscribe(3000));
    script.connect();
    let mut asked = 0;
    for chunk in [680, 680, 680, 680, 280] {
        let requests = script.requests();
        assert_eq!(requests.len(), chunk);
        for request in &requests {
            assert!(script.requests().is_empty(), "the next chunk waits");
            script.answer(request, SUBSCRIBED);
        }
        asked += chunk;
        assert_eq!(script.pool.subscriptions(&session(1)).active, asked);
    }
    assert!(script.requests().is_empty());
}

#[test]
fn subscriptions_are_made_again_when_the_session_was_lost() {
    let mut script = Script::new();
    script.call(subscribe(2));
    let connection = script.connect();
    for request in script.requests() {
        script.answer(&request, SUBSCRIBED);
    }
    script.events();
    script.close(connection);
    let queues = vec![subscription(0).queue, subscription(1).queue];
    assert_eq!(
        script.events(),
        [Event::Disconnected {
            session: session(1),
            queues
        }]
    );
    assert_eq!(
        script.pool.subscriptions(&session(1)),
        Counts {
            active: 0,
            pending: 2
        }
    );

    // It is not reached at first.
    let mut waits = Vec::new();
    for _ in 0..12 {
        waits.push(script.wake().as_millis());
        let connects = script.connects();
        script.close(connects[0]);
    }
    assert_eq!(waits[0], 1000);
    assert!(waits.is_sorted() && waits[11] > 1000);
    script.wake();
    script.events();
    script.connect();
    for request in script.requests() {
        script.answer(&request, SUBSCRIBED);
    }
    assert_eq!(
        script.pool.subscriptions(&session(1)),
        Counts {
            active: 2,
            pending: 0
        }
    );
    assert_eq!(script.events().len(), 3);
}

#[test]
fn a_network_that_has_changed_is_tried_at_once() {
    let mut script = Script::new();
    script.call(subscribe(1));
    let connects = script.connects();
    script.close(connects[0]);
    script.call(Call::NetworkChanged);
    assert_eq!(script.connects().len(), 1);
}

#[test]
fn a_subscription_that_fails_for_good_is_forgotten_and_one_that_timed_out_is_tried_again() {
    let mut script = Script::new();
    script.call(subscribe(2));
    script.connect();
    script.events();
    let requests = script.requests();
    script.answer(&requests[0], Err(RequestError::TimedOut));
    script.answer(&requests[1], Err(ErrorType::Auth.into()));
    assert_eq!(
        script.events(),
        [
            Event::NotSubscribed {
                session: session(1),
                queue: subscription(0).queue,
                error: SubscriptionError::Temporary(RequestError::TimedOut)
            },
            Event::NotSubscribed {
                session: session(1),
                queue: subscription(1).queue,
                error: SubscriptionError::Permanent(ErrorType::Auth.into())
            },
        ]
    );
    assert_eq!(script.requests(), [], "not at once");
    assert_eq!(script.wake(), Duration::from_secs(1));
    let again = script.requests();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].1.entity_id, subscription(0).queue);
}

#[test]
fn a_subscription_that_was_taken_over_is_not_made_again() {
    let mut script = Script::new();
    script.call(subscribe(1));
    let connection = script.connect();
    for request in script.requests() {
        script.answer(&request, SUBSCRIBED);
    }
    script.give(Input::Conn(
        connection,
        client::Event::Message {
            entity_id: subscription(0).queue,
            message: BrokerMessage::End,
        },
    ));
    assert!(matches!(
        script.events().last(),
        Some(Event::Message { .. })
    ));
    script.close(connection);
    assert_eq!(script.pool.deadline(), None);
}

#[test]
fn a_queue_that_is_blocked_while_it_is_subscribed_to_is_told_once() {
    let mut script = Script::new();
    script.call(subscribe(1));
    let connection = script.connect();
    for request in script.requests() {
        script.answer(&request, SUBSCRIBED);
    }
    script.events();
    let blocked = ErrorType::Blocked {
        info: BlockingInfo {
            reason: BlockingReason::Spam,
            notice: None,
        },
    };
    let said = |queue| {
        let message = client::Event::Message {
            entity_id: queue,
            message: BrokerMessage::Err(blocked.clone()),
        };
        Input::Conn(connection, message)
    };
    script.give(said(subscription(0).queue));
    let expected = Event::NotSubscribed {
        session: session(1),
        queue: subscription(0).queue,
        error: SubscriptionError::Permanent(RequestError::Protocol(blocked.clone())),
    };
    assert_eq!(script.events(), [expected]);
    script.give(said(subscription(0).queue));
    assert_eq!(script.events(), []);
    script.close(connection);
    assert_eq!(script.pool.deadline(), None);
}

#[test]
fn answers_of_an_old_session_are_ignored() {
    let mut script = Script::new();
    script.call(subscribe(1));
    let old = script.connect();
    let request = script.requests().remove(0);
    script.close(old);
    script.wake();
    script.connect();
    script.requests();
    script.events();
    script.answer(&request, SUBSCRIBED);
    assert_eq!(script.events(), []);
    assert_eq!(script.pool.subscriptions(&session(1)).active, 0);
}

#[test]
fn the_service_is_subscribed_before_its_queues() {
    let mut script = Script::new();
    script.call(Call::SubscribeService {
        session: session(1),
        role: SubscriberRole::Recipient,
        queues: ServiceQueues::default(),
    });
    script.call(subscribe(1));
    script.connect();
    script.events();
    let requests = script.requests();
    assert!(matches!(
        requests[..],
        [(
            _,
            Request {
                command: Command::Subs(_),
                ..
            }
        )]
    ));
    let actual = ServiceQueues {
        count: 5,
        ..ServiceQueues::default()
    };
    script.answer(
        &requests[0],
        Ok(Response::ServiceSubscribed(actual.clone())),
    );
    assert_eq!(
        script.events(),
        [Event::ServiceSubscribed {
            session: session(1),
            expected: ServiceQueues::default(),
            actual
        }]
    );
    assert_eq!(script.requests().len(), 1);
}

#[test]
fn a_service_that_the_router_refuses_is_told_and_the_queues_go_on() {
    let mut script = Script::new();
    script.call(Call::SubscribeService {
        session: session(1),
        role: SubscriberRole::Notifier,
        queues: ServiceQueues::default(),
    });
    script.call(subscribe(1));
    script.connect();
    script.events();
    let requests = script.requests();
    script.answer(&requests[0], Err(ErrorType::Service.into()));
    assert!(matches!(
        script.events()[..],
        [Event::ServiceNotSubscribed {
            error: SubscriptionError::Permanent(_),
            ..
        }]
    ));
    assert_eq!(script.requests().len(), 1);
}

#[test]
fn a_late_response_is_told_under_the_name_of_its_request() {
    let mut script = Script::new();
    script.call(send(1, 7));
    let connection = script.connect();
    let request = script.requests().remove(0);
    script.answer(&request, Err(RequestError::TimedOut));
    script.events();
    let result = Ok(Response::Pong);
    let late = client::Event::Late {
        request: request.1.id,
        result,
    };
    script.give(Input::Conn(connection, late));
    let result = Ok(Response::Pong);
    assert_eq!(
        script.events(),
        [Event::Late {
            request: RequestId(7),
            result
        }]
    );
}

#[test]
fn ending_a_session_answers_all_that_waits() {
    let mut script = Script::new();
    script.call(send(1, 1));
    let connection = script.connect();
    script.call(subscribe(1));
    script.events();
    script.requests();
    script.call(Call::Disconnect {
        session: session(1),
    });
    let ended = Event::Response {
        request: RequestId(1),
        result: Err(PoolError::Ended),
    };
    assert_eq!(script.events(), [ended]);
    assert_eq!(script.actions, [Action::Disconnect(connection)]);
    assert_eq!(script.pool.sessions.len(), 0);
    script.close(connection);
    assert_eq!(script.events(), []);
}

#[test]
fn more_than_the_limits_is_refused() {
    let mut script = Script::new();
    script.pool.config.max_waiting = 1;
    script.pool.config.max_sessions = 1;
    script.call(send(1, 1));
    script.call(send(1, 2));
    script.call(send(2, 3));
    let busy = |request| Event::Response {
        request: RequestId(request),
        result: Err(PoolError::Busy),
    };
    assert_eq!(script.events(), [busy(2), busy(3)]);
    assert_eq!(script.connects().len(), 1);
}

fn relay(rng: &mut Rng) -> (ServerAddress<SmpScheme>, Response, Credentials) {
    let credentials = Credentials::issue(Algorithm::Ed25519, rng);
    let session_key = x25519::PrivateKey::generate(rng).public_key();
    let signed_key = SignedKey::sign(session_key, &credentials.leaf_key).to_der();
    let certificates = credentials.chain.certificates();
    let certificates = certificates.map(|c| Large::try_from(c.as_der().clone()).unwrap());
    let response = Response::Relay(Box::new(Relay {
        session_id: Id::try_from(rng.bytes::<32>().as_slice()).unwrap(),
        versions: PROXIED,
        chain: CertificateChain::try_from(certificates.collect::<Vec<_>>()).unwrap(),
        signed_key: Large::try_from(signed_key.as_slice()).unwrap(),
    }));
    let hosts = session(9).router.hosts().to_vec();
    let hosts = crate::wire::NonEmpty::try_from(hosts).unwrap();
    let address = ServerAddress::new(hosts, None, credentials.key_hash());
    (address, response, credentials)
}

fn forward(relay: &ServerAddress<SmpScheme>, id: u64) -> Call {
    Call::Forward {
        proxy: session(1),
        relay: relay.clone(),
        password: None,
        request: Box::new(Request::new(
            RequestId(id),
            EntityId::from([3; 24]),
            Command::LGet,
        )),
    }
}

#[test]
fn a_relay_is_asked_for_once_and_made_anew_once_when_the_proxy_has_lost_it() {
    let mut rng = Rng::from_seed([4; 32]);
    let (address, pkey, _) = relay(&mut rng);
    let mut script = Script::new();
    script.call(forward(&address, 1));
    script.call(forward(&address, 2));
    script.connect();
    script.events();
    let asked = script.requests();
    assert!(matches!(
        asked[..],
        [(
            _,
            Request {
                command: Command::Prxy { .. },
                ..
            }
        )]
    ));
    script.answer(&asked[0], Ok(pkey.clone()));
    let forwarded = script.requests();
    assert_eq!(forwarded.len(), 2);
    assert!(matches!(forwarded[0].1.route, Route::Via(_)));
    script.answer(&forwarded[0], Ok(Response::Done));
    let done = |request| Event::Response {
        request: RequestId(request),
        result: Ok(Response::Done),
    };
    assert_eq!(script.events(), [done(1)]);

    let no_session = || {
        RequestError::Protocol(ErrorType::Proxy {
            error: ProxyError::NoSession,
        })
    };
    script.answer(&forwarded[1], Err(no_session()));
    let asked = script.requests();
    assert!(matches!(
        asked[..],
        [(
            _,
            Request {
                command: Command::Prxy { .. },
                ..
            }
        )]
    ));
    script.answer(&asked[0], Ok(pkey));
    let forwarded = script.requests();
    script.answer(&forwarded[0], Err(no_session()));
    let failed = Event::Response {
        request: RequestId(2),
        result: Err(no_session().into()),
    };
    assert_eq!((script.events(), script.requests()), (vec![failed], vec![]));
}

#[test]
fn a_relay_that_fails_or_is_not_the_right_one_is_not_asked_for_again_for_a_while() {
    let mut rng = Rng::from_seed([4; 32]);
    let (address, _, _) = relay(&mut rng);
    let (_, of_another, _) = relay(&mut rng);
    let mut script = Script::new();
    script.call(forward(&address, 1));
    script.connect();
    script.events();
    let asked = script.requests();
    script.answer(&asked[0], Ok(of_another));
    script.call(forward(&address, 2));
    let events = script.events();
    assert_eq!(events.len(), 2);
    for event in events {
        assert!(matches!(
            event,
            Event::Response {
                result: Err(PoolError::Relay(_)),
                ..
            }
        ));
    }
    script.now = script.now + Duration::from_secs(30);
    script.call(forward(&address, 3));
    assert_eq!(script.requests().len(), 1);
}

#[test]
fn relays_end_with_the_session_of_their_proxy() {
    let mut rng = Rng::from_seed([4; 32]);
    let (address, _, _) = relay(&mut rng);
    let mut script = Script::new();
    script.call(forward(&address, 1));
    let connection = script.connect();
    script.events();
    script.close(connection);
    let lost = Event::Response {
        request: RequestId(1),
        result: Err(RequestError::Disconnected.into()),
    };
    assert_eq!(script.events()[0], lost);
}
