//! Links, and the ids that follow from them.

use super::*;

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
