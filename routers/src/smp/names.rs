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

    /// Resolves what the core asks, until it asks no more. The core bounds how much that is.
    pub(crate) async fn run(
        self,
        core: CoreHandle,
        mut asked: mpsc::UnboundedReceiver<(Ticket, SimplexDomain)>,
    ) {
        let resolver = Arc::new(self);
        let mut questions = JoinSet::new();
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

    async fn resolve(&self, name: &SimplexDomain) -> Result<NameRecord, Failure> {
        let unreachable = || Failure::Resolver("transport failure".to_owned());
        let host = self.uri.host().ok_or_else(unreachable)?;
        let plain = self.uri.scheme_str() == Some("http");
        let port = self.uri.port_u16().unwrap_or(if plain { 80 } else { 443 });
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((address, port)).await;
        let stream = stream.map_err(|_| unreachable())?;
        if plain {
            return self.ask(stream, name).await;
        }
        let name_of_host = ServerName::try_from(address.to_owned()).map_err(|_| unreachable())?;
        let config = browser().ok_or_else(unreachable)?;
        let stream = TlsConnector::from(config)
            .connect(name_of_host, stream)
            .await;
        self.ask(stream.map_err(|_| unreachable())?, name).await
    }

    async fn ask(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        name: &SimplexDomain,
    ) -> Result<NameRecord, Failure> {
        let failed = |_| Failure::Resolver("transport failure".to_owned());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(failed)?;
        let exchange = async move {
            let response = sender
                .send_request(self.request(name)?)
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
            serde_json::from_slice(&body.to_bytes())
                .map_err(|_| Failure::Resolver("invalid response".to_owned()))
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

    fn request(&self, name: &SimplexDomain) -> Result<Request<Empty<Bytes>>, Failure> {
        let failed = |_| Failure::Resolver("resolver error".to_owned());
        let path = self.uri.path().trim_end_matches('/');
        let mut request = Request::get(format!("{path}/resolve/{name}"));
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

    /// What a resolver that says this is asked, and what becomes of it.
    async fn resolve(response: &'static str) -> (String, Result<NameRecord, Failure>) {
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
        let endpoint = format!("http://127.0.0.1:{port}/api/");
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
