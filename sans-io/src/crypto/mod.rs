//! Keys, boxes, authenticators, chains and hashes: every primitive that a SimpleX protocol names.
//!
//! Nothing here draws randomness of its own, reads a clock, or knows a protocol; everything works on the caller's bytes. Secrets are
//! erased on drop, print as `[redacted]`, and are compared in constant time.
//!
//! | primitive | here | crate | where the protocols use it |
//! |---|---|---|---|
//! | X25519 | [`x25519`] | x25519-dalek | sessions, queues (bodies and authenticators), proxied commands, notifications, files, remote control |
//! | X448 | [`x448`] | crrl | key agreement and ratchet of agents; TLS with the reference's clients |
//! | Ed25519 | [`ed25519`] | ed25519-dalek | queue commands, services, links and their owners, file chunks, certificates, session keys |
//! | Ed448 | [`ed448`] | crrl | certificates and session keys of older routers; queue commands, where asked for |
//! | keys and signatures of several algorithms, DER | [`PublicKey`], [`AuthPublicKey`], [`VerifyingKey`], [`Signature`] and their private counterparts | none | wherever a key travels, and in key files |
//! | certificates, their chains and PEM files | [`certificate`], [`der`], [`pem`] | none | identity of routers and services, signed session keys |
//! | XSalsa20-Poly1305 with one more HSalsa20 (`crypto_box`, `secret_box`) | [`secret_box`] | our `simplex-xsalsa20poly1305` | blocks, message bodies, envelopes, proxy layers, link data, notifications (tag first); files, chunk downloads, remote control (tag last, streamed) |
//! | 80-byte authenticator | [`Authenticator`] | | queue commands under an X25519 key |
//! | chains of box keys | [`block_chain`] | | encrypted blocks of SMP; bodies of remote control |
//! | AES-256-GCM, 16-byte IV | [`aes_gcm`] | aes-gcm | headers and bodies of ratchet messages |
//! | AES-256-GCM, 12-byte IV | [`aes_gcm::encrypt_frame`] | aes-gcm | media frames of applications |
//! | sntrup761, hybrid secret | [`kem`] | sntrup | ratchet and its key agreement; remote control (hybrid) |
//! | HKDF-SHA512 | [`hash::hkdf_sha512`] | sha2 | chains, links, key agreement and ratchet of agents |
//! | SHA-256 | [`hash::sha256`], [`hash::Sha256`] | sha2 | fingerprints of certificates, chain of messages, digests of chunks |
//! | SHA-512 | [`hash::sha512`], [`hash::Sha512`] | sha2 | authenticators; digests of files |
//! | SHA3-256, SHA3-384 | [`hash::sha3_256`], [`hash::sha3_384`] | orion | link keys, hybrid secrets; sender ids |
//! | XOR of MD5 | [`IdsHash`] | md-5 | services compare their sets of queues |
//! | ids and keys that follow from others | [`derivation`] | | sender ids, short links |
//! | certificates, chains, fingerprints, signed session keys | [`certificate`], [`der`], [`pem`] | | TLS, handshakes, services |
//! | nonces from ids | [`Nonce`] | | every box: the id of a message, the correlation id of a command, or random bytes |

pub mod aes_gcm;
mod algorithm;
mod authenticator;
pub mod block_chain;
pub mod certificate;
mod curve448;
pub mod der;
pub mod derivation;
pub mod ed25519;
pub mod ed448;
mod encoding;
pub mod hash;
mod hkdf;
mod ids_hash;
pub mod kem;
mod keys;
mod nonce;
pub mod pem;
mod secret;
pub mod secret_box;
mod tag;
pub mod x25519;
pub mod x448;

pub use algorithm::{Algorithm, KeyError};
pub use authenticator::{Authenticator, AuthorizedHash, InvalidAuthenticator};
pub use ids_hash::IdsHash;
pub use keys::{
    AuthPrivateKey, AuthPublicKey, InvalidSignature, PrivateKey, PublicKey, Signature, SigningKey,
    VerifyingKey,
};
pub use nonce::Nonce;
pub use secret::Secret;
pub use tag::{DecryptError, Tag};
