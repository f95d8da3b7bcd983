//! Messages that are not to outlive the process that has taken them.

use simplex_sans_io::smp::router::store::{Change, Load, Loaded, Position};
use simplex_sans_io::smp::server::Party;

use super::store::{Store, StoreError};

/// How many queues are emptied at a time.
const CHUNK: usize = 1000;

/// Removes all messages, and returns how many there were. Queues stay.
pub(crate) fn forget_messages(store: &mut dyn Store) -> Result<u64, StoreError> {
    let mut forgotten = 0_u64;
    loop {
        let all = Load::Expired {
            before: i64::MAX,
            limit: CHUNK,
        };
        let Loaded::Ids(queues) = store.load(&all)? else {
            return Ok(forgotten);
        };
        let mut changes = Vec::new();
        for queue in queues {
            let Loaded::Queue(Some(loaded)) = store.load(&Load::Queue(Party::Recipient, queue))?
            else {
                continue;
            };
            let Position { head, tail, .. } = loaded.position;
            forgotten = forgotten.saturating_add(tail.saturating_sub(head));
            changes.push(Change::DeleteMessages {
                queue: loaded.record.recipient_id,
                from: head,
                position: Position {
                    head: tail,
                    tail,
                    full: false,
                },
            });
        }
        if changes.is_empty() {
            return Ok(forgotten);
        }
        store.commit(&[changes])?;
    }
}
