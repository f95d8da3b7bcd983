//! Names that stand for contacts and groups, and what they resolve to.

use std::fmt;
use std::str::FromStr;

use bytes::BytesMut;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use super::queue_info::{parse_json, put_json};
use crate::wire::{Parsed, Source, Version, Wire};

/// A name with its top-level domain, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SimplexDomain(String);

/// Who is asked about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tld {
    /// The names of the network.
    Simplex,
    /// Names to try things out.
    Testing,
    /// The domain name system.
    Web,
}

/// A text that is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Longer than 253 bytes.
    #[error("a name has at most 253 characters")]
    TooLong,
    /// A part that is empty, too long, or has other characters.
    #[error("the parts of a name are 1 to 63 letters, digits and single hyphens inside")]
    Label,
    /// There is no top-level domain.
    #[error("a name ends in a domain, such as .simplex")]
    NoTld,
}

const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

impl SimplexDomain {
    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Who is asked about it.
    #[must_use]
    pub fn tld(&self) -> Tld {
        match self.0.rsplit('.').next() {
            Some("simplex") => Tld::Simplex,
            Some("testing") => Tld::Testing,
            _ => Tld::Web,
        }
    }

    /// The name below its top-level domain, and the names below it, outermost last; the whole name on the web.
    fn parts(&self) -> (&str, Vec<&str>) {
        match self.tld() {
            Tld::Web => (&self.0, Vec::new()),
            Tld::Simplex | Tld::Testing => {
                let mut labels = self.0.rsplit('.').skip(1);
                (labels.next().unwrap_or_default(), labels.collect())
            }
        }
    }
}

impl FromStr for SimplexDomain {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        if !text.split('.').all(is_label) {
            return Err(NameError::Label);
        }
        if !text.contains('.') {
            return Err(NameError::NoTld);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

fn is_label(label: &str) -> bool {
    let group = |group: &str| !group.is_empty() && group.bytes().all(|b| b.is_ascii_alphanumeric());
    label.len() <= MAX_LABEL && label.split('-').all(group)
}

impl fmt::Display for SimplexDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for SimplexDomain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (domain, sub_domain) = self.parts();
        let mut fields = serializer.serialize_struct("SimplexDomain", 3)?;
        fields.serialize_field("nameTLD", &self.tld())?;
        fields.serialize_field("domain", domain)?;
        fields.serialize_field("subDomain", &sub_domain)?;
        fields.end()
    }
}

/// A name, and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct NameInfo {
    /// What it stands for.
    #[serde(rename = "nameType")]
    pub kind: NameKind,
    /// The name.
    #[serde(rename = "nameDomain")]
    pub domain: SimplexDomain,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum NameKind {
    /// A group that anybody can join; written with `#`.
    PublicGroup,
    /// A contact; written with `@`.
    Contact,
}

impl FromStr for NameInfo {
    type Err = NameError;

    /// A group's name may omit its domain and its `#`.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let name = text.strip_prefix("simplex:/name").unwrap_or(text);
        if let Some(contact) = name.strip_prefix('@') {
            return Ok(Self {
                kind: NameKind::Contact,
                domain: contact.parse()?,
            });
        }
        let group = name.strip_prefix('#').unwrap_or(name);
        let domain = match group.parse() {
            Err(NameError::NoTld) => format!("{group}.simplex").parse()?,
            parsed => parsed?,
        };
        Ok(Self {
            kind: NameKind::PublicGroup,
            domain,
        })
    }
}

impl fmt::Display for NameInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.kind {
            NameKind::PublicGroup => '#',
            NameKind::Contact => '@',
        };
        write!(f, "{sign}{}", self.domain)
    }
}

/// What a name resolves to. Texts that are not set are empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NameRecord {
    /// The name.
    pub name: String,
    /// How its owner wants to be called.
    pub nickname: String,
    /// A web page.
    pub website: String,
    /// A place.
    pub location: String,
    /// Links to contact its owner.
    pub simplex_contact: Vec<String>,
    /// Links to its channels.
    pub simplex_channel: Vec<String>,
    /// An address in Ethereum.
    pub eth: Option<String>,
    /// An address in Bitcoin.
    pub btc: Option<String>,
    /// An address in Monero.
    pub xmr: Option<String>,
    /// An address in Polkadot.
    pub dot: Option<String>,
    /// Who owns the name.
    pub owner: String,
    /// Who resolved it.
    pub resolver: String,
}

impl Wire for NameRecord {
    fn parse<'a>(_: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        parse_json(input)
    }

    fn put(&self, _: Version, out: &mut BytesMut) {
        put_json(self, out);
    }
}

#[cfg(any(test, feature = "sim"))]
mod sample {
    use super::{NameRecord, SimplexDomain, Version};
    use crate::rng::Rng;
    use crate::wire::Sample;

    impl Sample for SimplexDomain {
        fn sample(_: Version, rng: &mut Rng) -> Self {
            Self(format!("name{}.simplex", rng.below(u32::MAX)))
        }
    }

    impl Sample for NameRecord {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            Self {
                name: SimplexDomain::sample(version, rng).0,
                nickname: "Ünïcode \"quoted\"".to_owned(),
                website: String::new(),
                location: String::new(),
                simplex_contact: vec!["https://smp.example/a#x".to_owned()],
                simplex_channel: Vec::new(),
                eth: bool::sample(version, rng).then(|| "0x00".to_owned()),
                btc: None,
                xmr: None,
                dot: None,
                owner: String::new(),
                resolver: "0xbb".to_owned(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_a_name_is() {
        assert_eq!("name".parse::<SimplexDomain>(), Err(NameError::NoTld));
        assert_eq!(
            "na_me.simplex".parse::<SimplexDomain>(),
            Err(NameError::Label)
        );
        assert_eq!(
            "a.".repeat(127).parse::<SimplexDomain>(),
            Err(NameError::TooLong)
        );
    }
}
