//! Pipelines from end to end, on the log in memory.

mod support;

use headwater::core::env::Env;
use headwater::core::{Position, TopicPartition};
use headwater::log::memory::MemoryLog;
use headwater::log::{FetchLimits, Log};
use headwater::{Application, DataFrame, Ended, ErrorPolicy, RunOptions, Settings, col, produce};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const UNTIL_QUIET: RunOptions = RunOptions {
    count: None,
    timeout: Some(Duration::from_millis(150)),
    start: headwater::Start::Committed,
    commit: true,
    collect: true,
    confirm_lost_state: false,
    until: None,
    writes_topics: false,
};

fn run(log: &Arc<MemoryLog>, frames: &[DataFrame]) -> Vec<String> {
    let log: Arc<dyn Log> = Arc::clone(log) as Arc<dyn Log>;
    let mut application = Application::in_process(log, Settings::new("test"));
    application
        .run_frames(frames, &UNTIL_QUIET)
        .expect("runs")
        .rows_as_json()
        .expect("rows")
}

fn values(log: &dyn Log, topic: &str) -> Vec<String> {
    let partition = TopicPartition::new(topic, 0);
    let bounds = log.bounds(&partition).expect("bounds");
    let mut reader = log.reader(&[(partition, bounds.start)]).expect("reader");
    let mut values = Vec::new();
    let mut at: Position = bounds.start;
    while at < bounds.end {
        for fetched in reader
            .poll(Duration::ZERO, FetchLimits::default())
            .expect("poll")
        {
            at = fetched.resume;
            for index in 0..fetched.records.len() {
                let value = fetched.records.value(index).unwrap_or(b"null");
                values.push(String::from_utf8_lossy(value).into_owned());
            }
        }
    }
    values
}

