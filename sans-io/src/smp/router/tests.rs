//! A router with clients, from command to response.

use std::sync::Arc;
use std::time::Duration;

use super::store::QueueStatus;
use super::*;
use crate::crypto::{Algorithm, AuthPrivateKey, derivation, x25519};
use crate::rng::Rng;
use crate::sim::identity::Credentials;
use crate::sim::script::{AUTH, Queue, Script, refused, send, text};
use crate::sim::store::Contents;
use crate::sim::world::Sync;
use crate::smp::body::{Delivered, NMsgMeta};
use crate::smp::client::{RequestError, Response};
use crate::smp::handshake::ServiceRole;
use crate::smp::{
    BlockingInfo, BlockingReason, ClientNotice, Command, CommandError, ContactLink, ErrorType,
    LinkData, MsgId, NewQueue, NotifierKeys, QueueLink, QueueMode, QueueRequest, ServiceQueues,
    SubscriptionMode,
};
use crate::wire::{Large, NonEmpty};

#[test]
fn a_message_goes_from_sender_to_recipient_and_is_acknowledged() {
    let mut script = Script::new();
    let (recipient, sender) = (script.world.connect(), script.world.connect());
    let queue = script.new_queue(recipient);
    assert_eq!(script.send(sender, &queue, b"hello"), Ok(Response::Done));
    let received = script.messages(recipient, &queue);
    assert_eq!(received.len(), 1);
    assert_eq!(text(&received[0].1), b"hello");
    // The next one is delivered with the acknowledgement.
    assert_eq!(script.send(sender, &queue, b"again"), Ok(Response::Done));
    assert_eq!(script.messages(recipient, &queue), []);
    let Ok(Response::Message(Some((id, body)))) =
        script.recipient(recipient, &queue, Command::Ack(received[0].0.clone()))
    else {
        panic!()
    };
    let delivered = Delivered::decrypt(&queue.secret, &id, &body).unwrap();
    assert_eq!(text(&delivered), b"again");
    assert_eq!(
        script.recipient(recipient, &queue, Command::Ack(id.clone())),
        Ok(Response::Message(None))
    );
    assert_eq!(
        script.recipient(recipient, &queue, Command::Ack(id)),
        refused(ErrorType::NoMsg)
    );
    assert_eq!(script.world.router.gauges().messages, 0);
    assert!(script.world.store.contents().messages.is_empty());
}

#[test]
fn a_queue_is_secured_once_by_either_side() {
    let mut script = Script::new();
    let (recipient, sender) = (script.world.connect(), script.world.connect());
    let by_sender = script.new_queue(recipient);
    script.secure(sender, &by_sender);
    script.secure(sender, &by_sender);
    assert_eq!(script.send(sender, &by_sender, b"unsigned"), refused(AUTH));
    let other = script.key();
    let sender_id = by_sender.ids.sender_id.clone();
    let secure = Command::SKey(other.public_key());
    assert_eq!(
        script.command(sender, &sender_id, &other, secure),
        refused(AUTH)
    );
    let sender_key = Arc::clone(&by_sender.sender_key);
    assert_eq!(
        script.command(sender, &sender_id, &sender_key, send(b"x")),
        Ok(Response::Done)
    );

    let by_recipient = script.new_queue(recipient);
    let key = by_recipient.sender_key.public_key();
    assert_eq!(
        script.recipient(recipient, &by_recipient, Command::Key(key)),
        Ok(Response::Done)
    );
    assert_eq!(
        script.recipient(recipient, &by_recipient, Command::Key(key)),
        Ok(Response::Done)
    );
    assert_eq!(
        script.recipient(recipient, &by_recipient, Command::Key(other.public_key())),
        refused(AUTH)
    );
}

#[test]
fn the_recipient_goes_on_in_the_block_in_which_it_secures_the_queue() {
    let mut script = Script::new();
    let (recipient, sender) = (script.world.connect(), script.world.connect());
    let queue = script.new_queue(recipient);
    script.send(sender, &queue, b"hello").unwrap();
    let (message, _) = script.messages(recipient, &queue).remove(0);
    let id = queue.ids.recipient_id.clone();
    let secure = Command::Key(queue.sender_key.public_key());
    let requests = [secure, Command::Ack(message)]
        .map(|command| script.request(&id, Some(&queue.key), command));
    let [secured, acknowledged] = [requests[0].id, requests[1].id];
    script.world.send(recipient, requests.to_vec());
    assert_eq!(
        script.response(recipient, secured),
        Some(Ok(Response::Done))
    );
    assert_eq!(
        script.response(recipient, acknowledged),
        Some(Ok(Response::Message(None)))
    );
}

