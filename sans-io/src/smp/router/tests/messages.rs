//! Messages: from sender to recipient, in order, within limits.

use super::services::notifier;
use super::*;

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
fn messages_that_are_too_old_expire_at_the_start_where_that_is_wanted() {
    for expire_on_start in [true, false] {
        let config = Config {
            message_expiration: Some(Expiration {
                ttl: Duration::from_secs(100),
                check: Duration::from_secs(100_000),
            }),
            expire_on_start,
            ..Config::default()
        };
        let mut script = Script::with(config);
        let (recipient, sender) = (script.world.connect(), script.world.connect());
        let queue = script.new_queue(recipient);
        script.send(sender, &queue, b"1").unwrap();
        script.world.wait(Duration::from_secs(101));
        let world = script.world.crash();
        let left = world.store.contents().messages.len();
        assert_eq!(left, usize::from(!expire_on_start));
    }
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
fn what_is_delivered_is_counted_until_it_is_acknowledged() {
    let mut script = Script::new();
    let (one, two, sender) = (
        script.world.connect(),
        script.world.connect(),
        script.world.connect(),
    );
    let queue = script.new_queue(one);
    script.send(sender, &queue, b"1").unwrap();
    script.send(sender, &queue, b"2").unwrap();
    let delivered = |script: &Script| {
        let gauges = script.world.router.gauges();
        (
            gauges.delivered,
            gauges.delivered_clients,
            gauges.delivered_for,
        )
    };
    assert_eq!(delivered(&script), (1, 1, [1, 0, 0, 0, 0]));
    script.world.wait(Duration::from_secs(100));
    script.recipient(one, &queue, Command::Que).unwrap();
    assert_eq!(delivered(&script), (1, 1, [0, 1, 0, 0, 0]));
    // Taken over, it is delivered anew.
    script.recipient(two, &queue, Command::Sub).unwrap();
    assert_eq!(delivered(&script), (1, 1, [1, 0, 0, 0, 0]));
    script.world.wait(Duration::from_secs(7));
    let (first, _) = script.messages(two, &queue).pop().unwrap();
    let next = script.recipient(two, &queue, Command::Ack(first)).unwrap();
    let Response::Message(Some((second, _))) = next else {
        panic!()
    };
    let times = script.world.router.gauges().ack_times;
    assert_eq!((times.count(), times.sum), (1, 7));
    let next = script.recipient(two, &queue, Command::Ack(second));
    assert_eq!(next, Ok(Response::Message(None)));
    let times = script.world.router.gauges().ack_times;
    assert_eq!((times.count(), times.sum, times.max), (2, 7, 7));
    assert_eq!(delivered(&script), (0, 0, [0; 5]));
    // What nobody acknowledges is nobody's when its client has gone.
    script.send(sender, &queue, b"3").unwrap();
    assert_eq!(delivered(&script).0, 1);
    script.world.disconnect(two);
    assert_eq!(delivered(&script), (0, 0, [0; 5]));
}

#[test]
fn a_queue_that_is_deleted_leaves_nothing_with_its_recipient() {
    let mut script = Script::new();
    let client = script.world.connect();
    for command in [Command::Get, Command::Sub] {
        let queue = script
            .create(client, None, SubscriptionMode::OnlyCreate)
            .unwrap();
        script.recipient(client, &queue, command).unwrap();
        script.recipient(client, &queue, Command::Del).unwrap();
        let known = script.world.router.clients().next().unwrap();
        assert_eq!((known.gets, known.subscriptions()), (0, 0));
    }
}

#[test]
fn who_has_a_message_that_expires_gets_the_next_one() {
    let expiration = Expiration {
        ttl: Duration::from_secs(100),
        check: Duration::from_secs(10),
    };
    let mut script = Script::with(Config {
        message_expiration: Some(expiration),
        ..Config::default()
    });
    let (recipient, sender) = (script.world.connect(), script.world.connect());
    let queue = script.new_queue(recipient);
    script.send(sender, &queue, b"1").unwrap();
    script.world.wait(Duration::from_secs(90));
    script.send(sender, &queue, b"2").unwrap();
    script.world.wait(Duration::from_secs(40));
    assert_eq!(script.world.router.gauges().messages, 1);
    let [(first, _), (id, second)] = script.messages(recipient, &queue).try_into().unwrap();
    let late = script.recipient(recipient, &queue, Command::Ack(first));
    assert_eq!(late, refused(ErrorType::NoMsg));
    let next = script.recipient(recipient, &queue, Command::Ack(id));
    assert_eq!(next, Ok(Response::Message(None)));
    assert_eq!(text(&second), b"2");
}

#[test]
fn what_waits_for_a_message_on_the_disk_is_not_overtaken() {
    let mut script = Script::new();
    let (recipient, sender) = (script.world.connect(), script.world.connect());
    let queue = script
        .create(recipient, None, SubscriptionMode::OnlyCreate)
        .unwrap();
    for body in [b"1".as_slice(), b"2"] {
        script.send(sender, &queue, body).unwrap();
    }
    let Ok(Response::Message(Some((first, _)))) = script.recipient(recipient, &queue, Command::Get)
    else {
        panic!()
    };
    let acknowledged = script.recipient(recipient, &queue, Command::Ack(first));
    assert_eq!(acknowledged, Ok(Response::Message(None)));
    let requests = [Command::Get, Command::Del]
        .map(|command| script.request(&queue.ids.recipient_id, Some(&queue.key), command));
    let [get, delete] = requests.clone().map(|request| request.id);
    script.world.send(recipient, requests.to_vec());
    let events = script.world.events(recipient);
    let result = |id| {
        events.iter().find_map(|event| match event {
            Event::Response { request, result } if *request == id => Some(result.clone()),
            _ => None,
        })
    };
    assert!(matches!(result(get), Some(Ok(Response::Message(Some(_))))));
    assert_eq!(result(delete), Some(Ok(Response::Done)));
}

#[test]
fn who_waits_for_a_queue_is_not_overtaken_when_it_comes_by_another_id() {
    let mut script = Script::with(Config {
        cache: 1,
        ..Config::default()
    });
    let (recipient, sender) = (script.world.connect(), script.world.connect());
    let queue = script
        .create(recipient, None, SubscriptionMode::OnlyCreate)
        .unwrap();
    // The session knows the keys of the queue from now on.
    script.send(sender, &queue, b"0").unwrap();
    let other = script.new_queue(recipient);
    script.world.sync = Sync::WhenTold;
    let (id, key) = (queue.ids.recipient_id.clone(), Arc::clone(&queue.key));
    let subscribe = script.request(&id, Some(&key), Command::Sub);
    script.world.send(recipient, vec![subscribe]);
    let send_to = |script: &mut Script, queue: &Queue, body| {
        let request = script.request(&queue.ids.sender_id, None, send(body));
        script.world.send(sender, vec![request]);
    };
    send_to(&mut script, &other, b"something to store");
    send_to(&mut script, &queue, b"1");
    script.world.sync(0);
    send_to(&mut script, &queue, b"2");
    script.world.sync(usize::MAX);
    let mut bodies = Vec::new();
    let mut received = script.messages(recipient, &queue);
    while let Some((id, delivered)) = received.pop() {
        bodies.push(text(&delivered).to_vec());
        let ack = script.request(&queue.ids.recipient_id, Some(&key), Command::Ack(id));
        let ack_id = ack.id;
        script.world.send(recipient, vec![ack]);
        script.world.sync(usize::MAX);
        if let Some(Ok(Response::Message(Some((id, body))))) = script.response(recipient, ack_id) {
            let delivered = Delivered::decrypt(&queue.secret, &id, &body).unwrap();
            received.push((id, delivered));
        }
    }
    assert_eq!(bodies, [b"0", b"1", b"2"]);
}
