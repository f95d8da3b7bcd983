//! The state of a ratchet, and how it is stored.

use std::fmt;

use bytes::{BufMut as _, BytesMut};
use zeroize::{Zeroize as _, Zeroizing};

use super::skipped::{MessageKey, SkippedId, SkippedKey};
use super::{OfferedKeys, Pq};
use crate::crypto::{Secret, hash, kem, x448};
use crate::wire;
use crate::wire::{Codec, Parsed, Short, Source, Version, Wire, WireError};

/// The version in which state is stored now. There is no older one.
pub const FORMAT: Version = Version(1);

/// One party's end of a ratchet: a value, of which every step makes a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ratchet {
    /// What messages are written in.
    pub(super) version: Version,
    /// The best version that this party has said it supports.
    pub(super) max_version: Version,
    pub(super) parties: AssociatedData,
    pub(super) own: RatchetKey,
    /// What the peer may encapsulate for.
    pub(super) kem: Option<kem::PrivateKey>,
    /// Whether headers have room for KEM parameters: never turned off.
    pub(super) support: Pq,
    /// Whether KEM parameters are to be answered, or proposed.
    pub(super) enabled: Pq,
    pub(super) root: Secret<32>,
    /// None in an initiator that has received nothing.
    pub(super) sending: Option<SendingChain>,
    /// None until the first message is received.
    pub(super) receiving: Option<ReceivingChain>,
    /// How many messages were sent in the sending chain: Ns.
    pub(super) sent: u32,
    /// How many messages have come in the receiving chain, with those that were skipped: Nr.
    pub(super) received: u32,
    /// How many messages were sent in the previous sending chain: PN.
    pub(super) previous: u32,
    pub(super) next_sending: Secret<32>,
    pub(super) next_receiving: Secret<32>,
}

/// The pair of the current ratchet key. Every header has its public half, which takes as long to compute as a whole agreement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RatchetKey {
    pub(super) private: x448::PrivateKey,
    pub(super) public: x448::PublicKey,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SendingChain {
    pub(super) chain: Secret<32>,
    pub(super) header_key: Secret<32>,
    /// What takes the secret that the chain was derived with to the peer: in the headers until the peer answers.
    pub(super) ciphertext: Option<kem::Ciphertext>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReceivingChain {
    pub(super) chain: Secret<32>,
    pub(super) header_key: Secret<32>,
    /// Whether a post-quantum secret had a part in it.
    pub(super) pq: Pq,
}

/// Who the parties are, by their first keys: authenticated with every message.
#[derive(Clone, PartialEq, Eq)]
pub struct AssociatedData([u8; 112]);

impl AssociatedData {
    pub(super) fn new(joiner: &x448::PublicKey, initiator: &x448::PublicKey) -> Self {
        let mut bytes = [0; 112];
        let keys = joiner.as_bytes().iter().chain(initiator.as_bytes());
        for (to, from) in bytes.iter_mut().zip(keys) {
            *to = *from;
        }
        Self(bytes)
    }

    /// The joiner's first key, then the initiator's.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 112] {
        &self.0
    }

    /// What the parties can compare by other means, to be sure that nobody is between them.
    #[must_use]
    pub fn security_code(&self) -> [u8; 32] {
        hash::sha256(&self.0)
    }
}

impl fmt::Debug for AssociatedData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = &mut self.0.iter();
        bytes.try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<[u8; 112]> for AssociatedData {
    fn from(bytes: [u8; 112]) -> Self {
        Self(bytes)
    }
}

impl From<x448::PrivateKey> for RatchetKey {
    fn from(private: x448::PrivateKey) -> Self {
        let public = private.public_key();
        Self { private, public }
    }
}

impl Ratchet {
    /// The version in which messages are written.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Who the parties are.
    #[must_use]
    pub const fn associated_data(&self) -> &AssociatedData {
        &self.parties
    }

    /// Whether a message can be sent: an initiator has to receive one first.
    #[must_use]
    pub const fn can_send(&self) -> bool {
        self.sending.is_some()
    }

    /// Whether headers have room for KEM parameters, which makes messages larger.
    #[must_use]
    pub const fn support(&self) -> Pq {
        self.support
    }

    /// Whether post-quantum keys are wanted here.
    #[must_use]
    pub const fn enabled(&self) -> Pq {
        self.enabled
    }

    /// Whether what is sent now is encrypted with a post-quantum secret, too.
    #[must_use]
    pub fn sends_pq(&self) -> Pq {
        let chain = self.sending.as_ref();
        chain.is_some_and(|chain| chain.ciphertext.is_some()).into()
    }

    /// Whether what was received last was encrypted with a post-quantum secret, too.
    #[must_use]
    pub fn receives_pq(&self) -> Pq {
        self.receiving.as_ref().map_or(Pq::Off, |chain| chain.pq)
    }
}

wire! {
    impl Ratchet {
        version: Version,
        max_version: Version,
        parties: AssociatedData,
        own: RatchetKey,
        kem: Option<kem::PrivateKey> as Stored,
        support: Pq,
        enabled: Pq,
        root: Secret<32> as Stored,
        sending: Option<SendingChain>,
        receiving: Option<ReceivingChain>,
        sent: u32,
        received: u32,
        previous: u32,
        next_sending: Secret<32> as Stored,
        next_receiving: Secret<32> as Stored,
    }
}

wire! {
    impl RatchetKey {
        private: x448::PrivateKey as Stored,
        public: x448::PublicKey,
    }
}

wire! {
    impl SendingChain {
        chain: Secret<32> as Stored,
        header_key: Secret<32> as Stored,
        ciphertext: Option<kem::Ciphertext>,
    }
}

