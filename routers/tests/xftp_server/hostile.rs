//! Those who are no clients, or bad ones.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Method;
use simplex_sans_io::crypto::{AuthPrivateKey, ed25519};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::wire::{EntityId, NonEmpty, Short};
use simplex_sans_io::xftp::{BLOCK, Command, NewFile};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::peer::{Dial, block, request, sha256, words};
use crate::process::{Process, configure, initialized};
use crate::{connect, create, download, upload};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `POST /` of `localhost`, in the static table's words.
fn post() -> Vec<u8> {
    let mut block = vec![0x83, 0x87, 0x84, 0x41, 9];
    block.extend(b"localhost");
    block
}

/// The kinds of frames that come, with their streams, until nothing more does.
async fn heard(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<(u8, u32, Bytes)> {
    let mut bytes = BytesMut::new();
    // An end without a farewell of TLS is one, too.
    while stream
        .read_buf(&mut bytes)
        .await
        .is_ok_and(|count| count > 0)
    {}
    let mut frames = Vec::new();
    while bytes.len() >= 9 {
        let head = bytes.split_to(9);
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let id = u32::from_be_bytes(*head.last_chunk().unwrap());
        let payload = bytes.split_to(length.min(bytes.len())).freeze();
        frames.push((head[3], id, payload));
    }
    frames
}

/// Says something above TLS, and hears all that is answered until the router ends the connection.
async fn converse(port: u16, said: Vec<u8>) -> Vec<(u8, u32, Bytes)> {
    let mut stream = Dial::native(port).tls().await.unwrap();
    // The router may have ended the connection before it has heard all.
    stream.write_all(&said).await.ok();
    stream.flush().await.ok();
    let ended = tokio::time::timeout(Duration::from_secs(90), heard(&mut stream));
    ended.await.expect("the router ends the connection")
}

#[tokio::test]
async fn what_http2_does_not_allow_ends_the_connection_and_harms_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let router = Process::start(directory.path());
    let client = connect(&router.address).await;
    let file = create(&client, 1 << 16, 1).await;
    upload(&client, &file).await.unwrap();
    let with = |frames: &[Vec<u8>]| {
        let settings = frame(SETTINGS, 0, 0, &[]);
        [PREFACE, &settings, &frames.concat()].concat()
    };
    let open = frame(HEADERS, END_HEADERS, 1, &post());
    let cases = [
        ("data on no stream", with(&[frame(DATA, 0, 0, b"x")]), 1),
        (
            "data on an idle stream",
            with(&[frame(DATA, 0, 5, b"x")]),
            1,
        ),
        (
            "headers on no stream",
            with(&[frame(HEADERS, END_HEADERS, 0, &post())]),
            1,
        ),
        (
            "a stream of the router",
            with(&[frame(HEADERS, END_HEADERS, 2, &post())]),
            1,
        ),
        (
            "a ping that is too short",
            with(&[frame(PING, 0, 0, b"1234")]),
            1,
        ),
        ("a ping of a stream", with(&[frame(PING, 0, 1, &[0; 8])]), 1),
        (
            "settings of a stream",
            with(&[frame(SETTINGS, 0, 1, &[])]),
            1,
        ),
        (
            "settings that are cut",
            with(&[frame(SETTINGS, 0, 0, &[0; 5])]),
            1,
        ),
        (
            "a frame that is too long",
            with(&[frame(DATA, 0, 1, &[0; 80_000])]),
            6,
        ),
        ("no credit", with(&[frame(WINDOW_UPDATE, 0, 0, &[0; 4])]), 1),
        (
            "too much credit",
            with(&[
                frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
                frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            ]),
            3,
        ),
        (
            "headers that are interrupted",
            with(&[frame(HEADERS, 0, 1, &post()), frame(PING, 0, 0, &[0; 8])]),
            1,
        ),
        (
            "a continuation of nothing",
            with(&[frame(CONTINUATION, END_HEADERS, 1, &post())]),
            1,
        ),
        (
            "headers that are not compressed well",
            with(&[frame(HEADERS, END_HEADERS, 1, &[0xff; 20])]),
            1,
        ),
        (
            "a stream that goes back",
            with(&[
                frame(HEADERS, END_HEADERS | END_STREAM, 5, &post()),
                frame(HEADERS, END_HEADERS, 3, &post()),
            ]),
            1,
        ),
        (
            "padding that is longer than its frame",
            with(&[open, frame(DATA, 8, 1, &[200, 1, 2])]),
            1,
        ),
    ];
    let mut others = Vec::new();
    for (what, said, reason) in cases {
        let frames = converse(router.port, said).await;
        let goaway = frames.iter().find(|(kind, ..)| *kind == GOAWAY);
        let (_, _, payload) = goaway.unwrap_or_else(|| panic!("{what}: {frames:?}"));
        if payload[7] != reason {
            others.push((what, payload[7]));
        }
    }
    assert_eq!(others, []);
    assert_eq!(download(&client, &file).await.unwrap(), file.chunk);
}

