//! The bytes of the protocols: primitive encodings, and [`wire!`](crate::wire!), the one way to declare a type made of them.
//!
//! A wire format is written once, as a declaration from which the parser, the encoder and a generator of samples follow, so that they
//! cannot drift apart. Fields may be absent from, or encoded in another way in, some versions of a protocol.
//!
//! ```
//! use simplex_sans_io::wire::{self, Large, Short, Version};
//!
//! simplex_sans_io::wire! {
//!     /// Parameters of a made-up command.
//!     pub struct Parameters {
//!         /// In all versions.
//!         pub name: Short,
//!         /// Since version 3.
//!         pub data: Option<Large> { 3.. => Plain },
//!     }
//! }
//!
//! let parameters = Parameters { name: b"abc".try_into()?, data: None };
//! let encoded = wire::encode(&parameters, Version(3));
//! assert_eq!(encoded, b"\x03abc0".as_slice());
//! assert_eq!(wire::decode::<Parameters>(Version(3), &encoded)?, parameters);
//! assert!(wire::decode::<Parameters>(Version(2), &encoded).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod bytes;
mod declare;
mod host;
pub mod padding;
mod primitive;
mod public;
mod sequence;
#[doc(hidden)]
pub mod tag;
pub mod text;
pub mod utc;
mod version;

pub(crate) use self::address::split_port;
pub use self::address::{
    AddressError, BasicAuth, KeyHash, Scheme, ServerAddress, SmpScheme, XftpScheme,
};
pub use self::bytes::{CorrId, EntityId, Id, Large, Short, Tail};
pub use self::host::{HostError, TransportHost};
pub use self::primitive::Text;
pub use self::public::is_public;
pub use self::sequence::{List, NonEmpty, TooMany};
pub use self::version::{Version, VersionRange};

use ::bytes::{Bytes, BytesMut};

/// The rest of the input, and what was parsed before it.
pub type Parsed<'a, T> = nom::IResult<&'a [u8], T, WireError>;

/// A value that has an encoding on the wire.
///
/// Values that have none cannot be built, so encoding never fails.
pub trait Wire: Sized {
    /// Parses a value from the front of `input`.
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self>;

    /// Appends the encoding that a version of the protocol uses.
    fn put(&self, version: Version, out: &mut BytesMut);
}

/// An encoding of `T` that is not its own: another protocol version's, or one that depends on the position.
pub trait Codec<T> {
    /// Parses a value from the front of `input`.
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, T>;

    /// Appends the encoding of `value`.
    fn put(value: &T, version: Version, out: &mut BytesMut);
}

/// The encoding that a type itself has.
#[derive(Debug)]
pub enum Plain {}

impl<T: Wire> Codec<T> for Plain {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, T> {
        T::parse(source, input)
    }

    fn put(value: &T, version: Version, out: &mut BytesMut) {
        value.put(version, out);
    }
}

/// A value that tests, fuzzers and simulations can draw at random.
#[cfg(any(test, feature = "sim"))]
pub trait Sample: Sized {
    /// A random value that the given version of the protocol can carry unchanged.
    fn sample(version: Version, rng: &mut crate::rng::Rng) -> Self;
}

/// A field whose values a [`Codec`] carries unchanged.
#[cfg(any(test, feature = "sim"))]
pub trait SampleCodec<T>: Codec<T> {
    /// A random value that the given version of the protocol can carry unchanged.
    fn sample(version: Version, rng: &mut crate::rng::Rng) -> T;
}

#[cfg(any(test, feature = "sim"))]
impl<T: Wire + Sample> SampleCodec<T> for Plain {
    fn sample(version: Version, rng: &mut crate::rng::Rng) -> T {
        T::sample(version, rng)
    }
}

/// Where the bytes that are being parsed come from, and what their sender and receiver have agreed on.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    version: Version,
    block: Option<&'a Bytes>,
}

