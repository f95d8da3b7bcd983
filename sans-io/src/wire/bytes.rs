//! Byte strings by the width of their length: [`Short`], [`Large`], [`Tail`]; and the ids of the protocols.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use bytes::{BufMut, Bytes, BytesMut};

use super::sequence::TooMany;
use super::tag::take;
use super::{Codec, Parsed, Source, Version, Wire};

macro_rules! counted {
    ($(#[$meta:meta])* $Name:ident, $length:ty, $put:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $Name(Bytes);

        impl $Name {
            /// The most bytes that the length can express.
            #[expect(clippy::as_conversions, reason = "a constant of a smaller type")]
            pub const MAX: usize = <$length>::MAX as usize;

            /// The bytes.
            #[must_use]
            pub fn into_bytes(self) -> Bytes {
                self.0
            }
        }

        impl Deref for $Name {
            type Target = Bytes;

            fn deref(&self) -> &Bytes {
                &self.0
            }
        }

        impl TryFrom<Bytes> for $Name {
            type Error = TooMany;

            fn try_from(bytes: Bytes) -> Result<Self, TooMany> {
                if bytes.len() > Self::MAX {
                    return Err(TooMany(bytes.len(), Self::MAX));
                }
                Ok(Self(bytes))
            }
        }

        impl TryFrom<&[u8]> for $Name {
            type Error = TooMany;

            fn try_from(bytes: &[u8]) -> Result<Self, TooMany> {
                Self::try_from(Bytes::copy_from_slice(bytes))
            }
        }

        impl<const N: usize> TryFrom<&[u8; N]> for $Name {
            type Error = TooMany;

            fn try_from(bytes: &[u8; N]) -> Result<Self, TooMany> {
                Self::try_from(bytes.as_slice())
            }
        }

        impl Wire for $Name {
            fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
                let (input, length) = <$length>::parse(source, input)?;
                let (input, bytes) = take(usize::from(length), input)?;
                Ok((input, Self(source.bytes(bytes))))
            }

            fn put(&self, _: Version, out: &mut BytesMut) {
                out.$put(<$length>::try_from(self.0.len()).unwrap_or(<$length>::MAX));
                out.put_slice(&self.0);
            }
        }

        #[cfg(any(test, feature = "sim"))]
        impl super::Sample for $Name {
            fn sample(_: Version, rng: &mut crate::rng::Rng) -> Self {
                let mut bytes = vec![0; usize::try_from(rng.below(40)).unwrap_or_default()];
                rng.fill(&mut bytes);
                Self(bytes.into())
            }
        }
    };
}

counted!(
    /// Up to 255 bytes, with a length of one byte.
    Short, u8, put_u8
);
counted!(
    /// Up to 65535 bytes, with a length of two bytes.
    Large, u16, put_u16
);

/// All that follows, without a length.
#[derive(Debug)]
pub enum Tail {}

impl Codec<Bytes> for Tail {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Bytes> {
        let (tail, rest) = input.split_at_checked(input.len()).unwrap_or((input, &[]));
        Ok((rest, source.bytes(tail)))
    }

    fn put(value: &Bytes, _: Version, out: &mut BytesMut) {
        out.put_slice(value);
    }
}

#[cfg(any(test, feature = "sim"))]
impl super::SampleCodec<Bytes> for Tail {
    fn sample(version: Version, rng: &mut crate::rng::Rng) -> Bytes {
        <Short as super::Sample>::sample(version, rng).0
    }
}

/// Up to 255 bytes that name something. The usual ones live without an allocation, and none keeps a block alive.
#[derive(Clone)]
pub struct Id(Repr);

#[derive(Clone)]
enum Repr {
    Inline { length: u8, bytes: [u8; Id::INLINE] },
    Long(Box<[u8]>),
}

impl Id {
    /// With its length and the mark of its form, 32 bytes.
    const INLINE: usize = 30;

    /// No id at all.
    pub const EMPTY: Self = Self(Repr::Inline {
        length: 0,
        bytes: [0; Self::INLINE],
    });

    fn of(bytes: &[u8]) -> Self {
        let mut inline = [0; Self::INLINE];
        match (inline.get_mut(..bytes.len()), u8::try_from(bytes.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(bytes);
                Self(Repr::Inline {
                    length,
                    bytes: inline,
                })
            }
            _ => Self(Repr::Long(bytes.into())),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or(bytes),
            Repr::Long(bytes) => bytes,
        }
    }
}

