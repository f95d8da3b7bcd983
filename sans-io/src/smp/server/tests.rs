//! A router's session against a client, and against bytes that no client sends.

use super::*;
use crate::crypto::{Algorithm, AuthPrivateKey, AuthPublicKey};
use crate::sim::identity::Credentials;
use crate::sim::smp::{Setup, Sides, SidesError};
use crate::smp::client::{self, Event as Told, RequestError, RequestId, Response};
use crate::smp::transmission::{Authorization, Unauthorized};
use crate::smp::{BrokerMessage, CommandError, MsgFlags, QueueMode};
use crate::wire::VersionRange;

fn sides(setup: Setup) -> Sides {
    let mut sides = setup.establish().unwrap();
    sides.client.events();
    sides.server.events();
    sides
}

fn id(byte: u8) -> EntityId {
    EntityId::from([byte; 24])
}

fn key(algorithm: Algorithm, seed: u8) -> Arc<AuthPrivateKey> {
    Arc::new(AuthPrivateKey::generate(algorithm, &mut Rng::from_seed([seed; 32])).unwrap())
}

fn queue(recipient: &AuthPublicKey) -> Arc<QueueKeys> {
    Arc::new(QueueKeys {
        version: 1,
        recipients: vec![*recipient],
        sender: Some(*recipient),
        notifier: Some(*recipient),
        mode: Some(QueueMode::Messaging),
    })
}

fn send(length: usize) -> Command {
    Command::Send {
        flags: MsgFlags {
            notification: false,
        },
        body: vec![1; length].into(),
    }
}

fn request(number: u64, entity: u8, command: Command) -> client::Request {
    client::Request::new(RequestId(number), id(entity), command)
}

fn result(told: Told) -> (u64, Result<Response, RequestError>) {
    match told {
        Told::Response { request, result } => (request.0, result),
        other => panic!("not a response: {other:?}"),
    }
}

fn results(sides: &mut Sides) -> Vec<(u64, Result<Response, RequestError>)> {
    sides.client.events().into_iter().map(result).collect()
}

/// The blocks and look-ups that the owner is asked for.
fn lookups(sides: &mut Sides) -> Vec<(BlockId, Vec<Lookup>)> {
    let events = sides.server.events();
    let lookups = events.into_iter().filter_map(|event| match event {
        Event::Lookup { block, lookups } => Some((block, lookups)),
        Event::Heard | Event::Counted(_) => None,
        other => panic!("not a look-up: {other:?}"),
    });
    lookups.collect()
}

fn executed(sides: &mut Sides) -> Vec<(BlockId, Vec<u8>)> {
    let events = sides.server.events();
    let executed = events.into_iter().filter_map(|event| match event {
        Event::Execute {
            block, requests, ..
        } => Some((
            block,
            requests
                .iter()
                .map(|request| request.entity_id[0])
                .collect(),
        )),
        Event::Heard | Event::Counted(_) => None,
        other => panic!("not requests: {other:?}"),
    });
    executed.collect()
}

/// The owner hears that nothing of a block is authorised, and has looked for nobody.
fn refused(sides: &mut Sides) -> Vec<Lookup> {
    let events = sides.server.events();
    let executed = events.into_iter().find_map(|event| match event {
        Event::Execute {
            block,
            requests,
            refused,
        } if requests.is_empty() => Some((block, refused)),
        _ => None,
    });
    let (block, refused) = executed.expect("something is refused");
    assert_eq!(results(sides), [], "it is not answered yet");
    let answers = Vec::new();
    sides.owner(Call::Answer { block, answers }).unwrap();
    refused.into_vec()
}

#[test]
fn the_responses_of_a_block_keep_the_order_of_its_requests() {
    let mut sides = sides(Setup::new([1; 32]));
    let (good, bad) = (key(Algorithm::Ed25519, 1), key(Algorithm::Ed25519, 2));
    sides
        .send(vec![
            request(1, 1, Command::Get).authorized_by(Arc::clone(&bad)),
            request(2, 2, Command::Get).authorized_by(Arc::clone(&good)),
            client::Request::new(RequestId(3), EntityId::EMPTY, Command::Ping),
            request(4, 4, Command::Get).authorized_by(good.clone()),
        ])
        .unwrap();
    let [(block, asked)] = &lookups(&mut sides)[..] else {
        panic!()
    };
    assert_eq!(
        asked.iter().map(|lookup| lookup.id[0]).collect::<Vec<_>>(),
        [1, 2, 4]
    );
    assert!(asked.iter().all(|lookup| lookup.party == Party::Recipient));
    let queues = vec![Some(queue(&good.public_key())); 3];
    sides
        .owner(Call::Keys {
            block: *block,
            queues,
        })
        .unwrap();
    assert_eq!(executed(&mut sides), [(*block, vec![2, 4])]);
    let message = BrokerMessage::Msg {
        id: id(7),
        body: Bytes::from_static(b"x"),
    };
    let answers = vec![BrokerMessage::Ok.into(), message.into()];
    sides
        .owner(Call::Answer {
            block: *block,
            answers,
        })
        .unwrap();
    let message = Some((id(7), Bytes::from_static(b"x")));
    assert_eq!(
        results(&mut sides),
        [
            (1, Err(RequestError::Protocol(ErrorType::Auth))),
            (2, Ok(Response::Message(None))),
            (3, Ok(Response::Pong)),
            (4, Ok(Response::Message(message))),
        ]
    );
}

