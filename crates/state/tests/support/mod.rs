//! A disk that fails at one operation and stays failed until it is healed, and
//! that can lose what was not synced.

#![allow(dead_code, unreachable_pub, reason = "shared by tests")]

use headwater_core::env::{Env, Storage, StorageFile, StorageLock};
use headwater_state::conformance::Seed;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct State {
    operations: u64,
    failing_at: u64,
    /// What of each file outlives a power cut.
    synced: BTreeMap<PathBuf, u64>,
}

#[derive(Clone)]
pub struct FaultyDisk {
    inner: Arc<dyn Storage>,
    state: Arc<Mutex<State>>,
}

struct FaultyFile {
    disk: FaultyDisk,
    path: PathBuf,
    inner: Box<dyn StorageFile>,
}

impl FaultyDisk {
    pub fn failing_at(operation: u64) -> FaultyDisk {
        FaultyDisk {
            inner: Env::system().storage,
            state: Arc::new(Mutex::new(State {
                failing_at: operation,
                ..State::default()
            })),
        }
    }

    pub fn env(&self) -> Env {
        Env {
            storage: Arc::new(self.clone()),
            ..Env::system()
        }
    }

    pub fn fail(&self) {
        self.state.lock().expect("a lock").failing_at = 0;
    }

    pub fn heal(&self) {
        self.state.lock().expect("a lock").failing_at = u64::MAX;
    }

    /// Cuts every file to what was synced, and a part of what came after.
    pub fn lose_what_is_not_synced(&self, seed: &mut Seed) {
        for (path, synced) in &self.state.lock().expect("a lock").synced {
            let Ok(file) = std::fs::File::options().write(true).open(path) else {
                continue;
            };
            let len = file.metadata().expect("a length").len();
            let kept = synced + seed.below(len.saturating_sub(*synced) + 1);
            file.set_len(kept).expect("cuts");
        }
    }

    /// # Errors
    /// From the chosen operation on.
    fn count(&self) -> io::Result<()> {
        let mut state = self.state.lock().expect("a lock");
        let operation = state.operations;
        state.operations += 1;
        match operation < state.failing_at {
            true => Ok(()),
            false => Err(io::Error::other("the disk fails")),
        }
    }
}

impl Storage for FaultyDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.count()?;
        self.file(path, self.inner.open(path)?)
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.count()?;
        let inner = self.inner.open_append(path)?;
        let mut state = self.state.lock().expect("a lock");
        state.synced.entry(path.to_owned()).or_insert(0);
        drop(state);
        self.file(path, inner)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.count()?;
        self.inner.list(folder)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.count()?;
        self.inner.remove(path)
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        self.count()?;
        self.inner.remove_folder(folder)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn StorageLock>>> {
        self.count()?;
        self.inner.lock(path)
    }
}

impl FaultyDisk {
    fn file(&self, path: &Path, inner: Box<dyn StorageFile>) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(FaultyFile {
            disk: self.clone(),
            path: path.to_owned(),
            inner,
        }))
    }
}

impl StorageFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.disk.count()?;
        self.inner.len()
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.disk.count() {
            // A short write: half of it is there.
            self.inner.append(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.inner.append(bytes)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.disk.count()?;
        self.inner.truncate(len)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.count()?;
        self.inner.read_at(buffer, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.count()?;
        self.inner.sync()?;
        let len = self.inner.len()?;
        let mut state = self.disk.state.lock().expect("a lock");
        state.synced.insert(self.path.clone(), len);
        Ok(())
    }
}
