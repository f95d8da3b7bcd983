//! Users: whoever has connections of his own, with routers of his own.
//!
//! ```text
//!            SetUser              DeleteUser             no connection is left
//!   absent ──────────▶ ┌──────┐ ──────────────▶ ┌─────────┐ ──────────────────────▶ absent, UserDeleted
//!                      │ here │                 │ leaving │
//!                      └──────┘                 └─────────┘
//! ```
//! Where a user stands is stored, so that it is still known after a restart; his routers are the application's to say.

use super::{Action, Agent, Loading, Work};
use crate::agent::command::Reply;
use crate::agent::config::UserRouter;
use crate::agent::error::AgentError;
use crate::agent::event::EventContent;
use crate::agent::id::{CommandId, ConnectionId};
use crate::agent::store::record::{self, ConnectionRecord, UserRecord};
use crate::agent::store::{Change, Key, Kind, OpId, Record};
use crate::smp::pool::UserId;
use crate::time::Now;
use crate::wire::{self, Version};

impl Agent {
    /// Who was there before.
    pub(super) fn users_loaded(&mut self, records: &[Record]) {
        for Record { key, value } in records {
            let user: Result<UserId, _> = wire::decode(Version::default(), &key.owner);
            let (Ok(user), Ok(UserRecord { leaving })) = (user, record::from_bytes(value)) else {
                continue;
            };
            match leaving {
                true => self.leave(user),
                false => {
                    self.shared.here.insert(user);
                }
            }
        }
        if !self.load_next(Kind::User, records, Loading::Users) {
            self.load_page(Kind::Work, None, Loading::Work);
        }
    }

    pub(super) fn set_user(
        &mut self,
        now: Now,
        id: CommandId,
        user: UserId,
        routers: Vec<UserRouter>,
    ) {
        if self.shared.leaving.contains_key(&user) {
            return self.reply(id, Err(AgentError::NoUser));
        }
        let is_new = self.shared.here.insert(user);
        self.shared.users.insert(user, routers);
        let changes = match is_new {
            true => vec![put(user, false)],
            false => Vec::new(),
        };
        let done = Action::Reply(id, Ok(Reply::Done));
        self.commit(changes, vec![done], OpId(0));
        self.resume_all(now);
    }

    pub(super) fn delete_user(&mut self, id: CommandId, user: UserId) {
        let is_here = self.shared.here.remove(&user);
        if !is_here && !self.shared.leaving.contains_key(&user) {
            return self.reply(id, Err(AgentError::NoUser));
        }
        let done = Action::Reply(id, Ok(Reply::Done));
        self.commit(vec![put(user, true)], vec![done], OpId(0));
        if is_here {
            self.leave(user);
        }
    }

    /// Nothing new is made for who leaves, but his queues are deleted at their routers.
    fn leave(&mut self, user: UserId) {
        self.shared.users.insert(user, Vec::new());
        self.shared.leaving.entry(user).or_default();
        self.load_page(Kind::Connection, None, Loading::DeletedUser(user));
    }

    pub(super) fn delete_page(&mut self, now: Now, user: UserId, records: &[Record]) {
        for record in records {
            let of_user = record::from_bytes::<ConnectionRecord>(&record.value)
                .is_ok_and(|connection| connection.user == user);
            if let (true, Ok(id)) = (of_user, ConnectionId::try_from(&*record.key.owner)) {
                let leaving = self.shared.leaving.entry(user).or_default();
                leaving.insert(id.clone());
                self.with(now, &id, Work::Delete);
            }
        }
        if !self.load_next(Kind::Connection, records, Loading::DeletedUser(user)) {
            self.leave_if_last(user);
        }
    }

    /// A connection is gone: it may have been the last of a user who leaves.
    pub(super) fn left(&mut self, user: UserId, connection: &ConnectionId) {
        let leaving = self.shared.leaving.get_mut(&user);
        if leaving.is_some_and(|leaving| leaving.remove(connection)) {
            self.leave_if_last(user);
        }
    }

    fn leave_if_last(&mut self, user: UserId) {
        let is_looking = |what: &Loading| *what == Loading::DeletedUser(user);
        let is_left = |left: &std::collections::BTreeSet<ConnectionId>| left.is_empty();
        if self.loading.values().any(is_looking)
            || !self.shared.leaving.get(&user).is_some_and(is_left)
        {
            return;
        }
        self.shared.leaving.remove(&user);
        self.shared.users.remove(&user);
        self.forget_statistics(|of| of == user);
        let mut changes = vec![Change::Delete(Key::user(user))];
        let content = EventContent::UserDeleted { user };
        let event = self.shared.event(None, content, &mut changes);
        self.commit(changes, vec![Action::Event(event)], OpId(0));
    }
}

fn put(user: UserId, leaving: bool) -> Change {
    Change::Put {
        key: Key::user(user),
        value: record::to_bytes(&UserRecord { leaving }),
        expires: None,
    }
}
