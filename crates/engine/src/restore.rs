//! From changelogs back to state, and forgetting both.
//!
//! A task's stores are restored before its first record, to exactly the end that
//! the committed metadata of the task names. A log may show a transaction
//! partition by partition, so the changelog can still end before it: then the
//! rest is on its way, and the restore waits. What stands after it is of no
//! committed epoch and is left alone. Where nothing is named, no epoch has
//! written to the changelog, and there is nothing to restore.

use headwater_core::env::Clock;
use headwater_core::{Error, Position, Result, TopicPartition, fault};
use headwater_log::{Bounds, FetchLimits, Log};
use headwater_state::StateStore;
use std::time::Duration;

/// How long a restore waits for what is committed to be readable. Longer than a
/// transaction of a writer that has died stays open.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How often it looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Applies a changelog partition up to `end` to an empty store; returns how many
/// records it held.
///
/// # Errors
/// `Unavailable` if the log does not show what is committed in time.
pub(crate) fn restore(
    log: &dyn Log,
    clock: &dyn Clock,
    changelog: &TopicPartition,
    end: Option<Position>,
    store: &mut dyn StateStore,
) -> Result<u64> {
    store.clear();
    let Some(end) = end else {
        return Ok(0);
    };
    let bounds = readable(log, clock, changelog, end)?;
    let (mut at, end) = (bounds.start, end.min(bounds.end));
    let mut applied = 0;
    if end <= at {
        return Ok(applied);
    }
    let mut reader = log.reader(&[(changelog.clone(), at)])?;
    let mut deadline = clock.monotonic() + WAIT_MAX;
    while at < end {
        if deadline <= clock.monotonic() {
            return Err(not_readable(changelog, at, end));
        }
        for fetched in reader.poll(PAUSE, FetchLimits::default())? {
            if at < fetched.resume {
                deadline = clock.monotonic() + WAIT_MAX;
            }
            for index in 0..fetched.records.len() {
                if end <= fetched.positions.get(index) {
                    return Ok(applied);
                }
                let key = fetched.records.key(index).ok_or_else(|| {
                    Error::internal(format!(
                        "a changelog record has no key, changelog=`{changelog}`"
                    ))
                })?;
                store.restore(key, fetched.records.value(index))?;
                applied += 1;
            }
            at = fetched.resume;
        }
    }
    Ok(applied)
}

/// Waits until everything before `end` can be read.
fn readable(
    log: &dyn Log,
    clock: &dyn Clock,
    changelog: &TopicPartition,
    end: Position,
) -> Result<Bounds> {
    let deadline = clock.monotonic() + WAIT_MAX;
    loop {
        let bounds = log.bounds(changelog)?;
        if end <= bounds.end || fault!("restore-to-stable-end") {
            return Ok(bounds);
        }
        if deadline <= clock.monotonic() {
            return Err(not_readable(changelog, bounds.end, end));
        }
        clock.sleep(PAUSE);
    }
}

fn not_readable(changelog: &TopicPartition, at: Position, end: Position) -> Error {
    Error::unavailable(format!(
        "a changelog cannot be read up to its committed end: a transaction is still open there, or \
         the topic was deleted and made again, changelog=`{changelog}` readable=`{at}` \
         committed=`{end}`"
    ))
}

/// The beginning of all changelog topics of an application.
pub(crate) fn changelog_prefix(application: &str) -> String {
    format!("changelog__{application}--")
}

/// Forgets the committed positions and the state of an application; its next
/// run begins anew. Returns the names of the changelog topics that were deleted.
///
/// # Errors
/// `Invalid` while the application is running.
pub fn reset(log: &dyn Log, application: &str) -> Result<Vec<String>> {
    log.forget_group(application)?;
    let prefix = changelog_prefix(application);
    let mut deleted = Vec::new();
    for topic in log.topics()? {
        if topic.name.starts_with(&prefix) {
            log.delete_topic(&topic.name)?;
            deleted.push(topic.name);
        }
    }
    Ok(deleted)
}