#[test]
fn commands_of_one_block_are_executed_in_order() {
    let mut script = Script::new();
    let recipient = script.world.connect();
    let queue = script.new_queue(recipient);
    let (first, second) = (script.key(), script.key());
    let id = queue.ids.recipient_id.clone();
    let requests = [first, second]
        .map(|key| script.request(&id, Some(&queue.key), Command::Key(key.public_key())));
    let [first, second] = [requests[0].id, requests[1].id];
    script.world.send(recipient, requests.to_vec());
    assert_eq!(script.response(recipient, first), Some(Ok(Response::Done)));
    assert_eq!(script.response(recipient, second), Some(refused(AUTH)));
}

#[test]
fn a_subscription_is_taken_over_at_once_and_its_message_delivered_again() {
    let mut script = Script::new();
    let (first, second, sender) = (
        script.world.connect(),
        script.world.connect(),
        script.world.connect(),
    );
    let queue = script.new_queue(first);
    script.send(sender, &queue, b"hello").unwrap();
    assert_eq!(script.messages(first, &queue).len(), 1);
    assert_eq!(
        script.recipient(second, &queue, Command::Sub),
        Ok(Response::Subscribed { service_id: None })
    );
    assert_eq!(
        script.told(first),
        [(queue.ids.recipient_id.clone(), BrokerMessage::End)]
    );
    let received = script.messages(second, &queue);
    assert_eq!(received.len(), 1);
    assert_eq!(
        script.recipient(first, &queue, Command::Ack(received[0].0.clone())),
        refused(ErrorType::NoMsg)
    );
    script
        .recipient(second, &queue, Command::Ack(received[0].0.clone()))
        .unwrap();
    script.send(sender, &queue, b"for the second").unwrap();
    assert_eq!(script.messages(first, &queue), []);
    assert_eq!(script.messages(second, &queue).len(), 1);
}

#[test]
fn a_message_that_is_sent_while_nobody_is_subscribed_waits_for_the_subscription() {
    let mut script = Script::new();
    let (recipient, sender) = (script.world.connect(), script.world.connect());
    let queue = script
        .create(recipient, None, SubscriptionMode::OnlyCreate)
        .unwrap();
    script.send(sender, &queue, b"one").unwrap();
    script.send(sender, &queue, b"two").unwrap();
    assert_eq!(script.messages(recipient, &queue), []);
    script.recipient(recipient, &queue, Command::Sub).unwrap();
    let received = script.messages(recipient, &queue);
    assert_eq!(
        received
            .iter()
            .map(|(_, delivered)| text(delivered))
            .collect::<Vec<_>>(),
        [b"one"]
    );
    // Subscribing again delivers it again.
    script.recipient(recipient, &queue, Command::Sub).unwrap();
    assert_eq!(script.messages(recipient, &queue), received);
}

#[test]
fn get_and_sub_exclude_each_other_on_one_connection_and_not_on_two() {
    let mut script = Script::new();
    let (one, two, sender) = (
        script.world.connect(),
        script.world.connect(),
        script.world.connect(),
    );
    let queue = script
        .create(one, None, SubscriptionMode::OnlyCreate)
        .unwrap();
    let prohibited = || refused(ErrorType::command(CommandError::Prohibited));
    assert_eq!(
        script.recipient(one, &queue, Command::Get),
        Ok(Response::Message(None))
    );
    script.send(sender, &queue, b"hello").unwrap();
    let Ok(Response::Message(Some((id, _)))) = script.recipient(one, &queue, Command::Get) else {
        panic!()
    };
    assert_eq!(script.recipient(one, &queue, Command::Sub), prohibited());
    assert_eq!(
        script.recipient(two, &queue, Command::Sub),
        Ok(Response::Subscribed { service_id: None })
    );
    assert_eq!(script.messages(two, &queue).len(), 1);
    assert_eq!(script.recipient(two, &queue, Command::Get), prohibited());
    assert_eq!(
        script.recipient(one, &queue, Command::Ack(id.clone())),
        Ok(Response::Message(None))
    );
    assert_eq!(
        script.recipient(two, &queue, Command::Ack(id)),
        Ok(Response::Message(None))
    );
    assert_eq!(script.world.router.gauges().messages, 0);
}

