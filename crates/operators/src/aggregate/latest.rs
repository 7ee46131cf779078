//! The value of the largest event time; of equal times the last to arrive.

use super::fold::Fold;
use super::held::Held;
use headwater_core::{Result, TimestampMs, Value, ValueRef};
use headwater_state::{ValueReader, ValueWriter};

/// The value, null before the first, and its event time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Latest {
    value: Held,
    timestamp: TimestampMs,
}

impl Fold for Latest {
    #[inline]
    fn add(&mut self, value: ValueRef<'_>, timestamp: TimestampMs) {
        if self.value.is_null() || self.timestamp <= timestamp {
            *self = Latest {
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
        Ok(Latest {
            value: Held::read(input)?,
            timestamp: input.int()?,
        })
    }
}
