//! What changed in which version of XFTP.

use crate::wire::{Version, VersionRange};

/// The versions that are supported.
pub const SUPPORTED: VersionRange = match VersionRange::new(1, 3) {
    Some(versions) => versions,
    None => VersionRange::only(Version(1)),
};

/// The only version of a session whose client negotiates no protocol in TLS: it has no handshake.
pub const WITHOUT_HANDSHAKE: Version = Version(1);
/// Since this version, commands may be authorised without a signature.
pub const AUTH_COMMANDS: Version = Version(2);
/// Since this version, clients are told that a file is blocked.
pub const BLOCKED_FILES: Version = Version(3);
