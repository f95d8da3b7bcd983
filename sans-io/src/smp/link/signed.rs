//! The data of a link under signatures and in boxes.

use bytes::{BufMut, Bytes, BytesMut};

use super::data::{ContactData, FixedData, InvitationData, Owner, UserData};
use super::{LinkError, LinkKey, encode};
use crate::crypto::secret_box::Key;
use crate::crypto::{Nonce, Secret, ed25519};
use crate::rng::Rng;
use crate::smp::command::LinkData;
use crate::wire;
use crate::wire::padding::PaddingError;
use crate::wire::{Large, Tail, Version, Wire, WireError};

/// The size to which the signed fixed data is padded.
pub const PADDED_FIXED: usize = 2008;
/// The size to which the signed user data is padded.
pub const PADDED_USER: usize = 13784;

wire! {
    /// A part of the data with its signature.
    pub struct Signed {
        /// Of the root key or an owner.
        pub signature: ed25519::Signature,
        /// What is signed.
        pub data: Bytes as Tail,
    }
}

impl Signed {
    /// Signs a part.
    pub fn new<T: Wire>(data: &T, key: &ed25519::PrivateKey) -> Self {
        let data = encode(data);
        Self {
            signature: key.sign(&data),
            data,
        }
    }

    fn is_signed_by(&self, key: &ed25519::PublicKey) -> bool {
        key.verify(&self.data, &self.signature).is_ok()
    }

    fn seal(&self, size: usize, key: &Secret<32>, nonce: &Nonce) -> Result<Large, PaddingError> {
        let sealed = Key::from(key).seal_padded(nonce, &encode(self), size)?;
        let mut boxed = BytesMut::with_capacity(Nonce::LENGTH.saturating_add(sealed.len()));
        boxed.put_slice(nonce.as_bytes());
        boxed.put_slice(&sealed);
        Ok(Large::try_from(boxed.freeze()).unwrap_or_default())
    }

    /// Encrypts it as the fixed data of a link.
    pub fn seal_as_fixed(&self, key: &Secret<32>, nonce: &Nonce) -> Result<Large, PaddingError> {
        self.seal(PADDED_FIXED, key, nonce)
    }

    /// Encrypts it as the user data of a link.
    pub fn seal_as_user(&self, key: &Secret<32>, nonce: &Nonce) -> Result<Large, PaddingError> {
        self.seal(PADDED_USER, key, nonce)
    }

    fn open(key: &Secret<32>, boxed: &[u8]) -> Result<Self, LinkError> {
        let (nonce, sealed) = boxed.split_first_chunk().ok_or(LinkError::Decrypt)?;
        let mut sealed = BytesMut::from(sealed);
        let text = Key::from(key)
            .open_padded(&Nonce::from(*nonce), &mut sealed)
            .map_err(|_| LinkError::Decrypt)?;
        Ok(wire::decode_slice(Version::default(), text)?)
    }
}

/// The data of a link with its signatures, which may be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedLinkData {
    /// The fixed part.
    pub fixed: Signed,
    /// The user's part.
    pub user: Signed,
}

impl SignedLinkData {
    /// Signs both parts with the root key.
    #[must_use]
    pub fn sign(fixed: &FixedData, user: &UserData, root: &ed25519::PrivateKey) -> Self {
        Self {
            fixed: Signed::new(fixed, root),
            user: Signed::new(user, root),
        }
    }

    /// The same link with other user data, signed by the root key or an owner.
    #[must_use]
    pub fn with_user(self, user: &UserData, signer: &ed25519::PrivateKey) -> Self {
        Self {
            user: Signed::new(user, signer),
            ..self
        }
    }

    /// Encrypts both parts.
    pub fn seal(&self, key: &Secret<32>, rng: &mut Rng) -> Result<LinkData, PaddingError> {
        Ok(LinkData {
            fixed: self.seal_fixed(key, &Nonce::generate(rng))?,
            user: self.seal_user(key, &Nonce::generate(rng))?,
        })
    }

    /// Encrypts the fixed part: once, as the router refuses another one.
    pub fn seal_fixed(&self, key: &Secret<32>, nonce: &Nonce) -> Result<Large, PaddingError> {
        self.fixed.seal_as_fixed(key, nonce)
    }

