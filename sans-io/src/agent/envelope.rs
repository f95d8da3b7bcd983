//! What is sent into a queue: the sender's message under the encryption of the queue.
//!
//! ```text
//!   SEND body = version ‖ sender's key, in the first message ‖ nonce ‖ box (padded (ClientMessage))
//!   ClientMessage = key that the recipient is to tell the router, if any ‖ AgentEnvelope
//!   AgentEnvelope = version of the agent ‖ what it is ‖ ratchet message, or an invitation
//! ```

use bytes::{Bytes, BytesMut};

use super::link::ConnectionRequest;
use super::message::ClientMessage;
use crate::crypto::secret_box::Key;
use crate::crypto::{Nonce, x25519};
use crate::ratchet::{E2eParams, KemParams, KemProposal};
use crate::wire;
use crate::wire::padding::PaddingError;
use crate::wire::{Codec, Large, Parsed, Source, Tail, Version, Wire, WireError};

/// The size to which a message is padded in an envelope without a key.
pub const PADDED: usize = 16000;
/// The size to which a message is padded in an envelope with a key.
pub const PADDED_WITH_KEY: usize = 15904;

wire! {
    /// What is sent into a queue.
    pub struct ClientEnvelope {
        /// The version of what is in it.
        pub version: Version,
        /// The sender's half of the secret, until the recipient has it.
        pub key: Option<x25519::PublicKey>,
        /// Never used twice.
        pub nonce: Nonce,
        /// The encrypted message.
        pub body: Bytes as Tail,
    }
}

wire! {
    /// What an agent writes into a queue.
    pub struct AgentEnvelope {
        /// The version of the agent: the highest that it supports in messages, the agreed one in confirmations.
        pub version: Version,
        /// What it writes.
        pub content: EnvelopeContent,
    }
}

wire! {
    prefixes
    /// What an agent writes into a queue.
    pub enum EnvelopeContent {
        /// That a connection is accepted.
        "C" => Confirmation {
            /// The keys of the joiner; none of the initiator.
            params: Option<E2eParams<KemParams>>,
            /// An [`AgentMessage`](super::message::AgentMessage), encrypted by the ratchet.
            encrypted: Bytes as Tail,
        },
        /// A message of the connection.
        "M" => Message {
            /// An [`AgentMessage`](super::message::AgentMessage), encrypted by the ratchet.
            encrypted: Bytes as Tail,
        },
        /// A request to an address.
        "I" => Invitation {
            /// How to connect.
            request: Box<ConnectionRequest> as AsLink,
            /// The application's.
            info: Bytes as Tail,
        },
        /// The keys of a new ratchet.
        "R" => RatchetKey {
            /// The keys.
            params: E2eParams<KemProposal>,
            /// Not encrypted, and not read.
            info: Bytes as Tail,
        },
    }
}

/// The link with a length of two bytes.
enum AsLink {}

impl Codec<Box<ConnectionRequest>> for AsLink {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Box<ConnectionRequest>> {
        let (input, link) = Large::parse(source, input)?;
        match std::str::from_utf8(&link).map(str::parse) {
            Ok(Ok(request)) => Ok((input, Box::new(request))),
            _ => WireError::Invalid("link").fail(),
        }
    }

    fn put(value: &Box<ConnectionRequest>, version: Version, out: &mut BytesMut) {
        let link = Large::try_from(value.to_string().as_bytes());
        link.unwrap_or_default().put(version, out);
    }
}

/// Why what came out of a queue cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It is not encrypted with this secret, or not padded.
    #[error("it cannot be decrypted")]
    Decrypt,
    /// It is encrypted correctly, but is no message.
    #[error("it cannot be parsed: {0}")]
    Parse(#[from] WireError),
}

impl ClientEnvelope {
    /// A message under the encryption of a queue.
    pub fn seal(
        version: Version,
        key: Option<x25519::PublicKey>,
        secret: &x25519::SharedSecret,
        nonce: Nonce,
        message: &ClientMessage,
    ) -> Result<Self, PaddingError> {
        let size = if key.is_some() {
            PADDED_WITH_KEY
        } else {
            PADDED
        };
        let text = wire::encode(message, Version::default());
        let body = Key::from(secret).seal_padded(&nonce, &text, size)?.freeze();
        Ok(Self {
            version,
            key,
            nonce,
            body,
        })
    }

    /// The message, if it is encrypted with this secret.
    pub fn open(&self, secret: &x25519::SharedSecret) -> Result<ClientMessage, EnvelopeError> {
        let mut body = BytesMut::from(&*self.body);
        let text = Key::from(secret)
            .open_padded(&self.nonce, &mut body)
            .map_err(|_| EnvelopeError::Decrypt)?;
        let text = Bytes::copy_from_slice(text);
        Ok(wire::decode(Version::default(), &text)?)
    }
}

#[cfg(any(test, feature = "sim"))]
impl wire::SampleCodec<Box<ConnectionRequest>> for AsLink {
    fn sample(version: Version, rng: &mut crate::rng::Rng) -> Box<ConnectionRequest> {
        loop {
            let request = ConnectionRequest::sample(version, rng);
            // Not every sample has a link: fingerprints and ids may be empty.
            if let Ok(read) = request.to_string().parse() {
                return Box::new(read);
            }
        }
    }
}

#[cfg(any(test, feature = "sim"))]
use wire::Sample as _;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn envelopes_come_back(seed: [u8; 32]) {
            let mut rng = Rng::from_seed(seed);
            let envelope = AgentEnvelope::sample(Version(3), &mut rng);
            let encoded = wire::encode(&envelope, Version(0));
            prop_assert_eq!(wire::decode::<AgentEnvelope>(Version(0), &encoded).unwrap(), envelope);
            let secret = x25519::SharedSecret::from_bytes(rng.bytes());
            let message = ClientMessage::sample(Version(0), &mut rng);
            let nonce = Nonce::generate(&mut rng);
            let sealed = ClientEnvelope::seal(Version(4), None, &secret, nonce, &message).unwrap();
            prop_assert_eq!(sealed.open(&secret).unwrap(), message);
            let other = x25519::SharedSecret::from_bytes(rng.bytes());
            prop_assert_eq!(sealed.open(&other), Err(EnvelopeError::Decrypt));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), tag in "[CMIR]") {
            let _ = wire::decode_slice::<AgentEnvelope>(Version(0), &[b"\0\x07", tag.as_bytes(), &bytes].concat());
        }
    }
}
