//! What the changelog holds, and how a store comes back from it.
//!
//! ```text
//! key                               value
//! 1, key                            clock                the clock of a key without windows
//! 2, key, start                     flags, clock, accumulators     an open window
//! 3, key, start, sequence           time, texts          one collected item
//! 4                                 end                  what the end of the input closed
//!
//! clock                             K, M, C
//! flags                             1 the window is empty, 2 a clock follows
//! ```
//!
//! A key's clock moves with nearly every record that changes a window, so **it
//! goes with the key's first open window**, and has a record of its own only while
//! the key has none. Where the clock stands follows from the key's state, so what
//! is in the log does not depend on when it was written. (Version 1 had a record
//! for every clock; it is replaced when its key changes.)
//!
//! A closed window and a forgotten key are tombstones; what was opened and
//! closed between two drains leaves no trace. Under partition closing there are
//! no clocks. Removals come first, then what is there, by key in order of first
//! change.

use super::entry::Entry;
use super::key::Key;
use super::rules::Clock;
use super::store::WindowStore;
use super::windows::OpenWindow;
use crate::{Accumulators, Aggregators};
use headwater_core::{Error, RecordsBuilder, Result, TimestampMs};
use headwater_plan::Closing;
use headwater_state::{
    KeyReader, KeyWriter, Mark, Spill, StateStore, Tier, ValueReader, ValueWriter,
};
use std::ops::Range;
use std::sync::Arc;

pub(super) const KIND_CLOCK: u8 = 1;
pub(super) const KIND_WINDOW: u8 = 2;
pub(super) const KIND_ITEM: u8 = 3;
pub(super) const KIND_ENDED: u8 = 4;

const WINDOW_IS_EMPTY: u64 = 1;
const WINDOW_HAS_CLOCK: u64 = 2;

/// What has changed since the last drain. An entry is listed once: it says itself
/// whether it is listed. What is no longer there is passed over.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Slots.
    pub(super) live: Vec<u32>,
    pub(super) removed: Vec<Removed>,
}

/// What the changelog has and the store no longer.
#[derive(Debug)]
pub(super) enum Removed {
    Clock {
        key: Key,
    },
    Window {
        key: Key,
        start_ms: TimestampMs,
        items: Range<u64>,
    },
    Items {
        key: Key,
        start_ms: TimestampMs,
        items: Range<u64>,
    },
}

impl Changes {
    /// Notes that something of an entry has changed.
    #[inline]
    pub(super) fn list(&mut self, slot: u32, entry: &mut Entry) {
        if !entry.is_listed {
            entry.is_listed = true;
            self.live.push(slot);
        }
    }

    /// Notes that a window's items so far are gone.
    pub(super) fn remove_items(
        &mut self,
        key: Key,
        start_ms: TimestampMs,
        accumulators: &Accumulators,
    ) {
        let items = accumulators.items().map(|items| items.logged_sequences());
        if let Some(items) = items.filter(|items| !items.is_empty()) {
            self.removed.push(Removed::Items {
                key,
                start_ms,
                items,
            });
        }
    }
}

