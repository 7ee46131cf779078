//! A run: keys and values in order, in a file that is written once.
//!
//! ```text
//! block*    entries, then CRC-32C of the block
//! entry     length of key, 1 + length of value (0: removed), key, value
//! index     for each block: its last key, and where it ends
//! filter    a Bloom filter over the keys
//! footer    lengths of index and filter, entries, magic, version, CRC-32C of
//!           index, filter and footer
//! ```
//!
//! Index and filter stay in memory, about one hundredth of the values: a look-up
//! of a key that is not there mostly reads nothing, any other reads one block.
//! Every byte that is read is covered by a checksum.

use super::hash::hash;
use headwater_core::env::StorageFile;
use headwater_core::{Error, Result};
use std::path::Path;

/// A block is closed once it is this long.
const BLOCK_BYTES: usize = 8 << 10;
/// What a cursor reads at once.
const READ_BYTES: u64 = 256 << 10;
/// What a writer keeps before it appends.
const WRITE_BYTES: usize = 1 << 20;
const FILTER_BITS_PER_KEY: usize = 10;
const FILTER_PROBES: u64 = 6;
const MAGIC: &[u8; 7] = b"hw-run\0";
const VERSION: u8 = 1;
const FOOTER_BYTES: usize = 24 + 8 + 4;

/// The blocks of a run: the last key of each, and where it ends in the file.
#[derive(Debug, Default)]
struct Index {
    keys: Vec<u8>,
    key_ends: Vec<u32>,
    block_ends: Vec<u64>,
}

impl Index {
    fn len(&self) -> usize {
        self.block_ends.len()
    }

    fn last_key(&self, block: usize) -> &[u8] {
        let start = block.checked_sub(1).map_or(0, |at| self.key_ends[at]);
        &self.keys[start as usize..self.key_ends[block] as usize]
    }

    fn block_start(&self, block: usize) -> u64 {
        block.checked_sub(1).map_or(0, |at| self.block_ends[at])
    }

    fn push(&mut self, last_key: &[u8], block_end: u64) -> Result<()> {
        self.keys.extend_from_slice(last_key);
        let end = u32::try_from(self.keys.len());
        self.key_ends
            .push(end.map_err(|_| Error::internal("the index of a run is longer than 4 GiB"))?);
        self.block_ends.push(block_end);
        Ok(())
    }

    /// The first block that may hold the key or a later one.
    fn find(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.last_key(middle) < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

#[derive(Debug, Default)]
struct Filter(Vec<u64>);

impl Filter {
    fn for_keys(count: usize) -> Filter {
        Filter(vec![0; (count * FILTER_BITS_PER_KEY).div_ceil(64).max(1)])
    }

    fn places(&self, key: &[u8]) -> impl Iterator<Item = (usize, u64)> + use<> {
        let bits = self.0.len() as u64 * 64;
        let first = hash(key);
        let step = first.rotate_left(32) | 1;
        (0..FILTER_PROBES).map(move |probe| {
            let mixed = first.wrapping_add(probe.wrapping_mul(step));
            let bit = ((u128::from(mixed) * u128::from(bits)) >> 64) as u64;
            ((bit / 64) as usize, 1 << (bit % 64))
        })
    }

    fn add(&mut self, key: &[u8]) {
        for (word, bit) in self.places(key) {
            self.0[word] |= bit;
        }
    }

    fn may_have(&self, key: &[u8]) -> bool {
        self.places(key).all(|(word, bit)| self.0[word] & bit != 0)
    }
}

/// A run that is complete.
pub(super) struct Run {
    /// The number of its file.
    pub(super) id: u64,
    /// The length of its file.
    pub(super) len: u64,
    /// How many keys it has, removed ones too.
    pub(super) entry_count: u64,
    file: Box<dyn StorageFile>,
    index: Index,
    filter: Filter,
}

impl Run {
    /// Opens a run of that length.
    ///
    /// # Errors
    /// `Internal` if it is damaged, `Unavailable` if it cannot be read.
    pub(super) fn open(id: u64, len: u64, file: Box<dyn StorageFile>, path: &Path) -> Result<Run> {
        let damaged = || damaged(path);
        let actual = file.len().map_err(|error| unreadable(path, error))?;
        let footer_at = len.checked_sub(FOOTER_BYTES as u64).ok_or_else(damaged)?;
        if actual < len {
            return Err(damaged());
        }
        let footer = read(&*file, footer_at, FOOTER_BYTES, path)?;
        let word = |at: usize| u64::from_le_bytes(footer[at..at + 8].try_into().expect("8 bytes"));
        let (index_len, filter_len, entry_count) = (word(0), word(8), word(16));
        if footer[24..31] != MAGIC[..] || footer[31] != VERSION {
            return Err(damaged());
        }
        let tail_len = index_len.checked_add(filter_len).ok_or_else(damaged)?;
        let index_at = footer_at.checked_sub(tail_len).ok_or_else(damaged)?;
        let tail = read(&*file, index_at, tail_len as usize, path)?;
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&tail), &footer[..32]);
        if checksum.to_le_bytes() != footer[32..] || filter_len % 8 != 0 || filter_len == 0 {
            return Err(damaged());
        }
        let (index_bytes, filter_bytes) = tail.split_at(index_len as usize);
        let words = filter_bytes.chunks_exact(8);
        let filter = words.map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")));
        Ok(Run {
            id,
            len,
            entry_count,
            file,
            index: read_index(index_bytes, index_at).ok_or_else(damaged)?,
            filter: Filter(filter.collect()),
        })
    }

