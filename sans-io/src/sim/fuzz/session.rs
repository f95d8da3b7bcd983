//! Sessions of SMP to begin with, and the other side of them, played by hand.

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};

use super::choices::Choices;
use crate::crypto::block_chain::BlockChains;
use crate::crypto::{Algorithm, AuthPrivateKey, Secret};
use crate::rng::Rng;
use crate::sim::identity::Credentials;
use crate::sim::smp::{Setup, Sides};
use crate::smp::batch;
use crate::smp::block::{BLOCK, Blocks, MAX_BATCH};
use crate::smp::client::{self, Client, Established};
use crate::smp::handshake::client::Secrecy;
use crate::smp::handshake::{Peer, ServiceRole};
use crate::smp::server::Server;
use crate::smp::transmission::{Session, Transmission};
use crate::smp::version::ENCRYPTED_BLOCKS;
use crate::wire::{EntityId, VersionRange};

/// A session between both machines, before its handshake and after it.
pub(super) struct Sessions {
    /// Nothing is delivered yet.
    pub(super) begun: Sides,
    /// As the client's owner was told.
    pub(super) established: Established,
    /// Who the client is to the router.
    pub(super) peer: Peer,
    /// Everything is delivered.
    pub(super) done: Sides,
}

/// Versions in which something changed.
const VERSIONS: [u16; 12] = [20, 6, 7, 8, 10, 11, 14, 15, 16, 17, 18, 19];

/// Who the client is.
const KINDS: [Kind; 5] = [
    Kind::Client,
    Kind::TlsOnly,
    Kind::Proxy,
    Kind::Service(ServiceRole::Messaging),
    Kind::Service(ServiceRole::Notifier),
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Client,
    TlsOnly,
    Proxy,
    Service(ServiceRole),
}

static SESSIONS: [OnceLock<Option<Sessions>>; 60] = [const { OnceLock::new() }; 60];

impl Sessions {
    /// A session of one of all versions and kinds. They are made once.
    pub(super) fn choose(choices: &mut Choices<'_>) -> Option<&'static Self> {
        let index = choices.below(SESSIONS.len());
        let (version, kind) = (index.checked_rem(12)?, index.checked_div(12)?);
        let (version, kind) = (VERSIONS.get(version)?, KINDS.get(kind)?);
        let session = SESSIONS.get(index)?;
        session.get_or_init(|| Self::new(*version, *kind)).as_ref()
    }

    fn new(version: u16, kind: Kind) -> Option<Self> {
        let setup = Self::setup(version, kind)?;
        let mut done = setup.clone().establish().ok()?;
        let established = done
            .client
            .events()
            .into_iter()
            .find_map(|event| match event {
                client::Event::Established(established) => Some(*established),
                client::Event::Response { .. }
                | client::Event::Late { .. }
                | client::Event::Message { .. }
                | client::Event::Unexpected(_) => None,
            })?;
        done.server.events();
        Some(Self {
            peer: setup.client.handshake.peer,
            begun: setup.start(),
            established,
            done,
        })
    }

    fn setup(version: u16, kind: Kind) -> Option<Setup> {
        let mut setup = Setup::new([1; 32]);
        let config = &mut setup.client.handshake;
        config.versions = VersionRange::new(6, version)?;
        match kind {
            Kind::Client => {}
            Kind::TlsOnly => config.secret = Secrecy::TlsOnly,
            Kind::Proxy => config.peer = Peer::Proxy,
            Kind::Service(role) => {
                let credentials = Credentials::issue(Algorithm::Ed25519, &mut setup.rng);
                config.service = Some(credentials.service(role));
            }
        }
        // Small limits are reached.
        setup.client.max_in_flight = 6;
        setup.server.max_blocks = 3;
        Some(setup)
    }

    /// The client, after the handshake.
    pub(super) fn client(&self) -> Client {
        self.done.client.machine.clone()
    }

    /// The router, after the handshake.
    pub(super) fn server(&self) -> Server {
        self.done.server.machine.clone()
    }
}

/// A side of a session without a machine: it says what it is told to, and understands what the other side says.
#[derive(Debug, Clone)]
pub(super) struct Hand {
    pub(super) session: Session,
    blocks: Blocks,
    /// What was said and is not delivered.
    pub(super) said: BytesMut,
}

impl Hand {
    /// The router of an established session.
    pub(super) fn router(established: &Established, peer: Peer) -> Self {
        Self::new(established, peer, BlockChains::router)
    }

