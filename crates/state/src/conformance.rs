//! What every state store promises, as tests.
//!
//! The promises are those of [`StateStore`]. A store is driven by seeded random
//! steps, some of which fail and are rolled back, epochs that are drained and
//! settled, and ends at any point; beside it run a store in memory that never
//! ends and a plain map of everything that was drained. Run it with a budget of
//! a few entries too: that must change nothing.

use crate::{MemoryBudget, StateStore, Tier, TierSettings};
use headwater_core::env::Env;
use headwater_core::{Position, RecordsBuilder, Result, TimestampMs};
use std::collections::BTreeMap;
use std::path::Path;

/// Seeded numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Seed(pub u64);

impl Seed {
    /// A number of `[0, below)`.
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below.max(1)
    }
}

/// A store and how it is used.
pub trait Subject {
    /// An empty one.
    fn new() -> Self
    where
        Self: Sized;

    /// The store.
    fn store(&mut self) -> &mut dyn StateStore;

    /// Does something that `seed` chooses; returns what it read, in words. Equal
    /// stores and seeds give equal words. Time only goes on, whatever is undone.
    fn act(&mut self, seed: &mut Seed, now_ms: TimestampMs) -> String;

    /// Does what is done between steps.
    fn between_steps(&mut self, _seed: &mut Seed) {}
}

/// A log of changes: what the engine's changelog is.
#[derive(Debug, Default)]
struct Changelog(Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl Changelog {
    fn end(&self) -> Position {
        Position::from_offset(self.0.len() as u64)
    }

    fn append(&mut self, store: &mut dyn StateStore) {
        let mut out = RecordsBuilder::default();
        store.drain_changes(&mut out);
        let records = out.finish();
        for index in 0..records.len() {
            let key = records.key(index).expect("changes have keys").to_vec();
            self.0.push((key, records.value(index).map(<[u8]>::to_vec)));
        }
    }

    /// The last value of each key.
    fn fold(&self) -> BTreeMap<&[u8], &[u8]> {
        let mut last = BTreeMap::new();
        for (key, value) in &self.0 {
            match value {
                Some(value) => last.insert(key.as_slice(), value.as_slice()),
                None => last.remove(key.as_slice()),
            };
        }
        last
    }
}

fn first_difference<'k>(
    one: &BTreeMap<&'k [u8], &[u8]>,
    other: &BTreeMap<&'k [u8], &[u8]>,
) -> Option<&'k [u8]> {
    let mut keys = one.keys().chain(other.keys());
    keys.find(|key| one.get(*key) != other.get(*key)).copied()
}

/// How a run of the suite is set up.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// Files and clock.
    pub env: &'a Env,
    /// For the files of the store.
    pub folder: &'a Path,
    /// What the store may use; `None` gives it no tier.
    pub memory_max: Option<usize>,
    /// Epochs to run.
    pub epochs: u64,
}

/// Runs the suite for one seed.
///
/// # Panics
/// If the store breaks a promise; the message names the seed.
pub fn run<S: Subject>(setup: &Setup<'_>, seed: u64) {
    let mut course = Course {
        seed,
        epoch: 0,
        now_ms: 0,
        random: Seed(seed),
    };
    let mut log = Changelog::default();
    let mut twin_log = Changelog::default();
    let mut subject: S = open(setup, &log, seed);
    let mut twin = S::new();
    for epoch in 0..setup.epochs {
        course.epoch = epoch;
        for _ in 0..1 + course.random.below(4) {
            course.step(&mut subject, &mut twin);
        }
        log.append(subject.store());
        twin_log.append(twin.store());
        if let Some(key) = first_difference(&log.fold(), &twin_log.fold()) {
            panic!("the changes of both differ, key=`{key:?}` seed=`{seed}` epoch=`{epoch}`");
        }
        let settled = subject.store().settle(log.end());
        settled.unwrap_or_else(|error| panic!("settles: {error}, seed=`{seed}`"));
        if course.random.below(6) == 0 {
            if course.random.below(2) == 0 {
                let settled = subject.store().settle_at_end(log.end());
                settled.unwrap_or_else(|error| panic!("settles: {error}, seed=`{seed}`"));
            }
            drop(subject);
            subject = open(setup, &log, seed);
        }
    }
}

