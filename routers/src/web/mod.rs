//! The page of a router, served to browsers by a machine.
//!
//! ```text
//!              a request                 its response, if the connection is kept
//!   ┌─────────┐ ───────▶ ┌───────────┐ ─────────────────────────────────────────┐
//!   │ Reading │          │ Answering │                                          │
//!   └─────────┘ ◀─────────────────────────────────────────────────────────────  ┘
//!        │                     │ `Connection: close`, a request that cannot be read
//!        │ Eof, silence        ▼
//!        └────────────────▶ Closed
//! ```
//! It knows HTTP/1.1 as far as pages need it: GET and HEAD, one request after the other, nothing of a request but its first line and
//! whether the connection is kept. A request to upgrade to WebSockets it leaves to its owner, where it is told to.
//!
//! ```
//! use std::sync::Arc;
//! use simplex_routers::web::{Site, Web};
//! use simplex_sans_io::machine::{Action, Input, Machine};
//! use simplex_sans_io::time::Now;
//!
//! let site = Arc::new(Site::default().with("/", "text/plain", "hello"));
//! let mut web = Web::<(), ()>::new(site, Now::START);
//! web.handle(Now::START, Input::Bytes(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))?;
//! let Some(Action::Transmit(response)) = web.poll() else { panic!() };
//! assert!(response.starts_with(b"HTTP/1.1 200 OK\r\n") && response.ends_with(b"\r\n\r\nhello"));
//! assert_eq!(web.poll(), None);
//! # Ok::<(), std::convert::Infallible>(())
//! ```

pub(crate) mod directory;
pub(crate) mod gzip;
pub(crate) mod pages;
pub(crate) mod plain;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use simplex_sans_io::machine::{Action, CloseReason, Connection, Input, Machine, Outbox};
use simplex_sans_io::time::{Instant, Now};
use simplex_sans_io::websocket;

use self::gzip::Accepted;

/// The longest head of a request.
const HEAD: usize = 8192;

/// How long a browser may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// Pages by their paths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Site {
    pages: BTreeMap<String, Page>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    kind: &'static str,
    body: Bytes,
    /// The same, compressed, if that is of use.
    compressed: Option<Bytes>,
    author: Author,
}

/// Who has written a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Author {
    /// The router, which knows what browsers have to load for it: nothing.
    Router,
    /// Its operator, who may load what he likes.
    Operator,
}

impl Page {
    pub(crate) const fn of_router(kind: &'static str, body: Bytes) -> Self {
        Self {
            kind,
            body,
            compressed: None,
            author: Author::Router,
        }
    }

    /// The same page for those, too, who take it compressed.
    fn compressible(self) -> Self {
        let compressed = gzip::compressed(self.kind, &self.body).map(Bytes::from);
        Self { compressed, ..self }
    }

    /// As a browser takes it: what that is told of it, and the bytes.
    pub(crate) fn accepted(
        &self,
        accepted: Accepted,
    ) -> (impl Iterator<Item = (&'static str, &'static str)>, &Bytes) {
        let compressed = self.compressed.as_ref();
        let varies = compressed.map(|_| ("vary", "accept-encoding"));
        let sent = compressed.filter(|_| accepted == Accepted::Gzip);
        let encoded = sent.map(|_| ("content-encoding", "gzip"));
        let headers = self.headers().chain(encoded).chain(varies);
        (headers, sent.unwrap_or(&self.body))
    }

    /// What a browser is told of it, however it takes it.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        const OURS: (&str, &str) = (
            "content-security-policy",
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'",
        );
        let ours = (self.author == Author::Router).then_some(OURS);
        [
            ("content-type", self.kind),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
        ]
        .into_iter()
        .chain(ours)
    }

    pub(crate) const fn body(&self) -> &Bytes {
        &self.body
    }
}

impl Site {
    /// The same site with one more page.
    #[must_use]
    pub fn with(
        mut self,
        path: impl Into<String>,
        kind: &'static str,
        body: impl Into<Bytes>,
    ) -> Self {
        let page = Page::of_router(kind, body.into()).compressible();
        self.pages.insert(path.into(), page);
        self
    }

