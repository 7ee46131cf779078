//! Kafka's record batch, version 2: how records stand on disk.
//!
//! It is Kafka's form and not one of ours, because it is compact, checked by a
//! CRC, documented, readable by other tools, and what a broker would be sent
//! anyway. Batches are not compressed: a reader hands out spans into the bytes
//! as they were stored and copies no key and no value.
//!
//! ```text
//! base offset i64 │ length i32 │ leader epoch i32 │ magic 2 │ CRC-32C u32 │
//! ╰──────── not covered by the CRC: a writer sets the offset last ────────╯
//! attributes i16 │ last offset delta i32 │ base timestamp i64 │ max timestamp i64 │
//! producer id i64, epoch i16, sequence i32 (unused, -1) │ count i32 │ records
//!
//! record   length │ attributes i8 │ timestamp delta │ offset delta │ key length,
//!          key │ value length, value │ header count │ headers
//! header   name length, name │ value length, value
//! ```
//!
//! Numbers of the batch are big-endian, those of a record zig-zag varints; a
//! length of -1 is null. Compaction leaves gaps: a record keeps its offset, the
//! batch covers the offsets from its first record to its last, and its count is
//! that of the records which are there. A batch as it was appended has none, and
//! its offsets cost a reader nothing.

use headwater_core::arrow::buffer::Buffer;
use headwater_core::{
    Error, Header, Headers, Position, Positions, Records, Result, Span, TimestampMs, TopicPartition,
};
use std::fmt;

/// The bytes ahead of the first record.
pub const HEADER_BYTES: usize = 61;

/// The largest record, keys, value and headers together.
pub const RECORD_BYTES_MAX: usize = 256 << 20;

const CRC_AT: usize = 17;
const CHECKED_FROM: usize = 21;
/// Seven fields of at least one byte each.
const RECORD_BYTES_MIN: usize = 7;
const MAGIC: u8 = 2;

/// The most offsets that one batch covers: its header has a signed number.
pub const BATCH_SPAN_MAX: u32 = i32::MAX as u32;

/// The offsets of some records, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offsets {
    /// Consecutive ones from this one on.
    From(u64),
    /// One by one.
    Each(Vec<u64>),
}

impl Offsets {
    /// The offset of the record at `index`.
    ///
    /// # Panics
    /// If there is no such record.
    pub fn get(&self, index: usize) -> u64 {
        match self {
            Offsets::From(first) => first + index as u64,
            Offsets::Each(offsets) => offsets[index],
        }
    }

    /// The index of the first record at or after `offset`.
    pub fn index_from(&self, offset: u64) -> usize {
        match self {
            Offsets::From(first) => offset.saturating_sub(*first) as usize,
            Offsets::Each(offsets) => offsets.partition_point(|&other| other < offset),
        }
    }

    /// The positions of the records `[start, end)`.
    pub fn positions(&self, start: usize, end: usize) -> Positions {
        match self {
            Offsets::From(first) => Positions::From(first + start as u64),
            Offsets::Each(offsets) => Positions::Each(
                offsets[start..end]
                    .iter()
                    .map(|&offset| Position::from_offset(offset))
                    .collect(),
            ),
        }
    }
}

/// Writes records one by one into a batch.
#[derive(Debug)]
pub struct BatchEncoder {
    bytes: Vec<u8>,
    count: u32,
    /// The offsets from the first record to the last.
    span: u32,
    base_timestamp: TimestampMs,
    timestamp_max: TimestampMs,
}

/// A batch as it is stored, still without its place.
#[derive(Clone, Debug)]
pub struct EncodedBatch {
    /// The bytes; the base offset is 0 until [`EncodedBatch::set_base_offset`].
    pub bytes: Vec<u8>,
    /// The number of records.
    pub count: u32,
    /// The number of offsets from the first record to the last, gaps included.
    pub span: u32,
    /// The largest timestamp among them.
    pub timestamp_max: TimestampMs,
}

impl EncodedBatch {
    /// Says where the first record stands. The CRC does not cover it.
    pub fn set_base_offset(&mut self, offset: u64) {
        self.bytes[..8].copy_from_slice(&offset.to_be_bytes());
    }
}

