//! The pages that a router shows now: they follow the directory of its operator, who changes it while the router runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;

use super::Site;

/// How often the directory is looked at. Who proves to a certificate authority that a host is his writes a file and is asked for it at
/// once.
const INTERVAL: Duration = Duration::from_secs(1);

/// A directory that is large is looked at less often: a look takes no more than one part of this of the time.
const SPARING: u32 = 100;

/// The pages of a router.
#[derive(Debug)]
pub(crate) struct Pages {
    shown: watch::Sender<Arc<Site>>,
    /// At most one task, which ends with this.
    following: JoinSet<()>,
}

impl Pages {
    /// Those that `read` finds, now and whenever the directory has changed.
    pub(crate) fn of(
        directory: Option<&Path>,
        read: impl Fn() -> Site + Send + Sync + 'static,
    ) -> Self {
        let (shown, _) = watch::channel(Arc::new(Site::default()));
        let following = JoinSet::new();
        let mut pages = Self { shown, following };
        pages.become_those_of(directory, read);
        pages
    }

    /// Other ones instead.
    pub(crate) fn become_those_of(
        &mut self,
        directory: Option<&Path>,
        read: impl Fn() -> Site + Send + Sync + 'static,
    ) {
        self.following.abort_all();
        let looked = directory.map(|directory| (directory.to_owned(), Look::at(directory)));
        self.shown.send_replace(Arc::new(read()));
        if let Some((directory, look)) = looked {
            let follow = follow(directory, look, Arc::new(read), self.shown.clone());
            self.following.spawn(follow);
        }
    }

    /// What is shown now, and what will be.
    pub(crate) fn shown(&self) -> watch::Receiver<Arc<Site>> {
        self.shown.subscribe()
    }
}

async fn follow(
    directory: PathBuf,
    mut before: Look,
    read: Arc<dyn Fn() -> Site + Send + Sync>,
    shown: watch::Sender<Arc<Site>>,
) {
    let mut pause = INTERVAL;
    loop {
        sleep(pause).await;
        let (read, directory) = (Arc::clone(&read), directory.clone());
        let again = move || {
            let started = Instant::now();
            let now = Look::at(&directory);
            let took = started.elapsed();
            let site = (now != before).then(|| Arc::new(read()));
            (now, took, site)
        };
        let Ok((now, took, site)) = spawn_blocking(again).await else {
            return;
        };
        before = now;
        pause = INTERVAL.max(took.saturating_mul(SPARING));
        if let Some(site) = site {
            shown.send_replace(site);
        }
    }
}

/// What is in a directory, as far as it shows without reading files.
#[derive(Debug, PartialEq, Eq, Default)]
struct Look(BTreeMap<PathBuf, (u64, Option<SystemTime>)>);

impl Look {
    fn at(directory: &Path) -> Self {
        let mut look = Self::default();
        look.add(directory);
        look
    }

    fn add(&mut self, directory: &Path) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.is_dir() {
                self.add(&entry.path());
            }
            let seen = (metadata.len(), metadata.modified().ok());
            self.0.insert(entry.path(), seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::directory;

    #[tokio::test]
    async fn what_is_put_into_the_directory_is_shown() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::write(at("a.txt"), "first").unwrap();
        let path = place.path().to_owned();
        let mut pages = Pages::of(Some(place.path()), move || directory::read(&path));
        let mut shown = pages.shown();
        let body = |site: &Site, path: &str| site.page(path).map(|page| page.body().clone());
        assert_eq!(body(&shown.borrow(), "/a.txt").unwrap(), "first");

        fs::create_dir_all(at(".well-known/acme-challenge")).unwrap();
        fs::write(at(".well-known/acme-challenge/token"), "proof").unwrap();
        let token = "/.well-known/acme-challenge/token";
        let proof = shown.wait_for(|site| body(site, token).is_some());
        assert_eq!(body(&proof.await.unwrap(), token).unwrap(), "proof");
        fs::write(at("a.txt"), "another").unwrap();
        let another = shown.wait_for(|site| body(site, "/a.txt").unwrap() == "another");
        drop(another.await.unwrap());

        // Another directory, and none.
        pages.become_those_of(None, Site::default);
        assert_eq!(body(&pages.shown().borrow(), "/a.txt"), None);
        assert!(pages.following.join_next().await.unwrap().is_err());
    }
}
