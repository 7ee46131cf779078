//! Reads partitions: whole runs of stored batches in one short transaction, the
//! last of them kept where a limit cut it.

use super::connection::{Connection, is_damage};
use super::run::{Budget, Joining, Run};
use super::schema::first_offset;
use super::shared::{Place, Shared, execute, roll_back};
use crate::record_batch::Damage;
use crate::{FetchLimits, Fetched, Positions, Reader};
use headwater_core::{Error, Position, Records, Result, TopicPartition};
use rusqlite::OptionalExtension;
use std::sync::Arc;
use std::time::Duration;

/// How often an idle reader looks, at first and after [`IDLE_LOOKS`].
const IDLE_PAUSE_MIN: Duration = Duration::from_millis(1);
const IDLE_PAUSE_MAX: Duration = Duration::from_millis(2);
const IDLE_LOOKS: u32 = 100;

/// See [`Reader`].
pub(super) struct EmbeddedReader {
    shared: Arc<Shared>,
    /// `None` only while it is dropped.
    connection: Option<Connection>,
    inputs: Vec<Input>,
    /// The input whose turn it is.
    turn: usize,
    /// The version of the data at which every input stood at its end: as long as
    /// it stays, there is nothing to read.
    quiet_at: Option<i64>,
}

/// One partition as it is read.
struct Input {
    partition: TopicPartition,
    place: Place,
    /// The next offset.
    offset: u64,
    /// Whether a stored batch is known to have started at `offset`, if there is
    /// one. Compaction may have merged it with the ones before since.
    aligned: bool,
    /// The tombstones that are gone do not matter to who has read from the start:
    /// `partitions.tombstones_to` when it was there.
    tombstones_seen: u64,
    /// A run that reached across a limit; what is left of it starts at `offset`.
    rest: Option<Run>,
}

impl EmbeddedReader {
    pub(super) fn new(shared: Arc<Shared>, from: &[(TopicPartition, Position)]) -> Result<Self> {
        let connection = shared.connect()?;
        let sqlite = connection.get()?;
        let inputs = from
            .iter()
            .map(|(partition, position)| {
                Ok(Input {
                    partition: partition.clone(),
                    place: shared.place(sqlite, partition)?,
                    offset: crate::offset_of(partition, *position)?,
                    aligned: false,
                    tombstones_seen: 0,
                    rest: None,
                })
            })
            .collect::<Result<_>>()?;
        Ok(EmbeddedReader {
            shared,
            connection: Some(connection),
            inputs,
            turn: 0,
            quiet_at: None,
        })
    }

    fn sqlite(&self) -> Result<&rusqlite::Connection> {
        self.connection
            .as_ref()
            .expect("a reader has a connection until it is dropped")
            .get()
    }

    /// Changes with every commit of another connection.
    fn data_version(&self) -> Result<i64> {
        let sqlite = self.sqlite()?;
        self.shared.sql(
            sqlite
                .prepare_cached("PRAGMA data_version")
                .and_then(|mut statement| statement.query_row([], |row| row.get(0))),
        )
    }

    /// Reads what is there, without waiting.
    fn fetch(&mut self, limits: FetchLimits) -> Result<Vec<Fetched>> {
        let version = self.data_version()?;
        if self.quiet_at == Some(version) {
            return Ok(self.inputs.iter().map(Input::nothing_new).collect());
        }
        self.quiet_at = None;
        let shared = self.shared.clone();
        let connection = self.connection.take().expect("a reader has a connection");
        let fetched = self.fetch_on(&shared, connection.get()?, limits);
        self.connection = Some(connection);
        let fetched = fetched?;
        if fetched.len() == self.inputs.len() && fetched.iter().all(|fetched| fetched.at_end) {
            self.quiet_at = Some(version);
        }
        Ok(fetched)
    }

    fn fetch_on(
        &mut self,
        shared: &Shared,
        sqlite: &rusqlite::Connection,
        limits: FetchLimits,
    ) -> Result<Vec<Fetched>> {
        // One snapshot for all partitions: a transaction is seen whole.
        let mut fetched = Vec::new();
        shared.sql(execute(sqlite, "BEGIN"))?;
        let result = self.take_turns(shared, sqlite, limits, &mut fetched);
        roll_back(sqlite);
        match result {
            // What was read has moved its inputs on, so it must be handed out; the
            // input that failed is the next in turn and fails again.
            Err(_) if !fetched.is_empty() => Ok(fetched),
            Err(error) => Err(error),
            Ok(()) => {
                self.turn = (self.turn + 1) % self.inputs.len().max(1);
                Ok(fetched)
            }
        }
    }

