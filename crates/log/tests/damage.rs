//! A file that is not as it should be gives an error that names it, what is
//! wrong and what to do; never a panic, and never an empty log.

#![expect(clippy::unwrap_used, reason = "a failure ends the test")]

mod support;

use headwater_core::{Class, Error};
use headwater_log::Log;
use headwater_log::embedded::{EmbeddedLog, Options};
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
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
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.execute_batch("PRAGMA user_version=99").unwrap();
    drop(newer);
    check(
        directory.path(),
        Class::Invalid,
        &["version=`99` supported=`1..2`", "log.db"],
    );
    let newer = rusqlite::Connection::open(&path).unwrap();
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
