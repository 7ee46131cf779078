//! A source that is stopped anywhere and opened again gives what one pass gives.

use headwater_connect::{
    CsvSource, CsvSourceOptions, JsonLinesSource, JsonLinesSourceOptions, Source, SourceBatch,
    TimestampField, TimestampFormat, Unread,
};
use headwater_core::env::Env;
use headwater_core::{Class, Result};
use proptest::prelude::*;
use std::path::Path;
use std::time::Duration;

type Rows = Vec<Result<String, String>>;

/// The rows of one batch, and an error in their place.
fn poll(source: &mut dyn Source, records_max: usize, rows: &mut Rows) -> (Option<Vec<u8>>, bool) {
    match source.poll(Duration::ZERO, records_max) {
        Ok(SourceBatch {
            mut unread,
            records,
            position,
            is_end,
        }) if !unread.is_empty() => {
            let Unread { error, bytes } = unread.remove(0);
            assert!(records.is_empty() && !bytes.is_empty());
            rows.push(Err(format!("{error} {}", bytes.escape_ascii())));
            (position, is_end)
        }
        Ok(batch) => {
            let records = &batch.records;
            rows.extend((0..records.len()).map(|index| {
                let value = records.value(index).expect("a source makes no tombstones");
                Ok(String::from_utf8_lossy(value).into_owned())
            }));
            (batch.position, batch.is_end)
        }
        Err(error) => panic!("{error}"),
    }
}

fn one_pass(mut source: impl Source) -> Rows {
    let mut rows = Rows::new();
    source.open(&Env::system(), None).expect("the file opens");
    while !poll(&mut source, 1_000, &mut rows).1 {}
    rows
}

/// Reads batches of the given sizes and starts anew after each that is odd.
fn in_pieces(new: impl Fn() -> Box<dyn Source>, sizes: &[usize]) -> Rows {
    let mut rows = Rows::new();
    let mut source = new();
    source.open(&Env::system(), None).expect("the file opens");
    for size in sizes.iter().cycle() {
        let (position, is_end) = poll(&mut *source, *size, &mut rows);
        if is_end {
            break;
        }
        if let Some(position) = position.filter(|_| size % 2 == 1) {
            source = new();
            source
                .open(&Env::system(), Some(&position))
                .expect("the file opens again");
        }
    }
    rows
}

fn with_file<T>(bytes: &str, body: impl FnOnce(&Path) -> T) -> T {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("in");
    std::fs::write(&path, bytes).expect("a file can be written");
    body(&path)
}

/// Lines that are mostly fine, with every quirk that moves a place.
fn csv_text() -> impl Strategy<Value = String> {
    let cell = prop_oneof![
        4 => "[a-z0-9.é\u{feff}]{0,6}",
        1 => "\"[a-z,\n\"]{0,0}[a-z,\n]{0,6}(\"\")?\r\n\"",
    ];
    let row = prop::collection::vec(cell, 1..4).prop_map(|cells| cells.join(","));
    let row = prop_oneof![1 => Just(String::new()), 9 => row];
    let line_break = prop_oneof![2 => Just("\n"), 1 => Just("\r\n"), 1 => Just("\r")];
    let line = (row, line_break).prop_map(|(row, line_break)| row + line_break);
    (prop::collection::vec(line, 0..12), "(1,2)?")
        .prop_map(|(lines, last)| format!("a,b\r\n{}{last}", lines.concat()))
}

proptest! {
    #[test]
    fn a_csv_source_resumes_anywhere(
        text in csv_text(),
        sizes in prop::collection::vec(1usize..4, 1..5),
    ) {
        with_file(&text, |path| {
            let new = || CsvSource::new(path, CsvSourceOptions::default());
            let pieces = in_pieces(|| Box::new(new()), &sizes);
            prop_assert_eq!(pieces, one_pass(new()));
            Ok(())
        })?;
    }

    #[test]
    fn a_json_lines_source_resumes_anywhere(
        lines in prop::collection::vec("(\\{\"a\":[0-9]{1,3}\\}|x|\u{feff}| ){0,1}\r?\n", 0..12),
        last in "(\\{\\})?",
        sizes in prop::collection::vec(1usize..4, 1..5),
    ) {
        with_file(&format!("{}{last}", lines.concat()), |path| {
            let new = || JsonLinesSource::new(path, JsonLinesSourceOptions::default());
            let pieces = in_pieces(|| Box::new(new()), &sizes);
            prop_assert_eq!(pieces, one_pass(new()));
            Ok(())
        })?;
    }
}

