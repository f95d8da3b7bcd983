//! What a router counts, and which files are downloaded.
//!
//! Numbers are those of a day, a week or a month of the calendar, in UTC. They are kept as the text of the reference's file.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::store::Change;
use super::{Action, Gauges, Router};
use crate::time::{Instant, Now, UnixTime};
use crate::wire::EntityId;
use crate::wire::text::parse_i64;
use crate::wire::utc::{self, UtcTime};

macro_rules! counters {
    ($($(#[$meta:meta])* $field:ident = $name:literal),* $(,)?) => {
        /// Numbers of events since a day began.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Counters {
            $( $(#[$meta])* pub $field: u64, )*
        }

        impl Counters {
            /// All counters with their names in files and on the control port.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$(($name, self.$field)),*]
            }

            fn named_mut(&mut self, name: &str) -> Option<&mut u64> {
                match name {
                    $($name => Some(&mut self.$field),)*
                    _ => None,
                }
            }

            fn add(&mut self, other: &Self) {
                $( self.$field = self.$field.saturating_add(other.$field); )*
            }
        }
    };
}

counters! {
    /// Files created.
    files_created = "filesCreated",
    /// Recipients added.
    file_recipients = "fileRecipients",
    /// Chunks uploaded.
    files_uploaded = "filesUploaded",
    /// Files that have expired.
    files_expired = "filesExpired",
    /// Files deleted.
    files_deleted = "filesDeleted",
    /// Files blocked.
    files_blocked = "filesBlocked",
    /// Downloads begun.
    file_downloads = "fileDownloads",
    /// Recipients deleted.
    file_download_acks = "fileDownloadAcks",
}

/// How many files were downloaded, each of them counted once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Downloaded {
    /// On this day.
    pub day: u64,
    /// In this week, which begins on Monday.
    pub week: u64,
    /// In this month.
    pub month: u64,
}

/// What was counted on a day that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day {
    /// When the day began, or counting did.
    pub since: UnixTime,
    /// What was counted.
    pub counters: Counters,
    /// Whether the day was the last one of a week.
    pub ends_week: bool,
    /// Whether the day was the last one of a month.
    pub ends_month: bool,
    /// How much there is at its end.
    pub gauges: Gauges,
}

const HOUR: i64 = 3600;
const DAY: i64 = 86_400;

/// Periods in which a file was downloaded, as bits.
const DAYS: u8 = 1;
const WEEKS: u8 = 2;
const MONTHS: u8 = 4;
const PERIODS: [(u8, &str); 3] = [
    (DAYS, "dayHashes"),
    (WEEKS, "weekHashes"),
    (MONTHS, "monthHashes"),
];

/// More files than these are not told apart: they are not counted, so that memory has a limit.
const MAX_DOWNLOADED: usize = 1 << 18;

/// Statistics of the time since a day began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statistics {
    since: UnixTime,
    counters: Counters,
    /// By the beginning of the sender's id, which is random.
    downloaded: BTreeMap<u64, u8>,
    /// How many files were downloaded, by period.
    counts: [u64; 3],
}

impl Statistics {
    /// Nothing was counted yet.
    #[must_use]
    pub const fn new(since: UnixTime) -> Self {
        Self {
            since,
            counters: Counters {
                files_created: 0,
                file_recipients: 0,
                files_uploaded: 0,
                files_expired: 0,
                files_deleted: 0,
                files_blocked: 0,
                file_downloads: 0,
                file_download_acks: 0,
            },
            downloaded: BTreeMap::new(),
            counts: [0; 3],
        }
    }

    /// Reads what was stored, or the file of the reference's router. What cannot be read was not counted.
    #[must_use]
    pub fn parse(text: &str, now: UnixTime) -> Self {
        let mut statistics = Self::new(now);
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            if name == "fromTime" {
                if let Ok(time) = value.parse::<UtcTime>() {
                    statistics.since = UnixTime::from_seconds(time.seconds());
                }
            } else if let Some((period, _)) = PERIODS.iter().find(|(_, known)| *known == name) {
                for hash in value.split(',').filter_map(|hash| parse_i64(hash).ok()) {
                    statistics.downloaded(hash.cast_unsigned(), *period);
                }
            } else if let (Some(counter), Ok(value)) =
                (statistics.counters.named_mut(name), value.parse())
            {
                *counter = value;
            }
        }
        statistics
    }

    /// The file of the reference's router, each line with its end.
    #[must_use]
    pub fn file(&self, chunks: u64, used: u64) -> String {
        let shown = Shown {
            statistics: self,
            chunks,
            used,
        };
        shown.to_string()
    }

    fn downloaded(&mut self, file: u64, periods: u8) {
        if self.downloaded.len() >= MAX_DOWNLOADED && !self.downloaded.contains_key(&file) {
            return;
        }
        let known = self.downloaded.entry(file).or_default();
        let new = periods & !*known;
        *known |= periods;
        for ((period, _), count) in PERIODS.iter().zip(&mut self.counts) {
            *count = count.saturating_add(u64::from(new & period != 0));
        }
    }

    fn end(&mut self, ended: u8) {
        self.downloaded.retain(|_, periods| {
            *periods &= !ended;
            *periods != 0
        });
        for ((period, _), count) in PERIODS.iter().zip(&mut self.counts) {
            if ended & period != 0 {
                *count = 0;
            }
        }
    }

    /// Goes on with what was counted before.
    fn go_on(&mut self, mut before: Self) {
        before.counters.add(&self.counters);
        for (file, periods) in std::mem::take(&mut self.downloaded) {
            before.downloaded(file, periods);
        }
        *self = before;
    }
}

