//! Compaction: of each key in a compacted topic only the newest record stays.
//!
//! The key decision: a pass rewrites a partition from its start in many small
//! transactions, each of which is right by itself, instead of building a new copy
//! and swapping it in. So it needs no space for a copy, writers wait for a
//! millisecond, and a crash at any point leaves a partition that is merely
//! compacted up to somewhere.
//!
//! ```text
//! start                clean_to                     horizon            end
//!   │ every key at most once │ appended since: dirty   │ the newest: tail │
//!   ╰────────────── rewritten by a pass ───────────────╯    left alone    │
//!                            ╰─ mapped: key ─▶ newest ─╯
//! ```
//!
//! # A pass
//!
//! | State | What it does | Then |
//! |---|---|---|
//! | waiting | looks whether the dirty part has [`compaction_bytes`](super::Options::compaction_bytes) and is as large as the clean one | mapping |
//! | mapping | reads the dirty part and notes the newest offset of each key, at most [`KEYS_MAX`] of them: what does not fit is beyond the horizon | rewriting |
//! | rewriting | reads some batches, drops what has a newer record below the horizon, joins what is left of small ones, and swaps them in one transaction | itself, or finishing |
//! | finishing | notes `clean_to = horizon` in `cleanings` | waiting |
//!
//! The pass is in memory; a process that dies forgets it, and the next one maps
//! the same dirty part again. Any error ends it likewise.
//!
//! # Why it is safe
//!
//! - **A record that is dropped has a newer one of its key further on**, in the
//!   same snapshot of every reader. Records keep their offsets, so a reader in the
//!   middle goes on where it was and comes by the newest.
//! - **The newest batches stay**: the end of a partition follows from its last
//!   batch, and positions near the end name records that exist.
//! - **A tombstone goes only where it cannot be missed**: every older record of its
//!   key was gone when a pass ended, and that was
//!   [`tombstone_retention`](super::Options::tombstone_retention) ago. Only who has
//!   been reading for all that time, or comes back to a position of before, could
//!   still have the older record and not see the tombstone. The reader refuses that
//!   by `partitions.tombstones_to`, which names the last tombstone that went.
//!   `cleanings` remembers when which offset was reached.
//! - **Nobody else rewrites**: this runs in the process that holds
//!   `housekeeping.lock`. Each transaction still checks that the topic is there and
//!   that it deletes the rows it has read.
//! - **It is synced like any other transaction**, though a power cut might take it
//!   back: if a later sync fails, the system may drop what was written since the
//!   last one, and that must be nothing that anybody has seen.
//!
//! # What it costs
//!
//! A live partition takes up to twice the bytes of its newest records (plus the
//! constant above), and each byte is read and written again about once while the
//! topic grows by its own size. Memory: the map, some [`KEYS_MAX`] × 25 bytes while
//! a pass runs, and a few batches. Keys are told apart by 128 bits of two hashes
//! whose seeds are drawn for each pass, so that nobody can choose keys that collide.
//! Deleted pages are used again by whatever is appended next; the file does not
//! shrink, because the bookkeeping for that (`auto_vacuum`) would cost every small
//! commit a page.
//!
//! Batches are joined only within one minute of append time, so that a reader may
//! still say of each record in which minute it was stored.

use super::append::BATCH_BYTES;
use super::connection::Connection;
use super::retention::{Size, count_new};
use super::schema::{PartitionId, first_offset};
use super::shared::{Shared, Written};
use crate::Fetched;
use crate::record_batch::{BATCH_SPAN_MAX, BatchDecoder, BatchEncoder, EncodedBatch, Offsets};
use headwater_core::{Error, Records, Result, TimestampMs, TopicPartition};
use rusqlite::OptionalExtension;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// The keys that one pass can tell apart: seven eighths of a power of two, where
/// the map is full.
const KEYS_MAX: usize = (1 << 20) / 8 * 7;

/// What one transaction rewrites at most, so that writers wait for no longer.
const STEP_BYTES_MAX: u64 = 512 << 10;
const STEP_BATCHES_MAX: usize = 256;

/// The share of `compaction_bytes` that is left alone at the end.
const TAIL_SHARE: u64 = 16;

/// What a record takes beside its key and value, for sizes that need no encoding.
const RECORD_OVERHEAD_BYTES: usize = 24;

