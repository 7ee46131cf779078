//! Compaction of changelogs on the embedded log: what stays is the table that the
//! records fold to, whatever happens in between, and the file stops growing.
//!
//! `HEADWATER_SEED` and `HEADWATER_KILLS` repeat and prolong the random ones.

#![expect(clippy::unwrap_used, reason = "a failure ends the test")]

mod support;

use headwater_core::env::Env;
use headwater_core::{Class, Position, Records, RecordsBuilder};
use headwater_log::embedded::{EmbeddedLog, Options};
use headwater_log::{FetchLimits, Log, TopicConfig};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use support::*;

/// Compacts after every few kilobytes, by itself if `interval` is short.
fn open_eager(directory: &Path, interval: Duration, tombstones: Duration) -> Arc<EmbeddedLog> {
    let options = Options {
        retention_interval: interval,
        compaction_bytes: 4 << 10,
        tombstone_retention: tombstones,
        ..Options::default()
    };
    EmbeddedLog::open(directory, options).unwrap()
}

/// Tidies up. A process that another test starts at this moment holds all files of
/// this one, locks too, until it runs its own program: then it takes another try.
fn tidy(log: &EmbeddedLog) {
    for _ in 0..1_000 {
        if log.tidy().unwrap() {
            return;
        }
        Env::system().clock.sleep(Duration::from_millis(10));
    }
    panic!("nobody else has the log for ten seconds");
}

const NEVER: Duration = Duration::from_secs(3_600);

fn make_compacted(log: &dyn Log, name: &str) {
    let config = TopicConfig {
        compacted: true,
        ..TopicConfig::default()
    };
    log.create_topic(name, &config).unwrap();
}

type Table = BTreeMap<Vec<u8>, Vec<u8>>;

fn fold(table: &mut Table, records: &Records) {
    for index in 0..records.len() {
        let key = records.key(index).unwrap().to_vec();
        match records.value(index) {
            Some(value) => table.insert(key, value.to_vec()),
            None => table.remove(&key),
        };
    }
}

fn read_on(reader: &mut dyn headwater_log::Reader, table: &mut Table) -> usize {
    let mut count = 0;
    loop {
        let fetched = reader
            .poll(Duration::ZERO, FetchLimits::default())
            .unwrap_or_else(|error| panic!("{error}"));
        for fetched in &fetched {
            fold(table, &fetched.records);
            count += fetched.records.len();
        }
        if fetched.iter().all(|fetched| fetched.at_end) {
            return count;
        }
    }
}

fn reader_from(log: &dyn Log, topic: &str, position: Position) -> Box<dyn headwater_log::Reader> {
    log.reader(&[(at(topic), position)]).unwrap()
}

/// What a topic folds to, and how many records it took.
fn table(log: &dyn Log, topic: &str) -> (Table, usize) {
    let start = log.bounds(&at(topic)).unwrap().start;
    let mut table = Table::new();
    let count = read_on(&mut *reader_from(log, topic, start), &mut table);
    (table, count)
}

fn some_changes(seed: &mut u64, keys: u64, number: &mut u64) -> Records {
    let mut builder = RecordsBuilder::default();
    for _ in 0..random(seed) % 40 + 1 {
        let key = (random(seed) % keys).to_be_bytes();
        *number += 1;
        let value = (!random(seed).is_multiple_of(4)).then(|| {
            number
                .to_be_bytes()
                .repeat((random(seed) % 20) as usize + 1)
        });
        builder.push(Some(&key), value.as_deref(), *number as i64, None);
    }
    builder.finish()
}

#[test]
fn any_sequence_of_changes_folds_to_the_same_table() {
    let mut seed = setting("HEADWATER_SEED", 0xc0_ffee_1234);
    for round in 0..8 {
        println!("round {round}: HEADWATER_SEED={seed}");
        let keys = [1, 3, 40, 1_000][random(&mut seed) as usize % 4];
        let directory = memory_directory();
        let tombstones = [Duration::ZERO, NEVER][round % 2];
        let mut log = open_eager(directory.path(), NEVER, tombstones);
        make_compacted(&*log, "t");
        let start = log.bounds(&at("t")).unwrap().start;
        let (mut model, mut number) = (Table::new(), 0);
        // This one is always somewhere in the middle.
        let (mut reader, mut behind) = (reader_from(&*log, "t", start), Table::new());
        for _ in 0..150 {
            let changes = some_changes(&mut seed, keys, &mut number);
            fold(&mut model, &changes);
            append(&*log, "t", changes);
            match random(&mut seed) % 12 {
                0 | 1 => tidy(&log),
                2 => {
                    let limits = FetchLimits {
                        records_max: random(&mut seed) as usize % 50 + 1,
                        ..FetchLimits::default()
                    };
                    match reader.poll(Duration::ZERO, limits) {
                        Ok(fetched) => fetched
                            .iter()
                            .for_each(|fetched| fold(&mut behind, &fetched.records)),
                        Err(error) => {
                            // Tombstones went that it had yet to see.
                            assert!(error.to_string().contains("tombstones_to=`"), "{error}");
                            assert_eq!(tombstones, Duration::ZERO);
                            behind.clear();
                            reader.seek(&at("t"), start).unwrap();
                        }
                    }
                }
                3 => {
                    drop(reader);
                    drop(log);
                    log = open_eager(directory.path(), NEVER, tombstones);
                    behind.clear();
                    reader = reader_from(&*log, "t", start);
                }
                _ => {}
            }
            if random(&mut seed).is_multiple_of(20) {
                assert_eq!(table(&*log, "t").0, model);
            }
        }
        tidy(&log);
        let (left, count) = table(&*log, "t");
        assert_eq!(left, model);
        assert!(
            (count as u64) < number / 2 || keys == 1_000,
            "{count} of {number} are left of {keys} keys"
        );
        if tombstones == NEVER {
            read_on(&mut *reader, &mut behind);
            assert_eq!(behind, model, "a reader in the middle misses nothing");
        }
    }
}

