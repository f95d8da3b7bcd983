//! What a peer or an owner sends without end does not make a machine grow without end.
//!
//! The states print completely, so that the length of what they print follows their size.

use std::fmt::Debug;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use simplex_sans_io::machine::{Connection, Input, Machine};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::sim::Frames;
use simplex_sans_io::sim::smp::{Setup, Sides};
use simplex_sans_io::smp::batch;
use simplex_sans_io::smp::block::Blocks;
use simplex_sans_io::smp::client::{self, Request, RequestId};
use simplex_sans_io::smp::error::BrokerError;
use simplex_sans_io::smp::handshake::client::Secrecy;
use simplex_sans_io::smp::pool::{self, Action, Pool, SessionKey, UserId};
use simplex_sans_io::smp::server;
use simplex_sans_io::smp::transmission::{Session, Unauthorized};
use simplex_sans_io::smp::{BrokerMessage, Command};
use simplex_sans_io::socks::{Authentication, Socks};
use simplex_sans_io::time::Now;
use simplex_sans_io::wire::{CorrId, EntityId, KeyHash, NonEmpty, ServerAddress, SmpScheme, Wire};

/// What a block that is half received prints.
const A_BLOCK: usize = 4 * 16384;

fn size(machine: &impl Debug) -> usize {
    format!("{machine:?}").len()
}

/// Blocks in the clear, so that this test can say anything.
fn sides() -> (Sides, Session) {
    let mut setup = Setup::new([1; 32]);
    setup.client.handshake.secret = Secrecy::TlsOnly;
    let mut sides = setup.establish().unwrap();
    let established = sides
        .client
        .events()
        .into_iter()
        .find_map(|event| match event {
            client::Event::Established(established) => Some(*established),
            _ => None,
        });
    sides.server.events();
    (sides, established.unwrap().session)
}

fn block(
    session: &Session,
    count: u64,
    corr_id: impl Fn(u64) -> CorrId,
    what: &impl Wire,
) -> Bytes {
    let transmissions: Vec<_> = (0..count)
        .map(|number| {
            let entity = EntityId::from([7; 24]);
            Unauthorized::new(session, &corr_id(number), &entity, what)
                .authorize(session, None, None)
        })
        .collect();
    batch::blocks(&transmissions, &mut Blocks::new())
}

fn random_id(rng: &mut Rng) -> CorrId {
    CorrId::from(rng.bytes::<24>())
}

#[test]
fn a_client_whose_router_never_stops() {
    let (mut sides, session) = sides();
    let before = size(&sides.client.machine);
    let mut rng = Rng::from_seed([1; 32]);
    for _ in 0..200 {
        let end = block(&session, 20, |_| CorrId::EMPTY, &BrokerMessage::End);
        sides.client.give(sides.now, Input::Bytes(&end)).unwrap();
        let id = random_id(&mut rng);
        let unknown = block(&session, 20, |_| id.clone(), &BrokerMessage::Ok);
        sides
            .client
            .give(sides.now, Input::Bytes(&unknown))
            .unwrap();
        sides
            .client
            .give(sides.now, Input::Bytes(&[7; 20_000]))
            .unwrap();
        sides.client.events();
    }
    assert!(size(&sides.client.machine) < before + A_BLOCK);
}

#[test]
fn a_client_whose_router_never_answers() {
    let (mut sides, _) = sides();
    let mut sizes = Vec::new();
    for round in 0..12_000 {
        let request = Request::new(RequestId(round), EntityId::EMPTY, Command::Ping);
        let request = request.within(Duration::from_millis(1));
        let call = client::Call::Send(vec![request]);
        sides.client.give(sides.now, Input::Command(call)).unwrap();
        sides.now = sides.now + Duration::from_millis(1);
        sides.client.give(sides.now, Input::Timeout).unwrap();
        sides.client.sent.clear();
        assert_eq!(sides.client.events().len(), 1, "each has timed out");
        if round % 4000 == 3999 {
            sizes.push(size(&sides.client.machine));
        }
    }
    assert!(sizes[2] < sizes[0] + sizes[0] / 10, "{sizes:?}");
}

#[test]
fn a_server_whose_owner_never_answers() {
    let (mut sides, session) = sides();
    let mut rng = Rng::from_seed([1; 32]);
    let mut taken = 0;
    for _ in 0..1000 {
        if !sides.server.machine.accepts_bytes() {
            break;
        }
        taken += 1;
        let id = random_id(&mut rng);
        let block = block(&session, 1, |_| id.clone(), &Command::LGet);
        sides.server.give(sides.now, Input::Bytes(&block)).unwrap();
    }
    let most = server::Config::new(sides.credentials.router()).max_blocks;
    assert_eq!(taken, most, "then its client has to wait");
}

