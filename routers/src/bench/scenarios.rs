//! What is done to routers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use simplex_sans_io::smp::{Command, SubscriptionMode};
use tokio::time::sleep;

use super::BenchError;
use super::figures::{Figures, Leading, Meter};
use super::router::Router;
use super::session::{Access, BATCH, Pair, Queue, Session, together};

/// How long a router has to put away what it does not need any more before its memory is read.
const SETTLED: Duration = Duration::from_millis(300);

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Memory of a subscribed queue.
    Queues,
    /// Memory of a connection that says nothing.
    Idle,
    /// TCP, TLS and SMP handshakes, and the farewell.
    Connect,
    /// NEW, one in a block.
    New,
    /// NEW, many in a block.
    NewBatch,
    /// SUB, one in a block.
    Sub,
    /// SUB, many in a block.
    SubBatch,
    /// SEND → OK, MSG, ACK → OK with messages of 16 KB, by all clients.
    Cycle,
    /// From SEND to MSG, between two clients that are alone.
    Pair,
    /// All connections break, come back at once, and subscribe to their queues.
    Storm,
    /// From the start of a router with queues to its first answer.
    Restart,
}

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) clients: usize,
    pub(crate) duration: Duration,
    pub(crate) count: usize,
    pub(crate) connections: usize,
    pub(crate) queues: usize,
}

impl Scenario {
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    pub(crate) const fn leading(self) -> Leading {
        match self {
            Self::Queues | Self::Idle => Leading::Memory,
            Self::Pair | Self::Storm | Self::Restart => Leading::Latency,
            Self::Connect
            | Self::New
            | Self::NewBatch
            | Self::Sub
            | Self::SubBatch
            | Self::Cycle => Leading::Cpu,
        }
    }

    pub(crate) async fn run(self, router: &mut Router, load: Load) -> Result<Figures, BenchError> {
        match self {
            Self::Queues => queues(router, load).await,
            Self::Idle => idle(router, load).await,
            Self::Connect => connect(router, load).await,
            Self::New => new(router, load, 1).await,
            Self::NewBatch => new(router, load, BATCH).await,
            Self::Sub => subscribe(router, load, 1).await,
            Self::SubBatch => subscribe(router, load, BATCH).await,
            Self::Cycle => cycle(router, load).await,
            Self::Pair => pair(router, load).await,
            Self::Storm => storm(router, load).await,
            Self::Restart => restart(router, load).await,
        }
    }
}

/// How much is left to do, for all clients.
#[derive(Debug, Clone)]
struct Budget {
    until: Instant,
    left: Arc<AtomicUsize>,
}

impl Budget {
    fn of(load: Load) -> Self {
        Self {
            until: Instant::now() + load.duration,
            left: Arc::new(AtomicUsize::new(load.count)),
        }
    }

    /// Whether so many more operations may begin.
    fn take(&self, operations: usize) -> bool {
        let take = |left: usize| left.checked_sub(operations);
        Instant::now() < self.until
            && self
                .left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .is_ok()
    }
}

async fn queues(router: &mut Router, load: Load) -> Result<Figures, BenchError> {
    router.refresh().await?;
    let access = &router.access;
    let mut sessions = open(access, load.clients).await?;
    let mut queues = Vec::new();
    let mut figures = Figures::default();
    // What was free before is in use after the first half: the second half shows what queues need.
    for half in [load.queues / 2, load.queues.div_ceil(2)] {
        let before = resident(router).await?;
        let meter = Meter::start(router.process())?;
        let share = half.div_ceil(load.clients);
        let created = together(sessions.into_iter().map(|session| create(session, share)));
        let (kept, created): (Vec<_>, Vec<_>) = created.await?.into_iter().unzip();
        sessions = kept;
        queues.push(created);
        figures = growth(router, meter, before, share * load.clients).await?;
    }
    let owned = |index: usize| {
        queues
            .iter()
            .filter_map(move |half| half.get(index))
            .flatten()
            .cloned()
    };
    let owned: Vec<Vec<_>> = (0..load.clients)
        .map(|index| owned(index).collect())
        .collect();
    delete_all(sessions, owned).await?;
    Ok(Figures {
        cpu_us: None,
        remark: Some("created and subscribed".to_owned()),
        ..figures
    })
}

async fn create(mut session: Session, count: usize) -> Result<(Session, Vec<Queue>), BenchError> {
    let created = session.create(count, SubscriptionMode::OnlyCreate).await?;
    for queues in created.chunks(BATCH) {
        session.all(queues, Command::Sub).await?;
    }
    Ok((session, created))
}

async fn idle(router: &mut Router, load: Load) -> Result<Figures, BenchError> {
    router.refresh().await?;
    let mut sessions = Vec::new();
    let mut figures = Figures::default();
    for half in [load.connections / 2, load.connections.div_ceil(2)] {
        let before = resident(router).await?;
        let meter = Meter::start(router.process())?;
        sessions.extend(open(&router.access, half).await?);
        figures = growth(router, meter, before, half).await?;
    }
    close_all(sessions).await?;
    Ok(Figures {
        cpu_us: None,
        ..figures
    })
}

