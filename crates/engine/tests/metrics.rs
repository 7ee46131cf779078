//! What an application's metrics say, against numbers that are known beforehand.

mod support;

use headwater::log::TopicConfig;
use headwater::plan::{Aggregate, AggregateFunction};
use headwater::{
    Application, DataFrame, ErrorPolicy, Metrics, OperatorMetrics, Phase, RunOptions, Settings,
    Snapshot, WindowLength, WindowSpec, col,
};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use support::functions::Registry;
use support::{In, QuietHost, Variant, WALL_MS};

fn record(key: &str, value: &str, timestamp: i64) -> In {
    In {
        key: Some(key.into()),
        value: Some(value.as_bytes().to_vec()),
        timestamp: WALL_MS + timestamp,
    }
}

fn sum(size_ms: i64) -> WindowSpec {
    WindowSpec {
        aggregates: vec![Aggregate {
            output: "sum".into(),
            function: AggregateFunction::Sum,
            input: Some(col("x")),
        }],
        ..WindowSpec::new(WindowLength::Tumbling { size_ms })
    }
}

fn operator<'a>(snapshot: &'a Snapshot, name: &str) -> &'a OperatorMetrics {
    let mut operators = snapshot.operators.iter();
    let found = operators.find(|operator| operator.name.starts_with(name));
    found.unwrap_or_else(|| panic!("no operator `{name}` in {:?}", snapshot.operators))
}

/// In and out; filtered, expanded, absorbed, emitted, late, failed.
fn flow(operator: &OperatorMetrics) -> ([u64; 2], [u64; 6]) {
    (
        [operator.rows_in, operator.rows_out],
        [
            operator.filtered,
            operator.expanded,
            operator.absorbed,
            operator.emitted,
            operator.late,
            operator.failed,
        ],
    )
}

fn run(records: &[In], frames: &[DataFrame], registry: &Registry, rows_max: usize) -> Snapshot {
    let (log, env) = support::memory();
    support::fill(&*log, "in", 1, records, 3);
    let variant = Variant {
        batch_rows_max: rows_max,
        ..Variant::plain(ErrorPolicy::DeadLetter)
    };
    let metrics = Metrics::default();
    let functions = &registry.functions;
    // What the last epoch of a run sends to a repartition topic is for the next run.
    for _ in 0..2 {
        support::run_counted(&log, &env, frames, functions, &variant, &metrics).expect("runs");
    }
    metrics.look_up_lag(&*log).expect("a log in memory answers");
    let snapshot = metrics.snapshot();
    snapshot.check().expect("every row is accounted for");
    snapshot
}

