//! Which record a user's function is processing, for `message_context()`.

use headwater::core::arrow::buffer::ScalarBuffer;
use headwater::core::{Batch, Cause, Positions, TopicPartition};
use pyo3::prelude::*;
use std::cell::{Cell, RefCell};

thread_local! {
    static PLACE: RefCell<Option<Place>> = const { RefCell::new(None) };
    static ROW: Cell<usize> = const { Cell::new(0) };
}

/// Where the rows of a batch stand.
struct Place {
    partition: TopicPartition,
    positions: Option<Positions>,
    causes: ScalarBuffer<u64>,
}

/// Functions of one batch are being called; ends when dropped.
pub(super) struct Processing {
    outer: Option<Place>,
}

/// Says where the records of a batch stand.
pub(super) fn enter(
    partition: &TopicPartition,
    positions: Option<&Positions>,
    batch: &Batch,
) -> Processing {
    let place = Place {
        partition: partition.clone(),
        positions: positions.cloned(),
        causes: batch.causes.clone(),
    };
    Processing {
        outer: PLACE.replace(Some(place)),
    }
}

/// Says which row is next.
#[inline]
pub(super) fn set_row(row: usize) {
    ROW.set(row);
}

impl Drop for Processing {
    fn drop(&mut self) {
        PLACE.replace(self.outer.take());
    }
}

/// Topic, partition and offset of the record that is being processed, or None.
/// A row that time emitted outside any record has no offset.
#[pyfunction]
pub(crate) fn message_context() -> Option<(String, u32, Option<u64>)> {
    PLACE.with_borrow(|place| {
        let place = place.as_ref()?;
        let at = place.causes.get(ROW.get()).map(|&cause| Cause(cause).at());
        let position = place
            .positions
            .as_ref()
            .zip(at)
            .map(|(known, at)| known.get(at));
        let offset = position.and_then(|position| position.offset());
        let TopicPartition { topic, partition } = &place.partition;
        Some((topic.to_string(), *partition, offset))
    })
}
