//! The commands of clients, in all dialects: those of version 0.5 (`L0`), 5.8 (`L5`), and ours (`L7`). They do not collide, so that all
//! are understood always (`agent-tcp.md` 3, 10).

use bytes::Bytes;
use simplex_sans_io::agent::link::{ConnectionRequest, ShortLink};
use simplex_sans_io::ratchet::{InitialKeys, Pq};

/// What is answered to what cannot be understood.
pub const SYNTAX: &str = "CMD SYNTAX parseCommand";

/// A line with a command, and its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What is wanted; or what is wrong with it, where the line ends for sure.
    pub command: Result<Command, &'static str>,
    /// The body, if there is one.
    pub body: Option<Bytes>,
}

/// How a body is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyForm {
    /// There is none.
    None,
    /// In the line.
    Text(Vec<u8>),
    /// After the line, so many bytes.
    Size(usize),
}

/// It is not known where the next transmission begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Says who it is, in the body.
    Auth,
    /// The dialect of what it is told.
    Version(u32),
    /// Whether anybody is there.
    Ping,
    /// The end.
    Quit,
    /// The user of what follows.
    User(i64),
    /// All users.
    Users,
    /// Another user.
    NewUser,
    /// A user with all connections is to go.
    DeleteUser(i64),
    /// A connection that others can join.
    New(NewLine),
    /// Joins a link; the body is what the peer is told.
    Join(Box<JoinLine>),
    /// Answers CONF; the body is what the peer is told.
    Let(String),
    /// Answers REQ; the body is what the peer is told.
    Accept {
        /// The request.
        request: String,
        /// Whether post-quantum keys are wanted.
        pq: Option<Pq>,
    },
    /// Answers REQ with silence.
    Reject(String),
    /// Receives.
    Subscribe,
    /// Receives from all connections.
    SubscribeAll,
    /// Receives from these.
    SubscribeMany(Vec<String>),
    /// Sends the body.
    Send {
        /// Whether post-quantum keys are wanted.
        pq: Option<Pq>,
        /// Whether the recipient is notified.
        notify: bool,
    },
    /// A message was dealt with; with a body, the sender gets a receipt.
    Acknowledge(i64),
    /// Another queue.
    Switch,
    /// Not another queue.
    AbortSwitch,
    /// No more messages.
    Off,
    /// The connection is to go.
    Delete {
        /// Once everything is sent.
        wait: bool,
    },
    /// How the connection is.
    Check,
    /// Another ratchet.
    Synchronize {
        /// Whether it has post-quantum keys.
        pq: Option<Pq>,
        /// In any case.
        force: bool,
    },
    /// The security code.
    Code,
    /// The data of the short link is the body.
    SetLink,
    /// The data of the short link is to go.
    DeleteLink,
    /// The data of a short link.
    GetLink(Box<ShortLink>),
    /// What only the agent says.
    FromAgent,
}

/// The arguments of NEW.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLine {
    /// An address for many, and not an invitation for one.
    pub contact: bool,
    /// From when on post-quantum keys are wanted.
    pub pq: Option<InitialKeys>,
    /// Whether there is a short link.
    pub link: bool,
    /// Whose it is.
    pub user: Option<i64>,
}

/// The arguments of JOIN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinLine {
    /// What is joined.
    pub link: JoinLink,
    /// Whether post-quantum keys are wanted.
    pub pq: Option<Pq>,
    /// Whose it is.
    pub user: Option<i64>,
}

/// What is joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinLink {
    /// It says all that is needed.
    Full(ConnectionRequest),
    /// It leads there.
    Short(ShortLink),
}

/// Tags that only the agent sends.
const AGENT: [&str; 22] = [
    "INV",
    "OK",
    "ERR",
    "MID",
    "STAT",
    "CONF",
    "REQ",
    "INFO",
    "CON",
    "END",
    "CONNECT",
    "DISCONNECT",
    "DOWN",
    "UP",
    "SWITCH",
    "RSYNC",
    "SENT",
    "MWARN",
    "MERR",
    "MERRS",
    "MSG",
    "RCVD",
];

