//! The command line of `xftp`.

mod recv;
mod scratch;
mod send;
mod shown;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use simplex_runtime_tokio::Tokio;
use simplex_sans_io::wire::{AddressError, ServerAddress};
use simplex_sans_io::xftp::description::{
    DescriptionError, FileDescription, FileSize, FileUri, MAX_TEXT, Party, WebLink,
};

use tracing_subscriber::filter::LevelFilter;

use self::shown::Channel;
use super::{Server, Sessions, TransferError, abandon, delete};

/// Routers that anybody may use.
const PRESET: [&str; 6] = [
    "xftp://da1aH3nOT-9G8lV7bWamhxpDYdJ1xmW7j3JpGaDR5Ug=@xftp1.simplex.im,blisztokwh6alt5oem45f2eksm2xdowxszmhjesntcyolmhutoon7sid.onion",
    "xftp://5vog2Imy1ExJB_7zDZrkV1KDWi96jYFyy9CL6fndBVw=@xftp2.simplex.im,jk6jybnel5hin2am5omd7g3hyvb4tfkyl7ea4vx5ldi7gpvz5ogqtcqd.onion",
    "xftp://PYa32DdYNFWi0uZZOprWQoQpIk5qyjRJ3EF7bVpbsn8=@xftp3.simplex.im,pqhchr4bpkzef5wra4hnmzvppn5j5mjrpzkh5ixx6mhylnxxd6lmwnad.onion",
    "xftp://k_GgQl40UZVV0Y4BX9ZTyMVqX5ZewcLW0waQIl7AYDE=@xftp4.simplex.im,q2lrjgiyo2efyweksavwxh3dlsrxetaxjztde2x5nateugrtrwzvmdid.onion",
    "xftp://-bIo6o8wuVc4wpZkZD3tH-rCeYaeER_0lz1ffQcSJDs=@xftp5.simplex.im,2kikdbdhlrluburwt6q6rnoxvezcm2ifx2hj463jlunkeftlzm7hf3qd.onion",
    "xftp://6nSvtY9pJn6PXWTAIMNl95E1Kk1vD7FM2TeOA64CFLg=@xftp6.simplex.im,tg3fmu6houq7vfqlsipm2qqzhtpgxesnuydqozx3khojxydhs53sbbyd.onion",
];

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  something is wrong with what was given, or with files here
  2  the command line is not understood
  3  a router cannot be reached or has refused: the same command may succeed later
  4  the file is not on its routers, or not any more";

/// Sends files to people, over routers that learn neither.
#[derive(Debug, Parser)]
///
/// What is interrupted goes on where it has stopped when the same command is given again.
#[command(name = "xftp", disable_version_flag = true, after_help = EXIT_CODES)]
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
    Send(send::Send),
    /// Receive a file.
    Recv(recv::Recv),
    /// Delete a file that was sent.
    Del(Del),
    /// Show what a description says.
    Info(Info),
    /// Make a file of random bytes.
    #[command(hide = true)]
    Rand(Rand),
}

#[derive(Debug, Clone, Args)]
struct Del {
    /// The sender's description, or the journal of an upload that has not ended.
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
    /// Where temporary files are: of what goes through a pipe, and of nothing else.
    #[arg(long)]
    tmp: Option<PathBuf>,
    /// Say on the standard error what routers are asked for, and what they answer.
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
    #[error("files larger than {0} cannot be sent")]
    TooLarge(FileSize),
    #[error("this is a description for {0}")]
    Party(&'static str),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl CliError {
    /// What a script can tell apart.
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Transfer(error) if error.is_gone() => ExitCode::from(4),
            Self::Transfer(
                TransferError::Connect { .. }
                | TransferError::Request { .. }
                | TransferError::Refused { .. },
            ) => ExitCode::from(3),
            Self::Transfer(_)
            | Self::Description(..)
            | Self::Server(..)
            | Self::File { .. }
            | Self::Exists(_)
            | Self::TooLarge(_)
            | Self::Party(_)
            | Self::Io(_) => ExitCode::FAILURE,
        }
    }
}

/// Does what the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    match execute(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "xftp: {error}").ok();
            error.exit_code()
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
        Some(Command::Send(command)) => runtime.block_on(send::execute(&command)),
        Some(Command::Recv(command)) => runtime.block_on(recv::execute(&command)),
        Some(Command::Del(command)) => runtime.block_on(delete_file(&command)),
        Some(Command::Info(command)) => info(&command),
        Some(Command::Rand(command)) => random(&command),
    }
}

async fn delete_file(command: &Del) -> Result<(), CliError> {
    let sessions = sessions(&command.effort)?;
    if command
        .file
        .extension()
        .is_some_and(|extension| extension == "journal")
    {
        abandon(&sessions, &command.file).await?;
        return say("What was uploaded is deleted!");
    }
    let (_, description) = Given::read(&command.file.to_string_lossy())?;
    if description.party != Party::Sender {
        return Err(CliError::Party("a recipient"));
    }
    delete(&sessions, &description).await?;
    say("File deleted!")?;
    remove_description(&command.file, command.yes)
}

