//! Time, size and end of sessions, and what passes through them.

use proptest::prelude::*;

use super::*;
use crate::rng::Rng;

fn pair() -> Pair {
    let router = credentials(&[Ed25519; 2], 1);
    Pair::new(client_of(&router), server_of(&router))
}

fn pair_with(limits: Limits) -> Pair {
    let router = credentials(&[Ed25519; 2], 1);
    let client = ClientOptions {
        limits,
        ..client_of(&router)
    };
    let server = ServerOptions {
        limits,
        ..server_of(&router)
    };
    Pair::new(client, server)
}

#[test]
fn a_handshake_has_a_minute() {
    let mut pair = pair();
    for side in [&mut pair.client, &mut pair.server] {
        let deadline = side.tls.deadline().unwrap();
        assert_eq!(deadline, START.instant + Duration::from_secs(60));
        let before = START + Duration::from_millis(59_999);
        side.give(before, Input::Timeout);
        assert_eq!(side.closed, None);
        side.give(before + Duration::from_millis(1), Input::Timeout);
        assert_eq!(side.closed, Some(CloseReason::TimedOut));
        assert_eq!(side.tls.deadline(), None);
    }
}

#[test]
fn after_the_handshake_time_is_that_of_the_upper_machine() {
    let mut pair = pair();
    pair.run().assert_secured();
    assert_eq!(pair.client.tls.deadline(), None);
    let wake = START.instant + Duration::from_secs(100);
    pair.client.give(START, Input::Command(Say::WakeAt(wake)));
    assert_eq!(pair.client.tls.deadline(), Some(wake));
    pair.client
        .give(START + Duration::from_secs(100), Input::Timeout);
    assert_eq!(pair.client.seen.last(), Some(&Seen::Timeout));
}

#[test]
fn a_handshake_that_goes_on_and_on_is_stopped() {
    // A hello of 65535 bytes, in records that are as large as they may be.
    let mut hello = vec![0x16, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff];
    hello.resize(5 + 0x4000, 0);
    let mut next = vec![0x16, 3, 1, 0x40, 0];
    next.resize(5 + 0x4000, 0);
    let mut pair = pair();
    pair.server.give(START, Input::Bytes(&hello));
    assert_eq!(pair.server.error, None);
    pair.server.give(START, Input::Bytes(&next));
    let too_long = TlsError::HandshakeTooLong(32 << 10);
    assert_eq!(pair.server.tls_error(), too_long);
}

#[test]
fn a_handshake_may_be_as_long_as_the_limit_but_not_longer() {
    let mut measured = pair();
    let (mut from_client, mut from_server) = (0, 0);
    measured.run_through(|from, bytes| {
        match from {
            Sender::Client => from_client += bytes.len(),
            Sender::Server => from_server += bytes.len(),
        }
        vec![bytes]
    });
    // What follows the handshake at once is not counted: a record with a greeting in it.
    let greeting = PING.len() + 5 + 1 + 16;
    let needed = from_server.max(from_client) - greeting;
    for (handshake_bytes, enough) in [(needed, true), (needed - 1, false)] {
        let mut pair = pair_with(Limits {
            handshake_bytes,
            ..Limits::default()
        });
        pair.run();
        assert_eq!(pair.client.facts().is_some(), enough);
        if !enough {
            let too_long = TlsError::HandshakeTooLong(handshake_bytes);
            assert_eq!(pair.client.tls_error(), too_long);
        }
    }
}

#[test]
fn one_flush_is_one_write() {
    let mut pair = pair();
    pair.run().assert_secured();
    let parts: Vec<&[u8]> = vec![b"one", &[7; 20_000], b"three"];
    let sent = parts.concat();
    pair.client.give(START, Input::Command(Say::Send(parts)));
    assert_eq!(pair.client.unsent.len(), 1);
    pair.server.seen.clear();
    pair.run();
    assert_eq!(pair.server.received(), sent);
}

#[test]
fn a_greeting_leaves_with_the_end_of_the_handshake() {
    let mut pair = pair();
    let mut writes = Vec::new();
    pair.run_through(|from, bytes| {
        writes.push(from);
        vec![bytes]
    });
    use Sender::{Client, Server};
    assert_eq!(writes, [Client, Server, Client, Server]);
}