/// The passes of the partitions of a log, one at a time.
#[derive(Default)]
pub(super) struct Compaction {
    /// Bytes appended since the last pass, by partition and topic: numbers of
    /// partitions are used again.
    dirty: BTreeMap<(i64, i64), Size>,
    /// Partitions that have yet to be looked at.
    waiting: Vec<Candidate>,
    pass: Option<Pass>,
}

struct Candidate {
    id: PartitionId,
    topic_id: i64,
    partition: TopicPartition,
}

impl Candidate {
    fn place(&self) -> (i64, i64) {
        (self.id.number(), self.topic_id)
    }
}

impl Compaction {
    /// Works for about `time`, and says whether there is more to do. Where
    /// `is_due`, all partitions are looked at anew.
    pub(super) fn run(
        &mut self,
        shared: &Shared,
        connection: &Connection,
        is_due: bool,
        time: Duration,
    ) -> Result<bool> {
        if is_due && self.waiting.is_empty() && self.pass.is_none() {
            self.waiting = candidates(shared, connection.get()?)?;
            let live: BTreeSet<_> = self.waiting.iter().map(Candidate::place).collect();
            self.dirty.retain(|place, _| live.contains(place));
        }
        let clock = &shared.options.env.clock;
        let deadline = clock.monotonic() + time;
        loop {
            // An error ends the pass: it is taken out first.
            let Some(mut pass) = self.pass.take() else {
                let Some(candidate) = self.waiting.pop() else {
                    return Ok(false);
                };
                self.pass = self.begin(shared, connection, candidate)?;
                continue;
            };
            if pass.step(shared, connection)? {
                self.pass = Some(pass);
            } else {
                self.dirty.remove(&pass.candidate.place());
            }
            if deadline <= clock.monotonic() {
                return Ok(self.pass.is_some() || !self.waiting.is_empty());
            }
        }
    }

    /// Begins a pass if there is enough to do.
    fn begin(
        &mut self,
        shared: &Shared,
        connection: &Connection,
        candidate: Candidate,
    ) -> Result<Option<Pass>> {
        let sqlite = connection.get()?;
        let id = candidate.id;
        let cleaned = last_cleaning(shared, sqlite, id)?;
        let dirty = self.dirty.entry(candidate.place()).or_default();
        let clean_row = id.batch(cleaned.clean_to);
        if !(clean_row..=id.last_batch()).contains(&dirty.counted_to) {
            // The first look.
            *dirty = Size {
                bytes: 0,
                counted_to: clean_row,
            };
        }
        count_new(shared, sqlite, id, dirty)?;
        if dirty.bytes < shared.options.compaction_bytes.max(cleaned.clean_bytes) {
            return Ok(None);
        }
        let horizon = horizon(shared, sqlite, id)?;
        if horizon <= cleaned.clean_to {
            return Ok(None);
        }
        Pass::new(shared, sqlite, candidate, cleaned.clean_to, horizon).map(Some)
    }
}

fn candidates(shared: &Shared, sqlite: &rusqlite::Connection) -> Result<Vec<Candidate>> {
    let mut select = shared.sql(sqlite.prepare_cached(
        "SELECT partitions.id, topic_id, name, number
         FROM partitions JOIN topics ON topics.id = topic_id
         WHERE compacted ORDER BY partitions.id DESC",
    ))?;
    let mut rows = shared.sql(select.query([]))?;
    let mut candidates = Vec::new();
    while let Some(row) = shared.sql(rows.next())? {
        let name: String = shared.sql(row.get(2))?;
        candidates.push(Candidate {
            id: PartitionId::new(shared.sql(row.get(0))?)?,
            topic_id: shared.sql(row.get(1))?,
            partition: TopicPartition::new(name, shared.sql(row.get(3))?),
        });
    }
    Ok(candidates)
}

#[derive(Default)]
struct Cleaning {
    clean_to: u64,
    clean_bytes: u64,
}

