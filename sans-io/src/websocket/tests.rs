use super::*;
use crate::sim::{Frames, FramesCommand, FramesEvent};
use proptest::prelude::*;

const WITHIN: Duration = Duration::from_secs(60);
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

type Socket = WebSocket<Frames>;

/// What is said, told, and whether it is closed.
type Done = (Vec<u8>, Vec<FramesEvent>, Option<CloseReason>);

fn drained(socket: &mut Socket) -> Done {
    let (mut said, mut told, mut closed) = (Vec::new(), Vec::new(), None);
    while let Some(action) = socket.poll() {
        match action {
            Action::Transmit(bytes) => said.extend_from_slice(&bytes),
            Action::Event(event) => told.push(event),
            Action::Close(reason) => closed = Some(reason),
        }
    }
    (said, told, closed)
}

/// A session whose messages have four bytes.
fn open() -> Socket {
    let mut socket = WebSocket::new(Frames::new(), 4, Now::START, WITHIN);
    drained(&mut socket);
    socket
        .handle(Now::START, Input::Bytes(REQUEST.as_bytes()))
        .unwrap();
    let (said, ..) = drained(&mut socket);
    assert!(said.starts_with(b"HTTP/1.1 101 "));
    socket
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut frame = vec![first, 0x80 | u8::try_from(payload.len()).unwrap()];
    frame.extend(mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

#[test]
fn a_message_may_come_in_parts_with_others_between_them() {
    let mut socket = open();
    // The inner machine's own frame: a length of two bytes, and two bytes.
    let parts = [
        frame(0x02, &[0, 2, b'h']),
        frame(0x89, b"are you there"),
        frame(0x8a, b""),
        frame(0x00, b""),
        frame(0x80, b"i"),
    ];
    for byte in parts.concat() {
        socket.handle(Now::START, Input::Bytes(&[byte])).unwrap();
        let (said, told, closed) = drained(&mut socket);
        assert!(said.is_empty() || said == b"\x8a\x0dare you there");
        assert!(told.is_empty() || told == [FramesEvent::Frame("hi".into())]);
        assert_eq!(closed, None);
    }
}

#[test]
fn what_is_said_is_cut_into_messages() {
    let mut socket = open();
    let send = FramesCommand::Send("123456".into());
    socket.handle(Now::START, Input::Command(send)).unwrap();
    let (said, ..) = drained(&mut socket);
    assert_eq!(said, b"\x82\x04\x00\x0612\x82\x043456");
    let send = FramesCommand::Send("1".into());
    socket.handle(Now::START, Input::Command(send)).unwrap();
    assert_eq!(drained(&mut socket).0, b"");
    let send = FramesCommand::Send("2".into());
    socket.handle(Now::START, Input::Command(send)).unwrap();
    assert_eq!(drained(&mut socket).0, b"\x82\x04\x00\x011\x00");
}

#[test]
fn what_a_client_must_not_send_ends_the_session() {
    let long = [&[0x82, 0xfe, 0x40, 0x01], [0; 4].as_slice()].concat();
    for (bytes, violation) in [
        (frame(0x81, b"text"), Violation::Text),
        (frame(0x82, b"12"), Violation::Short),
        (frame(0x82, b"12345"), Violation::Long),
        (frame(0xc2, b"1234"), Violation::Protocol),
        (frame(0x80, b"1234"), Violation::Protocol),
        (frame(0x09, b""), Violation::Protocol),
        (frame(0x83, b""), Violation::Protocol),
        (vec![0x82, 0x04, 1, 2, 3, 4], Violation::Protocol),
        (long, Violation::Long),
        (
            [frame(0x02, b"12"), frame(0x82, b"34")].concat(),
            Violation::Protocol,
        ),
        (
            [frame(0x02, b"123"), frame(0x80, b"45")].concat(),
            Violation::Long,
        ),
        (
            [vec![0x89, 0xfe, 0, 126], vec![0; 4]].concat(),
            Violation::Protocol,
        ),
    ] {
        let mut socket = open();
        let died = socket.handle(Now::START, Input::Bytes(&bytes));
        assert_eq!(died, Err(Error::Frame(violation)), "{bytes:?}");
        let (said, ..) = drained(&mut socket);
        let status = violation.status().to_be_bytes();
        assert_eq!(said, [b"\x88\x02".as_slice(), &status].concat());
    }
}

#[test]
fn both_sides_may_end_a_session() {
    let mut socket = open();
    socket
        .handle(Now::START, Input::Bytes(&frame(0x88, &[3, 0xe9, b'x'])))
        .unwrap();
    let (said, _, closed) = drained(&mut socket);
    assert_eq!(said, b"\x88\x02\x03\xe9");
    assert!(closed.is_some());
    assert_eq!(socket.deadline(), None);

    let mut socket = open();
    socket
        .handle(Now::START, Input::Command(FramesCommand::Finish))
        .unwrap();
    let (said, _, closed) = drained(&mut socket);
    assert_eq!(said, b"\x88\x02\x03\xe8");
    assert_eq!(closed, Some(CloseReason::Finished));

    let mut socket = open();
    socket.handle(Now::START, Input::Eof).unwrap();
    drained(&mut socket);
    socket
        .handle(Now::START, Input::Command(FramesCommand::Finish))
        .unwrap();
    assert!(drained(&mut socket).2.is_some());
}

#[test]
fn who_asks_for_something_else_is_refused() {
    for (from, to, refused) in [
        ("GET /", "POST /", Refused::Other),
        ("HTTP/1.1", "HTTP/1.0", Refused::Other),
        ("Upgrade: WebSocket", "Upgrade: h2c", Refused::Other),
        ("keep-alive, Upgrade", "keep-alive", Refused::Other),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhl", Refused::Other),
        ("Version: 13", "Version: 8", Refused::Version),
        ("Host: a", &"x".repeat(8192), Refused::TooLong),
    ] {
        let mut socket = WebSocket::new(Frames::new(), 4, Now::START, WITHIN);
        drained(&mut socket);
        let request = REQUEST.replacen(from, to, 1);
        let died = socket.handle(Now::START, Input::Bytes(request.as_bytes()));
        assert_eq!(died, Err(Error::Upgrade(refused)));
        let (said, ..) = drained(&mut socket);
        assert!(said.starts_with(b"HTTP/1.1 4"));
    }
    assert!(is_upgrade(REQUEST.as_bytes()));
    assert!(!is_upgrade(b"GET / HTTP/1.1\r\nHost: upgrade\r\n\r\n"));
}

#[test]
fn a_client_that_asks_for_nothing_is_not_waited_for() {
    let mut socket = WebSocket::new(Frames::new(), 4, Now::START, WITHIN);
    drained(&mut socket);
    let later = Now::START + WITHIN;
    assert_eq!(socket.deadline(), Some(later.instant));
    socket.handle(later, Input::Timeout).unwrap();
    assert_eq!(drained(&mut socket).2, Some(CloseReason::TimedOut));
}

proptest! {
    #[test]
    fn bytes_may_come_in_any_pieces(pieces in prop::collection::vec(1..40_usize, 1..20)) {
        let stream = [
            REQUEST.as_bytes().to_vec(),
            frame(0x82, &[0, 2, b'h', b'i']),
            frame(0x89, b"?"),
            frame(0x02, &[0, 2]),
            frame(0x80, b"ho"),
            frame(0x88, b""),
        ].concat();
        let run = |pieces: &[usize]| {
            let mut socket = WebSocket::new(Frames::new(), 4, Now::START, WITHIN);
            let mut all = drained(&mut socket);
            let mut rest = stream.as_slice();
            for piece in pieces.iter().cycle() {
                let (first, after) = rest.split_at((*piece).min(rest.len()));
                socket.handle(Now::START, Input::Bytes(first)).unwrap();
                let (said, told, closed) = drained(&mut socket);
                all.0.extend(said);
                all.1.extend(told);
                all.2 = all.2.or(closed);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            all
        };
        let whole = run(&[stream.len()]);
        let frames = ["hi", "ho"].map(|frame| FramesEvent::Frame(frame.into()));
        prop_assert!(whole.1.starts_with(&frames));
        prop_assert_eq!(run(&pieces), whole);
    }
}
