//! The log of a run that commits nothing.
//!
//! Such a run works as any other, with a group and transactions of its own, on a log
//! that shows the real one and keeps what is written to itself: rows that change
//! their key go by way of topics, and these are in memory and go with the run. What
//! the run would write to other topics is dropped, or, where that is asked for,
//! written to the real log, outside any transaction.
//!
//! ```text
//!                      read                    read, written
//! real log ─────────────────────▶ ScratchLog ◀───────────────▶ repartition topics,
//!     ▲                               │                         in memory
//!     └─── outputs, if asked for ─────┘
//! ```

use headwater_core::env::Env;
use headwater_core::{Error, Position, Records, Result, TimestampMs, TopicPartition};
use headwater_log::memory::MemoryLog;
use headwater_log::{
    Bounds, CommitOutcome, Committed, FetchLimits, Fetched, Log, Member, PositionsOf, Producer,
    Reader, TopicConfig, TopicInfo, Transactor,
};
use std::sync::Arc;
use std::time::Duration;

/// How long a poll waits for one of the two logs before it looks at the other.
const TURN: Duration = Duration::from_millis(5);

/// See the module.
#[derive(Clone)]
pub(crate) struct ScratchLog {
    real: Arc<dyn Log>,
    own: Arc<MemoryLog>,
    /// What the names of topics in memory begin with.
    prefix: Arc<str>,
    writes_topics: bool,
}

impl ScratchLog {
    pub(crate) fn new(real: Arc<dyn Log>, env: Env, prefix: &str, writes_topics: bool) -> Self {
        ScratchLog {
            real,
            own: MemoryLog::new(env),
            prefix: prefix.into(),
            writes_topics,
        }
    }

    fn is_own(&self, topic: &str) -> bool {
        topic.starts_with(&*self.prefix)
    }

    /// The log that has a topic.
    fn of(&self, topic: &str) -> &dyn Log {
        match self.is_own(topic) {
            true => &*self.own,
            false => &*self.real,
        }
    }

    fn may_not(&self, what: &str) -> Error {
        Error::internal(format!("a run that commits nothing {what}"))
    }
}

impl Log for ScratchLog {
    fn describe(&self) -> String {
        self.real.describe()
    }

    fn is_remote(&self) -> bool {
        self.real.is_remote()
    }

    fn create_topic(&self, name: &str, config: &TopicConfig) -> Result<bool> {
        match self.is_own(name) || self.writes_topics {
            true => self.of(name).create_topic(name, config),
            false => Err(self.may_not("makes no topic")),
        }
    }

    fn topic(&self, name: &str) -> Result<Option<TopicInfo>> {
        self.of(name).topic(name)
    }

    fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.real.topics()
    }

    fn delete_topic(&self, _name: &str) -> Result<bool> {
        Err(self.may_not("deletes no topic"))
    }

    fn bounds(&self, partition: &TopicPartition) -> Result<Bounds> {
        self.of(&partition.topic).bounds(partition)
    }

    fn position_at(&self, partition: &TopicPartition, time_ms: TimestampMs) -> Result<Position> {
        self.of(&partition.topic).position_at(partition, time_ms)
    }

    fn add_partitions(&self, _topic: &str, _partitions: u32) -> Result<bool> {
        Err(self.may_not("adds no partitions"))
    }

    fn delete_before(&self, partition: &TopicPartition, position: Position) -> Result<()> {
        match self.is_own(&partition.topic) {
            true => self.own.delete_before(partition, position),
            false => Err(self.may_not("deletes no records")),
        }
    }

    fn waiting(&self, partition: &TopicPartition, from: Position) -> Result<u64> {
        self.of(&partition.topic).waiting(partition, from)
    }

    fn reader(&self, from: &[(TopicPartition, Position)]) -> Result<Box<dyn Reader>> {
        let (own, real): (Vec<_>, Vec<_>) = from
            .iter()
            .cloned()
            .partition(|(partition, _)| self.is_own(&partition.topic));
        if own.is_empty() {
            return self.real.reader(&real);
        }
        if real.is_empty() {
            return self.own.reader(&own);
        }
        Ok(Box::new(ScratchReader {
            log: self.clone(),
            own: self.own.reader(&own)?,
            real: self.real.reader(&real)?,
        }))
    }

    fn producer(&self) -> Result<Box<dyn Producer>> {
        Err(self.may_not("has no producer"))
    }

    fn join(&self, group: &str, leads: &[Arc<str>]) -> Result<Box<dyn Member>> {
        Ok(Box::new(ScratchMember {
            own: self.own.join(group, &[])?,
            log: self.clone(),
            leads: leads.to_vec(),
        }))
    }

    fn committed(&self, group: &str) -> Result<Vec<(TopicPartition, Committed)>> {
        self.own.committed(group)
    }

    fn groups(&self) -> Result<Vec<String>> {
        self.own.groups()
    }

    fn forget_group(&self, group: &str) -> Result<()> {
        self.own.forget_group(group)
    }
}

