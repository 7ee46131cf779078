//! The state of stateful record functions: values by record key and name.
//!
//! One store serves all stateful functions of a stream. Values are the user's
//! own, as bytes with a tag that says whether they are JSON or plain bytes. A
//! value's time to live follows its key's clock: the largest event time at which
//! a function saw that key. What has expired is gone for reads at once; sweeping
//! trails the watermark, so a record that is far in the past never finds a value
//! gone that its own key's clock has not passed.
//!
//! With a [`Tier`] an entry that was not used for long stands on disk only. A
//! key that is looked for and is nowhere is remembered too, in a slot without an
//! entry, until it leaves memory like others. Which entries leave is decided by
//! a clock hand over a ring of keys: who was used since it last came by stays.

use crate::{
    KeyReader, KeyWriter, Mark, Spill, StateStore, Tier, ValueReader, ValueWriter, Written, hint_of,
};
use ahash::AHasher;
use headwater_core::{Position, RecordsBuilder, Result, TimestampMs};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::sync::Arc;

type FixedHash = BuildHasherDefault<AHasher>;

pub(crate) const KIND_VALUE: u8 = 1;
pub(crate) const KIND_CLOCK: u8 = 2;

/// What a slot takes beside its key and value, measured.
const SLOT_BYTES: usize = 200;
/// What an expiry takes.
const EXPIRY_BYTES: usize = 100;

/// Values of many keys, with savepoints and changes.
#[derive(Debug, Default)]
pub struct KeyedStore {
    slots: HashMap<Arc<[u8]>, Slot, FixedHash>,
    /// What to put back, newest last; `None` where nothing was resident.
    undo: Vec<(Arc<[u8]>, Option<Slot>)>,
    is_marked: bool,
    /// Keys changed since the last drain, in order of first change. Their slots
    /// say whether that still holds.
    changed: Vec<Arc<[u8]>>,
    /// What expires at or before this is gone, whatever its key's clock says.
    horizon_ms: Option<TimestampMs>,
    /// How far the horizon trails the watermark.
    max_future_ms: i64,
    /// Resident entries by expiry, for sweeping.
    expiries: BTreeSet<(TimestampMs, Arc<[u8]>)>,
    /// What the slots take.
    bytes: usize,
    tier: Option<Box<Tier>>,
    /// Resident keys in the order in which the hand comes by. Kept once
    /// something is on disk.
    ring: VecDeque<Arc<[u8]>>,
    /// Keys whose slots the disk does not have as they are.
    unwritten: Vec<Arc<[u8]>>,
}

/// A resident key.
#[derive(Clone, Debug, Default, PartialEq)]
struct Slot {
    /// `None` if there is no entry, on disk either once it is written.
    entry: Option<Entry>,
    /// Whether it has changed since the last drain.
    is_changed: bool,
    /// Whether the disk does not have it as it is.
    is_unwritten: bool,
    /// Whether it was used since the hand came by.
    is_used: bool,
    is_in_ring: bool,
    /// The hint that the entry has on disk, as far as it is known.
    hint_ms: Option<TimestampMs>,
}

#[derive(Clone, Debug, PartialEq)]
enum Entry {
    Value {
        bytes: Arc<[u8]>,
        expires_ms: Option<TimestampMs>,
    },
    /// It is kept until the last value expires that it may make late.
    Clock {
        latest_ms: TimestampMs,
        expires_ms: Option<TimestampMs>,
    },
}

impl Entry {
    fn expires_ms(&self) -> Option<TimestampMs> {
        match self {
            Entry::Value { expires_ms, .. } | Entry::Clock { expires_ms, .. } => *expires_ms,
        }
    }

    /// Appends the entry as the changelog has it.
    fn write(&self, out: &mut Vec<u8>) {
        let buffer = std::mem::take(out);
        let mut writer = ValueWriter::reusing(buffer, self.expires_ms());
        match self {
            Entry::Value { bytes, .. } => writer.bytes(bytes),
            Entry::Clock { latest_ms, .. } => writer.int(*latest_ms),
        };
        *out = writer.finish();
    }

    fn read(key: &[u8], value: &[u8]) -> Result<Entry> {
        let (_, kind) = KeyReader::new(key)?;
        let (mut reader, expires_ms) = ValueReader::new(value)?;
        Ok(match kind {
            KIND_CLOCK => Entry::Clock {
                latest_ms: reader.int()?,
                expires_ms,
            },
            _ => Entry::Value {
                bytes: reader.bytes()?.into(),
                expires_ms,
            },
        })
    }
}

