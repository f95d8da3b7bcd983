//! What fuzzers run: machines under every order of events that bytes can describe.
//!
//! A [`Target`] turns any bytes into a run and panics when something is not as it must be. The same targets are driven by libFuzzer, by
//! property tests and by the replay of what was found before; two runs of the same bytes leave the same [`Trace`].
//!
//! Bytes are read as a sequence of operations, one byte for the kind and its small parameter, then what else the kind needs. Kinds are
//! only ever added: a corpus keeps its meaning.
//!
//! ```
//! use simplex_sans_io::sim::fuzz;
//!
//! for target in fuzz::TARGETS {
//!     target.run(b"any bytes");
//!     assert_eq!(target.trace(b"any bytes"), target.trace(b"any bytes"));
//! }
//! ```

mod blocks;
mod choices;
mod client;
mod clockwork;
mod commands;
mod network;
mod pool;
mod server;
mod session;
mod socks;
#[cfg(feature = "tls")]
mod tls;

use self::choices::Choices;
use self::clockwork::Clockwork;
use super::Trace;

/// Something to run on a fuzzer's bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name, which is also that of its corpus.
    pub name: &'static str,
    body: Body,
}

#[derive(Debug, Clone, Copy)]
enum Body {
    /// Machines, whose inputs and actions leave a trace.
    Machines(fn(&mut Choices<'_>, &mut Trace)),
}

impl Target {
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
            Body::Machines(body) => body(&mut Choices::new(data), trace),
        }
    }
}

/// Everything that can be run.
pub const TARGETS: &[Target] = &[
    BLOCKS,
    FRAMES_PAIR,
    SMP_CLIENT_OPS,
    SMP_PAIR,
    SMP_POOL_OPS,
    SMP_SERVER_OPS,
    SOCKS,
    #[cfg(feature = "tls")]
    TLS_RECORDS,
];

/// Blocks that are cut, altered, dropped, doubled and swapped on their way.
pub const BLOCKS: Target = Target::machines("blocks", blocks::run);

/// Frames and their echoes over a network that delays, cuts and breaks.
pub const FRAMES_PAIR: Target = Target::machines("frames_pair", network::frames);

/// A client's session with a router that says anything.
pub const SMP_CLIENT_OPS: Target = Target::machines("smp_client_ops", client::run);

/// A client and a router over a network that delays, cuts and breaks, with somebody in the middle.
pub const SMP_PAIR: Target = Target::machines("smp_pair", network::smp);

/// A pool of sessions whose connections break and whose routers answer anything.
pub const SMP_POOL_OPS: Target = Target::machines("smp_pool_ops", pool::run);

/// A router's session with a client that sends anything.
pub const SMP_SERVER_OPS: Target = Target::machines("smp_server_ops", server::run);

/// A machine behind a proxy that says anything.
pub const SOCKS: Target = Target::machines("socks", socks::run);

/// TLS with somebody in the middle.
#[cfg(feature = "tls")]
pub const TLS_RECORDS: Target = Target::machines("tls_records", tls::run);
