//! A client against a router whose owner the tests play.

use super::*;
use crate::crypto::certificate::Chain;
use crate::crypto::{Algorithm, AuthPrivateKey, ed25519, x25519};
use crate::sim::identity::Credentials;
use crate::sim::smp::{Setup, Sides};
use crate::smp::handshake::ServiceRole;
use crate::smp::proxy::{Forwarded, ForwardedResponse, RelaySession};
use crate::smp::server::{self, Answer, QueueKeys, Say};
use crate::smp::{MsgFlags, ServiceQueues};
use crate::wire::VersionRange;
use std::sync::Arc;

const QUEUE: [u8; 24] = [9; 24];

fn sides(setup: Setup) -> Sides {
    let mut sides = setup.establish().unwrap();
    sides.client.events();
    sides.server.events();
    sides
}

fn request(id: u64, command: Command) -> Request {
    Request::new(RequestId(id), EntityId::from(QUEUE), command)
}

fn lget(id: u64) -> Request {
    request(id, Command::LGet)
}

fn send(id: u64, length: usize) -> Request {
    let command = Command::Send {
        flags: MsgFlags {
            notification: false,
        },
        body: vec![7; length].into(),
    };
    request(id, command)
}

/// Answers every look-up with the same queue, and every request.
fn play(
    sides: &mut Sides,
    queue: Option<&Arc<QueueKeys>>,
    answer: impl Fn(&server::Request) -> Answer,
) {
    loop {
        let events = sides.server.events();
        if events.is_empty() {
            return;
        }
        for event in events {
            match event {
                server::Event::Lookup { block, lookups } => {
                    let queues = vec![queue.cloned(); lookups.len()];
                    sides.owner(server::Call::Keys { block, queues }).unwrap();
                }
                server::Event::Execute {
                    block, requests, ..
                } => {
                    let answers = requests.iter().map(&answer).collect();
                    sides
                        .owner(server::Call::Answer { block, answers })
                        .unwrap();
                }
                server::Event::Established(_)
                | server::Event::Service { .. }
                | server::Event::Heard
                | server::Event::Counted(_) => {}
            }
        }
    }
}

fn open_queue() -> Arc<QueueKeys> {
    Arc::new(QueueKeys {
        version: 1,
        recipients: Vec::new(),
        sender: None,
        notifier: None,
        mode: None,
    })
}

fn ok(_: &server::Request) -> Answer {
    BrokerMessage::Ok.into()
}

fn responses(sides: &mut Sides) -> Vec<(u64, Result<Response, RequestError>)> {
    let events = sides.client.events();
    let responses = events.into_iter().map(|event| match event {
        Event::Response { request, result } => (request.0, result),
        other => panic!("not a response: {other:?}"),
    });
    responses.collect()
}

#[test]
fn a_thousand_requests_share_blocks_and_are_all_answered() {
    let mut sides = sides(Setup::new([1; 32]));
    let requests = (0..1000).map(|id| send(id, 100)).collect();
    let call = Input::Command(Call::Send(requests));
    sides.client.give(sides.now, call).unwrap();
    assert_eq!(sides.client.machine.in_flight(), 1000);
    assert_eq!(sides.client.sent.len(), 10 * super::super::block::BLOCK);
    sides.exchange().unwrap();
    play(&mut sides, Some(&open_queue()), ok);
    let expected: Vec<_> = (0..1000).map(|id| (id, Ok(Response::Done))).collect();
    let mut answered = responses(&mut sides);
    answered.sort_by_key(|(id, _)| *id);
    assert_eq!(answered, expected);
    assert_eq!(sides.client.machine.in_flight(), 0);
}

#[test]
fn a_request_that_times_out_is_told_once_and_its_late_response_too() {
    let mut sides = sides(Setup::new([1; 32]));
    sides
        .send(vec![send(1, 1), send(2, 1).within(Duration::from_secs(60))])
        .unwrap();
    assert_eq!(
        sides.client.machine.deadline(),
        Some(sides.now.instant + Duration::from_secs(30))
    );
    sides.wait(Duration::from_secs(30)).unwrap();
    assert_eq!(responses(&mut sides), [(1, Err(RequestError::TimedOut))]);
    play(&mut sides, Some(&open_queue()), ok);
    let result = Ok(Response::Done);
    assert_eq!(
        sides.client.events(),
        [
            Event::Late {
                request: RequestId(1),
                result: result.clone()
            },
            Event::Response {
                request: RequestId(2),
                result
            },
        ]
    );
    assert_eq!(sides.client.machine.deadline(), None);
}

