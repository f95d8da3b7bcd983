//! The pipe that h2 takes for a socket.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Frames that are smaller than this are sent alone.
const ALONE: usize = 4096;
/// How much room there is for several large frames.
const PIECE: usize = 4 * (16384 + 9);

/// Both directions of a stream in memory. h2 holds one clone and the machine the other; whoever fills it polls h2 afterwards, so that
/// no waker is kept.
#[derive(Clone, Default)]
pub(super) struct Pipe(Arc<Mutex<Buffers>>);

#[derive(Default)]
struct Buffers {
    received: BytesMut,
    end: End,
    sent: BytesMut,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum End {
    #[default]
    Open,
    Ended,
}

impl Pipe {
    /// Bytes from the peer.
    pub(super) fn receive(&self, bytes: &[u8]) {
        self.lock().received.extend_from_slice(bytes);
    }

    /// The peer sends no more.
    pub(super) fn end(&self) {
        self.lock().end = End::Ended;
    }

    /// All that h2 has to say to the peer.
    pub(super) fn sent(&self) -> Bytes {
        std::mem::take(&mut self.lock().sent).freeze()
    }

    fn lock(&self) -> MutexGuard<'_, Buffers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut buffers = self.lock();
        if buffers.received.is_empty() && buffers.end == End::Open {
            return Poll::Pending;
        }
        let count = buffer.remaining().min(buffers.received.len());
        buffer.put_slice(buffers.received.get(..count).unwrap_or_default());
        buffers.received.advance(count);
        if buffers.received.is_empty() {
            buffers.received = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.lock().sent.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    /// A frame's head and its payload at once.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = slices.iter().map(|slice| slice.len()).sum();
        let mut buffers = self.lock();
        // A large frame is seldom alone: those of one piece fit without being moved.
        if buffers.sent.is_empty() && count >= ALONE {
            buffers.sent.reserve(PIECE.max(count));
        }
        for slice in slices {
            buffers.sent.extend_from_slice(slice);
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
