//! rustls as a sans-IO session: ciphertext in, plaintext out, and the facts once it is secured.

use std::io::{self, Read, Write as _};
use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use rustls::server::Acceptor;
use rustls::{ClientConnection, Connection, HandshakeKind, SupportedCipherSuite};

use super::ambient::{Ambient, Handshake};
use super::config::{Answerer, ClientConfig, Limits, ServerConfig};
use super::error::TlsError;
use super::verify::CertificateRefused;
use crate::crypto::certificate::Chain;
use crate::rng::Rng;
use crate::session::{SessionFacts, SessionId, Shown, TlsVersion};
use crate::time::UnixTime;

/// One side of one TLS session.
pub(super) struct Session {
    state: State,
    ambient: Ambient,
    limits: Limits,
    /// How many bytes the peer has sent before the handshake was complete.
    received: usize,
    /// How many bytes wait to be sent, at most.
    unsent: usize,
    inbound: Inbound,
}

enum State {
    /// A router that has not read the client's hello, on which its answer depends.
    Accepting(Acceptor, Arc<ServerConfig>),
    Handshake(Connection, Side),
    Secured(Connection),
    Failed {
        /// What the acceptor wanted to say.
        alert: Vec<u8>,
    },
}

enum Side {
    Client(Arc<ClientConfig>),
    Server(Arc<ServerConfig>, Answerer),
}

/// Whether the peer will send more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inbound {
    Open,
    /// It has said in the session that it will not.
    Closed,
}

impl Session {
    pub(super) fn client(
        config: &Arc<ClientConfig>,
        now: UnixTime,
        rng: Rng,
    ) -> Result<Self, TlsError> {
        let mut ambient = Ambient::new(rng);
        let library = Arc::clone(&config.library);
        // A name is neither sent nor verified.
        let name = ServerName::from(std::net::Ipv4Addr::UNSPECIFIED);
        let mut connection = ambient.during(now, || ClientConnection::new(library, name))?;
        connection.set_buffer_limit(None);
        let side = Side::Client(Arc::clone(config));
        let state = State::Handshake(connection.into(), side);
        Ok(Self::new(state, ambient, config.limits))
    }

    pub(super) fn server(config: &Arc<ServerConfig>, rng: Rng) -> Self {
        let state = State::Accepting(Acceptor::default(), Arc::clone(config));
        Self::new(state, Ambient::new(rng), config.limits)
    }

    fn new(state: State, ambient: Ambient, limits: Limits) -> Self {
        Self {
            state,
            ambient,
            limits,
            received: 0,
            unsent: 0,
            inbound: Inbound::Open,
        }
    }

    /// Takes some of the ciphertext. The rest is to be given again once the plaintext that it brought is consumed.
    pub(super) fn receive(
        &mut self,
        now: UnixTime,
        ciphertext: &mut &[u8],
    ) -> Result<(), TlsError> {
        let result = match &mut self.state {
            State::Accepting(..) | State::Handshake(..) => self.receive_handshake(now, ciphertext),
            State::Secured(connection) => self
                .ambient
                .during(now, || process(connection, ciphertext))
                .map(|inbound| self.inbound = inbound)
                .map_err(TlsError::from),
            State::Failed { .. } => Ok(()),
        };
        let failed = result.is_err() || matches!(self.state, State::Failed { .. });
        if failed || self.inbound == Inbound::Closed {
            *ciphertext = &[];
        }
        result
    }

    fn receive_handshake(&mut self, now: UnixTime, ciphertext: &mut &[u8]) -> Result<(), TlsError> {
        let allowed = self.limits.handshake_bytes.saturating_sub(self.received);
        if allowed == 0 {
            return Err(TlsError::HandshakeTooLong(self.limits.handshake_bytes));
        }
        let (piece, _) = ciphertext.split_at(ciphertext.len().min(allowed));
        let mut rest = piece;
        let result = self
            .accept(now, &mut rest)
            .and_then(|()| self.continue_handshake(now, &mut rest));
        let taken = piece.len().saturating_sub(rest.len());
        *ciphertext = ciphertext.get(taken..).unwrap_or_default();
        self.received = self.received.saturating_add(taken);
        result.map_err(|error| match self.ambient.refused() {
            Some(refused) => refused.into(),
            None => error.into(),
        })
    }

