//! Everything that can be run on a fuzzer's bytes.

use super::choices::Choices;
use crate::sim::Trace;

/// Something to run on a fuzzer's bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name, which is also that of its corpus.
    pub name: &'static str,
    body: Body,
}

#[derive(Debug, Clone, Copy)]
enum Body {
    /// A parser.
    Parser(fn(&[u8])),
    /// Machines, whose inputs and actions leave a trace.
    Machines(fn(&mut Choices<'_>, &mut Trace)),
}

impl Target {
    /// Runs a parser, or whatever leaves no trace.
    #[must_use]
    pub const fn parser(name: &'static str, body: fn(&[u8])) -> Self {
        let body = Body::Parser(body);
        Self { name, body }
    }

    const fn machines(name: &'static str, body: fn(&mut Choices<'_>, &mut Trace)) -> Self {
        let body = Body::Machines(body);
        Self { name, body }
    }

    /// Runs it.
    ///
    /// # Panics
    ///
    /// If a rule is broken: that is a finding.
    pub fn run(&self, data: &[u8]) {
        self.record(data, &mut Trace::nothing());
    }

    /// Runs it, and says what happened.
    ///
    /// # Panics
    ///
    /// If a rule is broken.
    #[must_use]
    pub fn trace(&self, data: &[u8]) -> Trace {
        let mut trace = Trace::text();
        self.record(data, &mut trace);
        trace
    }

    /// Runs it, and leaves what happened up to where a rule is broken.
    ///
    /// # Panics
    ///
    /// If a rule is broken.
    pub fn record(&self, data: &[u8], trace: &mut Trace) {
        match self.body {
            Body::Parser(body) => body(data),
            Body::Machines(body) => body(&mut Choices::new(data), trace),
        }
    }
}

/// A machine behind WebSockets, whose client says anything.
pub const WEBSOCKET: Target = Target::machines("websocket", super::websocket::run);

/// Everything that can be run.
pub const TARGETS: &[Target] = &[
    #[cfg(feature = "xftp")]
    AGENT_FILES,
    AGENT_FORMATS,
    AGENT_LINES,
    AGENT_WORLD,
    BLOCKS,
    FRAMES_PAIR,
    #[cfg(feature = "xftp")]
    HTTP2_OPS,
    KEYS_AND_CERTIFICATES,
    LINK_DATA,
    RATCHET_ACTIONS,
    ROUTER_OPS,
    SMP_CLIENT_OPS,
    SMP_COMMAND,
    SMP_HANDSHAKE,
    SMP_MESSAGE,
    SMP_PAIR,
    SMP_POOL_OPS,
    SMP_SERVER_OPS,
    SMP_TRANSMISSION_BLOCK,
    SOCKS,
    STORELOG,
    TEXT,
    #[cfg(feature = "tls")]
    TLS_RECORDS,
    WEBSOCKET,
    #[cfg(feature = "xftp")]
    XFTP_BLOCK,
    #[cfg(feature = "xftp")]
    XFTP_DESCRIPTION,
    #[cfg(feature = "xftp")]
    XFTP_FILE,
    #[cfg(feature = "xftp")]
    XFTP_ROUTER_OPS,
];

/// Files of an agent over routers that come and go, while it crashes.
#[cfg(feature = "xftp")]
pub const AGENT_FILES: Target = Target::machines("agent_files", super::agent_files::run);

/// What agents write into links, queues, messages and records.
pub const AGENT_FORMATS: Target = Target::parser("agent_formats", super::agent_formats);

/// What clients say to agents in lines of text.
pub const AGENT_LINES: Target = Target::parser("agent_lines", super::agent_lines);

/// Two agents over routers that come and go, while they crash and nothing arrives.
pub const AGENT_WORLD: Target = Target::machines("agent_world", super::agent::world);

/// Blocks that are cut, altered, dropped, doubled and swapped on their way.
pub const BLOCKS: Target = Target::machines("blocks", super::blocks::run);

/// Frames and their echoes over a network that delays, cuts and breaks.
pub const FRAMES_PAIR: Target = Target::machines("frames_pair", super::network::frames);

/// Keys and certificates in their DER and PEM.
pub const KEYS_AND_CERTIFICATES: Target =
    Target::parser("keys_and_certificates", super::keys_and_certificates);

/// The data of a short link.
pub const LINK_DATA: Target = Target::parser("link_data", super::link_data);

/// A conversation over a ratchet, and what that parses.
pub const RATCHET_ACTIONS: Target = Target::machines("ratchet_actions", super::ratchet::run);

/// A router with clients, whose store is slow, fails and loses power.
pub const ROUTER_OPS: Target = Target::machines("router_ops", super::router::run);

/// A client's session with a router that says anything.
pub const SMP_CLIENT_OPS: Target = Target::machines("smp_client_ops", super::client::run);

/// A command in any version.
pub const SMP_COMMAND: Target = Target::parser("smp_command", super::smp_command);

/// The messages of the handshake.
pub const SMP_HANDSHAKE: Target = Target::parser("smp_handshake", super::smp_handshake);

/// A message in any version.
pub const SMP_MESSAGE: Target = Target::parser("smp_message", super::smp_message);

/// A client and a router over a network that delays, cuts and breaks, with somebody in the middle.
pub const SMP_PAIR: Target = Target::machines("smp_pair", super::network::smp);

/// A pool of sessions whose connections break and whose routers answer anything.
pub const SMP_POOL_OPS: Target = Target::machines("smp_pool_ops", super::pool::run);

/// A router's session with a client that sends anything.
pub const SMP_SERVER_OPS: Target = Target::machines("smp_server_ops", super::server::run);

/// The content of a block.
pub const SMP_TRANSMISSION_BLOCK: Target =
    Target::parser("smp_transmission_block", super::smp_transmission_block);

/// A machine behind a proxy that says anything.
pub const SOCKS: Target = Target::machines("socks", super::socks::run);

/// The files of the reference's routers.
pub const STORELOG: Target = Target::parser("storelog", super::storelog);

/// Everything that is written as text: addresses, names, times and numbers.
pub const TEXT: Target = Target::parser("text", super::text);

/// TLS with somebody in the middle.
#[cfg(feature = "tls")]
pub const TLS_RECORDS: Target = Target::machines("tls_records", super::tls::run);

/// Both sides of HTTP/2, with somebody in the middle.
#[cfg(feature = "xftp")]
pub const HTTP2_OPS: Target = Target::machines("http2_ops", super::http2::run);

/// The blocks of XFTP, and the records of its routers.
#[cfg(feature = "xftp")]
pub const XFTP_BLOCK: Target = Target::parser("xftp_block", super::xftp_block);

/// Descriptions of files, and links to them.
#[cfg(feature = "xftp")]
pub const XFTP_DESCRIPTION: Target = Target::parser("xftp_description", super::xftp_description);

/// Encrypted files.
#[cfg(feature = "xftp")]
pub const XFTP_FILE: Target = Target::parser("xftp_file", super::xftp_file);

/// An XFTP router with clients that do anything, and crashes.
#[cfg(feature = "xftp")]
pub const XFTP_ROUTER_OPS: Target = Target::machines("xftp_router_ops", super::files::run);
