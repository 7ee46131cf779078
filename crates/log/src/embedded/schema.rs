//! The schema, and how a partition's records are found in it.
//!
//! A batch's row id is its partition's id and its first offset in one number, so
//! that one b-tree holds all batches, those of a partition beside each other,
//! and an append writes no index: a commit writes one page less.
//!
//! ```text
//! batches.id   bit 62 … 43   partitions.id
//!              bit 42 …  0   offset of the first record
//! ```
//!
//! The next offset of a partition follows from its last batch, or is
//! `start_offset` where none is left; so compaction never touches the last batch.
//! Deleting a topic sets `topic_id` to 0; housekeeping removes the batches, then
//! the row.

use headwater_core::{Error, Result};

/// "HWLg": how a file of ours is told from any other SQLite file.
pub(super) const APPLICATION_ID: i32 = 0x4857_4c67;

/// Grows with every change of the schema.
pub(super) const VERSION: i32 = 2;

/// What makes a log of version `n + 1` of one of version `n`, from version 1 on.
pub(super) const UPGRADES: [&str; VERSION as usize - 1] = ["
ALTER TABLE batches RENAME COLUMN count TO span;
ALTER TABLE partitions ADD COLUMN tombstones_to INTEGER NOT NULL DEFAULT 0;
CREATE TABLE cleanings (
    partition_id    INTEGER NOT NULL,
    clean_to        INTEGER NOT NULL,
    clean_bytes     INTEGER NOT NULL,
    at_ms           INTEGER NOT NULL,
    PRIMARY KEY (partition_id, clean_to)
) STRICT, WITHOUT ROWID;
"];

/// How the log is laid out.
pub(super) const SCHEMA: &str = "
CREATE TABLE topics (
    id              INTEGER PRIMARY KEY,     -- drawn at random: never used again
    name            TEXT NOT NULL UNIQUE,
    partitions      INTEGER NOT NULL,
    retention_ms    INTEGER,                 -- null: for ever
    retention_bytes INTEGER,                 -- of each partition; null: no bound
    compacted       INTEGER NOT NULL         -- 1: retention does not apply
) STRICT;
CREATE TABLE partitions (
    id              INTEGER PRIMARY KEY,     -- the upper bits of batches.id
    topic_id        INTEGER NOT NULL,        -- 0: deleted, its batches wait for removal
    number          INTEGER NOT NULL,
    start_offset    INTEGER NOT NULL,        -- retention has removed all before it
    tombstones_to   INTEGER NOT NULL DEFAULT 0 -- compaction has removed some before it
) STRICT;
CREATE INDEX partitions_of_topic ON partitions (topic_id, number);
CREATE TABLE batches (
    id              INTEGER PRIMARY KEY,     -- partition and first offset
    span            INTEGER NOT NULL,        -- offsets, gaps included
    bytes           INTEGER NOT NULL,        -- the length of `records`
    append_ms       INTEGER NOT NULL,        -- when it was stored
    timestamp_max   INTEGER NOT NULL,        -- the largest event time in it
    records         BLOB NOT NULL            -- Kafka's record batch, version 2
) STRICT;
CREATE TABLE cleanings (                     -- the passes of compaction: see there
    partition_id    INTEGER NOT NULL,
    clean_to        INTEGER NOT NULL,        -- each key at most once before this offset
    clean_bytes     INTEGER NOT NULL,        -- of the batches before it
    at_ms           INTEGER NOT NULL,        -- when the pass ended
    PRIMARY KEY (partition_id, clean_to)
) STRICT, WITHOUT ROWID;
CREATE TABLE groups (
    name            TEXT PRIMARY KEY,
    generation      INTEGER NOT NULL         -- grows with each join; never reset
) STRICT, WITHOUT ROWID;
CREATE TABLE positions (
    group_name      TEXT NOT NULL,
    topic           TEXT NOT NULL,           -- or the name of a source or sink
    partition       INTEGER NOT NULL,
    position        BLOB NOT NULL,
    metadata        BLOB NOT NULL,
    PRIMARY KEY (group_name, topic, partition)
) STRICT, WITHOUT ROWID;
";

const OFFSET_BITS: u32 = 43;

/// The first offset that a batch's row id has no room for.
pub(super) const OFFSET_END: u64 = 1 << OFFSET_BITS;

const PARTITION_ID_MAX: i64 = (1 << (63 - OFFSET_BITS)) - 1;

/// A partition's id in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartitionId(i64);

impl PartitionId {
    /// # Errors
    /// `Invalid` if the row ids of batches have no room for it.
    pub(super) fn new(id: i64) -> Result<Self> {
        if !(0..=PARTITION_ID_MAX).contains(&id) {
            return Err(Error::invalid(format!(
                "the log has no room for another partition partitions_max=`{PARTITION_ID_MAX}`"
            )));
        }
        Ok(PartitionId(id))
    }

    pub(super) fn number(self) -> i64 {
        self.0
    }

    /// The row id of the batch that starts at `offset`. An offset too large
    /// stands for the end of all.
    pub(super) fn batch(self, offset: u64) -> i64 {
        self.0 << OFFSET_BITS | offset.min(OFFSET_END - 1) as i64
    }

    /// The largest row id of its batches.
    pub(super) fn last_batch(self) -> i64 {
        self.batch(OFFSET_END - 1)
    }
}

/// The first offset of the batch with this row id.
pub(super) fn first_offset(batch: i64) -> u64 {
    batch as u64 & (OFFSET_END - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_ordered_by_partition_then_offset() {
        let (low, high) = (PartitionId::new(1).unwrap(), PartitionId::new(2).unwrap());
        assert!(low.batch(0) < low.batch(1));
        assert!(low.last_batch() < high.batch(0));
        assert!(PartitionId::new(PARTITION_ID_MAX).unwrap().last_batch() > 0);
        assert_eq!(first_offset(high.batch(17)), 17);
        assert!(PartitionId::new(PARTITION_ID_MAX + 1).is_err());
    }
}
