//! A file that is not as it should be gives an error that names it, what is
//! wrong and what to do; never a panic, and never an empty log. Whatever bit flips
//! in a closed log, no value is ever wrong: `HEADWATER_FLIPS` says how many,
//! `HEADWATER_SEED` which.

#![expect(clippy::unwrap_used, reason = "a failure ends the test")]

mod support;

use headwater_core::{Class, Error, Header, RecordsBuilder, Result};
use headwater_log::embedded::{EmbeddedLog, Options};
use headwater_log::{FetchLimits, Log, TopicConfig};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use support::*;

/// A log of some megabytes that nobody has open.
fn written() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    make_topics(&*log, &["t"]);
    for start in (0..10_000).step_by(1_000) {
        append(&*log, "t", numbers(start..start + 1_000, 500));
    }
    drop(log);
    let file = directory.path().join("log.db");
    assert!(
        file.metadata().unwrap().len() > 5_000_000,
        "all is in the file"
    );
    assert!(
        !directory.path().join("log.db-wal").exists(),
        "nothing is beside it"
    );
    directory
}

/// The error of opening the log and reading all of it.
fn failure(directory: &Path) -> Error {
    let read = EmbeddedLog::open(directory, Options::default()).and_then(|log| read(&*log, "t"));
    read.expect_err("the damage is found")
}

fn check(directory: &Path, class: Class, words: &[&str]) {
    let error = failure(directory);
    let text = error.to_string();
    assert_eq!(error.class(), class, "{text}");
    for word in words.iter().chain(&["hint:"]) {
        assert!(text.contains(word), "`{word}` in: {text}");
    }
}

#[test]
fn a_truncated_file_is_damaged() {
    for share in [3, 10] {
        let directory = written();
        let path = directory.path().join("log.db");
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_len(path.metadata().unwrap().len() / 10 * (10 - share).max(1))
            .unwrap();
        check(directory.path(), Class::Internal, &["damaged", "log.db"]);
    }
}

#[test]
fn an_emptied_file_is_not_a_new_log() {
    let directory = written();
    fs::File::create(directory.path().join("log.db")).unwrap();
    check(directory.path(), Class::Internal, &["emptied", "log.db"]);
}

#[test]
fn overwritten_bytes_name_the_batch_or_the_file() {
    let directory = written();
    let path = directory.path().join("log.db");
    let middle = path.metadata().unwrap().len() / 2;
    let mut file = fs::File::options().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(middle)).unwrap();
    file.write_all(&[b'?'; 50_000]).unwrap();
    drop(file);
    check(directory.path(), Class::Internal, &["damaged"]);
}

#[test]
fn one_changed_byte_of_a_record_names_its_batch() {
    let directory = written();
    let path = directory.path().join("log.db");
    let mut bytes = fs::read(&path).unwrap();
    let needle = [&7_654_u64.to_be_bytes()[..], b"xxxxxxxx"].concat();
    let at = bytes
        .windows(needle.len())
        .position(|window| window == needle)
        .unwrap();
    bytes[at + 12] = b'y';
    fs::write(&path, bytes).unwrap();
    check(
        directory.path(),
        Class::Internal,
        &["topic=`t` partition=`0` offset=`7000`", "CRC"],
    );
}

#[test]
fn a_file_of_another_kind_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(
        directory.path().join("log.db"),
        "a shopping list".repeat(1_000),
    )
    .unwrap();
    check(directory.path(), Class::Invalid, &["not a log", "log.db"]);

    let directory = tempfile::tempdir().unwrap();
    let stranger = rusqlite::Connection::open(directory.path().join("log.db")).unwrap();
    stranger
        .execute_batch("CREATE TABLE shopping (item)")
        .unwrap();
    drop(stranger);
    check(
        directory.path(),
        Class::Invalid,
        &["not a log of Headwater", "log.db"],
    );
}

