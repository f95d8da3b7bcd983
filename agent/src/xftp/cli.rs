//! The command line of `xftp`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use simplex_sans_io::wire::{AddressError, ServerAddress};
use simplex_sans_io::xftp::description::{
    DescriptionError, FileDescription, FileSize, Party, WebLink,
};

use super::output::unique_directory;
use super::{Plan, Sent, Server, Sessions, TransferError, delete, receive, resolve, send};

/// The largest file that is sent: larger ones need an agent, which resumes.
const LARGEST: u64 = 1 << 30;

/// Routers that anybody may use.
const PRESET: [&str; 6] = [
    "xftp://da1aH3nOT-9G8lV7bWamhxpDYdJ1xmW7j3JpGaDR5Ug=@xftp1.simplex.im",
    "xftp://5vog2Imy1ExJB_7zDZrkV1KDWi96jYFyy9CL6fndBVw=@xftp2.simplex.im",
    "xftp://PYa32DdYNFWi0uZZOprWQoQpIk5qyjRJ3EF7bVpbsn8=@xftp3.simplex.im",
    "xftp://k_GgQl40UZVV0Y4BX9ZTyMVqX5ZewcLW0waQIl7AYDE=@xftp4.simplex.im",
    "xftp://-bIo6o8wuVc4wpZkZD3tH-rCeYaeER_0lz1ffQcSJDs=@xftp5.simplex.im",
    "xftp://6nSvtY9pJn6PXWTAIMNl95E1Kk1vD7FM2TeOA64CFLg=@xftp6.simplex.im",
];

/// Sends files to people, over routers that learn neither.
#[derive(Debug, Parser)]
#[command(name = "xftp", disable_version_flag = true)]
pub struct Cli {
    /// Print the version.
    #[arg(short = 'v', long)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send a file.
    Send(Send),
    /// Receive a file.
    Recv(Recv),
    /// Delete a file that was sent.
    Del(Del),
    /// Show what a description says.
    Info(Info),
    /// Make a file of random bytes.
    #[command(hide = true)]
    Rand(Rand),
}

#[derive(Debug, Clone, Args)]
struct Send {
    /// The file.
    file: PathBuf,
    /// Where the descriptions are written.
    dir: Option<PathBuf>,
    /// How many recipients there are.
    #[arg(short = 'n', default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    count: u8,
    /// The routers to use, separated by semicolons.
    #[arg(short = 's', long)]
    servers: Option<String>,
    #[command(flatten)]
    effort: Effort,
}

#[derive(Debug, Clone, Args)]
struct Recv {
    /// The description: a file, or a link.
    file: String,
    /// Where the file is written: a directory, or a new file.
    dir: Option<PathBuf>,
    /// Delete the description when the file is received.
    #[arg(short = 'y', long)]
    yes: bool,
    #[command(flatten)]
    effort: Effort,
}

#[derive(Debug, Clone, Args)]
struct Del {
    /// The sender's description.
    file: PathBuf,
    /// Delete the description as well.
    #[arg(short = 'y', long)]
    yes: bool,
    #[command(flatten)]
    effort: Effort,
}

#[derive(Debug, Clone, Args)]
struct Info {
    /// The description: a file, or a link.
    file: String,
}

#[derive(Debug, Clone, Args)]
struct Rand {
    /// The file to make.
    file: PathBuf,
    /// Its size, such as `10mb`.
    size: FileSize,
}

#[derive(Debug, Clone, Args)]
struct Effort {
    /// How often everything is tried.
    #[arg(short = 'r', long, default_value_t = 3)]
    retry: u32,
    /// Has no effect: nothing is kept in temporary files.
    #[arg(long)]
    tmp: Option<PathBuf>,
    /// Say more.
    #[arg(short = 'v', long)]
    verbose: bool,
}

#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Transfer(#[from] TransferError),
    #[error("{0}: {1}")]
    Description(String, DescriptionError),
    #[error("`{0}` is not the address of a router: {1}")]
    Server(String, AddressError),
    #[error("{path} cannot be {done}: {error}")]
    File {
        path: PathBuf,
        done: &'static str,
        error: io::Error,
    },
    #[error("{0} is there already")]
    Exists(PathBuf),
    #[error("files larger than {} cannot be sent", FileSize(LARGEST))]
    TooLarge,
    #[error("this is a description for {0}")]
    Party(&'static str),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Does what the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    match execute(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "xftp: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

fn execute(cli: Cli) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match cli.command {
        _ if cli.version => say(&format!(
            "SimpleX XFTP client v{}",
            env!("CARGO_PKG_VERSION")
        )),
        None => {
            let help = <Cli as clap::CommandFactory>::command().render_help();
            say(&help.to_string())
        }
        Some(Command::Send(command)) => runtime.block_on(send_file(&command)),
        Some(Command::Recv(command)) => runtime.block_on(receive_file(&command)),
        Some(Command::Del(command)) => runtime.block_on(delete_file(&command)),
        Some(Command::Info(command)) => info(&command),
        Some(Command::Rand(command)) => random(&command),
    }
}

