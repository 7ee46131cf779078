//! What the promises are written with.

use crate::{
    CommitOutcome, Committed, Ends, FetchLimits, Fetched, Log, Reader, TopicConfig, Transactor,
};
use headwater_core::{Class, Error, Position, Records, RecordsBuilder, Result, TopicPartition};
use std::time::Duration;

/// How long a promise waits for what must come.
pub(super) const WAIT: Duration = Duration::from_secs(10);

pub(super) fn at(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

/// So many partitions that keep everything: records here have times of 1970.
pub(super) fn partitions(partitions: u32) -> TopicConfig {
    TopicConfig {
        partitions,
        retention_ms: None,
        retention_bytes: None,
        compacted: false,
        replicas: None,
    }
}

pub(super) fn committed_at(offset: u64, metadata: &[u8]) -> Committed {
    Committed {
        position: Position::from_offset(offset),
        metadata: metadata.to_vec(),
    }
}

/// Records whose values are numbers of eight bytes.
pub(super) fn numbers(range: std::ops::Range<u64>) -> Records {
    let mut builder = RecordsBuilder::default();
    for number in range {
        builder.push(None, Some(&number.to_be_bytes()), number as i64, None);
    }
    builder.finish()
}

pub(super) fn values(fetched: &[Fetched]) -> Vec<u64> {
    let number = |value: Option<&[u8]>| {
        let bytes = value.and_then(|value| value.try_into().ok());
        u64::from_be_bytes(bytes.expect("a value is a number of eight bytes"))
    };
    let records = fetched.iter().map(|fetched| &fetched.records);
    records
        .flat_map(|records| (0..records.len()).map(move |index| number(records.value(index))))
        .collect()
}

pub(super) fn record(records: &Records, index: usize) -> impl PartialEq + use<> {
    (
        records.key(index).map(<[u8]>::to_vec),
        records.value(index).map(<[u8]>::to_vec),
        records.timestamps[index],
        records.headers(index).to_vec(),
    )
}

pub(super) fn positions_of(fetched: &Fetched) -> Vec<Position> {
    (0..fetched.records.len())
        .map(|index| fetched.positions.get(index))
        .collect()
}

pub(super) fn count(fetched: &[Fetched]) -> usize {
    fetched.iter().map(|fetched| fetched.records.len()).sum()
}

pub(super) fn reader_at_start(log: &dyn Log, partitions: &[TopicPartition]) -> Box<dyn Reader> {
    let from: Vec<_> = partitions
        .iter()
        .map(|partition| (partition.clone(), ok(log.bounds(partition)).start))
        .collect();
    ok(log.reader(&from))
}

/// Reads until every partition has said that it is at its end.
pub(super) fn read_to_end(reader: &mut dyn Reader, limits: FetchLimits) -> Vec<Fetched> {
    let mut all = Vec::new();
    loop {
        let fetched = ok(reader.poll(Duration::ZERO, limits));
        assert!(count(&fetched) <= limits.records_max, "the limit is kept");
        let is_end = fetched
            .iter()
            .all(|fetched| fetched.at_end && fetched.records.is_empty());
        all.extend(fetched);
        if is_end {
            return all;
        }
    }
}

pub(super) fn append(log: &dyn Log, partition: &TopicPartition, records: Records) {
    let mut producer = ok(log.producer());
    ok(producer.append(partition, records));
    ok(producer.flush());
}

pub(super) fn commit(
    transactor: &mut dyn Transactor,
    positions: &[(TopicPartition, Committed)],
) -> Ends {
    let mut seen = Ends::new();
    let outcome = transactor.commit(&mut |ends| {
        seen = ends.clone();
        Ok(positions.to_vec())
    });
    match ok(outcome) {
        CommitOutcome::Committed => seen,
        CommitOutcome::Unknown { reason } => panic!("a commit without faults ended open: {reason}"),
    }
}

#[track_caller]
pub(super) fn ok<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("the log failed: {error}"))
}

/// The message of an error that must be there.
#[track_caller]
pub(super) fn invalid<T>(result: Result<T>) -> String {
    error(result, Class::Invalid).to_string()
}

#[track_caller]
pub(super) fn fenced<T>(result: Result<T>) {
    error(result, Class::Fenced);
}

#[track_caller]
pub(super) fn error<T>(result: Result<T>, class: Class) -> Error {
    match result {
        Ok(_) => panic!("it succeeded; expected {class:?}"),
        Err(error) => {
            assert_eq!(error.class(), class, "{error}");
            error
        }
    }
}
