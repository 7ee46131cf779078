//! When which key has something to do: one timer per key, by time, then key.
//!
//! Timers are derived from the entries and never stored. A timer may be early,
//! never late: when it fires, the entry says whether anything is due. So a
//! record that only puts a deadline off leaves the timer alone.
//!
//! Most timers are put off before they fire, so only the nearest are in order.
//! The others stand in buckets of [`BUCKET_MS`], unordered, until time comes to
//! their bucket; those that have been put off by then move to a later bucket,
//! and the rest become near.
//!
//! ```text
//! insert ──▶ far: bucket ─(time comes)─▶ put off? ──▶ far: later bucket
//!    ╰────────────────────────────────────▶ near: by time, then key ──▶ fires
//! ```

use super::key::Key;
use super::store::WindowStore;
use headwater_core::TimestampMs;
use headwater_plan::Closing;
use std::collections::{BTreeMap, BTreeSet};

/// The event time of one bucket.
const BUCKET_MS: i64 = 1 << 10;

/// Timers in the order in which they fire.
#[derive(Debug)]
pub(super) struct Timers {
    /// Those before `near_until_ms`.
    near: BTreeSet<(TimestampMs, Key)>,
    near_until_ms: TimestampMs,
    /// The others, by bucket: time and slot, which may have become another key's.
    far: BTreeMap<i64, Vec<(TimestampMs, u32)>>,
    /// The time of the first, or that of its bucket; [`TimestampMs::MAX`] also
    /// where there is none.
    next_ms: TimestampMs,
}

impl Default for Timers {
    fn default() -> Self {
        Timers {
            near: BTreeSet::new(),
            near_until_ms: TimestampMs::MIN,
            far: BTreeMap::new(),
            next_ms: TimestampMs::MAX,
        }
    }
}

impl Timers {
    fn insert(&mut self, at_ms: TimestampMs, slot: u32, key: &Key) {
        self.next_ms = self.next_ms.min(at_ms);
        if at_ms < self.near_until_ms {
            self.near.insert((at_ms, key.clone()));
        } else {
            let bucket = at_ms.div_euclid(BUCKET_MS);
            self.far.entry(bucket).or_default().push((at_ms, slot));
        }
    }

    /// Whether a timer may have to fire at that watermark.
    #[inline]
    pub(super) fn is_due(&self, watermark: TimestampMs) -> bool {
        self.next_ms <= watermark
    }

    /// Takes the first timer that fires at that watermark, of those that are
    /// near.
    fn pop(&mut self, watermark: TimestampMs) -> Option<(TimestampMs, Key)> {
        if watermark < self.near.first()?.0 {
            return None;
        }
        self.near.pop_first()
    }

    /// Takes the first bucket if time has come to it and no near timer is left.
    fn take_bucket(&mut self, watermark: TimestampMs) -> Option<Vec<(TimestampMs, u32)>> {
        if !self.near.is_empty() || watermark < start_of(*self.far.first_key_value()?.0) {
            return None;
        }
        let (bucket, timers) = self.far.pop_first()?;
        self.near_until_ms = start_of(bucket.saturating_add(1));
        Some(timers)
    }

    fn find_next(&mut self) {
        let near = self.near.first().map(|(at_ms, _)| *at_ms);
        let far = || self.far.first_key_value().map(|(far, _)| start_of(*far));
        self.next_ms = near.or_else(far).unwrap_or(TimestampMs::MAX);
    }
}

fn start_of(bucket: i64) -> TimestampMs {
    bucket.saturating_mul(BUCKET_MS)
}

impl WindowStore {
    /// Sets the key's timer if nothing fires in time for what is due next.
    #[inline]
    pub(super) fn arm(&mut self, slot: u32) {
        let rules = self.rules;
        let WindowStore {
            entries, timers, ..
        } = self;
        let entry = entries.get_mut(slot).expect("a slot in use has an entry");
        let due_ms = entry.due_at(&rules);
        if entry.armed_ms.is_none_or(|armed| due_ms < armed) {
            entry.armed_ms = Some(due_ms);
            timers.insert(due_ms, slot, &entry.key);
        }
    }

    /// The next key for which something is due at that watermark, and since
    /// when. Its timer is no longer set.
    pub(super) fn take_due(&mut self, watermark: TimestampMs) -> Option<(TimestampMs, u32)> {
        while self.is_due(watermark) {
            // A hint is a timer that stands on disk: those up to a time are taken
            // before a timer of that time fires.
            let next_hint_ms = self.spilled.next_hint_ms();
            let until_ms = match next_hint_ms {
                TimestampMs::MAX => Some(watermark),
                next_hint_ms => next_hint_ms.checked_sub(1),
            };
            if let Some(until_ms) = until_ms {
                let due = self.take_first_due(watermark.min(until_ms));
                self.timers.find_next();
                if due.is_some() || watermark <= until_ms {
                    return due;
                }
            }
            self.take_some_hints(watermark);
        }
        None
    }

