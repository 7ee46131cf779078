//! A source as a task: its records go to a topic, its position into the commit.
//!
//! The end of a bounded source is a control record in its topic, committed with
//! its last records: it closes every window, once. A file that has been read to
//! its end adds nothing to the next run.

use crate::input::{CONTROL_END, CONTROL_HEADER};
use headwater_connect::{Source, Unread};
use headwater_core::env::Env;
use headwater_core::partitioner::partition_of;
use headwater_core::{
    Error, Header, Headers, Position, Records, RecordsBuilder, Result, TopicPartition,
};
use headwater_log::{Committed, Transactor};
use headwater_plan::TopicRef;
use std::sync::Arc;
use std::time::Duration;

/// A source and the topic that it fills.
pub(crate) struct SourceTask {
    pub(crate) name: String,
    pub(crate) source: Box<dyn Source>,
    pub(crate) topic: TopicRef,
    partitions: u32,
    position: Option<Vec<u8>>,
    /// Whether the end has been appended to the topic.
    is_ended: bool,
    is_open: bool,
    /// Whether this instance is the one that runs it: the one that owns partition 0
    /// of its topic.
    pub(crate) is_owned: bool,
}

/// What a poll found.
#[derive(Default)]
pub(crate) struct Polled {
    /// The number of records that were appended, the end counted as one.
    pub(crate) count: usize,
    /// The records that could not be read.
    pub(crate) unread: Vec<Unread>,
}

/// The pseudo partition under which a source's position is committed.
pub(crate) fn source_partition(name: &str) -> TopicPartition {
    TopicPartition::new(format!("source:{name}"), 0)
}

impl SourceTask {
    pub(crate) fn new(name: String, source: Box<dyn Source>, topic: TopicRef) -> Self {
        SourceTask {
            name,
            source,
            topic,
            partitions: 1,
            position: None,
            is_ended: false,
            is_open: false,
            is_owned: false,
        }
    }

    /// Follows an assignment: closes a source that another instance runs from now
    /// on, and opens one that is new here where its last commit ended.
    ///
    /// # Errors
    /// What the source cannot be opened for.
    pub(crate) fn assign(
        &mut self,
        env: &Env,
        partitions: u32,
        is_owned: bool,
        committed: Option<&Committed>,
    ) -> Result<()> {
        let was_owned = std::mem::replace(&mut self.is_owned, is_owned);
        match (was_owned, is_owned) {
            (false, true) => self.open(env, partitions, committed),
            (true, false) => {
                self.close();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, env: &Env, partitions: u32, committed: Option<&Committed>) -> Result<()> {
        self.partitions = partitions;
        (self.is_ended, self.position) =
            match committed.and_then(|known| known.metadata.split_first()) {
                None => (false, None),
                Some((flags, position)) => {
                    (flags & 1 != 0, (flags & 2 != 0).then(|| position.to_vec()))
                }
            };
        if self.position.is_none() {
            // A source that cannot go back starts anew, and ends anew.
            self.is_ended = false;
        }
        self.source.open(env, self.position.as_deref())?;
        self.is_open = true;
        Ok(())
    }

    /// Whether there is nothing more to come.
    pub(crate) fn is_done(&self) -> bool {
        !self.is_open
    }

    /// Reads on and appends what came.
    pub(crate) fn poll(
        &mut self,
        wait: Duration,
        records_max: usize,
        transactor: &mut dyn Transactor,
    ) -> Result<Polled> {
        if !self.is_open {
            return Ok(Polled::default());
        }
        let batch = self.source.poll(wait, records_max)?;
        let mut count = batch.records.len();
        if batch.position.is_some() {
            self.position = batch.position;
        }
        if count > 0 {
            self.is_ended = false;
            self.append(&batch.records, transactor)?;
        }
        if batch.is_end {
            if !self.is_ended {
                self.append_end(transactor)?;
                self.is_ended = true;
                count += 1;
            }
            self.close();
        }
        let mut unread = batch.unread;
        for record in &mut unread {
            record.error.operator = Some(format!("source {}", self.name));
        }
        Ok(Polled { count, unread })
    }

    fn append(&self, records: &Records, transactor: &mut dyn Transactor) -> Result<()> {
        let topic: Arc<str> = Arc::clone(&self.topic.name);
        if self.partitions == 1 {
            return transactor.append(&TopicPartition::new(topic, 0), records.clone());
        }
        let mut builders: Vec<RecordsBuilder> = Vec::new();
        builders.resize_with(self.partitions as usize, RecordsBuilder::default);
        for index in 0..records.len() {
            let key = records.key(index);
            let partition = key.map_or(0, |key| partition_of(key, self.partitions));
            let headers: Headers = records.headers.get(index).cloned().flatten();
            builders[partition as usize].push(
                key,
                records.value(index),
                records.timestamps[index],
                headers,
            );
        }
        for (partition, builder) in (0..).zip(builders) {
            if !builder.is_empty() {
                let partition = TopicPartition::new(Arc::clone(&topic), partition);
                transactor.append(&partition, builder.finish())?;
            }
        }
        Ok(())
    }

    fn append_end(&self, transactor: &mut dyn Transactor) -> Result<()> {
        for partition in 0..self.partitions {
            let header = Header {
                name: CONTROL_HEADER.into(),
                value: Some(CONTROL_END.into()),
            };
            let mut end = RecordsBuilder::default();
            end.push(None, None, 0, Some([header].into()));
            let partition = TopicPartition::new(Arc::clone(&self.topic.name), partition);
            transactor.append(&partition, end.finish())?;
        }
        Ok(())
    }

    /// What to commit about the source.
    ///
    /// # Errors
    /// `Invalid` if the source's position is too long to be committed.
    pub(crate) fn committed(&self) -> Result<(TopicPartition, Committed)> {
        let flags = u8::from(self.is_ended) | u8::from(self.position.is_some()) << 1;
        let mut metadata = vec![flags];
        metadata.extend(self.position.iter().flatten());
        if metadata.len() > Committed::METADATA_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the position of a source is too long, source=`{}` bytes=`{}` max=`{}`",
                self.name,
                metadata.len(),
                Committed::METADATA_BYTES_MAX - 1
            )));
        }
        let position = Position::from_offset(0);
        Ok((
            source_partition(&self.name),
            Committed { position, metadata },
        ))
    }

    /// Lets go of the source at the end of a run.
    pub(crate) fn release(&mut self) {
        self.is_owned = false;
        self.close();
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.is_open) {
            self.source.close();
        }
    }
}
