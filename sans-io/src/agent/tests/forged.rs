//! Whoever has an address can write into its queue: nothing of that stands in the way of the genuine peer.

use bytes::Bytes;

use super::peers::{ALICE, BOB, Peers};
use crate::agent::command::Command as AgentCommand;
use crate::agent::config::Config;
use crate::agent::envelope::{AgentEnvelope, ClientEnvelope, EnvelopeContent};
use crate::agent::error::{AgentError, CryptoError};
use crate::agent::event::EventContent;
use crate::agent::link::ConnectionRequest;
use crate::agent::message::ClientMessage;
use crate::agent::queue::QueueUri;
use crate::crypto::{Nonce, x25519};
use crate::ratchet::{InitialKeys, OfferedKeys, Pq, Ratchet, SUPPORTED};
use crate::rng::Rng;
use crate::smp::client::{Request, RequestId};
use crate::smp::{Command, MsgFlags};
use crate::wire::{self, Version};

/// Somebody who has seen the invitation.
pub(super) struct Intruder {
    queue: QueueUri,
    pub(super) rng: Rng,
}

impl Intruder {
    pub(super) fn new(request: &ConnectionRequest) -> Self {
        Self {
            queue: request.data().queues.first().clone(),
            rng: Rng::from_seed([9; 32]),
        }
    }

    pub(super) fn write(&mut self, peers: &mut Peers, body: Bytes) {
        let router = &self.queue.address.router;
        let mut routers = peers.agents.routers.iter_mut();
        let router = routers.find(|known| known.address == *router).unwrap();
        let flags = MsgFlags { notification: true };
        let sender_id = self.queue.address.sender_id.clone();
        let request = Request::new(RequestId(1), sender_id, Command::Send { flags, body });
        let client = router.world.connect();
        router.world.send(client, vec![request]);
        router.world.disconnect(client);
        peers.agents.run();
    }

    fn sealed(&mut self, message: &ClientMessage, with_key: bool) -> Bytes {
        let key = x25519::PrivateKey::generate(&mut self.rng);
        let secret = key.agree(&self.queue.dh_key);
        let public_key = with_key.then(|| key.public_key());
        let nonce = Nonce::generate(&mut self.rng);
        let sealed = ClientEnvelope::seal(Version(4), public_key, &secret, nonce, message);
        wire::encode(&sealed.unwrap(), Version(0))
    }

    pub(super) fn envelope(&mut self, content: EnvelopeContent) -> Bytes {
        let version = Version(7);
        let envelope = AgentEnvelope { version, content };
        let body = wire::encode(&envelope, Version(0));
        self.sealed(&ClientMessage::Plain { body }, true)
    }
}

fn errors(peers: &mut Peers) -> Vec<AgentError> {
    let events = peers
        .told(ALICE)
        .into_iter()
        .filter_map(|event| match event {
            EventContent::Error { error } => Some(error),
            EventContent::Confirmation { .. } => panic!("believed"),
            _ => None,
        });
    events.collect()
}