async fn send_file(command: &Send) -> Result<(), CliError> {
    let size = fs::metadata(&command.file)
        .map_err(failed(&command.file, "read"))?
        .len();
    if size > LARGEST {
        return Err(CliError::TooLarge);
    }
    let servers = servers(command.servers.as_deref())?;
    let plan = Plan {
        servers: &servers,
        recipients: command.count,
    };
    let mut shown = Shown::new("Uploaded");
    let sessions = sessions(&command.effort)?;
    let sent = send(&sessions, &command.file, &plan, |done, of| {
        shown.show(done, of)
    })
    .await?;
    shown.end("File uploaded!")?;
    write_descriptions(command, &sent)
}

fn write_descriptions(command: &Send, sent: &Sent) -> Result<(), CliError> {
    let name = command.file.file_name().unwrap_or_default();
    let name = format!("{}.xftp", name.to_string_lossy());
    let directory = command.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    let directory = unique_directory(&directory, &name).map_err(failed(&directory, "written"))?;
    let sender = directory.join("snd.xftp.private");
    write_private(&sender, &sent.sender.to_string())?;
    say(&format!("\nSender file description: {}", sender.display()))?;
    say("Pass file descriptions to the recipient(s):")?;
    for (description, number) in sent.recipients.iter().zip(1..) {
        let path = directory.join(format!("rcv{number}.xftp"));
        write_private(&path, &description.to_string())?;
        say(&path.display().to_string())?;
    }
    match sent.recipients.first() {
        Some(description) => say(&format!("Web link:\n{}", WebLink::to(description))),
        None => Ok(()),
    }
}

async fn receive_file(command: &Recv) -> Result<(), CliError> {
    let description = read(&command.file)?;
    if description.party != Party::Recipient {
        return Err(CliError::Party("its sender"));
    }
    let sessions = sessions(&command.effort)?;
    let inner = resolve(&sessions, description.clone()).await?;
    let (directory, name) = target(command.dir.as_deref())?;
    let mut shown = Shown::new("Downloaded");
    let received = receive(&sessions, &inner, &directory, |done, of| {
        shown.show(done, of)
    })
    .await?;
    let path = match name {
        None => received.path,
        Some(path) => {
            // It may have come into being meanwhile, and is not ours then.
            let made = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path);
            made.and_then(|_| fs::rename(&received.path, &path))
                .map_err(failed(&path, "written"))?;
            path
        }
    };
    shown.end(&format!("File downloaded: {}", path.display()))?;
    // The file is there: that its routers keep it until it expires is no reason to say that it failed.
    for described in [&inner, &description] {
        if let Err(error) = delete(&sessions, described).await {
            writeln!(
                io::stderr(),
                "xftp: the file stays on its routers for now: {error}"
            )
            .ok();
        }
        if described.redirect.is_none() && description.redirect.is_none() {
            break;
        }
    }
    if !is_link(&command.file) {
        remove_description(Path::new(&command.file), command.yes)?;
    }
    Ok(())
}

/// Where a file is to be written: a directory, and the whole path if it is given.
fn target(path: Option<&Path>) -> Result<(PathBuf, Option<PathBuf>), CliError> {
    match path {
        None => {
            let home = std::env::home_dir().unwrap_or_default();
            Ok((home.join("Downloads"), None))
        }
        Some(path) if path.is_dir() || path.as_os_str().to_string_lossy().ends_with('/') => {
            Ok((path.to_owned(), None))
        }
        Some(path) if path.exists() => Err(CliError::Exists(path.to_owned())),
        Some(path) => {
            let directory = path.parent().filter(|parent| *parent != Path::new(""));
            let directory = directory.unwrap_or_else(|| Path::new("."));
            Ok((directory.to_owned(), Some(path.to_owned())))
        }
    }
}

async fn delete_file(command: &Del) -> Result<(), CliError> {
    let path = command.file.to_string_lossy();
    let description = read(&path)?;
    if description.party != Party::Sender {
        return Err(CliError::Party("a recipient"));
    }
    delete(&sessions(&command.effort)?, &description).await?;
    say("File deleted!")?;
    remove_description(&command.file, command.yes)
}

