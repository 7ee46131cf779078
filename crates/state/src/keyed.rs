//! The state of stateful record functions: values by record key and name.
//!
//! One store serves all stateful functions of a stream. Values are the user's
//! own, as bytes with a tag that says whether they are JSON or plain bytes. A
//! value's time to live follows its key's clock: the largest event time at which
//! a function saw that key. What has expired is gone for reads at once; sweeping
//! trails the watermark, so a record that is far in the past never finds a value
//! gone that its own key's clock has not passed.

use crate::{KeyReader, KeyWriter, Mark, StateStore, ValueReader, ValueWriter};
use ahash::AHasher;
use headwater_core::{RecordsBuilder, Result, TimestampMs};
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;
use std::sync::Arc;

type FixedHash = BuildHasherDefault<AHasher>;

const KIND_VALUE: u8 = 1;
const KIND_CLOCK: u8 = 2;

/// Values of many keys, with savepoints and changes.
#[derive(Debug, Default)]
pub struct KeyedStore {
    entries: HashMap<Arc<[u8]>, Entry, FixedHash>,
    /// What to put back, newest last.
    undo: Vec<(Arc<[u8]>, Option<Entry>)>,
    is_marked: bool,
    /// Entries changed since the last drain, in order of first change.
    changed: Vec<Arc<[u8]>>,
    changed_index: HashMap<Arc<[u8]>, (), FixedHash>,
    /// What expires at or before this is gone, whatever its key's clock says.
    horizon_ms: Option<TimestampMs>,
    /// How far the horizon trails the watermark.
    max_future_ms: i64,
    /// Entries by expiry, for sweeping.
    expiries: BTreeMap<(TimestampMs, Arc<[u8]>), ()>,
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

    fn put(&mut self, key: Arc<[u8]>, entry: Option<Entry>) {
        let expiry = |entry: &Option<Entry>| entry.as_ref().and_then(Entry::expires_ms);
        let new_expiry = expiry(&entry);
        let old = match entry {
            Some(entry) => self.entries.insert(Arc::clone(&key), entry),
            None => self.entries.remove(&key),
        };
        let old_expiry = expiry(&old);
        if old_expiry != new_expiry {
            if let Some(expires) = old_expiry {
                self.expiries.remove(&(expires, Arc::clone(&key)));
            }
            if let Some(expires) = new_expiry {
                self.expiries.insert((expires, Arc::clone(&key)), ());
            }
        }
        if self.is_marked {
            self.undo.push((Arc::clone(&key), old));
        }
        if self.changed_index.insert(Arc::clone(&key), ()).is_none() {
            self.changed.push(key);
        }
    }

    /// The number of entries that have changed since the last drain.
    pub fn changed_count(&self) -> usize {
        self.changed.len()
    }

    /// Removes what expired `max_future` before `watermark_ms`, at most
    /// `entries_max` entries. A key's clock goes when the horizon has passed it and
    /// all values that it could make late: reads then find the same without it.
    pub fn sweep(&mut self, watermark_ms: TimestampMs, entries_max: usize) {
        let horizon_ms = watermark_ms.saturating_sub(self.max_future_ms);
        for _ in 0..entries_max {
            let Some(((expires, key), ())) = self.expiries.first_key_value() else {
                return;
            };
            if *expires > horizon_ms {
                return;
            }
            let key = Arc::clone(key);
            // A clock that the horizon has not passed can still make a value late.
            let kept = match self.entries.get(&key) {
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

    fn clock(&self, key: Option<&[u8]>) -> TimestampMs {
        match self.entries.get(clock_key(key).as_slice()) {
            Some(Entry::Clock { latest_ms, .. }) => *latest_ms,
            _ => TimestampMs::MIN,
        }
    }
}

fn clock_key(key: Option<&[u8]>) -> Vec<u8> {
    KeyWriter::new(KIND_CLOCK).bytes(key).finish()
}

/// The state of one key, as a function sees it while it handles one record.
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
    pub fn get(&self, name: &[u8]) -> Option<Arc<[u8]>> {
        match self.store.entries.get(self.full_key(name).as_slice())? {
            Entry::Value {
                bytes,
                expires_ms: None,
            } => Some(Arc::clone(bytes)),
            Entry::Value {
                bytes,
                expires_ms: Some(expires),
            } => {
                let clock = self.store.clock(self.key).max(self.now_ms);
                let is_swept = self
                    .store
                    .horizon_ms
                    .is_some_and(|horizon| *expires <= horizon);
                (clock < *expires && !is_swept).then(|| Arc::clone(bytes))
            }
            Entry::Clock { .. } => None,
        }
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
        if self.store.entries.contains_key(key.as_slice()) {
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
        let known = match self.store.entries.get(key.as_slice()) {
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
    pub fn has_clock(&self) -> bool {
        self.store.clock(self.key) != TimestampMs::MIN
    }
}

impl StateStore for KeyedStore {
    fn mark(&mut self) -> Mark {
        self.is_marked = true;
        Mark(self.undo.len())
    }

    fn rollback(&mut self, mark: Mark) {
        let undone = self.undo.split_off(mark.0);
        let was_marked = std::mem::replace(&mut self.is_marked, false);
        for (key, old) in undone.into_iter().rev() {
            self.put(key, old);
        }
        self.is_marked = was_marked;
    }

    fn release(&mut self) {
        self.is_marked = false;
        self.undo.clear();
    }

    fn drain_changes(&mut self, out: &mut RecordsBuilder) {
        assert!(self.undo.is_empty(), "no savepoint is open between steps");
        self.changed_index.clear();
        for key in self.changed.drain(..) {
            let value = self.entries.get(&key).map(|entry| match entry {
                Entry::Value { bytes, expires_ms } => {
                    let mut writer = ValueWriter::new(*expires_ms);
                    writer.bytes(bytes);
                    writer.finish()
                }
                Entry::Clock {
                    latest_ms,
                    expires_ms,
                } => {
                    let mut writer = ValueWriter::new(*expires_ms);
                    writer.int(*latest_ms);
                    writer.finish()
                }
            });
            out.push(Some(&key), value.as_deref(), 0, None);
        }
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let (_, kind) = KeyReader::new(key)?;
        let entry = match value {
            None => None,
            Some(value) => {
                let (mut reader, expires_ms) = ValueReader::new(value)?;
                Some(match kind {
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
        };
        self.put(key.into(), entry);
        self.changed.clear();
        self.changed_index.clear();
        Ok(())
    }

    fn clear(&mut self) {
        *self = KeyedStore::new(self.max_future_ms);
    }

    fn len(&self) -> usize {
        self.entries.len()
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
        assert_eq!(restored.entries, store.entries);
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
            len_max = len_max.max(store.len());
        }
        // A value and a clock of each key of the last 150 milliseconds or so.
        assert!(len_max < 2 * 200, "{len_max} entries");
        store.sweep(20_000, 1_000);
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
        assert_eq!(
            store.of_key(Some(b"fast"), 10_010).get(b"x").as_deref(),
            Some(b"1".as_slice())
        );
        assert!(
            !store.entries.contains_key(
                KeyWriter::new(KIND_VALUE)
                    .bytes(Some(b"slow"))
                    .bytes(Some(b"x"))
                    .finish()
                    .as_slice()
            )
        );
    }
}
