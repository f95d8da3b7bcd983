//! Simulation: machines against each other over an emulated network, in virtual time, from a seed.
//!
//! Everything here is deterministic: the same seed gives the same run, and [`Trace`] says so with a digest. [`Pair`] lets two machines
//! talk over two [`Netem`]s, with an optional [`Middle`] that edits what passes; [`Checked`] and [`Twin`] assert the contract of any
//! machine while it runs. With the feature `drive`, [`Tasks`] run futures in virtual time, and [`duplex()`] joins two of them by a stream,
//! so that event loops and their owners are tested in every order of events as well. [`Frames`] is a small machine to try all of this on.
//!
//! ```
//! use simplex_sans_io::sim::{Checked, Frames, FramesCommand, FramesEvent, Link, Pair, Settled};
//!
//! let mut pair = Pair::new(7, &Link::WAN, Checked::new(Frames::new()), Checked::new(Frames::echo()));
//! pair.command_left(FramesCommand::Send(b"hello".as_slice().into()));
//! assert_eq!(pair.run(1000), Settled::Idle);
//! assert_eq!(pair.left().events(), [FramesEvent::Frame(b"hello".as_slice().into())]);
//! ```

pub mod agents;
pub mod chaos;
mod checked;
#[cfg(feature = "xftp")]
pub mod files;
mod frames;
pub mod fuzz;
pub mod identity;
mod middle;
mod netem;
mod pair;
pub mod ratchet;
pub mod routers;
pub mod script;
pub mod smp;
pub mod store;
mod trace;
pub mod world;
#[cfg(feature = "xftp")]
pub mod xftp;

#[cfg(feature = "drive")]
mod duplex;
#[cfg(feature = "drive")]
mod router;
#[cfg(feature = "drive")]
mod tasks;

pub use self::checked::{Checked, Twin};
pub use self::frames::{FrameError, Frames, FramesCommand, FramesEvent};
pub use self::middle::Middle;
pub use self::netem::{Cut, Delivery, Fault, Link, Netem, Stall};
pub use self::pair::{Ended, Pair, Peer, Settled, Side};
pub use self::trace::{Direction, Trace};

#[cfg(feature = "drive")]
pub use self::duplex::{Duplex, duplex};
#[cfg(all(feature = "drive", feature = "tls"))]
pub use self::router::SmpProxy;
#[cfg(feature = "drive")]
pub use self::router::{Seat, SmpRouter};
#[cfg(feature = "drive")]
pub use self::tasks::{SimClock, Task, Tasks, abandon};

use crate::rng::Rng;

/// The randomness of a simulation.
fn rng(seed: u64) -> Rng {
    let mut bytes = [0; 32];
    for (byte, seed) in bytes.iter_mut().zip(seed.to_be_bytes()) {
        *byte = seed;
    }
    Rng::from_seed(bytes)
}
