//! What every backend refuses, in the same words.

use crate::{Committed, TopicConfig, TopicInfo};
use headwater_core::{Error, Position, Result, TopicPartition};
use std::collections::BTreeSet;
use std::sync::Arc;

const TOPIC_NAME_BYTES_MAX: usize = 249;
const PARTITIONS_MAX: u32 = 10_000;

pub(crate) fn check_topic(name: &str, config: &TopicConfig) -> Result<()> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > TOPIC_NAME_BYTES_MAX || !name.bytes().all(is_allowed) {
        return Err(Error::invalid(format!(
            "a topic's name has 1 to {TOPIC_NAME_BYTES_MAX} letters, digits, `.`, `_` and `-` \
             name=`{name}`"
        )));
    }
    if !(1..=PARTITIONS_MAX).contains(&config.partitions) {
        return Err(Error::invalid(format!(
            "a topic has 1 to {PARTITIONS_MAX} partitions topic=`{name}` partitions=`{}`",
            config.partitions
        )));
    }
    Ok(())
}

pub(crate) fn check_same_partitions(topic: &TopicInfo, config: &TopicConfig) -> Result<()> {
    if topic.config.partitions == config.partitions {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the topic exists with another number of partitions topic=`{}` partitions=`{}` \
         wanted=`{}`",
        topic.name, topic.config.partitions, config.partitions
    )))
}

/// Whether partitions are to be added to a topic so that it has `partitions`.
pub(crate) fn check_more_partitions(topic: &str, has: u32, partitions: u32) -> Result<bool> {
    if !(has..=PARTITIONS_MAX).contains(&partitions) {
        return Err(Error::invalid(format!(
            "a topic keeps its partitions, up to {PARTITIONS_MAX} topic=`{topic}` \
             partitions=`{has}` wanted=`{partitions}`"
        )));
    }
    Ok(has < partitions)
}

pub(crate) fn check_metadata(positions: &[(TopicPartition, Committed)]) -> Result<()> {
    let too_long = |committed: &Committed| committed.metadata.len() > Committed::METADATA_BYTES_MAX;
    match positions.iter().find(|(_, committed)| too_long(committed)) {
        None => Ok(()),
        Some((partition, committed)) => Err(Error::invalid(format!(
            "the metadata of a commit is too long topic=`{}` partition=`{}` bytes=`{}` \
             bytes_max=`{}`",
            partition.topic,
            partition.partition,
            committed.metadata.len(),
            Committed::METADATA_BYTES_MAX
        ))),
    }
}

/// What the one owner of a group is assigned: everything, in order.
///
/// # Errors
/// `Invalid` for a topic that does not exist.
pub(crate) fn all_partitions(
    leads: &BTreeSet<Arc<str>>,
    find: impl Fn(&str) -> Result<Option<TopicInfo>>,
) -> Result<Vec<TopicPartition>> {
    let mut all = Vec::new();
    for topic in leads {
        let info = find(topic)?.ok_or_else(|| no_such_topic(topic))?;
        let partitions = 0..info.config.partitions;
        all.extend(partitions.map(|partition| TopicPartition::new(Arc::clone(topic), partition)));
    }
    all.sort();
    Ok(all)
}

/// The offset in a position of a log that numbers its records.
pub(crate) fn offset_of(partition: &TopicPartition, position: Position) -> Result<u64> {
    position.offset().ok_or_else(|| {
        Error::invalid(format!(
            "the position is of another kind of log topic=`{}` partition=`{}` \
             position=`{position}`",
            partition.topic, partition.partition
        ))
    })
}

pub(crate) fn no_such_topic(topic: &str) -> Error {
    Error::invalid(format!("there is no such topic topic=`{topic}`"))
}

pub(crate) fn no_such_partition(partition: &TopicPartition, partitions: u32) -> Error {
    Error::invalid(format!(
        "there is no such partition topic=`{}` partition=`{}` partitions=`{partitions}`",
        partition.topic, partition.partition
    ))
}

pub(crate) fn topic_deleted(topic: &str) -> Error {
    Error::invalid(format!("the topic has been deleted topic=`{topic}`"))
}

pub(crate) fn retention_has_passed(partition: &TopicPartition, offset: u64, start: u64) -> Error {
    Error::invalid(format!(
        "retention has deleted records that were to be read topic=`{}` partition=`{}` \
         position=`{offset}` start=`{start}`\n\
         hint: keep the topic's records longer; to accept the loss of what is gone, \
         `headwater groups reset APPLICATION --to earliest --topic {}` goes on at what is left, or \
         where the application has state `headwater reset APPLICATION` begins anew",
        partition.topic, partition.partition, partition.topic
    ))
}

pub(crate) fn tombstones_gone(
    partition: &TopicPartition,
    offset: u64,
    tombstones_to: u64,
) -> Error {
    Error::invalid(format!(
        "compaction has removed tombstones that were to be read topic=`{}` partition=`{}` \
         position=`{offset}` tombstones_to=`{tombstones_to}`\n\
         hint: read the topic from its start: keys that are gone would be taken for alive",
        partition.topic, partition.partition
    ))
}

pub(crate) fn position_after_end(partition: &TopicPartition, offset: u64, end: u64) -> Error {
    Error::invalid(format!(
        "the position lies after the end of the partition: it is of another topic or log \
         topic=`{}` partition=`{}` position=`{offset}` end=`{end}`",
        partition.topic, partition.partition
    ))
}
