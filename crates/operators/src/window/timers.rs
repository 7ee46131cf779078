//! When which key has something to do: one timer per key, by time, then key.
//!
//! Timers are derived from the entries and never stored. A timer may be early,
//! never late: when it fires, the entry says whether anything is due. So a
//! record that only puts a deadline off leaves the timer alone.

use super::key::Key;
use headwater_core::TimestampMs;
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
