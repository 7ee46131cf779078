//! What all parts of an open log share: the path, the options, spare
//! connections, and how a transaction ends.

use super::connection::{Connection, check_process, is_failed_write};
use super::housekeeping::Signal;
use super::open::Options;
use super::schema::{PartitionId, first_offset};
use headwater_core::{Error, Result, TopicPartition};
use rusqlite::{ErrorCode, OptionalExtension};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// From this size of the WAL on, a writer wakes the housekeeping.
pub(super) const WAL_SOFT_BYTES: u64 = 16 << 20;

/// From this size on, a writer empties the WAL itself: housekeeping has fallen
/// behind, and writers slow down to what the disk can take.
pub(super) const WAL_HARD_BYTES: u64 = 256 << 20;

/// How long such a writer waits for readers and other checkpoints.
const WAL_HARD_WAIT: Duration = Duration::from_millis(500);

/// The connections kept for calls that come and go.
const SPARE_CONNECTIONS_MAX: usize = 4;

/// An open log.
pub(super) struct Shared {
    /// As the user named it.
    pub(super) directory: PathBuf,
    /// The database in it.
    pub(super) file: PathBuf,
    pub(super) options: Options,
    /// The size of a page in the file.
    pub(super) page_bytes: u64,
    pub(super) signal: Signal,
    process: u32,
    spare: Mutex<Vec<Connection>>,
    /// Writers of this process take turns here, in a queue of the system's,
    /// instead of sleeping in SQLite's. Held for a whole transaction, sync
    /// included: nothing else is ever awaited under it.
    write_turn: Mutex<()>,
}

/// A topic's partition as the database knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) id: PartitionId,
    pub(super) topic_id: i64,
    pub(super) compacted: bool,
}

/// Where the readable part of a partition starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) offset: u64,
    /// Compaction has removed tombstones before this offset.
    pub(super) tombstones_to: u64,
}

/// How a write transaction ended when it did not fail.
pub(super) enum Written<T> {
    Committed(T),
    /// SQLite's answer leaves open whether it happened.
    Unknown(Error),
}

impl<T> Written<T> {
    /// For writes that may be repeated: an open end is an error.
    pub(super) fn certain(self) -> Result<T> {
        match self {
            Written::Committed(value) => Ok(value),
            Written::Unknown(error) => Err(error),
        }
    }
}

impl Shared {
    pub(super) fn new(
        directory: PathBuf,
        file: PathBuf,
        options: Options,
        page_bytes: u64,
        first: Connection,
    ) -> Self {
        Shared {
            directory,
            file,
            options,
            page_bytes,
            signal: Signal::default(),
            process: std::process::id(),
            spare: Mutex::new(vec![first]),
            write_turn: Mutex::new(()),
        }
    }

    /// A connection of one's own.
    pub(super) fn connect(&self) -> Result<Connection> {
        check_process(self.process)?;
        let spare = lock(&self.spare).pop();
        match spare {
            Some(connection) => Ok(connection),
            None => Connection::open(&self.file, &self.options),
        }
    }

    /// Gives a connection back for the next who needs one.
    pub(super) fn give_back(&self, connection: Connection) {
        if check_process(self.process).is_err() || !is_idle(&connection) {
            return;
        }
        let mut spare = lock(&self.spare);
        if spare.len() < SPARE_CONNECTIONS_MAX {
            spare.push(connection);
        }
    }

    /// Runs `body` on a connection for this one call.
    pub(super) fn read<T>(
        &self,
        body: impl FnOnce(&rusqlite::Connection) -> Result<T>,
    ) -> Result<T> {
        let connection = self.connect()?;
        let result = body(connection.get()?);
        self.give_back(connection);
        result
    }

    /// Runs `body` as one transaction on a connection for this one call.
    pub(super) fn write_once<T>(
        &self,
        body: impl FnOnce(&rusqlite::Connection) -> Result<T>,
    ) -> Result<T> {
        let connection = self.connect()?;
        let result = self.write(&connection, body).and_then(Written::certain);
        self.give_back(connection);
        result
    }

    /// Runs `body` as one transaction: all of it is durable and visible, or
    /// nothing is, or nobody can know.
    ///
    /// # Errors
    /// Those of `body`, `Unavailable` for a full disk or a locked file: then
    /// nothing has happened.
    pub(super) fn write<T>(
        &self,
        connection: &Connection,
        body: impl FnOnce(&rusqlite::Connection) -> Result<T>,
    ) -> Result<Written<T>> {
        let sqlite = connection.get()?;
        let turn = self.take_write_turn()?;
        if !sqlite.is_autocommit() {
            // The rollback of an earlier failure failed too.
            execute(sqlite, "ROLLBACK").map_err(|error| connection.error(error))?;
        }
        execute(sqlite, "BEGIN IMMEDIATE").map_err(|error| connection.error(error))?;
        let value = match body(sqlite) {
            Ok(value) => value,
            Err(error) => {
                roll_back(sqlite);
                return Err(error);
            }
        };
        if let Err(error) = execute(sqlite, "COMMIT") {
            roll_back(sqlite);
            return match certainly_not_committed(&error) {
                true => Err(connection.error(error)),
                false => Ok(Written::Unknown(connection.error(error))),
            };
        }
        self.bound_wal(connection, sqlite);
        drop(turn);
        Ok(Written::Committed(value))
    }

