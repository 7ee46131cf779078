//! Deletes what retention no longer keeps, whole batches, oldest first.
//!
//! What a group has yet to read is kept until the partition has twice the bytes
//! that retention allows; what goes then goes with a warning. Compacted topics
//! are left to [compaction](super::compaction).

use super::connection::Connection;
use super::schema::{PartitionId, first_offset};
use super::shared::{Place, Shared, Written};
use headwater_core::{Position, Result, TopicPartition};
use rusqlite::OptionalExtension;
use std::collections::BTreeMap;

/// What one transaction deletes at most, so that writers wait for no longer.
const DELETED_BATCHES_MAX: usize = 64;
const DELETED_BYTES_MAX: u64 = 16 << 20;

/// The sizes of partitions, counted once and then kept up to date.
#[derive(Default)]
pub(super) struct Retention {
    sizes: BTreeMap<i64, Size>,
}

/// The bytes of a partition's batches before row `counted_to`.
#[derive(Clone, Copy, Default)]
pub(super) struct Size {
    pub(super) bytes: u64,
    pub(super) counted_to: i64,
}

/// A partition to which retention applies.
struct Candidate {
    id: PartitionId,
    topic: String,
    number: u32,
    retention_ms: Option<i64>,
    retention_bytes: Option<u64>,
}

/// A stored batch, without its records.
struct Batch {
    row: i64,
    span: u64,
    bytes: u64,
    append_ms: i64,
}

/// The batches that go, and where the partition starts after them.
#[derive(Default)]
struct Cut {
    rows: Vec<i64>,
    start: u64,
    bytes: u64,
    /// How many records each group had yet to read.
    unread: BTreeMap<String, u64>,
    /// Whether there may be more to delete.
    is_partial: bool,
}

impl Retention {
    /// Removes deleted topics and, where `is_due`, what retention has passed.
    pub(super) fn run(
        &mut self,
        shared: &Shared,
        connection: &Connection,
        is_due: bool,
    ) -> Result<()> {
        while let Some(id) = remove_deleted(shared, connection)? {
            // A new partition may get its number.
            self.sizes.remove(&id.number());
        }
        if is_due {
            for candidate in candidates(shared, connection.get()?)? {
                while self.cut(shared, connection, &candidate)? {}
            }
        }
        Ok(())
    }

    /// Deletes some batches of a partition; whether there may be more.
    fn cut(
        &mut self,
        shared: &Shared,
        connection: &Connection,
        candidate: &Candidate,
    ) -> Result<bool> {
        let sqlite = connection.get()?;
        let size = self.sizes.entry(candidate.id.number()).or_default();
        count_new(shared, sqlite, candidate.id, size)?;
        let cut = find_cut(shared, sqlite, candidate, size.bytes)?;
        if cut.rows.is_empty() {
            return Ok(false);
        }
        shared
            .write(connection, |sqlite| {
                delete(shared, sqlite, candidate.id, &cut)
            })
            .and_then(Written::certain)?;
        size.bytes = size.bytes.saturating_sub(cut.bytes);
        for (group, count) in &cut.unread {
            (shared.options.warn)(&format!(
                "retention has deleted records that a group had yet to read topic=`{}` \
                 partition=`{}` group=`{group}` records=`{count}`",
                candidate.topic, candidate.number
            ));
        }
        Ok(cut.is_partial)
    }
}

fn candidates(shared: &Shared, sqlite: &rusqlite::Connection) -> Result<Vec<Candidate>> {
    let mut select = shared.sql(sqlite.prepare_cached(
        "SELECT partitions.id, name, number, retention_ms, retention_bytes
         FROM partitions JOIN topics ON topics.id = topic_id
         WHERE compacted = 0 AND (retention_ms IS NOT NULL OR retention_bytes IS NOT NULL)
         ORDER BY partitions.id",
    ))?;
    let mut rows = shared.sql(select.query([]))?;
    let mut candidates = Vec::new();
    while let Some(row) = shared.sql(rows.next())? {
        candidates.push(Candidate {
            id: PartitionId::new(shared.sql(row.get(0))?)?,
            topic: shared.sql(row.get(1))?,
            number: shared.sql(row.get(2))?,
            retention_ms: shared.sql(row.get(3))?,
            retention_bytes: shared
                .sql(row.get::<_, Option<i64>>(4))?
                .map(|bytes| bytes as u64),
        });
    }
    Ok(candidates)
}