    /// The same site with a file of the operator.
    fn with_file(mut self, path: String, kind: &'static str, body: impl Into<Bytes>) -> Self {
        let path = match path.is_empty() {
            true => "/".to_owned(),
            false => path,
        };
        let page = Page {
            author: Author::Operator,
            ..Page::of_router(kind, body.into())
        };
        self.pages.insert(path, page.compressible());
        self
    }

    /// Folders are found with and without the last slash, and by the file that is shown for them.
    pub(crate) fn page(&self, path: &str) -> Option<&Page> {
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let path = path.strip_suffix("/index.html").unwrap_or(path);
        let path = match path.trim_end_matches('/') {
            "" => "/",
            path => path,
        };
        self.pages.get(path)
    }
}

/// A browser's connection. `C` and `E` are the commands and events of the machine that shares its port: it has none of its own.
#[derive(Debug, Clone)]
pub struct Web<C, E> {
    site: Arc<Site>,
    state: State,
    unread: BytesMut,
    silent_until: Instant,
    upgrade: Upgrade,
    outbox: Outbox<E>,
    commands: PhantomData<fn(C)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Closed,
}

/// What becomes of a request to upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Upgrade {
    /// It is a request like others.
    None,
    /// The owner is given it.
    Allowed,
    /// The owner is to be given it.
    Asked(BytesMut),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Open,
    Close,
}

impl<C, E> Web<C, E> {
    /// A connection that may read this site.
    #[must_use]
    pub fn new(site: Arc<Site>, now: Now) -> Self {
        Self {
            site,
            state: State::Reading,
            unread: BytesMut::new(),
            silent_until: now.instant + SILENCE,
            upgrade: Upgrade::None,
            outbox: Outbox::default(),
            commands: PhantomData,
        }
    }

    /// The same, of an owner who goes on with WebSockets when they are asked for.
    #[must_use]
    pub fn with_upgrade(site: Arc<Site>, now: Now) -> Self {
        Self {
            upgrade: Upgrade::Allowed,
            ..Self::new(site, now)
        }
    }

    /// A request to upgrade, with what follows it. The stream is the owner's from now on.
    pub fn take_upgrade(&mut self) -> Option<BytesMut> {
        let Upgrade::Asked(request) = &mut self.upgrade else {
            return None;
        };
        let request = std::mem::take(request);
        self.upgrade = Upgrade::None;
        Some(request)
    }

    fn receive(&mut self, now: Now, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        while self.state == State::Reading {
            let end = self.unread.windows(4).position(|end| end == b"\r\n\r\n");
            let Some(end) = end.filter(|end| *end <= HEAD) else {
                if self.unread.len() > HEAD {
                    self.refuse("431 Request Header Fields Too Large");
                }
                return;
            };
            let head = self.unread.split_to(end.saturating_add(4));
            self.silent_until = now.instant + SILENCE;
            if self.upgrade == Upgrade::Allowed && websocket::is_upgrade(&head) {
                let mut request = head;
                request.unsplit(std::mem::take(&mut self.unread));
                self.upgrade = Upgrade::Asked(request);
                self.state = State::Closed;
                return;
            }
            self.answer(&head);
        }
    }

