//! Which routers are reached because a peer names them.

use super::addresses::address;
use super::peers::{ALICE, BOB, Peers, name};
use crate::agent::command::{Command, Reply};
use crate::agent::config::{Config, NetworkConfig, Strangers, UserRouter};
use crate::agent::error::AgentError;
use crate::agent::event::{EventContent, SwitchPhase};
use crate::agent::link::ConnectionRequest;
use crate::ratchet::{InitialKeys, Pq};

fn config(strangers: Strangers) -> Config {
    Config {
        network: NetworkConfig {
            strangers,
            ..NetworkConfig::default()
        },
        ..Config::default()
    }
}

/// Alice has her queues at the first router, and is led to no others if she is so told; Bob is anywhere, at the second one.
fn peers(strangers: Strangers) -> Peers {
    let mut peers = Peers::new(1, 2);
    peers.agents.configure(ALICE, config(strangers));
    peers.agents.crash(ALICE);
    for who in [ALICE, BOB] {
        use_router(&mut peers, who, who);
    }
    peers
}

fn use_router(peers: &mut Peers, who: usize, router: usize) {
    let own = peers.agents.routers[router].address.clone();
    peers.agents.use_routers(who, vec![UserRouter::new(own)]);
}

fn refused() -> AgentError {
    AgentError::Prohibited {
        context: "a router that may not be reached".into(),
    }
}

fn is_told(peers: &mut Peers) -> (bool, Vec<EventContent>) {
    let told = peers.told(ALICE);
    let error = |event: &EventContent| {
        matches!(event, EventContent::Error { error: AgentError::MessageProhibited { context } }
            if context.as_str() == "a router that may not be reached")
    };
    (told.iter().any(error), told)
}

#[test]
fn a_link_that_leads_to_neighbours_is_not_followed() {
    let mut peers = peers(Strangers::Public);
    let link = peers.invite_as(BOB, &name("alice"), InitialKeys::Never);
    let link = |host: &str| -> ConnectionRequest {
        let text = link.to_string().replace("smp1.example", host);
        text.parse().unwrap()
    };
    for host in ["10.0.0.1", "localhost", "printer.local", "[::1]"] {
        let join = peers.join(link(host), Pq::Off);
        assert_eq!(peers.agents.ask(ALICE, join), Err(refused()), "{host}");
    }
    assert_eq!(peers.agents.loaded(ALICE), 0, "no connection is left");
    let join = peers.join(link("smp1.example"), Pq::Off);
    assert!(peers.agents.ask(ALICE, join).is_ok());
}

#[test]
fn what_the_user_has_chosen_may_be_a_neighbour() {
    let mut peers = peers(Strangers::Public);
    let link = peers.invite_as(BOB, &name("alice"), InitialKeys::Never);
    let at = |text: String| text.replace("smp1.example", "10.0.0.1");
    let own = at(peers.agents.routers[1].address.to_string());
    let own = UserRouter::new(own.parse().unwrap());
    let first = UserRouter::new(peers.agents.routers[0].address.clone());
    peers.agents.use_routers(ALICE, vec![first, own]);
    let join = peers.join(at(link.to_string()).parse().unwrap(), Pq::Off);
    // There is no such router in the simulation: it is looked for.
    assert_ne!(peers.agents.ask(ALICE, join), Err(refused()));
}

#[test]
fn a_link_to_a_router_that_is_not_known_is_not_followed() {
    let mut peers = peers(Strangers::Never);
    let link = peers.invite_as(BOB, &name("alice"), InitialKeys::Never);
    let join = peers.join(link, Pq::Off);
    assert_eq!(peers.agents.ask(ALICE, join.clone()), Err(refused()));
    let both = [0, 1].map(|router| peers.agents.routers[router].address.clone());
    let both = both.map(UserRouter::new).to_vec();
    peers.agents.use_routers(ALICE, both);
    assert!(peers.agents.ask(ALICE, join).is_ok());
}

#[test]
fn the_data_of_a_link_is_not_asked_of_a_router_that_is_not_known() {
    let mut peers = peers(Strangers::Never);
    let mut create = super::addresses::invitation(&name("alice"));
    if let Command::Create { short, .. } = &mut create {
        *short = Some(b"data".as_slice().into());
    }
    let Ok(Reply::Created {
        short: Some(link), ..
    }) = peers.agents.ask(BOB, create)
    else {
        panic!("a short link")
    };
    let open = Command::OpenLink {
        user: crate::sim::agents::USER,
        link,
    };
    assert_eq!(peers.agents.ask(ALICE, open.clone()), Err(refused()));
    use_router(&mut peers, ALICE, 1);
    assert!(peers.agents.ask(ALICE, open).is_ok());
}

#[test]
fn whoever_accepts_an_invitation_cannot_lead_its_maker_elsewhere() {
    let mut peers = peers(Strangers::Never);
    let link = peers.invite(InitialKeys::Never);
    let join = peers.join(link, Pq::Off);
    assert!(peers.agents.ask(BOB, join).is_ok());
    let (is_told, told) = is_told(&mut peers);
    let asked = |event: &EventContent| matches!(event, EventContent::Confirmation { .. });
    assert!(is_told && !told.iter().any(asked), "{told:?}");
}

#[test]
fn whoever_asks_at_an_address_cannot_lead_its_owner_elsewhere() {
    let mut peers = peers(Strangers::Never);
    let link = address(&mut peers);
    let join = peers.join(link, Pq::Off);
    assert!(peers.agents.ask(BOB, join).is_ok());
    let (is_told, told) = is_told(&mut peers);
    let asked = |event: &EventContent| matches!(event, EventContent::Request { .. });
    assert!(is_told && !told.iter().any(asked), "{told:?}");
}

#[test]
fn a_peer_that_replaces_its_queue_cannot_lead_anybody_elsewhere() {
    let mut peers = peers(Strangers::Never);
    use_router(&mut peers, BOB, 0);
    peers.connect(InitialKeys::Never);
    use_router(&mut peers, BOB, 1);
    let connection = peers.names[BOB].clone();
    let switch = Command::Switch { connection };
    assert_eq!(peers.agents.ask(BOB, switch), Ok(Reply::Done));
    let (is_told, told) = is_told(&mut peers);
    let switched = |event: &EventContent| {
        matches!(
            event,
            EventContent::Switch {
                phase: SwitchPhase::Started,
                ..
            }
        )
    };
    assert!(is_told && !told.iter().any(switched), "{told:?}");
    peers.send(ALICE, "through the old one");
    assert_eq!(peers.read(BOB), ["through the old one"]);
}