#[test]
fn an_empty_acknowledgement_acknowledges_nothing() {
    let mut script = Script::new();
    let (recipient, sender) = (script.world.connect(), script.world.connect());
    let queue = script.new_queue(recipient);
    assert_eq!(
        script.recipient(recipient, &queue, Command::Ack(MsgId::EMPTY)),
        refused(ErrorType::NoMsg)
    );
    script.send(sender, &queue, b"hello").unwrap();
    let (id, _) = script.messages(recipient, &queue).remove(0);
    let Ok(Response::Message(Some((again, _)))) =
        script.recipient(recipient, &queue, Command::Ack(MsgId::EMPTY))
    else {
        panic!()
    };
    assert_eq!(again, id);
    assert_eq!(
        script.recipient(recipient, &queue, Command::Ack(id)),
        Ok(Response::Message(None))
    );
}

#[test]
fn a_full_queue_says_so_to_both_sides_until_it_was_emptied() {
    let config = Config {
        message_quota: 3,
        ..Config::default()
    };
    let mut script = Script::with(config);
    let (recipient, sender) = (script.world.connect(), script.world.connect());
    let queue = script.new_queue(recipient);
    for _ in 0..3 {
        assert_eq!(script.send(sender, &queue, b"x"), Ok(Response::Done));
    }
    assert_eq!(script.send(sender, &queue, b"x"), refused(ErrorType::Quota));
    assert_eq!(script.send(sender, &queue, b"x"), refused(ErrorType::Quota));
    let mut received = script.messages(recipient, &queue);
    let mut texts = Vec::new();
    while let Some((id, delivered)) = received.pop() {
        texts.push(text(&delivered).to_vec());
        assert_eq!(script.send(sender, &queue, b"x"), refused(ErrorType::Quota));
        if let Ok(Response::Message(Some((id, body)))) =
            script.recipient(recipient, &queue, Command::Ack(id))
        {
            received.push((
                id.clone(),
                Delivered::decrypt(&queue.secret, &id, &body).unwrap(),
            ));
        }
    }
    assert_eq!(
        texts,
        [
            b"x".to_vec(),
            b"x".to_vec(),
            b"x".to_vec(),
            b"QUOTA".to_vec()
        ]
    );
    assert_eq!(script.send(sender, &queue, b"x"), Ok(Response::Done));
}

#[test]
fn messages_have_a_size_and_a_queue_that_is_off_takes_none() {
    let mut script = Script::new();
    let (recipient, sender) = (script.world.connect(), script.world.connect());
    let queue = script.new_queue(recipient);
    let large: &'static [u8] = vec![0; 16049].leak();
    assert_eq!(
        script.send(sender, &queue, large),
        refused(ErrorType::LargeMsg)
    );
    assert_eq!(
        script.send(sender, &queue, &large[..16048]),
        Ok(Response::Done)
    );
    assert_eq!(
        script.recipient(recipient, &queue, Command::Off),
        Ok(Response::Done)
    );
    assert_eq!(script.send(sender, &queue, b"x"), refused(AUTH));
    assert_eq!(
        script.recipient(recipient, &queue, Command::Sub),
        Ok(Response::Subscribed { service_id: None })
    );
}

#[test]
fn a_deleted_queue_is_gone_and_its_subscriber_is_told() {
    let mut script = Script::new();
    let (owner, other, sender) = (
        script.world.connect(),
        script.world.connect(),
        script.world.connect(),
    );
    let queue = script.new_queue(owner);
    script.send(sender, &queue, b"x").unwrap();
    script.told(owner);
    assert_eq!(
        script.recipient(other, &queue, Command::Del),
        Ok(Response::Done)
    );
    assert_eq!(
        script.told(owner),
        [(queue.ids.recipient_id.clone(), BrokerMessage::Deld)]
    );
    assert_eq!(script.recipient(owner, &queue, Command::Sub), refused(AUTH));
    assert_eq!(script.send(sender, &queue, b"x"), refused(AUTH));
    assert_eq!(script.world.store.contents(), &Contents::default());
    let gauges = script.world.router.gauges();
    assert_eq!(
        (gauges.queues, gauges.messages, gauges.subscriptions),
        (0, 0, 0)
    );
}

fn link_data(fixed: &[u8], user: &[u8]) -> LinkData {
    LinkData {
        fixed: Large::try_from(fixed).unwrap(),
        user: Large::try_from(user).unwrap(),
    }
}

fn derived_sender_id() -> EntityId {
    EntityId::from(derivation::sender_id(&[0x77; 24]))
}

