//! A SimpleX agent for programs in any language. See `smp-agent --help`.

fn main() -> std::process::ExitCode {
    simplex_agent::smp_agent::main()
}
