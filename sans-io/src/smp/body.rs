//! What a router delivers, encrypted once more for its recipient: messages, and the news of messages.

use bytes::{Bytes, BytesMut};

use super::command::{AfterSpace, MsgFlags};
use super::message::MsgId;
use crate::crypto::secret_box::Key;
use crate::crypto::{Nonce, x25519};
use crate::wire;
use crate::wire::padding::PaddingError;
use crate::wire::{Parsed, Source, Version, Wire, WireError};

/// The size to which every delivered message is padded, in all versions.
pub const PADDED_BODY: usize = 16106;
/// How large a message is at most that can be delivered: with its length, the time and the flag it fills a body.
pub const MAX_DELIVERED: usize = PADDED_BODY - 12;
/// The size to which every notification is padded.
pub const PADDED_META: usize = 128;

/// A delivered message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    /// Of a sender.
    Message(SentMessage),
    /// The router's mark that the queue was full, after the last message that it took.
    Quota(QuotaMark),
}

wire! {
    /// A message as its sender has sent it.
    pub struct SentMessage {
        /// When, in seconds since the Unix epoch.
        pub time: i64,
        /// The sender's flags.
        pub flags: MsgFlags,
        /// What was sent.
        pub body: Bytes as AfterSpace,
    }
}

wire! {
    /// The mark that a queue was full.
    pub struct QuotaMark {
        /// Since when, in seconds since the Unix epoch.
        pub time: i64,
    }
}

const QUOTA: &[u8] = b"QUOTA ";

/// A mark begins with a word that would be a time far in the future.
impl Wire for Delivered {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        match input.strip_prefix(QUOTA) {
            Some(mark) => Wire::parse(source, mark).map(|(rest, mark)| (rest, Self::Quota(mark))),
            None => Wire::parse(source, input).map(|(rest, sent)| (rest, Self::Message(sent))),
        }
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        match self {
            Self::Message(sent) => sent.put(version, out),
            Self::Quota(mark) => {
                out.extend_from_slice(QUOTA);
                mark.put(version, out);
            }
        }
    }
}

/// Why what was delivered cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// It is not encrypted with this secret, or not padded.
    #[error("it cannot be decrypted")]
    Decrypt,
    /// It is encrypted correctly, but it is no message.
    #[error("it cannot be parsed: {0}")]
    Parse(#[from] WireError),
}

impl Delivered {
    /// The body of the MSG that delivers it.
    pub fn encrypt(&self, key: &Key, id: &MsgId) -> Result<Bytes, PaddingError> {
        let put = |packet: &mut BytesMut| self.put(Version::default(), packet);
        let sealed = key.seal_padded_with(&Nonce::from_bytes(id), PADDED_BODY, put)?;
        Ok(sealed.freeze())
    }

    /// What the body of a MSG delivers.
    pub fn decrypt(
        secret: &x25519::SharedSecret,
        id: &MsgId,
        body: &[u8],
    ) -> Result<Self, DeliveryError> {
        let text = open(secret, &Nonce::from_bytes(id), body)?;
        Ok(wire::decode(Version::default(), &text)?)
    }
}

wire! {
    /// What a notification tells: which message is new.
    pub struct NMsgMeta {
        /// The id of the message.
        pub id: MsgId,
        /// When it was sent, in seconds since the Unix epoch.
        pub time: i64,
    }
}

impl NMsgMeta {
    /// The content of the NMSG that tells it.
    pub fn encrypt(&self, key: &Key, nonce: &Nonce) -> Result<Bytes, PaddingError> {
        let put = |packet: &mut BytesMut| self.put(Version::default(), packet);
        let sealed = key.seal_padded_with(nonce, PADDED_META, put)?;
        Ok(sealed.freeze())
    }

    /// What the content of an NMSG tells. Later versions may say more.
    pub fn decrypt(
        secret: &x25519::SharedSecret,
        nonce: &Nonce,
        meta: &[u8],
    ) -> Result<Self, DeliveryError> {
        let text = open(secret, nonce, meta)?;
        Ok(wire::decode_prefix(Version::default(), &text)?)
    }
}

fn open(
    secret: &x25519::SharedSecret,
    nonce: &Nonce,
    sealed: &[u8],
) -> Result<Bytes, DeliveryError> {
    let mut sealed = BytesMut::from(sealed);
    let text = Key::from(secret)
        .open_padded(nonce, &mut sealed)
        .map_err(|_| DeliveryError::Decrypt)?;
    Ok(Bytes::copy_from_slice(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::wire::Sample;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_delivered_arrives(seed: [u8; 32], id: [u8; 24]) {
            let mut rng = Rng::from_seed(seed);
            let secret = x25519::SharedSecret::from_bytes(rng.bytes());
            let (key, id) = (Key::from(&secret), MsgId::from(id));
            let message = Delivered::Message(SentMessage::sample(Version(20), &mut rng));
            let body = message.encrypt(&key, &id).unwrap();
            prop_assert_eq!(body.len(), 16122);
            prop_assert_eq!(Delivered::decrypt(&secret, &id, &body).unwrap(), message);
            let mut forged = body.to_vec();
            forged[usize::from(seed[0])] ^= 1;
            prop_assert_eq!(Delivered::decrypt(&secret, &id, &forged), Err(DeliveryError::Decrypt));
            let meta = NMsgMeta::sample(Version(20), &mut rng);
            let nonce = Nonce::generate(&mut rng);
            let sealed = meta.encrypt(&key, &nonce).unwrap();
            prop_assert_eq!(sealed.len(), 144);
            prop_assert_eq!(NMsgMeta::decrypt(&secret, &nonce, &sealed).unwrap(), meta);
        }
    }

    #[test]
    fn every_body_that_can_be_sent_can_be_delivered() {
        let key = Key::from(&x25519::SharedSecret::from_bytes([1; 32]));
        let message = |length| {
            Delivered::Message(SentMessage {
                time: 0,
                flags: MsgFlags { notification: true },
                body: vec![0; length].into(),
            })
        };
        let id = MsgId::from([0; 24]);
        let longest = super::super::version::max_message_length(Version(6));
        assert!(message(longest).encrypt(&key, &id).is_ok());
        assert!(message(MAX_DELIVERED).encrypt(&key, &id).is_ok());
        assert!(message(MAX_DELIVERED + 1).encrypt(&key, &id).is_err());
    }
}
