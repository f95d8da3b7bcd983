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
    script.world.sync(0);
    assert_eq!(script.world.router.gauges().messages, 0);
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
fn who_is_not_authorised_waits_once_for_the_store_whether_the_queue_is_in_memory_or_not_or_does_not_exist()
 {
    let mut script = Script::with(Config {
        cache: 1,
        ..Config::default()
    });
    let recipient = script.world.connect();
    let cold = script.new_queue(recipient);
    // Enough of them that the first one has left.
    let others: Vec<_> = (0..70).map(|_| script.new_queue(recipient)).collect();
    let in_memory = others.last().unwrap();
    script.world.sync = Sync::WhenTold;
    let key = script.key();
    let stranger = script.world.connect();
    let absent = EntityId::from([7; 24]);
    let (cold, in_memory) = (&cold.ids, &in_memory.ids);
    for (used, recipient_id, sender_id) in [
        (recipient, &in_memory.recipient_id, &in_memory.sender_id),
        (stranger, &in_memory.recipient_id, &in_memory.sender_id),
        (stranger, &cold.recipient_id, &cold.sender_id),
        (stranger, &cold.recipient_id, &cold.sender_id),
        (stranger, &absent, &absent),
        (stranger, &absent, &absent),
    ] {
        let commands = [
            (recipient_id, Command::Sub),
            (recipient_id, Command::Del),
            (sender_id, send(b"x")),
        ];
        for (id, command) in commands {
            let request = script.request(id, Some(&key), command);
            let asked = request.id;
            script.world.send(used, vec![request]);
            assert_eq!(script.world.router.gauges().loads, 1);
            assert_eq!(script.response(used, asked), None);
            script.world.sync(0);
            assert_eq!(script.world.router.gauges().loads, 0);
            assert_eq!(script.response(used, asked), Some(refused(AUTH)));
        }
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

#[test]
fn nobody_is_told_of_what_is_not_stored() {
    let mut script = Script::new();
    let (recipient, other, ntf) = (
        script.world.connect(),
        script.world.connect(),
        script.world.connect(),
    );
    let queue = script.new_queue(recipient);
    let (id, key, _) = services::notifier(&mut script, recipient, &queue);
    script.command(ntf, &id, &key, Command::NSub).unwrap();
    for refused in [true, false] {
        script.world.sync = Sync::WhenTold;
        let (recipient_id, own) = (queue.ids.recipient_id.clone(), Arc::clone(&queue.key));
        let info = BlockingInfo {
            reason: BlockingReason::Spam,
            notice: None,
        };
        let block = Operation::Block(queue.ids.sender_id.clone(), info);
        assert_eq!(script.world.operate(block), None);
        let request = script.request(&recipient_id, Some(&own), Command::Del);
        let delete = request.id;
        script.world.send(other, vec![request]);
        assert_eq!(script.response(other, delete), None);
        assert_eq!(script.told(recipient), []);
        assert_eq!(script.told(ntf), []);
        match refused {
            true => script.world.fail(),
            false => script.world.sync(usize::MAX),
        }
        script.world.sync = Sync::AtOnce;
        script.world.sync(0);
        let deleted = script.response(other, delete).unwrap();
        if refused {
            assert!(deleted.is_err());
            // Everything is as it was.
            script.send(other, &queue, b"hello").unwrap();
            let [(message, _)] = script.messages(recipient, &queue).try_into().unwrap();
            script
                .recipient(recipient, &queue, Command::Ack(message))
                .unwrap();
            assert_eq!(script.told(ntf).len(), 1);
            assert_eq!(script.world.router.gauges().queues, 1);
        } else {
            assert_eq!(deleted, Ok(Response::Done));
            let blocked = BrokerMessage::Err(ErrorType::Blocked { info });
            let told = [
                (recipient_id.clone(), blocked),
                (recipient_id, BrokerMessage::Deld),
            ];
            assert_eq!(script.told(recipient), told);
            assert_eq!(script.told(ntf), [(id.clone(), BrokerMessage::Deld)]);
            assert_eq!(script.world.router.gauges().queues, 0);
        }
    }
}

#[test]
fn what_was_not_stored_is_refused_in_a_block_that_waits_for_other_things() {
    let mut script = Script::new();
    let (client, sender) = (script.world.connect(), script.world.connect());
    let (first, second) = (script.new_queue(client), script.new_queue(client));
    for body in [b"1".as_slice(), b"2"] {
        script.send(sender, &second, body).unwrap();
    }
    let [(message, _)] = script.messages(client, &second).try_into().unwrap();
    let key = Command::Key(script.key().public_key());
    // The next message is on the disk.
    let ack = Command::Ack(message);
    let requests = [(&first, key), (&second, ack), (&first, Command::Sub)]
        .map(|(queue, command)| script.request(&queue.ids.recipient_id, Some(&queue.key), command));
    let ids = requests.clone().map(|request| request.id);
    script.world.sync = Sync::WhenTold;
    script.world.send(client, requests.to_vec());
    script.world.fail();
    script.world.sync(usize::MAX);
    let mut results: Vec<_> = ids.map(|_| None).into();
    for event in script.world.events(client) {
        if let Event::Response { request, result } = event {
            results[ids.iter().position(|id| *id == request).unwrap()] = Some(result);
        }
    }
    assert!(matches!(
        results[0],
        Some(Err(RequestError::Protocol(ErrorType::Store { .. })))
    ));
    // The message was there again, and is acknowledged now.
    assert!(matches!(results[1], Some(Ok(Response::Message(Some(_))))));
    let subscribed = Response::Subscribed { service_id: None };
    assert_eq!(results[2], Some(Ok(subscribed)));
}
