//! The commands of clients, in all dialects: those of version 0.5 (`L0`), 5.8 (`L5`), and ours (`L7`). They do not collide, so that all
//! are understood always (`agent-tcp.md` 3, 10).

use bytes::Bytes;

use super::options::{body, ends_with_size, is_bad_size, join, new, options, pq, routers, user};
use crate::agent::command::{NetworkState, Receiving};
use crate::agent::config::UserRouter;
use crate::agent::link::{ClientData, ConnectionRequest, ShortLink};
use crate::crypto::{Nonce, Secret};
use crate::ratchet::{InitialKeys, Pq};
use crate::smp::SimplexDomain;

/// What is answered to what cannot be understood.
pub const SYNTAX: &str = "CMD SYNTAX parseCommand";

/// What is answered to a command whose body is none.
const NO_BODY: &str = "CMD SYNTAX getBody";

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
    /// It cannot be a body.
    Bad,
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
        /// From when on it receives.
        receiving: Receiving,
    },
    /// Answers REQ with silence.
    Reject(String),
    /// Receives.
    Subscribe,
    /// Receives from all connections of a user.
    SubscribeAll(Option<i64>),
    /// Takes one message, without receiving.
    Fetch,
    /// What the router says of the queue.
    QueueInfo,
    /// What a name stands for.
    Name(Box<SimplexDomain>),
    /// The routers of a user.
    Routers(Option<i64>),
    /// The routers for the files of a user.
    FileRouters(Option<i64>),
    /// Other routers for a user.
    SetRouters(Vec<UserRouter>),
    /// Whether a router can be used.
    TestRouter(Box<UserRouter>),
    /// Whether there is a network.
    Network(NetworkState),
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
    SetLink {
        /// Whether its owner can be asked for a connection by it.
        direct: bool,
        /// Relays of a channel.
        relays: Vec<ShortLink>,
    },
    /// The data of the short link is to go.
    DeleteLink,
    /// The data of a short link.
    GetLink(Box<ShortLink>),
    /// Sends a file, whose path is the body.
    SendFile {
        /// To how many.
        recipients: u16,
        /// Whose it is.
        user: Option<i64>,
    },
    /// Receives a file, whose description, or a link to it, is the body.
    ReceiveFile {
        /// Whether all routers that it names may be asked.
        approved: bool,
        /// For whom.
        user: Option<i64>,
        /// How it is encrypted on this machine, if it is to be.
        local: Option<(Secret<32>, Nonce)>,
    },
    /// A file is to go; of one that was sent, the body is the description of its sender.
    DeleteFile {
        /// At its routers as well.
        remote: bool,
    },
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
    /// What the application adds to the link.
    pub client_data: Option<ClientData>,
    /// From when on it receives.
    pub receiving: Receiving,
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
    /// From when on it receives.
    pub receiving: Receiving,
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
const AGENT: [&str; 46] = [
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
    "QCONT",
    "MSG",
    "RCVD",
    "MSGNTF",
    "DEL_RCVQ",
    "DEL_CONN",
    "DEL_USER",
    "SUSPENDED",
    "RFPROG",
    "RFDONE",
    "RFERR",
    "RFWARN",
    "SFPROG",
    "SFDONE",
    "SFERR",
    "SFWARN",
    "SFDEL",
    "DELD",
    "JOINED",
    "LINK",
    "LDATA",
    "ERRS",
    "SERVICE_ALL",
    "SERVICE_UP",
    "SERVICE_DOWN",
    "SERVICE_END",
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
                | Self::Fetch
                | Self::QueueInfo
                | Self::SetLink { .. }
                | Self::DeleteLink
                | Self::DeleteFile { .. }
        )
    }
}

