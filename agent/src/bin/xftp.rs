//! Sends and receives files.

fn main() -> std::process::ExitCode {
    simplex_agent::xftp::cli::main()
}
