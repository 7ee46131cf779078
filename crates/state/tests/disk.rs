//! The disk store against a map: batches, merges, restarts, failing disks, power
//! cuts, damage.

mod support;

use headwater_core::Class;
use headwater_core::env::Env;
use headwater_state::DiskStore;
use headwater_state::conformance::Seed;
use std::collections::BTreeMap;
use std::path::Path;
use support::FaultyDisk;

/// A folder, where there is one in which syncing costs nothing.
fn scratch() -> tempfile::TempDir {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    folder.expect("a folder")
}

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A batch that the seed chooses: applied to the map, and as the store wants it.
fn change(map: &mut Map, seed: &mut Seed) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    let mut batch = BTreeMap::new();
    for _ in 0..seed.below(300) {
        let key = format!("{:04}", seed.below(2_000)).into_bytes();
        let value = match seed.below(4) {
            0 => None,
            1 => Some(vec![b'x'; seed.below(30_000) as usize / 10]),
            _ => Some(format!("value {}", seed.below(1_000)).into_bytes()),
        };
        match &value {
            Some(value) => map.insert(key.clone(), value.clone()),
            None => map.remove(&key),
        };
        batch.insert(key, value);
    }
    batch
}

fn write(
    store: &mut DiskStore,
    changes: &BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    header: &[u8],
) -> headwater_core::Result<()> {
    let mut batch = store.batch(changes.len())?;
    for (key, value) in changes {
        batch.push(key, value.as_deref())?;
    }
    store.write(batch, header)
}

fn contents(store: &mut DiskStore) -> headwater_core::Result<Map> {
    let mut found = Map::new();
    store.scan(&[], &mut |key, value| {
        let before = found.insert(key.to_vec(), value.to_vec());
        assert!(before.is_none(), "a key is shown once");
        Ok(true)
    })?;
    Ok(found)
}

fn assert_equal(store: &mut DiskStore, map: &Map, seed: u64) {
    assert!(contents(store).expect("scans") == *map, "seed=`{seed}`");
    for number in 0..2_000 {
        let key = format!("{number:04}").into_bytes();
        let value = store.get(&key).expect("reads");
        assert!(value.as_ref() == map.get(&key), "{number}, seed=`{seed}`");
    }
}

#[test]
fn a_disk_store_reads_as_a_map_does() {
    for seed in 0..8 {
        let folder = scratch();
        let (env, mut random, mut map) = (Env::system(), Seed(seed), Map::new());
        let mut store = DiskStore::open(&env, folder.path()).expect("opens");
        for batch in 0..120 {
            let changes = change(&mut map, &mut random);
            let header = format!("batch {batch}");
            write(&mut store, &changes, header.as_bytes()).expect("writes");
            store.merge_some(random.below(40_000)).expect("merges");
            if random.below(12) == 0 {
                drop(store);
                store = DiskStore::open(&env, folder.path()).expect("opens");
                assert_eq!(store.header(), header.as_bytes());
            }
            if batch % 20 == 0 {
                assert_equal(&mut store, &map, seed);
            }
        }
        assert_equal(&mut store, &map, seed);
        let from = b"0777".to_vec();
        let mut first = None;
        store
            .scan(&from, &mut |key, _| {
                first = Some(key.to_vec());
                Ok(false)
            })
            .expect("scans");
        assert_eq!(first.as_ref(), map.range(from..).next().map(|(key, _)| key));
    }
}

#[test]
fn space_comes_back_when_keys_are_removed() {
    let folder = scratch();
    let mut store = DiskStore::open(&Env::system(), folder.path()).expect("opens");
    let mut most = 0;
    for round in 0..200_u32 {
        let mut changes = BTreeMap::new();
        for number in 0..100_u32 {
            let key = |round: u32| format!("{round:06}-{number}").into_bytes();
            changes.insert(key(round), Some(vec![b'v'; 500]));
            if let Some(old) = round.checked_sub(3) {
                changes.insert(key(old), None);
            }
        }
        write(&mut store, &changes, b"").expect("writes");
        store.merge_some(u64::MAX).expect("merges");
        most = most.max(store.disk_bytes());
    }
    // Three rounds are alive: 150 kB.
    assert!(most < 2_000_000, "{most} bytes for 150 kB of values");
}

#[test]
fn garbage_is_left_out_by_merges() {
    let folder = scratch();
    let mut store = DiskStore::open(&Env::system(), folder.path()).expect("opens");
    for round in 0..30_u32 {
        let changes = (0..50_u32)
            .map(|number| {
                (
                    format!("{round:06}-{number}").into_bytes(),
                    Some(vec![b'v'; 100]),
                )
            })
            .collect();
        store.set_garbage(Vec::new()..format!("{round:06}").into_bytes());
        write(&mut store, &changes, b"").expect("writes");
        store.merge_some(u64::MAX).expect("merges");
    }
    let left = contents(&mut store).expect("scans").len();
    assert!((50..500).contains(&left), "{left} of 1500 keys are left");
}

