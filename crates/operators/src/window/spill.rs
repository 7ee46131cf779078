//! Entries that stand on disk.
//!
//! An entry is in memory or on disk as a whole: the key's clock, its open
//! windows, their items. The rules are those of [`Tier`]: a key that is not in
//! memory is on disk as it is, or nowhere, so what the disk has and the store no
//! longer is remembered in `gone` until the next write.
//!
//! Rows bring their keys' entries into memory before they are handled
//! ([`WindowStore::fetch`]). What time closes is found by hints: a hint on disk is
//! a timer, and an entry that comes from disk needs no other until it changes.

use super::changelog::{read_clock, write_clock};
use super::entry::Entry;
use super::key::Key;
use super::store::WindowStore;
use super::windows::OpenWindow;
use crate::Aggregators;
use headwater_core::{Position, Result, TimestampMs};
use headwater_plan::Closing;
use headwater_state::{Spill, Stored, Tier, ValueReader, ValueWriter, Written, hint_of};
use std::collections::BTreeSet;

/// What an entry takes, and each of its windows, beside what is measured.
const ENTRY_BYTES: usize = 320;
const WINDOW_BYTES: usize = 128;
/// How many hints are taken together.
const HINTS_MAX: usize = 1_000;

const CLOCK_IS_LOGGED: u64 = 1;
const WINDOW_IS_EMPTY: u64 = 1;
const WINDOW_IS_LOGGED: u64 = 2;

/// What a window store has on disk.
#[derive(Debug)]
pub(super) struct Spilled {
    tier: Option<Box<Tier>>,
    /// What the entries in memory take.
    bytes: usize,
    /// Keys of entries in memory that the disk does not have as they are.
    unwritten: Vec<Key>,
    /// Keys that the store no longer has, and the disk may.
    gone: BTreeSet<Key>,
    /// The slot at which the search for cold entries goes on.
    hand: u32,
    next_hint_ms: TimestampMs,
}

impl Default for Spilled {
    fn default() -> Spilled {
        Spilled {
            tier: None,
            bytes: 0,
            unwritten: Vec::new(),
            gone: BTreeSet::new(),
            hand: 0,
            next_hint_ms: TimestampMs::MAX,
        }
    }
}

impl Spilled {
    #[inline]
    pub(super) fn has_disk(&self) -> bool {
        self.tier.as_ref().is_some_and(|tier| tier.has_disk())
    }

    pub(super) fn tier(&self) -> Option<&Tier> {
        self.tier.as_deref()
    }

    /// No entry on disk has anything due before; at the end of time there is none.
    #[inline]
    pub(super) fn next_hint_ms(&self) -> TimestampMs {
        self.next_hint_ms
    }

    pub(super) fn is_over_budget(&self) -> bool {
        let tier = self.tier.as_ref();
        tier.is_some_and(|tier| tier.is_over_budget(self.bytes))
    }

    /// The same tier with nothing on it.
    pub(super) fn cleared(&mut self) -> Spilled {
        let mut tier = self.tier.take();
        if let Some(tier) = &mut tier {
            tier.clear();
        }
        Spilled {
            tier,
            ..Spilled::default()
        }
    }

    /// An entry that was removed is put back.
    pub(super) fn took_back(&mut self, entry: &Entry) {
        self.gone.remove(&*entry.key);
        self.bytes += entry.bytes as usize;
    }
}

impl WindowStore {
    pub(super) fn attach_tier(&mut self, mut tier: Tier) {
        let words = read_words(tier.words());
        match words.filter(|words| words.times == self.rules.times()) {
            Some(words) => (self.open_count, self.ended_ms) = (words.open_count, words.ended_ms),
            // Hints were made by other rules, and are perhaps late by these.
            None => tier.clear(),
        }
        self.spilled.next_hint_ms = tier.next_due_ms();
        self.spilled.tier = Some(Box::new(tier));
    }

    /// Where a key's entry stands, in memory now, if the key is known.
    pub(super) fn bring(&mut self, key: &[u8]) -> Option<u32> {
        if let Some(slot) = self.entries.find(key) {
            return Some(slot);
        }
        if !self.spilled.has_disk() || self.spilled.gone.contains(key) {
            return None;
        }
        let tier = self.spilled.tier.as_mut()?;
        let stored = tier.get(key).and_then(|stored| {
            let stored = stored.map(|stored| read_entry(key, stored, &self.aggregators));
            stored.transpose()
        });
        let entry = tier.keep(stored)?;
        entry.and_then(|entry| self.add_back(entry))
    }

    /// Adds an entry that comes from disk, unless no record stands for it; see
    /// [`WindowStore::finish_restore`].
    fn add_back(&mut self, mut entry: Entry) -> Option<u32> {
        if !self.is_restored {
            let before = entry.windows.len();
            entry.windows.retain(|window| window.is_logged);
            self.open_count -= before - entry.windows.len();
            let is_partition = self.rules.closing == Closing::Partition;
            if entry.windows.is_empty() && (is_partition || !entry.is_logged) {
                return None;
            }
        }
        // Its hint is its timer.
        entry.armed_ms = Some(entry.hint_ms);
        entry.is_used = true;
        self.spilled.bytes += entry.bytes as usize;
        Some(self.entries.add_back(entry))
    }

