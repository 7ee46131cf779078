//! Entries in a slab, and an index that finds them by key.
//!
//! The index holds no keys, only slots: for a hundred thousand keys it is half a
//! megabyte, which stays in the processor's cache, and whether a key is the one
//! looked for is read where the entry is read anyway.

use super::entry::Entry;
use ahash::AHasher;
use hashbrown::HashTable;
use std::hash::Hasher;

/// No entry stands there.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// The entries of all keys. A slot stays that of its entry until the entry is
/// taken out, and is used again then.
#[derive(Debug, Default)]
pub(super) struct Entries {
    slab: Vec<Option<Entry>>,
    /// The slots in use, by the hash of their keys. Never iterated.
    index: HashTable<u32>,
    /// Places in the slab that can be used again, last first.
    free: Vec<u32>,
    /// Places of entries that stand on disk only: for those that come from there.
    /// They come in the middle of a step, whose undoing counts on the order of
    /// the free places.
    vacated: Vec<u32>,
}

impl Entries {
    /// The number of entries.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// All slots, in use or not.
    pub(super) fn slots(&self) -> std::ops::Range<u32> {
        0..self.slab.len() as u32
    }

    /// Where a key's entry stands, if it is known.
    #[inline]
    pub(super) fn find(&self, key: &[u8]) -> Option<u32> {
        let is_key = |slot: &u32| match &self.slab[*slot as usize] {
            Some(entry) => *entry.key == *key,
            None => false,
        };
        self.index.find(hash(key), is_key).copied()
    }

    /// As [`Entries::find`], where the key probably stands at `hint`; see
    /// [`Entries::guess`].
    #[inline]
    pub(super) fn find_near(&self, key: &[u8], hint: u32) -> Option<u32> {
        match self.get(hint) {
            Some(entry) if *entry.key == *key => Some(hint),
            _ => self.find(key),
        }
    }

    /// Where a key's entry probably stands, without reading any entry.
    #[inline]
    pub(super) fn guess(&self, key: &[u8]) -> Option<u32> {
        self.index.find(hash(key), |_| true).copied()
    }

    #[inline]
    pub(super) fn get(&self, slot: u32) -> Option<&Entry> {
        self.slab.get(slot as usize)?.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.slab.get_mut(slot as usize)?.as_mut()
    }

    /// Adds the entry of a key that is not known.
    pub(super) fn add(&mut self, entry: Entry) -> u32 {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slab.push(None);
                u32::try_from(self.slab.len() - 1).expect("a task has fewer than 2^32 keys")
            }
        };
        self.place(slot, entry);
        slot
    }

    /// Takes an entry out.
    pub(super) fn take(&mut self, slot: u32) -> Option<Entry> {
        let entry = self.slab.get_mut(slot as usize)?.take()?;
        let found = self
            .index
            .find_entry(hash(&entry.key), |known| *known == slot);
        found.expect("an entry is in the index").remove();
        self.free.push(slot);
        Some(entry)
    }

    /// Puts back the entry that was taken out last.
    pub(super) fn put_back(&mut self, slot: u32, entry: Entry) {
        assert_eq!(self.free.pop(), Some(slot), "slots are put back in reverse");
        self.place(slot, entry);
    }

    /// Takes out an entry that is on disk.
    pub(super) fn vacate(&mut self, slot: u32) -> Option<Entry> {
        let entry = self.take(slot)?;
        self.vacated.extend(self.free.pop());
        Some(entry)
    }

    /// Adds an entry that comes from disk.
    pub(super) fn add_back(&mut self, entry: Entry) -> u32 {
        let slot = match self.vacated.pop() {
            Some(slot) => slot,
            None => {
                self.slab.push(None);
                u32::try_from(self.slab.len() - 1).expect("a task has fewer than 2^32 keys")
            }
        };
        self.place(slot, entry);
        slot
    }

    fn place(&mut self, slot: u32, entry: Entry) {
        let hash_of_key = hash(&entry.key);
        self.slab[slot as usize] = Some(entry);
        let slab = &self.slab;
        self.index.insert_unique(hash_of_key, slot, |slot| {
            let entry = slab[*slot as usize].as_ref();
            hash(&entry.expect("an indexed slot has an entry").key)
        });
    }
}

/// The hash of a key, the same in every run.
#[inline]
fn hash(key: &[u8]) -> u64 {
    let mut hasher = AHasher::default();
    hasher.write(key);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::super::key::Key;
    use super::*;

    #[test]
    fn keys_are_found_whatever_slots_they_have_had() {
        let mut entries = Entries::default();
        let key = |n: u32| n.to_be_bytes();
        let entry = |n: u32| Entry::new(Key::from(key(n).as_slice()), 0);
        for n in 0..1_000 {
            assert_eq!(entries.add(entry(n)), n);
        }
        for slot in (0..1_000).step_by(2) {
            assert!(entries.take(slot).is_some());
            assert!(entries.take(slot).is_none());
        }
        assert_eq!((entries.len(), entries.find(&key(2))), (500, None));
        // The place that was freed last is used first.
        assert_eq!(entries.add(entry(5_000)), 998);
        let taken = entries.take(998).expect("it was just added");
        entries.put_back(998, taken);
        for (n, slot) in [(5_000, Some(998)), (998, None), (3, Some(3)), (4, None)] {
            assert_eq!(entries.find(&key(n)), slot);
            for hint in [3, 4, 998, NO_SLOT] {
                assert_eq!(entries.find_near(&key(n), hint), slot);
            }
        }
        let guessed = (0..1_000).filter(|n| entries.guess(&key(*n)) == Some(*n));
        assert!(400 < guessed.count(), "most guesses are right");
    }
}
