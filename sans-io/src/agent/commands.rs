//! The commands on one connection.

use super::command::{
    CanAbort, Command, ConnectionStatistics, QueueStatus, ReceiveQueueStatistics, Reply,
    SendQueueStatistics, Subscribed,
};
use super::connection::{Caller, Question, Step, can_abort};
use super::error::AgentError;
use super::id::{CommandId, ConnectionId};
use super::store::record::{ReceiveRotation, ReceiveStatus, SendRotation, SendStatus};
use crate::wire::Large;

/// The connection that a command is for.
pub(super) const fn of_connection(command: &Command) -> Option<&ConnectionId> {
    match command {
        Command::Create { connection, .. }
        | Command::Prepare { connection, .. }
        | Command::Join { connection, .. } => connection.as_ref(),
        Command::Allow { connection, .. }
        | Command::Subscribe { connection }
        | Command::Send { connection, .. }
        | Command::Acknowledge { connection, .. }
        | Command::Switch { connection }
        | Command::AbortSwitch { connection }
        | Command::Synchronize { connection, .. }
        | Command::Suspend { connection }
        | Command::Delete { connection, .. }
        | Command::SetLink { connection, .. }
        | Command::DeleteLink { connection }
        | Command::Publish { connection, .. }
        | Command::Fetch { connection }
        | Command::QueueInfo { connection }
        | Command::ChangeUser { connection, .. }
        | Command::Statistics { connection }
        | Command::SecurityCode { connection } => Some(connection),
        Command::SetUser { .. }
        | Command::Users
        | Command::DeleteUser { .. }
        | Command::Accept { .. }
        | Command::Reject { .. }
        | Command::SubscribeAll { .. }
        | Command::Confirm { .. }
        | Command::OpenLink { .. }
        | Command::Connections { .. }
        | Command::ResolveName { .. }
        | Command::TestRouter { .. }
        | Command::RouterStatistics
        | Command::ResetStatistics
        | Command::SuspendAgent { .. }
        | Command::ResumeAgent
        | Command::Network(_) => None,
    }
}

/// Carries out a command on a connection that exists.
pub(super) fn command_of(step: &mut Step<'_>, id: CommandId, command: Command) {
    let done = match command {
        Command::Create { .. } | Command::Prepare { .. } => Err(AgentError::DuplicateConnection),
        Command::Publish {
            mode, receiving, ..
        } => match step.publish(Caller { command: id, mode }, receiving) {
            Ok(()) => return,
            Err(error) => Err(error),
        },
        Command::Fetch { .. } => match step.ask_queue(id, Question::Message) {
            Ok(()) => return,
            Err(error) => Err(error),
        },
        Command::QueueInfo { .. } => match step.ask_queue(id, Question::Info) {
            Ok(()) => return,
            Err(error) => Err(error),
        },
        Command::ChangeUser { user, .. } => step.change_user(user),
        Command::Join { mode, request, .. } => {
            return step.join_again(Caller { command: id, mode }, &request);
        }
        Command::Allow { name, info, .. } => match Large::try_from(info) {
            Ok(info) => step.allow(&name, info),
            Err(_) => Err(AgentError::Large {
                context: "info".into(),
            }),
        },
        Command::Subscribe { .. } => {
            step.subscribe();
            Ok(())
        }
        Command::Send {
            pq, flags, body, ..
        } => return step.send(id, pq, flags, body),
        Command::Acknowledge {
            message, receipt, ..
        } => return step.acknowledged(id, message, receipt),
        Command::Switch { .. } => step.switch(),
        Command::AbortSwitch { .. } => step.abort_switch(),
        Command::Synchronize { pq, force, .. } => step.synchronize(pq, force),
        Command::Suspend { .. } => step.suspend(),
        Command::Delete { waiting, .. } => {
            step.delete(waiting);
            Ok(())
        }
        Command::SetLink { data, .. } => return step.set_link(id, &data),
        Command::DeleteLink { .. } => return step.delete_link(id),
        Command::Statistics { .. } => {
            let statistics = Box::new(statistics(step));
            return step.reply(id, Ok(Reply::Statistics(statistics)));
        }
        Command::SecurityCode { .. } => {
            let ratchet = step.connection.ratchet.as_ref();
            let code = ratchet.map(|ratchet| ratchet.associated_data().security_code());
            let code = code.ok_or_else(|| AgentError::prohibited("no ratchet"));
            return step.reply(id, code.map(Reply::SecurityCode));
        }
        Command::SetUser { .. }
        | Command::Users
        | Command::DeleteUser { .. }
        | Command::Accept { .. }
        | Command::Reject { .. }
        | Command::SubscribeAll { .. }
        | Command::Confirm { .. }
        | Command::OpenLink { .. }
        | Command::Connections { .. }
        | Command::ResolveName { .. }
        | Command::TestRouter { .. }
        | Command::RouterStatistics
        | Command::ResetStatistics
        | Command::SuspendAgent { .. }
        | Command::ResumeAgent
        | Command::Network(_) => Err(AgentError::internal("not a command of a connection")),
    };
    step.reply(id, done.map(|()| Reply::Done));
}

fn statistics(step: &Step<'_>) -> ConnectionStatistics {
    let record = &step.connection.record;
    let receive = record.receive.iter().map(|queue| {
        let switch = match queue.rotation {
            Some(ReceiveRotation::ReplacedBy { phase, .. }) => Some(phase),
            Some(ReceiveRotation::Replaces { .. }) | None => None,
        };
        ReceiveQueueStatistics {
            router: queue.router.clone(),
            switch,
            can_abort: match switch.is_some_and(can_abort) {
                true => CanAbort::Yes,
                false => CanAbort::No,
            },
            status: match queue.status {
                ReceiveStatus::Creating | ReceiveStatus::Open => QueueStatus::New,
                ReceiveStatus::Securing { .. } => QueueStatus::Confirmed,
                ReceiveStatus::Secured => QueueStatus::Secured,
                ReceiveStatus::Active => QueueStatus::Active,
                ReceiveStatus::Suspending
                | ReceiveStatus::Suspended
                | ReceiveStatus::Deleting { .. } => QueueStatus::Disabled,
            },
            subscribed: match step.shared.index.get(&queue.router, &queue.recipient_id) {
                Some(_) => Subscribed::Yes,
                None => Subscribed::No,
            },
        }
    });
    let send = record.send.iter().map(|queue| SendQueueStatistics {
        router: queue.address.router.clone(),
        switch: match queue.rotation {
            Some(SendRotation::ReplacedBy { phase, .. }) => Some(phase),
            Some(SendRotation::Replaces { .. }) | None => None,
        },
        status: match queue.status {
            SendStatus::New | SendStatus::Contact => QueueStatus::New,
            SendStatus::Secured => QueueStatus::Secured,
            SendStatus::Confirmed => QueueStatus::Confirmed,
            SendStatus::Active => QueueStatus::Active,
            SendStatus::Gone => QueueStatus::Disabled,
        },
    });
    ConnectionStatistics {
        user: record.user,
        version: record.version,
        receive: receive.collect(),
        send: send.collect(),
        sync: record.sync.state(),
        outgoing: step.connection.outgoing.len(),
    }
}
