//! Stored batches as they become the records of one poll.

use crate::Fetched;
use crate::record_batch::{BatchDecoder, Damage, Offsets};
use headwater_core::{Records, Result, TimestampMs};

/// Small stored batches are joined until they have this many bytes; a larger one
/// is handed out by itself.
const JOINED_BYTES: usize = 128 << 10;

/// Decoded records with where they stand.
pub(super) struct Run {
    pub(super) records: Records,
    pub(super) offsets: Offsets,
    pub(super) append_ms: TimestampMs,
}

/// What may still be read in this poll.
pub(super) struct Budget {
    pub(super) records: usize,
    pub(super) bytes: usize,
    /// Nothing has been read: a record larger than `bytes` is returned too.
    pub(super) untouched: bool,
}

impl Budget {
    pub(super) fn is_spent(&self) -> bool {
        self.records == 0 || (self.bytes == 0 && !self.untouched)
    }

    /// How many of the records from `skip` on may be returned, at most `share`;
    /// takes them off the budget.
    pub(super) fn fit(&mut self, records: &Records, skip: usize, share: usize) -> usize {
        let offered = (records.len() - skip).min(share);
        let mut bytes = 0;
        let mut fitting = 0;
        for index in skip..skip + offered {
            let size = (records.keys[index].len + records.values[index].len) as usize;
            if bytes + size > self.bytes && !(self.untouched && fitting == 0) {
                break;
            }
            bytes += size;
            fitting += 1;
        }
        self.untouched &= fitting == 0;
        self.records -= fitting;
        self.bytes = if fitting < offered {
            0
        } else {
            self.bytes.saturating_sub(bytes)
        };
        fitting
    }
}

/// Stored batches on their way to becoming runs.
#[derive(Default)]
pub(super) struct Joining {
    runs: Vec<Run>,
    open: Option<(BatchDecoder, TimestampMs)>,
}

impl Joining {
    /// Adds a stored batch that covers `span` offsets from `first` on.
    pub(super) fn push(
        &mut self,
        stored: &[u8],
        first: u64,
        span: u32,
        append_ms: TimestampMs,
    ) -> Result<(), Damage> {
        let joins = self.open.as_ref().is_some_and(|(decoder, newest_ms)| {
            decoder.byte_count() + stored.len() <= JOINED_BYTES
                && Fetched::append_minute(*newest_ms) == Fetched::append_minute(append_ms)
        });
        if !joins {
            self.close();
        }
        let new = || (BatchDecoder::default(), append_ms);
        let (decoder, newest_ms) = self.open.get_or_insert_with(new);
        *newest_ms = append_ms;
        match decoder.push(stored, first)? {
            decoded if decoded == span => Ok(()),
            _ => Err(Damage::SPAN),
        }
    }

    fn close(&mut self) {
        if let Some((decoder, append_ms)) = self.open.take() {
            let (records, offsets) = decoder.finish();
            self.runs.push(Run {
                records,
                offsets,
                append_ms,
            });
        }
    }

    pub(super) fn finish(mut self) -> Vec<Run> {
        self.close();
        self.runs
    }
}
