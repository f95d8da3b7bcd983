//! What clients do.

use bytes::Bytes;
use simplex_sans_io::crypto::{derivation, x25519};
use simplex_sans_io::drive::Clock as _;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::smp::client::{Request, RequestError, RequestId, Response};
use simplex_sans_io::smp::version::{SUPPORTED, max_message_length};
use simplex_sans_io::smp::{
    BrokerMessage, Command, CommandError, ContactLink, ErrorType, LinkData, MsgFlags, NotifierKeys,
    QueueLink, QueueRequest, SubscriptionMode,
};
use simplex_sans_io::wire::{EntityId, Large, NonEmpty};
use simplex_tests::conformance::Runtime;

use crate::client::{Answer, Client, send};
use crate::router::{Kept, Router};

const CORR_ID: [u8; 24] = [0x77; 24];
const SUBSCRIBED: Answer = Ok(Response::Subscribed { service_id: None });

fn refused(error: ErrorType) -> Answer {
    Err(RequestError::Protocol(error))
}

fn link_data(fixed: &[u8], user: &[u8]) -> LinkData {
    LinkData {
        fixed: Large::try_from(fixed).unwrap(),
        user: Large::try_from(user).unwrap(),
    }
}

async fn pair<R: Runtime>(network: &R, router: &Router) -> (Client, Client) {
    let first = Client::connect(network, &router.address).await;
    (first, Client::connect(network, &router.address).await)
}

pub(crate) async fn the_life_of_a_queue<R: Runtime>(network: R, router: Router) {
    let (mut recipient, mut sender) = pair(&network, &router).await;
    let queue = recipient.new_queue().await;
    assert_eq!(sender.secure(&queue).await, Ok(Response::Done));
    assert_eq!(sender.secure(&queue).await, Ok(Response::Done));
    let unsigned = sender.execute(&queue.ids.sender_id, None, send("x")).await;
    assert_eq!(unsigned, refused(ErrorType::Auth));
    let stranger = sender.key();
    let wrong = sender
        .execute(&queue.ids.sender_id, Some(&stranger), send("x"))
        .await;
    assert_eq!(wrong, refused(ErrorType::Auth));
    // An empty body is a message like others.
    for body in ["", "one", "two"] {
        assert_eq!(sender.send(&queue, body).await, Ok(Response::Done));
    }
    let (id, body) = recipient.message(&queue).await;
    assert_eq!(body, "");
    let (id, body) = recipient.ack(&queue, id).await.unwrap();
    assert_eq!(body, "one");
    let (id, body) = recipient.ack(&queue, id).await.unwrap();
    assert_eq!(body, "two");
    assert_eq!(recipient.ack(&queue, id.clone()).await, None);
    let again = recipient.recipient(&queue, Command::Ack(id)).await;
    assert_eq!(again, refused(ErrorType::NoMsg));
    assert_eq!(
        recipient.recipient(&queue, Command::Del).await,
        Ok(Response::Done)
    );
    assert_eq!(sender.send(&queue, "late").await, refused(ErrorType::Auth));
    let gone = recipient.recipient(&queue, Command::Sub).await;
    assert_eq!(gone, refused(ErrorType::Auth));
}

pub(crate) async fn a_subscription_is_taken_over<R: Runtime>(network: R, router: Router) {
    let (mut one, mut two) = pair(&network, &router).await;
    let queue = one.new_queue().await;
    two.secure(&queue).await.unwrap();
    two.send(&queue, "hello").await.unwrap();
    let (first, _) = one.message(&queue).await;
    assert_eq!(two.recipient(&queue, Command::Sub).await, SUBSCRIBED);
    let (second, body) = two.message(&queue).await;
    assert_eq!((&second, body), (&first, Bytes::from_static(b"hello")));
    let ended = (queue.ids.recipient_id.clone(), BrokerMessage::End);
    assert_eq!(one.told().await, ended);
    let late = one.recipient(&queue, Command::Ack(first)).await;
    assert_eq!(late, refused(ErrorType::NoMsg));
    assert_eq!(two.ack(&queue, second).await, None);
    assert_eq!(
        one.recipient(&queue, Command::Del).await,
        Ok(Response::Done)
    );
    let deleted = (queue.ids.recipient_id.clone(), BrokerMessage::Deld);
    assert_eq!(two.told().await, deleted);
}

