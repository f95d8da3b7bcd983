//! Short links.

use serde_json::{Value, json};
use simplex_sans_io::agent::link::{InvitationShortLink, LinkScheme, LinkTarget, ShortLink};
use simplex_sans_io::smp::link::{ContactLinkKind, ContactShortLink, LinkKey};
use simplex_sans_io::wire::{self, EntityId, KeyHash, NonEmpty, ServerAddress, SmpScheme, Version};
use simplex_tests::vectors::{Comparison, array, cases, hex, hexed, load, text};

use super::FILE;

pub(super) fn short_links(group: &Value) {
    let file = load(FILE);
    let presets: Vec<_> = cases(&file["preset_servers"])
        .map(|server| text(server).parse().unwrap())
        .collect();
    for case in cases(group) {
        let link = link(&case["value"]);
        assert_eq!(link.to_string(), text(&case["text"]));
        let read: ShortLink = text(&case["text"]).parse().unwrap();
        assert_eq!(shown(&read), case["decoded"]["ok"]);
        assert_eq!(read, link);

        let encoded = hex(&case["smp"]);
        assert_eq!(wire::encode(&link, Version(0)), encoded);
        let read: ShortLink = wire::decode_slice(Version(0), &encoded).unwrap();
        assert_eq!(shown(&read), case["smp_decoded"]["ok"]);

        let shortened = link.shortened(&presets).to_string();
        assert_eq!(shortened, text(&case["shortened_text"]));
        let restored = link.restored(&presets).to_string();
        assert_eq!(restored, text(&case["restored_text"]));
    }
}

pub(super) fn short_link_parsing(group: &Value) {
    let mut comparison = Comparison::of(FILE, "short_link_parsing");
    for case in cases(group) {
        let read = text(&case["text"]).parse::<ShortLink>();
        let ours = read.map(|link| json!({ "value": shown(&link), "reencoded": link.to_string() }));
        comparison.outcome(text(&case["text"]), ours, case);
    }
    comparison.finish();
}

fn link(value: &Value) -> ShortLink {
    let router = router(text(&value["server"]));
    let key = LinkKey::from_bytes(array(&value["link_key"]));
    let contact = |kind| {
        LinkTarget::Contact(ContactShortLink {
            kind,
            router: router.clone(),
            key: key.clone(),
        })
    };
    let target = match text(&value["type"]) {
        "invitation" => LinkTarget::Invitation(InvitationShortLink {
            router: router.clone(),
            link_id: EntityId::try_from(hex(&value["link_id"]).as_slice()).unwrap(),
            key: key.clone(),
        }),
        "A" => contact(ContactLinkKind::Contact),
        "C" => contact(ContactLinkKind::Channel),
        "G" => contact(ContactLinkKind::Group),
        "R" => contact(ContactLinkKind::Relay),
        other => unreachable!("{other}"),
    };
    let scheme = match text(&value["scheme"]) {
        "SLSSimplex" => LinkScheme::Simplex,
        "SLSServer" => LinkScheme::Server,
        other => unreachable!("{other}"),
    };
    ShortLink { scheme, target }
}

/// An address, or a host alone.
fn router(address: &str) -> ServerAddress<SmpScheme> {
    match address.strip_prefix("smp://@") {
        Some(host) => {
            let host = NonEmpty::one(host.parse().unwrap());
            ServerAddress::new(host, None, KeyHash::EMPTY)
        }
        None => address.parse().unwrap(),
    }
}

fn shown(link: &ShortLink) -> Value {
    let scheme = match link.scheme {
        LinkScheme::Simplex => "SLSSimplex",
        LinkScheme::Server => "SLSServer",
    };
    let server = link.target.router().to_string();
    let key = hexed(link.target.key().as_bytes());
    match &link.target {
        LinkTarget::Invitation(invitation) => json!({
            "type": "invitation",
            "scheme": scheme,
            "server": server,
            "link_id": hexed(&*invitation.link_id),
            "link_key": key,
        }),
        LinkTarget::Contact(contact) => json!({
            "type": contact.kind.tag()[1..],
            "scheme": scheme,
            "server": server,
            "link_key": key,
        }),
    }
}
