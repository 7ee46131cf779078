//! What an earlier version wrote is opened, continued and restored.
//!
//! Each folder of `tests/golden` is what a job left that was stopped in the middle:
//! the log with topics, committed positions and changelogs, the files of the sinks
//! and its input. `log-2` is of version 2 of the log; in `log-2-spilled` the state of the
//! job stands on disk. A folder is made once for each version of a format, and never
//! changed:
//!
//! ```text
//! HEADWATER_GOLDEN=crates/engine/tests/golden/log-3 \
//!     cargo test --release -p headwater --test golden -- --exact make
//! ```
//!
//! With `HEADWATER_KILL_STATE_MEMORY=1` the state spills.

mod support;

use headwater::RunOptions;
use headwater::core::env::Env;
use headwater::log::embedded::{EmbeddedLog, Options};
use headwater::log::{Log, TopicConfig};
use headwater::state::DiskStore;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::Seed;
use support::lap_job::{
    STATE_MEMORY, check, child_directory, run, run_with, start_by, write_input,
};

const ROWS: u64 = 600;
const SEED: u64 = 0x601d;

fn input(directory: &Path) -> Vec<support::oracle::Row> {
    write_input(directory, &mut Seed(SEED), ROWS)
}

#[test]
fn make() {
    let Some(directory) = std::env::var_os("HEADWATER_GOLDEN").map(PathBuf::from) else {
        return;
    };
    std::fs::create_dir_all(directory.join("log")).expect("a new folder");
    // The path of the test is its crate's; that of the command is not.
    input(&directory);
    let options = Options {
        page_bytes: 4_096,
        ..Options::default()
    };
    let log = EmbeddedLog::open(&directory.join("log"), options).expect("a new log");
    for topic in ["laps", "rows", "windows"] {
        // For ever, however old the folder is when it is read.
        let config = TopicConfig {
            retention_ms: None,
            ..TopicConfig::default()
        };
        log.create_topic(topic, &config).expect("a new topic");
    }
    drop(log);
    let options = RunOptions {
        count: Some(ROWS),
        ..RunOptions::default()
    };
    let report = run_with(&directory, &options, Duration::from_micros(100));
    assert!(report.records_in < ROWS, "it stops in the middle");
    for lock in ["open.lock", "housekeeping.lock", "groups/job.lock"] {
        let _ = std::fs::remove_file(directory.join("log").join(lock));
    }
    for store in stores(&directory) {
        let _ = std::fs::remove_file(store.join("lock"));
    }
}

/// The folders of the stores that have spilled.
fn stores(directory: &Path) -> Vec<PathBuf> {
    let folders = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries
            .map(|entry| entry.expect("an entry").path())
            .collect()
    };
    let tasks = folders(&directory.join("log/state/app-job"));
    tasks.iter().flat_map(|task| folders(task)).collect()
}

#[test]
fn child_runs_the_job() {
    let Some(directory) = child_directory() else {
        return;
    };
    run(&directory);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("the golden folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("copies");
        }
    }
}

#[test]
fn golden_directories_open_continue_and_restore() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut versions = Vec::new();
    for entry in std::fs::read_dir(golden).expect("the golden folders") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a name");
        let folder = tempfile::tempdir().expect("a folder");
        copy(&entry.path(), folder.path());
        // SQLite keeps the version of the log at byte 60 of its header.
        let bytes = std::fs::read(folder.path().join("log/log.db")).expect("a log");
        let version = u32::from_be_bytes(bytes[60..64].try_into().expect("four bytes"));
        let kind = name.strip_prefix(&format!("log-{version}"));
        let kind = kind.expect("it is of that version");
        let is_spilled = match kind {
            "" => false,
            "-spilled" => true,
            other => panic!("a golden folder of no known kind: {other}"),
        };
        let stores = stores(folder.path());
        assert_eq!(!stores.is_empty(), is_spilled, "{name}");
        for store in stores {
            // What cannot be read is rebuilt from the changelog, and that would do as well.
            let mut store = DiskStore::open(&Env::system(), &store).expect("opens");
            assert!(!store.header().is_empty(), "{name}: the store is known");
            let visited = store.scan(&[], &mut |_, _| Ok(true));
            visited.expect("its files are read");
        }
        let before = std::fs::read_to_string(folder.path().join("input.csv"));
        let rows = input(folder.path());
        let after = std::fs::read_to_string(folder.path().join("input.csv"));
        assert_eq!(before.expect("a file"), after.expect("a file"), "{name}");

        let mut command = Command::new(std::env::current_exe().expect("a path"));
        if is_spilled {
            command.env(STATE_MEMORY, "1");
        }
        let child = start_by(command, folder.path());
        let output = child.wait_with_output().expect("waits");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let done = said.split("> done ").nth(1);
        let records: Option<u64> = done
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|text| text.parse().ok());
        let records = records.expect("it says how many records it read");
        assert!(0 < records && records < ROWS, "{name} went on: {records}");
        check(folder.path(), &rows);
        versions.push(version);
    }
    versions.sort_unstable();
    let wanted = [1, 2, 2];
    assert_eq!(
        versions, wanted,
        "one for each version of the log, and the state on disk"
    );
}
