//! A stateful, windowed job from a CSV file to topics and files, and what it must
//! give: for tests that end it in the middle.

use super::functions::{Registry, add_to};
use super::oracle::{Row, Rules, Windows, canonical, canonical_text};
use super::{Seed, WALL_MS};
use headwater::connect::{
    CsvSource, CsvSourceOptions, JsonLinesSink, JsonLinesSinkOptions, TimestampField,
    TimestampFormat,
};
use headwater::core::env::Env;
use headwater::core::{Position, TopicPartition};
use headwater::log::Log;
use headwater::log::embedded::{EmbeddedLog, Options};
use headwater::plan::TopicRef;
use headwater::{
    Aggregate, AggregateFunction, Application, DataFrame, Ended, Report, RunOptions, Settings,
    WindowLength, WindowSpec, col,
};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

pub const CHILD: &str = "HEADWATER_KILL_DIRECTORY";
const RULES: Rules = Rules {
    size: 1_000,
    advance: 500,
    grace: 100,
    is_by_key: true,
    is_final: true,
    key_timeout: 900_000,
    key_retention: 604_800_000,
};

pub fn open(directory: &Path) -> Arc<EmbeddedLog> {
    EmbeddedLog::open(&directory.join("log"), Options::default()).expect("opens")
}

fn frames(registry: &mut Registry) -> Vec<DataFrame> {
    let rows = DataFrame::topic("laps");
    let counted = registry.stateful(&rows, "count", false, |row, state| {
        let mut row = row.clone();
        row["count"] = add_to(state, "count", 1).into();
        Ok(vec![row])
    });
    let aggregate = |output: &str, function, input| Aggregate {
        output: output.into(),
        function,
        input,
    };
    let spec = WindowSpec {
        grace_ms: RULES.grace,
        aggregates: vec![
            aggregate("total", AggregateFunction::Sum, Some(col("x"))),
            aggregate("n", AggregateFunction::Count, None),
            aggregate("first", AggregateFunction::First, Some(col("x"))),
            aggregate("last", AggregateFunction::Last, Some(col("x"))),
        ],
        ..WindowSpec::new(WindowLength::Hopping {
            size_ms: 1_000,
            advance_ms: 500,
        })
    };
    let windows = counted.window(spec);
    vec![
        counted.to_topic("rows"),
        counted.sink("rows"),
        windows.to_topic("windows").sink("windows"),
    ]
}

/// Where a child works; `None` in the ordinary run of the tests.
pub fn child_directory() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// Runs the job to the end of its input.
pub fn run(directory: &Path) {
    let report = run_with(
        directory,
        &RunOptions::default(),
        Duration::from_micros(100),
    );
    assert_eq!(report.ended, Ended::EndOfInput);
    println!("> done {}", report.records_in);
}

