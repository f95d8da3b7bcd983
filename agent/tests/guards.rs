//! What the program guards against: other users and programs of its machine, peers, and routers that they name.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod router;
mod telnet;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use router::Router;
use telnet::{Process, word};
use tokio::net::{TcpListener, TcpStream};

/// Listening sockets, as the system lists them: their local addresses.
#[cfg(target_os = "linux")]
fn listening_at(port: u16) -> Vec<String> {
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let table = std::fs::read_to_string(table).unwrap_or_default();
        for line in table.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            let [_, local, _, "0A", ..] = words[..] else {
                continue;
            };
            if let Some(address) = local.strip_suffix(&format!(":{port:04X}")) {
                found.push(address.to_owned());
            }
        }
    }
    found
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn it_listens_at_the_loopback_addresses_only() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    let agent = Process::start(directory.path(), &router, "agent", &["--no-token"]);
    let loopback = ["0100007F", "00000000000000000000000001000000"];
    let listening = listening_at(agent.port);
    assert!(listening.iter().any(|address| address == loopback[0]));
    for address in listening {
        assert!(loopback.contains(&&*address), "{address}");
    }
    // Where there is no such address there is no such socket.
    if let Ok(probe) = std::net::TcpListener::bind("[::1]:0") {
        drop(probe);
        TcpStream::connect(("::1", agent.port)).await.unwrap();
    }
}

fn fails(directory: &Path, options: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_smp-agent"))
        .current_dir(directory)
        .args(["--server", "smp://YQ==@127.0.0.1", "--port", "0"])
        .args(options)
        .output()
        .unwrap();
    assert!(!output.status.success(), "{options:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn what_others_can_reach_is_listened_at_only_in_clear_and_with_a_token() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    for options in [
        &["--listen", "0.0.0.0"][..],
        &["--listen", "::"],
        &["--listen", "0.0.0.0", "--no-token", "--in-clear"],
    ] {
        let said = fails(directory.path(), options);
        assert!(
            said.contains("only with --in-clear, and with a token"),
            "{said}"
        );
    }
    let options = ["--listen", "0.0.0.0", "--in-clear"];
    let agent = Process::start(directory.path(), &router, "agent", &options);
    agent.client().await.ask("", "PING", "OK").await;
    #[cfg(target_os = "linux")]
    assert_eq!(
        listening_at(agent.port),
        ["00000000"],
        "not by both protocols"
    );
}

#[tokio::test]
async fn its_files_are_for_their_owner_only() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    let open = directory.path().join("agent.db");
    std::fs::write(&open, "").unwrap();
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o644)).unwrap();
    let options = ["--user-token-file", "user.token", "--files", "files"];
    let agent = Process::start(directory.path(), &router, "agent", &options);
    agent.client().await.ask("bob", "NEW T INV", "INV ").await;
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{entry:?}");
        seen.push(entry.file_name().into_string().unwrap());
    }
    for name in [
        "agent.db",
        "agent.db-wal",
        "agent.token",
        "user.token",
        "files",
    ] {
        assert!(seen.iter().any(|seen| seen == name), "{name} in {seen:?}");
    }
    drop(agent);
    let token = directory.path().join("agent.token");
    std::fs::set_permissions(&token, PermissionsExt::from_mode(0o644)).unwrap();
    let said = fails(directory.path(), &["--token-file", "agent.token"]);
    assert!(said.contains("others may read"), "{said}");
}

#[tokio::test]
async fn a_token_for_less_lets_less_be_done() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    let options = [
        "--user-token-file",
        "user.token",
        "--read-token-file",
        "read.token",
    ];
    let agent = Process::start(directory.path(), &router, "agent", &options);
    let token = |name| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let (mut reader, mut user) = (agent.stranger().await, agent.stranger().await);
    reader.introduce(token("read.token").trim()).await;
    user.introduce(token("user.token").trim()).await;
    let mut admin = agent.client().await;

    user.ask("bob", "NEW T INV subscribe", "INV ").await;
    let refused = "ERR CMD PROHIBITED the token is not for this command";
    for command in [
        "NEW T INV",
        "SEND F 5\r\nhello",
        "OFF",
        "DEL",
        "USER NEW",
        "SRV smp",
    ] {
        reader.ask("bob", command, refused).await;
    }
    for command in ["USER NEW", "USER DEL 1", "SRV smp", "NET online=F", "QINF"] {
        user.ask("bob", command, refused).await;
    }
    reader.ask("bob", "CHK", "STAT ").await;
    reader.ask("bob", "SUB", "OK").await;
    user.expect("bob", "END").await;
    admin.ask("", "SRV smp", "SRV ").await;
    // Nobody becomes somebody else.
    let again = format!("AUTH :{}", token("agent.token").trim());
    reader.ask("", &again, "ERR CMD PROHIBITED AUTH").await;
}

