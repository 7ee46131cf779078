//! What a job refuses, and that it says where, why and what to do; and what it
//! leaves alone.

mod support;

use headwater::connect::{JsonLinesSink, JsonLinesSinkOptions};
use headwater::core::env::Env;
use headwater::log::Log;
use headwater::log::embedded::{EmbeddedLog, Options};
use headwater::{
    Aggregate, AggregateFunction, Application, Class, Closing, DataFrame, Ended, ErrorPolicy,
    Places, Report, RunOptions, Settings, Start, WindowLength, WindowSpec, col, lit,
};
use std::sync::Arc;
use std::time::Duration;
use support::functions::{Registry, add_to};
use support::{In, QuietHost, Variant, WALL_MS};

fn record(value: &str, timestamp: i64) -> In {
    In {
        key: Some("k".into()),
        value: Some(value.as_bytes().into()),
        timestamp,
    }
}

const UNTIL_QUIET: RunOptions = RunOptions {
    count: None,
    timeout: Some(Duration::from_millis(200)),
    start: Start::Committed,
    until: None,
    writes_topics: false,
    commit: true,
    collect: true,
    confirm_lost_state: false,
};

fn run_with(
    log: &Arc<dyn Log>,
    env: &Env,
    frames: &[DataFrame],
    options: &RunOptions,
) -> headwater::Result<Report> {
    let settings = Variant::plain(ErrorPolicy::Stop).settings();
    let host = QuietHost::new(None);
    Application::new(Arc::clone(log), env.clone(), settings, host).run_frames(frames, options)
}

