//! How routers are asked: in which session, and whether directly or through a proxy.
//!
//! ```text
//!   recipient's command ──────────────────────────────────────────────────────────────▶ direct
//!   sender's command ── Never ────────────────────────────────────────────────────────▶ direct
//!                    ── Unprotected, and the address is hidden otherwise ─────────────▶ direct
//!                    ── Unknown or Unprotected, and the user has the router ──────────▶ direct
//!                    ── otherwise: a proxy of another operator ── there is one ───────▶ proxy ── cannot reach it ──┐
//!                                                             └── there is none ──────────────────────────────────┤
//!                                  direct ◀── Allow, or AllowProtected and the address is hidden otherwise ───────┤
//!                                  the command waits ◀── otherwise ───────────────────────────────────────────────┘
//! ```

use std::sync::Arc;

use super::config::{Protection, ProxyFallback, ProxyMode, SessionMode, Use, UserRouter};
use super::connection::Task;
use super::error::AgentError;
use super::id::ConnectionId;
use super::machine::{Action, NameQuestion, OpenLink, RouterTest, Shared};
use super::queue::same_router;
use crate::crypto::AuthPrivateKey;
use crate::smp::client::{Request, RequestError, RequestId};
use crate::smp::error::{BrokerError, ErrorType, NetworkError, TransportError};
use crate::smp::pool::{Call, PoolError, SessionKey, UserId};
use crate::wire::{BasicAuth, EntityId, ServerAddress, SmpScheme, TransportHost};

/// What a router was asked, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) purpose: Purpose,
    pub(super) router: ServerAddress<SmpScheme>,
    pub(super) proxy: Option<ServerAddress<SmpScheme>>,
}

/// For whom a router was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A connection.
    Task(ConnectionId, Task),
    /// Whoever reads the data of a link.
    Link(Box<OpenLink>),
    /// Whoever asks for a name.
    Name(Box<NameQuestion>),
    /// Whoever tests a router.
    Test(Box<RouterTest>),
    /// Nobody any more: a queue that is made nevertheless is deleted.
    Unwanted(UserId, Box<AuthPrivateKey>),
    /// Nobody any more.
    Nobody,
}

/// Whether a command may go through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Directness {
    /// A recipient's: its router knows the recipient anyway.
    Recipient,
    /// A sender's.
    Sender,
    /// A sender's that the proxy could not forward.
    AfterProxy,
}

enum Route {
    Direct,
    Through(UserRouter),
}

impl Asked {
    pub(super) const fn task(
        connection: ConnectionId,
        task: Task,
        router: ServerAddress<SmpScheme>,
    ) -> Self {
        Self {
            purpose: Purpose::Task(connection, task),
            router,
            proxy: None,
        }
    }

    /// Why there is no response, in the words of agents.
    pub(super) fn error(&self, error: PoolError) -> AgentError {
        let reached = self.proxy.as_ref().unwrap_or(&self.router);
        let broker = |router: &ServerAddress<SmpScheme>, error| AgentError::Broker {
            router: Box::new(router.clone()),
            error: Box::new(error),
        };
        match error {
            PoolError::Unreachable(error) => self.of_proxy(error),
            PoolError::Relay(error) => self.of_proxy(BrokerError::Transport { error }),
            PoolError::Busy | PoolError::Ended => broker(reached, failed()),
            PoolError::Request(error) => match error {
                RequestError::Protocol(error @ ErrorType::Proxy { .. }) if self.proxy.is_some() => {
                    self.proxied(error)
                }
                RequestError::Protocol(error) => AgentError::Smp {
                    router: Box::new(self.router.clone()),
                    error: Box::new(error),
                },
                RequestError::TimedOut => broker(reached, BrokerError::Timeout),
                RequestError::Disconnected | RequestError::NotAccepted => broker(reached, failed()),
                RequestError::Unparsable(error) => broker(
                    reached,
                    BrokerError::Response {
                        error: error.to_string().as_str().into(),
                    },
                ),
                RequestError::Unexpected(tag) => {
                    broker(reached, BrokerError::Unexpected { error: tag.into() })
                }
                RequestError::TooLarge => AgentError::Large {
                    context: "command".into(),
                },
                RequestError::NoSessionKey => broker(
                    reached,
                    BrokerError::Transport {
                        error: TransportError::NoServerAuth,
                    },
                ),
                RequestError::NoService => broker(reached, BrokerError::NoService),
                // A proxy that is too old to be one cannot reach any router.
                RequestError::Version(_) => self.of_proxy(BrokerError::Transport {
                    error: TransportError::Version,
                }),
            },
        }
    }

    /// The router that was asked first cannot be reached.
    fn of_proxy(&self, error: BrokerError) -> AgentError {
        match &self.proxy {
            None => AgentError::Broker {
                router: Box::new(self.router.clone()),
                error: Box::new(error),
            },
            Some(_) => self.proxied(ErrorType::Proxy {
                error: crate::smp::ProxyError::Broker { error },
            }),
        }
    }

