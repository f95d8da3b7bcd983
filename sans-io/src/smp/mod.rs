//! SMP, the protocol of simplex queues: a recipient makes a queue on a router, a sender writes to it, nobody learns of the other.

pub mod batch;
pub mod block;
pub mod body;
pub mod client;
mod command;
pub mod error;
pub mod handshake;
pub mod link;
mod message;
mod name;
pub mod pool;
pub mod proxy;
mod queue_info;
pub mod router;
pub mod server;
pub mod storelog;
pub mod transmission;
pub mod version;

pub use self::command::{
    Command, ContactLink, LinkData, MsgFlags, NewQueue, NotifierKeys, QueueLink, QueueMode,
    QueueRequest, ServiceQueues, SubscriptionMode,
};
pub use self::error::{
    BlockingInfo, BlockingReason, BrokerError, ClientNotice, CommandError, ErrorText, ErrorType,
    HandshakeError, NameError, NetworkError, ProxyError, TransportError,
};
pub use self::message::{BrokerMessage, CertificateChain, MsgId, QueueIds};
pub use self::name::{
    NameError as DomainError, NameInfo, NameKind, NameRecord, SimplexDomain, Tld,
};
pub use self::queue_info::{
    MessageInfo, MessageType, QueueInfo, SubscriptionInfo, SubscriptionThread,
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;
    use crate::wire::{Sample, Version, Wire, decode, decode_slice, encode};

    /// What is sampled comes back, and what parses has one encoding.
    fn round_trip<T: Wire + Sample + PartialEq + std::fmt::Debug>(
        version: Version,
        seed: [u8; 32],
    ) {
        let value = T::sample(version, &mut Rng::from_seed(seed));
        let encoded = encode(&value, version);
        assert_eq!(
            decode::<T>(version, &encoded).as_ref(),
            Ok(&value),
            "{encoded:?}"
        );
        assert_eq!(decode_slice::<T>(version, &encoded).as_ref(), Ok(&value));
        for cut in 0..encoded.len() {
            if let Ok(shorter) = decode::<T>(version, &encoded.slice(..cut)) {
                assert!(decode::<T>(version, &encode(&shorter, version)).is_ok());
            }
        }
    }

    proptest! {
        #[test]
        fn commands_and_messages_come_back(seed: [u8; 32], version in 6..=20_u16) {
            round_trip::<Command>(Version(version), seed);
            round_trip::<BrokerMessage>(Version(version), seed);
            round_trip::<ErrorType>(Version(version), seed);
        }

        #[test]
        fn arbitrary_parameters_never_panic(
            tag in prop::sample::select(vec!["NEW ", "SEND ", "LSET ", "PRXY ", "RSLV ", "PKEY ", "ERR PROXY ", "ERR BLOCKED ", "INFO ", "SUBS "]),
            parameters in prop::collection::vec(any::<u8>(), 0..200),
            version in 6..=20_u16,
        ) {
            let bytes = [tag.as_bytes(), &parameters].concat();
            if let Ok(command) = decode_slice::<Command>(Version(version), &bytes) {
                prop_assert!(decode::<Command>(Version(version), &encode(&command, Version(version))).is_ok());
            }
            if let Ok(message) = decode_slice::<BrokerMessage>(Version(version), &bytes) {
                prop_assert!(decode::<BrokerMessage>(Version(version), &encode(&message, Version(version))).is_ok());
            }
        }
    }
}
