//! What a monitoring system reads of an SMP router.

use std::sync::Arc;
use std::time::SystemTime;

use simplex_sans_io::smp::router::{Counters, Gauges};
use simplex_sans_io::time::UnixTime;

use super::core::CoreHandle;
use super::names::Resolver;
use crate::listener::{Bites, Sockets};
use crate::metrics::{Exposition, Measured};

/// What is measured.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) core: CoreHandle,
    pub(crate) sockets: Vec<(u16, Arc<Sockets>)>,
    pub(crate) bites: Arc<Bites>,
    /// Who resolves names.
    pub(crate) names: Option<Resolver>,
}

impl Measured for Metrics {
    async fn text(&self) -> Option<String> {
        let (gauges, counters) = self.core.read().await?;
        let now = UnixTime::from(SystemTime::now());
        let tasks = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        Some(exposition(
            &gauges,
            &counters,
            &self.sockets,
            &self.bites,
            u64::try_from(tasks).unwrap_or(u64::MAX),
            now,
        ))
    }

    /// Queues do not need the resolver: without it the router is ready, and says what it cannot do.
    async fn readiness(&self) -> Option<String> {
        self.core.read().await?;
        let Some(resolver) = &self.names else {
            return Some(String::new());
        };
        Some(match resolver.probe().await {
            Ok(()) => "names: the resolver is well\n".to_owned(),
            Err(error) => format!("names: the resolver is not well: {error}\n"),
        })
    }
}