pub(crate) async fn messages_are_received_one_by_one<R: Runtime>(network: R, router: Router) {
    let (mut one, two) = pair(&network, &router).await;
    let request = QueueRequest::Messaging(None);
    let queue = one
        .create(request, SubscriptionMode::OnlyCreate, CORR_ID)
        .await;
    let none = one.recipient(&queue, Command::Get).await;
    assert_eq!(none, Ok(Response::Message(None)));
    two.secure(&queue).await.unwrap();
    two.send(&queue, "hello").await.unwrap();
    for _ in 0..2 {
        let Ok(Response::Message(Some((id, body)))) = one.recipient(&queue, Command::Get).await
        else {
            panic!("no message")
        };
        assert_eq!(queue.open(&id, &body), "hello");
    }
    let prohibited = one.recipient(&queue, Command::Sub).await;
    let error = ErrorType::command(CommandError::Prohibited);
    assert_eq!(prohibited, refused(error));
    let Ok(Response::Info(info)) = one.recipient(&queue, Command::Que).await else {
        panic!("no info")
    };
    assert_eq!((info.size, info.secured), (1, true));
}

pub(crate) async fn a_full_queue_says_so_until_it_was_emptied<R: Runtime>(
    network: R,
    router: Router,
) {
    const QUOTA: usize = 128;
    let (mut recipient, sender) = pair(&network, &router).await;
    let request = QueueRequest::Messaging(None);
    let queue = recipient
        .create(request, SubscriptionMode::OnlyCreate, CORR_ID)
        .await;
    sender.secure(&queue).await.unwrap();
    for number in 0..QUOTA {
        let body = number.to_string();
        assert_eq!(sender.send(&queue, body).await, Ok(Response::Done));
    }
    for _ in 0..2 {
        assert_eq!(sender.send(&queue, "more").await, refused(ErrorType::Quota));
    }
    assert_eq!(recipient.recipient(&queue, Command::Sub).await, SUBSCRIBED);
    let (mut id, mut body) = recipient.message(&queue).await;
    for number in 0..QUOTA {
        assert_eq!(body, number.to_string());
        (id, body) = recipient.ack(&queue, id).await.unwrap();
    }
    assert_eq!(body, "QUOTA");
    assert_eq!(sender.send(&queue, "more").await, refused(ErrorType::Quota));
    assert_eq!(recipient.ack(&queue, id).await, None);
    assert_eq!(sender.send(&queue, "again").await, Ok(Response::Done));
    assert_eq!(recipient.message(&queue).await.1, "again");
}

pub(crate) async fn a_message_has_a_size<R: Runtime>(network: R, router: Router) {
    let (mut recipient, sender) = pair(&network, &router).await;
    let queue = recipient.new_queue().await;
    sender.secure(&queue).await.unwrap();
    let longest = vec![7; max_message_length(SUPPORTED.max())];
    let too_long = vec![7; longest.len() + 1];
    let refusal = sender.send(&queue, too_long).await;
    assert_eq!(refusal, refused(ErrorType::LargeMsg));
    assert_eq!(
        sender.send(&queue, longest.clone()).await,
        Ok(Response::Done)
    );
    assert_eq!(recipient.message(&queue).await.1, longest);
}

pub(crate) async fn a_link_is_read_by_the_one_who_secures_the_queue<R: Runtime>(
    network: R,
    router: Router,
) {
    let (mut recipient, mut sender) = pair(&network, &router).await;
    let link = QueueLink {
        sender_id: EntityId::from(derivation::sender_id(&CORR_ID)),
        data: link_data(b"fixed", b""),
    };
    let expected = Ok(Response::Link {
        sender_id: link.sender_id.clone(),
        data: link.data.clone(),
    });
    let request = QueueRequest::Messaging(Some(link));
    let queue = recipient
        .create(request, SubscriptionMode::Subscribe, CORR_ID)
        .await;
    let link_id = queue.ids.link_id.clone().unwrap();
    let lkey = Command::LKey(queue.sender_key.public_key());
    for _ in 0..2 {
        let read = sender
            .execute(&link_id, Some(&queue.sender_key), lkey.clone())
            .await;
        assert_eq!(read, expected);
    }
    let stranger = sender.key();
    let other = Command::LKey(stranger.public_key());
    let read = sender.execute(&link_id, Some(&stranger), other).await;
    assert_eq!(read, refused(ErrorType::Auth));
    sender.send(&queue, "hello").await.unwrap();
    let read = sender
        .execute(&link_id, Some(&queue.sender_key), lkey)
        .await;
    assert_eq!(read, refused(ErrorType::Auth));
}