impl Slot {
    fn expires_ms(&self) -> Option<TimestampMs> {
        self.entry.as_ref()?.expires_ms()
    }
}

fn slot_bytes(key: &[u8], entry: Option<&Entry>) -> usize {
    let of_value = match entry {
        Some(Entry::Value { bytes, .. }) => bytes.len(),
        _ => 0,
    };
    let expires_ms = entry.and_then(Entry::expires_ms);
    SLOT_BYTES + key.len() + of_value + expires_ms.map_or(0, |_| EXPIRY_BYTES)
}

impl KeyedStore {
    /// A store for records that may be `max_future_ms` ahead of time.
    pub fn new(max_future_ms: i64) -> Self {
        KeyedStore {
            max_future_ms,
            ..KeyedStore::default()
        }
    }

    /// Says where the watermark stood when the next record arrived. What expired
    /// `max_future` before it is gone; sweeping goes no further, so it never
    /// changes what a record reads.
    pub fn set_watermark(&mut self, watermark_ms: TimestampMs) {
        self.horizon_ms = Some(watermark_ms.saturating_sub(self.max_future_ms));
    }

    /// The state of one key, seen by a record of that event time.
    pub fn of_key<'a>(&'a mut self, key: Option<&'a [u8]>, now_ms: TimestampMs) -> KeyedState<'a> {
        KeyedState {
            store: self,
            key,
            now_ms,
        }
    }

    /// The entry of a key, from disk if need be.
    fn find(&mut self, key: &[u8]) -> Option<&Entry> {
        if self.has_disk() && !self.slots.contains_key(key) {
            self.load(key);
        }
        let slot = self.slots.get_mut(key)?;
        slot.is_used = true;
        slot.entry.as_ref()
    }

    fn has_disk(&self) -> bool {
        self.tier.as_ref().is_some_and(|tier| tier.has_disk())
    }

    /// Makes a key resident.
    #[cold]
    fn load(&mut self, key: &[u8]) {
        let Some(tier) = &mut self.tier else { return };
        let loaded = tier.get(key).and_then(|stored| {
            let hint_ms = stored.as_ref().and_then(|stored| stored.hint_ms);
            let entry = stored.map(|stored| Entry::read(key, &stored.value));
            Ok((entry.transpose()?, hint_ms))
        });
        match loaded {
            Ok((entry, hint_ms)) => {
                let key: Arc<[u8]> = key.into();
                let slot = Slot {
                    entry,
                    hint_ms,
                    is_in_ring: true,
                    ..Slot::default()
                };
                self.ring.push_back(Arc::clone(&key));
                self.set_slot(&key, Some(slot));
            }
            Err(error) => {
                tier.keep::<()>(Err(error));
            }
        }
    }

    /// Puts a slot in the place of what is there; returns that.
    fn set_slot(&mut self, key: &Arc<[u8]>, slot: Option<Slot>) -> Option<Slot> {
        let expires_ms = slot.as_ref().and_then(Slot::expires_ms);
        let old = match slot {
            Some(slot) => {
                self.bytes += slot_bytes(key, slot.entry.as_ref());
                self.slots.insert(Arc::clone(key), slot)
            }
            None => self.slots.remove(key),
        };
        if let Some(old) = &old {
            self.bytes -= slot_bytes(key, old.entry.as_ref());
        }
        let old_expires_ms = old.as_ref().and_then(Slot::expires_ms);
        if old_expires_ms != expires_ms {
            if let Some(expires) = old_expires_ms {
                self.expiries.remove(&(expires, Arc::clone(key)));
            }
            if let Some(expires) = expires_ms {
                self.expiries.insert((expires, Arc::clone(key)));
            }
        }
        old
    }

    fn put(&mut self, key: Arc<[u8]>, entry: Option<Entry>) {
        let known = self.slots.get(&key);
        let is_new_change = known.is_none_or(|slot| !slot.is_changed);
        let slot = Slot {
            entry,
            is_changed: true,
            is_used: true,
            is_unwritten: known.is_some_and(|slot| slot.is_unwritten),
            is_in_ring: known.is_some_and(|slot| slot.is_in_ring),
            hint_ms: known.and_then(|slot| slot.hint_ms),
        };
        let old = self.set_slot(&key, Some(slot));
        if self.is_marked {
            self.undo.push((Arc::clone(&key), old));
        }
        if is_new_change {
            self.changed.push(key);
        }
    }