#[test]
fn a_newer_version_is_refused_and_left_alone() {
    let directory = written();
    let path = directory.path().join("log.db");
    let newer = sqlite(&path);
    newer.execute_batch("PRAGMA user_version=99").unwrap();
    drop(newer);
    check(
        directory.path(),
        Class::Invalid,
        &["version=`99` supported=`1..2`", "log.db"],
    );
    let newer = sqlite(&path);
    newer.execute_batch("PRAGMA user_version=2").unwrap();
    drop(newer);
    assert_eq!(read(&*open(directory.path()), "t").unwrap().len(), 10_000);
}

#[test]
fn a_directory_that_cannot_be_made_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    check(&file.join("log"), Class::Invalid, &["HEADWATER_DIR"]);
}

#[test]
fn a_log_that_was_being_made_by_a_killed_process_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let half_made = rusqlite::Connection::open(directory.path().join("log.db")).unwrap();
    half_made
        .execute_batch("PRAGMA page_size=32768; PRAGMA journal_mode=WAL;")
        .unwrap();
    drop(half_made);
    let made = std::fs::metadata(directory.path().join("log.db")).unwrap();
    assert!(made.len() > 0);
    make_topics(&*open(directory.path()), &["t"]);
    assert!(open(directory.path()).topic("t").unwrap().is_some());
}

fn quiet(page_bytes: u32) -> Options {
    Options {
        page_bytes,
        warn: Arc::new(|_| {}),
        retention_interval: Duration::from_secs(3_600),
        compaction_bytes: 10_000,
        tombstone_retention: Duration::ZERO,
        ..Options::default()
    }
}

/// Topics of both kinds, groups, space that was given back: something of all that
/// a log has.
fn write_everything(directory: &Path, page_bytes: u32) {
    let log = EmbeddedLog::open(directory, quiet(page_bytes)).unwrap();
    let config = |partitions, compacted| TopicConfig {
        partitions,
        compacted,
        ..TopicConfig::default()
    };
    log.create_topic("many", &config(7, false)).unwrap();
    log.create_topic("table", &config(1, true)).unwrap();
    log.create_topic("gone", &config(1, false)).unwrap();
    append(&*log, "gone", numbers(0..100, 300));
    for group in ["first", "second"] {
        let member = log.join(group, &[]).unwrap();
        let mut transactor = member.transactor(0).unwrap();
        for round in 0..12 {
            let mut builder = RecordsBuilder::default();
            let headers: Arc<[Header]> = [Header {
                name: "h".into(),
                value: Some(round.to_string().into_bytes().into()),
            }]
            .into();
            for number in 0..40_u64 {
                let value = vec![number as u8; 50 + round];
                let headers = number.is_multiple_of(7).then(|| headers.clone());
                let value = (number as usize % 9 != round % 9).then_some(&value[..]);
                builder.push(Some(&number.to_be_bytes()), value, round as i64, headers);
            }
            let records = builder.finish();
            transactor.append(&at("table"), records.clone()).unwrap();
            transactor.append(&at("many"), records).unwrap();
            let mut place = position(round as u64 * 40);
            place.metadata = vec![round as u8; 40];
            commit(&mut *transactor, &[(at("many"), place)]);
        }
    }
    log.tidy().unwrap();
    log.delete_topic("gone").unwrap();
    log.tidy().unwrap();
    append(&*log, "many", numbers(0..100, 40));
}

/// Everything that a log says, as text.
fn everything(log: &dyn Log) -> Result<String> {
    let mut text = format!("{:?}\n{:?}\n", log.topics()?, log.groups()?);
    for group in log.groups()? {
        text += &format!("{group}: {:?}\n", log.committed(&group)?);
    }
    for topic in log.topics()? {
        for number in 0..topic.config.partitions {
            let partition = headwater_core::TopicPartition::new(&*topic.name, number);
            let bounds = log.bounds(&partition)?;
            text += &format!("{partition}: {bounds:?}\n");
            let mut reader = log.reader(&[(partition, bounds.start)])?;
            loop {
                let fetched = reader.poll(Duration::ZERO, FetchLimits::default())?;
                for fetched in &fetched {
                    let records = &fetched.records;
                    let minute = fetched.append_time_ms.map(|time| time / 60_000);
                    for index in 0..records.len() {
                        text += &format!(
                            "{} {:?} {:?} {} {:?} {minute:?}\n",
                            fetched.positions.get(index),
                            records.key(index),
                            records.value(index),
                            records.timestamps[index],
                            records.headers(index),
                        );
                    }
                }
                if fetched.iter().all(|fetched| fetched.at_end) {
                    break;
                }
            }
        }
    }
    Ok(text)
}

