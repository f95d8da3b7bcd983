//! Two machines over a network that delays, cuts and breaks, with somebody in the middle.

use std::time::Duration;

use bytes::Bytes;

use super::choices::Choices;
use super::commands::queue;
use super::session::{Sessions, entity};
use crate::rng::Rng;
use crate::sim::{
    Checked, Ended, Fault, Frames, FramesCommand, FramesEvent, Link, Middle, Pair, Settled, Side,
    Trace,
};
use crate::smp::block::BLOCK;
use crate::smp::client::{Call, Client, Event, Request, RequestError, RequestId};
use crate::smp::server::{self, Answer, Server};
use crate::smp::{BrokerMessage, Command, MsgFlags};

const MAX_STEPS: u8 = 64;
/// More steps than any of these runs can need.
const ALL: usize = 1_000_000;

/// Frames arrive in order, once, and all of them if nothing is lost.
pub(super) fn frames(choices: &mut Choices<'_>, trace: &mut Trace) {
    let (seed, links) = (choices.word(), links(choices));
    let left = Checked::new(Frames::windowed(8));
    let right = Checked::new(Frames::echo());
    let mut lossless = links.iter().all(|link| link.cut.is_none());
    let [from_left, from_right] = links;
    let mut pair = Pair::over(seed.into(), from_left, from_right, left, right);
    let mut sent = Vec::new();
    let mut steps = 0_u8;
    while let Some((kind, small)) = choices.next()
        && steps < MAX_STEPS
    {
        steps = steps.saturating_add(1);
        match kind {
            0 => {
                let frame = Bytes::from(vec![small; usize::from(choices.word() >> 2)]);
                let welcome = pair.left().ended().is_none();
                if welcome && crate::machine::Connection::accepts_commands(pair.left().machine()) {
                    sent.push(FramesEvent::Frame(frame.clone()));
                    pair.command_left(FramesCommand::Send(frame));
                }
            }
            1 => {
                pair.run_for(choices.duration(), ALL);
            }
            2 => pair.fault(side(small), Fault::Stall(choices.duration())),
            3 => {
                lossless = false;
                pair.fault(side(small), Fault::Reset);
            }
            4 => {
                lossless = false;
                pair.command_left(FramesCommand::Finish);
            }
            5 => pair.command_left(FramesCommand::Wake(choices.duration(), small.into())),
            6 => pair.command_right(FramesCommand::Pause),
            7 => pair.command_right(FramesCommand::Resume),
            _ => {}
        }
    }
    pair.command_right(FramesCommand::Resume);
    assert_eq!(pair.run(ALL), Settled::Idle, "a run that does not end");
    let arrived = |events: &[FramesEvent]| -> Vec<FramesEvent> {
        let frames = events
            .iter()
            .filter(|event| matches!(event, FramesEvent::Frame(_)));
        frames.cloned().collect()
    };
    let (there, back) = (
        arrived(pair.right().events()),
        arrived(pair.left().events()),
    );
    assert!(sent.starts_with(&there), "frames are lost or changed");
    assert!(there.starts_with(&back), "echoes are lost or changed");
    if lossless {
        assert_eq!(back, sent, "all frames come back");
    }
    let end = format!("{:?}", pair.trace().digest());
    trace.record(
        pair.now().instant,
        "pair",
        crate::sim::Direction::Action,
        end,
    );
}

fn side(small: u8) -> Side {
    match small & 1 {
        0 => Side::Left,
        _ => Side::Right,
    }
}

fn links(choices: &mut Choices<'_>) -> [Link; 2] {
    let manner = choices.byte();
    [0, 4].map(|shift| match manner >> shift & 0xf {
        0 => Link::IDEAL,
        1 => Link::WAN,
        _ => Link::any(&mut choices.rng()),
    })
}

/// A client and a router: every request is answered once, unless the network has broken the session, and then never twice.
pub(super) fn smp(choices: &mut Choices<'_>, trace: &mut Trace) {
    let Some(sessions) = Sessions::choose(choices) else {
        return;
    };
    let (seed, links) = (choices.word(), links(choices));
    let [from_left, from_right] = links;
    let client = Checked::new(sessions.client());
    let server = Checked::new(sessions.server());
    let mut pair = Pair::over(seed.into(), from_left, from_right, client, server);
    if choices.coin() {
        pair = pair.through(meddling(choices.rng()));
    }
    let mut run = Run {
        pair,
        answered_events: 0,
        requests: 0,
    };
    let mut steps = 0_u8;
    while let Some((kind, small)) = choices.next()
        && steps < MAX_STEPS
    {
        steps = steps.saturating_add(1);
        match kind {
            0 => run.send(small, choices),
            1 => run.wait(choices.duration()),
            2 => run
                .pair
                .fault(side(small), Fault::Stall(choices.duration())),
            3 => run.pair.fault(side(small), Fault::Reset),
            4 => run.pair.command_left(Call::Close),
            5 => run.pair.command_right(server::Call::Close),
            6 => run.announce(choices),
            7 => {
                run.pair.run(usize::from(choices.byte()));
            }
            _ => {}
        }
    }
    run.finish();
    let end = format!("{:?}", run.pair.trace().digest());
    let now = run.pair.now().instant;
    trace.record(now, "pair", crate::sim::Direction::Action, end);
}

