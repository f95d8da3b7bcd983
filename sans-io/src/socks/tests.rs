use proptest::prelude::*;

use super::*;
use crate::sim::{Checked, FrameError, Frames, FramesCommand, FramesEvent, Twin};

type Behind = Checked<Twin<Socks<Frames>>>;

const LIMIT: Duration = Duration::from_secs(30);
const CONNECTED: &[u8] = b"\x05\0\0\x01\0\0\0\0\0\0";

#[test]
fn without_authentication_the_proxy_is_asked_at_once() {
    let mut script = Script::new("192.0.2.1:443", Authentication::None);
    script.expect([say(b"\x05\x01\0")]);
    script
        .hear(b"\x05\0")
        .expect([say(b"\x05\x01\0\x01\xc0\0\x02\x01\x01\xbb")]);
    script.hear(CONNECTED).expect([]);
    script
        .give(Input::Command(FramesCommand::Send("x".into())))
        .expect([say(b"\0\x01x")]);
}

#[test]
fn addresses_and_names_are_passed_on_as_they_are() {
    for (target, request) in [
        (
            "[2001:db8::1]:443",
            b"\x05\x01\0\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x01\xbb".as_slice(),
        ),
        ("smp.example:443", b"\x05\x01\0\x03\x0bsmp.example\x01\xbb"),
        ("abc.onion:443", b"\x05\x01\0\x03\x09abc.onion\x01\xbb"),
    ] {
        let mut script = Script::new(target, Authentication::None);
        script.hear(b"\x05\0").expect([say(request)]);
    }
}

#[test]
fn credentials_are_offered_and_not_insisted_on() {
    let credentials = Credentials::new("user", "password").unwrap();
    let new = || Script::new("a:1", Authentication::Credentials(credentials.clone()));
    new().expect([say(b"\x05\x02\x02\0")]);

    let mut wanted = new();
    wanted
        .hear(b"\x05\x02")
        .expect([say(b"\x01\x04user\x08password")]);
    wanted
        .hear(b"\x01\0")
        .expect([say(b"\x05\x01\0\x03\x01a\0\x01")]);

    new()
        .hear(b"\x05\0")
        .expect([say(b"\x05\x01\0\x03\x01a\0\x01")]);
}

#[test]
fn a_session_that_is_to_be_isolated_is_never_joined_with_others() {
    let isolated = || Script::new("a:1", Proxy::default().authentication("1"));
    isolated().expect([say(b"\x05\x01\x02")]);
    isolated().fails(b"\x05\0", SocksError::NotIsolated);
    isolated().fails(b"\x05\xff", SocksError::NotIsolated);
}

#[test]
fn every_way_to_refuse_has_a_name() {
    let new = || Script::new("a:1", Authentication::None);
    new().fails(b"HTTP/1.1 400", SocksError::Version(b'H'));
    new().fails(b"\x05\xff", SocksError::NoMethod);
    new().fails(b"\x05\x02", SocksError::Method(2));
    new().fails(
        b"\x05\0\x05\x05",
        SocksError::Refused(Refusal::ConnectionRefused),
    );
    new().fails(
        b"\x05\0\x05\xf0",
        SocksError::Refused(Refusal::OnionNotFound),
    );
    new().fails(b"\x05\0\x05\x63", SocksError::Refused(Refusal::Other(0x63)));
    new().fails(b"\x05\0\x04", SocksError::Version(4));
    new().fails(b"\x05\0\x05\0\0\x02", SocksError::AddressType(2));

    let named = || Script::new("a:1", Authentication::Isolated(Credentials::isolating("1")));
    named().fails(b"\x05\x02\x01\x01", SocksError::Authentication);
    named().fails(b"\x05\x02\x05\0", SocksError::Version(5));
}

#[test]
fn bytes_that_follow_the_reply_are_the_inner_machines() {
    for address in [
        b"\x01\0\0\0\0".as_slice(),
        b"\x03\x05proxy",
        b"\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    ] {
        let mut script = Script::new("a:1", Authentication::None);
        script.hear(b"\x05\0");
        script.hear(&[b"\x05\0\0", address, b"\0\0\0\x02hi"].concat());
        script.expect([Action::Event(FramesEvent::Frame("hi".into()))]);
    }
}

#[test]
fn what_the_inner_machine_says_before_waits() {
    let mut script = Script::new("a:1", Authentication::None);
    script
        .give(Input::Command(FramesCommand::Send("x".into())))
        .expect([]);
    script.hear(b"\x05\0");
    script.hear(CONNECTED).expect([say(b"\0\x01x")]);
}

