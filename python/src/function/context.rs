//! Which record a user's function is processing, for `message_context()`.

use headwater::core::{Batch, TopicPartition};
use pyo3::prelude::*;
use std::cell::{Cell, RefCell};

thread_local! {
    static PARTITION: RefCell<Option<TopicPartition>> = const { RefCell::new(None) };
    static ROW: Cell<usize> = const { Cell::new(0) };
}

/// Functions of one batch are being called; ends when dropped.
pub(super) struct Processing {
    outer: Option<TopicPartition>,
}

/// Says where the records of a batch stand.
pub(super) fn enter(partition: &TopicPartition, _batch: &Batch) -> Processing {
    Processing {
        outer: PARTITION.replace(Some(partition.clone())),
    }
}

/// Says which row is next.
#[inline]
pub(super) fn set_row(row: usize) {
    ROW.set(row);
}

impl Drop for Processing {
    fn drop(&mut self) {
        PARTITION.replace(self.outer.take());
    }
}

/// The topic and partition of the record that is being processed, or None.
#[pyfunction]
pub(crate) fn message_context() -> Option<(String, u32)> {
    PARTITION.with_borrow(|partition| {
        partition
            .as_ref()
            .map(|partition| (partition.topic.to_string(), partition.partition))
    })
}
