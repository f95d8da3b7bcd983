//! What the operating system knows about the process of a router.

use std::io;
use std::time::Duration;

/// A process that cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("process {pid}: {error}")]
pub struct ProcessError {
    pid: u32,
    error: io::Error,
}

/// A process on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    /// This one.
    pub(crate) fn this() -> Self {
        Self(std::process::id())
    }

    /// The processor time that it has used, of its threads and of the kernel for them.
    pub(crate) fn cpu(self) -> Result<Duration, ProcessError> {
        let ticks = self.read("stat", ticks)?;
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Ok(Duration::from_secs(ticks) / u32::try_from(per_second).unwrap_or(100))
    }

    /// The bytes of its memory that are resident.
    pub(crate) fn resident(self) -> Result<u64, ProcessError> {
        self.read("status", resident)
    }

    fn read(
        self,
        file: &str,
        parse: impl FnOnce(&str) -> Option<u64>,
    ) -> Result<u64, ProcessError> {
        let Self(pid) = self;
        let unknown = || io::Error::new(io::ErrorKind::InvalidData, "not understood");
        std::fs::read_to_string(format!("/proc/{pid}/{file}"))
            .and_then(|text| parse(&text).ok_or_else(unknown))
            .map_err(|error| ProcessError { pid, error })
    }
}

/// `utime` and `stime`, fields 14 and 15. The second one is the name of the program, which may contain anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11).map(str::parse::<u64>);
    times.next()?.ok()?.checked_add(times.next()?.ok()?)
}

fn resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_time_count() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 104 0 0 0 12 30 0 0 20 0 1 0 55 1 2 3";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn memory_is_in_kilobytes() {
        let status = "Name:\tx\nVmHWM:\t   10 kB\nVmRSS:\t    8 kB\n";
        assert_eq!(resident(status), Some(8192));
        assert_eq!(resident("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_can_be_watched() {
        let this = Process::this();
        this.cpu().unwrap();
        assert!(this.resident().unwrap() > 0);
    }
}
