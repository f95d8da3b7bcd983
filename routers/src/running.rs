//! A router as a process: from its start until it is told to stop.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::systemd;

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
