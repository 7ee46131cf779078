//! What the store keeps for one key.

use super::key::Key;
use super::rules::{Clock, Rules};
use super::windows::OpenWindows;
use headwater_core::TimestampMs;
use headwater_plan::Closing;

/// A key's clock and its open windows.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) clock: Clock,
    pub(super) windows: OpenWindows,
    /// When its timer fires, at or before anything is due; `None` without one.
    pub(super) armed_ms: Option<TimestampMs>,
    /// The savepoint that has a copy of the clock.
    pub(super) stamp: u64,
    /// Whether it is in the list of what has changed since the last drain.
    pub(super) is_listed: bool,
    /// Whether the changelog has a record of the clock alone.
    pub(super) is_logged: bool,
    /// Whether the disk does not have it as it is.
    pub(super) is_unwritten: bool,
    /// Whether it has changed since the hand came by.
    pub(super) is_used: bool,
    /// What it takes in memory, as of the last drain.
    pub(super) bytes: u32,
    /// Its hint on disk; [`TimestampMs::MAX`] is none.
    pub(super) hint_ms: TimestampMs,
}

impl Entry {
    pub(super) fn new(key: Key, stamp: u64) -> Entry {
        Entry {
            key,
            clock: Clock::NEW,
            windows: OpenWindows::default(),
            armed_ms: None,
            stamp,
            is_listed: false,
            is_logged: false,
            is_unwritten: false,
            is_used: false,
            bytes: 0,
            hint_ms: TimestampMs::MAX,
        }
    }

    /// Something of every cache line that a record usually needs.
    #[inline]
    pub(super) fn read(&self) -> i64 {
        let flags = self
            .windows
            .first()
            .is_some_and(|first| first.is_dirty ^ first.accumulators.is_single());
        self.clock.closed_ms ^ self.key.len() as i64 ^ i64::from(flags ^ self.is_listed)
    }

    /// The watermark at which its first window closes, or without windows the
    /// key is forgotten.
    pub(super) fn due_at(&self, rules: &Rules) -> TimestampMs {
        match (self.windows.first(), rules.closing) {
            (Some(first), _) => rules.deadline(&self.clock, first.start_ms, rules.key_timeout_ms),
            (None, Closing::Key) => rules.forget_at(&self.clock),
            (None, Closing::Partition) => TimestampMs::MIN,
        }
    }
}
