//! The largest value, by Python's order. Of equals the first stays; once a NaN has
//! come, the result is NaN.

use super::fold::{Fault, Fold};
use super::held::Held;
use super::number::order;
use headwater_core::{Result, TimestampMs, Value, ValueRef};
use headwater_state::{ValueReader, ValueWriter};
use std::cmp::Ordering;

/// The largest value so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Max(Held);

impl Fold for Max {
    #[inline]
    fn check(&self, value: ValueRef<'_>) -> Result<(), Fault> {
        // The first value is compared with itself: it must have an order at all.
        let held = if self.0.is_null() {
            value
        } else {
            self.0.as_ref()
        };
        order(value, held).map(|_| ())
    }

    #[inline]
    fn add(&mut self, value: ValueRef<'_>, _timestamp: TimestampMs) {
        if self.0.is_nan() {
            return;
        }
        let is_nan = matches!(value, ValueRef::Float(value) if value.is_nan());
        if self.0.is_null()
            || is_nan
            || matches!(order(value, self.0.as_ref()), Ok(Some(Ordering::Greater)))
        {
            self.0 = value.into();
        }
    }

    fn result(&self) -> Value {
        self.0.to_value()
    }

    fn write(&self, out: &mut ValueWriter) {
        self.0.write(out);
    }

    fn read(input: &mut ValueReader<'_>) -> Result<Self> {
        Held::read(input).map(Max)
    }
}
