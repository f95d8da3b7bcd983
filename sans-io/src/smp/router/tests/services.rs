//! Services, and those who are notified.

use super::*;

pub(super) fn notifier(
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
fn who_removes_a_notifier_itself_is_not_told_of_it() {
    let mut script = Script::new();
    let owner = script.world.connect();
    let queue = script.new_queue(owner);
    let (id, key, _) = notifier(&mut script, owner, &queue);
    script.command(owner, &id, &key, Command::NSub).unwrap();
    // With another notifier in its place, then without, then with the queue.
    let (id, key, _) = notifier(&mut script, owner, &queue);
    script.command(owner, &id, &key, Command::NSub).unwrap();
    script.recipient(owner, &queue, Command::NDel).unwrap();
    let (id, key, _) = notifier(&mut script, owner, &queue);
    script.command(owner, &id, &key, Command::NSub).unwrap();
    script.recipient(owner, &queue, Command::Del).unwrap();
    assert_eq!(script.told(owner), []);
    assert_eq!(script.world.router.gauges().notifier_subscriptions, 0);
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
fn a_connection_that_takes_over_a_service_is_told_of_all_its_messages() {
    let mut script = Script::new();
    let (recipient, sender) = (script.world.connect(), script.world.connect());
    let queue = script.new_queue(recipient);
    let (id, key, _) = notifier(&mut script, recipient, &queue);
    let service =
        Credentials::issue(Algorithm::Ed25519, &mut script.rng).service(ServiceRole::Notifier);
    let first = script.world.connect_as(Some(service.clone()));
    let Ok(Response::Subscribed {
        service_id: Some(service_id),
    }) = script.command(first, &id, &key, Command::NSub)
    else {
        panic!()
    };
    let nsubs = |script: &mut Script, client| {
        let nsubs = script.request(&service_id, None, Command::NSubs(ServiceQueues::default()));
        script.execute(client, nsubs).unwrap()
    };
    nsubs(&mut script, first);
    let second = script.world.connect_as(Some(service));
    nsubs(&mut script, second);
    let told = script.told(first);
    assert!(matches!(told.last(), Some((id, BrokerMessage::Ends(_))) if *id == service_id));
    script.send(sender, &queue, b"new").unwrap();
    assert_eq!(script.told(first), []);
    assert_eq!(script.told(second).len(), 1);
    let gauges = script.world.router.gauges();
    assert_eq!(gauges.subscribed_notifier_services, 1);
    assert_eq!(gauges.subscribed_notifier_service_queues, 1);
    assert_eq!(gauges.notifier_clients, 0);
}

/// Also from connections that have subscribed to single queues.
#[test]
fn a_connection_that_subscribes_for_a_service_takes_over_from_all_others_of_it() {
    let mut script = Script::new();
    let service =
        Credentials::issue(Algorithm::Ed25519, &mut script.rng).service(ServiceRole::Messaging);
    let first = script.world.connect_as(Some(service.clone()));
    let sender = script.world.connect();
    let queue = script.new_queue(first);
    let service_id = queue.ids.service_id.clone().unwrap();
    let second = script.world.connect_as(Some(service.clone()));
    let subs = script.request(&service_id, None, Command::Subs(ServiceQueues::default()));
    script.execute(second, subs).unwrap();
    assert!(matches!(&script.told(first)[..], [(id, BrokerMessage::Ends(_))] if *id == service_id));
    script.send(sender, &queue, b"1").unwrap();
    assert_eq!(script.told(first), []);
    assert_eq!(script.messages(second, &queue).len(), 1);
    // What one receives that does not speak for all comes to the one that does when it has gone.
    let third = script.world.connect_as(Some(service));
    let queue = script.new_queue(third);
    script.send(sender, &queue, b"2").unwrap();
    assert_eq!(script.messages(third, &queue).len(), 1);
    script.told(second);
    script.world.disconnect(third);
    assert_eq!(script.messages(second, &queue).len(), 1);
    assert_eq!(script.world.router.gauges().subscribed_services, 1);
}

/// The same for notifications.
#[test]
fn a_connection_that_subscribes_for_a_notifier_service_takes_over_from_all_others_of_it() {
    let mut script = Script::new();
    let (recipient, sender) = (script.world.connect(), script.world.connect());
    let queue = script.new_queue(recipient);
    let (id, key, _) = notifier(&mut script, recipient, &queue);
    let service =
        Credentials::issue(Algorithm::Ed25519, &mut script.rng).service(ServiceRole::Notifier);
    let first = script.world.connect_as(Some(service.clone()));
    let Ok(Response::Subscribed {
        service_id: Some(service_id),
    }) = script.command(first, &id, &key, Command::NSub)
    else {
        panic!()
    };
    let second = script.world.connect_as(Some(service));
    let nsubs = script.request(&service_id, None, Command::NSubs(ServiceQueues::default()));
    script.execute(second, nsubs).unwrap();
    assert!(matches!(&script.told(first)[..], [(id, BrokerMessage::Ends(_))] if *id == service_id));
    script.send(sender, &queue, b"new").unwrap();
    assert_eq!(script.told(first), []);
    assert_eq!(script.told(second).len(), 1);
}

/// §5.4: END and DELD, also for queues of which nothing was delivered.
#[test]
fn a_service_is_told_of_every_queue_that_it_has_no_more() {
    let mut script = Script::new();
    let credentials = Credentials::issue(Algorithm::Ed25519, &mut script.rng);
    let service = credentials.service(ServiceRole::Messaging);
    let first = script.world.connect_as(Some(service.clone()));
    let (taken, deleted) = (script.new_queue(first), script.new_queue(first));
    let own = script.new_queue(first);
    let service_id = own.ids.service_id.clone().unwrap();
    script.world.disconnect(first);
    let second = script.world.connect_as(Some(service));
    let subs = script.request(&service_id, None, Command::Subs(ServiceQueues::default()));
    script.execute(second, subs).unwrap();
    script.told(second);
    let client = script.world.connect();
    script.recipient(client, &taken, Command::Sub).unwrap();
    script.recipient(client, &deleted, Command::Del).unwrap();
    script.recipient(second, &own, Command::Del).unwrap();
    assert_eq!(
        script.told(second),
        [
            (taken.ids.recipient_id.clone(), BrokerMessage::End),
            (deleted.ids.recipient_id.clone(), BrokerMessage::Deld),
        ]
    );
    script.recipient(client, &taken, Command::Del).unwrap();
    assert_eq!(script.told(second), [], "it has been told before");
}

/// The same for notifiers.
#[test]
fn a_service_is_told_of_every_notifier_that_it_has_no_more() {
    let mut script = Script::new();
    let recipient = script.world.connect();
    let service =
        Credentials::issue(Algorithm::Ed25519, &mut script.rng).service(ServiceRole::Notifier);
    let first = script.world.connect_as(Some(service.clone()));
    let mut service_id = None;
    let notifiers: Vec<_> = (0..3)
        .map(|_| {
            let queue = script.new_queue(recipient);
            let (id, key, _) = notifier(&mut script, recipient, &queue);
            let Ok(Response::Subscribed { service_id: of }) =
                script.command(first, &id, &key, Command::NSub)
            else {
                panic!()
            };
            service_id = of;
            (queue, id, key)
        })
        .collect();
    script.world.disconnect(first);
    let second = script.world.connect_as(Some(service));
    let nsubs = Command::NSubs(ServiceQueues::default());
    let nsubs = script.request(&service_id.unwrap(), None, nsubs);
    script.execute(second, nsubs).unwrap();
    let [
        (_, taken, key),
        (replaced, of_replaced, _),
        (removed, of_removed, _),
    ] = &notifiers[..]
    else {
        panic!()
    };
    let client = script.world.connect();
    script.command(client, taken, key, Command::NSub).unwrap();
    notifier(&mut script, recipient, replaced);
    script.recipient(recipient, removed, Command::NDel).unwrap();
    assert_eq!(
        script.told(second),
        [
            (taken.clone(), BrokerMessage::End),
            (of_replaced.clone(), BrokerMessage::Deld),
            (of_removed.clone(), BrokerMessage::Deld),
        ]
    );
}

/// §5.9: SOKS, MSG…, ALLS.
#[test]
fn all_is_said_when_the_last_message_is_on_its_way() {
    let config = Config {
        max_deliveries: 2,
        ..Config::default()
    };
    let mut script = Script::with(config);
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
    script.world.takes = false;
    let second = script.world.connect_as(Some(service));
    let subs = script.request(&service_id, None, Command::Subs(ServiceQueues::default()));
    script.execute(second, subs).unwrap();
    let all = (EntityId::EMPTY, BrokerMessage::Alls);
    let told = script.told(second);
    assert!(told.len() == 2 && !told.contains(&all), "{told:?}");
    script.world.give(Input::Taken(second, 2));
    let told = script.told(second);
    assert!(told.len() == 2 && !told.contains(&all), "{told:?}");
    script.world.give(Input::Taken(second, 2));
    let told = script.told(second);
    assert!(told.len() == 2 && told[1] == all, "{told:?}");
}

#[test]
fn subscriptions_that_end_together_share_a_block() {
    let mut script = Script::new();
    let (one, two) = (script.world.connect(), script.world.connect());
    let queues: Vec<_> = (0..20).map(|_| script.new_queue(one)).collect();
    let subscriptions: Vec<_> = queues
        .iter()
        .map(|queue| {
            let key = Some(&queue.key);
            script.request(&queue.ids.recipient_id, key, Command::Sub)
        })
        .collect();
    script.world.send(two, subscriptions);
    assert_eq!(script.told(one).len(), 20);
    let counters = script.world.router.counters();
    assert_eq!(counters.subscriptions_ended, 20);
    assert_eq!(counters.subscription_end_blocks, 1);
}
