use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::machine::{Action, CloseReason, Connection, Input, Machine};
use crate::sim::{
    Checked, Duplex, FrameError, Frames, FramesCommand, FramesEvent, Link, Settled, SimClock, Task,
    Tasks, abandon, duplex,
};

type Outcome = Result<CloseReason, DriveError<FrameError>>;
type Commands = Sender<FramesCommand>;
type Events = Receiver<FramesEvent>;

const WINDOW: usize = 10_000;
const STALL: Duration = Duration::from_secs(60);
const CLIENT: Policy = Policy {
    unsent: 50_000,
    ..Policy::CLIENT
};
const ROUTER: Policy = Policy {
    while_blocked: WhileBlocked::Pause {
        above: 50_000,
        stall: STALL,
    },
    ..Policy::CLIENT
};

#[test]
fn what_is_sent_comes_back_and_dropping_the_handle_closes_both_ends() {
    for seed in 0..20 {
        let mut net = Net::new(seed, &Link::WAN);
        let (left, right) = net.pair((Frames::new(), CLIENT), (Frames::echo(), ROUTER));
        let sent = frames(50, 3000);
        let echoed = net
            .tasks
            .spawn(exchange(left.commands, left.events, sent.clone()));
        let _heard = net.tasks.spawn(listen(right.commands, right.events));
        net.settle();
        assert_eq!(echoed.take(), Some(sent));
        assert!(matches!(left.ended.take(), Some(Ok(CloseReason::Finished))));
        assert!(matches!(right.ended.take(), Some(Ok(_))));
    }
}

#[test]
fn two_floods_pass_each_other() {
    for (seed, policies) in (0..).zip([(CLIENT, CLIENT), (CLIENT, ROUTER), (ROUTER, CLIENT)]) {
        let mut net = Net::new(seed, &Link::IDEAL);
        let (left, right) = net.pair((Frames::new(), policies.0), (Frames::new(), policies.1));
        let sent = frames(100, 16000);
        let ends = [(left.commands, left.events), (right.commands, right.events)];
        let received = ends
            .map(|(commands, events)| net.tasks.spawn(exchange(commands, events, sent.clone())));
        net.settle();
        for received in received {
            assert_eq!(received.take().as_ref(), Some(&sent));
        }
    }
}

#[test]
fn two_that_both_stop_reading_are_freed_by_the_limit_of_time() {
    let mut net = Net::new(1, &Link::IDEAL);
    let (left, right) = net.pair((Frames::new(), ROUTER), (Frames::new(), ROUTER));
    for end in [left.commands, right.commands] {
        let _sender = net
            .tasks
            .spawn(async move { send_all(&end, frames(100, 16000)).await });
    }
    let _readers = [left.events, right.events].map(|events| net.tasks.spawn(read_events(events)));
    net.settle();
    let ended = [left.ended.take(), right.ended.take()];
    assert!(ended.iter().all(|ended| matches!(ended, Some(Err(_)))));
    assert!(
        ended
            .iter()
            .any(|ended| matches!(ended, Some(Err(DriveError::Stalled))))
    );
    assert!(net.clock.now().instant >= Instant::START + STALL);
}

/// Counts how often nothing is read for what is unsent.
struct Counting(Mailbox<FramesCommand, FramesEvent>, Arc<Mutex<usize>>);

impl Owner for Counting {
    type Command = FramesCommand;
    type Event = FramesEvent;

    fn poll_command(&mut self, cx: &mut Context<'_>) -> Poll<Option<FramesCommand>> {
        self.0.poll_command(cx)
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_gone(cx)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_ready(cx)
    }

    fn tell(&mut self, event: FramesEvent) {
        self.0.tell(event);
    }

    fn paused(&mut self) {
        *self.1.lock().unwrap() += 1;
    }
}

