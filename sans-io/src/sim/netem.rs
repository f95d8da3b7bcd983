//! One direction of a TCP connection, emulated.
//!
//! ```text
//!        Bytes: cut into pieces, each with its time of arrival
//!           ┌──────┐
//!           ▼      │
//!        ┌────────────┐  Eof, Reset, the link is cut   ┌───────┐
//!        │    Open    │───────────────────────────────▶│ Ended │
//!        └────────────┘                                └───────┘
//!   pieces arrive in both, until the last has; a reset loses those that travel
//! ```
//!
//! ```
//! use std::time::Duration;
//!
//! use simplex_sans_io::machine::{Input, Machine};
//! use simplex_sans_io::rng::Rng;
//! use simplex_sans_io::sim::{Delivery, Link, Netem};
//! use simplex_sans_io::time::Now;
//!
//! let second = Duration::from_secs(1);
//! let link = Link { latency: second..=second, ..Link::IDEAL };
//! let mut netem = Netem::new(link, Rng::from_seed([7; 32]));
//! netem.handle(Now::START, Input::Bytes(b"hello"))?;
//! assert_eq!(netem.poll(), None);
//!
//! let later = Now::START + second;
//! assert_eq!(netem.deadline(), Some(later.instant));
//! netem.handle(later, Input::Timeout)?;
//! assert_eq!(netem.poll(), Some(Delivery::Bytes("hello".into())));
//! # Ok::<(), std::convert::Infallible>(())
//! ```

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;

use crate::machine::{Input, Machine};
use crate::rng::Rng;
use crate::time::{Instant, Now};

/// How a network treats the bytes of one direction. They arrive in order, as TCP delivers them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// In pieces of which size bytes arrive.
    pub pieces: RangeInclusive<u32>,
    /// How long a piece travels; a later one never overtakes it.
    pub latency: RangeInclusive<Duration>,
    /// Pieces that take much longer.
    pub stall: Option<Stall>,
    /// Where the direction ends.
    pub cut: Option<Cut>,
}

/// One piece in so many takes so much longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    /// The mean number of pieces from one stall to the next.
    pub one_in: u32,
    /// How much longer it takes.
    pub lasts: Duration,
}

/// Where a direction ends of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// In an orderly way after so many bytes.
    HalfClose(u64),
    /// By a reset after so many bytes.
    Reset(u64),
}

impl Link {
    /// Everything arrives at once and as it was sent.
    pub const IDEAL: Self = Self {
        pieces: u32::MAX..=u32::MAX,
        latency: Duration::ZERO..=Duration::ZERO,
        stall: None,
        cut: None,
    };
    /// Bytes arrive one by one.
    pub const TRICKLE: Self = Self {
        pieces: 1..=1,
        latency: Duration::ZERO..=Duration::from_millis(1),
        stall: None,
        cut: None,
    };
    /// A line across the world: pieces up to the size of a block, and now and then one gets lost and is sent again.
    pub const WAN: Self = Self {
        pieces: 1..=16384,
        latency: Duration::from_millis(20)..=Duration::from_millis(80),
        stall: Some(Stall {
            one_in: 50,
            lasts: Duration::from_millis(400),
        }),
        cut: None,
    };

    /// Any link: for fuzzers.
    #[must_use]
    pub fn any(rng: &mut Rng) -> Self {
        let largest = 1u32 << rng.below(16);
        let slowest = Duration::from_millis(rng.below(500).into());
        let bytes = rng.below(1 << 17).into();
        Self {
            pieces: 1..=largest,
            latency: slowest.checked_div(4).unwrap_or_default()..=slowest,
            stall: (rng.below(4) == 0).then(|| Stall {
                one_in: 10,
                lasts: Duration::from_secs(rng.below(100).into()),
            }),
            cut: match rng.below(8) {
                0 => Some(Cut::HalfClose(bytes)),
                1 => Some(Cut::Reset(bytes)),
                _ => None,
            },
        }
    }
}

/// What a test does to a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing that is sent from now on arrives before this time has passed.
    Stall(Duration),
    /// The direction is reset, and what is on its way is lost.
    Reset,
}