impl<'a> Source<'a> {
    /// Bytes inside a block: long parts of it are shared, not copied.
    #[must_use]
    pub const fn block(version: Version, block: &'a Bytes) -> Self {
        Self {
            version,
            block: Some(block),
        }
    }

    /// Bytes that live elsewhere: what is kept is copied.
    #[must_use]
    pub const fn borrowed(version: Version) -> Self {
        Self {
            version,
            block: None,
        }
    }

    /// The same bytes, in a version that was read from them.
    #[must_use]
    pub const fn with_version(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// The version of the protocol.
    #[must_use]
    pub const fn version(self) -> Version {
        self.version
    }

    /// A part of the input as a value of its own, shared with the block if it lies inside it.
    #[must_use]
    pub fn bytes(self, part: &[u8]) -> Bytes {
        self.shared(part)
            .unwrap_or_else(|| Bytes::copy_from_slice(part))
    }

    fn shared(self, part: &[u8]) -> Option<Bytes> {
        let block = self.block?;
        let start = part.as_ptr().addr().checked_sub(block.as_ptr().addr())?;
        let end = start.checked_add(part.len())?;
        (end <= block.len()).then(|| block.slice(start..end))
    }
}

/// Why bytes are not what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The input ends too early.
    #[error("the input ends too early")]
    Incomplete,
    /// A command or message that does not exist.
    #[error("unknown tag")]
    UnknownTag,
    /// A value that does not exist.
    #[error("invalid {0}")]
    Invalid(&'static str),
    /// Something follows the value.
    #[error("unexpected bytes after the value")]
    Trailing,
}

impl WireError {
    /// A parse failure at this point.
    pub fn fail<'a, T>(self) -> Parsed<'a, T> {
        Err(nom::Err::Error(self))
    }

    /// The same error among the parameters of a known tag, where every fault is one of syntax.
    #[must_use]
    pub(crate) fn within(error: nom::Err<Self>) -> nom::Err<Self> {
        error.map(|error| match error {
            Self::UnknownTag => Self::Invalid("parameter"),
            Self::Incomplete | Self::Invalid(_) | Self::Trailing => error,
        })
    }
}

impl nom::error::ParseError<&[u8]> for WireError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the parsers of the library name fifty kinds of one failure"
    )]
    fn from_error_kind(_: &[u8], kind: nom::error::ErrorKind) -> Self {
        match kind {
            nom::error::ErrorKind::Eof => Self::Incomplete,
            _ => Self::Invalid("value"),
        }
    }

    fn append(_: &[u8], _: nom::error::ErrorKind, other: Self) -> Self {
        other
    }
}

/// Parses a complete value; long parts of it are shared with `input`.
pub fn decode<T: Wire>(version: Version, input: &Bytes) -> Result<T, WireError> {
    complete(T::parse(Source::block(version, input), input))
}

/// Parses a complete value from borrowed bytes, copying what is kept.
pub fn decode_slice<T: Wire>(version: Version, input: &[u8]) -> Result<T, WireError> {
    complete(T::parse(Source::borrowed(version), input))
}

/// Parses a value at the front of `input` and ignores what follows.
pub fn decode_prefix<T: Wire>(version: Version, input: &Bytes) -> Result<T, WireError> {
    first(T::parse(Source::block(version, input), input)).map(|(_, value)| value)
}

/// The encoding of a value.
#[must_use]
pub fn encode<T: Wire>(value: &T, version: Version) -> Bytes {
    let mut out = BytesMut::new();
    value.put(version, &mut out);
    out.freeze()
}

fn complete<T>(parsed: Parsed<'_, T>) -> Result<T, WireError> {
    match first(parsed)? {
        ([], value) => Ok(value),
        _ => Err(WireError::Trailing),
    }
}

fn first<T>(parsed: Parsed<'_, T>) -> Result<(&[u8], T), WireError> {
    parsed.map_err(|error| match error {
        nom::Err::Error(error) | nom::Err::Failure(error) => error,
        nom::Err::Incomplete(_) => WireError::Incomplete,
    })
}
