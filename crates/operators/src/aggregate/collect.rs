//! Lists of all values, for `Collect` and for users' collectors.
//!
//! The key decision: items are kept as the JSON text they will be written as,
//! and **logged once each**: an item gets a sequence number and a changelog
//! record of its own, so a window of n items writes n records, not n²/2.

use super::fold::Fault;
use headwater_core::{DataError, Error, Result, TimestampMs, ValueRef, json};
use headwater_state::{ValueReader, ValueWriter};
use std::ops::Range;

/// The items of one window: one row each, with a text for each list.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Items {
    /// The sequence number of item 0. It grows when the window starts anew, so
    /// no two items of a window ever share a number.
    first_sequence: u64,
    /// How many items, from the first, the changelog has.
    logged: usize,
    timestamps: Vec<TimestampMs>,
    lists: Box<[List]>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct List {
    /// Where each item's text ends. An item from before the list was asked for
    /// has no text.
    ends: Vec<usize>,
    text: Vec<u8>,
}

impl List {
    fn item(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.text[start..self.ends[index]]
    }
}

/// Whether a value can be an item.
pub(super) fn check(value: ValueRef<'_>) -> Result<(), Fault> {
    match value {
        ValueRef::Float(value) if !value.is_finite() => Err(Box::new(DataError::new(
            "NaN or infinity cannot be collected: JSON has no form for it",
        ))),
        ValueRef::Bytes(_) => Err(Box::new(DataError::new(
            "bytes cannot be collected: JSON has no form for them",
        ))),
        _ => Ok(()),
    }
}

impl Items {
    pub(super) fn new(lists: usize) -> Items {
        Items {
            lists: vec![List::default(); lists].into(),
            ..Items::default()
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Appends an item of values that have passed [`check`].
    pub(super) fn push<'v>(
        &mut self,
        timestamp: TimestampMs,
        values: impl Iterator<Item = ValueRef<'v>>,
    ) {
        self.timestamps.push(timestamp);
        for (list, value) in self.lists.iter_mut().zip(values) {
            json::write_value(value, &mut list.text)
                .expect("an item is checked before it is added");
            list.ends.push(list.text.len());
        }
    }

    pub(super) fn truncate(&mut self, len: usize) {
        assert!(self.logged <= len, "a logged item is not taken back");
        self.timestamps.truncate(len);
        for list in &mut self.lists {
            list.ends.truncate(len);
            list.text.truncate(list.ends.last().copied().unwrap_or(0));
        }
    }

    /// No items, numbered on.
    pub(super) fn restarted(&self) -> Items {
        let first_sequence = self.first_sequence + self.len() as u64;
        Items {
            first_sequence,
            ..Items::new(self.lists.len())
        }
    }

    /// One list as a JSON array, by event time, then arrival.
    pub(super) fn text(&self, list: usize) -> String {
        let list = &self.lists[list];
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(|&index| self.timestamps[index]);
        let mut out = Vec::with_capacity(list.text.len() + order.len() + 2);
        out.push(b'[');
        for item in order
            .into_iter()
            .map(|index| list.item(index))
            .filter(|item| !item.is_empty())
        {
            if 1 < out.len() {
                out.push(b',');
            }
            out.extend_from_slice(item);
        }
        out.push(b']');
        String::from_utf8(out).expect("items are texts")
    }

    /// What the items take in memory, roughly.
    pub(crate) fn byte_count(&self) -> usize {
        let texts = self.lists.iter().map(|list| list.text.len());
        texts.sum::<usize>() + self.len() * 8 * (1 + self.lists.len())
    }

    pub(crate) fn first_sequence(&self) -> u64 {
        self.first_sequence
    }

    /// The sequence numbers of the items that the changelog has.
    pub(crate) fn logged_sequences(&self) -> Range<u64> {
        self.first_sequence..self.first_sequence + self.logged as u64
    }

    /// The items that the changelog lacks; from now on they count as logged.
    pub(crate) fn take_unlogged(&mut self) -> Range<usize> {
        let unlogged = self.logged..self.len();
        self.logged = unlogged.end;
        unlogged
    }

    /// Writes one item; `ids` names its lists.
    pub(super) fn write(&self, index: usize, ids: &[u32], out: &mut ValueWriter) {
        out.int(self.timestamps[index])
            .varint(self.lists.len() as u64);
        for (list, id) in self.lists.iter().zip(ids) {
            out.varint((*id).into()).bytes(list.item(index));
        }
    }

    /// Appends an item that was written, in order of sequence. Lists that are no
    /// longer asked for are left out.
    pub(super) fn restore(
        &mut self,
        sequence: u64,
        ids: &[u32],
        input: &mut ValueReader<'_>,
    ) -> Result<()> {
        if self.timestamps.is_empty() {
            self.first_sequence = sequence;
        }
        let index = sequence.wrapping_sub(self.first_sequence);
        if index < self.len() as u64 {
            // The same item again: a changelog that was written twice.
            return Ok(());
        }
        self.timestamps.push(input.int()?);
        for _ in 0..input.varint()? {
            let id = input.varint()?;
            let text = input.bytes()?;
            if std::str::from_utf8(text).is_err() {
                return Err(Error::internal("a stored item is not a text"));
            }
            if let Some(list) = ids.iter().position(|known| u64::from(*known) == id) {
                self.lists[list].text.extend_from_slice(text);
            }
        }
        for list in &mut self.lists {
            list.ends.push(list.text.len());
        }
        self.logged = self.len();
        Ok(())
    }

    /// Leaves out items before `sequence`: they were removed, though the
    /// changelog may still have them.
    pub(super) fn start_at(&mut self, sequence: u64) {
        let removed = sequence
            .saturating_sub(self.first_sequence)
            .min(self.len() as u64) as usize;
        if 0 < removed {
            self.timestamps.drain(..removed);
            for list in &mut self.lists {
                let start = list.ends[removed - 1];
                list.text.drain(..start);
                list.ends.drain(..removed);
                list.ends.iter_mut().for_each(|end| *end -= start);
            }
            self.logged = self.len();
        }
        self.first_sequence = self.first_sequence.max(sequence);
    }

    /// Removes an item by its number; only the oldest ever are.
    pub(super) fn remove(&mut self, sequence: u64) {
        if self.first_sequence <= sequence {
            self.start_at(sequence + 1);
        }
    }
}
