//! What a router's session allocates for a message cycle, and what it owns when it is idle.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a result that is missing fails the test"
)]

use std::sync::Arc;

use allocation_counter::{AllocationInfo, measure};
use bytes::Bytes;
use simplex_sans_io::crypto::{Algorithm, AuthPrivateKey, Secret, secret_box, x25519};
use simplex_sans_io::machine::{Action, Connection, Input};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::session::SessionFacts;
use simplex_sans_io::sim::identity::Credentials as Issued;
use simplex_sans_io::sim::smp::{Setup, Sides};
use simplex_sans_io::smp::body::{Delivered, SentMessage};
use simplex_sans_io::smp::client::{self, Client, Request, RequestId};
use simplex_sans_io::smp::server::{self, Answer, QueueKeys, Say, Server};
use simplex_sans_io::smp::{BrokerMessage, Command, MsgFlags, MsgId};
use simplex_sans_io::time::Now;
use simplex_sans_io::tls::{
    ClientConfig, ClientOptions, Credentials, ServerConfig, ServerOptions, Tls,
};
use simplex_sans_io::wire::EntityId;

/// As long as the messages of the clients.
const BODY: usize = 15_900;

/// A message cycle from the router's side: SEND, the delivery and ACK.
struct Cycle {
    id: EntityId,
    key: Arc<AuthPrivateKey>,
    keys: Arc<QueueKeys>,
    boxes: Arc<secret_box::Key>,
    body: Bytes,
    next: u64,
}

impl Cycle {
    fn new() -> Self {
        let mut rng = Rng::from_seed([2; 32]);
        let key = AuthPrivateKey::generate(Algorithm::Ed25519, &mut rng).unwrap();
        let secret = x25519::SharedSecret::from_bytes(*Secret::<32>::generate(&mut rng).as_bytes());
        Self {
            id: EntityId::from([1; 24]),
            keys: Arc::new(QueueKeys {
                version: 1,
                recipients: vec![key.public_key()],
                sender: Some(key.public_key()),
                notifier: None,
                mode: None,
            }),
            key: Arc::new(key),
            boxes: Arc::new(secret_box::Key::from(&secret)),
            body: vec![7; BODY].into(),
            next: 1,
        }
    }

    /// What the router's side has allocated.
    fn run<C, S>(&mut self, client: &mut C, server: &mut S) -> AllocationInfo
    where
        C: Connection<Command = client::Call, Event = client::Event>,
        S: Connection<Command = server::Call, Event = server::Event>,
    {
        let send = Command::Send {
            flags: MsgFlags { notification: true },
            body: self.body.clone(),
        };
        let mut info = self.command(client, server, send);
        let delivered = Delivered::Message(SentMessage {
            time: 1,
            flags: MsgFlags { notification: true },
            body: self.body.clone(),
        });
        let message = Say::Deliver {
            id: MsgId::from([3; 24]),
            delivered,
            key: Arc::clone(&self.boxes),
        };
        let announce = server::Call::Announce(vec![(self.id.clone(), message)]);
        let mut sent = Vec::new();
        info += counted(server, Input::Command(announce), &mut sent).0;
        told(client, Input::Bytes(&sent));
        info += self.command(client, server, Command::Ack(MsgId::from([3; 24])));
        info
    }

    fn command<C, S>(&mut self, client: &mut C, server: &mut S, command: Command) -> AllocationInfo
    where
        C: Connection<Command = client::Call, Event = client::Event>,
        S: Connection<Command = server::Call, Event = server::Event>,
    {
        let request = Request::new(RequestId(self.next), self.id.clone(), command);
        self.next += 1;
        let requests = vec![request.authorized_by(Arc::clone(&self.key))];
        let block = told(client, Input::Command(client::Call::Send(requests)));
        let mut sent = Vec::new();
        let (mut info, block) = counted(server, Input::Bytes(&block), &mut sent);
        let block = match block.expect("it is asked for something") {
            Asked::Execution(block) => block,
            Asked::Keys(block) => {
                let queues = vec![Some(Arc::clone(&self.keys))];
                let keys = server::Call::Keys { block, queues };
                let (more, executed) = counted(server, Input::Command(keys), &mut sent);
                assert_eq!(executed, Some(Asked::Execution(block)));
                info += more;
                block
            }
        };
        let answers = vec![Answer::from(BrokerMessage::Ok)];
        let answer = server::Call::Answer { block, answers };
        info += counted(server, Input::Command(answer), &mut sent).0;
        told(client, Input::Bytes(&sent));
        info
    }
}

