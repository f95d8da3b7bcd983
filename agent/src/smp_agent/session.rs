//! A client's session: reads transmissions, carries them out one after another, and tells what happens meanwhile.

use std::collections::BTreeSet;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use simplex_sans_io::agent::event::EventContent;
use simplex_sans_io::agent::id::ConnectionId;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::execute::{After, Executed, Session};
use super::hub::{ClientId, Mail, Told, question};
use super::{Shared, Trust, lock};
use simplex_sans_io::agent::lines::command::Command;
use simplex_sans_io::agent::lines::role::Role;
use simplex_sans_io::agent::lines::text::{self, Level, Said};
use simplex_sans_io::agent::lines::{Broken, Lines, Transmission};

/// How long somebody may take to say who it is.
const AUTH: Duration = Duration::from_secs(10);

/// How long a transmission may take from its first byte to its last: people type.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long a client may take nothing.
const STALL: Duration = Duration::from_secs(60);

/// How long somebody who does not know the token waits to hear that.
const REGRET: Duration = Duration::from_secs(1);

/// The most that somebody has to say who is not known yet.
const INTRODUCTION: usize = 4096;

/// Serves a client to its end. As long as it is not known it takes the place of a stranger.
pub(super) async fn serve<S>(
    stream: S,
    shared: Shared,
    place: OwnedSemaphorePermit,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite,
{
    let (reader, writer) = tokio::io::split(stream);
    let mut connection = Connection {
        reader: pin!(reader),
        writer: pin!(writer),
        lines: Lines::default(),
        begun: None,
        level: Level::L5,
        down: BTreeSet::new(),
    };
    let welcome = format!("Welcome to SMP agent v{}\r\n", env!("CARGO_PKG_VERSION"));
    connection.write(welcome.as_bytes()).await?;
    let known = match &*shared.trust {
        Trust::Peer => Some((String::new(), Role::Admin)),
        Trust::Tokens(_) => match timeout(AUTH, connection.introduction()).await {
            Ok(introduction) => known(&shared, introduction?).await,
            Err(_) => None,
        },
    };
    let Some((corr_id, role)) = known else {
        return Ok(());
    };
    let Ok(_own_place) = Arc::clone(&shared.places).try_acquire_owned() else {
        let said = Said::line("ERR CMD PROHIBITED too many clients");
        return connection.say(&corr_id, "", &said).await;
    };
    drop(place);
    if let Trust::Tokens(_) = &*shared.trust {
        connection.say(&corr_id, "", &Said::line("OK")).await?;
    }
    let (client, told) = shared.hub.enter();
    let served = connection.converse(&shared, (client, role), told).await;
    shared.hub.leave(client);
    served
}

/// Who knows a token, and by what it was said. Whoever does not is told nothing, after a while; if that happens too often, nobody is known for
/// the rest of a minute.
async fn known(shared: &Shared, introduction: Option<Transmission>) -> Option<(String, Role)> {
    let Transmission {
        corr_id, command, ..
    } = introduction?;
    let (Ok(Command::Auth), Some(token)) = (command.command, command.body) else {
        return None;
    };
    let may_try = lock(&shared.failures).may_take(Instant::now().into_std());
    let role = shared.trust.role(&token).filter(|_| may_try);
    if role.is_none() {
        if may_try {
            tracing::warn!("somebody does not know the token");
            lock(&shared.failures).take(Instant::now().into_std());
        }
        sleep(REGRET).await;
    }
    role.map(|role| (corr_id, role))
}

struct Connection<R, W> {
    reader: R,
    writer: W,
    lines: Lines,
    /// When the transmission has begun that is not complete.
    begun: Option<Instant>,
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
    /// Cancel safety: a future that is dropped before it is done keeps what was read, and since when it is not complete.
    async fn next(&mut self) -> io::Result<Next> {
        loop {
            match self.lines.transmission() {
                Ok(Some(transmission)) => {
                    self.begun = None;
                    return Ok(Next::Transmission(Box::new(transmission)));
                }
                Ok(None) => {}
                Err(broken) => return Ok(Next::Broken(broken)),
            }
            if self.read().await? == 0 {
                return Ok(Next::End);
            }
        }
    }

    /// How much more there is to read, which is waited for: not for ever, once a transmission has begun.
    async fn read(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 4096];
        let count = match self.lines.is_in_transmission() {
            true => {
                let begun = *self.begun.get_or_insert_with(Instant::now);
                timeout_at(begun + PATIENCE, self.reader.read(&mut buffer)).await??
            }
            false => self.reader.read(&mut buffer).await?,
        };
        self.lines.push(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }

    /// The first transmission, in which somebody says who it is. Nothing else is listened to, and nothing long.
    async fn introduction(&mut self) -> io::Result<Option<Transmission>> {
        loop {
            match self.lines.transmission() {
                Ok(Some(transmission)) => return Ok(Some(transmission)),
                Ok(None) if self.lines.waiting() <= INTRODUCTION => {}
                Ok(None) | Err(_) => return Ok(None),
            }
            if self.read().await? == 0 {
                return Ok(None);
            }
        }
    }

    async fn converse(
        &mut self,
        shared: &Shared,
        (client, role): (ClientId, Role),
        mut told: Mail,
    ) -> io::Result<()> {
        let mut session = Session::new(shared.clone(), client, role);
        loop {
            let next = tokio::select! {
                told = told.next() => match told {
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
                    told = told.next() => match told {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::Builder;
    use crate::smp_agent::hub::Hub;
    use crate::smp_agent::rate::Rate;
    use crate::store::Memory;
    use simplex_runtime_tokio::Tokio;
    use simplex_sans_io::agent::config::Strangers;
    use simplex_sans_io::rng::Rng;
    use std::sync::Mutex;
    use tokio::io::DuplexStream;
    use tokio::sync::Semaphore;
    use tokio::task::JoinHandle;

    const TOKEN: &str = "a token of some length";

    fn shared(trust: Trust) -> Shared {
        let rng = Rng::from_seed([1; 32]);
        let (agent, _, running) = Builder::new(Memory::default()).start(Tokio::new(), rng.clone());
        // Nothing of this is about connections.
        drop(running);
        Shared {
            agent,
            hub: Hub::new(),
            trust: Arc::new(trust),
            failures: Arc::new(Mutex::new(Rate::new(30))),
            places: Arc::new(Semaphore::new(2)),
            routers: Arc::new([]),
            strangers: Strangers::Anywhere,
            files: None,
            users: Arc::default(),
            rng: Arc::new(Mutex::new(rng)),
            rate: Arc::new(Mutex::new(Rate::new(1))),
        }
    }

    fn guarded() -> Shared {
        shared(Trust::Tokens(vec![(Role::Admin, TOKEN.to_owned().into())]))
    }

    /// A client, whose session runs.
    async fn client(shared: &Shared) -> (DuplexStream, JoinHandle<io::Result<()>>) {
        let (mut client, server) = tokio::io::duplex(256);
        let place = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let serving = tokio::spawn(serve(server, shared.clone(), place));
        let mut welcome = [0; 64];
        let count = client.read(&mut welcome).await.unwrap();
        assert!(welcome[..count].starts_with(b"Welcome to SMP agent v"));
        (client, serving)
    }

    async fn auth(shared: &Shared, token: &str) -> (String, Duration) {
        let (mut client, _serving) = client(shared).await;
        let begun = Instant::now();
        let text = format!("1\n\nAUTH :{token}\n2\n\nQUIT\n");
        client.write_all(text.as_bytes()).await.unwrap();
        let mut heard = String::new();
        client.read_to_string(&mut heard).await.unwrap();
        (heard, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_has_ten_seconds() {
        let (mut client, _serving) = client(&guarded()).await;
        let begun = Instant::now();
        let mut heard = String::new();
        client.read_to_string(&mut heard).await.unwrap();
        assert_eq!((heard.as_str(), begun.elapsed()), ("", AUTH));
        // Whoever says a part of it every second has no more.
        let (mut client, serving) = self::client(&guarded()).await;
        let begun = Instant::now();
        while !serving.is_finished() {
            client.write_all(b"1").await.ok();
            sleep(Duration::from_secs(1)).await;
        }
        assert!(begun.elapsed() <= AUTH + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_is_not_listened_to_for_long() {
        let (mut client, serving) = client(&guarded()).await;
        client.write_all(b"1\n\nFRCV 1000000\n").await.unwrap();
        let mut said = 0;
        while client.write_all(&[b'x'; 100]).await.is_ok() {
            said += 100;
        }
        assert!(said <= 2 * INTRODUCTION, "{said}");
        assert!(serving.await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_token_is_answered_late_and_too_many_shut_the_door_for_a_minute() {
        let shared = guarded();
        let begun = Instant::now();
        assert_eq!(auth(&shared, "wrong").await, (String::new(), REGRET));
        let (heard, took) = auth(&shared, TOKEN).await;
        assert_eq!(heard, "1\r\n\r\nOK\r\n2\r\n\r\nOK\r\n");
        assert!(took < REGRET);
        for _ in 1..30 {
            assert_eq!(auth(&shared, "wrong").await.0, "");
        }
        assert!(begun.elapsed() < Duration::from_secs(60));
        assert_eq!(auth(&shared, TOKEN).await.0, "");
        sleep(Duration::from_secs(60)).await;
        assert_ne!(auth(&shared, TOKEN).await.0, "");
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_transmission_is_waited_for_and_a_silent_client_longer() {
        let (mut client, serving) = client(&shared(Trust::Peer)).await;
        sleep(Duration::from_secs(24 * 3600)).await;
        assert!(!serving.is_finished());
        let begun = Instant::now();
        // A letter every minute does not help.
        while !serving.is_finished() {
            client.write_all(b"x").await.ok();
            sleep(Duration::from_secs(60)).await;
        }
        let took = begun.elapsed();
        assert!(PATIENCE <= took && took <= PATIENCE + Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_read_is_not_listened_to() {
        let (mut client, serving) = client(&shared(Trust::Peer)).await;
        let mut said = 0;
        while let Ok(Ok(())) =
            timeout(Duration::from_secs(1), client.write_all(b"1\n\nPING\n")).await
        {
            said += 1;
        }
        assert!(said < 1000, "{said}");
        assert!(serving.await.unwrap().is_err(), "it ends");
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_only_so_many_clients() {
        let shared = guarded();
        let mut clients = Vec::new();
        for expected in ["OK", "OK", "ERR CMD PROHIBITED too many clients"] {
            let (mut client, serving) = client(&shared).await;
            let text = format!("1\n\nAUTH :{TOKEN}\n");
            client.write_all(text.as_bytes()).await.unwrap();
            let mut heard = [0; 64];
            let count = client.read(&mut heard).await.unwrap();
            assert_eq!(
                heard[..count],
                *format!("1\r\n\r\n{expected}\r\n").as_bytes()
            );
            clients.push((client, serving));
        }
        clients.clear();
        while shared.places.available_permits() < 2 {
            tokio::task::yield_now().await;
        }
        assert_ne!(auth(&shared, TOKEN).await.0, "");
    }

    #[test]
    fn each_token_has_its_role() {
        let trust = Trust::Tokens(vec![
            (Role::Admin, "all".to_owned().into()),
            (Role::Read, "some".to_owned().into()),
        ]);
        assert_eq!(trust.role(b"all"), Some(Role::Admin));
        assert_eq!(trust.role(b"some"), Some(Role::Read));
        for none in [b"".as_slice(), b"al", b"alls", b"allsome"] {
            assert_eq!(trust.role(none), None);
        }
    }
}