    /// What the run holds under a key: nothing, that it was removed, or a value.
    pub(super) fn get(&self, key: &[u8], path: &Path) -> Result<Option<Option<Vec<u8>>>> {
        if !self.filter.may_have(key) {
            return Ok(None);
        }
        let block = self.index.find(key);
        if block == self.index.len() {
            return Ok(None);
        }
        let start = self.index.block_start(block);
        let len = (self.index.block_ends[block] - start) as usize;
        let bytes = read(&*self.file, start, len, path)?;
        let mut entries = checked(&bytes).ok_or_else(|| damaged(path))?;
        while !entries.is_empty() {
            let entry = take_entry(&mut entries).ok_or_else(|| damaged(path))?;
            if entry.key == key {
                return Ok(Some(entry.value.map(<[u8]>::to_vec)));
            }
        }
        Ok(None)
    }

    /// What index and filter hold in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.index.keys.len() + self.index.len() * 12 + self.filter.0.len() * 8
    }
}

fn read_index(mut bytes: &[u8], blocks_end: u64) -> Option<Index> {
    let mut index = Index::default();
    let mut before = 0;
    while !bytes.is_empty() {
        let key_len = take_varint(&mut bytes)? as usize;
        let (key, rest) = bytes.split_at_checked(key_len)?;
        bytes = rest;
        let end = take_varint(&mut bytes)?;
        if end <= before || blocks_end < end {
            return None;
        }
        before = end;
        index.push(key, end).ok()?;
    }
    (before == blocks_end).then_some(index)
}

/// A key with its value, or with nothing where it was removed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: Option<&'a [u8]>,
}

/// A place in a run, which moves forward.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    /// Blocks that were read, checksums cut off; entries from `at` on are ahead.
    bytes: Vec<u8>,
    at: usize,
    next_block: usize,
    key: std::ops::Range<usize>,
    value: Option<std::ops::Range<usize>>,
    is_at_end: bool,
}

impl Cursor {
    /// A cursor at the first key from `from` on.
    pub(super) fn seek(run: &Run, from: &[u8], path: &Path) -> Result<Cursor> {
        let mut cursor = Cursor {
            next_block: run.index.find(from),
            ..Cursor::default()
        };
        cursor.advance(run, path)?;
        while cursor.entry().is_some_and(|entry| entry.key < from) {
            cursor.advance(run, path)?;
        }
        Ok(cursor)
    }

