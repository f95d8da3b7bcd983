//! What a message cycle costs at least on this machine: its cryptography, and moving its blocks.
//!
//! SEND arrives and is answered with OK, MSG leaves, ACK arrives and is answered with OK: five blocks, whichever router it is. The body
//! is encrypted once for the recipient, and two signatures are verified: of a whole block, and of an acknowledgement.
//!
//! It is measured with the boxes and the chains that the routers here use, and with those of stock crates.

use std::fmt;
use std::hint::black_box;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use orion::hazardous::kdf::hkdf;
use poly1305::Poly1305;
use poly1305::universal_hash::{KeyInit as _, UniversalHash as _};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce as RingNonce, UnboundKey};
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit as _, StreamCipher as _, array::Array};
use serde::Serialize;
use simplex_sans_io::crypto::block_chain::{BLOCK, ChainKey};
use simplex_sans_io::crypto::{Nonce, Secret, ed25519, secret_box};
use simplex_sans_io::smp::body::PADDED_BODY;

/// How often each primitive is timed: the best counts.
const RUNS: u32 = 25;
/// How often it happens in one run.
const TIMES: u32 = 40;

const BLOCKS: f64 = 5.0;
const LONG: usize = 16_200;
const SHORT: usize = 100;

/// The primitives of a message cycle, in microseconds each.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Floor {
    /// ChaCha20-Poly1305 of ring, as in TLS, over a block.
    pub record: f64,
    /// Writing a block to a loopback connection, and reading it.
    pub loopback: f64,
    /// The verification of an Ed25519 signature over 16,200 bytes.
    pub verify_long: f64,
    /// And over 100 bytes.
    pub verify_short: f64,
    /// The boxes and chains of the routers here.
    pub ours: Boxes,
    /// Those of the crates `salsa20`, `poly1305` and `orion`.
    pub stock: Boxes,
}

/// What encrypts blocks and bodies, in microseconds each.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Boxes {
    /// The box over a block.
    pub block_box: f64,
    /// The step of the chain that gives the key of a block.
    pub chain_step: f64,
    /// The box over a body.
    pub body_box: f64,
}

impl Floor {
    /// Measures the primitives here and now.
    pub fn measure() -> io::Result<Self> {
        let mut block = [0; BLOCK];
        let tls = UnboundKey::new(&CHACHA20_POLY1305, &[4; 32]).map(LessSafeKey::new);
        let tls = tls.map_err(|_| io::ErrorKind::Unsupported)?;
        let mut stream = Loopback::new()?;
        let mut moved = Ok(());
        Ok(Self {
            record: best(|| {
                let nonce = RingNonce::assume_unique_for_key([5; 12]);
                let sealed = tls.seal_in_place_separate_tag(nonce, Aad::empty(), &mut block);
                black_box(sealed.is_ok());
            }),
            loopback: best(|| {
                if moved.is_ok() {
                    moved = stream.pass(&mut block);
                }
            }),
            verify_long: verification(LONG),
            verify_short: verification(SHORT),
            ours: Boxes::ours(),
            stock: Boxes::stock(),
        })
        .and_then(|floor| moved.map(|()| floor))
    }

    /// One block.
    #[must_use]
    pub fn block(&self, boxes: &Boxes) -> f64 {
        self.record + boxes.block_box + boxes.chain_step + self.loopback
    }

    /// The message cycle.
    #[must_use]
    pub fn cycle(&self, boxes: &Boxes) -> f64 {
        BLOCKS * self.block(boxes) + boxes.body_box + self.verify_long + self.verify_short
    }
}

impl Boxes {
    fn ours() -> Self {
        let key = secret_box::Key::from(&Secret::from_bytes([1; 32]));
        let nonce = Nonce::from([2; 24]);
        let mut chain = ChainKey::from_bytes([3; 32]);
        let (mut block, mut body) = ([0; BLOCK], [0; PADDED_BODY]);
        Self {
            block_box: best(|| {
                black_box(key.encrypt(&nonce, &mut block));
            }),
            chain_step: best(|| {
                black_box(chain.advance());
            }),
            body_box: best(|| {
                black_box(key.encrypt(&nonce, &mut body));
            }),
        }
    }

