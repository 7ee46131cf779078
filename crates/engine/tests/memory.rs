//! Memory has bounds: a slow sink and a burst stay within what an epoch may hold,
//! and keys that come and go for ever leave nothing behind.
//!
//! The peak of a process can be read but not set back, so every job runs in a
//! process of its own.

mod support;

use headwater::connect::{Delivery, Sink};
use headwater::core::env::Env;
use headwater::core::{RecordsBuilder, TopicPartition};
use headwater::log::embedded::{EmbeddedLog, Options};
use headwater::log::{Durability, Log, TopicConfig};
use headwater::{
    Aggregate, AggregateFunction, Application, DataFrame, Result, RunOptions, Settings,
    WindowLength, WindowSpec, col,
};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::WALL_MS;
use support::functions::Registry;

const DIRECTORY: &str = "HEADWATER_MEMORY_DIRECTORY";
const EPOCH_BYTES_MAX: usize = 4 << 20;
const MB: u64 = 1 << 20;
const HOUR_MS: i64 = 3_600_000;

fn open(directory: &Path) -> Arc<EmbeddedLog> {
    let options = Options {
        durability: Durability::ProcessCrash,
        // What is looked at is the job. The map of a compaction has a bound of its own,
        // which the log's documentation names.
        compaction_bytes: u64::MAX,
        ..Options::new(Env::system())
    };
    EmbeddedLog::open(directory, options).expect("opens")
}

/// What `/proc/self/status` says of `VmRSS` or `VmHWM`, in bytes.
fn resident(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    kilobytes
        .and_then(|text| text.parse::<u64>().ok())
        .expect("a size")
        * 1024
}

/// Appends `count` records, made by number.
fn produce(directory: &Path, count: u64, make: impl Fn(u64) -> (String, String, i64)) {
    let log = open(directory);
    log.create_topic("in", &TopicConfig::default())
        .expect("a topic");
    let mut producer = log.producer().expect("a producer");
    let mut number = 0;
    while number < count {
        let mut records = RecordsBuilder::default();
        for _ in 0..1_000 {
            let (key, value, timestamp) = make(number);
            records.push(
                Some(key.as_bytes()),
                Some(value.as_bytes()),
                timestamp,
                None,
            );
            number += 1;
        }
        let partition = TopicPartition::new("in", 0);
        producer
            .append(&partition, records.finish())
            .expect("appends");
    }
    producer.flush().expect("flushes");
}

