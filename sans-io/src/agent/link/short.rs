//! Short links: where the data of a link is, and the key to it.
//!
//! ```
//! use simplex_sans_io::agent::link::{LinkScheme, LinkTarget, ShortLink};
//!
//! let text = "https://smp4.simplex.im/a#-MJ60EBut7wjVH8N0MqYm9xjXkUJBKbA3KRiPBR1zL0";
//! let link: ShortLink = text.parse()?;
//! assert!(matches!(link.target, LinkTarget::Contact(_)));
//!
//! // Whoever made it left out what the reader knows of the router.
//! let preset = "smp://u2dS9sG8nMNURyZwqASV4yROM28Er0luVTx5X1CsMrU=@smp4.simplex.im".parse()?;
//! let restored = link.restored(&[preset]);
//! assert!(restored.to_string().ends_with("?c=u2dS9sG8nMNURyZwqASV4yROM28Er0luVTx5X1CsMrU"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::BytesMut;

use super::text::{LinkTextError, Parameters, ServiceScheme};
use crate::agent::queue::{hosts_text, parse_hosts};
use crate::smp::link::{ContactLinkKind, ContactShortLink, LinkKey};
use crate::wire;
use crate::wire::{
    EntityId, KeyHash, NonEmpty, Parsed, ServerAddress, SmpScheme, Source, TransportHost, Version,
    Wire, WireError, text,
};

/// A short link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShortLink {
    /// How it is written.
    pub scheme: LinkScheme,
    /// What it leads to.
    pub target: LinkTarget,
}

/// How a short link is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkScheme {
    /// `simplex:`, which applications register for.
    Simplex,
    /// `https:`, with the router as the host, which shows a page to those who have no application.
    Server,
}

/// What a short link leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkTarget {
    /// An invitation, for whoever opens it first.
    Invitation(InvitationShortLink),
    /// An address that many can open.
    Contact(ContactShortLink),
}

wire! {
    /// A short link to an invitation.
    pub struct InvitationShortLink {
        /// Where its data is.
        pub router: ServerAddress<SmpScheme>,
        /// The id of its data.
        pub link_id: EntityId,
        /// Its secret.
        pub key: LinkKey,
    }
}

impl LinkTarget {
    /// Where the data is.
    #[must_use]
    pub const fn router(&self) -> &ServerAddress<SmpScheme> {
        match self {
            Self::Invitation(link) => &link.router,
            Self::Contact(link) => &link.router,
        }
    }

    /// The secret.
    #[must_use]
    pub const fn key(&self) -> &LinkKey {
        match self {
            Self::Invitation(link) => &link.key,
            Self::Contact(link) => &link.key,
        }
    }

    /// The id of the data on its router.
    #[must_use]
    pub fn link_id(&self) -> EntityId {
        match self {
            Self::Invitation(link) => link.link_id.clone(),
            Self::Contact(link) => EntityId::from(link.key.contact().link_id),
        }
    }

    fn with_router(self, router: ServerAddress<SmpScheme>) -> Self {
        match self {
            Self::Invitation(link) => Self::Invitation(InvitationShortLink { router, ..link }),
            Self::Contact(link) => Self::Contact(ContactShortLink { router, ..link }),
        }
    }
}

impl ShortLink {
    /// The same link without what the reader knows of a router that is among these.
    #[must_use]
    pub fn shortened(&self, presets: &[ServerAddress<SmpScheme>]) -> Self {
        let router = self.target.router();
        let first = router.hosts().first().cloned();
        match first.filter(|_| presets.iter().any(|preset| is_preset(router, preset))) {
            Some(host) => self.with_router(host_only(host)),
            None => self.clone(),
        }
    }

    /// The same link with all of its router's address, if it names only the host of one of these.
    #[must_use]
    pub fn restored(&self, presets: &[ServerAddress<SmpScheme>]) -> Self {
        let router = self.target.router();
        let known = match (router.hosts(), router.port(), router.key_hash().is_empty()) {
            ([host], None, true) => presets.iter().find(|preset| preset.hosts().contains(host)),
            (_, _, _) => None,
        };
        match known {
            Some(preset) => self.with_router(preset.clone()),
            None => self.clone(),
        }
    }

