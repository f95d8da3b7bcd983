//! Blocks whose stream is cut anywhere, and whose order and bytes somebody changes.

use bytes::{BufMut, Bytes, BytesMut};

use super::choices::Choices;
use crate::crypto::Secret;
use crate::crypto::block_chain::BlockChains;
use crate::sim::{Direction, Trace};
use crate::smp::block::{BLOCK, Blocks, MAX_BATCH, UnreadableBlock};
use crate::time::Instant;

/// What a run of blocks looks like.
///
/// Genuine blocks arrive as they were sent. Encrypted ones that were altered, or arrive out of their turn, do not; those after them do.
pub(super) fn run(choices: &mut Choices<'_>, trace: &mut Trace) {
    let mut run = Run::new(choices.coin());
    let mut steps = 0_u8;
    while let Some((kind, small)) = choices.next()
        && steps < MAX_STEPS
    {
        steps = steps.saturating_add(1);
        match kind {
            0 => run.send(usize::from(choices.word()), choices.byte()),
            1 => run.alter(small.into(), choices.word().into(), choices.byte()),
            2 => run.leave_out(small.into()),
            3 => run.double(small.into()),
            4 => run.swap(small.into()),
            5 => run.forge(choices.some_bytes()),
            6 => run.deliver(usize::from(choices.word()), trace),
            _ => {}
        }
    }
    run.deliver(BLOCK, trace);
    assert!(run.receiver.between_blocks(), "all blocks are whole");
}

const MAX_STEPS: u8 = 64;

struct Run {
    sender: Blocks,
    receiver: Blocks,
    sent: u64,
    received: u64,
    on_their_way: Vec<Travelling>,
}

#[derive(Clone)]
struct Travelling {
    /// Which block of the sender it was.
    number: Option<u64>,
    content: Bytes,
    genuine: BytesMut,
    bytes: BytesMut,
}

impl Run {
    fn new(encrypted: bool) -> Self {
        let (mut sender, mut receiver) = (Blocks::new(), Blocks::new());
        if encrypted {
            let secret = Secret::from_bytes([7; 32]);
            sender.encrypt(BlockChains::client(b"session", &secret));
            receiver.encrypt(BlockChains::router(b"session", &secret));
        }
        Self {
            sender,
            receiver,
            sent: 0,
            received: 0,
            on_their_way: Vec::new(),
        }
    }

    fn send(&mut self, length: usize, filling: u8) {
        let length = length.min(MAX_BATCH);
        let mut bytes = BytesMut::new();
        self.sender.put(length, &mut bytes, |out| {
            out.put_bytes(filling, length);
        });
        assert_eq!(bytes.len(), BLOCK);
        self.on_their_way.push(Travelling {
            number: Some(self.sent),
            content: vec![filling; length].into(),
            genuine: bytes.clone(),
            bytes,
        });
        self.sent = self.sent.saturating_add(1);
    }

    fn alter(&mut self, index: usize, position: usize, change: u8) {
        let block = self.on_their_way.get_mut(index);
        if let Some(byte) = block.and_then(|block| block.bytes.get_mut(position)) {
            *byte ^= change;
        }
    }

    fn leave_out(&mut self, index: usize) {
        if index < self.on_their_way.len() {
            self.on_their_way.remove(index);
        }
    }

    fn double(&mut self, index: usize) {
        if let Some(block) = self.on_their_way.get(index).cloned() {
            self.on_their_way.push(block);
        }
    }

    fn swap(&mut self, index: usize) {
        if let Some(after) = self.on_their_way.get_mut(index..)
            && let [one, other, ..] = after
        {
            std::mem::swap(one, other);
        }
    }

    fn forge(&mut self, start: &[u8]) {
        let mut bytes = BytesMut::from(start);
        bytes.resize(BLOCK, 0);
        self.on_their_way.push(Travelling {
            number: None,
            content: Bytes::new(),
            genuine: BytesMut::new(),
            bytes,
        });
    }

    /// Delivers all that is on its way, in pieces of that size.
    fn deliver(&mut self, piece: usize, trace: &mut Trace) {
        let blocks = std::mem::take(&mut self.on_their_way);
        let stream: Vec<u8> = blocks
            .iter()
            .flat_map(|block| block.bytes.iter().copied())
            .collect();
        let mut expected = blocks.iter();
        for mut bytes in stream.chunks(piece.max(64)) {
            while !bytes.is_empty() {
                bytes = self.receiver.receive(bytes);
                if let Some(result) = self.receiver.take() {
                    let said = match &result {
                        Ok(content) => format!("Block {}", content.len()),
                        Err(UnreadableBlock) => "Unreadable".to_owned(),
                    };
                    trace.record(Instant::START, "receiver", Direction::Action, said);
                    let block = expected.next();
                    assert!(block.is_some(), "more blocks than were sent");
                    if let Some(block) = block {
                        self.check(block, result.ok());
                    }
                }
            }
        }
        assert!(expected.next().is_none(), "fewer blocks than were sent");
    }

    fn check(&mut self, block: &Travelling, content: Option<Bytes>) {
        let genuine = block.bytes == block.genuine;
        let in_turn = block.number == Some(self.received);
        match (self.receiver.encrypted(), genuine) {
            (true, true) if in_turn => assert_eq!(content.as_ref(), Some(&block.content)),
            (true, _) => assert_eq!(content, None, "a forged block is read"),
            (false, true) => assert_eq!(content.as_ref(), Some(&block.content)),
            (false, false) => {}
        }
        self.received = self.received.saturating_add(1);
    }
}