/// A malformed line goes on for the engine to judge, at the time of the line
/// before it; a restart between the two is no reason for another time.
#[test]
fn a_malformed_line_has_the_same_time_after_a_restart() {
    with_file("{\"t\":7000}\nx\n", |path| {
        let timestamp = TimestampField {
            name: "t".into(),
            format: TimestampFormat::Milliseconds,
        };
        let mut source = JsonLinesSource::new(
            path,
            JsonLinesSourceOptions {
                timestamp: Some(timestamp),
                ..JsonLinesSourceOptions::default()
            },
        );
        let mut position = None;
        for _ in 0..2 {
            source
                .open(&Env::system(), position.as_deref())
                .expect("the file opens");
            let batch = source.poll(Duration::ZERO, 1).expect("a line");
            assert_eq!(*batch.records.timestamps, [7_000]);
            position = batch.position;
        }
    });
}

fn sources(path: &Path) -> [Box<dyn Source>; 2] {
    [
        Box::new(CsvSource::new(path, CsvSourceOptions::default())),
        Box::new(JsonLinesSource::new(
            path,
            JsonLinesSourceOptions::default(),
        )),
    ]
}

/// The position at the end of a file of these bytes.
fn read_to_end(source: &mut dyn Source) -> Vec<u8> {
    source.open(&Env::system(), None).expect("the file opens");
    let (position, is_end) = poll(source, 1_000, &mut Rows::new());
    assert!(is_end);
    position.expect("a file has positions")
}

#[test]
fn a_file_that_has_grown_is_read_on() {
    for index in 0..2 {
        with_file("1\n2\n", |path| {
            let source = &mut sources(path)[index];
            let position = read_to_end(&mut **source);
            source
                .open(&Env::system(), Some(&position))
                .expect("the file opens again");
            assert_eq!(one_more(&mut **source), Rows::new());
            std::fs::write(path, "1\n2\n3\n").expect("the file can be written");
            source
                .open(&Env::system(), Some(&position))
                .expect("the file opens again");
            assert_eq!(one_more(&mut **source).len(), 1);
        });
    }
}

fn one_more(source: &mut dyn Source) -> Rows {
    let mut rows = Rows::new();
    assert!(poll(source, 1_000, &mut rows).1);
    rows
}

#[test]
fn a_file_that_is_not_the_one_that_was_read_is_refused() {
    let error_after = |index: usize, before: &str, after: &str| {
        with_file(before, |path| {
            let source = &mut sources(path)[index];
            let position = read_to_end(&mut **source);
            std::fs::write(path, after).expect("the file can be written");
            let error = source
                .open(&Env::system(), Some(&position))
                .expect_err("another file");
            assert_eq!(error.class(), Class::Invalid);
            error.to_string()
        })
    };
    for index in 0..2 {
        assert!(error_after(index, "1\n2\n", "1\n").contains("shorter than what has been read"));
        assert!(error_after(index, "1\n2\n", "1\n3\n4\n").contains("not the one that was read"));
        assert!(error_after(index, "1\n2", "1\n23\n").contains("before it was complete"));
    }
    assert!(error_after(0, "a,b\n", "a,c\n").contains("header of the file has changed"));
}

#[test]
fn a_position_of_something_else_is_refused() {
    with_file("1\n", |path| {
        for source in &mut sources(path) {
            assert!(source.open(&Env::system(), Some(b"{}")).is_err());
        }
    });
}