    /// The entry at which it stands; `None` at the end.
    pub(super) fn entry(&self) -> Option<Entry<'_>> {
        (!self.is_at_end).then(|| Entry {
            key: &self.bytes[self.key.clone()],
            value: self.value.clone().map(|value| &self.bytes[value]),
        })
    }

    /// Goes to the next entry.
    pub(super) fn advance(&mut self, run: &Run, path: &Path) -> Result<()> {
        if self.at == self.bytes.len() && !self.read_blocks(run, path)? {
            self.is_at_end = true;
            return Ok(());
        }
        let mut ahead = &self.bytes[self.at..];
        let entry = take_entry(&mut ahead).ok_or_else(|| damaged(path))?;
        let end = self.bytes.len() - ahead.len();
        let value_len = entry.value.map_or(0, <[u8]>::len);
        let key_len = entry.key.len();
        self.value = entry.value.map(|_| end - value_len..end);
        self.key = end - value_len - key_len..end - value_len;
        self.at = end;
        Ok(())
    }

    fn read_blocks(&mut self, run: &Run, path: &Path) -> Result<bool> {
        let first = self.next_block;
        if first == run.index.len() {
            return Ok(false);
        }
        let start = run.index.block_start(first);
        let mut end = first + 1;
        while end < run.index.len() && run.index.block_ends[end] - start <= READ_BYTES {
            end += 1;
        }
        let len = (run.index.block_ends[end - 1] - start) as usize;
        let read = read(&*run.file, start, len, path)?;
        self.bytes.clear();
        self.at = 0;
        for block in first..end {
            let from = (run.index.block_start(block) - start) as usize;
            let to = (run.index.block_ends[block] - start) as usize;
            let entries = checked(&read[from..to]).ok_or_else(|| damaged(path))?;
            self.bytes.extend_from_slice(entries);
        }
        self.next_block = end;
        Ok(true)
    }
}

/// Writes a run.
pub(super) struct RunWriter {
    id: u64,
    file: Box<dyn StorageFile>,
    /// What was not appended yet.
    pending: Vec<u8>,
    /// Where the open block begins in `pending`.
    block_start: usize,
    last_key: Vec<u8>,
    len: u64,
    entry_count: u64,
    index: Index,
    filter: Filter,
}

