//! What a router counts, and which queues are active.
//!
//! Numbers are those of a day, a week or a month of the calendar, in UTC.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

use super::store::Change;
use super::{Action, Gauges, Router, Wake};
use crate::smp::handshake::ServiceRole;
use crate::smp::server::{Request, Tally};
use crate::smp::{Command, ServiceQueues};
use crate::time::{Now, UnixTime};
use crate::wire::EntityId;

macro_rules! counters {
    ($($(#[$meta:meta])* $field:ident = $name:literal),* $(,)?) => {
        /// Numbers of events since the statistics began.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Counters {
            $( $(#[$meta])* pub $field: u64, )*
        }

        impl Counters {
            /// All counters with their names in files and on the control port.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$(($name, self.$field)),*]
            }

            /// The counter with that name.
            pub fn named_mut(&mut self, name: &str) -> Option<&mut u64> {
                match name {
                    $($name => Some(&mut self.$field),)*
                    _ => None,
                }
            }

            /// Adds what was counted elsewhere.
            pub fn add(&mut self, other: &Self) {
                $( self.$field = self.$field.saturating_add(other.$field); )*
            }
        }
    };
}

counters! {
    /// Queues that were created.
    queues_created = "qCreated",
    /// Queues whose sender's key was set.
    queues_secured = "qSecured",
    /// Queues that were deleted.
    queues_deleted = "qDeletedAll",
    /// Blocks with deletions.
    queues_deleted_blocks = "qDeletedAllB",
    /// Queues that were deleted before they were secured.
    queues_deleted_new = "qDeletedNew",
    /// Queues that were deleted after they were secured.
    queues_deleted_secured = "qDeletedSecured",
    /// Queues that the operator has blocked.
    queues_blocked = "qBlocked",
    /// Subscriptions.
    subscriptions = "qSub",
    /// Blocks with subscriptions.
    subscription_blocks = "qSubAllB",
    /// Subscriptions that were not authorised.
    subscriptions_auth = "qSubAuth",
    /// Subscriptions that were there before.
    subscriptions_duplicate = "qSubDuplicate",
    /// Subscriptions beside messages that are received one by one.
    subscriptions_prohibited = "qSubProhibited",
    /// Subscriptions that another client has taken over.
    subscriptions_ended = "qSubEnd",
    /// Blocks with ends of subscriptions.
    subscription_end_blocks = "qSubEndB",
    /// Notifiers that were created.
    notifiers_created = "ntfCreated",
    /// Notifiers that were created with their queue.
    notifiers_created_new = "ntfNewCreated",
    /// Notifiers that were deleted.
    notifiers_deleted = "ntfDeleted",
    /// Blocks with deletions of notifiers.
    notifiers_deleted_blocks = "ntfDeletedB",
    /// Subscriptions to notifications.
    notifier_subscriptions = "ntfSub",
    /// Blocks with subscriptions to notifications.
    notifier_subscription_blocks = "ntfSubB",
    /// Subscriptions to notifications that were not authorised.
    notifier_subscriptions_auth = "ntfSubAuth",
    /// Subscriptions to notifications that were there before.
    notifier_subscriptions_duplicate = "ntfSubDuplicate",
    /// Messages that were sent.
    messages_sent = "msgSent",
    /// Messages that were not authorised.
    messages_sent_auth = "msgSentAuth",
    /// Messages that found their queue full.
    messages_sent_quota = "msgSentQuota",
    /// Messages that were too large.
    messages_sent_large = "msgSentLarge",
    /// Messages that found their queue blocked.
    messages_sent_blocked = "msgSentBlock",
    /// Messages that were acknowledged.
    messages_received = "msgRecv",
    /// Messages that were acknowledged without a subscription.
    messages_received_get = "msgRecvGet",
    /// Messages that were asked for one by one.
    messages_get = "msgGet",
    /// Messages that were asked for where there was none.
    messages_get_none = "msgGetNoMsg",
    /// Messages that were asked for without authorisation.
    messages_get_auth = "msgGetAuth",
    /// Messages that were asked for again.
    messages_get_duplicate = "msgGetDuplicate",
    /// Messages that were asked for beside a subscription.
    messages_get_prohibited = "msgGetProhibited",
    /// Messages that nobody has received in time.
    messages_expired = "msgExpired",
    /// Messages with a notification that were sent.
    messages_sent_notification = "msgSentNtf",
    /// Messages with a notification that were acknowledged.
    messages_received_notification = "msgRecvNtf",
    /// Notifications that were delivered.
    notifications = "msgNtfs",
    /// Blocks with notifications.
    notification_blocks = "msgNtfsB",
    /// Notifications that nobody was subscribed to.
    notifications_no_subscriber = "msgNtfNoSub",
    /// Notifications that were lost.
    notifications_lost = "msgNtfLost",
    /// Notifications that nobody has received in time.
    notifications_expired = "msgNtfExpired",
    /// Messages that were forwarded to this router.
    forwarded_received = "pMsgFwdsRecv",
    /// Names that were to be resolved.
    names_requested = "rslvStats.reqs",
    /// Names that were resolved.
    names_resolved = "rslvStats.succ",
    /// Names that do not exist.
    names_not_found = "rslvStats.notFound",
    /// Names whose resolver failed.
    names_failed = "rslvStats.resolverErrs",
    /// Names where there is no resolver.
    names_disabled = "rslvStats.disabled",
    /// Messages that services were delivered because they subscribed to all their queues.
    service_messages = "rcvServicesSubMsg",
    /// Queues of services that were subscribed to before the service subscribed to all of them.
    service_messages_duplicate = "rcvServicesSubDuplicate",
    /// Messages for which there was no room on the way to their connection.
    deliveries_delayed = "msgDelayed",
    /// Commands that waited until others of their connection were forwarded or resolved.
    forwards_delayed = "pMsgFwdsDelayed",
    /// Questions to the store that waited for others.
    loads_delayed = "loadsDelayed",
    /// Sessions with relays that were asked for.
    relay_sessions_requests = "pRelays.requests",
    /// Sessions with relays that succeeded.
    relay_sessions_successes = "pRelays.successes",
    /// Sessions with relays that failed as the relay cannot be reached.
    relay_sessions_connect = "pRelays.errorsConnect",
    /// Sessions with relays that failed as the relay is too old.
    relay_sessions_compat = "pRelays.errorsCompat",
    /// Sessions with relays that failed otherwise.
    relay_sessions_other = "pRelays.errorsOther",
    /// Sessions with relays of the same operator that were asked for.
    relay_sessions_own_requests = "pRelaysOwn.requests",
    /// Sessions with relays of the same operator that succeeded.
    relay_sessions_own_successes = "pRelaysOwn.successes",
    /// Sessions with relays of the same operator that failed as the relay cannot be reached.
    relay_sessions_own_connect = "pRelaysOwn.errorsConnect",
    /// Sessions with relays of the same operator that failed as the relay is too old.
    relay_sessions_own_compat = "pRelaysOwn.errorsCompat",
    /// Sessions with relays of the same operator that failed otherwise.
    relay_sessions_own_other = "pRelaysOwn.errorsOther",
    /// Messages to relays that were asked for.
    relay_messages_requests = "pMsgFwds.requests",
    /// Messages to relays that succeeded.
    relay_messages_successes = "pMsgFwds.successes",
    /// Messages to relays that failed as the relay cannot be reached.
    relay_messages_connect = "pMsgFwds.errorsConnect",
    /// Messages to relays that failed as the relay is too old.
    relay_messages_compat = "pMsgFwds.errorsCompat",
    /// Messages to relays that failed otherwise.
    relay_messages_other = "pMsgFwds.errorsOther",
    /// Messages to relays of the same operator that were asked for.
    relay_messages_own_requests = "pMsgFwdsOwn.requests",
    /// Messages to relays of the same operator that succeeded.
    relay_messages_own_successes = "pMsgFwdsOwn.successes",
    /// Messages to relays of the same operator that failed as the relay cannot be reached.
    relay_messages_own_connect = "pMsgFwdsOwn.errorsConnect",
    /// Messages to relays of the same operator that failed as the relay is too old.
    relay_messages_own_compat = "pMsgFwdsOwn.errorsCompat",
    /// Messages to relays of the same operator that failed otherwise.
    relay_messages_own_other = "pMsgFwdsOwn.errorsOther",
    /// Queues that became those of a service for messages.
    messaging_services_assoc_new = "rcvServices.assocNew",
    /// Subscriptions to queues that were those of the service already, for messages.
    messaging_services_assoc_duplicate = "rcvServices.assocDuplicate",
    /// Queues that went from one service to another, for messages.
    messaging_services_assoc_updated = "rcvServices.assocUpdatedt",
    /// Queues that left their service for messages.
    messaging_services_assoc_removed = "rcvServices.assocRemoved",
    /// Subscriptions of services to all their queues, for messages.
    messaging_services_sub_count = "rcvServices.subCount",
    /// Subscriptions of services that were there before, for messages.
    messaging_services_sub_duplicate = "rcvServices.subDuplicate",
    /// Queues of the services that subscribed, for messages.
    messaging_services_sub_queues = "rcvServices.subQueues",
    /// Subscriptions that another connection of the service has taken over, for messages.
    messaging_services_sub_end = "rcvServices.subEnd",
    /// Services that knew their queues as this router does, for messages.
    messaging_services_sub_ok = "rcvServices.subOk",
    /// Services that had more queues than they knew, for messages.
    messaging_services_sub_more = "rcvServices.subMore",
    /// Services that had fewer queues than they knew, for messages.
    messaging_services_sub_fewer = "rcvServices.subFewer",
    /// Services that had as many, but other queues than they knew, for messages.
    messaging_services_sub_diff = "rcvServices.subDiff",
    /// Queues that services did not know of, for messages.
    messaging_services_sub_more_total = "rcvServices.subMoreTotal",
    /// Queues that services knew of and that are not there, for messages.
    messaging_services_sub_fewer_total = "rcvServices.subFewerTotal",
    /// Queues that became those of a service for notifications.
    notifier_services_assoc_new = "ntfServices.assocNew",
    /// Subscriptions to queues that were those of the service already, for notifications.
    notifier_services_assoc_duplicate = "ntfServices.assocDuplicate",
    /// Queues that went from one service to another, for notifications.
    notifier_services_assoc_updated = "ntfServices.assocUpdatedt",
    /// Queues that left their service for notifications.
    notifier_services_assoc_removed = "ntfServices.assocRemoved",
    /// Subscriptions of services to all their queues, for notifications.
    notifier_services_sub_count = "ntfServices.subCount",
    /// Subscriptions of services that were there before, for notifications.
    notifier_services_sub_duplicate = "ntfServices.subDuplicate",
    /// Queues of the services that subscribed, for notifications.
    notifier_services_sub_queues = "ntfServices.subQueues",
    /// Subscriptions that another connection of the service has taken over, for notifications.
    notifier_services_sub_end = "ntfServices.subEnd",
    /// Services that knew their queues as this router does, for notifications.
    notifier_services_sub_ok = "ntfServices.subOk",
    /// Services that had more queues than they knew, for notifications.
    notifier_services_sub_more = "ntfServices.subMore",
    /// Services that had fewer queues than they knew, for notifications.
    notifier_services_sub_fewer = "ntfServices.subFewer",
    /// Services that had as many, but other queues than they knew, for notifications.
    notifier_services_sub_diff = "ntfServices.subDiff",
    /// Queues that services did not know of, for notifications.
    notifier_services_sub_more_total = "ntfServices.subMoreTotal",
    /// Queues that services knew of and that are not there, for notifications.
    notifier_services_sub_fewer_total = "ntfServices.subFewerTotal",
}

/// The counters of services of one role.
pub(super) struct ServiceCounters<'a> {
    pub(super) assoc_new: &'a mut u64,
    pub(super) assoc_duplicate: &'a mut u64,
    pub(super) assoc_updated: &'a mut u64,
    pub(super) assoc_removed: &'a mut u64,
    pub(super) sub_count: &'a mut u64,
    pub(super) sub_duplicate: &'a mut u64,
    pub(super) sub_queues: &'a mut u64,
    pub(super) sub_end: &'a mut u64,
    pub(super) sub_ok: &'a mut u64,
    pub(super) sub_more: &'a mut u64,
    pub(super) sub_fewer: &'a mut u64,
    pub(super) sub_diff: &'a mut u64,
    pub(super) sub_more_total: &'a mut u64,
    pub(super) sub_fewer_total: &'a mut u64,
}

impl Counters {
    pub(super) fn of_services(&mut self, role: ServiceRole) -> ServiceCounters<'_> {
        match role {
            ServiceRole::Messaging | ServiceRole::Proxy => ServiceCounters {
                assoc_new: &mut self.messaging_services_assoc_new,
                assoc_duplicate: &mut self.messaging_services_assoc_duplicate,
                assoc_updated: &mut self.messaging_services_assoc_updated,
                assoc_removed: &mut self.messaging_services_assoc_removed,
                sub_count: &mut self.messaging_services_sub_count,
                sub_duplicate: &mut self.messaging_services_sub_duplicate,
                sub_queues: &mut self.messaging_services_sub_queues,
                sub_end: &mut self.messaging_services_sub_end,
                sub_ok: &mut self.messaging_services_sub_ok,
                sub_more: &mut self.messaging_services_sub_more,
                sub_fewer: &mut self.messaging_services_sub_fewer,
                sub_diff: &mut self.messaging_services_sub_diff,
                sub_more_total: &mut self.messaging_services_sub_more_total,
                sub_fewer_total: &mut self.messaging_services_sub_fewer_total,
            },
            ServiceRole::Notifier => ServiceCounters {
                assoc_new: &mut self.notifier_services_assoc_new,
                assoc_duplicate: &mut self.notifier_services_assoc_duplicate,
                assoc_updated: &mut self.notifier_services_assoc_updated,
                assoc_removed: &mut self.notifier_services_assoc_removed,
                sub_count: &mut self.notifier_services_sub_count,
                sub_duplicate: &mut self.notifier_services_sub_duplicate,
                sub_queues: &mut self.notifier_services_sub_queues,
                sub_end: &mut self.notifier_services_sub_end,
                sub_ok: &mut self.notifier_services_sub_ok,
                sub_more: &mut self.notifier_services_sub_more,
                sub_fewer: &mut self.notifier_services_sub_fewer,
                sub_diff: &mut self.notifier_services_sub_diff,
                sub_more_total: &mut self.notifier_services_sub_more_total,
                sub_fewer_total: &mut self.notifier_services_sub_fewer_total,
            },
        }
    }
}

