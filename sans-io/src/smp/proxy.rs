//! The layers of a command that a proxy forwards to a relay, and of its response.
//!
//! ```text
//!   client ── PFWD: version, key, box(client, relay) ──▶ proxy ── RFWD: box(proxy, relay) ──▶ relay
//!   client ◀─ PRES: box(client, relay) ───────────────── proxy ◀─ RRES: box(proxy, relay) ─── relay
//! ```
//! The client's box holds a batch of one transmission of the session between proxy and relay, under a key for this command only; the
//! proxy's box adds what the relay needs to open it. The nonces are the correlation ids, reversed in the responses. The proxy never
//! learns the queue, the relay never learns the client.

use bytes::{Bytes, BytesMut};

use super::batch;
use super::error::{BrokerError, TransportError};
use super::message::CertificateChain;
use super::transmission::Session;
use super::version::{PROXIED, SUPPORTED};
use super::{Command, ErrorType};
use crate::crypto::certificate::{Chain, ChainKind, SignedKey};
use crate::crypto::secret_box::Key;
use crate::crypto::{Nonce, x25519};
use crate::rng::Rng;
use crate::wire;
use crate::wire::{CorrId, Id, KeyHash, Large, Tail, Version, VersionRange};

/// The size to which a forwarded transmission and its response are padded.
pub const PADDED_TRANSMISSION: usize = 16226;

/// What a client knows of a session between a proxy and a relay: what it needs to send commands through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelaySession {
    /// The version of the commands, and the id of the session: the entity of PFWD.
    pub session: Session,
    /// The relay's key for this session.
    pub key: x25519::PublicKey,
}

/// A chain that was checked for its path and its validity, besides the fingerprint.
pub trait VerifyChain {
    /// Whether the chain leads to its last certificate and is valid now.
    fn verify(&self, chain: &Chain) -> bool;
}

impl<F: Fn(&Chain) -> bool> VerifyChain for F {
    fn verify(&self, chain: &Chain) -> bool {
        self(chain)
    }
}

impl RelaySession {
    /// Checks what a PKEY says, as if the client had connected to the relay itself.
    pub fn new(
        relay: &KeyHash,
        session_id: Id,
        versions: VersionRange,
        chain: &CertificateChain,
        signed_key: &Large,
        verifier: &dyn VerifyChain,
    ) -> Result<Self, TransportError> {
        const BAD_AUTH: TransportError = TransportError::Handshake {
            error: super::HandshakeError::BadAuth,
        };
        const IDENTITY: TransportError = TransportError::Handshake {
            error: super::HandshakeError::Identity,
        };
        let version = SUPPORTED
            .intersection(versions)
            .and_then(|versions| versions.agreed(PROXIED))
            .ok_or(TransportError::Version)?;
        let chain = Chain::from_der(chain.iter().map(|certificate| &***certificate))
            .map_err(|_| BAD_AUTH)?;
        if chain.kind() == ChainKind::SelfSigned || *chain.fingerprint().as_bytes() != **relay {
            return Err(IDENTITY);
        }
        if !verifier.verify(&chain) {
            return Err(BAD_AUTH);
        }
        let key = SignedKey::from_der(signed_key)
            .map_err(|_| BAD_AUTH)?
            .verify(chain.leaf().key())
            .map_err(|_| BAD_AUTH)?;
        let session = Session {
            version,
            id: session_id,
        };
        Ok(Self { session, key })
    }

    /// Encrypts a transmission of this session for the relay.
    pub fn seal(
        &self,
        transmission: &Bytes,
        corr_id: &CorrId,
        rng: &mut Rng,
    ) -> Result<(Command, SealedFor), TooLarge> {
        let private_key = x25519::PrivateKey::generate(rng);
        self.seal_with(transmission, corr_id, &private_key)
    }

    /// Encrypts a transmission of this session for the relay, under this key that no other command has.
    pub fn seal_with(
        &self,
        transmission: &Bytes,
        corr_id: &CorrId,
        private_key: &x25519::PrivateKey,
    ) -> Result<(Command, SealedFor), TooLarge> {
        let key = Key::from(&private_key.agree(&self.key));
        let nonce = Nonce::from_bytes(corr_id);
        let command = Command::Pfwd {
            version: self.session.version,
            key: private_key.public_key(),
            encrypted: seal_batch(&key, &nonce, transmission)?,
        };
        let response = SealedFor {
            key,
            nonce: nonce.reversed(),
        };
        Ok((command, response))
    }
}