#[test]
fn what_waits_when_the_session_ends_is_disconnected() {
    for (input, reason) in [
        (Input::Eof, CloseReason::PeerClosed),
        (Input::Command(Call::Close), CloseReason::Finished),
    ] {
        let mut sides = sides(Setup::new([1; 32]));
        sides.send(vec![lget(1), lget(2)]).unwrap();
        sides.client.give(sides.now, input).unwrap();
        let lost = Err(RequestError::Disconnected);
        assert_eq!(responses(&mut sides), [(1, lost.clone()), (2, lost)]);
        assert_eq!(sides.client.closed, Some(reason));
        let call = Input::Command(Call::Send(vec![lget(3)]));
        sides.client.give(sides.now, call).unwrap();
        assert_eq!(responses(&mut sides), [(3, Err(RequestError::NotAccepted))]);
    }
}

#[test]
fn a_session_takes_commands_only_while_it_can() {
    let mut setup = Setup::new([1; 32]);
    setup.client.max_in_flight = 2;
    let mut starting = setup.clone().start();
    assert!(!starting.client.machine.accepts_commands());
    let call = Input::Command(Call::Send(vec![lget(1)]));
    starting.client.give(Now::START, call).unwrap();
    assert_eq!(
        responses(&mut starting),
        [(1, Err(RequestError::NotAccepted))]
    );

    let mut sides = sides(setup);
    assert!(sides.client.machine.accepts_commands());
    sides.send(vec![lget(1), lget(2), lget(3)]).unwrap();
    assert!(!sides.client.machine.accepts_commands());
    assert_eq!(responses(&mut sides), [(3, Err(RequestError::NotAccepted))]);
}

#[test]
fn what_cannot_be_sent_is_refused_and_the_rest_goes_on() {
    let mut sides = sides(Setup::new([1; 32]));
    sides
        .send(vec![
            send(1, 17_000),
            request(2, Command::Subs(ServiceQueues::default())),
            send(3, 1),
        ])
        .unwrap();
    let refused = responses(&mut sides);
    assert_eq!(
        refused,
        [
            (1, Err(RequestError::TooLarge)),
            (2, Err(RequestError::NoService))
        ]
    );
    play(&mut sides, Some(&open_queue()), ok);
    assert_eq!(responses(&mut sides), [(3, Ok(Response::Done))]);

    let mut setup = Setup::new([1; 32]);
    setup.server.identity.versions = VersionRange::new(6, 6).unwrap();
    let mut sides = self::sides(setup);
    let mut rng = Rng::from_seed([2; 32]);
    let domain = "name.simplex".parse().unwrap();
    let x25519 = Arc::new(AuthPrivateKey::generate(Algorithm::X25519, &mut rng).unwrap());
    let resolve = Request::new(RequestId(1), EntityId::EMPTY, Command::Rslv { domain });
    sides
        .send(vec![
            resolve,
            request(2, Command::Sub).authorized_by(x25519),
        ])
        .unwrap();
    assert_eq!(
        responses(&mut sides),
        [
            (1, Err(RequestError::Version(Version(20)))),
            (2, Err(RequestError::NoSessionKey))
        ]
    );
}

#[test]
fn a_response_must_fit_the_command_and_its_entity() {
    let mut sides = sides(Setup::new([1; 32]));
    sides
        .send(vec![send(1, 1), send(2, 1), send(3, 1)])
        .unwrap();
    play(&mut sides, Some(&open_queue()), |request| {
        let Command::Send { .. } = request.command else {
            panic!()
        };
        BrokerMessage::Pong.into()
    });
    let unexpected: Vec<_> = (1..=3)
        .map(|id| (id, Err(RequestError::Unexpected("PONG"))))
        .collect();
    assert_eq!(responses(&mut sides), unexpected);
    sides.send(vec![send(4, 1)]).unwrap();
    play(&mut sides, None, ok);
    assert_eq!(
        responses(&mut sides),
        [(4, Err(RequestError::Protocol(ErrorType::Auth)))]
    );
}