/// The memory of a router that has nothing to do.
async fn resident(router: &Router) -> Result<Option<u64>, BenchError> {
    sleep(SETTLED).await;
    router
        .process()
        .map(|process| process.resident())
        .transpose()
        .map_err(BenchError::from)
}

async fn growth(
    router: &Router,
    meter: Meter,
    before: Option<u64>,
    count: usize,
) -> Result<Figures, BenchError> {
    let figures = meter.stop(count)?;
    let after = resident(router).await?;
    let grown = after
        .zip(before)
        .map(|(after, before)| after.saturating_sub(before));
    let bytes_each = grown.map(|grown| grown as f64 / count.max(1) as f64);
    Ok(Figures {
        bytes_each,
        resident: after,
        ..figures
    })
}

async fn connect(router: &Router, load: Load) -> Result<Figures, BenchError> {
    close_all(open(&router.access, load.clients).await?).await?;
    let meter = Meter::start(router.process())?;
    let budget = Budget::of(load);
    let client = |access: Access, budget: Budget| async move {
        let mut latencies = Vec::new();
        while budget.take(1) {
            let start = Instant::now();
            let session = Session::open(&access).await?;
            latencies.push(start.elapsed());
            session.close().await;
        }
        Ok(latencies)
    };
    let clients = (0..load.clients).map(|_| client(router.access.clone(), budget.clone()));
    let latencies = together(clients).await?.concat();
    Ok(meter.stop(latencies.len())?.with_latencies(latencies))
}

async fn new(router: &Router, load: Load, batch: usize) -> Result<Figures, BenchError> {
    let batch = batch.min(load.count);
    let sessions = open(&router.access, load.clients).await?;
    let meter = Meter::start(router.process())?;
    let budget = Budget::of(load);
    let client = |mut session: Session, budget: Budget| async move {
        let (mut latencies, mut queues) = (Vec::new(), Vec::new());
        while budget.take(batch) {
            let new = (0..batch).map(|_| session.new_queue(SubscriptionMode::OnlyCreate));
            let new = new.collect::<Result<Vec<_>, _>>()?;
            let (requests, keys): (Vec<_>, Vec<_>) = new.into_iter().unzip();
            let start = Instant::now();
            let responses = session.smp.batch(requests).await;
            latencies.push(start.elapsed());
            for (response, key) in responses.into_iter().zip(keys) {
                queues.push(Queue::created(response?, key)?);
            }
        }
        Ok((session, latencies, queues))
    };
    let done = together(
        sessions
            .into_iter()
            .map(|session| client(session, budget.clone())),
    )
    .await?;
    let figures = meter.stop(done.iter().map(|(_, _, queues)| queues.len()).sum())?;
    let latencies = done
        .iter()
        .flat_map(|(_, latencies, _)| latencies.clone())
        .collect();
    let (sessions, queues) = done
        .into_iter()
        .map(|(session, _, queues)| (session, queues))
        .unzip();
    delete_all(sessions, queues).await?;
    Ok(figures.with_latencies(latencies))
}

async fn subscribe(router: &Router, load: Load, batch: usize) -> Result<Figures, BenchError> {
    let sessions = open(&router.access, load.clients).await?;
    let share = load.queues.div_ceil(load.clients);
    let created = sessions.into_iter().map(|mut session| async move {
        let queues = session.create(share, SubscriptionMode::OnlyCreate).await?;
        Ok((session, queues))
    });
    let created = together(created).await?;
    let meter = Meter::start(router.process())?;
    let budget = Budget::of(load);
    let client = |session: Session, queues: Vec<Queue>, budget: Budget| async move {
        let (mut latencies, mut subscribed) = (Vec::new(), 0);
        for queues in queues.chunks(batch) {
            if !budget.take(queues.len()) {
                break;
            }
            let start = Instant::now();
            session.all(queues, Command::Sub).await?;
            latencies.push(start.elapsed());
            subscribed += queues.len();
        }
        Ok((session, queues, latencies, subscribed))
    };
    let clients = created
        .into_iter()
        .map(|(session, queues)| client(session, queues, budget.clone()));
    let done = together(clients).await?;
    let figures = meter.stop(done.iter().map(|(.., subscribed)| subscribed).sum())?;
    let latencies = done
        .iter()
        .flat_map(|(_, _, latencies, _)| latencies.clone())
        .collect();
    let (sessions, queues) = done
        .into_iter()
        .map(|(session, queues, ..)| (session, queues))
        .unzip();
    delete_all(sessions, queues).await?;
    Ok(figures.with_latencies(latencies))
}

