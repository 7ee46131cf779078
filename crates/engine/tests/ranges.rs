//! Runs over a part of topics: they read what they are told, close everything at its
//! end, and leave the group, its state and, unless they are asked to, topics alone.

mod support;

use headwater::core::env::Env;
use headwater::core::{Position, TopicPartition};
use headwater::log::Log;
use headwater::{
    Aggregate, AggregateFunction, Application, Class, Closing, DataFrame, Ended, OffsetReset,
    Places, Report, RunOptions, Settings, Start, WindowLength, WindowSpec, col,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use support::{In, QuietHost, Seed, WALL_MS};

const PARTITIONS: u32 = 3;
const SIZE_MS: i64 = 1_000;

/// Records of some users in some cities, a tenth of a second apart.
fn input(seed: u64, count: i64) -> Vec<In> {
    let mut random = Seed(seed);
    let record = |id: i64| In {
        key: Some(format!("user-{}", random.below(10))),
        value: Some(format!(r#"{{"id":{id},"city":"c{}"}}"#, random.below(3)).into_bytes()),
        timestamp: WALL_MS - 1_000_000 + id * 100,
    };
    (0..count).map(record).collect()
}

fn counts() -> WindowSpec {
    WindowSpec {
        aggregates: vec![Aggregate {
            output: "count".into(),
            function: AggregateFunction::Count,
            input: None,
        }],
        closing: Closing::Key,
        ..WindowSpec::new(WindowLength::Tumbling { size_ms: SIZE_MS })
    }
}

fn by_user() -> DataFrame {
    DataFrame::topic("in").window(counts()).to_topic("out")
}

fn by_city() -> DataFrame {
    let rows = DataFrame::topic("in").group_by("city", col("city"));
    rows.window(counts()).to_topic("out")
}

fn run(log: &Arc<dyn Log>, env: &Env, frame: DataFrame, options: &RunOptions) -> Report {
    try_run(log, env, frame, options).unwrap_or_else(|error| panic!("{error}"))
}

fn try_run(
    log: &Arc<dyn Log>,
    env: &Env,
    frame: DataFrame,
    options: &RunOptions,
) -> headwater::Result<Report> {
    let settings = Settings {
        workers: Some(2),
        ..Settings::new("test")
    };
    let host = QuietHost::new(None);
    Application::new(Arc::clone(log), env.clone(), settings, host).run_frames(&[frame], options)
}

fn range(start: Places, until: Places) -> RunOptions {
    RunOptions {
        start: Start::At(start),
        until: Some(until),
        commit: false,
        collect: true,
        ..RunOptions::default()
    }
}

/// The rows of a run in an order of their own.
fn rows(report: &Report) -> Vec<String> {
    let mut rows = report.rows_as_json().expect("rows");
    rows.sort();
    rows
}

fn log_with(records: &[In]) -> (Arc<dyn Log>, Env) {
    let (log, env) = support::memory_in_real_time();
    support::fill(&*log, "in", PARTITIONS, records, 7);
    (log, env)
}

/// How many records each window of a range has, recomputed; as many rows as keys.
fn model(records: &[In], name: impl Fn(&In) -> String) -> BTreeMap<(String, i64), u64> {
    let mut counts = BTreeMap::new();
    for record in records {
        let start = record.timestamp.div_euclid(SIZE_MS) * SIZE_MS;
        *counts.entry((name(record), start)).or_default() += 1;
    }
    counts
}

fn sorted_counts(model: &BTreeMap<(String, i64), u64>) -> Vec<u64> {
    let mut counts: Vec<u64> = model.values().copied().collect();
    counts.sort_unstable();
    counts
}

fn counted(report: &Report) -> Vec<u64> {
    let count = |row: String| {
        let row: serde_json::Value = serde_json::from_str(&row).expect("JSON");
        row["count"].as_u64().expect("a count")
    };
    let mut counts: Vec<u64> = rows(report).into_iter().map(count).collect();
    counts.sort_unstable();
    counts
}

fn city(record: &In) -> String {
    let text = record.value.as_deref().expect("a value");
    let row: serde_json::Value = serde_json::from_slice(text).expect("JSON");
    row["city"].as_str().expect("a city").to_owned()
}

fn user(record: &In) -> String {
    record.key.clone().expect("a key")
}

#[test]
fn a_range_of_time_is_read_from_its_start_to_its_end_and_everything_closes() {
    let records = input(1, 300);
    let (log, env) = log_with(&records);
    let (from, to) = (records[40].timestamp, records[210].timestamp);
    let options = range(Places::Time(from), Places::Time(to));
    for (frame, name) in [(by_user(), user as fn(&In) -> String), (by_city(), city)] {
        let report = run(&log, &env, frame, &options);
        assert_eq!(report.ended, Ended::EndOfInput);
        assert_eq!(report.records_in, 170);
        let expected = sorted_counts(&model(&records[40..210], name));
        assert_eq!(counted(&report), expected);
    }
    // Nothing is left of them.
    let topics: Vec<_> = log.topics().expect("topics").into_iter().collect();
    assert_eq!(topics.len(), 1, "{topics:?}");
    assert!(log.groups().expect("groups").is_empty());
}

#[test]
fn a_range_of_positions_reads_these_partitions_alone() {
    let records = input(2, 200);
    let (log, env) = log_with(&records);
    let at = |offset| {
        let partition = TopicPartition::new("in", 1);
        Places::Positions([(partition, Position::from_offset(offset))].into())
    };
    let frame = DataFrame::topic("in").to_topic("out");
    let report = run(&log, &env, frame.clone(), &range(at(5), at(12)));
    assert_eq!((report.ended, report.records_in), (Ended::EndOfInput, 7));
    let own = support::read_partition(&*log, "in", 1);
    let mut expected: Vec<String> = (own[5..12].iter())
        .map(|record| record.text().to_owned())
        .collect();
    expected.sort();
    assert_eq!(rows(&report), expected);
    // One end may be open, or be beyond what is there, or before the start.
    let rest = run(&log, &env, frame.clone(), &range(at(5), Places::End));
    assert_eq!(rest.records_in, own.len() as u64 - 5);
    let all = run(
        &log,
        &env,
        frame.clone(),
        &range(Places::Beginning, at(1_000)),
    );
    assert_eq!(all.records_in, own.len() as u64);
    let none = run(&log, &env, frame, &range(at(12), at(5)));
    assert_eq!((none.ended, none.records_in), (Ended::EndOfInput, 0));
}

#[test]
fn a_range_leaves_positions_and_state_as_they_are_and_writes_if_it_is_asked_to() {
    for frame in [by_user, by_city] {
        let records = input(3, 200);
        let (log, env) = log_with(&records);
        let quiet = RunOptions {
            timeout: Some(Duration::from_millis(300)),
            ..RunOptions::default()
        };
        let live = run(&log, &env, frame(), &quiet);
        assert_eq!(live.records_in, 200);
        let committed = log.committed("test").expect("positions");
        let state = support::state(&*log, "test");
        let written = support::read(&*log, "out").len();
        assert!(!committed.is_empty() && !state.is_empty());

        let mut options = range(Places::Beginning, Places::End);
        let report = run(&log, &env, frame(), &options);
        assert_eq!(support::read(&*log, "out").len(), written);
        options.writes_topics = true;
        let again = run(&log, &env, frame(), &options);
        assert_eq!(rows(&again), rows(&report));
        let out = support::read(&*log, "out");
        assert_eq!(out.len() - written, report.rows_out as usize);
        assert_eq!(log.committed("test").expect("positions"), committed);
        assert_eq!(support::state(&*log, "test"), state);
        // The job goes on where it was.
        assert_eq!(run(&log, &env, frame(), &quiet).records_in, 0);
    }
}

#[test]
fn a_live_run_that_commits_nothing_may_change_keys() {
    let records = input(4, 300);
    let (log, env) = log_with(&records);
    let options = RunOptions {
        start: Start::At(Places::Beginning),
        timeout: Some(Duration::from_millis(500)),
        commit: false,
        collect: true,
        ..RunOptions::default()
    };
    let report = run(&log, &env, by_city(), &options);
    assert_eq!((report.ended, report.records_in), (Ended::Timeout, 300));
    // The last windows are still open.
    let expected = model(&records, city);
    assert!(!rows(&report).is_empty() && rows(&report).len() < expected.len());
    assert_eq!(log.topics().expect("topics").len(), 1);
}

#[test]
fn a_run_elsewhere_must_not_commit() {
    let (log, env) = log_with(&input(5, 10));
    let committing = |options: RunOptions| RunOptions {
        commit: true,
        ..options
    };
    let nowhere =
        Places::Positions([(TopicPartition::new("other", 0), Position::from_offset(0))].into());
    for (options, word) in [
        (
            committing(range(Places::Beginning, Places::End)),
            "commit=False",
        ),
        (range(nowhere, Places::End), "topic=`other`"),
    ] {
        let error = try_run(&log, &env, by_user(), &options).expect_err("refused");
        assert_eq!(error.class(), Class::Invalid);
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn a_first_run_begins_where_the_settings_say() {
    let records = input(6, 100);
    let (log, env) = log_with(&records);
    let quiet = RunOptions {
        timeout: Some(Duration::from_millis(300)),
        ..RunOptions::default()
    };
    let read = |name: &str, reset: OffsetReset| {
        let settings = Settings {
            auto_offset_reset: reset,
            ..Settings::new(name)
        };
        let host = QuietHost::new(None);
        let mut application = Application::new(Arc::clone(&log), env.clone(), settings, host);
        application
            .run_frames(&[by_city()], &quiet)
            .map(|report| report.records_in)
    };
    let at = OffsetReset::Time(records[70].timestamp);
    assert_eq!(read("timed", at).expect("runs"), 30);
    assert_eq!(read("latest", OffsetReset::Latest).expect("runs"), 0);
    assert!(read("never", OffsetReset::Error).is_err());
    // It is about the first run alone, and about partitions that were there then.
    log.add_partitions("in", PARTITIONS + 1).expect("grows");
    support::fill(&*log, "in", PARTITIONS + 1, &input(7, 50), 5);
    let added = support::read_partition(&*log, "in", PARTITIONS);
    assert!(!added.is_empty());
    assert_eq!(read("latest", OffsetReset::Latest).expect("runs"), 50);
    assert_eq!(read("timed", at).expect("runs"), 50);
}

/// Partitions that are added while a run is on are read, if no state depends on them.
#[test]
fn partitions_that_are_added_are_noticed() {
    let (log, env) = log_with(&input(8, 40));
    let other = Arc::clone(&log);
    let grows = std::thread::spawn(move || {
        env.clock.sleep(Duration::from_millis(300));
        other.add_partitions("in", PARTITIONS + 2).expect("grows");
        support::fill(&*other, "in", PARTITIONS + 2, &input(9, 60), 5);
    });
    let options = RunOptions {
        timeout: Some(Duration::from_millis(1_500)),
        ..RunOptions::default()
    };
    let env = Env::system();
    let report = run(&log, &env, by_city(), &options);
    grows.join().expect("no panic");
    assert_eq!(report.records_in, 100);
    let added = support::read_partition(&*log, "in", PARTITIONS + 1);
    assert!(!added.is_empty());

    // State by the input's own partitions would be looked for in the wrong place.
    let job = |name: &str| {
        let settings = Settings::new(name);
        let host = QuietHost::new(None);
        let mut application = Application::new(Arc::clone(&log), env.clone(), settings, host);
        application.run_frames(&[by_user()], &options)
    };
    assert_eq!(job("users").expect("runs").records_in, 100);
    log.add_partitions("in", PARTITIONS + 3).expect("grows");
    let error = job("users").expect_err("refused");
    assert_eq!(error.class(), Class::Invalid);
    for word in [
        "topic=`in`",
        "partitions=`6`",
        "was=`5`",
        "headwater reset users",
    ] {
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
}