    /// Whether both lead to the same data.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.target == other.target
    }

    fn with_router(&self, router: ServerAddress<SmpScheme>) -> Self {
        Self {
            scheme: self.scheme,
            target: self.target.clone().with_router(router),
        }
    }
}

/// The ports that an address means when it has none.
const USUAL_PORTS: [u16; 2] = [443, 5223];

fn is_preset(router: &ServerAddress<SmpScheme>, preset: &ServerAddress<SmpScheme>) -> bool {
    let same_port = match (router.port(), preset.port()) {
        (Some(port), None) => USUAL_PORTS.contains(&port),
        (port, of_preset) => port == of_preset,
    };
    let known_host = |host| preset.hosts().contains(host);
    same_port && router.key_hash() == preset.key_hash() && router.hosts().iter().all(known_host)
}

fn host_only(host: TransportHost) -> ServerAddress<SmpScheme> {
    ServerAddress::new(NonEmpty::one(host), None, KeyHash::EMPTY)
}

/// The scheme is not part of it.
impl Wire for ShortLink {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, target) = match input {
            [b'I', rest @ ..] => {
                let (input, link) = Wire::parse(source, rest)?;
                (input, LinkTarget::Invitation(link))
            }
            [b'C', ..] => {
                let (input, link) = Wire::parse(source, input)?;
                (input, LinkTarget::Contact(link))
            }
            [] => return WireError::Incomplete.fail(),
            _ => return WireError::UnknownTag.fail(),
        };
        let scheme = LinkScheme::Server;
        Ok((input, Self { scheme, target }))
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        match &self.target {
            LinkTarget::Invitation(link) => {
                b'I'.put(version, out);
                link.put(version, out);
            }
            LinkTarget::Contact(link) => link.put(version, out),
        }
    }
}

impl fmt::Display for ShortLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let router = self.target.router();
        let hosts = match (self.scheme, router.hosts().split_first()) {
            (LinkScheme::Server, Some((host, others))) => {
                let scheme = ServiceScheme::Web {
                    host: host.clone(),
                    port: None,
                };
                scheme.fmt(f)?;
                others
            }
            (LinkScheme::Simplex, _) | (LinkScheme::Server, None) => {
                ServiceScheme::Simplex.fmt(f)?;
                router.hosts()
            }
        };
        match &self.target {
            LinkTarget::Invitation(link) => {
                write!(f, "/i#{}/", URL_SAFE_NO_PAD.encode(&*link.link_id))?;
            }
            LinkTarget::Contact(link) => write!(f, "/{}#", letter(link.kind))?,
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(self.target.key().as_bytes()))?;
        let mut parameters = Parameters::default();
        if !hosts.is_empty() {
            parameters.push("h", hosts_text(hosts));
        }
        if let Some(port) = router.port() {
            parameters.push("p", port.to_string());
        }
        if !router.key_hash().is_empty() {
            parameters.push("c", URL_SAFE_NO_PAD.encode(&**router.key_hash()));
        }
        if !parameters.is_empty() {
            write!(f, "?{parameters}")?;
        }
        Ok(())
    }
}

const fn letter(kind: ContactLinkKind) -> char {
    match kind {
        ContactLinkKind::Contact => 'a',
        ContactLinkKind::Channel => 'c',
        ContactLinkKind::Group => 'g',
        ContactLinkKind::Relay => 'r',
    }
}

/// What the letter of a link says.
enum Kind {
    Invitation,
    Contact(ContactLinkKind),
}

fn kind(letter: &str) -> Result<Kind, LinkTextError> {
    Ok(match letter {
        "i" => Kind::Invitation,
        "a" | "A" => Kind::Contact(ContactLinkKind::Contact),
        "c" | "C" => Kind::Contact(ContactLinkKind::Channel),
        "g" | "G" => Kind::Contact(ContactLinkKind::Group),
        "r" | "R" => Kind::Contact(ContactLinkKind::Relay),
        _ => return Err(LinkTextError::Form),
    })
}

