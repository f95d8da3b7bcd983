//! What fuzzers run of routers, beside [`simplex_sans_io::sim::fuzz`]: configuration files, and the lines of operators.
#![expect(clippy::expect_used, reason = "a run that does not go on is a finding")]

use base64::Engine as _;
use simplex_sans_io::machine::Machine as _;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::sim::fuzz::Target;
use simplex_sans_io::sim::script::Script;
use simplex_sans_io::smp::router::store::QueueStatus;
use simplex_sans_io::smp::router::{Config, Counters, Gauges, Input, Operation, Outcome, Router};
use simplex_sans_io::time::Now;
use simplex_sans_io::wire::BasicAuth;

use crate::control::Role;
use crate::ini::Ini;
use crate::smp::control::command::{Command, IDS};
use crate::smp::control::shown::{server_info, shown, stats};
use crate::{smp, xftp};

/// Everything that can be run.
pub const TARGETS: &[Target] = &[INI, SMP_CONTROL];

/// Configuration files of both routers: what is read is written and read again as the same, and what is wrong is named.
pub const INI: Target = Target::parser("ini", ini);

/// Sessions of the control port of an SMP router, on a router with one queue.
pub const SMP_CONTROL: Target = Target::parser("smp_control", smp_control);

fn ini(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let ini = match text.parse::<Ini>() {
        Ok(ini) => ini,
        Err(error) => {
            assert!(error.to_string().contains("line "), "{error}");
            return;
        }
    };
    let mut written = String::new();
    for (section, key, value) in ini.entries() {
        written.push_str(&format!("[{section}]\n{key} = {value}\n"));
    }
    let again: Ini = written.parse().expect("what is written is read");
    assert!(again.entries().eq(ini.entries()), "{written}");
    match smp::settings::Settings::of(&ini) {
        Ok(settings) => {
            assert!(!settings.transport.ports.is_empty());
            start(settings.router);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Err(error) = xftp::settings::Settings::of(&ini) {
        assert!(!error.to_string().is_empty());
    }
}

/// Whatever the numbers are, a router starts with them, and wakes.
fn start(config: Config) {
    let mut router = Router::new(config, Rng::from_seed([7; 32]), Now::START);
    while router.poll().is_some() {}
    if let Some(instant) = router.deadline() {
        let due = Now {
            instant,
            ..Now::START
        };
        let Ok(()) = router.handle(due, Input::Timeout);
        while router.poll().is_some() {}
        assert!(router.deadline().is_none_or(|next| next > instant));
    }
}

const MAX_LINES: usize = 40;

/// `@` in a line is the id of the queue.
fn smp_control(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut script = Script::new();
    let client = script.world.connect();
    let queue = script.new_queue(client);
    let id = IDS.encode(&*queue.ids.sender_id);
    let password = |text: &str| text.parse::<BasicAuth>().ok();
    let (admin, user) = (password("admin"), password("user"));
    let mut role = Role::None;
    let mut expected = Some(QueueStatus::Active);
    for line in text.lines().take(MAX_LINES) {
        let line = line.replace('@', &id);
        let before = role;
        let answer = match Command::parse(role, line.trim()) {
            Err(refused) => refused.text().to_owned(),
            Ok(Command::Nothing) => continue,
            Ok(Command::Authorize(password)) => {
                role.authorize(&password, admin.as_ref(), user.as_ref())
            }
            Ok(Command::Operate(operation)) => {
                assert!(role >= Role::User);
                let on_queue = |of: &Operation| match of {
                    Operation::Delete(of)
                    | Operation::Status(of)
                    | Operation::Block(of, _)
                    | Operation::Unblock(of) => *of == queue.ids.sender_id,
                    Operation::Save => false,
                };
                if matches!(operation, Operation::Delete(_) | Operation::Save) {
                    assert_eq!(role, Role::Admin);
                }
                let is_known = on_queue(&operation);
                let outcome = script.world.operate(operation).expect("an outcome");
                if is_known {
                    follow(&mut expected, &outcome);
                }
                shown(&outcome)
            }
            Ok(Command::Block(of, info)) => {
                assert!(role >= Role::User);
                let is_known = of == queue.ids.sender_id;
                let operation = Operation::Block(of, info);
                let outcome = script.world.operate(operation).expect("an outcome");
                if is_known {
                    follow(&mut expected, &outcome);
                }
                shown(&outcome)
            }
            Ok(Command::Stats) => {
                let (gauges, counters) = numbers(&script);
                stats(&gauges, &counters, role == Role::Admin)
            }
            Ok(Command::ServerInfo) => {
                let (gauges, _) = numbers(&script);
                let clients: Vec<_> = script.world.router.clients().collect();
                server_info(&gauges, &clients, 1, role)
            }
            Ok(
                Command::Help
                | Command::NotImplemented(_)
                | Command::Runtime
                | Command::Sockets
                | Command::Clients
                | Command::Tasks,
            ) => continue,
        };
        assert!(
            answer.ends_with('\n') && !answer.ends_with("\n\n"),
            "{answer:?}"
        );
        assert!(role >= before, "a role is never lost");
    }
}

fn numbers(script: &Script) -> (Gauges, Counters) {
    let router = &script.world.router;
    (router.gauges(), *router.counters())
}

/// What is said of the queue must follow from what was done with it.
fn follow(expected: &mut Option<QueueStatus>, outcome: &Outcome) {
    let Some(status) = *expected else {
        assert_eq!(*outcome, Outcome::NotFound);
        return;
    };
    let is_active = status == QueueStatus::Active;
    match outcome {
        Outcome::Deleted(_) => *expected = None,
        Outcome::Status(info) => assert_eq!(info.status, status),
        Outcome::Blocked(info) => {
            assert!(is_active);
            *expected = Some(info.status);
        }
        Outcome::WasInactive(info) => {
            assert!(!is_active);
            *expected = Some(info.status);
        }
        Outcome::Unblocked(reason) => {
            assert!(matches!(status, QueueStatus::Blocked { info, .. } if info == *reason));
            *expected = Some(QueueStatus::Active);
        }
        Outcome::WasActive => assert!(is_active),
        Outcome::Suspended | Outcome::NotFound | Outcome::Saved | Outcome::Failed => {
            unreachable!("{outcome:?}")
        }
    }
}
