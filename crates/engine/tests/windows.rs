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
    // Quiet for less than the time-out closes nothing; the next run begins anew.
    assert_eq!(run(&log, settings.clone(), 600), Vec::<String>::new());
    assert_eq!(run(&log, settings.clone(), 900), Vec::<String>::new());
    assert_eq!(
        run(&log, settings, 3_500),
        [r#"{"start":0,"end":1000,"total":3}"#]
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
    let confirmed = RunOptions {
        confirm_lost_state: true,
        ..options.clone()
    };
    for options in [&confirmed, &options] {
        application
            .run_frames(&[DataFrame::topic("in")], options)
            .expect("runs, and asks once");
    }
    application
        .run_frames(&[sums("in")], &options)
        .expect("the operator comes back and begins anew");
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