    /// The number of entries that have changed since the last drain.
    pub fn changed_count(&self) -> usize {
        self.changed.len()
    }

    /// Removes what expired `max_future` before `watermark_ms`, about
    /// `entries_max` entries. A key's clock goes when the horizon has passed it and
    /// all values that it could make late: reads then find the same without it.
    ///
    /// # Panics
    /// If a savepoint is open: what is swept is not put back.
    pub fn sweep(&mut self, watermark_ms: TimestampMs, entries_max: usize) {
        assert!(!self.is_marked, "sweeping is done between steps");
        let horizon_ms = watermark_ms.saturating_sub(self.max_future_ms);
        let tier = self.tier.as_ref();
        if tier.is_some_and(|tier| tier.next_due_ms() <= horizon_ms) {
            self.load_expired(horizon_ms, entries_max);
        }
        for _ in 0..entries_max {
            let Some((expires, key)) = self.expiries.first() else {
                return;
            };
            if *expires > horizon_ms {
                return;
            }
            let key = Arc::clone(key);
            // A clock that the horizon has not passed can still make a value late.
            let kept = match self.slots.get(&key).and_then(|slot| slot.entry.as_ref()) {
                Some(Entry::Clock { latest_ms, .. }) if horizon_ms < *latest_ms => {
                    Some(Entry::Clock {
                        latest_ms: *latest_ms,
                        expires_ms: Some(*latest_ms),
                    })
                }
                _ => None,
            };
            self.put(key, kept);
        }
    }

    /// Makes entries resident whose time to live is over.
    fn load_expired(&mut self, horizon_ms: TimestampMs, entries_max: usize) {
        let Some(tier) = &mut self.tier else { return };
        let hints = tier.take_due(horizon_ms, entries_max);
        for (hint_ms, key) in tier.keep(hints).into_iter().flatten() {
            self.find(&key);
            self.take_hint(&key.into(), hint_ms);
        }
    }

    /// A hint of the key was taken: if it was the entry's, it needs another.
    fn take_hint(&mut self, key: &Arc<[u8]>, hint_ms: TimestampMs) {
        let slot = self.slots.get_mut(key);
        if let Some(slot) = slot.filter(|slot| slot.hint_ms == Some(hint_ms)) {
            slot.hint_ms = None;
            self.mark_unwritten(key);
        }
    }

    fn clock(&mut self, key: Option<&[u8]>) -> TimestampMs {
        match self.find(clock_key(key).as_slice()) {
            Some(Entry::Clock { latest_ms, .. }) => *latest_ms,
            _ => TimestampMs::MIN,
        }
    }

    /// Notes that the disk does not have a resident key as it is.
    fn mark_unwritten(&mut self, key: &Arc<[u8]>) {
        let (Some(slot), Some(tier)) = (self.slots.get_mut(key), &mut self.tier) else {
            return;
        };
        tier.note_unwritten(slot_bytes(key, slot.entry.as_ref()));
        if !std::mem::replace(&mut slot.is_unwritten, true) {
            self.unwritten.push(Arc::clone(key));
        }
        if !std::mem::replace(&mut slot.is_in_ring, true) {
            self.ring.push_back(Arc::clone(key));
        }
    }

    /// Before the first write the disk has nothing.
    fn mark_all_unwritten(&mut self) {
        #[expect(clippy::disallowed_methods, reason = "the keys are sorted")]
        let mut keys: Vec<Arc<[u8]>> = self.slots.keys().cloned().collect();
        keys.sort_unstable();
        self.ring.clear();
        self.unwritten.clear();
        for key in &keys {
            let slot = self.slots.get_mut(key).expect("the key was just listed");
            (slot.is_unwritten, slot.is_in_ring) = (true, true);
        }
        self.ring.extend(keys.iter().cloned());
        self.unwritten = keys;
    }
}

fn clock_key(key: Option<&[u8]>) -> Vec<u8> {
    KeyWriter::new(KIND_CLOCK).bytes(key).finish()
}

