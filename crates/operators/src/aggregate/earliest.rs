//! The value of the smallest event time; of equal times the first to arrive.

use super::fold::Fold;
use super::held::Held;
use headwater_core::{Result, TimestampMs, Value, ValueRef};
use headwater_state::{ValueReader, ValueWriter};

/// The value, null before the first, and its event time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Earliest {
    value: Held,
    timestamp: TimestampMs,
}

impl Fold for Earliest {
    #[inline]
    fn add(&mut self, value: ValueRef<'_>, timestamp: TimestampMs) {
        if self.value.is_null() || timestamp < self.timestamp {
            *self = Earliest {
                value: value.into(),
                timestamp,
            };
        }
    }

    fn result(&self) -> Value {
        self.value.to_value()
    }

    fn write(&self, out: &mut ValueWriter) {
        self.value.write(out);
        out.int(self.timestamp);
    }

    fn read(input: &mut ValueReader<'_>) -> Result<Self> {
        Ok(Earliest {
            value: Held::read(input)?,
            timestamp: input.int()?,
        })
    }
}
