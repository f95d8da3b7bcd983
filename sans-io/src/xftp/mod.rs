//! XFTP, the protocol of file chunks: a sender uploads encrypted chunks to routers, and recipients fetch them, one key for each.
//!
//! | module | what is in it |
//! |---|---|
//! | [`Command`], [`Response`], [`ErrorType`] | what is said |
//! | [`transmission`], [`handshake`] | how it is said: one block for each request and response, in a session that both sides have proved |
//! | [`chunk`] | sizes of chunks, and the encryption of each download |
//! | [`file`](mod@file) | the encryption of a whole file, in pieces |
//! | [`client`] | a client's session with a router |
//! | [`server`] | a router's connection with a client |
//! | [`router`] | the files of a router |
//! | [`storelog`] | the files of the reference's router, as lines |
//! | [`description`] | what a recipient must know to fetch a file: YAML, URIs, web links |

#[cfg(feature = "xftp")]
pub mod chunk;
#[cfg(feature = "xftp")]
pub mod client;
#[cfg(feature = "xftp")]
mod command;
#[cfg(feature = "xftp")]
pub mod description;
mod error;
#[cfg(feature = "xftp")]
pub mod file;
#[cfg(feature = "xftp")]
pub mod handshake;
#[cfg(feature = "xftp")]
pub mod router;
#[cfg(feature = "xftp")]
pub mod server;
#[cfg(feature = "xftp")]
pub mod storelog;
#[cfg(feature = "xftp")]
pub mod transmission;
pub mod version;

#[cfg(feature = "xftp")]
pub use self::command::{Command, NewFile, Response};
pub use self::error::ErrorType;

/// The size of every block: the one of a request or response, and those of the handshake.
pub const BLOCK: usize = 16384;

#[cfg(all(test, feature = "xftp"))]
mod tests {
    use proptest::prelude::*;

    use super::version::SUPPORTED;
    use super::*;
    use crate::rng::Rng;
    use crate::wire::{Sample, Version, Wire, decode, decode_slice, encode};

    fn round_trip<T: Wire + Sample + PartialEq + std::fmt::Debug>(seed: [u8; 32]) {
        let value = T::sample(SUPPORTED.max(), &mut Rng::from_seed(seed));
        let encoded = encode(&value, SUPPORTED.max());
        assert_eq!(decode::<T>(SUPPORTED.max(), &encoded).as_ref(), Ok(&value));
        let too_long = [&encoded, &b"!"[..]].concat();
        assert_ne!(
            decode_slice::<T>(SUPPORTED.max(), &too_long).as_ref(),
            Ok(&value)
        );
    }

    proptest! {
        #[test]
        fn commands_responses_and_errors_come_back(seed: [u8; 32]) {
            round_trip::<Command>(seed);
            round_trip::<Response>(seed);
            round_trip::<ErrorType>(seed);
        }

        #[test]
        fn arbitrary_parameters_never_panic(
            tag in prop::sample::select(vec!["FNEW ", "FADD ", "FGET ", "SIDS ", "RIDS ", "FILE ", "ERR CMD ", "ERR BLOCKED "]),
            parameters in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [tag.as_bytes(), &parameters].concat();
            let _ = decode_slice::<Command>(Version(3), &bytes);
            let _ = decode_slice::<Response>(Version(3), &bytes);
        }
    }
}
