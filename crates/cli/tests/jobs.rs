//! What commands show of what jobs have left: state and dead letters.

mod support;

use headwater::core::RecordsBuilder;
use headwater::log::Log;
use headwater::{
    Aggregate, AggregateFunction, Application, DataFrame, ErrorPolicy, Result, RunOptions,
    Settings, WindowLength, WindowSpec, col,
};
use std::sync::Arc;
use support::Fixture;

/// Runs a job that sums by windows, and sends what it cannot add to dead letters.
fn run_job(fixture: &Fixture, name: &str) -> Result<u64> {
    let sum = Aggregate {
        output: "total".into(),
        function: AggregateFunction::Sum,
        input: Some(col("x")),
    };
    let frame = DataFrame::topic("readings")
        .window(WindowSpec {
            aggregates: vec![sum],
            ..WindowSpec::new(WindowLength::Tumbling { size_ms: 1_000 })
        })
        .to_topic("sums");
    let settings = Settings {
        on_data_error: ErrorPolicy::DeadLetter,
        ..Settings::new(name)
    };
    let log: Arc<dyn Log> = Arc::clone(&fixture.log) as Arc<dyn Log>;
    let options = RunOptions {
        timeout: Some(std::time::Duration::from_millis(150)),
        ..RunOptions::default()
    };
    let report = Application::in_process(log, settings).run_frames(&[frame], &options)?;
    Ok(report.records_in)
}