#[tokio::test]
async fn what_cannot_be_taken_back_is_logged_and_nothing_secret_is() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    let agent = Process::logging(directory.path(), &router, "agent", &[], file.into());
    let token = std::fs::read_to_string(directory.path().join("agent.token")).unwrap();
    let (mut alice, mut bob) = (agent.client().await, agent.client().await);
    let invitation = alice.ask("to-bob", "NEW T INV subscribe", "INV ").await;
    let link = word(&invitation, 1).to_owned();
    bob.ask("to-alice", &format!("JOIN T {link} :secret-info"), "OK")
        .await;
    let confirmation = alice.expect("to-bob", "CONF ").await;
    let name = word(&confirmation, 1).to_owned();
    alice
        .ask("to-bob", &format!("LET {name} :secret-info"), "OK")
        .await;
    alice.expect("to-bob", "CON ").await;
    bob.expect("to-alice", "INFO ").await;
    bob.expect("to-alice", "CON ").await;
    alice.ask("to-bob", "SEND F :secret-body", "MID ").await;
    bob.expect("to-alice", "MSG ").await;
    bob.ask("to-alice", "OFF", "OK").await;
    alice.ask("to-bob", "DEL", "OK").await;
    let mut stranger = agent.stranger().await;
    stranger.send("1", "", "AUTH :another-secret-token").await;
    // Nobody answers it: it is over when the connection is.
    stranger.gone().await;
    drop(agent);
    let logged = std::fs::read_to_string(&log).unwrap();
    for (tag, entity) in [("OFF", "to-alice"), ("DEL", "to-bob")] {
        let (tag, entity) = (format!(" {tag} client="), format!(" entity=\"{entity}\""));
        let mut lines = logged.lines();
        let is_logged = lines.any(|line| line.contains(&tag) && line.ends_with(&entity));
        assert!(is_logged, "{tag}{entity} in {logged}");
    }
    let own_token = token.trim();
    let secrets = [
        &*link,
        own_token,
        "another-secret-token",
        "secret-info",
        "secret-body",
        &*name,
    ];
    for secret in secrets {
        assert!(!logged.contains(secret), "{secret} in {logged}");
    }
}

#[tokio::test]
async fn a_request_to_another_user_is_not_accepted() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    let options = ["--no-token", "--max-requests", "1"];
    let agent = Process::start(directory.path(), &router, "agent", &options);
    let (mut alice, mut bob) = (agent.client().await, agent.client().await);
    alice.ask("", "USER NEW", "USER 2").await;
    alice.ask("", "USER 2", "OK").await;
    let address = alice.ask("address", "NEW T CON subscribe", "INV ").await;
    let link = word(&address, 1).to_owned();
    bob.ask("alice", &format!("JOIN T {link} :hi"), "OK").await;
    let request = alice.expect("address", "REQ ").await;
    let accept = format!("ACPT {} :welcome", word(&request, 1));
    alice.ask("", "USER 1", "OK").await;
    alice
        .ask("bob", &accept, "ERR CMD PROHIBITED acceptContact")
        .await;

    // One more waits until this one is answered.
    let join = format!("JOIN T {link} :hi again");
    bob.ask("alice again", &join, "OK").await;
    alice
        .expect("address", "ERR CMD PROHIBITED too many requests")
        .await;
    alice.ask("", "USER 2", "OK").await;
    alice.send("7", "bob", &accept).await;
    let (mut accepted, mut asked) = (false, false);
    while !(accepted && asked) {
        let (corr_id, entity, said) = alice.hear().await;
        accepted |= corr_id == "7" && said == "OK";
        asked |= entity == "address" && said.ends_with("\nhi again");
    }
}

