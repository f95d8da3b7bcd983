//! What is in the data of a link.

use bytes::{BufMut, Bytes, BytesMut};

use super::{LinkError, LinkKey, encode};
use crate::crypto::ed25519;
use crate::wire;
use crate::wire::{
    Codec, Id, Large, List, Parsed, ServerAddress, Short, SmpScheme, Source, Tail, TooMany,
    Version, VersionRange, Wire,
};

wire! {
    /// What a link leads to.
    pub struct FixedData {
        /// The versions of the agent that made it.
        pub versions: VersionRange,
        /// The key that signs.
        pub root_key: ed25519::PublicKey,
        /// The connection request, and what follows it: the agent's to read.
        pub request: Bytes as Tail,
    }
}

impl FixedData {
    /// The key of the link to it.
    #[must_use]
    pub fn link_key(&self) -> LinkKey {
        LinkKey::of(&encode(self))
    }
}

wire! {
    prefixes
    /// What an owner may replace. Later versions may add to it.
    pub enum UserData {
        /// Of a link for one sender.
        "I" => Invitation(data: InvitationData),
        /// Of a link for many senders.
        "C" => Contact(data: ContactData),
    }
}

wire! {
    /// What an owner may replace in the data of an invitation.
    pub struct InvitationData {
        /// The versions of the agent that made it.
        pub versions: VersionRange,
        /// The application's.
        pub data: Large as ShortIfPossible,
    }
}

wire! {
    /// What an owner may replace in the data of a contact.
    pub struct ContactData {
        /// The versions of the agent that made it.
        pub versions: VersionRange,
        /// Whether the contact can be connected to directly, and not through the relays only.
        pub direct: bool,
        /// Who may sign besides the root key.
        pub owners: List<Owner>,
        /// The links of relays.
        pub relays: List<ContactShortLink>,
        /// The application's.
        pub data: Large as ShortIfPossible,
    }
}

wire! {
    /// A short link to a contact, in the data of another.
    pub struct ContactShortLink {
        /// What it is a link to.
        pub kind: ContactLinkKind,
        /// Where its data is.
        pub router: ServerAddress<SmpScheme>,
        /// Its secret.
        pub key: LinkKey,
    }
}

wire! {
    prefixes
    /// What a short link to a contact is for.
    #[derive(Copy, Hash)]
    pub enum ContactLinkKind {
        /// A person or a device.
        "CA" => Contact,
        /// A channel.
        "CC" => Channel,
        /// A group.
        "CG" => Group,
        /// A chat relay.
        "CR" => Relay,
    }
}

/// Who may sign the user data of a contact besides the root key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner(OwnerFields);

wire! {
    struct OwnerFields {
        id: Id,
        key: ed25519::PublicKey,
        authorization: ed25519::Signature,
    }
}

impl Owner {
    /// The most bytes of an owner's id.
    pub const MAX_ID: usize = 144;

    /// An owner who is authorised by the root key, or by an owner before him.
    pub fn new(
        id: Id,
        key: ed25519::PublicKey,
        authorizes: &ed25519::PrivateKey,
    ) -> Result<Self, TooMany> {
        if id.len() > Self::MAX_ID {
            return Err(TooMany(id.len(), Self::MAX_ID));
        }
        let authorization = authorizes.sign(&authorized(&id, &key));
        Ok(Self(OwnerFields {
            id,
            key,
            authorization,
        }))
    }

    /// The application's name for him.
    #[must_use]
    pub const fn id(&self) -> &Id {
        &self.0.id
    }

    /// The key that he signs with.
    #[must_use]
    pub const fn key(&self) -> &ed25519::PublicKey {
        &self.0.key
    }

    fn is_authorized_by(&self, key: &ed25519::PublicKey) -> bool {
        let authorized = authorized(self.id(), self.key());
        key.verify(&authorized, &self.0.authorization).is_ok()
    }
}

fn authorized(id: &Id, key: &ed25519::PublicKey) -> Vec<u8> {
    [id, key.to_spki().as_slice()].concat()
}

