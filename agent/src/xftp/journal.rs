//! What is written down of an upload, so that it can go on after a crash, or be deleted.
//!
//! ```text
//! xftp upload 1
//! file SIZE MODIFIED NAME
//! key KEY NONCE
//! plan RECIPIENTS REPLICAS
//! created CHUNK SERVER ID KEY ID:KEY,…
//! uploaded CHUNK ID
//! ```
//! Lines are added, each before what depends on it is done. The end of a line that was not written whole is ignored. Whoever can read
//! it can read the file and delete it: it is for its owner only.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE as BASE64;
use simplex_sans_io::crypto::{AuthPrivateKey, Nonce, Secret};
use simplex_sans_io::wire::EntityId;
use simplex_sans_io::xftp::description::Replica;

use super::TransferError;
use super::sessions::Key;

const FIRST_LINE: &str = "xftp upload 1";

/// What an upload is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Upload {
    pub(super) size: u64,
    /// When the file was modified, in nanoseconds.
    pub(super) modified: u128,
    pub(super) name: String,
    pub(super) recipients: u8,
    pub(super) replicas: u8,
}

/// A chunk on a router.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    /// As the sender sees it.
    pub(super) sender: Replica,
    /// The ids and keys of the recipients.
    pub(super) recipients: Vec<(EntityId, Key)>,
    pub(super) stage: Stage,
}

/// How far a chunk on a router is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Created,
    Uploaded,
}

/// The journal of an upload.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    pub(super) key: Secret<32>,
    pub(super) nonce: Nonce,
    /// What is on routers, by the number of the chunk.
    pub(super) stored: BTreeMap<usize, Vec<Stored>>,
}