#[test]
fn the_link_of_an_invitation_is_read_by_the_one_who_secures_the_queue() {
    let mut script = Script::new();
    let (recipient, sender) = (script.world.connect(), script.world.connect());
    let link = QueueLink {
        sender_id: derived_sender_id(),
        data: link_data(b"fixed", b""),
    };
    let request = QueueRequest::Messaging(Some(link));
    let queue = script
        .create(
            recipient,
            Some(request.clone()),
            SubscriptionMode::Subscribe,
        )
        .unwrap();
    assert_eq!(queue.ids.sender_id, derived_sender_id());
    let link_id = queue.ids.link_id.clone().unwrap();
    // The id of the sender is taken.
    assert!(
        script
            .create(recipient, Some(request), SubscriptionMode::Subscribe)
            .is_err()
    );
    let sender_key = Arc::clone(&queue.sender_key);
    let lkey = Command::LKey(sender_key.public_key());
    let link = Ok(Response::Link {
        sender_id: derived_sender_id(),
        data: link_data(b"fixed", b""),
    });
    for _ in 0..2 {
        assert_eq!(
            script.command(sender, &link_id, &sender_key, lkey.clone()),
            link
        );
    }
    let lget = script.request(&link_id, None, Command::LGet);
    assert_eq!(script.execute(sender, lget), refused(AUTH));
    let other = script.key();
    let lkey = Command::LKey(other.public_key());
    assert_eq!(
        script.command(sender, &link_id, &other, lkey),
        refused(AUTH)
    );
    // The first message removes the link.
    let sender_id = queue.ids.sender_id.clone();
    assert_eq!(
        script.command(sender, &sender_id, &sender_key, send(b"x")),
        Ok(Response::Done)
    );
    let lkey = Command::LKey(sender_key.public_key());
    assert_eq!(
        script.command(sender, &link_id, &sender_key, lkey),
        refused(AUTH)
    );
}

#[test]
fn the_link_of_a_contact_address_is_read_by_anybody_and_changed_by_its_owner() {
    let mut script = Script::new();
    let (owner, anybody) = (script.world.connect(), script.world.connect());
    let link_id = EntityId::from([4; 24]);
    let link = ContactLink {
        link_id: link_id.clone(),
        sender_id: derived_sender_id(),
        data: link_data(b"fixed", b"one"),
    };
    let queue = script
        .create(
            owner,
            Some(QueueRequest::Contact(Some(link))),
            SubscriptionMode::Subscribe,
        )
        .unwrap();
    let read = |script: &mut Script| {
        let lget = script.request(&link_id, None, Command::LGet);
        script.execute(anybody, lget)
    };
    let link = |user: &[u8]| {
        Ok(Response::Link {
            sender_id: derived_sender_id(),
            data: link_data(b"fixed", user),
        })
    };
    assert_eq!(read(&mut script), link(b"one"));
    let set = |fixed: &[u8], user: &[u8], id: &EntityId| Command::LSet {
        link_id: id.clone(),
        data: link_data(fixed, user),
    };
    assert_eq!(
        script.recipient(owner, &queue, set(b"fixed", b"two", &link_id)),
        Ok(Response::Done)
    );
    assert_eq!(read(&mut script), link(b"two"));
    assert_eq!(
        script.recipient(owner, &queue, set(b"other", b"two", &link_id)),
        refused(AUTH)
    );
    let other_id = EntityId::from([5; 24]);
    assert_eq!(
        script.recipient(owner, &queue, set(b"fixed", b"two", &other_id)),
        refused(AUTH)
    );
    // The link of one queue cannot become that of another.
    let second = script
        .create(owner, None, SubscriptionMode::OnlyCreate)
        .unwrap();
    assert_eq!(
        script.recipient(owner, &second, set(b"fixed", b"x", &link_id)),
        refused(AUTH)
    );
    for _ in 0..2 {
        assert_eq!(
            script.recipient(owner, &queue, Command::LDel),
            Ok(Response::Done)
        );
    }
    assert_eq!(read(&mut script), refused(AUTH));
    assert_eq!(
        script.recipient(owner, &second, set(b"fixed", b"x", &link_id)),
        Ok(Response::Done)
    );
}

#[test]
fn the_id_of_a_sender_that_is_not_derived_is_prohibited() {
    let mut script = Script::new();
    let client = script.world.connect();
    let link = QueueLink {
        sender_id: EntityId::from([1; 24]),
        data: link_data(b"", b""),
    };
    let created = script.create(
        client,
        Some(QueueRequest::Messaging(Some(link))),
        SubscriptionMode::Subscribe,
    );
    assert_eq!(
        created.err(),
        Some(RequestError::Protocol(ErrorType::command(
            CommandError::Prohibited
        )))
    );
}

