//! Several processes on one log.

#![expect(clippy::unwrap_used, reason = "a failure ends the test")]

mod support;

use headwater_core::Class;
use headwater_core::env::Env;
use headwater_log::embedded::{EmbeddedLog, Options};
use headwater_log::{FetchLimits, Log, TopicConfig};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::*;

const ROUNDS: u64 = 300;

#[test]
fn child_joins_and_stays() {
    let Some(directory) = child_directory() else {
        return;
    };
    let log = open(&directory);
    let _member = log.join("orders / v2", &[]).unwrap();
    say("joined");
    Env::system().clock.sleep(Duration::from_secs(60));
}

#[test]
fn an_application_runs_once_and_its_lock_dies_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let mut child = Process::start("child_joins_and_stays", directory.path());
    assert_eq!(child.line().as_deref(), Some("joined"));
    for result in [
        log.join("orders / v2", &[]).err(),
        log.forget_group("orders / v2").err(),
    ] {
        let error = result.expect("the group is taken");
        assert_eq!(error.class(), Class::Invalid);
        let text = error.to_string();
        let process = format!("already running as process {} in", child.child.id());
        assert!(
            text.contains("`orders / v2`") && text.contains(&process),
            "{text}"
        );
        assert!(text.contains("Kafka"), "{text}");
    }
    log.join("orders", &[]).unwrap();
    child.kill();
    log.join("orders / v2", &[]).unwrap();
    assert!(log.join("x".repeat(300).as_str(), &[]).is_err());
}

#[test]
fn child_appends() {
    let Some(directory) = child_directory() else {
        return;
    };
    let log = open(&directory);
    let mut producer = log.producer().unwrap();
    let process = u64::from(std::process::id()) << 32;
    for round in 0..ROUNDS {
        producer
            .append(&at("t"), numbers(process + round..process + round + 1, 300))
            .unwrap();
        if round % 3 == 0 {
            producer.flush().unwrap();
        }
    }
    producer.flush().unwrap();
}

#[test]
fn writers_in_several_processes_interleave_and_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    make_topics(&*log, &["t"]);
    let mut reader = log
        .reader(&[(at("t"), log.bounds(&at("t")).unwrap().start)])
        .unwrap();
    let mut children: Vec<_> = (0..3)
        .map(|_| Process::start("child_appends", directory.path()))
        .collect();
    let mut next = [0; 3];
    while next != [ROUNDS; 3] {
        for fetched in reader
            .poll(Duration::from_secs(20), FetchLimits::default())
            .unwrap()
        {
            for index in 0..fetched.records.len() {
                let value = fetched.records.value(index).unwrap();
                let number = u64::from_be_bytes(value[..8].try_into().unwrap());
                let process = (number >> 32) as u32;
                let child = children
                    .iter()
                    .position(|child| child.child.id() == process);
                let next = &mut next[child.unwrap()];
                assert_eq!(number & 0xffff_ffff, *next, "each writer's order is kept");
                *next += 1;
            }
        }
    }
    children.iter_mut().for_each(Process::assert_success);
}

/// A log whose retention is looked at all the time, with the warnings it gave.
fn open_warned(directory: &std::path::Path) -> (Arc<EmbeddedLog>, Arc<Mutex<Vec<String>>>) {
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let kept = warnings.clone();
    let options = Options {
        retention_interval: Duration::from_millis(1),
        warn: Arc::new(move |warning| kept.lock().unwrap().push(warning.to_owned())),
        ..Options::default()
    };
    (EmbeddedLog::open(directory, options).unwrap(), warnings)
}

fn wait_until(mut is_done: impl FnMut() -> bool) {
    let clock = Env::system().clock;
    for _ in 0..2_000 {
        if is_done() {
            return;
        }
        clock.sleep(Duration::from_millis(5));
    }
    panic!("it did not happen within ten seconds");
}

#[test]
fn retention_spares_what_a_group_needs_up_to_twice_the_bytes() {
    const BATCH: u64 = 100;
    let directory = tempfile::tempdir().unwrap();
    let (log, warnings) = open_warned(directory.path());
    let config = TopicConfig {
        retention_bytes: Some(100_000),
        ..TopicConfig::default()
    };
    log.create_topic("t", &config).unwrap();
    let member = log.join("slow", &[]).unwrap();
    commit(
        &mut *member.transactor(0).unwrap(),
        &[(at("t"), position(150))],
    );
    let start = || log.bounds(&at("t")).unwrap().start.offset().unwrap();
    // 17 batches of some 11 KB: more than once, less than twice the bound.
    for batch in 0..17 {
        append(&*log, "t", numbers(batch * BATCH..(batch + 1) * BATCH, 100));
    }
    wait_until(|| start() > 0);
    Env::system().clock.sleep(Duration::from_millis(500));
    assert_eq!(start(), BATCH, "only what the group has read is gone");
    assert_eq!(*warnings.lock().unwrap(), Vec::<String>::new());
    for batch in 17..40 {
        append(&*log, "t", numbers(batch * BATCH..(batch + 1) * BATCH, 100));
    }
    wait_until(|| start() > BATCH);
    wait_until(|| !warnings.lock().unwrap().is_empty());
    let warning = warnings.lock().unwrap()[0].clone();
    assert!(
        warning.contains("topic=`t` partition=`0` group=`slow` records=`"),
        "{warning}"
    );
    let kept = log
        .waiting(&at("t"), log.bounds(&at("t")).unwrap().start)
        .unwrap();
    assert!(kept * 100 >= 150_000, "the newest are kept: {kept} records");
}

#[test]
fn retention_by_age_leaves_compacted_topics_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = open_warned(directory.path());
    let config = TopicConfig {
        retention_ms: Some(1),
        ..TopicConfig::default()
    };
    log.create_topic("short", &config).unwrap();
    log.create_topic(
        "changelog",
        &TopicConfig {
            compacted: true,
            ..config
        },
    )
    .unwrap();
    for topic in ["short", "changelog"] {
        append(&*log, topic, numbers(0..10, 8));
    }
    let bounds = |topic| log.bounds(&at(topic)).unwrap();
    wait_until(|| bounds("short").start == bounds("short").end);
    assert_eq!(bounds("short").end.offset(), Some(10), "the numbers go on");
    assert_eq!(bounds("changelog").start.offset(), Some(0));
    append(&*log, "short", numbers(10..11, 8));
    assert_eq!(bounds("short").end.offset(), Some(11));
}

#[test]
fn the_wal_stays_bounded_and_a_deleted_topic_gives_its_space_back() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let size = |name: &str| {
        directory
            .path()
            .join(name)
            .metadata()
            .map_or(0, |file| file.len())
    };
    for round in 0..2 {
        make_topics(&*log, &["t"]);
        let mut producer = log.producer().unwrap();
        for start in (0..400_000).step_by(1_000) {
            producer
                .append(&at("t"), numbers(start..start + 1_000, 300))
                .unwrap();
        }
        producer.flush().unwrap();
        assert!(size("log.db-wal") < 400 << 20, "round {round}");
        assert!(log.delete_topic("t").unwrap());
        wait_until(|| {
            let reused = rusqlite::Connection::open(directory.path().join("log.db")).unwrap();
            let count = "SELECT count(*) FROM partitions";
            reused
                .query_row(count, [], |row| row.get::<_, i64>(0))
                .unwrap()
                == 0
        });
    }
    wait_until(|| size("log.db-wal") <= 64 << 20);
    assert!(
        size("log.db") < 250 << 20,
        "space is used again: {}",
        size("log.db")
    );
}
