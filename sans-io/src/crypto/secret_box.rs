//! The box of SimpleX: XSalsa20-Poly1305 under a key that went through HSalsa20 once more.
//!
//! One construction serves as `crypto_box` (the key is an agreed secret) and as `secret_box` (the key is drawn at random). For the
//! former it equals NaCl's; for the latter it does **not**, because NaCl leaves the extra HSalsa20 out.
//!
//! ```text
//! key ─HSalsa20(0)─▶ Key ─HSalsa20(nonce[..16])─▶ Salsa20(nonce[16..]) ─▶ 32 bytes: Poly1305 key
//!                                                                      └▶ the rest: XORed with the text
//! ```
//!
//! A packet is as long as its text and the tag, unless it is padded.
//!
//! ```
//! use simplex_sans_io::crypto::secret_box::Key;
//! use simplex_sans_io::crypto::{Nonce, Secret};
//! use simplex_sans_io::rng::Rng;
//!
//! let mut rng = Rng::from_seed([7; 32]);
//! let (key, nonce) = (Key::from(&Secret::generate(&mut rng)), Nonce::generate(&mut rng));
//!
//! let mut buffer = *b"in place";
//! let tag = key.encrypt(&nonce, &mut buffer);
//! assert_eq!(key.decrypt(&nonce, &mut buffer, &tag), Ok(()));
//! assert_eq!(&buffer, b"in place");
//! ```

use std::fmt;

use bytes::{BufMut as _, BytesMut};
use simplex_xsalsa20poly1305::{XSalsa20Poly1305, hsalsa20};

use super::nonce::Nonce;
use super::secret::Secret;
use super::tag::{DecryptError, Tag};
use super::x25519::SharedSecret;
use crate::wire::padding::{self, PaddingError};

/// Why a padded packet has no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It was not made with this key and nonce.
    #[error(transparent)]
    Decrypt(#[from] DecryptError),
    /// It was, but what it contains is not padded.
    #[error(transparent)]
    Padding(#[from] PaddingError),
}

/// A key of boxes, prepared for use with many nonces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(Secret<32>);

impl Key {
    /// Encrypts the buffer in place.
    #[must_use]
    pub fn encrypt(&self, nonce: &Nonce, buffer: &mut [u8]) -> Tag {
        Tag::from_bytes(self.cipher(nonce).encrypt(buffer))
    }

    /// Decrypts the buffer in place; one that is not authentic stays as it was.
    pub fn decrypt(&self, nonce: &Nonce, buffer: &mut [u8], tag: &Tag) -> Result<(), DecryptError> {
        if self.cipher(nonce).decrypt(buffer, tag.as_bytes()) {
            Ok(())
        } else {
            Err(DecryptError)
        }
    }

    /// The tag and then the ciphertext of a text.
    #[must_use]
    pub fn seal(&self, nonce: &Nonce, text: &[u8]) -> BytesMut {
        let mut packet = BytesMut::with_capacity(text.len().saturating_add(Tag::LENGTH));
        packet.put_bytes(0, Tag::LENGTH);
        packet.put_slice(text);
        self.seal_in_place(nonce, &mut packet);
        packet
    }

    /// The tag and then the ciphertext of a text that is padded to `size` bytes.
    pub fn seal_padded(
        &self,
        nonce: &Nonce,
        text: &[u8],
        size: usize,
    ) -> Result<BytesMut, PaddingError> {
        self.seal_padded_with(nonce, size, |packet| packet.put_slice(text))
    }

    /// The same of a text that `put` appends to the packet, so that it is written where it is encrypted.
    pub fn seal_padded_with(
        &self,
        nonce: &Nonce,
        size: usize,
        put: impl FnOnce(&mut BytesMut),
    ) -> Result<BytesMut, PaddingError> {
        let mut packet = BytesMut::with_capacity(size.saturating_add(Tag::LENGTH));
        packet.put_bytes(0, Tag::LENGTH);
        padding::put_with(size, &mut packet, put)?;
        self.seal_in_place(nonce, &mut packet);
        Ok(packet)
    }

    /// The text of a packet that starts with its tag, decrypted where it lies.
    pub fn open<'a>(
        &self,
        nonce: &Nonce,
        packet: &'a mut [u8],
    ) -> Result<&'a mut [u8], DecryptError> {
        let (tag, text) = packet.split_first_chunk_mut().ok_or(DecryptError)?;
        self.decrypt(nonce, text, &Tag::from_bytes(*tag))?;
        Ok(text)
    }

    /// The text of a packet that starts with its tag, without the padding, decrypted where it lies.
    pub fn open_padded<'a>(
        &self,
        nonce: &Nonce,
        packet: &'a mut [u8],
    ) -> Result<&'a [u8], OpenError> {
        Ok(padding::unpad(self.open(nonce, packet)?)?)
    }

    /// The ciphertext of a text and then the tag.
    #[must_use]
    pub fn seal_tag_last(&self, nonce: &Nonce, text: &[u8]) -> BytesMut {
        let mut packet = BytesMut::with_capacity(text.len().saturating_add(Tag::LENGTH));
        packet.put_slice(text);
        let tag = self.encrypt(nonce, &mut packet);
        packet.put_slice(tag.as_bytes());
        packet
    }

    /// The text of a packet that ends with its tag, decrypted where it lies.
    pub fn open_tag_last<'a>(
        &self,
        nonce: &Nonce,
        packet: &'a mut [u8],
    ) -> Result<&'a mut [u8], DecryptError> {
        let (text, tag) = packet.split_last_chunk_mut().ok_or(DecryptError)?;
        self.decrypt(nonce, text, &Tag::from_bytes(*tag))?;
        Ok(text)
    }

    /// Starts to encrypt a text that comes in pieces.
    #[must_use]
    pub fn encryptor(&self, nonce: &Nonce) -> Encryptor {
        Encryptor(self.cipher(nonce))
    }

    /// Starts to decrypt a ciphertext that comes in pieces.
    #[must_use]
    pub fn decryptor(&self, nonce: &Nonce) -> Decryptor {
        Decryptor(self.cipher(nonce))
    }

    fn cipher(&self, nonce: &Nonce) -> XSalsa20Poly1305 {
        let Self(key) = self;
        XSalsa20Poly1305::new(key.as_bytes(), nonce.as_bytes())
    }

    /// Encrypts what follows the space for the tag.
    fn seal_in_place(&self, nonce: &Nonce, packet: &mut [u8]) {
        if let Some((tag, text)) = packet.split_first_chunk_mut() {
            *tag = *self.encrypt(nonce, text).as_bytes();
        }
    }
}

