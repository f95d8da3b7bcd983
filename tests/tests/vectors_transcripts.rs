//! Whole sessions between the reference's client and router are understood, and made again byte by byte: every block and every recorded
//! secret of `transcripts.json`.
#![expect(
    clippy::unwrap_used,
    reason = "a result that is missing fails the test"
)]

use std::collections::{BTreeMap, VecDeque};
use std::slice::from_ref;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use simplex_sans_io::crypto::block_chain::BlockChains;
use simplex_sans_io::crypto::certificate::{Chain, SignedKey};
use simplex_sans_io::crypto::secret_box::Key;
use simplex_sans_io::crypto::{Nonce, Secret, x25519};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::smp::batch;
use simplex_sans_io::smp::block::Blocks;
use simplex_sans_io::smp::body::{Delivered, NMsgMeta};
use simplex_sans_io::smp::handshake::client::{self, SessionKeys};
use simplex_sans_io::smp::handshake::{self, Alpn, RouterHello, Transport};
use simplex_sans_io::smp::proxy::{RelaySession, SealedFor};
use simplex_sans_io::smp::transmission::{Session, Transmission, Unauthorized};
use simplex_sans_io::smp::{BrokerMessage, Command};
use simplex_sans_io::wire::{self, CorrId, EntityId, Id, KeyHash, Version, VersionRange};
use simplex_tests::vectors::keys::{auth_pair, authorize, x25519_pair};
use simplex_tests::vectors::{
    array, base64, boolean, cases, groups, hex, load, number, text, version,
};

mod group {
    simplex_tests::vector_groups! { "transcripts.json": sessions }
}

#[test]
fn every_group_is_consumed() {
    let file = load("transcripts.json");
    assert_eq!(groups(&file), group::CONSUMED.iter().copied().collect());
}

fn sessions(group: &Value) {
    for recorded in cases(group) {
        let mut blocks = cases(&recorded["blocks"]);
        let (hello, answer) = (blocks.next().unwrap(), blocks.next().unwrap());
        let established = shake(recorded, hello, answer);
        let contents = contents(recorded, &established, blocks);
        let mut transcript = Transcript::new(recorded, established, contents);
        for event in cases(&recorded["events"]) {
            transcript.take(event);
        }
        transcript.finish();
    }
}

/// The handshake, with the client's recorded key.
fn shake(recorded: &Value, hello: &Value, answer: &Value) -> client::Established {
    let (from, content) = open(&mut Blocks::new(), hello);
    assert_eq!(from, "server");
    let hello: RouterHello = handshake::parse(&content).unwrap();
    assert_eq!(wire::encode(&hello, Version(0)), content);
    let auth = hello.auth().unwrap();
    let chain = Chain::from_der(auth.chain.iter().map(|certificate| &***certificate)).unwrap();
    assert_eq!(
        chain.fingerprint().as_bytes(),
        &array(&recorded["key_hash"])
    );
    let signed = SignedKey::<x25519::PublicKey>::from_der(&auth.signed_key).unwrap();
    let session_key = signed.verify(chain.leaf().key()).unwrap();
    assert_eq!(
        session_key.to_spki()[..],
        hex(&recorded["server_session_pub_spki"])
    );

    let mut keys = SessionKeys::generate(&mut Rng::from_seed([0; 32]));
    keys.client = x25519_pair(&recorded["client_session_key"]);
    let config = client::Config {
        versions: VersionRange::new(6, version(&recorded["version"]).0).unwrap(),
        ..client::Config::new(KeyHash::from(array::<32>(&recorded["key_hash"])))
    };
    let transport = Transport {
        session_id: id(&recorded["session_id"]),
        alpn: Alpn::Negotiated,
        peer_chain: Some(Arc::new(chain)),
    };
    let (client_hello, next) = client::receive_with(&config, &transport, &hello, keys).unwrap();
    let said = wire::encode(&client_hello, Version(0));
    assert_eq!(sealed(&mut Blocks::new(), &said), base64(&answer["base64"]));
    let client::Next::Established(established) = next else {
        unreachable!("a client without a service")
    };
    assert_eq!(established.session.version, version(&recorded["version"]));
    let secret = established.secret.as_ref().unwrap();
    assert_eq!(
        secret.shared().as_bytes(),
        &array(&recorded["session_secret"])
    );
    assert_eq!(
        established.chains.is_some(),
        boolean(&recorded["encrypted"])
    );
    *established
}