    /// Goes round the inputs, each with an equal share of what is left, until
    /// the budget or the log is at its end.
    fn take_turns(
        &mut self,
        shared: &Shared,
        sqlite: &rusqlite::Connection,
        limits: FetchLimits,
        fetched: &mut Vec<Fetched>,
    ) -> Result<()> {
        let mut budget = Budget {
            records: limits.records_max.max(1),
            bytes: limits.bytes_max,
            untouched: true,
        };
        let count = self.inputs.len();
        let mut going: Vec<usize> = (0..count).map(|turn| (self.turn + turn) % count).collect();
        while !going.is_empty() && !budget.is_spent() {
            let mut more = Vec::new();
            for (place, &index) in going.iter().enumerate() {
                if budget.is_spent() {
                    break;
                }
                let share = budget.records.div_ceil(going.len() - place);
                let input = &mut self.inputs[index];
                match input.take(shared, sqlite, share, &mut budget, fetched) {
                    Ok(true) => {}
                    Ok(false) => more.push(index),
                    Err(error) => {
                        self.turn = index;
                        return Err(error);
                    }
                }
            }
            going = more;
        }
        Ok(())
    }
}

impl Reader for EmbeddedReader {
    fn poll(&mut self, wait: Duration, limits: FetchLimits) -> Result<Vec<Fetched>> {
        let clock = self.shared.options.env.clock.clone();
        let deadline = clock.monotonic().saturating_add(wait);
        let mut looks = 0;
        loop {
            let fetched = self.fetch(limits)?;
            let now = clock.monotonic();
            if deadline <= now || fetched.iter().any(|fetched| !fetched.records.is_empty()) {
                return Ok(fetched);
            }
            let pause = if looks < IDLE_LOOKS {
                IDLE_PAUSE_MIN
            } else {
                IDLE_PAUSE_MAX
            };
            looks += 1;
            clock.sleep(pause.min(deadline - now));
        }
    }

    fn seek(&mut self, partition: &TopicPartition, to: Position) -> Result<()> {
        let offset = crate::offset_of(partition, to)?;
        let Some(input) = self
            .inputs
            .iter_mut()
            .find(|input| input.partition == *partition)
        else {
            return Err(Error::invalid(format!(
                "the reader does not read this partition topic=`{}` partition=`{}`",
                partition.topic, partition.partition
            )));
        };
        input.offset = offset;
        input.aligned = false;
        input.tombstones_seen = 0;
        input.rest = None;
        self.quiet_at = None;
        Ok(())
    }
}

impl Drop for EmbeddedReader {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.shared.give_back(connection);
        }
    }
}

impl Input {
    /// The answer for a partition at its end.
    fn nothing_new(&self) -> Fetched {
        Fetched {
            partition: self.partition.clone(),
            records: Records::default(),
            positions: Positions::From(self.offset),
            resume: Position::from_offset(self.offset),
            append_time_ms: None,
            at_end: true,
        }
    }

    /// Reads up to `share` records, and whether the partition is at its end then.
    ///
    /// # Errors
    /// Then this input stands where it stood.
    fn take(
        &mut self,
        shared: &Shared,
        sqlite: &rusqlite::Connection,
        share: usize,
        budget: &mut Budget,
        fetched: &mut Vec<Fetched>,
    ) -> Result<bool> {
        if let Some(rest) = self.rest.take() {
            let mut part = self.hand_out(rest, share, budget);
            // The records are taken, so an error waits for the next poll.
            part.at_end = self.rest.is_none() && !self.has_more(shared, sqlite).unwrap_or(true);
            let at_end = part.at_end;
            push_unless_empty(fetched, part);
            return Ok(at_end);
        }
        self.check_bounds(shared, sqlite)?;
        let start = self.first_batch(shared, sqlite)?;
        let (runs, mut at_end) = self.read_runs(shared, sqlite, start, share, budget)?;
        if runs.is_empty() {
            fetched.push(self.nothing_new());
            return Ok(true);
        }
        let (mut left, count) = (share, runs.len());
        for (index, run) in runs.into_iter().enumerate() {
            assert!(
                self.rest.is_none(),
                "only the last run reaches across a limit"
            );
            let mut part = self.hand_out(run, left, budget);
            left -= part.records.len();
            at_end &= self.rest.is_none();
            part.at_end = at_end && index + 1 == count;
            push_unless_empty(fetched, part);
        }
        Ok(at_end)
    }

