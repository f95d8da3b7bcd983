//! Shows what a fuzz target does with an input: `cargo run -p simplex-tests --example trace -- smp_client_ops crash-…`.
#![expect(clippy::print_stdout, reason = "it is there to print")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use simplex_sans_io::sim::Trace;
use simplex_sans_io::sim::fuzz::TARGETS;

fn main() -> ExitCode {
    let [name, file] = &std::env::args().skip(1).collect::<Vec<_>>()[..] else {
        println!("trace TARGET FILE");
        return ExitCode::FAILURE;
    };
    let Some(target) = TARGETS
        .iter()
        .chain(simplex_routers::fuzz::TARGETS)
        .find(|target| target.name == name)
    else {
        println!("there is no target {name}");
        return ExitCode::FAILURE;
    };
    let data = match std::fs::read(file) {
        Ok(data) => data,
        Err(error) => {
            println!("{file}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut trace = Trace::text();
    let run = catch_unwind(AssertUnwindSafe(|| target.record(&data, &mut trace)));
    for line in trace.lines() {
        println!("{line}");
    }
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
