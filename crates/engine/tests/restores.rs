//! Restores of many tasks: side by side, broken off and gone on with, beside files that
//! another process holds.

mod support;

use headwater::core::env::Env;
use headwater::log::Log;
use headwater::{Application, DataFrame, Host, Report, Result, RunOptions, Settings, StreamHost};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::functions::{Registry, add_to};
use support::{In, WALL_MS};

const PARTITIONS: u32 = 4;
/// Enough for a thread for each of two workers.
const KEYS: u64 = 60_000;

/// A process that remembers what it said, and may be asked to stop.
#[derive(Default)]
struct Listening {
    said: Mutex<Vec<String>>,
    looks: AtomicU64,
    stop_at: Option<u64>,
}

impl Host for Listening {
    fn check(&self) -> Result<bool> {
        let looks = self.looks.fetch_add(1, Ordering::Relaxed);
        Ok(self.stop_at.is_some_and(|stop_at| stop_at <= looks))
    }
    fn print(&self, _text: &str) {}
    fn log(&self, text: &str) {
        self.said
            .lock()
            .expect("no holder panics")
            .push(text.into());
    }
    fn spawn(
        &self,
        name: &str,
        work: Box<dyn FnOnce() + Send>,
    ) -> Result<Box<dyn FnOnce() + Send>> {
        StreamHost.spawn(name, work)
    }
}

impl Listening {
    fn restored(&self) -> Vec<String> {
        let said = self.said.lock().expect("no holder panics");
        let lines = said.iter().filter(|line| line.starts_with("state of "));
        lines.cloned().collect()
    }
}

/// Records of every key once.
fn visits() -> Vec<In> {
    let record = |id: u64| In {
        key: Some(format!("user-{id}")),
        value: Some(format!(r#"{{"id":{id}}}"#).into_bytes()),
        timestamp: WALL_MS - 1_000_000 + id as i64,
    };
    (0..KEYS).map(record).collect()
}

/// Counts the visits of each key, and gives the rows of those that are not `expected`.
fn run(log: &Arc<dyn Log>, host: &Arc<Listening>, settings: Settings, expected: u64) -> Report {
    let mut registry = Registry::default();
    let counted = registry.stateful(&DataFrame::topic("in"), "count", true, move |row, state| {
        let count = add_to(state, "count", 1);
        Ok(match u64::try_from(count) == Ok(expected) {
            true => Vec::new(),
            false => vec![row.clone()],
        })
    });
    let host = Arc::clone(host) as Arc<dyn Host>;
    let mut application = Application::new(Arc::clone(log), Env::system(), settings, host);
    *application.functions_mut() = registry.functions;
    let options = RunOptions {
        timeout: Some(Duration::from_millis(500)),
        ..RunOptions::default()
    };
    let report = application.run_frames(&[counted], &options);
    report.unwrap_or_else(|error| panic!("{error}"))
}

fn settings() -> Settings {
    Settings {
        workers: Some(2),
        ..Settings::new("test")
    }
}

#[test]
fn a_restore_in_threads_gives_the_state_that_was_there() {
    let (log, _) = support::memory_in_real_time();
    for round in 1..=3 {
        support::fill(&*log, "in", PARTITIONS, &visits(), 1_000);
        let host = Arc::<Listening>::default();
        let report = run(&log, &host, settings(), round);
        assert_eq!((report.records_in, report.rows_out), (KEYS, 0), "{round}");
        let said = host.restored();
        if round == 1 {
            assert!(said.is_empty(), "{said:?}");
        } else {
            assert!(said[0].contains("state of 4 stores"), "{said:?}");
            let words: Vec<&str> = said[0].split([' ', ':']).collect();
            let records = words.iter().position(|word| *word == "records,");
            let count: Option<u64> = records.and_then(|at| words[at - 1].parse().ok());
            assert!(Some(KEYS) <= count, "{said:?}");
        }
        if round < 3 {
            // One that is asked to stop meanwhile leaves everything as it is.
            let stopping = Arc::new(Listening {
                stop_at: Some(3),
                ..Listening::default()
            });
            let report = run(&log, &stopping, settings(), round);
            assert_eq!((report.records_in, report.rows_out), (0, 0));
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

#[test]
fn files_that_another_process_holds_hold_nobody_up() {
    let directory = support::scratch();
    let (log, env) = support::memory_in_real_time();
    let spilling = || Settings {
        state_memory_max: 64 << 10,
        state_directory: Some(directory.path().join("state")),
        ..settings()
    };
    let mut locks = Vec::new();
    for round in 1..=2 {
        support::fill(&*log, "in", PARTITIONS, &visits(), 1_000);
        let host = Arc::<Listening>::default();
        let report = run(&log, &host, spilling(), round);
        assert_eq!((report.records_in, report.rows_out), (KEYS, 0), "{round}");
        let all = files(&directory.path().join("state"));
        let held = all.iter().filter(|path| path.ends_with("lock"));
        assert_eq!(held.clone().count() as u64, u64::from(PARTITIONS) * round);
        for lock in held.filter(|_| round == 1) {
            let lock = env.storage.lock(lock).expect("a lock").expect("it is free");
            locks.push(lock);
        }
    }
    drop(locks);
    support::fill(&*log, "in", PARTITIONS, &visits(), 1_000);
    let host = Arc::<Listening>::default();
    let report = run(&log, &host, spilling(), 3);
    assert_eq!((report.records_in, report.rows_out), (KEYS, 0));
    // The first files are behind the second ones, and go on from where they are.
    let said = host.restored();
    assert!(
        said[0].contains("4 of them went on from what is on disk"),
        "{said:?}"
    );
}
