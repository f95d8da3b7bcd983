//! Scripts of two parties, and every order of events.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::rng::Rng;
use crate::sim::ratchet::{Conversation, Setup};
use crate::wire::{Sample, WireError, encode};
use Role::{Initiator, Joiner};

const PQ: Setup = Setup {
    offered: Pq::On,
    initiator: Pq::On,
    joiner: Pq::On,
    initiator_versions: SUPPORTED,
    joiner_versions: SUPPORTED,
};

fn plain() -> Conversation {
    Conversation::new(1, &Setup::default())
}

/// Sends and delivers one message.
#[track_caller]
fn say(conversation: &mut Conversation, from: Role, pq: Option<Pq>) -> Pq {
    let message = conversation.send(from, pq).unwrap();
    conversation.deliver(message).unwrap()
}

#[track_caller]
fn say_in_turns(conversation: &mut Conversation, pq: Option<Pq>, expected: [Pq; 8]) {
    let turns = [Joiner, Initiator].into_iter().cycle();
    let said: Vec<_> = turns
        .take(8)
        .map(|from| say(conversation, from, pq))
        .collect();
    assert_eq!(said, expected);
}

const OFF: Pq = Pq::Off;
const ON: Pq = Pq::On;

#[test]
fn a_key_in_the_invitation_makes_the_first_message_post_quantum() {
    say_in_turns(&mut Conversation::new(1, &PQ), None, [ON; 8]);
}

#[test]
fn a_key_proposed_by_the_joiner_is_used_from_the_first_answer() {
    let setup = Setup { offered: OFF, ..PQ };
    let expected = [OFF, ON, ON, ON, ON, ON, ON, ON];
    say_in_turns(&mut Conversation::new(1, &setup), None, expected);
}

#[test]
fn a_proposal_that_nobody_accepts_is_not_repeated() {
    let setup = Setup { joiner: OFF, ..PQ };
    let mut conversation = Conversation::new(1, &setup);
    say_in_turns(&mut conversation, None, [OFF; 8]);
    assert_eq!(conversation.ratchet(Initiator).enabled(), OFF);
    assert_eq!(conversation.ratchet(Initiator).support(), ON);
    assert_eq!(conversation.ratchet(Joiner).support(), OFF);
}

#[test]
fn post_quantum_keys_are_turned_on_and_off_and_on() {
    let mut conversation = plain();
    say_in_turns(&mut conversation, None, [OFF; 8]);
    let on = [OFF, OFF, OFF, ON, ON, ON, ON, ON];
    say_in_turns(&mut conversation, Some(ON), on);
    let off = [ON, ON, OFF, OFF, OFF, OFF, OFF, OFF];
    say_in_turns(&mut conversation, Some(OFF), off);
    let on = [OFF, OFF, OFF, ON, ON, ON, ON, ON];
    say_in_turns(&mut conversation, Some(ON), on);
}

#[test]
fn a_message_that_turns_keys_off_is_not_needed_to_read_those_after_it() {
    let mut conversation = Conversation::new(1, &PQ);
    say(&mut conversation, Joiner, None);
    say(&mut conversation, Initiator, None);
    let first = conversation.send(Joiner, Some(OFF)).unwrap();
    let second = conversation.send(Joiner, Some(OFF)).unwrap();
    assert_eq!(conversation.deliver(second), Ok(ON));
    assert_eq!(conversation.deliver(first), Ok(ON));
}

#[test]
fn the_initiator_cannot_begin() {
    let mut conversation = plain();
    assert!(!conversation.ratchet(Initiator).can_send());
    let refused = conversation.send(Initiator, None);
    assert_eq!(refused, Err(EncryptError::NoSendingChain));
    say(&mut conversation, Joiner, None);
    say(&mut conversation, Initiator, None);
}

