//! How fast clients may make connections: one that has lost its mind does not fill the disk, or the routers. And how often somebody may
//! try a token.

use std::time::{Duration, Instant};

/// What is left of what may be made in the minute that has begun with the first.
#[derive(Debug)]
pub(super) struct Rate {
    in_a_minute: u32,
    left: u32,
    begun: Option<Instant>,
}

impl Rate {
    pub(super) const fn new(in_a_minute: u32) -> Self {
        Self {
            in_a_minute,
            left: in_a_minute,
            begun: None,
        }
    }

    /// Whether one more may be made, which is one less.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let may = self.may_take(now);
        self.left = self.left.saturating_sub(1);
        may
    }

    /// Whether one more may be made.
    pub(super) fn may_take(&mut self, now: Instant) -> bool {
        let over = |begun| now.saturating_duration_since(begun) >= Duration::from_secs(60);
        if self.begun.is_none_or(over) {
            self.begun = Some(now);
            self.left = self.in_a_minute;
        }
        self.left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_made_in_a_minute() {
        let (mut rate, now) = (Rate::new(2), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(rate.take(now) && rate.take(after(1)) && !rate.take(after(59)));
        assert!(rate.take(after(60)) && rate.take(after(61)) && !rate.take(after(62)));
    }
}
