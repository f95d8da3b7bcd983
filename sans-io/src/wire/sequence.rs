//! Lists with a count of one byte.

use std::ops::Deref;

use bytes::{BufMut, BytesMut};

use super::{Parsed, Source, Version, Wire, WireError};

/// A length or count that its encoding cannot express.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} are too many, at most {1} can be encoded")]
pub struct TooMany(pub usize, pub usize);

/// Up to 255 values.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct List<T>(Vec<T>);

impl<T> List<T> {
    /// The most values that the count can express.
    pub const MAX: usize = 255;

    /// The values.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }

    /// The values, to be changed in place.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.0.iter_mut()
    }

    /// Keeps only the values for which `keep` says so.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.0.retain(keep);
    }

    /// Adds a value after the others, if the count can express it.
    pub fn push(&mut self, value: T) -> Result<(), TooMany> {
        let count = self.0.len().saturating_add(1);
        if count > Self::MAX {
            return Err(TooMany(count, Self::MAX));
        }
        self.0.push(value);
        Ok(())
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> TryFrom<Vec<T>> for List<T> {
    type Error = TooMany;

    fn try_from(values: Vec<T>) -> Result<Self, TooMany> {
        if values.len() > Self::MAX {
            return Err(TooMany(values.len(), Self::MAX));
        }
        Ok(Self(values))
    }
}

impl<T: Wire> Wire for List<T> {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (mut input, count) = u8::parse(source, input)?;
        let mut values = Vec::new();
        for _ in 0..count {
            let (rest, value) = T::parse(source, input)?;
            values.push(value);
            input = rest;
        }
        Ok((input, Self(values)))
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        out.put_u8(u8::try_from(self.0.len()).unwrap_or(u8::MAX));
        for value in &self.0 {
            value.put(version, out);
        }
    }
}

/// One to 255 values.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NonEmpty<T>(List<T>);

impl<T> NonEmpty<T> {
    /// A single value.
    #[must_use]
    pub fn one(value: T) -> Self {
        Self(List(vec![value]))
    }

    /// The first value.
    #[must_use]
    #[expect(
        clippy::indexing_slicing,
        reason = "it cannot be built without a value"
    )]
    pub fn first(&self) -> &T {
        &self.0.0[0]
    }

    /// The values.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.0.0
    }
}

impl<T> Deref for NonEmpty<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> TryFrom<Vec<T>> for NonEmpty<T> {
    type Error = TooMany;

    fn try_from(values: Vec<T>) -> Result<Self, TooMany> {
        if values.is_empty() {
            return Err(TooMany(0, List::<T>::MAX));
        }
        List::try_from(values).map(Self)
    }
}

impl<T: Wire> Wire for NonEmpty<T> {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, list) = List::parse(source, input)?;
        if list.is_empty() {
            return WireError::Invalid("empty list").fail();
        }
        Ok((input, Self(list)))
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        self.0.put(version, out);
    }
}

#[cfg(any(test, feature = "sim"))]
mod sample {
    use super::super::Sample;
    use super::{List, NonEmpty, Version};
    use crate::rng::Rng;

    impl<T: Sample> Sample for List<T> {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            Self((0..rng.below(4)).map(|_| T::sample(version, rng)).collect())
        }
    }

    impl<T: Sample> Sample for NonEmpty<T> {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            let mut list = List::sample(version, rng);
            list.0.push(T::sample(version, rng));
            Self(list)
        }
    }
}