/// Adds the batches stored since the last time.
pub(super) fn count_new(
    shared: &Shared,
    sqlite: &rusqlite::Connection,
    id: PartitionId,
    size: &mut Size,
) -> Result<()> {
    let mut select = shared.sql(sqlite.prepare_cached(
        "SELECT coalesce(sum(bytes), 0), max(id) FROM batches WHERE id BETWEEN ? AND ?",
    ))?;
    let from = size.counted_to.max(id.batch(0));
    let (bytes, last): (i64, Option<i64>) =
        shared.sql(select.query_row((from, id.last_batch()), |row| {
            Ok((row.get(0)?, row.get(1)?))
        }))?;
    size.bytes += bytes as u64;
    size.counted_to = last.map_or(from, |last| last + 1);
    Ok(())
}

/// Deletes the whole batches before an offset that no group has yet to read.
pub(super) fn delete_before(
    shared: &Shared,
    place: Place,
    partition: &TopicPartition,
    offset: u64,
) -> Result<()> {
    loop {
        let is_partial = shared.write_once(|sqlite| {
            let positions = group_positions(shared, sqlite, &partition.topic, partition.partition)?;
            let offset = positions.into_values().fold(offset, u64::min);
            let cut = batches_before(shared, sqlite, place.id, offset)?;
            if !cut.rows.is_empty() {
                delete(shared, sqlite, place.id, &cut)?;
            }
            Ok(cut.is_partial)
        })?;
        if !is_partial {
            return Ok(());
        }
    }
}

/// Some of the oldest batches that end at an offset or before; never the newest of the
/// partition, by which its end is known.
fn batches_before(
    shared: &Shared,
    sqlite: &rusqlite::Connection,
    id: PartitionId,
    offset: u64,
) -> Result<Cut> {
    let mut select = shared.sql(sqlite.prepare_cached(
        "SELECT id, span FROM batches WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
    ))?;
    let range = (id.batch(0), id.last_batch(), DELETED_BATCHES_MAX as i64 + 1);
    let rows = select.query_map(range, |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)? as u64))
    });
    let rows: Vec<_> = shared.sql(rows.and_then(Iterator::collect))?;
    let mut cut = Cut::default();
    for window in rows.windows(2) {
        let (row, span) = window[0];
        let end = first_offset(row) + span;
        if offset < end {
            return Ok(cut);
        }
        cut.rows.push(row);
        cut.start = end;
    }
    cut.is_partial = cut.rows.len() == DELETED_BATCHES_MAX;
    Ok(cut)
}

fn find_cut(
    shared: &Shared,
    sqlite: &rusqlite::Connection,
    candidate: &Candidate,
    partition_bytes: u64,
) -> Result<Cut> {
    let now_ms = shared.now_ms();
    let positions = group_positions(shared, sqlite, &candidate.topic, candidate.number)?;
    let mut select = shared.sql(sqlite.prepare_cached(
        "SELECT id, span, bytes, append_ms FROM batches WHERE id BETWEEN ? AND ? ORDER BY id",
    ))?;
    let range = (candidate.id.batch(0), candidate.id.last_batch());
    let mut rows = shared.sql(select.query(range))?;
    let mut cut = Cut::default();
    while let Some(row) = shared.sql(rows.next())? {
        if cut.rows.len() >= DELETED_BATCHES_MAX || cut.bytes >= DELETED_BYTES_MAX {
            cut.is_partial = true;
            break;
        }
        let batch = Batch {
            row: shared.sql(row.get(0))?,
            span: shared.sql(row.get::<_, i64>(1))? as u64,
            bytes: shared.sql(row.get::<_, i64>(2))? as u64,
            append_ms: shared.sql(row.get(3))?,
        };
        let left_bytes = partition_bytes.saturating_sub(cut.bytes);
        if !may_go(candidate, &batch, left_bytes, now_ms, &positions) {
            break;
        }
        cut.take(&batch, &positions);
    }
    Ok(cut)
}

