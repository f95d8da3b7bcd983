//! What is counted.

use super::services::notifier;
use super::*;

#[test]
fn what_is_refused_repeated_or_comes_in_blocks_is_counted() {
    let mut script = Script::new();
    let (recipient, other) = (script.world.connect(), script.world.connect());
    let queue = script
        .create(
            recipient,
            Some(QueueRequest::Messaging(None)),
            SubscriptionMode::OnlyCreate,
        )
        .unwrap();
    let (notifier_id, ntf_key, _) = notifier(&mut script, recipient, &queue);
    let (id, wrong) = (queue.ids.recipient_id.clone(), script.key());
    for command in [Command::Sub, Command::Get] {
        assert_eq!(script.command(other, &id, &wrong, command), refused(AUTH));
    }
    let nsub = script.command(other, &notifier_id, &wrong, Command::NSub);
    assert_eq!(nsub, refused(AUTH));
    script.secure(other, &queue);
    assert_eq!(script.send(other, &queue, b"unsigned"), refused(AUTH));
    let (sender_id, key) = (queue.ids.sender_id.clone(), Arc::clone(&queue.sender_key));
    script
        .command(other, &sender_id, &key, send(b"hello"))
        .unwrap();
    for _ in 0..3 {
        script.recipient(recipient, &queue, Command::Get).unwrap();
    }
    script
        .command(other, &notifier_id, &ntf_key, Command::NSub)
        .unwrap();
    // Two of them in one block are one block.
    let subs = [(); 2].map(|()| script.request(&id, Some(&queue.key), Command::Sub));
    script.world.send(other, subs.to_vec());
    script.recipient(other, &queue, Command::NDel).unwrap();
    let third = script.world.connect();
    script.recipient(third, &queue, Command::Sub).unwrap();
    script.recipient(third, &queue, Command::Del).unwrap();

    let counters = *script.world.router.counters();
    assert_eq!(counters.subscriptions_auth, 1);
    assert_eq!(counters.messages_get_auth, 1);
    assert_eq!(counters.notifier_subscriptions_auth, 1);
    assert_eq!(counters.messages_sent_auth, 1);
    assert_eq!(
        (counters.messages_get, counters.messages_get_duplicate),
        (3, 2)
    );
    assert_eq!(counters.subscription_blocks, 2);
    assert_eq!(
        (counters.subscriptions, counters.subscriptions_duplicate),
        (2, 1)
    );
    assert_eq!(counters.notifier_subscription_blocks, 1);
    assert_eq!(counters.notifiers_deleted_blocks, 1);
    assert_eq!(counters.queues_deleted_blocks, 1);
    assert_eq!(
        (
            counters.subscriptions_ended,
            counters.subscription_end_blocks
        ),
        (1, 1)
    );
    assert_eq!(
        (counters.notifications, counters.notification_blocks),
        (1, 1)
    );
}
