//! Records on their way into the log: encoded when they are appended, stored in
//! one go when the transaction comes.

use super::schema::OFFSET_END;
use super::shared::{Place, Shared};
use crate::Ends;
use crate::record_batch::{BatchEncoder, EncodedBatch};
use headwater_core::{Error, Position, Records, Result, TimestampMs, TopicPartition};
use std::collections::BTreeMap;

/// A stored batch is closed at this size. Appends to one partition share a batch
/// until then, so that a thousand single records become one row.
pub(super) const BATCH_BYTES: usize = 512 << 10;

/// Records by partition, encoded.
#[derive(Default)]
pub(super) struct Queue {
    partitions: BTreeMap<TopicPartition, Queued>,
    byte_count: usize,
    record_count: usize,
}

struct Queued {
    place: Place,
    closed: Vec<EncodedBatch>,
    open: BatchEncoder,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    pub(super) fn byte_count(&self) -> usize {
        self.byte_count
    }

    pub(super) fn record_count(&self) -> usize {
        self.record_count
    }

    /// Forgets everything that has not been stored.
    pub(super) fn clear(&mut self) {
        self.byte_count = 0;
        self.record_count = 0;
        // The places go too: by the next append a topic may have been made anew.
        self.partitions.clear();
    }

    /// Appends records to a partition.
    ///
    /// # Errors
    /// `Invalid` for an unknown partition (`find` says so) or a record that is
    /// too large; none of `records` is appended then.
    pub(super) fn push(
        &mut self,
        partition: &TopicPartition,
        records: &Records,
        find: impl FnOnce() -> Result<Place>,
    ) -> Result<()> {
        if !self.partitions.contains_key(partition) {
            let (place, closed, open) = (find()?, Vec::new(), BatchEncoder::default());
            self.partitions.insert(
                partition.clone(),
                Queued {
                    place,
                    closed,
                    open,
                },
            );
        }
        let queued = self
            .partitions
            .get_mut(partition)
            .expect("it was just inserted");
        check_sizes(records)?;
        if queued.open.count() == 0 && !records.is_empty() {
            queued.open = BatchEncoder::with_capacity(
                (records.bytes.len() + 16 * records.len()).min(BATCH_BYTES),
            );
        }
        for index in 0..records.len() {
            let (key, value) = (records.key(index), records.value(index));
            let size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
            if queued.open.count() > 0 && queued.open.byte_count() + size > BATCH_BYTES {
                queued.close(records.len() - index);
            }
            let before = queued.open.byte_count();
            queued.open.push(
                key,
                value,
                records.timestamps[index],
                records.headers(index),
            )?;
            self.byte_count += queued.open.byte_count() - before;
        }
        self.record_count += records.len();
        Ok(())
    }

    /// Stores everything within the transaction that is open on `sqlite`, and
    /// returns the end of each partition. The queue keeps its records until
    /// [`Queue::clear`], in case the commit fails.
    ///
    /// # Errors
    /// `Invalid` if a topic has been deleted: its records are dropped from the
    /// queue, or it could never be emptied.
    pub(super) fn store(&mut self, shared: &Shared, sqlite: &rusqlite::Connection) -> Result<Ends> {
        let now_ms = shared.now_ms();
        let mut ends = Ends::new();
        let mut deleted = None;
        for (partition, queued) in &mut self.partitions {
            queued.close(0);
            if queued.closed.is_empty() {
                continue;
            }
            match shared.offsets(sqlite, queued.place)? {
                Some((_, next)) => {
                    let end = queued.store(shared, sqlite, next, now_ms)?;
                    ends.insert(partition.clone(), Position::from_offset(end));
                }
                None => deleted = Some(partition.clone()),
            }
        }
        let Some(partition) = deleted else {
            return Ok(ends);
        };
        self.forget(&partition);
        Err(Error::invalid(format!(
            "records could not be appended because their topic has been deleted topic=`{}`",
            partition.topic
        )))
    }

    fn forget(&mut self, partition: &TopicPartition) {
        let Some(queued) = self.partitions.remove(partition) else {
            return;
        };
        for batch in queued.closed {
            self.byte_count = self.byte_count.saturating_sub(batch.bytes.len());
            self.record_count -= batch.count as usize;
        }
        if self.record_count == 0 {
            self.byte_count = 0;
        }
    }
}

impl Queued {
    /// Closes the open batch; the next one is expected to take `records_next`.
    fn close(&mut self, records_next: usize) {
        let count = self.open.count() as usize;
        if count == 0 {
            return;
        }
        let per_record = self.open.byte_count() / count + 1;
        let capacity = (per_record * records_next).min(BATCH_BYTES + per_record);
        let open = std::mem::replace(&mut self.open, BatchEncoder::with_capacity(capacity));
        self.closed.extend(open.finish());
    }

    fn store(
        &mut self,
        shared: &Shared,
        sqlite: &rusqlite::Connection,
        next: u64,
        now_ms: i64,
    ) -> Result<u64> {
        let mut offset = next;
        for batch in &mut self.closed {
            let end = offset + u64::from(batch.span);
            if end >= OFFSET_END {
                return Err(Error::invalid(format!(
                    "a partition of the embedded log is at its last offset offset=`{offset}`"
                )));
            }
            batch.set_base_offset(offset);
            insert(shared, sqlite, self.place.id.batch(offset), batch, now_ms)?;
            offset = end;
        }
        Ok(offset)
    }
}

/// Stores a batch as the row `id`.
pub(super) fn insert(
    shared: &Shared,
    sqlite: &rusqlite::Connection,
    id: i64,
    batch: &EncodedBatch,
    append_ms: TimestampMs,
) -> Result<()> {
    let mut insert = shared.sql(sqlite.prepare_cached(
        "INSERT INTO batches (id, span, bytes, append_ms, timestamp_max, records)
         VALUES (?, ?, ?, ?, ?, ?)",
    ))?;
    shared.sql(insert.execute((
        id,
        batch.span,
        batch.bytes.len() as i64,
        append_ms,
        batch.timestamp_max,
        batch.bytes.as_slice(),
    )))?;
    Ok(())
}

/// Refuses a record that is too large before any of its neighbours is queued.
fn check_sizes(records: &Records) -> Result<()> {
    // Only a batch this large can hold such a record; headers are checked when
    // the record is encoded.
    if records.bytes.len() < crate::record_batch::RECORD_BYTES_MAX / 2 && records.headers.is_empty()
    {
        return Ok(());
    }
    (0..records.len()).try_for_each(|index| {
        let (key, value) = (records.key(index), records.value(index));
        crate::record_batch::check_record_size(key, value, records.headers(index))
    })
}
