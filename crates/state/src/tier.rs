//! The disk tier of a store in memory: what does not fit stands on disk.
//!
//! A store with a tier keeps some entries in memory, the **resident** ones. The
//! rule that everything rests on: **a key that is not resident is on disk as it
//! is, or nowhere.** So a resident entry that has changed since the last write,
//! removed ones too, stays resident until it is written.
//!
//! ```text
//!            commit confirmed
//!   epoch ─────────────────────▶ settle
//!                                  │ within the budget, little to write: done
//!                                  │ over the budget: cold clean entries leave
//!                                  │ memory
//!                                  │ still over, or much to write: everything
//!                                  │ that has changed is written in one batch
//!                                  │ with the changelog's position; then cold
//!                                  ▼ entries leave memory
//! ```
//!
//! A batch is written after the log has confirmed the commit and holds all
//! changes up to it, so the disk always holds the state at exactly one position
//! of the changelog: a start goes on from there. It is ahead of the log only if
//! the log lost a confirmed commit; the engine then rebuilds it.
//!
//! A store that stays within its budget writes nothing, unless it is so large
//! when the run ends that reading its changelog would take long.
//!
//! # Two key spaces
//!
//! `1, key` holds an entry as the changelog has it. `2, time, key` is a **hint**:
//! time has something to do with the entry then (a value expires, a window
//! closes). What is due is found in order of time without a look at the other
//! entries. A hint may be early, never late, so an entry whose time is put off
//! keeps its hint, which stands with its value; only one that has been taken, or
//! would be late, is followed by another. Whoever takes a hint looks at the entry,
//! which says whether anything is due. Hints before `due_from` have been taken, and
//! merges leave them out.

use crate::disk::DiskStore;
use headwater_core::env::Env;
use headwater_core::{Class, Error, Position, Result, TimestampMs};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Once so much has changed since the last write, a store is written; a restart after a
/// crash reads so much of the changelog, and an epoch more.
const UNWRITTEN_BYTES_MAX: usize = 64 << 20;
/// A store of this size is written when the run ends, so that the next start
/// need not read its changelog.
const WRITE_AT_END_BYTES: usize = 128 << 20;
/// What one epoch's end adds to a merge.
const MERGE_STEP_BYTES: u64 = 16 << 20;

const SPACE_ENTRY: u8 = 1;
const SPACE_DUE: u8 = 2;
const HEADER_VERSION: u8 = 1;
/// Stands for no hint.
const NO_HINT: i64 = i64::MIN;

/// The memory that all stores of a process may use together.
#[derive(Debug)]
pub struct MemoryBudget {
    bytes_max: usize,
    used: AtomicUsize,
}

impl MemoryBudget {
    /// A budget of that many bytes.
    pub fn new(bytes_max: usize) -> Arc<MemoryBudget> {
        Arc::new(MemoryBudget {
            bytes_max,
            used: AtomicUsize::new(0),
        })
    }

    /// What stores have said to use.
    pub fn used_bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// Where a store's disk tier is, and what it may use.
#[derive(Clone, Debug)]
pub struct TierSettings {
    /// Files and clock.
    pub env: Env,
    /// A folder for this store alone.
    pub folder: PathBuf,
    /// Shared by the stores of the process.
    pub budget: Arc<MemoryBudget>,
    /// Tells the store's changelog from another of the same name.
    pub changelog_id: u64,
}

/// What a batch says of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// There is no entry.
    Removed,
    /// The entry as the changelog has it.
    Value {
        /// When time has something to do with it.
        due_ms: Option<TimestampMs>,
        /// The hint that it has.
        hint_ms: Option<TimestampMs>,
    },
}

/// The hint of an entry once it is written: the one it has, unless it is late.
pub fn hint_of(due_ms: Option<TimestampMs>, hint_ms: Option<TimestampMs>) -> Option<TimestampMs> {
    // Both ends of time stand for none: one in memory, one on disk.
    let due_ms = due_ms?.clamp(NO_HINT + 1, TimestampMs::MAX - 1);
    hint_ms
        .filter(|hint_ms| *hint_ms <= due_ms)
        .or(Some(due_ms))
}

