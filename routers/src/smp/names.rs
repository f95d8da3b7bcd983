//! Names, resolved by a service over HTTP (`reference/smp.md` 5.13).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use simplex_sans_io::smp::router::Ticket;
use simplex_sans_io::smp::{BrokerMessage, ErrorType, NameError, NameRecord, SimplexDomain};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::core::{CoreHandle, answered};
use super::settings::SettingsError;
use crate::ini::{Ini, Switch};

/// Who resolves names.
#[derive(Debug, Clone)]
pub struct Resolver {
    uri: Uri,
    authorization: Option<HeaderValue>,
    timeout: Duration,
    max_response: usize,
}

/// Why a resolver cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolverError {
    /// Its address cannot be used.
    #[error(
        "`{0}` is not `http://host` or `https://host`, with a port and a path or without, and without a user"
    )]
    Endpoint(String),
    /// What it wants to see cannot be used.
    #[error("resolver_auth is not `basic user:password` or `bearer token`")]
    Authorization,
    /// A secret would be readable on its way.
    #[error("resolver_auth needs https, unless the resolver is on this machine")]
    Readable,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Failure {
    NotFound,
    Resolver(String),
}

impl Resolver {
    /// A resolver at an address, which wants to see an authorization as in the configuration.
    pub fn new(
        endpoint: &str,
        authorization: Option<&str>,
        timeout: Duration,
        max_response: usize,
    ) -> Result<Self, ResolverError> {
        let bad = || ResolverError::Endpoint(endpoint.to_owned());
        let uri: Uri = endpoint.parse().map_err(|_| bad())?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(bad)?;
        let is_http = match uri.scheme_str() {
            Some("http") => true,
            Some("https") => false,
            Some(_) | None => return Err(bad()),
        };
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(bad());
        }
        if authorization.is_some() && is_http && !is_loopback(host) {
            return Err(ResolverError::Readable);
        }
        let authorization = authorization.map(header).transpose()?;
        Ok(Self {
            uri,
            authorization,
            timeout,
            max_response,
        })
    }

    /// The resolver in a configuration file, if there is one.
    pub(super) fn of(ini: &Ini) -> Result<Option<Self>, SettingsError> {
        if !ini.switch("NAMES", "enable", Switch::Off)?.is_on() {
            return Ok(None);
        }
        let timeout = |value: &str| {
            value
                .parse()
                .ok()
                .filter(|timeout| (100..=60_000).contains(timeout))
        };
        let size = |value: &str| {
            value
                .parse()
                .ok()
                .filter(|size| (1024..=16_000).contains(size))
        };
        let milliseconds = ini.read("NAMES", "resolver_timeout_ms", "100 to 60000", timeout)?;
        let max_response = ini.read(
            "NAMES",
            "resolver_max_response_bytes",
            "1024 to 16000",
            size,
        )?;
        let endpoint = ini.required("NAMES", "resolver_endpoint")?;
        let authorization = ini.get("NAMES", "resolver_auth");
        let timeout = Duration::from_millis(milliseconds.unwrap_or(3000));
        let resolver = Self::new(
            endpoint,
            authorization,
            timeout,
            max_response.unwrap_or(16_000),
        );
        Ok(Some(resolver?))
    }

    /// Resolves what the core asks, until it asks no more. The core bounds how much that is.
    pub(crate) async fn run(
        self,
        core: CoreHandle,
        mut asked: mpsc::UnboundedReceiver<(Ticket, SimplexDomain)>,
    ) {
        let resolver = Arc::new(self);
        let mut questions = JoinSet::new();
        let probed = Arc::clone(&resolver);
        questions.spawn(async move {
            if let Err(error) = probed.probe().await {
                tracing::warn!(%error, "the resolver of names is not well");
            }
        });
        while let Some((ticket, name)) = asked.recv().await {
            while questions.try_join_next().is_some() {}
            let (resolver, core) = (Arc::clone(&resolver), core.clone());
            questions.spawn(async move {
                answered(&core, ticket, resolver.answer(&name).await);
            });
        }
    }

    async fn answer(&self, name: &SimplexDomain) -> BrokerMessage {
        let timed_out = || Failure::Resolver("timeout".to_owned());
        let resolved = tokio::time::timeout(self.timeout, self.resolve(name)).await;
        let error = match resolved.unwrap_or_else(|_| Err(timed_out())) {
            Ok(record) => return BrokerMessage::RName(Box::new(record)),
            Err(Failure::NotFound) => NameError::NotFound,
            Err(Failure::Resolver(error)) => NameError::Resolver {
                error: error.as_str().into(),
            },
        };
        BrokerMessage::Err(ErrorType::Name { error })
    }

    /// Whether it is there and says that it is well; otherwise what it says.
    pub(crate) async fn probe(&self) -> Result<(), String> {
        let asked = tokio::time::timeout(self.timeout, self.get("/health")).await;
        match asked {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(Failure::NotFound)) => Err("it knows nothing of /health".to_owned()),
            Ok(Err(Failure::Resolver(error))) => Err(error),
            Err(_) => Err("timeout".to_owned()),
        }
    }

    /// The address at which it is asked.
    pub(crate) const fn endpoint(&self) -> &Uri {
        &self.uri
    }

    async fn resolve(&self, name: &SimplexDomain) -> Result<NameRecord, Failure> {
        let record = self.get(&format!("/resolve/{name}")).await?;
        serde_json::from_slice(&record)
            .map_err(|_| Failure::Resolver("invalid response".to_owned()))
    }

    async fn get(&self, path: &str) -> Result<Bytes, Failure> {
        let unreachable = || Failure::Resolver("transport failure".to_owned());
        let host = self.uri.host().ok_or_else(unreachable)?;
        let plain = self.uri.scheme_str() == Some("http");
        let port = self.uri.port_u16().unwrap_or(if plain { 80 } else { 443 });
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((address, port)).await;
        let stream = stream.map_err(|_| unreachable())?;
        if plain {
            return self.ask(stream, path).await;
        }
        let name_of_host = ServerName::try_from(address.to_owned()).map_err(|_| unreachable())?;
        let config = browser().ok_or_else(unreachable)?;
        let stream = TlsConnector::from(config)
            .connect(name_of_host, stream)
            .await;
        self.ask(stream.map_err(|_| unreachable())?, path).await
    }

    async fn ask(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        path: &str,
    ) -> Result<Bytes, Failure> {
        let failed = |_| Failure::Resolver("transport failure".to_owned());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(failed)?;
        let exchange = async move {
            let response = sender
                .send_request(self.request(path)?)
                .await
                .map_err(failed)?;
            match response.status() {
                StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => return Err(Failure::NotFound),
                status if status.as_u16() >= 400 => {
                    return Err(Failure::Resolver(format!("HTTP {}", status.as_u16())));
                }
                // What is no answer is no JSON either.
                _ => {}
            }
            let body = Limited::new(response.into_body(), self.max_response)
                .collect()
                .await;
            let body = body.map_err(|error| match error.is::<LengthLimitError>() {
                true => Failure::Resolver("response too large".to_owned()),
                false => Failure::Resolver("transport failure".to_owned()),
            })?;
            Ok(body.to_bytes())
        };
        tokio::pin!(connection);
        tokio::pin!(exchange);
        tokio::select! {
            biased;
            result = &mut exchange => result,
            // What was received before the end is still read.
            _ = &mut connection => exchange.await,
        }
    }

    fn request(&self, path: &str) -> Result<Request<Empty<Bytes>>, Failure> {
        let failed = |_| Failure::Resolver("resolver error".to_owned());
        let base = self.uri.path().trim_end_matches('/');
        let mut request = Request::get(format!("{base}{path}"));
        if let Some(authority) = self.uri.authority() {
            request = request.header(HOST, authority.as_str());
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.header(ACCEPT, "application/json");
        request.body(Empty::new()).map_err(failed)
    }
}

