//! The command line of `smp-bench`.

use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum as _};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::BenchError;
use super::figures::{Head, Report};
use super::floor::Floor;
use super::router::{Router, Running, Startable};
use super::scenarios::{Load, Scenario};

/// Measures SMP routers: what operations cost them in processor time and memory, and how long clients wait.
///
/// This is a load test: it takes all the processor time that there is. Use it on routers that are yours, and that nobody else uses at the time.
#[derive(Debug, Parser)]
#[command(
    name = "smp-bench",
    version,
    after_help = "Every scenario is run on all routers before the next one begins, so that they are measured under the same conditions. Columns:\n\n  \
        CPU µs/op  processor time of the router (utime + stime of its process) for an operation\n  \
        floors     the same, as a multiple of the floor: what the cryptography and the blocks of one message cycle cost on this machine,\n             \
                   measured at the start, the best of many runs; beside it stands the floor with boxes and chains of stock crates\n  \
        p50, p99   what the client waits for an operation, or for a block of them\n  \
        B each     growth of the router's memory (VmRSS) for a queue or a connection, in the second half of them\n  \
        RSS MB     the router's memory after the scenario\n  \
        ratio      the scenario's main figure, as a multiple of that of the first router\n\n\
        Without a PID there is no processor time and no memory. Queues are deleted when they were measured.\n\n\
        Try it:      smp-bench --start 'smp-server run --dir ./smp --port 0'\n\
        Compare:     smp-bench ours=smp://FINGERPRINT@127.0.0.1:5223,PID other=smp://FINGERPRINT@127.0.0.1:7001,PID\n\
        Look closer: smp-bench --scenario cycle --clients 64 --seconds 20 smp://FINGERPRINT@127.0.0.1:5223,PID"
)]
pub struct Cli {
    /// A router that runs: `smp://FINGERPRINT[:PASSWORD]@HOST[:PORT]`, then `,PID` if it runs on this machine. `NAME=` before it names it.
    #[arg(value_name = "ROUTER", required_unless_present = "start")]
    routers: Vec<Running>,
    /// Starts a router with this command, and stops it at the end. Any router does that says `Fingerprint: …` and `Serving SMP protocol
    /// on port …` on its output; anybody must be allowed to create queues on it. `NAME=` before it names it. May be given many times.
    #[arg(long, value_name = "COMMAND")]
    start: Vec<Startable>,
    /// What is done, separated by commas. Everything otherwise.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SCENARIOS")]
    scenario: Vec<Scenario>,
    /// How many clients there are at the same time; twice as many in `cycle`, where each one is a sender and a recipient.
    #[arg(long, default_value = "8")]
    clients: NonZeroUsize,
    /// How many seconds a scenario takes at most, without what it prepares.
    #[arg(long, default_value = "2", value_parser = clap::value_parser!(u16).range(1..))]
    seconds: u16,
    /// How many operations a scenario has at most.
    #[arg(long, default_value = "20000")]
    count: NonZeroUsize,
    /// How many connections there are in `idle` and `storm`.
    #[arg(long, default_value = "500")]
    connections: NonZeroUsize,
    /// How many queues there are in `queues`, `sub`, `storm` and `restart`.
    #[arg(long, default_value = "10000")]
    queues: NonZeroUsize,
    /// Prints one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// Does what the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    raise_open_files();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error.into()),
    };
    match runtime.block_on(execute(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

fn complain(error: &BenchError) -> ExitCode {
    writeln!(io::stderr(), "smp-bench: {error}").ok();
    ExitCode::FAILURE
}

/// As far as possible: every connection is one.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).ok();
}

async fn execute(cli: Cli) -> Result<(), BenchError> {
    let floor = Floor::measure()?;
    let load = Load {
        clients: cli.clients.get(),
        duration: Duration::from_secs(cli.seconds.into()),
        count: cli.count.get(),
        connections: cli.connections.get(),
        queues: cli.queues.get(),
    };
    let mut routers = Vec::new();
    for (index, running) in cli.routers.into_iter().enumerate() {
        routers.push(Router::running(running, &format!("router-{}", index + 1))?);
    }
    for (index, startable) in cli.start.into_iter().enumerate() {
        routers.push(Router::start(startable, &format!("started-{}", index + 1)).await?);
    }
    let mut report = Report::new(floor);
    if !cli.json {
        say(&format!("{floor}\n\n{Head}"))?;
    }
    let scenarios = match cli.scenario.is_empty() {
        true => Scenario::value_variants(),
        false => &cli.scenario,
    };
    for scenario in scenarios {
        let mut outcomes = Vec::new();
        for router in &mut routers {
            let outcome = scenario.run(router, load).await;
            outcomes.push((router.name.clone(), outcome));
        }
        let already = report.lines.len();
        report.add(&scenario.name(), scenario.leading(), outcomes);
        for line in report.lines.iter().skip(already).filter(|_| !cli.json) {
            say(&line.to_string())?;
        }
    }
    for mut router in routers {
        router.stop().await?;
    }
    if cli.json {
        say(&serde_json::to_string_pretty(&report).map_err(io::Error::from)?)?;
    }
    match report.unmeasured() {
        Some(router) => Err(BenchError::Unmeasured(router.to_owned())),
        None => Ok(()),
    }
}

fn say(text: &str) -> Result<(), BenchError> {
    Ok(writeln!(io::stdout(), "{text}")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn there_is_something_to_measure() {
        assert!(Cli::try_parse_from(["smp-bench"]).is_err());
        let started = Cli::try_parse_from(["smp-bench", "--start", "x", "--scenario", "new,pair"]);
        assert_eq!(started.unwrap().scenario, [Scenario::New, Scenario::Pair]);
    }
}
