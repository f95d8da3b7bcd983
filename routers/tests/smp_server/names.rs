//! Names, by a resolver that is written here.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use simplex_sans_io::smp::client::{Request, RequestError, RequestId, Response};
use simplex_sans_io::smp::{Command, ErrorType, NameError};
use simplex_sans_io::time::UnixTime;
use simplex_sans_io::wire::EntityId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::process::{Client, Process, command, configure, said};

const RECORD: &str = r#"{"name":"foo.testing","nickname":"Foo","website":"","location":"","simplexContact":["https://simplex.example/a#x"],"simplexChannel":[],"eth":null,"btc":null,"xmr":null,"dot":null,"owner":"","resolver":"","more":1}"#;

/// How many requests are answered at the same time, at most.
#[derive(Default)]
struct Busy {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// Answers by what is asked for, and says how busy it was.
async fn resolver() -> (u16, Arc<Busy>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let busy = Arc::<Busy>::default();
    let seen = Arc::clone(&busy);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&seen)));
        }
    });
    (port, busy)
}

async fn answer(mut stream: TcpStream, busy: Arc<Busy>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let request = String::from_utf8(request).unwrap();
    let path = request.split(' ').nth(1).unwrap_or_default();
    // How it is may be asked at the same time.
    let names = usize::from(path != "/health");
    let now = busy.now.fetch_add(names, Ordering::SeqCst) + names;
    busy.most.fetch_max(now, Ordering::SeqCst);
    let (status, body) = match path {
        "/health" => ("200 OK", "ok"),
        "/resolve/foo.testing" => ("200 OK", RECORD),
        "/resolve/bad.testing" => ("200 OK", "no record"),
        "/resolve/down.testing" => ("502 Bad Gateway", ""),
        _ => ("404 Not Found", ""),
    };
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    busy.now.fetch_sub(names, Ordering::SeqCst);
    let length = body.len();
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(response.as_bytes()).await.ok();
}

fn resolves_by(directory: &Path, port: u16, concurrency: u32) {
    let off = "enable = off\n# resolver_endpoint = http://127.0.0.1:8000";
    let on = format!(
        "enable = on\nresolver_endpoint = http://127.0.0.1:{port}\nresolver_concurrency = {concurrency}"
    );
    configure(directory, off, &on);
}

fn question(name: &str) -> Request {
    let domain = name.parse().unwrap();
    Request::new(RequestId(0), EntityId::EMPTY, Command::Rslv { domain })
}

fn failed(error: NameError) -> RequestError {
    RequestError::Protocol(ErrorType::Name { error })
}

#[tokio::test]
async fn names_are_resolved_directly_and_through_a_proxy() {
    let directory = tempfile::tempdir().unwrap();
    let (port, _) = resolver().await;
    let router = Process::start(directory.path());
    let client = Client::connect(&router.address).await;
    let without = client.smp.request(question("foo.testing")).await;
    assert_eq!(without, Err(failed(NameError::NoResolver)));
    drop((client, router));

    resolves_by(directory.path(), port, 1000);
    let router = Process::start(directory.path());
    let client = Client::connect(&router.address).await;
    let now = UnixTime::from(SystemTime::now());
    let relay = client.smp.relay(&router.address, None, now).await.unwrap();
    let resolver_says = |error: &str| NameError::Resolver {
        error: error.into(),
    };
    for (name, error) in [
        ("nobody.testing", NameError::NotFound),
        ("down.testing", resolver_says("HTTP 502")),
        ("bad.testing", resolver_says("invalid response")),
    ] {
        let direct = client.smp.request(question(name)).await;
        assert_eq!(direct, Err(failed(error.clone())));
        let forwarded = relay.request(question(name)).await;
        assert_eq!(forwarded, Err(failed(error)));
    }
    // The case of a name makes no difference.
    for name in ["foo.testing", "Foo.Testing"] {
        for answer in [
            client.smp.request(question(name)).await,
            relay.request(question(name)).await,
        ] {
            let Ok(Response::Name(record)) = answer else {
                panic!("{answer:?}")
            };
            assert_eq!(
                (record.name.as_str(), record.nickname.as_str()),
                ("foo.testing", "Foo")
            );
        }
    }
}

#[tokio::test]
async fn only_so_many_names_of_a_connection_are_asked_for_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let (port, busy) = resolver().await;
    drop(Process::start(directory.path()));
    resolves_by(directory.path(), port, 1);
    let router = Process::start(directory.path());
    let client = Client::connect(&router.address).await;
    let answers = client.smp.batch(vec![question("foo.testing"); 6]).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(busy.most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_resolver_that_is_not_well_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    drop(Process::start(directory.path()));
    let (port, _) = resolver().await;
    resolves_by(directory.path(), port, 1);
    configure(directory.path(), "[METRICS]\n", "[METRICS]\nport = 0\n");
    let router = Process::start(directory.path());
    let ready = ready(&router).await;
    assert!(
        ready.ends_with("ready\nnames: the resolver is well\n"),
        "{ready}"
    );
    drop(router);

    let (port, off) = (format!("127.0.0.1:{port}"), "127.0.0.1:1");
    configure(directory.path(), &port, off);
    let router = Process::start(directory.path());
    let ready = self::ready(&router).await;
    // Queues do not need it.
    assert!(ready.starts_with("HTTP/1.1 200 OK"), "{ready}");
    assert!(ready.ends_with("not well: transport failure\n"), "{ready}");
    drop(router);
    let doctor = said(&command(directory.path(), &["doctor"]));
    assert!(doctor.contains("PROBLEM  names: "), "{doctor}");
    assert!(
        doctor.contains("`resolver_endpoint` in [NAMES]"),
        "{doctor}"
    );
}

async fn ready(router: &Process) -> String {
    let mut stream = TcpStream::connect(router.metrics.unwrap()).await.unwrap();
    let request = b"GET /health/ready HTTP/1.1\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}
