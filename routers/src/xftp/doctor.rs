//! Looking for what keeps a router from running well.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::SystemTime;

use simplex_sans_io::time::UnixTime;
use simplex_sans_io::xftp::router::store::{Chunk, Content, Load, Loaded};

use super::cli::Directories;
use super::disk;
use super::settings::{Settings, StoreKind};
use super::store::{Embedded, Store, StoreError};
use crate::doctor::{Finding, certificates, clock, directory, open_files, port_is_free, room, web};

/// Examines configuration, certificates, ports, disks, records, clock and limits.
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
            let ports = [Some(settings.port), settings.web.http, settings.web.https];
            findings.extend(ports.into_iter().flatten().map(port_is_free));
            if let Some((certificate, key)) = &settings.web.certificate {
                findings.push(web(certificate, key));
            }
            findings.push(directory("files", &settings.files));
            findings.extend(quota(&settings));
            findings.push(directory("data", &directories.data));
            if settings.store == StoreKind::Embedded {
                findings.extend(store(&directories.store(), &settings.files));
            }
        }
    }
    findings.push(open_files());
    findings
}

/// Whether the disk has room for all that is allowed.
fn quota(settings: &Settings) -> Option<Finding> {
    let quota = settings.router.quota?;
    let room = room(&settings.files).ok()?;
    (room < quota).then(|| {
        Finding::Note(format!(
            "files: {room} bytes are free in {}, less than `storage_quota`, which is {quota}",
            settings.files.display()
        ))
    })
}

/// Reads every record of the store, unless a router is at work on it, and looks whether its chunks are there.
fn store(path: &Path, files: &Path) -> Vec<Finding> {
    if !path.exists() {
        return vec![Finding::Note("store: there is none yet".to_owned())];
    }
    let examined = Store::open(path).and_then(|mut store| {
        let mut first = None;
        let faults = store.verify(&mut |fault| {
            first.get_or_insert_with(|| fault.to_string());
        })?;
        let findings = vec![
            match faults {
                0 => Finding::Good(format!("store: {}", path.display())),
                faults => Finding::Problem(format!(
                    "store: {faults} records of {} do not fit together, the first of them: {}; `xftp-server restore` makes a store from a backup",
                    path.display(),
                    first.unwrap_or_default()
                )),
            },
            chunks(&store, files)?,
            used(&mut store)?,
        ];
        store.close()?;
        Ok(findings)
    });
    match examined {
        Ok(findings) => findings,
        Err(StoreError::InUse { .. }) => vec![Finding::Note(
            "store: the router runs, and the store is not looked at".to_owned(),
        )],
        Err(error) => vec![Finding::Problem(format!("store: {error}"))],
    }
}

fn chunks(store: &Store<Embedded>, files: &Path) -> Result<Finding, StoreError> {
    let (mut missing, mut known) = (0_u64, BTreeSet::new());
    for file in store.files() {
        let record = file?.record;
        let Some(chunk) = record.chunk() else {
            continue;
        };
        if !disk::path(files, &chunk).is_file() {
            missing = missing.saturating_add(1);
        }
        if record.content == Content::Stored {
            known.insert(chunk);
        }
    }
    let found = disk::chunks(files).flatten().flatten();
    let orphan = |chunk: &Chunk| chunk.name.is_none() && !known.contains(chunk);
    let orphans = found.filter(orphan).count();
    Ok(match (missing, orphans) {
        (0, 0) => Finding::Good(format!("chunks: {} in {}", known.len(), files.display())),
        (0, orphans) => Finding::Note(format!(
            "chunks: {orphans} in {} have no record; the next start removes them",
            files.display()
        )),
        (missing, _) => Finding::Problem(format!(
            "chunks: {missing} are missing in {}: is the right disk mounted? Their recipients are told that there is no such file",
            files.display()
        )),
    })
}

fn used(store: &mut Store<Embedded>) -> Result<Finding, StoreError> {
    let Loaded::Totals(totals, _) = store.load(&Load::Totals)? else {
        return Ok(Finding::Note("totals: they are not known".to_owned()));
    };
    let now = UnixTime::from(SystemTime::now()).seconds();
    let oldest = store.files().next().transpose()?;
    let oldest = oldest.map_or(0, |file| now.saturating_sub(file.record.created_at) / 3600);
    Ok(Finding::Good(format!(
        "totals: {} files, {} chunks with {} bytes, the oldest file is {oldest} hours old",
        totals.files, totals.chunks, totals.used
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn a_router_that_was_never_initialized_has_problems_that_are_named() {
        let nowhere = PathBuf::from("/nonexistent");
        let directories = crate::xftp::cli::FILES.within(&nowhere);
        let findings = examine(&directories);
        let problems: Vec<_> = findings
            .iter()
            .filter(|finding| finding.is_problem())
            .collect();
        assert_eq!(problems.len(), 2, "{findings:?}");
        assert!(problems[1].to_string().contains("`xftp-server init`"));
    }
}
