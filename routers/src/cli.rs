//! What the command lines of routers have in common.

use std::io::{self, BufRead as _, Write as _};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Args, Parser, ValueEnum};
use simplex_sans_io::crypto::Algorithm;
use simplex_sans_io::time::UnixTime;
use tracing_subscriber::filter::LevelFilter;

/// Does what the command line asks for. Scripts know 1 as the code of whatever goes wrong.
pub(crate) fn run<C: Parser, E: std::error::Error>(
    name: &str,
    execute: impl FnOnce(C) -> Result<(), E>,
) -> ExitCode {
    let command = match C::try_parse_from(crate::arguments::arguments()) {
        Ok(command) => command,
        Err(error) => {
            error.print().ok();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match execute(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "{name}: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

/// Prints a line.
pub(crate) fn say(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

/// Prints what is known of a router, and says how much of it is wrong.
pub(crate) fn say_all(findings: &[crate::doctor::Finding]) -> io::Result<usize> {
    for finding in findings {
        say(&finding.to_string())?;
    }
    Ok(findings
        .iter()
        .filter(|finding| finding.is_problem())
        .count())
}

/// Whether the answer to a warning is a capital Y, or was given on the command line.
pub(crate) fn confirm(confirmed: bool, warning: &str) -> io::Result<bool> {
    if confirmed {
        return Ok(true);
    }
    write!(io::stdout(), "{warning}\nContinue (Y/n): ")?;
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim_end_matches(['\r', '\n']) == "Y")
}

/// The time.
pub(crate) fn now() -> UnixTime {
    UnixTime::from(SystemTime::now())
}

/// Tells on standard error what happens.
pub(crate) fn log(level: LogLevel) {
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::from(level))
        .with_target(false)
        .with_writer(io::stderr)
        .init();
}

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Trace,
    Debug,
    Info,
    Note,
    Warn,
    Error,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Trace => Self::TRACE,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Info | LogLevel::Note => Self::INFO,
            LogLevel::Warn => Self::WARN,
            LogLevel::Error => Self::ERROR,
        }
    }
}

/// The algorithm of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SignAlgorithm {
    Ed25519,
    Ed448,
}

impl From<SignAlgorithm> for Algorithm {
    fn from(algorithm: SignAlgorithm) -> Self {
        match algorithm {
            SignAlgorithm::Ed25519 => Self::Ed25519,
            SignAlgorithm::Ed448 => Self::Ed448,
        }
    }
}

/// A new certificate.
#[derive(Debug, Clone, Args)]
pub(crate) struct Cert {
    /// The algorithm of the new key; that of the old one otherwise.
    #[arg(short = 'a', long, value_enum, ignore_case = true)]
    pub(crate) sign_algorithm: Option<SignAlgorithm>,
    /// The name in the certificate; that of the old one otherwise.
    #[arg(long)]
    pub(crate) cn: Option<String>,
}
