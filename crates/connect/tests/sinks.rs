//! What a crash leaves of a file that a sink writes.

use headwater_connect::{
    CsvSink, CsvSinkOptions, Delivery, ExistingFile, JsonLinesSink, JsonLinesSinkOptions, Sink,
};
use headwater_core::env::Env;
use headwater_core::{Batch, Class, Position, RecordsBuilder, Result, Rows, TopicPartition};
use proptest::prelude::*;
use std::path::Path;

fn delivery(numbers: &[u32]) -> Delivery {
    let mut records = RecordsBuilder::default();
    for number in numbers {
        records.push(
            None,
            Some(format!("{{\"n\":{number}}}").as_bytes()),
            0,
            None,
        );
    }
    let mut batch = Batch::from_records(&records.finish());
    if let Rows::Json(rows) = &mut batch.rows {
        assert!(rows.prepare_to_write().is_empty());
    }
    let positions = numbers
        .iter()
        .map(|n| Position::from_offset((*n).into()))
        .collect();
    Delivery {
        batch,
        partition: TopicPartition::new("t", 0),
        positions,
    }
}

fn sinks(path: &Path) -> [Box<dyn Sink>; 2] {
    [
        Box::new(JsonLinesSink::new(path, JsonLinesSinkOptions::default())),
        Box::new(CsvSink::new(path, CsvSinkOptions::default())),
    ]
}

fn expected(index: usize, count: u32) -> String {
    let rows = (0..count).map(|n| match index {
        0 => format!("{{\"n\":{n}}}\n"),
        _ => format!("{n}\n"),
    });
    let header = if index == 0 || count == 0 { "" } else { "n\n" };
    header.to_owned() + &rows.collect::<String>()
}

/// How an epoch ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Committed,
    CrashBeforeFlush,
    CrashAfterFlush,
}

proptest! {
    // Each case syncs many times.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_crash_leaves_no_row_lost_and_none_twice(
        epochs in prop::collection::vec(
            (1u32..5, prop::sample::select(
                vec![End::Committed, End::CrashBeforeFlush, End::CrashAfterFlush])),
            1..12,
        ),
    ) {
        for index in 0..2 {
            let folder = tempfile::tempdir().expect("a folder can be made");
            let path = folder.path().join("out");
            let mut sink = sinks(&path).into_iter().nth(index).expect("there are two");
            sink.open(&Env::system(), None).expect("the file can be made");
            // The engine commits the length before the first row.
            let mut committed = sink.flush().expect("the disk has space");
            let mut count = 0;
            for (len, end) in &epochs {
                let numbers: Vec<u32> = (count..count + len).collect();
                sink.write(&delivery(&numbers)).expect("the disk has space");
                let position = match end {
                    End::CrashBeforeFlush => None,
                    _ => sink.flush().expect("the disk has space"),
                };
                match end {
                    End::Committed => {
                        committed = position;
                        count += len;
                    }
                    _ => {
                        sink = sinks(&path).into_iter().nth(index).expect("there are two");
                        sink.open(&Env::system(), committed.as_deref()).expect("it opens again");
                    }
                }
            }
            sink.write(&delivery(&[count])).expect("the disk has space");
            sink.flush().expect("the disk has space");
            let text = std::fs::read_to_string(&path).expect("the file is text");
            prop_assert_eq!(text, expected(index, count + 1));
        }
    }
}

#[test]
fn a_sink_may_be_opened_again_without_a_crash() -> Result<()> {
    for index in 0..2 {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("out");
        let sink = &mut sinks(&path)[index];
        sink.open(&Env::system(), None)?;
        sink.write(&delivery(&[0]))?;
        let committed = sink.flush()?;
        sink.write(&delivery(&[7, 8]))?;
        sink.open(&Env::system(), committed.as_deref())?;
        sink.write(&delivery(&[1]))?;
        sink.flush()?;
        assert_eq!(std::fs::read_to_string(path)?, expected(index, 2));
    }
    Ok(())
}

#[test]
fn a_file_of_somebody_else_is_refused_unless_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("out");
    std::fs::write(&path, "mine")?;
    for sink in &mut sinks(&path) {
        let error = sink
            .open(&Env::system(), None)
            .expect_err("the file is not empty");
        assert_eq!(error.class(), Class::Invalid);
        let text = error.to_string();
        let expected = "the file is not empty, and this application has not written it file=`";
        assert!(text.starts_with(expected), "{text}");
        assert!(
            text.ends_with("hint: remove it, give another path, or choose to append"),
            "{text}"
        );
    }
    let append = JsonLinesSinkOptions {
        existing: ExistingFile::Append,
        ..Default::default()
    };
    let mut sink = JsonLinesSink::new(&path, append);
    sink.open(&Env::system(), None)?;
    sink.write(&delivery(&[0]))?;
    sink.flush()?;
    assert_eq!(std::fs::read_to_string(path)?, "mine\n{\"n\":0}\n");
    Ok(())
}

#[test]
fn a_file_that_lost_committed_rows_is_refused() -> Result<()> {
    for index in 0..2 {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("out");
        let sink = &mut sinks(&path)[index];
        sink.open(&Env::system(), None)?;
        sink.write(&delivery(&[0]))?;
        let committed = sink.flush()?;
        std::fs::write(&path, "")?;
        let error = sink
            .open(&Env::system(), committed.as_deref())
            .expect_err("it is shorter");
        assert!(
            error
                .to_string()
                .starts_with("the file is shorter than what has been committed")
        );
        assert!(sink.open(&Env::system(), Some(b"?")).is_err());
    }
    Ok(())
}
