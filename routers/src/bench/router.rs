//! The routers under test.

use std::str::FromStr;

use simplex_sans_io::drive::SmpOptions;
use simplex_sans_io::wire::{BasicAuth, ServerAddress, SmpScheme};

use super::BenchError;
use super::session::Access;
use super::started::Started;
use crate::process::Process;

/// A router that runs already: `[NAME=]ADDRESS[,PID]`.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    name: Option<String>,
    address: ServerAddress<SmpScheme>,
    password: Option<BasicAuth>,
    process: Option<Process>,
}

/// A router to start: `[NAME=]COMMAND`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Startable {
    name: Option<String>,
    command: String,
}

impl FromStr for Running {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, text) = named(text);
        let (address, process) = match text.rsplit_once(',') {
            Some((address, pid)) if pid.bytes().all(|digit| digit.is_ascii_digit()) => {
                let pid = pid.parse().map_err(|_| format!("`{pid}` is no process"))?;
                (address, Some(Process(pid)))
            }
            Some(_) | None => (text, None),
        };
        let (address, password) =
            ServerAddress::parse_with_password(address).map_err(|error| error.to_string())?;
        Ok(Self {
            name,
            address,
            password,
            process,
        })
    }
}

impl FromStr for Startable {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, command) = named(text);
        Ok(Self {
            name,
            command: command.to_owned(),
        })
    }
}

/// A name of letters, digits and dashes before the first `=`.
fn named(text: &str) -> (Option<String>, &str) {
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    match text.split_once('=') {
        Some((name, rest)) if !name.is_empty() && name.bytes().all(of_name) => {
            (Some(name.to_owned()), rest)
        }
        Some(_) | None => (None, text),
    }
}

/// A router under test.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) name: String,
    pub(crate) access: Access,
    process: Option<Process>,
    home: Home,
}

/// Where a router runs.
#[derive(Debug)]
enum Home {
    /// Somebody else starts and stops it.
    Elsewhere,
    /// The bench does.
    Here {
        command: String,
        started: Option<Started>,
    },
}

impl Router {
    pub(crate) fn running(given: Running, default_name: &str) -> Result<Self, BenchError> {
        let Running {
            name,
            address,
            password,
            process,
        } = given;
        if let Some(process) = process {
            process.cpu()?;
        }
        Ok(Self {
            name: name.unwrap_or_else(|| default_name.to_owned()),
            access: Access {
                options: SmpOptions::to(&address)?,
                password,
            },
            process,
            home: Home::Elsewhere,
        })
    }

    pub(crate) async fn start(given: Startable, default_name: &str) -> Result<Self, BenchError> {
        let Startable { name, command } = given;
        let started = Started::start(&command).await?;
        Ok(Self {
            name: name.unwrap_or_else(|| default_name.to_owned()),
            access: Access {
                options: SmpOptions::to(&started.address)?,
                password: None,
            },
            process: Some(started.process()),
            home: Home::Here {
                command,
                started: Some(started),
            },
        })
    }

    /// Its process, if it is known.
    pub(crate) const fn process(&self) -> Option<Process> {
        self.process
    }

    /// Whether [`stop`](Self::stop) and [`start_again`](Self::start_again) work.
    pub(crate) const fn is_ours(&self) -> bool {
        matches!(self.home, Home::Here { .. })
    }

    /// Stops it, if the bench has started it.
    pub(crate) async fn stop(&mut self) -> Result<(), BenchError> {
        match &mut self.home {
            Home::Elsewhere => Ok(()),
            Home::Here { started, .. } => match started.take() {
                Some(started) => started.stop().await,
                None => Ok(()),
            },
        }
    }

    /// Makes it forget what it did before, if the bench has started it: then its memory is that of a young process.
    pub(crate) async fn refresh(&mut self) -> Result<(), BenchError> {
        if !self.is_ours() {
            return Ok(());
        }
        self.stop().await?;
        self.start_again().await
    }

    /// Starts it once more, perhaps on another port.
    pub(crate) async fn start_again(&mut self) -> Result<(), BenchError> {
        let Home::Here { command, started } = &mut self.home else {
            return Err(BenchError::NotStarted);
        };
        let again = Started::start(command).await?;
        self.access.options = SmpOptions::to(&again.address)?;
        self.process = Some(again.process());
        *started = Some(again);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "smp://AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=@127.0.0.1:5223";

    #[test]
    fn a_router_may_have_a_name_and_a_process() {
        let plain: Running = ADDRESS.parse().unwrap();
        assert_eq!((plain.name, plain.process), (None, None));
        let full: Running = format!("other={ADDRESS},42").parse().unwrap();
        assert_eq!(full.name.as_deref(), Some("other"));
        assert_eq!(full.process, Some(Process(42)));
        assert_eq!(full.address.to_string(), ADDRESS);
        assert!("127.0.0.1:5223".parse::<Running>().is_err());
    }

    #[test]
    fn a_command_may_have_a_name() {
        let startable = |text: &str| text.parse::<Startable>().unwrap();
        assert_eq!(startable("a=b c").name.as_deref(), Some("a"));
        assert_eq!(startable("a=b c").command, "b c");
        assert_eq!(startable("./run --dir=x").name, None);
    }
}
