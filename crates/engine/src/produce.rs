//! Writing records from outside a pipeline.

use headwater_core::partitioner::partition_of;
use headwater_core::{Error, RecordsBuilder, Result, TimestampMs, TopicPartition};
use headwater_log::{Log, TopicConfig};

/// Appends records of text to a topic and waits until they are durable; makes
/// the topic, of one partition, if it is missing.
///
/// # Errors
/// What the log reports.
pub fn produce<'a>(
    log: &dyn Log,
    topic: &str,
    records: impl IntoIterator<Item = (&'a str, &'a str, TimestampMs)>,
) -> Result<()> {
    if log.topic(topic)?.is_none() {
        log.create_topic(topic, &TopicConfig::default())?;
    }
    let info = log
        .topic(topic)?
        .ok_or_else(|| Error::internal("the topic was just made"))?;
    let partitions = info.config.partitions;
    let mut builders: Vec<RecordsBuilder> = Vec::new();
    builders.resize_with(partitions as usize, RecordsBuilder::default);
    for (key, value, timestamp) in records {
        let partition = partition_of(key.as_bytes(), partitions);
        builders[partition as usize].push(
            Some(key.as_bytes()),
            Some(value.as_bytes()),
            timestamp,
            None,
        );
    }
    let mut producer = log.producer()?;
    for (partition, builder) in (0..).zip(builders) {
        if !builder.is_empty() {
            producer.append(&TopicPartition::new(topic, partition), builder.finish())?;
        }
    }
    producer.flush()
}
