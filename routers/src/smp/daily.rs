//! The file of daily statistics: a line for each day, in the columns of the reference implementation.

use simplex_sans_io::smp::router::Day;

use crate::daily::{at_end, date};

/// The name of the file.
pub(crate) const FILE: &str = "smp-server-stats.daily.log";

/// What stands in a column.
enum Column {
    /// What is counted under this name.
    Counter(&'static str),
    /// Something else.
    Value(fn(&Day) -> String),
}

/// The line of a day.
pub(crate) fn line(day: &Day) -> String {
    let counters = day.counters.named();
    let columns = columns().map(|column| match column {
        Column::Value(value) => value(day),
        Column::Counter(name) => {
            let counted = counters.iter().find(|(known, _)| *known == name);
            counted.map_or_else(String::new, |(_, number)| number.to_string())
        }
    });
    columns.collect::<Vec<_>>().join(",")
}

fn columns() -> impl Iterator<Item = Column> {
    use Column::{Counter, Value};
    const RELAYS: [&str; 20] = [
        "pRelays.requests",
        "pRelays.successes",
        "pRelays.errorsConnect",
        "pRelays.errorsCompat",
        "pRelays.errorsOther",
        "pRelaysOwn.requests",
        "pRelaysOwn.successes",
        "pRelaysOwn.errorsConnect",
        "pRelaysOwn.errorsCompat",
        "pRelaysOwn.errorsOther",
        "pMsgFwds.requests",
        "pMsgFwds.successes",
        "pMsgFwds.errorsConnect",
        "pMsgFwds.errorsCompat",
        "pMsgFwds.errorsOther",
        "pMsgFwdsOwn.requests",
        "pMsgFwdsOwn.successes",
        "pMsgFwdsOwn.errorsConnect",
        "pMsgFwdsOwn.errorsCompat",
        "pMsgFwdsOwn.errorsOther",
    ];
    const SERVICES: [&str; 16] = [
        "rcvServices.assocNew",
        "rcvServices.assocDuplicate",
        "rcvServices.assocUpdatedt",
        "rcvServices.assocRemoved",
        "rcvServices.subCount",
        "rcvServices.subDuplicate",
        "rcvServices.subQueues",
        "rcvServices.subEnd",
        "ntfServices.assocNew",
        "ntfServices.assocDuplicate",
        "ntfServices.assocUpdatedt",
        "ntfServices.assocRemoved",
        "ntfServices.subCount",
        "ntfServices.subDuplicate",
        "ntfServices.subQueues",
        "ntfServices.subEnd",
    ];
    const NAMES: [&str; 5] = [
        "rslvStats.reqs",
        "rslvStats.succ",
        "rslvStats.notFound",
        "rslvStats.resolverErrs",
        "rslvStats.disabled",
    ];
    let day = [
        Value(|day| date(day.since)),
        Counter("qCreated"),
        Counter("qSecured"),
        Counter("qDeletedAll"),
        Counter("msgSent"),
        Counter("msgRecv"),
        Value(|day| day.gauges.active.day.to_string()),
        Value(|day| at_end(day.ends_week, day.gauges.active.week)),
        Value(|day| at_end(day.ends_month, day.gauges.active.month)),
        Counter("msgSentNtf"),
        Counter("msgRecvNtf"),
        Value(|day| day.gauges.active_notified.day.to_string()),
        Value(|day| at_end(day.ends_week, day.gauges.active_notified.week)),
        Value(|day| at_end(day.ends_month, day.gauges.active_notified.month)),
        Value(|day| day.gauges.queues.to_string()),
        Value(|day| day.gauges.messages.to_string()),
        Counter("msgExpired"),
        Counter("qDeletedNew"),
        Counter("qDeletedSecured"),
    ];
    let queues = [
        Counter("pMsgFwdsRecv"),
        Counter("qSub"),
        Counter("qSubAuth"),
        Counter("qSubDuplicate"),
        Counter("qSubProhibited"),
        Counter("msgSentAuth"),
        Counter("msgSentQuota"),
        Counter("msgSentLarge"),
        Counter("msgNtfs"),
        Counter("msgNtfNoSub"),
        Counter("msgNtfLost"),
        Value(|_| "0".to_owned()),
        Counter("msgRecvGet"),
        Counter("msgGet"),
        Counter("msgGetNoMsg"),
        Counter("msgGetAuth"),
        Counter("msgGetDuplicate"),
        Counter("msgGetProhibited"),
        Value(|_| "0".to_owned()),
        Value(|_| "0".to_owned()),
        Value(|_| "0".to_owned()),
        Value(|day| day.gauges.queues.to_string()),
        Counter("ntfCreated"),
        Counter("ntfDeleted"),
        Counter("ntfSub"),
        Counter("ntfSubAuth"),
        Counter("ntfSubDuplicate"),
        Value(|day| day.gauges.notifiers.to_string()),
        Counter("qDeletedAllB"),
        Counter("qSubAllB"),
        Counter("qSubEnd"),
        Counter("qSubEndB"),
        Counter("ntfDeletedB"),
        Counter("ntfSubB"),
        Counter("msgNtfsB"),
        Counter("msgNtfExpired"),
        Value(|day| day.gauges.notifications.to_string()),
        Value(|day| day.gauges.messaging_services.to_string()),
        Value(|day| day.gauges.notifier_services.to_string()),
        Value(|day| day.gauges.messaging_service_queues.to_string()),
        Value(|day| day.gauges.notifier_service_queues.to_string()),
    ];
    day.into_iter()
        .chain(RELAYS.map(Counter))
        .chain(queues)
        .chain(SERVICES.map(Counter))
        .chain(NAMES.map(Counter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use simplex_sans_io::smp::router::{Active, Counters, Gauges};
    use simplex_sans_io::time::UnixTime;

    fn day() -> Day {
        Day {
            since: UnixTime::from_seconds(1_795_824_000),
            counters: Counters {
                queues_created: 2,
                relay_sessions_requests: 20,
                forwarded_received: 40,
                names_disabled: 101,
                ..Counters::default()
            },
            gauges: Gauges {
                active: Active {
                    day: 7,
                    week: 8,
                    month: 9,
                },
                notifier_service_queues: 80,
                ..Gauges::default()
            },
            ends_week: false,
            ends_month: true,
        }
    }

    #[test]
    fn every_value_stands_in_its_column() {
        let counters = Counters::default();
        let known: Vec<_> = counters.named();
        for column in columns() {
            if let Column::Counter(name) = column {
                assert!(known.iter().any(|(known, _)| *known == name), "{name}");
            }
        }
        let line = line(&day());
        let values: Vec<_> = line.split(',').collect();
        assert_eq!(values.len(), 101);
        let column = |number: usize| values[number - 1];
        assert_eq!(column(1), "2026-11-28");
        assert_eq!(column(2), "2");
        assert_eq!([column(7), column(8), column(9)], ["7", "", "9"]);
        assert_eq!(column(20), "20");
        assert_eq!(column(40), "40");
        assert_eq!(column(80), "80");
        assert_eq!(column(101), "101");
    }
}
