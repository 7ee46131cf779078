//! From changelogs back to state, and forgetting both.
//!
//! A task's stores are restored before its first record. The end to restore to
//! is the end of the changelog partition: on the embedded log an epoch's outputs,
//! positions and changelog become visible in one transaction, and the membership
//! that this run has just taken keeps anyone else from writing, so the end of the
//! changelog is the state at the committed position. (A log whose transactions
//! become visible partition by partition needs the end named in the commit; that
//! arrives with the Kafka backend.)

use headwater_core::{Error, Result, TopicPartition};
use headwater_log::{FetchLimits, Log};
use headwater_state::StateStore;
use std::time::Duration;

/// How long a restore may find nothing before it gives up.
const STALL_MAX: u32 = 100;
const WAIT: Duration = Duration::from_millis(50);

/// Applies a whole changelog partition to an empty store; returns how many
/// records it held.
pub(crate) fn restore(
    log: &dyn Log,
    changelog: &TopicPartition,
    store: &mut dyn StateStore,
) -> Result<u64> {
    store.clear();
    let bounds = log.bounds(changelog)?;
    let (mut at, mut applied, mut stalls) = (bounds.start, 0, 0);
    if at >= bounds.end {
        return Ok(0);
    }
    let mut reader = log.reader(&[(changelog.clone(), at)])?;
    while at < bounds.end {
        let fetched = reader.poll(WAIT, FetchLimits::default())?;
        stalls = if fetched.iter().all(|fetched| fetched.records.is_empty()) {
            stalls + 1
        } else {
            0
        };
        if stalls > STALL_MAX {
            return Err(Error::unavailable(format!(
                "a changelog ends before its end, changelog=`{changelog}` at=`{at}` end=`{}`",
                bounds.end
            )));
        }
        for fetched in fetched {
            for index in 0..fetched.records.len() {
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
