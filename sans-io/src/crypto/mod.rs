//! Keys, boxes, authenticators, chains and hashes: every primitive that a SimpleX protocol names.
//!
//! Nothing here draws randomness of its own, reads a clock, or knows a protocol; everything works on the caller's bytes.

mod algorithm;
pub mod certificate;
mod curve448;
pub mod der;
pub mod ed25519;
pub mod ed448;
mod keys;
pub mod pem;
mod secret;
pub mod x25519;
pub mod x448;

pub use algorithm::{Algorithm, KeyError};
pub use keys::{
    AuthPrivateKey, AuthPublicKey, InvalidSignature, PrivateKey, PublicKey, Signature, SigningKey,
    VerifyingKey,
};
pub use secret::Secret;