/// Who may read the response to a forwarded command: the client that has sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedFor {
    key: Key,
    nonce: Nonce,
}

impl SealedFor {
    /// Encrypts the relay's transmission for the client.
    pub fn seal(&self, transmission: &Bytes) -> Result<Bytes, TooLarge> {
        seal_batch(&self.key, &self.nonce, transmission)
    }

    /// Decrypts the relay's transmission.
    pub fn open(&self, encrypted: &[u8]) -> Result<Bytes, ErrorType> {
        open_batch(&self.key, &self.nonce, encrypted)
    }
}

/// A transmission that fits into no block once it is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the transmission does not fit into a forwarded block")]
pub struct TooLarge;

wire! {
    /// What a proxy sends to a relay.
    pub struct Forwarded {
        /// The correlation id of the client's command.
        pub corr_id: CorrId,
        /// The version of the transmission inside.
        pub version: Version,
        /// The client's key for this command only.
        pub key: x25519::PublicKey,
        /// The client's transmission, for the relay.
        pub encrypted: Bytes as Tail,
    }
}

wire! {
    /// What a relay answers to a proxy.
    pub struct ForwardedResponse {
        /// The correlation id of the client's command.
        pub corr_id: CorrId,
        /// The relay's transmission, for the client.
        pub encrypted: Bytes as Tail,
    }
}

impl Forwarded {
    /// The content of the RFWD with that correlation id.
    #[must_use]
    pub fn encrypt(&self, secret: &x25519::SharedSecret, rfwd: &CorrId) -> Bytes {
        let text = wire::encode(self, self.version);
        let sealed = Key::from(secret).seal(&Nonce::from_bytes(rfwd), &text);
        sealed.freeze()
    }

    /// What the content of an RFWD forwards.
    pub fn decrypt(
        secret: &x25519::SharedSecret,
        rfwd: &CorrId,
        encrypted: &[u8],
    ) -> Result<Self, ErrorType> {
        let nonce = Nonce::from_bytes(rfwd);
        let text = open(&Key::from(secret), &nonce, encrypted)?;
        wire::decode(Version::default(), &text)
            .map_err(|_| ErrorType::command(super::CommandError::Syntax))
    }

    /// Opens the client's layer: the transmission, and who may read the response.
    pub fn open(&self, session_key: &x25519::PrivateKey) -> Result<(Bytes, SealedFor), ErrorType> {
        let key = Key::from(&session_key.agree(&self.key));
        let nonce = Nonce::from_bytes(&self.corr_id);
        let transmission = open_batch(&key, &nonce, &self.encrypted)?;
        let response = SealedFor {
            key,
            nonce: nonce.reversed(),
        };
        Ok((transmission, response))
    }
}

impl ForwardedResponse {
    /// The content of the RRES to the RFWD with that correlation id.
    #[must_use]
    pub fn encrypt(&self, secret: &x25519::SharedSecret, rfwd: &CorrId) -> Bytes {
        let text = wire::encode(self, Version::default());
        let sealed = Key::from(secret).seal(&Nonce::from_bytes(rfwd).reversed(), &text);
        sealed.freeze()
    }

    /// What the content of an RRES answers.
    pub fn decrypt(
        secret: &x25519::SharedSecret,
        rfwd: &CorrId,
        encrypted: &[u8],
    ) -> Result<Self, ErrorType> {
        let nonce = Nonce::from_bytes(rfwd).reversed();
        let text = open(&Key::from(secret), &nonce, encrypted)?;
        wire::decode(Version::default(), &text).map_err(|_| ErrorType::Proxy {
            error: super::ProxyError::Broker {
                error: BrokerError::Response {
                    error: "forwarded response".into(),
                },
            },
        })
    }
}

fn seal_batch(key: &Key, nonce: &Nonce, transmission: &Bytes) -> Result<Bytes, TooLarge> {
    let batch = std::slice::from_ref(transmission);
    let mut content = BytesMut::with_capacity(batch::content_length(batch));
    batch::put_content(batch, &mut content);
    let sealed = key.seal_padded(nonce, &content, PADDED_TRANSMISSION);
    Ok(sealed.map_err(|_| TooLarge)?.freeze())
}

fn open_batch(key: &Key, nonce: &Nonce, encrypted: &[u8]) -> Result<Bytes, ErrorType> {
    let mut sealed = BytesMut::from(encrypted);
    let content = key
        .open_padded(nonce, &mut sealed)
        .map_err(|_| ErrorType::Crypto)?;
    let transmissions = batch::unpack(&Bytes::copy_from_slice(content)).ok_or(ErrorType::Block)?;
    match <[Bytes; 1]>::try_from(transmissions) {
        Ok([transmission]) => Ok(transmission),
        Err(_) => Err(ErrorType::Block),
    }
}

