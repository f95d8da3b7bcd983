//! `xftp send`.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use simplex_sans_io::xftp::description::{FileDescription, FileSize, WebLink};

use super::scratch::Scratch;
use super::shown::{Channel, Shown};
use super::{CliError, Effort, failed, servers, sessions};
use crate::xftp::journal::{private, replicas};
use crate::xftp::output::{numbered, unique_directory};
use crate::xftp::{Plan, Sent, send};

/// The largest file that is sent: larger ones need an agent.
const LARGEST: u64 = 1 << 30;

#[derive(Debug, Clone, Args)]
pub(super) struct Send {
    /// The file; `-` is the standard input, which is kept in a temporary file until it is sent.
    file: PathBuf,
    /// Where the descriptions are written.
    dir: Option<PathBuf>,
    /// How many recipients there are.
    #[arg(short = 'n', default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    count: u8,
    /// The routers to use, separated by semicolons.
    #[arg(short = 's', long)]
    servers: Option<String>,
    /// On how many routers each part of the file is.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    replicas: u8,
    /// The name that recipients see of what comes from the standard input.
    #[arg(long, default_value = "stdin")]
    name: String,
    /// Show the link as a QR code, too.
    #[arg(long)]
    qr: bool,
    #[command(flatten)]
    effort: Effort,
}

/// Sends a file, or goes on where the same command has stopped.
pub(super) async fn execute(command: &Send) -> Result<(), CliError> {
    let directory = command.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    if command.file != Path::new("-") {
        return send_file(command, &command.file, &directory, &directory).await;
    }
    let scratch = Scratch::make(command.effort.tmp.as_deref())?;
    let name = Path::new(&command.name)
        .file_name()
        .unwrap_or_else(|| "stdin".as_ref());
    let file = scratch.path().join(name);
    spool(&file)?;
    send_file(command, &file, &directory, scratch.path()).await
}

/// Writes the standard input to a file.
fn spool(path: &Path) -> Result<(), CliError> {
    let mut file = private(path).map_err(failed(path, "written"))?;
    let mut input = io::stdin().lock().take(LARGEST.saturating_add(1));
    let length = io::copy(&mut input, &mut file).map_err(failed(path, "written"))?;
    match length > LARGEST {
        true => Err(CliError::TooLarge(FileSize(LARGEST))),
        false => Ok(()),
    }
}

async fn send_file(
    command: &Send,
    file: &Path,
    directory: &Path,
    journals: &Path,
) -> Result<(), CliError> {
    let metadata = fs::metadata(file).map_err(failed(file, "read"))?;
    if metadata.is_dir() {
        return Err(failed(file, "sent")(io::ErrorKind::IsADirectory.into()));
    }
    if metadata.len() > LARGEST {
        return Err(CliError::TooLarge(FileSize(LARGEST)));
    }
    fs::create_dir_all(journals).map_err(failed(journals, "made"))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let journal = journals.join(numbered(&format!("{name}.xftp.journal"), 0));
    let servers = servers(command.servers.as_deref())?;
    let plan = Plan {
        servers: &servers,
        recipients: command.count,
        replicas: command.replicas,
        journal: &journal,
    };
    let sessions = sessions(&command.effort)?;
    let mut shown = Shown::new("Uploaded", Channel::Output);
    // Both at once, in one pass over the file.
    shown.begin("Encrypting file...");
    shown.begin("Uploading file...");
    let sent = send(&sessions, file, &plan, |done, of| shown.show(done, of)).await;
    let sent = sent.inspect_err(|_| {
        if journals == directory && is_worth_keeping(&journal) {
            writeln!(
                io::stderr(),
                "\nThe same command goes on where it has stopped; `xftp del {}` deletes what was uploaded.",
                journal.display()
            )
            .ok();
        }
    })?;
    shown.end("File uploaded!")?;
    write_descriptions(command, &name, directory, &sent)
}

/// Whether anything was uploaded. A journal that says that nothing was is removed.
fn is_worth_keeping(path: &Path) -> bool {
    let written = fs::read_to_string(path).ok().as_deref().and_then(replicas);
    let is_empty = written.is_some_and(|replicas| replicas.is_empty());
    if is_empty {
        fs::remove_file(path).ok();
    }
    !is_empty && path.exists()
}

fn write_descriptions(
    command: &Send,
    name: &str,
    directory: &Path,
    sent: &Sent,
) -> Result<(), CliError> {
    let say = |text: &str| Channel::Output.say(text);
    let directory = unique_directory(directory, &format!("{name}.xftp"));
    let directory = directory.map_err(failed(Path::new(name), "written"))?;
    let sender = directory.join("snd.xftp.private");
    write_private(&sender, &sent.sender)?;
    say(&format!("Sender file description: {}", sender.display()))?;
    say("Pass file descriptions to the recipient(s):")?;
    for (description, number) in sent.recipients.iter().zip(1..) {
        let path = directory.join(format!("rcv{number}.xftp"));
        write_private(&path, description)?;
        say(&path.display().to_string())?;
    }
    let Some(description) = sent.recipients.first() else {
        return Ok(());
    };
    let link = WebLink::to(description).to_string();
    say(&format!("Web link:\n{link}"))?;
    match (command.qr, QrCode::new(&link)) {
        (false, _) => Ok(()),
        (true, Ok(code)) => say(&code.render::<Dense1x2>().build()),
        (true, Err(_)) => say("The link is too long for a QR code."),
    }
}

/// Whoever can read a description can read the file.
fn write_private(path: &Path, description: &FileDescription) -> Result<(), CliError> {
    let written = private(path).and_then(|mut file| write!(file, "{description}"));
    written.map_err(failed(path, "written"))
}
