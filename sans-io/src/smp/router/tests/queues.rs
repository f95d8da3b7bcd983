//! Queues: who makes, secures, changes and deletes them.

use super::*;

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
fn a_session_that_knows_old_keys_is_authorised_by_new_ones_only() {
    let mut script = Script::new();
    let (recipient, sender) = (script.world.connect(), script.world.connect());
    let queue = script.new_queue(recipient);
    script.send(sender, &queue, b"hello").unwrap();
    let key = queue.sender_key.public_key();
    let secured = script.recipient(recipient, &queue, Command::Key(key));
    assert_eq!(secured, Ok(Response::Done));
    assert_eq!(script.send(sender, &queue, b"unsigned"), refused(AUTH));
    let sender_id = queue.ids.sender_id.clone();
    let sender_key = Arc::clone(&queue.sender_key);
    for body in [b"first", b"again"] {
        let sent = script.command(sender, &sender_id, &sender_key, send(body));
        assert_eq!(sent, Ok(Response::Done));
    }
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
