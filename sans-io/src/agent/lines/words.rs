//! The words for errors and for states, in each dialect.

use super::text::Level;
use crate::agent::command::{CanAbort, ConnectionStatistics, QueueStatus, Subscribed};
use crate::agent::config::RATCHET_SYNC;
use crate::agent::error::AgentError;
use crate::agent::event::SyncState;
use crate::agent::store::record::{ReceivePhase, SendPhase};
use crate::smp::{BrokerError, ErrorType};
use crate::wire::{ServerAddress, SmpScheme};

/// An error, in words that the dialect has.
#[must_use]
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "all others are words and a context"
)]
pub fn error(error: &AgentError, level: Level) -> String {
    match error {
        AgentError::Smp { router, error } if is_known(error) || level == Level::L7 => {
            with_router("SMP", router, &error.to_string(), level)
        }
        AgentError::Smp { error, .. } => format!("INTERNAL SMP {error}"),
        AgentError::Broker { router, error } => match (&**error, level) {
            (BrokerError::Network { error }, Level::L7) => {
                format!("BROKER {router} NETWORK {error}")
            }
            (BrokerError::NoService, Level::L0 | Level::L5) => "INTERNAL NO_SERVICE".to_owned(),
            _ => with_router("BROKER", router, &error.to_string(), level),
        },
        AgentError::Proxy { error, .. } if level == Level::L0 => format!("INTERNAL PROXY {error}"),
        AgentError::Proxy {
            proxy,
            relay,
            error,
        } => format!("PROXY {proxy} {relay} PROTOCOL {error}"),
        error => worded(&error.to_string(), level),
    }
}

fn with_router(tag: &str, router: &ServerAddress<SmpScheme>, error: &str, level: Level) -> String {
    match level {
        Level::L0 => format!("{tag} {error}"),
        Level::L5 | Level::L7 => format!("{tag} {router} {error}"),
    }
}

/// Whether version 5.8 had a word for it.
const fn is_known(error: &ErrorType) -> bool {
    match error {
        ErrorType::Blocked { .. }
        | ErrorType::Service
        | ErrorType::Store { .. }
        | ErrorType::Name { .. }
        | ErrorType::Duplicate => false,
        ErrorType::Block
        | ErrorType::Session
        | ErrorType::Cmd { .. }
        | ErrorType::Proxy { .. }
        | ErrorType::Auth
        | ErrorType::Crypto
        | ErrorType::Quota
        | ErrorType::Expired
        | ErrorType::NoMsg
        | ErrorType::LargeMsg
        | ErrorType::Internal => true,
    }
}

/// An error that is words and a context.
fn worded(text: &str, level: Level) -> String {
    let words: Vec<_> = text.splitn(3, ' ').collect();
    let context = |keep: bool| match (keep, words.get(2)) {
        (true, Some(context)) if !context.is_empty() => format!(" {context}"),
        _ => String::new(),
    };
    match words.as_slice() {
        ["CMD", kind, ..] => format!("CMD {kind}{}", context(level > Level::L0)),
        ["CONN", kind, ..] => format!("CONN {kind}{}", context(level == Level::L7)),
        ["AGENT", "A_LINK", ..] if level < Level::L7 => {
            format!("INTERNAL link{}", context(true))
        }
        ["AGENT", kind, ..] => {
            let kind = kind.strip_prefix("A_").unwrap_or(kind);
            format!("AGENT {kind}{}", context(true))
        }
        ["NO_USER" | "NO_ROUTERS" | "NO_NAME_SERVERS" | "FILE", ..] if level < Level::L7 => {
            format!("INTERNAL {text}")
        }
        _ => text.to_owned(),
    }
}

pub(super) const fn sync(state: SyncState) -> &'static str {
    match state {
        SyncState::Ok => "ok",
        SyncState::Allowed => "allowed",
        SyncState::Required => "required",
        SyncState::Started => "started",
        SyncState::Agreed => "agreed",
    }
}

const fn queue_status(status: QueueStatus) -> &'static str {
    match status {
        QueueStatus::New => "new",
        QueueStatus::Confirmed => "confirmed",
        QueueStatus::Secured => "secured",
        QueueStatus::Active => "active",
        QueueStatus::Disabled => "disabled",
    }
}

