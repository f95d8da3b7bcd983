//! Messages that wait for records, or until somebody has turned a ratchet.

use std::collections::VecDeque;

use super::{Action, Agent, Entry, Loading, Work};
use crate::agent::connection::{Delivery, Found, Need};
use crate::agent::id::ConnectionId;
use crate::agent::store::Load;
use crate::agent::turn::{TurnId, Turned};
use crate::time::Now;

impl Agent {
    /// Asks for what a step needs. Once the message is decrypted the connection must not change before the step is made.
    pub(super) fn need(&mut self, id: &ConnectionId, delivery: Delivery, found: Found, need: Need) {
        let turns = found.is_turned() || matches!(need, Need::Turn(_));
        if turns && let Some(entry) = self.connections.remove(id) {
            let entry = match entry {
                Entry::Ready(connection) => Entry::Turning(connection, VecDeque::new()),
                entry @ (Entry::Loading(_) | Entry::Turning(..)) => entry,
            };
            self.connections.insert(id.clone(), entry);
        }
        match need {
            Need::Records(keys) => {
                let found = Box::new(found.asking(&keys));
                let what = Loading::Message(id.clone(), delivery, found);
                self.load(Load::Get(keys), what);
            }
            Need::Turn(turn) => {
                let turn_id = self.next_turn;
                self.next_turn = TurnId(turn_id.0.saturating_add(1));
                self.turning.insert(turn_id, (id.clone(), delivery));
                self.actions.push(Action::Turn(turn_id, turn));
            }
        }
    }

    /// What a message needs is there: it comes before all that has waited for it.
    pub(super) fn receive(
        &mut self,
        now: Now,
        id: &ConnectionId,
        delivery: Delivery,
        found: Found,
    ) {
        let turned = found.is_turned();
        let work = Work::Receive(delivery, found);
        let mut waiting = VecDeque::new();
        match self.connections.remove(id) {
            Some(Entry::Turning(connection, others)) if turned => {
                waiting = others;
                let entry = Entry::Ready(connection);
                self.connections.insert(id.clone(), entry);
            }
            Some(entry) => {
                self.connections.insert(id.clone(), entry);
            }
            None => {}
        }
        self.with(now, id, work);
        for work in waiting {
            self.with(now, id, work);
        }
    }

    pub(super) fn turned(&mut self, now: Now, id: TurnId, turned: Box<Turned>) {
        if let Some((connection, delivery)) = self.turning.remove(&id) {
            self.receive(now, &connection, delivery, Found::turned(turned));
        }
    }
}