#[test]
fn messages_are_read_once_in_any_order() {
    let mut conversation = plain();
    let [a, b, c] = [(); 3].map(|()| conversation.send(Joiner, None).unwrap());
    assert_eq!(conversation.deliver(c), Ok(OFF));
    assert_eq!(conversation.skipped(Initiator).len(), 2);
    assert_eq!(conversation.deliver(c), Err(DecryptError::Duplicate));
    assert_eq!(conversation.deliver(a), Ok(OFF));
    assert_eq!(conversation.deliver(a), Err(DecryptError::Earlier(2)));

    say(&mut conversation, Initiator, None);
    let [d, e] = [(); 2].map(|()| conversation.send(Joiner, None).unwrap());
    assert_eq!(conversation.deliver(e), Ok(OFF));
    assert_eq!(conversation.deliver(b), Ok(OFF));
    assert_eq!(conversation.deliver(b), Err(DecryptError::Header));
    assert_eq!(conversation.deliver(d), Ok(OFF));
    assert!(conversation.skipped(Initiator).is_empty());
}

#[test]
fn a_gap_of_512_is_skipped_and_one_of_513_is_not() {
    for (sent, expected) in [(512, Ok(OFF)), (513, Err(DecryptError::Skipped(514)))] {
        let mut conversation = plain();
        for _ in 0..sent {
            conversation.send(Joiner, None).unwrap();
        }
        let last = conversation.send(Joiner, None).unwrap();
        assert_eq!(conversation.deliver(last), expected);
        let kept = if expected.is_ok() { sent } else { 0 };
        assert_eq!(conversation.skipped(Initiator).len(), kept);
        assert_eq!(conversation.deliver(sent - 1), Ok(OFF));
    }
}

#[test]
fn two_gaps_in_one_message_are_skipped() {
    let mut conversation = plain();
    say(&mut conversation, Joiner, None);
    let before: Vec<_> = (0..512)
        .map(|_| conversation.send(Joiner, None).unwrap())
        .collect();
    say(&mut conversation, Initiator, None);
    let after: Vec<_> = (0..512)
        .map(|_| conversation.send(Joiner, None).unwrap())
        .collect();
    say(&mut conversation, Joiner, None);
    assert_eq!(conversation.skipped(Initiator).len(), 1024);
    for message in before.into_iter().chain(after) {
        assert_eq!(conversation.deliver(message), Ok(OFF));
    }
    assert!(conversation.skipped(Initiator).is_empty());
}

#[test]
fn the_oldest_of_too_many_skipped_keys_are_dropped() {
    let mut conversation = plain();
    let mut newest = 0;
    for _ in 0..5 {
        for _ in 0..Ratchet::MAX_GAP {
            newest = conversation.send(Joiner, None).unwrap();
        }
        say(&mut conversation, Joiner, None);
    }
    assert_eq!(conversation.skipped(Initiator).len(), SkippedKeys::MAX);
    // The first 512 have made room; each fifth message was delivered in its turn.
    assert_eq!(conversation.deliver(511), Err(DecryptError::Earlier(2053)));
    assert_eq!(conversation.deliver(513), Ok(OFF));
    assert_eq!(conversation.deliver(newest), Ok(OFF));
    conversation.restore(Initiator);
    say(&mut conversation, Initiator, None);
    say(&mut conversation, Joiner, None);
}

#[test]
fn what_is_altered_changes_nothing_and_the_genuine_message_is_read() {
    for setup in [Setup::default(), PQ] {
        let mut conversation = Conversation::new(1, &setup);
        for from in [Joiner, Joiner, Initiator, Joiner] {
            let message = conversation.send(from, None).unwrap();
            let before = conversation.ratchet(from.peer()).clone();
            let header = usize::from(setup.joiner.is_on()) * 2222 + 124;
            for (at, error) in [
                (10, DecryptError::Header),
                (30, DecryptError::Header),
                (60, DecryptError::Header),
                (2 + header, DecryptError::Body),
                (2 + header + 16, DecryptError::Body),
            ] {
                assert_eq!(conversation.deliver_altered(message, at, 1), error);
            }
            assert_eq!(*conversation.ratchet(from.peer()), before);
            assert!(conversation.skipped(from.peer()).is_empty());
            conversation.deliver(message).unwrap();
        }
    }
}