    /// Encrypts the user's part.
    pub fn seal_user(&self, key: &Secret<32>, nonce: &Nonce) -> Result<Large, PaddingError> {
        self.user.seal_as_user(key, nonce)
    }

    /// Decrypts both parts.
    pub fn open(key: &Secret<32>, data: &LinkData) -> Result<Self, LinkError> {
        Ok(Self {
            fixed: Signed::open(key, &data.fixed)?,
            user: Signed::open(key, &data.user)?,
        })
    }

    /// The data, if it is of the expected kind, belongs to the link with that key, and is signed by those who may.
    pub fn verify<U: OfLink>(&self, link_key: &LinkKey) -> Result<Link<U>, LinkError> {
        let fixed: FixedData = wire::decode(Version::default(), &self.fixed.data)?;
        let user: UserData = wire::decode_prefix(Version::default(), &self.user.data)?;
        let user = U::of(user).ok_or(WireError::Invalid("kind of link"))?;
        if LinkKey::of(&self.fixed.data) != *link_key {
            return Err(LinkError::Hash);
        }
        if !self.fixed.is_signed_by(&fixed.root_key) {
            return Err(LinkError::FixedSignature);
        }
        let owners = user.verified_owners(&fixed.root_key)?;
        let mut signers = std::iter::once(&fixed.root_key).chain(owners.iter().map(Owner::key));
        if !signers.any(|key| self.user.is_signed_by(key)) {
            return Err(LinkError::UserSignature);
        }
        Ok(Link { fixed, user })
    }
}

/// The verified data of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link<U> {
    /// What the link leads to.
    pub fixed: FixedData,
    /// What its owner says of it.
    pub user: U,
}

/// User data of one kind of link.
pub trait OfLink: Sized {
    /// The data, if it is of this kind.
    fn of(user: UserData) -> Option<Self>;

    /// Who may sign it besides the root key.
    fn verified_owners(&self, root_key: &ed25519::PublicKey) -> Result<&[Owner], LinkError>;
}

impl OfLink for InvitationData {
    fn of(user: UserData) -> Option<Self> {
        match user {
            UserData::Invitation(data) => Some(data),
            UserData::Contact(_) => None,
        }
    }

    fn verified_owners(&self, _: &ed25519::PublicKey) -> Result<&[Owner], LinkError> {
        Ok(&[])
    }
}

impl OfLink for ContactData {
    fn of(user: UserData) -> Option<Self> {
        match user {
            UserData::Contact(data) => Some(data),
            UserData::Invitation(_) => None,
        }
    }

    fn verified_owners(&self, root_key: &ed25519::PublicKey) -> Result<&[Owner], LinkError> {
        self.verify_owners(root_key)?;
        Ok(&self.owners)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Id, List, Sample};
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    struct Maker {
        rng: Rng,
        root: ed25519::PrivateKey,
        fixed: FixedData,
    }

    impl Maker {
        fn new(seed: [u8; 32]) -> Self {
            let mut rng = Rng::from_seed(seed);
            let root = ed25519::PrivateKey::generate(&mut rng);
            let fixed = FixedData {
                root_key: root.public_key(),
                ..FixedData::sample(Version(0), &mut rng)
            };
            Self { rng, root, fixed }
        }

        fn key(&mut self) -> ed25519::PrivateKey {
            ed25519::PrivateKey::generate(&mut self.rng)
        }

        fn owner(&self, id: &[u8], key: &ed25519::PrivateKey, by: &ed25519::PrivateKey) -> Owner {
            Owner::new(Id::try_from(id).unwrap(), key.public_key(), by).unwrap()
        }

        fn contact(&mut self, owners: Vec<Owner>) -> ContactData {
            ContactData {
                owners: List::try_from(owners).unwrap(),
                ..ContactData::sample(Version(0), &mut self.rng)
            }
        }