#[test]
fn rows_are_filtered_assigned_and_projected() {
    let log = MemoryLog::new(Env::system());
    let rows = [
        ("a", r#"{"id":1,"speed":12.5,"note":null}"#, 1),
        ("a", r#"{"id":2,"speed":2.5}"#, 2),
        ("b", r#"{ "id" : 3, "speed" : 20 }"#, 3),
    ];
    produce(&*log, "telemetry", rows).expect("produces");
    let frame = DataFrame::topic("telemetry")
        .filter(col("speed").gt(10))
        .assign("kmh", col("speed") * 3.6)
        .to_topic("fast");
    let rows = run(&log, &[frame]);
    assert_eq!(
        rows,
        [
            r#"{"id":1,"speed":12.5,"note":null,"kmh":45.0}"#,
            r#"{ "id" : 3, "speed" : 20,"kmh":72.0 }"#
        ]
    );
    assert_eq!(values(&*log, "fast"), rows);
}

#[test]
fn a_second_run_goes_on_where_the_first_ended() {
    let log = MemoryLog::new(Env::system());
    produce(
        &*log,
        "in",
        [("k", r#"{"x":1}"#, 1), ("k", r#"{"x":2}"#, 2)],
    )
    .expect("produces");
    let frame = || {
        DataFrame::topic("in")
            .assign("y", col("x") + 1)
            .to_topic("out")
    };
    assert_eq!(run(&log, &[frame()]).len(), 2);
    assert_eq!(run(&log, &[frame()]), Vec::<String>::new());
    produce(&*log, "in", [("k", r#"{"x":3}"#, 3)]).expect("produces");
    assert_eq!(run(&log, &[frame()]), [r#"{"x":3,"y":4}"#]);
    assert_eq!(values(&*log, "out").len(), 3);
}

#[test]
fn a_stop_before_the_run_ends_it_and_no_other() -> headwater::Result<()> {
    let log = MemoryLog::new(Env::system());
    produce(&*log, "in", [("k", r#"{"x":1}"#, 1)])?;
    let mut application = Application::in_process(log, Settings::new("test"));
    application.stopper().stop();
    let frames = [DataFrame::topic("in")];
    let report = application.run_frames(&frames, &RunOptions::default())?;
    assert_eq!(report.ended, Ended::Stopped);
    let report = application.run_frames(&frames, &UNTIL_QUIET)?;
    assert_eq!((report.ended, report.records_in), (Ended::Timeout, 1));
    Ok(())
}

#[test]
fn branches_do_not_see_each_other() {
    let log = MemoryLog::new(Env::system());
    produce(
        &*log,
        "in",
        [("k", r#"{"x":1}"#, 1), ("k", r#"{"x":5}"#, 2)],
    )
    .expect("produces");
    let all = DataFrame::topic("in");
    let small = all
        .filter(col("x").lt(3))
        .assign("kind", "small")
        .to_topic("out");
    let large = all
        .filter(col("x").gt_eq(3))
        .assign("kind", "large")
        .to_topic("out");
    run(&log, &[all, small, large]);
    assert_eq!(
        values(&*log, "out"),
        [r#"{"x":1,"kind":"small"}"#, r#"{"x":5,"kind":"large"}"#]
    );
}

fn with_policy(log: &Arc<MemoryLog>, policy: ErrorPolicy) -> headwater::Result<headwater::Report> {
    let log: Arc<dyn Log> = Arc::clone(log) as Arc<dyn Log>;
    let settings = Settings {
        on_data_error: policy,
        ..Settings::new("test")
    };
    let frame = DataFrame::topic("in")
        .assign("y", col("x") * 2)
        .to_topic("out");
    Application::in_process(log, settings).run_frames(&[frame], &UNTIL_QUIET)
}

const POISONED: [(&str, &str, i64); 4] = [
    ("k", r#"{"x":1}"#, 1),
    ("k", r#"{"x":"#, 2),
    ("k", r#"{"x":[1]}"#, 3),
    ("k", r#"{"x":4}"#, 4),
];

#[test]
fn the_policy_stop_keeps_what_came_before_and_names_the_record() {
    let log = MemoryLog::new(Env::system());
    produce(&*log, "in", POISONED).expect("produces");
    let error = with_policy(&log, ErrorPolicy::Stop).expect_err("stops");
    let text = error.to_string();
    assert!(text.contains("malformed JSON"), "{text}");
    assert!(
        text.contains("topic=`in` partition=`0` offset=`1`"),
        "{text}"
    );
    assert_eq!(values(&*log, "out"), [r#"{"x":1,"y":2}"#]);
}

#[test]
fn the_policy_skip_leaves_bad_records_out() {
    let log = MemoryLog::new(Env::system());
    produce(&*log, "in", POISONED).expect("produces");
    let report = with_policy(&log, ErrorPolicy::Skip).expect("runs");
    assert_eq!(
        (report.skipped, report.records_in, report.records_out),
        (2, 4, 2)
    );
    assert_eq!(
        values(&*log, "out"),
        [r#"{"x":1,"y":2}"#, r#"{"x":4,"y":8}"#]
    );
}

#[test]
fn dead_letters_keep_the_original_bytes() {
    let log = MemoryLog::new(Env::system());
    produce(&*log, "in", POISONED).expect("produces");
    let report = with_policy(&log, ErrorPolicy::DeadLetter).expect("runs");
    assert_eq!(report.dead_lettered, 2);
    assert_eq!(
        values(&*log, "in.dead-letter"),
        [r#"{"x":"#, r#"{"x":[1]}"#]
    );
    assert_eq!(values(&*log, "out").len(), 2);
}

#[test]
fn count_stops_between_records() {
    let log = MemoryLog::new(Env::system());
    let rows: Vec<String> = (0..50).map(|x| format!("{{\"x\":{x}}}")).collect();
    produce(&*log, "in", rows.iter().map(|row| ("k", row.as_str(), 0))).expect("produces");
    let shared: Arc<dyn Log> = Arc::clone(&log) as Arc<dyn Log>;
    let mut application = Application::in_process(shared, Settings::new("test"));
    let options = RunOptions {
        count: Some(7),
        ..UNTIL_QUIET
    };
    let frames = [DataFrame::topic("in").to_topic("out")];
    let report = application.run_frames(&frames, &options).expect("runs");
    assert_eq!((report.ended, report.rows_out), (Ended::Count, 7));
    let report = application.run_frames(&frames, &options).expect("runs");
    assert_eq!(report.rows_as_json().expect("rows")[0], r#"{"x":7}"#);
    assert_eq!(values(&*log, "out").len(), 14);
}

/// However many rows a record gives, a run ends with the record that brings it to
/// its count, the next one goes on there, and functions see no record twice.
#[test]
fn count_ends_at_the_record_that_reaches_it() {
    for has_functions in [false, true] {
        for (keeps_every, copies) in [(1, 1), (3, 1), (1, 3), (5, 2)] {
            let log = MemoryLog::new(Env::system());
            let rows: Vec<String> = (0..300).map(|x| format!("{{\"x\":{x}}}")).collect();
            produce(&*log, "in", rows.iter().map(|row| ("k", row.as_str(), 0))).expect("produces");
            let shared: Arc<dyn Log> = Arc::clone(&log) as Arc<dyn Log>;
            let mut application = Application::in_process(shared, Settings::new("test"));
            let mut registry = support::functions::Registry::default();
            let calls = Arc::new(AtomicU64::new(0));
            let mut frame = DataFrame::topic("in");
            if has_functions {
                let calls = Arc::clone(&calls);
                frame = registry.apply(&frame, "count", move |row| {
                    calls.fetch_add(1, Ordering::Relaxed);
                    Ok(row.clone())
                });
            }
            // A copy is a leaf of its own.
            let kept = frame.filter((col("x") % keeps_every).eq(0));
            let frames: Vec<DataFrame> = (0..copies)
                .map(|copy| kept.assign("copy", copy).to_topic("out"))
                .collect();
            *application.functions_mut() = registry.functions;
            let (mut from, about) = (0, format!("{has_functions} {keeps_every} {copies}"));
            for count in [1_u64, 7, 40] {
                calls.store(0, Ordering::Relaxed);
                let options = RunOptions {
                    count: Some(count),
                    ..UNTIL_QUIET
                };
                let report = application.run_frames(&frames, &options).expect("runs");
                let (mut at, mut given) = (from, 0);
                while given < count {
                    given += if at % keeps_every == 0 {
                        copies as u64
                    } else {
                        0
                    };
                    at += 1;
                }
                let found = (report.ended, report.rows_out, report.records_in);
                assert_eq!(found, (Ended::Count, given, (at - from) as u64), "{about}");
                if has_functions {
                    let calls = calls.load(Ordering::Relaxed);
                    assert_eq!(calls, (at - from) as u64, "{about}");
                }
                from = at;
            }
        }
    }
}

#[test]
fn a_run_that_commits_nothing_gives_the_same_every_time() {
    let log = MemoryLog::new(Env::system());
    produce(&*log, "in", [("k", r#"{"x":1}"#, 1)]).expect("produces");
    let shared: Arc<dyn Log> = Arc::clone(&log) as Arc<dyn Log>;
    let options = RunOptions {
        start: headwater::Start::At(headwater::Places::Beginning),
        commit: false,
        ..UNTIL_QUIET
    };
    for _ in 0..2 {
        let mut application = Application::in_process(Arc::clone(&shared), Settings::new("test"));
        let frames = [DataFrame::topic("in").assign("y", col("x")).to_topic("out")];
        let report = application.run_frames(&frames, &options).expect("runs");
        assert_eq!(report.rows_as_json().expect("rows"), [r#"{"x":1,"y":1}"#]);
    }
    assert_eq!(log.topic("out").expect("topic"), None);
    assert_eq!(log.committed("test").expect("committed"), []);
}

/// A time-out counts from the last record, however late its epoch is committed.
#[test]
fn a_commit_is_no_record() {
    let (log, env) = support::memory();
    produce(&*log, "in", [("k", r#"{"x":1}"#, 1)]).expect("produces");
    let settings = Settings {
        commit_interval: Some(Duration::from_millis(900)),
        ..Settings::new("test")
    };
    let host = support::QuietHost::new(None);
    let options = RunOptions {
        timeout: Some(Duration::from_secs(1)),
        ..UNTIL_QUIET
    };
    let started = env.clock.monotonic();
    let frames = [DataFrame::topic("in").to_topic("out")];
    let mut application = Application::new(Arc::clone(&log), env.clone(), settings, host);
    let report = application.run_frames(&frames, &options).expect("runs");
    assert_eq!((report.ended, report.records_in), (Ended::Timeout, 1));
    let took = env.clock.monotonic().saturating_sub(started);
    assert!(took < Duration::from_millis(1_500), "{took:?}");
}
