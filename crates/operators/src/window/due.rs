//! What time closes: silent keys' windows, and keys to forget.

use super::Window;
use crate::Step;
use crate::function::data_or_end;
use headwater_core::{Cause, DataError, Result, TimestampMs};
use headwater_plan::{Closing, Emit};

impl Window {
    /// Does everything that is due at that watermark, in order of deadline, key
    /// and start.
    pub(super) fn close_due(&mut self, watermark: TimestampMs, step: &mut Step<'_>) -> Result<()> {
        let forget_ms = match watermark {
            TimestampMs::MAX => time_at(usize::MAX - 1, step),
            time => time,
        };
        let mut kept = Vec::new();
        while let Some((due_ms, slot)) = self.store.take_due(watermark) {
            let at = made_due_at(due_ms, step);
            while let Some(start_ms) = self.first_due(slot, due_ms) {
                self.close_by_time(slot, start_ms, at, step)?;
            }
            let entry = self.store.entry(slot);
            if !entry.windows.is_empty() {
                self.store.arm(slot);
            } else if self.is_by_partition() {
                self.store.forget(slot);
            } else if due_ms < entry.due_at(&self.rules) {
                self.store.arm(slot);
            } else if entry.due_at(&self.rules) <= forget_ms {
                self.store.forget(slot);
            } else {
                kept.push(slot);
            }
        }
        kept.into_iter().for_each(|slot| self.store.arm(slot));
        Ok(())
    }

    /// On a tick, closes the windows of keys that have been silent for
    /// `timeout_ms`, before their own timers would.
    pub(super) fn close_quiet(
        &mut self,
        watermark: TimestampMs,
        timeout_ms: i64,
        step: &mut Step<'_>,
    ) -> Result<()> {
        if self.is_by_partition() || self.rules.key_timeout_ms <= timeout_ms {
            return Ok(());
        }
        // A shorter time-out brings no deadline further forward than this.
        let until_ms = watermark.saturating_add(self.rules.key_timeout_ms - timeout_ms);
        self.store.take_hints(until_ms);
        let mut due = Vec::new();
        for slot in self.store.slots_until(until_ms) {
            let entry = self.store.entry(slot);
            for window in entry.windows.iter() {
                let deadline = self
                    .rules
                    .deadline(&entry.clock, window.start_ms, timeout_ms);
                if watermark < deadline {
                    break;
                }
                due.push((deadline, entry.key.clone(), window.start_ms, slot));
            }
        }
        due.sort();
        // A key may come more than once.
        due.dedup();
        for (due_ms, _, start_ms, slot) in due {
            self.close_by_time(slot, start_ms, made_due_at(due_ms, step), step)?;
            // The key may be forgotten before its window was to close.
            self.store.arm(slot);
        }
        Ok(())
    }

    fn is_by_partition(&self) -> bool {
        self.rules.closing == Closing::Partition
    }

    /// The key's first window, if it is due then.
    fn first_due(&self, slot: u32, due_ms: TimestampMs) -> Option<TimestampMs> {
        let entry = self.store.entry(slot);
        let first = entry.windows.first()?;
        let deadline = self
            .rules
            .deadline(&entry.clock, first.start_ms, self.rules.key_timeout_ms);
        (deadline <= due_ms).then_some(first.start_ms)
    }

    /// Closes a key's first window because of the watermark after input `at`.
    fn close_by_time(
        &mut self,
        slot: u32,
        start_ms: TimestampMs,
        at: usize,
        step: &mut Step<'_>,
    ) -> Result<()> {
        self.emit_first(slot, at, step)?;
        self.close_first(slot, start_ms);
        if self.is_by_partition() && step.times.after.get(at) == Some(&TimestampMs::MAX) {
            self.store.end_until(self.rules.end(start_ms));
        }
        Ok(())
    }

    /// Emits a key's first window, which closes at input `at`, if results leave
    /// then. A result that fails does so alone.
    pub(super) fn emit_first(&mut self, slot: u32, at: usize, step: &mut Step<'_>) -> Result<()> {
        let first = self.store.entry(slot).windows.first();
        let is_empty = first.is_none_or(|first| first.is_empty);
        if self.emit == Emit::Final
            && !is_empty
            && let Err(error) = self.emit_window(slot, 0, step.next_emission(at))
        {
            self.fail_last(data_or_end(error)?, step);
        }
        Ok(())
    }

    /// Closes a key's first window, whose result has left.
    pub(super) fn close_first(&mut self, slot: u32, start_ms: TimestampMs) {
        self.store.close_first(slot);
        if !self.is_by_partition() {
            let mut clock = self.store.entry(slot).clock;
            clock.closed_ms = clock.closed_ms.max(self.rules.end(start_ms));
            self.store.set_clock(slot, clock);
        }
    }

    /// Emits the window at `index` of a key.
    pub(super) fn emit_window(&mut self, slot: u32, index: usize, cause: Cause) -> Result<()> {
        let entry = self.store.entry(slot);
        let window = entry.windows.get(index).expect("the window is open");
        let bounds = self.bounds(window.start_ms);
        self.results.push(&entry.key, bounds, cause, |values| {
            self.aggregators.results(&window.accumulators, values)
        })
    }

    /// Marks the newest result as failed, as far as it is known.
    fn fail_last(&mut self, error: DataError, step: &mut Step<'_>) {
        let mut last = self.results.split_last(self.aggregators.outputs().len());
        if let Some(batch) = last.take(&self.aggregators) {
            step.fail(&batch, 0, error);
            step.failed_emissions += 1;
        }
    }
}

/// The first input whose watermark reached `due_ms`.
fn made_due_at(due_ms: TimestampMs, step: &Step<'_>) -> usize {
    let after = &step.times.after;
    after
        .partition_point(|watermark| *watermark < due_ms)
        .min(after.len().saturating_sub(1))
}

/// The last watermark that is a time, at input `at` or before. The end of the
/// input closes all windows, but no time has passed: it makes nothing late and no
/// key forgotten, because more may follow, from a file that has grown, and what
/// was closed must stay closed.
pub(super) fn time_at(at: usize, step: &Step<'_>) -> TimestampMs {
    let until = step.times.after.len().min(at + 1);
    let earlier = step.times.after[..until]
        .iter()
        .rev()
        .chain([&step.times.before]);
    earlier
        .copied()
        .find(|earlier| *earlier < TimestampMs::MAX)
        .unwrap_or(TimestampMs::MIN)
}
