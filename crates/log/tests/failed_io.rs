//! The Nth input or output fails, for every N of a script: nothing that was
//! acknowledged is lost, nothing else is half there, and nobody panics or hangs.
//!
//! The script runs in a process of its own, under a shim that `cc` builds from
//! `support/fail_io.c`. Failures take turns: `EIO` once, `ENOSPC` once, a short
//! write, a disk that is dead from then on. `HEADWATER_FAIL_SCRIPTS` says how many
//! scripts are run, each with another seed (`HEADWATER_SEED` and up) and other
//! turns.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failure ends the test")]

mod support;

use headwater_core::{Class, Error, Records, RecordsBuilder};
use headwater_log::embedded::{EmbeddedLog, Options};
use headwater_log::{CommitOutcome, FetchLimits, Log, Producer, Reader, TopicConfig, Transactor};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use support::*;

const SEED: &str = "HEADWATER_SCRIPT_SEED";
const STEPS: u64 = 12;
const HOWS: [&str; 4] = ["eio", "enospc", "short", "dead"];

/// After so many failures in a row the script gives up, as a user would.
const FAILURES_MAX: u32 = 4;

/// Builds the shim.
fn build_shim(directory: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/fail_io.c");
    let shim = directory.join("fail_io.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .args([&shim, &source])
        .arg("-ldl")
        .status()
        .expect("there is a C compiler: SQLite needs one too");
    assert!(built.success());
    shim
}

/// What transaction `number` appends: to `a` its number some times over, to `c`
/// changes of a few keys.
fn outputs(seed: u64, number: u64) -> (Records, Records) {
    let mut seed = (seed ^ (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1;
    let mut a = RecordsBuilder::default();
    for _ in 0..random(&mut seed) % 40 + 1 {
        let value = number
            .to_be_bytes()
            .repeat((random(&mut seed) % 300) as usize + 1);
        a.push(None, Some(&value), 0, None);
    }
    let mut c = RecordsBuilder::default();
    for _ in 0..random(&mut seed) % 60 + 20 {
        let key = [(random(&mut seed) % 30) as u8];
        let value = (!random(&mut seed).is_multiple_of(5)).then(|| [number as u8; 50]);
        c.push(Some(&key), value.as_ref().map(|value| &value[..]), 0, None);
    }
    (a.finish(), c.finish())
}

const FLUSHED: u64 = 5;

fn flushed(number: u64) -> Records {
    let mut builder = RecordsBuilder::default();
    for _ in 0..FLUSHED {
        builder.push(None, Some(&number.to_be_bytes()), 0, None);
    }
    builder.finish()
}

fn options() -> Options {
    Options {
        // Only when the script says so: then runs are alike.
        retention_interval: Duration::from_secs(3_600),
        compaction_bytes: 2_000,
        tombstone_retention: Duration::ZERO,
        busy_max: Duration::from_secs(5),
        warn: Arc::new(|_| {}),
        ..Options::default()
    }
}

/// One life of the job: until the script is done or something fails.
struct Job {
    transactor: Box<dyn Transactor>,
    producer: Box<dyn Producer>,
    reader: Box<dyn Reader>,
    next: u64,
    next_flush: u64,
    log: Arc<EmbeddedLog>,
    _member: Box<dyn headwater_log::Member>,
}

impl Job {
    fn start(directory: &Path) -> headwater_core::Result<Job> {
        let log = EmbeddedLog::open(directory, options())?;
        for topic in ["a", "c", "p"] {
            let config = TopicConfig {
                compacted: topic == "c",
                ..TopicConfig::default()
            };
            log.create_topic(topic, &config)?;
        }
        let member = log.join("g")?;
        let committed = member.committed()?;
        let next = committed
            .first()
            .map_or(0, |(_, committed)| committed.position.offset().unwrap());
        let end = log.bounds(&at("p"))?.end.offset().unwrap();
        assert_eq!(end % FLUSHED, 0, "a flush is whole");
        let start = log.bounds(&at("a"))?.start;
        Ok(Job {
            transactor: member.transactor()?,
            producer: log.producer()?,
            reader: log.reader(&[(at("a"), start)])?,
            next,
            next_flush: end / FLUSHED,
            log,
            _member: member,
        })
    }

    fn step(&mut self, seed: u64) -> headwater_core::Result<()> {
        let number = self.next;
        let (a, c) = outputs(seed, number);
        self.transactor.append(&at("a"), a)?;
        self.transactor.append(&at("c"), c)?;
        match self.transactor.commit(&[(at("a"), position(number + 1))])? {
            CommitOutcome::Committed { .. } => say(format!("committed {number}")),
            CommitOutcome::Unknown { reason } => return Err(Error::unavailable(reason)),
        }
        self.next += 1;
        if number % 3 == 0 {
            self.producer.append(&at("p"), flushed(self.next_flush))?;
            // What was queued stays queued: the second flush may succeed.
            let again = self.producer.flush();
            again.or_else(|_| self.producer.flush())?;
            say(format!("flushed {}", self.next_flush));
            self.next_flush += 1;
        }
        if number % 4 == 1 {
            self.reader.poll(Duration::ZERO, FetchLimits::default())?;
        }
        if number % 5 == 4 {
            self.log.tidy()?;
        }
        Ok(())
    }
}

#[test]
fn child_runs_the_script() {
    let Some(directory) = child_directory() else {
        return;
    };
    let seed = setting(SEED, 0);
    let mut failures = 0;
    while failures < FAILURES_MAX {
        let run = Job::start(&directory).and_then(|mut job| {
            while job.next < STEPS {
                job.step(seed)?;
                failures = 0;
            }
            Ok(())
        });
        match run {
            Ok(()) => {
                say("done");
                return;
            }
            Err(error) => {
                say(format!("failed {:?}: {error}", error.class()).replace('\n', " "));
                assert_ne!(
                    error.class(),
                    Class::Fenced,
                    "nobody else is there: {error}"
                );
                failures += 1;
            }
        }
    }
    say("gave up");
}

/// What a run of the script said.
#[derive(Debug, Default)]
struct Said {
    committed: u64,
    flushed: u64,
    fault: Option<String>,
    failures: Vec<String>,
    is_done: bool,
    calls: u64,
}

/// A directory in memory, if the system has one: the shim does what a disk would.
fn directory() -> tempfile::TempDir {
    let memory = tempfile::tempdir_in("/dev/shm");
    memory.unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn run_script(shim: &Path, directory: &Path, seed: u64, fail_at: u64, how: &str) -> Said {
    let count = shim.with_extension("count");
    let mut command = Command::new("timeout");
    command
        .args(["--signal=KILL", "60"])
        .arg(std::env::current_exe().unwrap())
        .env("LD_PRELOAD", shim)
        .env("HEADWATER_FAIL_UNDER", directory)
        .env("HEADWATER_FAIL_AT", fail_at.to_string())
        .env("HEADWATER_FAIL_HOW", how)
        .env("HEADWATER_FAIL_COUNT", &count)
        .env(SEED, seed.to_string());
    let mut child = Process::start_by(command, "child_runs_the_script", directory);
    let mut said = Said::default();
    while let Some(line) = child.line() {
        let (what, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match what {
            "committed" => said.committed = rest.parse::<u64>().unwrap() + 1,
            "flushed" => said.flushed = rest.parse::<u64>().unwrap() + 1,
            "fault" => said.fault = Some(rest.to_owned()),
            "failed" => said.failures.push(rest.to_owned()),
            "done" => said.is_done = true,
            _ => {}
        }
    }
    let status = child.child.wait().unwrap();
    assert!(
        status.success(),
        "the script ended by {status} (137 is a hang): seed={seed} N={fail_at} {how} {said:?}"
    );
    let calls = std::fs::read_to_string(&count).unwrap();
    said.calls = calls.parse().unwrap();
    said
}

/// Opens what is left without the shim and compares it with what was acknowledged.
fn check(directory: &Path, seed: u64, said: &Said, place: &str) {
    let log = EmbeddedLog::open(directory, options()).unwrap();
    let committed = log.committed("g").unwrap();
    let stored = committed
        .first()
        .map_or(0, |(_, committed)| committed.position.offset().unwrap());
    assert!(
        said.committed <= stored,
        "{place}: {stored} are stored, {said:?}"
    );
    if log.topic("p").unwrap().is_none() {
        assert_eq!((stored, said.flushed), (0, 0), "{place}");
        return;
    }
    let (mut numbers, mut model) = (Vec::new(), BTreeMap::new());
    for number in 0..stored {
        let (a, c) = outputs(seed, number);
        numbers.extend((0..a.len()).map(|_| number));
        for index in 0..c.len() {
            let key = c.key(index).unwrap().to_vec();
            match c.value(index) {
                Some(value) => model.insert(key, value.to_vec()),
                None => model.remove(&key),
            };
        }
    }
    assert_eq!(read(&*log, "a").unwrap(), numbers, "{place}");
    assert_eq!(table(&*log, "c"), model, "{place}");
    let flushes = read(&*log, "p").unwrap();
    assert!(said.flushed * FLUSHED <= flushes.len() as u64, "{place}");
    let expected =
        (0..flushes.len() as u64 / FLUSHED).flat_map(|number| vec![number; FLUSHED as usize]);
    assert!(flushes.iter().copied().eq(expected), "{place}: {flushes:?}");
    drop(log);
    // And it goes on.
    let mut job = Job::start(directory).unwrap();
    job.step(seed).unwrap();
    job.log.tidy().unwrap();
    assert_eq!(job.next, stored + 1);
}

/// The newest value of each key.
fn table(log: &dyn Log, topic: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let start = log.bounds(&at(topic)).unwrap().start;
    let mut reader = log.reader(&[(at(topic), start)]).unwrap();
    let mut table = BTreeMap::new();
    loop {
        let fetched = reader.poll(Duration::ZERO, FetchLimits::default()).unwrap();
        for records in fetched.iter().map(|fetched| &fetched.records) {
            for index in 0..records.len() {
                let key = records.key(index).unwrap().to_vec();
                match records.value(index) {
                    Some(value) => table.insert(key, value.to_vec()),
                    None => table.remove(&key),
                };
            }
        }
        if fetched.iter().all(|fetched| fetched.at_end) {
            return table;
        }
    }
}

#[test]
fn whichever_io_fails_nothing_acknowledged_is_lost() {
    let scripts = setting("HEADWATER_FAIL_SCRIPTS", 1);
    let first_seed = setting("HEADWATER_SEED", 0x10_fa11);
    let tools = tempfile::tempdir().unwrap();
    let shim = build_shim(tools.path());
    let (mut runs, mut faults, mut unharmed) = (0, 0, 0);
    for script in 0..scripts {
        let seed = first_seed + script;
        println!("script {script}: HEADWATER_SEED={seed}");
        let mut calls = BTreeMap::new();
        for how in HOWS {
            let directory = directory();
            let said = run_script(&shim, directory.path(), seed, 0, how);
            assert!(said.is_done && said.failures.is_empty(), "{said:?}");
            check(directory.path(), seed, &said, "without a fault");
            calls.insert(how, said.calls);
        }
        println!("counted: {calls:?}");
        for number in 1..=calls[HOWS[0]] {
            let how = HOWS[((number + script) % HOWS.len() as u64) as usize];
            // Fewer calls count where only some can fail in this way.
            let fail_at = (number - 1) % calls[how] + 1;
            let directory = directory();
            let said = run_script(&shim, directory.path(), seed, fail_at, how);
            let place = format!("seed={seed} N={fail_at} {how} {:?}", said.fault);
            check(directory.path(), seed, &said, &place);
            runs += 1;
            faults += u64::from(said.fault.is_some());
            unharmed += u64::from(said.is_done && said.failures.is_empty());
            assert!(said.is_done || how == "dead", "{place}: {said:?}");
        }
    }
    println!("{runs} runs, {faults} faults, {unharmed} runs did not notice");
    assert!(faults * 10 >= runs * 9, "the faults fire");
    println!("trust: what=failed-io count={runs} faults={faults} failures=0");
}