    fn proxied(&self, error: ErrorType) -> AgentError {
        AgentError::Proxy {
            proxy: Box::new(self.proxy.clone().unwrap_or_else(|| self.router.clone())),
            relay: Box::new(self.router.clone()),
            error: Box::new(error),
        }
    }
}

const fn failed() -> BrokerError {
    BrokerError::Network {
        error: NetworkError::Failed,
    }
}

impl Shared {
    /// Asks a router for something, when everything before is stored.
    pub(super) fn ask(
        &mut self,
        user: UserId,
        router: &ServerAddress<SmpScheme>,
        request: Request,
        directness: Directness,
        asked: Asked,
        actions: &mut Vec<Action>,
    ) -> Result<RequestId, AgentError> {
        self.may_reach(user, router)?;
        let route = self.route(user, router, directness)?;
        let id = self.next_request();
        let entity = request.entity_id.clone();
        let request = Request { id, ..request };
        let (call, proxy) = match route {
            Route::Direct => {
                let session = self.session(user, router, &entity);
                let requests = vec![request];
                (Call::Send { session, requests }, None)
            }
            Route::Through(proxy) => {
                let call = Call::Forward {
                    proxy: self.session(user, &proxy.address, &entity),
                    relay: router.clone(),
                    password: proxy.password,
                    request: Box::new(request),
                };
                (call, Some(proxy.address))
            }
        };
        self.requests.insert(id, Asked { proxy, ..asked });
        actions.push(Action::Network(call));
        Ok(id)
    }

    /// Whether a router may be asked for anything, which a peer may have named.
    pub(super) fn may_reach(
        &self,
        user: UserId,
        router: &ServerAddress<SmpScheme>,
    ) -> Result<(), AgentError> {
        let chosen = self.users.get(&user).map_or(&[][..], Vec::as_slice);
        match self.config.network.strangers.allow(chosen, router) {
            true => Ok(()),
            false => Err(AgentError::prohibited("a router that may not be reached")),
        }
    }

    /// Deletes a queue that nobody knows of.
    pub(super) fn delete_orphan(
        &mut self,
        user: UserId,
        router: &ServerAddress<SmpScheme>,
        recipient_id: &EntityId,
        key: &AuthPrivateKey,
        actions: &mut Vec<Action>,
    ) {
        let command = crate::smp::Command::Del;
        let request = Request::new(RequestId(0), recipient_id.clone(), command);
        let request = request.authorized_by(Arc::new(key.clone()));
        let asked = Asked {
            purpose: Purpose::Nobody,
            router: router.clone(),
            proxy: None,
        };
        let directness = Directness::Recipient;
        // If it cannot be deleted now, nobody will.
        self.ask(user, router, request, directness, asked, actions)
            .ok();
    }

    /// The session with a router.
    pub(super) fn session(
        &self,
        user: UserId,
        router: &ServerAddress<SmpScheme>,
        entity: &EntityId,
    ) -> SessionKey {
        let scope = match self.config.network.sessions {
            SessionMode::User => None,
            SessionMode::Entity => Some(entity.clone()),
        };
        SessionKey {
            user,
            router: router.clone(),
            scope,
        }
    }

    fn route(
        &mut self,
        user: UserId,
        router: &ServerAddress<SmpScheme>,
        directness: Directness,
    ) -> Result<Route, AgentError> {
        match directness {
            Directness::Recipient => Ok(Route::Direct),
            Directness::Sender if !self.wants_proxy(user, router) => Ok(Route::Direct),
            Directness::AfterProxy if self.may_fall_back(router) => Ok(Route::Direct),
            Directness::Sender | Directness::AfterProxy => match self.choose_proxy(user, router) {
                Some(proxy) => Ok(Route::Through(proxy)),
                None if self.may_fall_back(router) => Ok(Route::Direct),
                None => Err(AgentError::NoRouters {
                    context: "proxy".into(),
                }),
            },
        }
    }

    pub(super) fn wants_proxy(&self, user: UserId, router: &ServerAddress<SmpScheme>) -> bool {
        let unknown = || {
            let known = self.users.get(&user).into_iter().flatten();
            let mut hosts = known.flat_map(|known| known.address.hosts());
            !hosts.any(|host| router.hosts().contains(host))
        };
        match self.config.network.proxy {
            ProxyMode::Always => true,
            ProxyMode::Unknown => unknown(),
            ProxyMode::Unprotected => !self.is_protected(router) && unknown(),
            ProxyMode::Never => false,
        }
    }

    /// Whether the router does not see the address of this machine.
    fn is_protected(&self, router: &ServerAddress<SmpScheme>) -> bool {
        match self.config.network.protection {
            Protection::Socks => true,
            Protection::Onion => router.hosts().iter().any(TransportHost::is_onion),
            Protection::None => false,
        }
    }

