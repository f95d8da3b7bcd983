//! The two directions between a connection and its owner.

use std::task::{Context, Poll};

use super::queue::{Receiver, Sender, queue};

/// Whose connection it is: commands come from here, events go there.
///
/// [`Mailbox`] is the ordinary one, with a bounded queue for each direction. A client that has calls to answer, or a router that has one
/// mailbox for all its connections, brings its own: then an event takes no detour.
pub trait Owner {
    /// What the owner can ask for.
    type Command;
    /// What the owner is told.
    type Event;

    /// The next command; `None` when there is none left and none will come.
    fn poll_command(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::Command>>;

    /// Ready when the owner has gone, also while commands of it wait.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Whether events are welcome. While they are not, nothing is read from the stream and no command is taken.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Tells the owner. What one input brings is told in full, also when [`poll_ready`](Self::poll_ready) would no longer be.
    fn tell(&mut self, event: Self::Event);

    /// Nothing is read any more, because too much waits for the peer ([`WhileBlocked::Pause`](super::WhileBlocked)). Said once each time.
    fn paused(&mut self) {}
}

/// How much waits between a connection and its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Commands that were sent and not yet taken.
    pub commands: usize,
    /// Events that were not yet read. What one read brings may exceed it.
    pub events: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            commands: 64,
            events: 64,
        }
    }
}

/// The owner's two ends, and the connection's end for [`drive`](super::drive).
///
/// * Commands are sent by any number of tasks; a full queue lets them wait.
/// * Dropping the last sender closes the connection in an orderly way: what was commanded is still carried out, the
///   [farewell](Mailbox::farewell) is said, all is flushed, then the stream is closed. The time for this is bounded.
/// * Events that nobody reads stop the connection: it neither reads nor takes commands until there is room, so nothing grows; its timers
///   go on. So read events in a task of their own, or never wait for a command alone. Dropping the receiver discards all events instead.
/// * When the connection has ended, sending fails, and the receiver ends after the last event.
#[must_use]
pub fn mailbox<C, E>(capacity: Capacity) -> (Sender<C>, Receiver<E>, Mailbox<C, E>) {
    let (command_sender, commands) = queue(capacity.commands);
    let (events, event_receiver) = queue(capacity.events);
    let mailbox = Mailbox {
        commands,
        farewell: None,
        events,
    };
    (command_sender, event_receiver, mailbox)
}

/// The connection's end of a [`mailbox`].
#[derive(Debug)]
pub struct Mailbox<C, E> {
    commands: Receiver<C>,
    farewell: Option<C>,
    events: Sender<E>,
}

impl<C, E> Mailbox<C, E> {
    /// The command that follows the last one of an owner that has gone: for machines that close with a message.
    #[must_use]
    pub fn farewell(self, command: C) -> Self {
        Self {
            farewell: Some(command),
            ..self
        }
    }
}

impl<C, E> Owner for Mailbox<C, E> {
    type Command = C;
    type Event = E;

    fn poll_command(&mut self, cx: &mut Context<'_>) -> Poll<Option<C>> {
        self.commands
            .poll_next(cx)
            .map(|command| command.or_else(|| self.farewell.take()))
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.commands.poll_closed(cx)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.events.poll_ready(cx)
    }

    fn tell(&mut self, event: E) {
        // An owner that has dropped the receiver does not want to know.
        self.events.push(event).ok();
    }
}
