//! A client's session: reads transmissions, carries them out one after another, and tells what happens meanwhile.

use std::collections::BTreeSet;
use std::io;
use std::pin::pin;
use std::time::Duration;

use simplex_sans_io::agent::event::EventContent;
use simplex_sans_io::agent::id::ConnectionId;
use subtle::ConstantTimeEq as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::execute::{After, Executed, Session};
use super::hub::{ClientId, Told, question};
use super::{Shared, Trust};
use simplex_sans_io::agent::lines::command::Command;
use simplex_sans_io::agent::lines::text::{self, Level, Said};
use simplex_sans_io::agent::lines::{Broken, Lines, Transmission};

/// How long somebody may take to say who it is.
const AUTH: Duration = Duration::from_secs(10);

/// How long a transmission may take from its first byte to its last: people type.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long a client may take nothing.
const STALL: Duration = Duration::from_secs(60);

/// Serves a client to its end.
pub(super) async fn serve<S>(stream: S, shared: Shared, trust: Trust) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite,
{
    let (reader, writer) = tokio::io::split(stream);
    let mut connection = Connection {
        reader: pin!(reader),
        writer: pin!(writer),
        lines: Lines::default(),
        level: Level::L5,
        down: BTreeSet::new(),
    };
    let welcome = format!("Welcome to SMP agent v{}\r\n", env!("CARGO_PKG_VERSION"));
    connection.write(welcome.as_bytes()).await?;
    if trust == Trust::Token {
        match timeout(AUTH, connection.authenticate(&shared)).await {
            Ok(Ok(true)) => {}
            Ok(known) => return known.map(|_| ()),
            Err(_) => return Ok(()),
        }
    }
    let (client, told) = shared.hub.enter();
    let served = connection.converse(&shared, client, told).await;
    shared.hub.leave(client);
    served
}

struct Connection<R, W> {
    reader: R,
    writer: W,
    lines: Lines,
    level: Level,
    /// Connections of which DOWN was told: UP is told of no others, as it was always.
    down: BTreeSet<ConnectionId>,
}

enum Next {
    Transmission(Box<Transmission>),
    Broken(Broken),
    End,
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "all other events are of one connection"
)]
impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Connection<R, W> {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = async {
            self.writer.write_all(bytes).await?;
            self.writer.flush().await
        };
        timeout(STALL, written).await?
    }

    async fn say(&mut self, corr_id: &str, entity: &str, said: &Said) -> io::Result<()> {
        self.write(&said.transmission(corr_id, entity)).await
    }

    /// The next transmission.
    ///
    /// Cancel safety: a future that is dropped before it is done keeps what was read.
    async fn next(&mut self) -> io::Result<Next> {
        loop {
            match self.lines.transmission() {
                Ok(Some(transmission)) => return Ok(Next::Transmission(Box::new(transmission))),
                Ok(None) => {}
                Err(broken) => return Ok(Next::Broken(broken)),
            }
            let mut buffer = [0; 4096];
            let count = match self.lines.is_in_transmission() {
                true => timeout(PATIENCE, self.reader.read(&mut buffer)).await??,
                false => self.reader.read(&mut buffer).await?,
            };
            match buffer.get(..count) {
                Some([]) | None => return Ok(Next::End),
                Some(bytes) => self.lines.push(bytes),
            }
        }
    }

    /// One attempt: whoever does not know the token is told nothing.
    async fn authenticate(&mut self, shared: &Shared) -> io::Result<bool> {
        let Next::Transmission(transmission) = self.next().await? else {
            return Ok(false);
        };
        let command = &transmission.command;
        let (Ok(Command::Auth), Some(given)) = (&command.command, &command.body) else {
            return Ok(false);
        };
        let known: bool = shared.token.as_bytes().ct_eq(given).into();
        if known {
            let said = Said::line("OK");
            self.say(&transmission.corr_id, "", &said).await?;
        }
        Ok(known)
    }

    async fn converse(
        &mut self,
        shared: &Shared,
        client: ClientId,
        mut told: mpsc::Receiver<Told>,
    ) -> io::Result<()> {
        let mut session = Session::new(shared.clone(), client);
        loop {
            let next = tokio::select! {
                told = told.recv() => match told {
                    Some(told) => {
                        self.tell(shared, client, told).await?;
                        continue;
                    }
                    None => return Ok(()),
                },
                next = self.next() => next?,
            };
            let transmission = match next {
                Next::Transmission(transmission) => *transmission,
                Next::Broken(Broken::Stranger) | Next::End => return Ok(()),
                Next::Broken(Broken::Answered {
                    corr_id,
                    entity,
                    error,
                }) => {
                    let said = Said::line(format!("ERR {error}"));
                    return self.say(&corr_id, &entity, &said).await;
                }
            };
            let corr_id = transmission.corr_id.clone();
            let mut execution = Box::pin(session.execute(transmission));
            let executed = loop {
                tokio::select! {
                    executed = &mut execution => break executed,
                    told = told.recv() => match told {
                        Some(told) => self.tell(shared, client, told).await?,
                        None => return Ok(()),
                    },
                }
            };
            drop(execution);
            let Executed {
                entity,
                said,
                failed,
                after,
            } = executed;
            if let After::Level(level) = after {
                self.level = level;
                session.level = level;
            }
            self.say(&corr_id, &entity, &said).await?;
            for (entity, said) in failed {
                self.say("", &entity, &said).await?;
            }
            if after == After::Quit {
                return Ok(());
            }
        }
    }

    /// Tells DOWN or UP of some connections.
    async fn say_of(&mut self, owned: &[ConnectionId], said: &Said) -> io::Result<()> {
        if self.level == Level::L0 {
            let tag = said.line.split(' ').next().unwrap_or_default();
            for connection in owned {
                self.say("", &connection.to_string(), &Said::line(tag))
                    .await?;
            }
        } else if !owned.is_empty() {
            let said = Said::line(text::with_connections(&said.line, owned));
            self.say("", "", &said).await?;
        }
        Ok(())
    }

    /// Tells an event; once it is written, it need not be told again.
    async fn tell(&mut self, shared: &Shared, client: ClientId, told: Told) -> io::Result<()> {
        let (event, statistics) = told;
        let entity = match (&event.connection, &event.content) {
            (Some(connection), _) => connection.to_string(),
            (None, EventContent::File { file, .. }) => file.to_string(),
            (None, _) => String::new(),
        };
        for said in text::events(&event.content, statistics.as_deref(), self.level) {
            match &event.content {
                EventContent::Down { connections, .. } => {
                    let owned = shared.hub.owned(client, connections);
                    let owned: Vec<ConnectionId> = owned.into_iter().cloned().collect();
                    self.down.extend(owned.iter().cloned());
                    self.say_of(&owned, &said).await?;
                }
                EventContent::Up { connections, .. } => {
                    let owned = shared.hub.owned(client, connections).into_iter();
                    let back = owned.filter(|connection| self.down.remove(*connection));
                    let back: Vec<ConnectionId> = back.cloned().collect();
                    self.say_of(&back, &said).await?;
                }
                _ => self.say("", &entity, &said).await?,
            }
        }
        // Clients of that time know no receipts, which would wait for them for ever.
        if let (Level::L0, EventContent::Receipts { meta, .. }, Some(connection)) =
            (self.level, &event.content, &event.connection)
        {
            let acknowledged = shared.agent.acknowledge(connection, meta.message, None);
            acknowledged.await.ok();
        }
        if let Some(id) = event.id
            && question(&event.content).is_none()
        {
            // An agent that has ended tells the event again when it is started.
            shared.agent.confirm(id).await.ok();
        }
        Ok(())
    }
}
