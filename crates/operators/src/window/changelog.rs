//! What the changelog holds, and how a store comes back from it.
//!
//! ```text
//! key                               value
//! 1, key                            K, M, C              the key's clock
//! 2, key, start                     is_empty, accumulators     an open window
//! 3, key, start, sequence           time, texts          one collected item
//! 4                                 end                  what the end of the input closed
//! ```
//!
//! A closed window and a forgotten key are tombstones; what was opened and
//! closed between two drains leaves no trace. Under partition closing there are
//! no clocks. Removals come first, then what is there, in order of first change.

use super::entry::Entry;
use super::key::Key;
use super::store::WindowStore;
use crate::Accumulators;
use headwater_core::{Error, RecordsBuilder, Result, TimestampMs};
use headwater_state::{KeyReader, KeyWriter, Mark, StateStore, ValueReader, ValueWriter};
use std::ops::Range;
use std::sync::Arc;

/// How many entries are fetched from memory together.
const CHUNK: usize = 64;

const KIND_CLOCK: u8 = 1;
const KIND_WINDOW: u8 = 2;
const KIND_ITEM: u8 = 3;
const KIND_ENDED: u8 = 4;

/// What has changed since the last drain. An entry or a window is listed once:
/// it says itself whether it is listed. What is no longer there is passed over.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) live: Vec<(u32, Live)>,
    pub(super) removed: Vec<Removed>,
}

/// What has changed of the entry in a slot.
#[derive(Clone, Copy, Debug)]
pub(super) enum Live {
    Clock,
    /// The window of that start.
    Window(TimestampMs),
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
        self.settle();
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
        for chunk in live.chunks(CHUNK) {
            self.touch(chunk.iter().map(|(slot, _)| *slot));
            for (slot, what) in chunk {
                match what {
                    Live::Clock => self.write_clock(*slot, &mut log),
                    Live::Window(start_ms) => self.write_window(*slot, *start_ms, &mut log),
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
            KIND_CLOCK => self.restore_clock(key, value),
            KIND_WINDOW => self.restore_window(key, reader.int()?, value),
            KIND_ITEM => {
                let start_ms = reader.int()?;
                self.restore_item(key, start_ms, reader.int()? as u64, value)
            }
            _ => Err(Error::internal(format!(
                "a changelog record of a window is of an unknown kind, kind=`{kind}`"
            ))),
        }
    }

    fn clear(&mut self) {
        *self = WindowStore::new(self.rules, Arc::clone(&self.aggregators));
    }

    fn len(&self) -> usize {
        self.slots.len()
    }
}

impl WindowStore {
    /// Writes a clock, unless that has been done.
    fn write_clock(&mut self, slot: u32, log: &mut LogWriter<'_>) {
        let Some(entry) = &mut self.entries[slot as usize] else {
            return;
        };
        if !std::mem::take(&mut entry.is_dirty) {
            return;
        }
        entry.is_logged = true;
        let clock = entry.clock;
        log.put(LogKey::Clock(&entry.key), |value| {
            value
                .int(clock.latest_ms)
                .int(clock.moved_ms)
                .int(clock.closed_ms);
        });
    }

    /// Writes a window and its new items, unless that has been done.
    fn write_window(&mut self, slot: u32, start_ms: TimestampMs, log: &mut LogWriter<'_>) {
        let Some(entry) = &mut self.entries[slot as usize] else {
            return;
        };
        let Entry { key, windows, .. } = entry;
        let Some(window) = windows.find_mut(start_ms) else {
            return;
        };
        if !std::mem::take(&mut window.is_dirty) {
            return;
        }
        window.is_logged = true;
        let aggregators = &self.aggregators;
        log.put(LogKey::Window(key, start_ms), |value| {
            value.varint(window.is_empty.into());
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
}
