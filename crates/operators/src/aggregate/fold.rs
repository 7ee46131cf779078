//! The contract of a built-in aggregator.

use headwater_core::{DataError, Result, TimestampMs, Value, ValueRef};
use headwater_state::{ValueReader, ValueWriter};

/// A data error on its way; boxed, because it is large and rare.
pub(crate) type Fault = Box<DataError>;

/// What a built-in aggregator keeps of the values of one window. The default is
/// the accumulator of no values.
///
/// Null never reaches it. A value is checked before it is added, and adding what
/// has been checked cannot fail: so all windows of a row can be checked before
/// the first of them changes.
pub(super) trait Fold: Default {
    /// Whether the value can be added.
    ///
    /// # Errors
    /// Why it cannot; the caller names the field.
    fn check(&self, _value: ValueRef<'_>) -> Result<(), Fault> {
        Ok(())
    }

    /// Adds a value that has passed [`Fold::check`].
    fn add(&mut self, value: ValueRef<'_>, timestamp: TimestampMs);

    /// The result of the values so far.
    fn result(&self) -> Value;

    /// Writes the accumulator; floats bit by bit.
    fn write(&self, out: &mut ValueWriter);

    /// Reads what [`Fold::write`] wrote.
    ///
    /// # Errors
    /// `Internal` if it is damaged.
    fn read(input: &mut ValueReader<'_>) -> Result<Self>;
}
