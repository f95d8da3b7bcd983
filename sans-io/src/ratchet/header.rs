//! An encrypted message, and the header in it that only the peer can read.
//!
//! ```text
//!   message = length ‖ header ‖ tag ‖ body          the body authenticates the bytes of the header
//!   header  = version ‖ IV ‖ tag ‖ length ‖ encrypted (padded (max. version ‖ ratchet key ‖ KEM ‖ PN ‖ N))
//! ```
//! Lengths have two bytes since version 3, one before. No header is so short that its first byte could not tell which.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::params::KemParams;
use super::{AssociatedData, KEM, Pq};
use crate::crypto::{Secret, Tag, aes_gcm, x448};
use crate::wire;
use crate::wire::padding::{self, PaddingError};
use crate::wire::{Codec, Large, Parsed, Short, Source, Version, Wire, WireError};

/// What the plaintext of a header is padded to.
const PADDED: usize = 88;
/// The same with room for KEM parameters.
const PADDED_KEM: usize = 2310;
/// The first byte of a length of one byte is never below this.
const SHORTEST: u8 = 32;

wire! {
    /// What a message says about the ratchet, in the version of its [`EncryptedHeader`].
    pub struct MessageHeader {
        /// The best version that the sender supports.
        pub max_version: Version,
        /// The sender's ratchet key: that of the chain.
        pub ratchet_key: x448::PublicKey,
        /// What the sender says about post-quantum keys.
        pub kem: Option<KemParams> { 3.. => Plain },
        /// How many messages the previous chain had: PN.
        pub previous: u32,
        /// The number of the message in the chain: N.
        pub number: u32,
    }
}

wire! {
    /// The header as it travels.
    pub struct EncryptedHeader {
        /// The version of the ratchet, in which both the header and what surrounds it are written.
        pub version: Version,
        /// The initialisation vector.
        pub iv: [u8; 16],
        /// What authenticates the header and the parties.
        pub tag: Tag as Raw,
        /// The encrypted header.
        pub body: Bytes as Counted,
    }
}

/// A message in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptedMessage {
    /// The header, which is also associated data of the body.
    pub header: Bytes,
    /// What authenticates the body, the header and the parties.
    pub tag: Tag,
    /// The encrypted content.
    pub body: BytesMut,
}

impl MessageHeader {
    /// What headers are padded to: with room for KEM parameters if they are supported.
    #[must_use]
    pub fn padded_length(version: Version, support: Pq) -> usize {
        match support {
            Pq::On if version >= KEM => PADDED_KEM,
            Pq::On | Pq::Off => PADDED,
        }
    }

    /// Encrypts the header.
    pub(super) fn seal(
        &self,
        version: Version,
        support: Pq,
        key: &Secret<32>,
        iv: [u8; 16],
        parties: &AssociatedData,
    ) -> Result<EncryptedHeader, PaddingError> {
        let length = Self::padded_length(version, support);
        let mut body = padding::pad(&wire::encode(self, version), length)?;
        let tag = aes_gcm::encrypt(key, &iv, parties.as_bytes(), &mut body);
        Ok(EncryptedHeader {
            version,
            iv,
            tag,
            body: body.freeze(),
        })
    }
}

impl EncryptedHeader {
    /// The header, with what came with the first key that opens it; `None` if none does.
    pub(super) fn open<'k, T>(
        &self,
        keys: impl IntoIterator<Item = (&'k Secret<32>, T)>,
        parties: &AssociatedData,
    ) -> Option<(T, Result<MessageHeader, WireError>)> {
        let mut body = BytesMut::from(&*self.body);
        keys.into_iter().find_map(|(key, which)| {
            aes_gcm::decrypt(key, &self.iv, parties.as_bytes(), &mut body, &self.tag)
                .is_ok()
                .then(|| (which, self.read(&body)))
        })
    }

    /// Later versions may add fields at the end.
    fn read(&self, padded: &[u8]) -> Result<MessageHeader, WireError> {
        let header = padding::unpad(padded).map_err(|_| WireError::Invalid("padding"))?;
        wire::decode_prefix(self.version, &Bytes::copy_from_slice(header))
    }
}

impl EncryptedMessage {
    /// Takes a message apart, without copying its body.
    pub fn parse(mut message: BytesMut) -> Result<Self, WireError> {
        let start = Start::parse(Source::borrowed(Version(0)), &message);
        let (body, Start { header, tag }) = start.map_err(|_| WireError::Incomplete)?;
        let start = message.len().saturating_sub(body.len());
        message.advance(start);
        let body = message;
        Ok(Self { header, tag, body })
    }
}

wire! {
    /// A message up to its body.
    struct Start {
        header: Bytes as Counted,
        tag: Tag as Raw,
    }
}

/// Bytes with a length of two bytes, or of one in the versions before the KEM; read in either.
pub(super) enum Counted {}

impl Codec<Bytes> for Counted {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Bytes> {
        if input.first().is_some_and(|first| *first < SHORTEST) {
            Large::parse(source, input).map(|(input, bytes)| (input, bytes.into_bytes()))
        } else {
            Short::parse(source, input).map(|(input, bytes)| (input, bytes.into_bytes()))
        }
    }

    fn put(bytes: &Bytes, version: Version, out: &mut BytesMut) {
        match u8::try_from(bytes.len()) {
            Ok(length) if version < KEM && length >= SHORTEST => out.put_u8(length),
            Ok(_) | Err(_) => out.put_u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX)),
        }
        out.put_slice(bytes);
    }
}

/// The 16 bytes of a tag.
enum Raw {}

impl Codec<Tag> for Raw {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Tag> {
        Wire::parse(source, input).map(|(input, bytes)| (input, Tag::from_bytes(bytes)))
    }

    fn put(tag: &Tag, _: Version, out: &mut BytesMut) {
        out.put_slice(tag.as_bytes());
    }
}

#[cfg(any(test, feature = "sim"))]
mod sample {
    use super::*;
    use crate::rng::Rng;
    use crate::wire::SampleCodec;

    /// As long as a header can be.
    impl SampleCodec<Bytes> for Counted {
        fn sample(_: Version, rng: &mut Rng) -> Bytes {
            let length = rng.below(200).saturating_add(SHORTEST.into());
            let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
            rng.fill(&mut bytes);
            bytes.into()
        }
    }

    impl SampleCodec<Tag> for Raw {
        fn sample(_: Version, rng: &mut Rng) -> Tag {
            Tag::from_bytes(rng.bytes())
        }
    }
}