/// Where a run of the suite stands.
struct Course {
    seed: u64,
    epoch: u64,
    now_ms: TimestampMs,
    random: Seed,
}

impl Course {
    /// A step of some acts, perhaps undone in part or whole.
    fn step<S: Subject>(&mut self, subject: &mut S, twin: &mut S) {
        let outer = (subject.store().mark(), twin.store().mark());
        let acts = 1 + self.random.below(12);
        self.act(subject, twin, acts);
        match self.random.below(5) {
            0 => {
                subject.store().rollback(outer.0);
                twin.store().rollback(outer.1);
            }
            1 => {
                let inner = (subject.store().mark(), twin.store().mark());
                self.act(subject, twin, 5);
                subject.store().rollback(inner.0);
                twin.store().rollback(inner.1);
                self.act(subject, twin, 5);
            }
            _ => {}
        }
        subject.store().release();
        twin.store().release();
        let seed = self.seed;
        let checked = subject.store().check();
        checked.unwrap_or_else(|error| panic!("reads: {error}, seed=`{seed}`"));
        subject.between_steps(&mut self.random.clone());
        twin.between_steps(&mut self.random);
    }

    fn act<S: Subject>(&mut self, subject: &mut S, twin: &mut S, acts: u64) {
        for _ in 0..acts {
            self.now_ms += self.random.below(9) as TimestampMs;
            let read = subject.act(&mut self.random.clone(), self.now_ms);
            let wanted = twin.act(&mut self.random, self.now_ms);
            let Course { seed, epoch, .. } = self;
            assert_eq!(
                read, wanted,
                "both read the same, seed=`{seed}` epoch=`{epoch}`"
            );
        }
    }
}

/// A store as a start makes it: from its files and the changelog after them.
fn open<S: Subject>(setup: &Setup<'_>, log: &Changelog, seed: u64) -> S {
    let mut subject = S::new();
    let start = attach(subject.store(), setup);
    let start = start.unwrap_or_else(|error| panic!("opens: {error}, seed=`{seed}`"));
    assert!(
        start <= log.0.len(),
        "a store is not ahead of its changelog"
    );
    for (index, (key, value)) in log.0.iter().enumerate().skip(start) {
        let store = subject.store();
        let restored = store.restore(key, value.as_deref()).and_then(|()| {
            let position = Position::from_offset(index as u64 + 1);
            // Restoring is in pieces, of which some are settled.
            if index % 7 == 0 {
                store.settle_restoring(position)
            } else {
                Ok(())
            }
        });
        restored.unwrap_or_else(|error| panic!("restores: {error}, seed=`{seed}`"));
    }
    subject
}

fn attach(store: &mut dyn StateStore, setup: &Setup<'_>) -> Result<usize> {
    let Some(memory_max) = setup.memory_max else {
        return Ok(0);
    };
    let tier = Tier::open(TierSettings {
        env: setup.env.clone(),
        folder: setup.folder.to_owned(),
        budget: MemoryBudget::new(memory_max),
        changelog_id: 1,
    })?;
    store.attach(tier);
    let position = store.tier().and_then(Tier::position);
    Ok(position
        .and_then(|(position, _)| position.offset())
        .map_or(0, |offset| offset as usize))
}

/// A fresh folder and a memory budget for each seed of `[first, first + count)`.
///
/// # Panics
/// As [`run`].
pub fn run_seeds<S: Subject>(setup: &Setup<'_>, first: u64, count: u64) {
    for seed in first..first + count {
        let folder = setup.folder.join(seed.to_string());
        let own = Setup {
            folder: &folder,
            ..setup.clone()
        };
        run::<S>(&own, seed);
    }
}
