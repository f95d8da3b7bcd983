//! Whether a router can be used for files.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use simplex_sans_io::agent::command::TestStep;
use simplex_sans_io::agent::files::job::Failure;
use simplex_sans_io::crypto::hash::sha256;
use simplex_sans_io::crypto::{AuthPrivateKey, ed25519};
use simplex_sans_io::wire::{BasicAuth, NonEmpty, ServerAddress, Short, XftpScheme};
use simplex_sans_io::xftp::NewFile;
use simplex_sans_io::xftp::chunk::ChunkSize;

use super::ask::failure;
use crate::xftp::{Runtime, Sessions, TransferError};

/// A chunk of random bytes goes there and back.
pub(super) async fn test<N: Runtime>(
    sessions: &Sessions<N>,
    router: &ServerAddress<XftpScheme>,
    password: Option<BasicAuth>,
) -> Result<(), (TestStep, Failure)> {
    let at = |step| move |error| (step, failure(error));
    let mut rng = sessions.rng();
    let size = ChunkSize::Kb64.bytes();
    let mut chunk = vec![0; usize::try_from(size).unwrap_or_default()];
    rng.fill(&mut chunk);
    let (chunk, digest) = (Bytes::from(chunk.clone()), sha256(&chunk));
    let mut key = || {
        Arc::new(AuthPrivateKey::from(ed25519::PrivateKey::generate(
            &mut rng,
        )))
    };
    let (sender, recipient) = (key(), key());
    let file = NewFile {
        sender_key: sender.public_key(),
        size,
        digest: Short::try_from(&digest).unwrap_or_default(),
        recipients: NonEmpty::one(recipient.public_key()),
        password,
    };
    let created = sessions.create(router, file, &sender).await;
    let (id, recipients) = created.map_err(|error| {
        let step = match matches!(error, TransferError::Connect { .. }) {
            true => TestStep::Connect,
            false => TestStep::CreateFile,
        };
        (step, failure(error))
    })?;
    let uploaded = sessions.upload(router, &id, &sender, size, || {
        let mut whole = Some(chunk.clone());
        Ok(move || Ok(whole.take()))
    });
    uploaded.await.map_err(at(TestStep::UploadFile))?;
    let back = Mutex::new(Vec::new());
    let lock = || back.lock().unwrap_or_else(PoisonError::into_inner);
    let downloaded = sessions.download(
        router,
        recipients.first(),
        &recipient,
        (size, digest),
        || {
            Ok(|bytes: &[u8]| {
                lock().extend_from_slice(bytes);
                Ok(())
            })
        },
    );
    downloaded.await.map_err(at(TestStep::DownloadFile))?;
    if *lock() != chunk {
        return Err((TestStep::CompareFile, Failure::Digest));
    }
    let deleted = sessions.delete(router, &id, &sender).await;
    deleted.map_err(at(TestStep::DeleteFile))
}
