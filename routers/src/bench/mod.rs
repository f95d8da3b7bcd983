//! A load test of SMP routers: what an operation costs them, as a multiple of what its cryptography and its bytes cost at least.

pub mod cli;
pub mod figures;
pub mod floor;
mod router;
mod scenarios;
mod session;
mod started;

use simplex_sans_io::drive::SmpConnectError;
use simplex_sans_io::smp::client::RequestError;

use crate::process::ProcessError;

/// Why something was not measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// There is no connection.
    #[error("not connected: {0}")]
    Connect(#[from] SmpConnectError),
    /// None of the scenarios has measured a router.
    #[error("nothing could be measured of {0}")]
    Unmeasured(String),
    /// A session has ended early.
    #[error("the session has ended: {0}")]
    Ended(String),
    /// The router refused a command.
    #[error("refused: {0}")]
    Refused(#[from] RequestError),
    /// The process cannot be watched.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A router does not start.
    #[error("`{command}` {reason}")]
    Start {
        /// What was to start it.
        command: String,
        /// What happened instead.
        reason: String,
    },
    /// It takes a process that the bench may stop and start.
    #[error("only for routers that are given with --start")]
    NotStarted,
    /// The machine does not do it.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