impl From<&Secret<32>> for Key {
    fn from(key: &Secret<32>) -> Self {
        Self(Secret::from_bytes(hsalsa20(key.as_bytes(), &[0; 16])))
    }
}

impl From<&SharedSecret> for Key {
    fn from(secret: &SharedSecret) -> Self {
        Self::from(secret.as_secret())
    }
}

/// Encrypts a text piece by piece; made by [`Key::encryptor`].
#[derive(Clone, PartialEq, Eq)]
pub struct Encryptor(XSalsa20Poly1305);

impl Encryptor {
    /// Encrypts the next piece in place.
    pub fn update(&mut self, piece: &mut [u8]) {
        self.0.encrypt_piece(piece);
    }

    /// The tag of all pieces.
    #[must_use]
    pub fn finish(self) -> Tag {
        Tag::from_bytes(self.0.tag())
    }
}

/// Decrypts a ciphertext piece by piece; made by [`Key::decryptor`].
///
/// Nothing that it decrypts may be believed before [`finish`](Self::finish) has said so.
#[derive(Clone, PartialEq, Eq)]
pub struct Decryptor(XSalsa20Poly1305);

impl Decryptor {
    /// Decrypts the next piece in place.
    pub fn update(&mut self, piece: &mut [u8]) {
        self.0.decrypt_piece(piece);
    }

    /// Whether all pieces were authentic.
    pub fn finish(self, tag: &Tag) -> Result<(), DecryptError> {
        if Tag::from_bytes(self.0.tag()) == *tag {
            Ok(())
        } else {
            Err(DecryptError)
        }
    }
}

impl fmt::Debug for Encryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encryptor([redacted])")
    }
}

