//! Blocks: everything after TLS is a sequence of blocks of one size.

use bytes::{Bytes, BytesMut};

use crate::wire::padding::{self, PaddingError};

/// The size of every block.
pub const BLOCK: usize = 16384;
/// The most content of a block that is not encrypted.
pub const MAX_CONTENT: usize = 16382;
/// The most content of a block that is encrypted.
pub const MAX_ENCRYPTED_CONTENT: usize = 16366;
/// The most content of a batch: as if every block were encrypted.
pub const MAX_BATCH: usize = 16366;
