//! Where a record stands in a log.
//!
//! A position is opaque: only the log that handed it out can read it. It can be
//! stored, compared within one partition, shown, and handed back to "resume
//! after". Nobody computes one: a log that numbers its records by something
//! other than integers (Pulsar's ledger and entry) fits too.

use std::fmt;
use std::sync::Arc;

/// An opaque, ordered place in one partition. Ordered as its bytes are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    bytes: [u8; Position::BYTES_MAX],
    len: u8,
}

impl Position {
    /// The longest position a log may use, in bytes.
    pub const BYTES_MAX: usize = 24;

    /// A position of the log's own bytes, whose order is that of the records.
    /// `None` if there are more than [`Position::BYTES_MAX`].
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut position = Position {
            bytes: [0; Self::BYTES_MAX],
            len: bytes.len() as u8,
        };
        position
            .bytes
            .get_mut(..bytes.len())?
            .copy_from_slice(bytes);
        Some(position)
    }

    /// A position of a log that numbers its records.
    pub fn from_offset(offset: u64) -> Self {
        let mut bytes = [0; Self::BYTES_MAX];
        bytes[..8].copy_from_slice(&offset.to_be_bytes());
        Position { bytes, len: 8 }
    }

    /// The number, if the log numbers its records. For the log that made it and
    /// for showing; an engine that counted with it would be wrong on another log.
    pub fn offset(&self) -> Option<u64> {
        (self.len == 8).then(|| {
            u64::from_be_bytes(
                self.bytes[..8]
                    .try_into()
                    .expect("eight bytes were just checked"),
            )
        })
    }

    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len.into()]
    }
}

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset() {
            Some(offset) => write!(out, "{offset}"),
            None => self
                .as_bytes()
                .iter()
                .try_for_each(|byte| write!(out, "{byte:02x}")),
        }
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Position({self})")
    }
}

/// The positions of a run of records.
#[derive(Clone, Debug)]
pub enum Positions {
    /// Consecutive numbers from this one, by a log that numbers its records.
    From(u64),
    /// One by one.
    Each(Vec<Position>),
}

impl Positions {
    /// The position of the record at `index`.
    ///
    /// # Panics
    /// If there is no such record.
    pub fn get(&self, index: usize) -> Position {
        match self {
            Positions::From(first) => Position::from_offset(first + index as u64),
            Positions::Each(positions) => positions[index],
        }
    }
}

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number, from 0.
    pub partition: u32,
}

impl TopicPartition {
    /// A partition of a topic.
    pub fn new(topic: impl Into<Arc<str>>, partition: u32) -> Self {
        TopicPartition {
            topic: topic.into(),
            partition,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}[{}]", self.topic, self.partition)
    }
}
