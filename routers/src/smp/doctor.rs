//! Looking for what keeps a router from running well.

use std::collections::BTreeSet;

use super::cli::Directories;
use super::names::Resolver;
use super::settings::{Settings, StoreKind};
use super::store::{EmbeddedStore, Options, Store as _, StoreError};
use crate::doctor::{
    Finding, certificates, clock, directory, loopback_port_is_free, open_files, port_is_free, web,
};

/// Examines configuration, certificates, ports, disk, clock and limits.
#[must_use]
pub fn examine(directories: &Directories) -> Vec<Finding> {
    let mut findings = vec![clock()];
    findings.extend(certificates(&directories.configuration));
    match Settings::read(&directories.ini()) {
        Err(error) => findings.push(Finding::Problem(format!("configuration: {error}"))),
        Ok(settings) => {
            findings.push(Finding::Good(format!(
                "configuration: {}",
                directories.ini().display()
            )));
            findings.extend(settings.advice.iter().cloned().map(Finding::Note));
            findings.extend(ports(&settings));
            let served = settings.web.as_ref();
            findings.extend(served.map(|served| web(&served.certificate, &served.key)));
            findings.extend(settings.names.as_ref().map(names));
            if matches!(settings.store, StoreKind::Embedded { .. }) {
                findings.push(directory("data", &directories.data));
                findings.push(store(directories));
            }
        }
    }
    findings.push(open_files());
    findings
}

/// Whether the router gets all the ports that it wants.
fn ports(settings: &Settings) -> Vec<Finding> {
    let transport = &settings.transport;
    let clients = transport.ports.iter().chain(&transport.websockets).copied();
    let pages = settings
        .web
        .iter()
        .map(|web| web.port)
        .chain(settings.web_plain);
    let public: BTreeSet<_> = clients.chain(pages).collect();
    let own = [settings.control.port, settings.metrics_port];
    let own = own.into_iter().flatten().map(loopback_port_is_free);
    public.into_iter().map(port_is_free).chain(own).collect()
}

/// Asks the resolver of names whether it is well.
fn names(resolver: &Resolver) -> Finding {
    let endpoint = resolver.endpoint();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let probed = runtime.map_err(|error| error.to_string());
    match probed.and_then(|runtime| runtime.block_on(resolver.probe())) {
        Ok(()) => Finding::Good(format!("names: {endpoint}")),
        Err(error) => Finding::Problem(format!(
            "names: the resolver at {endpoint} is not well: {error}; start it, correct `resolver_endpoint` in [NAMES], \
             or set `enable = off` there"
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn a_router_that_was_never_initialized_has_problems_that_are_named() {
        let nowhere = PathBuf::from("/nonexistent");
        let directories = crate::smp::cli::FILES.within(&nowhere);
        let findings = examine(&directories);
        let problems: Vec<_> = findings
            .iter()
            .filter(|finding| finding.is_problem())
            .collect();
        assert_eq!(problems.len(), 2, "{findings:?}");
        assert!(problems[1].to_string().contains("`smp-server init`"));
    }
}
