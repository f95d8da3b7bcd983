//! ring's cipher suites, with a tap on the one value that rustls does not show: the Finished messages.

use rustls::crypto::ring::cipher_suite as ring;
use rustls::crypto::tls12::Prf;
use rustls::crypto::tls13::{Hkdf, HkdfExpander, OkmBlock};
use rustls::crypto::{ActiveKeyExchange, CipherSuiteCommon, hmac};
use rustls::{Error, SignatureScheme, SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite};

use super::ambient;

/// The suites of SMP, XFTP and NTF: ChaCha20-Poly1305, with Ed448 and Ed25519 certificates also in TLS 1.2.
pub(super) static CHACHA20: &[SupportedCipherSuite] = &[
    SupportedCipherSuite::Tls13(&TLS13_CHACHA20_POLY1305_SHA256),
    SupportedCipherSuite::Tls12(&TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// The suites of a port that web browsers share.
pub(super) static WIDE: &[SupportedCipherSuite] = &[
    SupportedCipherSuite::Tls13(&TLS13_CHACHA20_POLY1305_SHA256),
    SupportedCipherSuite::Tls13(&TLS13_AES_256_GCM_SHA384),
    SupportedCipherSuite::Tls13(&TLS13_AES_128_GCM_SHA256),
    SupportedCipherSuite::Tls12(&TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    SupportedCipherSuite::Tls12(&TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    SupportedCipherSuite::Tls12(&TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    SupportedCipherSuite::Tls12(&TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    SupportedCipherSuite::Tls12(&TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    SupportedCipherSuite::Tls12(&TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
];

/// What ECDSA suites of TLS 1.2 may be signed with; ring's do not name Ed448.
const ECDSA: &[SignatureScheme] = &[
    SignatureScheme::ED448,
    SignatureScheme::ED25519,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP256_SHA256,
];

const RSA: &[SignatureScheme] = &[
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PKCS1_SHA512,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA256,
];

/// HKDF, whose only MACs in a handshake without resumption are those of the two Finished messages.
struct TappedHkdf(&'static dyn Hkdf);

impl Hkdf for TappedHkdf {
    fn hmac_sign(&self, key: &OkmBlock, message: &[u8]) -> hmac::Tag {
        let tag = self.0.hmac_sign(key, message);
        ambient::record(|finished| finished.mac(tag.as_ref()));
        tag
    }

    fn extract_from_zero_ikm(&self, salt: Option<&[u8]>) -> Box<dyn HkdfExpander> {
        self.0.extract_from_zero_ikm(salt)
    }

    fn extract_from_secret(&self, salt: Option<&[u8]>, secret: &[u8]) -> Box<dyn HkdfExpander> {
        self.0.extract_from_secret(salt, secret)
    }

    fn extract_from_kx_shared_secret(
        &self,
        salt: Option<&[u8]>,
        exchange: Box<dyn ActiveKeyExchange>,
        peer_key: &[u8],
    ) -> Result<Box<dyn HkdfExpander>, Error> {
        self.0
            .extract_from_kx_shared_secret(salt, exchange, peer_key)
    }

    fn expander_for_okm(&self, okm: &OkmBlock) -> Box<dyn HkdfExpander> {
        self.0.expander_for_okm(okm)
    }
}

/// The PRF of TLS 1.2, which is told by a label what it computes.
struct TappedPrf(&'static dyn Prf);

impl Prf for TappedPrf {
    fn for_secret(&self, output: &mut [u8], secret: &[u8], label: &[u8], seed: &[u8]) {
        self.0.for_secret(output, secret, label, seed);
        match label {
            b"client finished" => ambient::record(|finished| finished.client(output)),
            b"server finished" => ambient::record(|finished| finished.server(output)),
            _ => {}
        }
    }

    fn for_key_exchange(
        &self,
        output: &mut [u8; 48],
        exchange: Box<dyn ActiveKeyExchange>,
        peer_key: &[u8],
        label: &[u8],
        seed: &[u8],
    ) -> Result<(), Error> {
        self.0
            .for_key_exchange(output, exchange, peer_key, label, seed)
    }
}

macro_rules! tls13 {
    ($($suite:ident: $hkdf:ident),+ $(,)?) => { $(
        static $hkdf: TappedHkdf = TappedHkdf(ring_tls13(&ring::$suite).hkdf_provider);
        static $suite: Tls13CipherSuite = Tls13CipherSuite {
            common: common(&ring_tls13(&ring::$suite).common),
            hkdf_provider: &$hkdf,
            aead_alg: ring_tls13(&ring::$suite).aead_alg,
            quic: None,
        };
    )+ };
}

macro_rules! tls12 {
    ($($suite:ident: $prf:ident, $sign:expr),+ $(,)?) => { $(
        static $prf: TappedPrf = TappedPrf(ring_tls12(&ring::$suite).prf_provider);
        static $suite: Tls12CipherSuite = Tls12CipherSuite {
            common: common(&ring_tls12(&ring::$suite).common),
            prf_provider: &$prf,
            kx: ring_tls12(&ring::$suite).kx,
            sign: $sign,
            aead_alg: ring_tls12(&ring::$suite).aead_alg,
        };
    )+ };
}

tls13! {
    TLS13_CHACHA20_POLY1305_SHA256: CHACHA20_HKDF,
    TLS13_AES_256_GCM_SHA384: AES_256_HKDF,
    TLS13_AES_128_GCM_SHA256: AES_128_HKDF,
}

tls12! {
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: ECDSA_CHACHA20_PRF, ECDSA,
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: ECDSA_AES_256_PRF, ECDSA,
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: ECDSA_AES_128_PRF, ECDSA,
    TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256: RSA_CHACHA20_PRF, RSA,
    TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: RSA_AES_256_PRF, RSA,
    TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: RSA_AES_128_PRF, RSA,
}

const fn ring_tls13(suite: &SupportedCipherSuite) -> &'static Tls13CipherSuite {
    match suite {
        SupportedCipherSuite::Tls13(suite) => suite,
        SupportedCipherSuite::Tls12(_) => unreachable!(),
    }
}

const fn ring_tls12(suite: &SupportedCipherSuite) -> &'static Tls12CipherSuite {
    match suite {
        SupportedCipherSuite::Tls12(suite) => suite,
        SupportedCipherSuite::Tls13(_) => unreachable!(),
    }
}

const fn common(ring: &CipherSuiteCommon) -> CipherSuiteCommon {
    CipherSuiteCommon {
        suite: ring.suite,
        hash_provider: ring.hash_provider,
        confidentiality_limit: ring.confidentiality_limit,
    }
}