/// The contents of the blocks after the handshake. Each is made again from its content.
fn contents<'a>(
    recorded: &Value,
    established: &client::Established,
    blocks: impl Iterator<Item = &'a Value>,
) -> BTreeMap<usize, Content> {
    let (mut client, mut router) = (Blocks::new(), Blocks::new());
    if let Some(chains) = &established.chains {
        let secret = Secret::from_bytes(array(&recorded["session_secret"]));
        client.encrypt(chains.clone());
        router.encrypt(BlockChains::router(&established.session.id, &secret));
    }
    let content = |block: &Value| {
        let from_client = text(&block["from"]) == "client";
        let (sender, receiver) = match from_client {
            true => (&mut client, &mut router),
            false => (&mut router, &mut client),
        };
        let (_, bytes) = open(receiver, block);
        assert_eq!(sealed(sender, &bytes), base64(&block["base64"]));
        Content {
            from_client,
            transmissions: batch::unpack(&bytes).unwrap().into(),
            bytes,
            again: Vec::new(),
        }
    };
    (2..).zip(blocks.map(content)).collect()
}

struct Content {
    from_client: bool,
    bytes: Bytes,
    /// Those that no event has told of.
    transmissions: VecDeque<Bytes>,
    /// Those that were made again.
    again: Vec<Bytes>,
}

/// What is known of a session up to an event.
struct Transcript {
    session: Session,
    router: x25519::PublicKey,
    contents: BTreeMap<usize, Content>,
    sent: Vec<Command>,
    received: Vec<BrokerMessage>,
    secret: Option<x25519::SharedSecret>,
    notifier_secret: Option<x25519::SharedSecret>,
    undelivered: VecDeque<BrokerMessage>,
    unnotified: VecDeque<BrokerMessage>,
    /// The command that is forwarded next, and who may read the response.
    forwarded: Option<(Command, SealedFor)>,
}

impl Transcript {
    fn new(
        recorded: &Value,
        established: client::Established,
        contents: BTreeMap<usize, Content>,
    ) -> Self {
        Self {
            session: established.session,
            router: key(&recorded["server_session_pub_spki"]),
            contents,
            sent: Vec::new(),
            received: Vec::new(),
            secret: None,
            notifier_secret: None,
            undelivered: VecDeque::new(),
            unnotified: VecDeque::new(),
            forwarded: None,
        }
    }

    fn take(&mut self, event: &Value) {
        match text(&event["event"]) {
            "sent" => self.sent(event),
            "received" => self.received(event),
            "secrets" => self.secrets(event),
            other => unreachable!("event {other}"),
        }
    }

    fn finish(self) {
        for (index, content) in &self.contents {
            assert!(content.transmissions.is_empty(), "block {index}");
            assert_eq!(content_of(&content.again), content.bytes);
        }
        assert!(self.undelivered.is_empty() && self.unnotified.is_empty());
        assert!(self.forwarded.is_none());
    }

    /// The router understands what was sent, and the client's key makes it again.
    fn sent(&mut self, event: &Value) {
        let session = self.session.clone();
        let transmission = self.next_transmission(event, true);
        let authorized = transmission.authorized(&session).to_bytes();
        assert_eq!(authorized, hex(&event["authorized"]));
        let command = transmission.parse_command(session.version).unwrap();
        assert_eq!(
            wire::encode(&command, session.version),
            hex(&event["command"])
        );

        let (corr_id, entity_id) = (&transmission.corr_id, &transmission.entity_id);
        let again = Unauthorized::new(&session, corr_id, entity_id, &command);
        assert_eq!(*again.authorized(), authorized);
        let key = (!event["key"].is_null()).then(|| auth_pair(&event["key"]));
        let authorization = key.map(|key| authorize(&key, &self.router, corr_id, &authorized));
        assert_eq!(transmission.authorization, authorization);
        let again = again.authorize(&session, authorization.as_ref(), None);
        self.made_again(event, again);
        let content = &self.contents[&number(&event["block"])].bytes;
        assert_eq!(*content, hex(&event["content"]));
        if let Some((expected, _)) = &self.forwarded {
            assert_eq!(command, *expected);
        }
        self.sent.push(command);
    }