async fn cycle(router: &Router, load: Load) -> Result<Figures, BenchError> {
    let pairs = (0..load.clients).map(|_| {
        let access = router.access.clone();
        async move { Pair::open(&access).await }
    });
    let pairs = together(pairs).await?;
    let meter = Meter::start(router.process())?;
    let budget = Budget::of(load);
    let client = |mut pair: Pair, budget: Budget| async move {
        let mut latencies = Vec::new();
        while budget.take(1) {
            latencies.push(pair.cycle().await?.complete);
        }
        Ok((pair, latencies))
    };
    let done = together(pairs.into_iter().map(|pair| client(pair, budget.clone()))).await?;
    let (pairs, latencies): (Vec<_>, Vec<_>) = done.into_iter().unzip();
    let latencies = latencies.concat();
    let figures = meter.stop(latencies.len())?;
    together(pairs.into_iter().map(Pair::close)).await?;
    Ok(figures.with_latencies(latencies))
}

async fn pair(router: &Router, load: Load) -> Result<Figures, BenchError> {
    let mut pair = Pair::open(&router.access).await?;
    let meter = Meter::start(router.process())?;
    let budget = Budget::of(load);
    let mut latencies = Vec::new();
    while budget.take(1) {
        latencies.push(pair.cycle().await?.delivered);
    }
    let figures = meter.stop(latencies.len())?;
    pair.close().await?;
    Ok(figures.with_latencies(latencies))
}

async fn storm(router: &Router, load: Load) -> Result<Figures, BenchError> {
    let sessions = open(&router.access, load.connections).await?;
    let share = load.queues.div_ceil(load.connections);
    let created = together(sessions.into_iter().map(|session| create(session, share))).await?;
    let (sessions, queues): (Vec<_>, Vec<_>) = created.into_iter().unzip();
    let meter = Meter::start(router.process())?;
    for session in sessions {
        session.cut().await;
    }
    let start = Instant::now();
    let client = |access: Access, queues: Vec<Queue>| async move {
        let session = Session::open(&access).await?;
        for queues in queues.chunks(BATCH) {
            session.all(queues, Command::Sub).await?;
        }
        Ok((session, queues, start.elapsed()))
    };
    let clients = queues
        .into_iter()
        .map(|queues| client(router.access.clone(), queues));
    let done = together(clients).await?;
    let latencies: Vec<_> = done.iter().map(|(_, _, latency)| *latency).collect();
    let figures = meter.stop(latencies.len())?;
    let (sessions, queues) = done
        .into_iter()
        .map(|(session, queues, _)| (session, queues))
        .unzip();
    delete_all(sessions, queues).await?;
    let remark = Some(format!("{share} queues each"));
    Ok(Figures {
        remark,
        ..figures.with_latencies(latencies)
    })
}

async fn restart(router: &mut Router, load: Load) -> Result<Figures, BenchError> {
    if !router.is_ours() {
        return Err(BenchError::NotStarted);
    }
    let sessions = open(&router.access, load.clients).await?;
    let share = load.queues.div_ceil(load.clients);
    let created = together(sessions.into_iter().map(|session| create(session, share))).await?;
    let (sessions, queues): (Vec<_>, Vec<_>) = created.into_iter().unzip();
    close_all(sessions).await?;
    router.stop().await?;
    let start = Instant::now();
    router.start_again().await?;
    let session = Session::open(&router.access).await?;
    session.smp.ping().await?;
    let ready = start.elapsed();
    let process = router.process();
    let cpu = process.map(|process| process.cpu()).transpose()?;
    let mut deleted = 0;
    for queues in queues.iter().flat_map(|queues| queues.chunks(BATCH)) {
        match session.delete(queues).await {
            Ok(()) => deleted += queues.len(),
            // Those that the router has not kept.
            Err(BenchError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
    }
    session.close().await;
    let figures = Figures {
        operations: 1,
        seconds: ready.as_secs_f64(),
        resident: resident(router).await?,
        remark: Some(match cpu {
            Some(cpu) => format!("with {deleted} queues, {} ms of CPU", cpu.as_millis()),
            None => format!("with {deleted} queues"),
        }),
        ..Figures::default()
    };
    Ok(figures.with_latencies(vec![ready]))
}

async fn open(access: &Access, count: usize) -> Result<Vec<Session>, BenchError> {
    const AT_ONCE: usize = 64;
    let mut sessions = Vec::with_capacity(count);
    while sessions.len() < count {
        let some = (sessions.len()..count).take(AT_ONCE).map(|_| {
            let access = access.clone();
            async move { Session::open(&access).await }
        });
        sessions.extend(together(some).await?);
    }
    Ok(sessions)
}

async fn close_all(sessions: Vec<Session>) -> Result<(), BenchError> {
    let close = |session: Session| async move {
        session.close().await;
        Ok(())
    };
    together(sessions.into_iter().map(close)).await.map(|_| ())
}

/// Leaves nothing behind.
async fn delete_all(sessions: Vec<Session>, queues: Vec<Vec<Queue>>) -> Result<(), BenchError> {
    let delete = |(session, queues): (Session, Vec<Queue>)| async move {
        session.delete(&queues).await?;
        session.close().await;
        Ok(())
    };
    let clients = sessions.into_iter().zip(queues).map(delete);
    together(clients).await.map(|_| ())
}