#[test]
fn the_inner_machine_has_its_own_time() {
    let mut script = Script::new("a:1", Authentication::None);
    let wake = FramesCommand::Wake(LIMIT / 2, 7);
    script.give(Input::Command(wake)).expect([]);
    script
        .wait(LIMIT / 2)
        .give(Input::Timeout)
        .expect([Action::Event(FramesEvent::Woke(7))]);
    script.wait(LIMIT / 2).give(Input::Timeout).expect([
        Action::Event(FramesEvent::PeerClosed),
        Action::Close(CloseReason::TimedOut),
    ]);
    script.hear(b"\x05\0").expect([]);
}

#[test]
fn an_inner_machine_that_closes_closes_the_stream() {
    let mut script = Script::new("a:1", Authentication::None);
    script
        .give(Input::Command(FramesCommand::Finish))
        .expect([Action::Close(CloseReason::Finished)]);
    script.hear(b"\x05\0").expect([]);
    script
        .give(Input::Command(FramesCommand::Send("x".into())))
        .expect([Action::Event(FramesEvent::Refused("x".into()))]);
}

#[test]
fn a_proxy_that_ends_early_has_not_connected() {
    let mut script = Script::new("a:1", Authentication::None);
    script.give(Input::Eof).expect([
        Action::Event(FramesEvent::PeerClosed),
        Action::Close(CloseReason::Truncated),
    ]);
}

#[test]
fn an_inner_machine_that_dies_is_not_taken_for_the_proxy() {
    let mut script = Script::new("a:1", Authentication::None);
    script.hear(b"\x05\0");
    script.hear(CONNECTED);
    let died = script.machine.handle(script.now, Input::Bytes(b"\xff\xff"));
    assert_eq!(died, Err(Error::Inner(FrameError::Length(0xffff))));
}

#[test]
fn without_a_proxy_the_stream_is_the_inner_machines_from_the_start() {
    let mut socks = Socks::direct(Frames::new());
    socks.handle(Now::START, Input::Bytes(b"\0\0")).unwrap();
    assert_eq!(
        socks.poll(),
        Some(Action::Event(FramesEvent::Frame("".into())))
    );
}

proptest! {
    #[test]
    fn any_chunking_of_the_stream_gives_the_same_actions(cut in 1..40usize, frame in prop::collection::vec(any::<u8>(), 0..20)) {
        let length = u16::try_from(frame.len()).unwrap().to_be_bytes();
        let wire = [b"\x05\x02\x01\0", CONNECTED, &length, &frame].concat();
        let actions = |cut| {
            let mut script = Script::new("smp.example:5223", Proxy::default().authentication("1"));
            wire.chunks(cut).flat_map(|chunk| script.hear(chunk).actions.clone()).collect::<Vec<_>>()
        };
        let in_pieces = actions(cut);
        prop_assert_eq!(&in_pieces, &actions(wire.len()));
        prop_assert_eq!(in_pieces.last(), Some(&Action::Event(FramesEvent::Frame(frame.into()))));
    }

    #[test]
    fn arbitrary_bytes_never_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..8), 0..8), method in 0..3u8) {
        let mut script = Script::new("a:1", Proxy::default().authentication("1"));
        let begin = [vec![5, method]];
        for chunk in begin.iter().chain(&chunks) {
            if script.machine.handle(script.now, Input::Bytes(chunk)).is_err() {
                break;
            }
            while script.machine.poll().is_some() {}
        }
    }
}

fn say(bytes: &[u8]) -> Action<FramesEvent> {
    Action::Transmit(Bytes::copy_from_slice(bytes))
}

/// Feeds a machine as a driver would and remembers what the last input brought.
struct Script {
    machine: Behind,
    now: Now,
    actions: Vec<Action<FramesEvent>>,
}

impl Script {
    fn new(target: &str, authentication: Authentication) -> Self {
        let target: Target = target.parse().unwrap();
        let make = || {
            let (target, authentication) = (target.clone(), authentication.clone());
            Socks::new(Frames::new(), target, authentication, Now::START, LIMIT)
        };
        let mut script = Self {
            machine: Checked::new(Twin::new(make)),
            now: Now::START,
            actions: Vec::new(),
        };
        script.drain();
        script
    }

    fn wait(&mut self, duration: Duration) -> &mut Self {
        self.now = self.now + duration;
        self
    }

    fn hear(&mut self, bytes: &[u8]) -> &mut Self {
        self.give(Input::Bytes(bytes))
    }

    fn give(&mut self, input: Input<'_, FramesCommand>) -> &mut Self {
        self.machine.handle(self.now, input).unwrap();
        self.drain();
        self
    }

    fn drain(&mut self) {
        self.actions = std::iter::from_fn(|| self.machine.poll()).collect();
    }

    #[track_caller]
    fn expect<const N: usize>(&self, actions: [Action<FramesEvent>; N]) {
        assert_eq!(self.actions, actions);
    }

    #[track_caller]
    fn fails(&mut self, bytes: &[u8], error: SocksError) {
        let failed = self.machine.handle(self.now, Input::Bytes(bytes));
        assert_eq!(failed, Err(Error::Proxy(error)));
    }
}
