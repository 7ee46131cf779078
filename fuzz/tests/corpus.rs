//! Every input of the stored corpus, and a few that need no file, through its
//! target: within a second each, as libFuzzer demands it too.
//!
//! `corpus/<target>` is what a fuzzing run kept as small as it could
//! (`scripts/fuzz.py --minimise`); `found-*` are inputs that once failed.

#![expect(clippy::disallowed_methods, reason = "measures how long an input takes")]

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
