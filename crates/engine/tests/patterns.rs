//! Inputs by pattern: every topic that matches is read, new ones too, each with state
//! of its own.

mod support;

use headwater::core::env::Env;
use headwater::log::Log;
use headwater::{
    Aggregate, AggregateFunction, Application, Class, Closing, DataFrame, Places, Report,
    RunOptions, Settings, Start, WindowLength, WindowSpec, col,
};
use std::sync::Arc;
use std::time::Duration;
use support::{In, QuietHost, WALL_MS};

fn input(count: i64) -> Vec<In> {
    let record = |id: i64| In {
        key: Some(format!("user-{}", id % 4)),
        value: Some(format!(r#"{{"id":{id},"city":"c{}"}}"#, id % 3).into_bytes()),
        timestamp: WALL_MS - 1_000_000 + id * 100,
    };
    (0..count).map(record).collect()
}

/// Counts by city, over all time.
fn by_city() -> DataFrame {
    let window = WindowSpec {
        aggregates: vec![Aggregate {
            output: "count".into(),
            function: AggregateFunction::Count,
            input: None,
        }],
        closing: Closing::Key,
        ..WindowSpec::new(WindowLength::Tumbling {
            size_ms: 1_000_000_000,
        })
    };
    DataFrame::topic(r"^cars\..*")
        .group_by("city", col("city"))
        .window(window)
        .to_topic("cars.counts")
}

fn run(
    log: &Arc<dyn Log>,
    env: &Env,
    frames: &[DataFrame],
    options: &RunOptions,
) -> headwater::Result<Report> {
    let settings = Settings::new("test");
    let host = QuietHost::new(None);
    Application::new(Arc::clone(log), env.clone(), settings, host).run_frames(frames, options)
}

fn until_quiet(millis: u64) -> RunOptions {
    RunOptions {
        timeout: Some(Duration::from_millis(millis)),
        ..RunOptions::default()
    }
}

#[test]
fn topics_that_match_are_read_and_new_ones_are_noticed() {
    let (log, env) = support::memory_in_real_time();
    for (topic, count) in [("cars.a", 30), ("bikes.a", 7), ("cars.b", 12), ("cars", 5)] {
        support::fill(&*log, topic, 2, &input(count), 5);
    }
    let (other, other_env) = (Arc::clone(&log), env.clone());
    let grows = std::thread::spawn(move || {
        other_env.clock.sleep(Duration::from_millis(500));
        support::fill(&*other, "cars.c", 1, &input(20), 5);
    });
    let report = run(&log, &env, &[by_city()], &until_quiet(8_000)).expect("runs");
    grows.join().expect("no panic");
    assert_eq!(report.records_in, 30 + 12 + 20);
    // What it writes matches too, and is not read.
    support::fill(&*log, "cars.counts", 1, &input(3), 5);
    let report = run(&log, &env, &[by_city()], &until_quiet(300)).expect("runs");
    assert_eq!(report.records_in, 0);
    let names: Vec<String> = (log.topics().expect("topics").into_iter())
        .map(|topic| topic.name)
        .filter(|name| name.starts_with("changelog__") || name.starts_with("repartition__"))
        .collect();
    for topic in ["cars.a", "cars.b", "cars.c"] {
        let own = format!("--{topic}--groupby--city");
        assert_eq!(
            names.iter().filter(|name| name.contains(&own)).count(),
            2,
            "{names:?}"
        );
    }
}

#[test]
fn a_range_of_a_pattern_closes_each_topic() {
    let (log, env) = support::memory_in_real_time();
    for topic in ["cars.a", "cars.b"] {
        support::fill(&*log, topic, 2, &input(30), 5);
    }
    let options = RunOptions {
        start: Start::At(Places::Beginning),
        until: Some(Places::End),
        commit: false,
        collect: true,
        ..RunOptions::default()
    };
    let report = run(&log, &env, &[by_city()], &options).expect("runs");
    let rows = report.rows_as_json().expect("rows");
    // Three cities in each topic, ten records each.
    assert_eq!(rows.len(), 6, "{rows:?}");
    assert!(
        rows.iter().all(|row| row.contains(r#""count":10"#)),
        "{rows:?}"
    );
}

#[test]
fn a_pattern_that_is_none_or_takes_anothers_topic_is_refused() {
    let (log, env) = support::memory_in_real_time();
    support::fill(&*log, "cars.a", 1, &input(1), 1);
    let own = DataFrame::topic("cars.a").filter(col("id").gt(0.0));
    for (frames, word) in [
        (vec![DataFrame::topic("^cars(")], "regular expression"),
        (vec![by_city(), own], "pattern=`^cars"),
    ] {
        let error = run(&log, &env, &frames, &until_quiet(100)).expect_err("refused");
        assert_eq!(error.class(), Class::Invalid, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}