pub(crate) async fn a_contact_address_is_read_by_anybody<R: Runtime>(network: R, router: Router) {
    let (mut owner, anybody) = pair(&network, &router).await;
    let link_id = EntityId::from([4; 24]);
    let link = ContactLink {
        link_id: link_id.clone(),
        sender_id: EntityId::from(derivation::sender_id(&CORR_ID)),
        data: link_data(b"fixed", b"one"),
    };
    let sender_id = link.sender_id.clone();
    let request = QueueRequest::Contact(Some(link));
    let queue = owner
        .create(request, SubscriptionMode::Subscribe, CORR_ID)
        .await;
    for user in [b"one".as_slice(), b"two"] {
        let set = Command::LSet {
            link_id: link_id.clone(),
            data: link_data(b"fixed", user),
        };
        assert_eq!(owner.recipient(&queue, set).await, Ok(Response::Done));
        let read = anybody.execute(&link_id, None, Command::LGet).await;
        let data = link_data(b"fixed", user);
        let sender_id = sender_id.clone();
        assert_eq!(read, Ok(Response::Link { sender_id, data }));
    }
    let keys = NonEmpty::try_from(vec![queue.key.public_key(), owner.key().public_key()]).unwrap();
    let changed = owner.recipient(&queue, Command::RKey(keys)).await;
    assert_eq!(changed, Ok(Response::Done));
    for _ in 0..2 {
        assert_eq!(
            owner.recipient(&queue, Command::LDel).await,
            Ok(Response::Done)
        );
    }
    let read = anybody.execute(&link_id, None, Command::LGet).await;
    assert_eq!(read, refused(ErrorType::Auth));
}

pub(crate) async fn a_queue_changes_its_keys_and_its_state<R: Runtime>(network: R, router: Router) {
    let (mut recipient, mut sender) = pair(&network, &router).await;
    let queue = recipient.new_queue().await;
    // Only contact queues change the keys of their recipients.
    let keys = NonEmpty::try_from(vec![queue.key.public_key()]).unwrap();
    let changed = recipient.recipient(&queue, Command::RKey(keys)).await;
    assert_eq!(changed, refused(ErrorType::Auth));
    let key = Command::Key(queue.sender_key.public_key());
    for _ in 0..2 {
        let secured = recipient.recipient(&queue, key.clone()).await;
        assert_eq!(secured, Ok(Response::Done));
    }
    let other = Command::Key(sender.key().public_key());
    assert_eq!(
        recipient.recipient(&queue, other).await,
        refused(ErrorType::Auth)
    );
    sender.send(&queue, "before").await.unwrap();
    assert_eq!(
        recipient.recipient(&queue, Command::Off).await,
        Ok(Response::Done)
    );
    assert_eq!(sender.send(&queue, "after").await, refused(ErrorType::Auth));
    assert_eq!(recipient.recipient(&queue, Command::Sub).await, SUBSCRIBED);
    assert_eq!(recipient.message(&queue).await.1, "before");
}

pub(crate) async fn a_notifier_is_told_of_messages<R: Runtime>(network: R, router: Router) {
    let (mut recipient, mut notified) = pair(&network, &router).await;
    let sender = Client::connect(&network, &router.address).await;
    let queue = recipient.new_queue().await;
    sender.secure(&queue).await.unwrap();
    let key = notified.key();
    let dh = x25519::PrivateKey::generate(&mut Rng::from_seed([5; 32]));
    let nkey = Command::NKey(NotifierKeys {
        auth_key: key.public_key(),
        dh_key: dh.public_key(),
    });
    let Ok(Response::Notifier { notifier_id, .. }) = recipient.recipient(&queue, nkey).await else {
        panic!("no notifier")
    };
    // One that waits for the subscriber, and one that is told at once.
    sender.send(&queue, "one").await.unwrap();
    let subscribed = notified
        .execute(&notifier_id, Some(&key), Command::NSub)
        .await;
    assert_eq!(subscribed, SUBSCRIBED);
    for body in ["two", "three"] {
        let (id, message) = notified.told().await;
        assert_eq!(id, notifier_id);
        assert!(matches!(message, BrokerMessage::NMsg { .. }));
        sender.send(&queue, body).await.unwrap();
    }
    notified.told().await;
    assert_eq!(
        recipient.recipient(&queue, Command::NDel).await,
        Ok(Response::Done)
    );
    assert_eq!(
        notified.told().await,
        (notifier_id.clone(), BrokerMessage::Deld)
    );
    let gone = notified
        .execute(&notifier_id, Some(&key), Command::NSub)
        .await;
    assert_eq!(gone, refused(ErrorType::Auth));
}

