//! Ratchets that somebody else turns.

use super::peers::{ALICE, BOB, Peers};
use crate::agent::config::{Config, Turns};
use crate::agent::event::EventContent;
use crate::ratchet::InitialKeys;

fn peers() -> Peers {
    let config = Config {
        turns: Turns::ByDriver,
        ..Config::default()
    };
    let mut peers = Peers::with(1, 2, &config);
    peers.connect(InitialKeys::Invitation);
    // What Alice says next turns Bob's ratchet.
    peers.send(BOB, "I am here");
    peers.read(ALICE);
    peers
}

/// Until a ratchet of Bob is to turn.
fn until_it_turns(peers: &mut Peers) {
    while peers.agents.turning(BOB) == 0 {
        let any = peers.agents.step(ALICE) || peers.agents.step(BOB);
        assert!(any, "nothing turns");
    }
}

#[test]
fn a_connection_waits_until_its_ratchet_has_turned() {
    let mut peers = peers();
    for round in 0..4 {
        let text = format!("{round}");
        let send = peers.sending(ALICE, &text);
        peers.agents.command(ALICE, send);
        until_it_turns(&mut peers);
        // Whatever else is wanted of the connection comes after it.
        let send = peers.sending(BOB, "meanwhile");
        let asked = peers.agents.command(BOB, send);
        assert_eq!(peers.agents.turning(BOB), 1);
        assert_eq!(peers.agents.reply(BOB, asked), None);
        peers.agents.run();
        assert!(matches!(peers.agents.reply(BOB, asked), Some(Ok(_))));
        assert_eq!(peers.read(BOB), [text]);
        assert_eq!(peers.read(ALICE), ["meanwhile"]);
    }
}

#[test]
fn a_crash_while_a_ratchet_turns_loses_nothing() {
    let mut peers = peers();
    let message = peers.sending(ALICE, "hello");
    peers.agents.command(ALICE, message);
    until_it_turns(&mut peers);
    peers.agents.crash(BOB);
    peers.agents.run();
    assert_eq!(peers.read(BOB), ["hello"]);
    let receipt = peers.sending(BOB, "how are you");
    peers.agents.ask(BOB, receipt).unwrap();
    assert_eq!(peers.read(ALICE), ["how are you"]);
}

/// A receipt in a message that turns the ratchet needs records besides.
#[test]
fn what_a_turned_message_needs_is_loaded_before_anything_else_is_done() {
    let mut peers = peers();
    let message = peers.send(BOB, "hello");
    let heard = peers.told(ALICE).into_iter().find_map(|event| match event {
        EventContent::Message { meta, .. } => Some(meta.message),
        _ => None,
    });
    peers.acknowledge(ALICE, heard.unwrap(), Some("read"));
    let receipts = peers.told(BOB).into_iter().find_map(|event| match event {
        EventContent::Receipts { receipts, .. } => Some(receipts.first().message),
        _ => None,
    });
    assert_eq!(receipts, Some(message));
}