struct Shown<'a> {
    statistics: &'a Statistics,
    chunks: u64,
    used: u64,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            statistics,
            chunks,
            used,
        } = self;
        let c = &statistics.counters;
        let since = UtcTime::from_seconds(statistics.since.seconds());
        writeln!(f, "fromTime={since}")?;
        for (name, value) in [
            ("filesCreated", c.files_created),
            ("fileRecipients", c.file_recipients),
            ("filesUploaded", c.files_uploaded),
            ("filesExpired", c.files_expired),
            ("filesDeleted", c.files_deleted),
            ("filesBlocked", c.files_blocked),
            ("filesCount", *chunks),
            ("filesSize", *used),
        ] {
            writeln!(f, "{name}={value}")?;
        }
        writeln!(f, "filesDownloaded:")?;
        for (period, name) in PERIODS {
            let files = statistics.downloaded.iter();
            let files = files.filter(|(_, periods)| **periods & period != 0);
            let files = files.map(|(file, _)| file.cast_signed().to_string());
            writeln!(f, "{name}={}", files.collect::<Vec<_>>().join(","))?;
        }
        writeln!(f, "fileDownloads={}", c.file_downloads)?;
        writeln!(f, "fileDownloadAcks={}", c.file_download_acks)
    }
}

/// The beginning of the next hour.
pub(super) fn next_hour(now: Now) -> Instant {
    let second = now.unix.seconds().rem_euclid(HOUR);
    let left = u64::try_from(HOUR.saturating_sub(second)).unwrap_or(1);
    now.instant + Duration::from_secs(left)
}

