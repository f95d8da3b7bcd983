//! What the operator of an SMP router can ask on the control port.

pub(crate) mod command;
pub(crate) mod shown;

use std::sync::Arc;
use std::time::SystemTime;

use simplex_sans_io::smp::BlockingInfo;
use simplex_sans_io::smp::router::store::day;
use simplex_sans_io::smp::router::{Operation, Outcome};
use simplex_sans_io::time::UnixTime;
use simplex_sans_io::wire::EntityId;

use self::command::Command;
use self::shown::{csv, server_info, shown, sockets, stats};
use super::core::CoreHandle;
use super::settings::{BlockQuota, Control as Settings};
use crate::control::{Operator, Role, runtime, tasks};
use crate::listener::Sockets;

const HELP: &str = "commands: stats, stats-rts, clients, sockets, socket-threads, threads, server-info, delete, save, help, quit\n";

/// What the control port shows and does.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    pub(crate) settings: Settings,
    pub(crate) core: CoreHandle,
    pub(crate) sockets: Vec<(u16, Arc<Sockets>)>,
    pub(crate) blocked: Arc<Blocked>,
}

/// How many queues were blocked today.
#[derive(Debug, Default)]
pub(crate) struct Blocked(std::sync::Mutex<(i64, u32)>);

impl Blocked {
    /// Whether one more may be blocked today.
    fn allows(&self, quota: u32) -> bool {
        let mut blocked = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let today = day(UnixTime::from(SystemTime::now()));
        if blocked.0 != today {
            *blocked = (today, 0);
        }
        blocked.1 < quota
    }

    fn count(&self) {
        let mut blocked = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        blocked.1 = blocked.1.saturating_add(1);
    }
}

impl Operator for Control {
    const BANNER: &str = "SMP server control port";

    async fn execute(&self, role: &mut Role, line: &str) -> String {
        let command = match Command::parse(*role, line) {
            Ok(command) => command,
            Err(refused) => return refused.text().to_owned(),
        };
        let answer = match command {
            Command::Nothing => Some(String::new()),
            Command::Help => Some(HELP.to_owned()),
            Command::Authorize(password) => Some(role.authorize(
                &password,
                self.settings.admin_password.as_ref(),
                self.settings.user_password.as_ref(),
            )),
            Command::NotImplemented(command) => Some(format!("{command} not implemented\n")),
            Command::Runtime => Some(runtime()),
            Command::Tasks => Some(format!("Threads: {}\n", tasks())),
            Command::Sockets => Some(sockets(&self.sockets)),
            Command::Stats => self.stats(*role).await,
            Command::ServerInfo => self.server_info(*role).await,
            Command::Clients => self.clients().await,
            Command::Operate(operation) => self.operate(operation).await,
            Command::Block(id, info) => self.block(id, info).await,
        };
        answer.unwrap_or_else(|| "error: the router stops\n".to_owned())
    }
}

impl Control {
    async fn stats(&self, role: Role) -> Option<String> {
        let (gauges, counters) = self.core.read().await?;
        Some(stats(&gauges, &counters, role == Role::Admin))
    }

    async fn server_info(&self, role: Role) -> Option<String> {
        let (gauges, _) = self.core.read().await?;
        let (_, clients) = self.core.clients().await?;
        Some(server_info(&gauges, &clients, tasks(), role))
    }

    async fn clients(&self) -> Option<String> {
        let (now, clients) = self.core.clients().await?;
        Some(csv(now, &clients))
    }

    async fn operate(&self, operation: Operation) -> Option<String> {
        let outcome = self.core.operate(operation).await?;
        Some(shown(&outcome))
    }

    async fn block(&self, id: EntityId, info: BlockingInfo) -> Option<String> {
        let quota = match self.settings.block_quota {
            BlockQuota::Unlimited => u32::MAX,
            BlockQuota::Daily(quota) => quota,
            BlockQuota::Prohibited => 0,
        };
        if !self.blocked.allows(quota) {
            return Some(format!(
                "error: reached limit of {quota} queues blocked daily\n"
            ));
        }
        let outcome = self.core.operate(Operation::Block(id, info)).await?;
        if matches!(outcome, Outcome::Blocked(_)) {
            self.blocked.count();
        }
        Some(shown(&outcome))
    }
}