    /// Keeps the other writers of this process out.
    pub(super) fn take_write_turn(&self) -> Result<MutexGuard<'_, ()>> {
        check_process(self.process)?;
        Ok(lock(&self.write_turn))
    }

    fn bound_wal(&self, connection: &Connection, sqlite: &rusqlite::Connection) {
        let wal_bytes = u64::from(connection.wal_pages()) * self.page_bytes;
        if wal_bytes >= WAL_HARD_BYTES {
            connection.set_busy_max(WAL_HARD_WAIT);
            // What a reader in the way keeps from success is tried by the next writer.
            let _ = sqlite.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()));
            connection.set_busy_max(self.options.busy_max);
        } else if wal_bytes >= WAL_SOFT_BYTES {
            self.signal.wake();
        }
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.options.env.clock.wall_ms()
    }

    /// Where a partition stands in the database.
    ///
    /// # Errors
    /// `Invalid` if there is no such topic or partition.
    pub(super) fn place(
        &self,
        sqlite: &rusqlite::Connection,
        partition: &TopicPartition,
    ) -> Result<Place> {
        let topic = self.sql(
            sqlite
                .prepare_cached("SELECT id, partitions, compacted FROM topics WHERE name = ?")
                .and_then(|mut statement| {
                    statement
                        .query_row([&*partition.topic], |row| {
                            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                        })
                        .optional()
                }),
        )?;
        let Some((topic_id, partitions, compacted)) = topic else {
            return Err(crate::no_such_topic(&partition.topic));
        };
        let partitions: u32 = partitions;
        if partition.partition >= partitions {
            return Err(crate::no_such_partition(partition, partitions));
        }
        let topic_id: i64 = topic_id;
        let id = self.sql(
            sqlite
                .prepare_cached("SELECT id FROM partitions WHERE topic_id = ? AND number = ?")
                .and_then(|mut statement| {
                    statement.query_row((topic_id, partition.partition), |row| row.get(0))
                }),
        )?;
        Ok(Place {
            id: PartitionId::new(id)?,
            topic_id,
            compacted,
        })
    }

    /// What retention and compaction have left of a partition, or `None` if the
    /// topic has been deleted.
    pub(super) fn start(
        &self,
        sqlite: &rusqlite::Connection,
        place: Place,
    ) -> Result<Option<Start>> {
        let sql = "SELECT topic_id, start_offset, tombstones_to FROM partitions WHERE id = ?";
        let row: Option<(i64, i64, i64)> =
            self.sql(sqlite.prepare_cached(sql).and_then(|mut statement| {
                statement
                    .query_row([place.id.number()], |row| {
                        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                    })
                    .optional()
            }))?;
        Ok(row.filter(|row| row.0 == place.topic_id).map(|row| Start {
            offset: row.1 as u64,
            tombstones_to: row.2 as u64,
        }))
    }

    /// `[start, end)` of a partition, or `None` if the topic has been deleted.
    pub(super) fn offsets(
        &self,
        sqlite: &rusqlite::Connection,
        place: Place,
    ) -> Result<Option<(u64, u64)>> {
        let Some(start) = self.start(sqlite, place)?.map(|start| start.offset) else {
            return Ok(None);
        };
        let last: Option<(i64, i64)> = self.sql(
            sqlite
                .prepare_cached(
                    "SELECT id, span FROM batches WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1",
                )
                .and_then(|mut statement| {
                    statement
                        .query_row((place.id.batch(0), place.id.last_batch()), |row| {
                            Ok((row.get(0)?, row.get(1)?))
                        })
                        .optional()
                }),
        )?;
        let end = last.map_or(start, |(id, span)| first_offset(id) + span as u64);
        Ok(Some((start, end.max(start))))
    }

    /// Names the file in an error of SQLite.
    pub(super) fn sql<T>(&self, result: rusqlite::Result<T>) -> Result<T> {
        result.map_err(|error| self.error(error))
    }

    /// As [`Shared::sql`], of an error.
    pub(super) fn error(&self, error: rusqlite::Error) -> Error {
        super::connection::storage_error(&self.file, error)
    }
}

/// Locks a mutex. Its holders keep no half-made state, so a panic of one of them
/// does not matter to the next.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn execute(sqlite: &rusqlite::Connection, sql: &str) -> rusqlite::Result<()> {
    sqlite.prepare_cached(sql)?.execute([]).map(|_| ())
}

/// Ends a transaction whose error is about to be reported. If that fails too,
/// the next transaction on this connection tries again.
pub(super) fn roll_back(sqlite: &rusqlite::Connection) {
    if !sqlite.is_autocommit() {
        let _ = execute(sqlite, "ROLLBACK");
    }
}

fn is_idle(connection: &Connection) -> bool {
    connection
        .get()
        .is_ok_and(rusqlite::Connection::is_autocommit)
}

/// Whether a failed COMMIT leaves no doubt.
///
/// The frame with the commit mark is the last thing that a commit writes to the
/// WAL. If a write failed, or no lock was got, that frame is not whole, and the
/// transaction is gone. If the sync after it failed, or the shared index could
/// not grow, the frame may be whole on disk: a recovery could find it, and the
/// next commit would overwrite it.
fn certainly_not_committed(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::ConstraintViolation
        )
    ) || is_failed_write(error)
}
