//! Files of every size, there and back, between processes.
#![expect(
    clippy::unwrap_used,
    reason = "a result that is missing fails the test"
)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use simplex_agent::xftp::{
    Plan, Runtime, Server as Address, Sessions, TransferError, abandon, delete, receive, send,
};
use simplex_runtime_tokio::Tokio;
use simplex_sans_io::xftp::router::NewFiles;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

use self::file_router::{router, routers};
use self::sample::file;

mod file_router;
mod sample;

/// Sessions that run beside the test.
fn sessions() -> Sessions<Tokio> {
    let rng = simplex_runtime_tokio::rng().unwrap();
    let (sessions, running) = Sessions::new(Tokio::new(), 1, rng);
    tokio::spawn(running);
    sessions
}

/// Sends files of every size, and receives and deletes them, on any runtime.
async fn there_and_back<N: Runtime>(
    sessions: &Sessions<N>,
    directory: &Path,
    servers: &[Address],
    sizes: &[usize],
) {
    for size in sizes {
        let path = file(directory, *size);
        let plan = Plan {
            servers,
            recipients: 2,
            replicas: 1,
            journal: &directory.join("journal"),
        };
        let sent = send(sessions, &path, &plan, |_, _| {}).await.unwrap();
        assert!(!plan.journal.exists());
        for description in &sent.recipients {
            let to = directory.join("received");
            let received = receive(sessions, description, &to, |_, _| {})
                .await
                .unwrap();
            assert_eq!(fs::read(&received.path).unwrap(), fs::read(&path).unwrap());
            assert_eq!(received.header.name(), format!("{size}.bin"));
        }
        delete(sessions, &sent.sender).await.unwrap();
        let to = directory.join(format!("nothing{size}"));
        let gone = receive(sessions, &sent.recipients[0], &to, |_, _| {}).await;
        assert!(matches!(gone, Err(TransferError::Request { .. })));
        fs::remove_dir_all(directory.join("received")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_size_come_back_over_two_routers() {
    let directory = tempfile::tempdir().unwrap();
    let [(one, first), (two, second)] = routers(directory.path()).await;
    let sizes = [
        0,
        1,
        65_535,
        65_536,
        65_537,
        1 << 20,
        (1 << 20) + 1,
        9_000_000,
    ];
    there_and_back(&sessions(), directory.path(), &[first, second], &sizes).await;
    for server in [one, two] {
        assert_eq!(server.numbers().await.unwrap().0.used, 0);
        server.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_travel_on_smol() {
    let directory = tempfile::tempdir().unwrap();
    let [(server, address)] = routers(directory.path()).await;
    let path = directory.path().to_owned();
    let done = tokio::task::spawn_blocking(move || {
        smol::block_on(async {
            let rng = simplex_runtime_smol::rng().unwrap();
            let network = simplex_runtime_smol::Smol::new();
            let (sessions, running) = Sessions::new(network, 1, rng);
            smol::spawn(running).detach();
            there_and_back(&sessions, &path, &[address], &[1_000_000]).await;
        });
    });
    done.await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_travel_on_async_std() {
    let directory = tempfile::tempdir().unwrap();
    let [(server, address)] = routers(directory.path()).await;
    let path = directory.path().to_owned();
    let done = tokio::task::spawn_blocking(move || {
        async_std::task::block_on(async {
            let rng = simplex_runtime_async_std::rng().unwrap();
            let network = simplex_runtime_async_std::AsyncStd::new();
            let (sessions, running) = Sessions::new(network, 1, rng);
            async_std::task::spawn(running);
            there_and_back(&sessions, &path, &[address], &[1_000_000]).await;
        });
    });
    done.await.unwrap();
    server.stop().await.unwrap();
}

/// Drives a transfer until so many bytes have travelled, and drops it there, as a crash does.
async fn cut_off<T>(after: u64, transfer: impl AsyncFnOnce(&mut dyn FnMut(u64, u64)) -> T) {
    let cut = tokio::sync::Notify::new();
    let mut progress = |done: u64, _: u64| {
        if done >= after {
            cut.notify_one();
        }
    };
    tokio::select! {
        biased;
        () = cut.notified() => {}
        _ = transfer(&mut progress) => panic!("it was to be cut off"),
    }
}

/// To one recipient, at one router for each part.
fn for_one<'a>(servers: &'a [Address], journal: &'a Path) -> Plan<'a> {
    Plan {
        servers,
        recipients: 1,
        replicas: 1,
        journal,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_was_cut_off_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let [(server, address)] = routers(directory.path()).await;
    let servers = [address];
    let path = file(directory.path(), 30_000_000);
    let journal = directory.path().join("journal");
    let plan = for_one(&servers, &journal);
    cut_off(4 << 20, async |progress| {
        send(&sessions(), &path, &plan, progress).await.map(drop)
    })
    .await;
    let journal = fs::read_to_string(plan.journal).unwrap();
    let uploaded = journal.lines().filter(|line| line.starts_with("uploaded"));
    assert!(uploaded.count() >= 1, "{journal}");

    let sessions = sessions();
    let sent = send(&sessions, &path, &plan, |_, _| {}).await.unwrap();
    let received = receive(&sessions, &sent.recipients[0], directory.path(), |_, _| {});
    let received = received.await.unwrap();
    assert_eq!(fs::read(received.path).unwrap(), fs::read(&path).unwrap());
    // What was there was used, and nothing is left over.
    for line in journal.lines().filter(|line| line.starts_with("created")) {
        let id = line.split(' ').nth(3).unwrap();
        assert!(sent.sender.to_string().contains(id), "{line}");
    }
    delete(&sessions, &sent.sender).await.unwrap();
    assert_eq!(server.numbers().await.unwrap().0.used, 0);
    server.stop().await.unwrap();
}

/// A way to a router whose first connection is cut off when so many bytes have gone to it.
async fn cut_once(router: &Address, after: u64) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = router.address.port().unwrap();
    tokio::spawn(async move {
        let mut limit = after;
        while let Ok((client, _)) = listener.accept().await {
            let router = TcpStream::connect(("127.0.0.1", behind)).await.unwrap();
            let limit = std::mem::replace(&mut limit, u64::MAX);
            tokio::spawn(async move {
                let (from_client, mut to_client) = client.into_split();
                let (mut from_router, mut to_router) = router.into_split();
                let mut from_client = from_client.take(limit);
                tokio::select! {
                    _ = tokio::io::copy(&mut from_client, &mut to_router) => {}
                    _ = tokio::io::copy(&mut from_router, &mut to_client) => {}
                }
            });
        }
    });
    let address = router.address.to_string();
    let (identity, _) = address.rsplit_once(':').unwrap();
    Address {
        address: format!("{identity}:{port}").parse().unwrap(),
        password: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_whose_creation_is_lost_is_created_again() {
    let directory = tempfile::tempdir().unwrap();
    let [(server, address)] = routers(directory.path()).await;
    // Behind the handshake, and before all of the first request has come.
    let servers = [cut_once(&address, 25_000).await];
    let path = file(directory.path(), 100_000);
    let journal = directory.path().join("journal");
    let plan = for_one(&servers, &journal);
    let once = send(&sessions(), &path, &plan, |_, _| {}).await;
    assert!(matches!(once, Err(TransferError::Request { .. })));
    let servers = [cut_once(&address, 25_000).await];
    let plan = for_one(&servers, &journal);
    let rng = simplex_runtime_tokio::rng().unwrap();
    let (sessions, running) = Sessions::new(Tokio::new(), 2, rng);
    tokio::spawn(running);
    let sent = send(&sessions, &path, &plan, |_, _| {}).await.unwrap();
    let received = receive(&sessions, &sent.recipients[0], directory.path(), |_, _| {});
    let received = received.await.unwrap();
    assert_eq!(fs::read(received.path).unwrap(), fs::read(&path).unwrap());
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_given_up_by_its_journal() {
    let directory = tempfile::tempdir().unwrap();
    let [(server, address)] = routers(directory.path()).await;
    let servers = [address];
    let path = file(directory.path(), 30_000_000);
    let journal = directory.path().join("journal");
    let plan = for_one(&servers, &journal);
    cut_off(4 << 20, async |progress| {
        send(&sessions(), &path, &plan, progress).await.map(drop)
    })
    .await;
    fs::write(&path, "changed").unwrap();
    let sessions = sessions();
    let other = send(&sessions, &path, &plan, |_, _| {}).await;
    assert!(matches!(other, Err(TransferError::OtherUpload(_))));
    abandon(&sessions, plan.journal).await.unwrap();
    assert!(!plan.journal.exists());
    assert_eq!(server.numbers().await.unwrap().0.used, 0);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_was_cut_off_goes_on_and_begins_again_if_it_was_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let [(server, address)] = routers(directory.path()).await;
    let servers = [address];
    let path = file(directory.path(), 30_000_000);
    let journal = directory.path().join("journal");
    let plan = for_one(&servers, &journal);
    let running = sessions();
    let sent = send(&running, &path, &plan, |_, _| {}).await.unwrap();
    let to = directory.path().join("received");
    for damage in [false, true] {
        cut_off(8 << 20, async |progress| {
            let received = receive(&sessions(), &sent.recipients[0], &to, progress).await;
            received.map(drop)
        })
        .await;
        if damage {
            let names = fs::read_dir(&to)
                .unwrap()
                .map(|entry| entry.unwrap().path());
            let part = names
                .filter(|path| path.to_string_lossy().ends_with(".part"))
                .last()
                .unwrap();
            let mut bytes = fs::read(&part).unwrap();
            bytes[100] ^= 1;
            fs::write(&part, bytes).unwrap();
        }
        let mut shown = Vec::new();
        let received = receive(&running, &sent.recipients[0], &to, |done, _| {
            shown.push(done)
        });
        let received = received.await.unwrap();
        assert!(shown[0] >= 8 << 20, "it goes on where it was cut off");
        assert_eq!(shown.contains(&0), damage, "it begins again: {shown:?}");
        assert_eq!(fs::read(&received.path).unwrap(), fs::read(&path).unwrap());
        fs::remove_file(received.path).unwrap();
        assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
    }
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_on_several_routers_survives_the_loss_of_one() {
    let directory = tempfile::tempdir().unwrap();
    let [(one, first), (two, second)] = routers(directory.path()).await;
    let unreachable = Address {
        address: "xftp://YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=@127.0.0.1:1"
            .parse()
            .unwrap(),
        password: None,
    };
    let servers = [first, unreachable, second];
    let path = file(directory.path(), 1_000_000);
    let plan = Plan {
        servers: &servers,
        recipients: 1,
        replicas: 2,
        journal: &directory.path().join("journal"),
    };
    let sent = send(&sessions(), &path, &plan, |_, _| {}).await.unwrap();
    let replicas = sent.sender.chunks.iter().map(|chunk| chunk.replicas.len());
    assert!(replicas.into_iter().all(|count| count == 2));
    one.stop().await.unwrap();
    let sessions = sessions();
    let received = receive(&sessions, &sent.recipients[0], directory.path(), |_, _| {});
    let received = received.await.unwrap();
    assert_eq!(fs::read(received.path).unwrap(), fs::read(&path).unwrap());
    two.stop().await.unwrap();
}

fn xftp(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_xftp"))
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}{errors}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_sends_shows_receives_and_deletes() {
    let directory = tempfile::tempdir().unwrap();
    let (server, address) = router(directory.path()).await;
    let root = directory.path().to_owned();
    let at = move |name: &str| root.join(name).to_str().unwrap().to_owned();
    let address = address.address.to_string();
    let done = tokio::task::spawn_blocking(move || {
        xftp(&["rand", &at("photo.jpg"), "3mb"]);
        let said = xftp(&[
            "send",
            &at("photo.jpg"),
            &at("out"),
            "-n",
            "3",
            "-s",
            &address,
        ]);
        let steps = [
            "\rEncrypting file...       \r",
            "\rUploading file...        \r",
            "\rUploaded 100%            \r",
            "\rFile uploaded!           \nSender file description: ",
            "Pass file descriptions to the recipient(s):\n",
            "Web link:\n",
        ];
        let places = steps.map(|step| said.find(step));
        assert!(places.is_sorted() && places[0].is_some(), "{said:?}");
        let link = said.lines().find(|line| line.starts_with("https://"));
        let link = link.unwrap_or_else(|| panic!("{said}")).to_owned();
        let description = |name: &str| at(&format!("out/photo.jpg.xftp/{name}"));
        let info = xftp(&["info", &description("rcv1.xftp")]);
        assert!(info.contains(&address), "{info}");
        xftp(&["recv", &description("rcv2.xftp"), &at("got/"), "-y"]);
        assert!(!Path::new(&description("rcv2.xftp")).exists());
        xftp(&["recv", &link, &at("by-link.jpg"), "-y"]);
        let original = fs::read(at("photo.jpg")).unwrap();
        assert_eq!(fs::read(at("got/photo.jpg")).unwrap(), original);
        assert_eq!(fs::read(at("by-link.jpg")).unwrap(), original);
        xftp(&["del", &description("snd.xftp.private"), "-y"]);
        let again = Command::new(env!("CARGO_BIN_EXE_xftp"))
            .args([
                "recv",
                &description("rcv3.xftp"),
                &at("got/"),
                "-y",
                "-r",
                "1",
            ])
            .output()
            .unwrap();
        assert!(!again.status.success());
        let errors = String::from_utf8(again.stderr).unwrap();
        assert!(!errors.contains("FGET"), "{errors}");
        let arguments = ["recv", &description("rcv3.xftp"), &at("got/"), "-r1", "-v"];
        let again = Command::new(env!("CARGO_BIN_EXE_xftp"))
            .args(arguments)
            .output()
            .unwrap();
        let errors = String::from_utf8(again.stderr).unwrap();
        assert!(
            errors.contains("not done: FGET: the router answers AUTH"),
            "{errors}"
        );
    });
    done.await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_leaves_nothing_of_what_it_could_not_send() {
    let directory = tempfile::tempdir().unwrap();
    let (server, address) = router(directory.path()).await;
    let root = directory.path().to_owned();
    let address = address.address.to_string();
    let done = tokio::task::spawn_blocking(move || {
        fs::create_dir_all(root.join("sent/folder")).unwrap();
        let send = |what: &str, address: &str| {
            Command::new(env!("CARGO_BIN_EXE_xftp"))
                .current_dir(root.join("sent"))
                .args(["send", what, "-r", "1", "-s", address])
                .output()
                .unwrap()
        };
        let left = || fs::read_dir(root.join("sent")).unwrap().count();
        let folder = send("folder", &address);
        let said = String::from_utf8(folder.stderr).unwrap();
        assert_eq!((folder.status.code(), left()), (Some(1), 1), "{said}");
        // The longest name that a file may have; a folder beside it has a longer one.
        let name = format!("{}.txt", "n".repeat(251));
        fs::write(root.join("sent").join(&name), "content").unwrap();
        let nobody = "xftp://YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=@127.0.0.1:1";
        let unreachable = send(&name, nobody);
        let said = String::from_utf8(unreachable.stderr).unwrap();
        assert_eq!((unreachable.status.code(), left()), (Some(3), 2), "{said}");
        assert!(!said.contains("goes on"), "{said}");
        let sent = send(&name, &address);
        assert!(sent.status.success(), "{sent:?}");
        let again = send(&name, &address);
        assert!(again.status.success(), "{again:?}");
        assert_eq!(left(), 4);
    });
    done.await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_through_a_pipe_leaves_through_a_pipe() {
    let directory = tempfile::tempdir().unwrap();
    let (server, address) = router(directory.path()).await;
    let root = directory.path().to_owned();
    let address = address.address.to_string();
    let done = tokio::task::spawn_blocking(move || {
        let piped = |arguments: &[&str], input: &[u8]| {
            let mut child = Command::new(env!("CARGO_BIN_EXE_xftp"))
                .current_dir(&root)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(input).unwrap();
            child.wait_with_output().unwrap()
        };
        let tmp = root.join("tmp");
        fs::create_dir(&tmp).unwrap();
        let arguments = ["send", "-", "out", "-s", &address, "--name", "../notes.txt"];
        let sent = piped(
            &[&arguments[..], &["--tmp", "tmp", "--qr"]].concat(),
            b"said",
        );
        let text = String::from_utf8(sent.stdout).unwrap();
        assert!(sent.status.success(), "{text}");
        assert!(text.contains("\u{2588}"), "a QR code: {text}");
        let description = fs::read(root.join("out/notes.txt.xftp/rcv1.xftp")).unwrap();
        let received = piped(&["recv", "-", "-", "--tmp", "tmp"], &description);
        assert_eq!(received.stdout, b"said");
        assert!(received.status.success());
        assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0);
        // It was acknowledged, so that it is not there any more.
        let gone = piped(&["recv", "-", "-", "-r", "1"], &description);
        assert_eq!((gone.status.code(), gone.stdout.len()), (Some(4), 0));
        let into = root.join("received");
        let gone = piped(&["recv", "-", "received/", "-r", "1"], &description);
        assert_eq!(gone.status.code(), Some(4));
        assert_eq!(fs::read_dir(&into).unwrap().count(), 0);
        let nonsense = piped(&["recv", "-", "-"], b"nonsense");
        assert_eq!(nonsense.status.code(), Some(1));
    });
    done.await.unwrap();
    server.stop().await.unwrap();
    let root = directory.path().to_str().unwrap().to_owned();
    let address = "xftp://YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=@127.0.0.1:1";
    let unreachable = tokio::task::spawn_blocking(move || {
        let path = format!("{root}/file-server.ini.copy");
        fs::write(&path, "content").unwrap();
        Command::new(env!("CARGO_BIN_EXE_xftp"))
            .args(["send", &path, &root, "-r", "1", "-s", address])
            .output()
            .unwrap()
    });
    let unreachable = unreachable.await.unwrap();
    assert_eq!(unreachable.status.code(), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_takes_no_files_from_anybody_is_no_router_without_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("router");
    fs::create_dir(&place).unwrap();
    let password = NewFiles::WithPassword("secret".parse().unwrap());
    let (server, router) = file_router::router_with(&place, password).await;
    let path = file(directory.path(), 1000);
    let address = router.address.to_string();
    let allowed = address.replace('@', ":secret@");
    let send = |address: String| {
        let (path, out) = (path.clone(), directory.path().join("out"));
        tokio::task::spawn_blocking(move || {
            Command::new(env!("CARGO_BIN_EXE_xftp"))
                .args(["send", "-r", "1", "-s", &address])
                .args([&path, &out])
                .output()
                .unwrap()
        })
    };
    let refused = send(address).await.unwrap();
    assert_eq!(refused.status.code(), Some(3));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("it wants a password"), "{said}");
    // What was refused is in nobody's way.
    fs::write(&path, "changed").unwrap();
    let sent = send(allowed).await.unwrap();
    assert!(sent.status.success(), "{sent:?}");
    server.stop().await.unwrap();
}
