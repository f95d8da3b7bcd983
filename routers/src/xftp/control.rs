//! What the operator of an XFTP router can ask on the control port.

use simplex_sans_io::smp::BlockingInfo;
use simplex_sans_io::wire::text::parse_base64url_field;
use simplex_sans_io::wire::utc::UtcTime;
use simplex_sans_io::wire::{EntityId, Version, decode_slice};
use simplex_sans_io::xftp::router::{Operation, Outcome};

use super::core::CoreHandle;
use super::settings::Control as Settings;
use crate::control::{Operator, Role, runtime};

/// What the control port shows and does.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    pub(crate) settings: Settings,
    pub(crate) core: CoreHandle,
}

impl Operator for Control {
    const BANNER: &str = "XFTP server control port";

    async fn execute(&self, role: &mut Role, line: &str) -> String {
        let (command, argument) = line.split_once(' ').unwrap_or((line, ""));
        let user = *role != Role::None;
        match command {
            "" => String::new(),
            "help" => "commands: stats-rts, delete, help, quit, stats, block\n".to_owned(),
            "auth" => {
                let Settings {
                    admin_password,
                    user_password,
                    ..
                } = &self.settings;
                role.authorize(argument, admin_password.as_ref(), user_password.as_ref())
            }
            "stats-rts" => runtime(),
            "stats" if user => self.stats().await,
            "stats" => AUTH.to_owned(),
            "delete" | "block" => match operation(command, argument) {
                Err(expected) => format!("error: Failed reading: {expected}\n"),
                Ok(operation) if user => self.operate(operation).await,
                Ok(_) => AUTH.to_owned(),
            },
            _ => "error: Failed reading: bad ControlProtocol command\n".to_owned(),
        }
    }
}

const AUTH: &str = "AUTH\n";

impl Control {
    async fn stats(&self) -> String {
        let Some((g, c)) = self.core.read().await else {
            return "error: the router stops\n".to_owned();
        };
        let since = UtcTime::from_seconds(g.counting_since.seconds());
        let mut text = format!("fromTime: {since}\n");
        let gauges = [
            ("filesCount", g.chunks),
            ("filesSize", g.used),
            ("daily downloaded files", g.downloaded.day),
        ];
        for (name, value) in c.named().into_iter().chain(gauges) {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text
    }

    async fn operate(&self, operation: Operation) -> String {
        match self.core.operate(operation).await {
            Some(Outcome::Done) => "ok\n".to_owned(),
            Some(Outcome::NotFound) => "error: AUTH\n".to_owned(),
            Some(Outcome::Failed) => "error: INTERNAL\n".to_owned(),
            None => "error: the router stops\n".to_owned(),
        }
    }
}

/// What a line asks for, whoever has written it.
fn operation(command: &str, argument: &str) -> Result<Operation, &'static str> {
    let (recipient, reason) = argument.split_once(' ').unwrap_or((argument, ""));
    let id = id(recipient).ok_or("the id of a recipient is expected");
    match command {
        "block" => {
            let info = decode_slice::<BlockingInfo>(Version::default(), reason.trim().as_bytes());
            let info = info.map_err(
                |_| "expected `block <id> reason=spam|content[,notice={\"ttl\":seconds}]`",
            );
            Ok(Operation::Block(id?, info?))
        }
        _ => Ok(Operation::Delete(id?)),
    }
}

fn id(text: &str) -> Option<EntityId> {
    let bytes = parse_base64url_field(text.trim()).ok()?;
    EntityId::try_from(bytes.as_slice()).ok()
}
