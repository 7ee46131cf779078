//! One row: which windows it is in, what it does to them, and what it closes.

use super::callbacks::Trigger;
use super::due::time_at;
use super::results::{Bounds, Results};
use super::rules::Rules;
use super::{FETCH_ROWS, Window};
use crate::Step;
use crate::function::data_or_end;
use headwater_core::{Batch, Cause, Column, DataError, Error, Result, TimestampMs};
use headwater_plan::{Closing, Emit};

/// A row that is being handled.
#[derive(Clone, Copy)]
struct Row<'a> {
    batch: &'a Batch,
    row: usize,
    columns: &'a [Column],
    key: &'a [u8],
    timestamp: TimestampMs,
    cause: Cause,
}

/// The windows `[first, last]` that a row is added to, by start.
#[derive(Clone, Copy)]
struct Starts {
    first: TimestampMs,
    last: TimestampMs,
}

impl Window {
    /// Handles a row, or marks it as failed and changes nothing.
    ///
    /// # Errors
    /// What ends the job.
    pub(super) fn take_row(
        &mut self,
        batch: &Batch,
        row: usize,
        columns: &[Column],
        step: &mut Step<'_>,
    ) -> Result<()> {
        let timestamp = batch.timestamps[row];
        let Some(key) = batch.keys.get(row) else {
            step.fail(batch, row, no_key());
            return Ok(());
        };
        if !Rules::is_in_range(timestamp) {
            step.fail(batch, row, out_of_range(timestamp));
            return Ok(());
        }
        let row = Row {
            batch,
            row,
            columns,
            key,
            timestamp,
            cause: batch.cause(row),
        };
        let handled = if self.has_savepoints {
            let savepoint = self.store.open_savepoint();
            let results = self.results.len();
            let handled = self.update(row, step);
            if handled.is_ok() {
                self.store.keep(savepoint);
            } else {
                self.store.take_back(savepoint);
                let outputs = self.aggregators.outputs().len();
                self.results.truncate(results, outputs);
                self.early.truncate(0, outputs);
            }
            handled
        } else {
            self.update(row, step)
        };
        if let Err(error) = handled {
            step.fail(batch, row.row, data_or_end(error)?);
        }
        Ok(())
    }

    /// As [`Window::take_row`]; without savepoints nothing has changed where it
    /// fails.
    fn update(&mut self, row: Row<'_>, step: &mut Step<'_>) -> Result<()> {
        let watermark = time_at(row.cause.at(), step);
        let hint = self.fetched[row.row % FETCH_ROWS];
        let slot = self.store.entries.find_near(row.key, hint);
        let clock = slot.map(|slot| &self.store.entry(slot).clock);
        let closed_end = self
            .rules
            .closed_end(clock, watermark)
            .max(self.store.ended_ms);
        let (first, last) = self.rules.starts(row.timestamp);
        let open = Starts {
            first: self.rules.first_open(first, closed_end),
            last,
        };
        if open.first <= last && !self.has_savepoints {
            self.check(slot, open, row)?;
        }
        if first < open.first {
            self.report_late(row, closed_end, first, step)?;
        }
        let slot = match slot {
            Some(slot) => slot,
            None if last < open.first => {
                self.store.count_late();
                return Ok(());
            }
            None => self.store.add_key(row.key),
        };
        // None of the windows that are closed is one that the row is added to.
        if self.rules.closing == Closing::Key {
            let clock = self
                .store
                .entry(slot)
                .clock
                .moved_by(row.timestamp, watermark);
            self.store.set_clock(slot, clock);
            self.close_passed(slot, row.cause.at(), step)?;
        }
        if last < open.first {
            self.store.count_late();
        } else {
            self.add(slot, open, row, step)?;
        }
        if !self.early.is_empty() {
            let Window { early, results, .. } = self;
            results.append(early);
        }
        self.store.arm(slot);
        Ok(())
    }

    /// Whether the row can be added to all its windows.
    fn check(&self, slot: Option<u32>, open: Starts, row: Row<'_>) -> Result<()> {
        let entry = slot.map(|slot| self.store.entry(slot));
        let mut index = entry.map_or(0, |entry| entry.windows.position(open.first));
        let mut start_ms = open.first;
        let mut has_checked_new = false;
        while start_ms <= open.last {
            let window = entry
                .and_then(|entry| entry.windows.get(index))
                .filter(|window| window.start_ms == start_ms);
            let checked = match window {
                Some(window) => {
                    index += 1;
                    self.aggregators
                        .check(&window.accumulators, row.columns, row.row)
                }
                None if has_checked_new => Ok(()),
                None => {
                    has_checked_new = true;
                    self.aggregators.check_new(row.columns, row.row)
                }
            };
            checked.map_err(|fault| Error::data(*fault))?;
            start_ms += self.rules.advance_ms;
        }
        Ok(())
    }

