//! What `init` writes, beside what the reference implementation writes for the same command line.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What is chosen at random.
const RANDOM: [&str; 3] = [
    "create_password",
    "control_port_admin_password",
    "control_port_user_password",
];

/// What concerns PostgreSQL.
const DATABASE: &str = "db_";

/// Settings by section and key, and the value if it is not commented.
type Settings = BTreeMap<(String, String), Option<String>>;

fn settings(ini: &str) -> Settings {
    let mut settings = Settings::new();
    let mut section = "";
    for line in ini.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            continue;
        }
        let (text, is_comment) = match line.strip_prefix("# ") {
            Some(text) => (text, true),
            None => (line, false),
        };
        let Some((key, value)) = text.split_once(['=', ':']) else {
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        let is_key = |c: char| c.is_ascii_lowercase() || c == '_';
        if key.chars().all(is_key) && !key.starts_with(DATABASE) {
            let random = RANDOM.contains(&key) && value.len() > 20;
            let value = if random { "random" } else { value };
            let value = (!is_comment).then(|| value.to_owned());
            settings.insert((section.to_owned(), key.to_owned()), value);
        }
    }
    settings
}

fn initialized(directory: &Path, server: &str, options: &str, file: &str) -> String {
    let (program, variable) = match server {
        "smp" => (env!("CARGO_BIN_EXE_smp-server"), "SMP"),
        _ => (env!("CARGO_BIN_EXE_xftp-server"), "XFTP"),
    };
    // A name of two words stands in a line of words.
    let options = options.replace("Some Operator", "Some_Operator");
    let options = options.replace("Some Hosting", "Some_Hosting");
    let files = directory.join("files");
    let words = options
        .split_whitespace()
        .map(|word| match word {
            "/srv/xftp" => files.display().to_string(),
            word => word.replace('_', " "),
        })
        .collect::<Vec<_>>();
    let output = Command::new(program)
        .env(
            format!("{variable}_SERVER_CFG_PATH"),
            directory.join("config"),
        )
        .env(
            format!("{variable}_SERVER_LOG_PATH"),
            directory.join("data"),
        )
        .arg("init")
        .args(words)
        .args((server == "smp").then_some("-y"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{options}: {output:?}");
    let text = std::fs::read_to_string(directory.join("config").join(file)).unwrap();
    [
        ("config", "/etc/opt/server"),
        ("data", "/var/opt/server"),
        ("files", "/srv/xftp"),
    ]
    .into_iter()
    .fold(text, |text, (ours, theirs)| {
        text.replace(&directory.join(ours).display().to_string(), theirs)
    })
    // The source code is not theirs.
    .replace(
        concat!("source_code = ", env!("CARGO_PKG_REPOSITORY")),
        "source_code = https://github.com/simplex-chat/simplexmq",
    )
}

#[test]
fn init_writes_what_the_reference_writes_and_more() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/vectors/storelog.json"
    );
    let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut compared = 0;
    for case in vectors["ini_files"].as_array().unwrap() {
        let text = |field: &str| case[field].as_str().unwrap();
        let (server, options) = (text("server"), text("init_options"));
        if server == "ntf" {
            continue;
        }
        let directory = tempfile::tempdir().unwrap();
        let ours = settings(&initialized(
            directory.path(),
            server,
            options,
            text("file"),
        ));
        for (name, value) in settings(text("ini")) {
            let found = ours.get(&name);
            assert!(found.is_some(), "{server} init {options}: no {name:?}");
            assert_eq!(found, Some(&value), "{server} init {options}: {name:?}");
            compared += 1;
        }
    }
    assert!(compared > 300, "{compared}");
}