/// Later versions may add fields inside the length.
impl Wire for Owner {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, fields) = Short::parse(source, input)?;
        match wire::decode_prefix(source.version(), &fields) {
            Ok(fields) => Ok((input, Self(fields))),
            Err(error) => error.fail(),
        }
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        let fields = Short::try_from(wire::encode(&self.0, version));
        fields.unwrap_or_default().put(version, out);
    }
}

impl ContactData {
    /// Checks that each owner is authorised by the root key or by an owner before him, and that no two are the same.
    pub fn verify_owners(&self, root_key: &ed25519::PublicKey) -> Result<(), LinkError> {
        for (index, owner) in self.owners.iter().enumerate() {
            let earlier = self.owners.get(..index).unwrap_or(&[]);
            let is_same = |other: &Owner| other.id() == owner.id() || other.key() == owner.key();
            if owner.key() == root_key || earlier.iter().any(is_same) {
                return Err(LinkError::DuplicateOwner(owner.id().clone()));
            }
            let mut keys = std::iter::once(root_key).chain(earlier.iter().map(Owner::key));
            if !keys.any(|key| owner.is_authorized_by(key)) {
                return Err(LinkError::UnauthorizedOwner(owner.id().clone()));
            }
        }
        Ok(())
    }
}

/// Up to 254 bytes have a length of one byte; before the length of more there is a 255.
enum ShortIfPossible {}

impl ShortIfPossible {
    const LARGE: u8 = u8::MAX;
}

impl Codec<Large> for ShortIfPossible {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Large> {
        match input.split_first() {
            Some((&Self::LARGE, large)) => Large::parse(source, large),
            _ => {
                let (input, short) = Short::parse(source, input)?;
                let large = Large::try_from(short.into_bytes()).unwrap_or_default();
                Ok((input, large))
            }
        }
    }

    fn put(value: &Large, version: Version, out: &mut BytesMut) {
        match u8::try_from(value.len()) {
            Ok(length) if length < Self::LARGE => {
                out.put_u8(length);
                out.put_slice(value);
            }
            _ => {
                out.put_u8(Self::LARGE);
                value.put(version, out);
            }
        }
    }
}

#[cfg(any(test, feature = "sim"))]
mod sample {
    use super::{Large, Owner, OwnerFields, ShortIfPossible, Version};
    use crate::rng::Rng;
    use crate::wire::{Sample, SampleCodec};

    impl Sample for Owner {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            Self(OwnerFields::sample(version, rng))
        }
    }

    impl SampleCodec<Large> for ShortIfPossible {
        fn sample(_: Version, rng: &mut Rng) -> Large {
            let length = usize::try_from(rng.below(600)).unwrap_or_default();
            let bytes = vec![0; length];
            Large::try_from(bytes.as_slice()).unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::wire::Sample;
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    proptest! {
        #[test]
        fn data_comes_back_from_the_wire(seed: [u8; 32]) {
            let mut rng = Rng::from_seed(seed);
            let user = UserData::sample(Version(0), &mut rng);
            prop_assert_eq!(wire::decode(Version(0), &encode(&user)), Ok(user));
            let fixed = FixedData::sample(Version(0), &mut rng);
            prop_assert_eq!(wire::decode(Version(0), &encode(&fixed)), Ok(fixed));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = wire::decode_slice::<FixedData>(Version(0), &bytes);
            let _ = wire::decode_slice::<UserData>(Version(0), &bytes);
        }
    }

    #[test]
    fn an_owner_fits_his_length() {
        let key = ed25519::PrivateKey::from_bytes([1; 32]);
        let id = |length| Id::try_from(vec![0; length].as_slice()).unwrap();
        let longest = Owner::new(id(Owner::MAX_ID), key.public_key(), &key).unwrap();
        assert_eq!(encode(&longest).len(), 256);
        assert!(Owner::new(id(Owner::MAX_ID + 1), key.public_key(), &key).is_err());
    }
}
