//! What a commit stores beside a task's position: everything that the task
//! needs to go on and that is neither its state nor a record.
//!
//! The bytes are versioned and bounded ([`Committed::METADATA_BYTES_MAX`]):
//!
//! ```text
//! version          1 byte
//! epoch, topic id, watermark     8 bytes each, little endian
//! is ended         1 byte
//! clocks           their number in 2 bytes, then 8 bytes each
//! changelog ends   their number in 2 bytes, then topic and position, each after
//!                  its length in 1 byte
//! upstream         their number in 2 bytes, then 9 bytes each; all 255 where
//!                  nothing has been said. Nothing where there is no upstream
//! ```
//!
//! [`Committed::METADATA_BYTES_MAX`]: headwater_log::Committed::METADATA_BYTES_MAX

use crate::upstream::{Said, Upstream};
use headwater_core::{Error, Position, Result, TimestampMs};
use std::collections::BTreeMap;
use std::sync::Arc;

const VERSION: u8 = 2;
const NOTHING_SAID: [u8; 9] = [255; 9];

/// The commit's words about one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskMetadata {
    /// The number of the epoch; it only grows.
    pub(crate) epoch: u64,
    /// The input topic's id: another id is another topic of the same name.
    pub(crate) topic_id: u64,
    /// The watermark after the last committed input.
    pub(crate) watermark_ms: TimestampMs,
    /// Whether the last committed input was the end of a bounded source.
    pub(crate) is_ended: bool,
    /// The clocks of operators that set times.
    pub(crate) clocks_ms: Vec<TimestampMs>,
    /// Where the task's part of each changelog topic ended after this epoch. A
    /// changelog that is not named was empty.
    pub(crate) changelog_ends: BTreeMap<Arc<str>, Position>,
    /// What the tasks have said that fill the task's input.
    pub(crate) upstream: Option<Upstream>,
}

impl TaskMetadata {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&self.topic_id.to_le_bytes());
        bytes.extend_from_slice(&self.watermark_ms.to_le_bytes());
        bytes.push(self.is_ended.into());
        bytes.extend_from_slice(&(self.clocks_ms.len() as u16).to_le_bytes());
        bytes.extend(self.clocks_ms.iter().flat_map(|clock| clock.to_le_bytes()));
        bytes.extend_from_slice(&(self.changelog_ends.len() as u16).to_le_bytes());
        for (topic, end) in &self.changelog_ends {
            // A topic's name has at most 249 bytes, a position at most 24.
            for part in [topic.as_bytes(), end.as_bytes()] {
                bytes.push(part.len() as u8);
                bytes.extend_from_slice(part);
            }
        }
        if let Some(upstream) = &self.upstream {
            bytes.extend_from_slice(&(upstream.said.len() as u16).to_le_bytes());
            for said in &upstream.said {
                bytes.extend(said.map_or(NOTHING_SAID, Said::encode));
            }
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let (&version, rest) = bytes.split_first().ok_or_else(damaged)?;
        if version != VERSION {
            return Err(Error::invalid(format!(
                "the application's last run was by another version of headwater; update this one \
                 or reset the application, version=`{version}` known=`{VERSION}`"
            )));
        }
        let mut parts = Parts(rest);
        let mut metadata = TaskMetadata {
            epoch: u64::from_le_bytes(parts.take()?),
            topic_id: u64::from_le_bytes(parts.take()?),
            watermark_ms: i64::from_le_bytes(parts.take()?),
            is_ended: parts.take::<1>()? != [0],
            clocks_ms: (0..u16::from_le_bytes(parts.take()?))
                .map(|_| parts.take().map(i64::from_le_bytes))
                .collect::<Result<_>>()?,
            changelog_ends: (0..u16::from_le_bytes(parts.take()?))
                .map(|_| parts.end())
                .collect::<Result<_>>()?,
            upstream: None,
        };
        if !parts.0.is_empty() {
            let count = u16::from_le_bytes(parts.take()?);
            let said = (0..count).map(|_| parts.said()).collect::<Result<_>>()?;
            metadata.upstream = Some(Upstream { said });
        }
        match parts.0 {
            [] => Ok(metadata),
            _ => Err(damaged()),
        }
    }
}

/// What must hold for any bytes: they are refused, or what was read of them is
/// written so that it is read again as the same. For the fuzzer.
#[doc(hidden)]
pub fn check_any_bytes(bytes: &[u8]) {
    if let Ok(metadata) = TaskMetadata::decode(bytes) {
        let again = TaskMetadata::decode(&metadata.encode());
        assert_eq!(again.ok(), Some(metadata), "metadata comes back");
    }
    let mut upstream = Upstream::new(3);
    if upstream.hear(bytes).is_ok() {
        std::hint::black_box((upstream.watermark(), upstream.is_idle()));
    }
}

/// What is still to be decoded.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (part, rest) = self.0.split_first_chunk().ok_or_else(damaged)?;
        self.0 = rest;
        Ok(*part)
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let [len] = self.take()?;
        let (part, rest) = self.0.split_at_checked(len.into()).ok_or_else(damaged)?;
        self.0 = rest;
        Ok(part)
    }

    fn said(&mut self) -> Result<Option<Said>> {
        match self.take()? {
            NOTHING_SAID => Ok(None),
            bytes => Said::decode(bytes).map(Some).ok_or_else(damaged),
        }
    }

    fn end(&mut self) -> Result<(Arc<str>, Position)> {
        let topic = std::str::from_utf8(self.bytes()?).map_err(|_| damaged())?;
        let position = Position::from_bytes(self.bytes()?).ok_or_else(damaged)?;
        Ok((topic.into(), position))
    }
}

fn damaged() -> Error {
    Error::internal("the metadata of a committed position is damaged")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_comes_back_and_another_version_is_refused() {
        let metadata = TaskMetadata {
            epoch: 7,
            topic_id: 9,
            watermark_ms: -1,
            is_ended: true,
            clocks_ms: vec![5, i64::MIN],
            changelog_ends: [("a".into(), Position::from_offset(3))].into(),
            upstream: Some(Upstream {
                said: vec![None, Some(Said::At(-3)), Some(Said::Ended)],
            }),
        };
        let mut bytes = metadata.encode();
        assert_eq!(TaskMetadata::decode(&bytes).expect("decodes"), metadata);
        let without_upstream = bytes.len() - 2 - 3 * 9;
        for len in (0..bytes.len()).filter(|&len| len != without_upstream) {
            assert!(TaskMetadata::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
        bytes[0] = 1;
        assert!(TaskMetadata::decode(&bytes).is_err());
        assert!(TaskMetadata::decode(&[]).is_err());
    }
}
