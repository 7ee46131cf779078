//! A consumer of a group that changes, and whose log fails: it goes on where the group
//! has committed, and misses nothing.

mod support;

use headwater::core::Position;
use headwater::log::{FetchLimits, Log};
use headwater::{Class, Consumer, OffsetReset, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::faulty::{Faults, FaultyLog};
use support::{In, WALL_MS};

const RECORDS: i64 = 60;
const PARTITIONS: u32 = 3;

fn check_case(seed: u64) -> [u64; 2] {
    let (log, env) = support::memory();
    let records: Vec<In> = (0..RECORDS)
        .map(|id| In {
            key: Some(format!("k{id}")),
            value: Some(id.to_string().into_bytes()),
            timestamp: WALL_MS + id,
        })
        .collect();
    support::fill(&*log, "in", PARTITIONS, &records, 4);
    let faults = Faults::new(seed, 3, true);
    let faulty: Arc<dyn Log> = Arc::new(FaultyLog {
        inner: log,
        faults: Arc::clone(&faults),
    });
    let clock = Arc::clone(&env.clock);
    let mut consumer = Consumer::new(Arc::clone(&faulty), clock, "group", OffsetReset::Earliest);
    while let Err(error) = consumer.subscribe(&["in".into()]) {
        assert_eq!(error.class(), Class::Unavailable, "HEADWATER_SEED={seed}");
    }
    let limits = FetchLimits {
        records_max: 5,
        ..FetchLimits::default()
    };
    let mut seen: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut expected: BTreeMap<TopicPartition, Position> = BTreeMap::new();
    let (mut failed, mut turns) = (0, 0);
    while seen.len() < records.len() {
        turns += 1;
        assert!(turns < 100_000, "it reads no more HEADWATER_SEED={seed}");
        let (fetched, is_other) = match consumer.poll(Duration::from_millis(1), limits) {
            Ok(polled) => polled,
            Err(error) => {
                assert_eq!(error.class(), Class::Unavailable, "HEADWATER_SEED={seed}");
                failed += 1;
                continue;
            }
        };
        if is_other {
            expected = consumer
                .committed()
                .expect("committed")
                .into_iter()
                .collect();
        }
        for part in fetched {
            let first = part.positions.get(0);
            if let Some(at) = expected.insert(part.partition.clone(), part.resume) {
                assert_eq!(first, at, "{} HEADWATER_SEED={seed}", part.partition);
            }
            for index in 0..part.records.len() {
                seen.insert(part.records.value(index).expect("a value").to_vec());
            }
        }
        let done: Vec<_> = (consumer.assignment().iter())
            .map(|(partition, position)| (partition.clone(), *position))
            .collect();
        // What could not be committed is read again after the next change.
        let _ = consumer.commit(&done);
    }
    [failed, faults.reassigned.load(Ordering::Relaxed)]
}

#[test]
fn a_consumer_whose_group_changes_while_the_log_fails_misses_nothing() {
    let mut fired = [0, 0];
    let first = support::number("HEADWATER_SEED", 1);
    for seed in first..first + support::number("HEADWATER_CASES", 200) {
        let of_case = check_case(seed);
        fired[0] += of_case[0];
        fired[1] += of_case[1];
    }
    assert!(fired.iter().all(|count| 0 < *count), "{fired:?}");
}
