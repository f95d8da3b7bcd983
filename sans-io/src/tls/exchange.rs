//! Key exchange with X25519 and X448, whose keys come from the session's own randomness.

use rustls::crypto::{ActiveKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::{Error, NamedGroup, PeerMisbehaved};

use super::ambient;
use crate::crypto::{x448, x25519};

macro_rules! group {
    ($(#[$doc:meta])* $group:ident, $module:ident, $exchange:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(super) struct $group;

        struct $exchange {
            private_key: $module::PrivateKey,
            public_key: $module::PublicKey,
        }

        impl SupportedKxGroup for $group {
            fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
                let private_key =
                    ambient::handshake(|handshake| $module::PrivateKey::generate(&mut handshake.rng))
                        .ok_or(Error::FailedToGetRandomBytes)?;
                let public_key = private_key.public_key();
                Ok(Box::new($exchange {
                    private_key,
                    public_key,
                }))
            }

            fn name(&self) -> NamedGroup {
                NamedGroup::$group
            }
        }

        impl ActiveKeyExchange for $exchange {
            fn complete(self: Box<Self>, peer_key: &[u8]) -> Result<SharedSecret, Error> {
                let invalid = PeerMisbehaved::InvalidKeyShare;
                let peer_key = peer_key.try_into().map_err(|_| invalid)?;
                let peer_key = $module::PublicKey::from_bytes(peer_key);
                let secret = self.private_key.agree(&peer_key);
                if !secret.is_contributory() {
                    return Err(PeerMisbehaved::InvalidKeyShare.into());
                }
                Ok(SharedSecret::from(secret.as_bytes().as_slice()))
            }

            fn pub_key(&self) -> &[u8] {
                self.public_key.as_bytes()
            }

            fn group(&self) -> NamedGroup {
                NamedGroup::$group
            }
        }
    };
}

group! {
    /// X25519: what our clients offer first, because it costs both sides a tenth of X448.
    X25519, x25519, X25519Exchange
}

group! {
    /// X448: the only group for which the reference's clients send a key at once.
    X448, x448, X448Exchange
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::time::UnixTime;

    #[test]
    fn both_sides_agree_and_a_key_of_low_order_or_another_length_is_refused() {
        let mut ambient = ambient::Ambient::new(Rng::from_seed([1; 32]));
        for group in [&X25519 as &dyn SupportedKxGroup, &X448] {
            let [a, b, c, d] =
                ambient.during(UnixTime::EPOCH, || [(); 4].map(|()| group.start().unwrap()));
            let (a_key, b_key) = (a.pub_key().to_vec(), b.pub_key().to_vec());
            assert_ne!(a_key, b_key);
            assert_eq!(
                a.complete(&b_key).unwrap().secret_bytes(),
                b.complete(&a_key).unwrap().secret_bytes()
            );
            let invalid = Error::from(PeerMisbehaved::InvalidKeyShare);
            let low_order = vec![0; a_key.len()];
            assert_eq!(c.complete(&low_order).err(), Some(invalid.clone()));
            assert_eq!(d.complete(&a_key[1..]).err(), Some(invalid));
            assert!(group.start().is_err(), "no randomness outside of a session");
        }
    }
}