impl Line {
    /// Reads a line. It is lost where nobody can say whether a body follows.
    pub fn parse(line: &[u8]) -> Result<(Self, BodyForm), Lost> {
        let text = std::str::from_utf8(line).map_err(|_| Lost)?;
        // What people write may have tabs, and spaces at the end.
        let (head, written) = match text.find(" :") {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let control = |c: char| c.is_control();
        if head.contains(control) || written.contains(|c: char| control(c) && c != '\t') {
            return Err(Lost);
        }
        let (tag, rest) = text.split_once(' ').unwrap_or((text, ""));
        // A space after which nothing stands may follow INV and CON, and what agents say.
        let before = text.strip_suffix(' ').filter(|_| written.is_empty());
        let parsed = match before {
            Some(before) if !may_end_with_space(tag, before) => None,
            Some(_) | None => Self::of(tag, rest),
        };
        let (command, form) = match parsed {
            Some((_, BodyForm::Bad)) if is_bad_size(rest) => return Err(Lost),
            None if ends_with_size(rest) => return Err(Lost),
            Some((_, BodyForm::Bad)) => (Err(NO_BODY), BodyForm::None),
            Some((command, form)) => (Ok(command), form),
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
            "PING" | "QUIT" | "USERS" | "SUB" | "OFF" | "CHK" | "CODE" | "LDEL" | "GET"
            | "QINF" => {
                let command = match tag {
                    "PING" => Command::Ping,
                    "QUIT" => Command::Quit,
                    "USERS" => Command::Users,
                    "SUB" => Command::Subscribe,
                    "GET" => Command::Fetch,
                    "QINF" => Command::QueueInfo,
                    "OFF" => Command::Off,
                    "CHK" => Command::Check,
                    "CODE" => Command::Code,
                    _ => Command::DeleteLink,
                };
                rest.is_empty().then_some((command, BodyForm::None))
            }
            "SUBALL" => without_body(Command::SubscribeAll(user(rest)?)),
            "NAME" => without_body(Command::Name(Box::new(rest.parse().ok()?))),
            "SRV" => without_body(routers(rest)?),
            "NET" => without_body(Command::Network(match rest {
                "online=T" => NetworkState::Online,
                "online=F" => NetworkState::Offline,
                _ => return None,
            })),
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
                let accept = Command::Accept {
                    request,
                    pq: options.pq.map(InitialKeys::support),
                    receiving: options.receiving,
                };
                (form != BodyForm::None).then_some((accept, form))
            }
            "RJCT" => {
                let named = !rest.is_empty() && !rest.contains(' ');
                named.then(|| (Command::Reject(rest.to_owned()), BodyForm::None))
            }
            "SUBS" => {
                let names: Vec<_> = rest.split(',').map(str::to_owned).collect();
                let named = names.iter().all(|name| !name.is_empty());
                named.then_some((Command::SubscribeMany(names), BodyForm::None))
            }
            "SEND" => {
                let (pq, rest) = pq(rest);
                let (notify, rest) = match rest.split_once(' ') {
                    Some(("T", rest)) => (Some(true), rest),
                    Some(("F", rest)) => (Some(false), rest),
                    Some(_) | None => (None, rest),
                };
                let form = body(rest)?;
                // Where no flag is, it is not the body that is wrong.
                if form == BodyForm::Bad && notify.is_none() && !is_bad_size(rest) {
                    return None;
                }
                let send = Command::Send {
                    pq: pq.map(InitialKeys::support),
                    notify: notify.unwrap_or(false),
                };
                Some((send, form))
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
            "LSET" => {
                let (options, form) = options(rest)?;
                let set = Command::SetLink {
                    direct: options.direct,
                    relays: options.relays,
                };
                (form != BodyForm::None).then_some((set, form))
            }
            "LGET" => without_body(Command::GetLink(Box::new(rest.parse().ok()?))),
            "FSND" => {
                let (options, form) = options(rest)?;
                let send = Command::SendFile {
                    recipients: options.recipients,
                    user: options.user,
                };
                (form != BodyForm::None).then_some((send, form))
            }
            "FRCV" => {
                let (options, form) = options(rest)?;
                let receive = Command::ReceiveFile {
                    approved: options.approved,
                    user: options.user,
                    local: options.local,
                };
                (form != BodyForm::None).then_some((receive, form))
            }
            "FDEL" => match rest.split_once(' ') {
                None if rest.is_empty() => without_body(Command::DeleteFile { remote: false }),
                None if rest == "remote" => without_body(Command::DeleteFile { remote: true }),
                Some(("remote", rest)) => Some((Command::DeleteFile { remote: true }, body(rest)?)),
                None | Some(_) => None,
            },
            tag if AGENT.contains(&tag) => {
                (!ends_with_size(rest)).then_some((Command::FromAgent, BodyForm::None))
            }
            _ => None,
        }
    }
}

/// Whether a line may end with a space after this.
fn may_end_with_space(tag: &str, before: &str) -> bool {
    let is_new = tag == "NEW" && (before.ends_with(" INV") || before.ends_with(" CON"));
    is_new || AGENT.contains(&tag)
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
        let later = new("NEW T INV pq=enable only-create data=YQ==");
        assert_eq!(later.receiving, Receiving::WhenSubscribed);
        assert_eq!(later.client_data.unwrap().as_str(), "a");

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
            (
                "SEND F :tab\tand space ",
                send(None, false),
                text("tab\tand space "),
            ),
            ("SEND F :", send(None, false), text("")),
            (
                "SUBALL user=3",
                Command::SubscribeAll(Some(3)),
                BodyForm::None,
            ),
            (
                "NET online=F",
                Command::Network(NetworkState::Offline),
                BodyForm::None,
            ),
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
    fn files_are_named_by_their_paths_and_their_descriptions() {
        let text = |text: &str| BodyForm::Text(text.as_bytes().to_vec());
        let send = |recipients, user| Command::SendFile { recipients, user };
        let one = parsed("FSND :a photo.jpg");
        assert_eq!(one, Some((send(1, None), text("a photo.jpg"))));
        let many = parsed("FSND recipients=3 user=2 9");
        assert_eq!(many, Some((send(3, Some(2)), BodyForm::Size(9))));
        let receive = |approved, local| Command::ReceiveFile {
            approved,
            user: None,
            local,
        };
        let own = parsed("FRCV :simplex:/file#/?desc=x");
        assert_eq!(
            own,
            Some((receive(false, None), text("simplex:/file#/?desc=x")))
        );
        let key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
        let nonce = "AgICAgICAgICAgICAgICAgICAgICAgIC";
        let sealed = parsed(&format!("FRCV approved=T key={key},nonce={nonce} :x"));
        let local = (Secret::from_bytes([1; 32]), Nonce::from([2; 24]));
        assert_eq!(sealed, Some((receive(true, Some(local)), text("x"))));
        assert_eq!(parsed("FRCV key=AQ==,nonce=x :x"), None);
        let delete = |remote| Command::DeleteFile { remote };
        assert_eq!(parsed("FDEL"), Some((delete(false), BodyForm::None)));
        assert_eq!(parsed("FDEL remote"), Some((delete(true), BodyForm::None)));
        assert_eq!(
            parsed("FDEL remote 7"),
            Some((delete(true), BodyForm::Size(7)))
        );
        for line in [
            "FSND",
            "FSND recipients=x :x",
            "FRCV approved=x :x",
            "FDEL here",
        ] {
            assert_eq!(parsed(line), None, "{line}");
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
            "SEND T",
            "SEND X :a",
            "SEND hello",
            "SUBS",
            "SUBS a,,b",
            "NEW T INV subscribe ",
            "NEW T CON link=T ",
            "NEW T",
            "ACK x",
            "",
        ] {
            let (line, form) = Line::parse(line.as_bytes()).unwrap();
            assert_eq!((line.command, form), (Err(SYNTAX), BodyForm::None));
        }
        for line in ["SEND F hello there", "LET x y", "ACK 4 y", "ACPT x T :hi"] {
            let (line, form) = Line::parse(line.as_bytes()).unwrap();
            assert_eq!((line.command, form), (Err(NO_BODY), BodyForm::None));
        }
        for line in ["NEW T INV bad2", "HELLO v2", "JOIN T x :hi there 2"] {
            let (line, form) = Line::parse(line.as_bytes()).unwrap();
            assert_eq!((line.command, form), (Err(SYNTAX), BodyForm::None));
        }
        for line in ["QCONT", "DEL_USER x", "MSGNTF a b T", "SENT 1 "] {
            let (line, _) = Line::parse(line.as_bytes()).unwrap();
            assert_eq!(line.command, Ok(Command::FromAgent));
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