#[test]
fn what_is_no_message_is_told_from_what_no_key_opens() {
    let mut conversation = plain();
    let incomplete = DecryptError::Malformed(WireError::Incomplete);
    for bytes in [b"".as_slice(), b"\0", b"\0\x10", &[40; 41], &[40; 56]] {
        assert_eq!(conversation.deliver_foreign(Joiner, bytes), incomplete);
    }
    let mut message = vec![123];
    message.resize(1 + 123 + 16, 0);
    let length = 1 + 2 + 16 + 16;
    message[length] = 88;
    let refused = conversation.deliver_foreign(Joiner, &message);
    assert_eq!(refused, DecryptError::Header);
    message[length] = 87;
    let trailing = DecryptError::Malformed(WireError::Trailing);
    assert_eq!(conversation.deliver_foreign(Joiner, &message), trailing);
}

#[test]
fn errors_say_whether_a_new_ratchet_is_needed() {
    for (error, resync) in [
        (DecryptError::Header, Some(Resync::Required)),
        (DecryptError::Skipped(514), Some(Resync::Required)),
        (DecryptError::Kem, Some(Resync::Required)),
        (DecryptError::Earlier(1), Some(Resync::Allowed)),
        (DecryptError::Body, Some(Resync::Allowed)),
        (DecryptError::Duplicate, None),
        (DecryptError::Malformed(WireError::Incomplete), None),
    ] {
        assert_eq!(error.resync(), resync, "{error}");
    }
}

#[test]
fn a_party_of_version_2_and_one_of_version_3_understand_each_other() {
    let old = VersionRange::only(Version(2));
    for (initiator_versions, joiner_versions) in [(old, SUPPORTED), (SUPPORTED, old)] {
        let setup = Setup {
            initiator_versions,
            joiner_versions,
            ..PQ
        };
        let mut conversation = Conversation::new(1, &setup);
        say_in_turns(&mut conversation, None, [OFF; 8]);
        assert_eq!(conversation.ratchet(Joiner).version(), Version(2));
        assert_eq!(conversation.ratchet(Initiator).version(), Version(2));
    }
}

#[test]
fn a_newer_program_raises_the_version_and_post_quantum_keys_follow() {
    let old = VersionRange::only(Version(2));
    let setup = Setup {
        initiator_versions: old,
        joiner_versions: old,
        ..Setup::default()
    };
    let mut conversation = Conversation::new(1, &setup);
    say_in_turns(&mut conversation, None, [OFF; 8]);
    conversation.upgrade(Joiner, Version(3));
    conversation.upgrade(Initiator, Version(3));
    say(&mut conversation, Joiner, None);
    assert_eq!(conversation.ratchet(Initiator).version(), Version(2));
    say(&mut conversation, Initiator, None);
    assert_eq!(conversation.ratchet(Joiner).version(), Version(3));
    say(&mut conversation, Joiner, None);
    assert_eq!(conversation.ratchet(Initiator).version(), Version(3));
    let on = [OFF, OFF, OFF, ON, ON, ON, ON, ON];
    let mut turns = [Initiator, Joiner].into_iter().cycle();
    let said = on.map(|_| say(&mut conversation, turns.next().unwrap(), Some(ON)));
    assert_eq!(said, on);
}

#[test]
fn parameters_that_do_not_fit_make_no_ratchet() {
    let mut rng = Rng::from_seed([1; 32]);
    let offered = OfferedKeys::generate(&mut rng, ON);
    let params = offered.params(KEM);
    let old = VersionRange::only(Version(2));
    let refused = Ratchet::joiner(&mut rng, &params, ON, old);
    assert_eq!(refused.err(), Some(AgreementError::Version(KEM)));

    let (_, joiner) = Ratchet::joiner(&mut rng, &params, ON, SUPPORTED).unwrap();
    let refused = Ratchet::initiator(&offered, &joiner, ON, old);
    assert_eq!(refused, Err(AgreementError::Version(KEM)));
    let without = OfferedKeys::generate(&mut rng, OFF);
    let refused = Ratchet::initiator(&without, &joiner, ON, SUPPORTED);
    assert_eq!(refused, Err(AgreementError::KemNotProposed));
}

