//! The contract of a source.

use headwater_core::env::Env;
use headwater_core::{DataError, Records, Result};
use std::time::Duration;

/// Where records enter: a file, a device, a user's function.
///
/// A source has one owner, which appends its records to a topic and commits its
/// position in the same transaction. So a restarted source goes on where its
/// last committed record ended: nothing is lost and nothing comes twice.
pub trait Source: Send {
    /// Starts after what `position` stands for; `None` starts at the beginning.
    ///
    /// # Errors
    /// `Invalid` if there is nothing to read there.
    fn open(&mut self, env: &Env, position: Option<&[u8]>) -> Result<()>;

    /// The next records, at most about `records_max`, waiting up to `wait` for
    /// the first. What cannot be read comes beside those that can.
    ///
    /// # Errors
    /// Where nothing more can be read.
    fn poll(&mut self, wait: Duration, records_max: usize) -> Result<SourceBatch>;

    /// Whether it is known to end: a file does, a device doesn't. A job whose
    /// inputs have all ended is finished.
    fn is_bounded(&self) -> bool;

    /// Releases what it holds; the job is stopping.
    fn close(&mut self) {}
}

/// What a source read.
#[derive(Debug, Default)]
pub struct SourceBatch {
    /// The records.
    pub records: Records,
    /// The position after them, at most 4,000 bytes; `None` for a source that
    /// cannot go back, and starts anew every time.
    pub position: Option<Vec<u8>>,
    /// Whether there will never be more.
    pub is_end: bool,
    /// Records that could not be read, in their order. The position is after them too.
    pub unread: Vec<Unread>,
}

/// A record that a source could not read.
#[derive(Debug)]
pub struct Unread {
    /// Why, and where it stands.
    pub error: DataError,
    /// Its bytes as they came.
    pub bytes: Vec<u8>,
}
