//! Looking for what keeps a router from running well.

use std::fmt;
use std::fs;
use std::net::TcpListener;
use std::time::SystemTime;

use simplex_sans_io::time::UnixTime;

use super::cli::Directories;
use super::settings::{Settings, StoreKind};
use super::store::{EmbeddedStore, Options, Store as _, StoreError};
use crate::identity::IdentityFiles;
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

/// Examines configuration, certificates, ports, disk, clock and limits.
#[must_use]
pub fn examine(directories: &Directories) -> Vec<Finding> {
    let mut findings = vec![clock()];
    let now = UnixTime::from(SystemTime::now());
    findings.push(match IdentityFiles(&directories.configuration).load(now) {
        Ok(credentials) => Finding::Good(format!(
            "certificates: {}",
            credentials.chain().fingerprint()
        )),
        Err(error) => Finding::Problem(format!("certificates: {error}")),
    });
    if directories.configuration.join("ca.key").exists() {
        findings.push(Finding::Note(
            "ca.key is on this machine: it is not needed to run; keep it elsewhere".to_owned(),
        ));
    }
    match Settings::read(&directories.ini()) {
        Err(error) => findings.push(Finding::Problem(format!("configuration: {error}"))),
        Ok(settings) => {
            findings.push(Finding::Good(format!(
                "configuration: {}",
                directories.ini().display()
            )));
            findings.extend(settings.advice.iter().cloned().map(Finding::Note));
            findings.extend(
                settings
                    .transport
                    .ports
                    .iter()
                    .map(|port| port_is_free(*port)),
            );
            if matches!(settings.store, StoreKind::Embedded { .. }) {
                findings.push(data(directories));
                findings.push(store(directories));
            }
        }
    }
    findings.push(open_files());
    findings
}

fn clock() -> Finding {
    const RELEASE: i64 = 1_790_000_000;
    let now = UnixTime::from(SystemTime::now());
    match now.seconds() < RELEASE {
        true => Finding::Problem(
            "clock: it is before this program was written; set it, or certificates and expiration will be wrong".to_owned(),
        ),
        false => Finding::Good("clock".to_owned()),
    }
}

fn port_is_free(port: u16) -> Finding {
    match TcpListener::bind(addresses(port).as_slice()) {
        Ok(_) => Finding::Good(format!("port {port} is free")),
        Err(error) => Finding::Problem(format!(
            "port {port} cannot be used: {error}; is the router running already, or another program on the port?"
        )),
    }
}

fn data(directories: &Directories) -> Finding {
    let probe = directories.data.join(".doctor");
    let written = fs::write(&probe, b"x").and_then(|()| fs::remove_file(&probe));
    let path = directories.data.display();
    if let Err(error) = written {
        return Finding::Problem(format!(
            "data: {path} cannot be written: {error}; give it to the user that runs the router"
        ));
    }
    const SCARCE: u64 = 1 << 30;
    match rustix::fs::statvfs(&directories.data) {
        Ok(disk) if disk.f_bavail.saturating_mul(disk.f_frsize) < SCARCE => {
            Finding::Problem(format!(
                "data: less than 1 GB is free in {path}; when it is full nothing is accepted any more"
            ))
        }
        Ok(_) => Finding::Good(format!("data: {path}")),
        Err(error) => Finding::Note(format!(
            "data: the free space of {path} is not known: {error}"
        )),
    }
}

/// Reads every record of the store, unless a router is at work on it.
fn store(directories: &Directories) -> Finding {
    let path = directories.store();
    if !path.exists() {
        return Finding::Note("store: there is none yet".to_owned());
    }
    let mut first = None;
    let examined = EmbeddedStore::open(&path, Options::default()).and_then(|store| {
        let faults = store.verify(&mut |fault| {
            first.get_or_insert_with(|| fault.to_string());
        })?;
        Box::new(store).close().map(|()| faults)
    });
    match (examined, first) {
        (Ok(0), _) => Finding::Good(format!("store: {}", path.display())),
        (Ok(faults), first) => Finding::Problem(format!(
            "store: {faults} records of {} do not fit together, the first of them: {}; `smp-server restore` makes a store from a backup",
            path.display(),
            first.unwrap_or_default()
        )),
        (Err(StoreError::InUse { .. }), _) => {
            Finding::Note("store: the router runs, and the store is not looked at".to_owned())
        }
        (Err(error), _) => Finding::Problem(format!("store: {error}")),
    }
}

fn open_files() -> Finding {
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
    use std::path::PathBuf;

    #[test]
    fn a_router_that_was_never_initialized_has_problems_that_are_named() {
        let nowhere = PathBuf::from("/nonexistent");
        let directories = Directories {
            configuration: nowhere.clone(),
            data: nowhere,
        };
        let findings = examine(&directories);
        let problems: Vec<_> = findings
            .iter()
            .filter(|finding| finding.is_problem())
            .collect();
        assert_eq!(problems.len(), 2, "{findings:?}");
        assert!(problems[1].to_string().contains("`smp-server init`"));
    }

    #[test]
    fn a_port_that_is_taken_is_found() {
        let [all, _] = addresses(0);
        let taken = TcpListener::bind(all)
            .or_else(|_| TcpListener::bind("0.0.0.0:0"))
            .unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(port_is_free(port).is_problem());
    }
}