impl Command {
    /// Whether it is about a connection, which has to be named.
    #[must_use]
    pub const fn needs_entity(&self) -> bool {
        matches!(
            self,
            Self::Let(_)
                | Self::Subscribe
                | Self::Send { .. }
                | Self::Acknowledge(_)
                | Self::Switch
                | Self::AbortSwitch
                | Self::Off
                | Self::Delete { .. }
                | Self::Check
                | Self::Synchronize { .. }
                | Self::Code
                | Self::SetLink
                | Self::DeleteLink
        )
    }
}

impl Line {
    /// Reads a line. It is lost where nobody can say whether a body follows.
    pub fn parse(line: &[u8]) -> Result<(Self, BodyForm), Lost> {
        let text = std::str::from_utf8(line).map_err(|_| Lost)?;
        if text.contains(|c: char| c.is_control()) {
            return Err(Lost);
        }
        let (tag, rest) = text.split_once(' ').unwrap_or((text, ""));
        // The space after which nothing stands belongs to NEW only.
        let parsed = match text.ends_with(' ') && tag != "NEW" {
            true => None,
            false => Self::of(tag, rest),
        };
        let (command, form) = match parsed {
            Some((command, form)) => (Ok(command), form),
            None if ends_with_number(rest) => return Err(Lost),
            None => (Err(SYNTAX), BodyForm::None),
        };
        let line = Self {
            command,
            body: None,
        };
        Ok((line, form))
    }

    fn of(tag: &str, rest: &str) -> Option<(Command, BodyForm)> {
        let without_body = |command| Some((command, BodyForm::None));
        match tag {
            "PING" | "QUIT" | "USERS" | "SUB" | "SUBALL" | "OFF" | "CHK" | "CODE" | "LDEL" => {
                let command = match tag {
                    "PING" => Command::Ping,
                    "QUIT" => Command::Quit,
                    "USERS" => Command::Users,
                    "SUB" => Command::Subscribe,
                    "SUBALL" => Command::SubscribeAll,
                    "OFF" => Command::Off,
                    "CHK" => Command::Check,
                    "CODE" => Command::Code,
                    _ => Command::DeleteLink,
                };
                rest.is_empty().then_some((command, BodyForm::None))
            }
            "AUTH" => Some((Command::Auth, body(rest)?)),
            "VER" => without_body(Command::Version(rest.parse().ok()?)),
            "USER" => match rest.split_once(' ') {
                _ if rest == "NEW" => without_body(Command::NewUser),
                Some(("DEL", user)) => without_body(Command::DeleteUser(user.parse().ok()?)),
                Some(_) => None,
                None => without_body(Command::User(rest.parse().ok()?)),
            },
            "NEW" => new(rest),
            "JOIN" => join(rest),
            "LET" => {
                let (name, rest) = rest.split_once(' ')?;
                Some((Command::Let(name.to_owned()), body(rest)?))
            }
            "ACPT" => {
                let (request, rest) = rest.split_once(' ')?;
                let request = request.to_owned();
                let (options, form) = options(rest)?;
                let pq = options.pq.map(InitialKeys::support);
                Some((Command::Accept { request, pq }, form))
            }
            "RJCT" => {
                let named = !rest.is_empty() && !rest.contains(' ');
                named.then(|| (Command::Reject(rest.to_owned()), BodyForm::None))
            }
            "SUBS" => {
                let names = rest.split(',').map(str::to_owned).collect();
                without_body(Command::SubscribeMany(names))
            }
            "SEND" => {
                let (pq, rest) = pq(rest);
                let (notify, rest) = match rest.split_once(' ') {
                    Some(("T", rest)) => (true, rest),
                    Some(("F", rest)) => (false, rest),
                    Some(_) | None => (false, rest),
                };
                let pq = pq.map(InitialKeys::support);
                Some((Command::Send { pq, notify }, body(rest)?))
            }
            "ACK" => {
                let (message, form) = match rest.split_once(' ') {
                    Some((message, receipt)) => (message, body(receipt)?),
                    None => (rest, BodyForm::None),
                };
                Some((Command::Acknowledge(message.parse().ok()?), form))
            }
            "SWCH" => match rest {
                "" => without_body(Command::Switch),
                "abort" => without_body(Command::AbortSwitch),
                _ => None,
            },
            "DEL" => match rest {
                "" => without_body(Command::Delete { wait: false }),
                "wait" => without_body(Command::Delete { wait: true }),
                _ => None,
            },
            "SYNC" => {
                let (pq, rest) = pq(rest);
                let force = match rest {
                    "" => false,
                    "force" => true,
                    _ => return None,
                };
                let pq = pq.map(InitialKeys::support);
                without_body(Command::Synchronize { pq, force })
            }
            "LSET" => Some((Command::SetLink, body(rest)?)),
            "LGET" => without_body(Command::GetLink(Box::new(rest.parse().ok()?))),
            tag if AGENT.contains(&tag) => {
                (!ends_with_number(rest)).then_some((Command::FromAgent, BodyForm::None))
            }
            _ => None,
        }
    }
}

