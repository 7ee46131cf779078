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
use crate::replay::{PAUSE, ToRestore, WAIT_MAX, not_readable};
use headwater_core::env::{Clock, Env};
use headwater_core::{Error, Position, Result, TopicPartition, fault};
use headwater_log::{Bounds, Log};
use headwater_plan::repartition_prefix;
use headwater_state::{StateStore, Tier, TierSettings};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// With changes after it, a store on disk that was written longer ago is rebuilt:
/// brokers forget after a day, by default, which keys were removed. (A log that
/// forgets earlier refuses to read on from there.)
const STORE_AGE_MAX: Duration = Duration::from_secs(12 * 3_600);

/// How long a task waits for the files of its stores: who had it before is giving it
/// up at this moment.
const IN_USE_WAIT_MAX: Duration = Duration::from_millis(500);

/// Finds out what a store that has nothing in memory is to be told of its changelog,
/// up to `end`; `None` if nothing.
///
/// # Errors
/// `Unavailable` if the log does not show what is committed in time, or the disk
/// fails.
pub(crate) fn to_restore(
    log: &dyn Log,
    clock: &dyn Clock,
    changelog: &TopicPartition,
    end: Option<Position>,
    store: &mut dyn StateStore,
) -> Result<Option<ToRestore>> {
    let end = match log.repeats_epochs() {
        true => Some(log.bounds(changelog)?.end),
        false => end,
    };
    let Some(end) = end else {
        store.clear();
        return store.check().map(|()| None);
    };
    let Bounds {
        start,
        end: readable,
    } = readable(log, clock, changelog, end)?;
    let end = end.min(readable);
    if let Some((written_at, written_ms)) = store.tier().and_then(Tier::position) {
        let age_ms = clock.wall_ms().saturating_sub(written_ms);
        let is_known = start <= written_at && written_at <= end;
        if is_known && (written_at == end || age_ms < STORE_AGE_MAX.as_millis() as i64) {
            store.check()?;
            return Ok(Some(ToRestore {
                at: written_at,
                end,
                start,
                is_resumed: true,
            })
            .filter(|_| written_at < end));
        }
    }
    store.clear();
    store.check()?;
    Ok(Some(ToRestore {
        at: start,
        end,
        start,
        is_resumed: false,
    })
    .filter(|_| start < end))
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
        folder: free_folder(&application.env, folder.join(task).join(store_folder))?,
        budget: Arc::clone(&application.state_memory),
        changelog_id: changelog_id.unwrap_or_default(),
    })?);
    Ok(())
}

/// The folder of a store, or, if another process has it, one beside it: an instance on
/// this host that stands still has perhaps not given its task up, and must hold up
/// nobody. What stands in another folder is of another position, that is all.
fn free_folder(env: &Env, folder: PathBuf) -> Result<PathBuf> {
    let deadline = env.clock.monotonic() + IN_USE_WAIT_MAX;
    let mut number = 1;
    let mut candidate = folder.clone();
    loop {
        let unreadable = |error: std::io::Error| {
            let folder = candidate.display();
            Error::unavailable(format!(
                "a state directory cannot be read: {error} folder=`{folder}`"
            ))
        };
        let is_new = env.storage.list(&candidate).map_err(unreadable)?.is_empty();
        let lock = |folder: &Path| env.storage.lock(&folder.join("lock"));
        if is_new || lock(&candidate).map_err(unreadable)?.is_some() {
            return Ok(candidate);
        }
        if env.clock.monotonic() < deadline {
            env.clock.sleep(PAUSE);
            continue;
        }
        number += 1;
        candidate.set_file_name(match folder.file_name() {
            Some(name) => format!("{}.{number}", name.display()),
            None => number.to_string(),
        });
    }
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
/// internal topics that were deleted.
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
    // What stands in a repartition topic would be processed again beside what replaces it.
    let prefixes = [
        changelog_prefix(application),
        repartition_prefix(application),
    ];
    let mut deleted = Vec::new();
    for topic in log.topics()? {
        if prefixes.iter().any(|prefix| topic.name.starts_with(prefix)) {
            log.delete_topic(&topic.name)?;
            deleted.push(topic.name);
        }
    }
    Ok(deleted)
}
