//! Protocol versions and their negotiation.

use std::fmt;
use std::str::FromStr;

use bytes::BytesMut;

use super::text::{self, TextError};
use super::{Parsed, Source, Wire, WireError};

/// A version of a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u16);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Wire for Version {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        u16::parse(source, input).map(|(input, version)| (input, Self(version)))
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        self.0.put(version, out);
    }
}

/// The versions that somebody supports: not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VersionRange {
    min: Version,
    max: Version,
}

impl VersionRange {
    /// The versions from `min` to `max`, both included; none if there are none.
    #[must_use]
    pub const fn new(min: u16, max: u16) -> Option<Self> {
        if min > max {
            return None;
        }
        Some(Self {
            min: Version(min),
            max: Version(max),
        })
    }

    /// One version only.
    #[must_use]
    pub const fn only(version: Version) -> Self {
        Self {
            min: version,
            max: version,
        }
    }

    /// The lowest version.
    #[must_use]
    pub const fn min(self) -> Version {
        self.min
    }

    /// The highest version.
    #[must_use]
    pub const fn max(self) -> Version {
        self.max
    }

    /// Whether the version is supported.
    #[must_use]
    pub fn contains(self, version: Version) -> bool {
        self.min <= version && version <= self.max
    }

    /// The versions that both support.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        let (min, max) = (self.min.max(other.min), self.max.min(other.max));
        (min <= max).then_some(Self { min, max })
    }

    /// The best version that both support.
    #[must_use]
    pub fn agreed(self, other: Self) -> Option<Version> {
        self.intersection(other).map(Self::max)
    }

    /// The supported versions up to `version`, if `version` itself is supported or above.
    #[must_use]
    pub fn capped(self, version: Version) -> Option<Self> {
        self.contains(version).then_some(Self {
            min: self.min,
            max: version,
        })
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            self.min.fmt(f)
        } else {
            write!(f, "{}-{}", self.min, self.max)
        }
    }
}

impl FromStr for VersionRange {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let (min, max) = text.split_once('-').unwrap_or((text, text));
        Self::new(text::parse_u16(min)?, text::parse_u16(max)?)
            .ok_or(TextError::Invalid("version range"))
    }
}

impl Wire for VersionRange {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, (min, max)) = <(u16, u16)>::parse(source, input)?;
        match Self::new(min, max) {
            Some(range) => Ok((input, range)),
            None => WireError::Invalid("version range").fail(),
        }
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        self.min.put(version, out);
        self.max.put(version, out);
    }
}

#[cfg(any(test, feature = "sim"))]
mod sample {
    use super::super::Sample;
    use super::{Version, VersionRange};
    use crate::rng::Rng;

    impl Sample for Version {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            Self(u16::sample(version, rng))
        }
    }

    impl Sample for VersionRange {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            let (a, b) = <(Version, Version)>::sample(version, rng);
            Self {
                min: a.min(b),
                max: a.max(b),
            }
        }
    }
}