#[test]
fn blocks_are_executed_in_order_whatever_the_order_of_the_look_ups() {
    let mut sides = sides(Setup::new([1; 32]));
    let good = key(Algorithm::Ed25519, 1);
    for number in 1..=3 {
        let get = request(number.into(), number, Command::Get).authorized_by(good.clone());
        sides.send(vec![get]).unwrap();
    }
    let blocks: Vec<_> = lookups(&mut sides)
        .into_iter()
        .map(|(block, _)| block)
        .collect();
    let keys = |index: usize| Call::Keys {
        block: blocks[index],
        queues: vec![Some(queue(&good.public_key()))],
    };
    sides.owner(keys(2)).unwrap();
    sides.owner(keys(1)).unwrap();
    assert_eq!(executed(&mut sides), []);
    sides.owner(keys(0)).unwrap();
    assert_eq!(
        executed(&mut sides),
        [
            (blocks[0], vec![1]),
            (blocks[1], vec![2]),
            (blocks[2], vec![3])
        ]
    );
}

#[test]
fn a_client_with_too_many_blocks_is_not_read_until_one_is_done() {
    let mut setup = Setup::new([1; 32]);
    setup.server.max_blocks = 2;
    let mut sides = sides(setup);
    let good = key(Algorithm::Ed25519, 1);
    for number in 1..=4 {
        let get = request(number.into(), number, Command::Get).authorized_by(good.clone());
        let call = client::Call::Send(vec![get]);
        sides.client.give(sides.now, Input::Command(call)).unwrap();
    }
    sides.exchange().unwrap();
    assert!(!sides.server.machine.accepts_bytes());
    let first = lookups(&mut sides);
    assert_eq!(first.len(), 2);
    sides
        .owner(Call::Keys {
            block: first[0].0,
            queues: vec![None],
        })
        .unwrap();
    assert_eq!(refused(&mut sides).len(), 1);
    assert_eq!(results(&mut sides).len(), 1);
    assert_eq!(lookups(&mut sides).len(), 1);
    assert!(!sides.server.machine.accepts_bytes());
    sides
        .owner(Call::Keys {
            block: first[1].0,
            queues: vec![None],
        })
        .unwrap();
    assert_eq!(refused(&mut sides).len(), 1);
    assert_eq!(results(&mut sides).len(), 1);
    assert_eq!(lookups(&mut sides).len(), 1);
    assert!(!sides.server.machine.accepts_bytes());
}

/// Whether a queue is absent, has another key, or has a key of another algorithm: the work is the same.
#[test]
fn no_answer_tells_by_its_work_why_it_is_auth() {
    let kinds = [Algorithm::Ed25519, Algorithm::Ed448, Algorithm::X25519];
    for used in kinds {
        for (command, party) in [
            (Command::Sub, Party::Recipient),
            (Command::Del, Party::Recipient),
            (send(1), Party::Sender),
            (Command::NSub, Party::Notifier),
            (Command::SKey(key(used, 9).public_key()), Party::Sender),
            (Command::LKey(key(used, 9).public_key()), Party::Link),
        ] {
            let absent = std::iter::once(None);
            let present = kinds.map(|kind| Some(queue(&key(kind, 2).public_key())));
            let unsecured = Arc::new(QueueKeys {
                sender: None,
                notifier: None,
                mode: Some(QueueMode::Contact),
                ..QueueKeys::clone(&queue(&key(used, 2).public_key()))
            });
            for found in absent.chain(present).chain([Some(unsecured)]) {
                let mut sides = sides(Setup::new([1; 32]));
                let request = request(1, 1, command.clone()).authorized_by(key(used, 1));
                sides.send(vec![request]).unwrap();
                let [(block, asked)] = &lookups(&mut sides)[..] else {
                    panic!()
                };
                assert_eq!(asked[0].party, party);
                sides
                    .owner(Call::Keys {
                        block: *block,
                        queues: vec![found],
                    })
                    .unwrap();
                assert_eq!(&refused(&mut sides), asked);
                assert_eq!(
                    results(&mut sides),
                    [(1, Err(RequestError::Protocol(ErrorType::Auth)))]
                );
                let work = Work {
                    verifications: 1,
                    lookups: 1,
                };
                assert_eq!(sides.server.machine.work(), work, "{command:?} {used:?}");
            }
        }
    }
}