#[tokio::test]
async fn what_is_allowed_though_odd_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let router = Process::start(directory.path());
    let mut stream = Dial::native(router.port).tls().await.unwrap();
    let mut said = PREFACE.to_vec();
    said.extend(frame(SETTINGS, 0, 0, &[0, 0x7f, 0, 0, 0, 1]));
    // A frame of a kind that does not exist, priorities, a ping, an empty piece before the end, headers in pieces.
    said.extend(frame(0xbb, 0xff, 0, b"what"));
    said.extend(frame(2, 0, 1, &[0, 0, 0, 0, 16]));
    said.extend(frame(PING, 0, 0, b"12345678"));
    let post = post();
    let (first, rest) = post.split_at(4);
    said.extend(frame(HEADERS, 0, 1, first));
    said.extend(frame(CONTINUATION, END_HEADERS, 1, rest));
    said.extend(frame(DATA, 0, 1, &[]));
    said.extend(frame(DATA, END_STREAM, 1, &[]));
    stream.write_all(&said).await.unwrap();
    stream.flush().await.unwrap();
    let mut bytes = BytesMut::new();
    // The answer is the router's hello: a block, on the stream.
    while bytes.len() < BLOCK {
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
    }
    stream
        .write_all(&frame(GOAWAY, 0, 0, &[0; 8]))
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.ok();
    bytes.extend_from_slice(&rest);
    let pong = frame(PING, 1, 0, b"12345678");
    assert!(bytes.windows(pong.len()).any(|window| window == pong));
    assert!(!bytes.is_empty());
    drop(router);
}

#[tokio::test]
async fn a_thousand_requests_at_the_same_time_are_all_answered() {
    let directory = tempfile::tempdir().unwrap();
    let router = Process::start(directory.path());
    let mut peer = Dial::native(router.port).http2().await;
    let session = peer.greet().await;
    let ping = block(&session, &EntityId::EMPTY, &Command::Ping, None);
    let mut asked = JoinSet::new();
    for _ in 0..1000 {
        let mut peer = crate::peer::Peer {
            send: peer.send.clone(),
            connection: tokio::spawn(async { Ok(()) }),
        };
        let (ping, session) = (ping.clone(), session.clone());
        asked.spawn(async move {
            let pong = peer.post(&[], ping).await;
            words(&session, pong.body())
        });
    }
    let answers = asked.join_all().await;
    assert_eq!(answers.len(), 1000);
    assert!(answers.iter().all(|answer| answer == "PONG"));
}

