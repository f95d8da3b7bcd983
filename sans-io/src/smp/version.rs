//! What changed in which version of SMP.

use crate::wire::{Version, VersionRange};

/// The versions that are supported.
pub const SUPPORTED: VersionRange = range(6, 20);
/// The versions that a router offers to a client that negotiates no protocol in TLS.
pub const WITHOUT_ALPN: VersionRange = range(6, 6);
/// The versions in which commands can be forwarded by a proxy.
pub const PROXIED: VersionRange = range(8, 20);

/// Session keys in the handshake; authenticators; the session id is implied.
pub const AUTH_COMMANDS: Version = Version(7);
/// Private message routing through proxies.
pub const PROXY: Version = Version(8);
/// The subscriber is told that its queue was deleted.
pub const DELETED_EVENT: Version = Version(10);
/// Blocks are encrypted under the session keys.
pub const ENCRYPTED_BLOCKS: Version = Version(11);
/// Blocked queues are told apart.
pub const BLOCKED_ENTITY: Version = Version(12);
/// A router that acts as proxy says so in its handshake.
pub const PROXY_SERVER_HANDSHAKE: Version = Version(14);
/// Links, and the mode of queues.
pub const SHORT_LINKS: Version = Version(15);
/// Service certificates.
pub const SERVICE_CERTIFICATES: Version = Version(16);
/// Notification credentials when a queue is created.
pub const NEW_NOTIFICATION_KEYS: Version = Version(17);
/// Notices about blocked queues.
pub const CLIENT_NOTICES: Version = Version(18);
/// Services subscribe to their messages.
pub const SERVICE_SUBSCRIPTIONS: Version = Version(19);
/// Names are resolved.
pub const NAMES: Version = Version(20);

/// The longest body of a message that may be sent.
#[must_use]
pub fn max_message_length(version: Version) -> usize {
    if version >= ENCRYPTED_BLOCKS {
        16048
    } else if version >= PROXY {
        16064
    } else {
        16088
    }
}

const fn range(min: u16, max: u16) -> VersionRange {
    match VersionRange::new(min, max) {
        Some(range) => range,
        None => VersionRange::only(Version(max)),
    }
}