    /// Takes an entry out for good.
    pub(super) fn remove(&mut self, slot: u32) -> Entry {
        let entry = self.entries.take(slot).expect("a slot in use has an entry");
        self.spilled.bytes -= entry.bytes as usize;
        if self.spilled.has_disk() {
            self.spilled.gone.insert(entry.key.clone());
        }
        entry
    }

    /// Notes that an entry has changed, by about that many bytes of changelog.
    pub(super) fn note_changed(&mut self, slot: u32, logged_bytes: usize) {
        let Some(tier) = &mut self.spilled.tier else {
            return;
        };
        let has_disk = tier.has_disk();
        let entry = self.entries.get_mut(slot);
        let entry = entry.expect("what has changed is there");
        let bytes = entry_bytes(entry, logged_bytes) as u32;
        self.spilled.bytes += bytes as usize;
        self.spilled.bytes -= std::mem::replace(&mut entry.bytes, bytes) as usize;
        entry.is_used = true;
        if has_disk {
            tier.note_unwritten(logged_bytes);
            if !std::mem::replace(&mut entry.is_unwritten, true) {
                self.spilled.unwritten.push(entry.key.clone());
            }
        }
    }

    /// Takes all hints up to that time.
    pub(super) fn take_hints(&mut self, until_ms: TimestampMs) {
        while self.spilled.next_hint_ms <= until_ms.min(TimestampMs::MAX - 1) {
            self.take_some_hints(until_ms);
        }
    }

    /// Takes the next hints up to that time: their entries come into memory, with
    /// timers.
    pub(super) fn take_some_hints(&mut self, until_ms: TimestampMs) {
        self.spilled.next_hint_ms = TimestampMs::MAX;
        let Some(tier) = &mut self.spilled.tier else {
            return;
        };
        let hints = tier.take_due(until_ms, HINTS_MAX);
        let Some(hints) = tier.keep(hints) else {
            return;
        };
        self.spilled.next_hint_ms = tier.next_due_ms();
        for (hint_ms, key) in hints {
            let Some(slot) = self.bring(&key) else {
                continue;
            };
            let entry = self.entry_mut(slot);
            if entry.hint_ms != hint_ms {
                continue;
            }
            entry.hint_ms = TimestampMs::MAX;
            if entry.armed_ms == Some(hint_ms) {
                entry.armed_ms = None;
            }
            // It needs another hint.
            if !std::mem::replace(&mut entry.is_unwritten, true) {
                let key = entry.key.clone();
                self.spilled.unwritten.push(key);
            }
            self.arm(slot);
        }
    }
}

impl Spill for WindowStore {
    fn tier_mut(&mut self) -> Option<&mut Tier> {
        self.spilled.tier.as_deref_mut()
    }

    fn resident_bytes(&self) -> usize {
        self.spilled.bytes
    }

    fn write(&mut self, position: Position) -> Result<()> {
        if !self.spilled.has_disk() {
            self.spilled.unwritten.clear();
            for slot in self.entries.slots() {
                if let Some(entry) = self.entries.get_mut(slot) {
                    entry.is_unwritten = true;
                    self.spilled.unwritten.push(entry.key.clone());
                }
            }
        }
        let words = Words {
            open_count: self.open_count,
            ended_ms: self.ended_ms,
            times: self.rules.times(),
        };
        let words = words.encode();
        let written = std::mem::take(&mut self.spilled.unwritten);
        let gone = std::mem::take(&mut self.spilled.gone);
        let keys = written.iter().cloned().chain(gone).collect();
        let WindowStore {
            entries,
            aggregators,
            rules,
            spilled,
            ..
        } = self;
        let Some(tier) = &mut spilled.tier else {
            return Ok(());
        };
        let mut value_of = |key: &[u8], out: &mut Vec<u8>| {
            let Some(entry) = entries.find(key).and_then(|slot| entries.get(slot)) else {
                return Written::Removed;
            };
            write_entry(entry, aggregators, out);
            Written::Value {
                due_ms: Some(entry.due_at(rules)),
                hint_ms: hint(entry),
            }
        };
        tier.write::<Key>(keys, &mut value_of, position, words)?;
        spilled.next_hint_ms = tier.next_due_ms();
        for key in written {
            let slot = entries.find(&key);
            if let Some(entry) = slot.and_then(|slot| entries.get_mut(slot)) {
                entry.is_unwritten = false;
                let due_ms = Some(entry.due_at(rules));
                entry.hint_ms = hint_of(due_ms, hint(entry)).unwrap_or(TimestampMs::MAX);
            }
        }
        Ok(())
    }

