//! XFTP in simulations: clients and a router joined at requests and responses, with a store and a disk in memory.

mod joined;
mod operation;
mod run;
mod store;
mod world;

use std::sync::Arc;

pub use self::joined::{Break, Joined, Side};
pub(super) use self::operation::Operation;
pub(super) use self::run::Run;
pub use self::run::{Seen, run};
pub use self::store::Store;
pub use self::world::{Disk, Pace, Room, Storing, World};

use super::identity::Credentials;
use crate::rng::Rng;
use crate::wire::Id;
use crate::xftp::handshake::Identity;
use crate::xftp::{client, server};

impl Credentials {
    /// The XFTP router with these credentials.
    #[must_use]
    pub fn xftp_router(&self) -> Identity {
        Identity::new(Arc::clone(&self.chain), Arc::clone(&self.leaf_key))
    }
}

/// What TLS would have told both sides, without TLS: of the client, then of the router.
#[must_use]
pub fn transports(rng: &mut Rng) -> (client::Transport, server::Transport) {
    let session_id = Id::try_from(rng.bytes::<32>().as_slice()).unwrap_or_default();
    let of_client = client::Transport {
        session_id: session_id.clone(),
        handshake: client::Handshaking::Needed,
        peer: None,
    };
    let of_router = server::Transport {
        session_id,
        dispatch: server::Dispatch::Native,
    };
    (of_client, of_router)
}