/// What arrives at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// Bytes, in order.
    Bytes(Bytes),
    /// The sender will send nothing more.
    Eof,
    /// The connection is broken.
    Reset,
}

/// One direction of a connection: a machine that takes what is sent, and delivers it later, in pieces, as its [`Link`] and seed say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Netem {
    link: Link,
    rng: Rng,
    travelling: VecDeque<(Instant, Delivery)>,
    arrived: VecDeque<Delivery>,
    /// When the last piece arrives.
    last: Instant,
    sent: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Ended,
}

impl Netem {
    /// A direction over this link.
    #[must_use]
    pub const fn new(link: Link, rng: Rng) -> Self {
        Self {
            link,
            rng,
            travelling: VecDeque::new(),
            arrived: VecDeque::new(),
            last: Instant::START,
            sent: 0,
            state: State::Open,
        }
    }

    /// How many bytes are on their way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let travelling = self.travelling.iter().map(|(_, delivery)| delivery);
        travelling.chain(&self.arrived).map(Delivery::len).sum()
    }

    fn send(&mut self, now: Now, bytes: &[u8]) {
        let (mut bytes, end) = self.cut(bytes);
        while !bytes.is_empty() {
            let size = usize::try_from(self.within(&self.link.pieces.clone())).unwrap_or(1);
            let (piece, rest) = bytes.split_at_checked(size.max(1)).unwrap_or((bytes, &[]));
            bytes = rest;
            self.travel(now, Delivery::Bytes(Bytes::copy_from_slice(piece)));
        }
        if let Some(end) = end {
            self.end(now, end);
        }
    }

    fn cut<'a>(&mut self, bytes: &'a [u8]) -> (&'a [u8], Option<Delivery>) {
        let (at, end) = match self.link.cut {
            None => return (bytes, None),
            Some(Cut::HalfClose(at)) => (at, Delivery::Eof),
            Some(Cut::Reset(at)) => (at, Delivery::Reset),
        };
        let left = usize::try_from(at.saturating_sub(self.sent)).unwrap_or(usize::MAX);
        self.sent = self
            .sent
            .saturating_add(bytes.len().try_into().unwrap_or(u64::MAX));
        match bytes.split_at_checked(left) {
            Some((before, _)) => (before, Some(end)),
            None => (bytes, None),
        }
    }

    fn end(&mut self, now: Now, end: Delivery) {
        if self.state == State::Open {
            self.travel(now, end);
            self.state = State::Ended;
        }
    }

    fn travel(&mut self, now: Now, delivery: Delivery) {
        let (fastest, slowest) = (*self.link.latency.start(), *self.link.latency.end());
        let spread = u32::try_from(slowest.saturating_sub(fastest).as_micros()).unwrap_or(u32::MAX);
        let spread = Duration::from_micros(self.within(&(0..=spread)).into());
        let mut latency = fastest.saturating_add(spread);
        if let Some(stall) = self.link.stall
            && self.rng.below(stall.one_in) == 0
        {
            latency = latency.saturating_add(stall.lasts);
        }
        self.last = self.last.max(now.instant + latency);
        self.travelling.push_back((self.last, delivery));
    }

    fn within(&mut self, range: &RangeInclusive<u32>) -> u32 {
        let bound = range.end().saturating_sub(*range.start()).saturating_add(1);
        range.start().saturating_add(self.rng.below(bound))
    }

    fn fault(&mut self, now: Now, fault: Fault) {
        match fault {
            Fault::Stall(lasts) => self.last = self.last.max(now.instant + lasts),
            Fault::Reset => {
                self.travelling.clear();
                self.state = State::Ended;
                self.arrived.push_back(Delivery::Reset);
            }
        }
    }

    fn arrive(&mut self, now: Now) {
        while let Some((_, delivery)) = self.travelling.pop_front_if(|(at, _)| *at <= now.instant) {
            self.arrived.push_back(delivery);
        }
    }
}

impl Machine for Netem {
    type Input<'a> = Input<'a, Fault>;
    type Action = Delivery;
    type Error = Infallible;

