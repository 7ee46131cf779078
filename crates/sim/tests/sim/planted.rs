//! Bugs that are planted: each is found at the seed that is recorded here.
//!
//! The seeds are the first that find them (`cargo run --release -p headwater-sim
//! --features faults --example hunt`). A change of the engine moves what a seed means:
//! then the first 2,000 are tried, and the test says what to record. A bug that they
//! do not find says that the oracle, or what it is shown, is not good enough.

use headwater_sim::{Bug, NO_END, Script, run};

const SEEDS_MAX: u64 = 2_000;

const CAUGHT: &[(Bug, u64)] = &[
    (Bug::UnknownTakenForDone, 12),
    (Bug::UnknownRetried, 12),
    (Bug::PositionsBeforeRecords, 12),
    (Bug::DeadLetterOutside, 12),
    (Bug::OneChangelogRecordMissed, 26),
    (Bug::ContiguousOffsets, 9),
    (Bug::NoFencing, 23),
    (Bug::FetchedBeforeRevoke, 1),
    (Bug::WrongPartitionAfterRestart, 3),
    (Bug::DroppedUnflushed, 1),
    (Bug::DeliveryFailureIgnored, 3),
    (Bug::ReadUncommitted, 25),
    (Bug::ChangelogBeforeOutputs, 65),
    (Bug::NoSync, 29),
    (Bug::SyncRetried, 800),
    (Bug::NoDirectorySync, 29),
    (Bug::RestoreToStableEnd, 184),
    (Bug::TickOutsideCommit, 23),
    (Bug::RerunKeepsState, 3),
    (Bug::ClosedMarkForgotten, 110),
    (Bug::PartialFloatSums, 23),
    (Bug::WatermarkForgotten, 1),
    (Bug::RestoredTooFar, 1699),
    (Bug::SpilledBeforeCommit, 13),
    (Bug::KeptAfterComeback, 337),
];

/// What is wrong with a seed when the bug is planted.
fn failure(bug: Bug, seed: u64) -> Option<String> {
    // That a run does not end says little about a bug: some result must be wrong.
    let failure = run(&Script::random(seed), Some(bug)).failure;
    let failure = failure.filter(|failure| failure != NO_END)?;
    let start: String = failure.chars().take(100).collect();
    Some(start.replace('\n', " "))
}

#[test]
fn every_planted_bug_is_found() {
    let mut missed = Vec::new();
    for &bug in Bug::ALL {
        let recorded = CAUGHT.iter().find(|(known, _)| *known == bug);
        let seeds = recorded.iter().map(|(_, seed)| *seed).chain(1..=SEEDS_MAX);
        let mut found = seeds.filter_map(|seed| Some((seed, failure(bug, seed)?)));
        match (found.next(), recorded) {
            (None, _) => missed.push(bug),
            (Some((seed, failure)), Some((_, known))) if *known == seed => {
                println!("{bug:?} at {seed}: {failure}");
            }
            (Some((seed, failure)), _) => {
                println!("{bug:?} at {seed}, which is to be recorded: {failure}");
            }
        }
    }
    println!(
        "trust: what=planted count={} faults={} failures={}",
        Bug::ALL.len(),
        Bug::ALL.len() - missed.len(),
        missed.len()
    );
    assert!(
        missed.is_empty(),
        "not found by {SEEDS_MAX} seeds: {missed:?}"
    );
}