impl fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decryptor([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> Key {
        Key::from(&Secret::from_bytes([3; 32]))
    }

    const NONCE: [u8; 24] = [5; 24];

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..400)
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(text in text()) {
            let nonce = Nonce::from(NONCE);
            let mut packet = key().seal(&nonce, &text);
            prop_assert_eq!(&key().open(&nonce, &mut packet).unwrap()[..], &text[..]);
            let mut packet = key().seal_tag_last(&nonce, &text);
            prop_assert_eq!(&key().open_tag_last(&nonce, &mut packet).unwrap()[..], &text[..]);
        }

        #[test]
        fn any_changed_bit_is_refused_and_nothing_is_decrypted(
            text in text(),
            byte in any::<prop::sample::Index>(),
            bit in 0..8_u32,
        ) {
            let nonce = Nonce::from(NONCE);
            let mut packet = key().seal(&nonce, &text);
            let changed = byte.index(packet.len());
            packet[changed] ^= 1 << bit;
            let forged = packet.clone();
            prop_assert_eq!(key().open(&nonce, &mut packet), Err(DecryptError));
            prop_assert_eq!(packet, forged);
        }

        #[test]
        fn any_other_length_is_refused(text in text(), cut in any::<prop::sample::Index>()) {
            let nonce = Nonce::from(NONCE);
            let mut packet = key().seal(&nonce, &text);
            let cut = cut.index(packet.len());
            prop_assert_eq!(key().open(&nonce, &mut packet[..cut]), Err(DecryptError));
            prop_assert_eq!(key().open_tag_last(&nonce, &mut packet[..cut]), Err(DecryptError));
            packet.put_u8(0);
            prop_assert_eq!(key().open(&nonce, &mut packet), Err(DecryptError));
        }

        #[test]
        fn padding_hides_the_length(text in text(), size in 0..500_usize) {
            let nonce = Nonce::from(NONCE);
            match key().seal_padded(&nonce, &text, size) {
                Ok(mut packet) => {
                    prop_assert_eq!(packet.len(), size + Tag::LENGTH);
                    prop_assert_eq!(key().open_padded(&nonce, &mut packet), Ok(&text[..]));
                }
                Err(error) => {
                    prop_assert!(text.len() + padding::LENGTH > size);
                    prop_assert_eq!(error, PaddingError::TooLarge(text.len(), size));
                }
            }
        }

        #[test]
        fn pieces_of_any_size_are_the_whole(text in text(), cuts in prop::collection::vec(0..50_usize, 1..20)) {
            let nonce = Nonce::from(NONCE);
            let mut whole = text.clone();
            let tag = key().encrypt(&nonce, &mut whole);

            let mut pieces = text.clone();
            let mut encryptor = key().encryptor(&nonce);
            each_piece(&mut pieces, &cuts, |piece| encryptor.update(piece));
            prop_assert_eq!(encryptor.finish(), tag);
            prop_assert_eq!(&pieces, &whole);

            let mut decryptor = key().decryptor(&nonce);
            each_piece(&mut pieces, &cuts, |piece| decryptor.update(piece));
            prop_assert_eq!(decryptor.finish(&tag), Ok(()));
            prop_assert_eq!(pieces, text);
        }

        #[test]
        fn forged_pieces_are_refused_at_the_end(text in text(), bit in 0..128_usize) {
            let nonce = Nonce::from(NONCE);
            let mut pieces = text;
            let mut tag = *key().encrypt(&nonce, &mut pieces).as_bytes();
            tag[bit / 8] ^= 1 << (bit % 8);
            let mut decryptor = key().decryptor(&nonce);
            decryptor.update(&mut pieces);
            prop_assert_eq!(decryptor.finish(&Tag::from_bytes(tag)), Err(DecryptError));
        }
    }

    #[test]
    fn a_packet_without_padding_is_told_apart_from_a_forged_one() {
        let nonce = Nonce::from(NONCE);
        let mut packet = key().seal(&nonce, b"\xff\xff");
        let refused = key().open_padded(&nonce, &mut packet);
        assert_eq!(refused, Err(OpenError::Padding(PaddingError::Invalid)));
        let refused = key().open_padded(&nonce, &mut packet);
        assert_eq!(refused, Err(OpenError::Decrypt(DecryptError)));
    }

    #[test]
    fn a_state_can_be_cloned_and_compared() {
        let nonce = Nonce::from(NONCE);
        let (mut a, mut b) = (key().encryptor(&nonce), key().encryptor(&nonce));
        assert!(a == b);
        a.update(&mut [1, 2, 3]);
        assert!(a != b);
        b.update(&mut [1, 2, 4]);
        assert!(a != b);
        let mut clone = a.clone();
        a.update(&mut [5; 70]);
        clone.update(&mut [5; 70]);
        assert!(a == clone);
        assert_eq!(a.finish(), clone.finish());
    }

    #[test]
    fn keys_and_states_print_redacted() {
        let nonce = Nonce::from(NONCE);
        assert_eq!(format!("{:?}", key()), "Key([redacted])");
        assert_eq!(
            format!("{:?}", key().encryptor(&nonce)),
            "Encryptor([redacted])"
        );
        assert_eq!(
            format!("{:?}", key().decryptor(&nonce)),
            "Decryptor([redacted])"
        );
    }

    fn each_piece(mut bytes: &mut [u8], cuts: &[usize], mut give: impl FnMut(&mut [u8])) {
        for cut in cuts.iter().cycle().take(1000) {
            let (piece, rest) = bytes.split_at_mut(bytes.len().min(*cut));
            give(piece);
            bytes = rest;
        }
        give(bytes);
    }
}
