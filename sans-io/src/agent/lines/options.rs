//! What stands after the word of a command: options in any order, and the form of a body.

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};

use zeroize::Zeroizing;

use super::command::{BodyForm, Command, JoinLine, JoinLink, NewLine};
use crate::agent::command::Receiving;
use crate::agent::config::UserRouter;
use crate::agent::link::{ClientData, ShortLink};
use crate::crypto::{Nonce, Secret};
use crate::ratchet::InitialKeys;
use crate::wire::{ServerAddress, SmpScheme};

/// `NEW [T|F] INV|CON [pq] [subscribe] [key=value…] [body]`.
pub(super) fn new(rest: &str) -> Option<(Command, BodyForm)> {
    let rest = rest
        .strip_prefix("T ")
        .or_else(|| rest.strip_prefix("F "))
        .unwrap_or(rest);
    let (kind, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let contact = match kind {
        "INV" => false,
        "CON" => true,
        _ => return None,
    };
    let (options, form) = options(rest)?;
    let unwanted = form != BodyForm::None && !options.link;
    if unwanted || form == BodyForm::Bad {
        return None;
    }
    let new = NewLine {
        contact,
        pq: options.pq,
        link: options.link,
        user: options.user,
        client_data: options.client_data,
        receiving: options.receiving,
    };
    Some((Command::New(new), form))
}

/// `JOIN [T|F] link [pq] [subscribe] [key=value…] body`.
pub(super) fn join(rest: &str) -> Option<(Command, BodyForm)> {
    let rest = rest
        .strip_prefix("T ")
        .or_else(|| rest.strip_prefix("F "))
        .unwrap_or(rest);
    let (link, rest) = rest.split_once(' ')?;
    let link = match link.parse() {
        Ok(request) => JoinLink::Full(request),
        Err(_) => JoinLink::Short(link.parse().ok()?),
    };
    let (options, form) = options(rest)?;
    let join = JoinLine {
        link,
        pq: options.pq.map(InitialKeys::support),
        user: options.user,
        receiving: options.receiving,
    };
    (form != BodyForm::None).then(|| (Command::Join(Box::new(join)), form))
}

/// `smp [user=n]`, `xftp [user=n]`, `SET routers`, or `TEST router`.
pub(super) fn routers(rest: &str) -> Option<Command> {
    let router = |text: &str| {
        let parsed = ServerAddress::<SmpScheme>::parse_with_password(text).ok()?;
        let (address, password) = parsed;
        Some(UserRouter {
            password,
            ..UserRouter::new(address)
        })
    };
    match rest.split_once(' ').unwrap_or((rest, "")) {
        ("smp", rest) => Some(Command::Routers(user(rest)?)),
        ("xftp", rest) => Some(Command::FileRouters(user(rest)?)),
        // A router may have several hosts: a new one begins with its scheme.
        ("SET", rest) => {
            let rest = rest.strip_prefix("smp://")?;
            let all = rest
                .split(",smp://")
                .map(|text| router(&format!("smp://{text}")));
            Some(Command::SetRouters(all.collect::<Option<_>>()?))
        }
        ("TEST", rest) => Some(Command::TestRouter(Box::new(router(rest)?))),
        _ => None,
    }
}

/// `user=n`, or nothing.
#[expect(
    clippy::option_option,
    reason = "it may be wrong, and it may be absent"
)]
pub(super) fn user(rest: &str) -> Option<Option<i64>> {
    match rest.strip_prefix("user=") {
        Some(user) => user.parse().ok().map(Some),
        None => rest.is_empty().then_some(None),
    }
}

pub(super) struct Options {
    pub(super) pq: Option<InitialKeys>,
    pub(super) link: bool,
    pub(super) user: Option<i64>,
    pub(super) client_data: Option<ClientData>,
    pub(super) receiving: Receiving,
    pub(super) direct: bool,
    pub(super) relays: Vec<ShortLink>,
    pub(super) recipients: u16,
    pub(super) approved: bool,
    pub(super) local: Option<(Secret<32>, Nonce)>,
}