    fn may_fall_back(&self, router: &ServerAddress<SmpScheme>) -> bool {
        match self.config.network.fallback {
            ProxyFallback::Allow => true,
            ProxyFallback::AllowProtected => self.is_protected(router),
            ProxyFallback::Prohibit => false,
        }
    }

    /// Whether a router is to be asked directly now, because the proxy could not reach it.
    pub(super) fn goes_directly<T>(
        &mut self,
        user: UserId,
        asked: &Asked,
        result: &Result<T, AgentError>,
    ) -> bool {
        let unreached = result.as_ref().is_err_and(AgentError::is_of_host);
        if !unreached || asked.proxy.is_none() {
            return false;
        }
        self.forget_proxy(user, &asked.router);
        self.may_fall_back(&asked.router)
    }

    /// Whether anything is ever asked directly that a proxy could not forward.
    pub(super) fn falls_back(&self) -> bool {
        self.config.network.fallback != ProxyFallback::Prohibit
    }

    /// A proxy of the user for a router: the same one for as long as it works.
    fn choose_proxy(
        &mut self,
        user: UserId,
        router: &ServerAddress<SmpScheme>,
    ) -> Option<UserRouter> {
        let routers = self.users.get(&user)?;
        let operator = operator_of(routers, router);
        let suitable = |candidate: &&UserRouter| {
            candidate.roles.proxy == Use::Yes
                && !share_router(&candidate.address, router)
                && (operator.is_none() || candidate.operator != operator)
        };
        let place = (user, router.clone());
        if let Some(chosen) = self.proxies.get(&place) {
            let mut known = routers.iter().filter(suitable);
            if let Some(proxy) = known.find(|known| known.address == *chosen) {
                return Some(proxy.clone());
            }
        }
        let candidates: Vec<_> = routers.iter().filter(suitable).collect();
        let proxy = (*pick(&candidates, &mut self.rng)?).clone();
        self.proxies.insert(place, proxy.address.clone());
        Some(proxy)
    }

    /// Another proxy is to be tried the next time.
    pub(super) fn forget_proxy(&mut self, user: UserId, router: &ServerAddress<SmpScheme>) {
        self.proxies.remove(&(user, router.clone()));
    }

    /// A router for a new queue: if possible none of these, and of none of their operators.
    pub(super) fn choose_router(
        &mut self,
        user: UserId,
        avoid: &[ServerAddress<SmpScheme>],
    ) -> Result<ServerAddress<SmpScheme>, AgentError> {
        let routers = self.users.get(&user).ok_or(AgentError::NoUser)?;
        let storing = routers
            .iter()
            .filter(|known| known.roles.storage == Use::Yes);
        let storing: Vec<_> = storing.collect();
        let operators: Vec<_> = avoid
            .iter()
            .filter_map(|address| operator_of(routers, address))
            .collect();
        let is_other =
            |known: &&&UserRouter| !avoid.iter().any(|a| share_router(a, &known.address));
        let other_operator =
            |known: &&&UserRouter| known.operator.is_none_or(|o| !operators.contains(&o));
        let others: Vec<_> = storing.iter().filter(is_other).copied().collect();
        let best: Vec<_> = others.iter().filter(other_operator).copied().collect();
        let chosen = [best, others, storing]
            .into_iter()
            .find(|candidates| !candidates.is_empty())
            .and_then(|candidates| pick(&candidates, &mut self.rng).map(|r| r.address.clone()));
        chosen.ok_or(AgentError::NoRouters {
            context: "storage".into(),
        })
    }

    /// The password of a user's router.
    pub(super) fn password(
        &self,
        user: UserId,
        router: &ServerAddress<SmpScheme>,
    ) -> Option<BasicAuth> {
        let mut routers = self.users.get(&user)?.iter();
        routers
            .find(|known| same_router(&known.address, router))?
            .password
            .clone()
    }
}

/// Whether two addresses may lead to one router: one of them may name a host less.
fn share_router(a: &ServerAddress<SmpScheme>, b: &ServerAddress<SmpScheme>) -> bool {
    a.port() == b.port() && share_host(a, b)
}

fn share_host(a: &ServerAddress<SmpScheme>, b: &ServerAddress<SmpScheme>) -> bool {
    a.hosts().iter().any(|host| b.hosts().contains(host))
}

fn operator_of(routers: &[UserRouter], router: &ServerAddress<SmpScheme>) -> Option<u32> {
    routers
        .iter()
        .find(|known| share_host(&known.address, router))
        .and_then(|known| known.operator)
}

pub(super) fn pick<'a>(
    candidates: &[&'a UserRouter],
    rng: &mut crate::rng::Rng,
) -> Option<&'a UserRouter> {
    let count = u32::try_from(candidates.len()).ok()?;
    let index = usize::try_from(rng.below(count)).ok()?;
    candidates.get(index).copied()
}
