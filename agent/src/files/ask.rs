//! What routers are asked for.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use simplex_sans_io::agent::files::job::{Failure, Outcome, Part, Party, Question};
use simplex_sans_io::drive::{ConnectError, XftpConnectError};
use simplex_sans_io::smp::{BrokerError, NetworkError};
use simplex_sans_io::wire::{ServerAddress, XftpScheme};
use simplex_sans_io::xftp::ErrorType;
use simplex_sans_io::xftp::client::RequestError;

use super::PIECE;
use super::place::{Place, Places};
use crate::xftp::{Runtime, Sessions, TransferError};

pub(super) async fn ask<N: Runtime>(
    sessions: &Sessions<N>,
    places: &Places,
    router: &ServerAddress<XftpScheme>,
    question: Question,
) -> Result<Outcome, Failure> {
    let asked = match question {
        Question::Create(file, key) => {
            let created = sessions.create(router, *file, &key).await;
            created.map(|(sender_id, recipients)| Outcome::Created {
                sender_id,
                recipient_ids: recipients.into_vec(),
            })
        }
        Question::AddRecipients(Party { id, key }, keys) => {
            let added = sessions.add_recipients(router, &id, &key, keys).await;
            added.map(|ids| Outcome::Added(ids.into_vec()))
        }
        Question::Upload(Party { id, key }, part) => {
            let place = places.of(&part.file);
            let uploaded = sessions.upload(router, &id, &key, part.size, || pieces(&place, &part));
            uploaded.await.map(|()| Outcome::Done)
        }
        Question::Download(Party { id, key }, part, digest) => {
            let place = places.of(&part.file);
            let file = Mutex::new(None);
            let described = (part.size, digest);
            let lock = || file.lock().unwrap_or_else(PoisonError::into_inner);
            let downloaded = sessions.download(router, &id, &key, described, || {
                let mut opened = place.open_to_write()?;
                let sought = opened.seek(SeekFrom::Start(part.offset));
                sought.map_err(place.cannot("written"))?;
                *lock() = Some(opened);
                Ok(|bytes: &[u8]| match lock().as_mut() {
                    Some(file) => file.write_all(bytes).map_err(place.cannot("written")),
                    None => Err(TransferError::Died),
                })
            });
            let downloaded = downloaded.await;
            // What is said to be there is there after a crash.
            let there = downloaded.and_then(|()| match lock().take() {
                Some(file) => file.sync_data().map_err(place.cannot("written")),
                None => Err(TransferError::Died),
            });
            there.map(|()| Outcome::Done)
        }
        Question::Delete(Party { id, key }) => {
            let deleted = sessions.delete(router, &id, &key).await;
            deleted.map(|()| Outcome::Done)
        }
    };
    asked.map_err(failure)
}

/// A part of the encrypted file, piece by piece.
fn pieces(
    place: &Place,
    part: &Part,
) -> Result<impl FnMut() -> Result<Option<Bytes>, TransferError> + use<>, TransferError> {
    let cannot = place.cannot("read");
    let mut file = place.open_to_read()?;
    let sought = file.seek(SeekFrom::Start(part.offset));
    sought.map_err(cannot.clone())?;
    let mut left = usize::try_from(part.size).unwrap_or(usize::MAX);
    Ok(move || {
        let mut piece = vec![0; left.min(PIECE)];
        if piece.is_empty() {
            return Ok(None);
        }
        left = left.saturating_sub(piece.len());
        file.read_exact(&mut piece).map_err(cannot.clone())?;
        Ok(Some(piece.into()))
    })
}

/// What has failed, in the words of the machine.
pub(super) fn failure(error: TransferError) -> Failure {
    match error {
        TransferError::Connect { error, .. } => Failure::Unreachable(broker(&error)),
        TransferError::Request { error, .. } => Failure::Request(error),
        TransferError::File { done, error, .. } => {
            Failure::FileIo(format!("cannot be {done}: {error}").as_str().into())
        }
        TransferError::TooLarge => Failure::Size,
        TransferError::Content(_) | TransferError::Digest | TransferError::Description(_) => {
            Failure::Digest
        }
        TransferError::Refused { .. } => Failure::Request(RequestError::Protocol(ErrorType::Auth)),
        TransferError::NoServer
        | TransferError::Redirects
        | TransferError::Changed
        | TransferError::Journal(_)
        | TransferError::OtherUpload(_)
        | TransferError::InUse(_)
        | TransferError::Died => Failure::FileIo(error.to_string().as_str().into()),
    }
}

fn broker(error: &XftpConnectError) -> BrokerError {
    let text = error.to_string();
    match error {
        XftpConnectError::Connect(ConnectError::TimedOut) => BrokerError::Timeout,
        XftpConnectError::Connect(ConnectError::Onion(_) | ConnectError::NotPublic(_))
        | XftpConnectError::Stranger
        | XftpConnectError::NoHost
        | XftpConnectError::Identity => BrokerError::Host,
        XftpConnectError::Connect(
            ConnectError::Resolve { .. }
            | ConnectError::NoAddress(_)
            | ConnectError::Unreachable { .. },
        ) => BrokerError::Network {
            error: NetworkError::Connect {
                error: text.as_str().into(),
            },
        },
        XftpConnectError::Tls(_) | XftpConnectError::Config(_) => BrokerError::Network {
            error: NetworkError::Tls {
                error: text.as_str().into(),
            },
        },
    }
}
