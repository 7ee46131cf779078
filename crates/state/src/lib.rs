//! State stores: what a task remembers between records.
//!
//! A store lives in memory and belongs to one task. It never writes to a log:
//! at the end of an epoch it hands out its changes, last value per key, and the
//! engine appends them to the store's changelog topic in the transaction that
//! commits the epoch. Restoring is applying a changelog in order. So the store
//! agrees with the committed positions by construction: after anything but a
//! confirmed commit the engine drops the store and restores it.
//!
//! Within an epoch a store can go back: [`StateStore::mark`] opens a savepoint
//! and [`StateStore::rollback`] undoes everything after it. That is what makes a
//! row's effects atomic.

mod encoding;
mod keyed;

pub use encoding::{FORMAT_VERSION, KeyReader, KeyWriter, ValueReader, ValueWriter};
pub use keyed::{KeyedState, KeyedStore};

use headwater_core::{RecordsBuilder, Result};

/// A savepoint; later ones are larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub usize);

/// The state of one operator of one task.
pub trait StateStore: Send {
    /// Opens a savepoint. Savepoints nest.
    fn mark(&mut self) -> Mark;

    /// Undoes every change since `mark`, which stays open.
    fn rollback(&mut self, mark: Mark);

    /// Closes all savepoints: what has changed stays.
    fn release(&mut self);

    /// Appends one record for each entry changed since the last call: its key,
    /// and its value or null if it was removed. The order is that of first change.
    ///
    /// # Panics
    /// If a savepoint is open.
    fn drain_changes(&mut self, out: &mut RecordsBuilder);

    /// Applies one changelog record.
    ///
    /// # Errors
    /// `Internal` for a record of an unknown format, or one that is damaged.
    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()>;

    /// Forgets everything, as if nothing had ever been stored.
    fn clear(&mut self);

    /// The number of entries.
    fn len(&self) -> usize;

    /// Whether there are no entries.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
