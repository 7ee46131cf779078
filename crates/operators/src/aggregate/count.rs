//! The number of values.

use super::fold::Fold;
use headwater_core::{Result, TimestampMs, Value, ValueRef};
use headwater_state::{ValueReader, ValueWriter};

/// How many values were added.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Count(u64);

impl Fold for Count {
    #[inline]
    fn add(&mut self, _value: ValueRef<'_>, _timestamp: TimestampMs) {
        self.0 += 1;
    }

    fn result(&self) -> Value {
        Value::Int(self.0.try_into().unwrap_or(i64::MAX))
    }

    fn write(&self, out: &mut ValueWriter) {
        out.varint(self.0);
    }

    fn read(input: &mut ValueReader<'_>) -> Result<Self> {
        input.varint().map(Count)
    }
}
