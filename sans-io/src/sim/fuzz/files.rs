//! An XFTP router with clients that do anything, against a model of what they were promised.

use std::time::Duration;

use super::choices::Choices;
use crate::sim::Trace;
use crate::sim::xftp::{Operation, Run};

/// What was promised of each file is kept across everything that happens: see [`Run`].
pub(super) fn run(choices: &mut Choices<'_>, trace: &mut Trace) {
    let quota = choices.coin().then_some(2);
    let mut run = Run::new(quota, 2, choices.rng());
    let mut steps = 0_u8;
    while let Some((kind, small)) = choices.next()
        && steps < 96
    {
        steps = steps.saturating_add(1);
        run.step(operation(kind, usize::from(small), choices), trace);
    }
    run.finish();
}

fn operation(kind: u8, small: usize, choices: &mut Choices<'_>) -> Operation {
    let (client, file) = (small & 1, small >> 1);
    match kind {
        0 => Operation::Create { client },
        1 => Operation::Upload {
            client,
            file,
            most: usize::MAX,
        },
        2 => Operation::Upload {
            client,
            file,
            most: choices.word().into(),
        },
        3 => Operation::Download { client, file },
        4 => Operation::Delete { client, file },
        5 => Operation::Acknowledge { client, file },
        6 => Operation::Cut { client },
        7 => Operation::Crash,
        8 => Operation::Storing,
        9 => Operation::Block { file },
        10 => Operation::Wait(Duration::from_secs(choices.byte().into())),
        11 => Operation::Settle,
        25 => Operation::Connect {
            client,
            at_router: far(choices),
            at_client: far(choices),
        },
        26 => Operation::AddRecipient { client, file },
        27 => Operation::Wait(Duration::from_secs(choices.word().into())),
        28 => Operation::Pace,
        29 => Operation::Break {
            client,
            at_router: far(choices),
            at_client: far(choices),
        },
        30 => Operation::Room,
        31 => Operation::Reset {
            client,
            stream: choices.byte().into(),
        },
        _ => Operation::Step(small),
    }
}

/// Up to two chunks away, at any byte.
fn far(choices: &mut Choices<'_>) -> usize {
    let word = usize::from(choices.word());
    word.saturating_add(usize::from(choices.coin()) << 16)
}
