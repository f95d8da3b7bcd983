//! Browsers, and whoever else asks in HTTP.

use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use http::{Method, StatusCode};
use simplex_sans_io::crypto::certificate::Certificate;
use simplex_sans_io::wire::EntityId;
use simplex_sans_io::xftp;
use simplex_sans_io::xftp::handshake::{self, ClientHello, RouterHello};

use crate::peer::{Dial, bare, block, request, words};
use crate::process::{Process, ini, initialized};
use crate::{connect, create, download, upload};

/// A certificate for `localhost` that curl is told to trust.
fn openssl(directory: &Path) {
    let mut command = Command::new("openssl");
    let made = command
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes"])
        .args(["-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-keyout", "web.key", "-out", "web.crt"])
        .current_dir(directory)
        .stderr(Stdio::null())
        .status();
    assert!(
        made.is_ok_and(|status| status.success()),
        "openssl is needed"
    );
}

async fn router_for_browsers(directory: &Path) -> Process {
    initialized(directory).await;
    openssl(directory);
    // Where `init` says that they are looked for.
    for name in ["web.crt", "web.key"] {
        std::fs::copy(directory.join(name), directory.join("config").join(name)).unwrap();
    }
    let text = std::fs::read_to_string(ini(directory)).unwrap();
    let text = text
        .replace("# cert = ", "cert = ")
        .replace("# key = ", "key = ")
        .replace("# https = 8443", "https = 0")
        .replace("# http = 8000", "http = 0");
    std::fs::write(ini(directory), text).unwrap();
    Process::start(directory)
}

