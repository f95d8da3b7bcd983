//! The keys of messages that were overtaken by others.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf as _, BytesMut};

use super::header::EncryptedMessage;
use super::{AssociatedData, DecryptError, Pq};
use crate::crypto::{Secret, Tag, aes_gcm};
use crate::wire::{WireError, padding};

/// What encrypts the body of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageKey {
    pub(super) key: Secret<32>,
    pub(super) iv: Secret<16>,
}

/// The key of a message that was skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedKey {
    /// The message.
    pub id: SkippedId,
    /// The key of its body.
    pub key: MessageKey,
    /// Whether the key comes from a chain that a post-quantum secret had a part in.
    pub pq: Pq,
}

/// A message that was skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedId {
    /// The key that opens the headers of its chain.
    pub header_key: Secret<32>,
    /// Its number in the chain.
    pub number: u32,
}

/// What decrypting a message does to the skipped keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SkippedChange {
    /// A message was skipped: its key is kept, as the newest.
    Added(SkippedKey),
    /// The key was used, or is so old that it has to make room: it is deleted.
    Removed(SkippedId),
}

/// The keys of all skipped messages of one ratchet, in the order in which they were skipped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SkippedKeys {
    /// The oldest first. None is empty.
    chains: VecDeque<SkippedChain>,
    count: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct SkippedChain {
    header_key: Secret<32>,
    /// Later messages of a chain are skipped later.
    keys: BTreeMap<u32, (MessageKey, Pq)>,
}

impl MessageKey {
    /// Encrypts a body in place.
    pub(super) fn encrypt(&self, parties: &AssociatedData, header: &[u8], body: &mut [u8]) -> Tag {
        let associated = associated(parties, header);
        aes_gcm::encrypt(&self.key, self.iv.as_bytes(), &associated, body)
    }

    /// Decrypts the body of a message in place.
    pub(super) fn decrypt(
        &self,
        parties: &AssociatedData,
        message: EncryptedMessage,
    ) -> Result<BytesMut, DecryptError> {
        let EncryptedMessage {
            header,
            tag,
            mut body,
        } = message;
        let associated = associated(parties, &header);
        aes_gcm::decrypt(&self.key, self.iv.as_bytes(), &associated, &mut body, &tag)
            .map_err(|_| DecryptError::Body)?;
        let invalid = |_| DecryptError::Malformed(WireError::Invalid("padding"));
        let length = padding::unpad(&body).map_err(invalid)?.len();
        body.advance(padding::LENGTH);
        body.truncate(length);
        Ok(body)
    }
}

fn associated(parties: &AssociatedData, header: &[u8]) -> Vec<u8> {
    [parties.as_bytes(), header].concat()
}

impl SkippedKeys {
    /// The most keys that are kept of one ratchet: those of the two largest gaps that a message can tell of, twice.
    ///
    /// Where there are more the oldest are dropped, not the newest refused: a message may be lost for ever, and a ratchet must survive
    /// any number of those.
    pub const MAX: usize = 2048;