/// An entry that was read from disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The value, as the changelog has it.
    pub value: Vec<u8>,
    /// Its hint.
    pub hint_ms: Option<TimestampMs>,
}

/// A store that keeps some of its entries in memory and the others on its tier.
pub trait Spill {
    /// The tier.
    fn tier_mut(&mut self) -> Option<&mut Tier>;

    /// What the entries in memory take.
    fn resident_bytes(&self) -> usize;

    /// Writes all that the disk does not have as the state at that position.
    ///
    /// # Errors
    /// `Unavailable` if the disk fails.
    fn write(&mut self, position: Position) -> Result<()>;

    /// Lets cold entries leave memory until the rest takes `bytes_max`. What the
    /// disk does not have stays.
    fn evict(&mut self, bytes_max: usize);
}

/// Does what [`StateStore::settle`](crate::StateStore::settle) promises.
///
/// # Errors
/// `Unavailable` if the disk fails.
pub(crate) fn settle(store: &mut dyn Spill, position: Position) -> Result<()> {
    keep_within_budget(store, position, false)?;
    store.tier_mut().map_or(Ok(()), Tier::tidy)
}

/// Does what [`StateStore::settle_restoring`](crate::StateStore::settle_restoring)
/// promises.
///
/// # Errors
/// `Unavailable` if the disk fails.
pub(crate) fn settle_restoring(store: &mut dyn Spill, position: Position) -> Result<()> {
    keep_within_budget(store, position, true)
}

fn keep_within_budget(store: &mut dyn Spill, position: Position, is_restoring: bool) -> Result<()> {
    let Some(tier) = store.tier_mut() else {
        return Ok(());
    };
    tier.check()?;
    tier.is_restoring = is_restoring;
    if tier.is_write_due() {
        write(store, position)?;
    }
    if let Some(bytes_max) = check_budget(store) {
        // Before the first write the disk has nothing.
        if store.tier_mut().is_some_and(|tier| tier.has_disk()) {
            store.evict(bytes_max);
        }
        if bytes_max < store.resident_bytes() {
            write(store, position)?;
            store.evict(bytes_max);
        }
        check_budget(store);
    }
    Ok(())
}

/// Does what [`StateStore::settle_at_end`](crate::StateStore::settle_at_end)
/// promises.
///
/// # Errors
/// `Unavailable` if the disk fails.
pub(crate) fn settle_at_end(store: &mut dyn Spill, position: Position) -> Result<()> {
    let bytes = store.resident_bytes();
    let Some(tier) = store.tier_mut() else {
        return Ok(());
    };
    tier.check()?;
    match tier.is_write_due_at_end(bytes) {
        true => write(store, position),
        false => Ok(()),
    }
}

fn write(store: &mut dyn Spill, position: Position) -> Result<()> {
    let written = store.write(position);
    let Some(tier) = store.tier_mut() else {
        return written;
    };
    tier.keep(written);
    tier.check()
}

fn check_budget(store: &mut dyn Spill) -> Option<usize> {
    let bytes = store.resident_bytes();
    store.tier_mut()?.check_budget(bytes)
}

/// A store's disk tier.
#[derive(Debug)]
pub struct Tier {
    settings: TierSettings,
    /// `None` until something is written.
    disk: Option<DiskStore>,
    header: Header,
    /// No hint that counts is before this.
    next_due_ms: TimestampMs,
    /// What the budget believes the store to use.
    published: usize,
    /// How much has changed since the last write.
    unwritten_bytes: usize,
    /// Why something could not be read or written. Then what the store holds is of no
    /// position, so nothing is written any more, until it is cleared or opened anew.
    failure: Option<(Class, String)>,
    /// Whether what is written is in the middle of a restore.
    is_restoring: bool,
    /// When the store began with what it has on disk, or with nothing.
    began_ms: TimestampMs,
}