#[test]
fn a_message_that_answers_sub_is_told_after_the_subscription() {
    let mut sides = sides(Setup::new([1; 32]));
    let mut rng = Rng::from_seed([3; 32]);
    let key = AuthPrivateKey::generate(Algorithm::Ed25519, &mut rng).unwrap();
    let queue = Arc::new(QueueKeys {
        recipients: vec![key.public_key()],
        ..QueueKeys::clone(&open_queue())
    });
    sides
        .send(vec![request(1, Command::Sub).authorized_by(Arc::new(key))])
        .unwrap();
    let message = BrokerMessage::Msg {
        id: EntityId::from([4; 24]),
        body: Bytes::from_static(b"body"),
    };
    play(&mut sides, Some(&queue), |_| message.clone().into());
    assert_eq!(
        sides.client.events(),
        [
            Event::Response {
                request: RequestId(1),
                result: Ok(Response::Subscribed { service_id: None })
            },
            Event::Message {
                entity_id: EntityId::from(QUEUE),
                message
            },
        ]
    );
}

#[test]
fn what_the_router_says_unasked_is_told() {
    let mut sides = sides(Setup::new([1; 32]));
    let entity_id = EntityId::from(QUEUE);
    let end = (entity_id.clone(), Say::Message(BrokerMessage::End));
    sides.owner(server::Call::Announce(vec![end])).unwrap();
    assert_eq!(
        sides.client.events(),
        [Event::Message {
            entity_id,
            message: BrokerMessage::End
        }]
    );
}

#[test]
fn a_silent_session_is_pinged_once_it_has_subscriptions_and_given_up_when_it_stays_silent() {
    let mut setup = Setup::new([1; 32]);
    setup.client.ping_interval = Duration::from_secs(600);
    let mut sides = sides(setup);
    assert_eq!(sides.client.machine.deadline(), None);
    let mut rng = Rng::from_seed([3; 32]);
    let key = AuthPrivateKey::generate(Algorithm::Ed25519, &mut rng).unwrap();
    let queue = Arc::new(QueueKeys {
        recipients: vec![key.public_key()],
        ..QueueKeys::clone(&open_queue())
    });
    sides
        .send(vec![request(1, Command::Sub).authorized_by(Arc::new(key))])
        .unwrap();
    play(&mut sides, Some(&queue), |_| {
        BrokerMessage::Sok { service_id: None }.into()
    });
    sides.client.events();

    sides.wait(Duration::from_secs(600)).unwrap();
    assert!(!sides.client.sent.is_empty());
    sides.exchange().unwrap();
    assert_eq!(sides.client.machine.in_flight(), 0);

    // From now on nothing arrives.
    let mut pings = 0;
    while sides.client.closed.is_none() {
        let deadline = sides.client.machine.deadline().unwrap();
        sides.now = sides.now + (deadline - sides.now.instant);
        sides.client.give(sides.now, Input::Timeout).unwrap();
        pings += usize::from(!sides.client.sent.is_empty());
        sides.client.sent.clear();
    }
    assert_eq!(pings, 3);
    assert_eq!(sides.client.closed, Some(CloseReason::TimedOut));
    assert_eq!(sides.client.events(), []);
}

#[test]
fn a_handshake_that_does_not_come_is_not_waited_for_for_ever() {
    let mut sides = Setup::new([1; 32]).start();
    let deadline = sides.client.machine.deadline().unwrap();
    assert_eq!(deadline, sides.now.instant + Duration::from_secs(45));
    sides.wait(Duration::from_secs(44)).unwrap();
    assert_eq!(sides.client.closed, None);
    sides.wait(Duration::from_secs(1)).unwrap();
    assert_eq!(sides.client.closed, Some(CloseReason::TimedOut));
    assert_eq!(sides.client.machine.deadline(), None);
}

#[test]
fn a_stream_that_ends_inside_a_block_or_the_handshake_is_truncated() {
    let mut sides = Setup::new([1; 32]).start();
    sides.client.give(sides.now, Input::Eof).unwrap();
    assert_eq!(sides.client.closed, Some(CloseReason::Truncated));
    let mut sides = self::sides(Setup::new([1; 32]));
    sides.client.give(sides.now, Input::Bytes(b"x")).unwrap();
    sides.client.give(sides.now, Input::Eof).unwrap();
    assert_eq!(sides.client.closed, Some(CloseReason::Truncated));
}