/// The state of one key, as a function sees it while it handles one record.
///
/// What cannot be read from disk is answered as if it had never been stored; the
/// engine then drops the step ([`StateStore::check`]).
#[derive(Debug)]
pub struct KeyedState<'a> {
    store: &'a mut KeyedStore,
    key: Option<&'a [u8]>,
    now_ms: TimestampMs,
}

impl KeyedState<'_> {
    fn full_key(&self, name: &[u8]) -> Vec<u8> {
        KeyWriter::new(KIND_VALUE)
            .bytes(self.key)
            .bytes(Some(name))
            .finish()
    }

    /// The value stored under `name`, unless it has expired.
    pub fn get(&mut self, name: &[u8]) -> Option<Arc<[u8]>> {
        let key = self.full_key(name);
        let Some(Entry::Value { bytes, expires_ms }) = self.store.find(&key) else {
            return None;
        };
        let bytes = Arc::clone(bytes);
        let Some(expires) = *expires_ms else {
            return Some(bytes);
        };
        let clock = self.store.clock(self.key).max(self.now_ms);
        let is_swept = self
            .store
            .horizon_ms
            .is_some_and(|horizon| expires <= horizon);
        (clock < expires && !is_swept).then_some(bytes)
    }

    /// Stores a value, for ever or for `ttl_ms` of event time from this record on.
    /// What would outlive the last millisecond that can be counted is for ever.
    pub fn set(&mut self, name: &[u8], bytes: &[u8], ttl_ms: Option<i64>) {
        let key: Arc<[u8]> = self.full_key(name).into();
        let expires_ms = ttl_ms
            .map(|ttl| self.now_ms.saturating_add(ttl))
            .filter(|expires| *expires < TimestampMs::MAX);
        if ttl_ms.is_some() {
            self.follow_until(expires_ms.unwrap_or(self.now_ms));
        }
        self.store.put(
            key,
            Some(Entry::Value {
                bytes: bytes.into(),
                expires_ms,
            }),
        );
    }

    /// Removes a value; `false` if there was none.
    pub fn delete(&mut self, name: &[u8]) -> bool {
        let key = self.full_key(name);
        let was_there = self.get(name).is_some();
        if self.store.find(&key).is_some() {
            self.store.put(key.into(), None);
        }
        was_there
    }

    /// Records that the key was seen at this record's event time. Only keys
    /// that hold a value with a time to live need it.
    pub fn advance_clock(&mut self) {
        self.follow_until(self.now_ms);
    }

    /// Advances the clock, and keeps it at least until a value expires.
    fn follow_until(&mut self, value_expires_ms: TimestampMs) {
        let key = clock_key(self.key);
        let known = match self.store.find(&key) {
            Some(Entry::Clock {
                latest_ms,
                expires_ms,
            }) => Some((*latest_ms, *expires_ms)),
            _ => None,
        };
        let (latest_ms, expires_ms) = match known {
            // Where records alone move it on, sweeping sees to that when it comes by.
            Some((latest_ms, expires_ms)) if value_expires_ms == self.now_ms => {
                (latest_ms.max(self.now_ms), expires_ms)
            }
            Some((latest_ms, expires_ms)) => (
                latest_ms.max(self.now_ms),
                expires_ms.map(|known| known.max(value_expires_ms)),
            ),
            None => (self.now_ms, Some(value_expires_ms)),
        };
        if known != Some((latest_ms, expires_ms)) {
            let clock = Entry::Clock {
                latest_ms,
                expires_ms,
            };
            self.store.put(key.into(), Some(clock));
        }
    }

    /// Whether the key has a clock, which must then follow its records.
    pub fn has_clock(&mut self) -> bool {
        self.store.clock(self.key) != TimestampMs::MIN
    }
}

impl StateStore for KeyedStore {
    fn mark(&mut self) -> Mark {
        self.is_marked = true;
        Mark(self.undo.len())
    }

    fn rollback(&mut self, mark: Mark) {
        // A key whose change was undone stays listed; its slot says that it is as
        // it was.
        for (key, old) in self.undo.split_off(mark.0).into_iter().rev() {
            self.set_slot(&key, old);
        }
    }

    fn release(&mut self) {
        self.is_marked = false;
        self.undo.clear();
    }

