//! Every backend keeps every promise.

use headwater_core::env::Env;
use headwater_log::conformance;
use headwater_log::embedded::{EmbeddedLog, Options};
use headwater_log::memory::MemoryLog;
use std::time::Duration;

#[test]
fn memory_log_keeps_every_promise() {
    conformance::run(&mut || MemoryLog::new(Env::system()));
}

#[test]
fn embedded_log_keeps_every_promise() {
    let mut directories = Vec::new();
    conformance::run(&mut || {
        let directory = tempfile::tempdir().unwrap();
        let retention_interval = Duration::from_millis(50);
        let options = Options {
            retention_interval,
            ..Options::default()
        };
        let log = EmbeddedLog::open(directory.path(), options).unwrap();
        directories.push(directory);
        log
    });
}
