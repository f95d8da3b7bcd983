//! What the application is told of files.

use std::fmt;

use bytes::BytesMut;
use zeroize::Zeroizing;

use super::error::AgentError;
use super::store::long::{LongText, Many};
use crate::wire;
use crate::wire::{Parsed, Source, Version, Wire};

wire! {
    prefixes
    /// What has happened to a file.
    pub enum FileEvent {
        /// So much of a file was downloaded, in bytes of the encrypted file. RFPROG.
        "RP" => ReceiveProgress {
            /// So many.
            received: u64,
            /// Of so many.
            of: u64,
        },
        /// A file was received, and is what was described. RFDONE.
        "RD" => Received {
            /// Where it is.
            path: String as LongText,
        },
        /// A file will not be received. RFERR.
        "RE" => ReceiveFailed {
            /// Why.
            error: AgentError,
        },
        /// No router that has the next part of a file can be used for now; it is tried again. RFWARN.
        "RW" => ReceiveWarning {
            /// What was wrong with the last one.
            error: AgentError,
        },
        /// So much of a file was uploaded, in bytes of the encrypted file and all its replicas. SFPROG.
        "SP" => SendProgress {
            /// So many.
            sent: u64,
            /// Of so many.
            of: u64,
        },
        /// A file is on its routers. SFDONE.
        "SD" => Sent {
            /// What its sender needs to delete it.
            sender: DescriptionText,
            /// One for each recipient.
            recipients: Vec<DescriptionText> as Many,
        },
        /// A file will not be sent. SFERR.
        "SE" => SendFailed {
            /// Why.
            error: AgentError,
        },
        /// No router can be used for the next part of a file for now; it is tried again. SFWARN.
        "SW" => SendWarning {
            /// What was wrong with the last one.
            error: AgentError,
        },
        /// A file was deleted at its routers, or that was given up.
        "FD" => Deleted {
            /// Why it was given up, at some of them.
            error: Option<AgentError>,
        },
    }
}

impl FileEvent {
    /// Whether it stays until it is confirmed.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        match self {
            Self::Received { .. }
            | Self::ReceiveFailed { .. }
            | Self::Sent { .. }
            | Self::SendFailed { .. }
            | Self::Deleted { .. } => true,
            Self::ReceiveProgress { .. }
            | Self::ReceiveWarning { .. }
            | Self::SendProgress { .. }
            | Self::SendWarning { .. } => false,
        }
    }
}

/// The text of the description of a file. Whoever has it can read the file, or delete it.
#[derive(Clone, PartialEq, Eq)]
pub struct DescriptionText(Zeroizing<String>);

impl DescriptionText {
    /// The text, in YAML.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it says.
    #[cfg(feature = "xftp")]
    pub fn description(
        &self,
    ) -> Result<crate::xftp::description::FileDescription, crate::xftp::description::DescriptionError>
    {
        self.0.parse()
    }
}

impl From<String> for DescriptionText {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for DescriptionText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Wire for DescriptionText {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        LongText::parse_str(source, input).map(|(input, text)| (input, Self::from(text.to_owned())))
    }

    fn put(&self, _: Version, out: &mut BytesMut) {
        LongText::put_str(&self.0, out);
    }
}

#[cfg(any(test, feature = "sim"))]
impl wire::Sample for DescriptionText {
    fn sample(version: Version, rng: &mut crate::rng::Rng) -> Self {
        Self::from(<LongText as wire::SampleCodec<String>>::sample(
            version, rng,
        ))
    }
}