#[test]
fn without_an_authorization_nothing_is_verified_whether_the_queue_is_there_or_not() {
    let secured = queue(&key(Algorithm::Ed25519, 1).public_key());
    for found in [None, Some(secured)] {
        let mut sides = sides(Setup::new([1; 32]));
        sides.send(vec![request(1, 1, send(1))]).unwrap();
        let [(block, _)] = &lookups(&mut sides)[..] else {
            panic!()
        };
        sides
            .owner(Call::Keys {
                block: *block,
                queues: vec![found],
            })
            .unwrap();
        refused(&mut sides);
        assert_eq!(
            results(&mut sides),
            [(1, Err(RequestError::Protocol(ErrorType::Auth)))]
        );
        assert_eq!(sides.server.machine.work().verifications, 0);
    }
}

#[test]
fn a_sender_secures_a_messaging_queue_once() {
    let (first, second) = (key(Algorithm::Ed25519, 1), key(Algorithm::X25519, 2));
    let with = |sender: Option<AuthPublicKey>, mode| {
        Some(Arc::new(QueueKeys {
            sender,
            mode,
            ..QueueKeys::clone(&queue(&first.public_key()))
        }))
    };
    let messaging = Some(QueueMode::Messaging);
    for (found, allowed) in [
        (with(None, messaging), true),
        (with(Some(second.public_key()), messaging), true),
        (with(Some(first.public_key()), messaging), false),
        (with(None, Some(QueueMode::Contact)), false),
        (with(None, None), false),
    ] {
        let mut sides = sides(Setup::new([1; 32]));
        let secure = Command::SKey(second.public_key());
        sides
            .send(vec![request(1, 1, secure).authorized_by(second.clone())])
            .unwrap();
        let [(block, _)] = &lookups(&mut sides)[..] else {
            panic!()
        };
        sides
            .owner(Call::Keys {
                block: *block,
                queues: vec![found],
            })
            .unwrap();
        let executed = executed(&mut sides);
        let requests: usize = executed.iter().map(|(_, requests)| requests.len()).sum();
        assert_eq!(requests, usize::from(allowed));
    }
}

#[test]
fn the_keys_of_a_queue_are_looked_up_once_and_again_when_they_do_not_authorise() {
    let mut sides = sides(Setup::new([1; 32]));
    let (sender, other) = (key(Algorithm::X25519, 1), key(Algorithm::X25519, 2));
    let version = |version, key: &AuthPrivateKey| QueueKeys {
        version,
        ..QueueKeys::clone(&queue(&key.public_key()))
    };
    let found = |block, keys| Call::Keys {
        block,
        queues: vec![Some(Arc::new(keys))],
    };
    let send = |number, key: &Arc<AuthPrivateKey>| {
        vec![request(number, 1, send(1)).authorized_by(Arc::clone(key))]
    };
    sides.send(send(1, &sender)).unwrap();
    let [(block, _)] = lookups(&mut sides)[..] else {
        panic!()
    };
    sides.owner(found(block, version(1, &sender))).unwrap();
    assert_eq!(executed(&mut sides).len(), 1);

    sides.send(send(2, &sender)).unwrap();
    let events = sides.server.events();
    let [Event::Execute { requests, .. }] = &events[..] else {
        panic!("known keys are used at once: {events:?}")
    };
    assert_eq!(requests[0].key, Some(sender.public_key()));

    // Keys that are still the same are not tried twice, whatever else of the queue has changed, nor is what is gone: a wrong signature
    // costs what it costs at a queue that does not exist.
    let other_notifier = QueueKeys {
        notifier: None,
        ..version(2, &sender)
    };
    for keys in [Some(version(1, &sender)), Some(other_notifier), None] {
        let before = sides.server.machine.work();
        sides.send(send(3, &other)).unwrap();
        let [(block, _)] = lookups(&mut sides)[..] else {
            panic!()
        };
        let queues = vec![keys.map(Arc::new)];
        sides.owner(Call::Keys { block, queues }).unwrap();
        refused(&mut sides);
        assert_eq!(
            results(&mut sides),
            [(3, Err(RequestError::Protocol(ErrorType::Auth)))]
        );
        let after = sides.server.machine.work();
        assert_eq!(after.verifications - before.verifications, 1);
        assert_eq!(after.lookups - before.lookups, 1);
    }

    sides.send(send(4, &other)).unwrap();
    let [(block, _)] = lookups(&mut sides)[..] else {
        panic!()
    };
    sides.owner(found(block, version(2, &other))).unwrap();
    assert_eq!(executed(&mut sides).len(), 1);
    sides.send(send(5, &other)).unwrap();
    assert_eq!(executed(&mut sides).len(), 1);
}

