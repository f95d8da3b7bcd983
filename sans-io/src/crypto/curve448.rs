//! X448 and Ed448, from `crrl`.
//!
//! No audited Rust implementation of curve448 exists, so this file is the only one that knows which crate we use; its tests compare
//! it with a second, independent implementation.

/// RFC 7748 X448: `scalar · point`. A point of low order gives zeros.
pub(super) fn x448(scalar: &[u8; 56], point: &[u8; 56]) -> [u8; 56] {
    crrl::x448::x448(point, scalar)
}

/// RFC 7748 X448 with the base point.
pub(super) fn x448_base(scalar: &[u8; 56]) -> [u8; 56] {
    crrl::x448::x448_base(scalar)
}

/// The RFC 8032 public key of a seed.
pub(super) fn ed448_public_key(seed: &[u8; 57]) -> [u8; 57] {
    crrl::ed448::PrivateKey::from_seed(seed).public_key.encode()
}

/// RFC 8032 Ed448 signature, without a context.
///
/// The key that `crrl` expands from the seed cannot be erased: it lives on the stack for the length of this call.
pub(super) fn ed448_sign(seed: &[u8; 57], message: &[u8]) -> [u8; 114] {
    crrl::ed448::PrivateKey::from_seed(seed).sign_raw(message)
}

/// RFC 8032 verification (cofactored, strict encodings), without a context.
pub(super) fn ed448_verify(public_key: &[u8; 57], message: &[u8], signature: &[u8; 114]) -> bool {
    crrl::ed448::PublicKey::decode(public_key).is_some_and(|key| key.verify_raw(signature, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BASE_POINT: [u8; 56] = {
        let mut point = [0; 56];
        point[0] = 5;
        point
    };

    /// RFC 7748 §5.2: the first of the iterated results.
    #[test]
    fn rfc_7748_iteration() {
        let expected: [u8; 56] = [
            0x3f, 0x48, 0x2c, 0x8a, 0x9f, 0x19, 0xb0, 0x1e, 0x6c, 0x46, 0xee, 0x97, 0x11, 0xd9,
            0xdc, 0x14, 0xfd, 0x4b, 0xf6, 0x7a, 0xf3, 0x07, 0x65, 0xc2, 0xae, 0x2b, 0x84, 0x6a,
            0x4d, 0x23, 0xa8, 0xcd, 0x0d, 0xb8, 0x97, 0x08, 0x62, 0x39, 0x49, 0x2c, 0xaf, 0x35,
            0x0b, 0x51, 0xf8, 0x33, 0x86, 0x8b, 0x9b, 0xc2, 0xb3, 0xbc, 0xa9, 0xcf, 0x41, 0x13,
        ];
        assert_eq!(x448(&BASE_POINT, &BASE_POINT), expected);
        assert_eq!(x448_base(&BASE_POINT), expected);
    }

    #[test]
    fn a_point_of_low_order_gives_zeros() {
        assert_eq!(x448(&[3; 56], &[0; 56]), [0; 56]);
    }

    fn bytes<const N: usize>() -> impl Strategy<Value = [u8; N]> {
        prop::collection::vec(any::<u8>(), N).prop_map(|bytes| bytes.try_into().unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn x448_agrees_with_the_second_implementation(scalar in bytes::<56>(), point in bytes::<56>()) {
            prop_assert_eq!(x448(&scalar, &point), ::x448::x448_unchecked(scalar, point));
            prop_assert_eq!(x448_base(&scalar), ::x448::x448_unchecked(scalar, BASE_POINT));
        }

        #[test]
        fn ed448_agrees_with_the_second_implementation(
            seed in bytes::<57>(),
            message in prop::collection::vec(any::<u8>(), 0..300),
            flipped in 0..114_usize * 8,
        ) {
            let theirs = ed448_goldilocks::SigningKey::try_from(&seed[..]).unwrap();
            let public_key = ed448_public_key(&seed);
            prop_assert_eq!(&public_key[..], &theirs.verifying_key().to_bytes()[..]);
            let signature = ed448_sign(&seed, &message);
            prop_assert_eq!(&signature[..], &theirs.sign_raw(&message).to_bytes()[..]);

            prop_assert!(ed448_verify(&public_key, &message, &signature));
            let mut forged = signature;
            forged[flipped / 8] ^= 1 << (flipped % 8);
            prop_assert!(!ed448_verify(&public_key, &message, &forged));
        }
    }
}