#[test]
fn both_sides_of_a_renegotiation_agree_on_who_is_who() {
    let mut rng = Rng::from_seed([1; 32]);
    for _ in 0..4 {
        let [left, right] = [(); 2].map(|()| OfferedKeys::generate(&mut rng, ON));
        let [to_left, to_right] = [right.params(KEM), left.params(KEM)];
        let (left, left_role) =
            Ratchet::renegotiated(&mut rng, &left, &to_left, ON, SUPPORTED).unwrap();
        let (right, right_role) =
            Ratchet::renegotiated(&mut rng, &right, &to_right, ON, SUPPORTED).unwrap();
        assert_eq!(left_role, right_role.peer());
        let (joiner, initiator) = match left_role {
            Joiner => (left, right),
            Initiator => (right, left),
        };
        let step = joiner.encrypt(None, KEM).unwrap();
        let message = step.key.encrypt(b"EREADY", 100).unwrap();
        let none = SkippedKeys::new();
        let read = initiator.decrypt(&none, &mut rng, BytesMut::from(&*message));
        let read = read.unwrap();
        assert_eq!((&*read.content, read.pq), (b"EREADY".as_slice(), OFF));
        assert_eq!(read.ratchet.sends_pq(), ON);
    }
}

#[test]
fn the_same_message_can_be_encrypted_again_from_what_was_stored() {
    let mut rng = Rng::from_seed([1; 32]);
    let params = OfferedKeys::generate(&mut rng, OFF).params(KEM);
    let (joiner, _) = Ratchet::joiner(&mut rng, &params, OFF, SUPPORTED).unwrap();
    let key = joiner.encrypt(None, KEM).unwrap().key;
    let stored = EncryptKey::from_bytes(&key.to_bytes()).unwrap();
    assert_eq!(stored.encrypt(b"text", 100), key.encrypt(b"text", 100));
    assert!(key.encrypt(&[0; 98], 100).is_ok());
    assert!(key.encrypt(&[0; 99], 100).is_err());
}

#[test]
fn numbers_come_to_their_end_without_an_overflow() {
    let mut rng = Rng::from_seed([1; 32]);
    let params = OfferedKeys::generate(&mut rng, OFF).params(KEM);
    let (mut joiner, _) = Ratchet::joiner(&mut rng, &params, OFF, SUPPORTED).unwrap();
    joiner.sent = u32::MAX;
    assert_eq!(joiner.encrypt(None, KEM), Err(EncryptError::Exhausted));
}

#[test]
fn a_stored_state_of_another_format_is_refused() {
    let mut rng = Rng::from_seed([1; 32]);
    let mut stored = OfferedKeys::generate(&mut rng, ON).to_bytes();
    assert!(OfferedKeys::from_bytes(&stored).is_ok());
    stored[1] += 1;
    let refused = OfferedKeys::from_bytes(&stored);
    assert_eq!(refused, Err(WireError::Invalid("format")));
}

#[test]
fn a_step_can_be_taken_on_another_thread() {
    fn is_sent<T: Send + Sync + 'static>() {}
    is_sent::<(Ratchet, SkippedKeys, Rng, BytesMut)>();
    is_sent::<Result<Decrypted, DecryptError>>();
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Send(bool, Option<Pq>),
    Deliver(prop::sample::Index),
    Newest,
    Alter(prop::sample::Index, prop::sample::Index, u8),
    Restore(bool),
}

fn role(initiator: bool) -> Role {
    if initiator { Initiator } else { Joiner }
}

