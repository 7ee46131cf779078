//! Which runs make up a store.
//!
//! A manifest is a file of its own, written whole and synced after its runs; the
//! one with the highest number that is sound counts. So the step from one state
//! of the store to the next is atomic without a rename, and a torn manifest is
//! as if it had never been begun.
//!
//! ```text
//! magic, version, length of header, header, number of runs,
//! then for each, newest first: number of its file, its length; CRC-32C of all
//! ```

use super::run::{put_varint, take_varint};

const MAGIC: &[u8; 7] = b"hw-man\0";
const VERSION: u8 = 1;

/// The runs of a store, and what its owner keeps beside them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) header: Vec<u8>,
    /// Number and length of each run's file, newest first.
    pub(super) runs: Vec<(u64, u64)>,
}

impl Manifest {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(VERSION);
        put_varint(self.header.len() as u64, &mut bytes);
        bytes.extend_from_slice(&self.header);
        put_varint(self.runs.len() as u64, &mut bytes);
        for (id, len) in &self.runs {
            put_varint(*id, &mut bytes);
            put_varint(*len, &mut bytes);
        }
        let checksum = crc32c::crc32c(&bytes).to_le_bytes();
        bytes.extend_from_slice(&checksum);
        bytes
    }

    /// `None` if it is damaged, or of another version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Manifest> {
        let (bytes, checksum) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(bytes).to_le_bytes() != *checksum {
            return None;
        }
        let mut rest = bytes.strip_prefix(MAGIC)?.strip_prefix(&[VERSION])?;
        let header_len = take_varint(&mut rest)? as usize;
        let (header, after) = rest.split_at_checked(header_len)?;
        rest = after;
        let count = take_varint(&mut rest)?;
        let mut runs = Vec::new();
        for _ in 0..count {
            runs.push((take_varint(&mut rest)?, take_varint(&mut rest)?));
        }
        rest.is_empty().then(|| Manifest {
            header: header.to_vec(),
            runs,
        })
    }
}
