//! Receiving: a message is decrypted, or nothing has happened.

use std::fmt;

use bytes::BytesMut;

use super::derivation::{chain_step, root_step};
use super::fresh::FreshKeys;
use super::header::{EncryptedHeader, EncryptedMessage, MessageHeader};
use super::params::KemParams;
use super::skipped::{MessageKey, SkippedChange, SkippedId, SkippedKey, SkippedKeys};
use super::state::{RatchetKey, ReceivingChain, SendingChain};
use super::{DecryptError, KEM, Pq, Ratchet};
use crate::crypto::{Secret, kem};
use crate::wire::{self, Version};

/// A step that received a message: to be committed before the message is acted on.
#[derive(Clone, PartialEq, Eq)]
pub struct Decrypted {
    /// The state after it.
    pub ratchet: Ratchet,
    /// What it did to the skipped keys.
    pub skipped: Vec<SkippedChange>,
    /// What the message says.
    pub content: BytesMut,
    /// Whether it was encrypted with a post-quantum secret, too.
    pub pq: Pq,
}

/// What the message says is nobody else's business.
impl fmt::Debug for Decrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decrypted")
            .field("ratchet", &self.ratchet)
            .field("skipped", &self.skipped)
            .field("content", &format_args!("[{} bytes]", self.content.len()))
            .field("pq", &self.pq)
            .finish()
    }
}

/// Whose key has opened a header.
enum HeaderChain<'a> {
    Current,
    Next,
    /// That of an older chain, of which only skipped keys are left.
    Older(&'a Secret<32>),
}

/// What becomes of the post-quantum keys when the ratchet turns.
struct KemStep {
    /// The secret that the peer has encapsulated.
    received: Option<kem::SharedSecret>,
    /// The secret that is encapsulated for the peer.
    sent: Option<(kem::Ciphertext, kem::SharedSecret)>,
    /// What the peer may encapsulate for next.
    key: Option<kem::PrivateKey>,
}

impl Ratchet {
    /// The most messages that one gap may skip.
    pub const MAX_GAP: u32 = 512;

    /// The step that receives a message.
    ///
    /// It depends on its arguments only and changes none of them, so that it can be run anywhere: mostly it takes microseconds, but a
    /// message that turns a ratchet with post-quantum keys may take milliseconds. An error leaves everything as it was.
    pub fn decrypt(
        &self,
        skipped: &SkippedKeys,
        fresh: &mut impl FreshKeys,
        message: BytesMut,
    ) -> Result<Decrypted, DecryptError> {
        let message = EncryptedMessage::parse(message)?;
        let (chain, header) = self.open_header(skipped, &message)?;

        let header_key = match (&chain, &self.receiving) {
            (HeaderChain::Older(key), _) => Some(*key),
            (HeaderChain::Current, Some(receiving)) => Some(&receiving.header_key),
            (HeaderChain::Current, None) | (HeaderChain::Next, _) => None,
        };
        let id = header_key.map(|key| SkippedId {
            header_key: key.clone(),
            number: header.number,
        });
        if let Some((id, (key, pq))) = id.and_then(|id| skipped.find(&id).map(|found| (id, found)))
        {
            return Ok(Decrypted {
                ratchet: self.clone(),
                content: key.decrypt(&self.parties, message)?,
                skipped: vec![SkippedChange::Removed(id)],
                pq,
            });
        }

        let mut next = self.clone();
        let mut added = Vec::new();
        next.upgrade(header.max_version);
        match chain {
            HeaderChain::Older(_) => return Err(DecryptError::Header),
            HeaderChain::Current => {}
            HeaderChain::Next => {
                next.skip_to(header.previous, &mut added)?;
                next.turn(fresh, &header)?;
            }
        }
        next.skip_to(header.number, &mut added)?;
        let key = next.next_key().ok_or(DecryptError::Header)?;
        Ok(Decrypted {
            content: key.decrypt(&self.parties, message)?,
            skipped: skipped.adding(added),
            pq: next.receives_pq(),
            ratchet: next,
        })
    }

    /// Whether decrypting a message turns the ratchet with post-quantum keys, which takes long: telling takes microseconds.
    #[must_use]
    pub fn turns_with_kem(&self, skipped: &SkippedKeys, message: &[u8]) -> bool {
        let message = EncryptedMessage::parse(BytesMut::from(message));
        let Ok(message) = message else {
            return false;
        };
        match self.open_header(skipped, &message) {
            Ok((HeaderChain::Next, header)) => {
                let proposes = self.enabled.is_on() && self.kem.is_none();
                header.kem.is_some() || proposes && self.version >= KEM
            }
            Ok((HeaderChain::Current | HeaderChain::Older(_), _)) | Err(_) => false,
        }
    }

