//! The embedded log: topics in one SQLite file that any number of processes on
//! one host share.
//!
//! SQLite, because sharing a file between processes safely (locks, recovery,
//! torn writes, failed syncs) is what it has already solved. Records stand in it
//! as whole batches, one row each, so that SQLite's cost is paid per batch and a
//! reader touches no record.
//!
//! ```text
//! <directory>/log.db          the log; `-wal` and `-shm` beside it are SQLite's
//! <directory>/groups/x.lock   held while application `x` runs
//! <directory>/open.lock       held for a moment while the log is opened
//! <directory>/housekeeping.lock
//!                             held by the process that tidies up for all
//!
//! producer, transactor ──▶ queue ──▶ transaction ──▶ log.db ──▶ reader
//!                     (append.rs)    (shared.rs)       ▲
//!                                                 housekeeping
//!                                  (checkpoints, retention, compaction)
//! ```
//!
//! A connection belongs to one reader, producer or transactor and must not
//! survive a fork: each use compares the process id. Positions are offsets from
//! 0; a compacted topic has gaps.

mod admin;
mod append;
mod checked_pages;
mod compaction;
mod connection;
mod group;
mod housekeeping;
mod open;
mod producer;
mod reader;
mod retention;
mod run;
mod schema;
mod shared;
mod transactor;

pub use open::{EmbeddedLog, Options};
