//! A stream between two tasks, over an emulated network.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};

use super::tasks::lock;
use super::{Delivery, Fault, Link, Netem, SimClock};
use crate::drive::{Clock, Io};
use crate::machine::{Input, Machine};
use crate::rng::Rng;

/// The two ends of a stream over a link that is the same in both directions and holds at most `window` bytes in each.
///
/// It is as unfriendly as TCP may be: writes are taken in part, or are pending for no reason; and an end that is dropped while bytes for
/// it are unread resets the stream, so that the other end loses what it has not read yet.
#[must_use]
pub fn duplex(clock: &SimClock, mut rng: Rng, link: &Link, window: usize) -> (Duplex, Duplex) {
    let mut direction = || {
        Arc::new(Mutex::new(Direction {
            netem: Netem::new(link.clone(), rng.fork()),
            arrived: BytesMut::new(),
            state: State::Open,
            window: window.max(1),
            rng: rng.fork(),
            reader: None,
            writer: None,
        }))
    };
    let (one, other) = (direction(), direction());
    let end = |incoming: &Arc<_>, outgoing: &Arc<_>| Duplex {
        incoming: Arc::clone(incoming),
        outgoing: Arc::clone(outgoing),
        clock: clock.clone(),
    };
    (end(&one, &other), end(&other, &one))
}

/// One end of a stream made by [`duplex`].
#[derive(Debug)]
pub struct Duplex {
    incoming: Arc<Mutex<Direction>>,
    outgoing: Arc<Mutex<Direction>>,
    clock: SimClock,
}

#[derive(Debug)]
struct Direction {
    netem: Netem,
    arrived: BytesMut,
    state: State,
    window: usize,
    rng: Rng,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The writer has ended it.
    Ended,
    /// The network or the reader's end has broken it.
    Broken,
}

impl Direction {
    fn arrive(&mut self, clock: &SimClock) {
        let Ok(()) = self.netem.handle(clock.now(), Input::Timeout);
        while let Some(delivery) = self.netem.poll() {
            match delivery {
                Delivery::Bytes(bytes) => self.arrived.extend_from_slice(&bytes),
                Delivery::Eof => self.state = State::Ended,
                Delivery::Reset => {
                    self.arrived.clear();
                    self.state = State::Broken;
                }
            }
        }
    }

    fn room(&self) -> usize {
        let taken = self.netem.in_flight().saturating_add(self.arrived.len());
        self.window.saturating_sub(taken)
    }

    /// Up to `most`, and seldom all.
    fn part_of(&mut self, most: usize) -> usize {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let part = self.rng.below(most).saturating_add(1);
        usize::try_from(part).unwrap_or(1)
    }

    fn wake(&mut self) {
        let wakers = [self.reader.take(), self.writer.take()];
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Io for Duplex {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut incoming = lock(&self.incoming);
        loop {
            incoming.arrive(&self.clock);
            if !incoming.arrived.is_empty() {
                let count = incoming.arrived.len().min(buffer.len());
                let (front, _) = buffer.split_at_mut(count);
                incoming.arrived.copy_to_slice(front);
                incoming.wake();
                return Poll::Ready(Ok(count));
            }
            match incoming.state {
                State::Open => {}
                State::Ended => return Poll::Ready(Ok(0)),
                State::Broken => {
                    drop(incoming);
                    let mut outgoing = lock(&self.outgoing);
                    outgoing.state = State::Broken;
                    outgoing.wake();
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
            }
            incoming.reader = Some(cx.waker().clone());
            match incoming.netem.deadline() {
                Some(at) if self.clock.poll_sleep(cx, at).is_ready() => {}
                Some(_) | None => return Poll::Pending,
            }
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut outgoing = lock(&self.outgoing);
        if outgoing.state == State::Broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if outgoing.rng.below(8) == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let fits = slices
            .iter()
            .map(|slice| slice.len())
            .sum::<usize>()
            .min(outgoing.room());
        if fits == 0 {
            outgoing.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = outgoing.part_of(fits).min(fits);
        let taken: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .take(count)
            .collect();
        let Ok(()) = outgoing
            .netem
            .handle(self.clock.now(), Input::Bytes(&taken));
        outgoing.wake();
        Poll::Ready(Ok(count))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outgoing = lock(&self.outgoing);
        let Ok(()) = outgoing.netem.handle(self.clock.now(), Input::Eof);
        outgoing.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Duplex {
    fn drop(&mut self) {
        let now = self.clock.now();
        let mut incoming = lock(&self.incoming);
        incoming.arrive(&self.clock);
        let unread = incoming
            .netem
            .in_flight()
            .saturating_add(incoming.arrived.len());
        incoming.state = State::Broken;
        incoming.wake();
        drop(incoming);
        let mut outgoing = lock(&self.outgoing);
        let end = match unread {
            0 => Input::Eof,
            _ => Input::Command(Fault::Reset),
        };
        let Ok(()) = outgoing.netem.handle(now, end);
        if unread > 0 {
            outgoing.arrived.clear();
        }
        outgoing.wake();
    }
}
