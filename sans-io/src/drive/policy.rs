//! How a connection balances its two directions.

use std::time::Duration;

/// How a connection balances its two directions, and how long it takes to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// No commands are taken while at least this many bytes are unsent.
    pub unsent: usize,
    /// What happens to reading while the peer does not take what is sent.
    pub while_blocked: WhileBlocked,
    /// How long the last bytes may take to leave, and how long commands of an owner that has gone are still carried out.
    pub linger: Duration,
}

/// What happens to reading while the peer does not take what is sent.
///
/// If both sides stopped reading, two peers that both have much to say would wait for each other for ever: so one of them goes on, and
/// whoever stops has a limit of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhileBlocked {
    /// The client's way: reading goes on. A peer that takes nothing, but whose input asks for more and more output, is cut off.
    Read {
        /// More unsent bytes than this end the connection.
        at_most: usize,
    },
    /// The router's way: reading stops, and a peer that takes nothing for too long is cut off.
    Pause {
        /// Nothing is read while at least this many bytes are unsent.
        above: usize,
        /// A write without any progress for this long ends the connection, however little is unsent.
        stall: Duration,
    },
}

impl Policy {
    /// For the side that connects.
    pub const CLIENT: Self = Self {
        unsent: 256 * 1024,
        while_blocked: WhileBlocked::Read {
            at_most: 16 * 1024 * 1024,
        },
        linger: Duration::from_secs(5),
    };

    /// For the side that listens.
    pub const ROUTER: Self = Self {
        unsent: 256 * 1024,
        while_blocked: WhileBlocked::Pause {
            above: 256 * 16384,
            stall: Duration::from_secs(60),
        },
        linger: Duration::from_secs(5),
    };
}
