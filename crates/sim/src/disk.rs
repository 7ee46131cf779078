//! A disk that forgets what was not synced.
//!
//! A file has two contents: what the system shows, and what is on the disk. A sync
//! makes them equal. A power cut leaves of what was not synced some sectors of 512
//! bytes, chosen by the seed, and zeros between them; a file whose name was never
//! synced with its folder may be gone, and one that was removed may be back. A sync
//! that fails drops what was not synced and answers well the next time, as Linux does.
//! A bit of what a state store wrote may flip: those files have checksums, those of
//! sinks have none.

use crate::bug::Bug;
use crate::seed::Seed;
use crate::trouble::{Call, Trouble};
use crate::world::World;
use headwater::core::env::{Storage, StorageFile, StorageLock};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SECTOR: usize = 512;
/// Where state stores have their files.
pub(crate) const STATE_FOLDER: &str = "/sim/state";

/// See the module.
pub struct SimDisk {
    world: Arc<World>,
    bug: Option<Bug>,
    state: Mutex<State>,
}

struct State {
    files: BTreeMap<PathBuf, Contents>,
    /// Files that were removed since their folder was last synced.
    removed: BTreeMap<PathBuf, Contents>,
    locked: BTreeSet<PathBuf>,
    power_cuts: u64,
    seed: Seed,
}

#[derive(Default)]
struct Contents {
    /// What the system shows.
    shown: Vec<u8>,
    /// What is on the disk.
    synced: Vec<u8>,
    /// Whether the folder has been synced since the file was made.
    has_name: bool,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(world: Arc<World>, seed: Seed, bug: Option<Bug>) -> Arc<SimDisk> {
        let state = State {
            files: BTreeMap::new(),
            removed: BTreeMap::new(),
            locked: BTreeSet::new(),
            power_cuts: 0,
            seed,
        };
        Arc::new(SimDisk {
            world,
            bug,
            state: Mutex::new(state),
        })
    }

    /// What a file holds, if it is there.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.files.get(path).map(|file| file.shown.clone())
    }

    /// Held for one call, never across a turn.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let power_cuts = self.world.power_cuts();
        if state.power_cuts < power_cuts {
            state.power_cuts = power_cuts;
            state.lose_power();
        }
        state
    }

    fn fails(&self, call: Call, detail: u64) -> io::Result<Option<Trouble>> {
        match self.world.call(call, detail) {
            Some(Trouble::IoError) => Err(io::Error::from_raw_os_error(5)),
            Some(Trouble::BitFlip) => {
                self.state().flip_a_bit();
                Ok(None)
            }
            trouble => Ok(trouble),
        }
    }
}

impl State {
    /// In one of the files of state stores, if there are any.
    fn flip_a_bit(&mut self) {
        let folder = Path::new(STATE_FOLDER);
        let own = self
            .files
            .iter_mut()
            .filter(|(path, file)| path.starts_with(folder) && !file.shown.is_empty());
        let mut own: Vec<&mut Contents> = own.map(|(_, file)| file).collect();
        if own.is_empty() {
            return;
        }
        let chosen = self.seed.below(own.len() as u64) as usize;
        let file = &mut own[chosen];
        let bit = self.seed.below(file.shown.len() as u64 * 8) as usize;
        file.shown[bit / 8] ^= 1 << (bit % 8);
        if let Some(byte) = file.synced.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
    }

    /// Its folder is synced: what was made there has a name, what was removed has none.
    fn sync_folder(&mut self, path: &Path) {
        if let Some(file) = self.files.get_mut(path) {
            file.has_name = true;
        }
        let folder = path.parent();
        self.removed.retain(|other, _| other.parent() != folder);
    }

    fn lose_power(&mut self) {
        let seed = &mut self.seed;
        self.files.retain(|_, file| file.has_name || !seed.hits(2));
        for (path, file) in std::mem::take(&mut self.removed) {
            if file.has_name && seed.hits(2) {
                self.files.entry(path).or_insert(file);
            }
        }
        for file in self.files.values_mut() {
            let mut kept = file.synced.clone();
            let changed_from = file.synced.len().min(file.shown.len());
            // A cut that was not synced may or may not have happened.
            if file.shown.len() < file.synced.len() && seed.hits(2) {
                kept.truncate(file.shown.len());
            }
            let first = changed_from / SECTOR;
            for sector in first..file.shown.len().div_ceil(SECTOR) {
                if seed.hits(2) {
                    continue;
                }
                let from = (sector * SECTOR).max(changed_from);
                let to = ((sector + 1) * SECTOR).min(file.shown.len());
                if kept.len() < to {
                    kept.resize(to, 0);
                }
                kept[from..to].copy_from_slice(&file.shown[from..to]);
            }
            file.shown.clone_from(&kept);
            file.synced = kept;
            file.has_name = true;
        }
    }
}