    /// Reads the client's hello and answers it.
    fn accept(&mut self, now: UnixTime, ciphertext: &mut &[u8]) -> Result<(), rustls::Error> {
        let State::Accepting(acceptor, config) = &mut self.state else {
            return Ok(());
        };
        acceptor.read_tls(ciphertext).map_err(library)?;
        let accepted = self.ambient.during(now, || {
            let Some(accepted) = acceptor.accept()? else {
                return Ok(None);
            };
            let (answerer, library) = config.answer(&accepted.client_hello());
            Ok(Some((accepted.into_connection(library)?, answerer)))
        });
        match accepted {
            Ok(None) => Ok(()),
            Ok(Some((mut connection, answerer))) => {
                connection.set_buffer_limit(None);
                let side = Side::Server(Arc::clone(config), answerer);
                self.state = State::Handshake(connection.into(), side);
                Ok(())
            }
            Err((error, mut says)) => {
                let mut alert = Vec::new();
                says.write_all(&mut alert).map_err(library)?;
                self.state = State::Failed { alert };
                Err(error)
            }
        }
    }

    fn continue_handshake(
        &mut self,
        now: UnixTime,
        ciphertext: &mut &[u8],
    ) -> Result<(), rustls::Error> {
        if let State::Handshake(connection, _) = &mut self.state {
            self.inbound = self
                .ambient
                .during(now, || process(connection, ciphertext))?;
        }
        Ok(())
    }

    /// What the sides have agreed on, once, when the handshake is complete.
    pub(super) fn secured(&mut self) -> Result<Option<SessionFacts>, TlsError> {
        if !matches!(&self.state, State::Handshake(connection, _) if !connection.is_handshaking()) {
            return Ok(None);
        }
        let failed = State::Failed { alert: Vec::new() };
        let State::Handshake(connection, side) = std::mem::replace(&mut self.state, failed) else {
            return Ok(None);
        };
        let handshake = self
            .ambient
            .finish_handshake()
            .ok_or(rustls::Error::HandshakeNotComplete)?;
        let facts = facts(&connection, &side, &handshake)?;
        self.state = State::Secured(connection);
        Ok(Some(facts))
    }

    /// Whether the peer will send more.
    pub(super) fn inbound(&self) -> Inbound {
        self.inbound
    }

    /// The next plaintext, to be consumed. There is none before the session is secured.
    pub(super) fn plaintext(&mut self) -> Option<&[u8]> {
        match &mut self.state {
            State::Secured(connection) => connection
                .reader()
                .into_first_chunk()
                .ok()
                .filter(|plaintext| !plaintext.is_empty()),
            State::Accepting(..) | State::Handshake(..) | State::Failed { .. } => None,
        }
    }

    pub(super) fn consume(&mut self, length: usize) {
        if let State::Secured(connection) = &mut self.state {
            io::BufRead::consume(&mut connection.reader(), length);
        }
    }

    /// Encrypts, in a session that is secured; before, there is nothing to say.
    pub(super) fn send(&mut self, plaintext: &[u8]) -> Result<(), TlsError> {
        let State::Secured(connection) = &mut self.state else {
            return Ok(());
        };
        let records = plaintext.len().div_ceil(RECORD);
        self.unsent = self
            .unsent
            .saturating_add(plaintext.len())
            .saturating_add(records.saturating_mul(OVERHEAD));
        if self.unsent > self.limits.unsent_bytes {
            return Err(TlsError::TooMuchUnsent(self.limits.unsent_bytes));
        }
        Ok(connection.writer().write_all(plaintext).map_err(library)?)
    }

    /// Says that nothing more will be sent.
    pub(super) fn close(&mut self) {
        if let State::Secured(connection) = &mut self.state {
            connection.send_close_notify();
        }
    }

