//! The cluster behind the [`Log`] trait.

use super::cluster::Cluster;
use super::member::KafkaMember;
use super::options::{Guarantee, Options};
use super::producer::KafkaProducer;
use super::reader::KafkaReader;
use crate::{Bounds, Committed, Log, Member, Producer, Reader, TopicConfig, TopicInfo};
use headwater_core::{Error, Position, Result, TimestampMs, TopicPartition};
use std::sync::Arc;
use std::time::Duration;

/// A log on a Kafka cluster. Clone the [`Arc`] to share it.
pub struct KafkaLog {
    cluster: Arc<Cluster>,
}

impl KafkaLog {
    /// A log on the cluster that `options` name. No broker is contacted.
    ///
    /// # Errors
    /// `Invalid` for a setting that the client does not know or that Headwater sets.
    pub fn new(options: Options) -> Result<Arc<KafkaLog>> {
        Ok(Arc::new(KafkaLog {
            cluster: Cluster::new(options)?,
        }))
    }
}

impl std::fmt::Debug for KafkaLog {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("KafkaLog")
            .field(&self.cluster.options)
            .finish()
    }
}

impl Log for KafkaLog {
    fn describe(&self) -> String {
        format!("kafka at {}", self.cluster.options.brokers)
    }

    fn commit_interval(&self) -> Option<Duration> {
        Some(match self.cluster.options.guarantee {
            // A transaction costs markers in every partition that it touched.
            Guarantee::ExactlyOnce => Duration::from_millis(100),
            Guarantee::AtLeastOnce => Duration::from_secs(1),
        })
    }

    fn repeats_epochs(&self) -> bool {
        self.cluster.options.guarantee == Guarantee::AtLeastOnce
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn create_topic(&self, name: &str, config: &TopicConfig) -> Result<bool> {
        crate::check_topic(name, config)?;
        if self.cluster.create(name, config)? {
            return Ok(true);
        }
        let existing = self.cluster.existing(name)?.ok_or_else(|| {
            Error::unavailable(format!("the topic is being deleted topic=`{name}`"))
        })?;
        crate::check_same_partitions(&existing, config).map(|()| false)
    }

    fn topic(&self, name: &str) -> Result<Option<TopicInfo>> {
        if !super::positions::is_topic_name(name) {
            return Ok(None);
        }
        Ok(self.cluster.topics(Some(&[name]))?.pop())
    }

    fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.cluster.topics(None)
    }

    fn delete_topic(&self, name: &str) -> Result<bool> {
        self.cluster.delete(name)
    }

    fn bounds(&self, partition: &TopicPartition) -> Result<Bounds> {
        self.cluster.check(partition)?;
        self.cluster.bounds(partition)
    }

    fn position_at(&self, partition: &TopicPartition, time_ms: TimestampMs) -> Result<Position> {
        self.cluster.check(partition)?;
        // Brokers know no times before 1970.
        let offset = match time_ms {
            ..=1 => Some(0),
            time_ms => self.cluster.offset_at(partition, time_ms)?,
        };
        let bounds = self.cluster.bounds(partition)?;
        match offset.map(Position::from_offset) {
            // They take control records for records, and these have times of their own.
            Some(offset) => crate::first_at(self, partition, offset.max(bounds.start), time_ms),
            None => Ok(bounds.end),
        }
    }

    fn add_partitions(&self, topic: &str, partitions: u32) -> Result<bool> {
        let found = self.cluster.describe(topic)?;
        let has = found.ok_or_else(|| crate::no_such_topic(topic))?.partitions;
        let is_new = crate::check_more_partitions(topic, has, partitions)?;
        if is_new {
            self.cluster.add_partitions(topic, partitions)?;
        }
        Ok(is_new)
    }

    fn delete_before(&self, partition: &TopicPartition, position: Position) -> Result<()> {
        self.cluster.check(partition)?;
        let offset = crate::offset_of(partition, position)?;
        self.cluster.delete_before(partition, offset)
    }

    fn waiting(&self, partition: &TopicPartition, from: Position) -> Result<u64> {
        let bounds = self.bounds(partition)?;
        let offset = |position| crate::offset_of(partition, position);
        let from = offset(from)?.max(offset(bounds.start)?);
        Ok(offset(bounds.end)?.saturating_sub(from))
    }

    fn reader(&self, from: &[(TopicPartition, Position)]) -> Result<Box<dyn Reader>> {
        Ok(Box::new(KafkaReader::new(self.cluster.clone(), from)?))
    }

    fn producer(&self) -> Result<Box<dyn Producer>> {
        Ok(Box::new(KafkaProducer::new(self.cluster.clone())))
    }

    fn join(&self, group: &str, leads: &[Arc<str>]) -> Result<Box<dyn Member>> {
        let member = KafkaMember::join(self.cluster.clone(), group, leads)?;
        Ok(Box::new(member))
    }

    fn committed(&self, group: &str) -> Result<Vec<(TopicPartition, Committed)>> {
        self.cluster.committed(group)
    }

    fn groups(&self) -> Result<Vec<String>> {
        self.cluster.groups()
    }

    fn forget_group(&self, group: &str) -> Result<()> {
        self.cluster.forget(group)
    }
}