impl FromStr for ShortLink {
    type Err = LinkTextError;

    fn from_str(link: &str) -> Result<Self, LinkTextError> {
        let (head, fragment) = link.split_once('#').ok_or(LinkTextError::Form)?;
        let head = head.strip_suffix('/').unwrap_or(head);
        let (service, letter) = head.rsplit_once('/').ok_or(LinkTextError::Form)?;
        let (scheme, host) = match service.parse()? {
            ServiceScheme::Simplex => (LinkScheme::Simplex, None),
            ServiceScheme::Web { host, port: None } => (LinkScheme::Server, Some(host)),
            ServiceScheme::Web { port: Some(_), .. } => return Err(LinkTextError::Form),
        };
        let (path, parameters) = fragment.split_once('?').unwrap_or((fragment, ""));
        let router = router(host, &Parameters::parse(parameters)?)?;
        let target = match kind(letter)? {
            Kind::Invitation => {
                let (link_id, key) = path.split_once('/').ok_or(LinkTextError::Form)?;
                let link_id = text::parse_base64url_field(link_id)?;
                LinkTarget::Invitation(InvitationShortLink {
                    router,
                    link_id: link_id
                        .as_slice()
                        .try_into()
                        .map_err(|_| LinkTextError::Form)?,
                    key: link_key(key)?,
                })
            }
            Kind::Contact(kind) => LinkTarget::Contact(ContactShortLink {
                kind,
                router,
                key: link_key(path)?,
            }),
        };
        Ok(Self { scheme, target })
    }
}

fn router(
    host: Option<TransportHost>,
    parameters: &Parameters,
) -> Result<ServerAddress<SmpScheme>, LinkTextError> {
    let mut hosts: Vec<_> = host.into_iter().collect();
    if let Some(others) = parameters.get("h") {
        hosts.extend(parse_hosts(others, "h")?);
    }
    let hosts = NonEmpty::try_from(hosts).map_err(|_| LinkTextError::Parameter("h"))?;
    let port = match parameters.get("p").map(text::parse_u16).transpose()? {
        Some(0) => return Err(LinkTextError::Parameter("p")),
        port => port,
    };
    let key_hash = match parameters.get("c") {
        Some(hash) => hash.parse()?,
        None => KeyHash::EMPTY,
    };
    Ok(ServerAddress::new(hosts, port, key_hash))
}

fn link_key(text: &str) -> Result<LinkKey, LinkTextError> {
    let bytes = text::parse_base64url_field(text)?;
    let key = bytes.try_into().map_err(|_| LinkTextError::Form)?;
    Ok(LinkKey::from_bytes(key))
}

#[cfg(any(test, feature = "sim"))]
impl wire::Sample for ShortLink {
    fn sample(version: Version, rng: &mut crate::rng::Rng) -> Self {
        let target = match rng.below(2) {
            0 => LinkTarget::Invitation(wire::Sample::sample(version, rng)),
            _ => LinkTarget::Contact(wire::Sample::sample(version, rng)),
        };
        Self {
            scheme: LinkScheme::Server,
            target,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::wire::Sample;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn short_links_come_back(seed: [u8; 32], simplex: bool) {
            let mut link = ShortLink::sample(Version(0), &mut Rng::from_seed(seed));
            prop_assert_eq!(&wire::decode::<ShortLink>(Version(0), &wire::encode(&link, Version(0))).unwrap(), &link);
            if let LinkTarget::Invitation(invitation) = &link.target {
                prop_assume!(!invitation.link_id.is_empty());
            }
            if simplex {
                link.scheme = LinkScheme::Simplex;
            }
            prop_assert_eq!(link.to_string().parse::<ShortLink>().unwrap(), link);
        }

        #[test]
        fn arbitrary_texts_never_panic(text in "(simplex:|https://a)/[iacgrx]/?#[ -~]{0,90}") {
            let _ = text.parse::<ShortLink>();
        }
    }
}
