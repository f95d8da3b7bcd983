//! How long recipients take: messages that are delivered and not acknowledged, and the times of those that are.

use std::collections::BTreeMap;

/// The upper bounds of the times that are told apart, in seconds.
const BOUNDS: [u32; 28] = [
    0, 1, 2, 3, 4, 5, 10, 15, 20, 25, 30, 40, 50, 60, 90, 120, 150, 180, 240, 300, 360, 420, 480,
    600, 1200, 1800, 2700, 3600,
];

/// Where periods end, in seconds; the last one has no end.
const PERIODS: [u32; 4] = [60, 300, 1200, 3600];

/// How long it took until messages were acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AckTimes {
    /// How many took as long as each bound, and no longer.
    counts: [u64; BOUNDS.len()],
    /// How many took longer than all of them.
    longer: u64,
    /// All times together, in seconds.
    pub sum: u64,
    /// The longest, in seconds.
    pub max: u64,
}

impl AckTimes {
    pub(super) fn add(&mut self, seconds: u64) {
        let place = BOUNDS.iter().position(|bound| seconds <= u64::from(*bound));
        let count = match place.and_then(|place| self.counts.get_mut(place)) {
            Some(count) => count,
            None => &mut self.longer,
        };
        *count = count.saturating_add(1);
        self.sum = self.sum.saturating_add(seconds);
        self.max = self.max.max(seconds);
    }

    /// How many took no longer than each bound in seconds.
    pub fn buckets(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let counts = BOUNDS.iter().zip(&self.counts);
        counts.scan(0_u64, |all, (bound, count)| {
            *all = all.saturating_add(*count);
            Some((*bound, *all))
        })
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        let counts = self
            .counts
            .iter()
            .fold(0_u64, |all, count| all.saturating_add(*count));
        counts.saturating_add(self.longer)
    }

    /// How many took up to a minute, up to 5, 20 and 60, and longer.
    #[must_use]
    pub fn periods(&self) -> [u64; 5] {
        let mut periods = [0; 5];
        for (bound, count) in BOUNDS.iter().zip(&self.counts) {
            add_to(&mut periods, u64::from(*bound), *count);
        }
        add_to(&mut periods, u64::MAX, self.longer);
        periods
    }
}

fn add_to(periods: &mut [u64; 5], seconds: u64, count: u64) {
    let place = PERIODS
        .iter()
        .filter(|end| seconds > u64::from(**end))
        .count();
    if let Some(period) = periods.get_mut(place) {
        *period = period.saturating_add(count);
    }
}

/// Messages that are delivered and not acknowledged, by the second of their delivery.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Pending {
    seconds: BTreeMap<u32, u64>,
    count: u64,
}

impl Pending {
    pub(super) fn add(&mut self, second: u32) {
        let count = self.seconds.entry(second).or_default();
        *count = count.saturating_add(1);
        self.count = self.count.saturating_add(1);
    }

    pub(super) fn remove(&mut self, second: u32) {
        if let Some(count) = self.seconds.get_mut(&second) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.seconds.remove(&second);
            }
            self.count = self.count.saturating_sub(1);
        }
    }

    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// How many are delivered for up to a minute, up to 5, 20 and 60, and longer.
    pub(super) fn periods(&self, now: u32) -> [u64; 5] {
        let mut periods = [0; 5];
        for (second, count) in &self.seconds {
            add_to(&mut periods, now.saturating_sub(*second).into(), *count);
        }
        periods
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_apart_and_counted_together() {
        let mut times = AckTimes::default();
        for seconds in [0, 0, 5, 6, 60, 61, 300, 3600, 3601, 100_000] {
            times.add(seconds);
        }
        let at_most = |bound| {
            times
                .buckets()
                .find(|(known, _)| *known == bound)
                .unwrap()
                .1
        };
        assert_eq!(
            (at_most(0), at_most(5), at_most(10), at_most(3600)),
            (2, 3, 4, 8)
        );
        assert_eq!((times.count(), times.max), (10, 100_000));
        assert_eq!(times.sum, 107_633);
        assert_eq!(times.periods(), [5, 2, 0, 1, 2]);
    }

    #[test]
    fn what_is_not_acknowledged_grows_older() {
        let mut pending = Pending::default();
        for second in [100, 100, 170] {
            pending.add(second);
        }
        assert_eq!(pending.periods(170), [1, 2, 0, 0, 0]);
        pending.remove(100);
        pending.remove(100);
        pending.remove(100);
        assert_eq!(
            (pending.count(), pending.periods(10_000)),
            (1, [0, 0, 0, 0, 1])
        );
        pending.remove(170);
        assert_eq!(pending, Pending::default());
    }
}
