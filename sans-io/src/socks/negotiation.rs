//! What client and proxy say to each other before the stream is the target's: RFC 1928, RFC 1929.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Authentication, Credentials, Refusal, SocksError, Target};
use crate::wire::TransportHost;

const VERSION: u8 = 5;
const AUTHENTICATION_VERSION: u8 = 1;
const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NOT_ACCEPTABLE: u8 = 0xFF;
const CONNECT: u8 = 1;
const RESERVED: u8 = 0;
const SUCCEEDED: u8 = 0;
const IPV4: u8 = 1;
const DOMAIN_NAME: u8 = 3;
const IPV6: u8 = 4;
const PORT: usize = 2;

/// The client's side of a negotiation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Negotiation {
    target: Target,
    authentication: Authentication,
    state: State,
    /// The beginning of an answer: never a complete one.
    received: BytesMut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Method,
    Authentication,
    Reply,
}

/// What the client does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Wait for more of the proxy's answer.
    Wait,
    /// Say this, and look for the next answer.
    Say(Bytes),
    /// The stream is the target's, which has said this already.
    Established(Bytes),
}

impl Negotiation {
    /// A negotiation, and what opens it.
    pub(super) fn new(target: Target, authentication: Authentication) -> (Self, Bytes) {
        let methods: &[u8] = match authentication {
            Authentication::None => &[NO_AUTHENTICATION],
            Authentication::Credentials(_) => &[USER_AND_PASSWORD, NO_AUTHENTICATION],
            Authentication::Isolated(_) => &[USER_AND_PASSWORD],
        };
        let mut greeting = BytesMut::new();
        greeting.put_u8(VERSION);
        put_short(&mut greeting, methods);
        let negotiation = Self {
            target,
            authentication,
            state: State::Method,
            received: BytesMut::new(),
        };
        (negotiation, greeting.freeze())
    }

    /// Takes in what the proxy said; [`step`](Self::step) follows until it waits.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    pub(super) fn step(&mut self) -> Result<Step, SocksError> {
        match self.state {
            State::Method => self.method(),
            State::Authentication => self.authenticated(),
            State::Reply => self.reply(),
        }
    }

    fn method(&mut self) -> Result<Step, SocksError> {
        let method = match *self.received {
            [] | [VERSION] => return Ok(Step::Wait),
            [VERSION, method, ..] => method,
            [version, ..] => return Err(SocksError::Version(version)),
        };
        self.received.advance(2);
        match (method, &self.authentication) {
            (USER_AND_PASSWORD, Authentication::Credentials(c) | Authentication::Isolated(c)) => {
                self.state = State::Authentication;
                Ok(Step::Say(authentication(c)))
            }
            (NO_AUTHENTICATION, Authentication::None | Authentication::Credentials(_)) => {
                self.state = State::Reply;
                Ok(Step::Say(self.request()))
            }
            (NO_AUTHENTICATION | NOT_ACCEPTABLE, Authentication::Isolated(_)) => {
                Err(SocksError::NotIsolated)
            }
            (NOT_ACCEPTABLE, Authentication::None | Authentication::Credentials(_)) => {
                Err(SocksError::NoMethod)
            }
            (method, _) => Err(SocksError::Method(method)),
        }
    }

    fn authenticated(&mut self) -> Result<Step, SocksError> {
        match *self.received {
            [] | [AUTHENTICATION_VERSION] => return Ok(Step::Wait),
            [AUTHENTICATION_VERSION, SUCCEEDED, ..] => {}
            [AUTHENTICATION_VERSION, _, ..] => return Err(SocksError::Authentication),
            [version, ..] => return Err(SocksError::Version(version)),
        }
        self.received.advance(2);
        self.state = State::Reply;
        Ok(Step::Say(self.request()))
    }

    fn reply(&mut self) -> Result<Step, SocksError> {
        let address = match *self.received {
            [] | [VERSION] | [VERSION, SUCCEEDED] | [VERSION, SUCCEEDED, _] => {
                return Ok(Step::Wait);
            }
            [VERSION, SUCCEEDED, _, IPV4, ..] => 4,
            [VERSION, SUCCEEDED, _, IPV6, ..] => 16,
            [VERSION, SUCCEEDED, _, DOMAIN_NAME] => return Ok(Step::Wait),
            [VERSION, SUCCEEDED, _, DOMAIN_NAME, length, ..] => {
                usize::from(length).saturating_add(1)
            }
            [VERSION, SUCCEEDED, _, kind, ..] => return Err(SocksError::AddressType(kind)),
            // Some proxies close without the rest.
            [VERSION, refusal, ..] => return Err(SocksError::Refused(Refusal::from(refusal))),
            [version, ..] => return Err(SocksError::Version(version)),
        };
        let length = address.saturating_add(4).saturating_add(PORT);
        if self.received.len() < length {
            return Ok(Step::Wait);
        }
        self.received.advance(length);
        Ok(Step::Established(self.received.split().freeze()))
    }

    fn request(&self) -> Bytes {
        let mut request = BytesMut::new();
        request.put_slice(&[VERSION, CONNECT, RESERVED]);
        match &self.target.host {
            TransportHost::Ipv4(ip) => {
                request.put_u8(IPV4);
                request.put_slice(&ip.octets());
            }
            TransportHost::Ipv6(ip) => {
                request.put_u8(IPV6);
                request.put_slice(&ip.octets());
            }
            TransportHost::Onion(name) | TransportHost::Domain(name) => {
                request.put_u8(DOMAIN_NAME);
                put_short(&mut request, name.as_str().as_bytes());
            }
        }
        request.put_u16(self.target.port);
        request.freeze()
    }
}

fn authentication(credentials: &Credentials) -> Bytes {
    let mut message = BytesMut::new();
    message.put_u8(AUTHENTICATION_VERSION);
    put_short(&mut message, credentials.user().as_bytes());
    put_short(&mut message, credentials.password().as_bytes());
    message.freeze()
}

/// Names, passwords and methods are never longer than their length byte allows: their types see to it.
fn put_short(out: &mut BytesMut, bytes: &[u8]) {
    let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    out.put_u8(length);
    out.put_slice(bytes.get(..usize::from(length)).unwrap_or_default());
}
