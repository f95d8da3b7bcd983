//! Clients that speak WebSockets: a plain one, written here, on a port of its own and beside the page.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use simplex_runtime_tokio::rng;
use simplex_sans_io::crypto::certificate::Fingerprint;
use simplex_sans_io::machine::{Action, CloseReason, Connection, Input, Machine, Outbox};
use simplex_sans_io::session::SessionFacts;
use simplex_sans_io::smp::Command as SmpCommand;
use simplex_sans_io::smp::client::{Call, Client, Config, Event, Request, RequestId, Response};
use simplex_sans_io::time::{Instant, Now, UnixTime};
use simplex_sans_io::tls::{ClientConfig, ClientOptions, Tls};
use simplex_sans_io::wire::EntityId;

use crate::process::{Address, Process, configure, ini};

const BLOCK: usize = 16_384;

/// What is above TLS: plaintext, and what the session agreed on.
struct Plain(Outbox<Heard>);

enum Heard {
    Secured(Box<SessionFacts>),
    Bytes(Vec<u8>),
}

impl Machine for Plain {
    type Input<'a> = Input<'a, Bytes>;
    type Action = Action<Heard>;
    type Error = std::convert::Infallible;

    fn handle(&mut self, _: Now, input: Input<'_, Bytes>) -> Result<(), Self::Error> {
        match input {
            Input::Bytes(bytes) => self.0.event(Heard::Bytes(bytes.to_vec())),
            Input::Command(bytes) => self.0.transmit(bytes),
            Input::Eof => self.0.close(CloseReason::PeerClosed),
            Input::Timeout => {}
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Action<Heard>> {
        self.0.next()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

impl Connection for Plain {
    type Command = Bytes;
    type Event = Heard;

    fn accepts_commands(&self) -> bool {
        true
    }
}

/// A TLS connection that waits for what it reads.
pub(crate) struct Stream {
    socket: TcpStream,
    tls: Tls<Plain>,
    facts: Option<Box<SessionFacts>>,
    unread: Vec<u8>,
    ended: bool,
}

impl Stream {
    pub(crate) fn connect(address: &Address, port: u16) -> Self {
        let identity = Fingerprint::try_from(&**address.key_hash()).unwrap();
        let config = ClientConfig::new(ClientOptions {
            protocols: vec!["smp/1"],
            ..ClientOptions::new(identity)
        });
        let make = |facts, _| {
            let mut outbox = Outbox::default();
            outbox.event(Heard::Secured(Box::new(facts)));
            Plain(outbox)
        };
        let now = Now {
            unix: UnixTime::from(std::time::SystemTime::now()),
            ..Now::START
        };
        let tls = Tls::client(&Arc::new(config.unwrap()), now, rng().unwrap(), make).unwrap();
        let mut stream = Self {
            socket: TcpStream::connect(("127.0.0.1", port)).unwrap(),
            tls,
            facts: None,
            unread: Vec::new(),
            ended: false,
        };
        stream.drain();
        while stream.facts.is_none() {
            stream.receive();
        }
        stream
    }

    fn now() -> Now {
        Now {
            unix: UnixTime::from(std::time::SystemTime::now()),
            ..Now::START
        }
    }

    fn drain(&mut self) {
        self.try_drain().unwrap();
    }

    fn try_drain(&mut self) -> io::Result<()> {
        while let Some(action) = self.tls.poll() {
            match action {
                Action::Transmit(bytes) => self.socket.write_all(&bytes)?,
                Action::Event(Heard::Secured(facts)) => self.facts = Some(facts),
                Action::Event(Heard::Bytes(bytes)) => self.unread.extend(bytes),
                Action::Close(_) => self.ended = true,
            }
        }
        Ok(())
    }

    fn receive(&mut self) {
        let mut buffer = [0; 20_000];
        let read = self.socket.read(&mut buffer).unwrap();
        let input = match read {
            0 => Input::Eof,
            read => Input::Bytes(&buffer[..read]),
        };
        self.tls.handle(Self::now(), input).unwrap();
        self.drain();
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let command = Input::Command(Bytes::copy_from_slice(bytes));
        self.tls.handle(Self::now(), command).unwrap();
        self.drain();
    }

    /// A session over blocks without WebSockets, once it is established.
    fn session(&mut self, address: &Address) -> Client {
        let config = Config::new(address.key_hash().clone());
        let facts = *self.facts.take().unwrap();
        let mut client = Client::secured(config, facts, rng().unwrap(), Now::START);
        let hello = self.read(BLOCK);
        client.handle(Now::START, Input::Bytes(&hello)).unwrap();
        while let Some(action) = client.poll() {
            if let Action::Transmit(bytes) = action {
                self.send(&bytes);
            }
        }
        client
    }

    /// Asks, and reads none of the answers, until the connection fails.
    pub(crate) fn ask_without_reading(mut self, address: &Address) -> io::Result<()> {
        let mut client = self.session(address);
        for number in 1.. {
            let ping = Request::new(RequestId(number), EntityId::EMPTY, SmpCommand::Ping);
            let call = Input::Command(Call::Send(vec![ping]));
            client.handle(Now::START, call).unwrap();
            while let Some(action) = client.poll() {
                if let Action::Transmit(bytes) = action {
                    let command = Input::Command(bytes);
                    self.tls.handle(Self::now(), command).unwrap();
                    self.try_drain()?;
                }
            }
        }
        Ok(())
    }

    /// Another handle of the socket.
    pub(crate) fn socket(&self) -> TcpStream {
        self.socket.try_clone().unwrap()
    }

    fn read(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            assert!(!self.ended, "the stream has ended");
            self.receive();
        }
        self.unread.drain(..count).collect()
    }

    /// The response to a request to upgrade.
    fn upgrade(&mut self) -> String {
        self.send(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.read(1));
        }
        String::from_utf8(head).unwrap()
    }

    /// A message: one frame, without a mask.
    fn message(&mut self) -> Vec<u8> {
        assert_eq!(self.read(4), [0x82, 126, 0x40, 0]);
        self.read(BLOCK)
    }

    fn say(&mut self, opcode: u8, payload: &[u8]) {
        let mask = [7, 1, 200, 3];
        let mut frame = vec![0x80 | opcode];
        match u8::try_from(payload.len()) {
            Ok(length @ ..=125) => frame.push(0x80 | length),
            _ => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
            }
        }
        frame.extend(mask);
        let masked = payload.iter().zip(mask.iter().cycle());
        frame.extend(masked.map(|(byte, mask)| byte ^ mask));
        self.send(&frame);
    }
}

/// A router with WebSockets on a port of their own.
fn router(directory: &Path) -> (Process, u16) {
    drop(Process::start(directory));
    configure(directory, "websockets = off", "websockets = 0");
    let router = Process::start(directory);
    let port = router.websockets.unwrap();
    (router, port)
}

#[test]
fn a_client_with_websockets_has_a_session_like_others() {
    let directory = tempfile::tempdir().unwrap();
    let (router, port) = router(directory.path());
    let mut stream = Stream::connect(&router.address, port);
    let response = stream.upgrade();
    assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
    assert!(response.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));

