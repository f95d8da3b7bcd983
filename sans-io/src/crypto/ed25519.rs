//! Ed25519: signatures of queues, links and certificates.

use std::fmt;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use curve25519_dalek::traits::{IsIdentity as _, VartimeMultiscalarMul as _};
use sha2::{Digest as _, Sha512};
use zeroize::{Zeroize as _, Zeroizing};

use super::algorithm::{Algorithm, KeyError, public_key, signature};
use super::keys::InvalidSignature;
use super::secret::Secret;
use crate::rng::Rng;

public_key!(Ed25519, raw: 32, spki: 44);
signature!(Ed25519, raw: 64);

/// The private half of an Ed25519 key pair: a seed, with its public key kept at hand. Agents keep one for each queue: 64 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey {
    seed: Secret<32>,
    public: PublicKey,
}

impl PublicKey {
    /// Checks a signature with the equation of RFC 8032 that multiplies by the cofactor, so that one signature and [many](verify_all) are
    /// judged alike.
    ///
    /// Bytes that are no point of the curve make a key whose signatures are all invalid. A signature whose scalar is not reduced is
    /// refused, which the reference accepts: no signer makes such signatures, and whoever sees one could change it. One that only its own
    /// signer can have crafted, with a point of small order, is accepted, which the reference refuses.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), InvalidSignature> {
        Signed {
            key: self,
            signature,
            message: [message, &[]],
        }
        .verify()
    }
}

/// A message with the signature that it should have.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// Who should have signed it.
    pub key: &'a PublicKey,
    /// The signature.
    pub signature: &'a Signature,
    /// The message, in two parts that need not lie side by side.
    pub message: [&'a [u8]; 2],
}

impl Signed<'_> {
    /// Checks the signature, as [`PublicKey::verify`] does.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "in a field and in a group nothing overflows"
    )]
    pub fn verify(&self) -> Result<(), InvalidSignature> {
        let equation = self.equation().ok_or(InvalidSignature)?;
        let Equation { k, s, a, r } = equation;
        let expected = EdwardsPoint::vartime_double_scalar_mul_basepoint(&k, &-a, &s);
        // Of signatures that an honest signer has made the first comparison is true, and cheaper than finding the point.
        if expected.compress() == r {
            return Ok(());
        }
        let r = r.decompress().ok_or(InvalidSignature)?;
        match (expected - r).mul_by_cofactor().is_identity() {
            true => Ok(()),
            false => Err(InvalidSignature),
        }
    }
}

/// What a signature asserts: `s B = R + k A`, but for the cofactor.
struct Equation {
    k: Scalar,
    s: Scalar,
    a: EdwardsPoint,
    r: CompressedEdwardsY,
}

impl Signed<'_> {
    fn equation(&self) -> Option<Equation> {
        let (r, s) = self.signature.0.split_first_chunk::<32>()?;
        let s = Option::from(Scalar::from_canonical_bytes(s.try_into().ok()?))?;
        let a = CompressedEdwardsY(self.key.0).decompress()?;
        let [first, last] = self.message;
        let hash = Sha512::new()
            .chain_update(r)
            .chain_update(self.key.0)
            .chain_update(first)
            .chain_update(last);
        Some(Equation {
            k: Scalar::from_bytes_mod_order_wide(&hash.finalize().into()),
            s,
            a,
            r: CompressedEdwardsY(*r),
        })
    }
}