    fn evict(&mut self, bytes_max: usize) {
        let slots = self.entries.slots().end;
        // Every entry has a second chance, and no third.
        for _ in 0..2 * u64::from(slots) {
            if self.spilled.bytes <= bytes_max {
                return;
            }
            let slot = self.spilled.hand % slots;
            self.spilled.hand = slot + 1;
            let Some(entry) = self.entries.get_mut(slot) else {
                continue;
            };
            if std::mem::take(&mut entry.is_used) || entry.is_unwritten || entry.is_listed {
                continue;
            }
            self.spilled.bytes -= entry.bytes as usize;
            self.entries.vacate(slot);
        }
    }
}

fn hint(entry: &Entry) -> Option<TimestampMs> {
    (entry.hint_ms < TimestampMs::MAX).then_some(entry.hint_ms)
}

/// What an entry takes in memory, estimated: values that own memory are counted
/// by what the changelog takes for them.
fn entry_bytes(entry: &Entry, logged_bytes: usize) -> usize {
    let windows = entry.windows.iter().map(|window| {
        let items = window.accumulators.items();
        WINDOW_BYTES + items.map_or(0, |items| items.byte_count())
    });
    ENTRY_BYTES + entry.key.len() + logged_bytes + windows.sum::<usize>()
}

/// ```text
/// flags, clock, number of windows; for each: start, flags, accumulators, number
/// of items, items
/// ```
fn write_entry(entry: &Entry, aggregators: &Aggregators, out: &mut Vec<u8>) {
    let mut value = ValueWriter::reusing(std::mem::take(out), None);
    value.varint(if entry.is_logged { CLOCK_IS_LOGGED } else { 0 });
    write_clock(entry.clock, &mut value);
    value.varint(entry.windows.len() as u64);
    for window in entry.windows.iter() {
        let is_empty = if window.is_empty { WINDOW_IS_EMPTY } else { 0 };
        let is_logged = if window.is_logged {
            WINDOW_IS_LOGGED
        } else {
            0
        };
        value.int(window.start_ms).varint(is_empty | is_logged);
        aggregators.write(&window.accumulators, &mut value);
        let items = window.accumulators.items();
        value.varint(items.map_or(0, |items| items.len() as u64));
        if let Some(items) = items {
            for index in 0..items.len() {
                aggregators.write_item(items, index, &mut value);
            }
        }
    }
    *out = value.finish();
}

fn read_entry(key: &[u8], stored: Stored, aggregators: &Aggregators) -> Result<Entry> {
    // The savepoints that are open have no copy of it.
    const STAMP: u64 = 0;
    let (mut value, _) = ValueReader::new(&stored.value)?;
    let mut entry = Entry::new(Key::from(key), STAMP);
    entry.is_logged = value.varint()? & CLOCK_IS_LOGGED != 0;
    entry.clock = read_clock(&mut value)?;
    for index in 0..value.varint()? {
        let start_ms = value.int()?;
        let flags = value.varint()?;
        let mut window = OpenWindow {
            start_ms,
            accumulators: aggregators.initial(),
            stamp: STAMP,
            is_empty: flags & WINDOW_IS_EMPTY != 0,
            is_dirty: false,
            is_logged: flags & WINDOW_IS_LOGGED != 0,
        };
        aggregators.read(&mut window.accumulators, &mut value)?;
        let items = window.accumulators.items();
        let first_sequence = items.map_or(0, |items| items.first_sequence());
        for item in 0..value.varint()? {
            let sequence = first_sequence + item;
            aggregators.read_item(&mut window.accumulators, sequence, &mut value)?;
        }
        entry.windows.insert(index as usize, window);
    }
    entry.hint_ms = stored.hint_ms.unwrap_or(TimestampMs::MAX);
    entry.bytes = entry_bytes(&entry, stored.value.len()) as u32;
    Ok(entry)
}

/// What stands beside the entries.
struct Words {
    /// The number of open windows.
    open_count: usize,
    /// [`WindowStore::ended_ms`].
    ended_ms: TimestampMs,
    /// The rules by which hints were made, as [`Rules::times`](super::rules::Rules::times)
    /// gives them.
    times: [i64; 3],
}

impl Words {
    fn encode(&self) -> Vec<u8> {
        let numbers = [self.open_count as i64, self.ended_ms];
        let numbers = numbers.into_iter().chain(self.times);
        numbers.flat_map(i64::to_le_bytes).collect()
    }
}

/// `None` where there are none.
fn read_words(words: &[u8]) -> Option<Words> {
    let number = |bytes: &[u8]| bytes.try_into().map(i64::from_le_bytes).ok();
    let numbers: Vec<i64> = words.chunks(8).map_while(number).collect();
    let [open_count, ended_ms, times @ ..] = numbers.as_slice() else {
        return None;
    };
    Some(Words {
        open_count: usize::try_from(*open_count).ok()?,
        ended_ms: *ended_ms,
        times: times.try_into().ok()?,
    })
}