#[tokio::test]
async fn a_thousand_streams_that_are_open_do_not_keep_others_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let router = Process::start(directory.path());
    let mut open = Vec::new();
    for _ in 0..10 {
        let mut peer = Dial::native(router.port).http2().await;
        let session = peer.greet().await;
        let ping = block(&session, &EntityId::EMPTY, &Command::Ping, None);
        for _ in 0..100 {
            std::future::poll_fn(|cx| peer.send.poll_ready(cx))
                .await
                .unwrap();
            let post = request(Method::POST, &[]);
            let (response, mut stream) = peer.send.send_request(post, false).unwrap();
            stream.send_data(ping.slice(..BLOCK / 2), false).unwrap();
            open.push((response, stream, ping.slice(BLOCK / 2..), session.clone()));
        }
        open.push({
            std::future::poll_fn(|cx| peer.send.poll_ready(cx))
                .await
                .unwrap();
            let post = request(Method::POST, &[]);
            let (response, mut stream) = peer.send.send_request(post, false).unwrap();
            stream.send_data(ping.slice(..1), false).unwrap();
            (response, stream, ping.slice(1..), session)
        });
    }
    let client = connect(&router.address).await;
    let file = create(&client, 1 << 18, 1).await;
    upload(&client, &file).await.unwrap();
    assert_eq!(download(&client, &file).await.unwrap(), file.chunk);
    // And all of them are answered when they go on.
    for (response, mut stream, rest, session) in open {
        stream.send_data(rest, true).unwrap();
        let mut body = response.await.unwrap().into_body();
        let mut answer = Vec::new();
        while let Some(piece) = body.data().await {
            let piece = piece.unwrap();
            body.flow_control().release_capacity(piece.len()).unwrap();
            answer.extend_from_slice(&piece);
        }
        assert_eq!(words(&session, &answer), "PONG");
    }
}

#[tokio::test]
async fn who_opens_and_resets_streams_as_fast_as_it_can_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let router = Process::start(directory.path());
    let client = connect(&router.address).await;
    client.ping().await.unwrap();
    let mut said = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for stream in (1..40_001).step_by(2) {
        said.extend(frame(HEADERS, END_HEADERS, stream, &post()));
        said.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }
    let frames = converse(router.port, said).await;
    let goaway = frames.iter().find(|(kind, ..)| *kind == GOAWAY);
    let (_, _, payload) = goaway.unwrap_or_else(|| panic!("{frames:?}"));
    // Enhance your calm.
    assert_eq!(payload[7], 11);
    client.ping().await.unwrap();
}

#[tokio::test]
async fn headers_without_end_are_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let router = Process::start(directory.path());
    let mut said = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    said.extend(frame(HEADERS, 0, 1, &post()));
    // A header that is never indexed, again and again.
    let mut field = vec![0x10, 1, b'a', 0x7f, 0xe1, 0x1e];
    field.extend([b'b'; 4000]);
    for _ in 0..200 {
        said.extend(frame(CONTINUATION, 0, 1, &field));
    }
    let frames = converse(router.port, said).await;
    assert!(
        frames.iter().any(|(kind, ..)| *kind == GOAWAY),
        "{frames:?}"
    );
    let client = connect(&router.address).await;
    client.ping().await.unwrap();
}

#[tokio::test]
async fn those_who_say_little_or_nothing_disturb_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let router = Process::start(directory.path());
    let raw = || tokio::net::TcpStream::connect(("127.0.0.1", router.port));
    let mut slow = Vec::new();
    for number in 0..300 {
        let mut stream = raw().await.unwrap();
        match number % 3 {
            0 => {}
            1 => stream.write_all(&[22, 3, 1]).await.unwrap(),
            _ => stream.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap(),
        }
        slow.push(stream);
    }
    let mut slower = Vec::new();
    for number in 0..60 {
        let mut stream = Dial::native(router.port).tls().await.unwrap();
        let settings = frame(SETTINGS, 0, 0, &[]);
        let said = match number % 4 {
            0 => Vec::new(),
            1 => PREFACE[..7].to_vec(),
            2 => [PREFACE, &settings, &frame(HEADERS, 0, 1, &post())].concat(),
            _ => [PREFACE, &settings, &frame(HEADERS, END_HEADERS, 1, &post())].concat(),
        };
        stream.write_all(&said).await.unwrap();
        stream.flush().await.unwrap();
        slower.push(stream);
    }
    let mut garbage = raw().await.unwrap();
    garbage.write_all(&[0x55; 5000]).await.unwrap();
    let mut rest = Vec::new();
    garbage.read_to_end(&mut rest).await.ok();
    let client = connect(&router.address).await;
    let file = create(&client, 1 << 16, 1).await;
    upload(&client, &file).await.unwrap();
    assert_eq!(download(&client, &file).await.unwrap(), file.chunk);
    router.stop().await;
}

