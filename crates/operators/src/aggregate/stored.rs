//! How the accumulators of a window are stored, and found again.

use super::accumulator::Accumulator;
use super::accumulators::Accumulators;
use super::aggregators::Aggregators;
use super::collect::Items;
use headwater_core::Result;
use headwater_plan::{Aggregate, AggregateFunction, Expr};
use headwater_state::{ValueReader, ValueWriter};

impl Aggregators {
    /// Writes what a window keeps, but the items.
    pub fn write(&self, accumulators: &Accumulators, out: &mut ValueWriter) {
        let first_sequence = accumulators
            .items
            .as_ref()
            .map_or(0, |items| items.first_sequence());
        out.varint(first_sequence)
            .varint(self.fold_ids.len() as u64);
        for (id, fold) in self.fold_ids.iter().zip(accumulators.folds.as_slice()) {
            out.varint((*id).into());
            fold.write(out);
        }
    }

    /// Reads what [`Aggregators::write`] wrote, also for other aggregates, into
    /// accumulators that may already have items.
    ///
    /// # Errors
    /// `Internal` if it is damaged.
    pub fn read(&self, accumulators: &mut Accumulators, input: &mut ValueReader<'_>) -> Result<()> {
        let first_sequence = input.varint()?;
        if let Some(items) = &mut accumulators.items {
            items.start_at(first_sequence);
        }
        accumulators.folds = self.initial.clone();
        let folds = accumulators.folds.as_mut_slice();
        for _ in 0..input.varint()? {
            let id = input.varint()?;
            let stored = Accumulator::read(input)?;
            if let Some(fold) = self
                .fold_ids
                .iter()
                .position(|known| u64::from(*known) == id)
            {
                folds[fold] = stored;
            }
        }
        Ok(())
    }

    /// Writes one item of the collectors.
    pub(crate) fn write_item(&self, items: &Items, index: usize, out: &mut ValueWriter) {
        items.write(index, &self.list_ids, out);
    }

    /// Restores one item of the collectors.
    pub(crate) fn read_item(
        &self,
        accumulators: &mut Accumulators,
        sequence: u64,
        input: &mut ValueReader<'_>,
    ) -> Result<()> {
        let new = || Box::new(Items::new(self.list_ids.len()));
        accumulators
            .items
            .get_or_insert_with(new)
            .restore(sequence, &self.list_ids, input)
    }

    /// Removes one item of the collectors.
    pub(crate) fn remove_item(&self, accumulators: &mut Accumulators, sequence: u64) {
        if let Some(items) = &mut accumulators.items {
            items.remove(sequence);
        }
    }
}

/// What an accumulator is stored under: output, function and input, hashed by
/// FNV-1a, which will be the same in every version.
pub(super) fn id(aggregate: &Aggregate) -> u32 {
    let function = match &aggregate.function {
        AggregateFunction::Reduce { reduce, .. } => format!("reduce {}", reduce.name),
        AggregateFunction::User { aggregator, .. } => format!("user {}", aggregator.name),
        other => format!("{other:?}"),
    };
    let input = match &aggregate.input {
        None => String::new(),
        Some(Expr::Field(path)) => path.to_string(),
        Some(input) => format!("{input:?}"),
    };
    let text = format!("{}\0{function}\0{input}", aggregate.output);
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}
