//! What fuzzers run: parsers of any bytes, and machines under every order of events that bytes can describe.
//!
//! A [`Target`] turns any bytes into a run and panics when something is not as it must be. The same targets are driven by libFuzzer, by
//! property tests and by the replay of what was found before; two runs of the same bytes leave the same [`Trace`](super::Trace).
//!
//! * Of a parser, the first byte chooses what the bytes cannot say: mostly the version. What parses obeys the laws of its encoding.
//! * Of machines, the bytes are a sequence of operations, one byte for the kind and its small parameter, then what else the kind needs.
//!   Kinds are only ever added: a corpus keeps its meaning.
//!
//! ```
//! use simplex_sans_io::sim::fuzz;
//!
//! for target in fuzz::TARGETS {
//!     target.run(b"any bytes");
//!     assert_eq!(target.trace(b"any bytes"), target.trace(b"any bytes"));
//! }
//! ```

mod agent;
#[cfg(feature = "xftp")]
mod agent_files;
mod blocks;
mod choices;
mod client;
mod clockwork;
mod commands;
#[cfg(feature = "xftp")]
mod files;
mod handshake;
#[cfg(feature = "xftp")]
mod http2;
mod keys;
mod link;
mod network;
mod pool;
mod ratchet;
mod router;
mod server;
mod session;
mod socks;
mod storelog;
mod target;
mod text;
#[cfg(feature = "tls")]
mod tls;
mod websocket;
mod wire;
#[cfg(feature = "xftp")]
mod xftp;

pub use self::agent::{agent_formats, agent_lines};
pub use self::handshake::smp_handshake;
pub use self::keys::keys_and_certificates;
pub use self::link::link_data;
pub use self::storelog::storelog;
pub use self::target::*;
pub use self::text::text;
pub use self::wire::{smp_command, smp_message, smp_transmission_block};
#[cfg(feature = "xftp")]
pub use self::xftp::{xftp_block, xftp_description, xftp_file};

use std::fmt::Debug;

use bytes::Bytes;

use crate::wire::{Version, Wire, decode, decode_slice, encode};

/// The version that the first byte chooses, among those that exist and a few more; and the other bytes.
fn versioned(data: &[u8]) -> Option<(Version, &[u8])> {
    let (first, rest) = data.split_first()?;
    Some((Version(u16::from(first % 24)), rest))
}

/// The value that the bytes encode, if they do. Shared and copied parts are alike, and what is written is read as what was meant.
fn decoded<T: Wire + PartialEq + Debug>(version: Version, bytes: &[u8]) -> Option<T> {
    let value = written_alike(version, bytes)?;
    let again = decode_slice(version, &encode(&value, version));
    assert_eq!(again.as_ref(), Ok(&value), "another value is read");
    Some(value)
}

