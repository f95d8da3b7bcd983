//! An agent inside of a program that runs on smol: it makes an invitation and prints it.
//!
//!     cargo run -p simplex-agent --example on_smol -- smp://FINGERPRINT@HOST:PORT
#![expect(clippy::print_stdout, reason = "that is all that it does")]

use std::error::Error;

use simplex_agent::store::Memory;
use simplex_agent::{Builder, NewLink, UserId, UserRouter};
use simplex_runtime_smol::{Smol, rng};

fn main() -> Result<(), Box<dyn Error>> {
    smol::block_on(async {
        let router = std::env::args().nth(1).ok_or("which router?")?;
        let builder = Builder::new(Memory::default());
        let (agent, _events, running) = builder.start(Smol::new(), rng()?);
        smol::spawn(running).detach();
        let user = UserId(1);
        agent
            .set_user(user, vec![UserRouter::new(router.parse()?)])
            .await?;
        println!("{}", agent.create(NewLink::invitation(user)).await?.link);
        Ok(())
    })
}
