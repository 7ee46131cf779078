//! From changelogs back to state, and forgetting both.
//!
//! A store that has a part on disk goes on from the position that stands there
//! with it. It is rebuilt from the start of the changelog if that position is
//! ahead of what is committed, or so old that the changelog may no longer say
//! what was removed since.
//!
//! A task's stores are restored before its first record, to exactly the end that
//! the committed metadata of the task names. A log may show a transaction
//! partition by partition, so the changelog can still end before it: then the
//! rest is on its way, and the restore waits. What stands after it is of no
//! committed epoch and is left alone. Where nothing is named, no epoch has
//! written to the changelog, and there is nothing to restore.
//!
//! Under at-least-once the whole changelog is applied: an epoch that did not commit
//! may have left changes there, compaction may have removed what they supersede, and
//! the epoch is repeated in any case.

use crate::application::Application;
use crate::metrics::Metrics;
use headwater_core::env::{Clock, Env};
use headwater_core::{Class, Error, Position, Result, TopicPartition, fault};
use headwater_log::{Bounds, FetchLimits, Log};
use headwater_state::{StateStore, Tier, TierSettings};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a restore waits for what is committed to be readable. Longer than a
/// transaction of a writer that has died stays open.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How often it looks.
const PAUSE: Duration = Duration::from_millis(10);

/// With changes after it, a store on disk that was written longer ago is rebuilt:
/// brokers forget after a day, by default, which keys were removed. (A log that
/// forgets earlier refuses to read on from there.)
const STORE_AGE_MAX: Duration = Duration::from_secs(12 * 3_600);

/// Applies a changelog partition up to `end` to a store that has nothing in
/// memory; returns how many records it read.
///
/// # Errors
/// `Unavailable` if the log does not show what is committed in time, or the disk
/// fails.
pub(crate) fn restore(
    log: &dyn Log,
    clock: &dyn Clock,
    changelog: &TopicPartition,
    end: Option<Position>,
    store: &mut dyn StateStore,
    metrics: &Metrics,
) -> Result<u64> {
    let end = match log.repeats_epochs() {
        true => Some(log.bounds(changelog)?.end),
        false => end,
    };
    let Some(end) = end else {
        store.clear();
        return store.check().map(|()| 0);
    };
    let bounds = readable(log, clock, changelog, end)?;
    let end = end.min(bounds.end);
    if let Some((written_at, written_ms)) = store.tier().and_then(Tier::position) {
        let age_ms = clock.wall_ms().saturating_sub(written_ms);
        let is_known = bounds.start <= written_at && written_at <= end;
        if is_known && (written_at == end || age_ms < STORE_AGE_MAX.as_millis() as i64) {
            match apply(log, clock, changelog, (written_at, end), store, metrics) {
                // The log no longer has everything from there on.
                Err(error) if error.class() == Class::Invalid => {}
                applied => return applied,
            }
        }
    }
    store.clear();
    apply(log, clock, changelog, (bounds.start, end), store, metrics)
}

/// Applies the records of `[at, end)`.
fn apply(
    log: &dyn Log,
    clock: &dyn Clock,
    changelog: &TopicPartition,
    (mut at, end): (Position, Position),
    store: &mut dyn StateStore,
    metrics: &Metrics,
) -> Result<u64> {
    store.check()?;
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
                    break;
                }
                let key = fetched.records.key(index).ok_or_else(|| {
                    Error::internal(format!(
                        "a changelog record has no key, changelog=`{changelog}`"
                    ))
                })?;
                store.restore(key, fetched.records.value(index))?;
                applied += 1;
            }
            at = fetched.resume.min(end);
            store.settle(at)?;
            metrics.restored(changelog, applied, (at, end));
        }
    }
    store.check()?;
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

/// Lets a store spill to disk, if the application has a place for it.
///
/// # Errors
/// `Unavailable` while anyone else has the files open, and if the disk fails.
pub(crate) fn attach(
    application: &Application,
    task: &TopicPartition,
    changelog: &TopicPartition,
    store: &mut dyn StateStore,
) -> Result<()> {
    let name = &application.settings.name;
    let directory = application.settings.state_directory.as_deref();
    let Some(folder) = state_folder(&*application.log, directory, name) else {
        return Ok(());
    };
    let changelog_id = application.log.topic(&changelog.topic)?.map(|info| info.id);
    let prefix = changelog_prefix(name);
    let id = changelog.topic.strip_prefix(&prefix);
    let task = format!("{}-{}", task.topic, task.partition);
    let store_folder = format!("store-{}", id.unwrap_or(&changelog.topic));
    store.attach(Tier::open(TierSettings {
        env: application.env.clone(),
        folder: folder.join(task).join(store_folder),
        budget: Arc::clone(&application.state_memory),
        changelog_id: changelog_id.unwrap_or_default(),
    })?);
    Ok(())
}

/// Where the state of an application stands on disk, if anywhere:
/// `state/app-<name>/<topic>-<partition>/store-<id>`.
fn state_folder(log: &dyn Log, directory: Option<&Path>, name: &str) -> Option<PathBuf> {
    let folder = match directory {
        Some(directory) => Some(directory.to_owned()),
        None => log.directory().map(|log| log.join("state")),
    };
    // No name is that of another folder, as `..` would be.
    folder.map(|folder| folder.join(format!("app-{name}")))
}

/// The beginning of all changelog topics of an application.
pub(crate) fn changelog_prefix(application: &str) -> String {
    format!("changelog__{application}--")
}

/// Forgets the committed positions and the state of an application, also what
/// stands beside the log; its next run begins anew. Returns the names of the
/// changelog topics that were deleted.
///
/// # Errors
/// `Invalid` while the application is running.
pub fn reset(log: &dyn Log, env: &Env, application: &str) -> Result<Vec<String>> {
    reset_with_state(log, env, None, application)
}

/// As [`reset`], where the state stands in a directory of its own.
pub(crate) fn reset_with_state(
    log: &dyn Log,
    env: &Env,
    directory: Option<&Path>,
    application: &str,
) -> Result<Vec<String>> {
    log.forget_group(application)?;
    if let Some(folder) = state_folder(log, directory, application) {
        let removed = env.storage.remove_folder(&folder);
        removed.map_err(|error| {
            let folder = folder.display();
            Error::unavailable(format!(
                "state on disk cannot be removed: {error} folder=`{folder}`"
            ))
        })?;
    }
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
