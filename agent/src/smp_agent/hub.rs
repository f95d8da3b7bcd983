//! Who owns which connection: several clients share one agent.
//!
//! ```text
//!   Nobody ──NEW, JOIN, ACPT, SUB──▶ Owned ──SUB by another──▶ Owned, and the one before is told END
//!     ▲                               │
//!     └──── the client goes ──────────┘
//! ```
//! What is told of a connection that nobody owns waits for its next owner: messages in the agent, which tells them again, everything
//! else here. What is told of a file that nobody owns is told to all clients, or to the next one that comes.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use simplex_sans_io::agent::command::ConnectionStatistics;
use simplex_sans_io::agent::event::{Event, EventContent};
use simplex_sans_io::agent::file_event::FileEvent;
use simplex_sans_io::agent::id::{ConnectionId, EventId, FileId, RequestName};
use tokio::sync::{mpsc, oneshot};

use crate::handle::{Agent, Events};

/// How many events wait for the owner of a connection; older ones are dropped, and told again after a restart.
const PARKED: usize = 1000;

/// How many events are on their way to a client before it is let go.
const ON_THEIR_WAY: usize = 1024;

/// How large they may be together.
const BYTES_ON_THEIR_WAY: usize = 4 << 20;

/// A client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClientId(u64);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a client is told, with how its connection is where that is told too.
pub(super) type Told = (Event, Option<Box<ConnectionStatistics>>);

/// What is on its way to a client.
pub(super) struct Mail {
    told: mpsc::Receiver<(Told, usize)>,
    bytes: Arc<AtomicUsize>,
}

impl Mail {
    /// The next thing; nothing more once the client was let go.
    ///
    /// Cancel safety: nothing is lost.
    pub(super) async fn next(&mut self) -> Option<Told> {
        let (told, size) = self.told.recv().await?;
        self.bytes.fetch_sub(size, Ordering::Relaxed);
        Some(told)
    }
}

/// How a client is told something.
#[derive(Debug)]
struct Client {
    sender: mpsc::Sender<(Told, usize)>,
    bytes: Arc<AtomicUsize>,
}

impl Client {
    /// Whether there was room for it. One thing alone may be as large as it is.
    fn tell(&self, told: Told) -> bool {
        let size = size(&told.0.content);
        let before = self.bytes.fetch_add(size, Ordering::Relaxed);
        let fits = before == 0 || before.saturating_add(size) <= BYTES_ON_THEIR_WAY;
        fits && self.sender.try_send((told, size)).is_ok()
    }
}

/// About how many bytes it takes to tell it.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "all others are lines of a few words"
)]
fn size(content: &EventContent) -> usize {
    let body = match content {
        EventContent::Message { body, .. } => body.len(),
        EventContent::Confirmation { info, .. }
        | EventContent::Request { info, .. }
        | EventContent::Info { info, .. } => info.len(),
        EventContent::Down { connections, .. } | EventContent::Up { connections, .. } => {
            connections.len().saturating_mul(ConnectionId::MAX)
        }
        EventContent::File {
            event: FileEvent::Sent { sender, recipients },
            ..
        } => {
            let texts = recipients.iter().map(|text| text.as_str().len());
            texts.fold(sender.as_str().len(), usize::saturating_add)
        }
        _ => 0,
    };
    body.saturating_add(512)
}

#[derive(Debug, Clone)]
pub(super) struct Hub(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    clients: BTreeMap<ClientId, Client>,
    owners: BTreeMap<ConnectionId, ClientId>,
    parked: BTreeMap<ConnectionId, VecDeque<Told>>,
    /// Connections that were deleted, with those who wait until they are gone.
    going: BTreeMap<ConnectionId, oneshot::Sender<()>>,
    /// Those who wait until connections are gone that are deleted when everything is sent.
    leaving: BTreeMap<ConnectionId, oneshot::Sender<()>>,
    files: BTreeMap<FileId, ClientId>,
    /// What was told of files when nobody was there.
    untold: VecDeque<Told>,
    /// Questions that were told and not answered: whom they are asked, and by which event.
    asked: BTreeMap<RequestName, (ConnectionId, Option<EventId>)>,
    next: u64,
}

