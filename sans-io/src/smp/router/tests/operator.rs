//! What the operator does, and the limits that were set.

use super::*;

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
    let pings = script.world.connect();
    for _ in 0..10 {
        script.world.wait(Duration::from_secs(20));
        let ping = script.request(&EntityId::EMPTY, None, Command::Ping);
        assert_eq!(script.execute(pings, ping), Ok(Response::Pong));
    }
    assert!(!script.world.is_closed(pings));
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
