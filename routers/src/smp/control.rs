//! What the operator of an SMP router can ask on the control port.

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use simplex_sans_io::smp::router::store::{QueueStatus, day};
use simplex_sans_io::smp::router::{
    ClientInfo, Counters, Gauges, Operation, Outcome, QueueStatusInfo,
};
use simplex_sans_io::smp::{BlockingInfo, BlockingReason, ClientNotice, QueueMode};
use simplex_sans_io::time::{Now, UnixTime};
use simplex_sans_io::wire::utc::UtcTime;
use simplex_sans_io::wire::{self, EntityId, Version};

use super::core::CoreHandle;
use super::settings::{BlockQuota, Control as Settings};
use crate::control::{Operator, Role};
use crate::listener::Sockets;

const IDS: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What the control port shows and does.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    pub(crate) settings: Settings,
    pub(crate) core: CoreHandle,
    pub(crate) sockets: Vec<(u16, Arc<Sockets>)>,
    pub(crate) blocked: Arc<Blocked>,
}

/// How many queues were blocked today.
#[derive(Debug, Default)]
pub(crate) struct Blocked(std::sync::Mutex<(i64, u32)>);

impl Blocked {
    /// Whether one more may be blocked today.
    fn allows(&self, quota: u32) -> bool {
        let mut blocked = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let today = day(UnixTime::from(SystemTime::now()));
        if blocked.0 != today {
            *blocked = (today, 0);
        }
        blocked.1 < quota
    }

    fn count(&self) {
        let mut blocked = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        blocked.1 = blocked.1.saturating_add(1);
    }
}

impl Operator for Control {
    const BANNER: &str = "SMP server control port";

    async fn execute(&self, role: &mut Role, line: &str) -> String {
        const BAD: &str = "error: Failed reading: bad ControlProtocol command\n";
        let (command, argument) = line.split_once(' ').unwrap_or((line, ""));
        let user = *role != Role::None;
        let admin = *role == Role::Admin;
        match command {
            "" => String::new(),
            "help" => "commands: stats, stats-rts, clients, sockets, socket-threads, threads, server-info, delete, save, help, quit\n".to_owned(),
            "auth" => role.authorize(
                argument,
                self.settings.admin_password.as_ref(),
                self.settings.user_password.as_ref(),
            ),
            "suspend" | "resume" if admin => format!("{command} not implemented\n"),
            "stats" if user => self.numbers(|gauges, counters| stats(&gauges, &counters, admin)).await + "\n",
            "server-info" if user => self.numbers(|gauges, _| server_info(&gauges)).await + "\n",
            "sockets" if user => self.ports() + "\n",
            "clients" if admin => match self.core.clients().await {
                Some((now, clients)) => csv(now, &clients),
                None => "error: the router stops\n".to_owned(),
            },
            "threads" | "socket-threads" if admin => {
                let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
                format!("Threads: {tasks}\n")
            }
            "stats-rts" => {
                let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
                format!("tasks: {tasks}\n")
            }
            "delete" if admin => self.on_queue(argument, Operation::Delete).await,
            "status" if user => self.on_queue(argument, Operation::Status).await,
            "unblock" if user => self.on_queue(argument, Operation::Unblock).await,
            "block" if user => self.block(argument).await,
            "save" if admin => match self.core.operate(Operation::Save).await {
                Some(_) => "saving server state...\nserver state saved!\n".to_owned(),
                None => "error: the router stops\n".to_owned(),
            },
            "suspend" | "resume" | "stats" | "server-info" | "sockets" | "clients" | "threads"
            | "socket-threads" | "delete" | "status" | "unblock" | "block" | "save" => {
                "AUTH\n".to_owned()
            }
            _ => BAD.to_owned(),
        }
    }
}

impl Control {
    async fn numbers(&self, show: impl FnOnce(Gauges, Counters) -> String) -> String {
        match self.core.read().await {
            Some((gauges, counters)) => show(gauges, counters),
            None => "error: the router stops\n".to_owned(),
        }
    }

    fn ports(&self) -> String {
        let mut text = String::new();
        for (port, sockets) in &self.sockets {
            let accepted = sockets.accepted();
            let closed = sockets.closed();
            let active = accepted.saturating_sub(closed);
            text.push_str(&format!(
                "Sockets for port {port}:\naccepted: {accepted}\nclosed: {closed}\nactive: {active}\nleaked: 0\n"
            ));
        }
        text
    }

    async fn on_queue(&self, id: &str, operation: fn(EntityId) -> Operation) -> String {
        match queue_id(id) {
            Some(id) => self.operate(operation(id)).await,
            None => "error: Failed reading: the id of a queue is expected\n".to_owned(),
        }
    }

    async fn operate(&self, operation: Operation) -> String {
        match self.core.operate(operation).await {
            Some(outcome) => shown(&outcome),
            None => "error: the router stops\n".to_owned(),
        }
    }

    async fn block(&self, argument: &str) -> String {
        let (id, reason) = argument.split_once(' ').unwrap_or((argument, ""));
        let info = wire::decode::<BlockingInfo>(
            Version::default(),
            &bytes::Bytes::from(reason.trim().to_owned()),
        );
        let (Some(id), Ok(info)) = (queue_id(id), info) else {
            return "error: Failed reading: expected `block <id> reason=spam|content[,notice={\"ttl\":seconds}]`\n".to_owned();
        };
        let quota = match self.settings.block_quota {
            BlockQuota::Unlimited => u32::MAX,
            BlockQuota::Daily(quota) => quota,
            BlockQuota::Prohibited => 0,
        };
        if !self.blocked.allows(quota) {
            return format!("error: reached limit of {quota} queues blocked daily\n");
        }
        match self.core.operate(Operation::Block(id, info)).await {
            Some(outcome) => {
                if matches!(outcome, Outcome::Blocked(_)) {
                    self.blocked.count();
                }
                shown(&outcome)
            }
            None => "error: the router stops\n".to_owned(),
        }
    }
}

fn queue_id(text: &str) -> Option<EntityId> {
    let bytes = IDS.decode(text.trim()).ok()?;
    EntityId::try_from(bytes.as_slice())
        .ok()
        .filter(|id| !id.is_empty())
}

fn shown(outcome: &Outcome) -> String {
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

fn stats(gauges: &Gauges, counters: &Counters, admin: bool) -> String {
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

/// A line for each client, in the columns of the reference implementation.
fn csv(now: Now, clients: &[ClientInfo]) -> String {
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
            client.subscriptions,
        ));
    }
    text
}

fn server_info(gauges: &Gauges) -> String {
    let lines = [
        ("Threads", number_of_tasks()),
        ("Clients", gauges.clients),
        ("SMP subscriptions", gauges.subscriptions),
        ("Ntf subscriptions", gauges.notifier_subscriptions),
        ("Queues in memory", gauges.cached),
    ];
    lines
        .iter()
        .map(|(label, value)| format!("{label}: {value}\n"))
        .collect()
}

fn number_of_tasks() -> u64 {
    let tasks = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    u64::try_from(tasks).unwrap_or(u64::MAX)
}
