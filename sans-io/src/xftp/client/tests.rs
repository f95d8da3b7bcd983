use bytes::{Bytes, BytesMut};

use super::*;
use crate::crypto::{Algorithm, AuthPrivateKey, ed25519, hash::sha256};
use crate::http2::{Http2, Options};
use crate::rng::Rng;
use crate::sim::identity::Credentials;
use crate::sim::xftp::{Joined, transports};
use crate::sim::{Link, Pair};
use crate::wire::{EntityId, Short};
use crate::xftp::router::store::Chunk;
use crate::xftp::server::{self, Found, Server, UploadId};

type Net = Joined<Client, Server>;

fn machines(rng: &mut Rng) -> (Client, Server) {
    let credentials = Credentials::issue(Algorithm::Ed25519, rng);
    let (of_client, of_router) = transports(rng);
    let config = server::Config::new(credentials.xftp_router());
    let server = Server::new(config, of_router, rng.fork(), Now::START);
    let config = Config::new("router.example", credentials.key_hash());
    let client = Client::new(config, of_client, rng.fork(), Now::START);
    (client, server)
}

fn net() -> Net {
    joined(machines(&mut Rng::from_seed([7; 32])))
}

fn joined((client, server): (Client, Server)) -> Net {
    let mut net = Joined::new(client, server);
    assert!(matches!(net.client_events[..], [Event::Established(_)]));
    net.client_events.clear();
    net.server_events.clear();
    net
}

fn key() -> Arc<AuthPrivateKey> {
    Arc::new(ed25519::PrivateKey::from_bytes([3; 32]).into())
}

fn request(number: u64, ask: Ask) -> Request {
    Request::new(RequestId(number), ask)
        .about(EntityId::from([1; 24]))
        .authorized_by(key())
}

fn send(net: &mut Net, request: Request) {
    net.give_client(Input::Command(Call::Send(request)));
}

fn tell(net: &mut Net, call: server::Call) {
    net.give_server(Input::Command(call));
}

/// Authorises the next request, and says what it is.
fn authorize(net: &mut Net) -> StreamId {
    let Some(server::Event::Lookup { stream, .. }) = net.server_events.pop() else {
        panic!("a lookup");
    };
    let found = Found::Key(key().public_key());
    tell(net, server::Call::Key { stream, found });
    assert!(matches!(
        net.server_events.pop(),
        Some(server::Event::Execute { .. })
    ));
    stream
}

#[track_caller]
fn assert_response(net: &mut Net, number: u64, result: Result<Answer, RequestError>) {
    let request = RequestId(number);
    let response = Event::Response { request, result };
    assert_eq!(net.client_events, [response]);
    net.client_events.clear();
}

#[test]
fn an_answer_that_is_to_something_else_is_not_believed() {
    let mut net = net();
    send(&mut net, request(1, Ask::Delete));
    let stream = authorize(&mut net);
    let response = Response::Rids(crate::wire::NonEmpty::one(EntityId::from([1; 24])));
    tell(&mut net, server::Call::Answer { stream, response });
    assert_response(&mut net, 1, Err(RequestError::Unexpected("RIDS")));
    assert_eq!(net.client.in_flight(), 0);
}

#[test]
fn requests_are_answered_in_any_order() {
    let mut net = net();
    for number in 1..=3 {
        send(&mut net, request(number, Ask::Delete));
    }
    let streams: Vec<_> = (1..=3).map(|_| authorize(&mut net)).collect();
    for (stream, number) in streams.into_iter().zip([3, 2, 1]) {
        let response = Response::Ok;
        tell(&mut net, server::Call::Answer { stream, response });
        assert_response(&mut net, number, Ok(Answer::Done));
    }
}

#[test]
fn silence_is_told_once_and_ends_the_session_when_it_lasts() {
    let mut net = net();
    for number in 1..=3 {
        send(&mut net, request(number, Ask::Delete));
        net.wait();
        assert_response(&mut net, number, Err(RequestError::TimedOut));
    }
    assert_eq!(net.closed, Some(CloseReason::TimedOut));
    send(&mut net, request(4, Ask::Delete));
    assert_response(&mut net, 4, Err(RequestError::NotAccepted));
    assert_eq!(net.client.deadline(), None);
}

#[test]
fn an_answer_that_comes_too_late_does_nothing() {
    let mut net = net();
    send(&mut net, request(1, Ask::Delete));
    let stream = authorize(&mut net);
    net.give_client(Input::Command(Call::Cancel(RequestId(1))));
    assert_response(&mut net, 1, Err(RequestError::Cancelled));
    let response = Response::Ok;
    tell(&mut net, server::Call::Answer { stream, response });
    assert_eq!(net.client_events, []);
    send(&mut net, Request::new(RequestId(2), Ask::Ping));
    assert_response(&mut net, 2, Ok(Answer::Pong));
}

