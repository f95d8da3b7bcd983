//! The thread that works with the store: the only one that an agent has.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread::JoinHandle;

use simplex_sans_io::agent::store::{Change, Load, LoadId, OpId, Record};
use simplex_sans_io::drive;

use super::{Store, StoreError};

/// Whose transactions and loads these are: each machine numbers its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whose {
    Connections,
    #[cfg(feature = "xftp")]
    Files,
}

/// What the store is told and asked.
#[derive(Debug)]
pub(crate) enum Question {
    Commit(Whose, OpId, Vec<Change>),
    Load(Whose, LoadId, Load),
}

/// What it answers.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Everything up to this transaction is durable.
    Stored(Whose, OpId),
    Loaded(Whose, LoadId, Vec<Record>),
    /// It has failed, and ends.
    Failed(StoreError),
}

/// The thread. It ends when the other end of its questions is dropped.
#[derive(Debug)]
pub(crate) struct StoreThread {
    questions: mpsc::Sender<Question>,
    thread: JoinHandle<Result<(), StoreError>>,
}

impl StoreThread {
    pub(crate) fn start(
        store: Box<dyn Store>,
        answers: drive::Sender<Answer>,
    ) -> std::io::Result<Self> {
        let (questions, asked) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("agent-store".to_owned())
            .spawn(move || run(store, &asked, &answers))?;
        Ok(Self { questions, thread })
    }

    /// One that has ended has said why.
    pub(crate) fn ask(&self, question: Question) {
        self.questions.send(question).ok();
    }

    /// Waits until everything is stored and the store is closed.
    pub(crate) fn join(self) -> Result<(), StoreError> {
        drop(self.questions);
        self.thread.join().map_err(|_| StoreError::Ended)?
    }
}

fn run(
    mut store: Box<dyn Store>,
    asked: &mpsc::Receiver<Question>,
    answers: &drive::Sender<Answer>,
) -> Result<(), StoreError> {
    while let Ok(first) = asked.recv() {
        let questions = std::iter::once(first).chain(asked.try_iter());
        if let Err(error) = work(store.as_mut(), questions, answers) {
            // Nobody may be there to hear it.
            answers.push(Answer::Failed(error)).ok();
            return store.close();
        }
    }
    store.close()
}

/// Transactions that wait are written together.
fn work(
    store: &mut dyn Store,
    questions: impl Iterator<Item = Question>,
    answers: &drive::Sender<Answer>,
) -> Result<(), StoreError> {
    let mut group = Group::default();
    for question in questions {
        match question {
            Question::Commit(whose, op, changes) => {
                group.transactions.push(changes);
                group.last.insert(whose, op);
            }
            Question::Load(whose, id, load) => {
                commit(store, &mut group, answers)?;
                let records = store.load(&load)?;
                answers.push(Answer::Loaded(whose, id, records)).ok();
            }
        }
    }
    commit(store, &mut group, answers)
}

/// Transactions that are written together, and the last of each machine.
#[derive(Default)]
struct Group {
    transactions: Vec<Vec<Change>>,
    last: BTreeMap<Whose, OpId>,
}

fn commit(
    store: &mut dyn Store,
    group: &mut Group,
    answers: &drive::Sender<Answer>,
) -> Result<(), StoreError> {
    let Group { transactions, last } = std::mem::take(group);
    if transactions.is_empty() {
        return Ok(());
    }
    store.commit(transactions)?;
    for (whose, op) in last {
        answers.push(Answer::Stored(whose, op)).ok();
    }
    Ok(())
}
