//! What was measured, as a table and as JSON.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::BenchError;
use super::floor::Floor;
use crate::process::Process;

/// What a scenario has measured of a router.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Figures {
    /// How many operations there were.
    pub operations: usize,
    /// How long all of them took.
    pub seconds: f64,
    /// The processor time of the router for each, in microseconds.
    pub cpu_us: Option<f64>,
    /// Half of the operations took no longer, in milliseconds.
    pub p50_ms: Option<f64>,
    /// All but one of a hundred took no longer, in milliseconds.
    pub p99_ms: Option<f64>,
    /// The memory of the router for each, in bytes.
    pub bytes_each: Option<f64>,
    /// The memory of the router at the end, in bytes.
    pub resident: Option<u64>,
    /// What else there is to be said.
    pub remark: Option<String>,
}

impl Figures {
    /// The same, for operations that took this long each.
    pub(crate) fn with_latencies(mut self, mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        let at = |percent: usize| {
            let index = (latencies.len() * percent / 100).min(latencies.len().checked_sub(1)?);
            latencies
                .get(index)
                .map(|latency| latency.as_secs_f64() * 1e3)
        };
        (self.p50_ms, self.p99_ms) = (at(50), at(99));
        self
    }
}

/// Measures the process of a router from now on.
#[derive(Debug)]
pub(crate) struct Meter {
    process: Option<Process>,
    cpu: Option<Duration>,
    start: Instant,
}

impl Meter {
    pub(crate) fn start(process: Option<Process>) -> Result<Self, BenchError> {
        Ok(Self {
            process,
            cpu: process.map(Process::cpu).transpose()?,
            start: Instant::now(),
        })
    }

    /// What that many operations have cost.
    pub(crate) fn stop(self, operations: usize) -> Result<Figures, BenchError> {
        let seconds = self.start.elapsed().as_secs_f64();
        let cpu = self.process.map(Process::cpu).transpose()?;
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / operations.max(1) as f64;
        let used = cpu
            .zip(self.cpu)
            .map(|(now, then)| now.saturating_sub(then));
        Ok(Figures {
            operations,
            seconds,
            cpu_us: used.map(each),
            resident: self.process.map(Process::resident).transpose()?,
            ..Figures::default()
        })
    }
}

/// The figure of a scenario by which routers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leading {
    Cpu,
    Latency,
    Memory,
}

/// A line of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// The scenario.
    pub scenario: String,
    /// The router.
    pub router: String,
    /// What was measured, or why nothing was.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a scenario.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// It was measured.
    Measured {
        /// The figures.
        #[serde(flatten)]
        figures: Figures,
        /// The processor time for each operation, as a multiple of the floor of a message cycle.
        floors: Option<f64>,
        /// Its main figure, as a multiple of that of the first router.
        ratio: Option<f64>,
    },
    /// It was not.
    Missing {
        /// Why.
        missing: String,
    },
}

/// All that was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The primitives, in microseconds.
    pub floor: Floor,
    /// The floor of a message cycle, in microseconds.
    pub cycle_floor: f64,
    /// The same with the boxes and chains of stock crates.
    pub stock_cycle_floor: f64,
    /// The figures.
    pub lines: Vec<Line>,
}

impl Report {
    /// The beginning of a report.
    #[must_use]
    pub fn new(floor: Floor) -> Self {
        Self {
            floor,
            cycle_floor: floor.cycle(&floor.ours),
            stock_cycle_floor: floor.cycle(&floor.stock),
            lines: Vec::new(),
        }
    }

    /// Adds the outcomes of a scenario, those of the first router first.
    pub(crate) fn add(
        &mut self,
        scenario: &str,
        leading: Leading,
        outcomes: Vec<(String, Result<Figures, BenchError>)>,
    ) {
        let main = |figures: &Figures| match leading {
            Leading::Cpu => figures.cpu_us,
            Leading::Latency => figures.p50_ms,
            Leading::Memory => figures.bytes_each,
        };
        let of_first = outcomes
            .first()
            .and_then(|(_, outcome)| main(outcome.as_ref().ok()?))
            .filter(|first| *first > 0.0);
        for (router, outcome) in outcomes {
            let outcome = match outcome {
                Ok(figures) => Outcome::Measured {
                    floors: figures.cpu_us.map(|cpu| cpu / self.cycle_floor),
                    ratio: main(&figures).zip(of_first).map(|(its, first)| its / first),
                    figures,
                },
                Err(error) => Outcome::Missing {
                    missing: error.to_string(),
                },
            };
            self.lines.push(Line {
                scenario: scenario.to_owned(),
                router,
                outcome,
            });
        }
    }