    /// The client understands what was received, and the router would say it in the same way.
    fn received(&mut self, event: &Value) {
        let session = self.session.clone();
        let transmission = self.next_transmission(event, false);
        assert_eq!(transmission.authorization, None);
        let message = transmission.parse_message(session.version).unwrap();
        let encoded = wire::encode(&message, session.version);
        assert_eq!(encoded, hex(&event["message"]));
        let (corr_id, entity_id) = (&transmission.corr_id, &transmission.entity_id);
        let again = Unauthorized::new(&session, corr_id, entity_id, &message);
        self.made_again(event, again.authorize(&session, None, None));
        if let BrokerMessage::Msg { .. } = message {
            self.undelivered.push_back(message.clone());
        }
        if let BrokerMessage::NMsg { .. } = message {
            self.unnotified.push_back(message.clone());
        }
        self.received.push(message);
    }

    /// The next transmission of the block that an event tells of.
    fn next_transmission(&mut self, event: &Value, from_client: bool) -> Transmission {
        let content = self.contents.get_mut(&number(&event["block"])).unwrap();
        assert_eq!(content.from_client, from_client);
        let bytes = content.transmissions.pop_front().unwrap();
        let transmission = Transmission::parse(&self.session, &bytes).unwrap();
        assert_eq!(*transmission.corr_id, hex(&event["corr_id"]));
        assert_eq!(*transmission.entity_id, hex(&event["entity_id"]));
        transmission
    }

    fn made_again(&mut self, event: &Value, transmission: Bytes) {
        let content = self.contents.get_mut(&number(&event["block"])).unwrap();
        content.again.push(transmission);
    }

    fn secrets(&mut self, event: &Value) {
        let fields = event.as_object().unwrap();
        if fields.contains_key("recipient_key") {
            self.queue(event);
        } else if fields.contains_key("notifier_key") {
            self.notifier(event);
        } else if let Some(decrypted) = fields.get("decrypted_message") {
            self.delivered(decrypted);
        } else if let Some(decrypted) = fields.get("decrypted_meta") {
            self.notified(decrypted);
        } else if fields.contains_key("proxied_command") {
            self.forward(event);
        } else if let Some(decrypted) = fields.get("decrypted_proxied_response") {
            self.responded(decrypted);
        } else {
            unreachable!("secrets {event}");
        }
    }

    fn queue(&mut self, event: &Value) {
        let dh_key = x25519_pair(&event["recipient_dh_key"]);
        let Some(Command::New(queue)) = self.sent.first() else {
            unreachable!("the first command creates the queue")
        };
        let auth_key = auth_pair(&event["recipient_key"]).public_key();
        assert_eq!(
            (queue.auth_key, queue.dh_key),
            (auth_key, dh_key.public_key())
        );
        let Some(BrokerMessage::Ids(ids)) = self.received.first() else {
            unreachable!("the first message has the queue's ids")
        };
        assert_eq!(ids.dh_key, key(&event["server_dh_key"]));
        let secret = dh_key.agree(&ids.dh_key);
        assert_eq!(secret.as_bytes(), &array(&event["dh_secret"]));
        self.secret = Some(secret);
    }

    fn notifier(&mut self, event: &Value) {
        let dh_key = x25519_pair(&event["notifier_dh_key"]);
        let (Some(Command::NKey(keys)), Some(BrokerMessage::Nid { dh_key: router, .. })) =
            (self.sent.last(), self.received.last())
        else {
            unreachable!("the last command creates the notifier")
        };
        let auth_key = auth_pair(&event["notifier_key"]).public_key();
        assert_eq!(
            (keys.auth_key, keys.dh_key),
            (auth_key, dh_key.public_key())
        );
        let secret = dh_key.agree(router);
        assert_eq!(secret.as_bytes(), &array(&event["ntf_dh_secret"]));
        self.notifier_secret = Some(secret);
    }

    fn delivered(&mut self, decrypted: &Value) {
        let secret = self.secret.as_ref().unwrap();
        let Some(BrokerMessage::Msg { id, body }) = self.undelivered.pop_front() else {
            unreachable!("a message")
        };
        let delivered = Delivered::decrypt(secret, &id, &body).unwrap();
        assert_eq!(wire::encode(&delivered, Version(0)), hex(decrypted));
        assert_eq!(delivered.encrypt(&Key::from(secret), &id), Ok(body));
    }

    fn notified(&mut self, decrypted: &Value) {
        let secret = self.notifier_secret.as_ref().unwrap();
        let Some(BrokerMessage::NMsg { nonce, meta }) = self.unnotified.pop_front() else {
            unreachable!("a notification")
        };
        let nonce = Nonce::from(nonce);
        let told = NMsgMeta::decrypt(secret, &nonce, &meta).unwrap();
        assert_eq!(wire::encode(&told, Version(0)), hex(decrypted));
        let again = told.encrypt(&Key::from(secret), &nonce);
        assert_eq!(again.as_ref(), Ok(&*meta));
    }

