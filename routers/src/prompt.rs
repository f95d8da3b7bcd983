//! Streams whose bytes are acknowledged at once.
//!
//! The reference's clients leave Nagle's algorithm on: the last, small piece of a request waits until the pieces before it are acknowledged.
//! A kernel that has nothing to send puts that off for 40 ms, once for every request.

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use rustix::net::sockopt::set_tcp_quickack;
use simplex_runtime_tokio::Stream;
use simplex_sans_io::drive::Io;

/// A stream that acknowledges what it has read.
#[derive(Debug)]
pub(crate) struct Prompt(pub(crate) Stream);

impl Io for Prompt {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = self.0.poll_read(cx, buffer);
        if matches!(read, Poll::Ready(Ok(1..))) {
            // The kernel falls back to its own mind, so that it is told again and again. One that does not know it is only slower.
            set_tcp_quickack(&self.0.0, true).ok();
        }
        read
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, slices)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt::tcp_quickack;
    use std::future::poll_fn;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn what_was_read_is_acknowledged_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (far, _) = listener.accept().await.unwrap();
        set_tcp_quickack(&far, false).unwrap();
        assert!(!tcp_quickack(&far).unwrap());
        let mut far = Prompt(Stream(far));
        near.write_all(b"hello").await.unwrap();
        let mut buffer = [0; 8];
        let read = poll_fn(|cx| far.poll_read(cx, &mut buffer)).await;
        assert_eq!(read.unwrap(), 5);
        assert!(tcp_quickack(&far.0.0).unwrap());
    }
}
