//! The sample variance and the sample standard deviation (n - 1).
//!
//! By Welford's recurrence, which stays exact where the values are large and
//! close together; a difference of squares would not.

use super::fold::{Fault, Fold};
use super::number::{Number, number};
use headwater_core::{Result, TimestampMs, Value, ValueRef};
use headwater_state::{ValueReader, ValueWriter};

/// Count, mean and sum of squared distances from the mean.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Variance {
    count: u64,
    mean: f64,
    squares: f64,
}

impl Variance {
    /// `None` for fewer than two values.
    fn variance(&self) -> Option<f64> {
        (2 <= self.count).then(|| self.squares / (self.count - 1) as f64)
    }
}

impl Fold for Variance {
    #[inline]
    fn check(&self, value: ValueRef<'_>) -> Result<(), Fault> {
        number(value, "take the variance of").map(|_| ())
    }

    #[inline]
    fn add(&mut self, value: ValueRef<'_>, _timestamp: TimestampMs) {
        let Some(value) = Number::of(value).map(Number::as_float) else {
            return;
        };
        self.count += 1;
        let distance = value - self.mean;
        self.mean += distance / self.count as f64;
        self.squares += distance * (value - self.mean);
    }

    fn result(&self) -> Value {
        self.variance().map_or(Value::Null, Value::Float)
    }

    fn write(&self, out: &mut ValueWriter) {
        out.varint(self.count).float(self.mean).float(self.squares);
    }

    fn read(input: &mut ValueReader<'_>) -> Result<Self> {
        let count = input.varint()?;
        Ok(Variance {
            count,
            mean: input.float()?,
            squares: input.float()?,
        })
    }
}

/// The square root of [`Variance`].
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Std(Variance);

impl Fold for Std {
    #[inline]
    fn check(&self, value: ValueRef<'_>) -> Result<(), Fault> {
        number(value, "take the standard deviation of").map(|_| ())
    }

    #[inline]
    fn add(&mut self, value: ValueRef<'_>, timestamp: TimestampMs) {
        self.0.add(value, timestamp);
    }

    fn result(&self) -> Value {
        self.0
            .variance()
            .map_or(Value::Null, |variance| Value::Float(variance.sqrt()))
    }

    fn write(&self, out: &mut ValueWriter) {
        self.0.write(out);
    }

    fn read(input: &mut ValueReader<'_>) -> Result<Self> {
        Variance::read(input).map(Std)
    }
}
