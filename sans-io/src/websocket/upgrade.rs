//! The request that makes an HTTP connection a WebSocket.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::crypto::hash::sha1;

/// The longest head of a request.
const HEAD: usize = 8192;

/// What the key of a request is hashed with (RFC 6455, 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a request is no request to upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its head does not end.
    #[error("the head of the request is too long")]
    TooLong,
    /// It asks for something else, or is no request.
    #[error("the request is for something else")]
    Other,
    /// It asks for another version of WebSockets.
    #[error("the version of WebSockets is not 13")]
    Version,
}

impl Refused {
    pub(super) fn response(self) -> Bytes {
        let (status, also) = match self {
            Self::TooLong => ("431 Request Header Fields Too Large", ""),
            Self::Other => ("400 Bad Request", ""),
            Self::Version => ("426 Upgrade Required", "Sec-WebSocket-Version: 13\r\n"),
        };
        format!("HTTP/1.1 {status}\r\n{also}Content-Length: 0\r\nConnection: close\r\n\r\n").into()
    }
}

/// Whether the head of a request asks for WebSockets, in whatever version.
#[must_use]
pub fn is_upgrade(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    header(&text, "upgrade").is_some_and(|value| has_token(value, "websocket"))
}

/// The response to a request, and how long its head is; nothing if it is not whole.
pub(super) fn accept(bytes: &[u8]) -> Result<Option<(Bytes, usize)>, Refused> {
    let end = bytes
        .windows(4)
        .take(HEAD)
        .position(|end| end == b"\r\n\r\n");
    let Some(end) = end else {
        return match bytes.len() > HEAD {
            true => Err(Refused::TooLong),
            false => Ok(None),
        };
    };
    let length = end.saturating_add(4);
    let head = bytes.get(..length).unwrap_or_default();
    let text = std::str::from_utf8(head).map_err(|_| Refused::Other)?;
    let mut words = text.lines().next().unwrap_or_default().split(' ');
    let is_request = words.next() == Some("GET")
        && words.next().is_some_and(|path| path.starts_with('/'))
        && words.next() == Some("HTTP/1.1")
        && words.next().is_none();
    let connection = header(text, "connection").is_some_and(|value| has_token(value, "upgrade"));
    if !is_request || !connection || !is_upgrade(head) {
        return Err(Refused::Other);
    }
    if header(text, "sec-websocket-version") != Some("13") {
        return Err(Refused::Version);
    }
    let key = header(text, "sec-websocket-key").unwrap_or_default();
    if STANDARD.decode(key).map(|key| key.len()) != Ok(16) {
        return Err(Refused::Other);
    }
    let accept = STANDARD.encode(sha1([key.as_bytes(), GUID.as_bytes()]));
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    Ok(Some((response.into(), length)))
}

/// The value of a header whose name is in lower case.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.split("\r\n").skip(1);
    let mut fields = fields.filter_map(|line| line.split_once(':'));
    fields
        .find(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

fn has_token(value: &str, token: &str) -> bool {
    value
        .split(',')
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}
