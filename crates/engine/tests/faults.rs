//! Commits that fail, and commits of which nobody knows whether they happened:
//! topics, files, state and what `run` returns are those of a run without
//! trouble.

mod support;

use headwater::connect::{JsonLinesSink, JsonLinesSinkOptions};
use headwater::core::env::{Clock, Env};
use headwater::log::Log;
use headwater::log::memory::MemoryLog;
use headwater::{
    Aggregate, AggregateFunction, Application, Class, DataFrame, Ended, Host, Report, RunOptions,
    Settings, StreamHost, WindowLength, WindowSpec, col,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::faulty::{Faults, FaultyLog};
use support::functions::{Registry, add_to};
use support::oracle::canonical_text;
use support::{In, QuietHost, Seed, WALL_MS};

const PARTITIONS: u32 = 4;

/// The machine's clock, for a process that never sleeps for long.
struct Impatient(Env);

impl Clock for Impatient {
    fn monotonic(&self) -> Duration {
        self.0.clock.monotonic()
    }
    fn wall_ms(&self) -> i64 {
        self.0.clock.wall_ms()
    }
    fn sleep(&self, duration: Duration) {
        self.0.clock.sleep(duration.min(Duration::from_millis(1)));
    }
}

fn frames(registry: &mut Registry) -> Vec<DataFrame> {
    let counted = registry.stateful(&DataFrame::topic("in"), "count", false, |row, state| {
        let mut row = row.clone();
        row["count"] = add_to(state, "count", 1).into();
        Ok(vec![row])
    });
    let sum = Aggregate {
        output: "total".into(),
        function: AggregateFunction::Sum,
        input: Some(col("x")),
    };
    let spec = WindowSpec {
        aggregates: vec![sum],
        ..WindowSpec::new(WindowLength::Tumbling { size_ms: 100 })
    };
    let windows = counted.window(spec).to_topic("windows");
    vec![
        counted.to_topic("rows"),
        counted.sink("rows"),
        windows.sink("windows"),
    ]
}

fn input(seed: &mut Seed) -> Vec<In> {
    (0..150 + seed.below(100))
        .map(|id| In {
            key: Some(format!("k{}", seed.below(9))),
            value: Some(format!("{{\"id\":{id},\"x\":{}}}", seed.below(9)).into_bytes()),
            timestamp: WALL_MS + id as i64 * 20,
        })
        .collect()
}

/// One run of the program, as a user starts it.
fn run(log: Arc<dyn Log>, env: &Env, folder: &Path, workers: usize) -> headwater::Result<Report> {
    let settings = Settings {
        workers: Some(workers),
        batch_rows_max: 7,
        commit_every: 5,
        idle_timeout: None,
        ..Settings::new("test")
    };
    let mut application = Application::new(log, env.clone(), settings, QuietHost::new(None));
    let mut registry = Registry::default();
    let frames = frames(&mut registry);
    *application.functions_mut() = registry.functions;
    for name in ["rows", "windows"] {
        let path = folder.join(name);
        let sink = JsonLinesSink::new(path, JsonLinesSinkOptions::default());
        application.add_sink(name, Box::new(sink))?;
    }
    let options = RunOptions {
        timeout: Some(Duration::from_millis(if workers > 1 { 60 } else { 200 })),
        collect: true,
        ..RunOptions::default()
    };
    let report = application.run_frames(&frames, &options)?;
    let snapshot = application.metrics().snapshot();
    snapshot.check()?;
    let read: u64 = snapshot
        .partitions
        .iter()
        .map(|known| known.records_in)
        .sum();
    assert_eq!(read, report.records_in, "one tally, whatever was repeated");
    Ok(report)
}

/// A process that keeps what it is told.
#[derive(Default)]
struct Listening(Mutex<Vec<String>>);

impl Host for Listening {
    fn check(&self) -> headwater::Result<bool> {
        Ok(false)
    }
    fn print(&self, _text: &str) {}
    fn log(&self, text: &str) {
        self.0.lock().expect("no holder panics").push(text.into());
    }
    fn spawn(
        &self,
        name: &str,
        work: Box<dyn FnOnce() + Send>,
    ) -> headwater::Result<Box<dyn FnOnce() + Send>> {
        StreamHost.spawn(name, work)
    }
}

/// Asked to stop, a run commits what is open; if the log does not take it, the run ends
/// nevertheless, says so, and the next one goes on from the commit before.
#[test]
fn a_stop_in_trouble_ends_at_the_last_commit() {
    let (inner, env) = support::memory();
    let input = input(&mut Seed(7));
    support::fill(&*inner, "in", 1, &input, 10);
    let faults = Faults::new(7, u64::MAX, false);
    let log = Arc::new(FaultyLog {
        inner: Arc::clone(&inner),
        faults: Arc::clone(&faults),
    });
    let host = Arc::new(Listening::default());
    let settings = Settings {
        batch_rows_max: 10,
        commit_every: 30,
        commit_interval: Some(Duration::from_secs(3_600)),
        ..Settings::new("test")
    };
    let mut application = Application::new(log, env.clone(), settings, host.clone());
    let stopper = application.stopper();
    let mut registry = Registry::default();
    let own = Arc::clone(&faults);
    let has_stopped = AtomicBool::new(false);
    let frame = registry.apply(&DataFrame::topic("in"), "stop", move |row| {
        if row["id"] == 75 && !has_stopped.swap(true, Ordering::Relaxed) {
            own.takes_nothing.store(true, Ordering::Relaxed);
            stopper.stop();
        }
        Ok(row.clone())
    });
    *application.functions_mut() = registry.functions;
    let frames = [frame.to_topic("out")];
    let report = application
        .run_frames(&frames, &RunOptions::default())
        .expect("ends");
    assert_eq!((report.ended, report.records_in), (Ended::Stopped, 60));
    let said = host.0.lock().expect("no holder panics").join("\n");
    for words in [
        "asked to stop: the open epoch is committed first",
        "the log takes nothing at the moment; stopped at the last commit, where the next run goes on",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(support::read(&*inner, "out").len(), 60);
    assert_eq!(application.metrics().snapshot().restarts, 0);
    faults.takes_nothing.store(false, Ordering::Relaxed);
    let options = RunOptions {
        timeout: Some(Duration::from_millis(200)),
        ..RunOptions::default()
    };
    application.run_frames(&frames, &options).expect("runs");
    assert_eq!(support::read(&*inner, "out").len(), input.len());
}

/// Texts of a topic by key, in order.
fn of_topic(log: &dyn Log, topic: &str) -> BTreeMap<Option<String>, Vec<String>> {
    let mut texts: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for record in support::read(log, topic) {
        texts
            .entry(record.key.clone())
            .or_default()
            .push(canonical_text(record.text()));
    }
    texts
}

/// The lines of a file, sorted: keys are not in them.
fn of_file(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut lines: Vec<String> = text.lines().map(canonical_text).collect();
    lines.sort();
    lines
}

fn sorted(by_key: &BTreeMap<Option<String>, Vec<String>>) -> Vec<String> {
    let mut all: Vec<String> = by_key.values().flatten().cloned().collect();
    all.sort();
    all
}

fn environment(workers: usize) -> (Arc<dyn Log>, Env) {
    if workers == 1 {
        return support::memory();
    }
    let system = Env::system();
    let env = Env {
        clock: Arc::new(Impatient(system.clone())),
        ..system
    };
    (MemoryLog::new(env.clone()), env)
}

fn check_case(seed: u64, workers: usize, fired: &mut [u64; 5]) {
    let about = format!("HEADWATER_SEED={seed} HEADWATER_CASES=1 workers={workers}");
    let mut random = Seed(seed);
    let input = input(&mut random);
    let (calm, env) = environment(1);
    support::fill(&*calm, "in", PARTITIONS, &input, 10);
    let calm_folder = tempfile::tempdir().expect("a folder");
    run(Arc::clone(&calm), &env, calm_folder.path(), 1).expect("runs");

    let (log, env) = environment(workers);
    support::fill(&*log, "in", PARTITIONS, &input, 10);
    let folder = tempfile::tempdir().expect("a folder");
    let one_in = if workers > 1 { 20 } else { 2 } + random.below(6);
    let faults = Faults::new(seed, one_in, true);
    let mut collected = Vec::new();
    for _ in 0..200 {
        let (inner, faults) = (Arc::clone(&log), Arc::clone(&faults));
        let faulty = Arc::new(FaultyLog { inner, faults });
        match run(faulty, &env, folder.path(), workers) {
            Ok(report) => {
                let rows = report.rows_as_json().expect("rows");
                assert_eq!(report.rows_out, rows.len() as u64, "{about}");
                collected.extend(rows.iter().map(|row| canonical_text(row)));
                break;
            }
            Err(error) => assert_eq!(error.class(), Class::Unavailable, "{error} {about}"),
        }
    }
    // The program is started once more, without trouble.
    let report = run(Arc::clone(&log), &env, folder.path(), workers).expect("runs");
    let rows = report.rows_as_json().expect("rows");
    collected.extend(rows.iter().map(|row| canonical_text(row)));
    for topic in ["rows", "windows"] {
        let wanted = of_topic(&*calm, topic);
        assert_eq!(of_topic(&*log, topic), wanted, "topic {topic}: {about}");
        assert_eq!(
            of_file(&folder.path().join(topic)),
            sorted(&wanted),
            "file {topic}: {about}"
        );
    }
    assert_eq!(
        support::state(&*log, "test"),
        support::state(&*calm, "test"),
        "{about}"
    );
    for (sum, counter) in fired.iter_mut().zip([
        &faults.unknown_committed,
        &faults.unknown_lost,
        &faults.refused,
        &faults.unreadable,
        &faults.reassigned,
    ]) {
        *sum += counter.load(Ordering::Relaxed);
    }
}

#[test]
fn trouble_with_commits_changes_nothing() {
    let first = support::number("HEADWATER_SEED", 1);
    let mut fired = [0; 5];
    for seed in first..first + support::number("HEADWATER_CASES", 40) {
        check_case(seed, 1, &mut fired);
    }
    for seed in first..first + support::number("HEADWATER_CASES", 40) / 10 {
        check_case(seed, 4, &mut fired);
    }
    println!("unknown but committed, unknown and lost, refused, unreadable, reassigned: {fired:?}");
    if support::number("HEADWATER_CASES", 40) >= 25 {
        assert!(
            fired.iter().all(|&count| count > 20),
            "faults must fire: {fired:?}"
        );
    }
}

/// Commits of which the first is known to fail after it happened.
#[test]
fn what_a_run_returns_is_what_it_committed() {
    let input = input(&mut Seed(5));
    for seed in 0.. {
        assert!(seed < 50, "no run went through in spite of faults");
        let (log, env) = support::memory();
        support::fill(&*log, "in", 1, &input, 10);
        let folder = tempfile::tempdir().expect("a folder");
        let faults = Faults::new(seed, 6, false);
        let faulty = Arc::new(FaultyLog {
            inner: Arc::clone(&log),
            faults: Arc::clone(&faults),
        });
        let Ok(report) = run(faulty, &env, folder.path(), 1) else {
            continue;
        };
        let fired = faults.unknown_committed.load(Ordering::Relaxed)
            + faults.unknown_lost.load(Ordering::Relaxed);
        if fired == 0 {
            continue;
        }
        let rows = support::read(&*log, "rows").len() + support::read(&*log, "windows").len();
        assert_eq!(report.records_in, input.len() as u64, "seed {seed}");
        assert_eq!(report.records_out, rows as u64, "seed {seed}");
        break;
    }
}
