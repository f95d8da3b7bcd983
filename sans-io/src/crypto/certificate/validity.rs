//! The time in which a certificate is valid, and how X.509 writes times.

use std::fmt;
use std::time::Duration;

use super::CertificateError;
use crate::crypto::der::{DerError, Reader, Tag, Writer};
use crate::time::UnixTime;
use crate::wire::utc::UtcTime;

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
        let Self { from, until } = self;
        let [from, until] = [from, until].map(|time| UtcTime::from_seconds(time.seconds()));
        write!(f, "valid from {from} until {until}")
    }
}

const DAY: i64 = 86400;
/// 0000-01-01T00:00:00Z.
const FIRST: i64 = -62_167_219_200;
/// 9999-12-31T23:59:59Z.
const LAST: i64 = 253_402_300_799;
/// The years that X.509 writes with two digits.
const UTC_TIME: std::ops::Range<i64> = UTC_TIME_FIRST..2_524_608_000;
/// 1950-01-01T00:00:00Z.
const UTC_TIME_FIRST: i64 = -631_152_000;

fn read_time(reader: &mut Reader<'_>) -> Result<UnixTime, DerError> {
    let digits = match reader.optional(Tag::UTC_TIME)? {
        Some(text @ [b'0'..=b'4', ..]) => [b"20", text].concat(),
        Some(text) => [b"19", text].concat(),
        None => reader.element(Tag::GENERALIZED_TIME)?.to_vec(),
    };
    let time = std::str::from_utf8(&digits)
        .ok()
        .and_then(parse)
        .ok_or(DerError::Value)?;
    // The parser of ISO times knows leap seconds and midnight as 24:00; X.509 knows neither.
    if format(time).as_bytes() == digits {
        Ok(time)
    } else {
        Err(DerError::Value)
    }
}

fn parse(digits: &str) -> Option<UnixTime> {
    let (year, rest) = digits.split_at_checked(4)?;
    let (month, rest) = rest.split_at_checked(2)?;
    let (day, rest) = rest.split_at_checked(2)?;
    let (hour, rest) = rest.split_at_checked(2)?;
    let (minute, second) = rest.split_at_checked(2)?;
    let time: UtcTime = format!("{year}-{month}-{day}T{hour}:{minute}:{second}")
        .parse()
        .ok()?;
    Some(UnixTime::from_seconds(time.seconds()))
}

fn format(time: UnixTime) -> String {
    UtcTime::from_seconds(time.seconds())
        .to_string()
        .replace(['-', 'T', ':'], "")
}

fn write_time(writer: &mut Writer, time: UnixTime) {
    let digits = format(time);
    match digits.split_at_checked(2) {
        Some((_, two_digits)) if UTC_TIME.contains(&time.seconds()) => {
            writer.element(Tag::UTC_TIME, two_digits.as_bytes());
        }
        _ => {
            writer.element(Tag::GENERALIZED_TIME, digits.as_bytes());
        }
    }
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
            "240101000000.5Z",
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
            "valid from 1970-01-01T00:00:00Z until 1970-01-02T00:00:00Z"
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
