//! Every input of the stored corpus, and a few that need no file, through its
//! target: within a second each, as libFuzzer demands it too.
//!
//! `corpus/<target>` is what a fuzzing run kept as small as it could
//! (`scripts/fuzz.py --minimise`); `found-*` are inputs that once failed, `written-*`
//! those that were written by hand.

#![expect(
    clippy::disallowed_methods,
    reason = "measures how long an input takes"
)]

use std::path::Path;
use std::time::{Duration, Instant};

/// The longest that an input may take on a machine that does other things too.
const INPUT_TIME_MAX: Duration = Duration::from_secs(10);

#[test]
fn the_stored_corpus_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, run) in headwater_fuzz::TARGETS {
        let mut inputs: Vec<_> = std::fs::read_dir(corpus.join(name))
            .unwrap_or_else(|error| panic!("{name} has no corpus: {error}"))
            .map(|entry| entry.expect("the folder can be read").path())
            .collect();
        inputs.sort();
        assert!(10 <= inputs.len(), "{name} has a corpus");
        for path in inputs {
            let bytes = std::fs::read(&path).expect("an input can be read");
            // A panic does not say which input it was.
            println!("{}", path.display());
            let start = Instant::now();
            run(&bytes);
            let taken = start.elapsed();
            assert!(taken < INPUT_TIME_MAX, "{} took {taken:?}", path.display());
        }
    }
}

#[test]
fn inputs_of_one_byte_hold() {
    for (_, run) in headwater_fuzz::TARGETS {
        run(b"");
        for byte in 0..=255 {
            run(&[byte; 1]);
            run(&[byte; 9]);
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok().and_then(|text| text.parse().ok());
    given.unwrap_or(default)
}

/// Random operations on logs and stores against a map: as many as
/// `HEADWATER_CASES` says for each, from `HEADWATER_SEED` on.
#[test]
fn random_operations_are_those_of_a_map() {
    let (seed, cases) = (
        number("HEADWATER_SEED", 1),
        number("HEADWATER_CASES", 10_000),
    );
    // A log on a disk is opened for each case.
    let targets = [("keyed_ops", 1), ("log_ops", 1), ("embedded_ops", 100)];
    for (name, share) in targets {
        let run = headwater_fuzz::target(name).expect("it is in the table");
        for case in seed..seed + cases.div_ceil(share) {
            let mut state = case.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut next = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            };
            let bytes: Vec<u8> = (0..40 + usize::from(next()))
                // Small numbers are choices and lengths that lead somewhere.
                .map(|_| if next() < 128 { next() % 16 } else { next() })
                .collect();
            let held = std::panic::catch_unwind(|| run(&bytes));
            assert!(held.is_ok(), "{name} fails, HEADWATER_SEED={case}");
        }
    }
    let end = seed + cases;
    println!(
        "trust: what=property-operations count={cases} seeds={seed}..{end} faults=0 failures=0"
    );
}