#[test]
fn only_contact_queues_change_the_keys_of_their_recipients() {
    let mut script = Script::new();
    let client = script.world.connect();
    let messaging = script.new_queue(client);
    let mut contact = script
        .create(
            client,
            Some(QueueRequest::Contact(None)),
            SubscriptionMode::Subscribe,
        )
        .unwrap();
    let new = script.key();
    let rkey = Command::RKey(NonEmpty::one(new.public_key()));
    assert_eq!(
        script.recipient(client, &messaging, rkey.clone()),
        refused(AUTH)
    );
    assert_eq!(script.recipient(client, &contact, rkey), Ok(Response::Done));
    assert_eq!(
        script.recipient(client, &contact, Command::Sub),
        refused(AUTH)
    );
    contact.key = new;
    assert_eq!(
        script.recipient(client, &contact, Command::Sub),
        Ok(Response::Subscribed { service_id: None })
    );
}

#[test]
fn the_operator_decides_who_creates_queues() {
    let password = || "secret".parse().unwrap();
    for (new_queues, given, allowed) in [
        (NewQueues::Allowed, None, true),
        (NewQueues::Allowed, Some(password()), true),
        (NewQueues::WithPassword(password()), None, false),
        (
            NewQueues::WithPassword(password()),
            Some("wrong".parse().unwrap()),
            false,
        ),
        (NewQueues::WithPassword(password()), Some(password()), true),
        (
            NewQueues::Refused(Some(password())),
            Some(password()),
            false,
        ),
    ] {
        let mut script = Script::with(Config {
            new_queues,
            ..Config::default()
        });
        let client = script.world.connect();
        let key = script.key();
        let new = NewQueue {
            auth_key: key.public_key(),
            dh_key: x25519::PrivateKey::from_bytes([1; 32]).public_key(),
            password: given,
            subscription: SubscriptionMode::Subscribe,
            request: None,
            notifier: None,
        };
        let created = script.command(client, &EntityId::EMPTY, &key, Command::New(Box::new(new)));
        assert_eq!(created.is_ok(), allowed);
        if !allowed {
            assert_eq!(created, refused(AUTH));
        }
    }
}

fn notifier(
    script: &mut Script,
    client: ConnId,
    queue: &Queue,
) -> (EntityId, Arc<AuthPrivateKey>, x25519::SharedSecret) {
    let key = script.key();
    let dh = x25519::PrivateKey::generate(&mut script.rng);
    let nkey = Command::NKey(NotifierKeys {
        auth_key: key.public_key(),
        dh_key: dh.public_key(),
    });
    let Ok(Response::Notifier {
        notifier_id,
        dh_key,
    }) = script.recipient(client, queue, nkey)
    else {
        panic!()
    };
    (notifier_id, key, dh.agree(&dh_key))
}

#[test]
fn notifications_are_told_at_once_or_wait_for_the_subscriber() {
    let mut script = Script::with(Config {
        max_notifications: 2,
        ..Config::default()
    });
    let (recipient, sender, ntf) = (
        script.world.connect(),
        script.world.connect(),
        script.world.connect(),
    );
    let queue = script.new_queue(recipient);
    let (id, key, secret) = notifier(&mut script, recipient, &queue);
    for body in [b"1".as_slice(), b"2", b"3"] {
        script.send(sender, &queue, body).unwrap();
    }
    assert_eq!(script.world.router.gauges().notifications, 2);
    assert_eq!(
        script.command(ntf, &id, &key, Command::NSub),
        Ok(Response::Subscribed { service_id: None })
    );
    let told = script.told(ntf);
    assert_eq!(told.len(), 2, "only the newest are kept");
    for (entity, message) in told {
        let BrokerMessage::NMsg { nonce, meta } = message else {
            panic!()
        };
        assert_eq!(entity, id);
        assert!(NMsgMeta::decrypt(&secret, &nonce.into(), &meta).is_ok());
    }
    assert!(script.world.store.contents().notifications.is_empty());
    assert_eq!(script.world.router.gauges().notifications, 0);
    script.send(sender, &queue, b"4").unwrap();
    assert_eq!(script.told(ntf).len(), 1);
    // Another subscriber takes over, then the notifier is replaced.
    let second = script.world.connect();
    script.command(second, &id, &key, Command::NSub).unwrap();
    assert_eq!(script.told(ntf), [(id.clone(), BrokerMessage::End)]);
    notifier(&mut script, recipient, &queue);
    assert_eq!(script.told(second), [(id.clone(), BrokerMessage::Deld)]);
    assert_eq!(
        script.command(second, &id, &key, Command::NSub),
        refused(AUTH)
    );
    for _ in 0..2 {
        assert_eq!(
            script.recipient(recipient, &queue, Command::NDel),
            Ok(Response::Done)
        );
    }
}

