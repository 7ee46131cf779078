//! The environment: time, chance and metrics.
//!
//! Nothing else in the workspace reads a clock or draws a random number; clippy
//! forbids it. So a simulated environment repeats a run exactly. The log and the
//! state store are environment too, but their traits stand in their own crates;
//! files that sources, sinks and state stores use come through [`Storage`].

#![expect(clippy::disallowed_methods, reason = "this is the one place that may")]

use crate::TimestampMs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The clock. Two readings, because a wall clock may jump.
pub trait Clock: Send + Sync {
    /// Time since some start, never backwards: for durations and deadlines.
    fn monotonic(&self) -> Duration;
    /// What the machine's clock says: for stamps only.
    fn wall_ms(&self) -> TimestampMs;
    /// Waits.
    fn sleep(&self, duration: Duration);
}

/// Random numbers, for identities and back-off, never for results.
pub trait Random: Send + Sync {
    /// The next number.
    fn next_u64(&self) -> u64;
}

/// A file that a sink appends to and cuts back.
pub trait StorageFile: Send {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Appends at its end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Cuts it to `len` bytes.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
    /// Reads up to `buffer.len()` bytes at `offset`; 0 is the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Makes what was appended outlive a power cut.
    fn sync(&mut self) -> io::Result<()>;
}

/// A lock on a file; dropping it, or the end of the process, gives it up.
pub trait StorageLock: Send {}

/// The file system, as far as sources, sinks and state stores use it.
pub trait Storage: Send + Sync {
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;
    /// Opens a file for appending and makes it, with its folders, if it is missing.
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;
    /// The names in a folder, sorted; none if it is missing.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder and everything in it, if it is there.
    fn remove_folder(&self, folder: &Path) -> io::Result<()>;
    /// Locks a file, which is made if it is missing; `None` while anyone else
    /// holds it, in this process or another.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn StorageLock>>>;
}

/// Everything that a run takes from outside.
#[derive(Clone)]
pub struct Env {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Arc<dyn Random>,
    /// Files of sources, sinks and state stores.
    pub storage: Arc<dyn Storage>,
}

impl Env {
    /// The machine's own.
    pub fn system() -> Env {
        Env {
            clock: Arc::new(SystemClock {
                start: Instant::now(),
            }),
            random: Arc::new(SystemRandom),
            storage: Arc::new(SystemStorage),
        }
    }
}

impl std::fmt::Debug for Env {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Env")
    }
}

struct SystemClock {
    start: Instant,
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall_ms(&self) -> TimestampMs {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_millis() as TimestampMs,
            Err(before) => -(before.duration().as_millis() as TimestampMs),
        }
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

struct SystemRandom;

impl Random for SystemRandom {
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        let filled = File::open("/dev/urandom")
            .and_then(|mut file| io::Read::read_exact(&mut file, &mut bytes));
        match filled {
            Ok(()) => u64::from_le_bytes(bytes),
            // Identities need to differ, not to be secret.
            Err(_) => {
                let now = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                now.as_nanos() as u64 ^ (u64::from(std::process::id()) << 40)
            }
        }
    }
}

struct SystemStorage;

impl Storage for SystemStorage {
    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(SystemFile(File::open(path)?)))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let is_new = !path.exists();
        let file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        if is_new {
            // Otherwise a power cut may take the name, whatever the file synced.
            let folder = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok(Box::new(SystemFile(file)))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn StorageLock>>> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(SystemLock { _file: file }))),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// The system gives the lock up when the file is closed.
struct SystemLock {
    _file: File,
}

impl StorageLock for SystemLock {}

struct SystemFile(File);

impl StorageFile for SystemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut self.0, bytes)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.0, buffer, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// A clock that stands still until it is moved: for tests and simulation.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: std::sync::Mutex<(Duration, TimestampMs)>,
}

impl ManualClock {
    /// A clock whose wall says `wall_ms`.
    pub fn at(wall_ms: TimestampMs) -> Self {
        ManualClock {
            now: std::sync::Mutex::new((Duration::ZERO, wall_ms)),
        }
    }

    /// Lets time pass.
    pub fn advance(&self, duration: Duration) {
        let mut now = self.now.lock().expect("no holder of this lock panics");
        now.0 += duration;
        now.1 += duration.as_millis() as TimestampMs;
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        self.now.lock().expect("no holder of this lock panics").0
    }

    fn wall_ms(&self) -> TimestampMs {
        self.now.lock().expect("no holder of this lock panics").1
    }

    fn sleep(&self, duration: Duration) {
        self.advance(duration);
    }
}
