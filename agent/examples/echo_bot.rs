//! A bot that says what it hears. Run it, then talk with it: `cargo run -p simplex-agent --example chat -- ROUTER LINK`.
//!
//!     cargo run -p simplex-agent --example echo_bot -- smp://FINGERPRINT@HOST:PORT
#![expect(clippy::print_stdout, reason = "that is how it gives its link")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a bot has to do with few events"
)]

use std::error::Error;

use bytes::Bytes;
use simplex_agent::store::Memory;
use simplex_agent::{Builder, EventContent, MsgFlags, NewLink, Pq, UserId, UserRouter};
use simplex_runtime_tokio::{Tokio, rng};

const USER: UserId = UserId(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let router = std::env::args().nth(1).ok_or("which router?")?;
    let (agent, mut events, running) = Builder::new(Memory::default()).start(Tokio::new(), rng()?);
    tokio::spawn(running);
    agent
        .set_user(USER, vec![UserRouter::new(router.parse()?)])
        .await?;
    println!("{}", agent.create(NewLink::address(USER)).await?.link);

    while let Some(event) = events.next().await {
        if let Some(id) = event.id {
            agent.confirm(id).await?;
        }
        let Some(from) = event.connection else {
            continue;
        };
        match event.content {
            EventContent::Request { name, .. } => {
                let info = Bytes::from_static(b"the echo");
                agent.accept(&from, &name, None, info, Pq::On).await?;
            }
            EventContent::Message { meta, body, .. } => {
                let echo = Bytes::copy_from_slice(&body);
                let flags = MsgFlags {
                    notification: false,
                };
                agent.send(&from, flags, echo).await?;
                agent.acknowledge(&from, meta.message, None).await?;
            }
            EventContent::Receipts { meta, .. } => {
                agent.acknowledge(&from, meta.message, None).await?;
            }
            _ => {}
        }
    }
    Ok(())
}