/// What a batch says beside its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Header {
    changelog_id: u64,
    position: Option<Position>,
    written_ms: TimestampMs,
    due_from_ms: TimestampMs,
    /// The store's own words.
    words: Vec<u8>,
}

impl Tier {
    /// Opens what an earlier run left, if it is of the same changelog.
    ///
    /// # Errors
    /// `Unavailable` while anyone else has it open, and if the disk fails.
    pub fn open(settings: TierSettings) -> Result<Tier> {
        let names = settings.env.storage.list(&settings.folder);
        let names = names.map_err(|error| {
            Error::unavailable(format!(
                "a state directory cannot be read: {error} folder=`{}`",
                settings.folder.display()
            ))
        })?;
        let mut tier = Tier {
            header: Header::new(settings.changelog_id),
            settings,
            disk: None,
            next_due_ms: TimestampMs::MAX,
            published: 0,
            unwritten_bytes: 0,
            failure: None,
            is_restoring: false,
            began_ms: 0,
        };
        tier.began_ms = tier.settings.env.clock.wall_ms();
        if names.is_empty() {
            return Ok(tier);
        }
        let mut disk = DiskStore::open(&tier.settings.env, &tier.settings.folder)?;
        match Header::decode(disk.header()) {
            Some(header) if header.changelog_id == tier.settings.changelog_id => {
                tier.next_due_ms = header.due_from_ms;
                tier.header = header;
                tier.disk = Some(disk);
            }
            _ => disk.clear()?,
        }
        Ok(tier)
    }

    /// The position in the changelog of the state on disk, and the wall clock's
    /// time when it was written.
    pub fn position(&self) -> Option<(Position, TimestampMs)> {
        Some((self.header.position?, self.header.written_ms))
    }

    /// The store's own words of the last batch.
    pub fn words(&self) -> &[u8] {
        &self.header.words
    }