/// Runs the job; its source waits for `delay` after each row.
pub fn run_with(directory: &Path, options: &RunOptions, delay: Duration) -> Report {
    let settings = Settings {
        batch_rows_max: 20,
        state_memory_max: super::number(STATE_MEMORY, 512 << 20) as usize,
        ..Settings::new("job")
    };
    let mut application = Application::in_process(open(directory), settings);
    let source_options = CsvSourceOptions {
        key_column: Some("key".into()),
        timestamp: Some(TimestampField {
            name: "time".into(),
            format: TimestampFormat::Milliseconds,
        }),
        delay,
        ..CsvSourceOptions::default()
    };
    let source = CsvSource::new(directory.join("input.csv"), source_options);
    application
        .add_source("csv", Box::new(source), TopicRef::json("laps"))
        .expect("a source");
    for name in ["rows", "windows"] {
        let path = directory.join(name).with_extension("jsonl");
        let sink = JsonLinesSink::new(path, JsonLinesSinkOptions::default());
        application.add_sink(name, Box::new(sink)).expect("a sink");
    }
    let mut registry = Registry::default();
    let frames = frames(&mut registry);
    *application.functions_mut() = registry.functions;
    application
        .run_frames(&frames, options)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The memory that the state of a job may take.
pub const STATE_MEMORY: &str = "HEADWATER_KILL_STATE_MEMORY";

pub fn start(directory: &Path) -> Child {
    start_by(
        Command::new(std::env::current_exe().expect("a path")),
        directory,
    )
}

pub fn start_by(mut command: Command, directory: &Path) -> Child {
    command
        .args([
            "child_runs_the_job",
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD, directory)
        .env_remove("HEADWATER_KILLS")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts")
}

/// The rows of the file, as the job must see them.
pub fn write_input(directory: &Path, seed: &mut Seed, len: u64) -> Vec<Row> {
    let mut text = "key,time,id,x\n".to_owned();
    let mut rows = Vec::new();
    for id in 0..len {
        let key = format!("car-{}", seed.below(7));
        let timestamp = WALL_MS + id as i64 * 7 - seed.below(900) as i64;
        let x = match seed.below(3) {
            0 => format!("{}.5", seed.below(50)),
            1 => "9007199254740993".to_owned(),
            _ => seed.below(100).to_string(),
        };
        writeln!(text, "{key},{timestamp},{id},{x}").expect("writes");
        let value = format!("{{\"key\":\"{key}\",\"time\":{timestamp},\"id\":{id},\"x\":{x}}}");
        rows.push(Row {
            key: Some(key),
            value: serde_json::from_str(&value).expect("sound JSON"),
            timestamp,
        });
    }
    std::fs::write(directory.join("input.csv"), text).expect("writes");
    rows
}

/// The rows and windows that the job must give, in order.
fn wanted(input: &[Row]) -> (Vec<Row>, Vec<Row>) {
    let mut windows = Windows::new(RULES, "x", false);
    let mut counts: BTreeMap<Option<String>, i64> = BTreeMap::new();
    let (mut rows, mut results) = (Vec::new(), Vec::new());
    let mut watermark = i64::MIN;
    for row in input {
        watermark = watermark.max(row.timestamp);
        let count = counts.entry(row.key.clone()).or_default();
        *count += 1;
        let mut row = row.clone();
        row.value["count"] = (*count).into();
        let (closed, own) = windows.record(&row, watermark).expect("no data errors");
        results.extend(closed.into_iter().chain(own));
        results.extend(windows.advance(watermark, None));
        rows.push(row);
    }
    // The end of the file closes what is open.
    results.extend(windows.advance(i64::MAX, None));
    (rows, results)
}

fn texts(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| canonical(&row.value)).collect()
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(canonical_text).collect()
}

/// The first difference, because the whole lists are long.
fn assert_same(what: &str, left: &[String], wanted: &[String]) {
    let differs = left
        .iter()
        .zip(wanted)
        .position(|(left, wanted)| left != wanted);
    if let Some(at) = differs {
        panic!(
            "{what}: number {at} is {} and should be {}",
            left[at], wanted[at]
        );
    }
    assert_eq!(left.len(), wanted.len(), "{what}: how many");
}

/// The longest that a killed process may have left a sink's file beyond its
/// committed length, as a sign that kills came between flush and commit.
pub fn uncommitted_bytes(directory: &Path) -> u64 {
    let log = open(directory);
    let committed = log.committed("job").expect("committed");
    let mut most = 0;
    for name in ["rows", "windows"] {
        let partition = TopicPartition::new(format!("sink:{name}"), 0);
        let known = committed.iter().find(|(other, _)| *other == partition);
        let bytes = known.map_or(0, |(_, known)| {
            let length = known.metadata[1..9].try_into().expect("eight bytes");
            u64::from_be_bytes(length)
        });
        let path = directory.join(name).with_extension("jsonl");
        let len = std::fs::metadata(path).map_or(0, |file| file.len());
        assert!(
            bytes <= len,
            "a sink's file is shorter than what is committed of it"
        );
        most = most.max(len - bytes);
    }
    most
}

/// Lets the job come to its end; returns what it said.
pub fn finish(directory: &Path, seed: u64) -> String {
    let clock = Env::system().clock;
    let mut child = start(directory);
    let give_up = clock.monotonic() + Duration::from_secs(60);
    while matches!(child.try_wait(), Ok(None)) {
        if give_up < clock.monotonic() {
            child.kill().expect("kills");
        }
        clock.sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("waits");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "the last run failed: {text} HEADWATER_SEED={seed}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn check(directory: &Path, input: &[Row]) {
    let (rows, windows) = wanted(input);
    let (rows, windows) = (texts(&rows), texts(&windows));
    let log = open(directory);
    let of_topic = |topic: &str| -> Vec<String> {
        let records = super::read(&*log, topic);
        records
            .iter()
            .map(|record| canonical_text(record.text()))
            .collect()
    };
    assert_same("topic rows", &of_topic("rows"), &rows);
    assert_same("file rows", &lines(&directory.join("rows.jsonl")), &rows);
    assert_same("topic windows", &of_topic("windows"), &windows);
    assert_same(
        "file windows",
        &lines(&directory.join("windows.jsonl")),
        &windows,
    );
    let read = log.committed("job").expect("committed");
    let input_at = read
        .iter()
        .find(|(partition, _)| *partition == TopicPartition::new("laps", 0));
    let end = Position::from_offset(input.len() as u64 + 1);
    assert_eq!(
        input_at.map(|(_, known)| known.position),
        Some(end),
        "the end of input is read"
    );
    check_state(&*log, input);
}

/// Every window is closed, and every key's count is that of its rows.
fn check_state(log: &dyn Log, input: &[Row]) {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for row in input {
        *counts.entry(row.key.clone().expect("a key")).or_default() += 1;
    }
    let state = super::state(log, "job");
    for (key, count) in counts {
        let kept = state.iter().filter(|((topic, _, name), value)| {
            let has = |part: &str| {
                name.windows(part.len())
                    .any(|found| found == part.as_bytes())
            };
            let count = count.to_string();
            topic.ends_with("default")
                && has(&key)
                && value
                    .windows(count.len())
                    .any(|found| found == count.as_bytes())
        });
        assert_eq!(kept.count(), 1, "the state of {key}");
    }
    // Kind 2 of a window's changelog is an open window.
    let open = state
        .keys()
        .filter(|(topic, _, key)| topic.contains("window") && key[0] == 2);
    assert_eq!(open.count(), 0, "open windows");
}