/// Runs one of the tests below in a process of its own.
fn in_a_process(name: &str, directory: &Path) {
    let output = Command::new(std::env::current_exe().expect("a path"))
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .output()
        .expect("starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success(), "{said}{failed}");
    assert!(said.contains("resident"), "the job has run: {said}");
}

/// Takes its time, and keeps nothing.
struct SlowSink(Env);

impl Sink for SlowSink {
    fn open(&mut self, _: &Env, _: Option<&[u8]>) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, _: &Delivery) -> Result<()> {
        self.0.clock.sleep(Duration::from_millis(5));
        Ok(())
    }

    fn flush(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

#[test]
fn child_has_a_slow_sink() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else {
        return;
    };
    let settings = Settings {
        epoch_bytes_max: EPOCH_BYTES_MAX,
        commit_interval: Some(Duration::from_secs(3_600)),
        workers: Some(1),
        ..Settings::new("job")
    };
    let mut application = Application::in_process(open(&directory), settings);
    let sink = SlowSink(Env::system());
    application
        .add_sink("slow", Box::new(sink))
        .expect("a sink");
    // One row of a thousand, each of which keeps what was fetched with it.
    let frame = DataFrame::topic("in")
        .filter((col("n") % 1_000).eq(0))
        .sink("slow");
    let before = resident("VmRSS:");
    let options = RunOptions {
        timeout: Some(Duration::from_millis(500)),
        collect: false,
        ..RunOptions::default()
    };
    let report = application.run_frames(&[frame], &options).expect("runs");
    let peak = resident("VmHWM:") - before;
    println!("resident: {} MB more at the peak, {report:?}", peak / MB);
    let allowed = 4 * EPOCH_BYTES_MAX as u64 + 16 * MB;
    assert!(peak < allowed, "{peak} bytes are more than {allowed}");
}

#[test]
fn a_slow_sink_and_a_burst_stay_within_the_bound_of_an_epoch() {
    let folder = tempfile::tempdir().expect("a folder");
    let filler = "x".repeat(1_000);
    let make = |number| {
        let value = format!("{{\"n\":{number},\"filler\":\"{filler}\"}}");
        ("k".to_owned(), value, WALL_MS)
    };
    // Forty times what an epoch may hold.
    produce(folder.path(), 160_000, make);
    in_a_process("child_has_a_slow_sink", folder.path());
}

/// Records of keys that each come a few times and never again, ten minutes apart.
const CHURN_RECORDS: u64 = 300_000;

#[test]
fn child_has_keys_that_come_and_go() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else {
        return;
    };
    let sizes: Arc<Mutex<Vec<u64>>> = Arc::default();
    let seen = Arc::clone(&sizes);
    let mut registry = Registry::default();
    let noted = registry.stateful(&DataFrame::topic("in"), "note", false, move |row, state| {
        state.set(b"seen", &[b'x'; 100], Some(HOUR_MS));
        if row["n"]
            .as_u64()
            .is_some_and(|n| n % (CHURN_RECORDS / 10) == 0)
        {
            let mut sizes = seen.lock().expect("nobody panics with it");
            sizes.push(resident("VmRSS:"));
        }
        Ok(vec![row.clone()])
    });
    let spec = WindowSpec {
        key_timeout_ms: HOUR_MS,
        key_retention_ms: 25 * HOUR_MS,
        aggregates: vec![Aggregate {
            output: "all".into(),
            function: AggregateFunction::Collect,
            input: Some(col("n")),
        }],
        ..WindowSpec::new(WindowLength::Tumbling { size_ms: HOUR_MS })
    };
    let frame = noted.window(spec).to_topic("out");
    let settings = Settings {
        workers: Some(1),
        // While a job is behind its epochs grow, and with them what one epoch holds.
        commit_every: 1_000,
        ..Settings::new("job")
    };
    let mut application = Application::in_process(open(&directory), settings);
    *application.functions_mut() = registry.functions;
    let options = RunOptions {
        timeout: Some(Duration::from_millis(500)),
        collect: false,
        ..RunOptions::default()
    };
    let report = application.run_frames(&[frame], &options).expect("runs");
    assert!(CHURN_RECORDS / 4 < report.rows_out, "windows have closed");
    let sizes = sizes.lock().expect("nobody panics with it");
    println!(
        "resident: {:?} MB",
        sizes.iter().map(|size| size / MB).collect::<Vec<_>>()
    );
    assert_eq!(sizes.len(), 10);
    // The first tenths warm up. Afterwards 150,000 keys come and go.
    let grown = sizes[9].saturating_sub(sizes[4]);
    assert!(grown < 8 * MB, "{grown} bytes more, and no key more");
}

#[test]
fn keys_that_come_and_go_give_their_memory_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = WALL_MS - CHURN_RECORDS as i64 * HOUR_MS / 6;
    let make = |number: u64| {
        let at = start + number as i64 * HOUR_MS / 6;
        (
            format!("key-{}", number / 3),
            format!("{{\"n\":{number}}}"),
            at,
        )
    };
    produce(folder.path(), CHURN_RECORDS, make);
    in_a_process("child_has_keys_that_come_and_go", folder.path());
    let state = support::state(&*open(folder.path()), "job");
    assert!(
        state.len() < 1_500,
        "{} entries are left in the changelogs",
        state.len()
    );
}
