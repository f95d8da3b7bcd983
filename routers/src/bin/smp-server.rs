//! The SMP router.

fn main() -> std::process::ExitCode {
    simplex_routers::smp::cli::main()
}