/// One record for each of `keys`, with this value or as tombstones.
fn changes(keys: std::ops::Range<u64>, value: Option<&[u8]>) -> Records {
    let mut builder = RecordsBuilder::default();
    for key in keys {
        builder.push(Some(&key.to_be_bytes()), value, 0, None);
    }
    builder.finish()
}

#[test]
fn a_tombstone_goes_after_what_it_deletes_and_never_unnoticed() {
    let directory = memory_directory();
    let retention = Duration::from_millis(300);
    let log = open_eager(directory.path(), NEVER, retention);
    make_compacted(&*log, "t");
    let start = log.bounds(&at("t")).unwrap().start;
    let value = vec![1; 100];
    let fill = || append(&*log, "t", changes(900..1_000, Some(&value)));
    append(&*log, "t", changes(0..100, Some(&value)));
    let middle = log.bounds(&at("t")).unwrap().end;
    // Two that have read the values: one goes on too late, one in time.
    let mut late = reader_from(&*log, "t", start);
    assert_eq!(read_on(&mut *late, &mut Table::new()), 100);
    append(&*log, "t", changes(0..99, None));
    fill();
    fill();
    tidy(&log);
    let (left, count) = table(&*log, "t");
    assert_eq!(
        (left.len(), count),
        (101, 99 + 1 + 200),
        "the values are gone, the tombstones stay"
    );
    let mut in_time = reader_from(&*log, "t", middle);
    assert_eq!(read_on(&mut *in_time, &mut Table::new()), 99 + 200);

    Env::system().clock.sleep(retention);
    fill();
    tidy(&log);
    let (left, count) = table(&*log, "t");
    assert_eq!(
        (left.len(), count),
        (101, 1 + 200),
        "the tombstones are gone too"
    );
    for reader in [&mut late, &mut reader_from(&*log, "t", middle)] {
        let error = reader
            .poll(Duration::ZERO, FetchLimits::default())
            .unwrap_err();
        assert_eq!(error.class(), Class::Invalid);
        let text = error.to_string();
        assert!(
            text.contains("position=`100` tombstones_to=`199`"),
            "{text}"
        );
        assert!(
            text.contains("hint: read the topic from its start"),
            "{text}"
        );
    }
    read_on(&mut *in_time, &mut Table::new());
    late.seek(&at("t"), start).unwrap();
    assert_eq!(read_on(&mut *late, &mut Table::new()), 201);
}

fn size(directory: &Path, name: &str) -> u64 {
    directory.join(name).metadata().map_or(0, |file| file.len())
}

#[test]
fn key_churn_leaves_the_file_at_its_size() {
    let directory = memory_directory();
    let options = Options {
        retention_interval: Duration::from_millis(10),
        tombstone_retention: Duration::from_millis(200),
        ..Options::default()
    };
    let log = EmbeddedLog::open(directory.path(), options).unwrap();
    make_compacted(&*log, "windows");
    let value = vec![7; 200];
    let mut sizes = Vec::new();
    // Each window is written three times and then deleted: 80 MB in all, of which
    // 2,000 windows are open at any time.
    for round in 0..100_u64 {
        let open = round * 1_000;
        for _ in 0..3 {
            append(&*log, "windows", changes(open..open + 1_000, Some(&value)));
        }
        if round >= 2 {
            append(&*log, "windows", changes(open - 2_000..open - 1_000, None));
        }
        if round % 10 == 9 {
            tidy(&log);
        }
        if round % 25 == 24 {
            sizes.push(size(directory.path(), "log.db"));
        }
    }
    println!("the size of the file after each quarter: {sizes:?}");
    let (left, count) = table(&*log, "windows");
    assert_eq!(left.len(), 2_000);
    assert!(count < 100_000, "{count} of 400,000 records are left");
    let (first, last) = (sizes[0], sizes[sizes.len() - 1]);
    assert!(
        last < 32 << 20 && last < first + (8 << 20),
        "it grows: {sizes:?}"
    );
}

