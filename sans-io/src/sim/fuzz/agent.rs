//! What agents write into links, queues, messages and records.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use bytes::Bytes;

use super::written_alike;
use crate::agent::envelope::{AgentEnvelope, ClientEnvelope};
use crate::agent::link::{ConnectionRequest, ServiceScheme, ShortLink};
use crate::agent::message::{AgentMessage, ClientMessage};
use crate::agent::queue::{QueueUri, SmpQueueInfo};
use crate::agent::store::record::{
    self, ConnectionRecord, ContactRequest, EventRecord, Outgoing, Received,
};
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