impl ServiceCounters<'_> {
    /// A service has subscribed to its queues, and says which ones it knows of.
    pub(super) fn subscribed(self, known: &ServiceQueues, queues: &ServiceQueues) {
        let add = |counter: &mut u64, by: u64| *counter = counter.saturating_add(by);
        add(self.sub_count, 1);
        add(self.sub_queues, u64::try_from(queues.count).unwrap_or(0));
        let difference = queues.count.saturating_sub(known.count);
        match difference {
            0 if known.ids_hash == queues.ids_hash => add(self.sub_ok, 1),
            0 => add(self.sub_diff, 1),
            // A client that does not know says so with a negative number.
            _ if known.count < 0 => {}
            1.. => {
                add(self.sub_more, 1);
                add(self.sub_more_total, difference.unsigned_abs());
            }
            _ => {
                add(self.sub_fewer, 1);
                add(self.sub_fewer_total, difference.unsigned_abs());
            }
        }
    }
}

const HOUR: i64 = 3600;
const DAY: i64 = 86_400;

/// In how many queues messages were sent or received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Active {
    /// On this day.
    pub day: u64,
    /// In this week, which begins on Monday.
    pub week: u64,
    /// In this month.
    pub month: u64,
}

/// What was counted on a day that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day {
    /// When the day began, or counting did.
    pub since: UnixTime,
    /// What was counted.
    pub counters: Counters,
    /// Whether the day was the last one of a week.
    pub ends_week: bool,
    /// Whether the day was the last one of a month.
    pub ends_month: bool,
    /// How much there is at its end.
    pub gauges: Gauges,
}

