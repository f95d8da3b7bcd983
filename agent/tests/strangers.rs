//! Names that lead to neighbours: which addresses an agent dials.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod router;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use router::Router;
use simplex_agent::store::Memory;
use simplex_agent::{
    Agent, AgentError, Builder, Error, Joining, NetworkConfig, NewLink, Strangers, UserId,
    UserRouter,
};
use simplex_runtime_tokio::{Tokio, rng};
use simplex_sans_io::drive::Network;

const USER: UserId = UserId(1);

/// A network where every name is resolved to this machine.
#[derive(Clone)]
struct Rebinding {
    tokio: Tokio,
    dialled: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Network for Rebinding {
    type Stream = <Tokio as Network>::Stream;
    type Clock = <Tokio as Network>::Clock;

    fn clock(&self) -> Self::Clock {
        self.tokio.clock()
    }

    async fn resolve(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(vec![([127, 0, 0, 1], port).into()])
    }

    async fn dial(&self, address: SocketAddr) -> io::Result<Self::Stream> {
        self.dialled.lock().unwrap().push(address);
        self.tokio.dial(address).await
    }
}

fn start(strangers: Strangers) -> (Agent, Arc<Mutex<Vec<SocketAddr>>>) {
    let network = Rebinding {
        tokio: Tokio::new(),
        dialled: Arc::default(),
    };
    let dialled = Arc::clone(&network.dialled);
    let config = NetworkConfig {
        strangers,
        ..NetworkConfig::default()
    };
    let builder = Builder::new(Memory::default()).network(config);
    let (agent, mut events, running) = builder.start(network, rng().unwrap());
    tokio::spawn(running);
    tokio::spawn(async move { while events.next().await.is_some() {} });
    (agent, dialled)
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_dialled_only_if_the_user_has_chosen_it() {
    let (own, other) = (Router::start().await, Router::start().await);
    let named = |router: &Router, name: &str| {
        let address = router.address.to_string().replace("127.0.0.1", name);
        UserRouter::new(address.parse().unwrap())
    };
    let (alice, _) = start(Strangers::Anywhere);
    alice
        .set_user(USER, vec![named(&other, "smp.other.example")])
        .await
        .unwrap();
    let created = alice.create(NewLink::invitation(USER)).await.unwrap();
    let request: simplex_agent::ConnectionRequest = created.link.to_string().parse().unwrap();

    let (bob, dialled) = start(Strangers::Public);
    bob.set_user(USER, vec![named(&own, "smp.own.example")])
        .await
        .unwrap();
    bob.create(NewLink::invitation(USER)).await.unwrap();
    let refused = bob
        .join(Joining::new(USER, request.clone(), "bob".into()))
        .await;
    let unreachable = AgentError::Broker {
        router: Box::new(named(&other, "smp.other.example").address),
        error: Box::new(simplex_sans_io::smp::BrokerError::Host),
    };
    assert_eq!(refused.unwrap_err(), Error::Agent(unreachable));
    let of = |router: &Router| SocketAddr::from(([127, 0, 0, 1], router.address.port().unwrap()));
    let dialled = dialled.lock().unwrap().clone();
    assert!(dialled.contains(&of(&own)) && !dialled.contains(&of(&other)));
}
