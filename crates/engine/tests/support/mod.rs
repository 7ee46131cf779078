//! A log in memory on a clock that stands still, so that a run's time-out costs
//! no time, and ways to look at everything that a run leaves behind.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

pub mod faulty;
#[path = "../../../sim/src/functions.rs"]
pub mod functions;
#[cfg(target_os = "linux")]
#[path = "../../../log/tests/support/image.rs"]
pub mod image;
pub mod lap_job;
#[path = "../../../sim/src/naive.rs"]
pub mod oracle;

use headwater::core::env::{Env, ManualClock, Random};
use headwater::core::partitioner::partition_of;
use headwater::core::{Headers, Position, Records, RecordsBuilder, Result, TopicPartition};
use headwater::log::embedded::{EmbeddedLog, Options};
use headwater::log::memory::MemoryLog;
use headwater::log::{Durability, FetchLimits, Log, TopicConfig};
use headwater::operators::Functions;
use headwater::{
    Application, DataFrame, ErrorPolicy, Host, Metrics, Report, RunOptions, Settings, StreamHost,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The wall clock of the tests; event times are near it.
pub const WALL_MS: i64 = 1_700_000_000_000;

/// A seeded sequence of numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Seed(pub u64);

impl Seed {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of `[0, below)`.
    pub fn below(&mut self, below: u64) -> u64 {
        self.next() % below.max(1)
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

struct FixedRandom(AtomicU64);

impl Random for FixedRandom {
    fn next_u64(&self) -> u64 {
        Seed(self.0.fetch_add(1, Ordering::Relaxed)).next()
    }
}

/// An environment whose clock moves only when somebody sleeps.
pub fn still_env() -> Env {
    Env {
        clock: Arc::new(ManualClock::at(WALL_MS)),
        random: Arc::new(FixedRandom(AtomicU64::new(1))),
        ..Env::system()
    }
}

/// A number from the process's environment.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// A process that says nothing and asks to stop at the `stop_at`th look around.
pub struct QuietHost {
    looks: AtomicU64,
    stop_at: Option<u64>,
}

impl QuietHost {
    pub fn new(stop_at: Option<u64>) -> Arc<QuietHost> {
        Arc::new(QuietHost {
            looks: AtomicU64::new(0),
            stop_at,
        })
    }
}

impl Host for QuietHost {
    fn check(&self) -> Result<bool> {
        let looks = self.looks.fetch_add(1, Ordering::Relaxed);
        Ok(self.stop_at.is_some_and(|stop_at| stop_at <= looks))
    }
    fn print(&self, _text: &str) {}
    fn log(&self, _text: &str) {}
    fn spawn(
        &self,
        name: &str,
        work: Box<dyn FnOnce() + Send>,
    ) -> Result<Box<dyn FnOnce() + Send>> {
        StreamHost.spawn(name, work)
    }
}

/// A record that is put into a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct In {
    pub key: Option<String>,
    pub value: Option<Vec<u8>>,
    pub timestamp: i64,
}

/// A record that was found in a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Out {
    pub key: Option<String>,
    pub value: Option<String>,
    pub timestamp: i64,
    pub headers: Vec<(String, String)>,
}

impl Out {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    pub fn text(&self) -> &str {
        self.value.as_deref().unwrap_or("<null>")
    }
}

/// The partition of a key, as a producer chooses it.
pub fn partition(key: Option<&str>, partitions: u32) -> u32 {
    key.map_or(0, |key| partition_of(key.as_bytes(), partitions))
}

/// Appends records, `batch` at a time for each partition.
pub fn fill(log: &dyn Log, topic: &str, partitions: u32, records: &[In], batch: usize) {
    let config = TopicConfig {
        partitions,
        ..TopicConfig::default()
    };
    log.create_topic(topic, &config).expect("a topic");
    let mut producer = log.producer().expect("a producer");
    for to in 0..partitions {
        let of_partition: Vec<&In> = records
            .iter()
            .filter(|record| partition(record.key.as_deref(), partitions) == to)
            .collect();
        for chunk in of_partition.chunks(batch.max(1)) {
            let mut builder = RecordsBuilder::default();
            for record in chunk {
                let key = record.key.as_deref().map(str::as_bytes);
                builder.push(key, record.value.as_deref(), record.timestamp, None);
            }
            let partition = TopicPartition::new(topic, to);
            producer
                .append(&partition, builder.finish())
                .expect("appends");
        }
    }
    producer.flush().expect("flushes");
}

/// All records of one partition.
pub fn read_partition(log: &dyn Log, topic: &str, partition: u32) -> Vec<Out> {
    let partition = TopicPartition::new(topic, partition);
    let mut found = Vec::new();
    each_fetch(log, &partition, |records| {
        for index in 0..records.len() {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let headers: Headers = records.headers.get(index).cloned().flatten();
            found.push(Out {
                key: records.key(index).map(text),
                value: records.value(index).map(text),
                timestamp: records.timestamps[index],
                headers: headers
                    .iter()
                    .flat_map(|headers| headers.iter())
                    .map(|header| {
                        let value = header.value.as_deref().unwrap_or_default();
                        (header.name.to_string(), text(value))
                    })
                    .collect(),
            });
        }
    });
    found
}

fn each_fetch(log: &dyn Log, partition: &TopicPartition, mut take: impl FnMut(&Records)) {
    let bounds = log.bounds(partition).expect("bounds");
    let mut at: Position = bounds.start;
    let mut reader = log.reader(&[(partition.clone(), at)]).expect("a reader");
    while at < bounds.end {
        let fetched = reader
            .poll(Duration::ZERO, FetchLimits::default())
            .expect("polls");
        for fetched in fetched {
            at = fetched.resume;
            take(&fetched.records);
        }
    }
}

/// All records of a topic, partition after partition; nothing if there is none.
pub fn read(log: &dyn Log, topic: &str) -> Vec<Out> {
    let partitions = log
        .topic(topic)
        .expect("a topic")
        .map_or(0, |info| info.config.partitions);
    (0..partitions)
        .flat_map(|partition| read_partition(log, topic, partition))
        .collect()
}

/// The state that the changelogs of an application stand for: last value by key.
pub fn state(log: &dyn Log, application: &str) -> BTreeMap<(String, u32, Vec<u8>), Vec<u8>> {
    let mut state = BTreeMap::new();
    let prefix = format!("changelog__{application}--");
    for topic in log.topics().expect("topics") {
        if !topic.name.starts_with(&prefix) {
            continue;
        }
        for number in 0..topic.config.partitions {
            let partition = TopicPartition::new(topic.name.as_str(), number);
            each_fetch(log, &partition, |records| {
                for index in 0..records.len() {
                    let key = records.key(index).expect("changelog records have keys");
                    let id = (topic.name.clone(), number, key.to_vec());
                    match records.value(index) {
                        Some(value) => state.insert(id, value.to_vec()),
                        None => state.remove(&id),
                    };
                }
            });
        }
    }
    state
}

/// Values by key, in order.
pub fn by_key(records: &[Out]) -> BTreeMap<Option<String>, Vec<Out>> {
    let mut grouped: BTreeMap<Option<String>, Vec<Out>> = BTreeMap::new();
    for record in records {
        grouped
            .entry(record.key.clone())
            .or_default()
            .push(record.clone());
    }
    grouped
}

/// How long an input is quiet before ticks come, and until a run ends.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
pub const QUIET: Duration = Duration::from_secs(12);

/// How a job is run in one variant of a test.
#[derive(Clone, Debug)]
pub struct Variant {
    pub batch_rows_max: usize,
    /// Ends an epoch after this many records, or after an hour.
    pub commit_every: u64,
    pub workers: usize,
    /// Runs that end early: after so many looks around, or so many rows.
    pub stops: Vec<Stop>,
    pub policy: ErrorPolicy,
    /// Lets time pass while the input is quiet, until nothing more can come of it.
    pub ticks: bool,
    /// Where state spills to, and the memory that it may take; `None` keeps it in
    /// memory.
    pub spill: Option<(PathBuf, usize)>,
}

#[derive(Clone, Copy, Debug)]
pub enum Stop {
    Looks(u64),
    Rows(u64),
}

impl Variant {
    pub fn plain(policy: ErrorPolicy) -> Variant {
        Variant {
            batch_rows_max: 1_000,
            commit_every: 0,
            workers: 1,
            stops: Vec::new(),
            policy,
            ticks: false,
            spill: None,
        }
    }

    pub fn settings(&self) -> Settings {
        Settings {
            commit_interval: Some(Duration::from_secs(3_600)),
            commit_every: self.commit_every,
            workers: Some(self.workers),
            batch_rows_max: self.batch_rows_max,
            on_data_error: self.policy.clone(),
            idle_timeout: self.ticks.then_some(IDLE_TIMEOUT),
            state_memory_max: self.spill.as_ref().map_or(usize::MAX, |(_, max)| *max),
            state_directory: self.spill.as_ref().map(|(folder, _)| folder.clone()),
            ..Settings::new("test")
        }
    }
}

/// Runs a job to the end of its input, with the stops of the variant; returns
/// what the runs reported. Every operator must account for its rows.
pub fn run(
    log: &Arc<dyn Log>,
    env: &Env,
    frames: &[DataFrame],
    functions: &Functions,
    variant: &Variant,
) -> Result<Vec<Report>> {
    let metrics = Metrics::default();
    let reports = run_counted(log, env, frames, functions, variant, &metrics)?;
    let snapshot = metrics.snapshot();
    snapshot.check()?;
    let appended: u64 = reports.iter().map(|report| report.records_out).sum();
    assert_eq!(snapshot.records_out, appended, "one tally, not two");
    Ok(reports)
}

/// As [`run`], counting on in `metrics`.
pub fn run_counted(
    log: &Arc<dyn Log>,
    env: &Env,
    frames: &[DataFrame],
    functions: &Functions,
    variant: &Variant,
    metrics: &Metrics,
) -> Result<Vec<Report>> {
    let mut reports = Vec::new();
    let ends = variant.stops.iter().copied().map(Some).chain([None]);
    for stop in ends {
        let (looks, rows) = match stop {
            Some(Stop::Looks(looks)) => (Some(looks), None),
            Some(Stop::Rows(rows)) => (None, Some(rows)),
            None => (None, None),
        };
        let host = QuietHost::new(looks);
        let mut application =
            Application::new(Arc::clone(log), env.clone(), variant.settings(), host);
        *application.functions_mut() = functions.clone();
        application.set_metrics(metrics.clone());
        let options = RunOptions {
            count: rows,
            timeout: Some(match variant.ticks {
                true => QUIET,
                false => Duration::from_millis(200),
            }),
            ..RunOptions::default()
        };
        reports.push(application.run_frames(frames, &options)?);
    }
    Ok(reports)
}

/// As [`memory`], for several workers: where a sleeping worker moves the clock,
/// a run could time out before another worker has begun.
pub fn memory_in_real_time() -> (Arc<dyn Log>, Env) {
    let env = Env::system();
    (MemoryLog::new(env.clone()), env)
}

/// A log in a directory, on a clock that stands still; nothing waits for the disk.
pub fn embedded(directory: &Path) -> (Arc<dyn Log>, Env) {
    let env = still_env();
    let options = Options {
        durability: Durability::ProcessCrash,
        ..Options::new(env.clone())
    };
    (EmbeddedLog::open(directory, options).expect("opens"), env)
}

/// A folder in which syncing costs nothing, where there is one.
pub fn scratch() -> tempfile::TempDir {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    folder.expect("a folder")
}

/// A log in memory and the environment that it waits by.
pub fn memory() -> (Arc<dyn Log>, Env) {
    let env = still_env();
    (MemoryLog::new(env.clone()), env)
}
