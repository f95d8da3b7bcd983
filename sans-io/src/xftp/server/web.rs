//! What web browsers need: headers.

use http::{HeaderMap, StatusCode};

use crate::http2::Response;

/// What a web client says in its headers that its request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Asked {
    #[default]
    Nothing,
    Hello,
    Handshake,
}

impl Asked {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        if headers.contains_key("xftp-web-hello") {
            Self::Hello
        } else if headers.contains_key("xftp-handshake") {
            Self::Handshake
        } else {
            Self::Nothing
        }
    }
}

/// How long the body is, if the client says so.
pub(super) fn declared(headers: &HeaderMap) -> Option<usize> {
    headers.get("content-length")?.to_str().ok()?.parse().ok()
}

/// Any page may speak with the router.
pub(super) fn response() -> Response {
    Response::of(StatusCode::OK)
        .with("access-control-allow-origin", "*")
        .with("access-control-expose-headers", "*")
}

pub(super) fn preflight() -> Response {
    Response::of(StatusCode::OK)
        .with("access-control-allow-origin", "*")
        .with("access-control-allow-methods", "POST, OPTIONS")
        .with("access-control-allow-headers", "*")
        .with("access-control-max-age", "86400")
}