    /// The forwarded command is made again: the next that is sent must be it.
    fn forward(&mut self, event: &Value) {
        let relay = self.relay();
        assert_eq!(*relay.session.id, hex(&event["relay_session_id"]));
        assert_eq!(relay.key, key(&event["relay_session_pub_spki"]));
        assert_eq!(relay.session.version, version(&event["proxied_version"]));

        let content = Bytes::from(hex(&event["inner_content"]));
        let inner = &batch::unpack(&content).unwrap()[0];
        let parsed = Transmission::parse(&relay.session, inner).unwrap();
        let command = parsed.parse_command(relay.session.version).unwrap();
        let encoded = wire::encode(&command, relay.session.version);
        assert_eq!(encoded, hex(&event["proxied_command"]));

        let corr_id = CorrId::from(array::<24>(&event["nonce"]));
        let inner = transmission(&relay, &corr_id, &parsed.entity_id, &command, event);
        assert_eq!(content_of(from_ref(&inner)), content);
        let command_key = x25519_pair(&event["command_key"]);
        let secret = command_key.agree(&relay.key);
        assert_eq!(secret.as_bytes(), &array(&event["command_secret"]));
        let forwarded = relay.seal_with(&inner, &corr_id, &command_key).unwrap();
        assert!(self.forwarded.replace(forwarded).is_none());
    }

    /// The session of the proxy with the relay, as its PKEY describes it.
    fn relay(&self) -> RelaySession {
        let Some(Command::Prxy { relay, .. }) = self.sent.first() else {
            unreachable!("the first command asks for the relay")
        };
        let Some(BrokerMessage::PKey {
            session_id,
            versions,
            chain,
            signed_key,
        }) = self.received.first()
        else {
            unreachable!("the first message is the relay's key")
        };
        let (hash, id) = (relay.key_hash(), session_id.clone());
        let path_is_checked_elsewhere = |_: &Chain| true;
        let verifier = &path_is_checked_elsewhere;
        RelaySession::new(hash, id, *versions, chain, signed_key, verifier).unwrap()
    }

    fn responded(&mut self, decrypted: &Value) {
        let (_, response) = self.forwarded.take().unwrap();
        let Some(BrokerMessage::PRes { encrypted }) = self.received.last() else {
            unreachable!("a response")
        };
        let opened = response.open(encrypted).unwrap();
        assert_eq!(content_of(from_ref(&opened)), hex(decrypted));
        assert_eq!(response.seal(&opened).as_ref(), Ok(encrypted));
        let relay = self.relay().session;
        let opened = Transmission::parse(&relay, &opened).unwrap();
        assert_eq!(opened.parse_message(relay.version), Ok(BrokerMessage::Ok));
    }
}

/// The transmission that is forwarded, authorised by the sender.
fn transmission(
    relay: &RelaySession,
    corr_id: &CorrId,
    entity_id: &EntityId,
    command: &Command,
    event: &Value,
) -> Bytes {
    let unauthorized = Unauthorized::new(&relay.session, corr_id, entity_id, command);
    let sender = auth_pair(&event["sender_key"]);
    let authorization = authorize(&sender, &relay.key, corr_id, unauthorized.authorized());
    unauthorized.authorize(&relay.session, Some(&authorization), None)
}

/// Who has sent a block, and its content.
fn open<'a>(receiver: &mut Blocks, block: &'a Value) -> (&'a str, Bytes) {
    assert!(receiver.receive(&base64(&block["base64"])).is_empty());
    (text(&block["from"]), receiver.take().unwrap().unwrap())
}

fn sealed(sender: &mut Blocks, content: &[u8]) -> BytesMut {
    let mut block = BytesMut::new();
    sender.put(content.len(), &mut block, |out| {
        out.extend_from_slice(content)
    });
    block
}

fn content_of(transmissions: &[Bytes]) -> Bytes {
    let mut content = BytesMut::new();
    batch::put_content(transmissions, &mut content);
    content.freeze()
}

fn key(spki: &Value) -> x25519::PublicKey {
    x25519::PublicKey::from_spki(&hex(spki)).unwrap()
}

fn id(value: &Value) -> Id {
    Id::try_from(hex(value).as_slice()).unwrap()
}
