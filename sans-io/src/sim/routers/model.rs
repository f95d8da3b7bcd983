//! What was promised of a queue, and what must therefore be seen of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;

use crate::sim::script::Queue;
use crate::smp::MsgId;
use crate::smp::body::{Delivered, SentMessage};
use crate::smp::router::ConnId;

/// A session: the router, and the connection with it.
pub(super) type SessionAt = (usize, ConnId);

/// Whether a queue is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum There {
    Promised,
    /// Its deletion was asked for.
    Unknown,
    Deleted,
}

/// A message that somebody has tried to send.
struct Sent {
    sender: usize,
    /// The second of the attempt.
    second: i64,
    outcome: Outcome,
    delivered: bool,
    /// Whether the recipient's acknowledgement was confirmed, since the last time that the router may have forgotten it.
    confirmed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Unknown,
    Acknowledged,
    /// After its sender had given up: others may have been sent, another way, meanwhile.
    AcknowledgedLate,
    Refused,
}

impl Sent {
    const fn is_acknowledged(&self) -> bool {
        matches!(
            self.outcome,
            Outcome::Acknowledged | Outcome::AcknowledgedLate
        )
    }
}

/// A queue, and what was promised of it.
pub(super) struct Promised {
    pub(super) queue: Queue,
    pub(super) router: usize,
    pub(super) there: There,
    /// Who is subscribed, as far as clients know.
    pub(super) subscriber: Option<SessionAt>,
    /// Who has received a message and not acknowledged it; the number of the message, if it is no mark.
    pub(super) held: BTreeMap<SessionAt, (MsgId, Option<u32>)>,
    sent: Vec<Sent>,
    /// What was confirmed in this step: what another client is told in it may have been said before.
    confirmed_now: BTreeSet<u32>,
}

impl fmt::Debug for Promised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promised")
            .field("router", &self.router)
            .field("there", &self.there)
            .field("sent", &self.sent.len())
            .finish_non_exhaustive()
    }
}

impl Promised {
    pub(super) fn new(queue: Queue, router: usize) -> Self {
        Self {
            queue,
            router,
            there: There::Promised,
            subscriber: None,
            held: BTreeMap::new(),
            sent: Vec::new(),
            confirmed_now: BTreeSet::new(),
        }
    }

    /// Somebody tries to send: the number of the message, which is its body.
    pub(super) fn attempt(&mut self, sender: usize, second: i64) -> u32 {
        let number = u32::try_from(self.sent.len()).expect("few messages");
        self.sent.push(Sent {
            sender,
            second,
            outcome: Outcome::Unknown,
            delivered: false,
            confirmed: false,
        });
        number
    }

    fn sent(&mut self, number: u32) -> &mut Sent {
        &mut self.sent[usize::try_from(number).expect("few messages")]
    }

    pub(super) fn acknowledged(&mut self, number: u32, late: bool) {
        self.sent(number).outcome = match late {
            false => Outcome::Acknowledged,
            true => Outcome::AcknowledgedLate,
        };
    }

    pub(super) fn refused(&mut self, number: u32) {
        self.sent(number).outcome = Outcome::Refused;
    }

    /// The recipient's acknowledgement was confirmed.
    pub(super) fn confirm(&mut self, number: u32) {
        self.confirmed_now.insert(number);
    }

    pub(super) fn end_step(&mut self) {
        for number in std::mem::take(&mut self.confirmed_now) {
            self.sent(number).confirmed = true;
        }
    }

    /// The router may deliver again what it was told to forget: acknowledgements do not wait for the disk.
    pub(super) fn forget_confirmations(&mut self) {
        self.confirmed_now.clear();
        for sent in &mut self.sent {
            sent.confirmed = false;
        }
    }

    /// A message was delivered.
    pub(super) fn delivered(
        &mut self,
        to: SessionAt,
        id: MsgId,
        body: &Bytes,
        expired_before: i64,
    ) {
        let delivered = Delivered::decrypt(&self.queue.secret, &id, body).expect("it is encrypted");
        let Delivered::Message(SentMessage { body, .. }) = delivered else {
            self.held.insert(to, (id, None));
            return;
        };
        let number = u32::from_be_bytes((*body).try_into().expect("a number"));
        let place = usize::try_from(number).expect("few messages");
        assert!(place < self.sent.len(), "nobody has sent {number}");
        let sender = self.sent[place].sender;
        assert_ne!(
            self.sent[place].outcome,
            Outcome::Refused,
            "{number} was refused"
        );
        assert!(!self.sent[place].confirmed, "{number} comes again");
        // In order: nothing of the same sender that was acknowledged was passed over.
        let passed_over = self.sent[..place].iter().position(|earlier| {
            earlier.sender == sender
                && earlier.outcome == Outcome::Acknowledged
                && !earlier.delivered
                && earlier.second >= expired_before
        });
        assert_eq!(passed_over, None, "passed over before {number}");
        self.sent[place].delivered = true;
        self.held.insert(to, (id, Some(number)));
    }

    /// What was acknowledged to its sender and neither delivered nor too old.
    pub(super) fn lost(&self, expired_before: i64) -> Vec<usize> {
        let sent = self.sent.iter().enumerate();
        sent.filter(|(_, sent)| {
            sent.is_acknowledged() && !sent.delivered && sent.second >= expired_before
        })
        .map(|(number, _)| number)
        .collect()
    }

    pub(super) fn counts(&self) -> (u64, u64) {
        let count = |which: fn(&Sent) -> bool| {
            u64::try_from(self.sent.iter().filter(|sent| which(sent)).count()).expect("few")
        };
        (count(Sent::is_acknowledged), count(|sent| sent.delivered))
    }
}
