//! What is promised is stored, and what leaves the memory comes back.

use super::*;

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
fn an_acknowledgement_that_was_not_stored_brings_the_message_again() {
    let mut script = Script::new();
    let (recipient, sender) = (script.world.connect(), script.world.connect());
    let queue = script.new_queue(recipient);
    script.send(sender, &queue, b"hello").unwrap();
    script.world.sync = Sync::WhenTold;
    let [(id, _)] = script.messages(recipient, &queue).try_into().unwrap();
    let acknowledged = script.recipient(recipient, &queue, Command::Ack(id));
    assert_eq!(acknowledged, Ok(Response::Message(None)));
    script.world.fail();
    let [(_, again)] = script.messages(recipient, &queue).try_into().unwrap();
    assert_eq!(text(&again), b"hello");
}
