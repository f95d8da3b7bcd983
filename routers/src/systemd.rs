//! What the service manager of the machine is told.

use std::env;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

/// Tells the service manager, if there is one.
pub(crate) fn notify(state: &str) {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = tell(&path, state) {
        tracing::debug!(%error, "the service manager does not listen");
    }
}

fn tell(path: &std::ffi::OsStr, state: &str) -> std::io::Result<()> {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::net::SocketAddr;
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

/// When the service manager wants to hear that the router is alive; otherwise hardly ever.
pub(crate) fn watchdog() -> Interval {
    let period = env::var("WATCHDOG_USEC")
        .ok()
        .and_then(|micros| micros.parse().ok())
        .map_or(Duration::from_secs(3600), Duration::from_micros);
    let mut ticks = interval((period / 2).max(Duration::from_millis(100)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_manager_is_told_on_its_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        tell(path.as_os_str(), "READY=1").unwrap();
        let mut buffer = [0; 16];
        let length = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
    }
}
