//! A connection to the file, bound to the process that opened it, and the one
//! place that turns SQLite's errors into ours.

use super::checked_pages;
use super::open::Options;
use headwater_core::{Class, Error, Result};
use rusqlite::{ErrorCode, OpenFlags, ffi};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Pages of the file that a connection keeps in memory.
const CACHE_BYTES: usize = 4 << 20;

/// The WAL is cut back to this when it starts anew.
pub(super) const WAL_KEPT_BYTES: u64 = 64 << 20;

/// While the file is locked, how long until the next try.
const BUSY_PAUSE_MIN: Duration = Duration::from_micros(100);
const BUSY_PAUSE_MAX: Duration = Duration::from_millis(2);

/// One connection. It may move between threads, not between processes.
pub(super) struct Connection {
    /// `None` only while it is dropped.
    sqlite: Option<rusqlite::Connection>,
    file: PathBuf,
    process: u32,
    wal_pages: Arc<AtomicU32>,
    busy_max_us: Arc<AtomicU64>,
}

impl Connection {
    /// Opens `file`, which is made if it is missing.
    pub(super) fn open(file: &Path, options: &Options) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let failed = |error| storage_error(file, error);
        checked_pages::register()?;
        let layer = checked_pages::NAME;
        let sqlite = rusqlite::Connection::open_with_flags_and_vfs(file, flags, layer);
        let sqlite = sqlite.map_err(failed)?;
        let mut connection = Connection {
            sqlite: Some(sqlite),
            file: file.to_owned(),
            process: std::process::id(),
            wal_pages: Arc::default(),
            busy_max_us: Arc::default(),
        };
        connection.set_busy_max(options.busy_max);
        connection.configure(options).map_err(failed)?;
        Ok(connection)
    }

    fn configure(&mut self, options: &Options) -> rusqlite::Result<()> {
        let sqlite = self
            .sqlite
            .as_mut()
            .expect("the connection was just opened");
        let clock = options.env.clock.clone();
        let busy_max_us = self.busy_max_us.clone();
        let mut deadline = Duration::ZERO;
        sqlite.busy_handler(Some(move |tries: i32| {
            let now = clock.monotonic();
            if tries == 0 {
                deadline = now + Duration::from_micros(busy_max_us.load(Ordering::Relaxed));
            }
            let goes_on = now < deadline;
            if goes_on {
                clock.sleep((BUSY_PAUSE_MIN * (tries as u32 + 1)).min(BUSY_PAUSE_MAX));
            }
            goes_on
        }))?;
        let synchronous = match options.durability {
            crate::Durability::PowerCut => "FULL",
            crate::Durability::ProcessCrash => "NORMAL",
        };
        sqlite.execute_batch(&format!(
            "PRAGMA synchronous={synchronous};
             PRAGMA cache_size=-{};
             PRAGMA journal_size_limit={WAL_KEPT_BYTES};
             PRAGMA mmap_size={};",
            CACHE_BYTES >> 10,
            options.mmap_bytes,
        ))?;
        // Replaces the automatic checkpoint, which would run on the record path.
        let wal_pages = self.wal_pages.clone();
        sqlite.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: i32| {
            wal_pages.store(pages as u32, Ordering::Relaxed);
            Ok(())
        }))?;
        sqlite.set_prepared_statement_cache_capacity(32);
        Ok(())
    }

    /// The connection, for use by the process that opened it.
    ///
    /// # Errors
    /// `Invalid` after a fork.
    pub(super) fn get(&self) -> Result<&rusqlite::Connection> {
        check_process(self.process)?;
        Ok(self
            .sqlite
            .as_ref()
            .expect("a connection is there until it is dropped"))
    }

    /// How long a statement waits for a lock.
    pub(super) fn set_busy_max(&self, busy_max: Duration) {
        self.busy_max_us
            .store(busy_max.as_micros() as u64, Ordering::Relaxed);
    }

    /// The length of the WAL in pages after this connection's last commit.
    pub(super) fn wal_pages(&self) -> u32 {
        self.wal_pages.load(Ordering::Relaxed)
    }

    /// What to say about an error of this connection.
    pub(super) fn error(&self, error: rusqlite::Error) -> Error {
        storage_error(&self.file, error)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // Closing it in a forked child would release the parent's locks.
            std::mem::forget(self.sqlite.take());
        }
    }
}

/// # Errors
/// `Invalid` if this is not the process that opened the log.
pub(super) fn check_process(opened_by: u32) -> Result<()> {
    let process = std::process::id();
    if process == opened_by {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the log was opened by another process, of which this one is a fork \
         opened_by=`{opened_by}` process=`{process}`\n\
         hint: open the log after the fork, or start processes by `spawn`"
    )))
}

/// What an error of SQLite means.
pub(super) fn storage_error(file: &Path, error: rusqlite::Error) -> Error {
    let file = file.display();
    let (class, what) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            Class::Unavailable,
            "the log is locked by another process for too long",
        ),
        Some(ErrorCode::DiskFull) => (
            Class::Unavailable,
            "the disk is full: the log could not be written",
        ),
        Some(ErrorCode::SystemIoFailure) if is_failed_write(&error) => (
            Class::Unavailable,
            "the log could not be written (a full disk, a quota or a limit on file sizes?)",
        ),
        Some(ErrorCode::DatabaseCorrupt) => (Class::Internal, "the log file is damaged"),
        Some(ErrorCode::SystemIoFailure) if is_damage(&error) => {
            (Class::Internal, "the log file is damaged")
        }
        Some(ErrorCode::NotADatabase) => (Class::Invalid, "the file is not a log"),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => (
            Class::Invalid,
            "the log file cannot be opened for reading and writing",
        ),
        _ => (Class::Internal, "the log's storage failed"),
    };
    let hint = match error.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure) if !is_damage(&error) => "",
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::SystemIoFailure) => {
            "\nhint: restore the file from a copy, or move its directory away to start with an \
             empty log"
        }
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            "\nhint: choose a directory that this user may write, by HEADWATER_DIR"
        }
        _ => "",
    };
    Error::new(class, format!("{what}: {error} file=`{file}`{hint}")).with_source(error)
}

/// Whether the checksum of a page does not match.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    error.sqlite_extended_error_code() == Some(ffi::SQLITE_IOERR_DATA)
}

/// Whether the error is that of a write, as opposed to a sync, a read or a lock.
pub(super) fn is_failed_write(error: &rusqlite::Error) -> bool {
    error.sqlite_extended_error_code() == Some(ffi::SQLITE_IOERR_WRITE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forked_child_is_told_to_open_its_own_log() {
        assert!(check_process(std::process::id()).is_ok());
        let error = check_process(std::process::id() + 1).unwrap_err();
        assert_eq!(error.class(), Class::Invalid);
        assert!(
            error
                .to_string()
                .contains("hint: open the log after the fork")
        );
    }
}
