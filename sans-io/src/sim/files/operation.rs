//! What may happen in a run.

use std::time::Duration;

use super::{Behaviour, Fate};
use crate::agent::files::job::{Failure, Outcome};
use crate::rng::Rng;
use crate::smp::{BrokerError, NetworkError};
use crate::xftp::ErrorType;
use crate::xftp::client::RequestError;

/// How many routers the user has.
pub(crate) const ROUTERS: usize = 3;

/// What happens next. Files, events, jobs and routers are numbers, whose rest counts.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Send {
        name: usize,
        recipients: u16,
        replicas: u8,
    },
    Receive {
        sent: usize,
    },
    SendDescription {
        sent: usize,
    },
    DeleteRemotely {
        sent: usize,
    },
    Delete {
        file: usize,
    },
    DeleteUser,
    Confirm {
        event: usize,
    },
    TestRouter {
        router: usize,
    },
    /// The next transaction is stored.
    Store,
    /// Any of the jobs that are under way ends.
    End {
        job: usize,
        fate: Fate,
    },
    /// A job ends that nobody waits for any more.
    EndAgain {
        job: usize,
    },
    /// Time passes until something is due.
    Wait,
    Pass(Duration),
    Crash,
    Router {
        router: usize,
        behaviour: Behaviour,
    },
    /// A router loses a chunk.
    Lose {
        router: usize,
    },
    /// The network is gone, or is there again.
    Network,
    /// Nothing new is begun, or everything again.
    Activity,
    /// Network and routers work, and everything may be done.
    Mend,
}

impl Operation {
    /// One of them, each as likely as it is of use.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut below = |bound: u32| usize::try_from(rng.below(bound)).unwrap_or_default();
        let (which, router) = (below(64), below(3));
        match below(100) {
            0..26 => Self::Store,
            26..60 => Self::End {
                job: which,
                fate: Fate::Done,
            },
            60..62 => Self::End {
                job: which,
                fate: Fate::Lost,
            },
            62..64 => Self::End {
                job: which,
                fate: Fate::Undone,
            },
            64 => Self::End {
                job: which,
                fate: Fate::Fails(failure(below(256))),
            },
            65 if which < 16 => Self::End {
                job: which,
                fate: Fate::Strange(strange(below(256))),
            },
            66 => Self::EndAgain { job: which },
            67..73 => Self::Wait,
            73 => Self::Pass(Duration::from_secs(
                u64::try_from(below(6_000)).unwrap_or_default(),
            )),
            74 => Self::Crash,
            75..77 => Self::Router {
                router,
                behaviour: behaviour(which),
            },
            77 if which < 32 => Self::Lose { router },
            78 if which < 32 => Self::Network,
            79 if which < 32 => Self::Activity,
            77..84 => Self::Mend,
            84 if which < 3 => Self::DeleteUser,
            84 => Self::Delete { file: which },
            85..87 => Self::Confirm { event: which },
            87 => Self::TestRouter { router },
            88 => Self::DeleteRemotely { sent: which },
            89..94 => Self::Receive { sent: which },
            94..96 => Self::SendDescription { sent: which },
            _ => Self::Send {
                name: which,
                recipients: u16::try_from(below(3))
                    .unwrap_or_default()
                    .saturating_add(1),
                replicas: u8::try_from(below(2)).unwrap_or_default().saturating_add(1),
            },
        }
    }
}

/// One of the ways in which a router behaves; mostly it works.
pub(crate) const fn behaviour(number: usize) -> Behaviour {
    match number % 6 {
        0 => Behaviour::Away,
        1 => Behaviour::Full,
        2 => Behaviour::Refuses(ErrorType::Quota),
        _ => Behaviour::Works,
    }
}

/// One of the ways in which a job fails.
pub(crate) fn failure(number: usize) -> Failure {
    let refusals = [
        ErrorType::Block,
        ErrorType::Session,
        ErrorType::Handshake,
        ErrorType::Size,
        ErrorType::Quota,
        ErrorType::Digest,
        ErrorType::Crypto,
        ErrorType::NoFile,
        ErrorType::HasFile,
        ErrorType::FileIo,
        ErrorType::Timeout,
        ErrorType::Internal,
        ErrorType::Auth,
    ];
    let requests = [
        RequestError::NotAccepted,
        RequestError::NoSessionKey,
        RequestError::TooLarge,
        RequestError::Refused,
        RequestError::Disconnected,
        RequestError::TimedOut,
        RequestError::Cancelled,
        RequestError::Status(500),
        RequestError::Malformed,
        RequestError::Unexpected("another answer"),
        RequestError::Size,
        RequestError::Crypto,
        RequestError::Digest,
    ];
    let network = |error| Failure::Unreachable(BrokerError::Network { error });
    let others = [
        network(NetworkError::Failed),
        network(NetworkError::UnknownCa),
        Failure::Unreachable(BrokerError::Host),
        Failure::Unreachable(BrokerError::Timeout),
        Failure::FileIo("broken".into()),
        Failure::Size,
        Failure::Digest,
    ];
    let refusals = refusals.map(|error| Failure::Request(RequestError::Protocol(error)));
    let requests = requests.map(Failure::Request);
    let all: Vec<_> = refusals.into_iter().chain(requests).chain(others).collect();
    all[number % all.len()].clone()
}

/// One of the answers that belong to some job.
pub(crate) fn strange(number: usize) -> Outcome {
    match number % 8 {
        0 => Outcome::Encrypted {
            digest: [0; 64],
            chunks: Vec::new(),
        },
        1 => Outcome::Decrypted {
            path: "elsewhere".to_owned(),
        },
        2 => Outcome::Opened("no description".to_owned().into()),
        3 => Outcome::Created {
            sender_id: [9; 24].into(),
            recipient_ids: Vec::new(),
        },
        4 => Outcome::Created {
            sender_id: [9; 24].into(),
            recipient_ids: vec![[8; 24].into(); 9],
        },
        5 => Outcome::Added(Vec::new()),
        6 => Outcome::Tested(None),
        _ => Outcome::Done,
    }
}