/// What the router's side asks its owner for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Keys(server::BlockId),
    Execution(server::BlockId),
}

/// Gives the router's side an input, and counts what it allocates; what it hands over is dropped at once.
fn counted<S>(
    server: &mut S,
    input: Input<'_, server::Call>,
    sent: &mut Vec<u8>,
) -> (AllocationInfo, Option<Asked>)
where
    S: Connection<Command = server::Call, Event = server::Event>,
{
    let mut asked = None;
    sent.reserve(64 * 1024);
    let info = measure(|| {
        server.handle(Now::START, input).unwrap();
        while let Some(action) = server.poll() {
            match action {
                Action::Transmit(bytes) => sent.extend_from_slice(&bytes),
                Action::Event(server::Event::Lookup { block, .. }) => {
                    asked = Some(Asked::Keys(block));
                }
                Action::Event(server::Event::Execute { block, .. }) => {
                    asked = Some(Asked::Execution(block));
                }
                Action::Event(_) | Action::Close(_) => {}
            }
        }
    });
    (info, asked)
}

/// Gives a machine an input; what it sends.
fn told<M: Connection>(machine: &mut M, input: Input<'_, M::Command>) -> Vec<u8> {
    machine.handle(Now::START, input).unwrap();
    said(machine)
}

/// What a machine sends.
fn said<M: Connection>(machine: &mut M) -> Vec<u8> {
    let mut sent = Vec::new();
    while let Some(action) = machine.poll() {
        if let Action::Transmit(bytes) = action {
            sent.extend_from_slice(&bytes);
        }
    }
    sent
}

#[test]
fn a_message_cycle_allocates_little() {
    let Sides { client, server, .. } = Setup::new([1; 32]).establish().unwrap();
    let (mut client, mut server) = (client.machine, server.machine);
    let mut cycle = Cycle::new();
    cycle.run(&mut client, &mut server);
    let info = cycle.run(&mut client, &mut server);
    // Of 16 KB each: two blocks that arrive, a body, its transmission, and three blocks that leave.
    assert!(info.bytes_total <= 7 * 16_384 + 6_500, "{info:?}");
    assert!(info.count_total <= 43, "{info:?}");
}

#[test]
fn an_idle_session_owns_little() {
    let issued = Issued::issue(Algorithm::Ed25519, &mut Rng::from_seed([3; 32]));
    let credentials = Credentials::new((*issued.chain).clone(), (*issued.leaf_key).clone());
    let of_server = Arc::new(ServerConfig::new(ServerOptions::new(credentials.unwrap())).unwrap());
    let of_client = Arc::new(ClientConfig::new(ClientOptions::new(issued.fingerprint())).unwrap());
    let config = server::Config::new(issued.router());
    let mut rng = Rng::from_seed([4; 32]);
    let (key_hash, client_rng) = (issued.key_hash(), rng.fork());
    let upper = move |facts: SessionFacts, now| {
        Client::secured(client::Config::new(key_hash), facts, client_rng, now)
    };
    let mut client = Tls::client(&of_client, Now::START, rng.fork(), upper).unwrap();
    let server_rng = rng.fork();
    let above = move |facts: SessionFacts, now| Server::secured(config, facts, server_rng, now);
    let mut server = Tls::server(&of_server, Now::START, rng.fork(), above);
    let mut sent = said(&mut client);
    while !sent.is_empty() {
        let answer = told(&mut server, Input::Bytes(&sent));
        sent = told(&mut client, Input::Bytes(&answer));
    }
    let mut cycle = Cycle::new();
    for _ in 0..3 {
        cycle.run(&mut client, &mut server);
    }
    let owned = -measure(|| drop(server)).bytes_current;
    assert!((1000..8500).contains(&owned), "{owned} bytes");
}
