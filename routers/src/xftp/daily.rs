//! The file of daily statistics: a line for each day, in the columns of the reference implementation.

use simplex_sans_io::xftp::router::Day;

use crate::daily::{at_end, date};

/// The name of the file.
pub(crate) const FILE: &str = "file-server-stats.daily.log";

/// The line of a day.
pub(crate) fn line(day: &Day) -> String {
    let (c, g) = (&day.counters, &day.gauges);
    let columns = [
        date(day.since),
        c.files_created.to_string(),
        c.file_recipients.to_string(),
        c.files_uploaded.to_string(),
        c.files_deleted.to_string(),
        g.downloaded.day.to_string(),
        at_end(day.ends_week, g.downloaded.week),
        at_end(day.ends_month, g.downloaded.month),
        c.file_downloads.to_string(),
        c.file_download_acks.to_string(),
        g.chunks.to_string(),
        g.used.to_string(),
        c.files_expired.to_string(),
    ];
    columns.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use simplex_sans_io::time::UnixTime;
    use simplex_sans_io::xftp::router::{Counters, Downloaded, Gauges};

    #[test]
    fn the_columns_of_a_day_are_those_of_the_reference() {
        let day = Day {
            since: UnixTime::from_seconds(1_795_824_000),
            counters: Counters {
                files_created: 1,
                file_recipients: 2,
                files_uploaded: 3,
                files_deleted: 4,
                file_downloads: 8,
                file_download_acks: 9,
                files_expired: 12,
                files_blocked: 100,
            },
            ends_week: false,
            ends_month: true,
            gauges: Gauges {
                downloaded: Downloaded {
                    day: 5,
                    week: 6,
                    month: 7,
                },
                chunks: 10,
                used: 11,
                ..Gauges::default()
            },
        };
        assert_eq!(line(&day), "2026-11-28,1,2,3,4,5,,7,8,9,10,11,12");
    }
}