/// `NEW [T|F] INV|CON [pq] [subscribe] [key=value…] [body]`.
fn new(rest: &str) -> Option<(Command, BodyForm)> {
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
    if form != BodyForm::None && !options.link {
        return None;
    }
    let new = NewLine {
        contact,
        pq: options.pq,
        link: options.link,
        user: options.user,
    };
    Some((Command::New(new), form))
}

/// `JOIN [T|F] link [pq] [subscribe] [key=value…] body`.
fn join(rest: &str) -> Option<(Command, BodyForm)> {
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
    };
    (form != BodyForm::None).then(|| (Command::Join(Box::new(join)), form))
}

#[derive(Default)]
struct Options {
    pq: Option<InitialKeys>,
    link: bool,
    user: Option<i64>,
}

/// Options in any order, then a body. Keys that are not known are passed over.
fn options(mut rest: &str) -> Option<(Options, BodyForm)> {
    let mut options = Options::default();
    while !rest.is_empty() {
        if let Some(form) = body(rest) {
            return Some((options, form));
        }
        let (token, after) = rest.split_once(' ').unwrap_or((rest, ""));
        match token.split_once('=') {
            Some(("pq", _)) => options.pq = Some(pq(token).0?),
            Some(("user", user)) => options.user = Some(user.parse().ok()?),
            Some(("link", "T")) => options.link = true,
            Some(("link", "F")) => options.link = false,
            Some(("link", _)) => return None,
            Some(_) => {}
            None if token == "subscribe" => {}
            None => return None,
        }
        rest = after;
    }
    Some((options, BodyForm::None))
}

/// An option for post-quantum keys, and what follows it.
fn pq(rest: &str) -> (Option<InitialKeys>, &str) {
    let (token, after) = rest.split_once(' ').unwrap_or((rest, ""));
    match token {
        "pq=enable" => (Some(InitialKeys::Later), after),
        "pq=disable" => (Some(InitialKeys::Never), after),
        "pq=invitation" => (Some(InitialKeys::Invitation), after),
        _ => (None, rest),
    }
}

/// `:text` to the end of the line, or a size.
fn body(rest: &str) -> Option<BodyForm> {
    if let Some(text) = rest.strip_prefix(':') {
        return Some(BodyForm::Text(text.as_bytes().to_vec()));
    }
    let decimal = !rest.is_empty() && rest.len() <= 7 && rest.bytes().all(|b| b.is_ascii_digit());
    decimal.then(|| rest.parse().ok().map(BodyForm::Size))?
}