/// What curl prints.
async fn curl(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--include", "--max-time", "20"])
        .arg("--cacert")
        .arg(directory.join("web.crt"))
        .args(arguments);
    let ran = tokio::task::spawn_blocking(move || (command.output(), command));
    let (output, command) = ran.await.unwrap();
    let output = output.expect("curl is needed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn curl_is_answered_on_every_port_in_every_version_of_http() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let router = router_for_browsers(at).await;
    let port = router.port;
    let url = format!("https://localhost:{port}/");
    for version in ["--http2", "--http1.1", "--http2-prior-knowledge"] {
        let page = curl(at, &[version, &url]).await;
        assert!(page.contains("<h1>XFTP router</h1>"), "{version}: {page}");
        let missing = curl(at, &[version, &format!("{url}nothing")]).await;
        assert!(missing.contains("404"), "{version}: {missing}");
        let head = curl(at, &[version, "--head", &url]).await;
        assert!(head.contains(" 200") && !head.contains("<h1>"), "{head}");
    }
    // Those who do not negotiate a protocol are heard, too.
    let page = curl(at, &["--no-alpn", "--http1.1", &url]).await;
    assert!(page.contains("<h1>XFTP router</h1>"), "{page}");
    let plain = curl(at, &[&format!("http://localhost:{port}/")]).await;
    assert!(plain.starts_with("HTTP/1.1 400 "), "{plain}");
    assert!(plain.contains("ask with https"), "{plain}");
    let post = curl(at, &["--http1.1", "--data", "x", &url]).await;
    assert!(post.starts_with("HTTP/1.1 405 "), "{post}");

    let preflight = curl(at, &["--http2", "--request", "OPTIONS", &url]).await;
    for header in [
        "access-control-allow-origin: *",
        "access-control-allow-methods: POST, OPTIONS",
        "access-control-allow-headers: *",
        "access-control-max-age: 86400",
    ] {
        assert!(preflight.contains(header), "{preflight}");
    }
    for version in ["--http1.1", "--http2"] {
        let compressed = curl(at, &[version, "--compressed", &url]).await;
        let compressed = compressed.to_ascii_lowercase();
        assert!(
            compressed.contains("content-encoding: gzip"),
            "{compressed}"
        );
        assert!(compressed.contains("<h1>xftp router</h1>"), "{compressed}");
    }
    // A body of megabytes that nobody wants is read, and answered with one block.
    let body = at.join("body");
    std::fs::write(&body, vec![7; 3 << 20]).unwrap();
    let body = format!("@{}", body.display());
    let answer = curl(at, &["--http2", "--data-binary", &body, &url]).await;
    assert!(
        answer.contains("access-control-expose-headers: *"),
        "{answer}"
    );
    assert!(answer.contains("SESSION"), "{answer}");

    for (label, url) in [
        ("Serving static site on port ", "http://localhost"),
        ("Serving static site on port ", "https://localhost"),
    ] {
        let ports = router
            .banner
            .iter()
            .filter_map(|line| line.strip_prefix(label));
        let is_secure = url.starts_with("https");
        let port = ports.filter(|port| port.ends_with("(TLS)...") == is_secure);
        let port = port.map(|port| port.split(' ').next().unwrap()).next();
        let page = curl(at, &[&format!("{url}:{}/", port.unwrap())]).await;
        assert!(page.contains("<h1>XFTP router</h1>"), "{page}");
    }

    // Clients of files do not notice any of it.
    let client = connect(&router.address).await;
    let file = create(&client, 1 << 16, 1).await;
    upload(&client, &file).await.unwrap();
    assert_eq!(download(&client, &file).await.unwrap(), file.chunk);
}

#[tokio::test]
async fn a_web_client_proves_who_the_router_is_and_uses_it_from_any_origin() {
    let directory = tempfile::tempdir().unwrap();
    let router = router_for_browsers(directory.path()).await;
    let web = Dial {
        port: router.port,
        name: Some("localhost"),
        protocols: &["h2", "http/1.1"],
    };
    let mut peer = web.http2().await;
    // Before the hello there is no session.
    let stale = peer.post(&[], Bytes::from(vec![0; xftp::BLOCK])).await;
    assert_eq!(bare(stale.body()), "SESSION");
    let mut sessions = Vec::new();
    for challenge in [[5; 32], [6; 32]] {
        let hello = handshake::block(&ClientHello {
            challenge: Some(challenge),
        });
        let hello = peer.post(&[("xftp-web-hello", "1")], hello.unwrap()).await;
        assert_eq!(hello.status(), StatusCode::OK);
        assert_eq!(hello.headers()["access-control-allow-origin"], "*");
        let hello: RouterHello = handshake::of_block(hello.body()).unwrap();
        let leaf = hello.chain.iter().next().unwrap();
        let leaf = Certificate::from_der(leaf.to_vec()).unwrap();
        assert!(hello.proves(leaf.key(), &challenge));
        let session = peer.agree(&hello, &[("xftp-handshake", "1")]).await;
        let ping = block(&session, &EntityId::EMPTY, &xftp::Command::Ping, None);
        let pong = peer.post(&[], ping).await;
        assert_eq!(pong.headers()["access-control-expose-headers"], "*");
        assert_eq!(words(&session, pong.body()), "PONG");
        sessions.push(session.id);
    }
    // The same connection, and so the same session.
    assert_eq!(sessions[0], sessions[1]);
    let wrong = peer
        .post(&[("xftp-web-hello", "1")], Bytes::from_static(b"?"))
        .await;
    assert_eq!(bare(wrong.body()), "HANDSHAKE");
}

#[tokio::test]
async fn what_is_negotiated_says_how_a_client_is_spoken_with() {
    let directory = tempfile::tempdir().unwrap();
    let router = router_for_browsers(directory.path()).await;
    let dial = |name, protocols| Dial {
        port: router.port,
        name,
        protocols,
    };
    // Native clients: by their own name, by an ordinary one, and first of all that they offer.
    for protocols in [&["xftp/1"][..], &["http/1.1"], &["xftp/1", "h2"]] {
        let mut peer = dial(None, protocols).http2().await;
        let session = peer.greet().await;
        let ping = block(&session, &EntityId::EMPTY, &xftp::Command::Ping, None);
        let pong = peer.post(&[], ping).await;
        assert_eq!(words(&session, pong.body()), "PONG");
        // No browser is there, so nothing is said to one.
        assert!(pong.headers().is_empty(), "{:?}", pong.headers());
    }
    // Browsers that know the router by its address only.
    let mut silent = dial(None, &["h2"]).http2().await;
    for body in [Bytes::new(), Bytes::from(vec![1; xftp::BLOCK])] {
        let answer = silent.post(&[("xftp-web-hello", "1")], body).await;
        assert_eq!((answer.status(), answer.body().len()), (StatusCode::OK, 0));
    }
    let preflight = silent
        .ask(request(Method::OPTIONS, &[]), Bytes::new())
        .await;
    assert!(preflight.unwrap().headers().is_empty());
    // Older clients: a command at once, in a session that TLS alone names.
    let mut legacy = dial(None, &[]).http2().await;
    let answer = legacy.post(&[], Bytes::from(vec![0; xftp::BLOCK])).await;
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    assert!(text.contains("ERR BLOCK"), "{}", &text[..100]);
    // Whoever offers only what is not spoken is turned away by TLS.
    assert!(dial(None, &["smp/1"]).tls().await.is_err());
}