/// The key of a record.
#[derive(Clone, Copy)]
enum LogKey<'k> {
    Clock(&'k [u8]),
    Window(&'k [u8], TimestampMs),
    Item(&'k [u8], TimestampMs, u64),
    Ended,
}

/// Appends records, in the memory of those before.
struct LogWriter<'o> {
    out: &'o mut RecordsBuilder,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<'o> LogWriter<'o> {
    fn new(out: &'o mut RecordsBuilder) -> LogWriter<'o> {
        LogWriter {
            out,
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    fn put(&mut self, key: LogKey<'_>, write: impl FnOnce(&mut ValueWriter)) {
        self.write_key(key);
        let mut value = ValueWriter::reusing(std::mem::take(&mut self.value), None);
        write(&mut value);
        self.value = value.finish();
        self.out.push(Some(&self.key), Some(&self.value), 0, None);
    }

    fn remove(&mut self, key: LogKey<'_>) {
        self.write_key(key);
        self.out.push(Some(&self.key), None, 0, None);
    }

    fn write_key(&mut self, key: LogKey<'_>) {
        let buffer = std::mem::take(&mut self.key);
        let writer = |kind, key| KeyWriter::reusing(buffer, kind).bytes(key);
        self.key = match key {
            LogKey::Clock(key) => writer(KIND_CLOCK, Some(key)),
            LogKey::Window(key, start_ms) => writer(KIND_WINDOW, Some(key)).int(start_ms),
            LogKey::Ended => writer(KIND_ENDED, None),
            LogKey::Item(key, start_ms, sequence) => writer(KIND_ITEM, Some(key))
                .int(start_ms)
                .int(sequence as i64),
        }
        .finish();
    }

    fn write_removed(&mut self, removed: &Removed) {
        let (key, start_ms, items) = match removed {
            Removed::Clock { key } => return self.remove(LogKey::Clock(key)),
            Removed::Window {
                key,
                start_ms,
                items,
            } => {
                self.remove(LogKey::Window(key, *start_ms));
                (key, start_ms, items)
            }
            Removed::Items {
                key,
                start_ms,
                items,
            } => (key, start_ms, items),
        };
        for sequence in items.clone() {
            self.remove(LogKey::Item(key, *start_ms, sequence));
        }
    }
}

impl StateStore for WindowStore {
    fn mark(&mut self) -> Mark {
        // Timers are not undone, so they are set before anything is.
        self.finish_restore();
        self.is_marked = true;
        self.stamp += 1;
        Mark(self.undo.len())
    }

    fn rollback(&mut self, mark: Mark) {
        self.undo_to(mark.0);
    }

    fn release(&mut self) {
        self.is_marked = false;
        self.undo.clear();
    }

    fn drain_changes(&mut self, out: &mut RecordsBuilder) {
        assert!(
            !self.is_marked && self.undo.is_empty(),
            "no savepoint is open between steps"
        );
        let mut log = LogWriter::new(out);
        for removed in self.changes.removed.drain(..) {
            log.write_removed(&removed);
        }
        if std::mem::take(&mut self.is_ended_dirty) {
            let ended_ms = self.ended_ms;
            log.put(LogKey::Ended, |value| {
                value.int(ended_ms);
            });
        }
        let mut live = std::mem::take(&mut self.changes.live);
        for chunk in live.chunks(Self::TOUCHED) {
            self.touch(chunk.iter().copied());
            for slot in chunk {
                let before = log.out.byte_count();
                if self.write_entry(*slot, &mut log) {
                    self.note_changed(*slot, log.out.byte_count() - before);
                }
            }
        }
        live.clear();
        self.changes.live = live;
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        self.is_restored = true;
        let (mut reader, kind) = KeyReader::new(key)?;
        let key = reader.bytes()?;
        if kind == KIND_ENDED {
            self.ended_ms = match value {
                Some(value) => ValueReader::new(value)?.0.int()?,
                None => TimestampMs::MIN,
            };
            return Ok(());
        }
        let key = key.ok_or_else(|| Error::internal("a stored key is null"))?;
        match kind {
            KIND_CLOCK => self.restore_clock(key, value)?,
            KIND_WINDOW => self.restore_window(key, reader.int()?, value)?,
            KIND_ITEM => {
                let start_ms = reader.int()?;
                self.restore_item(key, start_ms, reader.int()? as u64, value)?;
            }
            _ => {
                return Err(Error::internal(format!(
                    "a changelog record of a window is of an unknown kind, kind=`{kind}`"
                )));
            }
        }
        if let Some(slot) = self.entries.find(key) {
            self.note_changed(slot, value.map_or(0, <[u8]>::len));
        }
        Ok(())
    }

    fn clear(&mut self) {
        let spilled = self.spilled.cleared();
        *self = WindowStore {
            spilled,
            ..WindowStore::new(self.rules, Arc::clone(&self.aggregators))
        };
    }

    fn len(&self) -> usize {
        self.entries.len()
    }

    fn attach(&mut self, tier: Tier) {
        assert!(self.len() == 0, "a tier is attached to an empty store");
        self.attach_tier(tier);
    }

    fn tier(&self) -> Option<&Tier> {
        self.spilled.tier()
    }

    fn spill(&mut self) -> Option<&mut dyn Spill> {
        Some(self)
    }

    fn is_over_budget(&self) -> bool {
        self.spilled.is_over_budget()
    }
}

impl WindowStore {
    /// Writes what has changed of an entry, unless that has been done; whether it
    /// was written.
    fn write_entry(&mut self, slot: u32, log: &mut LogWriter<'_>) -> bool {
        let Some(entry) = self.entries.get_mut(slot) else {
            return false;
        };
        if !std::mem::take(&mut entry.is_listed) {
            return false;
        }
        let has_clock = self.rules.closing == Closing::Key;
        let Entry {
            key,
            clock,
            windows,
            is_logged,
            ..
        } = entry;
        if !has_clock {
            for window in windows.iter_mut().filter(|window| window.is_dirty) {
                write_window(key, window, None, &self.aggregators, log);
            }
            return true;
        }
        if windows.is_empty() {
            *is_logged = true;
            log.put(LogKey::Clock(key), |value| write_clock(*clock, value));
        } else if std::mem::take(is_logged) {
            log.remove(LogKey::Clock(key));
        }
        for (index, window) in windows.iter_mut().enumerate() {
            let is_first = index == 0;
            if is_first || window.is_dirty {
                let clock = is_first.then_some(*clock);
                write_window(key, window, clock, &self.aggregators, log);
            }
        }
        true
    }
}

pub(super) fn write_clock(clock: Clock, value: &mut ValueWriter) {
    value
        .int(clock.latest_ms)
        .int(clock.moved_ms)
        .int(clock.closed_ms);
}

pub(super) fn read_clock(reader: &mut ValueReader<'_>) -> Result<Clock> {
    Ok(Clock {
        latest_ms: reader.int()?,
        moved_ms: reader.int()?,
        closed_ms: reader.int()?,
    })
}

/// Writes a window and its new items.
fn write_window(
    key: &Key,
    window: &mut OpenWindow,
    clock: Option<Clock>,
    aggregators: &Aggregators,
    log: &mut LogWriter<'_>,
) {
    (window.is_dirty, window.is_logged) = (false, true);
    let start_ms = window.start_ms;
    log.put(LogKey::Window(key, start_ms), |value| {
        let is_empty = if window.is_empty { WINDOW_IS_EMPTY } else { 0 };
        value.varint(is_empty | clock.map_or(0, |_| WINDOW_HAS_CLOCK));
        if let Some(clock) = clock {
            write_clock(clock, value);
        }
        aggregators.write(&window.accumulators, value);
    });
    let Some(items) = window.accumulators.items_mut() else {
        return;
    };
    for index in items.take_unlogged() {
        let sequence = items.first_sequence() + index as u64;
        log.put(LogKey::Item(key, start_ms, sequence), |value| {
            aggregators.write_item(items, index, value);
        });
    }
}

/// Reads the clock of a clock's own record.
pub(super) fn stored_clock(value: &[u8]) -> Result<Clock> {
    read_clock(&mut ValueReader::new(value)?.0)
}

/// Reads what a window's record says before the accumulators: whether the window
/// is empty, and the clock.
pub(super) fn read_window_head(reader: &mut ValueReader<'_>) -> Result<(bool, Option<Clock>)> {
    let flags = reader.varint()?;
    let has_clock = flags & WINDOW_HAS_CLOCK != 0;
    let clock = has_clock.then(|| read_clock(reader)).transpose()?;
    Ok((flags & WINDOW_IS_EMPTY != 0, clock))
}
