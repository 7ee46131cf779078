//! The Kafka backend on a real broker.
//!
//! Not a part of a plain `cargo test`, because it needs Java and fetches Apache
//! Kafka once: `cargo test --release -p headwater-log --test kafka`, or `make test-kafka`.

#[path = "support/kafka.rs"]
mod brokers;

use brokers::Brokers;
use headwater_log::Log;
use headwater_log::conformance::{self, Visibility};
use headwater_log::kafka::{GroupProtocol, KafkaLog, Options};
use std::sync::Arc;

fn options(brokers: &Brokers) -> Options {
    Options::new(&brokers.addresses)
}

fn open(options: Options) -> Arc<KafkaLog> {
    KafkaLog::new(options).unwrap()
}

/// Deletes all topics and groups: each promise finds an empty cluster.
fn empty(log: &dyn Log) {
    for group in log.groups().unwrap() {
        log.forget_group(&group).unwrap();
    }
    for topic in log.topics().unwrap() {
        log.delete_topic(&topic.name).unwrap();
    }
}

fn keeps_every_promise(change: impl Fn(&mut Options)) {
    let brokers = Brokers::start();
    conformance::run_with(Visibility::ByPartition, &mut || {
        let mut options = options(&brokers);
        change(&mut options);
        let log = open(options);
        empty(&*log);
        log
    });
}

#[test]
fn kafka_log_keeps_every_promise() {
    keeps_every_promise(|_| {});
}

#[test]
fn kafka_log_keeps_every_promise_with_groups_of_the_new_protocol() {
    keeps_every_promise(|options| options.group_protocol = GroupProtocol::Consumer);
}