/// Whether retention lets go of the oldest batch of a partition of `bytes`.
fn may_go(
    candidate: &Candidate,
    batch: &Batch,
    bytes: u64,
    now_ms: i64,
    positions: &BTreeMap<String, u64>,
) -> bool {
    // The bound holds with the batch gone: one larger than the bound is kept.
    let exceeds = |bound: u64| bytes - batch.bytes.min(bytes) >= bound;
    let is_old = candidate
        .retention_ms
        .is_some_and(|age| batch.append_ms < now_ms - age);
    let is_over = candidate.retention_bytes.is_some_and(exceeds);
    let end = first_offset(batch.row) + batch.span;
    let is_needed = positions.values().any(|&position| position < end);
    if is_needed {
        return candidate
            .retention_bytes
            .is_some_and(|bound| exceeds(bound.saturating_mul(2)));
    }
    is_old || is_over
}

impl Cut {
    fn take(&mut self, batch: &Batch, positions: &BTreeMap<String, u64>) {
        let first = first_offset(batch.row);
        let end = first + batch.span;
        for (group, &position) in positions {
            if position < end {
                *self.unread.entry(group.clone()).or_default() += end - position.max(first);
            }
        }
        self.rows.push(batch.row);
        self.start = end;
        self.bytes += batch.bytes;
    }
}

/// The committed offset of each group that reads the partition.
fn group_positions(
    shared: &Shared,
    sqlite: &rusqlite::Connection,
    topic: &str,
    number: u32,
) -> Result<BTreeMap<String, u64>> {
    let mut select = shared.sql(sqlite.prepare_cached(
        "SELECT group_name, position FROM positions WHERE topic = ? AND partition = ?",
    ))?;
    let rows = select.query_map((topic, number), |row| {
        Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?))
    });
    let rows = shared.sql(rows.and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>))?;
    let offset = |bytes: &[u8]| Position::from_bytes(bytes)?.offset();
    Ok(rows
        .into_iter()
        .filter_map(|(group, bytes)| Some((group, offset(&bytes)?)))
        .collect())
}

fn delete(
    shared: &Shared,
    sqlite: &rusqlite::Connection,
    id: PartitionId,
    cut: &Cut,
) -> Result<()> {
    let mut delete = shared.sql(sqlite.prepare_cached("DELETE FROM batches WHERE id = ?"))?;
    for &row in &cut.rows {
        shared.sql(delete.execute([row]))?;
    }
    let sql = "UPDATE partitions SET start_offset = max(start_offset, ?) WHERE id = ?";
    let mut update = shared.sql(sqlite.prepare_cached(sql))?;
    shared.sql(update.execute((cut.start as i64, id.number())))?;
    Ok(())
}

/// Removes some batches of a deleted topic, and says which partition it was.
fn remove_deleted(shared: &Shared, connection: &Connection) -> Result<Option<PartitionId>> {
    let sql = "SELECT id FROM partitions WHERE topic_id = 0 LIMIT 1";
    let found: Option<i64> = shared.sql(
        connection
            .get()?
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)).optional()),
    )?;
    let Some(id) = found else { return Ok(None) };
    let id = PartitionId::new(id)?;
    let removed = shared.write(connection, |sqlite| {
        let mut delete = shared.sql(sqlite.prepare_cached(
            "DELETE FROM batches WHERE id IN
             (SELECT id FROM batches WHERE id BETWEEN ? AND ? LIMIT ?)",
        ))?;
        let count = (id.batch(0), id.last_batch(), DELETED_BATCHES_MAX as i64);
        if shared.sql(delete.execute(count))? < DELETED_BATCHES_MAX {
            let id = [id.number()];
            shared.sql(sqlite.execute("DELETE FROM partitions WHERE id = ?", id))?;
            shared.sql(sqlite.execute("DELETE FROM cleanings WHERE partition_id = ?", id))?;
        }
        Ok(())
    });
    removed.and_then(Written::certain)?;
    Ok(Some(id))
}
