//! The open windows of one key, ascending by start.
//!
//! The first stands in the entry itself: most keys have one window open, and a
//! record that is added to it reads no memory but the entry's.

use crate::Accumulators;
use headwater_core::TimestampMs;
use std::collections::VecDeque;

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

/// Windows by index. Without a first there are no others.
#[derive(Debug, Default)]
pub(super) struct OpenWindows {
    first: Option<OpenWindow>,
    others: VecDeque<OpenWindow>,
}

impl OpenWindows {
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    #[inline]
    pub(super) fn first(&self) -> Option<&OpenWindow> {
        self.first.as_ref()
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&OpenWindow> {
        match index.checked_sub(1) {
            None => self.first.as_ref(),
            Some(other) => self.others.get(other),
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut OpenWindow> {
        match index.checked_sub(1) {
            None => self.first.as_mut(),
            Some(other) => self.others.get_mut(other),
        }
    }

    /// The index of the first window that starts then or later.
    #[inline]
    pub(super) fn position(&self, start_ms: TimestampMs) -> usize {
        match &self.first {
            Some(first) if first.start_ms < start_ms => {}
            _ => return 0,
        }
        // Records are mostly about the newest windows.
        match self.others.back() {
            None => 1,
            Some(last) if last.start_ms < start_ms => self.len(),
            Some(_) => {
                1 + self
                    .others
                    .partition_point(|window| window.start_ms < start_ms)
            }
        }
    }

    /// The window of that start.
    pub(super) fn find_mut(&mut self, start_ms: TimestampMs) -> Option<&mut OpenWindow> {
        let index = self.position(start_ms);
        self.get_mut(index)
            .filter(|window| window.start_ms == start_ms)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &OpenWindow> {
        self.first.iter().chain(&self.others)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut OpenWindow> {
        self.first.iter_mut().chain(&mut self.others)
    }

    /// # Panics
    /// If `index` is beyond the end.
    pub(super) fn insert(&mut self, index: usize, window: OpenWindow) {
        match index.checked_sub(1) {
            Some(other) => self.others.insert(other, window),
            None => {
                if let Some(second) = self.first.replace(window) {
                    self.others.push_front(second);
                }
            }
        }
    }

    pub(super) fn remove(&mut self, index: usize) -> Option<OpenWindow> {
        match index.checked_sub(1) {
            Some(other) => self.others.remove(other),
            None => std::mem::replace(&mut self.first, self.others.pop_front()),
        }
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&OpenWindow) -> bool) {
        self.others.retain(&keep);
        if self.first.as_ref().is_some_and(|first| !keep(first)) {
            self.remove(0);
        }
    }
}
