//! What files become.

use headwater_connect::{
    AtEnd, CellTypes, CsvSource, CsvSourceOptions, JsonLinesSource, JsonLinesSourceOptions, Source,
    SourceBatch, TimestampField, TimestampFormat, Unread,
};
use headwater_core::env::{Env, ManualClock};
use headwater_core::{Class, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

fn env() -> Env {
    Env {
        clock: Arc::new(ManualClock::at(99)),
        ..Env::system()
    }
}

fn file(folder: &tempfile::TempDir, bytes: impl AsRef<[u8]>) -> Result<PathBuf> {
    let path = folder.path().join("in");
    std::fs::write(&path, bytes)?;
    Ok(path)
}

fn values(batch: &SourceBatch) -> Vec<String> {
    let value = |index| batch.records.value(index).unwrap_or_default();
    (0..batch.records.len())
        .map(|index| String::from_utf8_lossy(value(index)).into_owned())
        .collect()
}

fn read_csv(bytes: impl AsRef<[u8]>, options: &CsvSourceOptions) -> Result<SourceBatch> {
    let folder = tempfile::tempdir()?;
    let mut source = CsvSource::new(file(&folder, bytes)?, options.clone());
    source.open(&env(), None)?;
    source.poll(Duration::ZERO, 1_000)
}

/// The message of the first error, with the file's name as `in`.
fn csv_error(bytes: impl AsRef<[u8]>, options: &CsvSourceOptions) -> String {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = file(&folder, bytes).expect("a file can be written");
    let mut source = CsvSource::new(path, options.clone());
    let mut result = source.open(&env(), None).map(|()| SourceBatch::default());
    let goes_on = |batch: &SourceBatch| !batch.is_end && batch.unread.is_empty();
    while result.as_ref().is_ok_and(goes_on) {
        result = source.poll(Duration::ZERO, 1_000);
    }
    let error = match result.map(|batch| batch.unread) {
        Ok(unread) => unread
            .first()
            .expect("the file has an error")
            .error
            .to_string(),
        Err(error) => error.to_string(),
    };
    let (before, after) = error.split_once("=`/").expect("the message names the file");
    let (_, after) = after.split_once("/in").expect("the file is called in");
    format!("{before}=`in{after}")
}

#[test]
fn csv_quirks() -> Result<()> {
    let check = |text: &str, expected: &[&str]| -> Result<()> {
        let batch = read_csv(text, &CsvSourceOptions::default())?;
        assert_eq!(values(&batch), expected, "{text:?}");
        assert!(batch.is_end);
        Ok(())
    };
    check("a,b\n1,x\n", &[r#"{"a":1,"b":"x"}"#])?;
    check(
        "a,b\r\n1,x\r\n2,y",
        &[r#"{"a":1,"b":"x"}"#, r#"{"a":2,"b":"y"}"#],
    )?;
    check("\u{feff}a,b\n1,x\n", &[r#"{"a":1,"b":"x"}"#])?;
    check("a,b\n\n1,x\n\n", &[r#"{"a":1,"b":"x"}"#])?;
    check(
        "a,b\n\"x\ny\",\"say \"\"hi\"\"\"\n",
        &[r#"{"a":"x\ny","b":"say \"hi\""}"#],
    )?;
    check("a,b\n,\"\"\n", &[r#"{"a":null,"b":null}"#])?;
    check("a,a,\n1,2,3\n", &[r#"{"a":1,"a.1":2,"Unnamed: 2":3}"#])?;
    check(
        "a\n1.50\n9007199254740993\n2013-12-02 21:15:00\n",
        &[
            r#"{"a":1.50}"#,
            r#"{"a":9007199254740993}"#,
            r#"{"a":"2013-12-02 21:15:00"}"#,
        ],
    )?;
    check("a,b\n", &[])
}

#[test]
fn csv_options() -> Result<()> {
    let options = CsvSourceOptions {
        delimiter: b';',
        types: CellTypes::Text,
        null_values: vec!["NA".into()],
        key_column: Some("car".into()),
        timestamp: Some(TimestampField {
            name: "at".into(),
            format: TimestampFormat::Iso8601,
        }),
        ..Default::default()
    };
    let batch = read_csv(
        "at;car;x\n2013-12-02 21:15:00;7;NA\n1970-01-01;NA;\n",
        &options,
    )?;
    assert_eq!(
        values(&batch),
        [
            r#"{"at":"2013-12-02 21:15:00","car":"7","x":null}"#,
            r#"{"at":"1970-01-01","car":null,"x":""}"#
        ]
    );
    assert_eq!(batch.records.timestamps, [1_386_018_900_000, 0]);
    assert_eq!(batch.records.key(0), Some(b"7".as_slice()));
    assert_eq!(batch.records.key(1), None);
    let unstamped = read_csv("a\n1\n", &CsvSourceOptions::default())?;
    assert_eq!(unstamped.records.timestamps, [99]);
    Ok(())
}

#[test]
fn csv_errors_name_file_and_line() {
    let plain = CsvSourceOptions::default();
    assert_eq!(
        csv_error("a,b\n1,2,3\n", &plain),
        "the row has another number of cells than the header cells=`3` columns=`2` line=`in:2`"
    );
    for line_break in ["\n", "\r\n"] {
        let text = "a,b\n\n1,2\n\"x\ny\n\"\n".replace('\n', line_break);
        assert!(
            csv_error(&text, &plain).ends_with("line=`in:4`"),
            "{text:?}"
        );
        assert!(
            csv_error(text.trim_end(), &plain).ends_with("line=`in:4`"),
            "{text:?}"
        );
    }
    assert_eq!(
        csv_error(b"a,b\n1,\xff\n", &plain),
        "the cell is not UTF-8 field=`b` line=`in:2`"
    );
    let stamped = CsvSourceOptions {
        timestamp: Some(TimestampField {
            name: "b".into(),
            format: TimestampFormat::Seconds,
        }),
        ..Default::default()
    };
    assert_eq!(
        csv_error("a,b\n1,now\n", &stamped),
        "not a timestamp of format s value=`now` field=`b` line=`in:2`"
    );
    assert_eq!(
        csv_error("", &plain),
        "the file has no header row file=`in`"
    );
    let keyed = CsvSourceOptions {
        key_column: Some("c".into()),
        ..Default::default()
    };
    assert_eq!(
        csv_error("a,b\n", &keyed),
        "the file has no column of that name column=`c` file=`in` columns=`a, b`"
    );
}

#[test]
fn reading_goes_on_after_a_row_that_cannot_be_read() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = file(&folder, "a\n1\n\n\"2\n\",2\r\n3\n")?;
    let mut source = CsvSource::new(path, CsvSourceOptions::default());
    source.open(&env(), None)?;
    let before = source.poll(Duration::ZERO, 1_000)?;
    assert_eq!(
        (values(&before), before.is_end),
        (vec![r#"{"a":1}"#.into()], false)
    );
    let batch = source.poll(Duration::ZERO, 1_000)?;
    let Unread { error, bytes } = batch
        .unread
        .into_iter()
        .next()
        .expect("a row that cannot be read");
    assert!(batch.records.is_empty());
    assert_eq!(
        bytes, b"\"2\n\",2",
        "as it stands there, without what separates rows"
    );
    assert!(error.to_string().ends_with("/in:4`"), "{error}");
    assert_eq!(values(&source.poll(Duration::ZERO, 1_000)?), [r#"{"a":3}"#]);
    // Opened at what was committed before, the error is still there.
    source.open(&env(), before.position.as_deref())?;
    assert!(source.poll(Duration::ZERO, 1_000)?.unread.len() == 1);
    // And not after what was committed with it.
    source.open(&env(), batch.position.as_deref())?;
    assert_eq!(values(&source.poll(Duration::ZERO, 1_000)?), [r#"{"a":3}"#]);
    Ok(())
}

#[test]
fn a_delayed_row_comes_when_it_is_due() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = file(&folder, "a\n1\n2\n3\n4\n")?;
    let second = Duration::from_secs(1);
    let options = CsvSourceOptions {
        delay: second,
        ..Default::default()
    };
    let mut source = CsvSource::new(path, options);
    let clock = Arc::new(ManualClock::default());
    source.open(
        &Env {
            clock: clock.clone(),
            ..Env::system()
        },
        None,
    )?;
    let mut lens = Vec::new();
    for (advance, wait) in [(0, 0), (0, 0), (1, 0), (0, 1), (5, 0), (5, 0)] {
        clock.advance(advance * second);
        lens.push(source.poll(wait * second, 1_000)?.records.len());
    }
    assert_eq!(lens, [1, 0, 1, 1, 1, 0]);
    Ok(())
}

#[test]
fn json_lines_are_handed_on_as_they_are() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let text = "\u{feff}{\"car\":\"a\",\"at\":1.5, \"x\":0.50}\r\n\n  \nbroken\n\
                {\"car\":7,\"at\":\"2\"}\n{\"at\":3}";
    let options = JsonLinesSourceOptions {
        key_field: Some("car".into()),
        timestamp: Some(TimestampField {
            name: "at".into(),
            format: TimestampFormat::Seconds,
        }),
        ..Default::default()
    };
    let mut source = JsonLinesSource::new(file(&folder, text)?, options.clone());
    source.open(&env(), None)?;
    let batch = source.poll(Duration::ZERO, 1_000)?;
    assert_eq!(
        values(&batch),
        [
            "{\"car\":\"a\",\"at\":1.5, \"x\":0.50}",
            "broken",
            "{\"car\":7,\"at\":\"2\"}",
            "{\"at\":3}"
        ]
    );
    assert_eq!(batch.records.timestamps, [1_500, 1_500, 2_000, 3_000]);
    let keys: Vec<_> = (0..4).map(|index| batch.records.key(index)).collect();
    assert_eq!(keys, [Some(b"a".as_slice()), None, Some(b"7"), None]);

    let path = file(&folder, "\n{\"at\":null}\n")?;
    let mut source = JsonLinesSource::new(path, options);
    source.open(&env(), None)?;
    let batch = source.poll(Duration::ZERO, 1_000)?;
    let Unread { error, bytes } = batch
        .unread
        .into_iter()
        .next()
        .expect("a timestamp is missing");
    assert_eq!(bytes, b"{\"at\":null}");
    assert!(error.to_string().ends_with("/in:2`"), "{error}");
    Ok(())
}

#[test]
fn a_followed_file_waits_for_the_end_of_a_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = file(&folder, "1\n2")?;
    let options = JsonLinesSourceOptions {
        at_end: AtEnd::Follow,
        ..Default::default()
    };
    let mut source = JsonLinesSource::new(&path, options);
    source.open(&env(), None)?;
    assert!(!source.is_bounded());
    assert_eq!(values(&source.poll(Duration::ZERO, 1_000)?), ["1"]);
    let waited = source.poll(Duration::from_secs(1), 1_000)?;
    assert_eq!((values(&waited), waited.is_end), (vec![], false));
    std::fs::write(&path, "1\n23\n4")?;
    assert_eq!(values(&source.poll(Duration::ZERO, 1_000)?), ["23"]);
    Ok(())
}

#[test]
fn a_file_that_is_not_there_is_a_clear_error() {
    let mut source = CsvSource::new("missing/in.csv", CsvSourceOptions::default());
    let error = source
        .open(&env(), None)
        .expect_err("there is no such file");
    assert_eq!(error.class(), Class::Invalid);
    assert!(
        error.to_string().ends_with("file=`missing/in.csv`"),
        "{error}"
    );
}

#[test]
fn a_real_recording_is_read_without_changing_a_digit() -> Result<()> {
    let folder = std::env::var_os("HEADWATER_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let path = folder.join("nab/machine_temperature_system_failure.csv");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: no file {}; set HEADWATER_DATA", path.display());
        return Ok(());
    };
    let timestamp = TimestampField {
        name: "timestamp".into(),
        format: TimestampFormat::Iso8601,
    };
    let options = CsvSourceOptions {
        timestamp: Some(timestamp),
        ..Default::default()
    };
    let mut source = CsvSource::new(path, options);
    source.open(&env(), None)?;
    let batch = source.poll(Duration::ZERO, usize::MAX)?;
    let expected: Vec<String> = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(','))
        .map(|(at, value)| format!("{{\"timestamp\":\"{at}\",\"value\":{value}}}"))
        .collect();
    assert_eq!(expected.len(), 22_695);
    assert_eq!(values(&batch), expected);
    assert_eq!(batch.records.timestamps[0], 1_386_018_900_000);
    Ok(())
}
