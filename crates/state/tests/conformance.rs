//! The promises of a state store, kept by the keyed store in memory, within a
//! budget, and with hardly any memory.

use headwater_core::env::Env;
use headwater_state::conformance::{Seed, Setup, Subject, run_seeds};
use headwater_state::{KeyedStore, StateStore};

const MAX_FUTURE_MS: i64 = 50;

/// Users' functions on a few keys and names, with times to live and a watermark.
struct Keyed {
    store: KeyedStore,
}

impl Subject for Keyed {
    fn new() -> Self {
        Keyed {
            store: KeyedStore::new(MAX_FUTURE_MS),
        }
    }

    fn store(&mut self) -> &mut dyn StateStore {
        &mut self.store
    }

    fn act(&mut self, seed: &mut Seed, _: i64) -> String {
        let now_ms = (seed.below(1_000)) as i64;
        let watermark_ms = now_ms - seed.below(40) as i64;
        let key = format!("key-{}", seed.below(30));
        let key = (seed.below(10) > 0).then_some(key.as_bytes());
        let name = [b'a' + seed.below(3) as u8];
        self.store.set_watermark(watermark_ms);
        let what = seed.below(12);
        let len = seed.below(40) as usize;
        let ttl_ms = 1 + seed.below(300) as i64;
        let mut state = self.store.of_key(key, now_ms);
        if what.is_multiple_of(3) && state.has_clock() {
            state.advance_clock();
        }
        match what {
            0..4 => format!("{:?}", state.get(&name)),
            4..7 => {
                state.set(&name, &vec![b'v'; len], None);
                String::new()
            }
            7..9 => {
                state.set(&name, &vec![b't'; len], Some(ttl_ms));
                String::new()
            }
            9 => format!("{}", state.delete(&name)),
            _ => format!("{}", state.has_clock()),
        }
    }

    fn between_steps(&mut self, seed: &mut Seed) {
        let watermark_ms = seed.below(1_000) as i64 - 40;
        self.store.sweep(watermark_ms, usize::MAX >> 1);
    }
}

fn check(memory_max: Option<usize>, first: u64, count: u64) {
    // Where there is one, a folder in which syncing costs nothing.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let folder = folder.expect("a folder");
    let setup = Setup {
        env: &Env::system(),
        folder: folder.path(),
        memory_max,
        epochs: 60,
    };
    run_seeds::<Keyed>(&setup, first, count);
}

#[test]
fn a_keyed_store_in_memory_keeps_its_promises() {
    check(None, 0, 60);
}

#[test]
fn a_keyed_store_within_its_budget_keeps_its_promises() {
    check(Some(1 << 20), 1_000, 40);
}

#[test]
fn a_keyed_store_that_spills_some_keeps_its_promises() {
    check(Some(8_000), 2_000, 40);
}

#[test]
fn a_keyed_store_with_hardly_any_memory_keeps_its_promises() {
    check(Some(600), 3_000, 60);
}