        fn verify(
            &mut self,
            user: &ContactData,
            signer: &ed25519::PrivateKey,
        ) -> Result<(), LinkError> {
            let user = UserData::Contact(user.clone());
            let signed = SignedLinkData::sign(&self.fixed, &user, &self.root);
            let link_key = self.fixed.link_key();
            let link = signed
                .with_user(&user, signer)
                .verify::<ContactData>(&link_key)?;
            assert_eq!(UserData::Contact(link.user), user);
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn what_was_sealed_is_opened_and_nothing_else(seed: [u8; 32], at in 0..13824_usize) {
            let mut maker = Maker::new(seed);
            let user = UserData::Invitation(InvitationData::sample(Version(0), &mut maker.rng));
            let (link_key, root) = (maker.fixed.link_key(), maker.root.clone());
            let signed = SignedLinkData::sign(&maker.fixed, &user, &root);
            let key = link_key.invitation();
            let mut boxed = signed.seal(&key, &mut maker.rng).unwrap();
            prop_assert_eq!((boxed.fixed.len(), boxed.user.len()), (2048, 13824));

            let opened = SignedLinkData::open(&key, &boxed).unwrap();
            prop_assert_eq!(&opened, &signed);
            let link = opened.verify::<InvitationData>(&link_key).unwrap();
            prop_assert_eq!((link.fixed, UserData::Invitation(link.user)), (maker.fixed, user));
            prop_assert!(matches!(opened.verify::<ContactData>(&link_key), Err(LinkError::Parse(_))));
            let other = LinkKey::from_bytes(maker.rng.bytes());
            prop_assert_eq!(opened.verify::<InvitationData>(&other), Err(LinkError::Hash));

            let mut forged = boxed.user.to_vec();
            forged[at] ^= 1;
            boxed.user = Large::try_from(forged.as_slice()).unwrap();
            prop_assert_eq!(SignedLinkData::open(&key, &boxed), Err(LinkError::Decrypt));
        }

        #[test]
        fn arbitrary_boxes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Signed::open(&Secret::from_bytes([0; 32]), &bytes);
        }
    }

    #[test]
    fn owners_are_authorised_one_by_the_other() {
        let mut maker = Maker::new([1; 32]);
        let (root, a, b, other) = (maker.root.clone(), maker.key(), maker.key(), maker.key());
        let owners = vec![maker.owner(b"a", &a, &root), maker.owner(b"b", &b, &a)];
        let user = maker.contact(owners);
        for signer in [&root, &a, &b] {
            assert_eq!(maker.verify(&user, signer), Ok(()));
        }
        assert_eq!(maker.verify(&user, &other), Err(LinkError::UserSignature));
    }

    #[test]
    fn an_owner_that_nobody_before_him_authorises_is_refused() {
        let mut maker = Maker::new([1; 32]);
        let (root, a, b) = (maker.root.clone(), maker.key(), maker.key());
        let owners = vec![maker.owner(b"a", &a, &b), maker.owner(b"b", &b, &root)];
        let user = maker.contact(owners);
        let refused = LinkError::UnauthorizedOwner(Id::try_from(b"a".as_slice()).unwrap());
        assert_eq!(maker.verify(&user, &root), Err(refused.clone()));
        assert_eq!(refused.to_string(), "the owner YQ== is not authorised");
    }

    #[test]
    fn the_keys_and_the_ids_of_owners_are_their_own() {
        let mut maker = Maker::new([1; 32]);
        let (root, a, b) = (maker.root.clone(), maker.key(), maker.key());
        let first = maker.owner(b"a", &a, &root);
        for owners in [
            vec![maker.owner(b"b", &root, &root)],
            vec![first.clone(), maker.owner(b"b", &a, &root)],
            vec![first.clone(), maker.owner(b"a", &b, &root)],
        ] {
            let taken = owners.last().unwrap().id().clone();
            let user = maker.contact(owners);
            assert_eq!(
                maker.verify(&user, &root),
                Err(LinkError::DuplicateOwner(taken))
            );
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut maker = Maker::new([1; 32]);
        let key = maker.root.clone();
        maker.fixed.request = vec![0; PADDED_FIXED].into();
        let user = UserData::sample(Version(0), &mut maker.rng);
        let signed = SignedLinkData::sign(&maker.fixed, &user, &key);
        let secret = Secret::from_bytes([0; 32]);
        assert!(matches!(
            signed.seal(&secret, &mut maker.rng),
            Err(PaddingError::TooLarge(_, PADDED_FIXED))
        ));
    }
}
