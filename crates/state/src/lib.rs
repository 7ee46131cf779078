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
//!
//! What does not fit into the memory that it may use, a store keeps in its
//! [`Tier`] on disk, which holds the state at a position of the changelog: a
//! start goes on from there. [`conformance`] is what every store promises, as
//! tests that run on each, in memory and with hardly any memory.
//!
//! ```text
//! KeyedStore      values by key and name                 `keyed`
//! Tier            what leaves memory, when, and where    `tier`
//! DiskStore       sorted runs in files                   `disk`
//! ```

pub mod conformance;
mod disk;
mod encoding;
mod keyed;
mod stored;
mod tier;

pub use disk::DiskStore;
pub use encoding::{FORMAT_VERSION, KeyReader, KeyWriter, ValueReader, ValueWriter};
pub use keyed::{KeyedState, KeyedStore};
pub use stored::StoredEntry;
pub use tier::{MemoryBudget, Spill, Stored, Tier, TierSettings, Written, hint_of};

use headwater_core::{Position, RecordsBuilder, Result};

/// A savepoint; later ones are larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub usize);

/// The state of one operator of one task.
///
/// # What a store promises
///
/// 1. What was stored is read until it is changed, removed or has expired,
///    whether it is in memory or on disk.
/// 2. After [`StateStore::rollback`] everything reads as at the mark.
/// 3. [`StateStore::drain_changes`] has one record for each entry that has
///    changed since the last call. Applied in order to an empty store by
///    [`StateStore::restore`], all records ever drained give an equal store.
/// 4. A store that is opened on the files of another and restored from
///    [`StateStore::position`] on is equal to it, whenever that one ended.
/// 5. How much memory a store may use changes nothing but its speed.
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

    /// The number of entries in memory.
    fn len(&self) -> usize;

    /// Whether there are no entries in memory.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets an empty store spill to disk, and go on with what an earlier run
    /// left there.
    ///
    /// # Panics
    /// If the store has entries.
    fn attach(&mut self, _tier: Tier) {}

    /// The tier.
    fn tier(&self) -> Option<&Tier> {
        None
    }

    /// The store as one that spills, if it does.
    fn spill(&mut self) -> Option<&mut dyn Spill> {
        None
    }

    /// Everything up to `position` of the changelog is in the store, and nothing
    /// else is. Keeps it within its memory: see [`Tier`].
    ///
    /// # Errors
    /// `Unavailable` if the disk fails: the store must be dropped and restored.
    fn settle(&mut self, position: Position) -> Result<()> {
        let store = self.spill();
        store.map_or(Ok(()), |store| tier::settle(store, position))
    }

    /// As [`StateStore::settle`], in the middle of a restore: what only makes later
    /// reads faster waits until there is less to do.
    ///
    /// # Errors
    /// As [`StateStore::settle`].
    fn settle_restoring(&mut self, position: Position) -> Result<()> {
        let store = self.spill();
        store.map_or(Ok(()), |store| tier::settle_restoring(store, position))
    }

    /// As [`StateStore::settle`], for the last time.
    ///
    /// # Errors
    /// As [`StateStore::settle`].
    fn settle_at_end(&mut self, position: Position) -> Result<()> {
        let store = self.spill();
        store.map_or(Ok(()), |store| tier::settle_at_end(store, position))
    }

    /// Whether all that was read could be read. What could not was answered as if it
    /// had never been stored, because what asks may be a user's function: the step that
    /// asked must be dropped, and the store, which says so every time.
    ///
    /// # Errors
    /// `Unavailable` if the disk failed.
    fn check(&mut self) -> Result<()> {
        self.tier().map_or(Ok(()), Tier::check)
    }

    /// Whether the store uses more memory than it may, so that the epoch should
    /// end.
    fn is_over_budget(&self) -> bool {
        false
    }
}