    /// A router of which nothing could be measured.
    pub(crate) fn unmeasured(&self) -> Option<&str> {
        let is_measured = |line: &&Line| matches!(line.outcome, Outcome::Measured { .. });
        let measured: Vec<_> = self.lines.iter().filter(is_measured).collect();
        let of = |router: &str| measured.iter().any(|line| line.router == router);
        let mut routers = self.lines.iter().map(|line| line.router.as_str());
        routers.find(|router| !of(router))
    }
}

/// The head of a table of lines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head;

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:10} {:12} {:>7} {:>7} {:>9} {:>7} {:>8} {:>8} {:>8} {:>7} {:>6}",
            "scenario",
            "router",
            "ops",
            "ops/s",
            "CPU µs/op",
            "floors",
            "p50 ms",
            "p99 ms",
            "B each",
            "RSS MB",
            "ratio"
        )
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scenario,
            router,
            outcome,
        } = self;
        write!(f, "{scenario:10} {router:12} ")?;
        let (figures, floors, ratio) = match outcome {
            Outcome::Measured {
                figures,
                floors,
                ratio,
            } => (figures, floors, ratio),
            Outcome::Missing { missing } => return f.write_str(missing),
        };
        let per_second = figures.operations as f64 / figures.seconds.max(1e-9);
        write!(f, "{:>7} {per_second:>7.0} ", figures.operations)?;
        write!(
            f,
            "{:>9} {:>7} ",
            digits(figures.cpu_us, 1),
            digits(*floors, 3)
        )?;
        write!(
            f,
            "{:>8} {:>8} ",
            digits(figures.p50_ms, 3),
            digits(figures.p99_ms, 3)
        )?;
        let megabytes = figures.resident.map(|bytes| bytes as f64 / 1e6);
        write!(
            f,
            "{:>8} {:>7} ",
            digits(figures.bytes_each, 0),
            digits(megabytes, 1)
        )?;
        write!(f, "{:>6}", digits(*ratio, 2))?;
        figures
            .remark
            .as_ref()
            .map_or(Ok(()), |remark| write!(f, "  {remark}"))
    }
}

fn digits(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::super::floor::Boxes;
    use super::*;

    fn report() -> Report {
        let boxes = Boxes {
            block_box: 10.0,
            chain_step: 10.0,
            body_box: 0.0,
        };
        Report::new(Floor {
            record: 10.0,
            loopback: 10.0,
            verify_long: 0.0,
            verify_short: 0.0,
            ours: boxes,
            stock: boxes,
        })
    }

    fn cpu(cpu_us: f64) -> Figures {
        Figures {
            operations: 1,
            seconds: 1.0,
            cpu_us: Some(cpu_us),
            ..Figures::default()
        }
    }

    #[test]
    fn routers_are_compared_with_the_first_one_and_with_the_floor() {
        let mut report = report();
        let outcomes = vec![
            ("a".to_owned(), Ok(cpu(400.0))),
            ("b".to_owned(), Ok(cpu(1000.0))),
            ("c".to_owned(), Err(BenchError::NotStarted)),
        ];
        report.add("cycle", Leading::Cpu, outcomes);
        let compared = report.lines.iter().map(|line| match &line.outcome {
            Outcome::Measured { floors, ratio, .. } => (*floors, *ratio),
            Outcome::Missing { .. } => (None, None),
        });
        let expected = [(Some(2.0), Some(1.0)), (Some(5.0), Some(2.5)), (None, None)];
        assert_eq!(compared.collect::<Vec<_>>(), expected);
        assert!(report.lines[2].to_string().ends_with("--start"));
        assert_eq!(report.unmeasured(), Some("c"));
        let json = serde_json::to_string(&report).unwrap();
        assert!(json.contains(r#""router":"b","operations":1"#), "{json}");
    }

    #[test]
    fn percentiles_are_latencies_that_occurred() {
        let latencies = (1..=100).rev().map(Duration::from_millis).collect();
        let figures = Figures::default().with_latencies(latencies);
        assert_eq!(figures.p50_ms, Some(51.0));
        assert_eq!(figures.p99_ms, Some(100.0));
        let none = Figures::default().with_latencies(Vec::new());
        assert_eq!((none.p50_ms, none.p99_ms), (None, None));
    }

    #[test]
    fn columns_stand_below_their_heads() {
        let mut report = report();
        report.add(
            "idle",
            Leading::Memory,
            vec![("a".to_owned(), Ok(cpu(1.0)))],
        );
        let width = |text: String| text.chars().count();
        assert_eq!(width(Head.to_string()), width(report.lines[0].to_string()));
    }
}