/// Periods in which a queue was active, as bits: those in which it had messages, and those in which it had messages that its recipient is
/// notified of.
const PERIODS: [u8; 6] = [1, 2, 4, 8, 16, 32];
const DAYS: u8 = 1 | 8;
const WEEKS: u8 = 2 | 16;
const MONTHS: u8 = 4 | 32;
const MESSAGES: u8 = 1 | 2 | 4;

/// Statistics of the time since a day began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statistics {
    since: UnixTime,
    /// By the beginning of the queue's id, which is random.
    active: BTreeMap<u64, u8>,
    /// How many queues were active, by period.
    counts: [u64; 6],
}

impl Statistics {
    pub(super) const fn new(now: Now) -> Self {
        Self {
            since: now.unix,
            active: BTreeMap::new(),
            counts: [0; 6],
        }
    }

    fn used(&mut self, queue: u64, periods: u8) {
        let known = self.active.entry(queue).or_default();
        let new = periods & !*known;
        *known |= periods;
        if new != 0 {
            for (period, count) in PERIODS.iter().zip(&mut self.counts) {
                *count = count.saturating_add(u64::from(new & period != 0));
            }
        }
    }

    fn end(&mut self, ended: u8) {
        self.active.retain(|_, periods| {
            *periods &= !ended;
            *periods != 0
        });
        for (period, count) in PERIODS.iter().zip(&mut self.counts) {
            if ended & period != 0 {
                *count = 0;
            }
        }
    }