    /// Opens the header: most often with the key of the current chain, or of the next.
    fn open_header<'a>(
        &'a self,
        skipped: &'a SkippedKeys,
        message: &EncryptedMessage,
    ) -> Result<(HeaderChain<'a>, MessageHeader), DecryptError> {
        let header: EncryptedHeader = wire::decode(Version(0), &message.header)?;
        let current = self.receiving.as_ref().map(|chain| &chain.header_key);
        let keys = current
            .map(|key| (key, HeaderChain::Current))
            .into_iter()
            .chain([(&self.next_receiving, HeaderChain::Next)])
            .chain(
                skipped
                    .header_keys()
                    .map(|key| (key, HeaderChain::Older(key))),
            );
        let (chain, header) = header
            .open(keys, &self.parties)
            .ok_or(DecryptError::Header)?;
        Ok((chain, header?))
    }

    /// Takes up the best version that both support.
    fn upgrade(&mut self, peer: Version) {
        self.version = self.version.max(peer.min(self.max_version));
    }

    /// Keeps the keys of the messages before `number` in the receiving chain, if there is one.
    fn skip_to(&mut self, number: u32, added: &mut Vec<SkippedKey>) -> Result<(), DecryptError> {
        let Some(ReceivingChain { header_key, pq, .. }) = self.receiving.clone() else {
            return Ok(());
        };
        match self.received.checked_sub(number) {
            Some(0) => return Ok(()),
            Some(1) => return Err(DecryptError::Duplicate),
            Some(after) => return Err(DecryptError::Earlier(after.saturating_sub(1))),
            None => {}
        }
        let gap = number.saturating_sub(self.received);
        if gap > Self::MAX_GAP {
            return Err(DecryptError::Skipped(gap.saturating_add(1)));
        }
        for number in self.received..number {
            let id = SkippedId {
                header_key: header_key.clone(),
                number,
            };
            let key = self.next_key().ok_or(DecryptError::Header)?;
            added.push(SkippedKey { id, key, pq });
        }
        Ok(())
    }

    /// The key of the next message in the receiving chain.
    fn next_key(&mut self) -> Option<MessageKey> {
        let receiving = self.receiving.as_mut()?;
        let step = chain_step(&receiving.chain);
        receiving.chain = step.chain;
        self.received = self.received.checked_add(1)?;
        Some(step.key)
    }

    /// Turns the ratchet: the peer's new key gives the next receiving chain, and a new key of our own the next sending chain.
    fn turn(
        &mut self,
        fresh: &mut impl FreshKeys,
        header: &MessageHeader,
    ) -> Result<(), DecryptError> {
        let KemStep {
            received,
            sent,
            key,
        } = self.kem_step(fresh, header.kem.as_ref())?;
        let own = RatchetKey::from(fresh.agreement_key());
        let peer = &header.ratchet_key;
        let (ciphertext, sent) = sent.unzip();
        let receiving = root_step(&self.root, &self.own.private.agree(peer), received.as_ref());
        let sending = root_step(&receiving.root, &own.private.agree(peer), sent.as_ref());

        let header_keys = (self.next_sending.clone(), self.next_receiving.clone());
        self.enabled = (received.is_some() || sent.is_some() || key.is_some()).into();
        if self.version >= KEM {
            self.support = self.support | self.enabled;
        }
        self.root = sending.root;
        self.sending = Some(SendingChain {
            chain: sending.chain,
            header_key: header_keys.0,
            ciphertext,
        });
        self.receiving = Some(ReceivingChain {
            chain: receiving.chain,
            header_key: header_keys.1,
            pq: received.is_some().into(),
        });
        self.next_sending = sending.next_header_key;
        self.next_receiving = receiving.next_header_key;
        self.previous = self.sent;
        self.sent = 0;
        self.received = 0;
        self.own = own;
        self.kem = key;
        Ok(())
    }

    /// Answers what the peer says about post-quantum keys: with as much as is wanted here.
    fn kem_step(
        &self,
        fresh: &mut impl FreshKeys,
        peer: Option<&KemParams>,
    ) -> Result<KemStep, DecryptError> {
        let wanted = self.enabled.is_on() && self.version >= KEM;
        let Some(params) = peer else {
            // A proposal that was not answered is not repeated.
            let propose = wanted && self.kem.is_none();
            return Ok(KemStep {
                received: None,
                sent: None,
                key: propose.then(|| fresh.kem_key()),
            });
        };
        let (received, peer_key) = match params {
            KemParams::Proposed { key } => (None, key),
            KemParams::Accepted { ciphertext, key } => {
                let own = self.kem.as_ref().ok_or(DecryptError::Kem)?;
                (Some(own.decapsulate(ciphertext)), key)
            }
        };
        Ok(KemStep {
            received,
            sent: wanted.then(|| fresh.encapsulate(peer_key)),
            key: wanted.then(|| fresh.kem_key()),
        })
    }
}