    /// # Errors
    /// `Invalid` if the topic has been deleted, the offset lies outside of what
    /// the partition has, or tombstones after it are gone.
    fn check_bounds(&mut self, shared: &Shared, sqlite: &rusqlite::Connection) -> Result<()> {
        let Some(start) = shared.start(sqlite, self.place)? else {
            return Err(crate::topic_deleted(&self.partition.topic));
        };
        let (partition, offset) = (&self.partition, self.offset);
        if offset < start.offset {
            return Err(crate::retention_has_passed(partition, offset, start.offset));
        }
        if offset == start.offset {
            self.tombstones_seen = start.tombstones_to;
        } else if offset < start.tombstones_to && self.tombstones_seen < start.tombstones_to {
            let tombstones_to = start.tombstones_to;
            return Err(crate::tombstones_gone(partition, offset, tombstones_to));
        }
        if self.aligned {
            return Ok(());
        }
        match shared.offsets(sqlite, self.place)? {
            Some((_, end)) if end < self.offset => {
                Err(crate::position_after_end(&self.partition, self.offset, end))
            }
            _ => Ok(()),
        }
    }

    /// The row id from which to read: of the batch that holds `offset`.
    fn first_batch(&self, shared: &Shared, sqlite: &rusqlite::Connection) -> Result<i64> {
        let wanted = self.place.id.batch(self.offset);
        if self.aligned && !self.place.compacted {
            return Ok(wanted);
        }
        let found: Option<i64> = shared.sql(
            sqlite
                .prepare_cached(
                    "SELECT id FROM batches WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1",
                )
                .and_then(|mut statement| {
                    statement
                        .query_row((self.place.id.batch(0), wanted), |row| row.get(0))
                        .optional()
                }),
        )?;
        Ok(found.unwrap_or(wanted))
    }

    fn has_more(&self, shared: &Shared, sqlite: &rusqlite::Connection) -> Result<bool> {
        shared.sql(
            sqlite
                .prepare_cached("SELECT 1 FROM batches WHERE id BETWEEN ? AND ? LIMIT 1")
                .and_then(|mut statement| {
                    statement.exists((self.place.id.batch(self.offset), self.place.id.last_batch()))
                }),
        )
    }

    /// Reads stored batches from row `start` on until there are enough records,
    /// and whether they are the last.
    fn read_runs(
        &self,
        shared: &Shared,
        sqlite: &rusqlite::Connection,
        start: i64,
        share: usize,
        budget: &Budget,
    ) -> Result<(Vec<Run>, bool)> {
        let mut statement = shared.sql(sqlite.prepare_cached(
            "SELECT id, span, append_ms, records FROM batches WHERE id BETWEEN ? AND ?
             ORDER BY id",
        ))?;
        let mut rows = shared.sql(statement.query((start, self.place.id.last_batch())))?;
        let mut joining = Joining::default();
        let (mut records, mut bytes, mut next) = (0, 0, self.offset);
        while records < share && (bytes < budget.bytes || records == 0) {
            let row = rows.next().map_err(|error| match is_damage(&error) {
                true => Damage::PAGE.at(&self.partition, next),
                false => shared.error(error),
            })?;
            let Some(row) = row else {
                return Ok((joining.finish(), true));
            };
            let first = first_offset(shared.sql(row.get(0))?);
            let span: u32 = shared.sql(row.get(1))?;
            let end = first + u64::from(span);
            next = end;
            if end <= self.offset {
                // The batch that was looked for ends before the offset.
                continue;
            }
            let append_ms = shared.sql(row.get(2))?;
            let stored = shared.sql(row.get_ref(3))?.as_blob().unwrap_or_default();
            joining
                .push(stored, first, span, append_ms)
                .map_err(|damage| damage.at(&self.partition, first))?;
            records += (end - first.max(self.offset)) as usize;
            bytes += stored.len();
        }
        let more = shared.sql(rows.next())?.is_some();
        Ok((joining.finish(), !more))
    }

    /// Takes up to `share` records of `run` from `offset` on, and keeps the rest.
    fn hand_out(&mut self, run: Run, share: usize, budget: &mut Budget) -> Fetched {
        let skip = run.offsets.index_from(self.offset);
        let end = skip + budget.fit(&run.records, skip, share);
        let positions = run.offsets.positions(skip, end);
        if end > skip {
            self.offset = run.offsets.get(end - 1) + 1;
        }
        let append_ms = run.append_ms;
        let records = if skip == 0 && end == run.records.len() {
            run.records
        } else {
            let records = run.records.slice(skip, end);
            self.rest = (end < run.records.len()).then_some(run);
            records
        };
        self.aligned = self.rest.is_none();
        Fetched {
            partition: self.partition.clone(),
            records,
            positions,
            resume: Position::from_offset(self.offset),
            append_time_ms: Some(append_ms),
            at_end: false,
        }
    }
}

/// A partition of which nothing fitted says nothing.
fn push_unless_empty(fetched: &mut Vec<Fetched>, part: Fetched) {
    if part.at_end || !part.records.is_empty() {
        fetched.push(part);
    }
}