/// How a connection is.
#[must_use]
pub fn stats(statistics: &ConnectionStatistics, level: Level) -> String {
    let status = |status: QueueStatus| match level {
        Level::L0 | Level::L5 => String::new(),
        Level::L7 => format!(";status={}", queue_status(status)),
    };
    let receive = statistics.receive.iter().map(|queue| {
        let switch = match queue.switch {
            None => "",
            Some(ReceivePhase::Creating) => ";switch=switch_started",
            Some(ReceivePhase::Adding | ReceivePhase::Securing) => ";switch=sending_qadd",
            Some(ReceivePhase::Using) => ";switch=sending_quse",
            Some(ReceivePhase::Received) => ";switch=received_message",
        };
        let abort = match queue.can_abort {
            CanAbort::Yes => 'T',
            CanAbort::No => 'F',
        };
        let subscribed = match (level, queue.subscribed) {
            (Level::L0 | Level::L5, _) => "",
            (Level::L7, Subscribed::Yes) => ";sub=T",
            (Level::L7, Subscribed::No) => ";sub=F",
        };
        let status = status(queue.status);
        format!(
            "srv={}{switch};can_abort_switch={abort}{status}{subscribed}",
            queue.router
        )
    });
    let send = statistics.send.iter().map(|queue| {
        let switch = match queue.switch {
            None => "",
            Some(SendPhase::Keying) => ";switch=sending_qkey",
            Some(SendPhase::Testing) => ";switch=sending_qtest",
        };
        format!("srv={}{switch}{}", queue.router, status(queue.status))
    });
    let supported = if statistics.version >= RATCHET_SYNC {
        'T'
    } else {
        'F'
    };
    format!(
        "agent_version={} rcv={} snd={} sync={} sync_supported={supported}",
        statistics.version.0,
        receive.collect::<Vec<_>>().join(","),
        send.collect::<Vec<_>>().join(","),
        sync(statistics.sync),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_words_of_the_dialect() {
        let not_found = AgentError::NotFound {
            context: "connection".into(),
        };
        assert_eq!(error(&not_found, Level::L5), "CONN NOT_FOUND");
        assert_eq!(error(&not_found, Level::L7), "CONN NOT_FOUND connection");
        let prohibited = AgentError::Prohibited {
            context: "allowConnection".into(),
        };
        assert_eq!(
            error(&prohibited, Level::L5),
            "CMD PROHIBITED allowConnection"
        );
        assert_eq!(error(&prohibited, Level::L0), "CMD PROHIBITED");
        assert_eq!(error(&AgentError::Version, Level::L5), "AGENT VERSION");
        assert_eq!(error(&AgentError::NoUser, Level::L5), "INTERNAL NO_USER");
        let no_file = AgentError::File {
            error: crate::agent::error::FileProblem::NoFile,
        };
        assert_eq!(error(&no_file, Level::L5), "INTERNAL FILE NO_FILE");
        assert_eq!(error(&no_file, Level::L7), "FILE NO_FILE");
    }

    const ROUTER: &str = "smp://u2dS9sG8nMNURyZwqASV4yROM28Er0luVTx5X1CsMrU=@smp4.simplex.im";

    #[test]
    fn errors_of_routers_name_the_router_where_the_dialect_does() {
        let router: Box<ServerAddress<SmpScheme>> = Box::new(ROUTER.parse().unwrap());
        let all =
            |wrong: &AgentError| [Level::L0, Level::L5, Level::L7].map(|level| error(wrong, level));
        let auth = AgentError::Smp {
            router: router.clone(),
            error: Box::new(ErrorType::Auth),
        };
        let named = format!("SMP {ROUTER} AUTH");
        assert_eq!(all(&auth), ["SMP AUTH", &named, &named]);
        let service = AgentError::Smp {
            router: router.clone(),
            error: Box::new(ErrorType::Service),
        };
        let unknown = "INTERNAL SMP SERVICE";
        assert_eq!(
            all(&service),
            [unknown, unknown, &format!("SMP {ROUTER} SERVICE")]
        );
        let network = AgentError::Broker {
            router: router.clone(),
            error: Box::new(BrokerError::Network {
                error: crate::smp::NetworkError::Timeout,
            }),
        };
        let expected = [
            "BROKER NETWORK".to_owned(),
            format!("BROKER {ROUTER} NETWORK"),
            format!("BROKER {ROUTER} NETWORK TIMEOUT"),
        ];
        assert_eq!(all(&network), expected);
        let proxy = AgentError::Proxy {
            proxy: router.clone(),
            relay: router,
            error: Box::new(ErrorType::Auth),
        };
        let named = format!("PROXY {ROUTER} {ROUTER} PROTOCOL AUTH");
        assert_eq!(all(&proxy), ["INTERNAL PROXY AUTH", &named, &named]);
    }
}
