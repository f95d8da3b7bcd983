//! What fuzzers have found is replayed, without a fuzzer: every input of every corpus, and inputs that are like them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a result that is missing fails the test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use simplex_sans_io::sim::fuzz::{self, Target};

/// What fuzzers run, of machines and of routers.
fn all() -> impl Iterator<Item = &'static Target> {
    fuzz::TARGETS.iter().chain(simplex_routers::fuzz::TARGETS)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = folder().join("corpus").join(target.name);
    let files = fs::read_dir(&folder).unwrap_or_else(|_| panic!("no {}", folder.display()));
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    };
    files.into_iter().map(read).collect()
}

fn target(name: &str) -> &'static Target {
    all().find(|target| target.name == name).unwrap()
}

/// Everything in a corpus, twice: a machine that is given the same does the same.
#[track_caller]
fn replay(name: &str) {
    let inputs = corpus(target(name));
    assert!(!inputs.is_empty(), "no corpus");
    for (path, input) in inputs {
        let once = target(name).trace(&input);
        assert_eq!(once, target(name).trace(&input), "{}", path.display());
    }
}

/// Inputs that differ from one of the corpus in a few bytes, and any bytes.
#[track_caller]
fn explore(name: &str) {
    let inputs: Vec<_> = corpus(target(name)).into_iter().map(|(_, b)| b).collect();
    let change = (any::<prop::sample::Index>(), any::<u8>());
    let like = (
        prop::sample::select(inputs),
        prop::collection::vec(change, 0..8),
    )
        .prop_map(|(mut input, changes)| {
            for (at, byte) in changes {
                if !input.is_empty() {
                    let at = at.index(input.len());
                    input[at] = byte;
                }
            }
            input
        });
    let any_bytes = prop::collection::vec(any::<u8>(), 0..4096);
    let inputs = prop_oneof![3 => like, 1 => any_bytes];
    let mut runner = TestRunner::new(ProptestConfig::with_cases(96));
    let checked = runner.run(&inputs, |input| {
        let once = target(name).trace(&input);
        prop_assert_eq!(once, target(name).trace(&input));
        Ok(())
    });
    checked.unwrap();
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(
            mod $name {
                #[test]
                fn what_was_found_stays_found() {
                    super::replay(stringify!($name));
                }

                #[test]
                fn what_is_like_it_holds_too() {
                    super::explore(stringify!($name));
                }
            }
        )*

        #[test]
        fn every_target_is_here() {
            let here: BTreeSet<_> = [$(stringify!($name)),*].into();
            assert_eq!(here, all().map(|target| target.name).collect());
        }
    };
}

targets! {
    agent_files
    agent_formats
    agent_lines
    agent_world
    blocks
    frames_pair
    http2_ops
    ini
    keys_and_certificates
    link_data
    ratchet_actions
    router_ops
    smp_client_ops
    smp_command
    smp_control
    smp_handshake
    smp_message
    smp_pair
    smp_pool_ops
    smp_server_ops
    smp_transmission_block
    socks
    storelog
    text
    tls_records
    websocket
    xftp_block
    xftp_description
    xftp_file
    xftp_router_ops
}

#[test]
fn every_target_has_a_program_of_its_own() {
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    let programs: BTreeSet<_> = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
        .filter(|name| *name != "simplex-fuzz")
        .collect();
    assert_eq!(programs, all().map(|target| target.name).collect());
    for name in programs {
        let source = folder().join(format!("fuzz_targets/{name}.rs"));
        let source = fs::read_to_string(source).unwrap();
        assert!(source.contains(&format!("fuzz::{}.run(data)", name.to_uppercase())));
    }
}
