//! Whether post-quantum keys are wanted, and from when on.

use std::fmt;
use std::str::FromStr;

use bytes::BytesMut;

use crate::wire::text::TextError;
use crate::wire::{Parsed, Source, Version, Wire};

/// Post-quantum keys beside those of X448: without, or with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Pq {
    /// X448 only.
    #[default]
    Off,
    /// X448 and sntrup761.
    On,
}

/// From when on an initiator wants post-quantum keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InitialKeys {
    /// In the invitation already, whatever its size.
    Invitation,
    /// In the invitation if it is a short link's data, whose size does not matter; later otherwise.
    Later,
    /// Never.
    Never,
}

impl Pq {
    /// Whether it is [`On`](Self::On).
    #[must_use]
    pub const fn is_on(self) -> bool {
        matches!(self, Self::On)
    }
}

impl From<bool> for Pq {
    fn from(on: bool) -> Self {
        if on { Self::On } else { Self::Off }
    }
}

impl std::ops::BitOr for Pq {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.max(other)
    }
}

impl InitialKeys {
    /// Whether an invitation that is itself the link proposes a key.
    #[must_use]
    pub const fn in_full_link(self) -> Pq {
        match self {
            Self::Invitation => Pq::On,
            Self::Later | Self::Never => Pq::Off,
        }
    }

    /// Whether an invitation in the data of a short link proposes a key.
    #[must_use]
    pub const fn in_short_link(self) -> Pq {
        self.support()
    }

    /// Whether the connection supports post-quantum keys.
    #[must_use]
    pub const fn support(self) -> Pq {
        match self {
            Self::Invitation | Self::Later => Pq::On,
            Self::Never => Pq::Off,
        }
    }
}

impl fmt::Display for Pq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "pq=disable",
            Self::On => "pq=enable",
        })
    }
}

impl FromStr for Pq {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        match text {
            "pq=disable" => Ok(Self::Off),
            "pq=enable" => Ok(Self::On),
            _ => Err(TextError::Invalid("PQ encryption")),
        }
    }
}

impl fmt::Display for InitialKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invitation => f.write_str("pq=invitation"),
            Self::Later | Self::Never => self.support().fmt(f),
        }
    }
}

impl FromStr for InitialKeys {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        if text == "pq=invitation" {
            return Ok(Self::Invitation);
        }
        Ok(match text.parse()? {
            Pq::On => Self::Later,
            Pq::Off => Self::Never,
        })
    }
}

impl Wire for Pq {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        bool::parse(source, input).map(|(input, on)| (input, on.into()))
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        self.is_on().put(version, out);
    }
}

#[cfg(any(test, feature = "sim"))]
impl crate::wire::Sample for Pq {
    fn sample(version: Version, rng: &mut crate::rng::Rng) -> Self {
        bool::sample(version, rng).into()
    }
}
