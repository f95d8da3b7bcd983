//! The statistics of a router, as it keeps them over a restart.

use std::collections::BTreeMap;
use std::fmt;

use crate::wire::text::parse_i64;
use crate::wire::utc::UtcTime;

use super::LineError;

/// A part of the file: its heading, if it has one, and the names of its numbers.
struct Section {
    heading: &'static str,
    names: &'static [&'static str],
}

const PROXY: &[&str] = &[
    "requests",
    "successes",
    "errorsConnect",
    "errorsCompat",
    "errorsOther",
];

const SERVICE: &[&str] = &[
    "assocNew",
    "assocDuplicate",
    "assocUpdatedt",
    "assocRemoved",
    "subCount",
    "subDuplicate",
    "subQueues",
    "subEnd",
];

const PERIODS: &[&str] = &["dayHashes", "weekHashes", "monthHashes"];

const FORWARDED_RECEIVED: &str = "pMsgFwdsRecv";

const COUNTERS: &[&str] = &[
    "qCreated",
    "qSecured",
    "qDeletedAll",
    "qDeletedNew",
    "qDeletedSecured",
    "qDeletedAllB",
    "qBlocked",
    "qCount",
    "qSub",
    "qSubAllB",
    "qSubAuth",
    "qSubDuplicate",
    "qSubProhibited",
    "qSubEnd",
    "qSubEndB",
    "ntfCreated",
    "ntfNewCreated",
    "ntfDeleted",
    "ntfDeletedB",
    "ntfSub",
    "ntfSubB",
    "ntfSubAuth",
    "ntfSubDuplicate",
    "msgSent",
    "msgSentAuth",
    "msgSentQuota",
    "msgSentLarge",
    "msgSentBlock",
    "msgRecv",
    "msgRecvGet",
    "msgGet",
    "msgGetNoMsg",
    "msgGetAuth",
    "msgGetDuplicate",
    "msgGetProhibited",
    "msgExpired",
    "msgSentNtf",
    "msgRecvNtf",
    "msgNtfs",
    "msgNtfsB",
    "msgNtfNoSub",
    "msgNtfLost",
    "msgNtfExpired",
];

/// In the order of the file. What has no heading is what stands before the first one, and one number in the middle.
const SECTIONS: &[Section] = &[
    Section {
        heading: "",
        names: COUNTERS,
    },
    Section {
        heading: "activeQueues",
        names: PERIODS,
    },
    Section {
        heading: "activeQueuesNtf",
        names: PERIODS,
    },
    Section {
        heading: "pRelays",
        names: PROXY,
    },
    Section {
        heading: "pRelaysOwn",
        names: PROXY,
    },
    Section {
        heading: "pMsgFwds",
        names: PROXY,
    },
    Section {
        heading: "pMsgFwdsOwn",
        names: PROXY,
    },
    Section {
        heading: "",
        names: &[FORWARDED_RECEIVED],
    },
    Section {
        heading: "rcvServices",
        names: SERVICE,
    },
    Section {
        heading: "ntfServices",
        names: SERVICE,
    },
    Section {
        heading: "rslvStats",
        names: &["reqs", "succ", "notFound", "resolverErrs", "disabled"],
    },
];

/// Names of older files, and what they are called now.
const OLD_NAMES: &[(&str, (&str, &str))] = &[
    ("qDeleted", ("", "qDeletedAll")),
    ("dayMsgQueues", ("activeQueues", "dayHashes")),
    ("weekMsgQueues", ("activeQueues", "weekHashes")),
    ("monthMsgQueues", ("activeQueues", "monthHashes")),
];

/// The file with the statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatisticsBackup {
    from_time: UtcTime,
    /// By heading and name; all of them are there.
    numbers: BTreeMap<(&'static str, &'static str), Vec<i64>>,
}

impl StatisticsBackup {
    /// Nothing was counted yet.
    #[must_use]
    pub fn new(from_time: UtcTime) -> Self {
        let numbers = names().map(|name| (name, if is_list(name) { vec![] } else { vec![0] }));
        Self {
            from_time,
            numbers: numbers.collect(),
        }
    }

    /// Reads a file; also the numbers of the lines that are not understood. What is not there was not counted.
    pub fn parse(text: &str) -> Result<(Self, Vec<usize>), LineError> {
        let mut lines = text.lines().map(str::trim_end).enumerate();
        let from_time = lines
            .next()
            .and_then(|(_, line)| line.strip_prefix("fromTime="));
        let from_time = from_time.ok_or(LineError::Missing("fromTime"))?;
        let invalid = |_| LineError::Invalid("fromTime");
        let mut backup = Self::new(from_time.parse().map_err(invalid)?);
        let mut heading = "";
        let mut unknown = Vec::new();
        for (index, line) in lines.filter(|(_, line)| !line.is_empty()) {
            let understood = match (line.strip_suffix(':'), line.split_once('=')) {
                (Some(name), _) => {
                    let known = SECTIONS.iter().find(|section| section.heading == name);
                    heading = known.map_or("?", |section| section.heading);
                    known.is_some()
                }
                (None, Some((name, value))) => backup.read(heading, name, value).is_some(),
                (None, None) => false,
            };
            if !understood {
                unknown.push(index.saturating_add(1));
            }
        }
        Ok((backup, unknown))
    }

    fn read(&mut self, heading: &str, name: &str, value: &str) -> Option<()> {
        let old = OLD_NAMES.iter().find(|(old, _)| *old == name);
        let known = names().find(|known| match old {
            Some((_, now)) => known == now,
            None => *known == (heading, name) || *known == ("", name),
        })?;
        let numbers = match value {
            "" => Vec::new(),
            _ => value
                .split(',')
                .map(|text| parse_i64(text).ok())
                .collect::<Option<_>>()?,
        };
        let fits = is_list(known) || numbers.len() == 1;
        fits.then(|| self.numbers.insert(known, numbers))
            .map(|_| ())
    }

    /// Since when was counted.
    #[must_use]
    pub const fn from_time(&self) -> UtcTime {
        self.from_time
    }

    /// The numbers with the headings under which they stand, if any, and their names.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, &'static str, i64)> {
        self.numbers
            .iter()
            .filter(|(name, _)| !is_list(**name))
            .filter_map(|((heading, name), numbers)| Some((*heading, *name, *numbers.first()?)))
    }

    /// Sets a number, if there is one with that name.
    pub fn set(&mut self, heading: &str, name: &str, number: i64) {
        let known = names().find(|known| *known == (heading, name) && !is_list(*known));
        if let Some(known) = known {
            self.numbers.insert(known, vec![number]);
        }
    }
}

fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    let of_section = |section: &'static Section| {
        let names = section.names.iter();
        names.map(|name| (section.heading, *name))
    };
    SECTIONS.iter().flat_map(of_section)
}

fn is_list((_, name): (&str, &str)) -> bool {
    PERIODS.contains(&name)
}

/// The file, each line with its end.
impl fmt::Display for StatisticsBackup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "fromTime={}", self.from_time)?;
        for section in SECTIONS {
            if !section.heading.is_empty() {
                writeln!(f, "{}:", section.heading)?;
            }
            for name in section.names {
                let numbers = self.numbers.get(&(section.heading, *name));
                let numbers = numbers.into_iter().flatten().map(i64::to_string);
                writeln!(f, "{name}={}", numbers.collect::<Vec<_>>().join(","))?;
            }
        }
        Ok(())
    }
}