pub(crate) async fn a_relay_is_reached_through_a_proxy<R: Runtime>(network: R, router: Router) {
    let (mut recipient, sender) = pair(&network, &router).await;
    let queue = recipient.new_queue().await;
    let now = network.clock().now().unix;
    // A router may be its own relay.
    let relay = sender.smp.relay(&router.address, None, now).await.unwrap();
    relay
        .secure(&queue.ids.sender_id, &queue.sender_key)
        .await
        .unwrap();
    let flags = MsgFlags {
        notification: false,
    };
    let key = Some(&queue.sender_key);
    let sent = relay
        .send(&queue.ids.sender_id, key, flags, "from nobody".into())
        .await;
    assert_eq!(sent, Ok(()));
    assert_eq!(recipient.message(&queue).await.1, "from nobody");
}

pub(crate) async fn a_thousand_questions_are_answered_in_order<R: Runtime>(
    network: R,
    router: Router,
) {
    let mut client = Client::connect(&network, &router.address).await;
    let (empty, full) = (client.new_queue().await, client.new_queue().await);
    client.secure(&full).await.unwrap();
    client.send(&full, "hello").await.unwrap();
    let ask = |number: usize| {
        let queue = if number.is_multiple_of(3) {
            &full
        } else {
            &empty
        };
        Request::new(RequestId(0), queue.ids.recipient_id.clone(), Command::Que)
            .authorized_by(queue.key.clone())
    };
    let answers = client.smp.batch((0..1000).map(ask).collect()).await;
    assert_eq!(answers.len(), 1000);
    for (number, answer) in answers.into_iter().enumerate() {
        let Ok(Response::Info(info)) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(info.size, u64::from(number.is_multiple_of(3)));
    }
}

pub(crate) async fn what_many_clients_do_at_a_time_is_apart<R: Runtime>(
    network: R,
    router: Router,
) {
    let mut conversations = Vec::new();
    for number in 0..8_u8 {
        let (mut recipient, sender) = pair(&network, &router).await;
        conversations.push(network.spawn(async move {
            let queue = recipient.new_queue().await;
            sender.secure(&queue).await.unwrap();
            for count in 0..20_u8 {
                sender.send(&queue, vec![number, count]).await.unwrap();
                let (id, body) = recipient.message(&queue).await;
                assert_eq!(body, [number, count].as_slice());
                assert_eq!(recipient.ack(&queue, id).await, None);
            }
        }));
    }
    for conversation in conversations {
        conversation.await;
    }
}

pub(crate) async fn what_is_kept_survives_a_restart<R: Runtime>(network: R, mut router: Router) {
    let (mut recipient, sender) = pair(&network, &router).await;
    let queue = recipient.new_queue().await;
    sender.secure(&queue).await.unwrap();
    for body in ["received", "first", "second"] {
        sender.send(&queue, body).await.unwrap();
    }
    let (id, _) = recipient.message(&queue).await;
    recipient.ack(&queue, id).await.unwrap();
    router.restart();
    assert!(sender.send(&queue, "to nobody").await.is_err());

    let (mut recipient, sender) = pair(&network, &router).await;
    let subscribed = recipient.recipient(&queue, Command::Sub).await;
    if router.kept == Kept::InMemory {
        assert_eq!(subscribed, refused(ErrorType::Auth));
        recipient.new_queue().await;
        return;
    }
    assert_eq!(subscribed, SUBSCRIBED);
    let (id, body) = recipient.message(&queue).await;
    assert_eq!(body, "first");
    let (id, body) = recipient.ack(&queue, id).await.unwrap();
    assert_eq!(body, "second");
    assert_eq!(recipient.ack(&queue, id).await, None);
    sender.send(&queue, "third").await.unwrap();
    assert_eq!(recipient.message(&queue).await.1, "third");
}
