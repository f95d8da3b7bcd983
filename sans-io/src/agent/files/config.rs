//! How files are sent and received.

use std::time::Duration;

use crate::agent::config::Protection;
use crate::smp::pool::RetryInterval;

/// How files are sent and received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How many chunks travel at the same time.
    pub at_once: usize,
    /// How many of them to or from one router.
    pub per_router: usize,
    /// How many files are encrypted or decrypted at the same time.
    pub crypting: usize,
    /// For how long a router is left alone that has failed for now.
    pub retry: RetryInterval,
    /// After how long sessions are ended that nobody needs.
    pub idle: Duration,
    /// How often the upload of a chunk may fail at a router before it goes to another one.
    pub upload_attempts: u32,
    /// After how long a file that cannot be received is given up.
    pub receive_expiry: Duration,
    /// After how long a file that cannot be sent is given up.
    pub send_expiry: Duration,
    /// After how long it is given up to delete a chunk.
    pub delete_expiry: Duration,
    /// The largest file, encrypted.
    pub max_size: u64,
    /// How many files may be under way.
    pub max_files: usize,
    /// How many recipients a file may have.
    pub max_recipients: u16,
    /// How many recipients a router is told of at a time.
    pub recipients_at_once: usize,
    /// How many records are loaded at a time.
    pub page: usize,
    /// What hides the address of this machine from routers.
    pub protection: Protection,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            at_once: 8,
            per_router: 4,
            crypting: 2,
            retry: RetryInterval {
                initial: Duration::from_secs(2),
                increase_after: Duration::from_secs(10),
                max: Duration::from_secs(120),
            },
            idle: Duration::from_secs(60),
            upload_attempts: 3,
            receive_expiry: Duration::from_secs(2 * 86400),
            send_expiry: Duration::from_secs(86400),
            delete_expiry: Duration::from_secs(2 * 86400),
            max_size: 5 << 30,
            max_files: 1000,
            max_recipients: 1000,
            recipients_at_once: 200,
            page: 1000,
            protection: Protection::None,
        }
    }
}