    let config = Config::new(router.address.key_hash().clone());
    let facts = *stream.facts.take().unwrap();
    let mut client = Client::secured(config, facts, rng().unwrap(), Now::START);
    let mut answered = false;
    let ping = Request::new(RequestId(1), EntityId::EMPTY, SmpCommand::Ping);
    let mut ping = Some(Call::Send(vec![ping]));
    while !answered {
        let block = stream.message();
        client.handle(Now::START, Input::Bytes(&block)).unwrap();
        let mut said = Vec::new();
        let mut established = false;
        while let Some(action) = client.poll() {
            match action {
                Action::Transmit(bytes) => said.extend_from_slice(&bytes),
                Action::Event(Event::Established(_)) => established = true,
                Action::Event(Event::Response { result, .. }) => {
                    assert_eq!(result, Ok(Response::Pong));
                    answered = true;
                }
                other @ (Action::Event(_) | Action::Close(_)) => panic!("{other:?}"),
            }
        }
        if established {
            client
                .handle(Now::START, Input::Command(ping.take().unwrap()))
                .unwrap();
            while let Some(action) = client.poll() {
                if let Action::Transmit(bytes) = action {
                    said.extend_from_slice(&bytes);
                }
            }
        }
        for message in said.chunks(BLOCK) {
            stream.say(2, message);
        }
    }
    stream.say(9, b"still there");
    assert_eq!(stream.read(13), b"\x8a\x0bstill there");
    stream.say(8, &1000_u16.to_be_bytes());
    assert_eq!(stream.read(4), [0x88, 2, 3, 0xe8]);
}

#[test]
fn messages_of_another_length_and_other_requests_end_a_session_with_websockets() {
    let directory = tempfile::tempdir().unwrap();
    let (router, port) = router(directory.path());
    let mut stream = Stream::connect(&router.address, port);
    stream.upgrade();
    stream.message();
    stream.say(2, &[0; 100]);
    assert_eq!(stream.read(2), [0x88, 2]);

    let mut stream = Stream::connect(&router.address, port);
    stream.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(stream.read(12), b"HTTP/1.1 400");
    // A port without them knows nothing of them.
    let mut stream = Stream::connect(&router.address, router.address.port().unwrap());
    assert_eq!(stream.read(BLOCK).len(), BLOCK);
}

#[test]
fn browsers_speak_websockets_beside_the_page_where_that_is_on() {
    for (websockets, status) in [("websockets = 0", "101"), ("websockets = off", "200")] {
        let directory = tempfile::tempdir().unwrap();
        drop(Process::start(directory.path()));
        crate::certificate_for_browsers(directory.path());
        configure(directory.path(), "websockets = off", websockets);
        let router = Process::start(directory.path());
        let script = format!(
            "import socket,ssl\n\
             c=ssl.create_default_context(cafile='{}')\n\
             c.set_alpn_protocols(['http/1.1'])\n\
             s=c.wrap_socket(socket.create_connection(('127.0.0.1',{})),server_hostname='localhost')\n\
             s.sendall(b'GET / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n'\n\
             b'Sec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n\\r\\n')\n\
             f=s.makefile('rb')\n\
             print(f.readline().decode())\n\
             while f.readline() not in (b'\\r\\n',b''): pass\n\
             h=f.read(4)\n\
             if h==bytes([0x82,126,0x40,0]):\n\
             \x20b=f.read(16384)\n\
             \x20print('hello of', b[2]*256+b[3], 'to', b[4]*256+b[5])\n",
            directory.path().join("web.crt").display(),
            router.address.port().unwrap(),
        );
        let output = Command::new("python3")
            .args(["-c", &script])
            .output()
            .unwrap();
        let text = crate::process::said(&output);
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
        assert_eq!(text.contains("hello of 6 to 20"), status == "101", "{text}");
        assert!(ini(directory.path()).exists());
    }
}
