//! Where an agent keeps what it knows: any store that passes the [conformance] kit will do.

pub mod conformance;
mod memory;
mod sqlite;
mod thread;

pub use simplex_sans_io::agent::store::{Change, Key, Kind, Load, Memory, Record};

pub use self::sqlite::{Sqlite, SqliteOptions};
pub(crate) use self::thread::{Answer, Question, StoreThread, Whose};

use std::path::PathBuf;

/// Where an agent keeps what it knows.
///
/// It is used by one thread, which may wait for a disk.
pub trait Store: Send {
    /// Carries out transactions, in their order. When this returns they are durable, all of them; if it fails, those before the failure
    /// may be.
    fn commit(&mut self, transactions: Vec<Vec<Change>>) -> Result<(), StoreError>;

    /// What was asked for, as all transactions before have left it.
    fn load(&mut self, load: &Load) -> Result<Vec<Record>, StoreError>;

    /// Ends the use of the store.
    fn close(self: Box<Self>) -> Result<(), StoreError>;
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be made or opened.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is the database of another program.
    #[error("{} is not the database of an agent", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer program has written the file.
    #[error("{} was written by a newer program (version {version}): use that one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i64,
    },
    /// Another process uses the file.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The key is wrong, or the file is damaged.
    #[error("{} cannot be read: the key is wrong, or the file is damaged", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
    },
    /// The database has failed.
    #[error("the database has failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// A record is not one of an agent.
    #[error("the database holds a record of unknown kind {0}")]
    Kind(i64),
    /// The thread of the store has ended.
    #[error("the store has ended")]
    Ended,
}

#[cfg(test)]
mod tests {
    use super::*;
    use simplex_sans_io::agent::command::Command;
    use simplex_sans_io::agent::config::Config;
    use simplex_sans_io::agent::id::{CommandId, EventId};
    use simplex_sans_io::agent::{Action, Agent, Input};
    use simplex_sans_io::machine::Machine as _;
    use simplex_sans_io::rng::Rng;
    use simplex_sans_io::smp::pool::UserId;
    use simplex_sans_io::time::Now;
    use std::collections::VecDeque;

    /// Gives an agent commands, and does with a store what it wants. The numbers of events are returned.
    fn run(store: &mut dyn Store, agent: &mut Agent, commands: Vec<Command>) -> Vec<EventId> {
        let numbered = (0..).zip(commands);
        let commands = numbered.map(|(number, command)| Input::Command(CommandId(number), command));
        let (mut inputs, mut events) = (VecDeque::from_iter(commands), Vec::new());
        loop {
            while let Some(action) = agent.poll() {
                match action {
                    Action::Load(id, load) => {
                        let records = store.load(&load).unwrap();
                        inputs.push_front(Input::Loaded(id, records));
                    }
                    Action::Store(op, changes) => {
                        store.commit(vec![changes]).unwrap();
                        inputs.push_front(Input::Stored(op));
                    }
                    Action::Event(event) => events.extend(event.id),
                    Action::Reply(..) | Action::Network(_) | Action::Turn(..) => {}
                }
            }
            let Some(input) = inputs.pop_front() else {
                return events;
            };
            let Ok(()) = agent.handle(Now::START, input);
        }
    }

    fn numbers_only_grow(store: &mut dyn Store) {
        let mut last = EventId(0);
        for user in (1..4).map(UserId) {
            let mut agent = Agent::new(Config::default(), Rng::from_seed([7; 32]), Now::START);
            let routers = Vec::new();
            let leaves = vec![
                Command::SetUser { user, routers },
                Command::DeleteUser { user },
            ];
            let told = run(store, &mut agent, leaves);
            assert!(told.len() == 1 && told[0] > last, "{told:?} after {last:?}");
            last = told[0];
            let confirm = vec![Command::Confirm { event: last }];
            assert_eq!(run(store, &mut agent, confirm), []);
        }
    }

    #[test]
    fn numbers_of_events_only_grow_whatever_the_store() {
        numbers_only_grow(&mut Memory::default());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.db");
        numbers_only_grow(&mut Sqlite::open(&path, &SqliteOptions::default()).unwrap());
    }
}