    /// Active queues, and those with messages that their recipients are notified of.
    pub(super) const fn active(&self) -> (Active, Active) {
        let [day, week, month, notified @ ..] = self.counts;
        let active = Active { day, week, month };
        let [day, week, month] = notified;
        (active, Active { day, week, month })
    }

    /// Since when numbers are counted.
    pub(super) const fn since(&self) -> UnixTime {
        self.since
    }
}

impl Router {
    /// A message was sent to a queue, or received from it.
    pub(super) fn used_for_messages(&mut self, queue: &EntityId, notified: bool) {
        if let Some(beginning) = queue.first_chunk() {
            let periods = match notified {
                true => DAYS | WEEKS | MONTHS,
                false => MESSAGES,
            };
            let beginning = u64::from_be_bytes(*beginning);
            self.statistics.used(beginning, periods);
        }
    }

    /// Counts what a session has not passed on.
    pub(super) fn tallied(&mut self, tally: &Tally) {
        let counters = &mut self.counters;
        for (counter, count) in [
            (&mut counters.subscriptions_auth, tally.subscriptions),
            (
                &mut counters.notifier_subscriptions_auth,
                tally.notifier_subscriptions,
            ),
            (&mut counters.messages_get_auth, tally.gets),
            (&mut counters.messages_sent_auth, tally.messages),
            (&mut counters.forwarded_received, tally.forwarded),
        ] {
            *counter = counter.saturating_add(count);
        }
    }