wire! {
    impl ReceivingChain {
        chain: Secret<32> as Stored,
        header_key: Secret<32> as Stored,
        pq: Pq,
    }
}

wire! {
    impl OfferedKeys {
        key1: x448::PrivateKey as Stored,
        key2: x448::PrivateKey as Stored,
        kem: Option<kem::PrivateKey> as Stored,
    }
}

wire! {
    impl SkippedKey {
        id: SkippedId,
        key: MessageKey,
        pq: Pq,
    }
}

wire! {
    impl SkippedId {
        header_key: Secret<32> as Stored,
        number: u32,
    }
}

impl Wire for MessageKey {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, (key, iv)) = <(Short, Short)>::parse(source, input)?;
        match (Secret::try_from(&**key), Secret::try_from(&**iv)) {
            (Ok(key), Ok(iv)) => Ok((input, Self { key, iv })),
            (Err(_), _) | (_, Err(_)) => WireError::Invalid("message key").fail(),
        }
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        out.put_u8(32);
        Stored::put(&self.key, version, out);
        out.put_u8(16);
        Stored::put(&self.iv, version, out);
    }
}

impl Wire for AssociatedData {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, bytes) = Short::parse(source, input)?;
        match (**bytes).try_into() {
            Ok(bytes) => Ok((input, Self(bytes))),
            Err(_) => WireError::Invalid("associated data").fail(),
        }
    }

    fn put(&self, _: Version, out: &mut BytesMut) {
        out.put_u8(112);
        out.put_slice(&self.0);
    }
}

/// Secret bytes as they are.
pub(super) enum Stored {}

impl<const N: usize> Codec<Secret<N>> for Stored {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Secret<N>> {
        <[u8; N]>::parse(source, input).map(|(input, bytes)| (input, bytes.into()))
    }

    fn put(secret: &Secret<N>, _: Version, out: &mut BytesMut) {
        out.put_slice(secret.as_bytes());
    }
}

impl Codec<x448::PrivateKey> for Stored {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, x448::PrivateKey> {
        let (input, bytes) = <[u8; 56]>::parse(source, input)?;
        Ok((input, x448::PrivateKey::from_bytes(bytes)))
    }

    fn put(key: &x448::PrivateKey, _: Version, out: &mut BytesMut) {
        out.put_slice(key.as_bytes());
    }
}

impl Codec<Option<kem::PrivateKey>> for Stored {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Option<kem::PrivateKey>> {
        let (input, bytes) = <Option<[u8; kem::PrivateKey::LENGTH]>>::parse(source, input)?;
        let key = bytes.map(|bytes| kem::PrivateKey::from_bytes(&bytes));
        match key.transpose() {
            Ok(key) => Ok((input, key)),
            Err(_) => WireError::Invalid("KEM key").fail(),
        }
    }

    fn put(key: &Option<kem::PrivateKey>, _: Version, out: &mut BytesMut) {
        match key {
            None => out.put_u8(b'0'),
            Some(key) => {
                out.put_u8(b'1');
                out.put_slice(key.as_bytes());
            }
        }
    }
}

/// Stored forms begin with the version of the format.
macro_rules! stored {
    ($($type:ty),+) => { $(
        impl $type {
            /// The stored form, which is as secret as the value is.
            #[must_use]
            pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
                to_bytes(self)
            }

            /// The value of a stored form.
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
                from_bytes(bytes)
            }
        }
    )+ };
}

stored!(Ratchet, OfferedKeys, SkippedKey);

/// More than any value takes, so that no part is left behind where the buffer grows.
const ROOM: usize = 8192;

fn to_bytes<T: Wire>(value: &T) -> Zeroizing<Vec<u8>> {
    let mut out = BytesMut::with_capacity(ROOM);
    FORMAT.put(FORMAT, &mut out);
    value.put(FORMAT, &mut out);
    let bytes = Zeroizing::new(out.to_vec());
    out.zeroize();
    bytes
}

fn from_bytes<T: Wire>(bytes: &[u8]) -> Result<T, WireError> {
    match bytes.split_first_chunk() {
        Some((version, value)) if Version(u16::from_be_bytes(*version)) == FORMAT => {
            wire::decode_slice(FORMAT, value)
        }
        Some(_) => Err(WireError::Invalid("format")),
        None => Err(WireError::Incomplete),
    }
}

#[cfg(any(test, feature = "sim"))]
mod sample {
    use super::*;
    use crate::rng::Rng;
    use crate::wire::{Sample, SampleCodec};

    impl<const N: usize> SampleCodec<Secret<N>> for Stored {
        fn sample(_: Version, rng: &mut Rng) -> Secret<N> {
            Secret::generate(rng)
        }
    }

    impl SampleCodec<x448::PrivateKey> for Stored {
        fn sample(_: Version, rng: &mut Rng) -> x448::PrivateKey {
            x448::PrivateKey::generate(rng)
        }
    }

    impl SampleCodec<Option<kem::PrivateKey>> for Stored {
        fn sample(version: Version, rng: &mut Rng) -> Option<kem::PrivateKey> {
            bool::sample(version, rng).then(|| kem::PrivateKey::generate(rng))
        }
    }

    impl Sample for MessageKey {
        fn sample(_: Version, rng: &mut Rng) -> Self {
            let (key, iv) = (Secret::generate(rng), Secret::generate(rng));
            Self { key, iv }
        }
    }

    impl Sample for AssociatedData {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            let [joiner, initiator] = [(); 2].map(|()| Sample::sample(version, rng));
            Self::new(&joiner, &initiator)
        }
    }
}