impl Deref for Id {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl TryFrom<&[u8]> for Id {
    type Error = TooMany;

    fn try_from(bytes: &[u8]) -> Result<Self, TooMany> {
        if bytes.len() > Short::MAX {
            return Err(TooMany(bytes.len(), Short::MAX));
        }
        Ok(Self::of(bytes))
    }
}

impl Default for Id {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Id {}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Id {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Wire for Id {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, length) = u8::parse(source, input)?;
        let (input, bytes) = take(usize::from(length), input)?;
        Ok((input, Self::of(bytes)))
    }

    fn put(&self, _: Version, out: &mut BytesMut) {
        let bytes = self.as_slice();
        out.put_u8(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
        out.put_slice(bytes);
    }
}

#[cfg(any(test, feature = "sim"))]
impl super::Sample for Id {
    fn sample(version: Version, rng: &mut crate::rng::Rng) -> Self {
        Self::of(&<Short as super::Sample>::sample(version, rng))
    }
}

macro_rules! ids {
    ($($(#[$meta:meta])* $Name:ident),*) => { $(
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $Name(Id);

        impl $Name {
            /// None at all.
            pub const EMPTY: Self = Self(Id::EMPTY);
        }

        impl Deref for $Name {
            type Target = [u8];

            fn deref(&self) -> &[u8] {
                &self.0
            }
        }

        impl From<Id> for $Name {
            fn from(id: Id) -> Self {
                Self(id)
            }
        }

        impl From<[u8; 24]> for $Name {
            fn from(bytes: [u8; 24]) -> Self {
                Self(Id::of(&bytes))
            }
        }

        impl TryFrom<&[u8]> for $Name {
            type Error = TooMany;

            fn try_from(bytes: &[u8]) -> Result<Self, TooMany> {
                Id::try_from(bytes).map(Self)
            }
        }

        impl fmt::Debug for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Wire for $Name {
            fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
                Id::parse(source, input).map(|(input, id)| (input, Self(id)))
            }

            fn put(&self, version: Version, out: &mut BytesMut) {
                self.0.put(version, out);
            }
        }

        #[cfg(any(test, feature = "sim"))]
        impl super::Sample for $Name {
            fn sample(version: Version, rng: &mut crate::rng::Rng) -> Self {
                Self(super::Sample::sample(version, rng))
            }
        }
    )* };
}

ids!(
    /// What a transmission is about: a queue in one of its roles, a link, a service, a session; or nothing.
    EntityId,
    /// What ties a response to its request, and the nonce of the request's authenticator; empty in what nobody asked for.
    CorrId
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{decode, encode};

    #[test]
    fn what_does_not_fit_its_length_is_refused() {
        assert!(Short::try_from([0; 255].as_slice()).is_ok());
        assert_eq!(Short::try_from([0; 256].as_slice()), Err(TooMany(256, 255)));
        assert!(Large::try_from(Bytes::from(vec![0; 65535])).is_ok());
        assert!(Large::try_from(Bytes::from(vec![0; 65536])).is_err());
        assert!(Id::try_from([0; 256].as_slice()).is_err());
    }

    #[test]
    fn long_parts_of_a_block_are_shared_and_ids_are_not() {
        let block = encode(&Large::try_from(&[7; 100]).unwrap(), Version(0));
        let large: Large = decode(Version(0), &block).unwrap();
        assert_eq!(large.as_ptr(), block[2..].as_ptr());
        let block = encode(&EntityId::from([7; 24]), Version(0));
        let id: EntityId = decode(Version(0), &block).unwrap();
        assert!(block.try_into_mut().is_ok());
        assert_eq!(&*id, [7; 24]);
    }

    #[test]
    fn ids_of_any_length_are_equal_by_their_bytes() {
        for length in [0, 1, 24, 31, 32, 33, 48, 255] {
            let id = Id::try_from(vec![1; length].as_slice()).unwrap();
            assert_eq!(
                decode::<Id>(Version(0), &encode(&id, Version(0))).unwrap(),
                id
            );
            assert_eq!(id.len(), length);
        }
    }
}