/// Whether a line ends in a way in which the size of a body could stand there.
fn ends_with_number(rest: &str) -> bool {
    let last = rest.rsplit(' ').next().unwrap_or(rest);
    last.contains(|c: char| c.is_ascii_digit()) && !last.contains([':', '/', '#'])
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "simplex:/contact#/?v=2-7&smp=smp%3A%2F%2Ff1Z6bEtdd6Bu1bhHUmGyZlGkN5WNgwE2GSM8q5v9FYQ%3D%40smp.example%2FO-cwMlXLe79ceire76GZOaNL7224XfdG%23%2F%3Fv%3D1-4%26dh%3DMCowBQYDK2VuAyEAyHju8LUCi_Kkr02RLtXQa20ptGZnd7ci2WxiOAHWsHo%253D%26q%3Dc";

    fn parsed(line: &str) -> Option<(Command, BodyForm)> {
        let (line, form) = Line::parse(line.as_bytes()).ok()?;
        line.command.ok().map(|command| (command, form))
    }

    #[test]
    fn all_dialects_are_understood() {
        let new = |line| match parsed(line) {
            Some((Command::New(new), BodyForm::None)) => new,
            other => panic!("{line}: {other:?}"),
        };
        for line in ["NEW INV", "NEW T INV", "NEW T INV subscribe", "NEW F INV "] {
            assert!(!new(line).contact && new(line).pq.is_none());
        }
        let invited = new("NEW T INV pq=invitation subscribe");
        assert_eq!(invited.pq, Some(InitialKeys::Invitation));
        assert!(new("NEW CON pq=enable subscribe link=T user=7 x=y").link);

        let text = |text: &str| BodyForm::Text(text.as_bytes().to_vec());
        for line in [
            format!("JOIN {LINK} :hi there"),
            format!("JOIN T {LINK} subscribe :hi there"),
            format!("JOIN F {LINK} pq=disable subscribe user=1 :hi there"),
        ] {
            let (command, form) = parsed(&line).unwrap();
            assert!(matches!(command, Command::Join(_)));
            assert_eq!(form, text("hi there"));
        }
        let send = |pq, notify| Command::Send { pq, notify };
        let cases = [
            ("SEND :x", send(None, false), text("x")),
            ("SEND 5", send(None, false), BodyForm::Size(5)),
            ("SEND T 5", send(None, true), BodyForm::Size(5)),
            (
                "SEND pq=disable F :T 5",
                send(Some(Pq::Off), false),
                text("T 5"),
            ),
            ("ACK 4", Command::Acknowledge(4), BodyForm::None),
            ("ACK 4 5", Command::Acknowledge(4), BodyForm::Size(5)),
            ("ACK 4 :", Command::Acknowledge(4), text("")),
            ("LET 12 34", Command::Let("12".into()), BodyForm::Size(34)),
            ("SWCH abort", Command::AbortSwitch, BodyForm::None),
            ("USER DEL 3", Command::DeleteUser(3), BodyForm::None),
            ("OK", Command::FromAgent, BodyForm::None),
        ];
        for (line, command, form) in cases {
            assert_eq!(parsed(line), Some((command, form)), "{line}");
        }
    }

    #[test]
    fn what_is_no_command_is_one_or_loses_the_way() {
        for line in [
            "HELLO",
            "NEW T hi subscribe",
            "JOIN",
            "SUB ",
            "SEND",
            "NEW T",
            "ACK x",
            "",
        ] {
            let (line, form) = Line::parse(line.as_bytes()).unwrap();
            assert_eq!((line.command, form), (Err(SYNTAX), BodyForm::None));
        }
        for line in [
            "HELLO 7",
            "SEND F +5",
            "SEND F 0x5",
            "SUB 5",
            "SEND \u{1}",
            "NEW T INV 5",
        ] {
            assert_eq!(Line::parse(line.as_bytes()), Err(Lost), "{line}");
        }
        assert_eq!(Line::parse(&[0xff, 0xf4]), Err(Lost));
    }
}
