//! Connection requests: all that is needed to connect, as a long link or inside the data of a short one.

use std::fmt;
use std::str::FromStr;

use bytes::BytesMut;

use super::text::{LinkTextError, Parameters, ServiceScheme};
use crate::agent::queue::QueueUri;
use crate::ratchet::{E2eUri, KemProposal};
use crate::smp::QueueMode;
use crate::wire::{Large, NonEmpty, Parsed, Source, Version, VersionRange, Wire, WireError};

/// An offer to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionRequest {
    /// To one, who accepts it.
    Invitation(RequestData, Box<E2eUri<KemProposal>>),
    /// To many, who ask for a connection.
    Contact(RequestData),
}

/// What both kinds of offers hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestData {
    /// The versions of the agent that offers.
    pub versions: VersionRange,
    /// The queues to write to, of which the first is used.
    pub queues: NonEmpty<QueueUri>,
    /// The application's.
    pub client_data: Option<ClientData>,
}

/// What an application adds to a link: at most 65535 bytes of UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientData(String);

impl ClientData {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ClientData {
    type Error = crate::wire::TooMany;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.len() > Large::MAX {
            return Err(crate::wire::TooMany(text.len(), Large::MAX));
        }
        Ok(Self(text))
    }
}

impl Wire for ClientData {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, bytes) = Large::parse(source, input)?;
        match String::from_utf8(bytes.to_vec()) {
            Ok(text) => Ok((input, Self(text))),
            Err(_) => WireError::Invalid("UTF-8").fail(),
        }
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        let bytes = Large::try_from(self.0.as_bytes());
        bytes.unwrap_or_default().put(version, out);
    }
}

impl ConnectionRequest {
    /// What both kinds hold.
    #[must_use]
    pub const fn data(&self) -> &RequestData {
        match self {
            Self::Invitation(data, _) | Self::Contact(data) => data,
        }
    }

    /// The link, for those who have the application or for the web.
    #[must_use]
    pub fn to_link(&self, scheme: &ServiceScheme) -> String {
        let data = self.data();
        let mut parameters = Parameters::default();
        parameters.push("v", data.versions.to_string());
        let queues: Vec<_> = data.queues.iter().map(ToString::to_string).collect();
        parameters.push("smp", queues.join(";"));
        let kind = match self {
            Self::Invitation(_, keys) => {
                parameters.push("e2e", keys.to_string());
                INVITATION
            }
            Self::Contact(_) => CONTACT,
        };
        if let Some(data) = &data.client_data {
            parameters.push("data", data.as_str());
        }
        format!("{scheme}/{kind}#/?{parameters}")
    }

    /// The same offer without a post-quantum key, whose link is short enough to be shown as an image.
    #[must_use]
    pub fn without_kem(&self) -> Self {
        match self.clone() {
            Self::Invitation(data, mut keys) => {
                keys.kem = None;
                Self::Invitation(data, keys)
            }
            contact @ Self::Contact(_) => contact,
        }
    }
}

const INVITATION: &str = "invitation";
const CONTACT: &str = "contact";
/// Addresses that promise less are read as if they promised this.
const LOWEST_OF_CONTACTS: Version = Version(2);

impl fmt::Display for ConnectionRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_link(&ServiceScheme::Simplex))
    }
}

impl FromStr for ConnectionRequest {
    type Err = LinkTextError;

    fn from_str(link: &str) -> Result<Self, LinkTextError> {
        if let Ok(fragment) = ServiceScheme::fragment(link, INVITATION) {
            let parameters = parameters(fragment)?;
            let data = RequestData::from_parameters(&parameters)?;
            let keys = parameters.require("e2e")?.parse()?;
            return Ok(Self::Invitation(data, Box::new(keys)));
        }
        let fragment = ServiceScheme::fragment(link, CONTACT)?;
        let mut data = RequestData::from_parameters(&parameters(fragment)?)?;
        data.versions = at_least(data.versions, LOWEST_OF_CONTACTS);
        Ok(Self::Contact(data))
    }
}

fn parameters(fragment: &str) -> Result<Parameters, LinkTextError> {
    let text = fragment.strip_prefix("/?").ok_or(LinkTextError::Form)?;
    Parameters::parse(text)
}

