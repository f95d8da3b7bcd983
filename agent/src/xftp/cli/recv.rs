//! `xftp recv`.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use simplex_sans_io::xftp::description::{FileDescription, Party};

use super::scratch::Scratch;
use super::shown::{Channel, Shown};
use super::{CliError, Client, Effort, Given, failed, remove_description, sessions};
use crate::xftp::{delete, receive, resolve};

#[derive(Debug, Clone, Args)]
pub(super) struct Recv {
    /// The description: a file, a link, or `-` for the standard input.
    file: String,
    /// Where the file is written: a directory, a new file, or `-` for the standard output, to which nothing is written before all of it
    /// was verified. By default the directory of downloads.
    dir: Option<PathBuf>,
    /// Delete the description when the file is received.
    #[arg(short = 'y', long)]
    yes: bool,
    #[command(flatten)]
    effort: Effort,
}

/// Where a file is to be written.
enum Target {
    Directory(PathBuf),
    Path { directory: PathBuf, path: PathBuf },
    Output(Scratch),
}

/// Receives a file, or goes on where the same command has stopped.
pub(super) async fn execute(command: &Recv) -> Result<(), CliError> {
    let (given, description) = Given::read(&command.file)?;
    if description.party != Party::Recipient {
        return Err(CliError::Party("its sender"));
    }
    let sessions = sessions(&command.effort)?;
    let inner = resolve(&sessions, description.clone()).await?;
    let target = Target::of(command.dir.as_deref(), &command.effort)?;
    let mut shown = Shown::new("Downloaded", target.channel());
    let received = receive(&sessions, &inner, target.directory(), |done, of| {
        shown.show(done, of)
    });
    let received = received.await?;
    shown.end(&target.put(&received.path)?)?;
    acknowledge(&sessions, &inner, &description).await;
    match given {
        Given::File(path) => remove_description(&path, command.yes),
        Given::Elsewhere => Ok(()),
    }
}

impl Target {
    fn of(path: Option<&Path>, effort: &Effort) -> Result<Self, CliError> {
        match path {
            None => {
                let home = std::env::home_dir().unwrap_or_default();
                Ok(Self::Directory(home.join("Downloads")))
            }
            Some(path) if path == Path::new("-") => {
                Scratch::make(effort.tmp.as_deref()).map(Self::Output)
            }
            Some(path) if path.is_dir() || path.as_os_str().to_string_lossy().ends_with('/') => {
                Ok(Self::Directory(path.to_owned()))
            }
            Some(path) if path.exists() => Err(CliError::Exists(path.to_owned())),
            Some(path) => {
                let directory = path.parent().filter(|parent| *parent != Path::new(""));
                Ok(Self::Path {
                    directory: directory.unwrap_or_else(|| Path::new(".")).to_owned(),
                    path: path.to_owned(),
                })
            }
        }
    }

    const fn channel(&self) -> Channel {
        match self {
            Self::Directory(_) | Self::Path { .. } => Channel::Output,
            Self::Output(_) => Channel::Errors,
        }
    }

    fn directory(&self) -> &Path {
        match self {
            Self::Directory(directory) | Self::Path { directory, .. } => directory,
            Self::Output(scratch) => scratch.path(),
        }
    }

    /// Brings a file that was received where it is wanted, and says where it is.
    fn put(&self, received: &Path) -> Result<String, CliError> {
        match self {
            Self::Directory(_) => Ok(format!("File downloaded: {}", received.display())),
            Self::Path { path, .. } => {
                // It may have come into being meanwhile, and is not ours then.
                let made = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(path);
                made.and_then(|_| fs::rename(received, path))
                    .map_err(failed(path, "written"))?;
                Ok(format!("File downloaded: {}", path.display()))
            }
            Self::Output(_) => {
                let mut file = File::open(received).map_err(failed(received, "read"))?;
                let mut output = io::stdout().lock();
                io::copy(&mut file, &mut output)?;
                output.flush()?;
                Ok("File downloaded".to_owned())
            }
        }
    }
}

/// The file is there: that its routers keep it until it expires is no reason to say that it failed.
async fn acknowledge(sessions: &Client, inner: &FileDescription, outer: &FileDescription) {
    let redirect = outer.redirect.as_ref().map(|_| outer);
    for description in std::iter::once(inner).chain(redirect) {
        if let Err(error) = delete(sessions, description).await {
            let error = format!("xftp: the file stays on its routers for now: {error}");
            writeln!(io::stderr(), "{error}").ok();
        }
    }
}