    /// Counts a block by the kinds of its requests.
    pub(super) fn count_block(&mut self, requests: &[Request]) {
        let counters = &mut self.counters;
        let has = |command: fn(&Command) -> bool, counter: &mut u64| {
            let any = requests.iter().any(|request| command(&request.command));
            *counter = counter.saturating_add(u64::from(any));
        };
        has(
            |command| matches!(command, Command::Sub),
            &mut counters.subscription_blocks,
        );
        has(
            |command| matches!(command, Command::Del),
            &mut counters.queues_deleted_blocks,
        );
        has(
            |command| matches!(command, Command::NSub),
            &mut counters.notifier_subscription_blocks,
        );
        has(
            |command| matches!(command, Command::NDel),
            &mut counters.notifiers_deleted_blocks,
        );
    }

    /// Adds what the proxy role has counted.
    pub(super) fn counted(&mut self, counters: &Counters) {
        self.counters.add(counters);
    }

    /// The clock is looked at, at the beginning of each hour.
    pub(super) fn start_hour(&mut self) {
        let second = self.now.unix.seconds().rem_euclid(HOUR);
        let left = u64::try_from(HOUR.saturating_sub(second)).unwrap_or(1);
        let next = self.now.instant + std::time::Duration::from_secs(left);
        self.timers.set(Wake::Hour, next);
    }

