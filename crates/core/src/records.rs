//! Records as a log stores them: bytes, in batches.
//!
//! One buffer holds the bytes of all keys and values of a batch, and spans say
//! where each stands, so that a log hands out what it read without touching a
//! record, and an operator keeps the bytes without copying them.

use crate::TimestampMs;
use arrow_buffer::Buffer;
use std::sync::Arc;

/// Where some bytes stand in a buffer. [`Span::NULL`] stands for no bytes at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// The number of bytes.
    pub len: u32,
}

impl Span {
    /// No value: a null key, a tombstone, a missing field.
    pub const NULL: Span = Span {
        start: u32::MAX,
        len: 0,
    };

    /// Whether there is no value.
    #[inline]
    pub fn is_null(self) -> bool {
        self.start == u32::MAX
    }

    /// The bytes in `buffer`, or `None` for [`Span::NULL`].
    #[inline]
    pub fn of(self, buffer: &[u8]) -> Option<&[u8]> {
        if self.is_null() {
            return None;
        }
        Some(&buffer[self.start as usize..self.start as usize + self.len as usize])
    }
}

/// A record header: a name and bytes, or a name alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name; names may repeat.
    pub name: Box<str>,
    /// The value.
    pub value: Option<Box<[u8]>>,
}

/// The headers of one record in order; `None` where there are none.
pub type Headers = Option<Arc<[Header]>>;

/// A batch of records of one partition.
///
/// Invariant: `keys`, `values` and `timestamps` are equally long, and `headers`
/// is as long or, where no record has any, empty.
#[derive(Clone, Debug)]
pub struct Records {
    /// The bytes of all keys and values.
    pub bytes: Buffer,
    /// Where each key stands.
    pub keys: Vec<Span>,
    /// Where each value stands; null is a tombstone.
    pub values: Vec<Span>,
    /// Event times in milliseconds.
    pub timestamps: Vec<TimestampMs>,
    /// Headers of each record, or empty.
    pub headers: Vec<Headers>,
}

impl Default for Records {
    fn default() -> Self {
        RecordsBuilder::default().finish()
    }
}

impl Records {
    /// The number of records.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The key of a record.
    pub fn key(&self, index: usize) -> Option<&[u8]> {
        self.keys[index].of(&self.bytes)
    }

    /// The value of a record; `None` is a tombstone.
    pub fn value(&self, index: usize) -> Option<&[u8]> {
        self.values[index].of(&self.bytes)
    }

    /// The headers of a record.
    pub fn headers(&self, index: usize) -> &[Header] {
        self.headers
            .get(index)
            .and_then(|headers| headers.as_deref())
            .unwrap_or(&[])
    }

    /// The records `[start, end)`, sharing the bytes.
    pub fn slice(&self, start: usize, end: usize) -> Records {
        Records {
            bytes: self.bytes.clone(),
            keys: self.keys[start..end].to_vec(),
            values: self.values[start..end].to_vec(),
            timestamps: self.timestamps[start..end].to_vec(),
            headers: if self.headers.is_empty() {
                Vec::new()
            } else {
                self.headers[start..end].to_vec()
            },
        }
    }
}

/// Collects records into one buffer.
#[derive(Debug, Default)]
pub struct RecordsBuilder {
    bytes: Vec<u8>,
    keys: Vec<Span>,
    values: Vec<Span>,
    timestamps: Vec<TimestampMs>,
    headers: Vec<Headers>,
}

impl RecordsBuilder {
    /// A builder that expects about so many records and bytes.
    pub fn with_capacity(records: usize, bytes: usize) -> Self {
        RecordsBuilder {
            bytes: Vec::with_capacity(bytes),
            keys: Vec::with_capacity(records),
            values: Vec::with_capacity(records),
            timestamps: Vec::with_capacity(records),
            headers: Vec::new(),
        }
    }

