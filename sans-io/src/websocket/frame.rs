//! Frames: those of clients are read as they come, those of routers are written in one piece.

use bytes::{BufMut as _, Bytes, BytesMut};

/// The longest header of a frame that is written.
pub(super) const LONGEST_HEADER: usize = 10;

/// The longest payload of a control frame.
const CONTROL: usize = 125;

/// The status of a session that has ended as it should.
pub(super) const NORMAL: u16 = 1000;

const LAST: u8 = 0x80;
const MASKED: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What a client must not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A frame that the protocol does not know, or not there.
    #[error("not as the protocol wants it")]
    Protocol,
    /// Text.
    #[error("a message that is text")]
    Text,
    /// A message that is longer than all are.
    #[error("a message that is too long")]
    Long,
    /// A message that is shorter than all are.
    #[error("a message that is too short")]
    Short,
}

impl Violation {
    /// What the client is told (RFC 6455, 7.4.1).
    pub(super) const fn status(self) -> u16 {
        match self {
            Self::Protocol | Self::Short => 1002,
            Self::Text => 1003,
            Self::Long => 1009,
        }
    }
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    /// A part of a message.
    Data(Vec<u8>),
    /// What is to be sent back.
    Ping(Vec<u8>),
    /// The end, and the status that is to be sent back.
    Close(Vec<u8>),
}

/// How far the frames of a client are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reader {
    /// The length of a message.
    message: usize,
    /// The beginning of a header.
    header: Vec<u8>,
    frame: Option<Frame>,
    /// How much of a message was read; nothing between messages.
    read: Option<usize>,
    /// The beginning of a control frame's payload.
    control: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    kind: Kind,
    left: usize,
    mask: [u8; 4],
    position: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Part,
    LastPart,
    Close,
    Ping,
    Pong,
}

impl Reader {
    pub(super) const fn new(message: usize) -> Self {
        Self {
            message,
            header: Vec::new(),
            frame: None,
            read: None,
            control: Vec::new(),
        }
    }

    /// What the next bytes say; nothing if there are too few of them.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Heard>, Violation> {
        loop {
            let Some(frame) = &mut self.frame else {
                if !self.read_header(bytes)? {
                    return Ok(None);
                }
                continue;
            };
            let kind = frame.kind;
            let payload = frame.take(bytes);
            let ended = frame.left == 0;
            if !ended && payload.is_empty() {
                return Ok(None);
            }
            if ended {
                self.frame = None;
            }
            match kind {
                Kind::Part | Kind::LastPart => {
                    let read = self.read.unwrap_or(0).saturating_add(payload.len());
                    self.read = match ended && kind == Kind::LastPart {
                        true => None,
                        false => Some(read),
                    };
                    if !payload.is_empty() {
                        return Ok(Some(Heard::Data(payload)));
                    }
                }
                Kind::Close | Kind::Ping | Kind::Pong => {
                    self.control.extend_from_slice(&payload);
                    if !ended {
                        continue;
                    }
                    let mut payload = std::mem::take(&mut self.control);
                    match kind {
                        Kind::Ping => return Ok(Some(Heard::Ping(payload))),
                        Kind::Close => {
                            payload.truncate(2);
                            return Ok(Some(Heard::Close(payload)));
                        }
                        Kind::Part | Kind::LastPart | Kind::Pong => {}
                    }
                }
            }
        }
    }

    /// Whether a whole header was read.
    fn read_header(&mut self, bytes: &mut &[u8]) -> Result<bool, Violation> {
        loop {
            let length = match self.header.get(1).map(|second| second & !MASKED) {
                None => 2,
                Some(126) => 8,
                Some(127) => 14,
                Some(_) => 6,
            };
            if self.header.len() >= length {
                let header = std::mem::take(&mut self.header);
                let frame = self.frame_of(&header)?;
                self.frame = Some(frame);
                return Ok(true);
            }
            let Some((first, rest)) = bytes.split_first() else {
                return Ok(false);
            };
            self.header.push(*first);
            *bytes = rest;
        }
    }

    fn frame_of(&self, header: &[u8]) -> Result<Frame, Violation> {
        let [first, second, rest @ ..] = header else {
            return Err(Violation::Protocol);
        };
        let (length, mask) = rest.split_last_chunk::<4>().ok_or(Violation::Protocol)?;
        let length = match (second & !MASKED, length) {
            (126, [high, low]) => u64::from(u16::from_be_bytes([*high, *low])),
            (127, bytes) => bytes.try_into().map(u64::from_be_bytes).unwrap_or(u64::MAX),
            (length, _) => u64::from(length),
        };
        let left = usize::try_from(length).unwrap_or(usize::MAX);
        let last = first & LAST != 0;
        if second & MASKED == 0 || first & 0x70 != 0 {
            return Err(Violation::Protocol);
        }
        let kind = match (first & 0x0f, last, self.read) {
            (CONTINUATION, true, Some(_)) | (BINARY, true, None) => Kind::LastPart,
            (CONTINUATION, false, Some(_)) | (BINARY, false, None) => Kind::Part,
            (TEXT, _, None) => return Err(Violation::Text),
            (CLOSE, true, _) => Kind::Close,
            (PING, true, _) => Kind::Ping,
            (PONG, true, _) => Kind::Pong,
            _ => return Err(Violation::Protocol),
        };
        match kind {
            Kind::Part | Kind::LastPart => {
                let length = self.read.unwrap_or(0).saturating_add(left);
                if length > self.message {
                    return Err(Violation::Long);
                }
                // Nothing of such a part is heard, however it was cut.
                if length < self.message && kind == Kind::LastPart {
                    return Err(Violation::Short);
                }
            }
            Kind::Close | Kind::Ping | Kind::Pong if left > CONTROL => {
                return Err(Violation::Protocol);
            }
            Kind::Close | Kind::Ping | Kind::Pong => {}
        }
        Ok(Frame {
            kind,
            left,
            mask: *mask,
            position: 0,
        })
    }
}

impl Frame {
    /// Takes as much of the payload as there is, without its mask.
    fn take(&mut self, bytes: &mut &[u8]) -> Vec<u8> {
        let (masked, rest) = bytes.split_at(self.left.min(bytes.len()));
        *bytes = rest;
        let mask = self.mask.iter().cycle().skip(self.position % 4);
        let payload: Vec<u8> = masked
            .iter()
            .zip(mask)
            .map(|(byte, mask)| byte ^ mask)
            .collect();
        self.left = self.left.saturating_sub(payload.len());
        self.position = self.position.saturating_add(payload.len());
        payload
    }
}

/// The header of a whole binary message.
pub(super) fn binary_header(length: usize, out: &mut BytesMut) {
    out.put_u8(LAST | BINARY);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..=125), _) => out.put_u8(length),
        (_, Ok(length)) => {
            out.put_u8(126);
            out.put_u16(length);
        }
        (_, Err(_)) => {
            out.put_u8(127);
            out.put_u64(u64::try_from(length).unwrap_or(u64::MAX));
        }
    }
}

pub(super) fn pong(payload: &[u8]) -> Bytes {
    control(PONG, payload)
}

pub(super) fn close(status: &[u8]) -> Bytes {
    control(CLOSE, status)
}

fn control(kind: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(payload.len().saturating_add(2));
    frame.put_u8(LAST | kind);
    frame.put_u8(u8::try_from(payload.len()).unwrap_or(0));
    frame.put_slice(payload);
    frame.freeze()
}