/// Whether all these signatures are valid, in less time than it takes to look at each. If not, some of them may be.
///
/// The sum of their equations holds, each multiplied by a number that follows from all of them, so that no signer can choose signatures
/// whose faults cancel out.
#[must_use]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "in a field and in a group nothing overflows"
)]
pub fn verify_all(signed: &[Signed<'_>]) -> bool {
    match signed {
        [] => return true,
        [signed] => return signed.verify().is_ok(),
        [_, _, ..] => {}
    }
    let equations: Option<Vec<_>> = signed.iter().map(Signed::equation).collect();
    let Some(equations) = equations else {
        return false;
    };
    let mut all = Sha512::new();
    for Equation { k, s, .. } in &equations {
        // `k` stands for the point, the key and the message, too.
        all.update(k.as_bytes());
        all.update(s.as_bytes());
    }
    let seed: [u8; 64] = all.finalize().into();
    let seed = seed.first_chunk().copied().unwrap_or_default();
    let mut rng = Rng::from_seed(seed);
    let count = equations.len().saturating_mul(2).saturating_add(1);
    let (mut scalars, mut points) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut base = Scalar::ZERO;
    for Equation { k, s, a, r } in equations {
        let Some(r) = r.decompress() else {
            return false;
        };
        let z = Scalar::from(u128::from_le_bytes(rng.bytes()));
        base += z * s;
        scalars.extend([-z, -(z * k)]);
        points.extend([r, a]);
    }
    scalars.push(base);
    points.push(curve25519_dalek::constants::ED25519_BASEPOINT_POINT);
    EdwardsPoint::vartime_multiscalar_mul(scalars, points)
        .mul_by_cofactor()
        .is_identity()
}

impl PrivateKey {
    /// A fresh key.
    #[must_use]
    pub fn generate(rng: &mut Rng) -> Self {
        Self::from_bytes(rng.bytes())
    }

    /// The key of this seed.
    #[must_use]
    pub fn from_bytes(seed: [u8; 32]) -> Self {
        let seed = Secret::from_bytes(seed);
        let expanded = Expanded::of(&seed);
        let public = PublicKey(EdwardsPoint::mul_base(&expanded.scalar).compress().0);
        Self { seed, public }
    }

    /// The seed.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.seed.as_bytes()
    }

    /// Reads the PKCS#8 DER form, and nothing after it.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let seed = Algorithm::Ed25519.raw_of_pkcs8(der)?;
        Ok(Self::from_bytes(*seed.as_bytes()))
    }

    /// The PKCS#8 DER form.
    #[must_use]
    pub fn to_pkcs8(&self) -> Secret<48> {
        Algorithm::Ed25519.pkcs8(self.as_bytes())
    }

    /// The public half.
    #[must_use]
    pub const fn public_key(&self) -> PublicKey {
        self.public
    }

    /// Signs a message; the same message always gives the same signature.
    #[must_use]
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "in a field nothing overflows"
    )]
    pub fn sign(&self, message: &[u8]) -> Signature {
        let expanded = Expanded::of(&self.seed);
        let nonce = Sha512::new()
            .chain_update(expanded.prefix.as_bytes())
            .chain_update(message);
        let mut nonce = scalar_of(nonce);
        let r = EdwardsPoint::mul_base(&nonce).compress();
        let k = Sha512::new()
            .chain_update(r.0)
            .chain_update(self.public.0)
            .chain_update(message);
        let s = nonce + scalar_of(k) * expanded.scalar;
        nonce.zeroize();
        let mut signature = [0; 64];
        let halves = signature.split_at_mut(32);
        halves.0.copy_from_slice(&r.0);
        halves.1.copy_from_slice(s.as_bytes());
        Signature(signature)
    }
}

fn scalar_of(hash: Sha512) -> Scalar {
    let hash = Zeroizing::new(<[u8; 64]>::from(hash.finalize()));
    Scalar::from_bytes_mod_order_wide(&hash)
}

/// What RFC 8032 makes of a seed.
struct Expanded {
    scalar: Scalar,
    prefix: Secret<32>,
}

impl Expanded {
    fn of(seed: &Secret<32>) -> Self {
        let hash = Secret::<64>::from_bytes(Sha512::digest(seed.as_bytes()).into());
        let (scalar, prefix) = hash.split::<32, 32>();
        let clamped = Zeroizing::new(clamp_integer(*scalar.as_bytes()));
        Self {
            scalar: Scalar::from_bytes_mod_order(*clamped),
            prefix,
        }
    }
}

impl Drop for Expanded {
    fn drop(&mut self) {
        self.scalar.zeroize();
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::Signer as _;
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::*;

    /// The order of the base point, little-endian.
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];

    #[test]
    fn a_signature_verifies_and_a_forged_one_does_not() {
        let key = PrivateKey::generate(&mut Rng::from_seed([1; 32]));
        let signature = key.sign(b"message");
        assert_eq!(key.public_key().verify(b"message", &signature), Ok(()));
        assert_eq!(
            key.public_key().verify(b"other", &signature),
            Err(InvalidSignature)
        );
    }

    proptest! {
        #[test]
        fn keys_and_signatures_are_those_of_another_implementation(
            seed: [u8; 32],
            message in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let (ours, theirs) = (
                PrivateKey::from_bytes(seed),
                ed25519_dalek::SigningKey::from_bytes(&seed),
            );
            prop_assert_eq!(ours.public_key().0, theirs.verifying_key().to_bytes());
            prop_assert_eq!(ours.sign(&message).0, theirs.sign(&message).to_bytes());
        }
    }