impl RunWriter {
    /// A writer of at most so many keys.
    pub(super) fn new(id: u64, file: Box<dyn StorageFile>, keys_max: usize) -> RunWriter {
        RunWriter {
            id,
            file,
            pending: Vec::with_capacity(WRITE_BYTES + BLOCK_BYTES),
            block_start: 0,
            last_key: Vec::new(),
            len: 0,
            entry_count: 0,
            index: Index::default(),
            filter: Filter::for_keys(keys_max),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entry_count == 0
    }

    /// How many bytes of entries it holds so far.
    pub(super) fn byte_count(&self) -> u64 {
        self.len + self.pending.len() as u64
    }

    /// Adds a key, which comes after all before.
    pub(super) fn push(&mut self, entry: Entry<'_>, path: &Path) -> Result<()> {
        assert!(
            self.entry_count == 0 || self.last_key.as_slice() < entry.key,
            "the keys of a run ascend"
        );
        put_varint(entry.key.len() as u64, &mut self.pending);
        let value_len = entry.value.map_or(0, |value| value.len() as u64 + 1);
        put_varint(value_len, &mut self.pending);
        self.pending.extend_from_slice(entry.key);
        self.pending
            .extend_from_slice(entry.value.unwrap_or_default());
        self.last_key.clear();
        self.last_key.extend_from_slice(entry.key);
        self.filter.add(entry.key);
        self.entry_count += 1;
        if BLOCK_BYTES <= self.pending.len() - self.block_start {
            self.close_block()?;
        }
        if WRITE_BYTES <= self.pending.len() {
            self.append(path)?;
        }
        Ok(())
    }

    fn close_block(&mut self) -> Result<()> {
        let block = &self.pending[self.block_start..];
        if block.is_empty() {
            return Ok(());
        }
        let checksum = crc32c::crc32c(block).to_le_bytes();
        self.pending.extend_from_slice(&checksum);
        self.block_start = self.pending.len();
        self.index.push(&self.last_key, self.byte_count())
    }

    /// Appends the blocks that are closed.
    fn append(&mut self, path: &Path) -> Result<()> {
        let closed = &self.pending[..self.block_start];
        self.file
            .append(closed)
            .map_err(|error| unwritable(path, error))?;
        self.len += closed.len() as u64;
        self.pending.drain(..self.block_start);
        self.block_start = 0;
        Ok(())
    }

    /// Makes what was appended outlive a power cut, so that little is left to do
    /// at the end.
    pub(super) fn sync(&mut self, path: &Path) -> Result<()> {
        self.file.sync().map_err(|error| unwritable(path, error))
    }

    /// Completes the run: it outlives a power cut.
    pub(super) fn finish(mut self, path: &Path) -> Result<Run> {
        self.close_block()?;
        self.append(path)?;
        let mut tail = Vec::new();
        for block in 0..self.index.len() {
            let key = self.index.last_key(block);
            put_varint(key.len() as u64, &mut tail);
            tail.extend_from_slice(key);
            put_varint(self.index.block_ends[block], &mut tail);
        }
        let index_len = tail.len() as u64;
        for word in &self.filter.0 {
            tail.extend_from_slice(&word.to_le_bytes());
        }
        let filter_len = tail.len() as u64 - index_len;
        for word in [index_len, filter_len, self.entry_count] {
            tail.extend_from_slice(&word.to_le_bytes());
        }
        tail.extend_from_slice(MAGIC);
        tail.push(VERSION);
        let checksum = crc32c::crc32c(&tail).to_le_bytes();
        tail.extend_from_slice(&checksum);
        self.file
            .append(&tail)
            .map_err(|error| unwritable(path, error))?;
        self.sync(path)?;
        Ok(Run {
            id: self.id,
            len: self.len + tail.len() as u64,
            entry_count: self.entry_count,
            file: self.file,
            index: self.index,
            filter: self.filter,
        })
    }
}

/// The entries of a block whose checksum is right.
fn checked(block: &[u8]) -> Option<&[u8]> {
    let (entries, checksum) = block.split_last_chunk::<4>()?;
    (crc32c::crc32c(entries).to_le_bytes() == *checksum).then_some(entries)
}

fn take_entry<'a>(bytes: &mut &'a [u8]) -> Option<Entry<'a>> {
    let key_len = take_varint(bytes)? as usize;
    let value_len = take_varint(bytes)? as usize;
    let (key, rest) = bytes.split_at_checked(key_len)?;
    let (value, rest) = rest.split_at_checked(value_len.saturating_sub(1))?;
    *bytes = rest;
    Some(Entry {
        key,
        value: (0 < value_len).then_some(value),
    })
}

pub(super) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

pub(super) fn read(file: &dyn StorageFile, at: u64, len: usize, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut done = 0;
    while done < len {
        let read = file
            .read_at(&mut bytes[done..], at + done as u64)
            .map_err(|error| unreadable(path, error))?;
        if read == 0 {
            return Err(damaged(path));
        }
        done += read;
    }
    Ok(bytes)
}

/// What the files of a store hold is not what was written.
pub(super) fn damaged(path: &Path) -> Error {
    Error::internal(format!(
        "a file of a state store is damaged, file=`{}`",
        path.display()
    ))
}

pub(super) fn unreadable(path: &Path, error: std::io::Error) -> Error {
    let message = format!(
        "a state store cannot be read: {error} file=`{}`",
        path.display()
    );
    Error::unavailable(message).with_source(error)
}

pub(super) fn unwritable(path: &Path, error: std::io::Error) -> Error {
    let message = format!(
        "a state store cannot be written: {error} file=`{}`",
        path.display()
    );
    Error::unavailable(message).with_source(error)
}