    /// The client of an established session.
    pub(super) fn client(established: &Established, peer: Peer) -> Self {
        Self::new(established, peer, BlockChains::client)
    }

    fn new(
        established: &Established,
        peer: Peer,
        side: fn(&[u8], &Secret<32>) -> BlockChains,
    ) -> Self {
        let session = established.session.clone();
        let mut blocks = Blocks::new();
        if let (Some(secret), Peer::Client) = (&established.secret, peer)
            && session.version >= ENCRYPTED_BLOCKS
        {
            let secret = Secret::from_bytes(*secret.shared().as_bytes());
            blocks.encrypt(side(&session.id, &secret));
        }
        Self {
            session,
            blocks,
            said: BytesMut::new(),
        }
    }

    /// Says transmissions, in as few blocks as hold them.
    pub(super) fn say(&mut self, transmissions: &[Bytes]) {
        let blocks = batch::blocks(transmissions, &mut self.blocks);
        self.said.extend_from_slice(&blocks);
    }

    /// Says any content of a block.
    pub(super) fn say_content(&mut self, content: &[u8]) {
        let content = content.get(..MAX_BATCH).unwrap_or(content);
        self.blocks.put(content.len(), &mut self.said, |out| {
            out.put_slice(content);
        });
    }

    /// Says a block that nobody has made.
    pub(super) fn say_forged(&mut self, start: &[u8]) {
        let end = self.said.len().saturating_add(BLOCK);
        self.said.put_slice(start.get(..BLOCK).unwrap_or(start));
        self.said.resize(end, b'?');
    }

    /// What the machine at the other side says: whole blocks of transmissions.
    pub(super) fn hear(&mut self, mut bytes: &[u8]) -> Vec<Transmission> {
        let mut heard = Vec::new();
        while !bytes.is_empty() {
            bytes = self.blocks.receive(bytes);
            let content = self.blocks.take().and_then(Result::ok);
            assert!(content.is_some(), "a machine sends blocks that can be read");
            let batch = content.and_then(|content| batch::unpack(&content));
            assert!(batch.is_some(), "a machine sends batches");
            for bytes in batch.unwrap_or_default() {
                let parsed = Transmission::parse(&self.session, &bytes);
                assert!(parsed.is_ok(), "a machine sends transmissions: {parsed:?}");
                heard.extend(parsed);
            }
        }
        heard
    }
}

/// Keys to authorise commands with.
pub(super) struct Keys(Vec<Arc<AuthPrivateKey>>);

impl Keys {
    /// Two of the usual algorithms each, and one that is slow.
    pub(super) fn all() -> &'static Self {
        static KEYS: OnceLock<Keys> = OnceLock::new();
        KEYS.get_or_init(|| Self::generate([2; 32]))
    }

    /// As many others.
    pub(super) fn of_strangers() -> &'static Self {
        static KEYS: OnceLock<Keys> = OnceLock::new();
        KEYS.get_or_init(|| Self::generate([3; 32]))
    }

    fn generate(seed: [u8; 32]) -> Self {
        let mut rng = Rng::from_seed(seed);
        let algorithms = [
            Algorithm::X25519,
            Algorithm::X25519,
            Algorithm::Ed25519,
            Algorithm::Ed25519,
            Algorithm::Ed448,
        ];
        let keys = algorithms
            .into_iter()
            .filter_map(|algorithm| AuthPrivateKey::generate(algorithm, &mut rng));
        Self(keys.map(Arc::new).collect())
    }

    pub(super) fn get(&self, index: usize) -> Option<&Arc<AuthPrivateKey>> {
        self.0.get(index)
    }

    /// The key of one of few entities.
    pub(super) fn of(&self, entity_id: &EntityId) -> Option<&Arc<AuthPrivateKey>> {
        let name = entity_id.first().copied().unwrap_or(0);
        self.get(usize::from(name).checked_rem(self.0.len())?)
    }
}

/// One of few entities.
pub(super) fn entity(choices: &mut Choices<'_>) -> EntityId {
    match choices.below(8) {
        0 => EntityId::EMPTY,
        name => EntityId::from([u8::try_from(name).unwrap_or(0); 24]),
    }
}
