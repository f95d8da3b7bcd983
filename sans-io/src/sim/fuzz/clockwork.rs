//! The time of a run.

use std::time::Duration;

use crate::time::{Instant, Now};

/// Time that passes as a run says.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clockwork(Now);

impl Clockwork {
    pub(super) const fn now(&self) -> Now {
        self.0
    }

    pub(super) fn advance(&mut self, duration: Duration) {
        self.0 = self.0 + duration;
    }

    /// It is `instant` now, if it was not later already.
    pub(super) fn reach(&mut self, instant: Instant) {
        self.advance(instant - self.0.instant);
    }

    /// A driver whose clock is wrong.
    pub(super) fn go_back(&mut self, duration: Duration) {
        let before = Instant::START + (self.0.instant - (Instant::START + duration));
        self.0.instant = before;
    }
}