#[test]
fn an_owner_is_told_once_each_time_nothing_is_read_for_what_is_unsent() {
    let mut net = Net::new(1, &Link::IDEAL);
    let (mut raw, stream) = net.stream();
    let (_commands, events, mailbox) = mailbox(net.capacity);
    drop(events);
    let pauses = Arc::new(Mutex::new(0));
    let owner = Counting(mailbox, pauses.clone());
    let mut clock = net.clock.clone();
    let echo = drive(Frames::echo(), stream, net.clock.clone(), owner, ROUTER);
    let _ended = net.tasks.spawn(echo);
    let told = net.tasks.spawn(async move {
        let frame = [b"\x10\0".as_slice(), &[7; 4096]].concat();
        let (mut said, mut buffer) = (0, [0; 1000]);
        for _ in 0..2 {
            let before = *pauses.lock().unwrap();
            let until = clock.now().instant + STALL / 4;
            poll_fn(|cx| {
                let rest = |said: usize| IoSlice::new(frame.get(said..).unwrap());
                while let Poll::Ready(written) = raw.poll_write(cx, &[rest(said)]) {
                    said = (said + written.unwrap()) % frame.len();
                }
                clock.poll_sleep(cx, until)
            })
            .await;
            assert_eq!(*pauses.lock().unwrap(), before + 1);
            let until = clock.now().instant + STALL / 4;
            poll_fn(|cx| {
                while let Poll::Ready(read) = raw.poll_read(cx, &mut buffer) {
                    assert_ne!(read.unwrap(), 0);
                }
                clock.poll_sleep(cx, until)
            })
            .await;
        }
    });
    net.settle();
    assert_eq!(told.take(), Some(()));
}

#[test]
fn a_peer_that_asks_for_more_and_reads_nothing_is_cut_off() {
    let mut net = Net::new(1, &Link::IDEAL);
    let while_blocked = WhileBlocked::Read { at_most: 100_000 };
    let policy = Policy {
        while_blocked,
        ..CLIENT
    };
    let (mut raw, echo) = net.raw_against(Frames::echo(), policy);
    drop(echo.events);
    let flood = net.tasks.spawn(async move {
        let frame = [b"\x10\0".as_slice(), &[7; 4096]].concat();
        while write(&mut raw, &frame).await.is_ok() {}
    });
    net.settle();
    assert!(matches!(echo.ended.take(), Some(Err(DriveError::Flooded(bytes))) if bytes > 100_000));
    assert!(flood.take().is_some());
}

#[test]
fn events_that_nobody_reads_stop_the_peer_and_nothing_grows() {
    let mut net = Net::new(1, &Link::IDEAL);
    let (left, right) = net.pair((Frames::new(), CLIENT), (Frames::new(), CLIENT));
    let sent = frames(1000, 1000);
    let all = sent.clone();
    let progress = Arc::new(Mutex::new(0));
    let counter = progress.clone();
    let commands = left.commands;
    let _sender = net.tasks.spawn(async move {
        for frame in all {
            commands.send(FramesCommand::Send(frame)).await.unwrap();
            *counter.lock().unwrap() += 1;
        }
    });
    assert_eq!(net.tasks.run(1_000_000), Settled::Idle);
    let accepted = *progress.lock().unwrap();
    assert!(
        (64..400).contains(&accepted),
        "{accepted} frames were accepted"
    );

    let received = net.tasks.spawn(listen(right.commands, right.events));
    drop(left.events);
    net.settle();
    assert_eq!(received.take(), Some(sent));
}

#[test]
fn commands_are_not_taken_while_nobody_reads_what_they_bring() {
    let mut net = Net::new(1, &Link::IDEAL);
    let (raw, left) = net.raw_against(Frames::new(), CLIENT);
    let mut refused = 0;
    for frame in frames(1000, Frames::MAX + 1) {
        refused += usize::from(left.commands.try_send(FramesCommand::Send(frame)).is_err());
        while net.tasks.step() {}
    }
    assert_eq!(1000 - refused, 128);
    drop((raw, left));
}

