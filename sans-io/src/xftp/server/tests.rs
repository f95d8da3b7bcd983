use bytes::{Bytes, BytesMut};
use http::HeaderName;
use proptest::prelude::*;

use super::answer::MAX_DRAINED;
use super::*;
use crate::crypto::{Algorithm, AuthPrivateKey, ed25519, hash::sha256};
use crate::http2::Failure;
use crate::rng::Rng;
use crate::sim::identity::Credentials;
use crate::wire::padding::{pad, unpad};
use crate::wire::{self, Short, Version};
use crate::xftp::handshake::{ClientHandshake, ClientHello};
use crate::xftp::handshake::{RouterHello, block as handshake_block};
use crate::xftp::transmission::Unauthorized;

/// A router's connection, given what HTTP/2 would bring, and what it says.
struct Script {
    server: Server,
    now: Now,
    credentials: Credentials,
    next: u64,
    actions: Vec<Action<Event>>,
}

impl Script {
    fn new(dispatch: Dispatch) -> Self {
        let mut rng = Rng::from_seed([7; 32]);
        let credentials = Credentials::issue(Algorithm::Ed25519, &mut rng);
        let (_, mut transport) = crate::sim::xftp::transports(&mut rng);
        transport.dispatch = dispatch;
        let config = Config::new(credentials.xftp_router());
        Self {
            server: Server::new(config, transport, rng, Now::START),
            now: Now::START,
            credentials,
            next: 0,
            actions: Vec::new(),
        }
    }

    fn ready() -> Self {
        let mut script = Self::new(Dispatch::Native);
        script.post(&[], b"");
        script.post(&[], &script.handshake(Version(3)));
        script
    }

    fn handshake(&self, version: Version) -> Bytes {
        let key_hash = self.credentials.key_hash();
        handshake_block(&ClientHandshake { version, key_hash }).unwrap()
    }

    fn give(&mut self, input: Input<Call>) -> &mut Self {
        self.server.handle(self.now, input).unwrap();
        let actions = std::iter::from_fn(|| self.server.poll());
        self.actions = actions.collect();
        self
    }

