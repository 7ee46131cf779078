//! A user's aggregator object with `initialize`, `agg` and `result`.

use super::callback::Callback;
use super::held::Held;
use headwater_core::{Result, TimestampMs, Value, ValueRef};

/// The object.
#[derive(Debug)]
pub(crate) struct User(pub(super) Callback);

impl User {
    /// The accumulator after `value`. It is initialised at the first value, so
    /// that an aggregator that joins a running window starts there.
    pub(super) fn add(
        &self,
        so_far: Option<&Held>,
        value: ValueRef<'_>,
        timestamp: TimestampMs,
    ) -> Result<Held> {
        let initial;
        let so_far = match so_far {
            Some(so_far) => so_far.as_ref(),
            None => {
                initial = self.0.call(Some("initialize"), &[])?;
                initial.as_ref()
            }
        };
        let next = self
            .0
            .call(Some("agg"), &[so_far, value, ValueRef::Int(timestamp)])?;
        Ok(next.as_ref().into())
    }

    pub(super) fn result(&self, so_far: Option<&Held>) -> Result<Value> {
        let initial;
        let so_far = match so_far {
            Some(so_far) => so_far.as_ref(),
            None => {
                initial = self.0.call(Some("initialize"), &[])?;
                initial.as_ref()
            }
        };
        self.0.call(Some("result"), &[so_far])
    }
}