/// The job stops at the second record, keeps the first, and says all of `words`.
/// Started with a frame that works, it goes on at that record.
#[track_caller]
fn check_stop(poison: In, frame: &DataFrame, good: &DataFrame, words: &[&str]) {
    let (log, env) = support::memory();
    let records = [
        record(r#"{"x":1}"#, WALL_MS),
        poison,
        record(r#"{"x":3}"#, WALL_MS + 2),
    ];
    support::fill(&*log, "in", 1, &records, 3);
    let error = run_with(&log, &env, &[frame.to_topic("out")], &UNTIL_QUIET).expect_err("stops");
    let text = error.to_string();
    assert_eq!(error.class(), Class::Data, "{text}");
    for word in words.iter().chain(&["topic=`in` partition=`0` offset=`1`"]) {
        assert!(text.contains(word), "{word} in: {text}");
    }
    assert_eq!(
        support::read(&*log, "out").len(),
        1,
        "what came before is kept: {text}"
    );
    let report = run_with(&log, &env, &[good.to_topic("out")], &UNTIL_QUIET);
    match report {
        Ok(report) => assert_eq!(report.records_in, 2, "goes on at the record"),
        Err(error) => assert!(error.to_string().contains("offset=`1`"), "{error}"),
    }
}

#[test]
fn the_policy_stop_names_the_record_and_what_is_wrong() {
    let input = || DataFrame::topic("in");
    let doubled = input().assign("y", col("x") * 2);
    let all = input();
    let at = |text: &str| record(text, WALL_MS + 1);
    check_stop(at(r#"{"x":"#), &doubled, &all, &["malformed JSON"]);
    check_stop(
        at(r#"{"x":[1]}"#),
        &doubled,
        &all,
        &["field=`x`", "operator=`"],
    );
    check_stop(
        at(r#"{"x":9223372036854775807}"#),
        &doubled,
        &all,
        &["beyond 64 bits", "field=`x`"],
    );
    check_stop(
        at(r#"{"x":"2"}"#),
        &input().filter(col("x").gt(0)),
        &all,
        &["field=`x`", "hint:"],
    );
    let huge = input().assign("y", col("x") * lit(1e308));
    check_stop(at(r#"{"x":100}"#), &huge, &all, &["y"]);
    check_stop(at("7"), &doubled, &all, &["not an object"]);
    let microseconds = record(r#"{"x":2}"#, WALL_MS * 1_000);
    check_stop(
        microseconds,
        &doubled,
        &all,
        &["event_time_ms=`", "hint: event time is in milli"],
    );
}

fn window(name: Option<&str>, closing: Closing) -> DataFrame {
    DataFrame::topic("in").window(WindowSpec {
        name: name.map(Into::into),
        closing,
        aggregates: vec![Aggregate {
            output: "total".into(),
            function: AggregateFunction::Sum,
            input: Some(col("x")),
        }],
        ..WindowSpec::new(WindowLength::Tumbling { size_ms: 100 })
    })
}

#[test]
fn a_changed_window_over_existing_state_is_refused() {
    let (log, env) = support::memory();
    support::fill(&*log, "in", 4, &[record(r#"{"x":1}"#, WALL_MS)], 1);
    let run = |frame: DataFrame| run_with(&log, &env, &[frame], &UNTIL_QUIET);
    run(window(None, Closing::Key)).expect("runs");
    let before = (
        log.committed("test").expect("committed"),
        support::state(&*log, "test"),
    );
    let text = run(window(None, Closing::Partition))
        .expect_err("refused")
        .to_string();
    for word in [
        "in--tumbling_window_100",
        "closing=key",
        "closing=partition",
        "name=",
        "reset",
    ] {
        assert!(text.contains(word), "{word} in: {text}");
    }
    let text = run(DataFrame::topic("in").to_topic("out"))
        .expect_err("refused")
        .to_string();
    for word in [
        "in--tumbling_window_100",
        "confirm_lost_state",
        "headwater reset test",
    ] {
        assert!(text.contains(word), "{word} in: {text}");
    }
    let after = (
        log.committed("test").expect("committed"),
        support::state(&*log, "test"),
    );
    assert_eq!(before, after, "a refused start changes nothing");
    let confirmed = RunOptions {
        confirm_lost_state: true,
        ..UNTIL_QUIET
    };
    run_with(&log, &env, &[DataFrame::topic("in")], &confirmed).expect("was confirmed");
}

#[test]
fn equal_windows_are_one_and_others_need_names() {
    let (log, env) = support::memory();
    let records = [
        record(r#"{"x":1}"#, WALL_MS),
        record(r#"{"x":2}"#, WALL_MS + 500),
    ];
    support::fill(&*log, "in", 1, &records, 1);
    let input = DataFrame::topic("in");
    let spec = || match window(None, Closing::Key).op() {
        headwater::plan::Op::Window(spec) => spec.clone(),
        other => panic!("{other:?}"),
    };
    let twice = [
        input.window(spec()).to_topic("out"),
        input.window(spec()).to_topic("again"),
    ];
    run_with(&log, &env, &twice, &UNTIL_QUIET).expect("runs");
    assert_eq!(support::read(&*log, "out").len(), 1);
    assert_eq!(support::read(&*log, "out"), support::read(&*log, "again"));
    let of_windows = log.topics().expect("topics").into_iter();
    let of_windows = of_windows
        .filter(|topic| topic.name.contains("window"))
        .count();
    assert_eq!(of_windows, 1, "one store");

    let mut count = spec();
    count.aggregates[0].function = AggregateFunction::Count;
    let mut current = spec();
    current.emit = headwater::Emit::Current;
    for (other, is_joinable) in [(count, true), (current, false)] {
        let refused = |other: &WindowSpec| {
            let frames = [input.window(spec()), input.window(other.clone())];
            run_with(&log, &env, &frames, &UNTIL_QUIET).err()
        };
        let text = refused(&other).expect("is refused").to_string();
        assert!(text.contains("name=") && text.contains("in--"), "{text}");
        assert_eq!(text.contains(".agg("), is_joinable, "{text}");
        let named = WindowSpec {
            name: Some("other".into()),
            ..other
        };
        let error = refused(&named);
        assert!(error.is_none(), "{error:?}");
        headwater::reset(&*log, &env, "test").expect("resets");
    }
}

#[test]
fn a_topic_made_again_is_refused_by_a_job_with_state() {
    check_made_again(&[window(None, Closing::Key).to_topic("out")]);
}

#[test]
fn a_topic_made_again_is_refused_by_a_job_without_state() {
    check_made_again(&[DataFrame::topic("in")
        .filter(col("x").gt(0))
        .to_topic("out")]);
}

/// A topic that is deleted and made again under a running job is not taken for
/// the one that the job began to read.
#[test]
fn a_topic_made_again_ends_a_run_that_reads_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let embedded = EmbeddedLog::open(folder.path(), Options::default()).expect("opens");
    let (memory, env) = support::memory_in_real_time();
    for log in [embedded as Arc<dyn Log>, memory] {
        support::fill(&*log, "in", 1, &[record(r#"{"x":1}"#, WALL_MS)], 1);
        let frames = [DataFrame::topic("in").to_topic("out")];
        let options = RunOptions {
            timeout: Some(Duration::from_secs(20)),
            ..UNTIL_QUIET
        };
        let error = std::thread::scope(|scope| {
            let run = scope.spawn(|| {
                let settings = Variant {
                    commit_every: 1,
                    ..Variant::plain(ErrorPolicy::Stop)
                };
                let (log, host) = (Arc::clone(&log), QuietHost::new(None));
                Application::new(log, env.clone(), settings.settings(), host)
                    .run_frames(&frames, &options)
            });
            while support::read(&*log, "out").is_empty() {
                std::thread::yield_now();
            }
            assert!(log.delete_topic("in").expect("deletes"));
            support::fill(&*log, "in", 1, &[record(r#"{"x":2}"#, WALL_MS)], 1);
            run.join()
                .expect("no panic")
                .expect_err("the topic is gone")
        });
        assert_eq!(error.class(), Class::Invalid, "{error}");
        assert!(error.to_string().contains("deleted"), "{error}");
        assert_eq!(support::read(&*log, "out").len(), 1, "nothing of the new");
    }
}

fn check_made_again(frames: &[DataFrame]) {
    let (log, env) = support::memory();
    support::fill(&*log, "in", 1, &[record(r#"{"x":1}"#, WALL_MS)], 1);
    run_with(&log, &env, frames, &UNTIL_QUIET).expect("runs");
    run_with(&log, &env, frames, &UNTIL_QUIET).expect("runs again");
    assert!(log.delete_topic("in").expect("deletes"));
    support::fill(&*log, "in", 1, &[record(r#"{"x":2}"#, WALL_MS)], 1);
    let text = run_with(&log, &env, frames, &UNTIL_QUIET)
        .expect_err("refused")
        .to_string();
    for word in [
        "deleted and made again",
        "topic=`in`",
        "headwater reset test",
    ] {
        assert!(text.contains(word), "{word} in: {text}");
    }
    headwater::reset(&*log, &env, "test").expect("resets");
    let report = run_with(&log, &env, frames, &UNTIL_QUIET).expect("runs");
    assert_eq!(
        report.records_in, 1,
        "the new topic is read from its beginning"
    );
}

#[test]
fn an_application_runs_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || EmbeddedLog::open(folder.path(), Options::default()).expect("opens");
    let (first, second): (Arc<dyn Log>, Arc<dyn Log>) = (open(), open());
    support::fill(&*first, "in", 1, &[record(r#"{"x":1}"#, WALL_MS)], 1);
    let _member = first.join("test", &[]).expect("joins");
    let frames = [DataFrame::topic("in").to_topic("out")];
    let error = run_with(&second, &Env::system(), &frames, &UNTIL_QUIET).expect_err("refused");
    let text = error.to_string();
    assert_eq!(error.class(), Class::Invalid, "{text}");
    assert!(text.contains("test") && text.contains("Kafka"), "{text}");
    assert_eq!(support::read(&*second, "out"), [], "it has written nothing");
}

#[test]
fn a_run_that_commits_nothing_leaves_nothing_behind() {
    let (log, env) = support::memory();
    let records = [record(r#"{"x":1}"#, WALL_MS), record("{", WALL_MS)];
    support::fill(&*log, "in", 1, &records, 1);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rows.jsonl");
    let settings = Settings {
        on_data_error: ErrorPolicy::DeadLetter,
        ..Settings::new("test")
    };
    let host = QuietHost::new(None);
    let mut application = Application::new(Arc::clone(&log), env, settings, host);
    let sink = JsonLinesSink::new(&path, JsonLinesSinkOptions::default());
    application
        .add_sink("rows", Box::new(sink))
        .expect("a sink");
    let mut registry = Registry::default();
    let counted = registry.stateful(&DataFrame::topic("in"), "count", false, |row, state| {
        add_to(state, "count", 1);
        Ok(vec![row.clone()])
    });
    *application.functions_mut() = registry.functions;
    let windows = counted.then(window(None, Closing::Key).op().clone());
    let frames = [counted.to_topic("out"), counted.sink("rows"), windows];
    let options = RunOptions {
        commit: false,
        ..UNTIL_QUIET
    };
    for start in [Start::Committed, Start::At(Places::Beginning)] {
        let options = RunOptions {
            start,
            ..options.clone()
        };
        let report = application.run_frames(&frames, &options).expect("runs");
        assert_eq!((report.ended, report.records_in), (Ended::Timeout, 2));
        assert_eq!(report.dead_lettered, 1);
    }
    let topics: Vec<String> = log
        .topics()
        .expect("topics")
        .into_iter()
        .map(|topic| topic.name)
        .collect();
    assert_eq!(topics, ["in"]);
    assert_eq!(log.groups().expect("groups"), Vec::<String>::new());
    assert!(!path.exists(), "no file is made");
}

/// A file that grows between runs: the end of the input closes what is open,
/// once, and what is added later is processed in the next run.
#[test]
fn a_file_that_grows_is_read_on() {
    use headwater::connect::{CsvSource, CsvSourceOptions, TimestampField, TimestampFormat};
    let (log, env) = support::memory();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("in.csv");
    let run = || {
        let settings = Variant::plain(ErrorPolicy::Stop).settings();
        let host = QuietHost::new(None);
        let mut application = Application::new(Arc::clone(&log), env.clone(), settings, host);
        let field = TimestampField {
            name: "t".into(),
            format: TimestampFormat::Milliseconds,
        };
        let options = CsvSourceOptions {
            key_column: Some("k".into()),
            timestamp: Some(field),
            ..CsvSourceOptions::default()
        };
        let source = Box::new(CsvSource::new(&path, options));
        let topic = headwater::TopicRef::json("in");
        application
            .add_source("csv", source, topic)
            .expect("a source");
        let frames = [window(None, Closing::Key).to_topic("out")];
        application
            .run_frames(&frames, &RunOptions::default())
            .expect("runs")
    };
    let totals = || -> Vec<String> {
        let rows = support::read(&*log, "out");
        rows.iter().map(|row| row.text().to_owned()).collect()
    };
    std::fs::write(&path, format!("k,t,x\na,{},1\n", WALL_MS)).expect("writes");
    assert_eq!(run().ended, Ended::EndOfInput);
    assert_eq!(totals().len(), 1);
    let more = format!(
        "a,{},2\na,{},3\na,{},4\n",
        WALL_MS + 200,
        WALL_MS + 210,
        WALL_MS + 500
    );
    let text = std::fs::read_to_string(&path).expect("reads") + &more;
    std::fs::write(&path, text).expect("writes");
    let report = run();
    assert_eq!((report.ended, report.late), (Ended::EndOfInput, 0));
    let found: Vec<String> = totals()
        .iter()
        .map(|row| row.split("\"total\":").last().unwrap_or("").to_owned())
        .collect();
    assert_eq!(found, ["1}", "5}", "4}"], "{:?}", totals());
}

/// A topic that is missing is made, but not in the place of one that was read.
#[test]
fn a_topic_that_was_read_and_deleted_is_not_made_by_a_run() {
    let (log, env) = support::memory();
    support::fill(&*log, "in", 2, &[record(r#"{"x":1}"#, WALL_MS)], 1);
    let frames = [DataFrame::topic("in").to_topic("out")];
    run_with(&log, &env, &frames, &UNTIL_QUIET).expect("runs");
    assert!(log.delete_topic("in").expect("deletes"));
    let error = run_with(&log, &env, &frames, &UNTIL_QUIET).expect_err("refused");
    assert_eq!(error.class(), Class::Invalid);
    for word in [
        "was deleted since the last run",
        "headwater reset test",
        "topic=`in`",
    ] {
        assert!(error.to_string().contains(word), "{word} in: {error}");
    }
    assert_eq!(log.topic("in").expect("topic"), None);
}
