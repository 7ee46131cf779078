//! The Kafka backend on real brokers.
//!
//! Not a part of a plain `cargo test`, because it needs Java and fetches Apache
//! Kafka once: `make test-kafka`.

#![expect(clippy::unwrap_used, reason = "a failure ends the test")]

#[path = "../support/kafka.rs"]
mod brokers;
mod faults;
mod groups;
mod promises;
mod proxy;
mod repeating;
mod security;

use headwater_core::{Position, Records, RecordsBuilder, TopicPartition};
use headwater_log::kafka::{KafkaLog, Options};
use headwater_log::{Committed, FetchLimits, Log, TopicConfig};
use std::sync::Arc;
use std::time::Duration;

fn open(options: Options) -> Arc<KafkaLog> {
    KafkaLog::new(options).unwrap()
}

fn at(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

fn partitions(partitions: u32) -> TopicConfig {
    TopicConfig {
        partitions,
        retention_ms: None,
        retention_bytes: None,
        compacted: false,
        replicas: None,
    }
}

/// Records whose values are numbers of eight bytes.
fn numbers(range: std::ops::Range<u64>) -> Records {
    let mut builder = RecordsBuilder::default();
    for number in range {
        builder.push(None, Some(&number.to_be_bytes()), 1 + number as i64, None);
    }
    builder.finish()
}

fn committed_at(offset: u64) -> Committed {
    Committed {
        position: Position::from_offset(offset),
        metadata: Vec::new(),
    }
}

/// All numbers of a partition, to the end that nobody is writing beyond.
fn read_all(log: &dyn Log, partition: &TopicPartition) -> Vec<u64> {
    let start = log.bounds(partition).unwrap().start;
    let mut reader = log.reader(&[(partition.clone(), start)]).unwrap();
    let mut all = Vec::new();
    loop {
        for fetched in reader
            .poll(Duration::from_millis(100), FetchLimits::default())
            .unwrap()
        {
            for index in 0..fetched.records.len() {
                let value = fetched.records.value(index).unwrap();
                all.push(u64::from_be_bytes(value.try_into().unwrap()));
            }
            if fetched.at_end && fetched.records.is_empty() {
                return all;
            }
        }
    }
}
