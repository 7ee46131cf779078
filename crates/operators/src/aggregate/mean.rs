//! The mean: the sum, folded as [`Sum`] does, over the count, as a float.

use super::fold::{Fault, Fold};
use super::number::divide_exactly;
use super::sum::Sum;
use headwater_core::{Result, TimestampMs, Value, ValueRef};
use headwater_state::{ValueReader, ValueWriter};

/// Sum and count so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Mean {
    sum: Sum,
    count: u64,
}

impl Fold for Mean {
    #[inline]
    fn check(&self, value: ValueRef<'_>) -> Result<(), Fault> {
        self.sum.check_for(value, "take the mean of")
    }

    #[inline]
    fn add(&mut self, value: ValueRef<'_>, timestamp: TimestampMs) {
        self.sum.add(value, timestamp);
        self.count += 1;
    }

    fn result(&self) -> Value {
        match (self.count, &self.sum) {
            (0, _) => Value::Null,
            (count, Sum::Int(sum)) => Value::Float(divide_exactly(*sum, count)),
            (count, Sum::Float(sum)) => Value::Float(sum / count as f64),
        }
    }

    fn write(&self, out: &mut ValueWriter) {
        self.sum.write(out);
        out.varint(self.count);
    }

    fn read(input: &mut ValueReader<'_>) -> Result<Self> {
        Ok(Mean {
            sum: Sum::read(input)?,
            count: input.varint()?,
        })
    }
}
