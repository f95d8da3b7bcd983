//! What a session lends to rustls while one call lasts.
//!
//! rustls takes its randomness, its time and its cipher suites from statics, which know nothing of the session that they work for. A
//! session therefore lays what belongs to it into a slot of its thread for the length of every call, and takes it back afterwards. The
//! calls are synchronous and never nest, so there is no other session that could find it.

use std::cell::RefCell;
use std::time::Duration;

use rustls::crypto::{GetRandomFailed, SecureRandom};
use rustls::pki_types;
use rustls::time_provider::TimeProvider;

use super::finished::Finished;
use super::verify::CertificateRefused;
use crate::rng::Rng;
use crate::time::UnixTime;

thread_local! {
    static SLOT: RefCell<Option<Ambient>> = const { RefCell::new(None) };
}

/// What belongs to one session.
#[derive(Debug, Default)]
pub(super) struct Ambient {
    now: UnixTime,
    handshake: Option<Box<Handshake>>,
}

/// What belongs to its handshake.
#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) rng: Rng,
    pub(super) finished: Finished,
    /// Why a certificate was refused, in our words.
    pub(super) refused: Option<CertificateRefused>,
    /// Whether a client was asked for its certificates and showed them.
    pub(super) shown: bool,
}

impl Ambient {
    pub(super) fn new(rng: Rng) -> Self {
        Self {
            now: UnixTime::EPOCH,
            handshake: Some(Box::new(Handshake {
                rng,
                finished: Finished::default(),
                refused: None,
                shown: false,
            })),
        }
    }

    /// What the handshake has left behind; from now on rustls finds neither randomness nor a tap.
    pub(super) fn finish_handshake(&mut self) -> Option<Box<Handshake>> {
        self.handshake.take()
    }

    /// Why a certificate was refused in this handshake.
    pub(super) fn refused(&mut self) -> Option<CertificateRefused> {
        self.handshake.as_mut()?.refused.take()
    }

    /// Lends everything for the length of one call, also if it panics.
    pub(super) fn during<R>(&mut self, now: UnixTime, call: impl FnOnce() -> R) -> R {
        self.now = now;
        let _lent = Lent::new(self);
        call()
    }
}

struct Lent<'a>(&'a mut Ambient);

impl<'a> Lent<'a> {
    fn new(ambient: &'a mut Ambient) -> Self {
        SLOT.with_borrow_mut(|slot| {
            assert!(slot.is_none(), "calls into rustls never nest");
            *slot = Some(std::mem::take(ambient));
        });
        Self(ambient)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(ambient) = SLOT.take() {
            *self.0 = ambient;
        }
    }
}

/// Records a Finished message. After the handshake nothing is recorded any more.
pub(super) fn record(record: impl FnOnce(&mut Finished)) {
    handshake(|handshake| record(&mut handshake.finished)).unwrap_or_default();
}

/// Works on what belongs to the handshake of the session that has lent it; `None` outside of one.
pub(super) fn handshake<R>(work: impl FnOnce(&mut Handshake) -> R) -> Option<R> {
    SLOT.with_borrow_mut(|slot| slot.as_mut()?.handshake.as_deref_mut().map(work))
}

/// The randomness of the session that has lent it.
#[derive(Debug)]
pub(super) struct SessionRandom;

impl SecureRandom for SessionRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        handshake(|handshake| handshake.rng.fill(bytes)).ok_or(GetRandomFailed)
    }
}

/// The time at which the session that has lent it was called.
#[derive(Debug)]
pub(super) struct SessionTime;

impl TimeProvider for SessionTime {
    fn current_time(&self) -> Option<pki_types::UnixTime> {
        let now = SLOT.with_borrow(|slot| slot.as_ref().map(|ambient| ambient.now))?;
        let seconds = u64::try_from(now.seconds()).ok()?;
        Some(pki_types::UnixTime::since_unix_epoch(Duration::from_secs(
            seconds,
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn ambient() -> Ambient {
        Ambient::new(Rng::from_seed([1; 32]))
    }

    #[test]
    fn rustls_finds_what_the_session_lent_and_nothing_outside_a_call() {
        let mut ambient = ambient();
        let mut bytes = [0; 8];
        assert!(SessionRandom.fill(&mut bytes).is_err());
        assert!(SessionTime.current_time().is_none());

        let now = UnixTime::from_seconds(7);
        ambient.during(now, || {
            assert!(SessionRandom.fill(&mut bytes).is_ok());
            assert_eq!(SessionTime.current_time().unwrap().as_secs(), 7);
        });
        assert_eq!(bytes, Rng::from_seed([1; 32]).bytes());

        assert!(ambient.finish_handshake().is_some());
        ambient.during(now, || assert!(SessionRandom.fill(&mut bytes).is_err()));
    }

    #[test]
    fn a_panic_does_not_leave_a_session_behind() {
        let mut ambient = ambient();
        let mut other = Ambient::new(Rng::from_seed([2; 32]));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            ambient.during(UnixTime::EPOCH, || {
                record(|finished| finished.mac(&[1; 32]));
                panic!("in a call");
            });
        }));
        assert!(panicked.is_err());
        assert!(ambient.finish_handshake().is_some(), "it came back");
        other.during(UnixTime::EPOCH, || {});
    }

    #[test]
    #[should_panic(expected = "never nest")]
    fn calls_never_nest() {
        let mut outer = ambient();
        let mut inner = ambient();
        outer.during(UnixTime::EPOCH, || {
            inner.during(UnixTime::EPOCH, || {});
        });
    }
}
