//! How far an import has come.

use bytes::{Bytes, BytesMut};
use simplex_sans_io::wire::{self, Parsed, Short, Source, Version, Wire, WireError};

use super::super::{Note, Store, StoreError};
use super::Summary;

const NAME: &str = "import";

/// The files that are read one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Stage {
    #[default]
    Queues,
    Messages,
    Journals,
    Notifications,
    Statistics,
    Done,
}

impl Stage {
    const ALL: [Self; 6] = [
        Self::Queues,
        Self::Messages,
        Self::Journals,
        Self::Notifications,
        Self::Statistics,
        Self::Done,
    ];

    pub(super) fn next(self) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| *stage > self)
    }

    const fn tag(self) -> u8 {
        match self {
            Self::Queues => b'Q',
            Self::Messages => b'M',
            Self::Journals => b'J',
            Self::Notifications => b'N',
            Self::Statistics => b'S',
            Self::Done => b'D',
        }
    }
}

/// What was read, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Progress {
    pub(super) stage: Stage,
    /// The bytes and lines of the stage's file that were read.
    pub(super) offset: u64,
    pub(super) lines: u64,
    /// The last directory of journals that was read.
    pub(super) directory: Bytes,
    pub(super) summary: Summary,
}

impl Progress {
    pub(super) fn of(store: &mut dyn Store) -> Result<Option<Self>, StoreError> {
        let Some(text) = store.note(NAME)? else {
            return Ok(None);
        };
        let damaged = |_| StoreError::Broken("what is noted of an import is not readable".into());
        wire::decode(Version(1), &text).map(Some).map_err(damaged)
    }

    pub(super) fn enter(&mut self, stage: Stage) {
        *self = Self {
            stage,
            summary: self.summary,
            ..Self::default()
        };
    }

    pub(super) fn note(&self) -> Note {
        Note {
            name: NAME,
            text: wire::encode(self, Version(1)),
        }
    }

    fn numbers(&mut self) -> [&mut u64; 8] {
        let Self {
            offset,
            lines,
            summary,
            ..
        } = self;
        [
            offset,
            lines,
            &mut summary.lines,
            &mut summary.problems,
            &mut summary.services,
            &mut summary.queues,
            &mut summary.messages,
            &mut summary.notifications,
        ]
    }
}

impl Wire for Progress {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, tag) = u8::parse(source, input)?;
        let mut stages = Stage::ALL.into_iter();
        let Some(stage) = stages.find(|stage| stage.tag() == tag) else {
            return WireError::Invalid("stage").fail();
        };
        let (mut input, directory) = Short::parse(source, input)?;
        let mut progress = Self {
            stage,
            directory: directory.into_bytes(),
            ..Self::default()
        };
        for number in progress.numbers() {
            (input, *number) = Wire::parse(source, input)?;
        }
        Ok((input, progress))
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        self.stage.tag().put(version, out);
        let directory = Short::try_from(self.directory.clone()).unwrap_or_default();
        directory.put(version, out);
        for number in self.clone().numbers() {
            number.put(version, out);
        }
    }
}