#[test]
fn a_block_that_cannot_be_read_is_told_and_does_no_more_harm() {
    let mut sides = sides(Setup::new([1; 32]));
    let call = server::Call::Announce(vec![(
        EntityId::from(QUEUE),
        Say::Message(BrokerMessage::End),
    )]);
    sides
        .server
        .give(sides.now, Input::Command(call.clone()))
        .unwrap();
    sides.server.sent[1000] ^= 1;
    sides.exchange().unwrap();
    assert_eq!(sides.client.events(), [Event::Unexpected(ErrorType::Block)]);
    sides.owner(call).unwrap();
    assert!(matches!(
        sides.client.events().as_slice(),
        [Event::Message { .. }]
    ));
}

#[test]
fn a_wrong_router_is_refused() {
    let mut setup = Setup::new([1; 32]);
    setup.client.handshake.key_hash = KeyHash::from([1; 32]);
    let mut sides = setup.start();
    let hello = std::mem::take(&mut sides.server.sent);
    let error = TransportError::Handshake {
        error: HandshakeError::BadAuth,
    };
    assert_eq!(
        sides.client.give(sides.now, Input::Bytes(&hello)),
        Err(ClientError::Handshake(error))
    );
    assert!(sides.client.sent.is_empty());
    assert_eq!(sides.client.machine.deadline(), None);
}

#[test]
fn a_service_signs_what_it_does_in_its_name() {
    let mut rng = Rng::from_seed([4; 32]);
    let service = Credentials::issue(Algorithm::Ed448, &mut rng);
    let setup = Setup::new([1; 32]).in_the_name_of(service.service(ServiceRole::Messaging));
    let mut sides = sides(setup);
    let key = AuthPrivateKey::generate(Algorithm::X25519, &mut rng).unwrap();
    let queue = Arc::new(QueueKeys {
        recipients: vec![key.public_key()],
        ..QueueKeys::clone(&open_queue())
    });
    let service_id = EntityId::from([0x55; 24]);
    let subs = Command::Subs(ServiceQueues::default());
    let key = Arc::new(key);
    sides
        .send(vec![
            request(1, Command::Sub).authorized_by(Arc::clone(&key)),
            Request::new(RequestId(2), service_id.clone(), subs),
            request(3, Command::Get).authorized_by(key),
        ])
        .unwrap();
    play(&mut sides, Some(&queue), |request| match &request.command {
        Command::Sub => BrokerMessage::Sok {
            service_id: Some(EntityId::from([0x55; 24])),
        }
        .into(),
        Command::Subs(_) => BrokerMessage::Soks(ServiceQueues::default()).into(),
        _ => BrokerMessage::Ok.into(),
    });
    assert_eq!(
        responses(&mut sides),
        [
            (
                1,
                Ok(Response::Subscribed {
                    service_id: Some(service_id)
                })
            ),
            (2, Ok(Response::ServiceSubscribed(ServiceQueues::default()))),
            (3, Ok(Response::Message(None))),
        ]
    );
}

