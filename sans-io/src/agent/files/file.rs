//! A file in memory.

use std::collections::BTreeMap;

use super::job::JobId;
use super::record::{ChunkRecord, FileRecord, Plan, ReplicaRecord, ReplicaStage, Stage};
use crate::agent::error::AgentError;
use crate::agent::store::OpId;
use crate::time::Instant;
use crate::wire::{ServerAddress, XftpScheme};

/// A file that is being sent or received, with all its chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) record: FileRecord,
    pub(super) chunks: Vec<Chunk>,
    /// All chunks before this one are done.
    pub(super) first: usize,
    /// Where the last chunk ends in the encrypted file.
    end: u64,
    /// The job that encrypts or decrypts it.
    pub(super) crypting: Option<JobId>,
    /// The transaction that has to be stored before anything is begun.
    pub(super) op: OpId,
    /// When it is given up.
    pub(super) deadline: Instant,
    /// Whether chunks of it have come from before a restart, and may have been damaged since.
    pub(super) resumed: bool,
    /// What a router has said last, or why it could not be asked.
    pub(super) error: Option<AgentError>,
}

/// A chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) record: ChunkRecord,
    /// Where it begins in the encrypted file.
    pub(super) offset: u64,
    pub(super) job: Option<JobId>,
    /// How often its upload has failed at the router that it is for.
    pub(super) failures: u32,
    /// Routers that do not take it.
    pub(super) refused: BTreeMap<ServerAddress<XftpScheme>, AgentError>,
}

impl File {
    pub(super) const fn new(record: FileRecord) -> Self {
        Self {
            record,
            chunks: Vec::new(),
            first: 0,
            end: 0,
            crypting: None,
            op: OpId(0),
            deadline: Instant::START,
            resumed: false,
            error: None,
        }
    }

    /// The plan, of a file that is being sent.
    pub(super) const fn plan(&self) -> Option<&Plan> {
        match &self.record.stage {
            Stage::Receiving { .. } => None,
            Stage::Encrypting { plan, .. } | Stage::Uploading { plan, .. } => Some(plan),
        }
    }

    /// All chunks, in order, with their sizes.
    pub(super) fn set_chunks(&mut self, chunks: impl IntoIterator<Item = (u32, ChunkRecord)>) {
        self.chunks.clear();
        (self.first, self.end) = (0, 0);
        for (size, record) in chunks {
            self.add_chunk(size, record);
        }
    }

    /// The next chunk.
    pub(super) fn add_chunk(&mut self, size: u32, record: ChunkRecord) {
        self.chunks.push(Chunk {
            record,
            offset: self.end,
            job: None,
            failures: 0,
            refused: BTreeMap::new(),
        });
        self.end = self.end.saturating_add(size.into());
    }

    /// Whether all chunks are where they should be.
    pub(super) fn is_complete(&mut self) -> bool {
        let replicas = self.plan().map_or(0, |plan| usize::from(plan.replicas));
        while let Some(chunk) = self.chunks.get(self.first)
            && chunk.is_done(replicas)
        {
            self.first = self.first.saturating_add(1);
        }
        self.first == self.chunks.len() && !self.chunks.is_empty()
    }

    /// How many bytes have travelled, of how many.
    pub(super) fn progress(&self) -> (u64, u64) {
        let (mut done, mut all) = (0_u64, 0_u64);
        let mut add = |size: u32, count: usize, of: usize| {
            let size = u64::from(size);
            let times =
                |count: usize| size.saturating_mul(u64::try_from(count).unwrap_or(u64::MAX));
            done = done.saturating_add(times(count));
            all = all.saturating_add(times(of));
        };
        match &self.record.stage {
            Stage::Receiving { description, .. } => {
                for (chunk, described) in self.chunks.iter().zip(&description.chunks) {
                    let there = usize::from(chunk.record == ChunkRecord::Downloaded);
                    add(described.size, there, 1);
                }
            }
            Stage::Encrypting { .. } => {}
            Stage::Uploading { plan, .. } => {
                for chunk in &self.chunks {
                    if let ChunkRecord::Sent { size, replicas, .. } = &chunk.record {
                        add(*size, uploaded(replicas), plan.replicas.into());
                    }
                }
            }
        }
        (done, all)
    }

    /// Where chunks of it are, as its sender knows them.
    pub(super) fn replicas(&self) -> impl Iterator<Item = &ReplicaRecord> {
        self.chunks
            .iter()
            .filter_map(|chunk| match &chunk.record {
                ChunkRecord::Sent { replicas, .. } => Some(replicas),
                ChunkRecord::Waiting { .. } | ChunkRecord::Downloaded => None,
            })
            .flatten()
    }
}

impl Chunk {
    fn is_done(&self, wanted: usize) -> bool {
        match &self.record {
            ChunkRecord::Waiting { .. } => false,
            ChunkRecord::Downloaded => true,
            ChunkRecord::Sent { replicas, .. } => uploaded(replicas) >= wanted,
        }
    }
}

/// How many routers have a chunk.
pub(super) fn uploaded(replicas: &[ReplicaRecord]) -> usize {
    let there = |replica: &&ReplicaRecord| replica.stage == ReplicaStage::Uploaded;
    replicas.iter().filter(there).count()
}