struct ScratchReader {
    log: ScratchLog,
    own: Box<dyn Reader>,
    real: Box<dyn Reader>,
}

impl Reader for ScratchReader {
    fn poll(&mut self, wait: Duration, limits: FetchLimits) -> Result<Vec<Fetched>> {
        let has_records = |fetched: &[Fetched]| fetched.iter().any(|part| !part.records.is_empty());
        // What changes its key is in memory: it goes on before more comes in.
        let mut fetched = self.own.poll(Duration::ZERO, limits)?;
        if !has_records(&fetched) {
            let real = self.real.poll(wait.min(TURN), limits)?;
            fetched.extend(real);
        }
        Ok(fetched)
    }

    fn seek(&mut self, partition: &TopicPartition, to: Position) -> Result<()> {
        match self.log.is_own(&partition.topic) {
            true => self.own.seek(partition, to),
            false => self.real.seek(partition, to),
        }
    }
}

/// The only member of its group; it owns everything.
struct ScratchMember {
    own: Box<dyn Member>,
    log: ScratchLog,
    leads: Vec<Arc<str>>,
}

impl Member for ScratchMember {
    fn assignment(&mut self) -> Result<Vec<TopicPartition>> {
        let mut all = Vec::new();
        for topic in &self.leads {
            let info = self.log.topic(topic)?;
            let count = info.map_or(0, |info| info.config.partitions);
            all.extend((0..count).map(|number| TopicPartition::new(topic.clone(), number)));
        }
        Ok(all)
    }

    fn is_changing(&self) -> bool {
        false
    }

    fn committed(&self) -> Result<Vec<(TopicPartition, Committed)>> {
        Ok(Vec::new())
    }

    fn transactor(&self, worker: usize) -> Result<Box<dyn Transactor>> {
        let real = match self.log.writes_topics {
            true => Some(self.log.real.producer()?),
            false => None,
        };
        Ok(Box::new(ScratchTransactor {
            own: self.own.transactor(worker)?,
            log: self.log.clone(),
            real,
            bytes: 0,
        }))
    }
}

struct ScratchTransactor {
    own: Box<dyn Transactor>,
    log: ScratchLog,
    real: Option<Box<dyn Producer>>,
    /// What has been written to the real log since the last commit.
    bytes: usize,
}

impl Transactor for ScratchTransactor {
    fn append(&mut self, partition: &TopicPartition, records: Records) -> Result<()> {
        if self.log.is_own(&partition.topic) {
            return self.own.append(partition, records);
        }
        let Some(real) = &mut self.real else {
            return Ok(());
        };
        let spans = records.keys.iter().chain(&records.values);
        self.bytes += spans.map(|span| span.len as usize).sum::<usize>();
        real.append(partition, records)
    }

    fn pending_bytes(&self) -> usize {
        self.own.pending_bytes() + self.bytes
    }

    fn commit(&mut self, positions: &mut PositionsOf<'_>) -> Result<CommitOutcome> {
        if let Some(real) = &mut self.real {
            real.flush()?;
        }
        self.bytes = 0;
        let log = &self.log;
        self.own.commit(&mut |ends| {
            let mut positions = positions(ends)?;
            // By these the memory log knows what it may let go of.
            positions.retain(|(partition, _)| log.is_own(&partition.topic));
            Ok(positions)
        })
    }

    fn abort(&mut self) -> Result<()> {
        self.own.abort()
    }
}
