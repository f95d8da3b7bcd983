//! What agents write into links, queues, messages and records; what clients say to them in lines; and agents while everything goes wrong.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use bytes::Bytes;

use super::choices::Choices;
use super::written_alike;
use crate::agent::envelope::{AgentEnvelope, ClientEnvelope};
use crate::agent::lines::text::Said;
use crate::agent::lines::{Broken, Lines, Transmission};
use crate::agent::link::{ConnectionRequest, ServiceScheme, ShortLink};
use crate::agent::message::{AgentMessage, ClientMessage};
use crate::agent::queue::{QueueUri, SmpQueueInfo};
use crate::agent::store::record::{
    self, ConnectionRecord, ContactRequest, EventRecord, Outgoing, Received,
};
use crate::sim::chaos::{Scenario, survive_with};
use crate::sim::{Direction, Trace};
use crate::time::Instant;
use crate::wire::{Version, Wire};

/// Links, addresses, envelopes, messages and records, of which the first byte chooses one.
pub fn agent_formats(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    match first % 16 {
        0 => text::<ConnectionRequest>(rest),
        1 => text::<ShortLink>(rest),
        2 => text::<QueueUri>(rest),
        3 => text::<ServiceScheme>(rest),
        4 => wire::<ConnectionRequest>(rest),
        5 => wire::<ShortLink>(rest),
        6 => wire::<QueueUri>(rest),
        7 => wire::<SmpQueueInfo>(rest),
        8 => wire::<AgentEnvelope>(rest),
        9 => wire::<ClientEnvelope>(rest),
        10 => wire::<AgentMessage>(rest),
        11 => wire::<ClientMessage>(rest),
        12 => stored::<ConnectionRecord>(rest),
        13 => stored::<EventRecord>(rest),
        14 => {
            stored::<Outgoing>(rest);
            stored::<Received>(rest);
        }
        _ => stored::<ContactRequest>(rest),
    }
}

/// What is read from a text is read again from what it is written as.
fn text<T: FromStr + Display + PartialEq + Debug>(bytes: &[u8])
where
    T::Err: Debug,
{
    let value = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.parse::<T>().ok());
    if let Some(value) = value {
        let again = value.to_string().parse::<T>();
        assert_eq!(again.ok().as_ref(), Some(&value), "{value}");
    }
}

fn wire<T: Wire + PartialEq + Debug>(bytes: &[u8]) {
    written_alike::<T>(Version(0), bytes);
}

/// Records are written by ourselves; one that was damaged must not break anything either.
fn stored<T: Wire + PartialEq + Debug>(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(value) = record::from_bytes::<T>(&bytes) {
        let again = record::from_bytes::<T>(&record::to_bytes(&value));
        assert!(again.is_ok(), "a record is not read again");
    }
}

/// What a client says is understood in the same way however it is cut; nothing of it is kept without limit; and nothing that anybody
/// says is an answer of two.
pub fn agent_lines(data: &[u8]) {
    let Some((first, said)) = data.split_first() else {
        return;
    };
    let whole = heard(said.chunks(said.len().max(1)));
    let size = usize::from(*first).saturating_add(1);
    assert_eq!(heard(said.chunks(size)), whole, "cut into {size}");

    let text = String::from_utf8_lossy(said);
    let (corr_id, line) = text.split_at(text.floor_char_boundary(size));
    let answer = Said::line(line).transmission(corr_id, line);
    let ends = answer.iter().filter(|byte| matches!(byte, b'\r' | b'\n'));
    assert_eq!(ends.count(), 6, "three lines");
}

fn heard<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Transmission>, Option<Broken>) {
    let mut lines = Lines::default();
    let mut heard = Vec::new();
    for piece in pieces {
        lines.push(piece);
        loop {
            match lines.transmission() {
                Ok(Some(transmission)) => heard.push(transmission),
                Ok(None) => break,
                Err(broken) => return (heard, Some(broken)),
            }
        }
        assert!(lines.waiting() <= MOST, "{} bytes wait", lines.waiting());
    }
    (heard, None)
}

/// The longest line, and whatever came with it.
const MOST: usize = 128 * 1024;

/// Two agents and their applications: the bytes say what goes wrong, and what is done.
pub(super) fn world(choices: &mut Choices<'_>, trace: &mut Trace) {
    let scenario = choices.below(Scenario::ALL.len());
    let Some(scenario) = Scenario::ALL.get(scenario).copied() else {
        return;
    };
    let seed = u64::from(choices.byte());
    let turns = choices.bytes(usize::MAX);
    let count = turns.len().min(MAX_TURNS);
    let mut choices = Choices::new(turns);
    survive_with(scenario, seed, count, &mut |of| {
        let bound = usize::try_from(of).unwrap_or(usize::MAX);
        let chosen = u32::try_from(choices.below(bound)).unwrap_or(0);
        let what = format_args!("{chosen} of {of}");
        trace.record(Instant::default(), "agents", Direction::Input, what);
        chosen
    });
}

/// A turn takes milliseconds.
const MAX_TURNS: usize = 48;
