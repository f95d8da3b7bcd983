//! What the owner of a session does not see of its commands, and counts all the same.

use crate::smp::Command;

/// How many commands of a block were not authorised, and how many were forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// SUBs that were not authorised.
    pub subscriptions: u64,
    /// NSUBs that were not authorised.
    pub notifier_subscriptions: u64,
    /// GETs that were not authorised.
    pub gets: u64,
    /// SENDs that were not authorised.
    pub messages: u64,
    /// Commands that a proxy has forwarded.
    pub forwarded: u64,
}

impl Tally {
    pub(super) fn refused(&mut self, command: &Command) {
        let counter = if matches!(command, Command::Sub) {
            &mut self.subscriptions
        } else if matches!(command, Command::NSub) {
            &mut self.notifier_subscriptions
        } else if matches!(command, Command::Get) {
            &mut self.gets
        } else if matches!(command, Command::Send { .. }) {
            &mut self.messages
        } else {
            return;
        };
        *counter = counter.saturating_add(1);
    }
}
