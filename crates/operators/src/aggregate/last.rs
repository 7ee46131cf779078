//! The last value by arrival.

use super::fold::Fold;
use super::held::Held;
use headwater_core::{Result, TimestampMs, Value, ValueRef};
use headwater_state::{ValueReader, ValueWriter};

/// The value, null before the first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Last(Held);

impl Fold for Last {
    #[inline]
    fn add(&mut self, value: ValueRef<'_>, _timestamp: TimestampMs) {
        self.0 = value.into();
    }

    fn result(&self) -> Value {
        self.0.to_value()
    }

    fn write(&self, out: &mut ValueWriter) {
        self.0.write(out);
    }

    fn read(input: &mut ValueReader<'_>) -> Result<Self> {
        Held::read(input).map(Last)
    }
}
