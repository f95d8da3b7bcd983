//! A load test of SMP routers.

fn main() -> std::process::ExitCode {
    simplex_routers::bench::cli::main()
}