#[test]
fn a_session_that_ends_leaves_nobody_waiting() {
    let mut net = net();
    send(&mut net, request(1, Ask::Delete));
    net.cut();
    assert_response(&mut net, 1, Err(RequestError::Disconnected));
    assert_eq!(net.client.deadline(), None);
}

#[test]
fn no_more_is_uploaded_than_was_announced() {
    let mut net = net();
    send(&mut net, request(1, Ask::Upload { size: 10 }));
    let bytes = Bytes::from_static(&[7; 11]);
    let request = RequestId(1);
    net.give_client(Input::Command(Call::Upload { request, bytes }));
    assert_response(&mut net, 1, Err(RequestError::Size));
}

/// A chunk of which a router sends something.
fn download(size: u32, sent: &[u8], altered: bool) -> Result<Vec<u8>, RequestError> {
    let mut net = net();
    let digest = sha256(&[7; 1000]);
    send(&mut net, request(1, Ask::Download { size, digest }));
    let stream = authorize(&mut net);
    let chunk = Chunk {
        sender_id: EntityId::from([2; 24]),
        name: None,
    };
    let size = u32::try_from(sent.len()).unwrap();
    tell(
        &mut net,
        server::Call::Send {
            stream,
            chunk,
            size,
        },
    );
    let result = Ok(());
    tell(&mut net, server::Call::Opened { stream, result });
    let bytes = BytesMut::from(sent);
    if altered {
        tell(&mut net, server::Call::NoData { stream });
    } else {
        tell(&mut net, server::Call::Data { stream, bytes });
    }
    let mut data = Vec::new();
    for event in net.client_events {
        match event {
            Event::Data { bytes, .. } => data.extend_from_slice(&bytes),
            Event::Response { result, .. } => return result.map(|_| data),
            Event::Taken { .. } | Event::Established(_) => {}
        }
    }
    panic!("no response");
}

#[test]
fn a_download_is_believed_only_if_it_is_what_was_asked_for() {
    assert_eq!(download(1000, &[7; 1000], false), Ok(vec![7; 1000]));
    let refused = |size, sent: &[u8]| download(size, sent, false).unwrap_err();
    assert_eq!(refused(1000, &[8; 1000]), RequestError::Digest);
    assert_eq!(refused(1000, &[7; 1001]), RequestError::Size);
    assert_eq!(refused(1000, &[7; 990]), RequestError::Size);
    assert_eq!(refused(990, &[7; 1020]), RequestError::Size);
    assert_eq!(download(1000, &[7; 1000], true), Err(RequestError::Size));
}

/// A session with one download at a time, of which one has its response and is not read, and another one waits.
fn with_an_unread_download() -> Net {
    let (mut client, server) = machines(&mut Rng::from_seed([7; 32]));
    client.config.max_downloads = 1;
    let mut net = joined((client, server));
    for number in [1, 2] {
        let (size, digest) = (1000, sha256(&[7; 1000]));
        send(&mut net, request(number, Ask::Download { size, digest }));
    }
    answer_download(&mut net);
    let events = std::mem::take(&mut net.client_events);
    assert!(matches!(
        events[..],
        [Event::Data { .. }, Event::Response { result: Ok(_), .. }]
    ));
    assert_eq!(net.server_events, []);
    net
}

fn answer_download(net: &mut Net) {
    let stream = authorize(net);
    let chunk = Chunk {
        sender_id: EntityId::from([2; 24]),
        name: None,
    };
    tell(
        net,
        server::Call::Send {
            stream,
            chunk,
            size: 1000,
        },
    );
    let result = Ok(());
    tell(net, server::Call::Opened { stream, result });
    let bytes = BytesMut::from(&[7; 1000][..]);
    net.server_events.clear();
    tell(net, server::Call::Data { stream, bytes });
    net.server_events.clear();
}

#[test]
fn a_download_keeps_its_place_until_it_is_read_or_nobody_wants_it() {
    let request = RequestId(1);
    for read in [
        vec![Call::Credit {
            request,
            bytes: 1000,
        }],
        vec![
            Call::Credit {
                request,
                bytes: 999,
            },
            Call::Credit { request, bytes: 1 },
        ],
        vec![Call::Cancel(request)],
    ] {
        let mut net = with_an_unread_download();
        for call in read {
            assert_eq!(net.server_events, []);
            net.give_client(Input::Command(call));
        }
        answer_download(&mut net);
        let answered = |event: &Event| {
            matches!(
                event,
                Event::Response {
                    request: RequestId(2),
                    result: Ok(_)
                }
            )
        };
        assert!(net.client_events.iter().any(answered));
    }
}

#[test]
fn other_requests_do_not_wait_for_a_download_that_nobody_reads() {
    let mut net = with_an_unread_download();
    send(&mut net, Request::new(RequestId(3), Ask::Ping));
    assert_response(&mut net, 3, Ok(Answer::Pong));
}

