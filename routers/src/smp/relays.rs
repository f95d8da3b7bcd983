//! The proxy role: sessions with relays, for the commands that clients want forwarded.

use simplex_runtime_tokio::Tokio;
use simplex_sans_io::drive::{
    Capacity, Receiver, Sender, SmpConnectError, SmpOptions, drive_pool, mailbox,
};
use simplex_sans_io::machine::Machine as _;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::smp::handshake::Peer;
use simplex_sans_io::smp::pool::{self, Call, Event, Pool, SessionKey};
use simplex_sans_io::smp::router::proxy::{Action, Input, Proxy};
use simplex_sans_io::smp::router::{self, ProxyRequest, Ticket};
use simplex_sans_io::socks::{Route, Target};
use simplex_sans_io::time::Now;
use simplex_sans_io::wire::{Scheme as _, SmpScheme, TransportHost};
use tokio::sync::mpsc;

use super::core::{CoreHandle, Message, answered};
use super::settings::{HostMode, Proxy as Settings, SocksMode};
use crate::ini::Switch;

/// Runs until the core asks no more.
pub(crate) async fn run(
    settings: Settings,
    network: Tokio,
    mut rng: Rng,
    core: CoreHandle,
    asked: mpsc::UnboundedReceiver<(Ticket, ProxyRequest)>,
) {
    let (calls, events, mailbox) = mailbox(Capacity::default());
    let relays = Relays {
        proxy: Proxy::new(settings.own_domains.clone(), rng.fork()),
        core,
        calls,
    };
    let options = move |session: &SessionKey| options(&settings, session);
    let pool = Pool::new(pool::Config::default());
    tokio::join!(
        relays.run(asked, events),
        drive_pool(pool, network, options, mailbox, rng)
    );
}

struct Relays {
    proxy: Proxy,
    core: CoreHandle,
    calls: Sender<Call>,
}

impl Relays {
    async fn run(
        mut self,
        mut asked: mpsc::UnboundedReceiver<(Ticket, ProxyRequest)>,
        mut events: Receiver<Event>,
    ) {
        loop {
            let input = tokio::select! {
                asked = asked.recv() => match asked {
                    Some((ticket, request)) => Input::Ask(ticket, request),
                    None => return,
                },
                event = events.next() => match event {
                    Some(event) => Input::Pool(event),
                    None => return,
                },
            };
            let Ok(()) = self.proxy.handle(Now::START, input);
            if let Some(counters) = self.proxy.take_counters() {
                self.core
                    .tell(Message::Input(router::Input::Counted(counters)));
            }
            while let Some(action) = self.proxy.poll() {
                match action {
                    Action::Answer(ticket, message) => answered(&self.core, ticket, message),
                    // The core bounds how many commands are forwarded; waiting here would keep the pool from telling us anything.
                    Action::Pool(call) => {
                        self.calls.push(call).ok();
                    }
                }
            }
        }
    }
}

fn options(settings: &Settings, session: &SessionKey) -> Result<SmpOptions, SmpConnectError> {
    let router = &session.router;
    let host = host(settings, router.hosts()).ok_or(SmpConnectError::NoHost)?;
    let through = match (&settings.socks, settings.socks_mode) {
        (Some(socks), SocksMode::Always) => Some(socks),
        (Some(socks), SocksMode::Onion) if host.is_onion() => Some(socks),
        (Some(_) | None, _) => None,
    };
    let target = Target {
        host: host.clone(),
        port: router.port().unwrap_or(SmpScheme::PORT),
    };
    let route = match through {
        None => Route::Direct(target),
        Some(socks) => Route::Through {
            proxy: socks.target.clone(),
            authentication: socks.authentication(&host.to_string()),
            target,
        },
    };
    let mut options = SmpOptions::with(route, router)?;
    options.session.handshake.peer = Peer::Proxy;
    Ok(options)
}

/// A host of the kind that is wanted; another one where there is none, unless only that kind is. Without a SOCKS proxy nobody is asked
/// where an onion host is.
fn host<'a>(settings: &Settings, hosts: &'a [TransportHost]) -> Option<&'a TransportHost> {
    let public = hosts.iter().find(|host| !host.is_onion());
    let onion = hosts
        .iter()
        .find(|host| host.is_onion() && settings.socks.is_some());
    let (wanted, other) = match settings.host_mode {
        HostMode::Public => (public, onion),
        HostMode::Onion => (onion, public),
    };
    match settings.required_host_mode {
        Switch::On => wanted,
        Switch::Off => wanted.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simplex_sans_io::smp::pool::UserId;

    fn session(hosts: &str) -> SessionKey {
        let address = format!("smp://u2dS9sG8nMNURyZwqASV4yROM28Er0luVTx5X1CsMrU=@{hosts}");
        SessionKey {
            user: UserId(0),
            router: address.parse().unwrap(),
            scope: None,
        }
    }

    const ONION: &str = "o5vmywmrnaxalvz6wi3zicyftgio6psuvyniis6gco6bp6ekl4cqj4id.onion";

    #[test]
    fn public_hosts_are_reached_straight_and_onion_hosts_through_the_proxy() {
        let mut settings = Settings::default();
        let both = session(&format!("{ONION},smp.example.com:7001"));
        let direct = options(&settings, &both).unwrap();
        assert!(
            matches!(&direct.route, Route::Direct(target) if target.port == 7001 && !target.host.is_onion())
        );
        assert_eq!(direct.session.handshake.peer, Peer::Proxy);
        let onion = session(ONION);
        assert!(matches!(
            options(&settings, &onion),
            Err(SmpConnectError::NoHost)
        ));
        settings.socks = Some("localhost:9050".parse().unwrap());
        assert!(matches!(
            options(&settings, &onion).unwrap().route,
            Route::Through { .. }
        ));
        assert!(matches!(
            options(&settings, &both).unwrap().route,
            Route::Direct(_)
        ));
        settings.socks_mode = SocksMode::Always;
        assert!(matches!(
            options(&settings, &session("smp.example.com"))
                .unwrap()
                .route,
            Route::Through { .. }
        ));
    }

    #[test]
    fn a_relay_is_reached_at_the_kind_of_host_that_is_wanted() {
        let mut settings = Settings {
            socks: Some("localhost:9050".parse().unwrap()),
            host_mode: HostMode::Onion,
            ..Settings::default()
        };
        let both = session(&format!("{ONION},smp.example.com"));
        let public = session("smp.example.com");
        let is_onion = |options: SmpOptions| match options.route {
            Route::Direct(target) | Route::Through { target, .. } => target.host.is_onion(),
        };
        assert!(is_onion(options(&settings, &both).unwrap()));
        assert!(!is_onion(options(&settings, &public).unwrap()));
        settings.required_host_mode = Switch::On;
        assert!(matches!(
            options(&settings, &public),
            Err(SmpConnectError::NoHost)
        ));
        settings.host_mode = HostMode::Public;
        assert!(!is_onion(options(&settings, &both).unwrap()));
        assert!(matches!(
            options(&settings, &session(ONION)),
            Err(SmpConnectError::NoHost)
        ));
    }
}