impl Router {
    /// What was counted since the day began.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.statistics.counters
    }

    pub(super) fn count(&mut self, counter: fn(&mut Counters) -> &mut u64, by: u64) {
        let counter = counter(&mut self.statistics.counters);
        *counter = counter.saturating_add(by);
    }

    /// Files that were downloaded.
    pub(super) const fn downloads(&self) -> Downloaded {
        let [day, week, month] = self.statistics.counts;
        Downloaded { day, week, month }
    }

    /// Since when numbers are counted.
    pub(super) const fn counting_since(&self) -> UnixTime {
        self.statistics.since
    }

    /// A file is being downloaded.
    pub(super) fn downloaded(&mut self, sender: &EntityId) {
        if let Some(beginning) = sender.first_chunk() {
            let file = u64::from_be_bytes(*beginning);
            self.statistics.downloaded(file, DAYS | WEEKS | MONTHS);
        }
    }

    /// What was counted is stored, so that a crash loses an hour of it at most.
    pub(super) fn end_hour(&mut self) {
        self.hour = next_hour(self.now);
        self.end_day();
        self.store_statistics();
    }

    /// Stores what was counted, once it is known what was counted before.
    pub(super) fn store_statistics(&mut self) {
        if !self.has_heard_totals() {
            return;
        }
        let totals = self.totals.totals;
        let text = self.statistics.file(totals.chunks, totals.used);
        let change = Change::PutStatistics(text.into());
        self.commit(vec![change], super::Adjustment::default(), Vec::new());
    }

    /// Goes on with what was stored.
    pub(super) fn restore_statistics(&mut self, stored: &Bytes) {
        let text = String::from_utf8_lossy(stored);
        let before = Statistics::parse(&text, self.statistics.since);
        self.statistics.go_on(before);
        self.end_day();
    }

    /// Ends the day on which counting began, if it is over.
    fn end_day(&mut self) {
        let (since, now) = (self.statistics.since.seconds(), self.now.unix.seconds());
        let days = |seconds: i64| seconds.div_euclid(DAY);
        if days(now) <= days(since) {
            return;
        }
        // The first of January 1970 was a Thursday.
        let week = |seconds| days(seconds).saturating_add(3).div_euclid(7);
        let month = |seconds| utc::month_of(days(seconds));
        let day = Day {
            since: self.statistics.since,
            counters: self.statistics.counters,
            ends_week: week(since) != week(now),
            ends_month: month(since) != month(now),
            gauges: self.gauges(),
        };
        let ended = [
            (true, DAYS),
            (day.ends_week, WEEKS),
            (day.ends_month, MONTHS),
        ];
        let ended = ended.iter().filter(|(over, _)| *over);
        let ended = ended.fold(0, |ended, (_, period)| ended | period);
        self.actions.push(Action::Day(Box::new(day)));
        self.statistics.counters = Counters::default();
        self.statistics.end(ended);
        self.statistics.since = self.now.unix;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine as _;
    use crate::rng::Rng;
    use crate::xftp::router::store::{Load, Loaded, Totals};
    use crate::xftp::router::{Config, Input};

    /// A Saturday.
    const START: i64 = 1_795_824_000;

    fn at(seconds: i64) -> Now {
        Now {
            instant: Instant::from_micros(u64::try_from(seconds - START).unwrap() * 1_000_000),
            unix: UnixTime::from_seconds(seconds),
        }
    }

    fn router(now: Now, stored: Option<Bytes>) -> (Router, Vec<Day>) {
        let config = Config {
            expiration: None,
            ..Config::default()
        };
        let mut router = Router::new(config, Rng::from_seed([1; 32]), now);
        let Some(Action::Load(load, Load::Totals)) = router.poll() else {
            panic!("it asks for totals")
        };
        assert_eq!(router.poll(), None);
        let loaded = Loaded::Totals(Totals::default(), stored);
        router.handle(now, Input::Loaded(load, loaded)).unwrap();
        let (days, _) = drain(&mut router);
        (router, days)
    }

    fn drain(router: &mut Router) -> (Vec<Day>, Option<Bytes>) {
        let (mut days, mut stored) = (Vec::new(), None);
        while let Some(action) = router.poll() {
            match action {
                Action::Day(day) => days.push(*day),
                Action::Commit(_, changes) => {
                    for change in changes {
                        if let Change::PutStatistics(text) = change {
                            stored = Some(text);
                        }
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        (days, stored)
    }

    fn next_day(router: &mut Router, now: &mut Now) -> Day {
        loop {
            let due = router.deadline().unwrap();
            *now = *now + (due - now.instant);
            router.handle(*now, Input::Timeout).unwrap();
            if let (mut days, Some(_)) = drain(router)
                && let Some(day) = days.pop()
            {
                return day;
            }
        }
    }

    #[test]
    fn a_day_ends_at_midnight_a_week_on_sunday_and_files_are_counted_once() {
        let mut now = at(START + 3600);
        let (mut router, _) = router(now, None);
        router.count(|c| &mut c.files_created, 3);
        for file in [1, 2, 2] {
            router.downloaded(&EntityId::from([file; 24]));
        }
        let saturday = next_day(&mut router, &mut now);
        assert_eq!(now.unix.seconds(), START + DAY);
        assert_eq!(saturday.counters.files_created, 3);
        let two = Downloaded {
            day: 2,
            week: 2,
            month: 2,
        };
        assert_eq!(saturday.gauges.downloaded, two);
        assert!(!saturday.ends_week);
        let sunday = next_day(&mut router, &mut now);
        assert_eq!(sunday.counters, Counters::default());
        assert_eq!(sunday.gauges.downloaded, Downloaded { day: 0, ..two });
        assert!(sunday.ends_week && !sunday.ends_month);
        let monday = next_day(&mut router, &mut now);
        let of_month = Downloaded {
            month: 2,
            ..Downloaded::default()
        };
        assert_eq!(monday.gauges.downloaded, of_month);
        // The last day of November.
        assert!(monday.ends_month);
        assert!(router.statistics.downloaded.is_empty());
    }

    #[test]
    fn what_was_counted_survives_and_a_day_that_passed_meanwhile_ends() {
        let (mut before, _) = router(at(START + 60), None);
        before.count(|c| &mut c.files_expired, 5);
        before.downloaded(&EntityId::from([0xf7; 24]));
        before.handle(at(START + 60), Input::Save).unwrap();
        let (_, stored) = drain(&mut before);
        let text = stored.clone().unwrap();
        assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 15);

        let (again, ended) = router(at(START + 7200), stored.clone());
        assert!(ended.is_empty());
        assert_eq!(again.statistics, before.statistics);

        let (later, ended) = router(at(START + DAY + 5), stored);
        assert_eq!(ended.len(), 1);
        assert_eq!(*later.counters(), Counters::default());
        assert_eq!(later.gauges().counting_since.seconds(), START + DAY + 5);
        assert_eq!(later.gauges().downloaded.week, 1);
    }

    #[test]
    fn the_file_of_the_reference_is_read_and_what_is_not_understood_was_not_counted() {
        let text = "fromTime=2026-11-28T00:00:07.123456789Z\nfilesCreated=4\nfileRecipients=x\nfilesCount=9\nfilesDownloaded:\n\
            dayHashes=\nweekHashes=-5,7,*\nmonthHashes=-5\nfileDownloads=2\n=\nnonsense\n";
        let statistics = Statistics::parse(text, UnixTime::from_seconds(START));
        assert_eq!(statistics.since.seconds(), START + 7);
        assert_eq!(statistics.counters.files_created, 4);
        assert_eq!(statistics.counters.file_downloads, 2);
        assert_eq!(statistics.counts, [0, 2, 1]);
    }

    #[test]
    fn the_files_that_are_told_apart_have_a_limit() {
        let mut statistics = Statistics::new(UnixTime::from_seconds(START));
        for file in 0..MAX_DOWNLOADED as u64 + 10 {
            statistics.downloaded(file, DAYS);
        }
        statistics.downloaded(3, MONTHS);
        assert_eq!(statistics.counts, [MAX_DOWNLOADED as u64, 0, 1]);
    }
}