    /// All ciphertext that waits to be sent.
    pub(super) fn ciphertext(&mut self) -> Bytes {
        let (State::Handshake(connection, _) | State::Secured(connection)) = &mut self.state else {
            let State::Failed { alert } = &mut self.state else {
                return Bytes::new();
            };
            return std::mem::take(alert).into();
        };
        let mut ciphertext = Vec::with_capacity(std::mem::take(&mut self.unsent));
        while let Ok(1..) = connection.write_tls(&mut ciphertext) {}
        ciphertext.into()
    }

    /// Lets go of the buffer that the last record needed; rustls does so only when it reads again.
    pub(super) fn rest(&mut self) {
        if let State::Secured(connection) = &mut self.state
            && connection.read_tls(&mut NothingYet).is_ok()
        {
            debug_assert!(self.inbound == Inbound::Closed, "nothing was read");
        }
    }
}

/// The most plaintext in a record, and the most that encryption adds to it.
const RECORD: usize = 16384;
const OVERHEAD: usize = 32;

/// A stream that has nothing to read at the moment.
struct NothingYet;

impl Read for NothingYet {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

fn process(connection: &mut Connection, ciphertext: &mut &[u8]) -> Result<Inbound, rustls::Error> {
    if !ciphertext.is_empty() {
        connection.read_tls(ciphertext).map_err(library)?;
    }
    if connection.process_new_packets()?.peer_has_closed() {
        Ok(Inbound::Closed)
    } else {
        Ok(Inbound::Open)
    }
}

fn facts(
    connection: &Connection,
    side: &Side,
    handshake: &Handshake,
) -> Result<SessionFacts, TlsError> {
    let (version, session_id) = session_id(connection, handshake)?;
    let protocol = connection
        .alpn_protocol()
        .and_then(|name| side.protocol(name));
    let peer = connection
        .peer_certificates()
        .map(|shown| Chain::from_der(shown.iter().map(AsRef::as_ref)))
        .transpose()
        .map_err(CertificateRefused::from)?;
    Ok(SessionFacts {
        session_id,
        version,
        protocol,
        server_name: match connection {
            Connection::Client(_) => None,
            Connection::Server(server) => server.server_name().map(str::to_owned),
        },
        shown: match side {
            Side::Client(config) => match &config.chain {
                Some(chain) if handshake.shown => Shown::Identity(Arc::clone(chain)),
                _ => Shown::Nothing,
            },
            Side::Server(config, Answerer::Router) => Shown::Identity(Arc::clone(&config.chain)),
            Side::Server(_, Answerer::Web) => Shown::Web,
        },
        peer,
    })
}

fn session_id(
    connection: &Connection,
    handshake: &Handshake,
) -> Result<(TlsVersion, SessionId), TlsError> {
    let incomplete = rustls::Error::HandshakeNotComplete;
    let suite = connection.negotiated_cipher_suite().ok_or(incomplete)?;
    let (version, hash) = match suite {
        SupportedCipherSuite::Tls13(suite) => (TlsVersion::Tls13, suite.common.hash_provider),
        SupportedCipherSuite::Tls12(suite) => (TlsVersion::Tls12, suite.common.hash_provider),
    };
    if connection.handshake_kind() == Some(HandshakeKind::Resumed) {
        return Err(rustls::Error::General("a session was resumed".to_owned()).into());
    }
    let session_id = handshake.finished.session_id(version, hash.output_len())?;
    Ok((version, session_id))
}

impl Side {
    /// Our own name of an application protocol.
    fn protocol(&self, name: &[u8]) -> Option<&'static str> {
        match self {
            Self::Client(config) => config.protocol(name),
            Self::Server(config, answerer) => config.protocol(*answerer, name),
        }
    }
}

/// rustls speaks through `io` where it reads and writes, with nothing behind it but memory.
fn library(error: io::Error) -> rustls::Error {
    rustls::Error::General(error.to_string())
}
