//! Who may do what: not every program that uses an agent has to be able to do everything.

use super::command::Command;

/// What a client may do. Whoever may do more may do all that those before may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Receive.
    Read,
    /// Connect, send, and all else that is about connections and files.
    User,
    /// Change users, routers and the network, and what is about all connections.
    Admin,
}

impl Command {
    /// Who may give it.
    #[must_use]
    pub const fn least_role(&self) -> Role {
        match self {
            Self::Auth
            | Self::Version(_)
            | Self::Ping
            | Self::Quit
            | Self::Users
            | Self::Subscribe
            | Self::SubscribeMany(_)
            | Self::SubscribeAll(_)
            | Self::Fetch
            | Self::Acknowledge(_)
            | Self::Check
            | Self::Code
            | Self::FromAgent => Role::Read,
            Self::User(_)
            | Self::New(_)
            | Self::Join(_)
            | Self::Let(_)
            | Self::Accept { .. }
            | Self::Reject(_)
            | Self::Send { .. }
            | Self::Switch
            | Self::AbortSwitch
            | Self::Off
            | Self::Delete { .. }
            | Self::Synchronize { .. }
            | Self::SetLink { .. }
            | Self::DeleteLink
            | Self::GetLink(_)
            | Self::Name(_)
            | Self::SendFile { .. }
            | Self::ReceiveFile { .. }
            | Self::DeleteFile { .. } => Role::User,
            Self::NewUser
            | Self::DeleteUser(_)
            | Self::Routers(_)
            | Self::FileRouters(_)
            | Self::SetRouters(_)
            | Self::TestRouter(_)
            | Self::Network(_)
            | Self::QueueInfo => Role::Admin,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::lines::command::Line;

    #[test]
    fn each_command_is_for_those_who_may_do_as_much() {
        let cases = [
            ("SUB", Role::Read),
            ("SUBALL", Role::Read),
            ("ACK 4 :", Role::Read),
            ("CHK", Role::Read),
            ("NEW T INV", Role::User),
            ("SEND :x", Role::User),
            ("DEL", Role::User),
            ("OFF", Role::User),
            ("FSND :x", Role::User),
            ("USER 1", Role::User),
            ("USER NEW", Role::Admin),
            ("USER DEL 1", Role::Admin),
            ("SRV smp", Role::Admin),
            ("SRV TEST smp://YQ==@127.0.0.1", Role::Admin),
            ("NET online=F", Role::Admin),
            ("QINF", Role::Admin),
        ];
        for (line, role) in cases {
            let (parsed, _) = Line::parse(line.as_bytes()).unwrap();
            assert_eq!(parsed.command.unwrap().least_role(), role, "{line}");
        }
        assert!(Role::Read < Role::User && Role::User < Role::Admin);
    }
}
