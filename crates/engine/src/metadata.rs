//! What a commit stores beside a task's position: everything that the task
//! needs to go on and that is neither its state nor a record.
//!
//! The bytes are JSON-free and versioned: version, epoch, topic id, watermark,
//! clocks.

use headwater_core::{Error, Result, TimestampMs};

const VERSION: u8 = 1;

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
}

impl TaskMetadata {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&self.topic_id.to_le_bytes());
        bytes.extend_from_slice(&self.watermark_ms.to_le_bytes());
        bytes.push(self.is_ended.into());
        bytes.extend(self.clocks_ms.iter().flat_map(|clock| clock.to_le_bytes()));
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
        let word = |index: usize| {
            let bytes = rest.get(index * 8..index * 8 + 8).ok_or_else(damaged)?;
            Ok::<_, Error>(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
        };
        Ok(TaskMetadata {
            epoch: word(0)?,
            topic_id: word(1)?,
            watermark_ms: word(2)? as TimestampMs,
            is_ended: *rest.get(24).ok_or_else(damaged)? != 0,
            clocks_ms: rest[25..]
                .chunks_exact(8)
                .map(|clock| i64::from_le_bytes(clock.try_into().expect("eight bytes")))
                .collect(),
        })
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
        };
        let mut bytes = metadata.encode();
        assert_eq!(TaskMetadata::decode(&bytes).expect("decodes"), metadata);
        bytes[0] = 2;
        assert!(TaskMetadata::decode(&bytes).is_err());
        assert!(TaskMetadata::decode(&[]).is_err());
    }
}
