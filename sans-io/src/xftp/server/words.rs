//! The words between a connection and its owner.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::crypto::AuthPublicKey;
use crate::http2::{self, StreamId};
use crate::session::{SessionFacts, Shown};
use crate::smp::BlockingInfo;
use crate::wire::{EntityId, Id, Short, Version};
use crate::xftp::handshake::Identity;
use crate::xftp::router::store::{Chunk, Party};
use crate::xftp::transmission::Session;
use crate::xftp::{Command, ErrorType, Response};

/// How a router speaks with its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Who it is.
    pub identity: Identity,
    /// How long the handshake may take.
    pub handshake_timeout: Duration,
    /// How long the block of a request may take.
    pub block_timeout: Duration,
    /// How long a chunk may take to come.
    pub upload_timeout: Duration,
    /// How long the end of a body that nobody wants is waited for before the request is answered.
    pub drain_timeout: Duration,
    /// After how long without any progress of a download the connection is given up.
    pub stall_timeout: Duration,
    /// After how long without requests the connection is given up.
    pub inactive: Option<Duration>,
    /// Whether there are pages for web browsers.
    pub pages: Pages,
}

/// Whether there are pages for web browsers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// There are none.
    None,
    /// The owner has them.
    Served,
}

/// What the transport below has established.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transport {
    /// The id of the session.
    pub session_id: Id,
    /// How it is to be spoken.
    pub dispatch: Dispatch,
}

/// How a client is to be spoken with: it follows from the protocol and the certificate that were agreed on in TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dispatch {
    /// Without a handshake: clients that negotiate no protocol.
    Legacy,
    /// With a handshake.
    Native,
    /// With a handshake that web browsers can do.
    Web,
    /// Not at all: everything gets an empty answer.
    Silent,
}

impl From<SessionFacts> for Transport {
    fn from(facts: SessionFacts) -> Self {
        let web = matches!(facts.shown, Shown::Web);
        Self {
            session_id: facts.session_id.into(),
            dispatch: match (facts.protocol, web) {
                (None, _) => Dispatch::Legacy,
                // Some clients offer the ordinary name of the older protocol, and speak the newer one.
                (Some("xftp/1" | "http/1.1"), false) => Dispatch::Native,
                (Some("xftp/1" | "http/1.1" | "h2"), true) => Dispatch::Web,
                (Some(_), _) => Dispatch::Silent,
            },
        }
    }
}

/// An upload that is being received: what it has written so far is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(pub u64);

/// A command that is authorised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it is about.
    pub entity_id: EntityId,
    /// The version of the session.
    pub version: Version,
    /// The command.
    pub command: Command,
}

/// What is known of the party that sends a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// There is no such party, or its file cannot be used.
    Nothing,
    /// Its file is blocked.
    Blocked(BlockingInfo),
    /// Its key.
    Key(AuthPublicKey),
}

/// What the owner of a connection says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// What was asked for with [`Event::Lookup`].
    Key {
        /// The request.
        stream: StreamId,
        /// What is known.
        found: Found,
    },
    /// The answer to a command.
    Answer {
        /// The request.
        stream: StreamId,
        /// The answer.
        response: Response,
    },
    /// The chunk is wanted: its bytes come with [`Event::Write`], and then [`Event::Uploaded`].
    Receive {
        /// The request.
        stream: StreamId,
        /// The upload.
        upload: UploadId,
        /// How large it must be.
        size: u32,
        /// What its SHA-256 must be.
        digest: Short,
    },
    /// The chunk is there already: it is read, and the command is answered.
    Swallow {
        /// The request.
        stream: StreamId,
        /// How large it must be.
        size: u32,
    },
    /// Bytes of an upload are written.
    Written {
        /// The request.
        stream: StreamId,
        /// How many.
        bytes: usize,
    },
    /// Bytes of an upload cannot be written.
    NotWritten {
        /// The request.
        stream: StreamId,
    },
    /// The chunk is to be sent.
    Send {
        /// The request.
        stream: StreamId,
        /// The chunk.
        chunk: Chunk,
        /// Its size.
        size: u32,
    },
    /// Whether a chunk can be read: what was asked for with [`Event::Open`].
    Opened {
        /// The request.
        stream: StreamId,
        /// Whether it can.
        result: Result<(), ErrorType>,
    },
    /// The next bytes of a chunk: what was asked for with [`Event::Read`], all of it.
    Data {
        /// The request.
        stream: StreamId,
        /// The bytes.
        bytes: BytesMut,
    },
    /// The chunk cannot be read on.
    NoData {
        /// The request.
        stream: StreamId,
    },
    /// A page.
    Page {
        /// The request.
        stream: StreamId,
        /// The head.
        response: http2::Response,
        /// The page.
        body: Bytes,
    },
    /// End the connection.
    Close,
}

/// What the owner of a connection is told, and asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The handshake is done.
    Established(Session),
    /// The key of a party is needed: the answer is [`Call::Key`].
    Lookup {
        /// The request.
        stream: StreamId,
        /// Who has the id.
        party: Party,
        /// The id.
        id: EntityId,
    },
    /// This command is authorised.
    Execute {
        /// The request.
        stream: StreamId,
        /// The command.
        request: Request,
    },
    /// Bytes of an upload are to be written after those before: the answer is [`Call::Written`].
    Write {
        /// The request.
        stream: StreamId,
        /// The upload.
        upload: UploadId,
        /// The bytes.
        bytes: Bytes,
    },
    /// An upload is complete and written, or has failed. The command waits for its answer.
    Uploaded {
        /// The request.
        stream: StreamId,
        /// The upload.
        upload: UploadId,
        /// Whether it is the chunk that was announced.
        result: Result<(), ErrorType>,
    },
    /// A chunk is to be opened: the answer is [`Call::Opened`].
    Open {
        /// The request.
        stream: StreamId,
        /// The chunk.
        chunk: Chunk,
    },
    /// The next bytes of the chunk are wanted: the answer is [`Call::Data`].
    Read {
        /// The request.
        stream: StreamId,
        /// How many.
        bytes: usize,
    },
    /// A download is over: the chunk can be closed.
    Sent {
        /// The request.
        stream: StreamId,
    },
    /// Nobody waits for the answer to a request any more, and what it has begun is void.
    Gone {
        /// The request.
        stream: StreamId,
    },
    /// A browser wants a page: the answer is [`Call::Page`].
    Page {
        /// The request.
        stream: StreamId,
        /// What it wants.
        request: http2::Request,
    },
}
