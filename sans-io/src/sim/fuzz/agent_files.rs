//! Files of an agent, over routers that come and go, while it crashes.

use std::time::Duration;

use super::choices::Choices;
use crate::sim::Trace;
use crate::sim::files::{Fate, Operation, Run, behaviour, failure, strange};

/// Every file ends and is told of once, whatever is answered to what was asked, in whatever order: see [`Run`].
pub(super) fn run(choices: &mut Choices<'_>, trace: &mut Trace) {
    let mut run = Run::new();
    let mut steps = 0_u16;
    while let Some((kind, small)) = choices.next()
        && steps < 512
    {
        steps = steps.saturating_add(1);
        if let Some(operation) = operation(kind, usize::from(small), choices) {
            run.step(operation, trace);
        }
    }
    run.finish(trace);
}

fn operation(kind: u8, small: usize, choices: &mut Choices<'_>) -> Option<Operation> {
    let end = |job, fate| Operation::End { job, fate };
    Some(match kind {
        0 => Operation::Store,
        1 => end(small, Fate::Done),
        2 => end(small, Fate::Lost),
        3 => end(small, Fate::Undone),
        4 => end(small, Fate::Fails(failure(choices.byte().into()))),
        5 => end(small, Fate::Strange(strange(choices.byte().into()))),
        6 => Operation::EndAgain {
            job: choices.byte().into(),
        },
        7 => Operation::Wait,
        8 => Operation::Pass(Duration::from_secs(choices.word().into())),
        9 => Operation::Crash,
        10 => Operation::Router {
            router: small,
            behaviour: behaviour(choices.byte().into()),
        },
        11 => Operation::Lose { router: small },
        12 => Operation::Network,
        13 => Operation::Activity,
        14 => Operation::Delete { file: small },
        15 => Operation::DeleteUser,
        16 => Operation::Confirm {
            event: choices.byte().into(),
        },
        17 => Operation::TestRouter { router: small },
        18 => Operation::DeleteRemotely { sent: small },
        19 => Operation::Receive { sent: small },
        20 => Operation::SendDescription { sent: small },
        21 => Operation::Send {
            name: small,
            recipients: u16::from(choices.byte() & 3).saturating_add(1),
            replicas: (choices.byte() & 1).saturating_add(1),
        },
        22 => Operation::Mend,
        _ => return None,
    })
}