    fn head(&mut self, method: Method, headers: &[&'static str], part: Part) -> StreamId {
        let stream = StreamId::of_peer(self.next);
        self.next += 1;
        let mut request = http2::Request::new(method, "router.example", "/");
        for name in headers {
            let name = HeaderName::from_static(name);
            request
                .headers
                .insert(name, http::HeaderValue::from_static("1"));
        }
        self.give(Input::Stream(stream, Incoming::Request(request, part)));
        stream
    }

    /// A request with a whole body.
    fn post(&mut self, headers: &[&'static str], body: &[u8]) -> StreamId {
        if body.is_empty() {
            return self.head(Method::POST, headers, Part::Last);
        }
        let stream = self.head(Method::POST, headers, Part::More);
        self.body(stream, body, Part::Last);
        stream
    }

    fn body(&mut self, stream: StreamId, bytes: &[u8], part: Part) {
        let body = Incoming::Body(Bytes::copy_from_slice(bytes), part);
        self.give(Input::Stream(stream, body));
    }

    fn call(&mut self, call: Call) -> &mut Self {
        self.give(Input::Command(call))
    }

    /// The body that was sent, if the response is complete.
    fn answered(&self) -> Option<Bytes> {
        let mut body = BytesMut::new();
        for action in &self.actions {
            match action {
                Action::Stream(_, Outgoing::Response(_, Part::Last)) => return Some(Bytes::new()),
                Action::Stream(_, Outgoing::Body(bytes, part)) => {
                    body.extend_from_slice(bytes);
                    if *part == Part::Last {
                        return Some(body.freeze());
                    }
                }
                _ => {}
            }
        }
        None
    }

    fn text(&self) -> String {
        let block = self.answered().unwrap();
        assert_eq!(block.len(), BLOCK);
        String::from_utf8(unpad(&block).unwrap().to_vec()).unwrap()
    }

    fn session(&self) -> Session {
        match &self.server.greeting {
            Greeting::Accepted(session, _) => session.clone(),
            _ => panic!("no session"),
        }
    }

    fn response(&self) -> Response {
        let block = self.answered().unwrap();
        let transmission = Transmission::of_block(&self.session(), &block).unwrap();
        wire::decode(Version(3), &transmission.command).unwrap()
    }

    fn events(&self) -> Vec<&Event> {
        fn event(action: &Action<Event>) -> Option<&Event> {
            match action {
                Action::Event(event) => Some(event),
                _ => None,
            }
        }
        self.actions.iter().filter_map(event).collect()
    }

    fn discards(&self) -> bool {
        let discard =
            |action: &Action<Event>| matches!(action, Action::Stream(_, Outgoing::Discard));
        self.actions.iter().any(discard)
    }

    fn command(&self, command: &Command, key: &AuthPrivateKey) -> Bytes {
        let (corr_id, entity_id) = (CorrId::from([1; 24]), EntityId::from([2; 24]));
        let session = self.session();
        let transmission = Unauthorized::new(&session, &corr_id, &entity_id, command);
        let authorization = transmission.authorization(key, &corr_id, None);
        transmission.block(authorization.as_ref()).unwrap()
    }

    /// An upload that is received.
    fn receiving(&mut self, chunk: &[u8]) -> StreamId {
        let key = key();
        let stream = self.head(Method::POST, &[], Part::More);
        self.body(stream, &self.command(&Command::FPut, &key), Part::More);
        let found = Found::Key(key.public_key());
        self.call(Call::Key { stream, found });
        assert!(matches!(self.events()[..], [Event::Execute { .. }]));
        self.call(Call::Receive {
            stream,
            upload: UploadId(5),
            size: chunk.len() as u32,
            digest: Short::try_from(&sha256(chunk)).unwrap(),
        });
        stream
    }
}

fn key() -> AuthPrivateKey {
    ed25519::PrivateKey::from_bytes([3; 32]).into()
}

#[test]
fn the_protocol_of_tls_says_how_a_client_is_spoken_with() {
    let mut legacy = Script::new(Dispatch::Legacy);
    let stream = legacy.post(&[], &legacy.command(&Command::FDel, &key()));
    assert!(
        matches!(legacy.events()[..], [Event::Lookup { stream: asked, .. }] if *asked == stream)
    );
    let mut silent = Script::new(Dispatch::Silent);
    silent.post(&[], b"");
    assert_eq!(silent.answered(), Some(Bytes::new()));
    silent.post(&[], &[1; BLOCK]);
    assert_eq!(silent.answered(), Some(Bytes::new()));
}

#[test]
fn a_native_handshake() {
    let mut script = Script::new(Dispatch::Native);
    script.post(&["xftp-web-hello"], b"");
    let hello: RouterHello = handshake::of_block(&script.answered().unwrap()).unwrap();
    assert_eq!(hello.proof, None);
    for version in [Version(0), Version(4)] {
        script.post(&[], &script.handshake(version));
        assert_eq!(script.text(), "HANDSHAKE");
    }
    script.post(&[], b"short");
    assert_eq!(script.text(), "HANDSHAKE");
    script.post(&[], &script.handshake(Version(2)));
    assert_eq!(script.answered(), Some(Bytes::new()));
    assert!(
        matches!(script.events()[..], [Event::Established(session)] if session.version == Version(2))
    );

    let mut script = Script::new(Dispatch::Native);
    script.post(&[], &[0; BLOCK]);
    assert_eq!(script.text(), "HANDSHAKE", "a challenge without a browser");
}

#[test]
fn a_web_handshake_proves_the_identity_and_can_be_repeated() {
    let mut script = Script::new(Dispatch::Web);
    script.post(&[], &[0; BLOCK]);
    assert_eq!(script.text(), "SESSION");
    let hello = handshake_block(&ClientHello {
        challenge: Some([9; 32]),
    })
    .unwrap();
    let leaf = *script.credentials.chain.leaf().key();
    let mut keys = Vec::new();
    for _ in 0..2 {
        script.post(&["xftp-web-hello"], &hello);
        let hello: RouterHello = handshake::of_block(&script.answered().unwrap()).unwrap();
        assert!(hello.proves(&leaf, &[9; 32]));
        keys.push(hello.signed_key);
        script.post(&["xftp-handshake"], &script.handshake(Version(3)));
        assert_eq!(script.answered(), Some(Bytes::new()));
        script.post(&["xftp-handshake"], &script.handshake(Version(3)));
        assert_eq!(script.answered(), Some(Bytes::new()));
    }
    assert_eq!(keys[0], keys[1], "the key of the session stays");
    let stream = script.post(&[], &script.command(&Command::FDel, &key()));
    script.call(Call::Answer {
        stream,
        response: Response::Ok,
    });
    let allows = |action: &Action<Event>| match action {
        Action::Stream(_, Outgoing::Response(head, _)) => {
            head.headers.contains_key("access-control-allow-origin")
        }
        _ => false,
    };
    assert!(script.actions.iter().any(allows));
    script.head(Method::OPTIONS, &[], Part::Last);
    assert!(script.actions.iter().any(allows));
}

#[test]
fn every_request_gets_an_answer() {
    let mut script = Script::ready();
    script.post(&[], b"");
    assert_eq!(script.response(), Response::Err(ErrorType::Block));
    script.post(&[], &[0; 100]);
    assert_eq!(script.response(), Response::Err(ErrorType::Block));
    script.post(&[], &pad(b"\x01\x00\x01\x00", BLOCK).unwrap());
    assert_eq!(script.response(), Response::Err(ErrorType::Block));
    script.head(Method::GET, &[], Part::Last);
    assert_eq!(script.answered(), Some(Bytes::new()));
    let stream = script.post(&[], &script.command(&Command::FDel, &key()));
    script.call(Call::Key {
        stream,
        found: Found::Nothing,
    });
    assert_eq!(script.response(), Response::Err(ErrorType::Auth));
    let work = script.server.work().verifications;
    let stream = script.post(&[], &script.command(&Command::FDel, &key()));
    let other = ed25519::PrivateKey::from_bytes([4; 32]).public_key().into();
    script.call(Call::Key {
        stream,
        found: Found::Key(other),
    });
    assert_eq!(script.response(), Response::Err(ErrorType::Auth));
    assert_eq!(script.server.work().verifications, work + 1);
    assert!(script.server.jobs.is_empty());
}

#[test]
fn an_upload_is_passed_on_in_pieces_and_judged_when_it_is_written() {
    let chunk = [7; 100_000];
    let mut script = Script::ready();
    let stream = script.receiving(&chunk);
    let written = |script: &Script| -> Vec<usize> {
        let bytes = |event: &&Event| match event {
            Event::Write { bytes, .. } => Some(bytes.len()),
            _ => None,
        };
        script.events().iter().filter_map(bytes).collect()
    };
    // Small ones are gathered, and what is left over goes at the end.
    script.body(stream, &chunk[..60_000], Part::More);
    assert!(written(&script).is_empty());
    script.body(stream, &chunk[60_000..70_000], Part::More);
    assert_eq!(written(&script), [70_000]);
    script.body(stream, &chunk[70_000..], Part::Last);
    assert_eq!(written(&script), [30_000]);
    script.call(Call::Written {
        stream,
        bytes: 70_000,
    });
    assert_eq!(script.events().len(), 0);
    assert_eq!(
        script.actions,
        [Action::Stream(stream, Outgoing::Credit(70_000))]
    );
    script.call(Call::Written {
        stream,
        bytes: 30_000,
    });
    let upload = UploadId(5);
    let uploaded = Event::Uploaded {
        stream,
        upload,
        result: Ok(()),
    };
    assert_eq!(script.events(), [&uploaded]);
    script.call(Call::Answer {
        stream,
        response: Response::Ok,
    });
    assert_eq!(script.response(), Response::Ok);
}

#[test]
fn an_upload_that_is_another_one_fails_as_soon_as_it_shows() {
    let failed = |chunk: &[u8], error| {
        let mut script = Script::ready();
        let stream = script.receiving(&[7; 1000]);
        script.body(stream, chunk, Part::Last);
        if error == ErrorType::Digest {
            let bytes = chunk.len();
            script.call(Call::Written { stream, bytes });
        }
        let upload = UploadId(5);
        let result = Err(error);
        let uploaded = Event::Uploaded {
            stream,
            upload,
            result,
        };
        assert!(script.events().contains(&&uploaded), "{:?}", script.actions);
    };
    failed(&[7; 999], ErrorType::Size);
    failed(&[7; 1001], ErrorType::Size);
    failed(&[8; 1000], ErrorType::Digest);
    failed(&[], ErrorType::Size);
}

#[test]
fn a_slow_upload_and_a_slow_block_are_told_so() {
    let mut script = Script::ready();
    let stream = script.receiving(&[7; 1000]);
    script.body(stream, &[7; 999], Part::More);
    script.now.instant = script.server.deadline().unwrap();
    script.give(Input::Timeout);
    let (upload, result) = (UploadId(5), Err(ErrorType::Timeout));
    let uploaded = Event::Uploaded {
        stream,
        upload,
        result,
    };
    assert_eq!(script.events(), [&uploaded]);
    let response = Response::Err(ErrorType::Timeout);
    script.call(Call::Answer { stream, response });
    assert_eq!(script.response(), Response::Err(ErrorType::Timeout));
    assert!(script.discards());

    let mut script = Script::ready();
    let stream = script.head(Method::POST, &[], Part::More);
    script.body(stream, &[0; 100], Part::More);
    script.now.instant = script.server.deadline().unwrap();
    script.give(Input::Timeout);
    assert_eq!(script.response(), Response::Err(ErrorType::Timeout));
    assert_eq!(script.server.deadline(), None);
}

/// An upload that the owner refuses while it is on its way.
fn refused_upload() -> (Script, StreamId) {
    let mut script = Script::ready();
    let stream = script.head(Method::POST, &[], Part::More);
    script.body(stream, &script.command(&Command::FPut, &key()), Part::More);
    script.body(stream, &[7; 5000], Part::More);
    let found = Found::Key(key().public_key());
    script.call(Call::Key { stream, found });
    let response = Response::Err(ErrorType::Quota);
    script.call(Call::Answer { stream, response });
    (script, stream)
}

#[test]
fn an_upload_that_is_refused_is_answered_when_it_has_ended() {
    let (mut script, stream) = refused_upload();
    let credit = |bytes| Action::Stream(stream, Outgoing::Credit(bytes));
    assert_eq!(script.actions, [credit(5000)]);
    script.body(stream, &[7; 4000], Part::More);
    assert_eq!(script.actions, [credit(4000)]);
    script.body(stream, &[], Part::Last);
    assert_eq!(script.response(), Response::Err(ErrorType::Quota));
    assert!(script.discards());
    assert_eq!(script.server.deadline(), None);
}

#[test]
fn the_end_of_an_upload_that_is_refused_is_not_waited_for_without_end() {
    let (mut script, _) = refused_upload();
    script.now.instant = script.server.deadline().unwrap();
    script.give(Input::Timeout);
    assert_eq!(script.response(), Response::Err(ErrorType::Quota));
    assert!(script.discards());

    let (mut script, stream) = refused_upload();
    for _ in 0..MAX_DRAINED >> 20 {
        assert!(script.answered().is_none());
        script.body(stream, &[7; 1 << 20], Part::More);
    }
    assert_eq!(script.response(), Response::Err(ErrorType::Quota));
}

#[test]
fn a_command_is_answered_before_the_end_of_a_body_that_nobody_has_spoken_of() {
    let mut script = Script::ready();
    let stream = script.head(Method::POST, &[], Part::More);
    script.body(stream, &script.command(&Command::FDel, &key()), Part::More);
    let response = Response::Ok;
    script.call(Call::Key {
        stream,
        found: Found::Key(key().public_key()),
    });
    script.call(Call::Answer { stream, response });
    assert_eq!(script.response(), Response::Ok);
}

#[test]
fn a_stream_that_is_reset_is_told_if_the_owner_knows_of_it() {
    let mut script = Script::ready();
    let stream = script.receiving(&[7; 1000]);
    script.give(Input::Stream(stream, Incoming::Failed(Failure::Reset)));
    assert_eq!(script.events(), [&Event::Gone { stream }]);
    let stream = script.head(Method::POST, &[], Part::More);
    script.give(Input::Stream(stream, Incoming::Failed(Failure::Reset)));
    assert_eq!(script.actions, []);
    // What the owner says too late does nothing.
    script.call(Call::Answer {
        stream,
        response: Response::Ok,
    });
    assert_eq!(script.actions, []);
}

#[test]
fn a_download_reads_only_what_there_is_room_for() {
    let mut script = Script::ready();
    let client = super::super::chunk::DownloadKey::generate(&mut Rng::from_seed([8; 32]));
    let fget = script.command(&Command::FGet(client.public_key()), &key());
    let stream = script.post(&[], &fget);
    script.call(Call::Key {
        stream,
        found: Found::Key(key().public_key()),
    });
    let chunk = crate::xftp::router::store::Chunk {
        sender_id: EntityId::from([1; 24]),
        name: None,
    };
    let size = 1 << 18;
    script.call(Call::Send {
        stream,
        chunk: chunk.clone(),
        size,
    });
    assert_eq!(script.events(), [&Event::Open { stream, chunk }]);
    script.call(Call::Opened {
        stream,
        result: Ok(()),
    });
    let reads = |script: &Script| -> usize {
        let read = |event: &&Event| match event {
            Event::Read { bytes, .. } => *bytes,
            _ => 0,
        };
        script.events().iter().map(read).sum()
    };
    assert_eq!(reads(&script), 128 * 1024);
    let piece = BytesMut::zeroed(65536);
    script.call(Call::Data {
        stream,
        bytes: piece.clone(),
    });
    assert_eq!(reads(&script), 0);
    script.give(Input::Stream(stream, Incoming::Taken(BLOCK)));
    script.give(Input::Stream(stream, Incoming::Taken(65536)));
    assert_eq!(reads(&script), 65536);
    for _ in 0..2 {
        script.call(Call::Data {
            stream,
            bytes: piece.clone(),
        });
        script.give(Input::Stream(stream, Incoming::Taken(65536)));
    }
    script.call(Call::Data {
        stream,
        bytes: piece,
    });
    assert_eq!(script.events(), [&Event::Sent { stream }]);
    let last = Action::Stream(stream, Outgoing::Body(Bytes::new(), Part::Last));
    assert!(!script.actions.contains(&last), "the tag is the last");
    assert!(script.server.jobs.is_empty());
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let mut script = Script::new(Dispatch::Native);
    script.now.instant = script.server.deadline().unwrap();
    script.give(Input::Timeout);
    assert_eq!(script.actions, [Action::Close(CloseReason::TimedOut)]);
    assert_eq!(script.server.deadline(), None);
    let mut script = Script::ready();
    script.server.config.inactive = Some(Duration::from_secs(10));
    script.post(&[], b"");
    script.now.instant = script.server.deadline().unwrap();
    script.give(Input::Timeout);
    assert_eq!(script.actions, [Action::Close(CloseReason::TimedOut)]);
}

proptest! {
    #[test]
    fn a_timeout_is_followed_by_a_later_deadline(kinds in prop::collection::vec(0..5_u8, 0..12)) {
        let mut script = Script::ready();
        for kind in kinds {
            match kind {
                0 => { script.head(Method::POST, &[], Part::More); }
                1 => { script.receiving(&[7; 100]); }
                2 => { script.post(&[], &script.command(&Command::FDel, &key())); }
                _ => {
                    if let Some(deadline) = script.server.deadline() {
                        script.now.instant = deadline;
                        script.give(Input::Timeout);
                        prop_assert!(script.server.deadline().is_none_or(|next| next > deadline));
                    }
                }
            }
        }
    }
}
