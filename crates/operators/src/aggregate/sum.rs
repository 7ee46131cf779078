//! The sum, folded in record order as Python's `total += value` does: integers
//! stay integers until a float comes.

use super::fold::{Fault, Fold};
use super::held::unknown;
use super::number::{Number, number, overflow};
use headwater_core::{Result, TimestampMs, Value, ValueRef};
use headwater_state::{ValueReader, ValueWriter};

/// The sum so far.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sum {
    Int(i64),
    Float(f64),
}

impl Default for Sum {
    fn default() -> Self {
        Sum::Int(0)
    }
}

impl Sum {
    /// As [`Fold::check`]; `verb` is what was to be done.
    #[inline]
    pub(super) fn check_for(&self, value: ValueRef<'_>, verb: &str) -> Result<(), Fault> {
        match (self, number(value, verb)?) {
            (Sum::Int(sum), Number::Int(value)) if sum.checked_add(value).is_none() => {
                Err(overflow())
            }
            _ => Ok(()),
        }
    }
}

impl Fold for Sum {
    #[inline]
    fn check(&self, value: ValueRef<'_>) -> Result<(), Fault> {
        self.check_for(value, "sum")
    }

    #[inline]
    fn add(&mut self, value: ValueRef<'_>, _timestamp: TimestampMs) {
        let Some(value) = Number::of(value) else {
            return;
        };
        *self = match (&*self, value) {
            (Sum::Int(sum), Number::Int(value)) => Sum::Int(
                sum.checked_add(value)
                    .expect("a sum is checked before it is added to"),
            ),
            (Sum::Int(sum), Number::Float(value)) => Sum::Float(*sum as f64 + value),
            (Sum::Float(sum), value) => Sum::Float(sum + value.as_float()),
        };
    }

    fn result(&self) -> Value {
        match self {
            Sum::Int(sum) => Value::Int(*sum),
            Sum::Float(sum) => Value::Float(*sum),
        }
    }

    fn write(&self, out: &mut ValueWriter) {
        match self {
            Sum::Int(sum) => out.varint(0).int(*sum),
            Sum::Float(sum) => out.varint(1).float(*sum),
        };
    }

    fn read(input: &mut ValueReader<'_>) -> Result<Self> {
        match input.varint()? {
            0 => input.int().map(Sum::Int),
            1 => input.float().map(Sum::Float),
            tag => Err(unknown("sum", tag)),
        }
    }
}
