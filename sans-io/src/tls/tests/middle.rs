//! A man in the middle, who alters, cuts, repeats, drops and inserts what he likes.
//!
//! He can end a session. He cannot make the sides believe in different sessions, have anything delivered that was not sent, or have
//! anything sent before the session is secured.

use super::*;

const ALGORITHMS: [&[Algorithm]; 2] = [&[Ed25519, Ed25519], &[Ed448, Ed25519, Ed25519]];

fn pair(versions: Versions) -> Pair {
    let [router, service] = ALGORITHMS.map(|algorithms| credentials(algorithms, 1));
    let client = ClientOptions {
        versions,
        credentials: Some(service),
        ..client_of(&router)
    };
    let server = ServerOptions {
        client_certificates: ClientCertificates::Asked,
        ..server_of(&router)
    };
    Pair::new(client, server)
}

/// What each side sends in a session that nobody disturbs.
fn undisturbed(versions: Versions) -> [Vec<u8>; 2] {
    let mut sent = [Vec::new(), Vec::new()];
    let mut pair = pair(versions);
    pair.run_through(|from, bytes| {
        sent[from as usize].extend_from_slice(&bytes);
        vec![bytes]
    });
    pair.assert_secured();
    sent
}

/// Runs a session in which the stream of one side is replaced from a position on, and checks what must hold in every session.
fn disturb(versions: Versions, from: Sender, change: impl Fn(usize, Bytes) -> Bytes) -> Outcome {
    let mut pair = pair(versions);
    let mut position = 0;
    pair.run_through(|sender, bytes| {
        if sender != from {
            return vec![bytes];
        }
        let start = position;
        position += bytes.len();
        vec![change(start, bytes)]
    });
    // Whoever waits for more waits in vain.
    pair.client.give(START, Input::Eof);
    pair.server.give(START, Input::Eof);

    let [client, server] = [&pair.client, &pair.server];
    for (side, genuine) in [(client, PONG), (server, PING)] {
        let received = side.received();
        assert!(genuine.starts_with(&received), "nothing but what was sent");
        assert!(side.facts().is_some() || received.is_empty());
    }
    match (client.facts(), server.facts()) {
        (Some(client), Some(server)) => {
            assert_eq!(client.session_id, server.session_id);
            assert_eq!(client.protocol, server.protocol);
            Outcome::Secured
        }
        (Some(_), None) | (None, Some(_)) => Outcome::OneSide,
        (None, None) => Outcome::Failed,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Secured,
    OneSide,
    Failed,
}

/// The bytes that nothing protects, because nobody reads them: the version in the header of a record, and in TLS 1.3 the kind of an
/// encrypted one, whose real kind is inside.
fn ignored(stream: &[u8]) -> Vec<usize> {
    let records = records(stream).into_iter();
    records
        .flat_map(|(start, _)| {
            let kind = (stream[start] == 0x17).then_some(start);
            [start + 1, start + 2].into_iter().chain(kind)
        })
        .collect()
}

/// Where records start and end.
fn records(stream: &[u8]) -> Vec<(usize, usize)> {
    let mut start = 0;
    std::iter::from_fn(|| {
        let header = stream.get(start..start + 5)?;
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let record = (start, start + 5 + length);
        start = record.1;
        Some(record)
    })
    .collect()
}

const STREAMS: [(Versions, Sender); 4] = [
    (Versions::Tls13, Sender::Client),
    (Versions::Tls13, Sender::Server),
    (Versions::Tls12, Sender::Client),
    (Versions::Tls12, Sender::Server),
];

/// How much of the stream belongs to the handshake: all but the record with the greeting.
fn handshake(stream: &[u8]) -> usize {
    records(stream).last().unwrap().0
}

#[test]
fn an_altered_byte_ends_the_handshake_wherever_it_is() {
    for (versions, from) in STREAMS {
        let stream = &undisturbed(versions)[from as usize];
        let ignored = ignored(stream);
        for at in 0..handshake(stream) {
            let bit = 1 << (at % 8);
            let outcome = disturb(versions, from, |start, bytes| {
                let mut bytes = bytes.to_vec();
                if let Some(byte) = at.checked_sub(start).and_then(|at| bytes.get_mut(at)) {
                    *byte ^= bit;
                }
                bytes.into()
            });
            // Whose Finished comes last is done before the other has seen it, and the other then never is.
            let last = match versions {
                Versions::Tls12 => Sender::Server,
                Versions::Tls13 | Versions::Both => Sender::Client,
            };
            match outcome {
                Outcome::Failed => {}
                Outcome::OneSide => assert_eq!(from, last, "{versions:?} {from:?} {at}"),
                Outcome::Secured => {
                    assert!(ignored.contains(&at), "{versions:?} {from:?} {at}");
                }
            }
        }
    }
}

#[test]
fn a_stream_that_is_cut_ends_the_handshake_wherever_it_is() {
    for (versions, from) in STREAMS {
        let stream = &undisturbed(versions)[from as usize];
        for at in (0..handshake(stream)).step_by(7) {
            let outcome = disturb(versions, from, |start, bytes| {
                bytes.slice(..bytes.len().min(at.saturating_sub(start)))
            });
            assert_ne!(outcome, Outcome::Secured, "{versions:?} {from:?} {at}");
        }
    }
}

/// A record of TLS 1.3 that says nothing, for the sake of old middle boxes.
fn says_nothing(versions: Versions, record: &[u8]) -> bool {
    versions == Versions::Tls13 && record[0] == 0x14
}

#[test]
fn a_record_that_is_repeated_or_dropped_ends_the_handshake() {
    for (versions, from) in STREAMS {
        let stream = &undisturbed(versions)[from as usize];
        let records = records(stream);
        let handshake = &records[..records.len() - 1];
        for &(first, end) in handshake {
            let record = &stream[first..end];
            let repeated = [record, record].concat();
            for replacement in [&repeated[..], &[]] {
                let outcome = disturb(versions, from, |start, bytes| {
                    let Some(at) = first.checked_sub(start).filter(|at| *at < bytes.len()) else {
                        return bytes;
                    };
                    let (before, rest) = bytes.split_at(at);
                    [before, replacement, &rest[end - first..]].concat().into()
                });
                if !says_nothing(versions, record) {
                    assert_ne!(outcome, Outcome::Secured, "{versions:?} {from:?} {first}");
                }
            }
        }
    }
}

#[test]
fn plaintext_is_not_taken_from_a_stream_that_is_not_secured() {
    let plaintext = [&[0x17, 3, 3, 0, 6][..], b"forged"].concat();
    for (versions, from) in STREAMS {
        let stream = &undisturbed(versions)[from as usize];
        for (first, _) in records(stream) {
            let outcome = disturb(versions, from, |start, bytes| {
                match first.checked_sub(start).filter(|at| *at < bytes.len()) {
                    Some(at) => [&bytes[..at], &plaintext, &bytes[at..]].concat().into(),
                    None => bytes,
                }
            });
            if first < handshake(stream) {
                assert_ne!(outcome, Outcome::Secured, "{versions:?} {from:?} {first}");
            }
        }
    }
}

#[test]
fn nothing_that_the_upper_machine_says_is_readable() {
    for versions in [Versions::Tls13, Versions::Tls12] {
        for stream in undisturbed(versions) {
            for secret in [PING, PONG] {
                assert!(!stream.windows(secret.len()).any(|bytes| bytes == secret));
            }
        }
    }
}

#[test]
fn two_sessions_have_nothing_in_common() {
    let mut ids = Vec::new();
    for seed in 0..20 {
        let router = credentials(&[Ed25519; 2], 1);
        let mut pair = Pair::seeded(client_of(&router), server_of(&router), seed);
        ids.push(pair.run().assert_secured().0.session_id);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20);
}

/// A router to which the client's bytes are forwarded knows the session, the one that forwards them does not.
#[test]
fn a_router_cannot_pass_for_another_by_speaking_to_both() {
    let [genuine, mallory] = [1, 2].map(|seed| credentials(&[Ed25519; 2], seed));
    let mut with_client = Pair::new(client_of(&genuine), server_of(&mallory));
    with_client.run();
    let mut with_router = Pair::new(client_of(&genuine), server_of(&genuine));
    with_router.run().assert_secured();
    assert_eq!(with_client.client.facts(), None);
}