#[test]
fn a_topic_deleted_while_it_is_compacted_leaves_nothing() {
    let directory = memory_directory();
    let log = open_eager(directory.path(), Duration::from_millis(1), Duration::ZERO);
    let value = vec![7; 1_000];
    for round in 0..20 {
        make_compacted(&*log, "t");
        for _ in 0..10 {
            append(&*log, "t", changes(0..100, Some(&value)));
        }
        let (left, _) = table(&*log, "t");
        assert_eq!(left.len(), 100, "round {round}");
        assert!(log.delete_topic("t").unwrap());
    }
    tidy(&log);
    drop(log);
    let file = sqlite(&directory.path().join("log.db"));
    for table in ["batches", "partitions", "cleanings"] {
        let count = format!("SELECT count(*) FROM {table}");
        let count: i64 = file.query_row(&count, [], |row| row.get(0)).unwrap();
        assert_eq!(count, 0, "rows in {table}");
    }
}

#[test]
fn damage_is_reported_and_other_topics_are_compacted() {
    let directory = memory_directory();
    let log = open_eager(directory.path(), NEVER, NEVER);
    let value = vec![7; 100];
    for topic in ["bad", "good"] {
        make_compacted(&*log, topic);
        for _ in 0..5 {
            append(&*log, topic, changes(0..100, Some(&value)));
        }
    }
    let file = sqlite(&directory.path().join("log.db"));
    file.execute_batch(
        "UPDATE batches SET records = zeroblob(500) WHERE id = (SELECT min(id) FROM batches)",
    )
    .unwrap();
    let error = (0..1_000).find_map(|_| log.tidy().err()).unwrap();
    assert_eq!(error.class(), Class::Internal, "{error}");
    assert!(
        error
            .to_string()
            .contains("topic=`bad` partition=`0` offset=`0`"),
        "{error}"
    );
    log.tidy().ok();
    assert!(table(&*log, "good").1 <= 200);
}

#[test]
fn child_churns_until_it_is_killed() {
    let Some(directory) = child_directory() else {
        return;
    };
    let log = open_eager(
        &directory,
        Duration::from_millis(1),
        Duration::from_millis(50),
    );
    let member = log.join("g", &[]).unwrap();
    let mut transactor = member.transactor(0).unwrap();
    let mut number = member
        .committed()
        .unwrap()
        .first()
        .map_or(0, |(_, committed)| committed.position.offset().unwrap());
    let tidying = log.clone();
    std::thread::spawn(move || {
        loop {
            tidying.tidy().unwrap();
        }
    });
    loop {
        transactor.append(&at("t"), churn(number)).unwrap();
        number += 1;
        commit(&mut *transactor, &[(at("t"), position(number))]);
        say(number);
    }
}

/// The changes of one transaction; which ones, its number decides.
fn churn(number: u64) -> Records {
    let mut seed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    some_changes(&mut seed, 60, &mut (number * 100))
}

#[test]
fn a_kill_while_compacting_loses_nothing() {
    let first = setting("HEADWATER_SEED", 0x5eed_7777);
    let mut seed = first;
    println!("HEADWATER_SEED={seed}");
    let kills = setting("HEADWATER_KILLS", 20);
    let directory = memory_directory();
    make_compacted(&*open(directory.path()), "t");
    let (mut model, mut folded, mut cleaned) = (Table::new(), 0, 0);
    for kill in 0..kills {
        let mut child = Process::start("child_churns_until_it_is_killed", directory.path());
        let mut acknowledged: u64 = child.line().unwrap().parse().unwrap();
        Env::system()
            .clock
            .sleep(Duration::from_micros(random(&mut seed) % 60_000));
        child.kill();
        while let Some(line) = child.line() {
            acknowledged = line.parse().unwrap();
        }
        let log = open_eager(directory.path(), NEVER, NEVER);
        let stored = log.committed("g").unwrap()[0].1.position.offset().unwrap();
        assert!(acknowledged <= stored, "kill {kill}");
        while folded < stored {
            fold(&mut model, &churn(folded));
            folded += 1;
        }
        let (left, count) = table(&*log, "t");
        assert_eq!(left, model, "kill {kill} of HEADWATER_SEED");
        let end = log.bounds(&at("t")).unwrap().end.offset().unwrap();
        cleaned += u64::from((count as u64) < end / 2);
    }
    assert!(kills < 5 || cleaned > 0, "it was compacted in between");
    let after = first + 1;
    println!(
        "trust: what=kill-while-compacting count={kills} seeds={first}..{after} faults={kills} failures=0"
    );
}

#[test]
fn who_may_not_tidy_is_told() {
    let directory = memory_directory();
    let first = open(directory.path());
    tidy(&first);
    let second = open(directory.path());
    assert!(!second.tidy().unwrap());
    drop(first);
    tidy(&second);
}
