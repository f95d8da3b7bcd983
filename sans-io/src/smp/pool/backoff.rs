//! How long to wait before the next attempt.

use std::time::Duration;

use crate::time::Instant;

/// How the time between attempts grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryInterval {
    /// At first.
    pub initial: Duration,
    /// For how long it stays like that.
    pub increase_after: Duration,
    /// At most.
    pub max: Duration,
}

impl Default for RetryInterval {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            increase_after: Duration::from_secs(10),
            max: Duration::from_secs(10),
        }
    }
}

/// Attempts are never made at the same instant.
const SHORTEST: Duration = Duration::from_millis(1);

/// The attempts since the last success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Backoff(Option<(Instant, Duration)>);

impl Backoff {
    /// When to try again after an attempt that failed now.
    pub(crate) fn next(&mut self, now: Instant, interval: &RetryInterval) -> Instant {
        let initial = interval.initial.max(SHORTEST);
        let (since, last) = self.0.unwrap_or((now, initial));
        let wait = if now - since < interval.increase_after {
            last
        } else {
            last.saturating_mul(3)
                .checked_div(2)
                .unwrap_or(last)
                .min(interval.max)
                .max(SHORTEST)
        };
        self.0 = Some((since, wait));
        now + wait
    }

    /// The next attempt is the first again.
    pub(crate) fn reset(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_longer_only_after_a_while_and_never_too_long() {
        let interval = RetryInterval::default();
        let mut backoff = Backoff::default();
        let mut now = Instant::START;
        let mut waits = Vec::new();
        for _ in 0..20 {
            let next = backoff.next(now, &interval);
            waits.push((next - now).as_millis());
            now = next;
        }
        assert!(waits[..10].iter().all(|wait| *wait == 1000));
        assert!(waits[10..].is_sorted());
        assert_eq!(waits[19], 10_000);
        backoff.reset();
        assert_eq!(backoff.next(now, &interval) - now, interval.initial);
    }
}
