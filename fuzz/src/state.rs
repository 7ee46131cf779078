//! The keyed store: records of a changelog, and operations against a map.

use crate::input::Input;
use headwater_core::RecordsBuilder;
use headwater_state::{KeyWriter, KeyedStore, Mark, StateStore, StoredEntry, ValueWriter};
use std::collections::BTreeMap;

/// A key or value of a changelog: any bytes, or well-formed parts.
pub(crate) fn changelog_key(input: &mut Input<'_>) -> Vec<u8> {
    if input.byte() & 1 == 0 {
        return input.bytes().to_vec();
    }
    let mut writer = KeyWriter::new(input.byte() % 6).bytes(input.nullable());
    for _ in 0..input.below(3) {
        writer = writer.int(input.int());
    }
    writer.finish()
}

/// As [`changelog_key`].
pub(crate) fn changelog_value(input: &mut Input<'_>) -> Option<Vec<u8>> {
    match input.below(4) {
        0 => None,
        1 => Some(input.bytes().to_vec()),
        _ => {
            let mut writer = ValueWriter::new((input.byte() & 1 == 0).then(|| input.int()));
            for _ in 0..input.below(8) {
                match input.below(4) {
                    0 => writer.varint(input.int() as u64),
                    1 => writer.int(input.int()),
                    2 => writer.float(f64::from_bits(input.int() as u64)),
                    _ => writer.bytes(input.bytes()),
                };
            }
            Some(writer.finish())
        }
    }
}

/// Any changelog: an error, or a store that can be used.
pub(crate) fn restore(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut store = KeyedStore::new(1_000);
    while !input.is_empty() {
        let (key, value) = (changelog_key(&mut input), changelog_value(&mut input));
        let shown = StoredEntry::of_keyed(&key, value.as_deref().unwrap_or_default());
        std::hint::black_box(shown.is_ok());
        if store.restore(&key, value.as_deref()).is_err() {
            return;
        }
    }
    store.mark();
    store.set_watermark(5_000);
    for key in [None, Some(&b"a"[..])] {
        let mut state = store.of_key(key, 3);
        std::hint::black_box(state.get(b"n").map(|value| value.len()));
        state.set(b"n", b"1", Some(10));
        state.advance_clock();
        state.delete(b"m");
    }
    store.release();
    store.sweep(10_000, 100);
    store.drain_changes(&mut RecordsBuilder::default());
}

const MAX_FUTURE: i64 = 100;

/// What the store must be, read by read.
#[derive(Clone, Debug, Default)]
struct Model {
    values: BTreeMap<(Option<u8>, u8), (Vec<u8>, Option<i64>)>,
    clocks: BTreeMap<Option<u8>, i64>,
}

impl Model {
    fn get(&self, key: Option<u8>, name: u8, now: i64, watermark: i64) -> Option<&[u8]> {
        let (value, expires) = self.values.get(&(key, name))?;
        let clock = self.clocks.get(&key).map_or(now, |clock| now.max(*clock));
        let is_gone = expires.is_some_and(|expires| {
            expires <= clock || expires <= watermark.saturating_sub(MAX_FUTURE)
        });
        (!is_gone).then_some(value.as_slice())
    }

    fn see(&mut self, key: Option<u8>, now: i64) {
        let clock = self.clocks.entry(key).or_insert(now);
        *clock = now.max(*clock);
    }
}

/// Sets, gets, deletions, savepoints, sweeps and restarts against a map.
pub(crate) fn operations(bytes: &[u8]) {
    let mut run = Run::default();
    run.restart();
    let mut input = Input::new(bytes);
    while !input.is_empty() {
        run.operation(&mut input);
    }
    run.end_epoch();
    run.restart();
    run.check_all();
}

#[derive(Default)]
struct Run {
    store: KeyedStore,
    model: Model,
    /// The savepoints, with what the store was.
    marks: Vec<(Mark, Model)>,
    log: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The store as its changelog has it.
    drained: Model,
    watermark: i64,
}

impl Run {
    fn operation(&mut self, input: &mut Input<'_>) {
        let what = input.below(12);
        let key = Some(input.byte() % 3).filter(|key| *key < 2);
        let (name, now) = (input.byte() % 3, input.int() >> 1);
        let bytes = key.map(|key| [key]);
        let mut state = self.store.of_key(bytes.as_ref().map(|key| &key[..]), now);
        match what {
            0..4 => {
                let value = input.bytes();
                let ttl = (input.byte() & 1 == 0).then(|| input.int().saturating_abs());
                state.set(&[name], value, ttl);
                if ttl.is_some() {
                    self.model.see(key, now);
                }
                // The last millisecond is never.
                let expires = ttl.and_then(|ttl| now.checked_add(ttl));
                let expires = expires.filter(|expires| *expires < i64::MAX);
                self.model
                    .values
                    .insert((key, name), (value.to_vec(), expires));
            }
            4 => {
                let was = self.model.get(key, name, now, self.watermark).is_some();
                assert_eq!(state.delete(&[name]), was);
                self.model.values.remove(&(key, name));
            }
            5 => {
                state.advance_clock();
                self.model.see(key, now);
            }
            6 => self.marks.push((self.store.mark(), self.model.clone())),
            7 => {
                if !self.marks.is_empty() {
                    self.marks
                        .truncate(1 + usize::from(name) % self.marks.len());
                    let (mark, model) = self.marks.last().expect("there is one");
                    self.store.rollback(*mark);
                    self.model = model.clone();
                }
            }
            8 => self.end_epoch(),
            9 => {
                // What was not drained is lost with the process.
                self.restart();
            }
            10 => {
                self.watermark = self.watermark.max(now);
                self.store.set_watermark(self.watermark);
            }
            _ => self.sweep(usize::from(name)),
        }
        self.check(key, name, now);
    }

    /// Sweeping is done between steps: what it removes is not put back.
    fn sweep(&mut self, entries_max: usize) {
        if self.marks.is_empty() {
            self.store.sweep(self.watermark, entries_max);
        }
    }

    fn end_epoch(&mut self) {
        self.store.release();
        self.marks.clear();
        let mut out = RecordsBuilder::default();
        self.store.drain_changes(&mut out);
        let records = out.finish();
        for index in 0..records.len() {
            let key = records.key(index).expect("changes have keys").to_vec();
            match records.value(index) {
                Some(value) => self.log.insert(key, value.to_vec()),
                None => self.log.remove(&key),
            };
        }
        self.drained = self.model.clone();
    }

    fn restart(&mut self) {
        self.marks.clear();
        self.store = KeyedStore::new(MAX_FUTURE);
        self.store.set_watermark(self.watermark);
        for (key, value) in &self.log {
            self.store
                .restore(key, Some(value))
                .expect("its own changelog");
        }
        self.model = self.drained.clone();
    }

    fn check(&mut self, key: Option<u8>, name: u8, now: i64) {
        let bytes = key.map(|key| [key]);
        let mut state = self.store.of_key(bytes.as_ref().map(|key| &key[..]), now);
        let wanted = self.model.get(key, name, now, self.watermark);
        assert_eq!(
            state.get(&[name]).as_deref(),
            wanted,
            "{key:?} {name} at {now}"
        );
    }

    fn check_all(&mut self) {
        for key in [None, Some(0), Some(1)] {
            for name in 0..3 {
                for now in [i64::MIN, -50, 0, 50, i64::MAX] {
                    self.check(key, name, now);
                }
            }
        }
    }
}
