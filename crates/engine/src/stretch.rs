//! A stretch of a partition, read from outside any run.

use crate::replay::not_readable;
use headwater_core::{Position, Result, TopicPartition};
use headwater_log::{FetchLimits, Fetched, Log};
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
pub(crate) fn each_record(
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
            return Err(not_readable(partition, at, end));
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