#[test]
fn a_download_whose_turn_does_not_come_is_given_up() {
    let mut net = with_an_unread_download();
    net.wait();
    assert_response(&mut net, 2, Err(RequestError::TimedOut));
    assert_eq!((net.client.deadline(), net.closed), (None, None));
    // Nor does it wait any more if it is cancelled before.
    let mut net = with_an_unread_download();
    net.give_client(Input::Command(Call::Cancel(RequestId(2))));
    assert_response(&mut net, 2, Err(RequestError::Cancelled));
    let (request, bytes) = (RequestId(1), 1000);
    net.give_client(Input::Command(Call::Credit { request, bytes }));
    assert_eq!(net.server_events, []);
    assert_eq!(net.client.deadline(), None);
}

#[test]
fn a_router_that_is_another_one_is_refused() {
    let mut rng = Rng::from_seed([7; 32]);
    let (_, server) = machines(&mut rng);
    let (of_client, _) = transports(&mut rng);
    let config = Config::new("router.example", [9; 32].into());
    let client = Client::new(config, of_client, rng, Now::START);
    let net = Joined::new(client, server);
    assert_eq!(net.client_events, []);
    assert_eq!(net.closed, Some(CloseReason::Truncated));
}

#[test]
fn chunks_travel_through_http2_in_any_pieces() {
    let (client, server) = machines(&mut Rng::from_seed([7; 32]));
    let client = Http2::client(Options::default(), client, Now::START);
    let server = Http2::server(Options::default(), server, Now::START);
    let mut pair = Pair::new(1, &Link::WAN, client, server);
    let size = 1_u32 << 20;
    let chunk: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
    pair.run_until(100_000, |pair| !pair.left().events().is_empty());
    pair.command_left(Call::Send(request(1, Ask::Upload { size })));

    let (mut given, mut taken, mut heard, mut seen) = (0, 0, 0, 0);
    let (mut written, mut downloaded) = (Vec::new(), Vec::new());
    let mut read = 0;
    let mut answers = Vec::new();
    while answers.len() < 2 {
        while given < chunk.len() && given - taken < UPLOAD_WINDOW {
            let bytes = Bytes::copy_from_slice(&chunk[given..given + 32768]);
            given += bytes.len();
            let request = RequestId(1);
            pair.command_left(Call::Upload { request, bytes });
        }
        let before = (heard, seen);
        pair.run_until(1_000_000, |pair| {
            pair.left().events().len() > before.0 || pair.right().events().len() > before.1
        });
        let events = pair.left().events()[heard..].to_vec();
        heard += events.len();
        for event in events {
            match event {
                Event::Taken { bytes, .. } => taken += bytes,
                Event::Data { request, bytes } => {
                    downloaded.extend_from_slice(&bytes);
                    let bytes = bytes.len();
                    pair.command_left(Call::Credit { request, bytes });
                }
                Event::Response { result, .. } => {
                    answers.push(result);
                    let digest = sha256(&chunk);
                    let download = request(2, Ask::Download { size, digest });
                    pair.command_left(Call::Send(download));
                }
                Event::Established(_) => {}
            }
        }
        let events = pair.right().events()[seen..].to_vec();
        seen += events.len();
        for event in events {
            let call = match event {
                server::Event::Lookup { stream, .. } => {
                    let found = Found::Key(key().public_key());
                    server::Call::Key { stream, found }
                }
                server::Event::Execute { stream, .. } if written.is_empty() => {
                    server::Call::Receive {
                        stream,
                        upload: UploadId(1),
                        size,
                        digest: Short::try_from(&sha256(&chunk)).unwrap(),
                    }
                }
                server::Event::Execute { stream, .. } => server::Call::Send {
                    stream,
                    chunk: Chunk {
                        sender_id: EntityId::from([2; 24]),
                        name: None,
                    },
                    size,
                },
                server::Event::Write { stream, bytes, .. } => {
                    written.extend_from_slice(&bytes);
                    let bytes = bytes.len();
                    server::Call::Written { stream, bytes }
                }
                server::Event::Uploaded { stream, result, .. } => {
                    assert_eq!(result, Ok(()));
                    let response = Response::Ok;
                    server::Call::Answer { stream, response }
                }
                server::Event::Open { stream, .. } => {
                    let result = Ok(());
                    server::Call::Opened { stream, result }
                }
                server::Event::Read { stream, bytes } => {
                    let bytes = BytesMut::from(&written[read..read + bytes]);
                    read += bytes.len();
                    server::Call::Data { stream, bytes }
                }
                server::Event::Established(_)
                | server::Event::Sent { .. }
                | server::Event::Gone { .. }
                | server::Event::Page { .. } => continue,
            };
            pair.command_right(call);
        }
    }
    assert_eq!(answers, [Ok(Answer::Done), Ok(Answer::Downloaded)]);
    assert_eq!(written, chunk);
    assert_eq!(downloaded, chunk);
}