#[test]
fn every_row_is_accounted_for_at_every_operator() {
    let records = [
        record("a", r#"{"x":1}"#, 0),
        record("a", r#"{"x":"#, 100),
        record("a", r#"{"x":-5}"#, 200),
        record("a", r#"{"x":2}"#, 1_500),
        record("a", r#"{"x":3}"#, 900),
        record("a", r#"{"x":"text"}"#, 1_600),
        record("a", r#"{"x":4}"#, 2_500),
    ];
    for rows_max in [1, 2, 100] {
        let mut registry = Registry::default();
        let kept = DataFrame::topic("in").filter(!col("x").eq(-5));
        let twice = registry.stateful(&kept, "twice", true, |row, _| match row["x"].as_i64() {
            Some(2) => Ok(Vec::new()),
            _ => Ok(vec![row.clone(), row.clone()]),
        });
        let summed = kept.window(sum(1_000)).to_topic("out");
        let snapshot = run(&records, &[twice, summed], &registry, rows_max);
        let of = |name: &str| flow(operator(&snapshot, name));
        assert_eq!(of("read in"), ([7, 6], [0, 0, 0, 0, 0, 1]));
        assert_eq!(of("filter"), ([6, 5], [1, 0, 0, 0, 0, 0]));
        // Five rows, of which one gives nothing and the others two each.
        assert_eq!(of("expand twice"), ([5, 8], [0, 3, 0, 0, 0, 0]));
        // [0, 1000) and [1000, 2000) have closed; the text cannot be summed.
        assert_eq!(of("tumbling"), ([5, 2], [0, 0, 3, 2, 1, 1]));
        assert_eq!(of("to_topic"), ([2, 2], [0, 0, 0, 0, 0, 0]));
        assert_eq!(snapshot.records_out, 2);
        let [partition] = snapshot.partitions.as_slice() else {
            panic!("one partition: {:?}", snapshot.partitions)
        };
        let counts = (partition.records_in, partition.late);
        assert_eq!((counts, partition.dead_lettered), ((7, 1), 2));
        assert_eq!(
            (partition.is_assigned, snapshot.phase),
            (false, Phase::Stopped)
        );
    }
}

#[test]
fn a_change_of_key_is_two_operators_and_loses_nothing() {
    let records: Vec<In> = (0..10)
        .map(|x| record("a", &format!("{{\"x\":{x},\"city\":{}}}", x % 3), x))
        .collect();
    let frame = DataFrame::topic("in")
        .group_by("city", col("city"))
        .to_topic("out");
    let snapshot = run(&records, &[frame], &Registry::default(), 100);
    let of = |name: &str| flow(operator(&snapshot, name));
    assert_eq!(of("group by city"), ([10, 0], [0, 0, 10, 0, 0, 0]));
    let partitions: u64 = snapshot
        .partitions
        .iter()
        .map(|known| known.records_in)
        .sum();
    // What came, and what came back: controls are no records.
    assert_eq!(partitions, 20);
    assert_eq!(of("read repartition__"), ([10, 10], [0; 6]));
}

/// A partition's lag, watermark and position while a job runs, seen by its function.
#[test]
fn metrics_are_read_while_the_job_runs() {
    let (log, env) = support::memory();
    let records: Vec<In> = (0..30)
        .map(|x| record("a", &json!({ "x": x }).to_string(), x))
        .collect();
    support::fill(&*log, "in", 1, &records, 10);
    let metrics = Metrics::default();
    let mut registry = Registry::default();
    let (handle, own_log) = (metrics.clone(), Arc::clone(&log));
    let frame = registry.apply(&DataFrame::topic("in"), "look", move |row| {
        if row["x"] == 25 {
            handle
                .look_up_lag(&*own_log)
                .map_err(|error| error.to_string())?;
            let snapshot = handle.snapshot();
            let partition = &snapshot.partitions[0];
            assert_eq!(
                (snapshot.phase, partition.is_assigned),
                (Phase::Running, true)
            );
            assert_eq!((partition.records_in, partition.lag), (20, Some(10)));
            assert_eq!(partition.watermark_ms, Some(WALL_MS + 19));
            assert_eq!(partition.position.and_then(|at| at.offset()), Some(20));
            assert_eq!(snapshot.turns.len(), 1);
            // The first commit is made before the first record.
            assert_eq!(snapshot.commits.count, 3);
        }
        Ok(row.clone())
    });
    let variant = Variant {
        batch_rows_max: 10,
        commit_every: 1,
        ..Variant::plain(ErrorPolicy::Stop)
    };
    let functions = &registry.functions;
    support::run_counted(&log, &env, &[frame], functions, &variant, &metrics).expect("runs");
    let snapshot = metrics.snapshot();
    assert_eq!(snapshot.partitions[0].records_in, 30);
    assert_eq!(
        snapshot.commits.buckets.iter().sum::<u64>(),
        snapshot.commits.count
    );
}

#[test]
fn a_restore_says_how_far_it_has_come() {
    let (log, env) = support::memory();
    let records: Vec<In> = (0..50)
        .map(|x| record(&format!("k{x}"), &json!({ "x": x }).to_string(), x))
        .collect();
    support::fill(&*log, "in", 1, &records, 10);
    let frames = [DataFrame::topic("in").window(sum(1_000)).to_topic("out")];
    let metrics = Metrics::default();
    let variant = Variant::plain(ErrorPolicy::Stop);
    let again =
        || support::run_counted(&log, &env, &frames, &Default::default(), &variant, &metrics);
    again().expect("runs");
    assert_eq!(metrics.snapshot().restores, []);
    again().expect("runs");
    let snapshot = metrics.snapshot();
    let [restore] = snapshot.restores.as_slice() else {
        panic!("one restore: {:?}", snapshot.restores)
    };
    assert!(restore.changelog.topic.starts_with("changelog__test--"));
    assert_eq!(
        (restore.records, restore.remaining, restore.is_done),
        (50, Some(0), true)
    );
}

/// A plan that has changed counts anew what has changed, and goes on with the rest.
#[test]
fn counts_go_on_over_runs() {
    let (log, env) = support::memory();
    let config = TopicConfig::default();
    log.create_topic("in", &config).expect("a topic");
    let metrics = Metrics::default();
    for (round, factor) in [(1, 2), (2, 2), (3, 7)] {
        headwater::produce(&*log, "in", [("k", r#"{"x":1}"#, WALL_MS)]).expect("produces");
        let frame = DataFrame::topic("in").assign("y", col("x") * factor);
        let mut application = Application::new(
            Arc::clone(&log),
            env.clone(),
            Settings::new("test"),
            QuietHost::new(None),
        );
        application.set_metrics(metrics.clone());
        let options = RunOptions {
            timeout: Some(Duration::from_millis(200)),
            ..RunOptions::default()
        };
        application.run_frames(&[frame], &options).expect("runs");
        let snapshot = application.metrics().snapshot();
        assert_eq!(operator(&snapshot, "read in").rows_in, round);
        let assigned = operator(&snapshot, "assign").rows_in;
        assert_eq!(assigned, if factor == 7 { 1 } else { round });
    }
}