fn open(key: &Key, nonce: &Nonce, encrypted: &[u8]) -> Result<Bytes, ErrorType> {
    let mut sealed = BytesMut::from(encrypted);
    match key.open(nonce, &mut sealed) {
        Ok(text) => Ok(Bytes::copy_from_slice(text)),
        Err(_) => Err(ErrorType::Crypto),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Algorithm;
    use crate::rng::Rng;
    use crate::sim::identity::Credentials;
    use proptest::prelude::*;

    fn relay(rng: &mut Rng) -> (RelaySession, x25519::PrivateKey) {
        let private_key = x25519::PrivateKey::generate(rng);
        let session = Session {
            version: Version(20),
            id: Id::try_from([7; 32].as_slice()).unwrap(),
        };
        let key = private_key.public_key();
        (RelaySession { session, key }, private_key)
    }

    proptest! {
        #[test]
        fn both_layers_open_on_both_ways(seed: [u8; 32], length in 0..16_200_usize) {
            let mut rng = Rng::from_seed(seed);
            let (relay, session_key) = relay(&mut rng);
            let secret = x25519::SharedSecret::from_bytes(rng.bytes());
            let (corr_id, rfwd) = (CorrId::from(rng.bytes::<24>()), CorrId::from(rng.bytes::<24>()));
            let request = Bytes::from(vec![1; length]);

            let (command, for_client) = relay.seal(&request, &corr_id, &mut rng).unwrap();
            let Command::Pfwd { version, key, encrypted } = command else { panic!() };
            prop_assert_eq!(encrypted.len(), 16242);
            let forwarded = Forwarded { corr_id: corr_id.clone(), version, key, encrypted };
            let sealed = forwarded.encrypt(&secret, &rfwd);
            prop_assert_eq!(sealed.len(), 16330);

            let opened = Forwarded::decrypt(&secret, &rfwd, &sealed).unwrap();
            prop_assert_eq!(&opened, &forwarded);
            let (transmission, for_response) = opened.open(&session_key).unwrap();
            prop_assert_eq!(&transmission, &request);
            prop_assert_eq!(&for_response, &for_client);

            let encrypted = for_response.seal(&Bytes::from_static(b"OK")).unwrap();
            let response = ForwardedResponse { corr_id, encrypted };
            let sealed = response.encrypt(&secret, &rfwd);
            let opened = ForwardedResponse::decrypt(&secret, &rfwd, &sealed).unwrap();
            prop_assert_eq!(for_client.open(&opened.encrypted).unwrap(), b"OK".as_slice());
            prop_assert_eq!(Forwarded::decrypt(&secret, &rfwd, &sealed), Err(ErrorType::Crypto));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut rng = Rng::from_seed([1; 32]);
        let (relay, _) = relay(&mut rng);
        let large = Bytes::from(vec![0; PADDED_TRANSMISSION]);
        assert_eq!(relay.seal(&large, &CorrId::EMPTY, &mut rng), Err(TooLarge));
    }

    #[test]
    fn a_relay_is_checked_as_if_it_were_connected_to() {
        let mut rng = Rng::from_seed([1; 32]);
        let credentials = Credentials::issue(Algorithm::Ed448, &mut rng);
        let key = x25519::PrivateKey::generate(&mut rng).public_key();
        let signed = SignedKey::sign(key, &credentials.leaf_key).to_der();
        let signed = Large::try_from(signed.as_slice()).unwrap();
        let certificates = credentials.chain.certificates();
        let certificates = certificates.map(|c| Large::try_from(c.as_der().clone()).unwrap());
        let chain = CertificateChain::try_from(certificates.collect::<Vec<_>>()).unwrap();
        let check = |relay: &KeyHash, versions, verified: bool| {
            let verifier = |_: &Chain| verified;
            RelaySession::new(relay, Id::EMPTY, versions, &chain, &signed, &verifier)
        };
        let (relay, versions) = (credentials.key_hash(), PROXIED);
        assert_eq!(check(&relay, versions, true).unwrap().key, key);
        assert!(check(&relay, versions, false).is_err());
        assert!(check(&KeyHash::from([0; 32]), versions, true).is_err());
        let old = VersionRange::new(6, 7).unwrap();
        assert_eq!(check(&relay, old, true), Err(TransportError::Version));
    }
}
