//! Connections, and raw streams to test them against.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use simplex_sans_io::drive::{
    Capacity, Clock, DriveError, Io, Policy, Receiver, Sender, connect, drive, mailbox,
};
use simplex_sans_io::machine::{CloseReason, Connection};
use simplex_sans_io::sim::{FrameError, FramesCommand, FramesEvent};

use super::Runtime;

/// Longer than any test takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) type Outcome<E> = Result<CloseReason, DriveError<E>>;

/// What the owner of a connection holds, and how the connection ended.
pub(super) struct End<E = FrameError> {
    pub(super) commands: Sender<FramesCommand>,
    pub(super) events: Receiver<FramesEvent>,
    pub(super) ended: Pin<Box<dyn Future<Output = Outcome<E>> + Send>>,
}

impl<E> End<E> {
    pub(super) async fn send(&self, frame: Bytes) {
        self.command(FramesCommand::Send(frame)).await;
    }

    pub(super) async fn command(&self, command: FramesCommand) {
        self.commands.send(command).await.unwrap();
    }

    /// The next frame; `None` when the peer sends no more.
    pub(super) async fn frame(&mut self) -> Option<Bytes> {
        match self.events.next().await {
            Some(FramesEvent::Frame(frame)) => Some(frame),
            None | Some(FramesEvent::PeerClosed) => None,
            event => {
                assert_eq!(event, None, "not a frame");
                None
            }
        }
    }
}

/// Drives a machine on a stream.
pub(super) fn start<R, M>(
    network: &R,
    machine: M,
    stream: impl Io + Send + 'static,
    policy: Policy,
) -> End<M::Error>
where
    R: Runtime,
    M: Connection<Command = FramesCommand, Event = FramesEvent, Error: Send> + Send + 'static,
{
    start_with(network, machine, stream, policy, [])
}

/// Drives a machine that has commands from the start.
pub(super) fn start_with<R, M, const N: usize>(
    network: &R,
    machine: M,
    stream: impl Io + Send + 'static,
    policy: Policy,
    first: [FramesCommand; N],
) -> End<M::Error>
where
    R: Runtime,
    M: Connection<Command = FramesCommand, Event = FramesEvent, Error: Send> + Send + 'static,
{
    let (commands, events, mailbox) = mailbox(Capacity::default());
    for command in first {
        commands.try_send(command).unwrap();
    }
    let connection = drive(machine, stream, network.clock(), mailbox, policy);
    End {
        commands,
        events,
        ended: Box::pin(network.spawn(connection)),
    }
}

/// Two ends of a stream: of the side that has dialled, then of the side that has accepted.
pub(super) async fn streams<R: Runtime>(network: &R) -> (R::Stream, R::Stream) {
    let mut listener = network.listen().await.unwrap();
    let target = listener.local_addr().unwrap().into();
    let accepted = network.spawn(async move { listener.accept().await });
    let dialled = connect(network, &target, PATIENCE).await.unwrap();
    (dialled, accepted.await.unwrap().0)
}

/// Two machines that are connected.
pub(super) async fn pair<R, A, B>(
    network: &R,
    (left, left_policy): (A, Policy),
    (right, right_policy): (B, Policy),
) -> (End<A::Error>, End<B::Error>)
where
    R: Runtime,
    A: Connection<Command = FramesCommand, Event = FramesEvent, Error: Send> + Send + 'static,
    B: Connection<Command = FramesCommand, Event = FramesEvent, Error: Send> + Send + 'static,
{
    let (dialled, accepted) = streams(network).await;
    (
        start(network, left, dialled, left_policy),
        start(network, right, accepted, right_policy),
    )
}

pub(super) fn frame(number: usize, size: usize) -> Bytes {
    vec![number.to_le_bytes()[0]; size].into()
}

pub(super) async fn pause(clock: &mut impl Clock, duration: Duration) {
    let until = clock.now().instant + duration;
    poll_fn(|cx| clock.poll_sleep(cx, until)).await;
}

pub(super) async fn write(stream: &mut impl Io, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = poll_fn(|cx| stream.poll_write(cx, &[IoSlice::new(bytes)])).await?;
        bytes = &bytes[count..];
    }
    poll_fn(|cx| stream.poll_flush(cx)).await
}

pub(super) async fn close(stream: &mut impl Io) -> io::Result<()> {
    poll_fn(|cx| stream.poll_close(cx)).await
}

pub(super) async fn read(stream: &mut impl Io, buffer: &mut [u8]) -> io::Result<usize> {
    poll_fn(|cx| stream.poll_read(cx, buffer)).await
}

pub(super) async fn read_exact(stream: &mut impl Io, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match read(stream, buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => buffer = &mut buffer[count..],
        }
    }
    Ok(())
}

pub(super) async fn read_to_end(stream: &mut impl Io) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = read(stream, &mut buffer).await {
        all.extend_from_slice(&buffer[..count]);
    }
    all
}