impl Hub {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on what the agent tells, until it ends.
    pub(super) async fn run(self, agent: Agent, mut events: Events) {
        while let Some(event) = events.next().await {
            let wants_statistics = matches!(
                event.content,
                EventContent::Switch { .. } | EventContent::RatchetSync { .. }
            );
            let statistics = match &event.connection {
                Some(connection) if wants_statistics => agent.statistics(connection).await.ok(),
                Some(_) | None => None,
            };
            let id = event.id;
            let heard = self.state().tell((event, statistics.map(Box::new)));
            if let (Heard::ByNobody, Some(id)) = (heard, id) {
                agent.confirm(id).await.ok();
            }
        }
    }

    /// One more client.
    pub(super) fn enter(&self) -> (ClientId, Mail) {
        let (sender, told) = mpsc::channel(ON_THEIR_WAY);
        let bytes = Arc::<AtomicUsize>::default();
        let mut state = self.state();
        state.next += 1;
        let id = ClientId(state.next);
        let client = Client {
            sender,
            bytes: Arc::clone(&bytes),
        };
        state.clients.insert(id, client);
        for told in std::mem::take(&mut state.untold) {
            state.send(id, told);
        }
        (id, Mail { told, bytes })
    }

    /// One less.
    pub(super) fn leave(&self, client: ClientId) {
        let mut state = self.state();
        state.let_go(client);
    }

    /// What is told of a file is told to a client.
    pub(super) fn take_file(&self, client: ClientId, file: &FileId) {
        self.state().files.insert(file.clone(), client);
    }

    /// Whether a client may speak for a connection: it owns it, or nobody does, so that it does now.
    pub(super) fn owns(&self, client: ClientId, connection: &ConnectionId) -> bool {
        let mut state = self.state();
        match state.owners.get(connection) {
            Some(owner) => *owner == client,
            None => {
                state.owners.insert(connection.clone(), client);
                true
            }
        }
    }

    /// A client does not own a connection that there is not.
    pub(super) fn give_back(&self, client: ClientId, connection: &ConnectionId) {
        let mut state = self.state();
        if state.owners.get(connection) == Some(&client) {
            state.owners.remove(connection);
        }
    }

    /// Whether nobody owns a connection.
    pub(super) fn is_free(&self, connection: &ConnectionId) -> bool {
        !self.state().owners.contains_key(connection)
    }

    /// A client owns a connection from now on; the one before is told.
    pub(super) fn take(&self, client: ClientId, connection: &ConnectionId) {
        let mut state = self.state();
        let before = state.owners.insert(connection.clone(), client);
        if let Some(before) = before.filter(|before| *before != client) {
            let end = Event {
                id: None,
                connection: Some(connection.clone()),
                content: EventContent::End,
            };
            state.send(before, (end, None));
        }
        for told in state.parked.remove(connection).into_iter().flatten() {
            state.send(client, told);
        }
    }

    /// The connection that a question was asked of, and was not answered yet.
    pub(super) fn asked(&self, name: &RequestName) -> Option<ConnectionId> {
        let state = self.state();
        state
            .asked
            .get(name)
            .map(|(connection, _)| connection.clone())
    }

    /// A question was answered: by which event it was asked.
    pub(super) fn answered(&self, name: &RequestName) -> Option<EventId> {
        self.state().asked.remove(name).and_then(|(_, event)| event)
    }

    /// A connection is going, of which nothing more is told. What is returned ends when it is gone.
    pub(super) fn forget(&self, connection: &ConnectionId) -> oneshot::Receiver<()> {
        let (gone, told) = oneshot::channel();
        let mut state = self.state();
        state.going.insert(connection.clone(), gone);
        state.owners.remove(connection);
        state.parked.remove(connection);
        told
    }

    /// A connection goes when everything is sent, of which is told as before. What is returned ends when it is gone.
    pub(super) fn leaving(&self, connection: &ConnectionId) -> oneshot::Receiver<()> {
        let (gone, told) = oneshot::channel();
        self.state().leaving.insert(connection.clone(), gone);
        told
    }

    /// It stays.
    pub(super) fn keep(&self, connection: &ConnectionId) {
        let mut state = self.state();
        state.going.remove(connection);
        state.leaving.remove(connection);
    }