impl Default for BatchEncoder {
    fn default() -> Self {
        BatchEncoder::with_capacity(0)
    }
}

impl BatchEncoder {
    /// An encoder with room for `bytes` of records.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut buffer = Vec::with_capacity(HEADER_BYTES + bytes);
        buffer.resize(HEADER_BYTES, 0);
        BatchEncoder {
            bytes: buffer,
            count: 0,
            span: 0,
            base_timestamp: 0,
            timestamp_max: TimestampMs::MIN,
        }
    }

    /// The number of records so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The size of the batch so far, its header included.
    pub fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a record, right after the one before.
    ///
    /// # Errors
    /// `Invalid` if it is larger than [`RECORD_BYTES_MAX`]; nothing is appended.
    #[inline]
    pub fn push(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp: TimestampMs,
        headers: &[Header],
    ) -> Result<()> {
        self.push_at(self.span, key, value, timestamp, headers)
    }

    /// Appends a record that stands `delta` offsets after the first.
    ///
    /// # Errors
    /// As [`BatchEncoder::push`].
    ///
    /// # Panics
    /// If it does not stand after the record before, or beyond [`BATCH_SPAN_MAX`].
    pub fn push_at(
        &mut self,
        delta: u32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp: TimestampMs,
        headers: &[Header],
    ) -> Result<()> {
        assert!(
            self.span <= delta && delta < BATCH_SPAN_MAX,
            "offsets grow within a batch"
        );
        if self.count == 0 {
            self.base_timestamp = timestamp;
        }
        let mut fields = Prefix::default();
        fields.varint(timestamp.wrapping_sub(self.base_timestamp));
        fields.varint(i64::from(delta));
        fields.varint(length_of(key));
        let mut value_length = Prefix::default();
        value_length.varint(length_of(value));
        let payload = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        let body = 1 + fields.len + value_length.len + payload + headers_byte_count(headers);
        if body > RECORD_BYTES_MAX {
            return Err(record_too_large(body));
        }
        let mut length = Prefix::default();
        length.varint(body as i64);

        self.bytes.reserve(body + length.len);
        self.bytes.extend_from_slice(length.as_bytes());
        self.bytes.push(0);
        self.bytes.extend_from_slice(fields.as_bytes());
        self.bytes.extend_from_slice(key.unwrap_or_default());
        self.bytes.extend_from_slice(value_length.as_bytes());
        self.bytes.extend_from_slice(value.unwrap_or_default());
        if headers.is_empty() {
            self.bytes.push(0);
        } else {
            self.push_headers(headers);
        }
        self.count += 1;
        self.span = delta + 1;
        self.timestamp_max = self.timestamp_max.max(timestamp);
        Ok(())
    }

    fn push_headers(&mut self, headers: &[Header]) {
        push_varint(&mut self.bytes, headers.len() as i64);
        for header in headers {
            push_varint(&mut self.bytes, header.name.len() as i64);
            self.bytes.extend_from_slice(header.name.as_bytes());
            push_varint(&mut self.bytes, length_of(header.value.as_deref()));
            self.bytes
                .extend_from_slice(header.value.as_deref().unwrap_or_default());
        }
    }

    /// The batch, or `None` if no record was pushed.
    pub fn finish(mut self) -> Option<EncodedBatch> {
        if self.count == 0 {
            return None;
        }
        let length = (self.bytes.len() - 12) as i32;
        let header = &mut self.bytes[..HEADER_BYTES];
        header[8..12].copy_from_slice(&length.to_be_bytes());
        header[12..16].copy_from_slice(&(-1_i32).to_be_bytes());
        header[16] = MAGIC;
        header[23..27].copy_from_slice(&(self.span - 1).to_be_bytes());
        header[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        header[35..43].copy_from_slice(&self.timestamp_max.to_be_bytes());
        header[43..57].fill(0xff);
        header[57..61].copy_from_slice(&self.count.to_be_bytes());
        let crc = crc32c::crc32c(&self.bytes[CHECKED_FROM..]);
        self.bytes[CRC_AT..CHECKED_FROM].copy_from_slice(&crc.to_be_bytes());
        Some(EncodedBatch {
            bytes: self.bytes,
            count: self.count,
            span: self.span,
            timestamp_max: self.timestamp_max,
        })
    }
}

