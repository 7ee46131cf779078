//! Going back to a savepoint.
//!
//! The undo log holds what to put back, newest last. An entry or a window is
//! copied when it is first touched after a savepoint: each carries the stamp of
//! the savepoint that has its copy, and a new savepoint, or going back to one,
//! is a new stamp. Removed things are moved into the log, not copied.

use super::entry::Entry;
use super::rules::Clock;
use super::store::WindowStore;
use super::windows::OpenWindow;
use crate::Accumulators;
use crate::aggregate::SavedAccumulators;
use headwater_core::TimestampMs;

/// One thing to put back.
#[derive(Debug)]
pub(super) enum Undo {
    /// The key was added.
    Added { slot: u32 },
    /// The key was forgotten.
    Forgot { slot: u32, entry: Box<Entry> },
    /// The clock was moved.
    Clock { slot: u32, clock: Clock },
    /// The window was opened.
    Opened { slot: u32, start_ms: TimestampMs },
    /// The window took a record.
    Changed {
        slot: u32,
        start_ms: TimestampMs,
        saved: SavedAccumulators,
        is_empty: bool,
    },
    /// The window was started anew.
    Restarted {
        slot: u32,
        start_ms: TimestampMs,
        accumulators: Accumulators,
        is_empty: bool,
    },
    /// The key's first window was closed.
    Closed { slot: u32, window: OpenWindow },
    /// The end of the input closed windows.
    Ended { ended_ms: TimestampMs },
    /// A late record was counted.
    Late,
}

impl WindowStore {
    /// Opens a savepoint.
    pub(super) fn open_savepoint(&mut self) -> Savepoint {
        let savepoint = Savepoint {
            undo_len: self.undo.len(),
            was_marked: self.is_marked,
        };
        self.is_marked = true;
        self.stamp += 1;
        savepoint
    }

    /// Closes a savepoint of one's own: what has changed stays.
    pub(super) fn keep(&mut self, savepoint: Savepoint) {
        self.is_marked = savepoint.was_marked;
        if !self.is_marked {
            self.undo.clear();
        }
    }

    /// Undoes everything since the savepoint and closes it.
    pub(super) fn take_back(&mut self, savepoint: Savepoint) {
        self.undo_to(savepoint.undo_len);
        self.is_marked = savepoint.was_marked;
    }

    /// Undoes everything after the first `undo_len` things in the log.
    pub(super) fn undo_to(&mut self, undo_len: usize) {
        let mut touched = Vec::new();
        while undo_len < self.undo.len() {
            let Some(undo) = self.undo.pop() else { break };
            touched.extend(self.put_back(undo));
        }
        for slot in touched {
            // What was put back may be due before the timer that was set since.
            if self.entries.get(slot).is_some() {
                self.arm(slot);
            }
        }
        self.stamp += 1;
    }

    /// Puts a forgotten key back.
    fn remember(&mut self, slot: u32, mut entry: Entry) -> u32 {
        if entry.is_logged {
            self.changes.removed.pop();
        }
        entry.armed_ms = None;
        self.spilled.took_back(&entry);
        self.entries.put_back(slot, entry);
        slot
    }

    /// Returns the slot whose timer may have to be set again.
    fn put_back(&mut self, undo: Undo) -> Option<u32> {
        match undo {
            Undo::Added { slot } => {
                // The key was not known, so whatever the disk has of it is gone.
                self.remove(slot);
                return None;
            }
            Undo::Forgot { slot, entry } => return Some(self.remember(slot, *entry)),
            Undo::Clock { slot, clock } => {
                self.entry_mut(slot).clock = clock;
                return Some(slot);
            }
            Undo::Opened { slot, start_ms } => {
                let entry = self.entry_mut(slot);
                let index = entry.windows.position(start_ms);
                entry.windows.remove(index);
                self.open_count -= 1;
            }
            Undo::Changed {
                slot,
                start_ms,
                saved,
                is_empty,
            } => {
                let window = self.entry_mut(slot).windows.find_mut(start_ms);
                let window = window.expect("a changed window is there");
                window.accumulators.go_back(saved);
                window.is_empty = is_empty;
            }
            Undo::Restarted {
                slot,
                start_ms,
                accumulators,
                is_empty,
            } => {
                if accumulators
                    .items()
                    .is_some_and(|items| !items.logged_sequences().is_empty())
                {
                    self.changes.removed.pop();
                }
                let window = self.entry_mut(slot).windows.find_mut(start_ms);
                let window = window.expect("a restarted window is there");
                window.accumulators = accumulators;
                window.is_empty = is_empty;
            }
            Undo::Closed { slot, window } => {
                if window.is_logged {
                    self.changes.removed.pop();
                }
                self.entry_mut(slot).windows.insert(0, window);
                self.open_count += 1;
                return Some(slot);
            }
            Undo::Ended { ended_ms } => self.ended_ms = ended_ms,
            Undo::Late => self.late_count = self.late_count.saturating_sub(1),
        }
        None
    }
}

/// A savepoint of the operator's own, for one row.
#[derive(Debug)]
#[must_use]
pub(super) struct Savepoint {
    undo_len: usize,
    was_marked: bool,
}
