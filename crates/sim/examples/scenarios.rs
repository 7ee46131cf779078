//! Writes the scenarios of the first seeds that have one, as lines of JSON:
//!
//! ```text
//! cargo run --release -p headwater-sim --features faults --example scenarios -- 40 \
//!     > tests/scenarios/simulated.jsonl
//! ```

use headwater_sim::{Script, scenario};

fn main() {
    let count = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let scenarios = (1..).filter_map(|seed| scenario(&Script::random(seed)));
    for scenario in scenarios.take(count.unwrap_or(40)) {
        println!("{scenario}");
    }
}
