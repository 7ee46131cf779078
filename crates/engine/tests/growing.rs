//! A file that grows between runs: its end closes every window, once, and what
//! follows opens none of them again.

mod support;

use headwater::connect::{CsvSource, CsvSourceOptions, TimestampField, TimestampFormat};
use headwater::plan::Op;
use headwater::{
    Aggregate, AggregateFunction, Application, Closing, DataFrame, Ended, ErrorPolicy, RunOptions,
    Settings, TopicRef, WindowLength, WindowSpec, col,
};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use support::{QuietHost, Seed, Variant, WALL_MS};

fn random_spec(seed: &mut Seed, name: &str) -> WindowSpec {
    let size_ms = *seed.pick(&[100, 250]);
    WindowSpec {
        name: Some(name.into()),
        closing: *seed.pick(&[Closing::Key, Closing::Partition, Closing::Partition]),
        grace_ms: *seed.pick(&[0, 0, 70]),
        key_timeout_ms: *seed.pick(&[0, 300, 900_000]),
        key_retention_ms: *seed.pick(&[200, 604_800_000]),
        aggregates: vec![Aggregate {
            output: "n".into(),
            function: AggregateFunction::Sum,
            input: Some(col("one")),
        }],
        ..WindowSpec::new(match seed.below(3) {
            0 => WindowLength::Hopping {
                size_ms,
                advance_ms: 50,
            },
            _ => WindowLength::Tumbling { size_ms },
        })
    }
}

fn check_case(seed: u64) {
    let mut random = Seed(seed);
    let spec = random_spec(&mut random, "w");
    let is_retimed = random.below(3) == 0;
    let is_chained = random.below(3) == 0;
    let mut frame = DataFrame::topic("in");
    if is_retimed {
        frame = frame.then(Op::SetTimestamp(col("t")));
    }
    let windows = frame.window(spec.clone());
    let mut frames = vec![windows.to_topic("out")];
    if is_chained {
        let again = windows.assign("one", col("n"));
        frames.push(
            again
                .window(random_spec(&mut random, "v"))
                .to_topic("again"),
        );
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("in.csv");
    std::fs::write(&path, "k,t,one\n").expect("writes");
    let (log, env) = support::memory();
    let (mut rows, mut late, mut dead) = (0, 0, 0);
    let mut time = WALL_MS;
    let about = format!("HEADWATER_SEED={seed} HEADWATER_CASES=1 {spec:?}");
    for _ in 0..2 + random.below(3) {
        let mut file = std::fs::File::options()
            .append(true)
            .open(&path)
            .expect("opens");
        for _ in 0..random.below(12) {
            let key = random.pick(&["a", "b", "c"]);
            let one = *random.pick(&["1", "1", "1", "1", "1", "no number"]);
            let at = time - random.below(130) as i64;
            writeln!(file, "{key},{at},{one}").expect("writes");
            time += random.below(60) as i64;
            rows += 1;
        }
        let variant = Variant {
            batch_rows_max: *random.pick(&[1, 3, 1_000]),
            commit_every: random.below(4),
            ..Variant::plain(ErrorPolicy::DeadLetter)
        };
        let settings = Settings {
            commit_interval: None,
            ..variant.settings()
        };
        let host = QuietHost::new(None);
        let mut application = Application::new(Arc::clone(&log), env.clone(), settings, host);
        let options = CsvSourceOptions {
            key_column: Some("k".into()),
            timestamp: Some(TimestampField {
                name: "t".into(),
                format: TimestampFormat::Milliseconds,
            }),
            ..CsvSourceOptions::default()
        };
        let source = Box::new(CsvSource::new(&path, options));
        application
            .add_source("csv", source, TopicRef::json("in"))
            .expect("a source");
        let report = application
            .run_frames(&frames, &RunOptions::default())
            .unwrap_or_else(|error| panic!("{error} {about}"));
        assert_eq!(report.ended, Ended::EndOfInput, "{about}");
        late += report.late;
        dead += report.dead_lettered;
    }
    for topic in ["out", "again"] {
        let mut seen = BTreeSet::new();
        let mut counted = 0;
        for row in support::read(&*log, topic) {
            let value: Json = serde_json::from_str(row.text()).expect("a row");
            counted += value["n"].as_u64().expect("a count");
            let window = (row.key.clone(), row.timestamp);
            assert!(
                seen.insert(window),
                "a window that was closed is open again: {row:?} {about}"
            );
        }
        // Each row is in one window, or late, or no number.
        if topic == "out" && !is_chained && matches!(spec.length, WindowLength::Tumbling { .. }) {
            assert_eq!(counted + late + dead, rows, "{about}");
        }
    }
}

#[test]
fn no_window_is_opened_again() {
    let first = support::number("HEADWATER_SEED", 1);
    for seed in first..first + support::number("HEADWATER_CASES", 300) {
        check_case(seed);
    }
}
