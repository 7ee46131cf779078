//! The state of a window: clocks and open windows by key.

use super::changelog::{Changes, Removed};
use super::entries::{Entries, NO_SLOT};
use super::entry::Entry;
use super::key::Key;
use super::rules::{Clock, Rules};
use super::spill::Spilled;
use super::timers::Timers;
use super::undo::Undo;
use super::windows::OpenWindow;
use crate::{Accumulators, Aggregators};
use headwater_core::TimestampMs;
use std::sync::Arc;

/// The clocks and open windows of all keys of one task, with savepoints and
/// changes; see the module documentation of the window for what they mean.
#[derive(Debug)]
pub struct WindowStore {
    pub(super) rules: Rules,
    pub(super) aggregators: Arc<Aggregators>,
    pub(super) entries: Entries,
    pub(super) timers: Timers,
    /// Set by a restore: timers are made when the store is next used.
    pub(super) is_restored: bool,
    pub(super) undo: Vec<Undo>,
    pub(super) is_marked: bool,
    /// The number of the newest savepoint.
    pub(super) stamp: u64,
    pub(super) changes: Changes,
    /// Under partition closing, the largest end of a window that the end of the
    /// input closed before its time.
    pub(super) ended_ms: TimestampMs,
    /// Whether that has changed since the last drain.
    pub(super) is_ended_dirty: bool,
    /// The number of open windows of all keys.
    pub(super) open_count: usize,
    /// Records that were late for all their windows.
    pub(super) late_count: u64,
    /// What stands on disk.
    pub(super) spilled: Spilled,
}

impl WindowStore {
    pub(super) fn new(rules: Rules, aggregators: Arc<Aggregators>) -> WindowStore {
        WindowStore {
            rules,
            aggregators,
            entries: Entries::default(),
            timers: Timers::default(),
            is_restored: false,
            undo: Vec::new(),
            is_marked: false,
            stamp: 1,
            changes: Changes::default(),
            ended_ms: TimestampMs::MIN,
            is_ended_dirty: false,
            open_count: 0,
            late_count: 0,
            spilled: Spilled::default(),
        }
    }

    /// How many entries are fetched from memory together where each is needed once.
    pub(super) const TOUCHED: usize = 64;