/// What reading gives after a flip, and then after some writing on top.
fn read_flipped(directory: &Path, wanted: &str) -> Result<()> {
    let log = EmbeddedLog::open(directory, quiet(4_096))?;
    assert_eq!(everything(&*log)?, wanted, "before anything is written");
    let mut producer = log.producer()?;
    for _ in 0..5 {
        producer.append(&at("table"), numbers(0..60, 100))?;
        producer.flush()?;
    }
    let after = everything(&*log)?;
    // The bounds of the table have changed, and nothing is gone.
    let after: BTreeSet<&str> = after.lines().collect();
    let mut before = wanted.lines().filter(|line| !line.starts_with("table"));
    assert_eq!(
        before.find(|line| !after.contains(line)),
        None,
        "it is lost"
    );
    log.tidy()?;
    let tidied = everything(&*log)?;
    // Compaction has its test elsewhere; the topic without it stays as it was.
    let (_, table) = wanted.split_once("\ntable").unwrap();
    let kept = wanted.len() - table.len();
    assert!(tidied.contains(&wanted[wanted.find("many[0]").unwrap()..kept]));
    Ok(())
}

/// Mostly one of what SQLite keeps of tables, because most of the file is records
/// and space; now and then any.
fn some_bit(seed: &mut u64, bytes: &[u8], page_bytes: usize) -> usize {
    loop {
        let bit = random(seed) as usize % (bytes.len() * 8);
        let page = &bytes[bit / 8 / page_bytes * page_bytes..];
        // The kinds of page in a tree, and the first page of the file.
        let is_tree = matches!(page[0], 2 | 5 | 10 | 13 | b'S');
        if random(seed).is_multiple_of(50) || (is_tree && bytes[bit / 8] != 0) {
            return bit;
        }
    }
}

#[test]
fn whichever_bit_flips_no_value_is_wrong() {
    let flips = setting("HEADWATER_FLIPS", 1_000);
    let first = setting("HEADWATER_SEED", 0xb17_f11b);
    let mut seed = first;
    println!("HEADWATER_SEED={seed}");
    let (mut found, mut harmless) = (0, 0);
    for page_bytes in [4_096, 32 << 10] {
        let directory = memory_directory();
        write_everything(directory.path(), page_bytes);
        let bytes = fs::read(directory.path().join("log.db")).unwrap();
        let log = EmbeddedLog::open(directory.path(), quiet(page_bytes)).unwrap();
        let wanted = everything(&*log).unwrap();
        drop(log);
        let (ask, asked) = mpsc::channel::<Vec<u8>>();
        let (answer, answers) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            for bytes in asked {
                let directory = memory_directory();
                fs::create_dir(directory.path().join("groups")).unwrap();
                fs::write(directory.path().join("log.db"), bytes).unwrap();
                answer
                    .send(read_flipped(directory.path(), &wanted))
                    .unwrap();
            }
        });
        for _ in 0..flips / 2 {
            let bit = some_bit(&mut seed, &bytes, page_bytes as usize);
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            ask.send(bytes).unwrap();
            let place = format!("bit {bit} of a file with pages of {page_bytes} bytes");
            // A panic of the reader or a minute without an answer ends the test.
            match answers.recv_timeout(Duration::from_secs(60)) {
                Ok(Ok(())) => harmless += 1,
                Ok(Err(error)) => {
                    let class = error.class();
                    assert!(
                        matches!(class, Class::Internal | Class::Invalid),
                        "{place}: {error}"
                    );
                    found += 1;
                }
                Err(ended) => panic!("{ended}: {place}"),
            }
        }
        drop(ask);
        reader.join().unwrap();
    }
    println!("{found} flips were found, {harmless} were harmless");
    assert!(found > harmless, "most of the file is in use");
    let after = first + 1;
    println!(
        "trust: what=bit-flips count={flips} seeds={first}..{after} faults={flips} failures=0"
    );
}
