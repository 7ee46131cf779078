//! When which key has something to do: one timer per key, by time, then key.
//!
//! Timers are derived from the entries and never stored. A timer may be early,
//! never late: when it fires, the entry says whether anything is due. So a
//! record that only puts a deadline off leaves the timer alone.

use super::key::Key;
use super::store::WindowStore;
use headwater_core::TimestampMs;
use headwater_plan::Closing;
use std::collections::BTreeSet;

/// Timers in the order in which they fire.
#[derive(Debug)]
pub(super) struct Timers {
    queue: BTreeSet<(TimestampMs, Key)>,
    /// The time of the first; [`TimestampMs::MAX`] also where there is none.
    next_ms: TimestampMs,
}

impl Default for Timers {
    fn default() -> Self {
        Timers {
            queue: BTreeSet::new(),
            next_ms: TimestampMs::MAX,
        }
    }
}

impl Timers {
    pub(super) fn insert(&mut self, at_ms: TimestampMs, key: Key) {
        self.next_ms = self.next_ms.min(at_ms);
        self.queue.insert((at_ms, key));
    }

    /// Whether a timer may have to fire at that watermark.
    #[inline]
    pub(super) fn is_due(&self, watermark: TimestampMs) -> bool {
        self.next_ms <= watermark
    }

    /// Takes the first timer that fires at that watermark.
    pub(super) fn pop(&mut self, watermark: TimestampMs) -> Option<(TimestampMs, Key)> {
        if !self.is_due(watermark) || self.queue.first()?.0 > watermark {
            return None;
        }
        let first = self.queue.pop_first();
        self.next_ms = self
            .queue
            .first()
            .map_or(TimestampMs::MAX, |(at_ms, _)| *at_ms);
        first
    }

    /// The keys whose timers are set to that time or before, in order.
    pub(super) fn keys_until(&self, until_ms: TimestampMs) -> impl Iterator<Item = &Key> {
        self.queue
            .iter()
            .take_while(move |(at_ms, _)| *at_ms <= until_ms)
            .map(|(_, key)| key)
    }
}

impl WindowStore {
    /// Sets the key's timer if nothing fires in time for what is due next.
    #[inline]
    pub(super) fn arm(&mut self, slot: u32) {
        let rules = self.rules;
        let entry = self.entries[slot as usize]
            .as_mut()
            .expect("a slot in use has an entry");
        let due_ms = entry.due_at(&rules);
        if entry.armed_ms.is_none_or(|armed| due_ms < armed) {
            entry.armed_ms = Some(due_ms);
            self.timers.insert(due_ms, entry.key.clone());
        }
    }

    /// The next key for which something is due at that watermark, and since
    /// when. Its timer is no longer set.
    pub(super) fn take_due(&mut self, watermark: TimestampMs) -> Option<(TimestampMs, u32)> {
        while let Some((fired_ms, key)) = self.timers.pop(watermark) {
            let Some(slot) = self.slot(&key) else {
                continue;
            };
            let rules = self.rules;
            let entry = self.entry_mut(slot);
            if entry.armed_ms != Some(fired_ms) {
                continue;
            }
            entry.armed_ms = None;
            let due_ms = entry.due_at(&rules);
            if due_ms <= fired_ms {
                return Some((due_ms, slot));
            }
            self.arm(slot);
        }
        None
    }

    /// After a restore: drops what no record stands for and sets all timers.
    pub(super) fn settle(&mut self) {
        if !std::mem::take(&mut self.is_restored) {
            return;
        }
        self.timers = Timers::default();
        for index in 0..self.entries.len() {
            let Some(entry) = &mut self.entries[index] else {
                continue;
            };
            let before = entry.windows.len();
            entry.windows.retain(|window| window.is_logged);
            self.open_count -= before - entry.windows.len();
            entry.armed_ms = None;
            let slot = index as u32;
            if entry.windows.is_empty()
                && (self.rules.closing == Closing::Partition || !entry.is_logged)
            {
                self.drop_entry(slot);
            } else {
                self.arm(slot);
            }
        }
    }
}
