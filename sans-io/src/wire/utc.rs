//! Times of the calendar as text: ISO 8601, in UTC, with as many decimals as there are.

use std::fmt;
use std::str::FromStr;

use super::text::TextError;

const SECONDS_A_DAY: i64 = 86_400;
const NANOSECONDS: u32 = 1_000_000_000;
/// The first second that has no text, as a year has four digits.
const YEAR_10000: i64 = 253_402_300_800;

/// A time of the calendar with nanoseconds. During a leap second the nanoseconds run on past a whole second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcTime {
    seconds: i64,
    nanoseconds: u32,
}

impl UtcTime {
    /// A whole second.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self {
            seconds,
            nanoseconds: 0,
        }
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds after [`seconds`](Self::seconds).
    #[must_use]
    pub const fn nanoseconds(self) -> u32 {
        self.nanoseconds
    }
}

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of(self.seconds.div_euclid(SECONDS_A_DAY));
        let second_of_day = self.seconds.rem_euclid(SECONDS_A_DAY);
        let (leap, nanoseconds) = match self.nanoseconds.checked_sub(NANOSECONDS) {
            Some(nanoseconds) => (1, nanoseconds),
            None => (0, self.nanoseconds),
        };
        let (hour, minute) = (second_of_day / 3600, second_of_day / 60 % 60);
        let second = (second_of_day % 60).saturating_add(leap);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )?;
        if nanoseconds > 0 {
            let decimals = format!("{nanoseconds:09}");
            write!(f, ".{}", decimals.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

impl FromStr for UtcTime {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        parse(text).ok_or(TextError::Invalid("time"))
    }
}

fn parse(text: &str) -> Option<UtcTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-');
    let year = number(date.next()?, 4)?;
    let (month, day) = (number(date.next()?, 2)?, number(date.next()?, 2)?);
    let (time, decimals) = match time.split_once('.') {
        Some((time, decimals)) => (time, Some(decimals)),
        None => (time, None),
    };
    let mut time = time.split(':');
    let (hour, minute) = (number(time.next()?, 2)?, number(time.next()?, 2)?);
    let second = number(time.next()?, 2)?;
    if date.next().is_some() || time.next().is_some() {
        return None;
    }
    let midnight_after = (hour, minute, second) == (24, 0, 0);
    let leap = u32::from(second == 60);
    if (hour > 23 && !midnight_after) || minute > 59 || second > 60 {
        return None;
    }
    let nanoseconds = decimals.map_or(Some(0), nanoseconds)?;
    let second_of_day = hour
        .checked_mul(3600)?
        .checked_add(minute.checked_mul(60)?)?
        .checked_add(second.min(59))?;
    let seconds = days_since_epoch(year, month, day)?
        .checked_mul(SECONDS_A_DAY)?
        .checked_add(second_of_day)?;
    Some(UtcTime {
        seconds: Some(seconds).filter(|seconds| *seconds < YEAR_10000)?,
        nanoseconds: nanoseconds.checked_add(leap.checked_mul(NANOSECONDS)?)?,
    })
}

fn number(digits: &str, count: usize) -> Option<i64> {
    let valid = digits.len() == count && digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| digits.parse().ok())?
}

fn nanoseconds(decimals: &str) -> Option<u32> {
    let valid = (1..=9).contains(&decimals.len()) && decimals.bytes().all(|b| b.is_ascii_digit());
    valid.then(|| format!("{decimals:0<9}").parse().ok())?
}

// The civil calendar in 400-year eras that begin in March, so that the leap day comes last.

const DAYS_AN_ERA: i64 = 146_097;
const EPOCH_FROM_ERA: i64 = 719_468;

fn days_since_epoch(year: i64, month: i64, day: i64) -> Option<i64> {
    let days = days_from_civil(year, month, day)?;
    (date_of(days) == (year, month, day)).then_some(days)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    let march_year = year.checked_sub(i64::from(month <= 2))?;
    let (era, year_of_era) = (march_year.div_euclid(400), march_year.rem_euclid(400));
    let march_month = month.checked_add(9)?.rem_euclid(12);
    let day_of_year = march_month
        .checked_mul(153)?
        .checked_add(2)?
        .checked_div(5)?
        .checked_add(day)?
        .checked_sub(1)?;
    let leap_days = (year_of_era / 4).checked_sub(year_of_era / 100)?;
    year_of_era
        .checked_mul(365)?
        .checked_add(leap_days)?
        .checked_add(day_of_year)?
        .checked_add(era.checked_mul(DAYS_AN_ERA)?)?
        .checked_sub(EPOCH_FROM_ERA)
}

#[expect(
    clippy::arithmetic_side_effects,
    reason = "days come from seconds, which leaves many bits to spare"
)]
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(EPOCH_FROM_ERA);
    let (era, day_of_era) = (days.div_euclid(DAYS_AN_ERA), days.rem_euclid(DAYS_AN_ERA));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era.saturating_mul(400) + i64::from(month <= 2);
    (year, month, day)
}

/// The month of a day since the Unix epoch, and its year.
pub(crate) fn month_of(day: i64) -> (i64, i64) {
    let (year, month, _) = date_of(day);
    (year, month)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn times_come_back(seconds in 0..YEAR_10000, nanoseconds in 0..NANOSECONDS) {
            let time = UtcTime { seconds, nanoseconds };
            prop_assert_eq!(time.to_string().parse::<UtcTime>().unwrap(), time);
        }

        #[test]
        fn arbitrary_texts_never_panic(text in "[0-9TZ:.-]{0,30}") {
            let _ = text.parse::<UtcTime>();
        }
    }

    #[test]
    fn the_midnight_after_the_last_day_has_no_text() {
        let midnight = |day: &str| format!("{day}T24:00:00Z").parse::<UtcTime>();
        assert_eq!(
            midnight("9999-12-30").unwrap().to_string(),
            "9999-12-31T00:00:00Z"
        );
        assert!(midnight("9999-12-31").is_err());
    }

    #[test]
    fn the_limits_of_the_type_print() {
        assert!(!UtcTime::from_seconds(i64::MIN).to_string().is_empty());
        assert!(!UtcTime::from_seconds(i64::MAX).to_string().is_empty());
    }
}