    /// What was counted is stored, so that a crash loses an hour of it at most, and what only the store knows is counted.
    pub(super) fn end_hour(&mut self) {
        self.start_hour();
        self.end_day();
        self.store_statistics();
        self.recount();
    }

    /// Ends the day on which counting began, if it is over.
    fn end_day(&mut self) {
        let (since, now) = (self.statistics.since.seconds(), self.now.unix.seconds());
        let days = |seconds: i64| seconds.div_euclid(DAY);
        if days(now) <= days(since) {
            return;
        }
        // The first of January 1970 was a Thursday.
        let week = |seconds| days(seconds).saturating_add(3).div_euclid(7);
        let month = |seconds| crate::wire::utc::month_of(days(seconds));
        let ends_week = week(since) != week(now);
        let ends_month = month(since) != month(now);
        let day = Day {
            since: self.statistics.since,
            counters: self.counters,
            ends_week,
            ends_month,
            gauges: self.gauges(),
        };
        self.actions.push(Action::Day(Box::new(day)));
        self.counters = Counters::default();
        let mut ended = DAYS;
        if ends_week {
            ended |= WEEKS;
        }
        if ends_month {
            ended |= MONTHS;
        }
        self.statistics.end(ended);
        self.statistics.since = self.now.unix;
    }

    /// Stores what was counted, once it is known what was counted before.
    pub(super) fn store_statistics(&mut self) {
        if !self.totals.are_known() {
            return;
        }
        let statistics = self.encode_statistics();
        self.commit(vec![Change::PutStatistics(statistics)]);
    }

    /// The statistics as lines of names and values.
    #[must_use]
    pub fn encode_statistics(&self) -> Bytes {
        let mut text = format!("fromTime={}\n", self.statistics.since.seconds());
        for (name, value) in self.counters.named() {
            text.push_str(&format!("{name}={value}\n"));
        }
        let entries = self.statistics.active.iter();
        let active = entries.flat_map(|(queue, periods)| {
            let mut entry = [*periods; 9];
            let [queue_part @ .., _] = &mut entry;
            *queue_part = queue.to_be_bytes();
            entry
        });
        text.push_str("active=");
        URL_SAFE_NO_PAD.encode_string(active.collect::<Vec<_>>(), &mut text);
        text.push('\n');
        text.into()
    }