    fn answer(&mut self, head: &[u8]) {
        let text = String::from_utf8_lossy(head);
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (method, path, version) = (words.next(), words.next(), words.next());
        let has = |header: &str, value: &str| {
            text.to_ascii_lowercase().lines().any(|line| {
                line.strip_prefix(header)
                    .is_some_and(|rest| rest.trim() == value)
            })
        };
        let keep = match version {
            Some("HTTP/1.1") if !has("connection:", "close") => Keep::Open,
            Some(_) | None => Keep::Close,
        };
        let (Some(path), Some("HTTP/1.1" | "HTTP/1.0"), None) = (path, version, words.next())
        else {
            return self.refuse("400 Bad Request");
        };
        let body = match method {
            Some("GET") => Body::Sent,
            Some("HEAD") => Body::Omitted,
            // What follows such a request is not known.
            Some(_) | None => {
                return self.refuse("405 Method Not Allowed");
            }
        };
        let accepted = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("accept-encoding")
                .then(|| Accepted::by(value))
        });
        let accepted = accepted.unwrap_or(Accepted::Plain);
        match self.site.page(path).cloned() {
            Some(page) => self.respond("200 OK", &page, accepted, body, keep),
            None => self.respond(NOT_FOUND, &of_status(NOT_FOUND), accepted, body, keep),
        }
    }

    /// Says what is wrong with a request, and nothing after it.
    fn refuse(&mut self, status: &str) {
        let page = of_status(status);
        self.respond(status, &page, Accepted::Plain, Body::Sent, Keep::Close);
    }

    fn respond(&mut self, status: &str, page: &Page, accepted: Accepted, body: Body, keep: Keep) {
        let (headers, bytes) = page.accepted(accepted);
        let connection = match keep {
            Keep::Open => "",
            Keep::Close => "Connection: close\r\n",
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{connection}",
            bytes.len()
        );
        let mut response = BytesMut::from(head.as_bytes());
        for (name, value) in headers {
            for part in [name, ": ", value, "\r\n"] {
                response.extend_from_slice(part.as_bytes());
            }
        }
        response.extend_from_slice(b"\r\n");
        if body == Body::Sent {
            response.extend_from_slice(bytes);
        }
        self.outbox.transmit(response.freeze());
        if keep == Keep::Close {
            self.close(CloseReason::Finished);
        }
    }

    fn close(&mut self, reason: CloseReason) {
        if self.state != State::Closed {
            self.state = State::Closed;
            self.unread = BytesMut::new();
            self.outbox.close(reason);
        }
    }
}

const NOT_FOUND: &str = "404 Not Found";

fn of_status(status: &str) -> Page {
    Page::of_router("text/plain; charset=utf-8", format!("{status}\n").into())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    Sent,
    Omitted,
}

impl<C, E> Machine for Web<C, E> {
    type Input<'a> = Input<'a, C>;
    type Action = Action<E>;
    type Error = Infallible;