#[test]
fn bytes_wait_until_the_machine_wants_them() {
    let mut net = Net::new(1, &Link::IDEAL);
    let (mut raw, mut left) = net.raw_against(Frames::new(), CLIENT);
    left.commands.try_send(FramesCommand::Pause).unwrap();
    while net.tasks.step() {}
    let _peer = net
        .tasks
        .spawn(async move { write(&mut raw, b"\0\x01x").await });
    assert_eq!(net.tasks.run(100), Settled::Idle);
    assert!(
        left.events
            .poll_next(&Context::from_waker(Waker::noop()))
            .is_pending()
    );
    left.commands.try_send(FramesCommand::Resume).unwrap();
    let heard = net.tasks.spawn(listen(left.commands, left.events));
    net.settle();
    assert_eq!(heard.take(), Some(vec!["x".into()]));
}

#[test]
fn commands_wait_until_the_machine_wants_them() {
    let mut net = Net::new(1, &Link::WAN);
    let (left, right) = net.pair((Frames::windowed(3), CLIENT), (Frames::echo(), ROUTER));
    let sent = frames(100, 10);
    let echoed = net
        .tasks
        .spawn(exchange(left.commands, left.events, sent.clone()));
    let _heard = net.tasks.spawn(listen(right.commands, right.events));
    net.settle();
    assert_eq!(echoed.take(), Some(sent));
}

#[test]
fn an_owner_that_goes_is_still_served() {
    let mut net = Net::new(1, &Link::WAN);
    let (left, right) = net.pair((Frames::new(), CLIENT), (Frames::new(), CLIENT));
    let sent = frames(50, 3000);
    for frame in &sent {
        left.commands
            .try_send(FramesCommand::Send(frame.clone()))
            .unwrap();
    }
    drop((left.commands, left.events));
    let received = net.tasks.spawn(listen(right.commands, right.events));
    net.settle();
    assert_eq!(received.take(), Some(sent));
    assert!(matches!(left.ended.take(), Some(Ok(CloseReason::Finished))));
}

#[test]
fn a_farewell_is_said_last() {
    let mut net = Net::new(1, &Link::WAN);
    let farewell = FramesCommand::Send("bye".into());
    let (left, right) = net.pair_with(
        (Frames::new(), CLIENT, Some(farewell)),
        (Frames::new(), CLIENT, None),
    );
    left.commands
        .try_send(FramesCommand::Send("hello".into()))
        .unwrap();
    drop((left.commands, left.events));
    let received = net.tasks.spawn(listen(right.commands, right.events));
    net.settle();
    assert_eq!(received.take(), Some(vec!["hello".into(), "bye".into()]));
}

#[test]
fn an_owner_that_goes_is_not_served_for_ever() {
    let mut net = Net::new(1, &Link::IDEAL);
    let (raw, left) = net.raw_against(Frames::windowed(1), CLIENT);
    for frame in frames(3, 10) {
        left.commands.try_send(FramesCommand::Send(frame)).unwrap();
    }
    drop((left.commands, left.events));
    assert_eq!(net.tasks.run(10_000), Settled::Idle);
    assert!(left.ended.take().is_some());
    assert_eq!(net.clock.now().instant, Instant::START + CLIENT.linger * 2);
    drop(raw);
}

#[test]
fn a_peer_that_takes_nothing_is_cut_off_and_timers_go_on_meanwhile() {
    let mut net = Net::new(1, &Link::IDEAL);
    let (raw, left) = net.raw_against(Frames::new(), ROUTER);
    for number in [3, 1, 2] {
        let wake = FramesCommand::Wake(STALL / 2, number);
        left.commands.try_send(wake).unwrap();
    }
    for frame in frames(3, 16000) {
        left.commands.try_send(FramesCommand::Send(frame)).unwrap();
    }
    let told = net.tasks.spawn(read_events(left.events));
    assert_eq!(net.tasks.run(10_000), Settled::Idle);
    assert!(matches!(left.ended.take(), Some(Err(DriveError::Stalled))));
    let mut events = [3, 1, 2].map(FramesEvent::Woke).to_vec();
    events.push(FramesEvent::PeerClosed);
    assert_eq!(told.take(), Some(events));
    assert_eq!(net.clock.now().instant, Instant::START + STALL);
    drop((raw, left.commands));
}