    /// No keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many keys there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The keys, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = SkippedKey> + '_ {
        self.chains.iter().flat_map(|chain| {
            chain.keys.iter().map(|(number, (key, pq))| SkippedKey {
                id: chain.id(*number),
                key: key.clone(),
                pq: *pq,
            })
        })
    }

    /// The changes, as they were committed.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = SkippedChange>) {
        for change in changes {
            match change {
                SkippedChange::Added(key) => self.add(key),
                SkippedChange::Removed(id) => self.remove(&id),
            }
        }
    }

    /// The keys that open the headers of chains, the newest first.
    pub(super) fn header_keys(&self) -> impl Iterator<Item = &Secret<32>> {
        self.chains.iter().rev().map(|chain| &chain.header_key)
    }

    pub(super) fn find(&self, id: &SkippedId) -> Option<(&MessageKey, Pq)> {
        let chain = self.chain(&id.header_key)?;
        chain.keys.get(&id.number).map(|(key, pq)| (key, *pq))
    }

    /// What adding these does: the oldest make room.
    pub(super) fn adding(&self, added: Vec<SkippedKey>) -> Vec<SkippedChange> {
        let total = self.count.saturating_add(added.len());
        let oldest = self.iter().map(|key| key.id);
        let dropped = oldest.take(total.saturating_sub(Self::MAX));
        dropped
            .map(SkippedChange::Removed)
            .chain(added.into_iter().map(SkippedChange::Added))
            .collect()
    }

    fn add(&mut self, SkippedKey { id, key, pq }: SkippedKey) {
        let SkippedId { header_key, number } = id;
        let place = self.chains.iter().rposition(|c| c.header_key == header_key);
        if let Some(chain) = place.and_then(|place| self.chains.get_mut(place)) {
            let replaced = chain.keys.insert(number, (key, pq));
            self.count = self.count.saturating_add(usize::from(replaced.is_none()));
        } else {
            let keys = BTreeMap::from([(number, (key, pq))]);
            self.chains.push_back(SkippedChain { header_key, keys });
            self.count = self.count.saturating_add(1);
        }
    }

    fn remove(&mut self, id: &SkippedId) {
        let place = self
            .chains
            .iter()
            .position(|chain| chain.header_key == id.header_key);
        let Some((place, chain)) =
            place.and_then(|place| Some((place, self.chains.get_mut(place)?)))
        else {
            return;
        };
        let removed = chain.keys.remove(&id.number);
        self.count = self.count.saturating_sub(usize::from(removed.is_some()));
        if chain.keys.is_empty() {
            self.chains.remove(place);
        }
    }

    fn chain(&self, header_key: &Secret<32>) -> Option<&SkippedChain> {
        self.chains
            .iter()
            .rfind(|chain| chain.header_key == *header_key)
    }
}

impl SkippedChain {
    fn id(&self, number: u32) -> SkippedId {
        SkippedId {
            header_key: self.header_key.clone(),
            number,
        }
    }
}

/// The keys that were kept, in the order in which they were added.
impl FromIterator<SkippedKey> for SkippedKeys {
    fn from_iter<I: IntoIterator<Item = SkippedKey>>(keys: I) -> Self {
        let mut all = Self::new();
        for key in keys {
            let changes = all.adding(vec![key]);
            all.apply(changes);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::wire::{Sample as _, Version};

    fn id(chain: u8, number: u32) -> SkippedId {
        let header_key = Secret::from_bytes([chain; 32]);
        SkippedId { header_key, number }
    }

    fn key(chain: u8, number: u32) -> SkippedKey {
        SkippedKey {
            id: id(chain, number),
            key: MessageKey::sample(Version(0), &mut Rng::from_seed([chain; 32])),
            pq: Pq::Off,
        }
    }

    #[test]
    fn the_oldest_chain_makes_room_first_whatever_its_key() {
        let old = (0..1000).map(|number| key(9, number));
        let new = (0..1048).map(|number| key(1, number));
        let mut keys: SkippedKeys = old.chain(new).collect();
        assert_eq!(keys.len(), SkippedKeys::MAX);

        let changes = keys.adding(vec![key(5, 0), key(5, 1)]);
        let removed = [0, 1].map(|number| SkippedChange::Removed(id(9, number)));
        assert_eq!(changes[..2], removed);
        keys.apply(changes);
        assert_eq!(keys.len(), SkippedKeys::MAX);
        assert!(keys.find(&id(9, 1)).is_none() && keys.find(&id(9, 2)).is_some());
        assert!(keys.find(&id(1, 0)).is_some() && keys.find(&id(5, 1)).is_some());
        let newest = keys.header_keys().next();
        assert_eq!(newest, Some(&id(5, 0).header_key));
    }

    #[test]
    fn a_chain_without_keys_is_gone() {
        let mut keys: SkippedKeys = [key(1, 7), key(2, 7)].into_iter().collect();
        keys.apply([1, 1, 3].map(|chain| SkippedChange::Removed(id(chain, 7))));
        assert_eq!((keys.len(), keys.header_keys().count()), (1, 1));
        keys.apply([SkippedChange::Added(key(2, 7))]);
        assert_eq!(keys.len(), 1);
        assert_eq!(keys, [key(2, 7)].into_iter().collect());
    }
}
