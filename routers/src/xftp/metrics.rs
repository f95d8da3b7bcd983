//! What a monitoring system reads of an XFTP router.

use std::fmt::Write as _;
use std::time::SystemTime;

use simplex_sans_io::time::UnixTime;
use simplex_sans_io::xftp::router::{Counters, Gauges};

use super::core::CoreHandle;
use crate::metrics::Measured;

/// What is measured.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) core: CoreHandle,
    pub(crate) quota: Option<u64>,
}

impl Measured for Metrics {
    async fn text(&self) -> Option<String> {
        let (gauges, counters) = self.core.read().await?;
        let now = UnixTime::from(SystemTime::now());
        Some(exposition(&gauges, &counters, self.quota, now))
    }

    async fn is_ready(&self) -> bool {
        self.core.read().await.is_some()
    }
}

/// The names are those of the reference implementation where it has them: dashboards know them.
fn exposition(gauges: &Gauges, counters: &Counters, quota: Option<u64>, now: UnixTime) -> String {
    let (g, c) = (gauges, counters);
    let counters = [
        ("files_created", "Files created", c.files_created),
        ("files_recipients", "Recipients added", c.file_recipients),
        ("files_uploaded", "Chunks uploaded", c.files_uploaded),
        ("files_expired", "Files that have expired", c.files_expired),
        ("files_deleted", "Files deleted", c.files_deleted),
        ("files_blocked", "Files blocked", c.files_blocked),
        ("file_downloads", "Downloads begun", c.file_downloads),
        (
            "file_download_acks",
            "Recipients deleted",
            c.file_download_acks,
        ),
    ];
    let gauges = [
        ("files_count_total", "Chunks on the disk", g.chunks),
        ("files_size", "Bytes of the chunks on the disk", g.used),
        ("files_records", "Files, with or without a chunk", g.files),
        ("recipients", "Recipients", g.recipients),
        ("uploads", "Uploads that have begun", g.uploads),
        ("reserved_size", "Bytes kept for uploads", g.reserved),
    ];
    let quota = quota.map(|quota| ("quota", "Bytes that chunks may take", quota));
    let millis = now.as_micros() / 1000;
    let mut text = String::new();
    let mut put = |kind: &str, (name, help, value): (&str, &str, u64)| {
        let name = format!("simplex_xftp_{name}");
        writeln!(
            text,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value} {millis}\n"
        )
        .ok();
    };
    counters.into_iter().for_each(|line| put("counter", line));
    gauges
        .into_iter()
        .chain(quota)
        .for_each(|line| put("gauge", line));
    let version = env!("CARGO_PKG_VERSION");
    let info = "# HELP simplex_xftp_info The program\n# TYPE simplex_xftp_info gauge";
    text + &format!("{info}\nsimplex_xftp_info{{version=\"{version}\"}} 1 {millis}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_explained_and_none_is_there_twice() {
        let now = UnixTime::from_seconds(1_700_000_000);
        let text = exposition(&Gauges::default(), &Counters::default(), Some(7), now);
        let names = |start: &str| -> Vec<String> {
            let lines = text.lines().filter_map(|line| line.strip_prefix(start));
            let names = lines.filter_map(|rest| rest.split(' ').next());
            names.map(str::to_owned).collect()
        };
        let mut helped = names("# HELP ");
        assert_eq!(helped, names("# TYPE "));
        assert_eq!(helped.len(), 16);
        helped.sort();
        helped.dedup();
        assert_eq!(helped.len(), 16);
        assert!(text.contains("\nsimplex_xftp_quota 7 1700000000000\n"));
    }
}
