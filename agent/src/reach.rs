//! Which routers sessions are opened with: the machine asks for no others, and a name that leads elsewhere is known when it is resolved.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use simplex_sans_io::agent::config::{Strangers, UserRouter};
use simplex_sans_io::drive::Reach;
use simplex_sans_io::smp::pool::UserId;
#[cfg(feature = "xftp")]
use simplex_sans_io::wire::XftpScheme;
use simplex_sans_io::wire::{Scheme, ServerAddress, SmpScheme};

/// The routers that users have chosen, of one protocol.
type Chosen<S> = Arc<Mutex<BTreeMap<UserId, Vec<UserRouter<S>>>>>;

/// Which routers are reached.
#[derive(Debug, Clone)]
pub(crate) struct Reachable {
    strangers: Strangers,
    smp: Chosen<SmpScheme>,
    #[cfg(feature = "xftp")]
    xftp: Chosen<XftpScheme>,
}

impl Reachable {
    pub(crate) fn new(strangers: Strangers) -> Self {
        Self {
            strangers,
            smp: Chosen::default(),
            #[cfg(feature = "xftp")]
            xftp: Chosen::default(),
        }
    }

    /// A user has chosen routers.
    pub(crate) fn choose(&self, user: UserId, routers: Vec<UserRouter>) {
        choose(&self.smp, user, routers);
    }

    /// A user has chosen routers for files.
    #[cfg(feature = "xftp")]
    pub(crate) fn choose_for_files(&self, user: UserId, routers: Vec<UserRouter<XftpScheme>>) {
        choose(&self.xftp, user, routers);
    }

    /// How far a router is looked for; none if it must not be asked at all.
    pub(crate) fn of(&self, user: UserId, router: &ServerAddress<SmpScheme>) -> Option<Reach> {
        reach(self.strangers, &self.smp, user, router)
    }

    /// The same of a router for files.
    #[cfg(feature = "xftp")]
    pub(crate) fn of_files(
        &self,
        user: UserId,
        router: &ServerAddress<XftpScheme>,
    ) -> Option<Reach> {
        reach(self.strangers, &self.xftp, user, router)
    }
}

fn choose<S: Scheme>(chosen: &Chosen<S>, user: UserId, routers: Vec<UserRouter<S>>) {
    let mut chosen = chosen.lock().unwrap_or_else(PoisonError::into_inner);
    chosen.insert(user, routers);
}

fn reach<S: Scheme>(
    strangers: Strangers,
    chosen: &Chosen<S>,
    user: UserId,
    router: &ServerAddress<S>,
) -> Option<Reach> {
    let chosen = chosen.lock().unwrap_or_else(PoisonError::into_inner);
    let chosen = chosen.get(&user).map_or(&[][..], Vec::as_slice);
    let is_chosen = Strangers::Never.allow(chosen, router);
    let reach = match strangers {
        Strangers::Public if !is_chosen => Reach::Public,
        Strangers::Anywhere | Strangers::Public | Strangers::Never => Reach::Anywhere,
    };
    strangers.allow(chosen, router).then_some(reach)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(hosts: &str) -> ServerAddress<SmpScheme> {
        let text = format!("smp://u2dS9sG8nMNURyZwqASV4yROM28Er0luVTx5X1CsMrU=@{hosts}");
        text.parse().unwrap()
    }

    fn reached(strangers: Strangers, hosts: &str) -> Option<Reach> {
        let reachable = Reachable::new(strangers);
        let own = UserRouter::new(address("192.168.1.1,own.example"));
        reachable.choose(UserId(1), vec![own]);
        reachable.of(UserId(1), &address(hosts))
    }

    #[test]
    fn routers_of_the_user_are_reached_wherever_they_are_and_others_as_is_allowed() {
        let cases = [
            (Strangers::Anywhere, "10.0.0.1", Some(Reach::Anywhere)),
            (Strangers::Public, "10.0.0.1", None),
            (Strangers::Public, "a.example,10.0.0.1", None),
            // What it is resolved to is seen then.
            (Strangers::Public, "a.example", Some(Reach::Public)),
            (Strangers::Public, "own.example", Some(Reach::Anywhere)),
            (Strangers::Public, "192.168.1.1", Some(Reach::Anywhere)),
            // Another port is another program.
            (Strangers::Public, "192.168.1.1:22", None),
            (Strangers::Never, "a.example", None),
            (Strangers::Never, "own.example,a.example", None),
            (Strangers::Never, "own.example", Some(Reach::Anywhere)),
        ];
        for (strangers, hosts, expected) in cases {
            assert_eq!(reached(strangers, hosts), expected, "{strangers:?} {hosts}");
        }
        // What one user has chosen another has not.
        let reachable = Reachable::new(Strangers::Never);
        reachable.choose(UserId(1), vec![UserRouter::new(address("own.example"))]);
        assert_eq!(reachable.of(UserId(2), &address("own.example")), None);
    }
}