/// The names are those of the reference implementation, spelling included: dashboards know them.
fn exposition(
    gauges: &Gauges,
    counters: &Counters,
    sockets: &[(u16, Arc<Sockets>)],
    bites: &Bites,
    tasks: u64,
    now: UnixTime,
) -> String {
    let (g, c) = (gauges, counters);
    let mut text = Exposition::new("simplex_smp", now);
    text.counter("queues_created", "", c.queues_created);
    text.counter("queues_secured", "", c.queues_secured);
    text.counter("queues_deleted", "type=\"all\"", c.queues_deleted);
    text.counter("queues_deleted", "type=\"new\"", c.queues_deleted_new);
    text.counter(
        "queues_deleted",
        "type=\"secured\"",
        c.queues_deleted_secured,
    );
    text.counter("queues_blocked", "", c.queues_blocked);
    text.counter("queues_deleted_batch", "", c.queues_deleted_blocks);
    text.gauge("queues_total1", "", g.queues);
    text.gauge("queues_total2", "", g.queues);
    text.gauge("queues_daily", "", g.active.day);
    text.gauge("queues_weekly", "", g.active.week);
    text.gauge("queues_monthly", "", g.active.month);
    text.gauge("queues_notify_daily", "", g.active_notified.day);
    text.gauge("queues_notify_weekly", "", g.active_notified.week);
    text.gauge("queues_notify_monthly", "", g.active_notified.month);
    text.counter("subscribtion_successes", "", c.subscriptions);
    text.counter("subscribtion_successes_batch", "", c.subscription_blocks);
    text.counter("subscribtion_end", "", c.subscriptions_ended);
    text.counter("subscribtion_end_batch", "", c.subscription_end_blocks);
    text.counter("subscribtion_errors", "type=\"auth\"", c.subscriptions_auth);
    text.counter(
        "subscribtion_errors",
        "type=\"duplicate\"",
        c.subscriptions_duplicate,
    );
    text.counter(
        "subscribtion_errors",
        "type=\"prohibited\"",
        c.subscriptions_prohibited,
    );
    text.counter("messages_sent", "", c.messages_sent);
    text.counter(
        "messages_sent_errors",
        "type=\"auth\"",
        c.messages_sent_auth,
    );
    text.counter(
        "messages_sent_errors",
        "type=\"quota\"",
        c.messages_sent_quota,
    );
    text.counter(
        "messages_sent_errors",
        "type=\"large\"",
        c.messages_sent_large,
    );
    text.counter(
        "messages_sent_errors",
        "type=\"block\"",
        c.messages_sent_blocked,
    );
    text.counter("messages_received", "", c.messages_received);
    text.counter("messages_expired", "", c.messages_expired);
    text.gauge("messages_total", "", g.messages);
    text.counter("messages_notify_sent", "", c.messages_sent_notification);
    text.counter(
        "messages_notify_received",
        "",
        c.messages_received_notification,
    );
    text.counter("messages_notify_get_sent", "", c.messages_get);
    text.counter("messages_notify_get_received", "", c.messages_received_get);
    text.counter(
        "messages_notify_get_errors",
        "type=\"nomsg\"",
        c.messages_get_none,
    );
    text.counter(
        "messages_notify_get_errors",
        "type=\"auth\"",
        c.messages_get_auth,
    );
    text.counter(
        "messages_notify_get_errors",
        "type=\"duplicate\"",
        c.messages_get_duplicate,
    );
    text.counter(
        "messages_notify_get_errors",
        "type=\"prohibited\"",
        c.messages_get_prohibited,
    );
    text.counter("queues_notify_created", "", c.notifiers_created);
    text.counter("queues_notify_new_created", "", c.notifiers_created_new);
    text.counter("queues_notify_deleted", "", c.notifiers_deleted);
    text.counter(
        "queues_notify_deleted_batch",
        "",
        c.notifiers_deleted_blocks,
    );
    text.gauge("queues_notify_total1", "", g.notifiers);
    text.gauge("queues_notify_total2", "", g.notifiers);
    text.counter("messages_ntf_successes", "", c.notifications);
    text.counter("messages_ntf_successes_batch", "", c.notification_blocks);
    text.counter(
        "messages_ntf_errors",
        "type=\"nosub\"",
        c.notifications_no_subscriber,
    );
    text.counter("messages_ntf_errors", "type=\"lost\"", c.notifications_lost);
    text.counter(
        "messages_ntf_errors",
        "type=\"expired\"",
        c.notifications_expired,
    );
    text.counter("subscription_ntf_requests", "", c.notifier_subscriptions);
    text.counter(
        "subscription_ntf_requests_batch",
        "",
        c.notifier_subscription_blocks,
    );
    text.counter(
        "subscribtion_ntf_errors",
        "type=\"auth\"",
        c.notifier_subscriptions_auth,
    );
    text.counter(
        "subscribtion_ntf_errors",
        "type=\"duplicate\"",
        c.notifier_subscriptions_duplicate,
    );
    text.counter(
        "relay_sessions_requests",
        "source=\"all\"",
        c.relay_sessions_requests,
    );
    text.counter(
        "relay_sessions_requests",
        "source=\"own\"",
        c.relay_sessions_own_requests,
    );
    text.counter(
        "relay_sessions_successes",
        "source=\"all\"",
        c.relay_sessions_successes,
    );
    text.counter(
        "relay_sessions_successes",
        "source=\"own\"",
        c.relay_sessions_own_successes,
    );
    text.counter(
        "relay_sessions_errors",
        "source=\"all\",type=\"connect\"",
        c.relay_sessions_connect,
    );
    text.counter(
        "relay_sessions_errors",
        "source=\"all\",type=\"compat\"",
        c.relay_sessions_compat,
    );
    text.counter(
        "relay_sessions_errors",
        "source=\"all\",type=\"other\"",
        c.relay_sessions_other,
    );
    text.counter(
        "relay_sessions_errors",
        "source=\"own\",type=\"connect\"",
        c.relay_sessions_own_connect,
    );
    text.counter(
        "relay_sessions_errors",
        "source=\"own\",type=\"compat\"",
        c.relay_sessions_own_compat,
    );
    text.counter(
        "relay_sessions_errors",
        "source=\"own\",type=\"other\"",
        c.relay_sessions_own_other,
    );
    text.counter(
        "relay_messages_requests",
        "source=\"all\"",
        c.relay_messages_requests,
    );
    text.counter(
        "relay_messages_requests",
        "source=\"own\"",
        c.relay_messages_own_requests,
    );
    text.counter(
        "relay_messages_successes",
        "source=\"all\"",
        c.relay_messages_successes,
    );
    text.counter(
        "relay_messages_successes",
        "source=\"own\"",
        c.relay_messages_own_successes,
    );
    text.counter(
        "relay_messages_errors",
        "source=\"all\",type=\"connect\"",
        c.relay_messages_connect,
    );
    text.counter(
        "relay_messages_errors",
        "source=\"all\",type=\"compat\"",
        c.relay_messages_compat,
    );
    text.counter(
        "relay_messages_errors",
        "source=\"all\",type=\"other\"",
        c.relay_messages_other,
    );
    text.counter(
        "relay_messages_errors",
        "source=\"own\",type=\"connect\"",
        c.relay_messages_own_connect,
    );
    text.counter(
        "relay_messages_errors",
        "source=\"own\",type=\"compat\"",
        c.relay_messages_own_compat,
    );
    text.counter(
        "relay_messages_errors",
        "source=\"own\",type=\"other\"",
        c.relay_messages_own_other,
    );
    text.counter("relay_messages_received", "", c.forwarded_received);
    text.gauge("rcv_services_count", "", g.messaging_services);
    text.gauge("rcv_services_queues_count", "", g.messaging_service_queues);
    text.gauge("ntf_services_count", "", g.notifier_services);
    text.gauge("ntf_services_queues_count", "", g.notifier_service_queues);
    text.counter("rcv_services_sub_msg_count", "", c.service_messages);
    text.counter(
        "rcv_services_sub_duplicate_count",
        "",
        c.service_messages_duplicate,
    );
    text.counter("rcv_services_assoc_new", "", c.messaging_services_assoc_new);
    text.counter(
        "rcv_services_assoc_duplicate",
        "",
        c.messaging_services_assoc_duplicate,
    );
    text.counter(
        "rcv_services_assoc_updated",
        "",
        c.messaging_services_assoc_updated,
    );
    text.counter(
        "rcv_services_assoc_removed",
        "",
        c.messaging_services_assoc_removed,
    );
    text.counter("rcv_services_sub_count", "", c.messaging_services_sub_count);
    text.counter(
        "rcv_services_sub_duplicate",
        "",
        c.messaging_services_sub_duplicate,
    );
    text.gauge(
        "rcv_services_sub_queues",
        "",
        c.messaging_services_sub_queues,
    );
    text.gauge("rcv_services_sub_end", "", c.messaging_services_sub_end);
    text.gauge("rcv_services_sub_ok", "", c.messaging_services_sub_ok);
    text.gauge("rcv_services_sub_more", "", c.messaging_services_sub_more);
    text.gauge("rcv_services_sub_fewer", "", c.messaging_services_sub_fewer);
    text.gauge("rcv_services_sub_diff", "", c.messaging_services_sub_diff);
    text.gauge(
        "rcv_services_sub_more_total",
        "",
        c.messaging_services_sub_more_total,
    );
    text.gauge(
        "rcv_services_sub_fewer_total",
        "",
        c.messaging_services_sub_fewer_total,
    );
    text.counter("ntf_services_assoc_new", "", c.notifier_services_assoc_new);
    text.counter(
        "ntf_services_assoc_duplicate",
        "",
        c.notifier_services_assoc_duplicate,
    );
    text.counter(
        "ntf_services_assoc_updated",
        "",
        c.notifier_services_assoc_updated,
    );
    text.counter(
        "ntf_services_assoc_removed",
        "",
        c.notifier_services_assoc_removed,
    );
    text.counter("ntf_services_sub_count", "", c.notifier_services_sub_count);
    text.counter(
        "ntf_services_sub_duplicate",
        "",
        c.notifier_services_sub_duplicate,
    );
    text.gauge(
        "ntf_services_sub_queues",
        "",
        c.notifier_services_sub_queues,
    );
    text.gauge("ntf_services_sub_end", "", c.notifier_services_sub_end);
    text.gauge("ntf_services_sub_ok", "", c.notifier_services_sub_ok);
    text.gauge("ntf_services_sub_more", "", c.notifier_services_sub_more);
    text.gauge("ntf_services_sub_fewer", "", c.notifier_services_sub_fewer);
    text.gauge("ntf_services_sub_diff", "", c.notifier_services_sub_diff);
    text.gauge(
        "ntf_services_sub_more_total",
        "",
        c.notifier_services_sub_more_total,
    );
    text.gauge(
        "ntf_services_sub_fewer_total",
        "",
        c.notifier_services_sub_fewer_total,
    );
    text.counter("names_reqs", "", c.names_requested);
    text.counter("names_success", "", c.names_resolved);
    text.counter("names_not_found", "", c.names_not_found);
    text.counter("names_resolver_errs", "", c.names_failed);
    text.counter("names_disabled", "", c.names_disabled);
    text.info("SMP_RTS_OPTIONS");
    for (port, sockets) in sockets {
        let accepted = sockets.accepted();
        let closed = sockets.closed();
        let port = format!("port=\"{port}\"");
        text.gauge("sockets_accepted", &port, accepted);
        text.gauge("sockets_closed", &port, closed);
        text.gauge("sockets_active", &port, accepted.saturating_sub(closed));
        // A connection that has ended owns no socket here.
        text.gauge("sockets_leaked", &port, 0);
    }
    for (limit, bites) in bites.named() {
        text.counter("limits_reached", &format!("limit=\"{limit}\""), bites);
    }
    text.counter(
        "limits_reached",
        "limit=\"deliveries\"",
        c.deliveries_delayed,
    );
    text.counter("limits_reached", "limit=\"forwarded\"", c.forwards_delayed);
    text.counter("limits_reached", "limit=\"loads\"", c.loads_delayed);
    text.gauge("threads_total", "", tasks);
    text.gauge("clients_total", "", g.clients);
    text.gauge("delivered_total", "", g.delivered);
    text.gauge("delivered_clients_total", "", g.delivered_clients);
    let times = &g.ack_times;
    text.histogram(
        "delivery_ack_confirmed_time",
        times.buckets(),
        times.count(),
        times.sum,
    );
    for (period, count) in PERIODS.iter().zip(times.periods()) {
        let period = format!("period=\"{period}\"");
        text.counter("delivery_ack_confirmed_count", &period, count);
    }
    for (period, count) in PERIODS.iter().zip(g.delivered_for) {
        let period = format!("period=\"{period}\"");
        text.gauge("delivery_ack_pending_count", &period, count);
    }
    text.gauge("delivery_ack_time_max", "", times.max);
    text.gauge("subscribtion_total", "", g.subscriptions);
    text.gauge("subscribtion_clients_total", "", g.subscribed_clients);
    text.gauge("subscribtion_services_total", "", g.subscribed_services);
    text.gauge(
        "subscribtion_service_subs_total",
        "",
        g.subscribed_service_queues,
    );
    text.gauge("subscription_ntf_total", "", g.notifier_subscriptions);
    text.gauge("subscription_ntf_clients_total", "", g.notifier_clients);
    text.gauge(
        "subscribtion_nts_services_total",
        "",
        g.subscribed_notifier_services,
    );
    text.gauge(
        "subscription_ntf_service_subs_total",
        "",
        g.subscribed_notifier_service_queues,
    );
    text.gauge("loaded_queues_queue_count", "", g.cached);
    text.gauge("loaded_queues_ntf_count", "", g.cached_notifiers);
    // There are neither journals nor locks.
    text.gauge("loaded_queues_open_journal_count", "", 0);
    text.gauge("loaded_queues_queue_lock_count", "", 0);
    text.gauge("loaded_queues_ntf_lock_count", "", 0);
    text.gauge("store_loads", "", g.loads);
    text.gauge("store_commits", "", g.unstored);
    text.into_text()
}