fn at_least(versions: VersionRange, lowest: Version) -> VersionRange {
    let (min, max) = (versions.min().max(lowest), versions.max().max(lowest));
    VersionRange::new(min.0, max.0).unwrap_or(versions)
}

impl RequestData {
    fn from_parameters(parameters: &Parameters) -> Result<Self, LinkTextError> {
        let queues: Vec<QueueUri> = parameters
            .require("smp")?
            .split(';')
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let client_data = parameters.get("data").map(str::to_owned);
        Ok(Self {
            versions: parameters.require("v")?.parse()?,
            queues: queues
                .try_into()
                .map_err(|_| LinkTextError::Parameter("smp"))?,
            client_data: client_data
                .map(ClientData::try_from)
                .transpose()
                .map_err(|_| LinkTextError::Parameter("data"))?,
        })
    }
}

impl Wire for RequestData {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, versions) = Wire::parse(source, input)?;
        let (input, queues) = NonEmpty::<QueueUri>::parse(source, input)?;
        let (input, client_data) = Wire::parse(source, input)?;
        let mut queues = queues.into_vec();
        for queue in &mut queues {
            queue.mode.get_or_insert(QueueMode::Contact);
        }
        let Ok(queues) = NonEmpty::try_from(queues) else {
            return WireError::Invalid("empty list").fail();
        };
        let data = Self {
            versions,
            queues,
            client_data,
        };
        Ok((input, data))
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        self.versions.put(version, out);
        self.queues.put(version, out);
        self.client_data.put(version, out);
    }
}

impl Wire for ConnectionRequest {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        match input {
            [b'I', rest @ ..] => {
                let (input, data) = Wire::parse(source, rest)?;
                let (input, keys) = Wire::parse(source, input).map_err(WireError::within)?;
                Ok((input, Self::Invitation(data, Box::new(keys))))
            }
            [b'C', rest @ ..] => {
                let (input, data) = Wire::parse(source, rest)?;
                Ok((input, Self::Contact(data)))
            }
            [] => WireError::Incomplete.fail(),
            _ => WireError::UnknownTag.fail(),
        }
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        match self {
            Self::Invitation(data, keys) => {
                b'I'.put(version, out);
                data.put(version, out);
                keys.put(version, out);
            }
            Self::Contact(data) => {
                b'C'.put(version, out);
                data.put(version, out);
            }
        }
    }
}

#[cfg(any(test, feature = "sim"))]
mod sample {
    use super::{ClientData, ConnectionRequest, QueueMode, RequestData, Version};
    use crate::rng::Rng;
    use crate::wire::{NonEmpty, Sample, Text};

    impl Sample for ClientData {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            Self(Text::sample(version, rng).as_str().to_owned())
        }
    }

    impl Sample for RequestData {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            let mut queue = crate::agent::queue::QueueUri::sample(version, rng);
            queue.mode.get_or_insert(QueueMode::Contact);
            Self {
                versions: Sample::sample(version, rng),
                queues: NonEmpty::one(queue),
                client_data: Sample::sample(version, rng),
            }
        }
    }

    impl Sample for ConnectionRequest {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            let data = RequestData::sample(version, rng);
            match rng.below(2) {
                0 => Self::Invitation(data, Sample::sample(version, rng)),
                _ => Self::Contact(data),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::wire::{self, Sample};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn requests_come_back(seed: [u8; 32]) {
            let request = ConnectionRequest::sample(Version(0), &mut Rng::from_seed(seed));
            let encoded = wire::encode(&request, Version(0));
            prop_assert_eq!(&wire::decode::<ConnectionRequest>(Version(0), &encoded).unwrap(), &request);
            let Ok(read) = request.to_string().parse::<ConnectionRequest>() else {
                return Ok(());
            };
            prop_assert_eq!(read.to_string().parse::<ConnectionRequest>().unwrap(), read);
        }

        #[test]
        fn arbitrary_texts_never_panic(text in "simplex:/(contact|invitation)#/\\?v=2-7&smp=[ -~]{0,60}") {
            let _ = text.parse::<ConnectionRequest>();
        }
    }
}