/// TLS as a browser speaks it: names are resolved by ordinary web servers.
fn browser() -> Option<Arc<rustls::ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = webpki_roots::TLS_SERVER_ROOTS
        .iter()
        .cloned()
        .collect::<rustls::RootCertStore>();
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Some(Arc::new(config))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn header(authorization: &str) -> Result<HeaderValue, ResolverError> {
    use base64::Engine as _;
    let (scheme, secret) = authorization
        .split_once(' ')
        .ok_or(ResolverError::Authorization)?;
    let text = match scheme {
        "bearer" => format!("Bearer {}", secret.trim()),
        "basic" if secret.contains(':') => {
            let secret = base64::engine::general_purpose::STANDARD.encode(secret.trim());
            format!("Basic {secret}")
        }
        _ => return Err(ResolverError::Authorization),
    };
    let mut value = HeaderValue::try_from(text).map_err(|_| ResolverError::Authorization)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    fn resolver(endpoint: &str, authorization: Option<&str>) -> Result<Resolver, ResolverError> {
        Resolver::new(endpoint, authorization, Duration::from_secs(20), 1024)
    }

    /// Who says this, and is told what was asked.
    async fn serve(response: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            stream.write_all(response.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        (format!("http://127.0.0.1:{port}/api/"), server)
    }

    /// What a resolver that says this is asked, and what becomes of it.
    async fn resolve(response: &'static str) -> (String, Result<NameRecord, Failure>) {
        let (endpoint, server) = serve(response).await;
        let resolver = resolver(&endpoint, Some("bearer token")).unwrap();
        let result = resolver.resolve(&"Foo.Testing".parse().unwrap()).await;
        (server.await.unwrap(), result)
    }

    #[tokio::test]
    async fn a_name_is_asked_for_and_its_record_read() {
        const RECORD: &str = r#"{"name":"foo.testing","nickname":"","website":"","location":"","simplexContact":["simplex:/a"],"simplexChannel":[],"eth":null,"btc":null,"xmr":null,"dot":null,"owner":"o","resolver":"r"}"#;
        let response = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{RECORD}",
            RECORD.len()
        );
        let (request, record) = resolve(response.leak()).await;
        assert!(
            request.starts_with("GET /api/resolve/foo.testing HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(
            request
                .to_lowercase()
                .contains("authorization: bearer token\r\n")
        );
        assert_eq!(record.unwrap().simplex_contact, ["simplex:/a"]);
    }

    #[tokio::test]
    async fn what_is_no_record_is_told_apart() {
        let failure = async |response| resolve(response).await.1.unwrap_err();
        let resolver = |text: &str| Failure::Resolver(text.to_owned());
        assert_eq!(
            failure("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await,
            Failure::NotFound
        );
        assert_eq!(
            failure("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n").await,
            Failure::NotFound
        );
        assert_eq!(
            failure("HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n").await,
            resolver("HTTP 502")
        );
        assert_eq!(
            failure("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await,
            resolver("invalid response")
        );
        let large = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{}",
            "x".repeat(5000)
        );
        assert_eq!(failure(large.leak()).await, resolver("response too large"));
        assert_eq!(failure("nothing").await, resolver("transport failure"));
    }

    #[tokio::test]
    async fn a_resolver_is_asked_whether_it_is_well() {
        let probe = async |response: &'static str| {
            let (endpoint, server) = serve(response).await;
            let probed = resolver(&endpoint, None).unwrap().probe().await;
            let request = server.await.unwrap();
            assert!(request.starts_with("GET /api/health HTTP/1.1\r\n"));
            probed
        };
        let well = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(probe(well).await, Ok(()));
        let ill = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(probe(ill).await, Err("HTTP 500".to_owned()));
        let nowhere = resolver("http://127.0.0.1:1", None).unwrap();
        let unreachable = Err("transport failure".to_owned());
        assert_eq!(nowhere.probe().await, unreachable);
    }

    #[test]
    fn addresses_that_cannot_be_used_are_refused() {
        assert!(resolver("https://names.example.com/path", Some("basic u:p")).is_ok());
        assert!(resolver("http://[::1]:8000", Some("bearer t")).is_ok());
        assert!(resolver("http://names.example.com", None).is_ok());
        for bad in ["names.example.com", "ftp://a", "http://", "http://u:p@a"] {
            assert!(
                matches!(resolver(bad, None), Err(ResolverError::Endpoint(_))),
                "{bad}"
            );
        }
        for readable in [
            "http://names.example.com",
            "http://127.evil.example",
            "http://0.0.0.0",
        ] {
            assert_eq!(
                resolver(readable, Some("bearer t")).err(),
                Some(ResolverError::Readable)
            );
        }
        assert_eq!(
            resolver("https://a", Some("token")).err(),
            Some(ResolverError::Authorization)
        );
    }
}
