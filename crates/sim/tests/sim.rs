//! Seeds: every one of them must come out as the oracle says.
//!
//! `HEADWATER_SEED_FROM` and `HEADWATER_SEEDS` choose which; one seed alone is run with
//! `HEADWATER_SEEDS=1`, and with `HEADWATER_TRACE=1` it says what happens.

use headwater::core::env::Env;
use headwater::log::conformance;
use headwater_sim::{Nature, Script, Seed, SimLog, SimLogHandle, World, describe, run, shrink};
use std::collections::BTreeMap;
use std::sync::Arc;

fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn every_seed_gives_what_the_oracle_says() {
    let from = number("HEADWATER_SEED_FROM", 1);
    let count = number("HEADWATER_SEEDS", 2_000);
    let clock = Env::system().clock;
    let started = clock.monotonic();
    let mut fired: BTreeMap<String, u64> = BTreeMap::new();
    let mut failed = Vec::new();
    for seed in from..from + count {
        let script = Script::random(seed);
        let outcome = run(&script, None);
        for fault in &outcome.fired {
            let name = format!("{:?}", fault.trouble);
            let name = name.split('(').next().unwrap_or_default().to_owned();
            *fired.entry(name).or_default() += 1;
        }
        if let Some(failure) = outcome.failure {
            println!("HEADWATER_SEED_FROM={seed} HEADWATER_SEEDS=1: {failure}");
            failed.push(seed);
            if failed.len() >= number("HEADWATER_FAILURES_MAX", 5) as usize {
                break;
            }
        }
    }
    let faults: u64 = fired.values().sum();
    println!("faults: {fired:?}");
    println!("took {:?}", clock.monotonic() - started);
    if let Some(&seed) = failed.first() {
        let short = shrink(&Script::random(seed), None);
        println!("the first failure, made short:\n{}", describe(&short));
        println!("{:?}", run(&short, None).failure);
    }
    println!(
        "trust: what=sim count={count} seeds={from}..{} faults={faults} failures={}",
        from + count,
        failed.len()
    );
    assert!(failed.is_empty(), "seeds that failed: {failed:?}");
}

#[test]
fn a_seed_gives_the_same_trace_every_time() {
    for seed in 1..=50 {
        let script = Script::random(seed);
        let (first, second) = (run(&script, None), run(&script, None));
        assert_eq!(first.trace_hash, second.trace_hash, "seed {seed}");
        assert_eq!(first.fired, second.fired, "seed {seed}");
    }
}

#[test]
fn the_simulated_log_keeps_every_promise() {
    conformance::run(&mut || {
        let world = World::new(Seed(1), Vec::new(), None);
        let log = SimLog::new(world, Seed(1), Nature::calm());
        Arc::new(SimLogHandle(log))
    });
}
