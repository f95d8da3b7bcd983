//! Looking for what keeps a router from running well: what all routers have in common.

use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::SystemTime;

use simplex_sans_io::time::UnixTime;

use crate::identity::{IdentityFiles, browsers};
use crate::ports::addresses;

/// What was looked at, and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// All is well.
    Good(String),
    /// It works, but there is something to know.
    Note(String),
    /// It does not work: what is wrong and what to do.
    Problem(String),
}

impl Finding {
    /// Whether something is wrong.
    #[must_use]
    pub const fn is_problem(&self) -> bool {
        matches!(self, Self::Problem(_))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good(text) => write!(f, "ok       {text}"),
            Self::Note(text) => write!(f, "note     {text}"),
            Self::Problem(text) => write!(f, "PROBLEM  {text}"),
        }
    }
}

/// Whether the router has an identity, and keeps the key of it elsewhere.
pub(crate) fn certificates(configuration: &Path) -> Vec<Finding> {
    let now = UnixTime::from(SystemTime::now());
    let mut findings = vec![match IdentityFiles(configuration).load(now) {
        Ok(credentials) => Finding::Good(format!(
            "certificates: {}",
            credentials.chain().fingerprint()
        )),
        Err(error) => Finding::Problem(format!("certificates: {error}")),
    }];
    if configuration.join("ca.key").exists() {
        findings.push(Finding::Note(
            "ca.key is on this machine: it is not needed to run; keep it elsewhere".to_owned(),
        ));
    }
    findings
}

pub(crate) fn clock() -> Finding {
    const RELEASE: i64 = 1_790_000_000;
    let now = UnixTime::from(SystemTime::now());
    match now.seconds() < RELEASE {
        true => Finding::Problem(
            "clock: it is before this program was written; set it, or certificates and expiration will be wrong".to_owned(),
        ),
        false => Finding::Good("clock".to_owned()),
    }
}

pub(crate) fn port_is_free(port: u16) -> Finding {
    can_be_bound(port, &addresses(port))
}

/// The same of a port for this machine only.
pub(crate) fn loopback_port_is_free(port: u16) -> Finding {
    can_be_bound(port, &[(Ipv4Addr::LOCALHOST, port).into()])
}

fn can_be_bound(port: u16, addresses: &[SocketAddr]) -> Finding {
    match TcpListener::bind(addresses) {
        Ok(_) => Finding::Good(format!("port {port} is free")),
        Err(error) => Finding::Problem(format!(
            "port {port} cannot be used: {error}; is the router running already, or another program on the port?"
        )),
    }
}

/// Whether there is a certificate for browsers where it should be.
pub(crate) fn web(certificate: &Path, key: &Path) -> Finding {
    match browsers(certificate, key, Vec::new()) {
        Some(_) => Finding::Good(format!("browsers: {}", certificate.display())),
        None => Finding::Problem(format!(
            "browsers: {} and {} are no certificate with its key; they are not served",
            certificate.display(),
            key.display()
        )),
    }
}

/// Whether a directory can be written to, and there is room on its disk.
pub(crate) fn directory(what: &str, path: &Path) -> Finding {
    const SCARCE: u64 = 1 << 30;
    let probe = path.join(".doctor");
    let written = fs::write(&probe, b"x").and_then(|()| fs::remove_file(&probe));
    let shown = path.display();
    if let Err(error) = written {
        return Finding::Problem(format!(
            "{what}: {shown} cannot be written: {error}; give it to the user that runs the router"
        ));
    }
    match room(path) {
        Ok(room) if room < SCARCE => Finding::Problem(format!(
            "{what}: less than 1 GB is free in {shown}; when it is full nothing is accepted any more"
        )),
        Ok(_) => Finding::Good(format!("{what}: {shown}")),
        Err(error) => Finding::Note(format!(
            "{what}: the free space of {shown} is not known: {error}"
        )),
    }
}

/// How many bytes are free.
pub(crate) fn room(path: &Path) -> std::io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

pub(crate) fn open_files() -> Finding {
    use rustix::process::{Resource, getrlimit};
    const FEW: u64 = 4096;
    match getrlimit(Resource::Nofile).maximum {
        Some(limit) if limit < FEW => Finding::Problem(format!(
            "limits: only {limit} files may be open, so only {} clients connected; raise LimitNOFILE or `ulimit -Hn`",
            limit / 10 * 9
        )),
        Some(limit) => Finding::Good(format!("limits: {limit} open files")),
        None => Finding::Good("limits: any number of open files".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_found() {
        let [all, _] = addresses(0);
        let taken = TcpListener::bind(all)
            .or_else(|_| TcpListener::bind("0.0.0.0:0"))
            .unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(port_is_free(port).is_problem());
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(loopback_port_is_free(port).is_problem());
        drop(taken);
        assert!(!loopback_port_is_free(port).is_problem());
    }
}
