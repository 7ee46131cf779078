//! Ownership of a group, and the positions it commits.
//!
//! Two guards. A lock file, which the system releases when its process dies,
//! keeps a second process out and can name the first. A generation in the
//! database, which every join raises and every commit compares, keeps out what
//! is left of an earlier membership.

use super::admin::find_topic;
use super::open::groups_directory;
use super::shared::Shared;
use super::transactor::EmbeddedTransactor;
use crate::{Committed, Member, TopicInfo, Transactor};
use headwater_core::{Error, Position, Result, TopicPartition};
use rusqlite::OptionalExtension;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often a member looks for partitions that were added to its topics.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// See [`Member`].
pub(super) struct EmbeddedMember {
    shared: Arc<Shared>,
    group: Arc<str>,
    leads: BTreeSet<Arc<str>>,
    generation: i64,
    /// How many partitions it has been assigned, and when that was last compared.
    assigned: Cell<Option<(usize, Duration)>>,
    /// Held until the member is dropped.
    _lock: File,
}

impl EmbeddedMember {
    pub(super) fn join(shared: Arc<Shared>, group: &str, leads: &[Arc<str>]) -> Result<Self> {
        let lock = lock_group(&shared.directory, group)?;
        let generation = shared.write_once(|sqlite| raise_generation(&shared, sqlite, group))?;
        Ok(EmbeddedMember {
            shared,
            group: group.into(),
            leads: leads.iter().cloned().collect(),
            generation,
            assigned: Cell::new(None),
            _lock: lock,
        })
    }
}

impl EmbeddedMember {
    fn find(&self, topic: &str) -> Result<Option<TopicInfo>> {
        self.shared
            .read(|sqlite| find_topic(&self.shared, sqlite, topic))
    }

    fn now(&self) -> Duration {
        self.shared.options.env.clock.monotonic()
    }
}

impl Member for EmbeddedMember {
    fn assignment(&mut self) -> Result<Vec<TopicPartition>> {
        let all = crate::all_partitions(&self.leads, |topic| self.find(topic))?;
        self.assigned.set(Some((all.len(), self.now())));
        Ok(all)
    }

    fn is_changing(&self) -> bool {
        let Some((assigned, looked_at)) = self.assigned.get() else {
            return false;
        };
        let now = self.now();
        if now < looked_at + LOOK_INTERVAL {
            return false;
        }
        self.assigned.set(Some((assigned, now)));
        // A topic that is deleted, or cannot be looked at, is told by whoever reads it.
        let infos = self.leads.iter().filter_map(|lead| self.find(lead).ok()?);
        let count: u32 = infos.map(|info| info.config.partitions).sum();
        assigned < count as usize
    }

    fn committed(&self) -> Result<Vec<(TopicPartition, Committed)>> {
        self.shared
            .read(|sqlite| committed(&self.shared, sqlite, &self.group))
    }

    fn transactor(&self, _worker: usize) -> Result<Box<dyn Transactor>> {
        let (shared, group) = (self.shared.clone(), self.group.clone());
        Ok(Box::new(EmbeddedTransactor::new(
            shared,
            group,
            self.generation,
        )?))
    }
}

/// Forgets a group's positions. Its generation stays and grows, so that what is
/// left of an earlier membership remains fenced.
pub(super) fn forget(shared: &Shared, group: &str) -> Result<()> {
    let _lock = lock_group(&shared.directory, group)?;
    shared.write_once(|sqlite| {
        raise_generation(shared, sqlite, group)?;
        let mut delete =
            shared.sql(sqlite.prepare_cached("DELETE FROM positions WHERE group_name = ?"))?;
        shared.sql(delete.execute([group]))?;
        Ok(())
    })
}

