//! Handshakes: their messages, and what each side makes of them.

use std::sync::LazyLock;

use bytes::Bytes;

use super::decoded;
use crate::crypto::Algorithm;
use crate::rng::Rng;
use crate::sim::identity::{Credentials, transports};
use crate::smp::handshake::{ClientHello, RouterHello, ServiceResponse, client, parse, router};
use crate::wire::{Version, Wire, encode};

static ROUTER: LazyLock<Credentials> =
    LazyLock::new(|| Credentials::issue(Algorithm::Ed25519, &mut Rng::from_seed([1; 32])));

/// Each message from arbitrary bytes, and the sides that receive them.
pub fn smp_handshake(data: &[u8]) {
    let Some((_, bytes)) = data.split_first() else {
        return;
    };
    let mut rng = Rng::from_seed([2; 32]);
    let (client_side, router_side) = transports(&ROUTER, None, &mut rng);
    if let Some(hello) = message::<RouterHello>(bytes) {
        let config = client::Config::new(ROUTER.key_hash());
        // The client hears of its own session: what the others say of theirs is refused at once.
        let own = RouterHello::new(
            hello.versions,
            client_side.session_id.clone(),
            hello.auth().cloned(),
        );
        for hello in [hello, own] {
            if let Ok((answer, _)) = client::receive(&config, &client_side, &hello, &mut rng) {
                decoded::<ClientHello>(Version(0), &encode(&answer, Version(0)));
            }
        }
    }
    if let Some(hello) = message::<ClientHello>(bytes) {
        let (_, awaits) = router::introduce(&ROUTER.router(), router_side, &mut rng);
        let accepted = awaits.receive(&hello).is_ok();
        assert!(!accepted || *hello.fields.key_hash == *ROUTER.fingerprint().as_bytes());
    }
    message::<ServiceResponse>(bytes);
}

/// The message at the front of the bytes; what follows it makes no difference.
fn message<T: Wire + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Option<T> {
    let message: T = parse(&Bytes::copy_from_slice(bytes)).ok()?;
    let encoded = encode(&message, Version(0));
    assert_eq!(decoded(Version(0), &encoded).as_ref(), Some(&message));
    Some(message)
}