#[test]
fn what_an_intruder_writes_does_not_keep_the_peer_from_joining() {
    let mut peers = Peers::new(1, 1);
    let request = peers.invite(InitialKeys::Later);
    let mut intruder = Intruder::new(&request);
    let keys = OfferedKeys::generate(&mut intruder.rng, Pq::Off);
    let offered = keys.params(SUPPORTED.max());
    let joiner = Ratchet::joiner(&mut intruder.rng, &offered, Pq::Off, SUPPORTED);
    let (ratchet, params) = joiner.unwrap();
    let step = ratchet.encrypt(None, SUPPORTED.max()).unwrap();
    let for_others = step.key.encrypt(b"hello", 11106).unwrap();
    let garbage = Bytes::from_static(b"garbage");
    let plain = ClientMessage::Plain {
        body: garbage.clone(),
    };
    let prohibited = |context: &str| AgentError::MessageProhibited {
        context: context.into(),
    };
    let crypto = |error| AgentError::Crypto { error };
    let written = [
        (Bytes::new(), AgentError::Message),
        (garbage.clone(), AgentError::Message),
        (
            intruder.sealed(&plain, false),
            prohibited("no key of the queue"),
        ),
        (intruder.sealed(&plain, true), AgentError::Message),
        (
            intruder.envelope(EnvelopeContent::Message {
                encrypted: garbage.clone(),
            }),
            prohibited("a message before the handshake"),
        ),
        (
            intruder.envelope(EnvelopeContent::RatchetKey {
                params: offered,
                info: garbage.clone(),
            }),
            prohibited("a message before the handshake"),
        ),
        (
            intruder.envelope(EnvelopeContent::Invitation {
                request: Box::new(request.clone()),
                info: garbage.clone(),
            }),
            prohibited("a request for a connection"),
        ),
        (
            intruder.envelope(EnvelopeContent::Confirmation {
                params: None,
                encrypted: garbage.clone(),
            }),
            prohibited("a confirmation"),
        ),
        (
            intruder.envelope(EnvelopeContent::Confirmation {
                params: Some(params),
                encrypted: for_others,
            }),
            crypto(CryptoError::Header),
        ),
    ];
    for (body, expected) in written {
        intruder.write(&mut peers, body);
        assert_eq!(errors(&mut peers), [expected]);
    }
    let join = peers.join(request, Pq::On);
    assert!(peers.agents.ask(BOB, join).is_ok());
    peers.allow();
    peers.send(ALICE, "it is you");
    assert_eq!(peers.read(BOB), ["it is you"]);
}

#[test]
fn what_a_peer_can_provoke_without_end_is_kept_up_to_a_bound() {
    let config = Config {
        max_events: 3,
        ..Config::default()
    };
    let mut peers = Peers::with(1, 1, &config);
    let request = peers.invite(InitialKeys::Later);
    let mut intruder = Intruder::new(&request);
    let mut told = Vec::new();
    let mut write = |peers: &mut Peers, times| {
        for _ in 0..times {
            intruder.write(peers, Bytes::from_static(b"garbage"));
        }
        let events = peers.agents.events(ALICE);
        told.extend(events.into_iter().filter_map(|event| event.id));
        told.clone()
    };
    let kept = |peers: &mut Peers| {
        peers.agents.crash(ALICE);
        peers.agents.run();
        let events = peers.agents.events(ALICE);
        let ids = events.into_iter().filter_map(|event| event.id);
        ids.collect::<Vec<_>>()
    };
    let told = write(&mut peers, 10);
    assert_eq!(told.len(), 10, "each is told once");
    assert_eq!(kept(&mut peers), told[7..]);
    // Those from before the restart count.
    let told = write(&mut peers, 2);
    assert_eq!(kept(&mut peers), told[9..]);
    // What is confirmed makes room.
    let event = told[10];
    peers.agents.command(ALICE, AgentCommand::Confirm { event });
    peers.agents.run();
    let told = write(&mut peers, 1);
    assert_eq!(kept(&mut peers), [told[9], told[11], told[12]]);
}

/// A body that was altered on its way, and the same message twice: the genuine one is read once.
#[test]
fn the_same_message_twice_is_told_once() {
    let mut peers = Peers::connected(1, 1, InitialKeys::Later);
    // The response to SEND is lost: the message is sent again, under another nonce.
    peers.agents.set_faults(crate::sim::agents::Faults {
        lost_response: 2,
        ..Default::default()
    });
    for number in 0..10 {
        let send = peers.sending(ALICE, &number.to_string());
        peers.agents.command(ALICE, send);
    }
    peers.agents.wait(std::time::Duration::from_secs(300));
    peers.agents.set_faults(Default::default());
    let mut read = Vec::new();
    for _ in 0..20 {
        peers.agents.wait(std::time::Duration::from_secs(100));
        read.extend(peers.read(BOB));
    }
    read.dedup();
    let expected: Vec<_> = (0..10).map(|number: i32| number.to_string()).collect();
    assert_eq!(read, expected);
}
