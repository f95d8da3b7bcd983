//! The lines that operators write on the control port.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use simplex_sans_io::smp::BlockingInfo;
use simplex_sans_io::smp::router::Operation;
use simplex_sans_io::wire::{self, EntityId, Version};

use crate::control::Role;

pub(crate) const IDS: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What an operator wants, and may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Nothing,
    Help,
    Authorize(String),
    /// What the reference implementation knows, and does not do either.
    NotImplemented(&'static str),
    Stats,
    Runtime,
    ServerInfo,
    Sockets,
    Clients,
    Tasks,
    /// Something with one queue, or with all that there is to store.
    Operate(Operation),
    Block(EntityId, BlockingInfo),
}

/// Why nothing is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is no such command.
    Unknown,
    /// It is for others.
    Role,
    /// It needs the id of a queue.
    Id,
    /// It needs a reason.
    Reason,
}

impl Refused {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Unknown => "error: Failed reading: bad ControlProtocol command\n",
            Self::Role => "AUTH\n",
            Self::Id => "error: Failed reading: the id of a queue is expected\n",
            Self::Reason => {
                "error: Failed reading: expected `block <id> reason=spam|content[,notice={\"ttl\":seconds}]`\n"
            }
        }
    }
}

impl Command {
    /// Reads a line of somebody with that role.
    pub(crate) fn parse(role: Role, line: &str) -> Result<Self, Refused> {
        let (command, argument) = line.split_once(' ').unwrap_or((line, ""));
        let (may, parsed): (_, Result<Self, Refused>) = match command {
            "" => (Role::None, Ok(Self::Nothing)),
            "help" => (Role::None, Ok(Self::Help)),
            "auth" => (Role::None, Ok(Self::Authorize(argument.to_owned()))),
            "stats-rts" => (Role::None, Ok(Self::Runtime)),
            "stats" => (Role::User, Ok(Self::Stats)),
            "server-info" => (Role::User, Ok(Self::ServerInfo)),
            "sockets" => (Role::User, Ok(Self::Sockets)),
            "status" => (Role::User, on_queue(argument, Operation::Status)),
            "unblock" => (Role::User, on_queue(argument, Operation::Unblock)),
            "block" => (Role::User, block(argument)),
            "suspend" => (Role::Admin, Ok(Self::NotImplemented("suspend"))),
            "resume" => (Role::Admin, Ok(Self::NotImplemented("resume"))),
            "clients" => (Role::Admin, Ok(Self::Clients)),
            "threads" | "socket-threads" => (Role::Admin, Ok(Self::Tasks)),
            "delete" => (Role::Admin, on_queue(argument, Operation::Delete)),
            "save" => (Role::Admin, Ok(Self::Operate(Operation::Save))),
            _ => return Err(Refused::Unknown),
        };
        match role >= may {
            true => parsed,
            false => Err(Refused::Role),
        }
    }
}

fn on_queue(id: &str, operation: fn(EntityId) -> Operation) -> Result<Command, Refused> {
    Ok(Command::Operate(operation(queue_id(id)?)))
}

fn block(argument: &str) -> Result<Command, Refused> {
    let (id, reason) = argument.split_once(' ').unwrap_or((argument, ""));
    let reason = bytes::Bytes::from(reason.trim().to_owned());
    let info = wire::decode(Version::default(), &reason).map_err(|_| Refused::Reason)?;
    Ok(Command::Block(queue_id(id)?, info))
}

fn queue_id(text: &str) -> Result<EntityId, Refused> {
    let bytes = IDS.decode(text.trim()).map_err(|_| Refused::Id)?;
    let id = EntityId::try_from(bytes.as_slice()).map_err(|_| Refused::Id)?;
    match id.is_empty() {
        true => Err(Refused::Id),
        false => Ok(id),
    }
}
