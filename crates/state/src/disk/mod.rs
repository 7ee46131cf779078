//! The disk store: ordered keys and values in files, written in atomic batches.
//!
//! It is what a store in memory spills to, so it is made for that alone: one
//! writer, no log of its own (the changelog is one), no readers beside the
//! writer, few large batches. The key decision: **sorted runs**. A batch becomes
//! one file in order; a look-up asks the newest run first; runs of similar size
//! are merged into one, a bounded piece at a time. Nothing is changed in place,
//! so a crash at any point leaves the state before or after a batch, and a
//! checksum covers every byte.
//!
//! Measured beside SQLite, LMDB and redb (BENCHMARKS.md): batches of random keys
//! are what B-trees are worst at, and a spill is nothing else.
//!
//! # How a batch becomes the state
//!
//! ```text
//! 1 run N is written and synced      a crash: run N is in no manifest, and removed
//! 2 manifest M+1 names the runs,     a crash: torn, manifest M counts
//!   with the header; synced
//! 3 manifest M, then runs that no    a crash: they are removed at the next start
//!   manifest names, are removed
//! ```
//!
//! A merge is the same with a run that replaces others. The header is the
//! owner's: it keeps the position in the changelog there, so that position and
//! data change together.
//!
//! A store of which anything is damaged is no store: the owner rebuilds it from
//! the changelog.

mod hash;
mod manifest;
mod run;

use headwater_core::env::{Env, StorageLock};
use headwater_core::{Class, Error, Result};
use manifest::Manifest;
use run::{Cursor, Entry, Run, RunWriter, damaged, unreadable, unwritable};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// This many runs of similar size are merged.
const MERGE_RUNS_MIN: usize = 4;
/// An older run takes part in a merge unless it is this many times as large as
/// all newer ones together.
const MERGE_RATIO: u64 = 2;
/// With more runs than this a merge is done at once: reads ask each of them.
const RUNS_MAX: usize = 20;

/// Keys and values in a folder.
pub struct DiskStore {
    env: Env,
    folder: PathBuf,
    _lock: Box<dyn StorageLock>,
    header: Vec<u8>,
    /// Newest first.
    runs: Vec<Run>,
    next_file: u64,
    manifest_file: Option<u64>,
    merge: Option<Merge>,
    garbage: Range<Vec<u8>>,
}

/// Keys and values that become part of a store together.
pub struct Batch {
    writer: RunWriter,
    path: PathBuf,
    is_first: bool,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Batch({})", self.path.display())
    }
}

impl Batch {
    /// Adds a key, which comes after those before; `None` removes it.
    ///
    /// # Errors
    /// `Unavailable` if it cannot be written.
    pub fn push(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        if self.is_first && value.is_none() {
            return Ok(());
        }
        self.writer.push(Entry { key, value }, &self.path)
    }
}

/// A merge under way: some neighbouring runs become one.
struct Merge {
    /// The runs' numbers, newest first.
    runs: Vec<u64>,
    cursors: Vec<Cursor>,
    writer: RunWriter,
    path: PathBuf,
    drops_removed: bool,
    garbage: Range<Vec<u8>>,
}

impl std::fmt::Debug for DiskStore {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "DiskStore({})", self.folder.display())
    }
}

impl DiskStore {
    /// Opens the store in a folder, which is made if it is missing. A store that
    /// was never written, or is damaged, has an empty header and no keys.
    ///
    /// # Errors
    /// `Unavailable` while anyone else has it open, and if the disk fails.
    pub fn open(env: &Env, folder: &Path) -> Result<DiskStore> {
        let lock_path = folder.join("lock");
        let lock = env.storage.lock(&lock_path);
        let lock = lock.map_err(|error| unwritable(&lock_path, error))?;
        let lock = lock.ok_or_else(|| {
            Error::unavailable(format!(
                "a state store is in use by another process, which has perhaps not given its task \
                 up yet, folder=`{}`",
                folder.display()
            ))
        })?;
        let names = env.storage.list(folder);
        let names = names.map_err(|error| unreadable(folder, error))?;
        let number = |name: &String, kind: &str| name.strip_prefix(kind)?.parse::<u64>().ok();
        let all = names
            .iter()
            .filter_map(|name| number(name, "run-").or_else(|| number(name, "manifest-")));
        let mut store = DiskStore {
            env: env.clone(),
            folder: folder.to_owned(),
            _lock: lock,
            header: Vec::new(),
            runs: Vec::new(),
            next_file: all.max().map_or(0, |last| last + 1),
            manifest_file: None,
            merge: None,
            garbage: Vec::new()..Vec::new(),
        };
        let mut manifests: Vec<u64> = names
            .iter()
            .filter_map(|name| number(name, "manifest-"))
            .collect();
        manifests.sort_unstable();
        for file in manifests.into_iter().rev() {
            match store.read_manifest(file) {
                Ok(()) => break,
                Err(error) if error.class() == Class::Internal => {}
                Err(error) => return Err(error),
            }
        }
        store.remove_unnamed()?;
        Ok(store)
    }

