//! How a store comes back from its changelog, record by record.
//!
//! Records come in the order of the log, so of a key's clocks the last is the
//! newest, but which of a key's come first is open: a window or an
//! entry that only other records stand for is made, and dropped in
//! [`WindowStore::finish_restore`] unless its own record has come.

use super::changelog::{read_window_head, stored_clock};
use super::entry::Entry;
use super::store::WindowStore;
use super::windows::OpenWindow;
use headwater_core::{Result, TimestampMs, fault};
use headwater_state::ValueReader;
use std::sync::Arc;

impl WindowStore {
    pub(super) fn restore_clock(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let Some(value) = value else {
            if let Some(slot) = self.bring(key) {
                // With a window open, the clock is that of the window's record. Under
                // at-least-once this removal comes an epoch after it.
                let entry = self.entry_mut(slot);
                entry.is_logged = false;
                if entry.windows.is_empty() {
                    self.remove(slot);
                }
            }
            return Ok(());
        };
        let clock = stored_clock(value)?;
        let entry = self.restored_entry(key);
        (entry.clock, entry.is_logged) = (clock, true);
        if fault!("closed-mark-forgotten") {
            entry.clock.closed_ms = TimestampMs::MIN;
        }
        Ok(())
    }

    pub(super) fn restore_window(
        &mut self,
        key: &[u8],
        start_ms: TimestampMs,
        value: Option<&[u8]>,
    ) -> Result<()> {
        let Some(value) = value else {
            if let Some(slot) = self.bring(key) {
                let entry = self.entry_mut(slot);
                let index = entry.windows.position(start_ms);
                if entry
                    .windows
                    .get(index)
                    .is_some_and(|window| window.start_ms == start_ms)
                {
                    entry.windows.remove(index);
                    let is_unused = entry.windows.is_empty() && !entry.is_logged;
                    self.open_count -= 1;
                    if is_unused {
                        self.remove(slot);
                    }
                }
            }
            return Ok(());
        };
        let (mut reader, _) = ValueReader::new(value)?;
        let aggregators = Arc::clone(&self.aggregators);
        let (is_empty, clock) = read_window_head(&mut reader)?;
        let window = self.restored_window(key, start_ms);
        (window.is_empty, window.is_logged) = (is_empty, true);
        aggregators.read(&mut window.accumulators, &mut reader)?;
        if let Some(clock) = clock {
            self.restored_entry(key).clock = clock;
        }
        Ok(())
    }

    pub(super) fn restore_item(
        &mut self,
        key: &[u8],
        start_ms: TimestampMs,
        sequence: u64,
        value: Option<&[u8]>,
    ) -> Result<()> {
        let aggregators = Arc::clone(&self.aggregators);
        let Some(value) = value else {
            let window = self
                .bring(key)
                .and_then(|slot| self.entry_mut(slot).windows.find_mut(start_ms));
            if let Some(window) = window {
                aggregators.remove_item(&mut window.accumulators, sequence);
            }
            return Ok(());
        };
        let (mut reader, _) = ValueReader::new(value)?;
        let window = self.restored_window(key, start_ms);
        aggregators.read_item(&mut window.accumulators, sequence, &mut reader)
    }

    fn restored_entry(&mut self, key: &[u8]) -> &mut Entry {
        let slot = self.bring(key).unwrap_or_else(|| self.add_key(key));
        self.entry_mut(slot)
    }

    /// The window, opened if need be; it stays only if its own record comes too.
    fn restored_window(&mut self, key: &[u8], start_ms: TimestampMs) -> &mut OpenWindow {
        let accumulators = self.initial();
        let stamp = self.stamp;
        let slot = self.bring(key).unwrap_or_else(|| self.add_key(key));
        let index = self.entry(slot).windows.position(start_ms);
        let is_open = self
            .entry(slot)
            .windows
            .get(index)
            .is_some_and(|window| window.start_ms == start_ms);
        if !is_open {
            self.open_count += 1;
            let window = OpenWindow {
                start_ms,
                accumulators,
                stamp,
                is_empty: true,
                is_dirty: false,
                is_logged: false,
            };
            self.entry_mut(slot).windows.insert(index, window);
        }
        let windows = &mut self.entry_mut(slot).windows;
        windows.get_mut(index).expect("the window is open")
    }
}