    /// Whether a client has deleted it.
    pub(super) fn is_going(&self, connection: &ConnectionId) -> bool {
        self.state().going.contains_key(connection)
    }

    /// The connections of a client among these.
    pub(super) fn owned<'a>(
        &self,
        client: ClientId,
        connections: &'a [ConnectionId],
    ) -> Vec<&'a ConnectionId> {
        let state = self.state();
        let owned = |connection: &&ConnectionId| state.owners.get(*connection) == Some(&client);
        connections.iter().filter(owned).collect()
    }
}

/// Who hears of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// A client, now or later.
    BySomebody,
    ByNobody,
}

impl State {
    fn tell(&mut self, told: Told) -> Heard {
        let is_end = told.0.content == EventContent::Deleted;
        let connection = told.0.connection.clone();
        if let Some(going) = connection
            .as_ref()
            .filter(|id| self.going.contains_key(*id))
        {
            if is_end {
                // Whoever waits for this may have gone.
                self.going.remove(going).map(|gone| gone.send(()));
            }
            return Heard::ByNobody;
        }
        // A connection of this name is another one from now on.
        if let (Some(connection), true) = (connection, is_end) {
            self.leaving.remove(&connection).map(|gone| gone.send(()));
            self.parked.remove(&connection);
            let owner = self.owners.remove(&connection);
            owner.map_or(Heard::ByNobody, |owner| {
                self.send(owner, told);
                Heard::BySomebody
            })
        } else {
            self.pass_on(told);
            Heard::BySomebody
        }
    }

    fn pass_on(&mut self, told: Told) {
        if let (Some(connection), Some(name)) = (&told.0.connection, question(&told.0.content)) {
            let asked = (connection.clone(), told.0.id);
            self.asked.insert(name.clone(), asked);
        }
        if let EventContent::File { file, .. } = &told.0.content {
            let file = file.clone();
            return self.tell_of_file(&file, told);
        }
        let Some(connection) = told.0.connection.clone() else {
            let clients: Vec<_> = self.clients.keys().copied().collect();
            for client in clients {
                self.send(client, told.clone());
            }
            return;
        };
        match self.owners.get(&connection) {
            Some(owner) => self.send(*owner, told),
            // The agent tells a message again when somebody subscribes.
            None if told.0.id.is_none() => {}
            None => {
                let parked = self.parked.entry(connection).or_default();
                if parked.len() >= PARKED {
                    parked.pop_front();
                }
                parked.push_back(told);
            }
        }
    }

    /// One that takes nothing is let go: what was not acknowledged is told again.
    fn send(&mut self, client: ClientId, told: Told) {
        let there = self.clients.get(&client);
        if there.is_some_and(|there| !there.tell(told)) {
            tracing::warn!(%client, "a client takes nothing, and is let go");
            self.let_go(client);
        }
    }

    fn tell_of_file(&mut self, file: &FileId, told: Told) {
        let clients: Vec<_> = match self.files.get(file) {
            Some(owner) => vec![*owner],
            None => self.clients.keys().copied().collect(),
        };
        // What is kept is the end of a file.
        let is_kept = told.0.id.is_some();
        if is_kept {
            self.files.remove(file);
        }
        if clients.is_empty() && is_kept {
            if self.untold.len() >= PARKED {
                self.untold.pop_front();
            }
            self.untold.push_back(told);
            return;
        }
        for client in clients {
            self.send(client, told.clone());
        }
    }

    fn let_go(&mut self, client: ClientId) {
        self.clients.remove(&client);
        self.owners.retain(|_, owner| *owner != client);
        self.files.retain(|_, owner| *owner != client);
    }
}

