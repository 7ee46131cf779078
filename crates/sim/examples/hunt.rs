//! Looks for the first seed that finds each planted bug, or the one that is named:
//!
//! ```text
//! cargo run --release -p headwater-sim --features faults --example hunt -- NoFencing
//! ```

use headwater_sim::{Bug, NO_END, Script, run};

const SEEDS_MAX: u64 = 2_000;

fn main() {
    let wanted = std::env::args().nth(1);
    // What the engine says when a bug hits one of its own checks is not news here.
    std::panic::set_hook(Box::new(|_| ()));
    for &bug in Bug::ALL {
        let name = format!("{bug:?}");
        if wanted.as_ref().is_some_and(|wanted| *wanted != name) {
            continue;
        }
        let found = (1..=SEEDS_MAX).find_map(|seed| {
            let failure = run(&Script::random(seed), Some(bug)).failure;
            let failure = failure.filter(|failure| failure != NO_END)?;
            Some((seed, failure))
        });
        match found {
            Some((seed, failure)) => {
                let start: String = failure.chars().take(80).collect();
                println!("    (Bug::{name}, {seed}), // {}", start.replace('\n', " "));
            }
            None => println!("    // {name} is not found by {SEEDS_MAX} seeds"),
        }
    }
}
