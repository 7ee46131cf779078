//! Moving where an application goes on, from outside.
//!
//! A position that is moved has no metadata: the next run begins there as if for the
//! first time. That is right for an application without state; state belongs to the
//! position that it was committed with, so there a move is refused.

use crate::restore::changelog_prefix;
use headwater_core::{Error, Position, Result, TopicPartition};
use headwater_log::{CommitOutcome, Committed, Log, fixed};
use headwater_plan::repartition_prefix;

/// Moves positions of an application that is not running and keeps no state.
///
/// # Errors
/// `Invalid` where it has state or rows on their way to another key, where it has
/// committed nothing for a partition, where the partition does not have the position,
/// while it is running, and on a cluster that was not opened at least once: brokers take
/// a transaction's positions from outside a group also while it has members. `Unavailable` if nobody knows whether the positions were
/// moved.
pub fn move_positions(
    log: &dyn Log,
    application: &str,
    to: &[(TopicPartition, Position)],
) -> Result<()> {
    if log.is_remote() && !log.repeats_epochs() {
        return Err(Error::invalid(
            "positions on a cluster are moved through a log that is opened at least once",
        ));
    }
    let prefixes = [
        changelog_prefix(application),
        repartition_prefix(application),
    ];
    let is_own = |topic: &str| prefixes.iter().any(|prefix| topic.starts_with(prefix));
    if let Some(topic) = log.topics()?.iter().find(|topic| is_own(&topic.name)) {
        return Err(Error::invalid(format!(
            "the application has state, which belongs to where it stands application=`{application}` \
             topic=`{}`\nhint: `headwater reset {application}` forgets both, and the next run begins \
             anew; run(start=..., commit=False) reads again beside it",
            topic.name
        )));
    }
    let committed = log.committed(application)?;
    for (partition, position) in to {
        if !committed.iter().any(|(known, _)| known == partition) {
            return Err(Error::invalid(format!(
                "the application has committed nothing for this partition \
                 application=`{application}` partition=`{partition}`"
            )));
        }
        let bounds = log.bounds(partition)?;
        if *position < bounds.start || bounds.end < *position {
            return Err(Error::invalid(format!(
                "the partition does not have this position partition=`{partition}` \
                 position=`{position}` start=`{}` end=`{}`",
                bounds.start, bounds.end
            )));
        }
    }
    let at = |(partition, position): &(TopicPartition, Position)| {
        let moved = Committed {
            position: *position,
            metadata: Vec::new(),
        };
        (partition.clone(), moved)
    };
    let moved: Vec<_> = to.iter().map(at).collect();
    let member = log.join(application, &[])?;
    match member.transactor(0)?.commit(&mut fixed(&moved))? {
        CommitOutcome::Committed => Ok(()),
        CommitOutcome::Unknown { reason } => Err(Error::unavailable(format!(
            "it is not known whether the positions were moved: {reason}\n\
             hint: `headwater groups lag {application}` shows where it stands"
        ))),
    }
}