    /// Whether anything is on disk.
    pub fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Keeps a failure, the first one: [`Tier::check`] tells it until the end.
    pub fn keep<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let failure = || (error.class(), error.message().to_owned());
                self.failure.get_or_insert_with(failure);
                None
            }
        }
    }

    /// Whether everything could be read and written.
    ///
    /// # Errors
    /// What has failed, `Unavailable` of the disk; every time.
    pub fn check(&self) -> Result<()> {
        match &self.failure {
            None => Ok(()),
            Some((class, message)) => Err(Error::new(*class, message.clone())),
        }
    }

    /// Forgets what is on disk; if that fails, [`Tier::check`] says so.
    pub fn clear(&mut self) {
        self.header = Header::new(self.settings.changelog_id);
        self.next_due_ms = TimestampMs::MAX;
        self.unwritten_bytes = 0;
        self.publish(0);
        self.failure = None;
        self.began_ms = self.settings.env.clock.wall_ms();
        let cleared = self.disk.take().map_or(Ok(()), |mut disk| disk.clear());
        self.keep(cleared);
    }

    /// An entry that is not resident.
    ///
    /// # Errors
    /// `Unavailable` if it cannot be read.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Stored>> {
        let Some(disk) = &mut self.disk else {
            return Ok(None);
        };
        let mut full = Vec::with_capacity(1 + key.len());
        full.push(SPACE_ENTRY);
        full.extend_from_slice(key);
        let Some(mut value) = disk.get(&full)? else {
            return Ok(None);
        };
        let hint = value.split_off(value.len().saturating_sub(8));
        let hint = hint.try_into().map(i64::from_le_bytes);
        let hint_ms = hint.map_err(|_| Error::internal("an entry of a state store has no hint"))?;
        Ok(Some(Stored {
            value,
            hint_ms: (hint_ms != NO_HINT).then_some(hint_ms),
        }))
    }

    /// No hint stands before this; at the end of time there is none.
    #[inline]
    pub fn next_due_ms(&self) -> TimestampMs {
        self.next_due_ms
    }

    /// Takes the next hints up to that time, in order of time and key; those of
    /// one time together. Their entries' next hints are made when they are written.
    ///
    /// # Errors
    /// `Unavailable` if they cannot be read.
    pub fn take_due(
        &mut self,
        until_ms: TimestampMs,
        hints_max: usize,
    ) -> Result<Vec<(TimestampMs, Vec<u8>)>> {
        let mut found = Vec::new();
        let Some(disk) = &mut self.disk else {
            return Ok(found);
        };
        let mut next_ms = TimestampMs::MAX;
        disk.scan(&due_key(self.header.due_from_ms, &[]), &mut |key, _| {
            let (due_ms, key) = read_due_key(key)?;
            let is_full = hints_max <= found.len()
                && found.last().is_some_and(|(last_ms, _)| *last_ms < due_ms);
            if until_ms < due_ms || is_full {
                next_ms = due_ms;
                return Ok(false);
            }
            found.push((due_ms, key.to_vec()));
            Ok(true)
        })?;
        self.next_due_ms = next_ms;
        self.header.due_from_ms = match found.last() {
            Some((last_ms, _)) => last_ms.saturating_add(1),
            None => self.header.due_from_ms,
        };
        Ok(found)
    }

    /// So many bytes have changed.
    #[inline]
    pub fn note_unwritten(&mut self, bytes: usize) {
        self.unwritten_bytes += bytes;
    }

    /// Whether enough has changed for a batch.
    fn is_write_due(&self) -> bool {
        self.disk.is_some() && UNWRITTEN_BYTES_MAX <= self.unwritten_bytes
    }

    /// Whether a store of that size is written when the run ends.
    fn is_write_due_at_end(&self, resident_bytes: usize) -> bool {
        match self.disk {
            Some(_) => 0 < self.unwritten_bytes,
            None => WRITE_AT_END_BYTES <= resident_bytes,
        }
    }

    /// Tells the budget what the store uses; returns what it should come down
    /// to, if the stores together use too much.
    fn check_budget(&mut self, resident_bytes: usize) -> Option<usize> {
        let fixed = self.disk.as_ref().map_or(0, DiskStore::memory_bytes);
        let used = self.publish(resident_bytes + fixed);
        let max = self.settings.budget.bytes_max;
        // Each store gives way by its share, to a little less than the budget,
        // so that not every epoch's end has to look for cold entries.
        let share = (max - max / 8) as f64 / used.max(1) as f64;
        (max < used)
            .then(|| ((resident_bytes + fixed) as f64 * share) as usize)
            .map(|target| target.saturating_sub(fixed))
    }

    /// Whether the stores use too much, this one so many bytes.
    #[inline]
    pub fn is_over_budget(&self, resident_bytes: usize) -> bool {
        let budget = &self.settings.budget;
        let others = budget.used_bytes().saturating_sub(self.published);
        budget.bytes_max < others + resident_bytes
    }

    fn publish(&mut self, bytes: usize) -> usize {
        let used = &self.settings.budget.used;
        used.fetch_add(bytes, Ordering::Relaxed);
        let before = used.fetch_sub(self.published, Ordering::Relaxed);
        let now = before - self.published;
        self.published = bytes;
        now
    }

    /// Writes all that has changed as the state at that position: for each key
    /// `value_of` appends the value, and says what it is.
    ///
    /// # Errors
    /// `Unavailable` if the disk fails; what was written before stays.
    pub fn write<K: AsRef<[u8]> + Ord>(
        &mut self,
        mut keys: Vec<K>,
        value_of: &mut dyn FnMut(&[u8], &mut Vec<u8>) -> Written,
        position: Position,
        words: Vec<u8>,
    ) -> Result<()> {
        let TierSettings { env, folder, .. } = &self.settings;
        let disk = match &mut self.disk {
            Some(disk) => disk,
            None => {
                let mut disk = DiskStore::open(env, folder)?;
                disk.clear()?;
                self.disk.insert(disk)
            }
        };
        keys.sort_unstable();
        keys.dedup();
        let mut batch = disk.batch(2 * keys.len())?;
        let (mut hints, mut value, mut full) = (Vec::new(), Vec::new(), Vec::new());
        for key in keys {
            value.clear();
            full.clear();
            full.push(SPACE_ENTRY);
            full.extend_from_slice(key.as_ref());
            match value_of(key.as_ref(), &mut value) {
                Written::Removed => batch.push(&full, None)?,
                Written::Value { due_ms, hint_ms } => {
                    let hint = hint_of(due_ms, hint_ms);
                    value.extend_from_slice(&hint.unwrap_or(NO_HINT).to_le_bytes());
                    batch.push(&full, Some(&value))?;
                    hints.extend(hint.filter(|_| hint != hint_ms).map(|hint| (hint, key)));
                }
            }
        }
        hints.sort_unstable();
        for (due_ms, key) in &hints {
            batch.push(&due_key(*due_ms, key.as_ref()), Some(&[]))?;
        }
        let header = &mut self.header;
        if let Some((first_ms, _)) = hints.first() {
            header.due_from_ms = header.due_from_ms.min(*first_ms);
            self.next_due_ms = self.next_due_ms.min(*first_ms);
        }
        // In the middle of a restore the state is as old as it was at the beginning.
        header.written_ms = match (self.is_restoring, header.position) {
            (false, _) => env.clock.wall_ms(),
            (true, None) => self.began_ms,
            (true, Some(_)) => header.written_ms,
        };
        header.position = Some(position);
        header.words = words;
        disk.set_garbage(vec![SPACE_DUE]..due_key(header.due_from_ms, &[]));
        disk.write(batch, &header.encode())?;
        self.unwritten_bytes = 0;
        Ok(())
    }

    /// Goes on with what keeps reads fast.
    fn tidy(&mut self) -> Result<()> {
        let merged = match &mut self.disk {
            Some(disk) if disk.is_merging() => disk.merge_some(MERGE_STEP_BYTES),
            _ => Ok(()),
        };
        self.keep(merged);
        self.check()
    }
}