/// Sends the content of a block that the client machine would not make.
fn send_raw(sides: &mut Sides, content: &[u8]) -> Vec<Told> {
    let mut out = BytesMut::new();
    let mut blocks = Blocks::new();
    blocks.put(content.len(), &mut out, |out| {
        out.extend_from_slice(content)
    });
    sides.server.give(sides.now, Input::Bytes(&out)).unwrap();
    sides.exchange().unwrap();
    sides.client.events()
}

/// Both sides without encrypted blocks.
fn in_the_clear() -> Setup {
    let mut setup = Setup::new([1; 32]);
    setup.client.handshake.secret = crate::smp::handshake::client::Secrecy::TlsOnly;
    setup
}

#[test]
fn a_block_that_is_no_batch_is_answered_and_the_session_goes_on() {
    let mut sides = sides(in_the_clear());
    for content in [
        [].as_slice(),
        b"\0",
        b"\x01\0\x0b\0\x03abc\x02q1SUBx",
        b"\x02\0\x0b\0\x03abc\x02q1SUB",
    ] {
        assert_eq!(
            send_raw(&mut sides, content),
            [Told::Message {
                entity_id: EntityId::EMPTY,
                message: BrokerMessage::Err(ErrorType::Block)
            }]
        );
    }
    let ping = client::Request::new(RequestId(1), EntityId::EMPTY, Command::Ping);
    sides.send(vec![ping]).unwrap();
    assert_eq!(results(&mut sides), [(1, Ok(Response::Pong))]);
}

#[test]
fn a_transmission_that_is_none_does_not_harm_the_others_of_its_block() {
    let mut sides = sides(in_the_clear());
    let told = send_raw(&mut sides, b"\x02\0\x04\x05abc\0\x0b\0\x03abc\x02q1SUB");
    let [Told::Message { message, .. }, Told::Unexpected(_)] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(*message, BrokerMessage::Err(ErrorType::Block));
}

#[test]
fn a_role_limits_what_a_service_may_do() {
    let service = Credentials::issue(Algorithm::Ed25519, &mut Rng::from_seed([4; 32]));
    let signer = key(Algorithm::Ed25519, 1);
    let prohibited = Err(RequestError::Protocol(ErrorType::command(
        CommandError::Prohibited,
    )));
    for (role, allowed) in [
        (ServiceRole::Messaging, [true, true, false]),
        (ServiceRole::Notifier, [false, false, true]),
        (ServiceRole::Proxy, [false, false, false]),
    ] {
        let mut sides = sides(Setup::new([1; 32]).in_the_name_of(service.service(role)));
        let commands = [Command::Get, send(1), Command::NSub];
        for (command, allowed) in commands.into_iter().zip(allowed) {
            let request = request(1, 1, command).authorized_by(signer.clone());
            sides.send(vec![request]).unwrap();
            let asked = lookups(&mut sides);
            assert_eq!(asked.len(), usize::from(allowed));
            if !allowed {
                assert_eq!(results(&mut sides), [(1, prohibited.clone())]);
            }
        }
        let ping = client::Request::new(RequestId(2), EntityId::EMPTY, Command::Ping);
        sides.send(vec![ping]).unwrap();
        assert_eq!(results(&mut sides), [(2, Ok(Response::Pong))]);
    }
}

#[test]
fn the_service_signature_must_be_there_in_a_service_session_and_nowhere_else() {
    let mut rng = Rng::from_seed([4; 32]);
    let service = Credentials::issue(Algorithm::Ed25519, &mut rng);
    let signer = key(Algorithm::Ed25519, 1);
    let AuthPrivateKey::Ed25519(signing) = &*signer else {
        panic!()
    };
    let mut setup = in_the_clear().in_the_name_of(service.service(ServiceRole::Messaging));
    setup.client.handshake.secret = crate::smp::handshake::client::Secrecy::TlsOnly;
    for (setup, with_signature) in [(setup, false), (in_the_clear(), true)] {
        let mut sides = setup.establish().unwrap();
        let established = sides
            .client
            .events()
            .into_iter()
            .find_map(|told| match told {
                Told::Established(established) => Some(established),
                _ => None,
            });
        let session = established.unwrap().session;
        sides.server.events();
        let sub = Unauthorized::new(&session, &CorrId::from([1; 24]), &id(1), &Command::Sub);
        let signature = signing.sign(sub.authorized());
        let authorization = Authorization::Signature(signature.into());
        let of_service = with_signature.then_some(&signature);
        let transmission = sub.authorize(&session, Some(&authorization), of_service);
        let mut content = BytesMut::new();
        batch::put_content(&[transmission], &mut content);
        send_raw(&mut sides, &content);
        assert_eq!(sides.server.events(), [Event::Heard]);
    }
}