#[test]
fn more_than_may_wait_at_once_is_an_error() {
    let mut pair = pair_with(Limits {
        unsent_bytes: 20_000,
        ..Limits::default()
    });
    pair.run().assert_secured();
    let parts: Vec<&[u8]> = vec![&[7; 10_000], &[7; 10_000]];
    pair.client.give(START, Input::Command(Say::Send(parts)));
    let too_much = TlsError::TooMuchUnsent(20_000);
    assert_eq!(pair.client.tls_error(), too_much);
}

#[test]
fn commands_wait_for_the_machine_that_can_answer_them() {
    let mut pair = pair();
    assert!(!pair.client.tls.accepts_commands());
    let parts: Vec<&[u8]> = vec![b", too early"];
    pair.client.give(START, Input::Command(Say::Send(parts)));
    assert!(pair.client.tls.upper().is_none());
    pair.run();
    assert!(pair.client.tls.accepts_commands());
    assert_eq!(pair.server.received(), [PING, b", too early"].concat());

    pair.client.give(START, Input::Command(Say::Close));
    assert!(!pair.client.tls.accepts_commands());
    assert_eq!(pair.client.tls.deadline(), None);
}

#[test]
fn bytes_are_as_welcome_as_to_the_upper_machine() {
    let mut pair = pair();
    assert!(pair.client.tls.accepts_bytes());
    pair.run().assert_secured();
    pair.client.give(START, Input::Command(Say::StopReading));
    assert!(!pair.client.tls.accepts_bytes());
}

#[test]
fn an_orderly_end_is_told_from_a_cut() {
    let mut pair = pair();
    pair.run().assert_secured();
    pair.client.give(START, Input::Command(Say::Close));
    assert_eq!(pair.client.closed, Some(CloseReason::Finished));
    pair.run();
    assert_eq!(pair.server.closed, Some(CloseReason::PeerClosed));

    let mut pair = self::pair();
    pair.run().assert_secured();
    pair.server.give(START, Input::Eof);
    assert_eq!(pair.server.seen.last(), Some(&Seen::Eof));
    assert_eq!(pair.server.closed, Some(CloseReason::Truncated));
}

#[test]
fn the_end_of_the_stream_ends_a_handshake() {
    let mut pair = pair();
    pair.client.give(START, Input::Eof);
    assert_eq!(pair.client.closed, Some(CloseReason::Truncated));
    assert_eq!(pair.client.facts(), None);
}

#[test]
fn nobody_can_end_a_session_that_is_not_secured_yet_by_a_word() {
    let close_notify = [0x15, 3, 3, 0, 2, 1, 0];
    let mut pair = pair();
    pair.client.give(START, Input::Bytes(&close_notify));
    assert!(!pair.client.is_gone());
    pair.run().assert_secured();
}

#[test]
fn the_last_words_of_the_upper_machine_are_sent() {
    let mut pair = pair();
    pair.run().assert_secured();
    pair.server.seen.clear();
    let die = Say::Die(b"last words");
    pair.client.give(START, Input::Command(die));
    assert_eq!(pair.client.error, Some(Error::Upper(Died)));
    pair.run();
    assert_eq!(pair.server.received(), b"last words");
    assert_eq!(pair.server.closed, Some(CloseReason::PeerClosed));
}

#[test]
fn what_arrives_before_a_bad_record_is_delivered_first() {
    let mut pair = pair();
    pair.run().assert_secured();
    pair.server.seen.clear();
    let parts: Vec<&[u8]> = vec![b"good"];
    pair.client.give(START, Input::Command(Say::Send(parts)));
    let good = pair.client.unsent.remove(0);
    let bad = [&good[..], &good[..]].concat();
    pair.server.give(START, Input::Bytes(&bad));
    assert_eq!(pair.server.received(), b"good");
    assert!(matches!(pair.server.tls_error(), TlsError::Protocol(_)));
    assert_eq!(pair.server.unsent.len(), 1, "an alert");
}

