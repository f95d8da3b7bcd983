//! `smp-agent`: an agent for programs in any language, and for people with telnet, as lines of text.
//!
//! Clients connect to a port of this machine, where they have to know a token, or to a socket that only its owner may use.

mod cli;
mod execute;
mod files;
mod hub;
mod listen;
mod private;
mod rate;
mod session;

pub use self::cli::main;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use simplex_sans_io::agent::config::{Strangers, UserRouter};
use simplex_sans_io::agent::error::AgentError;
use simplex_sans_io::agent::id::ConnectionId;
use simplex_sans_io::agent::lines::role::Role;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::smp::pool::UserId;
use simplex_sans_io::wire::XftpScheme;
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use self::hub::Hub;
use self::rate::Rate;
use crate::handle::{Agent, Error};

/// Who may do what.
#[derive(Debug)]
enum Trust {
    /// Whoever can connect may do everything.
    Peer,
    /// What these may do, if they know the token.
    Tokens(Vec<(Role, Zeroizing<String>)>),
}

impl Trust {
    /// What somebody may do who knows this token, if it is one. How long it takes does not tell how much of it was right.
    fn role(&self, token: &[u8]) -> Option<Role> {
        let Self::Tokens(tokens) = self else {
            return Some(Role::Admin);
        };
        let known = tokens
            .iter()
            .map(|(role, known)| (*role, bool::from(known.as_bytes().ct_eq(token))));
        let known: Vec<_> = known.collect();
        let roles = known
            .into_iter()
            .filter_map(|(role, is)| is.then_some(role));
        roles.max()
    }
}

/// What all clients share.
#[derive(Debug, Clone)]
struct Shared {
    agent: Agent,
    hub: Hub,
    trust: Arc<Trust>,
    /// How often somebody may say a wrong token.
    failures: Arc<Mutex<Rate>>,
    /// How many clients there may be.
    places: Arc<Semaphore>,
    routers: Arc<[UserRouter]>,
    strangers: Strangers,
    /// Where files of clients are, and the routers for them, if there are to be any.
    files: Option<Arc<Files>>,
    /// The routers of each user.
    users: Arc<Mutex<BTreeMap<UserId, Vec<UserRouter>>>>,
    rng: Arc<Mutex<Rng>>,
    /// How many connections clients may make.
    rate: Arc<Mutex<Rate>>,
}

/// What clients may do with files.
#[derive(Debug)]
struct Files {
    /// What they may send is in it.
    directory: PathBuf,
    routers: Vec<UserRouter<XftpScheme>>,
}

impl Shared {
    /// A user who is there.
    fn user(&self, number: i64) -> Result<UserId, Error> {
        let user = UserId(number);
        let is_here = lock(&self.users).contains_key(&user);
        is_here.then_some(user).ok_or(AgentError::NoUser.into())
    }

    /// All users of earlier runs use the routers of this one; a first user is made if there is none.
    async fn introduce_all(&self) -> Result<(), Error> {
        for user in self.agent.users().await? {
            self.introduce(user).await?;
        }
        match lock(&self.users).is_empty() {
            true => {}
            false => return Ok(()),
        }
        self.new_user().await.map(drop)
    }

    async fn introduce(&self, user: UserId) -> Result<(), Error> {
        self.agent.set_user(user, self.routers.to_vec()).await?;
        lock(&self.users).insert(user, self.routers.to_vec());
        if let Some(files) = &self.files {
            let routers = files.routers.clone();
            self.agent.set_file_routers(user, routers).await?;
        }
        Ok(())
    }

    async fn set_routers(&self, user: UserId, routers: Vec<UserRouter>) -> Result<(), Error> {
        lock(&self.users).insert(user, routers.clone());
        self.agent.set_user(user, routers).await
    }

    fn routers_of(&self, user: UserId) -> Vec<UserRouter> {
        lock(&self.users).get(&user).cloned().unwrap_or_default()
    }

    async fn new_user(&self) -> Result<UserId, Error> {
        let last = lock(&self.users).keys().next_back().copied();
        let mut user = UserId(last.map_or(1, |last| last.0.saturating_add(1)));
        // One who leaves is still somebody.
        while let Err(error) = self.introduce(user).await {
            if !matches!(error, Error::Agent(AgentError::NoUser)) {
                return Err(error);
            }
            user = UserId(user.0.saturating_add(1));
        }
        Ok(user)
    }

    fn forget_user(&self, user: UserId) {
        lock(&self.users).remove(&user);
    }

    fn users(&self) -> Vec<UserId> {
        lock(&self.users).keys().copied().collect()
    }

    /// Whether one more connection may be made now.
    fn may_make(&self) -> bool {
        lock(&self.rate).take(std::time::Instant::now())
    }

    fn random_name(&self) -> String {
        ConnectionId::random(&mut lock(&self.rng)).to_string()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
