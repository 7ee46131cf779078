//! What every log promises, as tests. A backend passes if [`run`] returns.
//!
//! Each function is one promise, with its semantics in its documentation, and
//! panics where the backend breaks it. They use the [`Log`] trait alone, so they
//! run unchanged on every backend; a topic or group is never used by two.

mod compaction;
mod reading;
mod support;
mod topics;
mod transactions;

pub use compaction::a_compacted_topic_keeps_the_newest_of_each_key;
pub use reading::{
    a_flushed_append_is_seen_by_every_reader, a_poll_without_records_waits,
    a_waiting_reader_is_woken, an_error_of_one_partition_loses_no_other, at_end_means_the_end,
    every_kind_of_record_survives, limits_and_resume_tokens_lose_nothing,
    one_record_is_returned_whatever_its_size, partitions_take_turns, records_keep_their_order,
    seek_goes_on_elsewhere,
};
pub use topics::{
    a_deleted_topic_is_gone, a_time_has_a_position, partitions_can_be_added,
    records_before_a_position_can_be_deleted, retention_passed_names_both_positions,
    topics_are_made_once, waiting_counts_records, wrong_topics_are_refused,
};
pub use transactions::{
    a_commit_may_name_its_own_ends, a_commit_says_where_partitions_end,
    a_forgotten_group_starts_anew, a_group_has_one_owner, a_lone_member_owns_all_partitions,
    a_transaction_is_seen_whole, an_aborted_transaction_is_never_seen, an_earlier_member_is_fenced,
    an_empty_commit_succeeds, metadata_is_bounded, positions_and_metadata_are_kept,
    what_is_not_committed_is_not_seen, workers_commit_side_by_side,
};

use crate::Log;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

type Promise = fn(&dyn Log);

macro_rules! promises {
    ($($name:ident,)*) => { &[$((stringify!($name), $name as Promise)),*] };
}

const PROMISES: &[(&str, Promise)] = promises![
    topics_are_made_once,
    wrong_topics_are_refused,
    records_keep_their_order,
    a_flushed_append_is_seen_by_every_reader,
    every_kind_of_record_survives,
    limits_and_resume_tokens_lose_nothing,
    one_record_is_returned_whatever_its_size,
    partitions_take_turns,
    at_end_means_the_end,
    seek_goes_on_elsewhere,
    an_error_of_one_partition_loses_no_other,
    retention_passed_names_both_positions,
    a_compacted_topic_keeps_the_newest_of_each_key,
    a_deleted_topic_is_gone,
    waiting_counts_records,
    a_time_has_a_position,
    partitions_can_be_added,
    records_before_a_position_can_be_deleted,
    a_waiting_reader_is_woken,
    a_poll_without_records_waits,
    an_aborted_transaction_is_never_seen,
    what_is_not_committed_is_not_seen,
    a_commit_says_where_partitions_end,
    a_commit_may_name_its_own_ends,
    a_lone_member_owns_all_partitions,
    positions_and_metadata_are_kept,
    metadata_is_bounded,
    an_empty_commit_succeeds,
    a_group_has_one_owner,
    an_earlier_member_is_fenced,
    a_forgotten_group_starts_anew,
    workers_commit_side_by_side,
];

/// How a committed transaction becomes visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// At once, in all partitions.
    Whole,
    /// Partition by partition: the markers that end it reach them one after another.
    /// [`a_transaction_is_seen_whole`] is no promise of such a log; who needs a whole
    /// transaction waits until each partition's bounds reach the ends that its commit
    /// named.
    ByPartition,
}

/// Checks every promise of a log whose transactions become visible at once, each on
/// a log of its own.
///
/// # Panics
/// After the last, if any is broken; the message says which.
pub fn run(make: &mut dyn FnMut() -> Arc<dyn Log>) {
    run_with(Visibility::Whole, make);
}

/// Checks every promise of a log of this kind, each on a log of its own.
///
/// # Panics
/// After the last, if any is broken; the message says which.
pub fn run_with(visibility: Visibility, make: &mut dyn FnMut() -> Arc<dyn Log>) {
    run_part(visibility, 0, 1, make);
}

/// Checks every promise whose number leaves `part` when divided by `parts`: where most of
/// the time is waiting, parts run side by side.
///
/// # Panics
/// After the last, if any is broken; the message says which.
pub fn run_part(
    visibility: Visibility,
    part: usize,
    parts: usize,
    make: &mut dyn FnMut() -> Arc<dyn Log>,
) {
    let whole: (&str, Promise) = ("a_transaction_is_seen_whole", a_transaction_is_seen_whole);
    let more = (visibility == Visibility::Whole).then_some(&whole);
    let mut broken = Vec::new();
    for (name, promise) in PROMISES.iter().chain(more).skip(part).step_by(parts) {
        eprintln!("conformance: {name}");
        let log = make();
        let kept = catch_unwind(AssertUnwindSafe(|| promise(&*log)));
        broken.extend(kept.err().map(|_| *name));
    }
    assert!(broken.is_empty(), "broken promises, see above: {broken:?}");
}
