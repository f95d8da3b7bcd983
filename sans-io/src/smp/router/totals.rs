//! How much there is: what the store has counted, and what has changed since it was asked.
//!
//! Changes count when they are committed. Which of them are there after some were not stored is the store's to say: it is asked again.

use super::loads::For;
use super::store::{self, Load};
use super::{Gauges, Router};

/// How much there is, or by how much that has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Amounts {
    pub(super) queues: i64,
    pub(super) messages: i64,
    pub(super) notifiers: i64,
    pub(super) notifications: i64,
    pub(super) messaging_services: i64,
    pub(super) notifier_services: i64,
    pub(super) messaging_service_queues: i64,
    pub(super) notifier_service_queues: i64,
}

impl Amounts {
    fn fields(&mut self) -> [&mut i64; 8] {
        [
            &mut self.queues,
            &mut self.messages,
            &mut self.notifiers,
            &mut self.notifications,
            &mut self.messaging_services,
            &mut self.notifier_services,
            &mut self.messaging_service_queues,
            &mut self.notifier_service_queues,
        ]
    }

    fn with(mut self, mut other: Self, each: fn(i64, i64) -> i64) -> Self {
        for (amount, other) in self.fields().into_iter().zip(other.fields()) {
            *amount = each(*amount, *other);
        }
        self
    }
}

impl From<&store::Totals> for Amounts {
    fn from(totals: &store::Totals) -> Self {
        let amount = |count| i64::try_from(count).unwrap_or(i64::MAX);
        Self {
            queues: amount(totals.queues),
            messages: amount(totals.messages),
            notifiers: amount(totals.notifiers),
            notifications: amount(totals.notifications),
            messaging_services: amount(totals.messaging_services),
            notifier_services: amount(totals.notifier_services),
            messaging_service_queues: amount(totals.messaging_service_queues),
            notifier_service_queues: amount(totals.notifier_service_queues),
        }
    }
}

/// How much there is. See the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    /// What the store has counted, without the changes that it has seen already.
    counted: Amounts,
    /// All changes since the start.
    pub(super) changed: Amounts,
    known: Known,
}

/// Whether the store has counted since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Known {
    #[default]
    Asked,
    /// It could not tell, and will be asked again.
    No,
    Yes,
}

impl Totals {
    /// Whether the store has counted since the start.
    pub(super) fn are_known(&self) -> bool {
        self.known == Known::Yes
    }

    /// The store could not tell.
    pub(super) fn not_counted(&mut self) {
        if self.known == Known::Asked {
            self.known = Known::No;
        }
    }

    pub(super) fn gauges(&self) -> Gauges {
        let now = self.counted.with(self.changed, i64::saturating_add);
        // Something may be gone that the store has not told of yet.
        let number = |amount: i64| u64::try_from(amount).unwrap_or(0);
        Gauges {
            queues: number(now.queues),
            messages: number(now.messages),
            notifiers: number(now.notifiers),
            notifications: number(now.notifications),
            messaging_services: number(now.messaging_services),
            notifier_services: number(now.notifier_services),
            messaging_service_queues: number(now.messaging_service_queues),
            notifier_service_queues: number(now.notifier_service_queues),
            ..Gauges::default()
        }
    }
}

/// There are so many more.
pub(super) fn more(amount: &mut i64, by: impl TryInto<i64>) {
    *amount = amount.saturating_add(by.try_into().unwrap_or(i64::MAX));
}

/// There are so many fewer.
pub(super) fn fewer(amount: &mut i64, by: impl TryInto<i64>) {
    *amount = amount.saturating_sub(by.try_into().unwrap_or(i64::MAX));
}

impl Router {
    /// Asks the store how much there is.
    pub(super) fn recount(&mut self) {
        self.load(For::Totals(Amounts::default()), Load::Totals);
    }

    /// The store has counted, when this had changed. The first time, counting goes on where it ended before.
    pub(super) fn totals_loaded(&mut self, totals: &store::Totals, changed: Amounts) {
        let is_first = !self.totals.are_known();
        self.totals.counted = Amounts::from(totals).with(changed, i64::saturating_sub);
        self.totals.known = Known::Yes;
        if let (true, Some(statistics)) = (is_first, &totals.statistics) {
            self.restore_statistics(statistics);
        }
    }

    /// Whether the store has been heard: before, all [gauges](Self::gauges) and [counters](Self::counters) begin at nothing.
    #[must_use]
    pub fn has_heard_totals(&self) -> bool {
        self.totals.known != Known::Asked
    }
}
