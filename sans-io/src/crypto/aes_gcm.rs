//! AES-256-GCM: of ratchet messages, with a 16-byte initialisation vector, and of media frames, with the usual 12 bytes.
//!
//! GCM hashes a vector that is not 12 bytes long into its first counter, so that the two forms share nothing but the cipher.

use aes_gcm::aead::{AeadInOut, KeyInit as _, array::ArraySize, consts::U12, consts::U16};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce};

use super::secret::Secret;
use super::tag::{DecryptError, Tag};

/// Encrypts the buffer in place and authenticates the associated data with it.
#[must_use]
pub fn encrypt(key: &Secret<32>, iv: &[u8; 16], associated: &[u8], buffer: &mut [u8]) -> Tag {
    encrypt_with(&cipher::<U16>(key), &(*iv).into(), associated, buffer)
}

/// Decrypts the buffer in place; one that is not authentic stays as it was.
pub fn decrypt(
    key: &Secret<32>,
    iv: &[u8; 16],
    associated: &[u8],
    buffer: &mut [u8],
    tag: &Tag,
) -> Result<(), DecryptError> {
    decrypt_with(&cipher::<U16>(key), &(*iv).into(), associated, buffer, tag)
}

/// Encrypts a media frame in place.
#[must_use]
pub fn encrypt_frame(key: &Secret<32>, iv: &[u8; 12], frame: &mut [u8]) -> Tag {
    encrypt_with(&cipher::<U12>(key), &(*iv).into(), &[], frame)
}

/// Decrypts a media frame in place; one that is not authentic stays as it was.
pub fn decrypt_frame(
    key: &Secret<32>,
    iv: &[u8; 12],
    frame: &mut [u8],
    tag: &Tag,
) -> Result<(), DecryptError> {
    decrypt_with(&cipher::<U12>(key), &(*iv).into(), &[], frame, tag)
}

fn cipher<Iv: ArraySize>(key: &Secret<32>) -> AesGcm<Aes256, Iv> {
    AesGcm::new(&(*key.as_bytes()).into())
}

#[expect(clippy::expect_used, reason = "fails only beyond 64 GB")]
fn encrypt_with<Iv: ArraySize>(
    cipher: &AesGcm<Aes256, Iv>,
    iv: &Nonce<Iv>,
    associated: &[u8],
    buffer: &mut [u8],
) -> Tag {
    let tag = cipher
        .encrypt_inout_detached(iv, associated, buffer.into())
        .expect("a buffer that GCM can encrypt");
    Tag::from_bytes(tag.into())
}

fn decrypt_with<Iv: ArraySize>(
    cipher: &AesGcm<Aes256, Iv>,
    iv: &Nonce<Iv>,
    associated: &[u8],
    buffer: &mut [u8],
    tag: &Tag,
) -> Result<(), DecryptError> {
    cipher
        .decrypt_inout_detached(iv, associated, buffer.into(), &(*tag.as_bytes()).into())
        .map_err(|_| DecryptError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encrypted_decrypts_and_any_changed_bit_is_refused(
            text in prop::collection::vec(any::<u8>(), 0..300),
            associated in prop::collection::vec(any::<u8>(), 1..100),
            byte in any::<prop::sample::Index>(),
            bit in 0..8_u32,
        ) {
            let (key, iv) = (Secret::from_bytes([1; 32]), [2; 16]);
            let mut ciphertext = text.clone();
            let tag = encrypt(&key, &iv, &associated, &mut ciphertext);

            let mut forged = [tag.as_bytes(), &associated[..], &ciphertext[..]].concat();
            let changed = byte.index(forged.len());
            forged[changed] ^= 1 << bit;
            let (forged_tag, rest) = forged.split_first_chunk().unwrap();
            let (forged_associated, forged_ciphertext) = rest.split_at(associated.len());
            let mut buffer = forged_ciphertext.to_vec();
            let refused = decrypt(&key, &iv, forged_associated, &mut buffer, &Tag::from_bytes(*forged_tag));
            prop_assert_eq!(refused, Err(DecryptError));
            prop_assert_eq!(buffer, forged_ciphertext);

            prop_assert_eq!(decrypt(&key, &iv, &associated, &mut ciphertext, &tag), Ok(()));
            prop_assert_eq!(ciphertext, text);
        }

        #[test]
        fn frames_round_trip(text in prop::collection::vec(any::<u8>(), 0..300)) {
            let (key, iv) = (Secret::from_bytes([1; 32]), [2; 12]);
            let mut frame = text.clone();
            let tag = encrypt_frame(&key, &iv, &mut frame);
            prop_assert_eq!(decrypt_frame(&key, &[3; 12], &mut frame, &tag), Err(DecryptError));
            prop_assert_eq!(decrypt_frame(&key, &iv, &mut frame, &tag), Ok(()));
            prop_assert_eq!(frame, text);
        }
    }
}
