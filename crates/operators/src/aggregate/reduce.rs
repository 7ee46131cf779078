//! A user's fold: `initialise(value)`, then `reduce(accumulator, value)`.

use super::callback::Callback;
use super::held::Held;
use crate::Functions;
use headwater_core::{Result, ValueRef};
use headwater_plan::FunctionRef;

/// The two functions.
#[derive(Debug)]
pub(crate) struct Reduce {
    initialise: Callback,
    reduce: Callback,
}

impl Reduce {
    pub(super) fn new(
        initialise: &FunctionRef,
        reduce: &FunctionRef,
        functions: &Functions,
    ) -> Result<Reduce> {
        Ok(Reduce {
            initialise: Callback::new(initialise, functions)?,
            reduce: Callback::new(reduce, functions)?,
        })
    }

    /// The accumulator after `value`; there is none before the first value.
    pub(super) fn add(&self, so_far: Option<&Held>, value: ValueRef<'_>) -> Result<Held> {
        let next = match so_far {
            None => self.initialise.call(None, &[value])?,
            Some(so_far) => self.reduce.call(None, &[so_far.as_ref(), value])?,
        };
        Ok(next.as_ref().into())
    }
}
