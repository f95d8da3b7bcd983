//! Files of clients: they name them by paths within one directory, so that no client, and nobody who tells one what to say, reaches
//! anything else of this machine.

use std::fs;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use simplex_sans_io::agent::config::Strangers;
use simplex_sans_io::agent::error::{AgentError, FileProblem};
use simplex_sans_io::agent::files::record::{LocalKey, Relays};
use simplex_sans_io::agent::id::FileId;
use simplex_sans_io::crypto::{Nonce, Secret};
use simplex_sans_io::smp::pool::UserId;
use simplex_sans_io::xftp::description::{DescriptionError, FileDescription, FileUri, WebLink};

use super::Files;
use super::execute::{Answer, Session, Wrong, not_found, ok, prohibited};
use crate::files::{Places, ReceiveFile, SendFile};
use crate::handle::Error;

impl Session {
    pub(super) async fn send_file(
        &self,
        user: UserId,
        recipients: u16,
        entity: &mut String,
        path: &Bytes,
    ) -> Answer {
        let path = self.files()?.path(path).ok_or_else(no_file)?;
        let file = SendFile {
            file: self.new_file(entity).await?,
            ..SendFile::new(user, path).recipients(recipients)
        };
        self.file_begun(entity, self.agent().send_file(file).await?)
    }

    pub(super) async fn receive_file(
        &self,
        user: UserId,
        approved: bool,
        local: Option<(Secret<32>, Nonce)>,
        entity: &mut String,
        text: &Bytes,
    ) -> Answer {
        self.files()?;
        if approved && self.strangers() == Strangers::Never {
            return Err(prohibited("routers that are not known are not asked"));
        }
        let file = ReceiveFile {
            file: self.new_file(entity).await?,
            local: local.map(|(key, nonce)| LocalKey { key, nonce }),
            relays: match approved {
                true => Relays::Approved,
                false => Relays::Own,
            },
            ..ReceiveFile::new(user, described(text)?)
        };
        self.file_begun(entity, self.agent().receive_file(file).await?)
    }

    pub(super) async fn delete_file(
        &self,
        user: UserId,
        entity: &str,
        remote: bool,
        sender: Option<&Bytes>,
    ) -> Answer {
        self.files()?;
        let file = FileId::try_from(entity.as_bytes()).map_err(|_| not_found())?;
        let agent = self.agent();
        match remote {
            true => {
                let sender = sender.map(described).transpose()?;
                self.own_file(&file);
                agent.delete_file_remotely(user, &file, sender).await?;
            }
            false if self.is_there(&file).await? => agent.delete_file(&file).await?,
            false => return Err(no_file()),
        }
        Ok(ok())
    }

    /// What a new file is to be called, if its client says it: no other one that is there is.
    async fn new_file(&self, entity: &str) -> Result<Option<FileId>, Wrong> {
        if entity.is_empty() {
            return Ok(None);
        }
        let file = FileId::try_from(entity.as_bytes()).map_err(|_| not_found())?;
        match self.is_there(&file).await? {
            true => Err(prohibited("another file is called so")),
            false => Ok(Some(file)),
        }
    }

    /// Whether a file is being sent or received, or was received.
    async fn is_there(&self, file: &FileId) -> Result<bool, Wrong> {
        let received = Places::new(self.files()?.received());
        Ok(received.has(file) || self.agent().files().await?.contains(file))
    }

    fn file_begun(&self, entity: &mut String, file: FileId) -> Answer {
        *entity = file.to_string();
        self.own_file(&file);
        Ok(ok())
    }
}

impl Files {
    /// Where what clients receive comes.
    pub(super) fn received(&self) -> PathBuf {
        self.directory.join("received")
    }

    /// The file of a path within the directory; none if it leads out of it, or is no file.
    fn path(&self, path: &[u8]) -> Option<PathBuf> {
        let path = Path::new(std::str::from_utf8(path).ok()?);
        let plain = |component| matches!(component, Component::Normal(_));
        if !path.components().all(plain) {
            return None;
        }
        let path = self.directory.join(path);
        // A link that leads elsewhere has another path in the end.
        let is_itself = fs::canonicalize(&path).is_ok_and(|real| real == path);
        let is_file = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file());
        (is_itself && is_file).then_some(path)
    }
}

fn no_file() -> Wrong {
    let error = FileProblem::NoFile;
    Wrong::Error(Error::Agent(AgentError::File { error }))
}

/// A description, or a link to one.
fn described(text: &Bytes) -> Result<FileDescription, Wrong> {
    let parse = |text: &str| -> Result<FileDescription, DescriptionError> {
        if let Ok(uri) = text.parse::<FileUri>() {
            return Ok(uri.description);
        }
        match text.parse::<WebLink>() {
            Ok(link) => link.description(),
            Err(_) => text.parse(),
        }
    };
    let text = std::str::from_utf8(text).ok();
    let description = text.and_then(|text| parse(text).ok());
    description.ok_or_else(|| prohibited("not a description of a file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_of_a_client_leads_out_of_the_directory() {
        let temporary = tempfile::tempdir().unwrap();
        let outside = temporary.path().join("secret");
        fs::write(&outside, b"x").unwrap();
        let directory = temporary.path().join("files");
        fs::create_dir_all(directory.join("in")).unwrap();
        let directory = fs::canonicalize(directory).unwrap();
        fs::write(directory.join("in/photo.jpg"), b"y").unwrap();
        std::os::unix::fs::symlink(&outside, directory.join("link")).unwrap();
        std::os::unix::fs::symlink(temporary.path(), directory.join("up")).unwrap();
        let files = Files {
            directory: directory.clone(),
            routers: Vec::new(),
        };
        let there = files.path(b"in/photo.jpg");
        assert_eq!(there, Some(directory.join("in/photo.jpg")));
        let absolute = outside.to_str().unwrap().as_bytes();
        for path in [
            b"../secret".as_slice(),
            b"in/../../secret",
            b"link",
            b"up/secret",
            b"in",
            b"missing",
            b"",
            b"in/./photo.jpg/..",
            b"\xff",
            absolute,
        ] {
            assert_eq!(files.path(path), None, "{}", String::from_utf8_lossy(path));
        }
    }
}
