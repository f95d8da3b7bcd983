//! A client that is not ours: the `h2` crate over tokio's TLS, and frames written by hand.

use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request, Response};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use simplex_sans_io::crypto::AuthPrivateKey;
use simplex_sans_io::wire::{CorrId, EntityId, KeyHash};
use simplex_sans_io::xftp::handshake::{self, ClientHandshake, RouterHello};
use simplex_sans_io::xftp::transmission::{Session, Transmission, Unauthorized};
use simplex_sans_io::xftp::{BLOCK, Command};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What a connection begins with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dial<'a> {
    pub(crate) port: u16,
    /// The name that is asked for.
    pub(crate) name: Option<&'a str>,
    /// The protocols that are offered.
    pub(crate) protocols: &'a [&'a str],
}

impl Dial<'_> {
    /// As the reference's client does.
    pub(crate) const fn native(port: u16) -> Self {
        Dial {
            port,
            name: None,
            protocols: &["xftp/1"],
        }
    }

    /// A stream above TLS.
    pub(crate) async fn tls(self) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_no_client_auth();
        let protocols = self.protocols.iter();
        config.alpn_protocols = protocols.map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let name = match self.name {
            Some(name) => ServerName::try_from(name.to_owned()).unwrap(),
            None => ServerName::from(std::net::Ipv4Addr::LOCALHOST),
        };
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(name, stream).await
    }

    /// HTTP/2 above TLS.
    pub(crate) async fn http2(self) -> Peer {
        let stream = self.tls().await.unwrap();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 20);
        let (send, connection) = builder.handshake(stream).await.unwrap();
        let connection = tokio::spawn(async move { connection.await.map_err(|e| e.to_string()) });
        Peer { send, connection }
    }
}

/// A connection of HTTP/2.
pub(crate) struct Peer {
    pub(crate) send: SendRequest<Bytes>,
    pub(crate) connection: tokio::task::JoinHandle<Result<(), String>>,
}

/// A request, before it is sent.
pub(crate) fn request(method: Method, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri("https://localhost/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

impl Peer {
    /// Sends a whole request, and waits for the whole response.
    pub(crate) async fn ask(
        &mut self,
        request: Request<()>,
        body: Bytes,
    ) -> Result<Response<Bytes>, h2::Error> {
        std::future::poll_fn(|cx| self.send.poll_ready(cx)).await?;
        let (response, mut stream) = self.send.send_request(request, body.is_empty())?;
        let sent = async {
            let mut rest = body;
            while !rest.is_empty() {
                stream.reserve_capacity(rest.len());
                match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
                    Some(Ok(room)) => {
                        let piece = rest.split_to(room.min(rest.len()));
                        stream.send_data(piece, rest.is_empty())?;
                    }
                    Some(Err(error)) => return Err(error),
                    None => return Ok(()),
                }
            }
            Ok(())
        };
        let heard = async {
            let (head, mut body) = response.await?.into_parts();
            let mut whole = Vec::new();
            while let Some(piece) = body.data().await {
                let piece = piece?;
                body.flow_control().release_capacity(piece.len())?;
                whole.extend_from_slice(&piece);
            }
            Ok::<_, h2::Error>(Response::from_parts(head, whole.into()))
        };
        let (_, heard) = tokio::join!(sent, heard);
        heard
    }

    pub(crate) async fn post(&mut self, headers: &[(&str, &str)], body: Bytes) -> Response<Bytes> {
        self.ask(request(Method::POST, headers), body)
            .await
            .unwrap()
    }

    /// The handshake of a native client.
    pub(crate) async fn greet(&mut self) -> Session {
        let hello = self.post(&[], Bytes::new()).await;
        assert_eq!(hello.body().len(), BLOCK);
        let hello: RouterHello = handshake::of_block(hello.body()).unwrap();
        self.agree(&hello, &[]).await
    }

    /// The second half of a handshake.
    pub(crate) async fn agree(&mut self, hello: &RouterHello, headers: &[(&str, &str)]) -> Session {
        let version = hello.versions.max();
        let identity = sha256(hello.chain.get(1).unwrap());
        let key_hash = KeyHash::from(identity);
        let block = handshake::block(&ClientHandshake { version, key_hash }).unwrap();
        let accepted = self.post(headers, block).await;
        assert_eq!(accepted.body().len(), 0);
        Session {
            version,
            id: hello.session_id.clone(),
        }
    }
}

pub(crate) use simplex_sans_io::crypto::hash::sha256;

/// A command in a block.
pub(crate) fn block(
    session: &Session,
    entity: &EntityId,
    command: &Command,
    key: Option<&AuthPrivateKey>,
) -> Bytes {
    let corr_id = CorrId::try_from(b"12345".as_slice()).unwrap();
    let transmission = Unauthorized::new(session, &corr_id, entity, command);
    let authorization = key.and_then(|key| transmission.authorization(key, &corr_id, None));
    transmission.block(authorization.as_ref()).unwrap()
}

/// The response in a block, as words.
pub(crate) fn words(session: &Session, block: &[u8]) -> String {
    let block = Bytes::copy_from_slice(&block[..BLOCK]);
    let transmission = Transmission::of_block(session, &block).unwrap();
    String::from_utf8_lossy(&transmission.command).into_owned()
}

/// What is in a block without a transmission.
pub(crate) fn bare(block: &[u8]) -> String {
    assert_eq!(block.len(), BLOCK);
    let text = simplex_sans_io::wire::padding::unpad(block).unwrap();
    String::from_utf8_lossy(text).into_owned()
}

/// Believes everybody.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
