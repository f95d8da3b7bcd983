//! What the control port shows, in the words of the reference implementation. No answer ends with an empty line.

use std::sync::Arc;

use base64::Engine as _;
use simplex_sans_io::smp::router::store::QueueStatus;
use simplex_sans_io::smp::router::{ClientInfo, Counters, Gauges, Outcome, QueueStatusInfo};
use simplex_sans_io::smp::{BlockingInfo, BlockingReason, ClientNotice, QueueMode};
use simplex_sans_io::time::Now;
use simplex_sans_io::wire::utc::UtcTime;

use super::command::IDS;
use crate::control::Role;
use crate::listener::Sockets;

/// What became of an operation.
pub(crate) fn shown(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Deleted(messages) => format!("ok, {messages} messages deleted\n"),
        Outcome::Status(info) => format!(
            "status: {}, updatedAt: {}, queueMode: {}\n",
            status(info),
            info.updated_at.map_or_else(
                || "Nothing".to_owned(),
                |day| format!("Just (RoundedSystemTime {{roundedSeconds = {day}}})")
            ),
            match info.mode {
                None => "Nothing",
                Some(QueueMode::Messaging) => "Just QMMessaging",
                Some(QueueMode::Contact) => "Just QMContact",
            }
        ),
        Outcome::Blocked(info) => format!("ok, queue blocked: {}\n", status(info)),
        Outcome::WasInactive(info) => format!("ok, already inactive: {}\n", status(info)),
        Outcome::Unblocked(info) => {
            format!(
                "ok, queue unblocked, reason to block was: {}\n",
                reason(info)
            )
        }
        Outcome::WasActive => "ok, queue was active\n".to_owned(),
        Outcome::Suspended => "error, queue is inactive\n".to_owned(),
        Outcome::NotFound => "error: AUTH\n".to_owned(),
        Outcome::Saved => "saving server state...\nserver state saved!\n".to_owned(),
        Outcome::Failed => "error: STORE\n".to_owned(),
    }
}

fn status(info: &QueueStatusInfo) -> String {
    match &info.status {
        QueueStatus::Active => "EntityActive".to_owned(),
        QueueStatus::Off => "EntityOff".to_owned(),
        QueueStatus::Blocked { info, .. } => format!("EntityBlocked ({})", reason(info)),
    }
}

fn reason(info: &BlockingInfo) -> String {
    let reason = match info.reason {
        BlockingReason::Spam => "BRSpam",
        BlockingReason::Content => "BRContent",
    };
    let notice = match info.notice {
        None => "Nothing".to_owned(),
        Some(ClientNotice { ttl: None }) => "Just (ClientNotice {ttl = Nothing})".to_owned(),
        Some(ClientNotice { ttl: Some(ttl) }) => {
            format!("Just (ClientNotice {{ttl = Just {ttl}}})")
        }
    };
    format!("BlockingInfo {{reason = {reason}, notice = {notice}}}")
}

/// The answer to `stats`.
pub(crate) fn stats(gauges: &Gauges, counters: &Counters, admin: bool) -> String {
    let c = counters;
    let triple = |a: u64, b: u64, c: u64| format!("({a},{b},{c})");
    let since = UtcTime::from_seconds(gauges.counting_since.seconds());
    let mut lines = vec![
        ("fromTime", since.to_string()),
        ("qCreated", c.queues_created.to_string()),
        ("qSecured", c.queues_secured.to_string()),
        ("qDeletedAll", c.queues_deleted.to_string()),
        ("qDeletedAllB", c.queues_deleted_blocks.to_string()),
        ("qDeletedNew", c.queues_deleted_new.to_string()),
        ("qDeletedSecured", c.queues_deleted_secured.to_string()),
        ("daily active queues", gauges.active.day.to_string()),
        ("qSub", c.subscriptions.to_string()),
        ("qSubAllB", c.subscription_blocks.to_string()),
        ("qSubEnd", c.subscriptions_ended.to_string()),
        ("qSubEndB", c.subscription_end_blocks.to_string()),
        (
            "other SUB events (auth, duplicate, prohibited)",
            triple(
                c.subscriptions_auth,
                c.subscriptions_duplicate,
                c.subscriptions_prohibited,
            ),
        ),
        ("msgSent", c.messages_sent.to_string()),
        ("msgRecv", c.messages_received.to_string()),
        ("msgRecvGet", c.messages_received_get.to_string()),
        ("msgGet", c.messages_get.to_string()),
        ("msgGetNoMsg", c.messages_get_none.to_string()),
        (
            "other GET events (auth, duplicate, prohibited)",
            triple(
                c.messages_get_auth,
                c.messages_get_duplicate,
                c.messages_get_prohibited,
            ),
        ),
        ("msgSentNtf", c.messages_sent_notification.to_string()),
        ("msgRecvNtf", c.messages_received_notification.to_string()),
        ("msgNtfs", c.notifications.to_string()),
        ("msgNtfsB", c.notification_blocks.to_string()),
        ("msgNtfExpired", c.notifications_expired.to_string()),
        ("qCount", gauges.queues.to_string()),
        ("qCount 2", gauges.queues.to_string()),
        ("notifiers", gauges.notifiers.to_string()),
        ("msgCount", gauges.messages.to_string()),
        ("ntfCount", gauges.notifications.to_string()),
    ];
    if admin {
        lines.push(("ntfCount 2", gauges.notifications.to_string()));
    }
    for heading in ["pRelays", "pRelaysOwn", "pMsgFwds", "pMsgFwdsOwn"] {
        lines.push((heading, group(c, heading)));
    }
    lines.push(("pMsgFwdsRecv", c.forwarded_received.to_string()));
    lines.push(("rcvServiceCount", gauges.messaging_services.to_string()));
    lines.push(("ntfServiceCount", gauges.notifier_services.to_string()));
    let queues = gauges.messaging_service_queues.to_string();
    lines.push(("rcvServiceQueuesCount", queues));
    let queues = gauges.notifier_service_queues.to_string();
    lines.push(("ntfServiceQueuesCount", queues));
    lines
        .iter()
        .map(|(label, value)| format!("{label}: {value}\n"))
        .collect()
}

