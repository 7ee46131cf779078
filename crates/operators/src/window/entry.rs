//! What the store keeps for one key.

use super::key::Key;
use super::rules::{Clock, Rules};
use crate::Accumulators;
use headwater_core::TimestampMs;
use headwater_plan::Closing;
use std::collections::VecDeque;

/// A key's clock and its open windows.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) clock: Clock,
    /// Ascending by start.
    pub(super) windows: VecDeque<OpenWindow>,
    /// When its timer fires, at or before anything is due; `None` without one.
    pub(super) armed_ms: Option<TimestampMs>,
    /// The savepoint that has a copy of the clock.
    pub(super) stamp: u64,
    /// Whether the clock has changed since the last drain.
    pub(super) is_dirty: bool,
    /// Whether the changelog has the clock.
    pub(super) is_logged: bool,
}

/// A window that takes records.
#[derive(Debug)]
pub(super) struct OpenWindow {
    pub(super) start_ms: TimestampMs,
    pub(super) accumulators: Accumulators,
    /// The savepoint that has a copy of the accumulators.
    pub(super) stamp: u64,
    /// Whether it has taken no record since a trigger started it anew.
    pub(super) is_empty: bool,
    /// Whether it has changed since the last drain.
    pub(super) is_dirty: bool,
    /// Whether the changelog has it.
    pub(super) is_logged: bool,
}

impl Entry {
    pub(super) fn new(key: Key, stamp: u64) -> Entry {
        Entry {
            key,
            clock: Clock::NEW,
            windows: VecDeque::new(),
            armed_ms: None,
            stamp,
            is_dirty: false,
            is_logged: false,
        }
    }

    /// Something of every cache line that a record usually needs: those of the
    /// entry and of its oldest and newest window.
    #[inline]
    pub(super) fn read(&self) -> i64 {
        let read = |window: Option<&OpenWindow>| {
            window.map_or(0, |window| {
                let flags = window.is_dirty ^ window.accumulators.is_single();
                window.start_ms ^ i64::from(flags)
            })
        };
        self.clock.closed_ms
            ^ i64::from(self.is_dirty)
            ^ read(self.windows.front())
            ^ read(self.windows.back())
    }

    /// The index of the first window that starts then or later.
    #[inline]
    pub(super) fn position(&self, start_ms: TimestampMs) -> usize {
        // Records are mostly about the newest windows.
        match self.windows.back() {
            None => 0,
            Some(last) if last.start_ms < start_ms => self.windows.len(),
            Some(_) => self
                .windows
                .partition_point(|window| window.start_ms < start_ms),
        }
    }

    /// The window of that start.
    pub(super) fn window_mut(&mut self, start_ms: TimestampMs) -> Option<&mut OpenWindow> {
        let index = self.position(start_ms);
        self.windows
            .get_mut(index)
            .filter(|window| window.start_ms == start_ms)
    }

    /// The watermark at which its first window closes, or without windows the
    /// key is forgotten.
    pub(super) fn due_at(&self, rules: &Rules) -> TimestampMs {
        match (self.windows.front(), rules.closing) {
            (Some(first), _) => rules.deadline(&self.clock, first.start_ms, rules.key_timeout_ms),
            (None, Closing::Key) => rules.forget_at(&self.clock),
            (None, Closing::Partition) => TimestampMs::MIN,
        }
    }
}
