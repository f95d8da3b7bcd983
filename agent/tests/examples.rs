//! The examples do what they say.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod router;

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use router::Router;

/// An example that runs, and ends with the test.
struct Example {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Example {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let test = std::env::current_exe().unwrap();
        let examples = test.parent().unwrap().with_file_name("examples");
        let mut child = Command::new(examples.join(name))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cargo builds the examples with the tests");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("it says something").unwrap()
    }

    fn types(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A router in a thread of its own: the examples are waited for in this one.
fn with_router(test: impl FnOnce(&str)) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let router = runtime.block_on(Router::start());
    test(&router.address.to_string());
}

#[test]
fn the_echo_says_what_it_hears() {
    with_router(|router| {
        let mut bot = Example::start("echo_bot", &[router]);
        let link = bot.line();
        let mut chat = Example::start("chat", &[router, &link]);
        chat.types("is anybody there?");
        assert_eq!(chat.line(), "* connected");
        assert_eq!(chat.line(), "> is anybody there?");
    });
}

#[test]
fn two_people_chat() {
    with_router(|router| {
        let mut alice = Example::start("chat", &[router]);
        alice.line();
        let link = alice.line();
        let mut bob = Example::start("chat", &[router, &link]);
        assert_eq!(alice.line(), "* connected");
        assert_eq!(bob.line(), "* connected");
        alice.types("hello");
        assert_eq!(bob.line(), "> hello");
        assert_eq!(alice.line(), "* received");
    });
}

#[test]
fn agents_run_on_other_runtimes() {
    with_router(|router| {
        for name in ["on_smol", "on_async_std"] {
            let link = Example::start(name, &[router]).line();
            assert!(link.starts_with("simplex:/invitation#/?v="), "{link}");
        }
    });
}

#[test]
fn a_sensor_needs_no_agent() {
    with_router(|router| {
        let mut sensor = Example::start("sensor", &[router]);
        for reading in ["21.5 °C", "21.7 °C", "22.0 °C"] {
            assert_eq!(sensor.line(), reading);
        }
    });
}
