//! Sending: a step that is committed with the message, and the encryption that can wait until it leaves.

use bytes::{Bytes, BytesMut};
use zeroize::{Zeroize as _, Zeroizing};

use super::derivation::chain_step;
use super::header::{Counted, MessageHeader};
use super::params::KemParams;
use super::skipped::MessageKey;
use super::{AssociatedData, EncryptError, KEM, Pq, Ratchet};
use crate::crypto::Tag;
use crate::wire;
use crate::wire::padding::{self, PaddingError};
use crate::wire::{Codec as _, Large, Version, Wire as _, WireError};

/// A step that sends a message: to be committed before the message is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encrypted {
    /// The state after it.
    pub ratchet: Ratchet,
    /// What encrypts the message.
    pub key: EncryptKey,
    /// Whether it is encrypted with a post-quantum secret, too.
    pub pq: Pq,
}

wire! {
    /// What encrypts one message: its key and its header.
    ///
    /// It may be stored and used again, for the same message only.
    pub struct EncryptKey {
        version: Version,
        parties: AssociatedData,
        key: MessageKey,
        header: Large,
    }
}

impl Ratchet {
    /// The step that sends the next message: its header and its key.
    ///
    /// `pq` turns post-quantum keys on or off, for this message as far as it can and for those that follow; `None` leaves them as they
    /// are. `max_version` is the best version that this program supports, which may be better than when the ratchet was made.
    pub fn encrypt(&self, pq: Option<Pq>, max_version: Version) -> Result<Encrypted, EncryptError> {
        let mut next = self.clone();
        next.enabled = pq.unwrap_or(self.enabled);
        if next.version >= KEM {
            next.support = self.support | next.enabled;
        }
        let least = match pq {
            Some(Pq::On) => KEM,
            Some(Pq::Off) | None => self.version,
        };
        next.max_version = max_version.max(least);
        next.sent = self.sent.checked_add(1).ok_or(EncryptError::Exhausted)?;

        let header = next.header(self.sent);
        let sending = next.sending.as_mut().ok_or(EncryptError::NoSendingChain)?;
        let step = chain_step(&sending.chain);
        sending.chain = step.chain;
        let header = header.seal(
            next.version,
            next.support,
            &sending.header_key,
            step.header_iv,
            &next.parties,
        )?;
        let header = wire::encode(&header, next.version);
        let key = EncryptKey {
            version: next.version,
            parties: next.parties.clone(),
            key: step.key,
            header: Large::try_from(header).unwrap_or_default(),
        };
        let pq = next.sends_pq();
        let ratchet = next;
        Ok(Encrypted { ratchet, key, pq })
    }

    fn header(&self, number: u32) -> MessageHeader {
        let sending = self.sending.as_ref();
        let ciphertext = sending.and_then(|chain| chain.ciphertext.clone());
        let kem = self.kem.as_ref().map(|key| match ciphertext {
            Some(ciphertext) => KemParams::Accepted {
                ciphertext,
                key: key.public_key(),
            },
            None => KemParams::Proposed {
                key: key.public_key(),
            },
        });
        MessageHeader {
            max_version: self.max_version,
            ratchet_key: self.own.public,
            kem,
            previous: self.previous,
            number,
        }
    }
}

impl EncryptKey {
    /// Encrypts the message, padded to that many bytes. The same content always gives the same bytes.
    pub fn encrypt(&self, content: &[u8], padded: usize) -> Result<Bytes, PaddingError> {
        let room = self.overhead().saturating_add(padded);
        let mut message = BytesMut::with_capacity(room);
        Counted::put(&self.header, self.version, &mut message);
        let tag_end = message.len().saturating_add(Tag::LENGTH);
        let mut body = message.split_off(tag_end);
        padding::put(content, padded, &mut body)?;
        let tag = self.key.encrypt(&self.parties, &self.header, &mut body);
        message.extend_from_slice(tag.as_bytes());
        message.unsplit(body);
        Ok(message.freeze())
    }

    /// How much longer the message is than the padded content.
    #[must_use]
    pub fn overhead(&self) -> usize {
        let length = match self.version >= KEM {
            true => 2,
            false => 1,
        };
        let start = self.header.len().saturating_add(length);
        start.saturating_add(Tag::LENGTH)
    }

    /// The stored form, which is as secret as the key is.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut out = BytesMut::with_capacity(self.overhead().saturating_add(ROOM));
        self.put(self.version, &mut out);
        let bytes = Zeroizing::new(out.to_vec());
        out.zeroize();
        bytes
    }

    /// The key of a stored form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        wire::decode_slice(Version(0), bytes)
    }
}

/// More than what is stored beside the header.
const ROOM: usize = 256;