/// The value that the bytes encode, if they do, of a type some of whose details are read but never written.
fn written_alike<T: Wire + PartialEq + Debug>(version: Version, bytes: &[u8]) -> Option<T> {
    let value = decode_slice::<T>(version, bytes);
    let shared = decode(version, &Bytes::copy_from_slice(bytes));
    assert_eq!(shared, value, "sharing makes a difference");
    let value = value.ok()?;
    let written = encode(&value, version);
    let again = decode_slice::<T>(version, &written).map(|again| encode(&again, version));
    assert_eq!(again, Ok(written), "what is written is not read");
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::certificate::SignedKey;
    use crate::crypto::{Algorithm, SigningKey, ed25519, x25519};
    use crate::rng::Rng;
    use crate::sim::identity::Credentials;
    use crate::smp::handshake::{ClientHello, RouterHello, ServiceResponse};
    use crate::smp::link::{FixedData, UserData};
    use crate::smp::{BrokerMessage, Command, NameInfo, batch};
    use crate::wire::{Sample, ServerAddress, SmpScheme};
    use proptest::prelude::{any, prop, proptest};

    const BODIES: [fn(&[u8]); 8] = [
        smp_command,
        smp_message,
        smp_transmission_block,
        smp_handshake,
        text,
        keys_and_certificates,
        link_data,
        storelog,
    ];

    /// What each body understands, as it is and with a few bytes changed, cut off or added.
    fn mutated(seed: [u8; 32], sample: impl Fn(Version, &mut Rng) -> Vec<u8>, body: fn(&[u8])) {
        let mut rng = Rng::from_seed(seed);
        let version = Version::sample(Version(0), &mut rng).0 % 24;
        let first = u8::try_from(version).unwrap();
        let mut bytes = sample(Version(version), &mut rng);
        bytes.insert(0, first);
        body(&bytes);
        for _ in 0..8 {
            let at = rng.below(bytes.len() as u32) as usize;
            match rng.below(4) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes.insert(at, rng.bytes::<1>()[0]),
                2 => bytes[at] = b"0123456789 TF,:@.#"[rng.below(18) as usize],
                _ => bytes[at] = rng.bytes::<1>()[0],
            }
            body(&bytes);
        }
    }

    fn sample<T: Wire + Sample>(version: Version, rng: &mut Rng) -> Vec<u8> {
        encode(&T::sample(version, rng), version).to_vec()
    }

    fn block(version: Version, rng: &mut Rng) -> Vec<u8> {
        let transmissions = (0..rng.below(3)).map(|_| {
            let ids = sample::<(crate::wire::CorrId, crate::wire::EntityId)>(version, rng);
            let command = sample::<Command>(version, rng);
            [&[0], ids.as_slice(), &command].concat().into()
        });
        let transmissions: Vec<Bytes> = transmissions.collect();
        let mut content = bytes::BytesMut::new();
        batch::put_content(&transmissions, &mut content);
        content.to_vec()
    }

    fn der(_: Version, rng: &mut Rng) -> Vec<u8> {
        let signer = SigningKey::generate(Algorithm::Ed25519, rng).unwrap();
        let key = x25519::PrivateKey::generate(rng);
        match rng.below(4) {
            0 => key.public_key().to_spki().to_vec(),
            1 => key.to_pkcs8().as_bytes().to_vec(),
            2 => SignedKey::sign(key.public_key(), &signer).to_der(),
            _ => {
                let credentials = Credentials::issue(Algorithm::Ed25519, rng);
                credentials.chain.leaf().as_der().to_vec()
            }
        }
    }

    fn line(version: Version, rng: &mut Rng) -> Vec<u8> {
        let address = ServerAddress::<SmpScheme>::sample(version, rng).to_string();
        let name = "#name.simplex".parse::<NameInfo>().unwrap().to_string();
        let time = crate::wire::utc::UtcTime::from_seconds(rng.below(u32::MAX).into()).to_string();
        let lines = [address, name, time, "-1234".to_owned()];
        lines[rng.below(4) as usize].clone().into_bytes()
    }

    fn signed(version: Version, rng: &mut Rng) -> Vec<u8> {
        let mut signed = sample::<ed25519::Signature>(version, rng);
        signed.extend(match rng.below(2) {
            0 => sample::<FixedData>(version, rng),
            _ => sample::<UserData>(version, rng),
        });
        signed
    }

    proptest! {
        #[test]
        fn samples_and_their_like_obey_the_laws(seed: [u8; 32]) {
            mutated(seed, sample::<Command>, smp_command);
            mutated(seed, sample::<BrokerMessage>, smp_message);
            mutated(seed, block, smp_transmission_block);
            mutated(seed, sample::<RouterHello>, smp_handshake);
            mutated(seed, sample::<ClientHello>, smp_handshake);
            mutated(seed, sample::<ServiceResponse>, smp_handshake);
            mutated(seed, line, text);
            mutated(seed, der, keys_and_certificates);
            mutated(seed, signed, link_data);
        }

        #[test]
        fn arbitrary_bytes_obey_the_laws(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            BODIES.iter().for_each(|body| body(&bytes));
        }
    }

    #[test]
    fn the_ends_of_what_can_be_written_obey_the_laws() {
        for line in [
            "9999-12-31T24:00:00Z",
            "0000-01-01T00:00:00Z",
            "2016-12-31T23:59:60.999999999Z",
            "[::ffff:1.2.3.4]",
            "::",
            "１.2.3.4",
            "00.0.0.0",
            "smp://YQ==:é@a,[::1],b:65535",
            "smp://YQ@::1",
            "smp://YQ==@1.2.3.4:1",
            "simplex:/name@a.b",
            "0-65535",
            "_-==",
        ] {
            text(format!(" {line}").as_bytes());
        }
        let info = |time: &str| {
            format!(
                "\u{14}INFO {{\"qiSnd\":true,\"qiNtf\":false,\"qiSize\":18446744073709551615,\"qiMsg\":{{\"msgId\":\"\",\"msgTs\":\"{time}\",\"msgType\":\"quota\"}}}}"
            )
        };
        smp_message(info("9999-12-31T23:59:60Z").as_bytes());
        smp_message(info("9999-12-31T24:00:00Z").as_bytes());
        smp_message(b"\x14ERR BLOCKED reason=spam,notice={\"ttl\":null} ");
        smp_message(b"\x14BLOCKED reason=spam,notice={\"ttl\":-9223372036854775808}");
        smp_message(b"\x14STORE \xff\xfe");
        smp_message(b"\x14PROXY BROKER NETWORK CONNECT \x02\xff\xfe");
        smp_message(b"\x14PROXY BROKER RESPONSE \x00");
    }
}