    fn read_manifest(&mut self, file: u64) -> Result<()> {
        let path = self.manifest_path(file);
        let opened = self.env.storage.open(&path);
        let opened = opened.map_err(|error| unreadable(&path, error))?;
        let len = opened.len().map_err(|error| unreadable(&path, error))?;
        let bytes = run::read(&*opened, 0, len as usize, &path)?;
        let manifest = Manifest::decode(&bytes).ok_or_else(|| damaged(&path))?;
        let mut runs = Vec::new();
        for (id, len) in manifest.runs {
            let path = self.run_path(id);
            let file = match self.env.storage.open(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Err(damaged(&path));
                }
                file => file.map_err(|error| unreadable(&path, error))?,
            };
            runs.push(Run::open(id, len, file, &path)?);
        }
        (self.runs, self.header) = (runs, manifest.header);
        self.manifest_file = Some(file);
        Ok(())
    }

    /// Removes the files that the manifest does not name.
    fn remove_unnamed(&self) -> Result<()> {
        let listed = self.env.storage.list(&self.folder);
        for name in listed.map_err(|error| unreadable(&self.folder, error))? {
            let path = self.folder.join(&name);
            let is_named = path == self.folder.join("lock")
                || self
                    .manifest_file
                    .is_some_and(|file| path == self.manifest_path(file))
                || self.runs.iter().any(|run| path == self.run_path(run.id))
                || self.merge.as_ref().is_some_and(|merge| path == merge.path);
            if !is_named {
                let removed = self.env.storage.remove(&path);
                removed.map_err(|error| unwritable(&path, error))?;
            }
        }
        Ok(())
    }

    /// What the last batch said beside its keys; empty before the first.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// The value of a key.
    ///
    /// # Errors
    /// `Unavailable` if it cannot be read; if it is damaged, the store is given
    /// up, so that it is found empty when it is next opened.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        for run in &self.runs {
            match run.get(key, &self.run_path(run.id)) {
                Ok(None) => {}
                Ok(Some(value)) => return Ok(value),
                Err(error) => return Err(self.give_up(error)),
            }
        }
        Ok(None)
    }

    /// Shows the keys from `from` on in order, each with its value, until
    /// `visit` says `false`.
    ///
    /// # Errors
    /// As [`DiskStore::get`], and those of `visit`.
    pub fn scan(
        &mut self,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<bool>,
    ) -> Result<()> {
        let result = self.scan_runs(from, visit);
        result.map_err(|error| self.give_up(error))
    }

    fn scan_runs(
        &self,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<bool>,
    ) -> Result<()> {
        let runs: Vec<&Run> = self.runs.iter().collect();
        let mut cursors = Vec::new();
        for run in &runs {
            cursors.push(Cursor::seek(run, from, &self.run_path(run.id))?);
        }
        while let Some(first) = first_of(&cursors) {
            let entry = cursors[first].entry().expect("the first is at an entry");
            if let Some(value) = entry.value
                && !visit(entry.key, value)?
            {
                return Ok(());
            }
            advance_all(&mut cursors, first, &runs, &self.folder)?;
        }
        Ok(())
    }

    /// Begins a batch of at most so many keys.
    ///
    /// # Errors
    /// `Unavailable` if it cannot be written.
    pub fn batch(&mut self, keys_max: usize) -> Result<Batch> {
        let (writer, path) = self.new_run(keys_max)?;
        let is_first = self.runs.is_empty();
        Ok(Batch {
            writer,
            path,
            is_first,
        })
    }

    /// Makes a batch part of the store, together with a header: all of it or,
    /// if this fails, nothing.
    ///
    /// # Errors
    /// `Unavailable` if it cannot be written. The store must then be opened anew.
    pub fn write(&mut self, batch: Batch, header: &[u8]) -> Result<()> {
        let Batch { writer, path, .. } = batch;
        let mut replaced = Vec::new();
        match writer.is_empty() {
            true => replaced.push(path),
            false => self.runs.insert(0, writer.finish(&path)?),
        }
        header.clone_into(&mut self.header);
        self.write_manifest(&mut replaced)?;
        self.begin_merge()?;
        if RUNS_MAX < self.runs.len() {
            self.merge_some(u64::MAX)?;
        }
        Ok(())
    }

    fn new_run(&mut self, keys_max: usize) -> Result<(RunWriter, PathBuf)> {
        let id = self.next_file;
        self.next_file += 1;
        let path = self.run_path(id);
        let file = self.env.storage.open_append(&path);
        let file = file.map_err(|error| unwritable(&path, error))?;
        Ok((RunWriter::new(id, file, keys_max), path))
    }

    /// Makes the present runs and header the state, and removes what the state
    /// no longer needs.
    fn write_manifest(&mut self, replaced: &mut Vec<PathBuf>) -> Result<()> {
        let manifest = Manifest {
            header: self.header.clone(),
            runs: self.runs.iter().map(|run| (run.id, run.len)).collect(),
        };
        let number = self.next_file;
        self.next_file += 1;
        let path = self.manifest_path(number);
        let failed = |error| unwritable(&path, error);
        let mut file = self.env.storage.open_append(&path).map_err(failed)?;
        file.append(&manifest.encode()).map_err(failed)?;
        file.sync().map_err(failed)?;
        let old = self.manifest_file.replace(number);
        let old = old.map(|old| self.manifest_path(old));
        for path in old.into_iter().chain(replaced.drain(..)) {
            let removed = self.env.storage.remove(&path);
            removed.map_err(|error| unwritable(&path, error))?;
        }
        Ok(())
    }

    /// Says that nobody will ask for keys of `[start, end)` again: merges leave
    /// them out.
    pub fn set_garbage(&mut self, garbage: Range<Vec<u8>>) {
        self.garbage = garbage;
    }

    /// Whether a merge is under way.
    pub fn is_merging(&self) -> bool {
        self.merge.is_some()
    }

    fn begin_merge(&mut self) -> Result<()> {
        if self.merge.is_some() {
            return Ok(());
        }
        let (mut together, mut count) = (0, 0);
        for run in &self.runs {
            if 0 < count && MERGE_RATIO * together < run.len {
                break;
            }
            together += run.len;
            count += 1;
        }
        if count < MERGE_RUNS_MIN {
            return Ok(());
        }
        let keys_max = self.runs[..count]
            .iter()
            .map(|run| run.entry_count)
            .sum::<u64>();
        let (writer, path) = self.new_run(keys_max as usize)?;
        let seek = |run: &Run| Cursor::seek(run, &[], &self.run_path(run.id));
        let cursors: Result<Vec<Cursor>> = self.runs[..count].iter().map(seek).collect();
        let cursors = match cursors {
            Ok(cursors) => cursors,
            Err(error) => return Err(self.give_up(error)),
        };
        self.merge = Some(Merge {
            runs: self.runs[..count].iter().map(|run| run.id).collect(),
            cursors,
            writer,
            path,
            drops_removed: count == self.runs.len(),
            garbage: self.garbage.clone(),
        });
        Ok(())
    }

    /// Goes on with a merge, if there is one, for about that many bytes.
    ///
    /// # Errors
    /// `Unavailable` if the disk fails. The store must then be opened anew.
    pub fn merge_some(&mut self, bytes_max: u64) -> Result<()> {
        let Some(mut merge) = self.merge.take() else {
            return Ok(());
        };
        let runs: Vec<&Run> = self
            .runs
            .iter()
            .filter(|run| merge.runs.contains(&run.id))
            .collect();
        let until = merge.writer.byte_count().saturating_add(bytes_max);
        let is_done = match merge.go_on(&runs, until, &self.folder) {
            Ok(is_done) => is_done,
            Err(error) => return Err(self.give_up(error)),
        };
        if !is_done {
            self.merge = Some(merge);
            return Ok(());
        }
        let merged = merge.writer.finish(&merge.path)?;
        let at = self.runs.iter().position(|run| run.id == merge.runs[0]);
        let at = at.expect("the runs of a merge stay until it is done");
        let mut replaced = Vec::new();
        for id in merge.runs {
            assert_eq!(self.runs[at].id, id, "the runs of a merge are neighbours");
            self.runs.remove(at);
            replaced.push(self.run_path(id));
        }
        self.runs.insert(at, merged);
        self.write_manifest(&mut replaced)?;
        self.begin_merge()
    }

    /// What the store holds in memory.
    pub fn memory_bytes(&self) -> usize {
        self.runs.iter().map(Run::memory_bytes).sum()
    }

    /// The length of its files.
    pub fn disk_bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.len).sum()
    }

    /// Removes everything: the store is as if it had never been written.
    ///
    /// # Errors
    /// `Unavailable` if the disk fails.
    pub fn clear(&mut self) -> Result<()> {
        // The manifest goes first: without it there is no store.
        if let Some(file) = self.manifest_file.take() {
            let path = self.manifest_path(file);
            let removed = self.env.storage.remove(&path);
            removed.map_err(|error| unwritable(&path, error))?;
        }
        self.merge = None;
        self.runs.clear();
        self.header.clear();
        self.remove_unnamed()
    }

    /// After damage there is no store, so that the next start rebuilds it.
    fn give_up(&mut self, error: Error) -> Error {
        if error.class() != Class::Internal {
            return error;
        }
        match self.clear() {
            Err(failed) => failed,
            Ok(()) => Error::unavailable(format!(
                "a state store was damaged and will be rebuilt from its changelog: {error}"
            )),
        }
    }

    fn run_path(&self, id: u64) -> PathBuf {
        run_path(&self.folder, id)
    }

    fn manifest_path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("manifest-{number}"))
    }
}