#[test]
fn a_peer_that_is_slow_is_not_cut_off() {
    let mut net = Net::new(1, &Link::IDEAL);
    let (mut raw, left) = net.raw_against(Frames::new(), ROUTER);
    for frame in frames(5, WINDOW - 2) {
        left.commands.try_send(FramesCommand::Send(frame)).unwrap();
    }
    let mut clock = net.clock.clone();
    let heard = net.tasks.spawn(async move {
        let (mut buffer, mut heard) = ([0; 1000], 0);
        while heard < 5 * WINDOW {
            heard += poll_fn(|cx| raw.poll_read(cx, &mut buffer)).await.unwrap();
            let later = clock.now().instant + STALL / 2;
            poll_fn(|cx| clock.poll_sleep(cx, later)).await;
        }
    });
    assert_eq!(net.tasks.run(10_000), Settled::Idle);
    assert!(heard.take().is_some());
    drop((left.commands, left.events));
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_truncated() {
    let mut net = Net::new(1, &Link::TRICKLE);
    let (mut raw, left) = net.raw_against(Frames::new(), CLIENT);
    let _writer = net.tasks.spawn(async move {
        write(&mut raw, b"\0\x05hel").await.unwrap();
        close(&mut raw).await;
    });
    net.settle();
    assert!(matches!(
        left.ended.take(),
        Some(Ok(CloseReason::Truncated))
    ));
}

#[test]
fn half_a_stream_still_carries_the_answer() {
    let mut net = Net::new(1, &Link::WAN);
    let (mut raw, mut left) = net.raw_against(Frames::new(), CLIENT);
    let answer = net.tasks.spawn(async move {
        write(&mut raw, b"\0\x01?").await.unwrap();
        close(&mut raw).await;
        read_to_end(&mut raw).await
    });
    let commands = left.commands;
    let _owner = net.tasks.spawn(async move {
        assert_eq!(
            left.events.next().await,
            Some(FramesEvent::Frame("?".into()))
        );
        assert_eq!(left.events.next().await, Some(FramesEvent::PeerClosed));
        commands
            .send(FramesCommand::Send("!".into()))
            .await
            .unwrap();
    });
    net.settle();
    assert_eq!(answer.take(), Some(b"\0\x01!".to_vec()));
}

#[test]
fn what_is_said_last_arrives_although_input_is_unread() {
    for seed in 0..20 {
        let mut net = Net::new(seed, &Link::WAN);
        let (mut raw, left) = net.raw_against(Frames::new(), CLIENT);
        for command in [FramesCommand::Send("bye".into()), FramesCommand::Finish] {
            left.commands.try_send(command).unwrap();
        }
        let heard = net.tasks.spawn(async move {
            // More than fits between the two, so that this end reads nothing before the other one does.
            let flood = [b"\0\x05hello".as_slice(); WINDOW / 3].concat();
            write(&mut raw, &flood).await.unwrap();
            let heard = read_to_end(&mut raw).await;
            close(&mut raw).await;
            heard
        });
        net.settle();
        assert_eq!(heard.take(), Some(b"\0\x03bye".to_vec()));
        assert!(matches!(left.ended.take(), Some(Ok(CloseReason::Finished))));
        drop(left.events);
    }
}

#[test]
fn a_machine_cannot_finish_when_nothing_can_be_written() {
    let mut net = Net::new(1, &Link::WAN);
    let (stream, mut raw) = net.stream();
    let (_commands, events, mailbox) = mailbox(net.capacity);
    drop(events);
    let echo = Polite(Frames::echo());
    let ended = net
        .tasks
        .spawn(drive(echo, stream, net.clock.clone(), mailbox, CLIENT));
    let _peer = net.tasks.spawn(async move {
        write(&mut raw, b"\0\x05hello").await.unwrap();
        close(&mut raw).await;
    });
    net.settle();
    assert!(matches!(ended.take(), Some(Err(DriveError::Io(_)))));
}

#[test]
fn last_words_are_read_although_nothing_can_be_written() {
    let mut net = Net::new(1, &Link::WAN);
    let (mut raw, left) = net.raw_against(Frames::new(), CLIENT);
    let _peer = net.tasks.spawn(async move {
        write(&mut raw, b"\0\x03bye").await.unwrap();
        close(&mut raw).await;
    });
    while !net.tasks.step() || net.tasks.unfinished() > 1 {}
    left.commands
        .try_send(FramesCommand::Send("hello".into()))
        .unwrap();
    let told = net.tasks.spawn(read_events(left.events));
    net.settle();
    let heard = [FramesEvent::Frame("bye".into()), FramesEvent::PeerClosed];
    assert_eq!(told.take(), Some(heard.to_vec()));
    assert!(matches!(left.ended.take(), Some(Err(DriveError::Io(_)))));
}

#[test]
fn an_end_that_promises_delivery_says_when_it_failed() {
    let mut net = Net::new(1, &Link::IDEAL);
    let (raw, left) = net.raw_against(Frames::new(), CLIENT);
    for frame in frames(2, WINDOW) {
        left.commands.try_send(FramesCommand::Send(frame)).unwrap();
    }
    left.commands.try_send(FramesCommand::Finish).unwrap();
    assert_eq!(net.tasks.run(10_000), Settled::Idle);
    assert!(matches!(left.ended.take(), Some(Err(DriveError::Stalled))));
    drop((raw, left.events));
}

#[test]
fn a_machine_that_dies_ends_the_connection_with_its_error() {
    let mut net = Net::new(1, &Link::WAN);
    let (mut raw, left) = net.raw_against(Frames::new(), CLIENT);
    let heard = net.tasks.spawn(async move {
        write(&mut raw, b"\xff\xff").await.unwrap();
        read_to_end(&mut raw).await
    });
    net.settle();
    assert_eq!(heard.take(), Some(vec![]));
    let died = FrameError::Length(0xffff);
    assert!(matches!(left.ended.take(), Some(Err(DriveError::Machine(error))) if error == died));
    assert!(left.commands.try_send(FramesCommand::Finish).is_err());
}

#[test]
fn a_stream_that_takes_zero_bytes_has_failed() {
    let mut tasks = Tasks::new(1);
    let (commands, _events, mailbox) = mailbox(Capacity::default());
    commands.try_send(FramesCommand::Send("x".into())).unwrap();
    let stream = Endless {
        reads: Poll::Pending,
    };
    let ended = tasks.spawn(drive(Frames::new(), stream, tasks.clock(), mailbox, CLIENT));
    tasks.run(10);
    let Some(Err(DriveError::Io(error))) = ended.take() else {
        panic!("the connection goes on");
    };
    assert_eq!(error.kind(), io::ErrorKind::WriteZero);
}

#[test]
fn a_stream_that_never_pauses_lets_others_run() {
    let mut tasks = Tasks::new(1);
    let (_commands, events, mailbox) = mailbox(Capacity::default());
    drop(events);
    let stream = Endless {
        reads: Poll::Ready(1000),
    };
    let endless = tasks.spawn(drive(Frames::new(), stream, tasks.clock(), mailbox, CLIENT));
    let other = tasks.spawn(async {});
    assert_eq!(tasks.run(100), Settled::Busy);
    assert!(other.take().is_some());
    assert!(endless.take().is_none());
}

#[test]
fn a_connection_that_is_dropped_anywhere_tells_both_sides() {
    let mut polls = 0;
    loop {
        polls += 1;
        let mut net = Net::new(7, &Link::WAN);
        let (stream, mut raw) = net.stream();
        let (commands, events, mailbox) = mailbox(Capacity::default());
        let connection = drive(Frames::new(), stream, net.tasks.clock(), mailbox, CLIENT);
        let ended = net.tasks.spawn(abandon(polls, connection));
        let sent = frames(5, 3000);
        let expected = sent.concat().len() + 2 * sent.len();
        let sender = net
            .tasks
            .spawn(async move { send_all(&commands, sent).await });
        let told = net.tasks.spawn(read_events(events));
        let heard = net
            .tasks
            .spawn(async move { read_to_end(&mut raw).await.len() });
        net.settle();
        assert!(told.take().is_some());
        assert!(heard.take().is_some_and(|heard| heard <= expected));
        assert!(sender.take().is_some());
        if ended.take().is_some_and(|ended| ended.is_some()) {
            assert!(polls > 3);
            return;
        }
    }
}

#[test]
fn drive_futures_are_send() {
    fn assert_send<T: Send>(_: &T) {}
    let (_commands, _events, mailbox) = mailbox(Capacity::default());
    let net = Net::new(1, &Link::IDEAL);
    let stream = Endless {
        reads: Poll::Pending,
    };
    assert_send(&drive(Frames::new(), stream, net.clock, mailbox, CLIENT));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn everything_arrives_once_and_in_order(
        seed: u64,
        window in 1..5000usize,
        sizes in prop::collection::vec(0..3000usize, 0..12),
        capacity in 1..10usize,
    ) {
        let link = Link { cut: None, ..any_link(seed) };
        let mut net = Net::new(seed, &link);
        net.window = window;
        net.capacity = Capacity { commands: capacity, events: capacity };
        let patient = WhileBlocked::Pause { above: 5000, stall: Duration::MAX };
        let patient = Policy { while_blocked: patient, ..CLIENT };
        let (left, right) = net.pair((Frames::new(), CLIENT), (Frames::echo(), patient));
        let sent: Vec<Bytes> = sizes.into_iter().map(|size| vec![7; size].into()).collect();
        let echoed = net.tasks.spawn(exchange(left.commands, left.events, sent.clone()));
        let heard = net.tasks.spawn(listen(right.commands, right.events));
        net.settle();
        prop_assert_eq!(echoed.take(), Some(sent.clone()));
        prop_assert_eq!(heard.take(), Some(sent));
    }

    #[test]
    fn no_network_leaves_a_connection_asleep(seed: u64, window in 1..5000usize) {
        let mut net = Net::new(seed, &any_link(seed));
        net.window = window;
        let (left, right) = net.pair((Frames::new(), CLIENT), (Frames::new(), ROUTER));
        for (commands, events) in [(left.commands, left.events), (right.commands, right.events)] {
            let _sender = net.tasks.spawn(async move { send_all(&commands, frames(10, 2000)).await });
            let _reader = net.tasks.spawn(read_events(events));
        }
        net.settle();
        prop_assert!(left.ended.take().is_some());
        prop_assert!(right.ended.take().is_some());
    }
}

/// Tasks, and the network between them.
struct Net {
    tasks: Tasks,
    clock: SimClock,
    link: Link,
    window: usize,
    capacity: Capacity,
}

/// What the owner of a connection holds, and how the connection ended.
struct End {
    commands: Commands,
    events: Events,
    ended: Task<Outcome>,
}

impl Net {
    fn new(seed: u64, link: &Link) -> Self {
        let tasks = Tasks::new(seed);
        Self {
            clock: tasks.clock(),
            tasks,
            link: link.clone(),
            window: WINDOW,
            capacity: Capacity::default(),
        }
    }

    fn stream(&mut self) -> (Duplex, Duplex) {
        duplex(&self.clock, self.tasks.rng(), &self.link, self.window)
    }

    fn pair(&mut self, left: (Frames, Policy), right: (Frames, Policy)) -> (End, End) {
        self.pair_with((left.0, left.1, None), (right.0, right.1, None))
    }

    fn pair_with(
        &mut self,
        left: (Frames, Policy, Option<FramesCommand>),
        right: (Frames, Policy, Option<FramesCommand>),
    ) -> (End, End) {
        let (one, other) = self.stream();
        (self.end(one, left), self.end(other, right))
    }

    fn raw_against(&mut self, machine: Frames, policy: Policy) -> (Duplex, End) {
        let (raw, other) = self.stream();
        (raw, self.end(other, (machine, policy, None)))
    }

    fn end(
        &mut self,
        stream: Duplex,
        (machine, policy, farewell): (Frames, Policy, Option<FramesCommand>),
    ) -> End {
        let (commands, events, mut mailbox) = mailbox(self.capacity);
        if let Some(farewell) = farewell {
            mailbox = mailbox.farewell(farewell);
        }
        let machine = Checked::new(machine);
        let ended = self
            .tasks
            .spawn(drive(machine, stream, self.clock.clone(), mailbox, policy));
        End {
            commands,
            events,
            ended,
        }
    }

    /// Runs until nothing happens any more: then no task may be left.
    #[track_caller]
    fn settle(&mut self) {
        assert_eq!(self.tasks.run(5_000_000), Settled::Idle);
        assert_eq!(self.tasks.unfinished(), 0);
    }
}

/// A stream that always gives that many zero bytes, and takes none.
struct Endless {
    reads: Poll<usize>,
}

impl Io for Endless {
    fn poll_read(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        self.reads.map(Ok)
    }

    fn poll_write(&mut self, _: &mut Context<'_>, _: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(0))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Finishes when the peer has closed.
struct Polite(Frames);

impl Machine for Polite {
    type Input<'a> = Input<'a, FramesCommand>;
    type Action = Action<FramesEvent>;
    type Error = FrameError;

    fn handle(&mut self, now: Now, input: Input<'_, FramesCommand>) -> Result<(), FrameError> {
        self.0.handle(now, input)
    }

    fn poll(&mut self) -> Option<Action<FramesEvent>> {
        self.0.poll().map(|action| match action {
            Action::Close(_) => Action::Close(CloseReason::Finished),
            action => action,
        })
    }

    fn deadline(&self) -> Option<Instant> {
        self.0.deadline()
    }
}

impl Connection for Polite {
    type Command = FramesCommand;
    type Event = FramesEvent;

    fn accepts_commands(&self) -> bool {
        self.0.accepts_commands()
    }
}

fn any_link(seed: u64) -> Link {
    Link::any(&mut Tasks::new(seed).rng())
}

fn frames(count: usize, size: usize) -> Vec<Bytes> {
    let frame = |n: usize| Bytes::from(vec![n.to_le_bytes()[0]; size]);
    (0..count).map(frame).collect()
}

async fn send_all(commands: &Commands, frames: Vec<Bytes>) {
    for frame in frames {
        if commands.send(FramesCommand::Send(frame)).await.is_err() {
            return;
        }
    }
}

/// Sends all frames, receives as many, and goes.
async fn exchange(commands: Commands, mut events: Events, frames: Vec<Bytes>) -> Vec<Bytes> {
    let count = frames.len();
    let mut received = Vec::new();
    let mut sending = Box::pin(send_all(&commands, frames));
    let mut sent = Poll::Pending;
    poll_fn(|cx| {
        if sent.is_pending() {
            sent = sending.as_mut().poll(cx);
        }
        while received.len() < count {
            match events.poll_next(cx) {
                Poll::Ready(Some(FramesEvent::Frame(frame))) => received.push(frame),
                Poll::Ready(Some(event)) => panic!("{event:?}"),
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        sent
    })
    .await;
    received
}

async fn read_events(mut events: Events) -> Vec<FramesEvent> {
    let mut all = Vec::new();
    while let Some(event) = events.next().await {
        all.push(event);
    }
    all
}

/// Receives frames until the peer has closed, then goes.
async fn listen(commands: Commands, mut events: Events) -> Vec<Bytes> {
    let mut frames = Vec::new();
    while let Some(FramesEvent::Frame(frame)) = events.next().await {
        frames.push(frame);
    }
    drop(commands);
    frames
}

async fn write(stream: &mut Duplex, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = poll_fn(|cx| stream.poll_write(cx, &[IoSlice::new(bytes)])).await?;
        bytes = &bytes[count..];
    }
    Ok(())
}

async fn close(stream: &mut Duplex) {
    poll_fn(|cx| stream.poll_close(cx)).await.unwrap();
}

async fn read_to_end(stream: &mut Duplex) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 1000]);
    while let Ok(count @ 1..) = poll_fn(|cx| stream.poll_read(cx, &mut buffer)).await {
        all.extend_from_slice(&buffer[..count]);
    }
    all
}