/// The whole way: client, proxy, relay and back.
#[test]
fn a_forwarded_command_is_executed_by_the_relay_and_its_response_comes_back() {
    let mut rng = Rng::from_seed([5; 32]);
    let mut setup = Setup::new([6; 32]);
    setup.client.handshake.peer = super::super::handshake::Peer::Proxy;
    let relay_credentials = setup.credentials.clone();
    let mut to_relay = setup.establish().unwrap();
    to_relay.server.events();
    let Some(Event::Established(proxy_session)) = to_relay.client.events().pop() else {
        panic!()
    };
    let relay_router = proxy_session.router.clone().unwrap();
    let secret = proxy_session.secret.clone().unwrap();

    let mut to_proxy = sides(Setup::new([7; 32]));
    let verified = |_: &Chain| true;
    let relay = RelaySession::new(
        &relay_credentials.key_hash(),
        proxy_session.session.id.clone(),
        proxy_session.versions,
        &crate::smp::CertificateChain::try_from(
            relay_router
                .chain
                .certificates()
                .map(|certificate| certificate.as_der().clone().try_into().unwrap())
                .collect::<Vec<_>>(),
        )
        .unwrap(),
        &relay_router.signed_key,
        &verified,
    )
    .unwrap();
    let sender = AuthPrivateKey::generate(Algorithm::X25519, &mut rng).unwrap();
    let queue = Arc::new(QueueKeys {
        sender: Some(sender.public_key()),
        ..QueueKeys::clone(&open_queue())
    });
    let (relay, sender) = (Arc::new(relay), Arc::new(sender));

    for (body, expected) in [
        (16_048, Ok(Response::Done)),
        (1, Err(RequestError::Protocol(ErrorType::Quota))),
    ] {
        let request = send(1, body)
            .authorized_by(Arc::clone(&sender))
            .via(Arc::clone(&relay));
        to_proxy.send(vec![request]).unwrap();
        let Some(server::Event::Execute {
            block, requests, ..
        }) = to_proxy.server.events().pop()
        else {
            panic!("PFWD needs no keys")
        };
        let [
            server::Request {
                corr_id,
                command:
                    Command::Pfwd {
                        version,
                        key,
                        encrypted,
                    },
                ..
            },
        ] = requests.as_slice()
        else {
            panic!()
        };
        let forwarded = Forwarded {
            corr_id: corr_id.clone(),
            version: *version,
            key: *key,
            encrypted: encrypted.clone(),
        };
        let rfwd = CorrId::from(rng.bytes::<24>());
        let command = Command::Rfwd {
            encrypted: forwarded.encrypt(secret.shared(), &rfwd),
        };
        let request = Request {
            corr_id: Some(rfwd.clone()),
            ..Request::new(RequestId(9), EntityId::EMPTY, command)
        };
        to_relay.send(vec![request]).unwrap();
        play(&mut to_relay, Some(&queue), |_| match &expected {
            Ok(_) => BrokerMessage::Ok.into(),
            Err(_) => ErrorType::Quota.into(),
        });
        let [(9, Ok(Response::Forwarded(response)))] = &responses(&mut to_relay)[..] else {
            panic!()
        };
        let response = ForwardedResponse::decrypt(secret.shared(), &rfwd, response).unwrap();
        assert_eq!(response.corr_id, *corr_id);
        let answers = vec![
            BrokerMessage::PRes {
                encrypted: response.encrypted,
            }
            .into(),
        ];
        to_proxy
            .owner(server::Call::Answer { block, answers })
            .unwrap();
        assert_eq!(responses(&mut to_proxy), [(1, expected)]);
    }

    // What the proxy itself says is told as its own.
    to_proxy.send(vec![send(2, 1).via(relay)]).unwrap();
    let no_session = ErrorType::Proxy {
        error: crate::smp::ProxyError::NoSession,
    };
    play(&mut to_proxy, None, |_| no_session.clone().into());
    assert_eq!(
        responses(&mut to_proxy),
        [(2, Err(RequestError::Protocol(no_session)))]
    );
}

#[test]
fn every_kind_of_key_authorises_in_every_version() {
    for version in 6..=20 {
        for algorithm in [Algorithm::Ed25519, Algorithm::Ed448, Algorithm::X25519] {
            let mut rng = Rng::from_seed([8; 32]);
            let mut setup = Setup::new([1; 32]);
            setup.client.handshake.versions = VersionRange::new(6, version).unwrap();
            let mut sides = sides(setup);
            let key = Arc::new(AuthPrivateKey::generate(algorithm, &mut rng).unwrap());
            let queue = Arc::new(QueueKeys {
                recipients: vec![
                    ed25519::PrivateKey::generate(&mut rng).public_key().into(),
                    x25519::PrivateKey::generate(&mut rng).public_key().into(),
                    key.public_key(),
                ],
                ..QueueKeys::clone(&open_queue())
            });
            let subscribe = request(1, Command::Sub).authorized_by(Arc::clone(&key));
            sides.send(vec![subscribe]).unwrap();
            play(&mut sides, Some(&queue), |_| {
                BrokerMessage::Sok { service_id: None }.into()
            });
            let subscribed = Ok(Response::Subscribed { service_id: None });
            assert_eq!(
                responses(&mut sides),
                [(1, subscribed)],
                "{version} {algorithm:?}"
            );
        }
    }
}
