//! What is named by whom: connections by the application, everything else by the agent.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::rng::Rng;
use crate::wire::{Id, Parsed, Source, TooMany, Version, Wire, text};

/// The name of a connection: the application's own, or random text. It means nothing outside of this agent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(Id);

/// The name of a confirmation, or of a request, that the application is asked to answer: random text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestName(Id);

/// The name of a file that is being sent or received: random text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(Id);

macro_rules! names {
    ($($Name:ident),*) => { $(
        impl $Name {
            /// The most bytes.
            pub const MAX: usize = 128;

            /// A name that nobody else has.
            #[must_use]
            pub fn random(rng: &mut Rng) -> Self {
                let name = text::base64url(&rng.bytes::<12>());
                Self(Id::try_from(name.as_bytes()).unwrap_or_default())
            }

            /// The bytes.
            #[must_use]
            pub fn as_slice(&self) -> &[u8] {
                self.0.as_slice()
            }

            /// The bytes, as a key of a store.
            #[must_use]
            pub fn to_bytes(&self) -> Bytes {
                Bytes::copy_from_slice(self.as_slice())
            }
        }

        impl TryFrom<&[u8]> for $Name {
            type Error = TooMany;

            fn try_from(bytes: &[u8]) -> Result<Self, TooMany> {
                if bytes.len() > Self::MAX {
                    return Err(TooMany(bytes.len(), Self::MAX));
                }
                Id::try_from(bytes).map(Self)
            }
        }

        impl fmt::Debug for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&String::from_utf8_lossy(self.as_slice()))
            }
        }

        impl Wire for $Name {
            fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
                Id::parse(source, input).map(|(input, id)| (input, Self(id)))
            }

            fn put(&self, version: Version, out: &mut BytesMut) {
                self.0.put(version, out);
            }
        }

        #[cfg(any(test, feature = "sim"))]
        impl crate::wire::Sample for $Name {
            fn sample(_: Version, rng: &mut Rng) -> Self {
                Self::random(rng)
            }
        }
    )* };
}

names!(ConnectionId, RequestName, FileId);

macro_rules! numbers {
    ($($(#[$meta:meta])* $Name:ident($type:ty)),* $(,)?) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $Name(pub $type);

        impl $Name {
            /// The one after it.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl Wire for $Name {
            fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
                <$type>::parse(source, input).map(|(input, number)| (input, Self(number)))
            }

            fn put(&self, version: Version, out: &mut BytesMut) {
                self.0.put(version, out);
            }
        }

        #[cfg(any(test, feature = "sim"))]
        impl crate::wire::Sample for $Name {
            fn sample(_: Version, rng: &mut Rng) -> Self {
                Self(<$type>::from(rng.below(1_000_000)))
            }
        }
    )* };
}

numbers! {
    /// The number of a message in its connection, in one sequence for both directions: what the application knows it by.
    MessageId(i64),
    /// The number of a queue in its connection. It is never used again.
    QueueNumber(u32),
    /// The number of an event. The application confirms events by it.
    EventId(u64),
}

impl EventId {
    /// Events of files are numbered apart from all others, from here on.
    const FILES: u64 = 1 << 63;

    /// The event of a file that has this number.
    #[must_use]
    pub const fn of_file(number: u64) -> Self {
        Self(Self::FILES | number)
    }

    /// The number among the events of files, if it is one.
    #[must_use]
    pub const fn file_number(self) -> Option<u64> {
        match self.0 & Self::FILES {
            0 => None,
            _ => Some(self.0 & !Self::FILES),
        }
    }
}

/// The owner's name for a command. Its reply has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);