    fn handle(&mut self, now: Now, input: Input<'_, Fault>) -> Result<(), Infallible> {
        match input {
            Input::Bytes(bytes) if self.state == State::Open => self.send(now, bytes),
            Input::Eof => self.end(now, Delivery::Eof),
            Input::Command(fault) => self.fault(now, fault),
            Input::Bytes(_) | Input::Timeout => {}
        }
        self.arrive(now);
        Ok(())
    }

    fn poll(&mut self) -> Option<Delivery> {
        self.arrived.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        self.travelling.front().map(|(at, _)| *at)
    }
}

impl Delivery {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Eof | Self::Reset => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;

    /// Sends everything at once, and says what arrives when.
    fn pass(link: Link, seed: u8, bytes: &[u8]) -> Vec<(Instant, Delivery)> {
        let mut netem = Netem::new(link, Rng::from_seed([seed; 32]));
        let mut now = Now::START;
        let mut deliveries = Vec::new();
        netem.handle(now, Input::Bytes(bytes)).unwrap();
        netem.handle(now, Input::Eof).unwrap();
        loop {
            deliveries.extend(std::iter::from_fn(|| netem.poll()).map(|d| (now.instant, d)));
            let Some(deadline) = netem.deadline() else {
                assert_eq!(netem.in_flight(), 0);
                return deliveries;
            };
            assert!(deadline > now.instant);
            now = now + (deadline - now.instant);
            netem.handle(now, Input::Timeout).unwrap();
        }
    }

    fn bytes(deliveries: &[(Instant, Delivery)]) -> Vec<u8> {
        let pieces = deliveries
            .iter()
            .filter_map(|(_, delivery)| match delivery {
                Delivery::Bytes(bytes) => Some(bytes.to_vec()),
                Delivery::Eof | Delivery::Reset => None,
            });
        pieces.flatten().collect()
    }

    #[test]
    fn an_ideal_link_changes_nothing() {
        let expected = [Delivery::Bytes(b"hello".as_slice().into()), Delivery::Eof];
        let expected = expected.map(|delivery| (Instant::START, delivery));
        assert_eq!(pass(Link::IDEAL, 1, b"hello"), expected);
    }

    #[test]
    fn a_cut_link_ends_at_that_byte() {
        for (cut, end) in [
            (Cut::HalfClose(3), Delivery::Eof),
            (Cut::Reset(3), Delivery::Reset),
        ] {
            let link = Link {
                cut: Some(cut),
                ..Link::TRICKLE
            };
            let deliveries = pass(link, 1, b"hello");
            assert_eq!(bytes(&deliveries), b"hel");
            assert_eq!(deliveries.len(), 4);
            assert_eq!(deliveries[3].1, end);
        }
    }

    #[test]
    fn a_reset_loses_what_is_on_its_way() {
        let mut netem = Netem::new(Link::WAN, Rng::from_seed([1; 32]));
        netem.handle(Now::START, Input::Bytes(b"hello")).unwrap();
        netem
            .handle(Now::START, Input::Command(Fault::Reset))
            .unwrap();
        netem.handle(Now::START, Input::Bytes(b"hello")).unwrap();
        assert_eq!(netem.poll(), Some(Delivery::Reset));
        assert_eq!((netem.poll(), netem.deadline()), (None, None));
    }

    proptest! {
        #[test]
        fn bytes_arrive_in_order_and_runs_repeat(seed: u8, sent in prop::collection::vec(any::<u8>(), 0..5000)) {
            let mut link = Link::any(&mut Rng::from_seed([seed; 32]));
            prop_assert_eq!(pass(link.clone(), seed, &sent), pass(link.clone(), seed, &sent));
            link.cut = None;
            let deliveries = pass(link, seed, &sent);
            prop_assert_eq!(bytes(&deliveries), sent);
            prop_assert!(deliveries.is_sorted_by_key(|(at, _)| *at));
            prop_assert_eq!(&deliveries.last().unwrap().1, &Delivery::Eof);
        }
    }
}
