//! Aggregators: many values, one result.
//!
//! The key decision: **values are folded one by one in record order**, never by
//! partial sums of a batch, so a result depends on the records and not on how
//! they were cut into batches. All windows of a row are checked before the
//! first of them changes ([`Aggregators::check`]), so a row that cannot be
//! aggregated changes nothing; only users' functions fail midway, and the store
//! takes those rows back.
//!
//! ```text
//! Aggregators     the plan's aggregates, ready to run
//! Accumulators    what one window keeps: one accumulator each, and the items of
//!                 the collectors
//!  ├─ count sum mean min max first last earliest latest variance     `Fold`
//!  ├─ reduce, user                      users' functions, called with values
//!  └─ collect                           items, logged one by one
//! ```
//!
//! An accumulator is stored under the hash of its output, function and input:
//! an aggregate that joins a running window starts there, one that leaves it is
//! forgotten, and the others go on.

mod accumulator;
mod accumulators;
mod aggregators;
mod callback;
mod collect;
mod count;
mod earliest;
mod first;
mod fold;
mod held;
mod last;
mod latest;
mod max;
mod mean;
mod min;
mod number;
mod reduce;
mod stored;
mod sum;
mod user;
mod variance;

#[cfg(test)]
mod tests;

pub use accumulators::Accumulators;
pub use aggregators::Aggregators;

pub(crate) use accumulator::Accumulator;
pub(crate) use accumulators::SavedAccumulators;
pub(crate) use callback::Callback;