/// # Errors
/// `Invalid` if [`BatchEncoder::push`] would refuse the record.
pub fn check_record_size(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[Header],
) -> Result<()> {
    const LENGTHS_BYTES_MAX: usize = 40;
    let payload = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
    let body = LENGTHS_BYTES_MAX + payload + headers_byte_count(headers);
    if body > RECORD_BYTES_MAX {
        Err(record_too_large(body))
    } else {
        Ok(())
    }
}

fn record_too_large(bytes: usize) -> Error {
    Error::invalid(format!(
        "a record is too large for the log bytes=`{bytes}` bytes_max=`{RECORD_BYTES_MAX}`"
    ))
}

/// What is wrong with the bytes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage(&'static str);

impl fmt::Display for Damage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0)
    }
}

impl Damage {
    /// For a log that checks pages of a file, which hold a part of a batch.
    pub(crate) const PAGE: Damage = Damage("a page that holds a part of it is damaged");

    /// For a log that stores the span beside the batch.
    pub(crate) const SPAN: Damage = Damage("it covers other offsets than is stored beside it");

    /// The error to hand on: which batch it is and what to do.
    pub fn at(self, partition: &TopicPartition, offset: u64) -> Error {
        Error::internal(format!(
            "a stored record batch is damaged: {self} topic=`{}` partition=`{}` offset=`{offset}`\n\
             hint: check the disk and restore the log from a copy, or go on behind the batch by \
             seeking past it and accept that its records are lost",
            partition.topic, partition.partition
        ))
    }
}

/// Reads batches of one partition, in order, into one run of records.
#[derive(Debug, Default)]
pub struct BatchDecoder {
    bytes: Vec<u8>,
    /// The offset of the first record, and the one after the last.
    first: u64,
    end: u64,
    /// The offset of each record, from the first gap on.
    offsets: Option<Vec<u64>>,
    keys: Vec<Span>,
    values: Vec<Span>,
    timestamps: Vec<TimestampMs>,
    headers: Vec<Headers>,
}

impl BatchDecoder {
    /// A decoder with room for `bytes` of batches.
    pub fn with_capacity(bytes: usize) -> Self {
        BatchDecoder {
            bytes: Vec::with_capacity(bytes),
            ..BatchDecoder::default()
        }
    }

    /// The number of records so far.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none so far.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The bytes of batches so far.
    pub fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a batch and returns how many offsets it covers. The one copy of its
    /// bytes is made here.
    ///
    /// # Errors
    /// What is wrong with the bytes; then the decoder must not be used any more.
    ///
    /// # Panics
    /// If all batches together would outgrow what a span can address (4 GiB).
    pub fn push(&mut self, batch: &[u8], base_offset: u64) -> Result<u32, Damage> {
        let start = self.bytes.len();
        assert!(
            start + batch.len() < u32::MAX as usize,
            "a run of batches stays below 4 GiB"
        );
        let header = check_header(batch, base_offset)?;
        let has_gaps = header.count != header.span;
        self.place(base_offset, has_gaps)?;
        self.bytes.extend_from_slice(batch);
        let mut cursor = Cursor {
            bytes: &self.bytes,
            at: start + HEADER_BYTES,
        };
        let count = header.count as usize;
        self.keys.reserve(count);
        self.values.reserve(count);
        self.timestamps.reserve(count);
        let mut next_delta = 0;
        for _ in 0..count {
            let record = cursor.record(header.base_timestamp)?;
            if record.delta != next_delta && !(has_gaps && next_delta < record.delta) {
                return Err(Damage("its offsets are not in order"));
            }
            next_delta = record.delta.saturating_add(1);
            if let Some(offsets) = &mut self.offsets {
                offsets.push(base_offset.wrapping_add(record.delta as u64));
            }
            if record.headers.is_some() && self.headers.is_empty() {
                self.headers.resize(self.values.len(), None);
            }
            if record.headers.is_some() || !self.headers.is_empty() {
                self.headers.push(record.headers);
            }
            self.keys.push(record.key);
            self.values.push(record.value);
            self.timestamps.push(record.timestamp);
        }
        if cursor.at != self.bytes.len() {
            return Err(Damage("bytes follow the last record"));
        }
        if next_delta != i64::from(header.span) {
            return Err(Damage("its last offset is another"));
        }
        self.end = base_offset + u64::from(header.span);
        Ok(header.span)
    }