    /// Goes on with what was stored. A value that cannot be read was not counted.
    pub(super) fn restore_statistics(&mut self, statistics: &Bytes) {
        let Ok(text) = std::str::from_utf8(statistics) else {
            return;
        };
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match name {
                "fromTime" => {
                    if let Ok(seconds) = value.parse() {
                        self.statistics.since = UnixTime::from_seconds(seconds);
                    }
                }
                "active" => {
                    let entries = URL_SAFE_NO_PAD.decode(value).unwrap_or_default();
                    for entry in entries.as_chunks::<9>().0 {
                        let [queue @ .., periods] = *entry;
                        let queue = u64::from_be_bytes(queue);
                        self.statistics.used(queue, periods);
                    }
                }
                _ => {
                    if let (Some(counter), Ok(value)) =
                        (self.counters.named_mut(name), value.parse::<u64>())
                    {
                        *counter = counter.saturating_add(value);
                    }
                }
            }
        }
        self.end_day();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine as _;
    use crate::rng::Rng;
    use crate::smp::router::store::{Load, Loaded, Totals};
    use crate::smp::router::{Config, Input, Operation, Ticket};
    use crate::time::Instant;
    use std::time::Duration;

    /// A Saturday.
    const START: i64 = 1_795_824_000;

    fn at(seconds: i64) -> Now {
        Now {
            instant: Instant::from_micros(u64::try_from(seconds - START).unwrap() * 1_000_000),
            unix: UnixTime::from_seconds(seconds),
        }
    }

    fn router(now: Now, statistics: Option<Bytes>) -> (Router, Vec<Day>) {
        let mut router = Router::new(Config::default(), Rng::from_seed([1; 32]), now);
        let load = std::iter::from_fn(|| router.poll()).find_map(|action| match action {
            Action::Load(id, _) => Some(id),
            _ => None,
        });
        let totals = Totals {
            statistics,
            ..Totals::default()
        };
        let loaded = Loaded::Totals(Box::new(totals));
        router
            .handle(now, Input::Loaded(load.unwrap(), loaded))
            .unwrap();
        let days = days(&mut router);
        (router, days)
    }

    fn days(router: &mut Router) -> Vec<Day> {
        let mut days = Vec::new();
        while let Some(action) = router.poll() {
            if let Action::Day(day) = action {
                days.push(*day);
            }
        }
        days
    }

    /// Lets the clock run to the next day.
    fn next_day(router: &mut Router, now: &mut Now) -> Vec<Day> {
        let mut ended = Vec::new();
        while ended.is_empty() {
            let due = router.deadline().unwrap();
            *now = *now + (due - now.instant);
            router.handle(*now, Input::Timeout).unwrap();
            ended = days(router);
        }
        ended
    }

    #[test]
    fn a_day_ends_at_midnight_and_a_week_on_sunday() {
        let mut now = at(START + 3600);
        let (mut router, _) = router(now, None);
        router.counters.queues_created = 3;
        router.used_for_messages(&EntityId::from([1; 24]), true);
        router.used_for_messages(&EntityId::from([2; 24]), false);
        router.used_for_messages(&EntityId::from([2; 24]), false);

        let saturday = next_day(&mut router, &mut now);
        assert_eq!(now.unix.seconds(), START + DAY);
        let [saturday] = saturday.as_slice() else {
            panic!("one day")
        };
        assert_eq!(saturday.counters.queues_created, 3);
        let two = Active {
            day: 2,
            week: 2,
            month: 2,
        };
        assert_eq!(saturday.gauges.active, two);
        assert_eq!(saturday.gauges.active_notified.day, 1);
        assert!(!saturday.ends_week);

        let sunday = next_day(&mut router, &mut now);
        let [sunday] = sunday.as_slice() else {
            panic!("one day")
        };
        assert_eq!(sunday.counters, Counters::default());
        assert_eq!(
            (sunday.gauges.active.day, sunday.gauges.active.week),
            (0, 2)
        );
        assert!(sunday.ends_week && !sunday.ends_month);

        let monday = next_day(&mut router, &mut now);
        let [monday] = monday.as_slice() else {
            panic!("one day")
        };
        let of_month = Active {
            month: 2,
            ..Active::default()
        };
        assert_eq!(monday.gauges.active, of_month);
        // The last day of November.
        assert!(monday.ends_month);
        assert!(router.statistics.active.is_empty());
    }

