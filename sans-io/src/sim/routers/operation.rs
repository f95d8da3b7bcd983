//! What may happen in a run.

use crate::rng::Rng;

/// How many routers there are.
pub(super) const ROUTERS: usize = 3;
/// How many clients there are.
pub(super) const CLIENTS: usize = 5;
/// How many queues they make at most.
pub(super) const QUEUES: usize = 8;

/// What happens next. Clients, routers and queues are numbers, whose rest counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    Create {
        client: usize,
        router: usize,
    },
    Send {
        client: usize,
        queue: usize,
    },
    SendThrough {
        client: usize,
        queue: usize,
        proxy: usize,
    },
    Subscribe {
        client: usize,
        queue: usize,
    },
    Acknowledge {
        queue: usize,
    },
    Delete {
        client: usize,
        queue: usize,
    },
    /// So many commits become durable.
    Sync {
        router: usize,
        count: usize,
    },
    Forward {
        router: usize,
    },
    Reconnect {
        client: usize,
        router: usize,
    },
    Crash {
        router: usize,
    },
    /// The disk refuses what is not durable.
    Fail {
        router: usize,
    },
    Part {
        router: usize,
        relay: usize,
    },
    Join {
        router: usize,
        relay: usize,
    },
    Pass {
        milliseconds: u64,
    },
}

impl Operation {
    /// The same operation on one of so many queues.
    pub(super) fn on(mut self, queues: usize) -> Self {
        if let Self::Send { queue, .. }
        | Self::SendThrough { queue, .. }
        | Self::Subscribe { queue, .. }
        | Self::Acknowledge { queue }
        | Self::Delete { queue, .. } = &mut self
        {
            *queue %= queues.max(1);
        }
        self
    }

    /// One of them, each as likely as it is of use.
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let mut below = |bound: usize| {
            let bound = u32::try_from(bound).expect("small");
            usize::try_from(rng.below(bound)).expect("small")
        };
        let (client, router, queue) = (below(CLIENTS), below(ROUTERS), below(QUEUES));
        let relay = below(ROUTERS);
        match below(100) {
            0..6 => Self::Create { client, router },
            6..20 => Self::Send { client, queue },
            // Few clients do so, through few proxies, so that most of them have a session with the relay already.
            20..40 => Self::SendThrough {
                client: client % 2,
                queue,
                proxy: relay % 2,
            },
            40..50 => Self::Subscribe { client, queue },
            50..61 => Self::Acknowledge { queue },
            61..62 => Self::Delete { client, queue },
            62..77 => Self::Sync {
                router,
                count: below(12),
            },
            77..91 => Self::Forward { router },
            91..92 => Self::Reconnect { client, router },
            92..93 => Self::Crash { router },
            93..94 => Self::Fail { router },
            94..95 => Self::Part { router, relay },
            95..97 => Self::Join { router, relay },
            97..99 => Self::Pass {
                milliseconds: u64::try_from(below(20_000)).expect("small"),
            },
            _ => Self::Pass {
                milliseconds: u64::try_from(below(2_000_000)).expect("small"),
            },
        }
    }
}