#[tokio::test]
async fn links_lead_to_no_neighbours_and_to_no_routers_that_are_not_known() {
    let (router, other) = (Router::start().await, Router::start().await);
    let directory = tempfile::tempdir().unwrap();
    let of_alice = Process::start(directory.path(), &other, "alice", &["--no-token"]);
    let mut alice = of_alice.client().await;
    let options = ["--forbid-private-addresses", "--known-routers-only"];
    for (name, option) in ["bob", "carol"].into_iter().zip(options) {
        let new = "NEW T INV subscribe link=T :card";
        let invitation = alice.ask(name, new, "INV ").await;
        let short = word(&invitation, 2);
        let join = format!("JOIN T {} :hi", word(&invitation, 1));
        let agent = Process::start(directory.path(), &router, name, &["--no-token", option]);
        let mut client = agent.client().await;
        // The own router may be where it is.
        client.ask("own", "NEW T INV subscribe", "INV ").await;
        let by_short = format!("JOIN T {short} :hi");
        for command in [&join, &format!("LGET {short}"), &by_short] {
            let refused = "ERR CMD PROHIBITED a router that may not be reached";
            client.ask("alice", command, refused).await;
        }
        let both = format!("SRV SET {},{}", router.address, other.address);
        client.ask("", &both, "OK").await;
        client.ask("alice", &join, "OK").await;
        alice.expect(name, "CONF ").await;
    }
}

/// Whoever comes last owns it, and everybody before was told.
#[tokio::test]
async fn clients_that_race_for_a_connection_leave_one_owner() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    let agent = Process::start(directory.path(), &router, "agent", &["--no-token"]);
    let mut maker = agent.client().await;
    maker.ask("bob", "NEW T INV subscribe", "INV ").await;
    let mut racing = Vec::new();
    for _ in 0..4 {
        let mut client = agent.client().await;
        racing.push(tokio::spawn(async move {
            for round in 0..50 {
                let round = round.to_string();
                client.send(&round, "bob", "SUB").await;
                // It may hear that another one owns it before.
                while client.hear().await != (round.clone(), "bob".into(), "OK".into()) {}
            }
            client
        }));
    }
    let mut owners = 0;
    let mut clients = Vec::new();
    for racing in racing {
        clients.push(racing.await.unwrap());
    }
    for client in &mut clients {
        client.send("own", "bob", "ACK 99").await;
        let said = loop {
            match client.hear().await {
                (corr_id, _, said) if corr_id == "own" => break said,
                (..) => {}
            }
        };
        owners += usize::from(said != "ERR CMD PROHIBITED another client has subscribed");
    }
    assert_eq!(owners, 1);
}

#[tokio::test]
async fn a_command_that_takes_long_holds_nobody_else_up() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    let agent = Process::start(directory.path(), &router, "agent", &["--no-token"]);
    let (mut slow, mut other) = (agent.client().await, agent.client().await);
    // Nobody answers there.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let own = router.address.port().unwrap();
    let address = router.address.to_string();
    let address = address.replace(&format!(":{own}"), &format!(":{port}"));
    slow.send("1", "", &format!("SRV TEST {address}")).await;
    slow.send("2", "", "PING").await;
    let accepted = silent.accept().await.unwrap();
    other.ask("bob", "NEW T INV subscribe", "INV ").await;
    drop((accepted, silent));
    // Those of one client wait for each other.
    let mut answered = Vec::new();
    while answered.len() < 2 {
        let (corr_id, ..) = slow.hear().await;
        answered.extend(Some(corr_id).filter(|corr_id| !corr_id.is_empty()));
    }
    assert_eq!(answered, ["1", "2"]);
}

/// What a page in a browser can make it send, with commands in the body.
#[tokio::test]
async fn a_page_that_posts_commands_is_not_heard() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    let agent = Process::start(directory.path(), &router, "agent", &["--no-token"]);
    let mut client = agent.client().await;
    client.ask("bob", "NEW T INV", "INV ").await;
    let mut page = agent.stranger().await;
    page.send(
        "POST / HTTP/1.1",
        "Host: 127.0.0.1:5224",
        "Content-Type: text/plain",
    )
    .await;
    page.send("", "1", "bob").await;
    page.gone().await;
    let mut page = agent.stranger().await;
    page.send("POST /%0A1%0Abob%0ADEL HTTP/1.1\n1", "bob", "DEL")
        .await;
    page.gone().await;
    client.ask("bob", "CHK", "STAT ").await;
}
