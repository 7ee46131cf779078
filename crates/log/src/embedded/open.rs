//! Opening a log: the checks that turn a wrong directory, file or version into
//! an error that says what to do.

use super::connection::{Connection, storage_error};
use super::housekeeping::Housekeeping;
use super::schema::{APPLICATION_ID, SCHEMA, UPGRADES, VERSION};
use super::shared::Shared;
use crate::Durability;
use headwater_core::env::Env;
use headwater_core::{Error, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How a log is opened.
#[derive(Clone)]
pub struct Options {
    /// What an acknowledged append survives.
    pub durability: Durability,
    /// Time and chance.
    pub env: Env,
    /// The page size of a file that is made anew, in bytes: a power of two from
    /// 512 to 65,536.
    pub page_bytes: u32,
    /// How much of the file SQLite maps into memory. 0, because a mapped file
    /// that somebody cuts short ends the process instead of giving an error.
    pub mmap_bytes: u64,
    /// How long a call waits while another process holds the write lock.
    pub busy_max: Duration,
    /// How often records whose retention has passed are looked for.
    pub retention_interval: Duration,
    /// A compacted partition is compacted once so many bytes have been appended,
    /// and as many as it had before.
    pub compaction_bytes: u64,
    /// For how long tombstones stay after the records that they delete. Who reads
    /// for longer than this has to begin anew.
    pub tombstone_retention: Duration,
    /// Takes warnings, one line each: records deleted that a group had yet to
    /// read, housekeeping that failed.
    pub warn: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Options {
    /// The defaults, in an environment.
    pub fn new(env: Env) -> Self {
        Options {
            durability: Durability::default(),
            env,
            page_bytes: 32 << 10,
            mmap_bytes: 0,
            busy_max: Duration::from_secs(30),
            retention_interval: Duration::from_secs(10),
            compaction_bytes: 1 << 20,
            tombstone_retention: Duration::from_secs(600),
            warn: Arc::new(|warning| eprintln!("warning: {warning}")),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options::new(Env::system())
    }
}

/// A log in a directory. See [`embedded`](super).
pub struct EmbeddedLog {
    pub(super) shared: Arc<Shared>,
    /// Ends its thread when the log is dropped.
    pub(super) housekeeping: Housekeeping,
}

impl std::fmt::Debug for EmbeddedLog {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "EmbeddedLog({})", self.shared.directory.display())
    }
}

impl EmbeddedLog {
    /// Opens the log in `directory`, and makes both if they are missing.
    ///
    /// # Errors
    /// `Invalid` if the directory is on a network file system, cannot be
    /// written, or holds a file that is not a log or that a newer Headwater
    /// wrote; `Internal` if the file is damaged; `Unavailable` if another process
    /// holds it locked.
    ///
    /// # Examples
    /// ```
    /// use headwater_log::embedded::{EmbeddedLog, Options};
    /// use headwater_log::{Log, TopicConfig};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// let log = EmbeddedLog::open(directory.path(), Options::default())?;
    /// assert!(log.create_topic("telemetry", &TopicConfig::default())?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(directory: &Path, options: Options) -> Result<Arc<EmbeddedLog>> {
        make_directory(directory)?;
        refuse_network(directory)?;
        let file = directory.join("log.db");
        let opening = hold_open_lock(directory, &options)?;
        refuse_emptied(directory, &file)?;
        let connection = Connection::open(&file, &options)?;
        prepare_file(&connection, &file, &options)?;
        make_directory(&groups_directory(directory))?;
        drop(opening);
        let page_bytes = page_bytes(&connection)?;
        let shared = Arc::new(Shared::new(
            directory.to_owned(),
            file,
            options,
            page_bytes,
            connection,
        ));
        let housekeeping = Housekeeping::start(shared.clone())?;
        Ok(Arc::new(EmbeddedLog {
            shared,
            housekeeping,
        }))
    }
}

/// Where the locks of running applications are. It is made after the schema, so
/// that an empty file beside it is known to have been emptied.
pub(super) fn groups_directory(directory: &Path) -> PathBuf {
    directory.join("groups")
}

fn make_directory(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).map_err(|error| {
        Error::invalid(format!(
            "the log's directory cannot be made: {error} directory=`{}`\n\
             hint: choose a directory that this user may write, by HEADWATER_DIR",
            directory.display()
        ))
        .with_source(error)
    })
}

/// One process at a time creates the schema; the others wait for it.
fn hold_open_lock(directory: &Path, options: &Options) -> Result<File> {
    let path = directory.join("open.lock");
    let failed = |error: std::io::Error| {
        Error::invalid(format!(
            "a file cannot be opened: {error} file=`{}`",
            path.display()
        ))
        .with_source(error)
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed)?;
    let clock = &options.env.clock;
    let deadline = clock.monotonic() + options.busy_max;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
            Err(fs::TryLockError::WouldBlock) if deadline <= clock.monotonic() => {
                return Err(Error::unavailable(format!(
                    "another process has been opening the log for too long file=`{}`",
                    path.display()
                )));
            }
            Err(fs::TryLockError::WouldBlock) => clock.sleep(Duration::from_millis(1)),
        }
    }
}

