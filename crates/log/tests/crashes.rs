//! Processes that die and disks that fill up lose nothing that was acknowledged.
//!
//! `HEADWATER_KILLS` sets how often the writer is killed, `HEADWATER_SEED` when.

#![expect(clippy::unwrap_used, reason = "a failure ends the test")]

mod support;

use headwater_core::Class;
use headwater_core::env::Env;
use headwater_log::{Log, fixed};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::Duration;
use support::*;

/// Number `n` of a transaction goes to both topics as `n % 40 + 1` records; a
/// producer writes single records beside it.
fn expected(transactions: u64) -> Vec<u64> {
    (0..transactions)
        .flat_map(|number| (0..number % 40 + 1).map(move |_| number))
        .collect()
}

fn records_of(number: u64) -> headwater_core::Records {
    let mut builder = headwater_core::RecordsBuilder::default();
    for _ in 0..number % 40 + 1 {
        builder.push(None, Some(&number.to_be_bytes()), 0, None);
    }
    builder.finish()
}

#[test]
fn child_writes_until_it_is_killed() {
    let Some(directory) = child_directory() else {
        return;
    };
    let log = open(&directory);
    let member = log.join("g", &[]).unwrap();
    let next = |committed: &[_]| {
        committed
            .first()
            .map_or(0, |(_, committed): &(_, headwater_log::Committed)| {
                committed.position.offset().unwrap()
            })
    };
    let mut transactor = member.transactor(0).unwrap();
    let mut producer = log.producer().unwrap();
    let mut appended = log.bounds(&at("p")).unwrap().end.offset().unwrap();
    let mut number = next(&member.committed().unwrap());
    loop {
        transactor.append(&at("a"), records_of(number)).unwrap();
        transactor.append(&at("b"), records_of(number)).unwrap();
        commit(&mut *transactor, &[(at("a"), position(number + 1))]);
        say(format!("committed {number}"));
        producer
            .append(&at("p"), numbers(appended..appended + 1, 8))
            .unwrap();
        producer.flush().unwrap();
        say(format!("appended {appended}"));
        number += 1;
        appended += 1;
    }
}

#[test]
fn a_killed_writer_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let first = setting("HEADWATER_SEED", 0x5eed_1234_5678);
    let kills = setting("HEADWATER_KILLS", 20);
    // A generator of this kind never leaves zero.
    let mut seed = first.max(1);
    let mut unacknowledged = 0;
    make_topics(&*open(directory.path()), &["a", "b", "p"]);
    let (mut committed, mut appended) = (0, 0);
    for kill in 0..kills {
        // Sometimes a reader stays, sometimes the file is recovered from nothing.
        let log = (kill % 2 == 0).then(|| open(directory.path()));
        let mut child = Process::start("child_writes_until_it_is_killed", directory.path());
        let acknowledge = |line: Option<String>, counts: (&mut u64, &mut u64)| {
            let line = line?;
            let (what, number) = line.split_once(' ').unwrap();
            let count = if what == "committed" {
                counts.0
            } else {
                counts.1
            };
            *count = number.parse::<u64>().unwrap() + 1;
            Some(())
        };
        acknowledge(child.line(), (&mut committed, &mut appended)).expect("the child writes");
        let pause = Duration::from_micros(random(&mut seed) % 60_000);
        Env::system().clock.sleep(pause);
        child.kill();
        while acknowledge(child.line(), (&mut committed, &mut appended)).is_some() {}

        let log = log.unwrap_or_else(|| open(directory.path()));
        let stored = log.committed("g").unwrap()[0].1.position.offset().unwrap();
        assert!(
            committed <= stored,
            "kill {kill}: {committed} acknowledged, {stored} there"
        );
        for topic in ["a", "b"] {
            assert_eq!(
                read(&*log, topic).unwrap(),
                expected(stored),
                "kill {kill}, {topic}"
            );
        }
        let stored = read(&*log, "p").unwrap();
        assert!(
            stored.iter().copied().eq(0..stored.len() as u64),
            "kill {kill}"
        );
        assert!(appended <= stored.len() as u64, "kill {kill}");
        unacknowledged +=
            u64::from(committed < log.committed("g").unwrap()[0].1.position.offset().unwrap());
        (committed, appended) = (0, 0);
    }
    // A fault is a kill after a commit was durable and before it was told.
    println!(
        "trust: what=kill-log-writer count={kills} seeds={first}..{} faults={unacknowledged} failures=0",
        first + 1
    );
}

#[test]
fn child_runs_out_of_disk() {
    let Some(directory) = child_directory() else {
        return;
    };
    let log = open(&directory);
    let member = log.join("g", &[]).unwrap();
    let mut transactor = member.transactor(0).unwrap();
    let mut producer = log.producer().unwrap();
    producer.append(&at("p"), numbers(0..100, 1_000)).unwrap();
    producer.flush().unwrap();
    commit(&mut *transactor, &[(at("a"), position(1))]);

    let whole = getrlimit(Resource::Fsize);
    let wal_bytes = directory.join("log.db-wal").metadata().unwrap().len();
    setrlimit(
        Resource::Fsize,
        Rlimit {
            current: Some(wal_bytes + 300_000),
            ..whole
        },
    )
    .unwrap();
    let mut appended = 100;
    let error = loop {
        let records = numbers(appended..appended + 100, 1_000);
        match producer.append(&at("p"), records) {
            Ok(()) => appended += 100,
            Err(error) => break error,
        }
        if let Err(error) = producer.flush() {
            break error;
        }
        assert!(appended < 100_000, "the limit on file sizes works");
    };
    assert_eq!(error.class(), Class::Unavailable, "{error}");
    assert_eq!(producer.flush().unwrap_err().class(), Class::Unavailable);
    transactor
        .append(&at("a"), numbers(0..2_000, 1_000))
        .unwrap();
    let error = transactor
        .commit(&mut fixed(&[(at("a"), position(2))]))
        .unwrap_err();
    assert_eq!(error.class(), Class::Unavailable, "{error}");
    assert_eq!(transactor.pending_bytes(), 0);
    assert_eq!(read(&*log, "a").unwrap(), []);
    let stored = read(&*log, "p").unwrap();
    assert!(stored.iter().copied().eq(0..stored.len() as u64));
    assert!((stored.len() as u64) < appended, "the last was not stored");
    // Memory is bounded too: a producer that cannot store does not queue for ever.
    let refused = (0..200).find_map(|_| {
        producer
            .append(&at("p"), numbers(0..0, 8))
            .err()
            .or_else(|| {
                let next = producer.append(&at("p"), numbers(appended..appended + 100, 1_000));
                appended += if next.is_ok() { 100 } else { 0 };
                next.err()
            })
    });
    assert_eq!(refused.unwrap().class(), Class::Unavailable);

    setrlimit(Resource::Fsize, whole).unwrap();
    producer.flush().unwrap();
    assert_eq!(read(&*log, "p").unwrap(), (0..appended).collect::<Vec<_>>());
    assert_eq!(log.committed("g").unwrap()[0].1, position(1));
    transactor
        .append(&at("a"), numbers(0..2_000, 1_000))
        .unwrap();
    commit(&mut *transactor, &[(at("a"), position(2))]);
    assert_eq!(read(&*log, "a").unwrap(), (0..2_000).collect::<Vec<_>>());
}

#[test]
fn a_full_disk_is_unavailable_and_then_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    make_topics(&*open(directory.path()), &["a", "p"]);
    Process::start_without_file_size_signal("child_runs_out_of_disk", directory.path())
        .assert_success();
    let log = open(directory.path());
    assert_eq!(read(&*log, "a").unwrap().len(), 2_000);
}
