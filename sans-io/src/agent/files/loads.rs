//! What is stored is loaded at the start, page by page.

use super::Files;
use super::file::File;
use super::job::Job;
use super::machine::{Action, of_file};
use super::record::{ChunkRecord, FileEventRecord, FileRecord, RemovalRecord, Stage};
use crate::agent::error::AgentError;
use crate::agent::id::{EventId, FileId};
use crate::agent::store::record::from_bytes;
use crate::agent::store::{Key, Kind, Load, LoadId, Record};
use crate::time::Now;

/// What is loaded, in this order: chunks after their files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    Events,
    Files,
    Chunks,
    Removals,
    Statistics,
}

impl Page {
    const fn kind(self) -> Kind {
        match self {
            Self::Events => Kind::FileEvent,
            Self::Files => Kind::File,
            Self::Chunks => Kind::Chunk,
            Self::Removals => Kind::Removal,
            Self::Statistics => Kind::FileStatistics,
        }
    }
}

impl Files {
    pub(super) fn load_page(&mut self, page: Page, after: Option<Key>) {
        let id = self.next_load;
        self.next_load = LoadId(id.0.saturating_add(1));
        self.loading = Some((id, page));
        let (kind, limit) = (page.kind(), self.config.page);
        let load = Load::Page { kind, after, limit };
        self.actions.push(Action::Load(id, load));
    }

    pub(super) fn loaded(&mut self, now: Now, id: LoadId, records: Vec<Record>) {
        let Some((_, page)) = self.loading.take_if(|(expected, _)| *expected == id) else {
            return;
        };
        let last = records.last().map(|record| record.key.clone());
        let full = records.len() >= self.config.page;
        for record in records {
            self.load_record(now, page, record);
        }
        match page {
            _ if full => self.load_page(page, last),
            Page::Events => self.load_page(Page::Files, None),
            Page::Files => self.load_page(Page::Chunks, None),
            Page::Chunks => self.load_page(Page::Removals, None),
            Page::Removals => self.load_page(Page::Statistics, None),
            Page::Statistics => self.begin(now),
        }
    }

    /// A record that cannot be read stays, for a program that can.
    fn load_record(&mut self, now: Now, page: Page, record: Record) {
        let Record { key, value } = &record;
        let number = || Some(u32::from_be_bytes(*key.id.first_chunk()?));
        let file = || FileId::try_from(&*key.owner).ok();
        match page {
            Page::Events if *key == Key::file_event_numbers() => self.numbers.load(value),
            Page::Events => {
                let number = key.id.first_chunk().map(|id| u64::from_be_bytes(*id));
                if let Some(number) = number {
                    self.numbers.used(number);
                }
                if let (Some(number), Ok(FileEventRecord { file, event })) =
                    (number, from_bytes(value))
                {
                    let id = Some(EventId::of_file(number));
                    self.actions.push(Action::Event(of_file(id, file, event)));
                }
            }
            Page::Files => {
                if let (Some(id), Ok(record)) = (file(), from_bytes(value)) {
                    self.load_file(now, id, record);
                }
            }
            Page::Chunks => {
                let file = file().and_then(|id| self.files.get_mut(&id));
                if let (Some(file), Some(number), Ok(record)) = (file, number(), from_bytes(value))
                {
                    load_chunk(file, number, record);
                }
            }
            Page::Removals => {
                if let (Some(id), Some(number), Ok(record)) =
                    (file(), number(), from_bytes::<RemovalRecord>(value))
                {
                    self.keep_removal(now, id, number, record);
                }
            }
            Page::Statistics => self.load_statistics(&record),
        }
    }

    fn load_file(&mut self, now: Now, id: FileId, record: FileRecord) {
        let mut file = File::new(record);
        if let Stage::Receiving { description, .. } = &file.record.stage {
            let chunks = super::receive::waiting(description);
            file.set_chunks(chunks);
        }
        self.keep_file(now, id, file);
    }

    /// Everything is known: work begins.
    fn begin(&mut self, now: Now) {
        let keep: Vec<_> = self.files.keys().cloned().collect();
        self.begin_job(Job::Sweep { keep });
        let damaged = |(id, file): (&FileId, &File)| match file.record.stage {
            Stage::Uploading { chunks, .. } => {
                (u32::try_from(file.chunks.len()) != Ok(chunks)).then(|| id.clone())
            }
            Stage::Receiving { .. } | Stage::Encrypting { .. } => None,
        };
        let damaged: Vec<_> = self.files.iter().filter_map(damaged).collect();
        for id in damaged {
            self.fail(now, &id, AgentError::internal("chunks cannot be read"));
        }
        for (id, command) in self.held.take().into_iter().flatten() {
            self.command(now, id, command);
        }
    }
}

/// How far a chunk was. Those of a file that is sent come in their order.
fn load_chunk(file: &mut File, number: u32, record: ChunkRecord) {
    let Ok(index) = usize::try_from(number) else {
        return;
    };
    let next = file.chunks.len() == index;
    match (file.chunks.get_mut(index), &record) {
        (Some(chunk), _) => {
            file.resumed |= record == ChunkRecord::Downloaded;
            chunk.record = record;
        }
        (None, ChunkRecord::Sent { size, .. }) if next => file.add_chunk(*size, record),
        (None, _) => {}
    }
}