    fn stock() -> Self {
        let (mut block, mut body) = ([0; BLOCK], [0; PADDED_BODY]);
        let mut material = [3; 88];
        Self {
            block_box: best(|| {
                black_box(stock_box(&mut block));
            }),
            chain_step: best(|| {
                let chain = material;
                let (chain, _) = chain.split_at(32);
                let info = Some(b"SimpleXSbChain".as_slice());
                let derived =
                    hkdf::Hkdf::<hkdf::SHA512>::derive_key(b"", chain, info, &mut material);
                black_box(derived.is_ok());
            }),
            body_box: best(|| {
                black_box(stock_box(&mut body));
            }),
        }
    }
}

fn stock_box(text: &mut [u8]) -> [u8; 16] {
    let mut stream = XSalsa20::new(&Array::from([1; 32]), &Array::from([2; 24]));
    let mut key = [0; 32];
    stream.apply_keystream(&mut key);
    stream.apply_keystream(text);
    let mut mac = Poly1305::new(&Array::from(key));
    let (blocks, rest) = poly1305::Block::slice_as_chunks(text);
    mac.update(blocks);
    mac.compute_unpadded(rest).into()
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, boxes) in [
            ("floor of a message cycle", &self.ours),
            ("with stock crates", &self.stock),
        ] {
            writeln!(
                f,
                "{title}: {:.1} µs, 5 blocks of {:.1}: ChaCha20-Poly1305 {:.1}, box {:.1}, chain step {:.1}, loopback {:.1}; \
                 body box {:.1}, Ed25519 over 16,200 bytes {:.1}, over 100 bytes {:.1}",
                self.cycle(boxes),
                self.block(boxes),
                self.record,
                boxes.block_box,
                boxes.chain_step,
                self.loopback,
                boxes.body_box,
                self.verify_long,
                self.verify_short
            )?;
        }
        Ok(())
    }
}

fn verification(length: usize) -> f64 {
    let message = vec![6; length];
    let key = ed25519::PrivateKey::from_bytes([7; 32]);
    let (signature, key) = (key.sign(&message), key.public_key());
    best(|| {
        black_box(key.verify(black_box(&message), &signature).is_ok());
    })
}

/// The microseconds of one call in the best of several runs; the first ones warm up.
fn best(mut call: impl FnMut()) -> f64 {
    let mut shortest = Duration::MAX;
    for _ in 0..RUNS {
        let start = Instant::now();
        for _ in 0..TIMES {
            call();
        }
        shortest = shortest.min(start.elapsed());
    }
    shortest.as_secs_f64() * 1e6 / f64::from(TIMES)
}

struct Loopback {
    near: TcpStream,
    far: TcpStream,
}

impl Loopback {
    fn new() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let near = TcpStream::connect(listener.local_addr()?)?;
        near.set_nodelay(true)?;
        let (far, _) = listener.accept()?;
        Ok(Self { near, far })
    }

    fn pass(&mut self, block: &mut [u8; BLOCK]) -> io::Result<()> {
        self.near.write_all(block)?;
        self.far.read_exact(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_is_five_blocks_a_body_and_two_signatures() {
        let [ours, stock] = [2.0, 4.0].map(|block_box| Boxes {
            block_box,
            chain_step: 3.0,
            body_box: 100.0,
        });
        let floor = Floor {
            record: 1.0,
            loopback: 4.0,
            verify_long: 1000.0,
            verify_short: 10_000.0,
            ours,
            stock,
        };
        assert!((floor.cycle(&ours) - 11_150.0).abs() < 1e-6);
        assert!((floor.cycle(&stock) - 11_160.0).abs() < 1e-6);
    }

    #[test]
    fn a_block_passes() {
        let mut block = [9; BLOCK];
        Loopback::new().unwrap().pass(&mut block).unwrap();
        assert_eq!(block, [9; BLOCK]);
    }
}