    #[test]
    fn a_scalar_that_is_not_reduced_is_refused() {
        let key = PrivateKey::generate(&mut Rng::from_seed([1; 32]));
        let mut signature = key.sign(b"message");
        let mut carry = 0;
        for (byte, order) in signature.0[32..].iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            *byte = sum.to_le_bytes()[0];
            carry = sum >> 8;
        }
        assert_eq!(
            key.public_key().verify(b"message", &signature),
            Err(InvalidSignature)
        );
    }

    fn signed_by(keys: &[PrivateKey]) -> Vec<(PublicKey, Signature, Vec<u8>)> {
        let sign = |(number, key): (usize, &PrivateKey)| {
            let message = format!("message {number}").into_bytes();
            (key.public_key(), key.sign(&message), message)
        };
        keys.iter().enumerate().map(sign).collect()
    }

    fn all(signed: &[(PublicKey, Signature, Vec<u8>)]) -> bool {
        let signed = signed.iter().map(|(key, signature, message)| {
            let (first, last) = message.split_at(message.len() / 2);
            Signed {
                key,
                signature,
                message: [first, last],
            }
        });
        verify_all(&signed.collect::<Vec<_>>())
    }

    #[test]
    fn many_are_valid_if_each_of_them_is() {
        let mut rng = Rng::from_seed([1; 32]);
        for count in [0_usize, 1, 2, 3, 50, 250] {
            let keys: Vec<_> = (0..count).map(|_| PrivateKey::generate(&mut rng)).collect();
            let mut signed = signed_by(&keys);
            assert!(all(&signed), "{count}");
            let Some(forged) = count.checked_sub(1) else {
                continue;
            };
            let signature = signed[forged].1;
            for at in [0, 31, 32, 63] {
                signed[forged].1.0[at] ^= 1;
                assert!(!all(&signed), "{count}, {at}");
                signed[forged].1 = signature;
            }
            signed[forged].2.push(0);
            assert!(!all(&signed), "{count}");
        }
    }

    #[test]
    fn faults_of_two_signatures_do_not_cancel_out() {
        let mut rng = Rng::from_seed([1; 32]);
        let keys = [
            PrivateKey::generate(&mut rng),
            PrivateKey::generate(&mut rng),
        ];
        let mut signed = signed_by(&keys);
        let add = |signature: &mut Signature, number: Scalar| {
            let (_, s) = signature.0.split_last_chunk_mut::<32>().unwrap();
            let sum = Scalar::from_canonical_bytes(*s).unwrap() + number;
            s.copy_from_slice(sum.as_bytes());
        };
        add(&mut signed[0].1, Scalar::ONE);
        add(&mut signed[1].1, -Scalar::ONE);
        assert!(!all(&signed));
    }

    /// The owner of a key can make a signature that is valid but for a point of small order. One and many of them are judged alike.
    #[test]
    fn a_signature_with_a_point_of_small_order_is_judged_alike_alone_and_with_others() {
        let mut rng = Rng::from_seed([1; 32]);
        let torsion = curve25519_dalek::constants::EIGHT_TORSION[1];
        let keys: Vec<_> = (0..3).map(|_| PrivateKey::generate(&mut rng)).collect();
        let mut signed = signed_by(&keys);
        let (key, signature, message) = &mut signed[1];
        let (nonce, secret) = (Scalar::from(7_u8), Scalar::from(11_u8));
        *key = PublicKey((EdwardsPoint::mul_base(&secret)).compress().0);
        let r = (EdwardsPoint::mul_base(&nonce) + torsion).compress();
        signature.0[..32].copy_from_slice(&r.0);
        let hash = Sha512::new()
            .chain_update(r.0)
            .chain_update(key.0)
            .chain_update(&*message);
        let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
        signature.0[32..].copy_from_slice((nonce + k * secret).as_bytes());
        assert_eq!(key.verify(message, signature), Ok(()));
        assert!(all(&signed));
    }

    #[test]
    fn bytes_that_are_no_point_verify_nothing() {
        let signature = PrivateKey::from_bytes([1; 32]).sign(b"message");
        let mut no_point = [0; 32];
        no_point[0] = 2;
        assert!(ed25519_dalek::VerifyingKey::from_bytes(&no_point).is_err());
        let no_point = PublicKey::from_bytes(no_point);
        assert_eq!(
            no_point.verify(b"message", &signature),
            Err(InvalidSignature)
        );
    }

    #[test]
    fn der_round_trips() {
        let private_key = PrivateKey::generate(&mut Rng::from_seed([1; 32]));
        let public_key = private_key.public_key();
        assert_eq!(
            PrivateKey::from_pkcs8(private_key.to_pkcs8().as_bytes()),
            Ok(private_key)
        );
        assert_eq!(PublicKey::from_spki(&public_key.to_spki()), Ok(public_key));
    }

    #[test]
    fn it_prints_redacted() {
        let key = PrivateKey::from_bytes([7; 32]);
        assert_eq!(format!("{key:?}"), "PrivateKey([redacted])");
    }
}