impl Merge {
    /// Whether it came to its end before the output was `until` bytes long.
    fn go_on(&mut self, runs: &[&Run], until: u64, folder: &Path) -> Result<bool> {
        while let Some(first) = first_of(&self.cursors) {
            if until <= self.writer.byte_count() {
                self.writer.sync(&self.path)?;
                return Ok(false);
            }
            let entry = self.cursors[first].entry();
            let entry = entry.expect("the first is at an entry");
            let is_dropped = entry.value.is_none() && self.drops_removed
                || (*self.garbage.start <= *entry.key && *entry.key < *self.garbage.end);
            if !is_dropped {
                self.writer.push(entry, &self.path)?;
            }
            advance_all(&mut self.cursors, first, runs, folder)?;
        }
        Ok(true)
    }
}

fn run_path(folder: &Path, id: u64) -> PathBuf {
    folder.join(format!("run-{id}"))
}

/// Which cursor, of the newest run first, is at the smallest key.
fn first_of(cursors: &[Cursor]) -> Option<usize> {
    let mut first: Option<(usize, &[u8])> = None;
    for (index, cursor) in cursors.iter().enumerate() {
        if let Some(entry) = cursor.entry()
            && first.is_none_or(|(_, key)| entry.key < key)
        {
            first = Some((index, entry.key));
        }
    }
    first.map(|(index, _)| index)
}

/// Goes past the key of cursor `first` in all runs: theirs are older.
fn advance_all(cursors: &mut [Cursor], first: usize, runs: &[&Run], folder: &Path) -> Result<()> {
    let (_, rest) = cursors.split_at_mut(first);
    let (own, older) = rest.split_first_mut().expect("the first is a cursor");
    if let Some(own) = own.entry() {
        for (cursor, run) in older.iter_mut().zip(&runs[first + 1..]) {
            if cursor.entry().is_some_and(|entry| entry.key == own.key) {
                cursor.advance(run, &run_path(folder, run.id))?;
            }
        }
    }
    own.advance(runs[first], &run_path(folder, runs[first].id))
}
