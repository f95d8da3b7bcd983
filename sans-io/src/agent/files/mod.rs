//! Files of an agent: sent, received and deleted, through crashes and routers that come and go.
//!
//! [`Files`] is one machine over all files, beside the machine of [connections](super::Agent), which it never makes wait. It decides; what
//! takes time, asking a [router](job::Question) or reading and writing a [file](job::Job), is a job that its driver does. A file, each of its
//! chunks, and each replica of a chunk on a router are at a stage, which is [stored](record):
//!
//! ```text
//!   a file that is sent:       Encrypting ──▶ Uploading ── every chunk has its replicas ──▶ Sent: descriptions, and nothing is kept
//!
//!   a replica of its chunk:    (none) ── Create ──▶ Created ── AddRecipients … Upload ──▶ Uploaded
//!                                 ▲                    │
//!                                 └────────────────────┘ the router refuses, or fails too often: it is deleted there, and another one asked
//!
//!   a file that is received:   Receiving ── every chunk is Downloaded ──▶ is decrypted ──▶ Received
//!                                  ▲                                           │
//!                                  └─── it is the description of another one ──┘
//!
//!   its chunk:                 Waiting ── Download, from the first replica that can be used ──▶ Downloaded
//!                                 └─ each replica in turn ─▶ no replica is left: the file has failed
//!
//!   a chunk at a router:       Removal ── Delete ──▶ gone, or it has expired
//!
//!   a router:                  in use ── it fails ──▶ left alone, longer each time ──▶ in use
//! ```
//! One input is one transaction. Jobs are begun from what is stored, and answers and events wait until what they tell is stored: so
//! wherever a crash comes, what is to be done follows from the records, and is begun again. That does no harm twice. That a file is complete
//! follows from its chunks, too, so nothing can be stuck between the last of them and the end.
//!
//! What fails for now is tried again until the file is too old. What fails for good at one router is tried at another one. Where there is
//! none, or where it does not depend on routers, the file has failed, which is told and stays until it is confirmed.
//!
//! ```
//! use simplex_sans_io::agent::config::UserRouter;
//! use simplex_sans_io::agent::event::EventContent;
//! use simplex_sans_io::agent::file_event::FileEvent;
//! use simplex_sans_io::agent::files::command::{Command, Reply};
//! use simplex_sans_io::agent::files::config::Config;
//! use simplex_sans_io::agent::files::job::{Job, Outcome, Question};
//! use simplex_sans_io::agent::files::{Action, Files, Input};
//! use simplex_sans_io::agent::id::CommandId;
//! use simplex_sans_io::agent::store::Memory;
//! use simplex_sans_io::machine::Machine;
//! use simplex_sans_io::rng::Rng;
//! use simplex_sans_io::smp::pool::UserId;
//! use simplex_sans_io::time::Now;
//!
//! let mut store = Memory::default();
//! let mut files = Files::new(Config::default(), Rng::from_seed([7; 32]), Now::START);
//! let mut inputs = Vec::new();
//! // Gives an input, and what the store has to say; returns what else is to be done.
//! let mut give = |input: Input| {
//!     let mut rest = Vec::new();
//!     let mut next = Some(input);
//!     while let Some(input) = next {
//!         while let Some(action) = files.poll() {
//!             let Action::Load(id, load) = action else { panic!("{action:?}") };
//!             inputs.push(Input::Loaded(id, store.load(&load)));
//!         }
//!         let Ok(()) = files.handle(Now::START, input);
//!         while let Some(action) = files.poll() {
//!             match action {
//!                 Action::Load(id, load) => inputs.push(Input::Loaded(id, store.load(&load))),
//!                 Action::Store(op, changes) => { store.apply(changes); inputs.push(Input::Stored(op)) }
//!                 other => rest.push(other),
//!             }
//!         }
//!         next = inputs.pop();
//!     }
//!     rest
//! };
//!
//! // At the start it asks for what is stored, and what is left of files that are not known any more is removed.
//! let Action::Begin(_, Job::Sweep { .. }) = &give(Input::Timeout)[0] else { panic!() };
//!
//! // A file is to be sent.
//! let user = UserId(1);
//! let router = "xftp://da1aH3nOT-9G8lV7bWamhxpDYdJ1xmW7j3JpGaDR5Ug=@xftp1.simplex.im".parse()?;
//! let routers = vec![UserRouter::new(router)];
//! give(Input::Command(CommandId(1), Command::SetRouters { user, routers }));
//! let send = Command::Send { file: None, user, path: "photo.jpg".into(), local: None, recipients: 1, replicas: 1 };
//! let [Action::Reply(_, Ok(Reply::File(file))), Action::Begin(job, Job::Encrypt { .. })] =
//!     &give(Input::Command(CommandId(2), send))[..] else { panic!() };
//!
//! // It is encrypted, and has one chunk; a router creates it …
//! let encrypted = Outcome::Encrypted { digest: [1; 64], chunks: vec![(65536, [2; 32])] };
//! let [Action::Begin(job, Job::Ask { question: Question::Create(new, _), .. })] =
//!     &give(Input::Ended(*job, Ok(encrypted)))[..] else { panic!() };
//! assert_eq!(new.size, 65536);
//!
//! // … and takes it.
//! let created = Outcome::Created { sender_id: [3; 24].into(), recipient_ids: vec![[4; 24].into()] };
//! let [Action::Begin(job, Job::Ask { question: Question::Upload(..), .. })] =
//!     &give(Input::Ended(*job, Ok(created)))[..] else { panic!() };
//! let told = give(Input::Ended(*job, Ok(Outcome::Done)));
//! let [Action::Event(_), Action::Begin(_, Job::Discard { .. }), Action::Event(sent)] = &told[..] else { panic!() };
//! let EventContent::File { file: of, event: FileEvent::Sent { recipients, .. } } = &sent.content else { panic!() };
//! assert_eq!(of, file);
//! assert_eq!(recipients[0].description()?.chunks.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod command;
pub mod config;
mod file;
pub mod job;
mod loads;
mod machine;
mod receive;
pub mod record;
mod remove;
mod routers;
mod schedule;
mod send;
pub mod statistics;
#[cfg(test)]
mod tests;

use self::machine::Wake;
pub use self::machine::{Action, Activity, Files, Input};
