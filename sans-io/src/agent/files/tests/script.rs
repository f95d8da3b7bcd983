//! What tests ask of an agent, and what they look for afterwards.

use crate::agent::error::AgentError;
use crate::agent::event::{Event, EventContent};
use crate::agent::file_event::{DescriptionText, FileEvent};
use crate::agent::files::command::{Command, Reply};
use crate::agent::files::record::Relays;
use crate::agent::id::FileId;
use crate::crypto::ed25519;
use crate::sim::files::*;
use crate::xftp::description::FileDescription;

impl World {
    /// A command, and what comes of it when it is stored.
    pub(super) fn ask(&mut self, command: Command) -> Result<Reply, AgentError> {
        let id = self.command(command);
        while self.store_next() {}
        let reply = self.replies.iter().find(|(of, _)| *of == id);
        reply.expect("a reply").1.clone()
    }

    pub(super) fn file(&mut self, command: Command) -> FileId {
        match self.ask(command) {
            Ok(Reply::File(id)) => id,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn send(&mut self, path: &str, recipients: u16, replicas: u8) -> FileId {
        self.file(Command::Send {
            file: None,
            user: USER,
            path: path.to_owned(),
            local: None,
            recipients,
            replicas,
        })
    }

    pub(super) fn receive(&mut self, text: &DescriptionText) -> FileId {
        self.file(receive(text, Relays::Own))
    }

    /// The descriptions of a file that was sent.
    pub(super) fn sent(&self, file: &FileId) -> (DescriptionText, Vec<DescriptionText>) {
        match &self.kept(file)[..] {
            [FileEvent::Sent { sender, recipients }] => (sender.clone(), recipients.clone()),
            other => panic!("{other:?}"),
        }
    }

    /// What has happened to a file for the moment.
    pub(super) fn moments(&self, file: &FileId) -> Vec<FileEvent> {
        let of_file = |event: &Event| match &event.content {
            EventContent::File { file: of, event: e } if of == file && event.id.is_none() => {
                Some(e.clone())
            }
            _ => None,
        };
        self.events.iter().filter_map(of_file).collect()
    }

    /// How many chunks there are on all routers, uploaded.
    pub(super) fn uploaded(&self) -> usize {
        let chunks = self
            .routers
            .values()
            .flat_map(|router| router.chunks.values());
        chunks.filter(|chunk| chunk.bytes.is_some()).count()
    }
}

/// Whether what was received is what was described.
pub(super) fn is_received(world: &World, file: &FileId, text: &DescriptionText) -> bool {
    let description: FileDescription = text.description().unwrap();
    let received = world
        .disk
        .get(file)
        .and_then(|place| place.received.as_ref());
    let digest = match description.redirect {
        Some(ref redirect) => redirect.digest,
        None => description.digest,
    };
    received.is_some_and(|bytes| sha512(bytes) == digest)
}

/// A key that no router knows.
pub(super) fn stranger() -> crate::crypto::AuthPrivateKey {
    ed25519::PrivateKey::from_bytes([9; 32]).into()
}