    /// Where the entries of some keys probably stand, or [`NO_SLOT`].
    ///
    /// The entries are read as well, so that the processor fetches them all at
    /// once: rows meet keys in no order, and waiting for the memory of one after
    /// the other is what costs most.
    pub(super) fn fetch<'k>(
        &mut self,
        keys: impl Iterator<Item = Option<&'k [u8]>> + Clone,
        out: &mut Vec<u32>,
    ) {
        if self.spilled.has_disk() {
            keys.clone().flatten().for_each(|key| {
                self.bring(key);
            });
        }
        out.clear();
        out.extend(keys.map(|key| {
            key.and_then(|key| self.entries.guess(key))
                .unwrap_or(NO_SLOT)
        }));
        self.touch(out.iter().copied());
    }

    /// Reads entries and their first windows; see [`WindowStore::fetch`].
    pub(super) fn touch(&self, slots: impl Iterator<Item = u32>) {
        let mut read = 0;
        for slot in slots {
            if let Some(entry) = self.entries.get(slot) {
                read ^= entry.read();
            }
        }
        std::hint::black_box(read);
    }

    #[inline]
    pub(super) fn entry(&self, slot: u32) -> &Entry {
        self.entries.get(slot).expect("a slot in use has an entry")
    }

    #[inline]
    pub(super) fn entry_mut(&mut self, slot: u32) -> &mut Entry {
        self.entries
            .get_mut(slot)
            .expect("a slot in use has an entry")
    }

    /// Adds a key that is not known.
    pub(super) fn add_key(&mut self, key: &[u8]) -> u32 {
        let slot = self.entries.add(Entry::new(Key::from(key), self.stamp));
        if self.is_marked {
            self.undo.push(Undo::Added { slot });
        }
        slot
    }

    /// Removes a key without open windows.
    pub(super) fn forget(&mut self, slot: u32) {
        let entry = self.remove(slot);
        assert!(
            entry.windows.is_empty(),
            "a key with open windows is not forgotten"
        );
        if entry.is_logged {
            self.changes.removed.push(Removed::Clock {
                key: entry.key.clone(),
            });
        }
        if self.is_marked {
            self.undo.push(Undo::Forgot {
                slot,
                entry: Box::new(entry),
            });
        }
    }

    /// Moves a key's clock.
    #[inline]
    pub(super) fn set_clock(&mut self, slot: u32, clock: Clock) {
        let entry = self
            .entries
            .get_mut(slot)
            .expect("a slot in use has an entry");
        if entry.clock == clock {
            return;
        }
        if self.is_marked && entry.stamp != self.stamp {
            entry.stamp = self.stamp;
            self.undo.push(Undo::Clock {
                slot,
                clock: entry.clock,
            });
        }
        entry.clock = clock;
        self.changes.list(slot, entry);
    }

    /// Opens a window that will stand at `index`.
    pub(super) fn open_window(&mut self, slot: u32, index: usize, start_ms: TimestampMs) {
        let window = OpenWindow {
            start_ms,
            accumulators: self.aggregators.initial(),
            stamp: self.stamp,
            is_empty: true,
            is_dirty: true,
            is_logged: false,
        };
        let entry = self
            .entries
            .get_mut(slot)
            .expect("a slot in use has an entry");
        if let (0, Some(first)) = (index, entry.windows.get_mut(0)) {
            // Its record may hold the clock.
            first.is_dirty = true;
        }
        entry.windows.insert(index, window);
        self.changes.list(slot, entry);
        self.open_count += 1;
        if self.is_marked {
            self.undo.push(Undo::Opened { slot, start_ms });
        }
    }

    /// The window at `index`, to be changed.
    #[inline]
    pub(super) fn touch_window(&mut self, slot: u32, index: usize) -> &mut OpenWindow {
        let entry = self
            .entries
            .get_mut(slot)
            .expect("a slot in use has an entry");
        self.changes.list(slot, entry);
        let window = entry.windows.get_mut(index).expect("the window is open");
        if self.is_marked && window.stamp != self.stamp {
            window.stamp = self.stamp;
            self.undo.push(Undo::Changed {
                slot,
                start_ms: window.start_ms,
                saved: window.accumulators.save(),
                is_empty: window.is_empty,
            });
        }
        window.is_dirty = true;
        window
    }

    /// Starts the window at `index` anew: open, but empty.
    pub(super) fn restart_window(&mut self, slot: u32, index: usize) {
        let aggregators = Arc::clone(&self.aggregators);
        let window = self.touch_window(slot, index);
        let initial = aggregators.restarted(&window.accumulators);
        let accumulators = std::mem::replace(&mut window.accumulators, initial);
        let is_empty = std::mem::replace(&mut window.is_empty, true);
        let start_ms = window.start_ms;
        let key = self.entry(slot).key.clone();
        self.changes.remove_items(key, start_ms, &accumulators);
        if self.is_marked {
            self.undo.push(Undo::Restarted {
                slot,
                start_ms,
                accumulators,
                is_empty,
            });
        }
    }

    /// Closes the key's first window, whose result has left.
    pub(super) fn close_first(&mut self, slot: u32) {
        let entry = self
            .entries
            .get_mut(slot)
            .expect("a slot in use has an entry");
        let window = entry
            .windows
            .remove(0)
            .expect("a window that closes is open");
        self.open_count -= 1;
        if window.is_logged {
            // The clock has stood in the window's record.
            self.changes.list(slot, entry);
            let items = window
                .accumulators
                .items()
                .map(|items| items.logged_sequences());
            self.changes.removed.push(Removed::Window {
                key: entry.key.clone(),
                start_ms: window.start_ms,
                items: items.unwrap_or(0..0),
            });
        }
        if self.is_marked {
            self.undo.push(Undo::Closed { slot, window });
        }
    }

    /// Notes that the end of the input has closed windows up to that end.
    pub(super) fn end_until(&mut self, end_ms: TimestampMs) {
        if end_ms <= self.ended_ms {
            return;
        }
        if self.is_marked {
            self.undo.push(Undo::Ended {
                ended_ms: self.ended_ms,
            });
        }
        self.ended_ms = end_ms;
        self.is_ended_dirty = true;
    }

    /// Counts a record that was late for all its windows.
    pub(super) fn count_late(&mut self) {
        self.late_count += 1;
        if self.is_marked {
            self.undo.push(Undo::Late);
        }
    }

    /// The accumulators of a window that is not open yet.
    pub(super) fn initial(&self) -> Accumulators {
        self.aggregators.initial()
    }
}