/// Options in any order, then a body. Keys that are not known are passed over.
pub(super) fn options(mut rest: &str) -> Option<(Options, BodyForm)> {
    let mut options = Options {
        pq: None,
        link: false,
        user: None,
        client_data: None,
        receiving: Receiving::AtOnce,
        direct: true,
        relays: Vec::new(),
        recipients: 1,
        approved: false,
        local: None,
    };
    while !rest.is_empty() {
        if let Some(form) = body(rest).filter(|form| *form != BodyForm::Bad) {
            return Some((options, form));
        }
        let (token, after) = rest.split_once(' ').unwrap_or((rest, ""));
        match token.split_once('=') {
            Some(("pq", _)) => options.pq = Some(pq(token).0?),
            Some(("user", user)) => options.user = Some(user.parse().ok()?),
            Some(("link", "T")) => options.link = true,
            Some(("link", "F")) => options.link = false,
            Some(("direct", "T")) => options.direct = true,
            Some(("direct", "F")) => options.direct = false,
            Some(("approved", "T")) => options.approved = true,
            Some(("approved", "F")) => options.approved = false,
            Some(("link" | "direct" | "approved", _)) => return None,
            Some(("recipients", count)) => options.recipients = count.parse().ok()?,
            Some(("key", rest)) => options.local = Some(local(rest)?),
            Some(("data", data)) => options.client_data = Some(client_data(data)?),
            Some(("relays", relays)) => {
                let relays = relays.split(',').map(|relay| relay.parse().ok());
                options.relays = relays.collect::<Option<_>>()?;
            }
            Some(_) => {}
            None if token == "subscribe" => {}
            None if token == "only-create" => options.receiving = Receiving::WhenSubscribed,
            None => return Some((options, BodyForm::Bad)),
        }
        rest = after;
    }
    Some((options, BodyForm::None))
}

/// What follows `key=` of how a file is encrypted on this machine.
fn local(rest: &str) -> Option<(Secret<32>, Nonce)> {
    let (key, nonce) = rest.split_once(",nonce=")?;
    let key = Zeroizing::new(URL_SAFE.decode(key).ok()?);
    let nonce: [u8; 24] = URL_SAFE.decode(nonce).ok()?.try_into().ok()?;
    Some((Secret::try_from(key.as_slice()).ok()?, nonce.into()))
}

/// Text, in base64url.
fn client_data(data: &str) -> Option<ClientData> {
    let text = URL_SAFE
        .decode(data)
        .or_else(|_| URL_SAFE_NO_PAD.decode(data));
    ClientData::try_from(String::from_utf8(text.ok()?).ok()?).ok()
}

/// An option for post-quantum keys, and what follows it.
pub(super) fn pq(rest: &str) -> (Option<InitialKeys>, &str) {
    let (token, after) = rest.split_once(' ').unwrap_or((rest, ""));
    match token {
        "pq=enable" => (Some(InitialKeys::Later), after),
        "pq=disable" => (Some(InitialKeys::Never), after),
        "pq=invitation" => (Some(InitialKeys::Invitation), after),
        _ => (None, rest),
    }
}

/// `:text` to the end of the line, or a size.
pub(super) fn body(rest: &str) -> Option<BodyForm> {
    if let Some(text) = rest.strip_prefix(':') {
        return Some(BodyForm::Text(text.as_bytes().to_vec()));
    }
    if rest.is_empty() {
        return None;
    }
    let decimal = rest.len() <= 7 && rest.bytes().all(|b| b.is_ascii_digit());
    let size = rest.parse().ok().filter(|_| decimal);
    Some(size.map_or(BodyForm::Bad, BodyForm::Size))
}

/// Whether a line that is not understood ends with what may be the size of a body.
pub(super) fn ends_with_size(rest: &str) -> bool {
    let last = rest.rsplit(' ').next().unwrap_or(rest);
    let number = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());
    number && !rest.contains(" :")
}

/// Whether what stands where the size of a body is to stand was meant as one.
pub(super) fn is_bad_size(rest: &str) -> bool {
    let last = rest.rsplit(' ').next().unwrap_or(rest);
    last.contains(|c: char| c.is_ascii_digit())
}