    #[test]
    fn what_was_counted_survives_and_a_day_that_passed_meanwhile_ends() {
        let now = at(START + 60);
        let (mut before, _) = router(now, None);
        before.counters.relay_sessions_own_compat = 5;
        before.used_for_messages(&EntityId::from([7; 24]), false);
        before
            .handle(now, Input::Operator(Ticket(1), Operation::Save))
            .unwrap();
        let stored = std::iter::from_fn(|| before.poll()).find_map(|action| match action {
            Action::Commit(_, changes) => changes.into_iter().find_map(|change| match change {
                Change::PutStatistics(statistics) => Some(statistics),
                _ => None,
            }),
            _ => None,
        });

        let (again, ended) = router(at(START + 7200), stored.clone());
        assert!(ended.is_empty());
        assert_eq!(again.counters, before.counters);
        assert_eq!(again.statistics, before.statistics);

        let (later, ended) = router(at(START + DAY + 5), stored);
        assert_eq!(ended.len(), 1);
        assert_eq!(later.counters, Counters::default());
        assert_eq!(later.gauges().counting_since.seconds(), START + DAY + 5);
        assert_eq!(later.gauges().active.week, 1);
    }

    #[test]
    fn what_was_counted_before_is_not_overwritten_before_it_is_known() {
        let now = at(START);
        let mut router = Router::new(Config::default(), Rng::from_seed([1; 32]), now);
        let stores = |router: &mut Router| {
            let actions = std::iter::from_fn(|| router.poll());
            let of_statistics = |action: &Action| matches!(action, Action::Commit(..));
            let mut load = None;
            let mut stored = false;
            for action in actions {
                stored |= of_statistics(&action);
                if let Action::Load(id, Load::Totals) = action {
                    load = Some(id);
                }
            }
            (load, stored)
        };
        let (first, _) = stores(&mut router);
        assert!(!router.has_heard_totals());
        let save = || Input::Operator(Ticket(1), Operation::Save);
        router.handle(now, save()).unwrap();
        assert!(!stores(&mut router).1);
        router
            .handle(now, Input::Loaded(first.unwrap(), Loaded::Failed))
            .unwrap();
        assert!(router.has_heard_totals());
        router.handle(now, save()).unwrap();
        assert!(!stores(&mut router).1);
        // The store is asked again, and what was counted meanwhile is not lost.
        router.counters.queues_created = 2;
        let hour = now + Duration::from_secs(3600);
        router.handle(hour, Input::Timeout).unwrap();
        let (again, stored) = stores(&mut router);
        assert!(!stored);
        let totals = Totals {
            queues: 7,
            statistics: Some(Bytes::from_static(b"qCreated=5\n")),
            ..Totals::default()
        };
        let loaded = Loaded::Totals(Box::new(totals));
        router
            .handle(hour, Input::Loaded(again.unwrap(), loaded))
            .unwrap();
        assert_eq!(router.counters.queues_created, 7);
        assert_eq!(router.gauges().queues, 7);
        router.handle(hour, save()).unwrap();
        assert!(stores(&mut router).1);
    }

    #[test]
    fn what_cannot_be_read_was_not_counted() {
        let nonsense = Bytes::from_static(b"fromTime=x\nactive=*\nqCreated=1\nqSub=-3\n=\n");
        let (router, ended) = router(at(START), Some(nonsense));
        assert!(ended.is_empty());
        assert_eq!(router.counters.queues_created, 1);
        assert_eq!(router.gauges().counting_since.seconds(), START);
        assert_eq!(
            Duration::from_secs(3600),
            router.deadline().unwrap() - Instant::START
        );
    }
}