/// The disk as a process sees it.
pub(crate) struct SimStorage(pub(crate) Arc<SimDisk>);

impl Storage for SimStorage {
    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.0.fails(Call::OpenFile, 0)?;
        if !self.0.state().files.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Box::new(self.file(path)))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.0.fails(Call::OpenFile, 1)?;
        self.0.state().files.entry(path.to_owned()).or_default();
        // As the system's storage does: the folder is synced where a file is new.
        self.0.fails(Call::SyncFile, 1)?;
        if self.0.bug != Some(Bug::NoDirectorySync) {
            self.0.state().sync_folder(path);
        }
        Ok(Box::new(self.file(path)))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.0.fails(Call::OpenFile, 2)?;
        let state = self.0.state();
        let names = state.files.keys().filter_map(|path| {
            let below = path.strip_prefix(folder).ok()?.components().next()?;
            Some(below.as_os_str().to_string_lossy().into_owned())
        });
        let names: BTreeSet<String> = names.collect();
        Ok(names.into_iter().collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.fails(Call::OpenFile, 3)?;
        let mut state = self.0.state();
        let file = state.files.remove(path);
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        state.removed.insert(path.to_owned(), file);
        Ok(())
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        self.0.fails(Call::OpenFile, 4)?;
        let mut state = self.0.state();
        let own = state
            .files
            .extract_if(.., |path, _| path.starts_with(folder));
        let own: Vec<_> = own.collect();
        state.removed.extend(own);
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn StorageLock>>> {
        self.0.fails(Call::OpenFile, 5)?;
        let is_free = self.0.state().locked.insert(path.to_owned());
        let lock = || SimLock {
            disk: Arc::clone(&self.0),
            path: path.to_owned(),
        };
        Ok(is_free.then(|| Box::new(lock()) as Box<dyn StorageLock>))
    }
}

/// A killed process unwinds, so its locks are given up.
struct SimLock {
    disk: Arc<SimDisk>,
    path: PathBuf,
}

impl StorageLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state().locked.remove(&self.path);
    }
}

impl SimStorage {
    fn file(&self, path: &Path) -> SimFile {
        SimFile {
            disk: Arc::clone(&self.0),
            path: path.to_owned(),
            power_cuts: self.0.world.power_cuts(),
        }
    }
}

struct SimFile {
    disk: Arc<SimDisk>,
    path: PathBuf,
    /// A file that was open when power was lost is of a process that is dead.
    power_cuts: u64,
}

impl SimFile {
    fn with<T>(&self, act: impl FnOnce(&mut Contents, &mut Seed) -> T) -> io::Result<T> {
        let mut state = self.disk.state();
        let State { files, seed, .. } = &mut *state;
        match files.get_mut(&self.path) {
            Some(file) if self.power_cuts == self.disk.world.power_cuts() => Ok(act(file, seed)),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl StorageFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|file, _| file.shown.len() as u64)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let trouble = self.disk.fails(Call::WriteFile, bytes.len() as u64)?;
        let is_full = trouble == Some(Trouble::DiskFull);
        self.with(|file, seed| {
            let taken = match is_full {
                true => seed.below(bytes.len() as u64 + 1) as usize,
                false => bytes.len(),
            };
            file.shown.extend_from_slice(&bytes[..taken]);
        })?;
        match is_full {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.disk.fails(Call::WriteFile, len)?;
        self.with(|file, _| file.shown.resize(len as usize, 0))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.fails(Call::ReadFile, offset)?;
        self.with(|file, _| {
            let rest = file.shown.get(offset as usize..).unwrap_or_default();
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            count
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        let trouble = self.disk.fails(Call::SyncFile, 0);
        if matches!(trouble, Err(_) | Ok(Some(Trouble::SyncFails))) {
            // The system drops the pages; whoever tries again is told that all is well.
            self.with(|file, _| file.shown.clone_from(&file.synced))?;
            return match self.disk.bug {
                Some(Bug::SyncRetried) => Ok(()),
                _ => Err(io::Error::from_raw_os_error(5)),
            };
        }
        if self.disk.bug == Some(Bug::NoSync) {
            return Ok(());
        }
        self.with(|file, _| file.synced.clone_from(&file.shown))
    }
}