/// What a group has committed, by partition.
pub(super) fn committed(
    shared: &Shared,
    sqlite: &rusqlite::Connection,
    group: &str,
) -> Result<Vec<(TopicPartition, Committed)>> {
    let mut select = shared.sql(sqlite.prepare_cached(
        "SELECT topic, partition, position, metadata FROM positions WHERE group_name = ?
         ORDER BY topic, partition",
    ))?;
    let rows = select.query_map([group], |row| {
        let topic: String = row.get(0)?;
        let partition = TopicPartition::new(topic, row.get(1)?);
        Ok((
            partition,
            row.get::<_, Vec<u8>>(2)?,
            row.get::<_, Vec<u8>>(3)?,
        ))
    });
    let rows = shared.sql(rows.and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>))?;
    rows.into_iter()
        .map(|(partition, position, metadata)| {
            let position = Position::from_bytes(&position).ok_or_else(|| {
                Error::internal(format!(
                    "a stored position is too long partition=`{partition}`"
                ))
            })?;
            Ok((partition, Committed { position, metadata }))
        })
        .collect()
}

pub(super) fn save_position(
    shared: &Shared,
    sqlite: &rusqlite::Connection,
    group: &str,
    partition: &TopicPartition,
    committed: &Committed,
) -> Result<()> {
    let mut upsert = shared.sql(sqlite.prepare_cached(
        "INSERT INTO positions (group_name, topic, partition, position, metadata)
         VALUES (?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET position = excluded.position, metadata = excluded.metadata",
    ))?;
    shared.sql(upsert.execute((
        group,
        &*partition.topic,
        partition.partition,
        committed.position.as_bytes(),
        committed.metadata.as_slice(),
    )))?;
    Ok(())
}

/// # Errors
/// `Fenced` if the group has been joined again since.
pub(super) fn check_generation(
    shared: &Shared,
    sqlite: &rusqlite::Connection,
    group: &str,
    generation: i64,
) -> Result<()> {
    let mut select =
        shared.sql(sqlite.prepare_cached("SELECT generation FROM groups WHERE name = ?"))?;
    let current: Option<i64> =
        shared.sql(select.query_row([group], |row| row.get(0)).optional())?;
    if current == Some(generation) {
        return Ok(());
    }
    Err(Error::fenced(format!(
        "application `{group}` has been started again elsewhere generation=`{generation}` \
         current=`{}`",
        current.unwrap_or_default()
    )))
}

fn raise_generation(shared: &Shared, sqlite: &rusqlite::Connection, group: &str) -> Result<i64> {
    let mut upsert = shared.sql(sqlite.prepare_cached(
        "INSERT INTO groups (name, generation) VALUES (?, 1)
         ON CONFLICT DO UPDATE SET generation = generation + 1
         RETURNING generation",
    ))?;
    shared.sql(upsert.query_row([group], |row| row.get(0)))
}

fn lock_group(directory: &Path, group: &str) -> Result<File> {
    let path = lock_path(directory, group)?;
    let failed = |error: std::io::Error| {
        Error::invalid(format!(
            "the lock of application `{group}` cannot be taken: {error} file=`{}`",
            path.display()
        ))
        .with_source(error)
    };
    let open = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path);
    let mut file = open.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).map_err(failed)?;
            file.rewind().map_err(failed)?;
            write!(file, "{}", std::process::id()).map_err(failed)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => Err(already_running(directory, group, &mut file)),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn already_running(directory: &Path, group: &str, file: &mut File) -> Error {
    let mut process = String::new();
    // Only the message needs it.
    let _ = file.read_to_string(&mut process);
    let process = if process.is_empty() { "?" } else { &process };
    Error::invalid(format!(
        "application `{group}` is already running as process {process} in {}\n\
         hint: run it under another name, stop it, or use Kafka to scale out",
        directory.display()
    ))
}

/// A file name for any group name, different for different groups.
fn lock_path(directory: &Path, group: &str) -> Result<PathBuf> {
    let mut name = String::new();
    for byte in group.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            name.push(byte.into());
        } else {
            write!(name, "%{byte:02x}").expect("a string takes everything");
        }
    }
    name.push_str(".lock");
    if group.is_empty() || name.len() > 255 {
        return Err(Error::invalid(format!(
            "the name of an application is empty or too long for the name of a file \
             name=`{group}`"
        )));
    }
    Ok(groups_directory(directory).join(name))
}
