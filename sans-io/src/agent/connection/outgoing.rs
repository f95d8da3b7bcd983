//! The messages of a connection that wait to be sent, and how large they are.

use std::collections::BTreeMap;
use std::ops::Deref;

use crate::agent::id::MessageId;
use crate::agent::store::record::{Outgoing, OutgoingContent};

/// What a message takes besides its text: its key, and its place.
const OVERHEAD: usize = 256;

/// Messages that wait to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::agent) struct OutgoingMessages {
    messages: BTreeMap<MessageId, Outgoing>,
    bytes: usize,
}

impl OutgoingMessages {
    /// How much memory they take.
    pub(in crate::agent) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn insert(&mut self, message: MessageId, outgoing: Outgoing) {
        self.bytes = self.bytes.saturating_add(size(&outgoing));
        if let Some(before) = self.messages.insert(message, outgoing) {
            self.bytes = self.bytes.saturating_sub(size(&before));
        }
    }

    pub(super) fn remove(&mut self, message: &MessageId) -> Option<Outgoing> {
        let outgoing = self.messages.remove(message)?;
        self.bytes = self.bytes.saturating_sub(size(&outgoing));
        Some(outgoing)
    }
}

fn size(outgoing: &Outgoing) -> usize {
    let text = match &outgoing.content {
        OutgoingContent::Encrypted { sealed } | OutgoingContent::Confirmation { sealed, .. } => {
            sealed.message.len()
        }
        OutgoingContent::Plain { envelope } => envelope.len(),
    };
    text.saturating_add(OVERHEAD)
}

impl Deref for OutgoingMessages {
    type Target = BTreeMap<MessageId, Outgoing>;

    fn deref(&self) -> &BTreeMap<MessageId, Outgoing> {
        &self.messages
    }
}