#[test]
fn state_is_shown_up_to_the_last_commit() -> Result<()> {
    let fixture = Fixture::new()?;
    let rows = [
        ("car", r#"{"x":2}"#, 1_500),
        ("car", r#"{"x":3}"#, 1_600),
        ("bike", r#"{"x":1.5}"#, 1_000),
    ];
    headwater::produce(&*fixture.log, "readings", rows)?;
    run_job(&fixture, "sums")?;
    fixture.check(
        "state scan sums",
        &[
            "STORE                           KIND    PARTITIONS  ENTRIES",
            "readings--tumbling_window_1000  window  1           2",
        ],
    );
    let store = "readings--tumbling_window_1000";
    let line = |key: &str, sum: &str, latest: u64| {
        format!(
            "{{\"store\":\"{store}\",\"partition\":0,\"key\":\"{key}\",\"kind\":\"window\",\
             \"start_ms\":1000,\"sum\":{sum},\"latest_ms\":{latest},\"moved_ms\":"
        )
    };
    let answer = fixture.run(&format!("state scan sums --store {store} -o json"));
    let mut lines = answer.out.lines();
    for (key, sum, latest) in [("car", "5", 1_600), ("bike", "1.5", 1_000)] {
        let expected = line(key, sum, latest);
        assert!(
            lines.any(|line| line.starts_with(&expected)),
            "{expected}: {}",
            answer.out
        );
        lines = answer.out.lines();
    }
    let one = fixture.run("state get sums car --output json");
    assert!(one.out.starts_with(&line("car", "5", 1_600)), "{}", one.out);
    assert_eq!(one.out.lines().count(), 1);
    let limited = fixture.run(&format!("state scan sums --store {store} --count 1"));
    assert_eq!(limited.out.lines().count(), 2, "{}", limited.out);
    // What has been appended and not committed is no state.
    let mut stray = RecordsBuilder::default();
    stray.push(Some(b"\x02broken"), Some(b"broken"), 0, None);
    fixture.append(&format!("changelog__sums--{store}"), 0, stray)?;
    assert_eq!(fixture.run("state get sums car --output json"), one);
    fixture.check_error(
        "state get sums car --store other",
        &[
            "error: the application has no such store application=`sums` store=`other`",
            &format!("hint: its stores are: {store}"),
        ],
    );
    assert_eq!(fixture.run("state scan nobody").code, 1);
    Ok(())
}

#[test]
fn dead_letters_are_shown_and_sent_back_once() -> Result<()> {
    let fixture = Fixture::new()?;
    let rows = [
        ("car", r#"{"x":1}"#, 1_500),
        ("car", r#"{"x":"two"}"#, 1_600),
        ("car", r#"{"x":"#, 1_700),
    ];
    headwater::produce(&*fixture.log, "readings", rows)?;
    assert_eq!(run_job(&fixture, "sums")?, 3);
    let error = "cannot sum str";
    let list = fixture.run("dlq list");
    assert!(
        list.out
            .contains("readings.dead-letter  2        0         malformed JSON"),
        "{}",
        list.out
    );
    let table = fixture.run("dlq show readings").out;
    let rows: Vec<&str> = table.lines().collect();
    assert!(
        rows[0].starts_with("OFFSET  FROM           ERROR"),
        "{table}"
    );
    assert!(rows[1].starts_with("0       readings[0]@1  "), "{table}");
    assert!(rows[1].contains("tumbling window of 1000 ms"), "{table}");
    assert!(rows[1].contains(error), "{table}");
    assert!(
        rows[1].ends_with("no        car  {\"x\":\"two\"}"),
        "{table}"
    );
    let json = fixture
        .run("dlq show readings.dead-letter --offset 1 -o json")
        .out;
    assert!(json.starts_with("{\"partition\":0,\"offset\":1,\"from_topic\":\"readings\",\"from_partition\":0,\"from_offset\":\"2\",\"error\":\"malformed JSON"), "{json}");
    assert!(json.contains("\"is_record\":true,\"is_replayed\":false,\"timestamp\":1700,\"key\":\"car\",\"value\":\"{\\\"x\\\":\",\"headers\":[]}"), "{json}");

    let refused = fixture.answer("dlq replay readings", "n\n");
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert!(
        refused.err.starts_with(
            "send 2 dead letters of `readings.dead-letter` to the topics that they came from? [y/N]"
        ),
        "{}",
        refused.err
    );
    fixture.check("dlq replay readings --offset 1 --yes", &["1 sent"]);
    fixture.check("dlq replay readings --yes", &["1 sent"]);
    let again = fixture.run("dlq replay readings --yes");
    assert_eq!((again.code, again.out.as_str()), (0, "0 sent\n"));
    let sent = fixture.run("topics read readings -o json --from 3").out;
    let lines: Vec<&str> = sent.lines().collect();
    let replayed = |offset: u32| {
        format!("\"headers\":[[\"headwater.replayed\",\"readings.dead-letter[0]@{offset}\"]]}}")
    };
    assert!(lines[0].ends_with(&replayed(1)), "{sent}");
    assert!(
        lines[1].contains("\"key\":\"car\",\"value\":{\"x\":\"two\"}"),
        "{sent}"
    );
    assert!(lines[1].ends_with(&replayed(0)), "{sent}");
    assert_eq!(lines.len(), 2);
    // They fail again, and are new letters.
    assert_eq!(run_job(&fixture, "sums")?, 2);
    let list = fixture.run("dlq list").out;
    assert!(list.contains("readings.dead-letter  4        2 "), "{list}");
    fixture.run("topics create elsewhere");
    fixture.check(
        "dlq replay readings --again --to elsewhere --yes",
        &["4 sent"],
    );
    fixture.check_error(
        "dlq replay readings --offset 9 --yes",
        &["error: there is no such dead letter topic=`readings.dead-letter` offset=`9`"],
    );
    fixture.check_error(
        "dlq show elsewhere",
        &[
            "error: there are no dead letters of this topic topic=`elsewhere`",
            "hint: `headwater dlq list` shows those that there are",
        ],
    );
    // Who replays is no application.
    let groups = fixture.run("groups list").out;
    assert_eq!(groups.lines().count(), 2, "{groups}");
    Ok(())
}

/// A window's result that failed does not belong into the window's input.
#[test]
fn a_failed_result_is_sent_only_where_it_is_told_to() -> Result<()> {
    let fixture = Fixture::new()?;
    let log: Arc<dyn Log> = Arc::clone(&fixture.log) as Arc<dyn Log>;
    let rows = [("k", r#"{"x":1}"#, 0), ("k", r#"{"x":1}"#, 5_000)];
    headwater::produce(&*log, "readings", rows)?;
    let count = Aggregate {
        output: "n".into(),
        function: AggregateFunction::Count,
        input: None,
    };
    let frame = DataFrame::topic("readings")
        .window(WindowSpec {
            aggregates: vec![count],
            ..WindowSpec::new(WindowLength::Tumbling { size_ms: 1_000 })
        })
        .assign("bad", col("n") + "text");
    let settings = Settings {
        on_data_error: ErrorPolicy::DeadLetter,
        ..Settings::new("job")
    };
    let options = RunOptions {
        timeout: Some(std::time::Duration::from_millis(150)),
        ..RunOptions::default()
    };
    Application::in_process(log, settings).run_frames(&[frame], &options)?;
    let nowhere = fixture.run("dlq replay readings --yes");
    assert_eq!((nowhere.code, nowhere.out.as_str()), (0, "0 sent\n"));
    assert!(
        nowhere.err.contains("1 are no input records"),
        "{}",
        nowhere.err
    );
    fixture.run("topics create repaired");
    fixture.check("dlq replay readings --to repaired --yes", &["1 sent"]);
    let sent = fixture.run("topics read repaired").out;
    assert!(sent.contains("{\"start\":0,\"end\":1000,\"n\":1"), "{sent}");
    Ok(())
}

fn run_plain(fixture: &Fixture) -> Result<u64> {
    let frame = DataFrame::topic("readings").to_topic("copies");
    let options = RunOptions {
        timeout: Some(std::time::Duration::from_millis(150)),
        ..RunOptions::default()
    };
    let log: Arc<dyn Log> = Arc::clone(&fixture.log) as Arc<dyn Log>;
    let report = Application::in_process(log, Settings::new("copy")).run_frames(&[frame], &options);
    Ok(report?.records_in)
}

/// An application without state can be told where to go on.
#[test]
fn a_position_is_moved_where_there_is_no_state() -> Result<()> {
    let fixture = Fixture::new()?;
    let times = [1_000, 2_000, 3_000, 4_000];
    let rows = times.map(|time| ("car", r#"{"x":1}"#, time));
    headwater::produce(&*fixture.log, "readings", rows)?;
    assert_eq!(run_plain(&fixture)?, 4);
    for (to, moved, again) in [
        ("earliest", "0", 4),
        ("3", "3", 1),
        ("1970-01-01T00:00:02Z", "1", 3),
        ("latest", "4", 0),
    ] {
        fixture.check(
            &format!("groups reset copy --to {to} --topic readings --yes"),
            &[&format!("readings[0]: from 4 to {moved}"), "done"],
        );
        assert_eq!(run_plain(&fixture)?, again, "{to}");
    }
    let beyond = fixture.run("groups reset copy --to 9 --yes");
    assert_eq!(beyond.code, 1);
    assert!(
        beyond
            .err
            .contains("partition=`readings[0]` position=`9` start=`0` end=`4`"),
        "{}",
        beyond.err
    );
    fixture.check_error(
        "groups reset copy --to 0 --topic other --yes",
        &[
            "error: the application has read no such partition application=`copy`",
            "hint: `headwater groups lag copy` shows those that it has read",
        ],
    );
    let refused = fixture.answer("groups reset copy --to 0", "n\n");
    assert_eq!(refused.code, 1);
    assert_eq!(run_plain(&fixture)?, 0);
    assert_eq!(fixture.run("groups reset copy --to yesterday").code, 2);

    run_job(&fixture, "sums")?;
    let stateful = fixture.run("groups reset sums --to earliest --yes");
    assert_eq!(stateful.code, 1);
    assert!(
        stateful.err.contains("the application has state"),
        "{}",
        stateful.err
    );
    Ok(())
}