/// An empty file is a valid new database to SQLite. Where a log has been before,
/// it is a loss, and starting over would hide it.
fn refuse_emptied(directory: &Path, file: &Path) -> Result<()> {
    let emptied = fs::metadata(file).is_ok_and(|metadata| metadata.len() == 0);
    if emptied && groups_directory(directory).exists() {
        return Err(Error::internal(format!(
            "the log file has been emptied file=`{}`\n\
             hint: restore the file from a copy, or move its directory away to start with an \
             empty log",
            file.display()
        )));
    }
    Ok(())
}

fn prepare_file(connection: &Connection, file: &Path, options: &Options) -> Result<()> {
    let sqlite = connection.get()?;
    let failed = |error| storage_error(file, error);
    let number = |pragma: &str| {
        sqlite
            .pragma_query_value(None, pragma, |row| row.get::<_, i32>(0))
            .map_err(failed)
    };
    // A new file has no page yet. A process that was killed while it made the
    // file leaves one with a page and nothing in it. Any other file without our
    // application id is a stranger's.
    let is_new = number("page_count")? == 0
        || (number("application_id")? == 0 && number("schema_version")? == 0);
    if is_new {
        sqlite
            .execute_batch(&format!("PRAGMA page_size={};", options.page_bytes))
            .and_then(|()| super::checked_pages::reserve(sqlite))
            .map_err(failed)?;
    } else {
        check_identity(file, number("application_id")?, number("user_version")?)?;
    }
    let mode: String = sqlite
        .query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))
        .map_err(failed)?;
    if mode != "wal" {
        return Err(Error::invalid(format!(
            "this file system cannot share a log between processes file=`{}`\n\
             hint: choose a directory on a local disk, by HEADWATER_DIR",
            file.display()
        )));
    }
    if is_new {
        sqlite
            .execute_batch(&format!(
                "BEGIN IMMEDIATE;
                 PRAGMA application_id={APPLICATION_ID};
                 PRAGMA user_version={VERSION};
                 {SCHEMA}
                 COMMIT;"
            ))
            .map_err(failed)?;
    } else {
        upgrade(sqlite, number("user_version")?).map_err(failed)?;
    }
    Ok(())
}

/// Brings a log of an earlier version to this one, all of the way or not at all.
fn upgrade(sqlite: &rusqlite::Connection, from: i32) -> rusqlite::Result<()> {
    let steps = UPGRADES[from as usize - 1..].concat();
    if steps.is_empty() {
        return Ok(());
    }
    let sql = format!("BEGIN IMMEDIATE; {steps} PRAGMA user_version={VERSION}; COMMIT;");
    let upgraded = sqlite.execute_batch(&sql);
    if upgraded.is_err() {
        super::shared::roll_back(sqlite);
    }
    upgraded
}

fn check_identity(file: &Path, application_id: i32, version: i32) -> Result<()> {
    let file = file.display();
    if application_id != APPLICATION_ID {
        return Err(Error::invalid(format!(
            "the file is an SQLite database but not a log of Headwater file=`{file}`\n\
             hint: choose another directory, by HEADWATER_DIR"
        )));
    }
    if !(1..=VERSION).contains(&version) {
        return Err(Error::invalid(format!(
            "the log was written by another version of Headwater file=`{file}` \
             version=`{version}` supported=`1..{VERSION}`\n\
             hint: install a Headwater that knows this version, or choose another directory, \
             by HEADWATER_DIR"
        )));
    }
    Ok(())
}

fn page_bytes(connection: &Connection) -> Result<u64> {
    connection
        .get()?
        .pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))
        .map(|bytes| bytes as u64)
        .map_err(|error| connection.error(error))
}

#[cfg(target_os = "linux")]
fn refuse_network(directory: &Path) -> Result<()> {
    // A file system that cannot be asked is not refused.
    let Ok(found) = rustix::fs::statfs(directory) else {
        return Ok(());
    };
    let Some(name) = network_file_system(found.f_type as u32) else {
        return Ok(());
    };
    Err(Error::invalid(format!(
        "the log cannot be kept on a network file system, whose locks and shared memory do not \
         hold between hosts directory=`{}` file_system=`{name}`\n\
         hint: choose a directory on a local disk, by HEADWATER_DIR; to share a log between \
         hosts use Kafka",
        directory.display()
    )))
}

#[cfg(not(target_os = "linux"))]
fn refuse_network(_: &Path) -> Result<()> {
    Ok(())
}

/// The name of a network file system by its magic number in `statfs(2)`.
#[cfg(target_os = "linux")]
fn network_file_system(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517b => "SMB",
        0xfe53_4d42 => "SMB2",
        0xff53_4d42 => "CIFS",
        // FUSE does not say what is behind it; sshfs, s3fs and gcsfuse are.
        0x6573_5546 => "FUSE",
        0x5346_414f => "AFS",
        0x7375_7245 => "Coda",
        0x00c3_6400 => "Ceph",
        0x0bd0_0bd0 => "Lustre",
        0x4750_4653 => "GPFS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn network_file_systems_are_told_from_local_ones() {
        assert_eq!(
            network_file_system(rustix::fs::NFS_SUPER_MAGIC as u32),
            Some("NFS")
        );
        let (ext4, tmpfs) = (0xef53, 0x0102_1994);
        assert_eq!(network_file_system(ext4), None);
        assert_eq!(network_file_system(tmpfs), None);
    }
}
