//! A change of key: rows leave here and go on in another task.

use super::ToTopic;
use crate::{Operator, Step};
use headwater_core::{Batch, Result};

/// Appends each row under its new key to a repartition topic. No row goes on here:
/// those of equal keys go on together, in the task that reads their partition.
#[derive(Debug)]
pub struct Repartition(ToTopic);

impl Repartition {
    /// A change of key that `appends` carries out.
    pub fn new(appends: ToTopic) -> Repartition {
        Repartition(appends)
    }
}

impl Operator for Repartition {
    fn process(&mut self, batch: Batch, step: &mut Step<'_>) -> Result<Option<Batch>> {
        self.0.process(batch, step)?;
        Ok(None)
    }
}