#[test]
fn old_messages_and_notifications_expire_and_so_does_the_mark_of_a_full_queue() {
    let expiration = Expiration {
        ttl: Duration::from_secs(100),
        check: Duration::from_secs(10),
    };
    let config = Config {
        message_quota: 1,
        message_expiration: Some(expiration),
        notification_expiration: Some(expiration),
        ..Config::default()
    };
    let mut script = Script::with(config);
    let (recipient, sender) = (script.world.connect(), script.world.connect());
    let queue = script
        .create(recipient, None, SubscriptionMode::OnlyCreate)
        .unwrap();
    notifier(&mut script, recipient, &queue);
    script.send(sender, &queue, b"1").unwrap();
    assert_eq!(script.send(sender, &queue, b"2"), refused(ErrorType::Quota));
    script.world.wait(Duration::from_secs(90));
    assert_eq!(script.world.store.contents().messages.len(), 2);
    script.world.wait(Duration::from_secs(30));
    assert!(script.world.store.contents().messages.is_empty());
    assert!(script.world.store.contents().notifications.is_empty());
    assert_eq!(script.world.router.gauges().messages, 0);
    assert_eq!(script.send(sender, &queue, b"3"), Ok(Response::Done));
}

#[test]
fn messages_that_are_too_old_make_room_when_one_is_sent() {
    let expiration = Expiration {
        ttl: Duration::from_secs(100),
        check: Duration::from_secs(100_000),
    };
    let config = Config {
        message_quota: 1,
        message_expiration: Some(expiration),
        ..Config::default()
    };
    let mut script = Script::with(config);
    let (recipient, sender) = (script.world.connect(), script.world.connect());
    let queue = script.new_queue(recipient);
    script.send(sender, &queue, b"1").unwrap();
    assert_eq!(script.send(sender, &queue, b"2"), refused(ErrorType::Quota));
    script.told(recipient);
    script.world.wait(Duration::from_secs(101));
    assert_eq!(script.send(sender, &queue, b"3"), Ok(Response::Done));
    let received = script.messages(recipient, &queue);
    assert_eq!(
        received
            .iter()
            .map(|(_, delivered)| text(delivered))
            .collect::<Vec<_>>(),
        [b"3"]
    );
}

#[test]
fn blocking_says_why_and_unblocking_restores_what_was_before() {
    let mut script = Script::new();
    let (recipient, sender) = (script.world.connect(), script.world.connect());
    let queue = script.new_queue(recipient);
    let info = BlockingInfo {
        reason: BlockingReason::Spam,
        notice: Some(ClientNotice { ttl: Some(5) }),
    };
    let blocked = || refused(ErrorType::Blocked { info });
    let sender_id = queue.ids.sender_id.clone();
    assert!(matches!(
        script
            .world
            .operate(Operation::Block(sender_id.clone(), info)),
        Some(Outcome::Blocked(_))
    ));
    let told = (
        queue.ids.recipient_id.clone(),
        BrokerMessage::Err(ErrorType::Blocked { info }),
    );
    assert_eq!(script.told(recipient), [told]);
    assert_eq!(script.send(sender, &queue, b"x"), blocked());
    assert_eq!(script.recipient(recipient, &queue, Command::Sub), blocked());
    assert_eq!(
        script.recipient(recipient, &queue, Command::Off),
        Ok(Response::Done)
    );
    assert_eq!(script.send(sender, &queue, b"x"), blocked());
    assert!(matches!(
        script
            .world
            .operate(Operation::Block(sender_id.clone(), info)),
        Some(Outcome::WasInactive(_))
    ));
    assert_eq!(
        script.world.operate(Operation::Unblock(sender_id.clone())),
        Some(Outcome::Unblocked(info))
    );
    let status = script.world.operate(Operation::Status(sender_id.clone()));
    assert!(matches!(
        status,
        Some(Outcome::Status(QueueStatusInfo {
            status: QueueStatus::Off,
            mode: Some(QueueMode::Messaging),
            ..
        }))
    ));
    assert_eq!(
        script.world.operate(Operation::Unblock(sender_id.clone())),
        Some(Outcome::Suspended)
    );
    assert_eq!(
        script.world.operate(Operation::Delete(sender_id.clone())),
        Some(Outcome::Deleted(0))
    );
    assert_eq!(
        script.world.operate(Operation::Delete(sender_id)),
        Some(Outcome::NotFound)
    );
}

