//! The time in which a certificate is valid, and how X.509 writes times.

use std::fmt;
use std::time::Duration;

use super::CertificateError;
use crate::crypto::der::{DerError, Reader, Tag, Writer};
use crate::time::UnixTime;

/// From when until when a certificate is valid, both included, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    from: UnixTime,
    until: UnixTime,
}

impl Validity {
    /// The days for which routers and services make certificates: 2737 years.
    pub const LONG: u32 = 999_999;

    /// So many days from a moment on.
    #[must_use]
    pub fn days(from: UnixTime, days: u32) -> Self {
        let days = Duration::from_secs(u64::from(days).saturating_mul(DAY.unsigned_abs()));
        Self::between(from, from + days)
    }

    /// From one moment until another. Times after the year 9999, which X.509 cannot write, become its end.
    #[must_use]
    pub fn between(from: UnixTime, until: UnixTime) -> Self {
        let writable = |time: UnixTime| UnixTime::from_seconds(time.seconds().clamp(FIRST, LAST));
        Self {
            from: writable(from),
            until: writable(until),
        }
    }

    /// The first second of validity.
    #[must_use]
    pub fn from(&self) -> UnixTime {
        self.from
    }

    /// The last second of validity.
    #[must_use]
    pub fn until(&self) -> UnixTime {
        self.until
    }

    /// Refuses a time at which the certificate is not valid.
    pub fn check(&self, now: UnixTime) -> Result<(), CertificateError> {
        if now.seconds() < self.from.seconds() {
            Err(CertificateError::NotYetValid(*self))
        } else if now.seconds() > self.until.seconds() {
            Err(CertificateError::Expired(*self))
        } else {
            Ok(())
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DerError> {
        let mut times = reader.nested(Tag::SEQUENCE)?;
        let (from, until) = (read_time(&mut times)?, read_time(&mut times)?);
        times.finish()?;
        Ok(Self { from, until })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.nested(Tag::SEQUENCE, |times| {
            write_time(times, self.from);
            write_time(times, self.until);
        });
    }
}

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, until) = (Date::of(self.from), Date::of(self.until));
        write!(f, "valid from {from} until {until}")
    }
}

const DAY: i64 = 86400;
/// 0000-01-01T00:00:00Z.
const FIRST: i64 = -62_167_219_200;
/// 9999-12-31T23:59:59Z.
const LAST: i64 = 253_402_300_799;
/// RFC 5280: years from here on are not written as UTCTime, nor are those a century before.
const GENERALIZED: i64 = 2050;

fn read_time(reader: &mut Reader<'_>) -> Result<UnixTime, DerError> {
    let date = match reader.optional(Tag::UTC_TIME)? {
        Some(text) => {
            let (year, rest) = number(text, 2)?;
            let century = if year < 50 { 2000 } else { 1900 };
            Date::read(year.saturating_add(century), rest)?
        }
        None => {
            let (year, rest) = number(reader.element(Tag::GENERALIZED_TIME)?, 4)?;
            Date::read(year, rest)?
        }
    };
    date.time().ok_or(DerError::Value)
}

fn write_time(writer: &mut Writer, time: UnixTime) {
    let Date {
        year,
        month,
        day,
        seconds,
    } = Date::of(time);
    let (hour, minute, second) = clock(seconds);
    let rest = format!("{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
    if (GENERALIZED.saturating_sub(100)..GENERALIZED).contains(&year) {
        let text = format!("{:02}{rest}", year.rem_euclid(100));
        writer.element(Tag::UTC_TIME, text.as_bytes());
    } else {
        let text = format!("{year:04}{rest}");
        writer.element(Tag::GENERALIZED_TIME, text.as_bytes());
    }
}

/// A day of the Gregorian calendar and the seconds that have passed in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Date {
    year: i64,
    month: i64,
    day: i64,
    seconds: i64,
}

/// The days in 400 years, after which the calendar repeats.
const DAYS_OF_ERA: i64 = 146_097;
/// The days from 0000-03-01 to 1970-01-01.
const EPOCH: i64 = 719_468;