/// The counters under a heading.
fn group(counters: &Counters, heading: &str) -> String {
    let counters = counters.named().into_iter().filter_map(|(name, value)| {
        let (of, name) = name.split_once('.')?;
        (of == heading).then(|| format!("{name}={value}"))
    });
    counters.collect::<Vec<_>>().join(", ")
}

/// The answer to `clients`: a line for each, in the columns of the reference implementation.
pub(super) fn csv(now: Now, clients: &[ClientInfo]) -> String {
    let mut text = String::from(
        "clientId,sessionId,connected,createdAt,rcvActiveAt,sndActiveAt,age,subscriptions\n",
    );
    let time = |seconds: i64| UtcTime::from_seconds(seconds);
    for client in clients {
        let ago = |instant| {
            let passed = (now.instant - instant).as_secs();
            now.unix.seconds() - i64::try_from(passed).unwrap_or(i64::MAX)
        };
        text.push_str(&format!(
            "{},{},True,{},{},{},{},{}\n",
            client.connection.0,
            IDS.encode(&*client.session_id),
            time(client.since.seconds()),
            time(ago(client.asked)),
            time(ago(client.told)),
            now.unix.seconds() - client.since.seconds(),
            client.subscriptions(),
        ));
    }
    text
}

/// The answer to `server-info`.
pub(crate) fn server_info(
    gauges: &Gauges,
    clients: &[ClientInfo],
    tasks: usize,
    role: Role,
) -> String {
    let mut text = format!("Threads: {tasks}\nClients: {}\n", gauges.clients);
    let mut line = |label: &str, value: String| text.push_str(&format!("{label}: {value}\n"));
    let messages = Group::of(clients, |client| client.queues);
    let notifications = Group::of(clients, |client| client.notifiers);
    if role == Role::Admin {
        let all = Group::of(clients, |_| 1);
        line("Client queues (rcvQ, sndQ, msgQ)", all.waiting());
        line(
            "SMP subscriptions (via clients)",
            messages.subscriptions.to_string(),
        );
        let gets: usize = clients.iter().map(|client| client.gets).sum();
        line(
            "SMP subscriptions (by group: NoSub, SubPending, SubThread, ProhibitSub)",
            format!("({},0,0,{gets})", messages.subscriptions),
        );
        line(
            "SMP subscribed clients (via clients)",
            messages.ids.len().to_string(),
        );
        line(
            "SMP subscribed clients queues (via clients, rcvQ, sndQ, msgQ)",
            messages.waiting(),
        );
        line(
            "Ntf subscriptions (via clients)",
            notifications.subscriptions.to_string(),
        );
        line(
            "Ntf subscribed clients (via clients)",
            notifications.ids.len().to_string(),
        );
        line(
            "Ntf subscribed clients queues (via clients, rcvQ, sndQ, msgQ)",
            notifications.waiting(),
        );
    }
    line("SMP subscriptions", gauges.subscriptions.to_string());
    line(
        "SMP subscribed clients",
        gauges.subscribed_clients.to_string(),
    );
    line(
        "SMP subscribed clients count 2",
        messages.ids.len().to_string(),
    );
    line(
        "Ntf subscriptions",
        gauges.notifier_subscriptions.to_string(),
    );
    let (count, ids) = (gauges.notifier_clients, notifications.list());
    line("Ntf subscribed clients", format!("{count} {ids}"));
    let count = notifications.ids.len();
    line(
        "Ntf subscribed clients count 2",
        format!("{count} fromList {ids}"),
    );
    text
}

/// Clients with subscriptions of one kind.
struct Group {
    ids: Vec<u64>,
    subscriptions: usize,
    /// Blocks that are looked up, blocks that are executed, and announcements.
    waiting: (usize, usize, usize),
}

impl Group {
    fn of(clients: &[ClientInfo], subscriptions: impl Fn(&ClientInfo) -> usize) -> Self {
        let mut group = Self {
            ids: Vec::new(),
            subscriptions: 0,
            waiting: (0, 0, 0),
        };
        for client in clients {
            let count = subscriptions(client);
            if count > 0 {
                group.ids.push(client.connection.0);
                group.subscriptions += count;
                group.waiting.0 += client.blocks.0;
                group.waiting.1 += client.blocks.1;
                group.waiting.2 += client.on_their_way;
            }
        }
        group
    }

    fn waiting(&self) -> String {
        let (looked_up, executed, announced) = self.waiting;
        format!("({looked_up},{executed},{announced})")
    }

    fn list(&self) -> String {
        let ids: Vec<_> = self.ids.iter().map(u64::to_string).collect();
        format!("[{}]", ids.join(","))
    }
}

/// The answer to `sockets`.
pub(super) fn sockets(ports: &[(u16, Arc<Sockets>)]) -> String {
    let mut text = String::new();
    for (port, sockets) in ports {
        let accepted = sockets.accepted();
        let closed = sockets.closed();
        let active = accepted.saturating_sub(closed);
        text.push_str(&format!(
            "Sockets for port {port}:\naccepted: {accepted}\nclosed: {closed}\nactive: {active}\nleaked: 0\n"
        ));
    }
    text
}