fn info(command: &Info) -> Result<(), CliError> {
    let description = read(&command.file)?;
    let party = match description.party {
        Party::Recipient => "recipient",
        Party::Sender => "sender",
    };
    say(&format!("Description for the {party} of a file"))?;
    if let Some(redirect) = &description.redirect {
        let size = FileSize(redirect.size);
        say(&format!("It leads to the description of a file of {size}"))?;
    }
    say(&format!(
        "File download size: {}",
        FileSize(description.size)
    ))?;
    let mut sizes = BTreeMap::<String, u64>::new();
    for chunk in &description.chunks {
        for replica in &chunk.replicas {
            *sizes.entry(replica.server.to_string()).or_default() += u64::from(chunk.size);
        }
    }
    say("File server(s):")?;
    sizes
        .into_iter()
        .try_for_each(|(server, size)| say(&format!("{server}: {}", FileSize(size))))
}

fn random(command: &Rand) -> Result<(), CliError> {
    let mut rng = simplex_runtime_tokio::rng().map_err(io::Error::other)?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&command.file)
        .map_err(failed(&command.file, "made"))?;
    let FileSize(mut left) = command.size;
    let mut piece = vec![0; 1 << 20];
    while left > 0 {
        let length = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
        let piece = &mut piece[..length];
        rng.fill(piece);
        file.write_all(piece)
            .map_err(failed(&command.file, "written"))?;
        left -= u64::try_from(length).unwrap_or(left);
    }
    say(&format!("File created: {}", command.file.display()))
}

fn servers(text: Option<&str>) -> Result<Vec<Server>, CliError> {
    let parse = |text: &str| {
        let parsed = ServerAddress::parse_with_password(text);
        let (address, password) =
            parsed.map_err(|error| CliError::Server(text.to_owned(), error))?;
        Ok(Server { address, password })
    };
    match text {
        None => PRESET.into_iter().map(parse).collect(),
        Some(text) => text.split(';').map(str::trim).map(parse).collect(),
    }
}

fn sessions(effort: &Effort) -> Result<Sessions, CliError> {
    let rng = simplex_runtime_tokio::rng().map_err(io::Error::other)?;
    Ok(Sessions::new(effort.retry, rng))
}

fn is_link(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

fn read(file: &str) -> Result<FileDescription, CliError> {
    let invalid = |error| CliError::Description(file.to_owned(), error);
    if is_link(file) {
        let link: WebLink = file.parse().map_err(invalid)?;
        return link.description().map_err(invalid);
    }
    let path = Path::new(file);
    let text = fs::read_to_string(path).map_err(failed(path, "read"))?;
    text.parse().map_err(invalid)
}

fn remove_description(path: &Path, confirmed: bool) -> Result<(), CliError> {
    let remove = confirmed || {
        write!(
            io::stdout(),
            "File description {} can't be used again. Delete it (Y/n): ",
            path.display()
        )?;
        io::stdout().flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        matches!(answer.trim(), "" | "Y" | "y") && !answer.is_empty()
    };
    match remove {
        true => fs::remove_file(path).map_err(failed(path, "removed")),
        false => Ok(()),
    }
}

/// Whoever can read a description can read the file.
fn write_private(path: &Path, text: &str) -> Result<(), CliError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let written = options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(failed(path, "written"))
}

fn failed(path: &Path, done: &'static str) -> impl FnOnce(io::Error) -> CliError + use<> {
    let path = path.to_owned();
    move |error| CliError::File { path, done, error }
}

fn say(text: &str) -> Result<(), CliError> {
    Ok(writeln!(io::stdout(), "{text}")?)
}

/// How far something is, in one line.
struct Shown {
    what: &'static str,
    percent: Option<u64>,
}

impl Shown {
    const fn new(what: &'static str) -> Self {
        let percent = None;
        Self { what, percent }
    }

    fn show(&mut self, done: u64, of: u64) {
        let percent = done.saturating_mul(100).checked_div(of).unwrap_or(100);
        if self.percent.replace(percent) != Some(percent) {
            self.line(&format!("{} {percent}%", self.what));
        }
    }

    fn end(&self, text: &str) -> Result<(), CliError> {
        self.line(text);
        say("")
    }

    fn line(&self, text: &str) {
        // A terminal that is gone does not matter.
        write!(io::stdout(), "\r{text:<25}").ok();
        io::stdout().flush().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn preset_routers_are_routers() {
        assert_eq!(servers(None).unwrap().len(), 6);
        let given = "xftp://YQ==:secret@a; xftp://Yg==@b:7443";
        let given = servers(Some(given)).unwrap();
        assert!(given[0].password.is_some());
        assert_eq!(given[1].address.port(), Some(7443));
        assert!(servers(Some("xftp://YQ==@a;")).is_err());
    }
}
