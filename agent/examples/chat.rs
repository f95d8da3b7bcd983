//! Two people talk in their terminals.
//!
//!     alice$ cargo run -p simplex-agent --example chat -- smp://FINGERPRINT@HOST:PORT
//!     bob$   cargo run -p simplex-agent --example chat -- smp://FINGERPRINT@HOST:PORT LINK-OF-ALICE
#![expect(clippy::print_stdout, reason = "it is a program for a terminal")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a chat has to do with few events"
)]

use std::error::Error;

use bytes::Bytes;
use simplex_agent::store::Memory;
use simplex_agent::{
    Agent, Builder, ConnectionId, Event, EventContent, Joining, MsgFlags, NewLink, UserId,
    UserRouter,
};
use simplex_runtime_tokio::{Tokio, rng};
use tokio::io::{AsyncBufReadExt as _, BufReader};

const USER: UserId = UserId(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let router = arguments.next().ok_or("which router?")?;
    let (agent, mut events, running) = Builder::new(Memory::default()).start(Tokio::new(), rng()?);
    tokio::spawn(running);
    agent
        .set_user(USER, vec![UserRouter::new(router.parse()?)])
        .await?;

    let connection = match arguments.next() {
        None => {
            let created = agent.create(NewLink::invitation(USER)).await?;
            println!(
                "Give this link to whom you want to talk with:\n{}",
                created.link
            );
            created.connection
        }
        Some(link) => {
            let me = Bytes::from_static(b"somebody");
            agent.join(Joining::new(USER, link.parse()?, me)).await?.0
        }
    };
    // What is typed before the connection is there waits for it.
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut connected = false;
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => connected |= heard(&agent, event).await?,
                None => return Ok(()),
            },
            line = lines.next_line(), if connected => match line? {
                Some(line) => say(&agent, &connection, line).await?,
                None => return Ok(()),
            },
        }
    }
}

async fn say(agent: &Agent, to: &ConnectionId, line: String) -> Result<(), Box<dyn Error>> {
    let flags = MsgFlags { notification: true };
    agent.send(to, flags, line.into()).await?;
    Ok(())
}

/// Whether messages can be sent from now on.
async fn heard(agent: &Agent, event: Event) -> Result<bool, Box<dyn Error>> {
    if let Some(id) = event.id {
        agent.confirm(id).await?;
    }
    let Some(from) = event.connection else {
        return Ok(false);
    };
    match event.content {
        EventContent::Confirmation { name, .. } => {
            agent
                .allow(&from, &name, Bytes::from_static(b"somebody else"))
                .await?;
        }
        EventContent::Connected { .. } => {
            println!("* connected");
            return Ok(true);
        }
        EventContent::Message { meta, body, .. } => {
            println!("> {}", String::from_utf8_lossy(&body));
            agent
                .acknowledge(&from, meta.message, Some(Bytes::new()))
                .await?;
        }
        EventContent::Receipts { meta, .. } => {
            println!("* received");
            agent.acknowledge(&from, meta.message, None).await?;
        }
        EventContent::SendFailed { error, .. } => println!("* not sent: {error}"),
        _ => {}
    }
    Ok(false)
}
