//! What a step needs besides the connection: it is made again when that is loaded.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::agent::error::AgentError;
use crate::agent::id::QueueNumber;
use crate::agent::store::record;
use crate::agent::store::{Key, Record};
use crate::smp::MsgId;
use crate::wire::Wire;

/// A message as a router delivers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::agent) struct Delivery {
    pub(in crate::agent) queue: QueueNumber,
    pub(in crate::agent) broker_id: MsgId,
    pub(in crate::agent) body: Bytes,
}

/// Records that are needed before a step can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::agent) struct Need(pub(in crate::agent) Vec<Key>);

/// Records that were asked for, and those of them that there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::agent) struct Found(BTreeMap<Key, Option<Bytes>>);

impl Found {
    pub(in crate::agent) fn new(asked: Vec<Key>, records: Vec<Record>) -> Self {
        let mut found: BTreeMap<Key, Option<Bytes>> =
            asked.into_iter().map(|key| (key, None)).collect();
        found.extend(records.into_iter().map(|r| (r.key, Some(r.value))));
        Self(found)
    }

    /// The record: if it was not asked for, it is needed.
    pub(super) fn get<T: Wire>(&self, key: &Key) -> Result<Option<T>, Need> {
        match self.0.get(key) {
            Some(value) => Ok(value
                .as_ref()
                .and_then(|value| record::from_bytes(value).ok())),
            None => Err(Need(vec![key.clone()])),
        }
    }
}

/// Why a message is not dealt with.
pub(super) enum Stop {
    /// Something has to be loaded first.
    Need(Need),
    /// It is of no use: the application is told, and the router deletes it.
    Error(AgentError),
    /// It was dealt with before: the router deletes it.
    Known,
}

impl From<Need> for Stop {
    fn from(need: Need) -> Self {
        Self::Need(need)
    }
}

impl From<AgentError> for Stop {
    fn from(error: AgentError) -> Self {
        Self::Error(error)
    }
}
