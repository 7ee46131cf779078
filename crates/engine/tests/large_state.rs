//! State larger than memory: a job whose values are many times what its process
//! may use works, each value that it reads is right, and it goes on quickly.
//!
//! Sizes come from the environment: `HEADWATER_STATE_MB` of values (60 by
//! default) in a process that is limited to `HEADWATER_STATE_LIMIT_MB` of address
//! space (400). `make trust` runs 5,000 in 2,000.
//!
//! ```text
//! fill      every key once, then a tenth of them again, at random
//! restart   a clean start and a few records
//! crash     records until the process is killed, then as restart
//! rebuild   the files of the store are gone: from the changelog
//! ```

mod support;

use headwater::core::env::Env;
use headwater::core::{RecordsBuilder, TopicPartition};
use headwater::log::embedded::{EmbeddedLog, Options};
use headwater::log::{Log, TopicConfig};
use headwater::{Application, DataFrame, RunOptions, Settings};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use support::functions::Registry;
use support::{Seed, WALL_MS};

const CHILD: &str = "HEADWATER_LARGE_STATE_DIRECTORY";
const TOPIC: &str = "visits";
const VALUE_BYTES: u64 = 1_000;

fn megabytes() -> u64 {
    support::number("HEADWATER_STATE_MB", 60)
}

fn limit_mb() -> u64 {
    support::number("HEADWATER_STATE_LIMIT_MB", 400)
}

fn keys() -> u64 {
    megabytes() * 1_000_000 / VALUE_BYTES
}

/// The value of a key that has been visited so often.
fn value(key: &str, visits: u64) -> Vec<u8> {
    let mut seed = Seed(
        key.bytes()
            .fold(visits, |hash, byte| hash * 31 + u64::from(byte)),
    );
    let mut value = format!("{visits} ").into_bytes();
    while (value.len() as u64) < VALUE_BYTES {
        value.extend_from_slice(&seed.next().to_le_bytes());
    }
    value
}

/// Counts the visits of each key, in a value that fits no other count or key.
fn visits(registry: &mut Registry) -> DataFrame {
    let rows = DataFrame::topic(TOPIC);
    let counted = registry.stateful(&rows, "visit", false, |row, state| {
        let key = row["key"].as_str().ok_or("no key")?;
        let before = state.get(b"visits");
        let visits = match before.as_deref() {
            None => 0,
            Some(bytes) => {
                let end = bytes.iter().position(|byte| *byte == b' ');
                let text = std::str::from_utf8(&bytes[..end.unwrap_or(0)]);
                let visits = text.ok().and_then(|text| text.parse().ok()).unwrap_or(0);
                if *bytes != value(key, visits) {
                    return Err(format!("the value of {key} is wrong"));
                }
                visits
            }
        };
        if row["visits"].as_u64() != Some(visits) {
            return Err(format!("{key} has {visits} visits before {row}"));
        }
        state.set(b"visits", &value(key, visits + 1), None);
        Ok(vec![row.clone()])
    });
    counted.filter(headwater::lit(false))
}

fn open(directory: &Path) -> std::sync::Arc<EmbeddedLog> {
    EmbeddedLog::open(&directory.join("log"), Options::default()).expect("opens")
}

/// What a child says: how long it took to its first commit after records, and
/// the most memory it has had.
#[test]
fn child_runs_the_job() {
    let Some(directory) = std::env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    let clock = Env::system().clock;
    let started = clock.monotonic();
    let log = open(&directory);
    let settings = Settings {
        state_memory_max: (limit_mb() << 20) as usize / 8,
        ..Settings::new("job")
    };
    let mut application = Application::in_process(log, settings);
    let mut registry = Registry::default();
    let frame = visits(&mut registry);
    *application.functions_mut() = registry.functions;
    let options = RunOptions {
        timeout: Some(Duration::from_millis(500)),
        ..RunOptions::default()
    };
    let report = application
        .run_frames(&[frame], &options)
        .unwrap_or_else(|error| panic!("{error}"));
    let took = clock.monotonic().saturating_sub(started);
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let peak = status.lines().find(|line| line.starts_with("VmHWM:"));
    let peak_kb = peak.and_then(|line| line.split_whitespace().nth(1));
    println!(
        "> {} {} {} {}",
        report.records_in,
        took.saturating_sub(Duration::from_millis(500)).as_millis(),
        peak_kb.unwrap_or("0"),
        cpu_ms()
    );
}

/// The processor time that this process has used.
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("a stat");
    // User and system time in hundredths of a second, after the name.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .map(|ticks| ticks.parse::<u64>().expect("a number") * 10)
        .sum()
}