fn pq() -> impl Strategy<Value = Pq> {
    any::<bool>().prop_map(Pq::from)
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (any::<bool>(), prop::option::of(pq())).prop_map(|(from, pq)| Event::Send(from, pq)),
        4 => any::<prop::sample::Index>().prop_map(Event::Deliver),
        2 => Just(Event::Newest),
        1 => any::<(prop::sample::Index, prop::sample::Index, u8)>()
            .prop_map(|(message, at, change)| Event::Alter(message, at, change)),
        1 => any::<bool>().prop_map(Event::Restore),
    ];
    prop::collection::vec(event, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The laws are in [`Conversation`].
    #[test]
    fn every_message_is_read_once_whatever_happens_on_its_way(
        seed: u64,
        (offered, initiator, joiner) in (pq(), pq(), pq()),
        (old_initiator, old_joiner) in any::<(bool, bool)>(),
        events in events(),
    ) {
        let versions = |old| if old { VersionRange::only(Version(2)) } else { SUPPORTED };
        let mut conversation = Conversation::new(seed, &Setup {
            offered,
            initiator,
            joiner,
            initiator_versions: versions(old_initiator),
            joiner_versions: versions(old_joiner),
        });
        for event in events {
            let sent = conversation.len();
            match event {
                Event::Send(from, pq) => {
                    let can_send = conversation.ratchet(role(from)).can_send();
                    prop_assert_eq!(conversation.send(role(from), pq).is_ok(), can_send);
                }
                Event::Restore(of) => conversation.restore(role(of)),
                Event::Deliver(message) if sent > 0 => {
                    let _ = conversation.deliver(message.index(sent));
                }
                Event::Newest if sent > 0 => {
                    let _ = conversation.deliver(sent - 1);
                }
                Event::Alter(message, at, change) if sent > 0 => {
                    conversation.deliver_altered(message.index(sent), at.index(1 << 12), change);
                }
                Event::Deliver(_) | Event::Newest | Event::Alter(..) => {}
            }
        }
        // What was delayed only, is read at last.
        for message in 0..conversation.len() {
            let _ = conversation.deliver(message);
            prop_assert!(conversation.deliver(message).is_err());
        }
    }

    #[test]
    fn stored_states_come_back(seed: [u8; 32]) {
        let mut rng = Rng::from_seed(seed);
        let ratchet = Ratchet::sample(FORMAT, &mut rng);
        prop_assert_eq!(Ratchet::from_bytes(&ratchet.to_bytes()), Ok(ratchet));
        let offered = OfferedKeys::sample(FORMAT, &mut rng);
        prop_assert_eq!(OfferedKeys::from_bytes(&offered.to_bytes()), Ok(offered));
        let skipped = SkippedKey::sample(FORMAT, &mut rng);
        prop_assert_eq!(SkippedKey::from_bytes(&skipped.to_bytes()), Ok(skipped));
        let key = EncryptKey::sample(FORMAT, &mut rng);
        prop_assert_eq!(EncryptKey::from_bytes(&key.to_bytes()), Ok(key));
    }

    #[test]
    fn parameters_and_headers_come_back(seed: [u8; 32], version in 2_u16..4) {
        let (mut rng, version) = (Rng::from_seed(seed), Version(version));
        comes_back::<E2eParams<KemParams>>(version, &mut rng);
        comes_back::<E2eParams<KemProposal>>(version, &mut rng);
        comes_back::<E2eUri<KemParams>>(version, &mut rng);
        comes_back::<MessageHeader>(version, &mut rng);
        comes_back::<EncryptedHeader>(version, &mut rng);
        let uri = E2eUri::<KemParams>::sample(version, &mut rng);
        let kem = uri.kem.clone().filter(|_| uri.versions.max() >= KEM);
        prop_assert_eq!(uri.to_string().parse(), Ok(E2eUri { kem, ..uri }));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[a-z0-9=&,_-]{0,60}") {
        let bytes = Bytes::from(bytes);
        let _ = Ratchet::from_bytes(&bytes);
        let _ = EncryptKey::from_bytes(&bytes);
        let _ = EncryptedMessage::parse(BytesMut::from(&*bytes));
        let _ = crate::wire::decode::<EncryptedHeader>(KEM, &bytes);
        let _ = text.parse::<E2eUri<KemParams>>();
        let _ = Ratchet::from_reference_json(&text);
    }
}

#[track_caller]
fn comes_back<T: crate::wire::Wire + Sample + PartialEq + std::fmt::Debug>(
    version: Version,
    rng: &mut Rng,
) {
    let value = T::sample(version, rng);
    let encoded = encode(&value, version);
    assert_eq!(crate::wire::decode(version, &encoded), Ok(value));
}