    fn handle(&mut self, now: Now, input: Input<'_, C>) -> Result<(), Infallible> {
        self.outbox.begin();
        match input {
            Input::Bytes(bytes) if self.state == State::Reading => self.receive(now, bytes),
            Input::Eof => self.close(CloseReason::PeerClosed),
            Input::Timeout if now.instant >= self.silent_until => self.close(CloseReason::TimedOut),
            // The only command that the other machine is given without having asked for it is to close.
            Input::Command(_) => self.close(CloseReason::Finished),
            Input::Bytes(_) | Input::Timeout => {}
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Action<E>> {
        self.outbox.next()
    }

    fn deadline(&self) -> Option<Instant> {
        (self.state == State::Reading).then_some(self.silent_until)
    }
}

impl<C, E> Connection for Web<C, E> {
    type Command = C;
    type Event = E;

    fn accepts_commands(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn web() -> Web<(), ()> {
        let site = Site::default()
            .with("/", "text/html", "index")
            .with("/a", "text/html", "link");
        Web::new(Arc::new(site), Now::START)
    }

    fn actions(web: &mut Web<(), ()>) -> (String, Option<CloseReason>) {
        let (mut text, mut closed) = (String::new(), None);
        while let Some(action) = web.poll() {
            match action {
                Action::Transmit(bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
                Action::Close(reason) => closed = Some(reason),
                Action::Event(()) => {}
            }
        }
        (text, closed)
    }

    fn say(web: &mut Web<(), ()>, text: &str) -> (String, Option<CloseReason>) {
        let Ok(()) = web.handle(Now::START, Input::Bytes(text.as_bytes()));
        actions(web)
    }

    #[test]
    fn pages_are_found_by_their_paths() {
        let mut web = web();
        for path in ["/a", "/a/", "/a?x=1"] {
            let (text, closed) = say(&mut web, &format!("GET {path} HTTP/1.1\r\n\r\n"));
            assert!(text.ends_with("\r\n\r\nlink"), "{text}");
            assert_eq!(closed, None);
        }
        let (text, _) = say(&mut web, "GET /../etc/passwd HTTP/1.1\r\n\r\n");
        assert!(text.starts_with("HTTP/1.1 404 "));
        let (text, closed) = say(&mut web, "HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n");
        assert!(text.contains("Content-Length: 5\r\n") && text.ends_with("\r\n\r\n"));
        assert_eq!(closed, Some(CloseReason::Finished));
    }

    #[test]
    fn a_page_travels_compressed_to_those_who_say_that_they_can_read_it() {
        let long = "a page ".repeat(500);
        let site = Site::default().with("/", "text/html", long.clone());
        let mut web = Web::<(), ()>::new(Arc::new(site), Now::START);
        let (text, _) = say(
            &mut web,
            "GET / HTTP/1.1\r\nAccept-Encoding: br, gzip\r\n\r\n",
        );
        assert!(text.contains("\r\ncontent-encoding: gzip\r\nvary: accept-encoding\r\n"));
        assert!(!text.contains(&long) && text.len() < long.len() / 2);
        let (text, _) = say(&mut web, "GET / HTTP/1.1\r\nAccept-Encoding: br\r\n\r\n");
        assert!(!text.contains("content-encoding") && text.ends_with(&long));
        assert!(text.contains("\r\nvary: accept-encoding\r\n"));
    }

    #[test]
    fn pages_of_the_operator_load_what_they_like() {
        let site = Site::default().with("/", "text/html", "ours").with_file(
            "/file".to_owned(),
            "text/html",
            "theirs",
        );
        let mut web = Web::<(), ()>::new(Arc::new(site), Now::START);
        for (path, is_restricted) in [
            ("/", true),
            ("/index.html", true),
            ("/file/", false),
            ("/file/index.html?a", false),
            ("/none", true),
        ] {
            let (text, _) = say(&mut web, &format!("GET {path} HTTP/1.1\r\n\r\n"));
            let found = if path == "/none" { "404" } else { "200" };
            assert!(text.starts_with(&format!("HTTP/1.1 {found} ")), "{path}");
            assert_eq!(text.contains("content-security-policy: "), is_restricted);
            assert!(text.contains("\r\nx-content-type-options: nosniff\r\n"));
        }
    }

    #[test]
    fn what_is_no_request_ends_the_connection() {
        for (request, status) in [
            ("POST / HTTP/1.1\r\n\r\n", "405"),
            ("GET /\r\n\r\n", "400"),
            ("\r\n\r\n", "400"),
            (&"x".repeat(HEAD + 1), "431"),
        ] {
            let mut web = web();
            let (text, closed) = say(&mut web, request);
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
            assert_eq!(closed, Some(CloseReason::Finished));
            assert_eq!(
                say(&mut web, "GET / HTTP/1.1\r\n\r\n"),
                (String::new(), None)
            );
        }
    }

    #[test]
    fn a_request_to_upgrade_is_left_to_the_owner_with_what_follows() {
        let request = "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let mut owned = Web::<(), ()>::with_upgrade(Arc::new(Site::default()), Now::START);
        let (said, closed) = say(&mut owned, &format!("{request}frames"));
        assert_eq!((said.as_str(), closed), ("", None));
        let taken = owned.take_upgrade().unwrap();
        assert_eq!(taken, format!("{request}frames").as_bytes());
        assert_eq!(owned.take_upgrade(), None);

        let mut page = web();
        assert!(say(&mut page, request).0.ends_with("\r\n\r\nindex"));
        assert_eq!(page.take_upgrade(), None);
    }

    #[test]
    fn a_silent_browser_is_not_waited_for() {
        let mut web = web();
        let later = Now::START + SILENCE;
        assert_eq!(web.deadline(), Some(later.instant));
        let Ok(()) = web.handle(later, Input::Timeout);
        assert_eq!(actions(&mut web).1, Some(CloseReason::TimedOut));
        assert_eq!(web.deadline(), None);
    }

    proptest! {
        #[test]
        fn bytes_may_come_in_any_pieces(pieces in prop::collection::vec(1..9_usize, 1..40)) {
            let requests = "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /a HTTP/1.1\r\n\r\n";
            let whole = say(&mut web(), requests);
            let mut web = web();
            let mut text = String::new();
            let mut rest = requests;
            for piece in pieces.iter().cycle() {
                let (first, after) = rest.split_at((*piece).min(rest.len()));
                text.push_str(&say(&mut web, first).0);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(text, whole.0);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let mut web = web();
            let Ok(()) = web.handle(Now::START, Input::Bytes(&bytes));
            actions(&mut web);
        }
    }
}
