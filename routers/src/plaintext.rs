//! Those who speak HTTP without TLS on a port where TLS is spoken.

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// Whether the first byte is one of a request, as no byte that begins TLS is.
pub(crate) const fn is_spoken(first: u8) -> bool {
    first.is_ascii_uppercase()
}

/// Says what is spoken here.
pub(crate) async fn refuse(stream: &mut TcpStream) {
    const BODY: &str = "This port speaks TLS: ask with https.\n";
    let response = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    // Whoever has gone does not want to know. What is unread would take the answer back.
    let mut request = [0; 4096];
    stream.try_read(&mut request).ok();
    stream.write_all(response.as_bytes()).await.ok();
    stream.shutdown().await.ok();
}
