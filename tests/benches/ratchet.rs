//! Messages of a ratchet, beside plain AES-256-GCM on as much and the Olm of vodozemac; and what a turn costs, with and without
//! post-quantum keys.

use bytes::BytesMut;
use simplex_sans_io::crypto::{Secret, aes_gcm};
use simplex_sans_io::ratchet::{OfferedKeys, Pq, Ratchet, SUPPORTED, SkippedKeys};
use simplex_sans_io::rng::Rng;
use simplex_tests::bench::{Bench, shared};
use vodozemac::olm::{Account, OlmMessage, Session, SessionConfig};

/// What messages are padded to where post-quantum keys are not supported, and where they are.
const PADDED: usize = 15840;
const PADDED_PQ: usize = 13618;

fn main() {
    of_messages("a message of 15840 bytes", Pq::Off, PADDED);
    of_messages("a message of 13618 bytes, PQ", Pq::On, PADDED_PQ);
    of_turns();
}

/// Both parties, after each has sent a message.
struct Parties {
    /// Has received the other's last message.
    sender: &'static Ratchet,
    /// Is at the start of the sender's chain.
    receiver: &'static Ratchet,
    rng: Rng,
}

impl Parties {
    #[expect(clippy::expect_used, reason = "a bench of what fails measures nothing")]
    fn new(pq: Pq) -> Self {
        let mut rng = Rng::from_seed([7; 32]);
        let offered = OfferedKeys::generate(&mut rng, pq);
        let params = offered.params(SUPPORTED.max());
        let (joiner, params) =
            Ratchet::joiner(&mut rng, &params, pq, SUPPORTED).expect("parameters that fit");
        let initiator =
            Ratchet::initiator(&offered, &params, pq, SUPPORTED).expect("parameters that fit");
        let (joiner, message) = send(&joiner, PADDED_PQ);
        let initiator = receive(&initiator, &mut rng, &message);
        Self {
            sender: shared(joiner),
            receiver: shared(initiator),
            rng,
        }
    }
}

#[expect(clippy::expect_used, reason = "a bench of what fails measures nothing")]
fn send(ratchet: &Ratchet, padded: usize) -> (Ratchet, BytesMut) {
    let step = ratchet.encrypt(None, SUPPORTED.max());
    let step = step.expect("a ratchet that can send");
    let content = [7; PADDED_PQ - 2];
    let message = step.key.encrypt(&content, padded).expect("it fits");
    (step.ratchet, BytesMut::from(&*message))
}

#[expect(clippy::expect_used, reason = "a bench of what fails measures nothing")]
fn receive(ratchet: &Ratchet, rng: &mut Rng, message: &BytesMut) -> Ratchet {
    let step = ratchet.decrypt(&SkippedKeys::new(), rng, message.clone());
    step.expect("a message of the peer").ratchet
}

fn of_messages(title: &'static str, pq: Pq, padded: usize) {
    let (key, mut buffer) = (Secret::from_bytes([7; 32]), vec![7; padded]);
    let mut bench = Bench::new(title, "AES-256-GCM, 16-byte IV: encrypt", move || {
        aes_gcm::encrypt(&key, &[7; 16], b"", &mut buffer)
    });
    let Parties {
        sender,
        receiver,
        mut rng,
    } = Parties::new(pq);
    bench.measure("copy", {
        let message = BytesMut::from(vec![7; padded].as_slice());
        move || message.clone()
    });
    bench.measure("the step that sends it", || {
        sender.encrypt(None, SUPPORTED.max())
    });
    bench.measure("send it", move || {
        let step = sender.encrypt(None, SUPPORTED.max());
        step.map(|step| step.key.encrypt(b"content", padded))
    });
    let (_, message) = send(sender, padded);
    bench.measure("receive it (and copy)", move || {
        receive(receiver, &mut rng, &message)
    });
    let Parties {
        sender,
        receiver,
        mut rng,
    } = Parties::new(pq);
    let (mut sending, mut receiving) = (sender.clone(), receiver.clone());
    bench.measure("send and receive it, one after the other", move || {
        let (next, message) = send(&sending, padded);
        sending = next;
        receiving = receive(&receiving, &mut rng, &message);
    });
    let (mut sending, mut receiving) = olm();
    let content = vec![7; padded];
    bench.measure("vodozemac, Olm: send and receive as much", move || {
        let message = sending.encrypt(&content);
        message.map(|message| receiving.decrypt(&message))
    });
    bench.print();
}

/// Two sessions of Olm, after each has sent a message.
#[expect(clippy::expect_used, reason = "a bench of what fails measures nothing")]
fn olm() -> (Session, Session) {
    let (alice, mut bob) = (Account::new(), Account::new());
    bob.generate_one_time_keys(1);
    let key = bob.one_time_keys().into_values().next().expect("a key");
    let config = SessionConfig::version_1();
    let outbound = alice.create_outbound_session(config, bob.curve25519_key(), key);
    let mut outbound = outbound.expect("keys that fit");
    let OlmMessage::PreKey(first) = outbound.encrypt("hello").expect("a message") else {
        return olm();
    };
    let inbound = bob.create_inbound_session(config, alice.curve25519_key(), &first);
    let mut inbound = inbound.expect("a first message").session;
    let answer = inbound.encrypt("hello").expect("a message");
    outbound.decrypt(&answer).expect("a message");
    (outbound, inbound)
}

fn of_turns() {
    let (key, mut buffer) = (Secret::from_bytes([7; 32]), vec![7; PADDED]);
    let baseline = "AES-256-GCM, 16-byte IV: encrypt 15840 bytes";
    let mut bench = Bench::new("a message that turns the ratchet", baseline, move || {
        aes_gcm::encrypt(&key, &[7; 16], b"", &mut buffer)
    });
    for (name, pq) in [("receive it", Pq::Off), ("receive it, PQ", Pq::On)] {
        let Parties {
            sender,
            receiver,
            mut rng,
        } = Parties::new(pq);
        let (_, answer) = send(receiver, PADDED);
        bench.measure(name, move || receive(sender, &mut rng, &answer));
    }
    bench.print();
}
