//! At-least-once: outputs, then changelogs, then positions.

use crate::brokers::Brokers;
use crate::{at, committed_at, numbers, open, partitions, read_all};
use headwater_core::{Records, RecordsBuilder, Result, TopicPartition};
use headwater_log::kafka::{Guarantee, Options};
use headwater_log::{
    CommitOutcome, FetchLimits, Log, PositionsOf, Producer, TopicConfig, Transactor, fixed,
};
use std::time::Duration;

fn changes(all: &[(&str, Option<&str>)]) -> Records {
    let mut builder = RecordsBuilder::default();
    for (key, value) in all {
        builder.push(Some(key.as_bytes()), value.map(str::as_bytes), 1, None);
    }
    builder.finish()
}

/// The changelog's records in order, as `key=value` or `key` for a removal.
fn changelog(log: &dyn Log) -> Vec<String> {
    let place = at("changelog", 0);
    let start = log.bounds(&place).unwrap().start;
    let mut reader = log.reader(&[(place, start)]).unwrap();
    let mut all = Vec::new();
    loop {
        let polled = reader.poll(Duration::ZERO, FetchLimits::default()).unwrap();
        for fetched in &polled {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            all.extend((0..fetched.records.len()).map(|index| {
                let key = text(fetched.records.key(index).unwrap());
                match fetched.records.value(index) {
                    Some(value) => format!("{key}={}", text(value)),
                    None => key,
                }
            }));
        }
        if polled.iter().any(|fetched| fetched.at_end) {
            return all;
        }
    }
}

#[test]
fn an_epoch_is_stored_in_the_order_that_loses_nothing() {
    let brokers = Brokers::start();
    let mut options = Options::new(&brokers.addresses);
    options.guarantee = Guarantee::AtLeastOnce;
    let log = open(options);
    for topic in ["in", "out"] {
        log.create_topic(topic, &partitions(1)).unwrap();
    }
    let compacted = TopicConfig {
        compacted: true,
        ..partitions(1)
    };
    log.create_topic("changelog", &compacted).unwrap();
    let mut member = log.join("g", &["in".into()]).unwrap();
    assert_eq!(member.assignment().unwrap(), [at("in", 0)]);
    let mut transactor = member.transactor(0).unwrap();
    let out = at("out", 0);
    transactor.append(&out, numbers(0..3)).unwrap();
    let place = at("changelog", 0);
    transactor
        .append(&place, changes(&[("a", Some("1")), ("b", None)]))
        .unwrap();
    assert!(transactor.pending_bytes() > 24);
    assert_eq!(
        changelog(&*log),
        Vec::<String>::new(),
        "it waits for the outputs"
    );
    let mut ends = None;
    let outcome = transactor.commit(&mut |at_end| {
        ends = Some(at_end.clone());
        Ok(vec![
            (at("in", 0), committed_at(3)),
            (at("source:x", 0), committed_at(7)),
        ])
    });
    assert_eq!(outcome.unwrap(), CommitOutcome::Committed);
    assert_eq!(
        ends.unwrap().into_keys().collect::<Vec<_>>(),
        [place.clone(), out.clone()]
    );
    assert_eq!(read_all(&*log, &out), [0, 1, 2]);
    assert_eq!(
        changelog(&*log),
        ["a=1"],
        "a removal waits for the next epoch"
    );
    let expected = [
        (at("in", 0), committed_at(3)),
        (at("source:x", 0), committed_at(7)),
    ];
    assert_eq!(member.committed().unwrap(), expected);

    transactor
        .append(&place, changes(&[("b", Some("2")), ("a", None)]))
        .unwrap();
    transactor.commit(&mut fixed(&[])).unwrap();
    assert_eq!(changelog(&*log), ["a=1", "b", "b=2"]);
    drop(transactor);
    assert_eq!(
        changelog(&*log),
        ["a=1", "b", "b=2", "a"],
        "the end writes the rest"
    );
}

/// The planted bug: a changelog leaves at once, before its outputs are acknowledged.
struct EagerChangelog {
    inner: Box<dyn Transactor>,
    producer: Box<dyn Producer>,
}

impl Transactor for EagerChangelog {
    fn append(&mut self, partition: &TopicPartition, records: Records) -> Result<()> {
        if *partition.topic != *"changelog" {
            return self.inner.append(partition, records);
        }
        self.producer.append(partition, records)?;
        self.producer.flush()
    }

    fn pending_bytes(&self) -> usize {
        self.inner.pending_bytes()
    }

    fn commit(&mut self, positions: &mut PositionsOf<'_>) -> Result<CommitOutcome> {
        self.inner.commit(positions)
    }

    fn abort(&mut self) -> Result<()> {
        self.inner.abort()
    }
}

/// The changelog after an epoch whose outputs are refused: their topic is gone.
fn after_refused_outputs(brokers: &Brokers, is_planted: bool) -> Vec<String> {
    let mut options = Options::new(&brokers.addresses);
    options.guarantee = Guarantee::AtLeastOnce;
    let log = open(options);
    log.create_topic("in", &partitions(1)).unwrap();
    log.create_topic("out", &partitions(1)).unwrap();
    let compacted = TopicConfig {
        compacted: true,
        ..partitions(1)
    };
    log.create_topic("changelog", &compacted).unwrap();
    let mut member = log.join("g", &["in".into()]).unwrap();
    assert_eq!(member.assignment().unwrap(), [at("in", 0)]);
    let mut transactor = member.transactor(0).unwrap();
    if is_planted {
        transactor = Box::new(EagerChangelog {
            inner: transactor,
            producer: log.producer().unwrap(),
        });
    }
    for (round, value) in [(1, "1"), (2, "2")] {
        transactor.append(&at("out", 0), numbers(0..3)).unwrap();
        let change = changes(&[("a", Some(value))]);
        transactor.append(&at("changelog", 0), change).unwrap();
        let outcome = transactor.commit(&mut fixed(&[(at("in", 0), committed_at(round))]));
        assert_eq!(outcome.is_ok(), round == 1, "{outcome:?}");
        if round == 1 {
            assert_eq!(changelog(&*log), ["a=1"]);
            log.delete_topic("out").unwrap();
        }
    }
    assert_eq!(
        log.committed("g").unwrap(),
        [(at("in", 0), committed_at(1))]
    );
    let left = changelog(&*log);
    log.delete_topic("changelog").unwrap();
    left
}

/// A restart would find the effects of rows whose results nobody has.
#[test]
fn a_changelog_waits_for_outputs_that_are_refused() {
    let brokers = Brokers::start();
    assert_eq!(after_refused_outputs(&brokers, false), ["a=1"]);
    assert_eq!(
        after_refused_outputs(&brokers, true),
        ["a=1", "a=2"],
        "the planted bug is seen"
    );
}
