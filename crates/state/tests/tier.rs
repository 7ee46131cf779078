//! The disk tier of a store.

mod support;

use headwater_core::env::Env;
use headwater_core::{Position, RecordsBuilder};
use headwater_state::{KeyedStore, MemoryBudget, StateStore, Tier, TierSettings, Written};
use std::path::Path;
use support::FaultyDisk;

/// A store with hardly any memory, on a disk that works until it is told to fail.
fn store_on(disk: &FaultyDisk, folder: &Path) -> KeyedStore {
    let mut store = KeyedStore::new(0);
    let tier = Tier::open(TierSettings {
        env: disk.env(),
        folder: folder.to_owned(),
        budget: MemoryBudget::new(1),
        changelog_id: 1,
    });
    store.attach(tier.expect("opens"));
    store
}

fn offset_of(store: &KeyedStore) -> Option<u64> {
    let position = store.tier().and_then(Tier::position);
    position.and_then(|(position, _)| position.offset())
}

/// Sets keys `[first, first + 40)`, as an epoch does.
fn set(store: &mut KeyedStore, first: usize) {
    for number in first..first + 40 {
        let key = format!("key-{number}");
        let mut state = store.of_key(Some(key.as_bytes()), 1);
        state.set(b"value", &[b'v'; 50], None);
    }
    store.release();
    store.drain_changes(&mut RecordsBuilder::default());
}

/// Found by the simulation: what could not be read was written as absent.
#[test]
fn a_store_that_could_not_read_is_of_no_position() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = FaultyDisk::failing_at(u64::MAX);
    let mut store = store_on(&disk, folder.path());
    set(&mut store, 0);
    store.settle(Position::from_offset(40)).expect("settles");
    disk.fail();
    assert_eq!(store.of_key(Some(b"key-3"), 1).get(b"value"), None);
    disk.heal();
    for _ in 0..2 {
        let error = store.check().expect_err("a read has failed");
        assert!(error.to_string().contains("the disk fails"), "{error}");
    }
    set(&mut store, 40);
    let end = Position::from_offset(80);
    store.settle_restoring(end).expect_err("nothing is written");
    store.settle(end).expect_err("nothing is written");
    store.settle_at_end(end).expect_err("nothing is written");
    drop(store);
    let mut store = store_on(&disk, folder.path());
    assert_eq!(offset_of(&store), Some(40));
    assert!(store.of_key(Some(b"key-3"), 1).get(b"value").is_some());
}

/// Found by the simulation: a write after one that had failed lacked what was in that.
#[test]
fn a_store_whose_write_has_failed_is_written_no_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = FaultyDisk::failing_at(u64::MAX);
    let mut store = store_on(&disk, folder.path());
    set(&mut store, 0);
    store.settle(Position::from_offset(40)).expect("settles");
    set(&mut store, 40);
    disk.fail();
    store.settle(Position::from_offset(80)).expect_err("fails");
    disk.heal();
    set(&mut store, 80);
    let end = Position::from_offset(120);
    store.settle(end).expect_err("it is written no more");
    store.settle_at_end(end).expect_err("it is written no more");
    drop(store);
    assert_eq!(offset_of(&store_on(&disk, folder.path())), Some(40));
    // Cleared, it begins anew.
    let mut store = store_on(&disk, folder.path());
    disk.fail();
    assert_eq!(store.of_key(Some(b"key-3"), 1).get(b"value"), None);
    disk.heal();
    store.clear();
    store.check().expect("it is empty");
    set(&mut store, 0);
    store.settle(Position::from_offset(7)).expect("settles");
    drop(store);
    assert_eq!(offset_of(&store_on(&disk, folder.path())), Some(7));
}

/// A state that is restored in pieces is as old as its beginning: what brokers have
/// forgotten since then it has not heard of.
#[test]
fn a_restore_does_not_make_a_state_younger() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = FaultyDisk::failing_at(u64::MAX);
    let written_ms = |store: &KeyedStore| store.tier().and_then(Tier::position).map(|at| at.1);
    let mut store = store_on(&disk, folder.path());
    set(&mut store, 0);
    store.settle(Position::from_offset(40)).expect("settles");
    let began_ms = written_ms(&store);
    Env::system()
        .clock
        .sleep(std::time::Duration::from_millis(5));
    set(&mut store, 40);
    store
        .settle_restoring(Position::from_offset(80))
        .expect("settles");
    assert_eq!(
        (offset_of(&store), written_ms(&store)),
        (Some(80), began_ms)
    );
    set(&mut store, 80);
    store.settle(Position::from_offset(120)).expect("settles");
    assert!(began_ms < written_ms(&store));
}

/// Found by the simulation: the beginning of time stood for no hint, so that what had
/// long been due was never found.
#[test]
fn a_hint_at_either_end_of_time_is_that_of_its_entry() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = TierSettings {
        env: Env::system(),
        folder: folder.path().to_owned(),
        budget: MemoryBudget::new(1),
        changelog_id: 1,
    };
    let mut tier = Tier::open(settings.clone()).expect("opens");
    let due = |key: &[u8]| match key {
        b"first" => i64::MIN,
        _ => i64::MAX,
    };
    let mut value_of = |key: &[u8], out: &mut Vec<u8>| {
        out.extend_from_slice(b"value");
        Written::Value {
            due_ms: Some(due(key)),
            hint_ms: None,
        }
    };
    let keys = vec![b"first".as_slice(), b"last".as_slice()];
    tier.write(keys, &mut value_of, Position::from_offset(2), Vec::new())
        .expect("writes");
    drop(tier);
    let mut tier = Tier::open(settings).expect("opens");
    let hints = tier.take_due(i64::MAX, 10).expect("reads");
    assert_eq!(hints.len(), 2);
    for (hint_ms, key) in hints {
        let stored = tier.get(&key).expect("reads").expect("is there");
        assert_eq!(stored.hint_ms, Some(hint_ms));
    }
}