    /// Whether something may be due at that watermark.
    #[inline]
    pub(super) fn is_due(&self, watermark: TimestampMs) -> bool {
        self.timers.is_due(watermark) || self.spilled.next_hint_ms() <= watermark
    }

    fn take_first_due(&mut self, watermark: TimestampMs) -> Option<(TimestampMs, u32)> {
        loop {
            while let Some(bucket) = self.timers.take_bucket(watermark) {
                self.come_near(&bucket);
            }
            let (fired_ms, key) = self.timers.pop(watermark)?;
            let Some(slot) = self.entries.find(&key) else {
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
    }

    /// Puts the timers of a bucket in order, but those that have been put off.
    fn come_near(&mut self, bucket: &[(TimestampMs, u32)]) {
        for chunk in bucket.chunks(Self::TOUCHED) {
            self.touch(chunk.iter().map(|(_, slot)| *slot));
            for &(at_ms, slot) in chunk {
                let Some(entry) = self.entries.get_mut(slot) else {
                    continue;
                };
                // Otherwise it has another timer, or is another key's.
                if entry.armed_ms != Some(at_ms) {
                    continue;
                }
                let due_ms = entry.due_at(&self.rules).max(at_ms);
                entry.armed_ms = Some(due_ms);
                if at_ms < due_ms {
                    self.timers.insert(due_ms, slot, &entry.key);
                } else {
                    self.timers.near.insert((at_ms, entry.key.clone()));
                }
            }
        }
    }

    /// The keys whose timers are set to that time or before, and perhaps some
    /// more; a key may come more than once.
    pub(super) fn slots_until(&self, until_ms: TimestampMs) -> Vec<u32> {
        let near = self
            .timers
            .near
            .iter()
            .take_while(|(at_ms, _)| *at_ms <= until_ms)
            .filter_map(|(_, key)| self.entries.find(key));
        let buckets = self.timers.far.range(..=until_ms.div_euclid(BUCKET_MS));
        let far = buckets.flat_map(|(_, timers)| timers.iter().map(|(_, slot)| *slot));
        near.chain(far)
            .filter(|slot| self.entries.get(*slot).is_some())
            .collect()
    }

    /// After a restore: drops what no record stands for and sets all timers.
    pub(super) fn finish_restore(&mut self) {
        if !std::mem::take(&mut self.is_restored) {
            return;
        }
        self.timers = Timers::default();
        for slot in self.entries.slots() {
            let Some(entry) = self.entries.get_mut(slot) else {
                continue;
            };
            let before = entry.windows.len();
            entry.windows.retain(|window| window.is_logged);
            self.open_count -= before - entry.windows.len();
            entry.armed_ms = None;
            if entry.windows.is_empty()
                && (self.rules.closing == Closing::Partition || !entry.is_logged)
            {
                self.remove(slot);
            } else {
                self.arm(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(timers: &mut Timers, watermark: TimestampMs) -> Vec<TimestampMs> {
        std::iter::from_fn(|| {
            while let Some(bucket) = timers.take_bucket(watermark) {
                for (at_ms, slot) in bucket {
                    timers.near.insert((at_ms, key(slot)));
                }
            }
            let first = timers.pop(watermark);
            timers.find_next();
            first.map(|(at_ms, _)| at_ms)
        })
        .collect()
    }

    fn key(slot: u32) -> Key {
        Key::from(slot.to_be_bytes().as_slice())
    }

    #[test]
    fn timers_fire_in_order_at_both_ends_of_time() {
        let mut timers = Timers::default();
        let times = [
            TimestampMs::MIN,
            -1_025,
            -1_024,
            -1,
            0,
            5,
            1_023,
            1_024,
            9_999,
        ];
        let last = TimestampMs::MAX - 1;
        for (slot, at_ms) in (0..).zip(times.iter().rev().chain([&last])) {
            timers.insert(*at_ms, slot, &key(slot));
        }
        assert!(timers.is_due(TimestampMs::MIN));
        assert_eq!(fired(&mut timers, 4), times[..5]);
        assert!(timers.is_due(5) && !timers.is_due(4));
        assert_eq!(fired(&mut timers, 4), []);
        // Sooner than all that is left, and in a bucket that has become near.
        timers.insert(2, 100, &key(100));
        assert!(timers.is_due(2));
        assert_eq!(fired(&mut timers, 1_024), [2, 5, 1_023, 1_024]);
        assert_eq!(fired(&mut timers, TimestampMs::MAX), [9_999, last]);
        timers.insert(TimestampMs::MAX, 7, &key(7));
        assert_eq!(fired(&mut timers, TimestampMs::MAX), [TimestampMs::MAX]);
        assert_eq!(fired(&mut timers, TimestampMs::MAX), []);
    }
}