/// Held to the contract of every machine, over a network with latency.
#[test]
fn a_session_keeps_the_contract() {
    use crate::sim::{Checked, Frames, FramesCommand, FramesEvent, Link, Settled};

    let (chain, key) = chain(&[Ed25519; 2], 1, Validity::days(UnixTime::EPOCH, 10));
    let router = Credentials::new(chain, key).unwrap();
    let config = Arc::new(ClientConfig::new(client_of(&router)).unwrap());
    let [left, right] = [1, 2].map(|seed| Rng::from_seed([seed; 32]));
    let client = Tls::client(&config, Now::START, left, |_, _| Frames::new()).unwrap();
    let config = Arc::new(ServerConfig::new(server_of(&router)).unwrap());
    let server = Tls::server(&config, Now::START, right, |_, _| Frames::echo());

    let (client, server) = (Checked::new(client), Checked::new(server));
    let mut pair = crate::sim::Pair::new(7, &Link::WAN, client, server);
    assert_eq!(pair.run(10_000), Settled::Idle);
    let frame = Bytes::from(vec![7; 4000]);
    pair.command_left(FramesCommand::Send(frame.clone()));
    assert_eq!(pair.run(10_000), Settled::Idle);
    assert_eq!(pair.left().events(), [FramesEvent::Frame(frame)]);
}

/// Cuts each write into pieces of these lengths, again and again.
fn cut(bytes: &Bytes, lengths: &[usize]) -> Vec<Bytes> {
    let mut rest = bytes.clone();
    let mut pieces = Vec::new();
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        pieces.push(rest.split_to(rest.len().min(*length)));
    }
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_cut_of_the_stream_gives_the_same_session(
        lengths in prop::collection::vec(prop_oneof![1..8_usize, 1..600_usize, 1..20_000_usize], 1..6),
        tls12 in any::<bool>(),
        blocks in 1..4_usize,
    ) {
        let router = credentials(&[Ed448, Ed25519], 1);
        let mut pairs = [(); 2].map(|()| {
            let client = ClientOptions {
                versions: if tls12 { Versions::Tls12 } else { Versions::Tls13 },
                groups: Groups::X448First,
                credentials: Some(credentials(&[Ed25519], 2)),
                ..client_of(&router)
            };
            let server = ServerOptions {
                client_certificates: ClientCertificates::Asked,
                groups: Groups::X25519,
                ..server_of(&router)
            };
            Pair::new(client, server)
        });
        for (pair, lengths) in pairs.iter_mut().zip([&[usize::MAX][..], &lengths]) {
            pair.run_through(|_, bytes| cut(&bytes, lengths)).assert_secured();
            let parts: Vec<&[u8]> = vec![&[7; 16384]; blocks];
            pair.client.give(START, Input::Command(Say::Send(parts.clone())));
            pair.server.give(START, Input::Command(Say::Send(parts)));
            pair.run_through(|_, bytes| cut(&bytes, lengths));
        }
        let [whole, cut] = &pairs;
        prop_assert_eq!(whole.client.facts(), cut.client.facts());
        prop_assert_eq!(whole.server.facts(), cut.server.facts());
        prop_assert_eq!(whole.client.received(), cut.client.received());
        prop_assert_eq!(whole.server.received(), cut.server.received());
        prop_assert_eq!(whole.server.received().len(), PING.len() + blocks * 16384);
    }

    #[test]
    fn garbage_never_panics(
        pieces in prop::collection::vec(garbage(), 1..6),
        secured in any::<bool>(),
    ) {
        let mut pair = pair();
        if secured {
            pair.run().assert_secured();
        }
        for side in [&mut pair.client, &mut pair.server] {
            for piece in &pieces {
                side.give(START, Input::Bytes(piece));
            }
            side.give(START, Input::Timeout);
            side.give(START, Input::Eof);
            prop_assert!(side.is_gone());
            prop_assert_eq!(side.facts().is_some(), secured);
        }
    }
}

/// Bytes, some of them framed as records and handshake messages so that they get further.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop::collection::vec(any::<u8>(), 0..600);
    prop_oneof![
        bytes.clone(),
        (20..24_u8, bytes.clone()).prop_map(|(kind, bytes)| record(kind, bytes)),
        (any::<u8>(), bytes).prop_map(|(kind, mut bytes)| {
            let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
            bytes.splice(0..0, [kind, length[1], length[2], length[3]]);
            record(0x16, bytes)
        }),
    ]
}

fn record(kind: u8, mut bytes: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    bytes.splice(0..0, [kind, 3, 3, length[0], length[1]]);
    bytes
}
