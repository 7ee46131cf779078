//! Windows in the running engine: time, restarts, ticks.

use headwater::core::env::Env;
use headwater::log::Log;
use headwater::log::memory::MemoryLog;
use headwater::{
    Aggregate, AggregateFunction, Application, DataFrame, RunOptions, Settings, WindowLength,
    WindowSpec, col, produce,
};
use std::sync::Arc;
use std::time::Duration;

fn sums(name: &str) -> DataFrame {
    let spec = WindowSpec {
        aggregates: vec![Aggregate {
            output: "total".into(),
            function: AggregateFunction::Sum,
            input: Some(col("x")),
        }],
        ..WindowSpec::new(WindowLength::Tumbling { size_ms: 1_000 })
    };
    DataFrame::topic(name).window(spec).to_topic("sums")
}

fn run(log: &Arc<MemoryLog>, settings: Settings, timeout_ms: u64) -> Vec<String> {
    let log: Arc<dyn Log> = Arc::clone(log) as Arc<dyn Log>;
    let options = RunOptions {
        timeout: Some(Duration::from_millis(timeout_ms)),
        collect: true,
        ..RunOptions::default()
    };
    let mut application = Application::in_process(log, settings);
    application
        .run_frames(&[sums("in")], &options)
        .expect("runs")
        .rows_as_json()
        .expect("rows")
}

#[test]
fn an_open_window_goes_on_in_the_next_run() {
    let log = MemoryLog::new(Env::system());
    produce(
        &*log,
        "in",
        [("k", r#"{"x":1}"#, 100), ("k", r#"{"x":2}"#, 200)],
    )
    .expect("produces");
    assert_eq!(run(&log, Settings::new("test"), 120), Vec::<String>::new());
    produce(
        &*log,
        "in",
        [("k", r#"{"x":3}"#, 900), ("k", r#"{"x":9}"#, 1_000)],
    )
    .expect("produces");
    assert_eq!(
        run(&log, Settings::new("test"), 120),
        [r#"{"start":0,"end":1000,"total":6}"#]
    );
}

#[test]
fn a_window_closes_on_a_tick_when_no_more_records_come() {
    let log = MemoryLog::new(Env::system());
    produce(
        &*log,
        "in",
        [("k", r#"{"x":1}"#, 100), ("k", r#"{"x":2}"#, 200)],
    )
    .expect("produces");
    let settings = Settings {
        idle_timeout: Some(Duration::from_millis(1_200)),
        ..Settings::new("test")
    };
    // The key's own time-out, in event time, is 15 minutes by default: no tick
    // reaches it.
    assert_eq!(run(&log, settings.clone(), 2_000), Vec::<String>::new());
    let mut spec = WindowSpec::new(WindowLength::Tumbling { size_ms: 1_000 });
    spec.key_timeout_ms = 0;
    spec.aggregates = vec![Aggregate {
        output: "n".into(),
        function: AggregateFunction::Count,
        input: None,
    }];
    produce(
        &*log,
        "other",
        [("k", r#"{"x":1}"#, 100), ("k", r#"{"x":2}"#, 200)],
    )
    .expect("produces");
    let options = RunOptions {
        timeout: Some(Duration::from_millis(3_000)),
        collect: true,
        ..RunOptions::default()
    };
    let shared: Arc<dyn Log> = Arc::clone(&log) as Arc<dyn Log>;
    let mut application = Application::in_process(
        shared,
        Settings {
            name: "ticked".into(),
            ..settings
        },
    );
    let report = application
        .run_frames(&[DataFrame::topic("other").window(spec)], &options)
        .expect("runs");
    assert_eq!(
        report.rows_as_json().expect("rows"),
        [r#"{"start":0,"end":1000,"n":2}"#]
    );
}

#[test]
fn a_changed_window_over_old_state_is_refused_with_the_ways_out() {
    let log = MemoryLog::new(Env::system());
    produce(&*log, "in", [("k", r#"{"x":1}"#, 100)]).expect("produces");
    run(&log, Settings::new("test"), 120);
    let shared: Arc<dyn Log> = Arc::clone(&log) as Arc<dyn Log>;
    let mut application = Application::in_process(shared, Settings::new("test"));
    let options = RunOptions {
        timeout: Some(Duration::from_millis(100)),
        ..RunOptions::default()
    };
    let error = application
        .run_frames(&[DataFrame::topic("in")], &options)
        .expect_err("the window's state would be lost");
    let text = error.to_string();
    assert!(
        text.contains("operator=`in--tumbling_window_1000`"),
        "{text}"
    );
    assert!(text.contains("clear_state()"), "{text}");
    application.clear_state().expect("clears");
    application
        .run_frames(&[DataFrame::topic("in")], &options)
        .expect("runs after the reset");
}

/// Rows whose own times were set from the field `t`, summed a second at a time.
fn sums_by_t(settings: Settings, log: &Arc<MemoryLog>) -> headwater::Report {
    let mut spec = WindowSpec::new(WindowLength::Tumbling { size_ms: 1_000 });
    spec.aggregates = vec![Aggregate {
        output: "total".into(),
        function: AggregateFunction::Sum,
        input: Some(col("x")),
    }];
    let frame = DataFrame::topic("in")
        .then(headwater::plan::Op::SetTimestamp(col("t")))
        .window(spec);
    let options = RunOptions {
        timeout: Some(Duration::from_millis(120)),
        collect: true,
        ..RunOptions::default()
    };
    let log: Arc<dyn Log> = Arc::clone(log) as Arc<dyn Log>;
    Application::in_process(log, settings)
        .run_frames(&[frame], &options)
        .expect("runs")
}

#[test]
fn a_recording_of_long_ago_that_is_produced_today_is_not_late() {
    let log = MemoryLog::new(Env::system());
    let now_ms = Env::system().clock.wall_ms();
    let rows: Vec<String> = (0..6)
        .map(|x| format!("{{\"x\":1,\"t\":{}}}", 1_386_000_000_000_i64 + x * 500))
        .collect();
    let produced = |from: usize, to: usize| {
        let rows = rows[from..to].iter().map(|row| ("k", row.as_str(), now_ms));
        produce(&*log, "in", rows).expect("produces");
    };
    produced(0, 3);
    let first = sums_by_t(Settings::new("test"), &log);
    produced(3, 6);
    let second = sums_by_t(Settings::new("test"), &log);
    assert_eq!((first.late, second.late), (0, 0));
    let totals: Vec<String> = [first, second]
        .iter()
        .flat_map(|report| report.rows_as_json().expect("rows"))
        .collect();
    assert_eq!(
        totals,
        [
            r#"{"start":1386000000000,"end":1386000001000,"total":2}"#,
            r#"{"start":1386000001000,"end":1386000002000,"total":2}"#
        ]
    );
}

#[test]
fn a_time_that_was_set_too_far_ahead_is_a_data_error() {
    let log = MemoryLog::new(Env::system());
    let now_ms = Env::system().clock.wall_ms();
    let rows = [
        format!("{{\"x\":1,\"t\":{now_ms}}}"),
        format!("{{\"x\":1,\"t\":{}}}", now_ms * 1_000),
        format!("{{\"x\":1,\"t\":{}}}", now_ms + 1_000),
    ];
    produce(
        &*log,
        "in",
        rows.iter().map(|row| ("k", row.as_str(), now_ms)),
    )
    .expect("produces");
    let settings = Settings {
        on_data_error: headwater::ErrorPolicy::Skip,
        ..Settings::new("test")
    };
    let report = sums_by_t(settings, &log);
    assert_eq!((report.skipped, report.late, report.rows_out), (1, 0, 1));
}