    /// Makes ready for a batch at `base_offset`.
    fn place(&mut self, base_offset: u64, has_gaps: bool) -> Result<(), Damage> {
        if base_offset.checked_add(u64::from(u32::MAX)).is_none() {
            return Err(Damage("its first offset is too large"));
        }
        if self.is_empty() {
            (self.first, self.end) = (base_offset, base_offset);
        }
        if base_offset < self.end {
            return Err(Damage("it overlaps the batch before"));
        }
        if (has_gaps || base_offset != self.end) && self.offsets.is_none() {
            self.offsets = Some((self.first..self.end).collect());
        }
        Ok(())
    }

    /// The records and where they stand.
    pub fn finish(self) -> (Records, Offsets) {
        let records = Records {
            bytes: Buffer::from_vec(self.bytes),
            keys: self.keys,
            values: self.values,
            timestamps: self.timestamps,
            headers: self.headers,
        };
        let offsets = self
            .offsets
            .map_or(Offsets::From(self.first), Offsets::Each);
        (records, offsets)
    }
}

struct BatchHeader {
    count: u32,
    span: u32,
    base_timestamp: TimestampMs,
}

/// Checks everything about a batch that can be checked without its records.
fn check_header(batch: &[u8], base_offset: u64) -> Result<BatchHeader, Damage> {
    if batch.len() < HEADER_BYTES {
        return Err(Damage("it is shorter than its header"));
    }
    if u64::from_be_bytes(array(batch, 0)) != base_offset {
        return Err(Damage("its first offset is another"));
    }
    if i32::from_be_bytes(array(batch, 8)) as i64 != batch.len() as i64 - 12 {
        return Err(Damage("its length is not the number of bytes stored"));
    }
    if batch[16] != MAGIC {
        return Err(Damage("its version is not 2"));
    }
    if u32::from_be_bytes(array(batch, CRC_AT)) != crc32c::crc32c(&batch[CHECKED_FROM..]) {
        return Err(Damage("its CRC does not match"));
    }
    if u16::from_be_bytes(array(batch, 21)) != 0 {
        return Err(Damage(
            "its attributes (compression, transaction) are not supported",
        ));
    }
    let count = u32::from_be_bytes(array(batch, 57));
    // Bounds the memory that the count may ask for.
    if count == 0 || count as usize > (batch.len() - HEADER_BYTES) / RECORD_BYTES_MIN {
        return Err(Damage("its record count does not fit its length"));
    }
    let last_delta = u32::from_be_bytes(array(batch, 23));
    if !(count - 1..BATCH_SPAN_MAX).contains(&last_delta) {
        return Err(Damage("its last offset does not fit its record count"));
    }
    Ok(BatchHeader {
        count,
        span: last_delta + 1,
        base_timestamp: i64::from_be_bytes(array(batch, 27)),
    })
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N]
        .try_into()
        .expect("the header's length was checked")
}

struct RecordSpans {
    key: Span,
    value: Span,
    timestamp: TimestampMs,
    delta: i64,
    headers: Headers,
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    #[inline(always)]
    fn record(&mut self, base_timestamp: TimestampMs) -> Result<RecordSpans, Damage> {
        let length = self.varint()?;
        let end = match usize::try_from(length) {
            Ok(length) if length <= self.bytes.len() - self.at => self.at + length,
            _ => return Err(Damage("a record is longer than its batch")),
        };
        self.byte()?;
        let timestamp = base_timestamp.wrapping_add(self.varint()?);
        let delta = self.varint()?;
        let key = self.span()?;
        let value = self.span()?;
        let headers = match self.varint()? {
            0 => None,
            count => Some(self.headers(count)?),
        };
        if self.at != end {
            return Err(Damage("a record's length is not the sum of its fields"));
        }
        Ok(RecordSpans {
            key,
            value,
            timestamp,
            delta,
            headers,
        })
    }

