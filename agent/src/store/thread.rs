//! The thread that works with the store: the only one that an agent has.

use std::sync::mpsc;
use std::thread::JoinHandle;

use simplex_sans_io::agent::store::{Change, Load, LoadId, OpId, Record};
use simplex_sans_io::drive;

use super::{Store, StoreError};

/// What the store is told and asked.
#[derive(Debug)]
pub(crate) enum Question {
    Commit(OpId, Vec<Change>),
    Load(LoadId, Load),
}

/// What it answers.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Everything up to this transaction is durable.
    Stored(OpId),
    Loaded(LoadId, Vec<Record>),
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
    let mut group = Vec::new();
    let mut last = OpId::default();
    for question in questions {
        match question {
            Question::Commit(op, changes) => {
                group.push(changes);
                last = op;
            }
            Question::Load(id, load) => {
                commit(store, &mut group, last, answers)?;
                let records = store.load(&load)?;
                answers.push(Answer::Loaded(id, records)).ok();
            }
        }
    }
    commit(store, &mut group, last, answers)
}

fn commit(
    store: &mut dyn Store,
    group: &mut Vec<Vec<Change>>,
    last: OpId,
    answers: &drive::Sender<Answer>,
) -> Result<(), StoreError> {
    if group.is_empty() {
        return Ok(());
    }
    store.commit(std::mem::take(group))?;
    answers.push(Answer::Stored(last)).ok();
    Ok(())
}
