//! A test that starts itself again as another process, and records to write.
//!
//! The child is a test too: it does nothing unless [`child_directory`] says what
//! to work on. It answers on stderr, one `> line` at a time, because the test
//! harness writes to stdout.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use headwater_core::{Position, Records, RecordsBuilder, TopicPartition};
use headwater_log::embedded::{EmbeddedLog, Options};
use headwater_log::{CommitOutcome, Committed, FetchLimits, Log, TopicConfig, Transactor, fixed};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

pub mod image;
pub mod job;

const DIRECTORY: &str = "HEADWATER_TEST_CHILD";

/// The test named `name` of this binary, running on `directory` by itself.
pub struct Process {
    pub child: Child,
    lines: std::io::Lines<BufReader<ChildStderr>>,
}

impl Process {
    pub fn start(name: &str, directory: &Path) -> Process {
        Process::start_by(
            Command::new(std::env::current_exe().unwrap()),
            name,
            directory,
        )
    }

    /// As [`Process::start`], with the size of files as something that can run
    /// out: the system's signal for it is ignored, so that writes fail instead.
    pub fn start_without_file_size_signal(name: &str, directory: &Path) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
        command.arg(std::env::current_exe().unwrap());
        Process::start_by(command, name, directory)
    }

    pub fn start_by(mut command: Command, name: &str, directory: &Path) -> Process {
        let mut child = command
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, directory)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Process { child, lines }
    }

    /// What the child says next; `None` when it has ended.
    pub fn line(&mut self) -> Option<String> {
        for line in self.lines.by_ref() {
            let line = line.unwrap();
            match line.strip_prefix("> ") {
                Some(line) => return Some(line.into()),
                None => eprintln!("child: {line}"),
            }
        }
        None
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn assert_success(&mut self) {
        while self.line().is_some() {}
        assert!(self.child.wait().unwrap().success());
    }
}

/// Where a child works; `None` in the ordinary run of the tests.
pub fn child_directory() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

/// Says something to the parent, in one write, so that a kill cuts no line.
pub fn say(line: impl std::fmt::Display) {
    std::io::stderr()
        .write_all(format!("> {line}\n").as_bytes())
        .unwrap();
}

/// The file of a log as a database, through the layer that checks its pages. A log
/// must have been opened in this process before.
pub fn sqlite(file: &Path) -> rusqlite::Connection {
    let flags = rusqlite::OpenFlags::default();
    rusqlite::Connection::open_with_flags_and_vfs(file, flags, c"headwater").unwrap()
}

/// A directory in memory, if the system has one, where a disk would only be slow.
pub fn memory_directory() -> tempfile::TempDir {
    let memory = tempfile::tempdir_in("/dev/shm");
    memory.unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

pub fn open(directory: &Path) -> Arc<EmbeddedLog> {
    EmbeddedLog::open(directory, Options::default()).unwrap()
}

pub fn make_topics(log: &dyn Log, names: &[&str]) {
    for name in names {
        log.create_topic(name, &TopicConfig::default()).unwrap();
    }
}

pub fn at(topic: &str) -> TopicPartition {
    TopicPartition::new(topic, 0)
}

/// Records whose values start with a number.
pub fn numbers(range: std::ops::Range<u64>, value_bytes: usize) -> Records {
    let mut builder = RecordsBuilder::default();
    for number in range {
        let mut value = vec![b'x'; value_bytes.max(8)];
        value[..8].copy_from_slice(&number.to_be_bytes());
        builder.push(Some(b"key"), Some(&value), number as i64, None);
    }
    builder.finish()
}

pub fn append(log: &dyn Log, topic: &str, records: Records) {
    let mut producer = log.producer().unwrap();
    producer.append(&at(topic), records).unwrap();
    producer.flush().unwrap();
}

pub fn position(offset: u64) -> Committed {
    Committed {
        position: Position::from_offset(offset),
        metadata: Vec::new(),
    }
}

pub fn commit(transactor: &mut dyn Transactor, positions: &[(TopicPartition, Committed)]) {
    let outcome = transactor.commit(&mut fixed(positions)).unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed), "{outcome:?}");
}

/// The numbers in a topic, read from its start.
pub fn read(log: &dyn Log, topic: &str) -> headwater_core::Result<Vec<u64>> {
    let start = log.bounds(&at(topic))?.start;
    let mut reader = log.reader(&[(at(topic), start)])?;
    let mut numbers = Vec::new();
    loop {
        let fetched = reader.poll(Duration::ZERO, FetchLimits::default())?;
        for fetched in &fetched {
            for index in 0..fetched.records.len() {
                let value = fetched.records.value(index).unwrap();
                numbers.push(u64::from_be_bytes(value[..8].try_into().unwrap()));
            }
        }
        if fetched
            .iter()
            .all(|fetched| fetched.at_end && fetched.records.is_empty())
        {
            return Ok(numbers);
        }
    }
}

/// A number from the environment, for longer runs.
pub fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap())
}

/// The next number of a sequence that a seed decides (xorshift).
pub fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}