    #[cold]
    fn headers(&mut self, count: i64) -> Result<std::sync::Arc<[Header]>, Damage> {
        // A header takes two bytes or more: that bounds the memory.
        let bound = ((self.bytes.len() - self.at) / 2) as i64;
        if count < 0 || count > bound {
            return Err(Damage("a record's header count does not fit its length"));
        }
        (0..count)
            .map(|_| {
                let name = self
                    .span()?
                    .of(self.bytes)
                    .ok_or(Damage("a header has no name"))?;
                let name = std::str::from_utf8(name)
                    .map_err(|_| Damage("a header's name is not UTF-8"))?;
                let value = self.span()?.of(self.bytes);
                Ok(Header {
                    name: name.into(),
                    value: value.map(Into::into),
                })
            })
            .collect()
    }

    #[inline(always)]
    fn span(&mut self) -> Result<Span, Damage> {
        let length = self.varint()?;
        if length == -1 {
            return Ok(Span::NULL);
        }
        match usize::try_from(length) {
            Ok(length) if length <= self.bytes.len() - self.at => {
                let span = Span {
                    start: self.at as u32,
                    len: length as u32,
                };
                self.at += length;
                Ok(span)
            }
            _ => Err(Damage("a key or value is longer than its batch")),
        }
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Damage> {
        let byte = *self
            .bytes
            .get(self.at)
            .ok_or(Damage("it ends within a record"))?;
        self.at += 1;
        Ok(byte)
    }

    /// Most numbers of a record take one byte or two.
    #[inline(always)]
    fn varint(&mut self) -> Result<i64, Damage> {
        let number = match *self.bytes.get(self.at..).unwrap_or_default() {
            [byte, ..] if byte < 0x80 => {
                self.at += 1;
                u64::from(byte)
            }
            [low, high, ..] if high < 0x80 => {
                self.at += 2;
                u64::from(low & 0x7f) | u64::from(high) << 7
            }
            _ => self.long_varint()?,
        };
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, Damage> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Damage("a number is longer than 64 bits"))
    }
}

/// A few varints on the stack: one copy into the batch instead of many pushes.
#[derive(Default)]
struct Prefix {
    bytes: [u8; 30],
    len: usize,
}

impl Prefix {
    #[inline]
    fn varint(&mut self, number: i64) {
        let mut rest = zig_zag(number);
        while rest >= 0x80 {
            self.bytes[self.len] = rest as u8 | 0x80;
            self.len += 1;
            rest >>= 7;
        }
        self.bytes[self.len] = rest as u8;
        self.len += 1;
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn zig_zag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn push_varint(bytes: &mut Vec<u8>, number: i64) {
    let mut prefix = Prefix::default();
    prefix.varint(number);
    bytes.extend_from_slice(prefix.as_bytes());
}

fn varint_byte_count(number: i64) -> usize {
    let bits = 64 - (zig_zag(number) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

fn length_of(bytes: Option<&[u8]>) -> i64 {
    bytes.map_or(-1, |bytes| bytes.len() as i64)
}

fn headers_byte_count(headers: &[Header]) -> usize {
    if headers.is_empty() {
        return 1;
    }
    let each = headers.iter().map(|header| {
        let value = header.value.as_deref();
        varint_byte_count(header.name.len() as i64)
            + header.name.len()
            + varint_byte_count(length_of(value))
            + value.map_or(0, <[u8]>::len)
    });
    varint_byte_count(headers.len() as i64) + each.sum::<usize>()
}

#[cfg(test)]
#[path = "record_batch_tests.rs"]
mod tests;