fn last_cleaning(
    shared: &Shared,
    sqlite: &rusqlite::Connection,
    id: PartitionId,
) -> Result<Cleaning> {
    let sql = "SELECT clean_to, clean_bytes FROM cleanings WHERE partition_id = ?
               ORDER BY clean_to DESC LIMIT 1";
    let last: Option<(i64, i64)> =
        shared.sql(sqlite.prepare_cached(sql).and_then(|mut select| {
            select
                .query_row([id.number()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        }))?;
    Ok(
        last.map_or_else(Cleaning::default, |(clean_to, clean_bytes)| Cleaning {
            clean_to: clean_to as u64,
            clean_bytes: clean_bytes as u64,
        }),
    )
}

/// The first offset of the tail: of the last batch, at least.
fn horizon(shared: &Shared, sqlite: &rusqlite::Connection, id: PartitionId) -> Result<u64> {
    let tail_bytes = shared.options.compaction_bytes / TAIL_SHARE;
    let sql = "SELECT id, bytes FROM batches WHERE id BETWEEN ? AND ? ORDER BY id DESC";
    let mut select = shared.sql(sqlite.prepare_cached(sql))?;
    let mut rows = shared.sql(select.query((id.batch(0), id.last_batch())))?;
    let (mut horizon, mut bytes) = (0, 0);
    while let Some(row) = shared.sql(rows.next())? {
        horizon = first_offset(shared.sql(row.get(0))?);
        bytes += shared.sql(row.get::<_, i64>(1))? as u64;
        if tail_bytes <= bytes {
            break;
        }
    }
    Ok(horizon)
}

/// One pass over one partition.
struct Pass {
    candidate: Candidate,
    clean_to: u64,
    horizon: u64,
    /// Tombstones before this offset may go.
    tombstones_to: u64,
    hashers: [ahash::RandomState; 2],
    /// The newest offset before the horizon of each key in the dirty part.
    newest: HashMap<[u64; 2], u64, ahash::RandomState>,
    is_mapped: bool,
    /// The row to go on at.
    at: i64,
    /// The bytes of what has been passed and stays.
    clean_bytes: u64,
}

/// A stored batch.
struct Stored {
    row: i64,
    bytes: u64,
    append_ms: TimestampMs,
    records: Records,
    offsets: Offsets,
    /// The indexes of the records that stay.
    kept: Vec<usize>,
}

impl Stored {
    fn is_whole(&self) -> bool {
        self.kept.len() == self.records.len()
    }

    /// About what its records take that stay.
    fn kept_bytes(&self) -> usize {
        let size = |&index: &usize| {
            let (key, value) = (self.records.keys[index], self.records.values[index]);
            let headers = self.records.headers(index).iter();
            let header_bytes = headers
                .map(|header| header.name.len() + header.value.as_ref().map_or(0, |v| v.len()) + 20)
                .sum::<usize>();
            key.len as usize + value.len as usize + header_bytes + RECORD_OVERHEAD_BYTES
        };
        self.kept.iter().map(size).sum()
    }
}

/// What one transaction does.
#[derive(Default)]
struct Swap {
    deleted: Vec<i64>,
    inserted: Vec<(EncodedBatch, u64, TimestampMs)>,
    /// The offset after the last tombstone that goes.
    tombstones_to: u64,
}

impl Pass {
    fn new(
        shared: &Shared,
        sqlite: &rusqlite::Connection,
        candidate: Candidate,
        clean_to: u64,
        horizon: u64,
    ) -> Result<Pass> {
        let retention_ms = shared.options.tombstone_retention.as_millis() as i64;
        let sql = "SELECT coalesce(max(clean_to), 0) FROM cleanings
                   WHERE partition_id = ? AND at_ms <= ?";
        let tombstones_to: i64 =
            shared.sql(sqlite.prepare_cached(sql).and_then(|mut select| {
                let since = (candidate.id.number(), shared.now_ms() - retention_ms);
                select.query_row(since, |row| row.get(0))
            }))?;
        let draw = || shared.options.env.random.next_u64();
        let seeds = || ahash::RandomState::with_seeds(draw(), draw(), draw(), draw());
        Ok(Pass {
            at: candidate.id.batch(clean_to),
            candidate,
            clean_to,
            horizon,
            tombstones_to: tombstones_to as u64,
            hashers: [seeds(), seeds()],
            newest: HashMap::with_hasher(seeds()),
            is_mapped: false,
            clean_bytes: 0,
        })
    }

    /// Does one piece of work, and says whether there is more.
    fn step(&mut self, shared: &Shared, connection: &Connection) -> Result<bool> {
        let sqlite = connection.get()?;
        let stored = self.read(shared, sqlite)?;
        if !self.is_mapped {
            self.map(&stored);
            return Ok(true);
        }
        if stored.is_empty() {
            return self.finish(shared, connection).map(|()| false);
        }
        let next = stored.last().map_or(self.at, |last| last.row + 1);
        let swap = self.plan(stored)?;
        if !swap.deleted.is_empty() && !self.swap(shared, connection, &swap)? {
            // The topic has been deleted.
            return Ok(false);
        }
        self.at = next;
        Ok(true)
    }

    /// The next batches before the horizon, as many as one step takes.
    fn read(&self, shared: &Shared, sqlite: &rusqlite::Connection) -> Result<Vec<Stored>> {
        let id = self.candidate.id;
        let sql = "SELECT id, span, bytes, append_ms, records FROM batches
                   WHERE id >= ? AND id < ? ORDER BY id";
        let mut select = shared.sql(sqlite.prepare_cached(sql))?;
        let mut rows = shared.sql(select.query((self.at, id.batch(self.horizon))))?;
        let (mut all, mut bytes) = (Vec::new(), 0);
        while bytes < STEP_BYTES_MAX && all.len() < STEP_BATCHES_MAX {
            let Some(row) = shared.sql(rows.next())? else {
                break;
            };
            let number = shared.sql(row.get(0))?;
            let span: u32 = shared.sql(row.get(1))?;
            let blob = shared.sql(row.get_ref(4))?.as_blob().unwrap_or_default();
            let first = first_offset(number);
            let mut decoder = BatchDecoder::with_capacity(blob.len());
            let decoded = match decoder.push(blob, first) {
                Ok(decoded) if decoded == span => Ok(()),
                Ok(_) => Err(crate::record_batch::Damage::SPAN),
                Err(damage) => Err(damage),
            };
            decoded.map_err(|damage| damage.at(&self.candidate.partition, first))?;
            let (records, offsets) = decoder.finish();
            bytes += blob.len() as u64;
            all.push(Stored {
                row: number,
                bytes: shared.sql(row.get::<_, i64>(2))? as u64,
                append_ms: shared.sql(row.get(3))?,
                records,
                offsets,
                kept: Vec::new(),
            });
        }
        Ok(all)
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        [0, 1].map(|index| self.hashers[index].hash_one(key))
    }

    /// Notes the newest offset of each key in some batches of the dirty part.
    fn map(&mut self, batches: &[Stored]) {
        for stored in batches {
            if self.newest.len() + stored.records.len() > KEYS_MAX {
                self.horizon = first_offset(stored.row);
                break;
            }
            for index in 0..stored.records.len() {
                if let Some(key) = stored.records.key(index) {
                    let hash = self.hash(key);
                    self.newest.insert(hash, stored.offsets.get(index));
                }
            }
            self.at = stored.row + 1;
        }
        if batches.is_empty() || self.candidate.id.batch(self.horizon) <= self.at {
            self.is_mapped = true;
            self.at = self.candidate.id.batch(0);
        }
    }

    /// What is to be swapped for these batches. They are taken together as long
    /// as what stays of them fits into one.
    fn plan(&mut self, batches: Vec<Stored>) -> Result<Swap> {
        let mut swap = Swap::default();
        let mut group: Vec<Stored> = Vec::new();
        let mut group_bytes = 0;
        for mut stored in batches {
            stored.kept = (0..stored.records.len())
                .filter(|&index| self.stays(&stored, index, &mut swap))
                .collect();
            let kept_bytes = stored.kept_bytes();
            let joins = group.last().is_none_or(|last| {
                let minute = Fetched::append_minute;
                let first = group[0].offsets.get(0);
                let is_clean = |stored: &Stored| stored.offsets.get(0) < self.clean_to;
                group_bytes + kept_bytes <= BATCH_BYTES
                    && minute(last.append_ms) == minute(stored.append_ms)
                    && is_clean(last) == is_clean(&stored)
                    && stored.offsets.get(stored.records.len() - 1) - first
                        < u64::from(BATCH_SPAN_MAX)
            });
            if !joins {
                self.close(&mut group, &mut swap)?;
                group_bytes = 0;
            }
            group_bytes += kept_bytes;
            group.push(stored);
        }
        self.close(&mut group, &mut swap)?;
        Ok(swap)
    }

    fn stays(&self, stored: &Stored, index: usize, swap: &mut Swap) -> bool {
        let Some(key) = stored.records.key(index) else {
            return true;
        };
        let offset = stored.offsets.get(index);
        let newest = self.newest.get(&self.hash(key));
        if newest.is_some_and(|&newest| offset < newest) {
            return false;
        }
        let is_tombstone = stored.records.values[index].is_null();
        if is_tombstone && offset < self.tombstones_to {
            swap.tombstones_to = offset + 1;
            return false;
        }
        true
    }

    /// Adds what becomes of a group of batches.
    fn close(&mut self, group: &mut Vec<Stored>, swap: &mut Swap) -> Result<()> {
        if let [alone] = &group[..]
            && alone.is_whole()
        {
            self.clean_bytes += alone.bytes;
            group.clear();
            return Ok(());
        }
        let mut encoder = BatchEncoder::default();
        let (mut base, mut append_ms) = (None, TimestampMs::MIN);
        for stored in group.drain(..) {
            swap.deleted.push(stored.row);
            append_ms = append_ms.max(stored.append_ms);
            for &index in &stored.kept {
                let offset = stored.offsets.get(index);
                let base = *base.get_or_insert(offset);
                encoder.push_at(
                    (offset - base) as u32,
                    stored.records.key(index),
                    stored.records.value(index),
                    stored.records.timestamps[index],
                    stored.records.headers(index),
                )?;
            }
        }
        if let (Some(base), Some(mut batch)) = (base, encoder.finish()) {
            batch.set_base_offset(base);
            self.clean_bytes += batch.bytes.len() as u64;
            swap.inserted.push((batch, base, append_ms));
        }
        Ok(())
    }

    /// Makes the swap in one transaction; `false` if the topic has been deleted.
    fn swap(&self, shared: &Shared, connection: &Connection, swap: &Swap) -> Result<bool> {
        let id = self.candidate.id;
        let swapped = shared.write(connection, |sqlite| {
            if !self.is_there(shared, sqlite)? {
                return Ok(false);
            }
            let mut delete =
                shared.sql(sqlite.prepare_cached("DELETE FROM batches WHERE id = ?"))?;
            for row in &swap.deleted {
                if shared.sql(delete.execute([row]))? != 1 {
                    return Err(Error::internal(format!(
                        "a batch is gone that was being compacted: another process compacts too \
                         partition=`{}` offset=`{}`",
                        self.candidate.partition,
                        first_offset(*row)
                    )));
                }
            }
            for (batch, base, append_ms) in &swap.inserted {
                super::append::insert(shared, sqlite, id.batch(*base), batch, *append_ms)?;
            }
            let sql = "UPDATE partitions SET tombstones_to = max(tombstones_to, ?) WHERE id = ?";
            let mut update = shared.sql(sqlite.prepare_cached(sql))?;
            shared.sql(update.execute((swap.tombstones_to as i64, id.number())))?;
            Ok(true)
        });
        swapped.and_then(Written::certain)
    }

    fn is_there(&self, shared: &Shared, sqlite: &rusqlite::Connection) -> Result<bool> {
        let sql = "SELECT 1 FROM partitions WHERE id = ? AND topic_id = ?";
        let select = sqlite.prepare_cached(sql);
        shared.sql(select.and_then(|mut select| select.exists(self.candidate.place())))
    }

    /// Notes that the pass has ended. Of those that ended shortly after each other
    /// the first and the last stay: enough to know what was clean how long ago.
    fn finish(&self, shared: &Shared, connection: &Connection) -> Result<()> {
        let id = self.candidate.id.number();
        let now_ms = shared.now_ms();
        let retention_ms = shared.options.tombstone_retention.as_millis() as i64;
        let finished = shared.write(connection, |sqlite| {
            if !self.is_there(shared, sqlite)? {
                return Ok(());
            }
            let run = |sql: &str, values: &[i64]| -> Result<()> {
                let mut statement = shared.sql(sqlite.prepare_cached(sql))?;
                shared.sql(statement.execute(rusqlite::params_from_iter(values)))?;
                Ok(())
            };
            run(
                "DELETE FROM cleanings WHERE partition_id = ?1
                 AND clean_to = (SELECT max(clean_to) FROM cleanings WHERE partition_id = ?1)
                 AND 1 < (SELECT count(*) FROM cleanings WHERE partition_id = ?1 AND at_ms > ?2)",
                &[id, now_ms - retention_ms / 8],
            )?;
            run(
                "DELETE FROM cleanings WHERE partition_id = ?1 AND clean_to <
                 (SELECT max(clean_to) FROM cleanings WHERE partition_id = ?1 AND at_ms <= ?2)",
                &[id, now_ms - retention_ms],
            )?;
            run(
                "INSERT OR REPLACE INTO cleanings (partition_id, clean_to, clean_bytes, at_ms)
                 VALUES (?, ?, ?, ?)",
                &[id, self.horizon as i64, self.clean_bytes as i64, now_ms],
            )
        });
        finished.and_then(Written::certain)
    }
}
