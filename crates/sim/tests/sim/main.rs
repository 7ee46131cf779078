//! Seeds: every one of them must come out as the oracle says, and every planted bug
//! must be found.
//!
//! `HEADWATER_SEED_FROM` and `HEADWATER_SEEDS` choose which seeds; one alone is run with
//! `HEADWATER_SEEDS=1`, and with `HEADWATER_TRACE=1` it says what happens.

mod planted;

use headwater::core::env::Env;
use headwater::log::conformance;
use headwater_sim::{
    Call, Fault, Nature, Script, Seed, SimLog, SimLogHandle, Step, Trouble, World, describe, run,
    shrink,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A run of so many seeds is void if its faults have not fired.
const ENOUGH_SEEDS: u64 = 1_000;
/// Every kind of trouble.
const KINDS: &[&str] = &[
    "BitFlip",
    "Compact",
    "CoordinatorLost",
    "DiskFull",
    "IoError",
    "Kill",
    "PowerCut",
    "Rebalance",
    "ReplyLost",
    "RequestLate",
    "RequestLost",
    "Retention",
    "Stall",
    "SyncFails",
    "Unavailable",
    "Zombie",
];

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
    let mut after = from;
    while after < from + count {
        let seed = after;
        after += 1;
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
    if count >= ENOUGH_SEEDS && failed.is_empty() {
        for kind in KINDS {
            let times = fired.get(*kind).copied().unwrap_or_default();
            assert!(count / 500 <= times, "{kind} fired {times} times only");
        }
    }
    println!("took {:?}", clock.monotonic() - started);
    if let Some(&seed) = failed.first() {
        let short = shrink(&Script::random(seed), None);
        println!("the first failure, made short:\n{}", describe(&short));
        println!("{:?}", run(&short, None).failure);
    }
    println!(
        "trust: what=sim count={} seeds={from}..{after} faults={faults} failures={}",
        after - from,
        failed.len()
    );
    assert!(failed.is_empty(), "seeds that failed: {failed:?}");
}

/// What these found: a window that could not be read from disk while its store was
/// restored counted as none, and a store that knew less than its changelog was written
/// (the first three); a compaction that overtook a restore ended the run; a worker whose
/// first commit had failed on a full disk wrote its stores once more, without what was to
/// be in the write that failed; the model told another row of one cause for the one that
/// failed, and took what was told after the last commit for processed. With another engine a
/// seed is another story, so they say something only for a while.
#[test]
fn seeds_that_once_found_mistakes_find_none() {
    for seed in [22_349, 28_557, 60_720, 63_229, 92_128, 155_949, 289_470] {
        let failure = run(&Script::random(seed), None).failure;
        assert_eq!(failure, None, "seed {seed}");
    }
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

/// An instance that stands still while it begins, and wakes up when another has taken
/// its place, begins again or is told that it is replaced; nothing else.
#[test]
fn an_instance_may_stand_still_anywhere_while_it_begins() {
    let mut scripts = (1..).map(Script::random).filter(|script| {
        let pipelines = &script.topology.pipelines;
        let is_stateful = |step: &Step| matches!(step, Step::Count(_) | Step::Window(..));
        pipelines[0].sink.is_none() && pipelines[0].steps.iter().any(is_stateful)
    });
    for nth in 0..40 {
        let mut script = scripts.next().expect("seeds do not end");
        script.faults = vec![Fault {
            process: 0,
            call: Call::Any,
            nth,
            trouble: Trouble::Zombie(600),
        }];
        let outcome = run(&script, None);
        assert_eq!(outcome.failure, None, "{}", describe(&script));
        assert_eq!(outcome.fired, script.faults);
    }
}

/// Under at-least-once the changes of an epoch stay where its commit does not happen, also
/// of the first one of each worker: then there must be a position that it began at.
#[test]
fn an_epoch_without_a_commit_is_repeated_from_the_first_on() {
    let mut scripts = (1..).map(Script::random).filter(|script| {
        let pipelines = &script.topology.pipelines;
        let programs = &script.topology.programs;
        let is_stateful = |step: &Step| matches!(step, Step::Count(_) | Step::Window(..));
        programs[0].is_repeating && pipelines[0].steps.iter().any(is_stateful)
    });
    for nth in 0..24 {
        let mut script = scripts.next().expect("seeds do not end");
        script.topology.programs[0].settings.workers = Some(3);
        script.faults = vec![Fault {
            process: 0,
            call: Call::Commit,
            nth: nth / 4,
            trouble: Trouble::RequestLost,
        }];
        let outcome = run(&script, None);
        assert_eq!(outcome.failure, None, "{}", describe(&script));
    }
}

#[test]
fn the_simulated_log_keeps_every_promise() {
    conformance::run(&mut || {
        let world = World::new(Seed(1), Vec::new(), None);
        let log = SimLog::new(world, Seed(1), Nature::calm());
        Arc::new(SimLogHandle {
            log,
            is_repeating: false,
        })
    });
}