    fn drain_changes(&mut self, out: &mut RecordsBuilder) {
        assert!(self.undo.is_empty(), "no savepoint is open between steps");
        let has_disk = self.has_disk();
        let mut value = Vec::new();
        let mut changed = std::mem::take(&mut self.changed);
        for key in changed.drain(..) {
            let Some(slot) = self.slots.get_mut(&key) else {
                continue;
            };
            if !std::mem::take(&mut slot.is_changed) {
                continue;
            }
            let is_removed = slot.entry.is_none();
            match &slot.entry {
                Some(entry) => {
                    entry.write(&mut value);
                    out.push(Some(&key), Some(&value), 0, None);
                }
                None => out.push(Some(&key), None, 0, None),
            }
            if has_disk {
                self.mark_unwritten(&key);
            } else if is_removed {
                self.set_slot(&key, None);
            }
        }
        self.changed = changed;
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        KeyReader::new(key)?;
        let entry = value.map(|value| Entry::read(key, value)).transpose()?;
        let key: Arc<[u8]> = key.into();
        if self.has_disk() {
            let known = self.slots.get(&key).cloned().unwrap_or_default();
            self.set_slot(&key, Some(Slot { entry, ..known }));
            self.mark_unwritten(&key);
        } else {
            let slot = entry.map(|entry| Slot {
                entry: Some(entry),
                ..Slot::default()
            });
            self.set_slot(&key, slot);
        }
        Ok(())
    }

    fn clear(&mut self) {
        let mut tier = self.tier.take();
        if let Some(tier) = &mut tier {
            tier.clear();
        }
        *self = KeyedStore {
            tier,
            ..KeyedStore::new(self.max_future_ms)
        };
    }

    fn len(&self) -> usize {
        self.slots.len()
    }

    fn attach(&mut self, tier: Tier) {
        assert!(
            self.slots.is_empty(),
            "a tier is attached to an empty store"
        );
        self.tier = Some(Box::new(tier));
    }

    fn tier(&self) -> Option<&Tier> {
        self.tier.as_deref()
    }

    fn spill(&mut self) -> Option<&mut dyn Spill> {
        Some(self)
    }

    fn is_over_budget(&self) -> bool {
        let tier = self.tier.as_ref();
        tier.is_some_and(|tier| tier.is_over_budget(self.bytes))
    }
}

impl Spill for KeyedStore {
    fn tier_mut(&mut self) -> Option<&mut Tier> {
        self.tier.as_deref_mut()
    }

    fn resident_bytes(&self) -> usize {
        self.bytes
    }

    fn write(&mut self, position: Position) -> Result<()> {
        if !self.has_disk() {
            self.mark_all_unwritten();
        }
        let Some(tier) = &mut self.tier else {
            return Ok(());
        };
        let keys = std::mem::take(&mut self.unwritten);
        let slots = &self.slots;
        let mut value_of = |key: &[u8], out: &mut Vec<u8>| {
            let slot = slots.get(key).expect("what is unwritten is resident");
            let Some(entry) = &slot.entry else {
                return Written::Removed;
            };
            entry.write(out);
            Written::Value {
                due_ms: entry.expires_ms(),
                hint_ms: slot.hint_ms,
            }
        };
        tier.write(keys.clone(), &mut value_of, position, Vec::new())?;
        for key in keys {
            let slot = self.slots.get_mut(&key);
            let slot = slot.expect("what was unwritten is resident");
            slot.is_unwritten = false;
            slot.hint_ms = hint_of(slot.expires_ms(), slot.hint_ms);
        }
        Ok(())
    }

