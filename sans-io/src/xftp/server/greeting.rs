//! The handshake, as the router sees it.

use bytes::Bytes;

use super::{Dispatch, Event, Greeting, Server};
use crate::crypto::x25519;
use crate::http2::StreamId;
use crate::time::Now;
use crate::xftp::BLOCK;
use crate::xftp::handshake::{self, ClientHandshake, ClientHello, HandshakeError};

impl Server {
    pub(super) fn hello(&mut self, stream: StreamId, block: &Bytes) {
        let challenge = match (&block[..], self.transport.dispatch) {
            ([], _) => Ok(None),
            (block, Dispatch::Web) if block.len() == BLOCK => {
                handshake::of_block::<ClientHello>(block).map(|hello| hello.challenge)
            }
            _ => Err(HandshakeError::Parse),
        };
        let key = match &self.greeting {
            Greeting::None => x25519::PrivateKey::generate(&mut self.rng),
            Greeting::Sent(key) | Greeting::Accepted(_, key) => key.clone(),
        };
        let (identity, session_id) = (&self.config.identity, &self.transport.session_id);
        let hello = challenge.and_then(|challenge| {
            identity.hello(session_id, &key.public_key(), challenge.as_ref())
        });
        let block =
            hello.and_then(|hello| handshake::block(&hello).map_err(|_| HandshakeError::BadAuth));
        match block {
            Ok(block) => {
                self.greeting = Greeting::Sent(key);
                self.finish(stream, block);
            }
            Err(_) => self.answer_text(stream, "HANDSHAKE"),
        }
    }

    pub(super) fn handshake(&mut self, now: Now, stream: StreamId, block: &Bytes) {
        let (Greeting::Sent(key) | Greeting::Accepted(_, key)) = &self.greeting else {
            return self.answer_text(stream, "HANDSHAKE");
        };
        let accepted = match block.len() == BLOCK {
            false => Err(HandshakeError::Parse),
            true => handshake::of_block::<ClientHandshake>(block).and_then(|handshake| {
                let session_id = &self.transport.session_id;
                self.config.identity.accept(session_id, &handshake)
            }),
        };
        match accepted {
            Ok(session) => {
                self.greeting = Greeting::Accepted(session.clone(), key.clone());
                self.touch(now);
                self.event(Event::Established(session));
                self.answer_empty(stream);
            }
            Err(_) => self.answer_text(stream, "HANDSHAKE"),
        }
    }
}
