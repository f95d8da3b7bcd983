//! What may happen in a run.

use std::time::Duration;

use crate::rng::Rng;

/// How many clients there are.
pub(super) const CLIENTS: usize = 3;
/// How many files they create at most.
pub(super) const FILES: usize = 6;

/// What happens next. Clients and files are numbers, whose rest counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    Create {
        client: usize,
    },
    AddRecipient {
        client: usize,
        file: usize,
    },
    Upload {
        client: usize,
        file: usize,
        /// Its client stops there, the first time.
        most: usize,
    },
    Download {
        client: usize,
        file: usize,
    },
    Acknowledge {
        client: usize,
        file: usize,
    },
    Delete {
        client: usize,
        file: usize,
    },
    /// The connection breaks when this many bytes more have arrived.
    Break {
        client: usize,
        at_router: usize,
        at_client: usize,
    },
    Cut {
        client: usize,
    },
    /// The client connects again, and that connection breaks when this many bytes have arrived, those of its handshake included.
    Connect {
        client: usize,
        at_router: usize,
        at_client: usize,
    },
    /// A peer that is not ours resets a stream.
    Reset {
        client: usize,
        stream: u64,
    },
    Crash,
    Block {
        file: usize,
    },
    /// The store begins to fail, or does so no more.
    Storing,
    /// The disk is full, or no more.
    Room,
    /// The disk is stuck, or no more.
    Pace,
    /// Store and disk work again.
    Mend,
    Wait(Duration),
    /// So many things are done that are to be done.
    Step(usize),
    Settle,
}

impl Operation {
    /// One of them, each as likely as it is of use.
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let mut below = |bound: u32| usize::try_from(rng.below(bound)).unwrap_or_default();
        let (client, file) = (below(64), below(64));
        match below(100) {
            0..6 => Self::Create { client },
            6..8 => Self::AddRecipient { client, file },
            8..20 => Self::Upload {
                client,
                file,
                most: usize::MAX,
            },
            20..22 => Self::Upload {
                client,
                file,
                most: below(70_000),
            },
            22..32 => Self::Download { client, file },
            32..33 => Self::Acknowledge { client, file },
            33..35 => Self::Delete { client, file },
            // In the next block, or in what follows it.
            35..37 => Self::Break {
                client,
                at_router: below(20_000),
                at_client: below(20_000),
            },
            37..39 => Self::Break {
                client,
                at_router: below(200_000),
                at_client: usize::MAX,
            },
            39..43 => Self::Break {
                client,
                at_router: usize::MAX,
                at_client: below(150_000),
            },
            43 => Self::Cut { client },
            44 => Self::Reset {
                client,
                stream: u64::try_from(below(24)).unwrap_or_default(),
            },
            45 => Self::Crash,
            46..49 => Self::Storing,
            49 => Self::Room,
            50..52 => Self::Pace,
            52..55 => Self::Wait(Duration::from_millis(
                u64::try_from(below(90_000)).unwrap_or_default(),
            )),
            55 => Self::Wait(Duration::from_secs(
                u64::try_from(below(90_000)).unwrap_or_default(),
            )),
            56 if file == 0 => Self::Block { file: client },
            56..59 => Self::Settle,
            59..64 => Self::Mend,
            // In either of the two blocks, and not far behind them.
            64 => Self::Connect {
                client,
                at_router: below(18_000),
                at_client: usize::MAX,
            },
            65 => Self::Connect {
                client,
                at_router: usize::MAX,
                at_client: below(18_000),
            },
            _ => Self::Step(below(24)),
        }
    }
}
