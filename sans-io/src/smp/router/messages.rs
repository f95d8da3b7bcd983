//! The messages of one queue: which wait, and which of them are in memory.

use std::collections::VecDeque;

use super::store::{MessageContent, MessageRecord, Position};
use crate::smp::MsgId;

/// What becomes of a message that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It waits, at this place.
    Stored(u64),
    /// The queue is full: a mark waits instead, at this place.
    Marked(u64),
    /// The queue was full before.
    Full,
}

/// The first message that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum First<'a> {
    /// There is none.
    None,
    /// This one.
    Known(&'a MessageRecord),
    /// It is in the store.
    Stored,
}

/// The messages of one queue. Those that are not stored yet are in memory, and so is the first one, once it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Messages {
    position: Position,
    known: VecDeque<(u64, MessageRecord)>,
}

impl Messages {
    pub(super) fn new(position: Position, first: Option<MessageRecord>) -> Self {
        Self {
            position,
            known: first
                .map(|first| (position.head, first))
                .into_iter()
                .collect(),
        }
    }

    pub(super) const fn position(&self) -> Position {
        self.position
    }

    pub(super) const fn len(&self) -> u64 {
        self.position.tail.saturating_sub(self.position.head)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a message, unless the queue is full. Once it was full it takes messages only when it was emptied.
    pub(super) fn send(&mut self, message: MessageRecord, quota: u64) -> Sent {
        if self.position.full && !self.is_empty() {
            return Sent::Full;
        }
        let sequence = self.position.tail;
        self.position.full = self.len() >= quota;
        self.position.tail = sequence.saturating_add(1);
        if self.position.full {
            let mark = MessageRecord {
                content: MessageContent::Quota,
                ..message
            };
            self.known.push_back((sequence, mark));
            Sent::Marked(sequence)
        } else {
            self.known.push_back((sequence, message));
            Sent::Stored(sequence)
        }
    }

    /// The first message that waits.
    pub(super) fn first(&self) -> First<'_> {
        match self.known.front() {
            _ if self.is_empty() => First::None,
            Some((sequence, message)) if *sequence == self.position.head => First::Known(message),
            Some(_) | None => First::Stored,
        }
    }

    /// Removes the first message, if it is the one with this id.
    pub(super) fn acknowledge(&mut self, id: &MsgId) -> bool {
        let is_first = matches!(self.first(), First::Known(first) if first.id == *id);
        if is_first {
            self.remove_first();
        }
        is_first
    }

    /// Removes the first message, if it is known to be from before a time.
    pub(super) fn expire_first(&mut self, before: i64) -> bool {
        let expired = matches!(self.first(), First::Known(first) if first.time < before);
        if expired {
            self.remove_first();
        }
        expired
    }

    fn remove_first(&mut self) {
        self.known.pop_front();
        self.position.head = self.position.head.saturating_add(1);
        if self.is_empty() {
            self.position.full = false;
        }
    }

    /// Keeps messages that were loaded, as far as they are the next ones.
    pub(super) fn loaded(&mut self, messages: Vec<(u64, MessageRecord)>) {
        let known_from = self.known.front().map(|(sequence, _)| *sequence);
        let wanted = messages.into_iter().filter(|(sequence, _)| {
            *sequence >= self.position.head && known_from.is_none_or(|from| *sequence < from)
        });
        for message in wanted.collect::<Vec<_>>().into_iter().rev() {
            self.known.push_front(message);
        }
    }

    /// Lets go of messages that are stored up to, and without, a place; the first one stays.
    pub(super) fn stored(&mut self, before: u64) {
        let head = self.position.head;
        self.known
            .retain(|(sequence, _)| *sequence == head || *sequence >= before);
        if self.known.is_empty() {
            self.known = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smp::MsgFlags;
    use bytes::Bytes;

    fn message(number: u8) -> MessageRecord {
        MessageRecord {
            id: MsgId::from([number; 24]),
            time: number.into(),
            content: MessageContent::Sent {
                flags: MsgFlags {
                    notification: false,
                },
                body: Bytes::new(),
            },
        }
    }

    fn acknowledge_first(messages: &mut Messages) -> bool {
        let First::Known(first) = messages.first() else {
            return false;
        };
        let id = first.id.clone();
        messages.acknowledge(&id)
    }

    #[test]
    fn a_full_queue_takes_messages_again_when_it_was_emptied() {
        let mut messages = Messages::default();
        assert_eq!(messages.send(message(1), 2), Sent::Stored(0));
        assert_eq!(messages.send(message(2), 2), Sent::Stored(1));
        assert_eq!(messages.send(message(3), 2), Sent::Marked(2));
        assert_eq!(messages.send(message(4), 2), Sent::Full);
        for _ in 0..2 {
            assert!(acknowledge_first(&mut messages));
            assert_eq!(messages.send(message(4), 2), Sent::Full);
        }
        assert!(matches!(
            messages.first(),
            First::Known(MessageRecord {
                content: MessageContent::Quota,
                ..
            })
        ));
        assert!(acknowledge_first(&mut messages));
        assert_eq!(messages.send(message(5), 2), Sent::Stored(3));
    }

    #[test]
    fn stored_messages_leave_the_memory_and_come_back_in_order() {
        let mut messages = Messages::default();
        for number in 0..5 {
            messages.send(message(number), 128);
        }
        messages.stored(4);
        assert_eq!(messages.known.len(), 2);
        assert!(acknowledge_first(&mut messages));
        assert_eq!(messages.first(), First::Stored);
        messages.loaded(vec![(0, message(0)), (1, message(1)), (2, message(2))]);
        for number in 1..=2 {
            assert_eq!(messages.first(), First::Known(&message(number)));
            assert!(acknowledge_first(&mut messages));
        }
        assert_eq!(messages.first(), First::Stored);
        messages.loaded(vec![(3, message(3)), (4, message(4))]);
        assert_eq!(messages.known.len(), 2);
    }

    #[test]
    fn what_is_not_first_is_not_removed() {
        let mut messages = Messages::default();
        messages.send(message(1), 128);
        assert!(!messages.acknowledge(&MsgId::from([9; 24])));
        assert!(!messages.expire_first(1));
        assert!(messages.expire_first(2));
        assert!(messages.is_empty());
    }
}
