//! What a monitoring system reads of an XFTP router.

use std::sync::Arc;
use std::time::SystemTime;

use simplex_sans_io::time::UnixTime;
use simplex_sans_io::xftp::router::{Counters, Gauges};

use super::core::CoreHandle;
use super::disk::Disk;
use crate::listener::{Bites, Sockets};
use crate::metrics::{Exposition, Measured};

/// What is measured.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) core: CoreHandle,
    pub(crate) disk: Disk,
    pub(crate) quota: Option<u64>,
    pub(crate) port: u16,
    pub(crate) sockets: Arc<Sockets>,
    pub(crate) bites: Arc<Bites>,
}

impl Measured for Metrics {
    async fn text(&self) -> Option<String> {
        let (gauges, counters) = self.core.read().await?;
        let now = UnixTime::from(SystemTime::now());
        Some(self.exposition(&gauges, &counters, now))
    }

    async fn readiness(&self) -> Option<String> {
        self.core.read().await.map(|_| String::new())
    }
}

impl Metrics {
    /// The names are those of the reference implementation where it has them: dashboards know them.
    fn exposition(&self, gauges: &Gauges, counters: &Counters, now: UnixTime) -> String {
        let (g, c) = (gauges, counters);
        let mut text = Exposition::new("simplex_xftp", now);
        text.counter("files_created", "", c.files_created);
        text.counter("files_recipients", "", c.file_recipients);
        text.counter("files_uploaded", "", c.files_uploaded);
        text.counter("files_expired", "", c.files_expired);
        text.counter("files_deleted", "", c.files_deleted);
        text.counter("files_blocked", "", c.files_blocked);
        text.counter("file_downloads", "", c.file_downloads);
        text.counter("file_download_acks", "", c.file_download_acks);
        text.gauge("files_count_daily", "", g.downloaded.day);
        text.gauge("files_count_weekly", "", g.downloaded.week);
        text.gauge("files_count_monthly", "", g.downloaded.month);
        text.gauge("files_count_total", "", g.chunks);
        text.gauge("files_size", "", g.used);
        text.gauge("files_records", "", g.files);
        text.gauge("recipients", "", g.recipients);
        text.gauge("uploads", "", g.uploads);
        text.gauge("reserved_size", "", g.reserved);
        if let Some(quota) = self.quota {
            text.gauge("quota", "", quota);
        }
        if let Ok(room) = self.disk.room() {
            text.gauge("disk_free", "", room);
        }
        text.info("XFTP_RTS_OPTIONS");
        let (accepted, closed) = (self.sockets.accepted(), self.sockets.closed());
        let port = format!("port=\"{}\"", self.port);
        text.counter("sockets_accepted", &port, accepted);
        text.counter("sockets_closed", &port, closed);
        text.gauge("sockets_active", &port, accepted.saturating_sub(closed));
        for (limit, bites) in self.bites.named() {
            text.counter("limits_reached", &format!("limit=\"{limit}\""), bites);
        }
        text.counter("limits_reached", "limit=\"loads\"", g.loads_delayed);
        text.gauge("store_loads", "", g.loads);
        text.gauge("store_commits", "", g.unstored);
        text.into_text()
    }
}