#[test]
fn nothing_is_promised_before_it_is_stored_and_delivery_does_not_wait() {
    let mut script = Script::new();
    let (recipient, sender) = (script.world.connect(), script.world.connect());
    let queue = script.new_queue(recipient);
    script.world.sync = Sync::WhenTold;
    let request = script.request(&queue.ids.sender_id, None, send(b"hello"));
    let id = request.id;
    script.world.send(sender, vec![request]);
    assert_eq!(script.response(sender, id), None);
    let received = script.messages(recipient, &queue);
    assert_eq!(received.len(), 1);
    // An acknowledgement waits for nothing.
    assert_eq!(
        script.recipient(recipient, &queue, Command::Ack(received[0].0.clone())),
        Ok(Response::Message(None))
    );
    assert_eq!(script.world.store.unsynced(), 2);
    script.world.sync(1);
    assert_eq!(script.response(sender, id), Some(Ok(Response::Done)));
}

#[test]
fn what_could_not_be_stored_is_told_and_did_not_happen() {
    let mut script = Script::new();
    let (recipient, sender) = (script.world.connect(), script.world.connect());
    let queue = script
        .create(recipient, None, SubscriptionMode::OnlyCreate)
        .unwrap();
    script.world.sync = Sync::WhenTold;
    let request = script.request(&queue.ids.sender_id, None, send(b"lost"));
    let id = request.id;
    script.world.send(sender, vec![request]);
    script.world.fail();
    let Some(Err(RequestError::Protocol(ErrorType::Store { error }))) = script.response(sender, id)
    else {
        panic!()
    };
    assert_eq!(error.as_bytes(), b"storage failed");
    script.world.sync = Sync::AtOnce;
    assert_eq!(
        script.recipient(recipient, &queue, Command::Sub),
        Ok(Response::Subscribed { service_id: None })
    );
    assert_eq!(script.messages(recipient, &queue), []);
    assert_eq!(script.send(sender, &queue, b"kept"), Ok(Response::Done));
    assert_eq!(script.messages(recipient, &queue).len(), 1);
}

#[test]
fn what_was_acknowledged_survives_a_crash_and_so_do_queues_links_and_notifiers() {
    let mut script = Script::new();
    let (recipient, sender) = (script.world.connect(), script.world.connect());
    let queue = script
        .create(
            recipient,
            Some(QueueRequest::Messaging(None)),
            SubscriptionMode::OnlyCreate,
        )
        .unwrap();
    script.secure(sender, &queue);
    for _ in 0..20 {
        let (id, key) = (queue.ids.sender_id.clone(), Arc::clone(&queue.sender_key));
        assert_eq!(
            script.command(sender, &id, &key, send(b"kept")),
            Ok(Response::Done)
        );
    }
    script.world = script.world.clone().crash();
    let recipient = script.world.connect();
    script.recipient(recipient, &queue, Command::Sub).unwrap();
    let mut received = script.messages(recipient, &queue);
    let mut count = 0;
    while let Some((id, delivered)) = received.pop() {
        assert_eq!(text(&delivered), b"kept");
        count += 1;
        if let Ok(Response::Message(Some((id, body)))) =
            script.recipient(recipient, &queue, Command::Ack(id))
        {
            received.push((
                id.clone(),
                Delivered::decrypt(&queue.secret, &id, &body).unwrap(),
            ));
        }
    }
    assert_eq!(count, 20);
}

#[test]
fn queues_that_left_the_memory_come_back() {
    let mut script = Script::with(Config {
        cache: 2,
        ..Config::default()
    });
    let (recipient, sender) = (script.world.connect(), script.world.connect());
    let queues: Vec<_> = (0..20).map(|_| script.new_queue(recipient)).collect();
    assert!(script.world.router.gauges().cached <= 3);
    assert_eq!(script.world.router.gauges().subscriptions, 20);
    for queue in &queues {
        for body in [b"1".as_slice(), b"2", b"3"] {
            assert_eq!(script.send(sender, queue, body), Ok(Response::Done));
        }
    }
    let events = script.world.events(recipient);
    assert_eq!(events.len(), 20);
    script.world.put_back(recipient, events);
    for queue in &queues {
        script.recipient(recipient, queue, Command::Sub).unwrap();
        let Some((mut id, _)) = script.messages(recipient, queue).pop() else {
            panic!()
        };
        let mut count = 1;
        while let Ok(Response::Message(Some((next, _)))) =
            script.recipient(recipient, queue, Command::Ack(id))
        {
            count += 1;
            id = next;
        }
        assert_eq!(count, 3);
    }
}