#[test]
fn a_service_is_accepted_or_refused_by_the_owner() {
    let service = Credentials::issue(Algorithm::Ed25519, &mut Rng::from_seed([4; 32]));
    let setup = Setup::new([1; 32]).in_the_name_of(service.service(ServiceRole::Messaging));
    let mut sides = setup.start();
    sides.exchange().unwrap();
    let events = sides.server.events();
    let [Event::Service { role, chain }] = &events[..] else {
        panic!()
    };
    assert_eq!((*role, chain), (ServiceRole::Messaging, &service.chain));
    let error = TransportError::Handshake {
        error: HandshakeError::BadService,
    };
    let refused = sides
        .server
        .give(sides.now, Input::Command(Call::Service(Err(error))));
    assert_eq!(refused, Err(ServerError::Handshake(error)));
    let failed = sides.exchange();
    assert_eq!(
        failed,
        Err(SidesError::Client(client::ClientError::Handshake(error)))
    );
}

#[test]
fn a_client_that_never_says_hello_is_closed() {
    let mut sides = Setup::new([1; 32]).start();
    assert_eq!(
        sides.server.machine.deadline(),
        Some(sides.now.instant + Duration::from_secs(120))
    );
    sides.wait(Duration::from_secs(119)).unwrap();
    assert_eq!(sides.server.closed, None);
    sides.wait(Duration::from_secs(1)).unwrap();
    assert_eq!(sides.server.closed, Some(CloseReason::TimedOut));
    assert_eq!(sides.server.machine.deadline(), None);
}

#[test]
fn a_client_of_another_version_or_router_is_closed_without_a_word() {
    let mut setup = Setup::new([1; 32]);
    setup.server.identity.versions = VersionRange::new(7, 20).unwrap();
    let mut sides = setup.start();
    sides.server.sent.clear();
    let hello = [0, 6, 0x20]
        .into_iter()
        .chain(*sides.credentials.fingerprint().as_bytes());
    let hello: Vec<u8> = hello.collect();
    let mut out = BytesMut::new();
    Blocks::new().put(hello.len(), &mut out, |out| out.extend_from_slice(&hello));
    assert_eq!(
        sides.server.give(sides.now, Input::Bytes(&out)),
        Err(ServerError::Handshake(TransportError::Version))
    );
    assert!(sides.server.sent.is_empty());
}

#[test]
fn delivered_messages_are_encrypted_for_the_recipient() {
    use crate::crypto::secret_box::Key;
    use crate::crypto::x25519::SharedSecret;
    use crate::smp::body::{Delivered, QuotaMark};
    let mut sides = sides(Setup::new([1; 32]));
    let secret = SharedSecret::from_bytes([3; 32]);
    let delivered = Delivered::Quota(QuotaMark { time: 5 });
    let say = Say::Deliver {
        id: id(2),
        delivered: delivered.clone(),
        key: Arc::new(Key::from(&secret)),
    };
    sides.owner(Call::Announce(vec![(id(1), say)])).unwrap();
    let told = sides.client.events();
    let [
        Told::Message {
            entity_id,
            message:
                BrokerMessage::Msg {
                    id: message_id,
                    body,
                },
        },
    ] = &told[..]
    else {
        panic!()
    };
    assert_eq!(*entity_id, id(1));
    assert_eq!(Delivered::decrypt(&secret, message_id, body), Ok(delivered));
}

#[test]
fn answers_that_nobody_waits_for_are_ignored() {
    let mut sides = sides(Setup::new([1; 32]));
    let block = BlockId(7);
    sides
        .owner(Call::Answer {
            block,
            answers: Vec::new(),
        })
        .unwrap();
    sides
        .owner(Call::Keys {
            block,
            queues: vec![None],
        })
        .unwrap();
    sides.owner(Call::Service(Ok(id(1)))).unwrap();
    assert_eq!(
        (sides.client.events(), sides.server.events()),
        (vec![], vec![])
    );
}