#[test]
fn a_server_whose_client_never_stops() {
    let (mut sides, _) = sides();
    let before = size(&sides.server.machine);
    for length in 0..1000 {
        let noise = vec![0xee; 16_000 + length];
        sides.server.give(sides.now, Input::Bytes(&noise)).unwrap();
        sides.server.sent.clear();
        assert!(sides.server.machine.accepts_bytes());
    }
    assert!(size(&sides.server.machine) < before + A_BLOCK);
}

fn address(name: u32) -> ServerAddress<SmpScheme> {
    let host = format!("r{name}.example").parse().unwrap();
    ServerAddress::new(NonEmpty::one(host), None, KeyHash::from([1; 32]))
}

fn session(name: u32) -> SessionKey {
    SessionKey {
        user: UserId(1),
        router: address(name),
        scope: None,
    }
}

struct Driven {
    pool: Pool,
    now: Now,
}

impl Driven {
    fn new() -> Self {
        let config = pool::Config {
            max_sessions: 50,
            max_waiting: 50,
            ..pool::Config::default()
        };
        Self {
            pool: Pool::new(config),
            now: Now::START,
        }
    }

    fn give(&mut self, input: pool::Input) -> Vec<Action> {
        self.pool.handle(self.now, input).unwrap();
        std::iter::from_fn(|| self.pool.poll()).collect()
    }

    fn call(&mut self, call: pool::Call) -> Vec<Action> {
        self.give(pool::Input::Command(call))
    }

    fn send(&mut self, name: u32, number: u64) -> Vec<Action> {
        let ping = Request::new(RequestId(number), EntityId::EMPTY, Command::Ping);
        self.call(pool::Call::Send {
            session: session(name),
            requests: vec![ping],
        })
    }
}

#[test]
fn a_pool_whose_routers_cannot_be_reached() {
    let mut driven = Driven::new();
    for number in 0..6000 {
        driven.send(number % 100, number.into());
    }
    let full = size(&driven.pool);
    for number in 6000..9000 {
        driven.send(number % 100, number.into());
    }
    assert!(size(&driven.pool) <= full + full / 20);

    let mut driven = Driven::new();
    for round in 0..2000 {
        for action in driven.send(round, round.into()) {
            if let Action::Connect(connection, _) = action {
                driven.give(pool::Input::Closed(connection, BrokerError::Timeout));
            }
        }
        driven.now = driven.now + Duration::from_secs(60);
        driven.give(pool::Input::Timeout);
    }
    assert!(size(&driven.pool) < 10_000, "what has failed is forgotten");
}

#[test]
fn a_pool_with_a_proxy_that_reaches_no_relay() {
    let mut driven = Driven::new();
    let connects = driven.send(0, 0);
    let Some(Action::Connect(connection, _)) = connects.into_iter().next() else {
        panic!("a request connects");
    };
    let (mut sides, _) = sides();
    let established = Setup::new([1; 32]).establish().unwrap().client.events();
    let established = established.into_iter().next().unwrap();
    driven.give(pool::Input::Conn(connection, established));
    sides.client.events();
    let mut sizes = Vec::new();
    for number in 1..6000 {
        let request = Request::new(RequestId(number.into()), EntityId::EMPTY, Command::LGet);
        let asked = driven.call(pool::Call::Forward {
            proxy: session(0),
            relay: address(number),
            password: None,
            request: Box::new(request),
        });
        for action in asked {
            if let Action::Call(_, client::Call::Send(requests)) = action {
                let event = client::Event::Response {
                    request: requests[0].id,
                    result: Err(client::RequestError::TimedOut),
                };
                driven.give(pool::Input::Conn(connection, event));
            }
        }
        driven.now = driven.now + Duration::from_secs(31);
        if number % 2000 == 1999 {
            sizes.push(size(&driven.pool));
        }
    }
    assert!(sizes[2] < sizes[0] + sizes[0] / 10, "{sizes:?}");
}

#[test]
fn a_machine_behind_a_proxy_that_never_stops() {
    for start in [
        &b"\x05\x00"[..],
        b"\x05\x00\x05\x00\x00\x03\xff",
        b"\x05\x00\x05\x00\x00\x04",
    ] {
        let target = "router.example:5223".parse().unwrap();
        let within = Duration::from_secs(30);
        let mut socks = Socks::new(
            Frames::new(),
            target,
            Authentication::None,
            Now::START,
            within,
        );
        while socks.poll().is_some() {}
        let mut received = BytesMut::from(start);
        for _ in 0..1000 {
            let result = socks.handle(Now::START, Input::Bytes(&received));
            while socks.poll().is_some() {}
            if result.is_err() {
                break;
            }
            received = BytesMut::from(&[0xee; 100][..]);
        }
        assert!(size(&socks) < A_BLOCK);
    }
}