fn info(command: &Info) -> Result<(), CliError> {
    let (_, description) = Given::read(&command.file)?;
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

type Client = Sessions<Tokio>;

fn sessions(effort: &Effort) -> Result<Client, CliError> {
    if effort.verbose {
        tracing_subscriber::fmt()
            .with_max_level(LevelFilter::DEBUG)
            .with_target(false)
            .with_writer(io::stderr)
            .log_internal_errors(false)
            .init();
    }
    let (sessions, running) =
        Sessions::new(Tokio::new(), effort.retry, simplex_runtime_tokio::rng()?);
    tokio::spawn(running);
    Ok(sessions)
}

/// How a description was given.
enum Given {
    File(PathBuf),
    Elsewhere,
}

impl Given {
    fn read(given: &str) -> Result<(Self, FileDescription), CliError> {
        if given == "-" {
            let mut text = String::new();
            let longest = u64::try_from(MAX_TEXT)
                .unwrap_or(u64::MAX)
                .saturating_add(1);
            io::stdin().lock().take(longest).read_to_string(&mut text)?;
            return Ok((Self::Elsewhere, described(given, &text)?));
        }
        if is_link(given) {
            return Ok((Self::Elsewhere, described(without_secrets(given), given)?));
        }
        let path = Path::new(given);
        let text = fs::read_to_string(path).map_err(failed(path, "read"))?;
        Ok((Self::File(path.to_owned()), described(given, &text)?))
    }
}

/// The description that a text is, or that is in the link that it is.
fn described(name: &str, text: &str) -> Result<FileDescription, CliError> {
    let link = text.trim();
    let description = match is_link(link) {
        false => text.parse(),
        // What other links have after the `#` never begins like this.
        true if link.contains("#/?") => link.parse().map(|uri: FileUri| uri.description),
        true => link.parse().and_then(|link: WebLink| link.description()),
    };
    description.map_err(|error| CliError::Description(name.to_owned(), error))
}

fn is_link(text: &str) -> bool {
    let text = text.trim_start();
    let schemes = ["https://", "http://", "simplex:/file"];
    schemes.iter().any(|scheme| text.starts_with(scheme))
}

/// What of a link may be shown: whoever knows the rest can read the file.
fn without_secrets(link: &str) -> &str {
    link.split_once('#').map_or(link, |(page, _)| page)
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

fn failed(path: &Path, done: &'static str) -> impl FnOnce(io::Error) -> CliError + use<> {
    let path = path.to_owned();
    move |error| CliError::File { path, done, error }
}

fn say(text: &str) -> Result<(), CliError> {
    Channel::Output.say(text)
}

#[cfg(test)]
mod tests {
    use simplex_sans_io::xftp::description::UriScheme;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_description_is_a_text_or_a_link_of_any_form() {
        let text = "\
            chunkSize: 64kb\n\
            digest: vwxMsyPVYx5eB5kLUlEtm1fUhJfSidJT3sZZA8tIACTwu2ufeosN9TtV-YqJYHiSQl8cowQpDcOixw9KgY6EJA==\n\
            key: SjbuMxR_vqzu_s7KPgtQJnVP5ijwKT2zuo4vpcpIblw=\n\
            nonce: UiAp4iEypyYll81xjqAJmRs5Wmr6ipo_\n\
            party: recipient\n\
            replicas:\n\
            - chunks:\n  \
              - 1:nEyce1JBcdgOBr4_v9QkeJso6-Tf7vCJ:MC4CAQAwBQYDK2VwBCIEIB_fx9--yifhSUkdyjBFXclrr4s35iijhWjaB4nVulpa:ypeBEsobvcr6wjGzmiPcTaeG7_gUfE5yuYB3ha_uSLs=\n  \
              server: xftp://7DFoL95WGReVL_eKeore_9D-vDct0mhxkWxGxjA4G0U=@xftp1.example\n\
            size: 64kb\n";
        let description: FileDescription = text.parse().unwrap();
        let uri = FileUri {
            scheme: UriScheme::Simplex,
            description: description.clone(),
            data: None,
        };
        let on_a_site = FileUri {
            scheme: UriScheme::Web("simplex.chat:8443".to_owned()),
            ..uri.clone()
        };
        let link = WebLink::to(&description);
        let escaped = link.to_string().replace('=', "%3D");
        let forms = [
            text.to_owned(),
            uri.to_string(),
            on_a_site.to_string(),
            on_a_site.to_string().replace("/file#", "/file/#"),
            format!(" {link}\n"),
            link.to_string().replace('=', ""),
            escaped,
        ];
        for form in forms {
            assert_eq!(described("", &form).unwrap(), description, "{form}");
        }
        let damaged = format!("{link}!");
        let error = Given::read(&damaged).map(|_| ()).unwrap_err().to_string();
        assert_eq!(error, "https://xftp1.example/: not a link to a file");
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