    /// A builder in the memory of an earlier one: `bytes` is what
    /// [`Buffer::into_vec`] gives back of its [`Records::bytes`].
    pub fn reusing(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        RecordsBuilder {
            bytes,
            ..RecordsBuilder::default()
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

    /// The bytes of keys and values so far. A batch must stay below 4 GiB; see
    /// [`RecordsBuilder::BYTES_MAX`].
    pub fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    /// Spans are 32 bits wide, so a batch ends well before that.
    pub const BYTES_MAX: usize = 1 << 30;

    /// Appends a record.
    ///
    /// # Panics
    /// If the batch would outgrow what a span can address (4 GiB).
    pub fn push(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp: TimestampMs,
        headers: Headers,
    ) {
        let key = self.push_bytes(key);
        let value = self.push_bytes(value);
        self.push_spans(key, value, timestamp, headers);
    }

    /// Appends a record whose value `write` appends to the buffer, without a copy.
    pub fn push_with(
        &mut self,
        key: Option<&[u8]>,
        timestamp: TimestampMs,
        headers: Headers,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let key = self.push_bytes(key);
        let start = self.bytes.len();
        write(&mut self.bytes);
        let value = self.span_from(start);
        self.push_spans(key, value, timestamp, headers);
    }

    /// Appends a record whose value `write` appends to the buffer. `false` from it
    /// makes the record a tombstone.
    ///
    /// # Errors
    /// What `write` returns; the record is not appended then.
    pub fn try_push_with<E>(
        &mut self,
        key: Option<&[u8]>,
        timestamp: TimestampMs,
        headers: Headers,
        write: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>,
    ) -> Result<(), E> {
        let before = self.bytes.len();
        let key = self.push_bytes(key);
        let start = self.bytes.len();
        let value = match write(&mut self.bytes) {
            Ok(true) => self.span_from(start),
            Ok(false) => Span::NULL,
            Err(error) => {
                self.bytes.truncate(before);
                return Err(error);
            }
        };
        self.push_spans(key, value, timestamp, headers);
        Ok(())
    }

    fn push_spans(&mut self, key: Span, value: Span, timestamp: TimestampMs, headers: Headers) {
        if headers.is_some() && self.headers.is_empty() {
            self.headers.resize(self.values.len(), None);
        }
        if headers.is_some() || !self.headers.is_empty() {
            self.headers.push(headers);
        }
        self.keys.push(key);
        self.values.push(value);
        self.timestamps.push(timestamp);
    }

    fn push_bytes(&mut self, bytes: Option<&[u8]>) -> Span {
        let Some(bytes) = bytes else {
            return Span::NULL;
        };
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.span_from(start)
    }

    fn span_from(&self, start: usize) -> Span {
        assert!(
            self.bytes.len() < u32::MAX as usize,
            "a batch stays below 4 GiB"
        );
        Span {
            start: start as u32,
            len: (self.bytes.len() - start) as u32,
        }
    }

    /// The records.
    pub fn finish(self) -> Records {
        Records {
            bytes: Buffer::from_vec(self.bytes),
            keys: self.keys,
            values: self.values,
            timestamps: self.timestamps,
            headers: self.headers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_start_when_the_first_record_has_some() {
        let mut builder = RecordsBuilder::default();
        builder.push(None, Some(b"1"), 1, None);
        let header = Header {
            name: "h".into(),
            value: Some(b"x".as_slice().into()),
        };
        builder.push(Some(b"k"), None, 2, Some([header.clone()].into()));
        builder.push(Some(b""), Some(b"3"), 3, None);
        let records = builder.finish();
        assert_eq!(records.key(0), None);
        assert_eq!(records.key(2), Some(b"".as_slice()));
        assert_eq!(records.value(1), None);
        assert_eq!(records.headers(0), &[]);
        assert_eq!(records.headers(1), &[header]);
        assert_eq!(records.slice(1, 3).value(1), Some(b"3".as_slice()));
    }
}