impl Journal {
    /// Goes on with the journal of an upload, or begins one. A journal of something else is refused.
    pub(super) fn open(
        path: &Path,
        upload: &Upload,
        fresh: (Secret<32>, Nonce),
    ) -> Result<Self, TransferError> {
        let failed = |done| TransferError::file(path, done);
        match fs::read_to_string(path) {
            Ok(text) => {
                let invalid = || TransferError::Journal(path.to_owned());
                let written = Written::parse(&text).ok_or_else(invalid)?;
                if written.upload != *upload {
                    // Nothing of it is on any router: it is as good as none.
                    if written.stored.is_empty() {
                        fs::remove_file(path).map_err(failed("removed"))?;
                        return Self::open(path, upload, fresh);
                    }
                    return Err(TransferError::OtherUpload(path.to_owned()));
                }
                let file = OpenOptions::new().append(true).open(path);
                let file = file.map_err(failed("written"))?;
                // A line that was cut off would spoil the next one.
                file.set_len(written.length).map_err(failed("written"))?;
                Ok(Self {
                    path: path.to_owned(),
                    file,
                    key: written.key,
                    nonce: written.nonce,
                    stored: written.stored,
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (key, nonce) = fresh;
                let mut journal = Self {
                    path: path.to_owned(),
                    file: private(path).map_err(failed("written"))?,
                    key,
                    nonce,
                    stored: BTreeMap::new(),
                };
                let Upload {
                    size,
                    modified,
                    name,
                    recipients,
                    replicas,
                } = upload;
                let (name, key) = (text(name.as_bytes()), text(journal.key.as_bytes()));
                let nonce = text(journal.nonce.as_bytes());
                journal.write(&format!(
                    "{FIRST_LINE}\nfile {size} {modified} {name}\nkey {key} {nonce}\nplan {recipients} {replicas}\n"
                ))?;
                Ok(journal)
            }
            Err(error) => Err(failed("read")(error)),
        }
    }

    /// A chunk was created on a router.
    pub(super) fn created(&mut self, chunk: usize, stored: Stored) -> Result<(), TransferError> {
        let Replica { server, id, key } = &stored.sender;
        let recipients: Vec<_> = stored
            .recipients
            .iter()
            .map(|(id, key)| format!("{}:{}", text(id), text(&key.to_pkcs8())))
            .collect();
        let line = format!(
            "created {chunk} {server} {} {} {}\n",
            text(id),
            text(&key.to_pkcs8()),
            recipients.join(",")
        );
        self.write(&line)?;
        self.stored.entry(chunk).or_default().push(stored);
        Ok(())
    }

    /// A chunk was uploaded to a router.
    pub(super) fn uploaded(&mut self, chunk: usize, id: &EntityId) -> Result<(), TransferError> {
        self.write(&format!("uploaded {chunk} {}\n", text(id)))?;
        mark_uploaded(&mut self.stored, chunk, id);
        Ok(())
    }

    /// The upload is complete.
    pub(super) fn remove(self) -> Result<(), TransferError> {
        fs::remove_file(&self.path).map_err(TransferError::file(&self.path, "removed"))
    }

    fn write(&mut self, lines: &str) -> Result<(), TransferError> {
        let written = self.file.write_all(lines.as_bytes());
        let written = written.and_then(|()| self.file.sync_data());
        written.map_err(TransferError::file(&self.path, "written"))
    }
}

/// What is on routers of the upload that a journal is about; nothing if the text is no journal.
#[must_use]
pub(super) fn replicas(journal: &str) -> Option<Vec<Replica>> {
    let written = Written::parse(journal)?;
    let stored = written.stored.into_values().flatten();
    Some(stored.map(|stored| stored.sender).collect())
}

/// What a journal says.
struct Written {
    upload: Upload,
    key: Secret<32>,
    nonce: Nonce,
    stored: BTreeMap<usize, Vec<Stored>>,
    /// Where the last whole line ends.
    length: u64,
}

impl Written {
    fn parse(text: &str) -> Option<Self> {
        let end = text.rfind('\n')?.checked_add(1)?;
        let mut lines = text.get(..end)?.lines();
        if lines.next()? != FIRST_LINE {
            return None;
        }
        let ["file", size, modified, name] = fields(lines.next()?)[..] else {
            return None;
        };
        let ["key", key, nonce] = fields(lines.next()?)[..] else {
            return None;
        };
        let ["plan", recipients, replicas] = fields(lines.next()?)[..] else {
            return None;
        };
        let upload = Upload {
            size: size.parse().ok()?,
            modified: modified.parse().ok()?,
            name: String::from_utf8(bytes(name)?).ok()?,
            recipients: recipients.parse().ok()?,
            replicas: replicas.parse().ok()?,
        };
        let mut stored = BTreeMap::<usize, Vec<Stored>>::new();
        for line in lines {
            match fields(line)[..] {
                ["created", chunk, server, id, key, recipients] => {
                    let recipient = |pair: &str| -> Option<(EntityId, Key)> {
                        let (id, key) = pair.split_once(':')?;
                        Some((entity(id)?, Arc::new(private_key(key)?)))
                    };
                    let created = Stored {
                        sender: Replica {
                            server: server.parse().ok()?,
                            id: entity(id)?,
                            key: private_key(key)?,
                        },
                        recipients: recipients
                            .split(',')
                            .map(recipient)
                            .collect::<Option<_>>()?,
                        stage: Stage::Created,
                    };
                    stored.entry(chunk.parse().ok()?).or_default().push(created);
                }
                ["uploaded", chunk, id] => {
                    mark_uploaded(&mut stored, chunk.parse().ok()?, &entity(id)?);
                }
                _ => return None,
            }
        }
        Some(Self {
            upload,
            key: Secret::from_bytes(bytes(key)?.try_into().ok()?),
            nonce: Nonce::from(<[u8; 24]>::try_from(bytes(nonce)?).ok()?),
            stored,
            length: u64::try_from(end).ok()?,
        })
    }
}

fn mark_uploaded(stored: &mut BTreeMap<usize, Vec<Stored>>, chunk: usize, id: &EntityId) {
    let of_chunk = stored.get_mut(&chunk).into_iter().flatten();
    for stored in of_chunk.filter(|stored| stored.sender.id == *id) {
        stored.stage = Stage::Uploaded;
    }
}

/// Makes a file that nobody else can read.
pub(super) fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn fields(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn text(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

fn entity(text: &str) -> Option<EntityId> {
    EntityId::try_from(bytes(text)?.as_slice()).ok()
}

fn private_key(text: &str) -> Option<AuthPrivateKey> {
    AuthPrivateKey::from_pkcs8(&bytes(text)?).ok()
}

#[cfg(test)]
mod tests {
    use simplex_sans_io::crypto::ed25519;
    use simplex_sans_io::rng::Rng;

    use super::*;

    fn upload() -> Upload {
        Upload {
            size: 10,
            modified: 77,
            name: "a file.txt".into(),
            recipients: 2,
            replicas: 1,
        }
    }

    fn fresh(seed: u8) -> (Secret<32>, Nonce) {
        (Secret::from_bytes([seed; 32]), Nonce::from([seed; 24]))
    }

    fn stored(rng: &mut Rng) -> Stored {
        let mut key = || ed25519::PrivateKey::generate(rng).into();
        Stored {
            sender: Replica {
                server: "xftp://YQ==@a.example:7443".parse().unwrap(),
                id: EntityId::from([1; 24]),
                key: key(),
            },
            recipients: vec![(EntityId::from([2; 24]), Arc::new(key()))],
            stage: Stage::Created,
        }
    }

    #[test]
    fn an_upload_goes_on_where_its_journal_ends_wherever_it_was_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let mut journal = Journal::open(&path, &upload(), fresh(1)).unwrap();
        let one = stored(&mut Rng::from_seed([1; 32]));
        journal.created(0, one.clone()).unwrap();
        journal.uploaded(0, &one.sender.id).unwrap();
        drop(journal);
        let whole = fs::read(&path).unwrap();
        let lines = |length: usize| {
            whole[..length]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
        };
        for length in 0..=whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let opened = Journal::open(&path, &upload(), fresh(2));
            if lines(length) < 4 {
                assert!(matches!(opened, Err(TransferError::Journal(_))), "{length}");
                continue;
            }
            let mut opened = opened.unwrap();
            assert_eq!(opened.key, fresh(1).0);
            let stage = opened.stored.get(&0).map(|stored| stored[0].stage);
            let expected = [None, Some(Stage::Created), Some(Stage::Uploaded)];
            assert_eq!(stage, expected[lines(length) - 4]);
            opened.created(1, one.clone()).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(replicas(&text).unwrap().last(), Some(&one.sender));
        }
    }

    #[test]
    fn the_journal_of_another_upload_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        drop(Journal::open(&path, &upload(), fresh(1)).unwrap());
        let other = Upload {
            modified: 78,
            ..upload()
        };
        // Nothing was uploaded: nothing can be lost.
        let mut opened = Journal::open(&path, &other, fresh(2)).unwrap();
        assert_eq!(opened.key, fresh(2).0);
        opened
            .created(0, stored(&mut Rng::from_seed([1; 32])))
            .unwrap();
        let refused = Journal::open(&path, &upload(), fresh(1)).unwrap_err();
        assert!(matches!(refused, TransferError::OtherUpload(_)));
        fs::write(&path, "something else\n").unwrap();
        let refused = Journal::open(&path, &upload(), fresh(1)).unwrap_err();
        assert!(matches!(refused, TransferError::Journal(_)));
        assert!(replicas("something else\n").is_none());
    }
}