/// Since when messages are delivered, or until when they were acknowledged, in seconds.
const PERIODS: [&str; 5] = ["0-60", "60-300", "300-1200", "1200-3600", "3600+"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_follows_its_type_and_types_are_declared_once() {
        let sockets = vec![(5223, Arc::<Sockets>::default()), (443, Arc::default())];
        let gauges = Gauges {
            queues: 7,
            ..Gauges::default()
        };
        let now = UnixTime::from_seconds(5);
        let text = exposition(
            &gauges,
            &Counters::default(),
            &sockets,
            &Bites::default(),
            3,
            now,
        );
        assert!(text.contains(
            "# TYPE simplex_smp_queues_total1 gauge\nsimplex_smp_queues_total1 7 5000\n"
        ));
        assert!(text.contains("simplex_smp_sockets_active{port=\"443\"} 0 5000\n"));
        let mut declared = std::collections::BTreeSet::new();
        for line in text.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(rest) => assert!(declared.insert(rest.split(' ').next().unwrap())),
                None => {
                    let name = line.split([' ', '{']).next().unwrap();
                    let of_histogram = ["_bucket", "_sum", "_count"].iter().any(|part| {
                        name.strip_suffix(part)
                            .is_some_and(|name| declared.contains(name))
                    });
                    assert!(declared.contains(name) || of_histogram, "{line}");
                }
            }
        }
    }

    /// As the study of the reference implementation lists them.
    const NAMES: &str = "queues_created queues_secured queues_deleted queues_blocked queues_deleted_batch queues_total1 \
        queues_total2 queues_daily queues_weekly queues_monthly queues_notify_daily queues_notify_weekly queues_notify_monthly \
        subscribtion_successes subscribtion_successes_batch subscribtion_end subscribtion_end_batch subscribtion_errors \
        messages_sent messages_sent_errors messages_received messages_expired messages_total messages_notify_sent \
        messages_notify_received messages_notify_get_sent messages_notify_get_received messages_notify_get_errors \
        queues_notify_created queues_notify_new_created queues_notify_deleted queues_notify_deleted_batch queues_notify_total1 \
        queues_notify_total2 messages_ntf_successes messages_ntf_successes_batch messages_ntf_errors subscription_ntf_requests \
        subscription_ntf_requests_batch subscribtion_ntf_errors relay_sessions_requests relay_sessions_successes \
        relay_sessions_errors relay_messages_requests relay_messages_successes relay_messages_errors relay_messages_received \
        rcv_services_count rcv_services_queues_count ntf_services_count ntf_services_queues_count rcv_services_sub_msg_count \
        rcv_services_sub_duplicate_count names_reqs names_success names_not_found names_resolver_errs names_disabled info \
        sockets_accepted sockets_closed sockets_active sockets_leaked threads_total clients_total delivered_total \
        delivered_clients_total delivery_ack_confirmed_time delivery_ack_confirmed_count delivery_ack_pending_count \
        delivery_ack_time_max subscribtion_total subscribtion_clients_total subscribtion_services_total \
        subscribtion_service_subs_total subscription_ntf_total subscription_ntf_clients_total subscribtion_nts_services_total \
        subscription_ntf_service_subs_total loaded_queues_queue_count loaded_queues_ntf_count loaded_queues_open_journal_count \
        loaded_queues_queue_lock_count loaded_queues_ntf_lock_count";

    #[test]
    fn every_name_of_the_reference_is_there() {
        let sockets = vec![(5223, Arc::<Sockets>::default())];
        let (gauges, counters, bites) = (Gauges::default(), Counters::default(), Bites::default());
        let now = UnixTime::from_seconds(5);
        let text = exposition(&gauges, &counters, &sockets, &bites, 1, now);
        let of_services = ["rcv", "ntf"].into_iter().flat_map(|role| {
            let events = "assoc_new assoc_duplicate assoc_updated assoc_removed sub_count sub_duplicate sub_queues sub_end \
                sub_ok sub_more sub_fewer sub_diff sub_more_total sub_fewer_total";
            let events = events.split_whitespace();
            events.map(move |event| format!("{role}_services_{event}"))
        });
        for name in NAMES
            .split_whitespace()
            .map(str::to_owned)
            .chain(of_services)
        {
            let declared = format!("# TYPE simplex_smp_{name} ");
            assert!(text.contains(&declared), "{name}");
        }
        assert!(text.contains("delivery_ack_confirmed_time_bucket{le=\"+Inf\"} 0 "));
    }
}
