//! Time as an input: [`Now`], [`Instant`] and the [`Timers`] of a machine.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime};

/// The time of an input: for deadlines, and for what the protocol writes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Monotonic.
    pub instant: Instant,
    /// Of the calendar.
    pub unix: UnixTime,
}

impl Now {
    /// The driver's origin, at the Unix epoch.
    pub const START: Self = Self {
        instant: Instant::START,
        unix: UnixTime::EPOCH,
    };
}

impl Add<Duration> for Now {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self {
            instant: self.instant + duration,
            unix: self.unix + duration,
        }
    }
}

/// A point in time, in microseconds since the driver started. Arithmetic saturates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// When the driver started.
    pub const START: Self = Self(0);

    /// The instant that many microseconds after the start.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the start.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// The time from `earlier` to this instant; zero if it is not earlier.
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{:?}", Duration::from_micros(self.0))
    }
}

/// A time of the calendar, in microseconds since the Unix epoch. Arithmetic saturates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixTime(i64);

impl UnixTime {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// The time that many seconds after the epoch.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// The time that many microseconds after the epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }
}

impl From<SystemTime> for UnixTime {
    fn from(time: SystemTime) -> Self {
        Self(match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_micros()).map_or(i64::MIN, i64::saturating_neg)
            }
        })
    }
}

impl Add<Duration> for UnixTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add_unsigned(micros(duration)))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The latest time that a machine was given. An earlier one counts as it, so that nothing that has expired is pending again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latest(Instant);

impl Latest {
    /// The time at which a machine is made.
    #[must_use]
    pub const fn new(now: Now) -> Self {
        Self(now.instant)
    }

    /// The time of the last input.
    #[must_use]
    pub const fn get(&self) -> Instant {
        self.0
    }

    /// The time of an input that is said to come at `now`. The calendar may be set back.
    #[must_use]
    pub fn at(&mut self, now: Now) -> Now {
        self.0 = self.0.max(now.instant);
        Now {
            instant: self.0,
            unix: now.unix,
        }
    }
}

/// The timers of a machine: one slot for each value of an enum `T`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers<T, const N: usize> {
    slots: [Option<Instant>; N],
    timer: std::marker::PhantomData<T>,
}

/// An enum whose values name the timers of a machine.
pub trait Timer: Copy + 'static {
    /// The slot of this timer, below the number of slots.
    fn slot(self) -> usize;
}

impl<T, const N: usize> Default for Timers<T, N> {
    fn default() -> Self {
        Self {
            slots: [None; N],
            timer: std::marker::PhantomData,
        }
    }
}

impl<T: Timer, const N: usize> Timers<T, N> {
    /// Lets `timer` expire at `instant`.
    pub fn set(&mut self, timer: T, instant: Instant) {
        if let Some(slot) = self.slots.get_mut(timer.slot()) {
            *slot = Some(instant);
        }
    }

    /// Stops `timer`.
    pub fn stop(&mut self, timer: T) {
        if let Some(slot) = self.slots.get_mut(timer.slot()) {
            *slot = None;
        }
    }

    /// When `timer` expires, if it runs.
    #[must_use]
    pub fn get(&self, timer: T) -> Option<Instant> {
        self.slots.get(timer.slot()).copied().flatten()
    }

    /// Stops `timer` if it has expired, and says whether it had.
    pub fn expired(&mut self, timer: T, now: Instant) -> bool {
        let expired = self.get(timer).is_some_and(|at| at <= now);
        if expired {
            self.stop(timer);
        }
        expired
    }

    /// When the next timer expires.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.slots.iter().copied().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    enum T {
        A,
        B,
    }

    impl Timer for T {
        fn slot(self) -> usize {
            match self {
                Self::A => 0,
                Self::B => 1,
            }
        }
    }

    #[test]
    fn the_deadline_is_the_earliest_timer() {
        let mut timers = Timers::<T, 2>::default();
        assert_eq!(timers.deadline(), None);
        timers.set(T::A, Instant::from_micros(7));
        timers.set(T::B, Instant::from_micros(5));
        assert_eq!(timers.deadline(), Some(Instant::from_micros(5)));
        assert!(!timers.expired(T::A, Instant::from_micros(5)));
        assert!(timers.expired(T::B, Instant::from_micros(5)));
        assert_eq!(timers.deadline(), Some(Instant::from_micros(7)));
        timers.stop(T::A);
        assert_eq!(timers.deadline(), None);
    }

    #[test]
    fn the_calendar_of_the_system_is_ours() {
        let second = Duration::from_secs(1);
        let after = UnixTime::from(SystemTime::UNIX_EPOCH + second);
        let before = UnixTime::from(SystemTime::UNIX_EPOCH - second);
        assert_eq!((after.seconds(), before.seconds()), (1, -1));
    }

    #[test]
    fn an_earlier_time_counts_as_the_last_one() {
        let at = |micros, seconds| Now {
            instant: Instant::from_micros(micros),
            unix: UnixTime::from_seconds(seconds),
        };
        let mut latest = Latest::new(at(5, 0));
        assert_eq!(latest.at(at(4, 1)), at(5, 1));
        assert_eq!(latest.at(at(6, 0)), at(6, 0));
        assert_eq!(latest.at(at(5, 0)), at(6, 0));
    }

    #[test]
    fn arithmetic_saturates() {
        let end = Instant::from_micros(u64::MAX);
        assert_eq!(end + Duration::MAX, end);
        assert_eq!(Instant::START - end, Duration::ZERO);
        assert_eq!(
            UnixTime::from_micros(i64::MAX) + Duration::MAX,
            UnixTime::from_micros(i64::MAX)
        );
        assert_eq!(UnixTime::from_micros(-1).seconds(), -1);
    }
}
