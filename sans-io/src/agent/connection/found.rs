//! What a step needs besides the connection: it is made again when that is loaded.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::agent::error::AgentError;
use crate::agent::id::QueueNumber;
use crate::agent::store::record;
use crate::agent::store::{Key, Record};
use crate::agent::turn::{Turn, Turned};
use crate::ratchet::{DecryptError, Decrypted};
use crate::smp::MsgId;
use crate::wire::Wire;

/// A message as a router delivers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::agent) struct Delivery {
    pub(in crate::agent) queue: QueueNumber,
    pub(in crate::agent) broker_id: MsgId,
    pub(in crate::agent) body: Bytes,
}

/// What is needed before a step can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::agent) enum Need {
    /// Records.
    Records(Vec<Key>),
    /// The message, decrypted. The connection must not change meanwhile.
    Turn(Box<Turn>),
}

/// Records that were asked for, and those of them that there are; and the message, if it was decrypted already.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::agent) struct Found {
    records: BTreeMap<Key, Option<Bytes>>,
    turned: Option<Box<Turned>>,
}

impl Found {
    pub(in crate::agent) fn turned(turned: Box<Turned>) -> Self {
        let turned = Some(turned);
        let records = BTreeMap::new();
        Self { records, turned }
    }

    /// Whether it is of no use once the connection has changed.
    pub(in crate::agent) const fn is_turned(&self) -> bool {
        self.turned.is_some()
    }

    /// The message, if it was decrypted already.
    pub(super) fn decrypted(&self) -> Option<Result<Decrypted, DecryptError>> {
        self.turned.as_ref().map(|turned| turned.0.clone())
    }

    /// These were asked for.
    pub(in crate::agent) fn asking(mut self, keys: &[Key]) -> Self {
        let asked = keys.iter().map(|key| (key.clone(), None));
        self.records.extend(asked);
        self
    }

    /// These are there.
    pub(in crate::agent) fn with(mut self, records: Vec<Record>) -> Self {
        let found = records.into_iter().map(|r| (r.key, Some(r.value)));
        self.records.extend(found);
        self
    }

    /// The record: if it was not asked for, it is needed.
    pub(super) fn get<T: Wire>(&self, key: &Key) -> Result<Option<T>, Need> {
        match self.records.get(key) {
            Some(value) => Ok(value
                .as_ref()
                .and_then(|value| record::from_bytes(value).ok())),
            None => Err(Need::Records(vec![key.clone()])),
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
