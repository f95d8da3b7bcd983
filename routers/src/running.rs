//! A router as a process: from its start until it is told to stop.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinHandle, JoinSet};

use crate::listener::Limits;
use crate::systemd;

/// How long clients are waited for when a router stops.
const FAREWELL: Duration = Duration::from_secs(10);

/// A router that runs.
pub(crate) trait Running: Sized {
    /// Why it did not stop well.
    type Error;

    /// Waits until it cannot go on, which it hopefully never does.
    async fn failed(&mut self);

    /// Whether it answers.
    async fn is_alive(&self) -> bool;

    /// Stops, when everything is stored.
    async fn stop(self) -> Result<(), Self::Error>;
}

/// What the tasks of a router work for.
pub(crate) trait Core {
    /// Lets clients go, then stores everything, then ends.
    fn stop(&self);

    /// Does not wait for the clients that are left.
    fn abandon(&self);
}

/// The tasks of a router.
#[derive(Debug)]
pub(crate) struct Tasks {
    pub(crate) core: JoinHandle<()>,
    /// Those that let somebody in.
    pub(crate) listeners: JoinSet<()>,
    /// Those that the core needs to its end.
    pub(crate) background: JoinSet<()>,
    pub(crate) limits: Limits,
}

impl Tasks {
    /// Waits until the core has ended.
    pub(crate) async fn failed(&mut self) {
        (&mut self.core).await.ok();
    }

    /// Stops accepting, lets clients go, and waits until the core has told the store everything.
    pub(crate) async fn stop(mut self, core: &impl Core) {
        self.listeners.shutdown().await;
        self.limits.sessions.close();
        self.limits.stopping.cancel();
        core.stop();
        if tokio::time::timeout(FAREWELL, self.limits.sessions.wait())
            .await
            .is_err()
        {
            tracing::warn!("some clients did not take their last bytes in time");
        }
        core.abandon();
        if !self.core.is_finished() {
            (&mut self.core).await.ok();
        }
        self.background.shutdown().await;
    }
}

/// Waits where it may take its time until a store has ended.
pub(crate) async fn joined<E: Send + 'static>(
    join: impl FnOnce() -> Result<(), E> + Send + 'static,
) -> Result<(), E> {
    tokio::task::spawn_blocking(join).await.unwrap_or(Ok(()))
}

/// What tells a router to stop, or to read its configuration again. It is heard from when this is made.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Lets a router run until it is told to stop. `reload` reads its certificates and settings again.
    pub(crate) async fn run<R: Running, E: std::error::Error>(
        mut self,
        mut router: R,
        reload: impl Fn(&mut R) -> Result<(), E>,
    ) -> Result<(), R::Error> {
        systemd::notify("READY=1");
        let mut watchdog = systemd::watchdog();
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => tracing::info!("interrupted: stopping"),
                _ = self.terminate.recv() => tracing::info!("terminated: stopping"),
                () = router.failed() => tracing::error!("the router cannot go on: stopping"),
                _ = self.hangup.recv() => {
                    match reload(&mut router) {
                        Ok(()) => tracing::info!("certificates and settings are read again"),
                        Err(error) => tracing::error!(%error, "nothing is changed"),
                    }
                    continue;
                }
                _ = watchdog.tick() => {
                    // A core that does not answer is not alive.
                    if router.is_alive().await {
                        systemd::notify("WATCHDOG=1");
                    }
                    continue;
                }
            }
            break;
        }
        systemd::notify("STOPPING=1");
        router.stop().await?;
        tracing::info!("stopped: everything is stored");
        Ok(())
    }
}
