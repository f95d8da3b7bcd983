//! The agent as a whole stops and goes on: phones let programs work in the background for seconds only.
//!
//! ```text
//!            suspend                       nothing is under way, or it takes too long
//!   ┌────────┐ ───▶ ┌────────────┐ ──────────────────────────────────────────────────▶ ┌───────────┐
//!   │ Active │      │ Suspending │                                                     │ Suspended │
//!   └────────┘ ◀─── └────────────┘ ◀────────────────────────────────────────────────── └───────────┘
//!            resume                                                              resume: Active
//! ```

use std::time::Duration;

use super::{Action, Agent};
use crate::agent::command::{NetworkState, Reply};
use crate::agent::event::EventContent;
use crate::agent::id::CommandId;
use crate::smp::pool::Call;
use crate::time::{Instant, Now};

/// Whether anything is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    Active,
    /// What is under way is finished, until then.
    Suspending(Instant),
    Suspended,
}

impl Agent {
    pub(super) fn suspend(&mut self, now: Now, command: CommandId, within: Duration) {
        self.reply(command, Ok(Reply::Done));
        if self.shared.activity == Activity::Active {
            self.save_statistics();
            self.shared.activity = Activity::Suspending(now.instant + within);
        }
    }

    pub(super) fn resume(&mut self, now: Now, command: CommandId) {
        self.reply(command, Ok(Reply::Done));
        let before = std::mem::replace(&mut self.shared.activity, Activity::Active);
        if before == Activity::Active || self.shared.network == NetworkState::Offline {
            return;
        }
        if before == Activity::Suspended {
            self.actions.push(Action::Network(Call::NetworkChanged));
        }
        self.resume_all(now);
    }

    /// Stops when nothing is under way any more, or the time is over.
    pub(super) fn settle(&mut self, now: Now) {
        let Activity::Suspending(until) = self.shared.activity else {
            return;
        };
        let under_way = !self.shared.requests.is_empty()
            || !self.loading.is_empty()
            || !self.turning.is_empty()
            || !self.barrier.is_empty();
        if under_way && now.instant < until {
            return;
        }
        self.shared.activity = Activity::Suspended;
        if self.shared.network == NetworkState::Online {
            self.actions.push(Action::Network(Call::NetworkLost));
        }
        self.tell(None, EventContent::Suspended);
    }
}