/// A file of this size, made by a client that is not ours: the id and the key of its sender.
async fn new_file(
    peer: &mut crate::peer::Peer,
    session: &simplex_sans_io::xftp::transmission::Session,
    chunk: &[u8],
) -> (EntityId, AuthPrivateKey) {
    let mut rng = Rng::from_seed([9; 32]);
    let sender = AuthPrivateKey::from(ed25519::PrivateKey::generate(&mut rng));
    let recipient = AuthPrivateKey::from(ed25519::PrivateKey::generate(&mut rng));
    let new = Command::FNew(Box::new(NewFile {
        sender_key: sender.public_key(),
        size: u32::try_from(chunk.len()).unwrap(),
        digest: Short::try_from(&sha256(chunk)).unwrap(),
        recipients: NonEmpty::one(recipient.public_key()),
        password: None,
    }));
    let new = block(session, &EntityId::EMPTY, &new, Some(&sender));
    let made = peer.post(&[], new).await;
    let text = words(session, made.body());
    assert!(text.starts_with("SIDS "), "{text}");
    let id = made.body()[..]
        .windows(6)
        .position(|at| at == b"SIDS \x10")
        .unwrap()
        + 6;
    let id = EntityId::try_from(&made.body()[id..id + 16]).unwrap();
    (id, sender)
}

#[tokio::test]
async fn every_answer_comes_without_a_reset_however_much_of_a_body_is_left() {
    let directory = tempfile::tempdir().unwrap();
    initialized(directory.path()).await;
    configure(
        directory.path(),
        "storage_quota = 10gb",
        "storage_quota = 64kb",
    );
    let router = Process::start(directory.path());
    let mut peer = Dial::native(router.port).http2().await;
    let session = peer.greet().await;
    let chunk = vec![7; 1 << 20];
    let (id, key) = new_file(&mut peer, &session, &chunk).await;
    let put = |key: &AuthPrivateKey, id: &EntityId| block(&session, id, &Command::FPut, Some(key));
    let stranger =
        AuthPrivateKey::from(ed25519::PrivateKey::generate(&mut Rng::from_seed([8; 32])));
    let whole = |block: Bytes, body: &[u8]| Bytes::from([&block[..], body].concat());
    let ping = block(&session, &EntityId::EMPTY, &Command::Ping, None);
    for (said, answer) in [
        (whole(put(&key, &id), &chunk), "ERR QUOTA"),
        (whole(put(&stranger, &id), &chunk), "ERR AUTH"),
        (
            whole(put(&key, &EntityId::from([1; 24])), &chunk),
            "ERR AUTH",
        ),
        (whole(ping.clone(), &chunk), "PONG"),
        (whole(Bytes::from(vec![0; BLOCK]), &chunk), "ERR BLOCK"),
        (ping.slice(..100), "ERR BLOCK"),
        (put(&key, &id), "ERR QUOTA"),
    ] {
        let heard = peer.post(&[], said).await;
        assert_eq!(words(&session, heard.body()), answer);
    }
    // What is declared and does not come true concerns its own connection only.
    let short = request(Method::POST, &[("content-length", "20000")]);
    assert!(peer.ask(short, ping.clone()).await.is_err());
    let mut peer = Dial::native(router.port).http2().await;
    let session = peer.greet().await;
    let exact = request(Method::POST, &[("content-length", "16384")]);
    let ping = block(&session, &EntityId::EMPTY, &Command::Ping, None);
    let heard = peer.ask(exact, ping).await.unwrap();
    assert_eq!(words(&session, heard.body()), "PONG");
    drop(peer.connection);
}
