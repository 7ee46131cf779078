//! What stays of a compacted topic, and what readers see of it.

use super::support::{WAIT, append, at, count, ok, positions_of, read_to_end, reader_at_start};
use crate::{FetchLimits, Fetched, Log, Reader, TopicConfig};
use headwater_core::{Class, Position, Records, RecordsBuilder, TopicPartition};
use std::collections::BTreeMap;
use std::time::Duration;

const KEYS: u64 = 50;
/// Keys that are written once, between all the others.
const RARE_EVERY: u64 = 700;

/// The key of a number.
type KeyOf = fn(u64) -> Option<Vec<u8>>;

/// Number `n` goes to key `n % KEYS`, or now and then to a key of its own.
fn key_of(number: u64) -> Option<Vec<u8>> {
    match number % RARE_EVERY {
        3 | 5 => Some(format!("rare {number}").into_bytes()),
        _ => Some((number % KEYS).to_be_bytes().to_vec()),
    }
}

/// The same, but for some that have no key.
fn key_or_none(number: u64) -> Option<Vec<u8>> {
    (number % RARE_EVERY != 5).then(|| key_of(number)).flatten()
}

fn records(key_of: KeyOf, range: std::ops::Range<u64>) -> Records {
    let mut builder = RecordsBuilder::default();
    for number in range {
        let mut value = [7; 200];
        value[..8].copy_from_slice(&number.to_be_bytes());
        builder.push(key_of(number).as_deref(), Some(&value), number as i64, None);
    }
    builder.finish()
}

/// The numbers with their positions, each checked against its key and time.
fn numbers(key_of: KeyOf, fetched: &[Fetched]) -> Vec<(u64, Position)> {
    let each = |fetched: &Fetched| {
        let (records, positions) = (fetched.records.clone(), positions_of(fetched));
        (0..records.len()).map(move |index| {
            let value = records.value(index).unwrap_or_default();
            let number = u64::from_be_bytes(value[..8].try_into().expect("it has a number"));
            assert_eq!(records.key(index), key_of(number).as_deref());
            assert_eq!(records.timestamps[index], number as i64);
            (number, positions[index])
        })
    };
    fetched.iter().flat_map(each).collect()
}

/// What a log has been given and what three readers saw of it.
struct Churned {
    /// The position of each record.
    positions: Vec<Position>,
    /// What is left for who reads from the start.
    left: Vec<(u64, Position)>,
    /// What a reader saw that was in the middle all the time.
    seen: Vec<(u64, Position)>,
    middle: Box<dyn Reader>,
}

/// Appends until most of it has been compacted.
fn churn(key_of: KeyOf, log: &dyn Log, partition: &TopicPartition) -> Churned {
    const BATCH: u64 = 100;
    /// Some logs compact much later; then all of it is still there.
    const WRITTEN_MAX: u64 = 40_000;
    let from = std::slice::from_ref(partition);
    let mut live = reader_at_start(log, from);
    let mut middle = reader_at_start(log, from);
    let (mut positions, mut seen) = (Vec::new(), Vec::new());
    let mut written = 0;
    loop {
        append(log, partition, records(key_of, written..written + BATCH));
        written += BATCH;
        while (positions.len() as u64) < written {
            let new = ok(live.poll(WAIT, FetchLimits::default()));
            assert!(count(&new) > 0, "who keeps up sees every record");
            positions.extend(new.iter().flat_map(positions_of));
        }
        // This one stays behind, and holds a part of a batch.
        let few = FetchLimits {
            records_max: 33,
            ..FetchLimits::default()
        };
        seen.extend(numbers(key_of, &ok(middle.poll(Duration::ZERO, few))));
        if written % (10 * BATCH) != 0 {
            continue;
        }
        let fetched = read_to_end(&mut *reader_at_start(log, from), FetchLimits::default());
        if (count(&fetched) as u64) < written / 4 || WRITTEN_MAX <= written {
            return Churned {
                positions,
                left: numbers(key_of, &fetched),
                seen,
                middle,
            };
        }
    }
}

/// The newest number of each key; a record without one is one of its own.
fn newest(key_of: KeyOf, numbers: &[(u64, Position)]) -> BTreeMap<(u64, Vec<u8>), u64> {
    let mut newest = BTreeMap::new();
    for &(number, _) in numbers {
        let key = key_of(number).map_or((number, vec![]), |key| (0, key));
        let before = newest.insert(key, number);
        assert!(before < Some(number), "older ones come first");
    }
    newest
}

/// The newest record of each key stays, and every one without a key if the log takes
/// such (Kafka does not, in a compacted topic), each at its position. A reader that was in the middle when older ones went sees no older
/// one after a newer one and misses no newest one; positions of before, of records
/// that are gone too, can be read from.
pub fn a_compacted_topic_keeps_the_newest_of_each_key(log: &dyn Log) {
    let config = TopicConfig {
        compacted: true,
        retention_ms: Some(1),
        ..TopicConfig::default()
    };
    ok(log.create_topic("t", &config));
    ok(log.create_topic("keyless", &config));
    let mut producer = ok(log.producer());
    let keyless = records(|_| None, 0..1);
    let taken = producer
        .append(&at("keyless", 0), keyless)
        .and_then(|()| producer.flush());
    let key_of: KeyOf = match taken {
        Ok(()) => key_or_none,
        Err(error) => {
            assert_eq!(error.class(), Class::Invalid, "{error}");
            key_of
        }
    };
    let partition = at("t", 0);
    let mut churned = churn(key_of, log, &partition);
    let positions = &churned.positions;
    let written = positions.len() as u64;
    let all: Vec<_> = (0..).zip(positions.iter().copied()).collect();
    let expected = newest(key_of, &all);
    assert_eq!(newest(key_of, &churned.left), expected);
    let rest = read_to_end(&mut *churned.middle, FetchLimits::default());
    churned.seen.extend(numbers(key_of, &rest));
    let seen = newest(key_of, &churned.seen);
    assert_eq!(seen, expected, "a reader in the middle misses nothing");
    for &(number, at) in churned.left.iter().chain(&churned.seen) {
        assert_eq!(
            positions[number as usize], at,
            "a record keeps its position"
        );
    }
    for number in [0, 1, 4, written / 3, written / 2, written - 1] {
        let position = positions[number as usize];
        let mut reader = ok(log.reader(&[(partition.clone(), position)]));
        let fetched = numbers(key_of, &ok(reader.poll(WAIT, FetchLimits::default())));
        let at = fetched.first().map(|first| first.1);
        let at = at.expect("the last record stays");
        let kept = expected.values().map(|&number| positions[number as usize]);
        let next = kept.filter(|&kept| position <= kept).min();
        assert!(
            position <= at && Some(at) <= next,
            "read from the position of {number}: {at}, {next:?}"
        );
    }
    let bounds = ok(log.bounds(&partition));
    assert_eq!(bounds.start, positions[0], "the start stays");
    assert!(positions[written as usize - 1] < bounds.end);
}
