//! A stretch of a partition, read once and from outside any run.

use crate::{FetchLimits, Fetched, Log};
use headwater_core::{Error, Position, Result, TimestampMs, TopicPartition};
use std::time::Duration;

/// The longest that one look takes.
const WAIT: Duration = Duration::from_millis(500);
/// A stretch of which so many looks in a row show nothing is refused.
const LOOKS_MAX: u32 = 60;

/// Visits the records of `[at, end)`; `false` if the visitor had seen enough.
///
/// # Errors
/// What the log reports, `Unavailable` if it does not show the stretch in time, and what
/// `visit` reports.
pub fn each_record(
    log: &dyn Log,
    partition: &TopicPartition,
    (mut at, end): (Position, Position),
    visit: &mut dyn FnMut(&Fetched, usize) -> Result<bool>,
) -> Result<bool> {
    if end <= at {
        return Ok(true);
    }
    let mut reader = log.reader(&[(partition.clone(), at)])?;
    let mut looks = 0;
    while at < end {
        if looks == LOOKS_MAX {
            return Err(Error::unavailable(format!(
                "a partition cannot be read up to where it is to be read: a transaction is still open \
                 there, or the topic was deleted and made again, partition=`{partition}` \
                 readable=`{at}` end=`{end}`"
            )));
        }
        looks += 1;
        for fetched in reader.poll(WAIT, FetchLimits::default())? {
            for index in 0..fetched.records.len() {
                if end <= fetched.positions.get(index) {
                    return Ok(true);
                }
                if !visit(&fetched, index)? {
                    return Ok(false);
                }
            }
            if at < fetched.resume {
                (at, looks) = (fetched.resume, 0);
            }
        }
    }
    Ok(true)
}

/// Reads on from `from` to the first record of a time or later; its position, or the
/// end if there is none.
pub(crate) fn first_at(
    log: &dyn Log,
    partition: &TopicPartition,
    from: Position,
    time_ms: TimestampMs,
) -> Result<Position> {
    let end = log.bounds(partition)?.end;
    let mut found = end;
    each_record(log, partition, (from, end), &mut |fetched, index| {
        let is_before = fetched.records.timestamps[index] < time_ms;
        if !is_before {
            found = fetched.positions.get(index);
        }
        Ok(is_before)
    })?;
    Ok(found)
}
