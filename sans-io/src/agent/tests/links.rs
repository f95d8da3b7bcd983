//! Short links.

use bytes::Bytes;

use super::peers::{ALICE, BOB, Peers, name};
use crate::agent::command::{Command, LinkContent, NewConnection, Receiving, Reply, RequestMode};
use crate::agent::config::Config;
use crate::agent::error::AgentError;
use crate::agent::link::ShortLink;
use crate::ratchet::{InitialKeys, Pq};
use crate::sim::agents::{Agents, USER};
use crate::smp::ErrorType;
use crate::smp::link::{ContactData, UserData};
use crate::wire::List;

fn create(agents: &mut Agents, kind: NewConnection, short: Option<&str>) -> Option<ShortLink> {
    let create = Command::Create {
        connection: Some(name("bob")),
        user: USER,
        kind,
        client_data: None,
        short: short.map(|text| Bytes::copy_from_slice(text.as_bytes())),
        mode: RequestMode::Interactive,
        receiving: Receiving::AtOnce,
    };
    match agents.ask(ALICE, create) {
        Ok(Reply::Created { short, .. }) => short.map(|short| short.to_string().parse().unwrap()),
        other => panic!("{other:?}"),
    }
}

fn open(agents: &mut Agents, who: usize, link: &ShortLink) -> Result<LinkContent, AgentError> {
    let open = Command::OpenLink {
        user: USER,
        link: link.clone(),
    };
    match agents.ask(who, open)? {
        Reply::Link(content) => Ok(*content),
        other => panic!("{other:?}"),
    }
}

fn said(content: &LinkContent) -> String {
    let data = match &content.user {
        UserData::Invitation(data) => &data.data,
        UserData::Contact(data) => &data.data,
    };
    String::from_utf8(data.to_vec()).unwrap()
}

#[test]
fn an_invitation_is_read_by_one_who_then_joins() {
    for pq in [InitialKeys::Never, InitialKeys::Later] {
        let mut peers = Peers {
            agents: Agents::with(1, 3, 2, &Config::default()),
            names: [name("bob"), name("alice")],
        };
        let kind = NewConnection::Invitation { pq };
        let link = create(&mut peers.agents, kind, Some("I am Alice")).unwrap();
        let content = open(&mut peers.agents, BOB, &link).unwrap();
        assert_eq!(said(&content), "I am Alice");
        // Somebody else is too late; Bob may read it again, also after a crash.
        let refused = open(&mut peers.agents, 2, &link).unwrap_err();
        assert!(matches!(refused, AgentError::Smp { error, .. } if *error == ErrorType::Auth));
        peers.agents.crash(BOB);
        peers.agents.run();
        assert_eq!(open(&mut peers.agents, BOB, &link), Ok(content.clone()));

        let join = peers.join(content.request, pq.support());
        let joined = peers.agents.ask(BOB, join);
        assert!(matches!(joined, Ok(Reply::Joined { .. })), "{joined:?}");
        peers.allow();
        peers.send(ALICE, "hello");
        assert_eq!(peers.read(BOB), ["hello"]);
        peers.send(BOB, "hello yourself");
        assert_eq!(peers.read(ALICE), ["hello yourself"]);
    }
}

fn contact(text: &str) -> UserData {
    UserData::Contact(ContactData {
        versions: Config::default().versions,
        direct: true,
        owners: List::default(),
        relays: List::default(),
        data: text.as_bytes().try_into().unwrap(),
    })
}

#[test]
fn the_link_of_an_address_is_read_by_many_and_changed() {
    for short in [Some("first"), None] {
        let mut agents = Agents::new(1, 3, 1);
        let link = create(&mut agents, NewConnection::Address, short);
        assert_eq!(link.is_some(), short.is_some());
        if let Some(link) = &link {
            for who in [BOB, 2] {
                assert_eq!(said(&open(&mut agents, who, link).unwrap()), "first");
            }
        }
        let set = Command::SetLink {
            connection: name("bob"),
            data: contact("second"),
        };
        let Ok(Reply::ShortLink(set)) = agents.ask(ALICE, set) else {
            panic!("a link")
        };
        if let Some(link) = link {
            assert!(link.is_same(&set));
        }
        let content = open(&mut agents, BOB, &set).unwrap();
        assert_eq!(said(&content), "second");
        let join = Command::Join {
            connection: None,
            user: USER,
            request: Box::new(content.request),
            info: Bytes::from_static(b"Bob"),
            pq: Pq::On,
            mode: RequestMode::Interactive,
            receiving: Receiving::AtOnce,
        };
        assert!(matches!(agents.ask(BOB, join), Ok(Reply::Joined { .. })));

        let delete = Command::DeleteLink {
            connection: name("bob"),
        };
        assert_eq!(agents.ask(ALICE, delete), Ok(Reply::Done));
        assert!(open(&mut agents, BOB, &set).is_err());
    }
}

#[test]
fn a_link_without_its_router_is_completed_from_those_that_are_known() {
    let mut agents = Agents::new(1, 2, 2);
    let link = create(&mut agents, NewConnection::Address, Some("short")).unwrap();
    let presets: Vec<_> = agents
        .routers
        .iter()
        .map(|router| router.address.clone())
        .collect();
    let shortened = link.shortened(&presets);
    assert!(shortened.to_string().len() < link.to_string().len());
    assert_eq!(said(&open(&mut agents, BOB, &shortened).unwrap()), "short");
}