/// The name of a question that a client has to answer: it is asked again until it does.
pub(super) const fn question(content: &EventContent) -> Option<&RequestName> {
    if let EventContent::Confirmation { name, .. } | EventContent::Request { name, .. } = content {
        return Some(name);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use simplex_sans_io::agent::file_event::DescriptionText;

    fn event(connection: &ConnectionId, id: Option<u64>) -> Told {
        let event = Event {
            id: id.map(EventId),
            connection: Some(connection.clone()),
            content: EventContent::QueueContinue,
        };
        (event, None)
    }

    #[test]
    fn a_connection_has_one_owner_and_what_waited_is_told_to_the_next() {
        let hub = Hub::new();
        let bob = ConnectionId::try_from(b"bob".as_slice()).unwrap();
        hub.state().tell(event(&bob, Some(1)));
        hub.state().tell(event(&bob, None));
        let (first, mut to_first) = hub.enter();
        let (second, mut to_second) = hub.enter();
        hub.take(first, &bob);
        assert_eq!(to_first.told.try_recv().unwrap().0.0.id, Some(EventId(1)));
        assert!(to_first.told.try_recv().is_err());
        assert!(hub.owns(first, &bob) && !hub.owns(second, &bob));

        hub.take(second, &bob);
        assert_eq!(
            to_first.told.try_recv().unwrap().0.0.content,
            EventContent::End
        );
        hub.state().tell(event(&bob, Some(2)));
        assert_eq!(to_second.told.try_recv().unwrap().0.0.id, Some(EventId(2)));

        hub.leave(second);
        hub.state().tell(event(&bob, Some(3)));
        assert!(hub.owns(first, &bob));
        hub.take(first, &bob);
        assert_eq!(to_first.told.try_recv().unwrap().0.0.id, Some(EventId(3)));
    }

    #[test]
    fn a_client_that_takes_nothing_is_let_go() {
        let hub = Hub::new();
        let bob = ConnectionId::try_from(b"bob".as_slice()).unwrap();
        let (client, _told) = hub.enter();
        hub.take(client, &bob);
        for number in 0..2 * 1024 {
            hub.state().tell(event(&bob, Some(number)));
        }
        assert!(hub.state().clients.is_empty() && hub.state().owners.is_empty());
    }

    #[tokio::test]
    async fn what_is_on_its_way_to_a_client_is_no_more_than_four_megabytes() {
        let hub = Hub::new();
        let file = FileId::try_from(b"photo".as_slice()).unwrap();
        let described = || {
            let text = DescriptionText::from("x".repeat(1_000_000));
            let event = FileEvent::Sent {
                sender: text.clone(),
                recipients: vec![text],
            };
            let (mut told, _) = of_file(&file, Some(1));
            told.content = EventContent::File {
                file: file.clone(),
                event,
            };
            (told, None)
        };
        let (_, mut mail) = hub.enter();
        for _ in 0..10 {
            hub.state().tell(described());
            mail.next().await.unwrap();
        }
        assert_eq!(hub.state().clients.len(), 1, "it takes what it is told");
        for _ in 0..2 {
            hub.state().tell(described());
        }
        assert_eq!(hub.state().clients.len(), 1);
        hub.state().tell(described());
        assert!(hub.state().clients.is_empty());
        // What was on its way comes, and nothing more.
        assert!(mail.next().await.is_some() && mail.next().await.is_some());
        assert!(mail.next().await.is_none());
    }

    fn of_file(file: &FileId, id: Option<u64>) -> Told {
        let event = match id {
            Some(_) => FileEvent::Deleted { error: None },
            None => FileEvent::SendProgress { sent: 1, of: 2 },
        };
        let event = Event {
            id: id.map(EventId::of_file),
            connection: None,
            content: EventContent::File {
                file: file.clone(),
                event,
            },
        };
        (event, None)
    }

    #[test]
    fn what_is_told_of_a_file_is_told_to_its_client_or_to_the_next_that_comes() {
        let hub = Hub::new();
        let file = FileId::try_from(b"photo".as_slice()).unwrap();
        hub.state().tell(of_file(&file, None));
        hub.state().tell(of_file(&file, Some(1)));
        // How far it was is of no interest any more.
        let (first, mut to_first) = hub.enter();
        assert_eq!(to_first.told.try_recv().unwrap().0, of_file(&file, Some(1)));
        let (_, mut to_second) = hub.enter();
        hub.take_file(first, &file);
        hub.state().tell(of_file(&file, None));
        assert_eq!(to_first.told.try_recv().unwrap().0, of_file(&file, None));
        assert!(to_second.told.try_recv().is_err());
        hub.leave(first);
        hub.state().tell(of_file(&file, Some(2)));
        assert_eq!(
            to_second.told.try_recv().unwrap().0,
            of_file(&file, Some(2))
        );
    }
}
