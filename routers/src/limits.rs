//! What the operating system lets a router have.

/// Nine tenths of the files that may be open, after raising their number as far as possible; the store needs the rest.
pub(crate) fn connections() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let open_files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let open_files = open_files.unwrap_or(1 << 20).min(1 << 20);
    usize::try_from(open_files / 10 * 9).unwrap_or(usize::MAX)
}