impl Drop for Tier {
    fn drop(&mut self) {
        self.publish(0);
    }
}

/// Ordered by time, then key.
fn due_key(due_ms: TimestampMs, key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(9 + key.len());
    full.push(SPACE_DUE);
    full.extend_from_slice(&(due_ms as u64 ^ 1 << 63).to_be_bytes());
    full.extend_from_slice(key);
    full
}

fn read_due_key(full: &[u8]) -> Result<(TimestampMs, &[u8])> {
    let damaged = || Error::internal("a hint of a state store is damaged");
    let rest = full.strip_prefix(&[SPACE_DUE]).ok_or_else(damaged)?;
    let (time, key) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    Ok(((u64::from_be_bytes(*time) ^ 1 << 63) as i64, key))
}

impl Header {
    fn new(changelog_id: u64) -> Header {
        Header {
            changelog_id,
            position: None,
            written_ms: TimestampMs::MIN,
            due_from_ms: TimestampMs::MAX,
            words: Vec::new(),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![HEADER_VERSION];
        bytes.extend_from_slice(&self.changelog_id.to_le_bytes());
        bytes.extend_from_slice(&self.written_ms.to_le_bytes());
        bytes.extend_from_slice(&self.due_from_ms.to_le_bytes());
        let position = self.position.as_ref().map_or(&[][..], Position::as_bytes);
        bytes.push(position.len() as u8);
        bytes.extend_from_slice(position);
        bytes.extend_from_slice(&self.words);
        bytes
    }

    /// `None` for an empty header, and for one of another version.
    fn decode(bytes: &[u8]) -> Option<Header> {
        let rest = bytes.strip_prefix(&[HEADER_VERSION])?;
        let (words, rest) = rest.split_at_checked(24)?;
        let word = |at: usize| u64::from_le_bytes(words[at..at + 8].try_into().expect("8 bytes"));
        let (&position_len, rest) = rest.split_first()?;
        let (position, own) = rest.split_at_checked(position_len.into())?;
        Some(Header {
            changelog_id: word(0),
            written_ms: word(8) as i64,
            due_from_ms: word(16) as i64,
            position: Some(Position::from_bytes(position)?),
            words: own.to_vec(),
        })
    }
}