/// What a run did.
struct Ran {
    records: u64,
    took_ms: u64,
    peak_mb: u64,
    cpu_ms: u64,
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new("sh");
    let limit = format!("ulimit -v {}; exec \"$0\" \"$@\"", limit_mb() << 10);
    command.args(["-c", &limit]);
    command
        .arg(std::env::current_exe().expect("a path"))
        .args(["child_runs_the_job", "--exact", "--nocapture"])
        .args(["--test-threads=1"])
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(directory: &Path) -> Ran {
    let output = command(directory).output().expect("starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the job failed: {text} {errors}");
    let line = text.lines().find_map(|line| line.split_once("> "));
    let words = line.map_or("", |(_, words)| words);
    let mut numbers = words.split(' ').map(|word| word.parse().expect("a number"));
    let mut next = || numbers.next().expect("four numbers");
    Ran {
        records: next(),
        took_ms: next(),
        peak_mb: next() >> 10,
        cpu_ms: next(),
    }
}

/// The records of one phase, and how often each key has been visited before.
struct Visits {
    counts: Vec<u32>,
}

impl Visits {
    fn append(&mut self, directory: &Path, keys: impl Iterator<Item = u64>) -> u64 {
        let log = open(directory);
        let config = TopicConfig::default();
        log.create_topic(TOPIC, &config).expect("a topic");
        let mut producer = log.producer().expect("a producer");
        let partition = TopicPartition::new(TOPIC, 0);
        let mut records = RecordsBuilder::default();
        let mut len = 0;
        for number in keys {
            let key = format!("visitor-{number:08}");
            let visits = &mut self.counts[number as usize];
            let row = format!("{{\"key\":\"{key}\",\"visits\":{visits}}}");
            *visits += 1;
            len += 1;
            records.push(Some(key.as_bytes()), Some(row.as_bytes()), WALL_MS, None);
            if records.len() == 5_000 {
                let full = std::mem::take(&mut records).finish();
                producer.append(&partition, full).expect("appends");
            }
        }
        producer
            .append(&partition, records.finish())
            .expect("appends");
        producer.flush().expect("flushes");
        len
    }
}

fn say(phase: &str, ran: &Ran) {
    println!(
        "{phase}: {} records, {} ms, {} ms of processor time, peak {} MB",
        ran.records, ran.took_ms, ran.cpu_ms, ran.peak_mb
    );
}

#[test]
fn state_larger_than_memory_works_and_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path();
    let keys = keys();
    let mut seed = Seed(support::number("HEADWATER_SEED", 0x57a7e));
    let mut visits = Visits {
        counts: vec![0; keys as usize],
    };
    visits.append(directory, 0..keys);
    visits.append(directory, (0..keys / 10).map(|_| seed.below(keys)));
    let filled = run(directory);
    say("fill", &filled);
    assert_eq!(filled.records, keys + keys / 10);
    let on_disk = bytes_of(&directory.join("log/state"));
    assert!(
        keys * VALUE_BYTES <= on_disk,
        "{on_disk} bytes are on disk for {keys} keys"
    );

    let few = |visits: &mut Visits, seed: &mut Seed| {
        let keys: Vec<u64> = (0..20).map(|_| seed.below(keys)).collect();
        visits.append(directory, keys.into_iter());
    };
    few(&mut visits, &mut seed);
    let restarted = run(directory);
    say("restart", &restarted);
    assert_eq!(restarted.records, 20);

    // Killed while it works: what was not written to disk is in the changelog.
    let more: Vec<u64> = (0..keys / 5).map(|_| seed.below(keys)).collect();
    let more = visits.append(directory, more.into_iter());
    let mut child = command(directory).spawn().expect("starts");
    let clock = Env::system().clock;
    clock.sleep(Duration::from_millis(700 + seed.below(300)));
    child.kill().expect("kills");
    child.wait().expect("waits");
    let crashed = run(directory);
    say("crash", &crashed);
    assert!(crashed.records <= more);

    std::fs::remove_dir_all(directory.join("log/state")).expect("removes");
    few(&mut visits, &mut seed);
    let rebuilt = run(directory);
    say("rebuild", &rebuilt);
    assert_eq!(rebuilt.records, 20);
    for ran in [&filled, &restarted, &crashed, &rebuilt] {
        assert!(ran.peak_mb <= limit_mb(), "within the limit");
    }
    println!(
        "trust: what=large-state count=1 mb={} limit_mb={} disk_mb={} restart_ms={} \
         rebuild_mb_s={} failures=0",
        megabytes(),
        limit_mb(),
        on_disk / 1_000_000,
        restarted.took_ms,
        megabytes() * 1_000 / rebuilt.took_ms.max(1),
    );
}

/// The length of all files in a folder and those below.
fn bytes_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries
        .map(|entry| {
            let entry = entry.expect("an entry");
            let metadata = entry.metadata().expect("metadata");
            match metadata.is_dir() {
                true => bytes_of(&entry.path()),
                false => metadata.len(),
            }
        })
        .sum()
}
