//! The XFTP router.

fn main() -> std::process::ExitCode {
    simplex_routers::xftp::cli::main()
}