    /// Adds the row to its open windows.
    fn add(&mut self, slot: u32, open: Starts, row: Row<'_>, step: &mut Step<'_>) -> Result<()> {
        let mut index = self.store.entry(slot).windows.position(open.first);
        let mut start_ms = open.first;
        while start_ms <= open.last {
            let there = self.store.entry(slot).windows.get(index);
            if there.is_none_or(|window| window.start_ms != start_ms) {
                self.store.open_window(slot, index, start_ms);
            }
            if self.has_savepoints {
                self.trigger(Trigger::Before, (slot, index), row, step)?;
            }
            let window = self.store.touch_window(slot, index);
            if self.has_savepoints {
                let checked = self
                    .aggregators
                    .check(&window.accumulators, row.columns, row.row);
                checked.map_err(|fault| Error::data(*fault))?;
            }
            window.is_empty = false;
            let accumulators = &mut window.accumulators;
            self.aggregators
                .add(accumulators, row.columns, row.row, row.timestamp)?;
            let has_left =
                self.has_savepoints && self.trigger(Trigger::After, (slot, index), row, step)?;
            if self.emit == Emit::Current && !has_left {
                self.emit_window(slot, index, row.cause)?;
            }
            index += 1;
            start_ms += self.rules.advance_ms;
        }
        Ok(())
    }

    /// Emits a window and starts it anew, if the trigger says so.
    fn trigger(
        &mut self,
        trigger: Trigger,
        (slot, index): (u32, usize),
        row: Row<'_>,
        step: &mut Step<'_>,
    ) -> Result<bool> {
        let entry = self.store.entry(slot);
        let window = entry.windows.get(index).expect("the window is open");
        if !self.callbacks.has(trigger) || window.is_empty {
            return Ok(false);
        }
        let mut outputs = Vec::new();
        self.aggregators
            .results(&window.accumulators, &mut outputs)?;
        let at = (row.batch, row.row);
        let aggregators = &*self.aggregators;
        if !self
            .callbacks
            .is_triggered(trigger, at, (aggregators, &outputs), step)?
        {
            return Ok(false);
        }
        let bounds = self.bounds(window.start_ms);
        // Under `current()` a record closes nothing that leaves, and its results
        // stay in order of windows.
        let results: &mut Results = match self.emit {
            Emit::Final => &mut self.early,
            Emit::Current => &mut self.results,
        };
        results.push(&entry.key, bounds, row.cause, |values| {
            values.append(&mut outputs);
            Ok(())
        })?;
        self.store.restart_window(slot, index);
        Ok(true)
    }

    /// Closes the windows that the key's own clock has passed at input `at`. Their
    /// results are causes of their own: if one fails, the record has not.
    fn close_passed(&mut self, slot: u32, at: usize, step: &mut Step<'_>) -> Result<()> {
        let watermark = time_at(at, step);
        loop {
            let entry = self.store.entry(slot);
            let Some(window) = entry.windows.first() else {
                return Ok(());
            };
            if !self
                .rules
                .is_passed(&entry.clock, window.start_ms, watermark)
            {
                return Ok(());
            }
            let start_ms = window.start_ms;
            self.emit_first(slot, at, step)?;
            self.close_first(slot, start_ms);
        }
    }

    fn report_late(
        &mut self,
        row: Row<'_>,
        closed_end: TimestampMs,
        first: TimestampMs,
        step: &mut Step<'_>,
    ) -> Result<()> {
        let rules = self.rules;
        let late_by_ms = rules.late_by(closed_end, row.timestamp);
        let mut next = first;
        let missed = std::iter::from_fn(|| {
            let start_ms = next;
            next += rules.advance_ms;
            let end_ms = rules.end(start_ms);
            (start_ms <= row.timestamp && end_ms <= closed_end)
                .then_some(Bounds { start_ms, end_ms })
        });
        self.callbacks
            .report_late((row.batch, row.row), late_by_ms, missed, step)
    }
}

#[cold]
fn no_key() -> DataError {
    DataError::new("a record without a key cannot be aggregated by key")
        .with_hint("group by a key or set one with to_topic(key=...)")
}

#[cold]
fn out_of_range(timestamp: TimestampMs) -> DataError {
    DataError::new(format!(
        "the event time is out of range, timestamp_ms=`{timestamp}`"
    ))
    .with_hint("event times are milliseconds since 1970-01-01T00:00:00Z")
}
