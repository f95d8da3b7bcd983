//! The time of a run.

use std::time::Duration;

use crate::time::{Instant, Now};

/// Time that passes as a run says.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clockwork {
    now: Now,
    latest: Instant,
}

impl Clockwork {
    pub(super) const fn now(&self) -> Now {
        self.now
    }

    /// The time as it is told to a machine.
    pub(super) fn tell(&mut self) -> Now {
        self.latest = self.latest.max(self.now.instant);
        self.now
    }

    /// The time as the machine knows it, which never goes back.
    pub(super) const fn latest(&self) -> Instant {
        self.latest
    }

    pub(super) fn advance(&mut self, duration: Duration) {
        self.now = self.now + duration;
    }

    /// It is `instant` now, if it was not later already.
    pub(super) fn reach(&mut self, instant: Instant) {
        self.advance(instant - self.now.instant);
    }

    /// A driver whose clock is wrong.
    pub(super) fn go_back(&mut self, duration: Duration) {
        let before = Instant::START + (self.now.instant - (Instant::START + duration));
        self.now.instant = before;
    }
}
