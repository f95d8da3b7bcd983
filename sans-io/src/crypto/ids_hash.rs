//! The hash by which two parties compare their sets of queues without sending them.

use std::fmt;

use md5::{Digest as _, Md5};

/// The XOR of the MD5 of every id in a set: order does not matter, and ids come and go in constant time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct IdsHash([u8; 16]);

impl IdsHash {
    /// The hash of no ids.
    pub const EMPTY: Self = Self([0; 16]);

    /// The hash of a set of ids.
    pub fn of<Id: AsRef<[u8]>>(ids: impl IntoIterator<Item = Id>) -> Self {
        ids.into_iter().fold(Self::EMPTY, |hash, id| {
            hash.combine(Self::of_one(id.as_ref()))
        })
    }

    /// The hash that travelled or was stored.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes that travel.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Adds an id that is not in the set.
    pub fn add(&mut self, id: &[u8]) {
        *self = self.combine(Self::of_one(id));
    }

    /// Removes an id that is in the set.
    pub fn remove(&mut self, id: &[u8]) {
        *self = self.combine(Self::of_one(id));
    }

    /// The hash of the union of two sets that share no id.
    #[must_use]
    pub fn combine(self, other: Self) -> Self {
        Self((u128::from_ne_bytes(self.0) ^ u128::from_ne_bytes(other.0)).to_ne_bytes())
    }

    fn of_one(id: &[u8]) -> Self {
        Self(Md5::digest(id).into())
    }
}

impl fmt::Debug for IdsHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::algorithm::write_hex(f, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_come_and_go_in_any_order(
            ids in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..20),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut hash = IdsHash::of(&ids);
            prop_assert_eq!(hash, IdsHash::of(ids.iter().rev()));
            let (kept, removed) = ids.split_at(if ids.is_empty() { 0 } else { cut.index(ids.len()) });
            for id in removed {
                hash.remove(id);
            }
            prop_assert_eq!(hash, IdsHash::of(kept));
            prop_assert_eq!(hash.combine(IdsHash::of(removed)), IdsHash::of(&ids));
        }
    }
}
