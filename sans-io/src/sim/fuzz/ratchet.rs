//! Conversations over a ratchet, and everything that it parses.

use bytes::BytesMut;

use super::choices::Choices;
use super::decoded;
use crate::ratchet::{
    E2eParams, E2eUri, EncryptKey, EncryptedHeader, EncryptedMessage, KEM, KemParams, KemProposal,
    MessageHeader, OfferedKeys, Pq, Ratchet, Role, SUPPORTED, SkippedKey,
};
use crate::sim::ratchet::{Conversation, Setup};
use crate::sim::{Direction, Trace};
use crate::time::Instant;
use crate::wire::{Version, VersionRange};

/// Messages are delivered in any order, any number of times, altered or never, while both parties turn post-quantum keys on and off.
///
/// The laws are those of [`Conversation`]. Or the bytes are parsed as everything that a ratchet parses, if the first of them says so.
pub(super) fn run(choices: &mut Choices<'_>, trace: &mut Trace) {
    let first = choices.byte();
    if first & PARSE != 0 {
        parse(choices.bytes(usize::MAX));
        return;
    }
    let mut conversation = Conversation::new(1, &setup(first));
    let mut steps = 0_u8;
    while let Some((kind, small)) = choices.next()
        && steps < MAX_STEPS
    {
        steps = steps.saturating_add(1);
        step(&mut conversation, kind, small, choices, trace);
    }
    for message in 0..conversation.len().min(MAX_LAST) {
        deliver(&mut conversation, message, trace);
    }
}

const PARSE: u8 = 0x80;
/// A turn with post-quantum keys takes milliseconds.
const MAX_STEPS: u8 = 48;
const MAX_LAST: usize = 64;

fn setup(byte: u8) -> Setup {
    let bit = |bit: u8| Pq::from(byte >> bit & 1 == 1);
    let versions = |bit: u8| match byte >> bit & 1 {
        0 => SUPPORTED,
        _ => VersionRange::only(Version(2)),
    };
    Setup {
        offered: bit(0),
        initiator: bit(1),
        joiner: bit(2),
        initiator_versions: versions(3),
        joiner_versions: versions(4),
    }
}

fn step(
    conversation: &mut Conversation,
    kind: u8,
    small: u8,
    choices: &mut Choices<'_>,
    trace: &mut Trace,
) {
    let role = match small & 1 {
        0 => Role::Joiner,
        _ => Role::Initiator,
    };
    let sent = conversation.len();
    match kind {
        0 => {
            let pq = match small >> 1 {
                0 | 1 => None,
                2 => Some(Pq::Off),
                _ => Some(Pq::On),
            };
            let number = conversation.send(role, pq);
            record(trace, format_args!("send {role:?} {pq:?} {number:?}"));
        }
        1 if sent > 0 => deliver(conversation, choices.below(sent), trace),
        2 if sent > 0 => deliver(conversation, sent.saturating_sub(1), trace),
        3 if sent > 0 => {
            let message = choices.below(sent);
            let (at, change) = (choices.word().into(), choices.byte());
            let error = conversation.deliver_altered(message, at, change);
            record(trace, format_args!("altered {message} {error:?}"));
        }
        4 => {
            let error = conversation.deliver_foreign(role, choices.some_bytes());
            record(trace, format_args!("foreign {error:?}"));
        }
        5 => conversation.restore(role),
        6 => conversation.upgrade(role, KEM),
        7 if sent < MAX_SENT => {
            for _ in 0..choices.word() & 0x2ff {
                if conversation.send(role, None).is_err() {
                    break;
                }
            }
        }
        _ => {}
    }
}

const MAX_SENT: usize = 4096;

fn deliver(conversation: &mut Conversation, message: usize, trace: &mut Trace) {
    let read = conversation.deliver(message);
    record(trace, format_args!("deliver {message} {read:?}"));
}

fn record(trace: &mut Trace, what: std::fmt::Arguments<'_>) {
    trace.record(Instant::default(), "ratchet", Direction::Action, what);
}

/// What parses is written as it was read.
fn parse(bytes: &[u8]) {
    for version in [Version(2), KEM] {
        decoded::<E2eParams<KemParams>>(version, bytes);
        decoded::<E2eParams<KemProposal>>(version, bytes);
        decoded::<E2eUri<KemParams>>(version, bytes);
        decoded::<MessageHeader>(version, bytes);
        decoded::<EncryptedHeader>(version, bytes);
        decoded::<EncryptKey>(version, bytes);
    }
    if let Ok(ratchet) = Ratchet::from_bytes(bytes) {
        assert_eq!(Ratchet::from_bytes(&ratchet.to_bytes()), Ok(ratchet));
    }
    if let Ok(keys) = OfferedKeys::from_bytes(bytes) {
        assert_eq!(OfferedKeys::from_bytes(&keys.to_bytes()), Ok(keys));
    }
    if let Ok(key) = SkippedKey::from_bytes(bytes) {
        assert_eq!(SkippedKey::from_bytes(&key.to_bytes()), Ok(key));
    }
    if let Ok(message) = EncryptedMessage::parse(BytesMut::from(bytes)) {
        decoded::<EncryptedHeader>(KEM, &message.header);
    }
    let text = String::from_utf8_lossy(bytes);
    if let Ok(params) = text.parse::<E2eUri<KemParams>>() {
        assert_eq!(params.to_string().parse(), Ok(params));
    }
    if let Ok(ratchet) = Ratchet::from_reference_json(&text) {
        assert_eq!(Ratchet::from_bytes(&ratchet.to_bytes()), Ok(ratchet));
    }
}