/// Drops, doubles and alters some blocks.
fn meddling(mut rng: Rng) -> Middle {
    Middle::blocks(BLOCK, move |_, block| match rng.below(8) {
        0 => vec![],
        1 => vec![block.clone(), block],
        2 => {
            let mut altered = block.to_vec();
            if let Some(byte) = altered.get_mut(100) {
                *byte ^= 1;
            }
            vec![altered.into()]
        }
        _ => vec![block],
    })
}

struct Run {
    pair: Pair<Checked<Client>, Checked<Server>>,
    /// How many of the router's events its owner has seen.
    answered_events: usize,
    requests: u64,
}

impl Run {
    fn send(&mut self, count: u8, choices: &mut Choices<'_>) {
        let requests = (0..=count).map(|_| {
            let id = RequestId(self.requests);
            self.requests = self.requests.saturating_add(1);
            let command = match choices.below(4) {
                0 => Command::Ping,
                1 => Command::LGet,
                2 => Command::Get,
                _ => Command::Send {
                    flags: MsgFlags {
                        notification: false,
                    },
                    body: vec![1; usize::from(choices.word() >> 2)].into(),
                },
            };
            Request::new(id, entity(choices), command)
        });
        let requests: Vec<_> = requests.collect();
        // The driver of a stream that has ended gives it no more requests.
        match self.pair.left().ended() {
            None => self.pair.command_left(Call::Send(requests)),
            Some(_) => {
                self.requests = self
                    .requests
                    .saturating_sub(u64::from(count))
                    .saturating_sub(1)
            }
        }
    }

    fn announce(&mut self, choices: &mut Choices<'_>) {
        let message = BrokerMessage::Msg {
            id: entity(choices),
            body: Bytes::copy_from_slice(choices.some_bytes()),
        };
        let words = vec![(entity(choices), server::Say::Message(message))];
        self.pair.command_right(server::Call::Announce(words));
    }

    /// Time passes, and the router's owner answers whatever it is asked.
    fn wait(&mut self, duration: Duration) {
        while self.pair.run_for(duration, ALL) != Settled::Busy && self.answer() {}
    }

    /// Whether there was something to answer.
    fn answer(&mut self) -> bool {
        let events = self.pair.right().events();
        let event = events.get(self.answered_events).cloned();
        let Some(event) = event else {
            return false;
        };
        self.answered_events = self.answered_events.saturating_add(1);
        match event {
            server::Event::Lookup { block, lookups } => {
                let queues = lookups.iter().map(|lookup| queue(&lookup.id, 1));
                let queues = queues.collect();
                self.pair
                    .command_right(server::Call::Keys { block, queues });
            }
            server::Event::Execute {
                block, requests, ..
            } => {
                let answers = requests.iter().map(|_| Answer::from(BrokerMessage::Ok));
                let answers = answers.collect();
                self.pair
                    .command_right(server::Call::Answer { block, answers });
            }
            server::Event::Established(_)
            | server::Event::Service { .. }
            | server::Event::Heard
            | server::Event::Counted(_) => {}
        }
        true
    }

    fn finish(&mut self) {
        loop {
            assert_eq!(self.pair.run(ALL), Settled::Idle, "a run that does not end");
            if !self.answer() {
                break;
            }
        }
        let mut answers: Vec<_> = self
            .pair
            .left()
            .events()
            .iter()
            .filter_map(|event| match event {
                Event::Response { request, .. } => Some(request.0),
                Event::Late { .. }
                | Event::Established(_)
                | Event::Message { .. }
                | Event::Unexpected(_) => None,
            })
            .collect();
        answers.sort_unstable();
        if self.pair.left().ended() == Some(&Ended::Reset) {
            let all = answers.len();
            answers.dedup();
            assert_eq!(answers.len(), all, "answered twice");
        } else {
            assert_eq!(answers, (0..self.requests).collect::<Vec<_>>());
        }
        let timed_out = |event: &&Event| {
            matches!(
                event,
                Event::Response {
                    result: Err(RequestError::TimedOut),
                    ..
                }
            )
        };
        let late = |event: &&Event| matches!(event, Event::Late { .. });
        let events = self.pair.left().events().iter();
        assert!(events.clone().filter(late).count() <= events.filter(timed_out).count());
    }
}