#[test]
fn a_service_receives_the_messages_of_all_its_queues_when_it_comes_back() {
    let mut script = Script::new();
    let service =
        Credentials::issue(Algorithm::Ed25519, &mut script.rng).service(ServiceRole::Messaging);
    let first = script.world.connect_as(Some(service.clone()));
    let sender = script.world.connect();
    let queues: Vec<_> = (0..5).map(|_| script.new_queue(first)).collect();
    let service_id = queues[0].ids.service_id.clone().unwrap();
    script.world.disconnect(first);
    for queue in &queues {
        script.send(sender, queue, b"while away").unwrap();
    }
    let second = script.world.connect_as(Some(service.clone()));
    let subs = script.request(&service_id, None, Command::Subs(ServiceQueues::default()));
    let Ok(Response::ServiceSubscribed(known)) = script.execute(second, subs) else {
        panic!()
    };
    assert_eq!(known.count, 5);
    let ids = queues.iter().map(|queue| queue.ids.recipient_id.to_vec());
    assert_eq!(known.ids_hash, crate::crypto::IdsHash::of(ids));
    let told = script.told(second);
    assert_eq!(told.len(), 6);
    assert_eq!(told[5], (EntityId::EMPTY, BrokerMessage::Alls));
    // A connection that takes over ends the other one.
    let third = script.world.connect_as(Some(service));
    let subs = script.request(&service_id, None, Command::Subs(ServiceQueues::default()));
    script.execute(third, subs).unwrap();
    assert!(
        matches!(script.told(second).last(), Some((id, BrokerMessage::Ends(_))) if *id == service_id)
    );
    // A client that subscribes without the service removes the association.
    let client = script.world.connect();
    script.recipient(client, &queues[0], Command::Sub).unwrap();
    let totals = script.world.store.contents().services[&service_id].1;
    assert_eq!(totals.count, 4);
}

#[test]
fn a_service_keeps_its_id_and_its_role() {
    let mut script = Script::new();
    let credentials = Credentials::issue(Algorithm::Ed25519, &mut script.rng);
    let id = |script: &mut Script| {
        let client = script
            .world
            .connect_as(Some(credentials.service(ServiceRole::Messaging)));
        script.new_queue(client).ids.service_id
    };
    let first = id(&mut script);
    assert!(first.is_some());
    assert_eq!(id(&mut script), first);
    let other_role = script
        .world
        .connect_as(Some(credentials.service(ServiceRole::Notifier)));
    assert!(script.world.connection_count() < 3 || script.world.is_closed(other_role));
}

#[test]
fn a_connection_with_too_much_on_its_way_gets_more_when_it_has_taken_some() {
    let mut router = Router::new(
        Config {
            max_deliveries: 2,
            ..Config::default()
        },
        Rng::from_seed([1; 32]),
        Now::START,
    );
    while router.poll().is_some() {}
    let _ = &mut router;
    let mut script = Script::with(Config {
        max_deliveries: 2,
        ..Config::default()
    });
    let (recipient, sender) = (script.world.connect(), script.world.connect());
    script.world.takes = false;
    let queues: Vec<_> = (0..5).map(|_| script.new_queue(recipient)).collect();
    for queue in &queues {
        script.send(sender, queue, b"x").unwrap();
    }
    assert_eq!(script.told(recipient).len(), 2);
    script.world.give(Input::Taken(recipient, 1));
    assert_eq!(script.told(recipient).len(), 1);
    script.world.give(Input::Taken(recipient, 2));
    assert_eq!(script.told(recipient).len(), 2);
}

#[test]
fn inactive_clients_without_subscriptions_are_disconnected() {
    let expiration = Expiration {
        ttl: Duration::from_secs(100),
        check: Duration::from_secs(10),
    };
    let mut script = Script::with(Config {
        inactive_clients: Some(expiration),
        ..Config::default()
    });
    let (idle, subscribed) = (script.world.connect(), script.world.connect());
    script.new_queue(subscribed);
    script.world.wait(Duration::from_secs(200));
    assert!(script.world.is_closed(idle));
    assert!(!script.world.is_closed(subscribed));
}

#[test]
fn only_so_many_commands_of_a_connection_are_forwarded_at_the_same_time() {
    let mut script = Script::with(Config {
        max_names: 1,
        resolves_names: true,
        ..Config::default()
    });
    let client = script.world.connect();
    let requests: Vec<_> = (0..3)
        .map(|_| {
            script.request(
                &EntityId::EMPTY,
                None,
                Command::Rslv {
                    domain: "name.simplex".parse().unwrap(),
                },
            )
        })
        .collect();
    script.world.send(client, requests);
    for _ in 0..3 {
        let [Action::Resolve(ticket, _)] = script.world.asked[..] else {
            panic!("one at a time")
        };
        script.world.asked.clear();
        let error = ErrorType::Name {
            error: crate::smp::NameError::NotFound,
        };
        script
            .world
            .give(Input::Answered(ticket, BrokerMessage::Err(error)));
    }
    assert!(script.world.asked.is_empty());
    assert_eq!(script.world.router.counters().names_not_found, 3);
}