impl Date {
    /// Reads what follows the year.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "every number has two digits"
    )]
    fn read(year: i64, text: &[u8]) -> Result<Self, DerError> {
        let (month, text) = number(text, 2)?;
        let (day, text) = number(text, 2)?;
        let (hour, text) = number(text, 2)?;
        let (minute, text) = number(text, 2)?;
        let (second, text) = number(text, 2)?;
        if text != b"Z" || hour > 23 || minute > 59 || second > 59 {
            return Err(DerError::Value);
        }
        let seconds = (hour * 60 + minute) * 60 + second;
        Ok(Self {
            year,
            month,
            day,
            seconds,
        })
    }

    /// `None` if the calendar has no such day.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "years have four digits, months and days two"
    )]
    fn time(self) -> Option<UnixTime> {
        // A year starts in March here, so that a leap day is its last.
        let (year, month) = match self.month {
            3..=12 => (self.year, self.month - 3),
            1..=2 => (self.year - 1, self.month + 9),
            _ => return None,
        };
        let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_year = (153 * month + 2) / 5 + self.day - 1;
        let day_of_era = year * 365 + year / 4 - year / 100 + day_of_year;
        let days = era * DAYS_OF_ERA + day_of_era - EPOCH;
        let time = UnixTime::from_seconds(days * DAY + self.seconds);
        (Self::of(time) == self).then_some(time)
    }

    #[expect(
        clippy::arithmetic_side_effects,
        reason = "the seconds in an i64 of microseconds are far from its limits"
    )]
    fn of(time: UnixTime) -> Self {
        let seconds = time.seconds();
        let days = seconds.div_euclid(DAY) + EPOCH;
        let (era, day) = (days.div_euclid(DAYS_OF_ERA), days.rem_euclid(DAYS_OF_ERA));
        let year = (day - day / 1460 + day / 36524 - day / 146_096) / 365;
        let day_of_year = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let (month, next_year) = if month < 10 {
            (month + 3, 0)
        } else {
            (month - 9, 1)
        };
        Self {
            year: era * 400 + year + next_year,
            month,
            day,
            seconds: seconds.rem_euclid(DAY),
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            year,
            month,
            day,
            seconds,
        } = *self;
        let (hour, minute, second) = clock(seconds);
        write!(
            f,
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC"
        )
    }
}

fn clock(seconds: i64) -> (i64, i64, i64) {
    (
        seconds.div_euclid(3600),
        seconds.div_euclid(60).rem_euclid(60),
        seconds.rem_euclid(60),
    )
}

/// A number of so many decimal digits, and what follows it.
fn number(text: &[u8], digits: usize) -> Result<(i64, &[u8]), DerError> {
    let (digits, rest) = text.split_at_checked(digits).ok_or(DerError::Value)?;
    let mut number = 0_i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(DerError::Value);
        }
        number = number
            .saturating_mul(10)
            .saturating_add(i64::from(digit.wrapping_sub(b'0')));
    }
    Ok((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(tag: Tag, text: &str) -> Result<i64, DerError> {
        let mut writer = Writer::default();
        writer.element(tag, text.as_bytes());
        read_time(&mut Reader::new(&writer.into_bytes())).map(UnixTime::seconds)
    }

    #[test]
    fn times_of_the_calendar() {
        for (tag, text, seconds) in [
            (Tag::UTC_TIME, "700101000000Z", 0),
            (Tag::UTC_TIME, "691231235959Z", -1),
            (Tag::UTC_TIME, "240101000000Z", 1_704_067_200),
            (Tag::UTC_TIME, "491231235959Z", 2_524_607_999),
            (Tag::UTC_TIME, "500101000000Z", -631_152_000),
            (Tag::GENERALIZED_TIME, "20000229120000Z", 951_825_600),
            (Tag::GENERALIZED_TIME, "47641016083410Z", 88_195_077_250),
            (Tag::GENERALIZED_TIME, "99991231235959Z", LAST),
            (Tag::GENERALIZED_TIME, "00000101000000Z", FIRST),
        ] {
            assert_eq!(read(tag, text), Ok(seconds), "{text}");
        }
    }

    #[test]
    fn days_that_do_not_exist_and_other_forms_are_refused() {
        for text in [
            "240230000000Z",
            "230229000000Z",
            "241301000000Z",
            "240001000000Z",
            "240100000000Z",
            "240101240000Z",
            "240101006000Z",
            "240101000060Z",
            "2401010000Z",
            "240101000000+0100",
            "2401010000 0Z",
            "",
        ] {
            assert_eq!(read(Tag::UTC_TIME, text), Err(DerError::Value), "{text}");
        }
    }

    #[test]
    fn a_time_beyond_the_calendar_is_its_end() {
        let validity = Validity::days(UnixTime::from_micros(i64::MAX), Validity::LONG);
        assert_eq!(validity.until().seconds(), LAST);
        assert_eq!(validity.from().seconds(), LAST);
        assert_eq!(
            Validity::days(UnixTime::EPOCH, 1).to_string(),
            "valid from 1970-01-01 00:00:00 UTC until 1970-01-02 00:00:00 UTC"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(from in FIRST..=LAST, until in FIRST..=LAST) {
            let validity = Validity::between(UnixTime::from_seconds(from), UnixTime::from_seconds(until));
            let mut writer = Writer::default();
            validity.write(&mut writer);
            prop_assert_eq!(Validity::read(&mut Reader::new(&writer.into_bytes())), Ok(validity));
        }
    }
}