    fn evict(&mut self, bytes_max: usize) {
        // Every key has a second chance, and no third.
        for _ in 0..2 * self.ring.len() {
            if self.bytes <= bytes_max {
                return;
            }
            let Some(key) = self.ring.pop_front() else {
                return;
            };
            let Some(slot) = self.slots.get_mut(&key) else {
                continue;
            };
            if std::mem::take(&mut slot.is_used) || slot.is_unwritten {
                self.ring.push_back(key);
                continue;
            }
            self.set_slot(&key, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(store: &mut KeyedStore) -> headwater_core::Records {
        let mut out = RecordsBuilder::default();
        store.drain_changes(&mut out);
        out.finish()
    }

    #[test]
    fn a_restored_store_equals_the_one_that_was_drained() {
        let mut store = KeyedStore::default();
        store.of_key(Some(b"a"), 10).set(b"x", b"1", None);
        store.of_key(None, 10).set(b"x", b"2", Some(5));
        store.of_key(Some(b"a"), 11).set(b"y", b"3", None);
        store.of_key(Some(b"a"), 12).delete(b"y");
        store.release();
        let log = changes(&mut store);
        let mut restored = KeyedStore::default();
        for index in 0..log.len() {
            restored
                .restore(log.key(index).expect("a key"), log.value(index))
                .expect("restores");
        }
        assert_eq!(
            restored.of_key(Some(b"a"), 13).get(b"x").as_deref(),
            Some(b"1".as_slice())
        );
        assert_eq!(restored.of_key(Some(b"a"), 13).get(b"y"), None);
        assert_eq!(
            restored.of_key(None, 14).get(b"x").as_deref(),
            Some(b"2".as_slice())
        );
        assert_eq!(restored.of_key(None, 15).get(b"x"), None);
        assert_eq!(restored.expiries, store.expiries);
        assert_eq!(restored.len(), store.len());
        assert!(changes(&mut restored).is_empty());
    }

    #[test]
    fn keys_that_come_and_go_leave_nothing_behind() {
        let mut store = KeyedStore::new(100);
        let mut len_max = 0;
        for now in 0..10_000_i64 {
            let key = now.to_be_bytes();
            store.set_watermark(now);
            store.of_key(Some(&key), now).set(b"x", b"1", Some(50));
            store.of_key(Some(&key), now + 20).advance_clock();
            store.sweep(now, 10);
            changes(&mut store);
            len_max = len_max.max(store.len());
        }
        // A value and a clock of each key of the last 150 milliseconds or so.
        assert!(len_max < 2 * 200, "{len_max} entries");
        store.sweep(20_000, 1_000);
        changes(&mut store);
        assert!(store.is_empty() && store.expiries.is_empty());
    }

    #[test]
    fn a_time_to_live_beyond_all_time_is_for_ever_before_and_after_a_restart() {
        let mut store = KeyedStore::default();
        store.of_key(None, 5).set(b"x", b"1", Some(i64::MAX));
        let log = changes(&mut store);
        let mut restored = KeyedStore::default();
        for index in 0..log.len() {
            restored
                .restore(log.key(index).expect("a key"), log.value(index))
                .expect("restores");
        }
        for store in [&mut store, &mut restored] {
            assert!(store.of_key(None, i64::MAX).get(b"x").is_some());
        }
    }

    #[test]
    fn rollback_undoes_what_came_after_the_mark() {
        let mut store = KeyedStore::default();
        store.of_key(Some(b"k"), 0).set(b"n", b"0", None);
        let outer = store.mark();
        store.of_key(Some(b"k"), 0).set(b"n", b"1", None);
        let inner = store.mark();
        store.of_key(Some(b"k"), 0).set(b"n", b"2", None);
        store.of_key(Some(b"k"), 0).set(b"m", b"2", Some(1));
        store.rollback(inner);
        assert_eq!(
            store.of_key(Some(b"k"), 0).get(b"n").as_deref(),
            Some(b"1".as_slice())
        );
        assert_eq!(store.of_key(Some(b"k"), 0).get(b"m"), None);
        store.rollback(outer);
        assert_eq!(
            store.of_key(Some(b"k"), 0).get(b"n").as_deref(),
            Some(b"0".as_slice())
        );
        assert!(store.expiries.is_empty());
    }

    #[test]
    fn a_time_to_live_follows_the_keys_own_clock() {
        let mut store = KeyedStore::new(9_000);
        store.of_key(Some(b"slow"), 100).set(b"x", b"1", Some(50));
        store
            .of_key(Some(b"fast"), 10_000)
            .set(b"x", b"1", Some(50));
        assert!(store.of_key(Some(b"slow"), 149).get(b"x").is_some());
        assert!(store.of_key(Some(b"slow"), 150).get(b"x").is_none());
        store.sweep(10_000, 10);
        changes(&mut store);
        assert_eq!(
            store.of_key(Some(b"fast"), 10_010).get(b"x").as_deref(),
            Some(b"1".as_slice())
        );
        assert!(
            !store.slots.contains_key(
                KeyWriter::new(KIND_VALUE)
                    .bytes(Some(b"slow"))
                    .bytes(Some(b"x"))
                    .finish()
                    .as_slice()
            )
        );
    }
}