/// Runs batches and merges until something fails; returns the map before and
/// after the batch that was under way.
fn run_until_failure(env: &Env, folder: &Path, seed: u64) -> (Map, Map, bool) {
    let (mut random, mut map) = (Seed(seed), Map::new());
    let mut run = || -> headwater_core::Result<()> {
        let mut store = DiskStore::open(env, folder)?;
        for batch in 0..12_u64 {
            let before = map.clone();
            let changes = change(&mut map, &mut random);
            let result = write(&mut store, &changes, &batch.to_le_bytes());
            if let Err(error) = result {
                map = before;
                return Err(error);
            }
            store.merge_some(20_000)?;
        }
        Ok(())
    };
    let outcome = run();
    if let Err(error) = &outcome {
        assert_eq!(error.class(), Class::Unavailable, "{error}");
    }
    let before = map.clone();
    // The batch that failed may have happened: its changes come from the same seed.
    let (mut random, mut after) = (Seed(seed), Map::new());
    while after != before {
        change(&mut after, &mut random);
    }
    change(&mut after, &mut random);
    (before, after, outcome.is_ok())
}

#[test]
fn a_disk_that_fails_at_any_operation_leaves_the_state_before_or_after_a_batch() {
    let seed = 11;
    let mut failed = 0;
    for operation in 0.. {
        let folder = scratch();
        let disk = FaultyDisk::failing_at(operation);
        let (before, after, is_done) = run_until_failure(&disk.env(), folder.path(), seed);
        if is_done {
            break;
        }
        failed += 1;
        disk.heal();
        let mut store = DiskStore::open(&disk.env(), folder.path()).expect("opens");
        let found = contents(&mut store).expect("scans");
        assert!(found == before || found == after, "operation=`{operation}`");
        // And it goes on.
        let mut map = found;
        let changes = change(&mut map, &mut Seed(operation));
        write(&mut store, &changes, b"on").expect("writes");
        assert_equal(&mut store, &map, operation);
    }
    assert!(100 < failed, "{failed} operations failed");
}

#[test]
fn a_power_cut_at_any_operation_leaves_the_state_before_or_after_a_batch() {
    let seed = 12;
    for operation in 0.. {
        let folder = scratch();
        let disk = FaultyDisk::failing_at(operation);
        let (before, after, is_done) = run_until_failure(&disk.env(), folder.path(), seed);
        if is_done {
            break;
        }
        disk.lose_what_is_not_synced(&mut Seed(operation));
        disk.heal();
        let mut store = DiskStore::open(&disk.env(), folder.path()).expect("opens");
        let found = contents(&mut store).expect("scans");
        assert!(found == before || found == after, "operation=`{operation}`");
    }
}

#[test]
fn a_flipped_bit_is_noticed_or_harmless() {
    let folder = scratch();
    let (env, mut random, mut map) = (Env::system(), Seed(5), Map::new());
    let mut store = DiskStore::open(&env, folder.path()).expect("opens");
    for _ in 0..6 {
        let changes = change(&mut map, &mut random);
        write(&mut store, &changes, b"header").expect("writes");
    }
    drop(store);
    let (mut noticed, mut harmless) = (0, 0);
    for _ in 0..400 {
        let copy = scratch();
        let names = env.storage.list(folder.path()).expect("lists");
        for name in &names {
            std::fs::copy(folder.path().join(name), copy.path().join(name)).expect("copies");
        }
        let name = &names[random.below(names.len() as u64) as usize];
        let path = copy.path().join(name);
        let mut bytes = std::fs::read(&path).expect("reads");
        if bytes.is_empty() {
            continue;
        }
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
        std::fs::write(&path, bytes).expect("writes");
        let mut store = DiskStore::open(&env, copy.path()).expect("opens");
        if store.header().is_empty() {
            // The owner rebuilds it.
            assert!(contents(&mut store).expect("scans").is_empty());
            noticed += 1;
            continue;
        }
        match contents(&mut store) {
            Ok(found) => {
                assert!(
                    found == map,
                    "a wrong value after a bit of {name} was flipped"
                );
                harmless += 1;
            }
            Err(error) => {
                assert_eq!(error.class(), Class::Unavailable, "{error}");
                noticed += 1;
                drop(store);
                let store = DiskStore::open(&env, copy.path()).expect("opens");
                assert!(store.header().is_empty(), "a damaged store is given up");
            }
        }
    }
    assert!(300 < noticed, "{noticed} noticed, {harmless} harmless");
}

/// Found by the simulation: the first look at the runs of a merge let damage through as
/// an error that ends the run, each time anew.
#[test]
fn damage_that_a_merge_meets_first_gives_the_store_up() {
    let folder = scratch();
    let env = Env::system();
    let mut store = DiskStore::open(&env, folder.path()).expect("opens");
    let mut outcome = Ok(());
    for round in 0..4 {
        let changes = BTreeMap::from([(vec![round], Some(vec![b'v'; 100]))]);
        outcome = write(&mut store, &changes, b"header");
        for name in env.storage.list(folder.path()).expect("lists") {
            if name.starts_with("run-") {
                let path = folder.path().join(name);
                let mut bytes = std::fs::read(&path).expect("reads");
                bytes[3] ^= 1;
                std::fs::write(&path, bytes).expect("writes");
            }
        }
    }
    let error = outcome.expect_err("the fourth run begins a merge");
    assert_eq!(error.class(), Class::Unavailable, "{error}");
    drop(store);
    let store = DiskStore::open(&env, folder.path()).expect("opens");
    assert!(store.header().is_empty(), "it is rebuilt");
}

#[test]
fn a_store_is_open_once() {
    let folder = scratch();
    let env = Env::system();
    let store = DiskStore::open(&env, folder.path()).expect("opens");
    let error = DiskStore::open(&env, folder.path()).expect_err("is in use");
    assert_eq!(error.class(), Class::Unavailable);
    assert!(error.to_string().contains("in use by another process"));
    drop(store);
    DiskStore::open(&env, folder.path()).expect("opens");
}
