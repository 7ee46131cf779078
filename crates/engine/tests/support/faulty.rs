//! A log that answers badly: commits whose outcome is unknown, whether they
//! happened or not, commits that did not happen, readers and transactors that
//! are not there at the moment, and a group that assigns some partitions only,
//! others at every change.

use super::Seed;
use headwater::core::{Error, Position, Records, Result, TimestampMs, TopicPartition};
use headwater::log::{
    Bounds, CommitOutcome, Committed, FetchLimits, Fetched, Log, Member, PositionsOf, Producer,
    Reader, TopicConfig, TopicInfo, Transactor,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What goes wrong, and how often it has.
pub struct Faults {
    seed: Mutex<Seed>,
    /// One call in so many fails.
    one_in: u64,
    /// Whether the group changes its assignment.
    shares: bool,
    /// From now on every commit is refused.
    pub takes_nothing: AtomicBool,
    pub unknown_committed: AtomicU64,
    pub unknown_lost: AtomicU64,
    pub refused: AtomicU64,
    pub unreadable: AtomicU64,
    pub reassigned: AtomicU64,
}

impl Faults {
    pub fn new(seed: u64, one_in: u64, shares: bool) -> Arc<Faults> {
        Arc::new(Faults {
            seed: Mutex::new(Seed(seed)),
            one_in,
            shares,
            takes_nothing: AtomicBool::new(false),
            unknown_committed: AtomicU64::new(0),
            unknown_lost: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
            reassigned: AtomicU64::new(0),
        })
    }

    /// The kind of the fault of this call, if it has one.
    fn fires(&self, kinds: u64) -> Option<u64> {
        let mut seed = self.seed.lock().expect("no holder panics");
        (seed.below(self.one_in) == 0).then(|| seed.below(kinds))
    }

    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

pub struct FaultyLog {
    pub inner: Arc<dyn Log>,
    pub faults: Arc<Faults>,
}

impl Log for FaultyLog {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    fn create_topic(&self, name: &str, config: &TopicConfig) -> Result<bool> {
        self.inner.create_topic(name, config)
    }
    fn topic(&self, name: &str) -> Result<Option<TopicInfo>> {
        self.inner.topic(name)
    }
    fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.inner.topics()
    }
    fn delete_topic(&self, name: &str) -> Result<bool> {
        self.inner.delete_topic(name)
    }
    fn bounds(&self, partition: &TopicPartition) -> Result<Bounds> {
        self.inner.bounds(partition)
    }
    fn position_at(&self, partition: &TopicPartition, time_ms: TimestampMs) -> Result<Position> {
        self.inner.position_at(partition, time_ms)
    }
    fn add_partitions(&self, topic: &str, partitions: u32) -> Result<bool> {
        self.inner.add_partitions(topic, partitions)
    }
    fn delete_before(&self, partition: &TopicPartition, position: Position) -> Result<()> {
        self.inner.delete_before(partition, position)
    }
    fn waiting(&self, partition: &TopicPartition, from: Position) -> Result<u64> {
        self.inner.waiting(partition, from)
    }
    fn reader(&self, from: &[(TopicPartition, Position)]) -> Result<Box<dyn Reader>> {
        Ok(Box::new(FaultyReader {
            inner: self.inner.reader(from)?,
            faults: Arc::clone(&self.faults),
        }))
    }
    fn producer(&self) -> Result<Box<dyn Producer>> {
        self.inner.producer()
    }
    fn join(&self, group: &str, leads: &[Arc<str>]) -> Result<Box<dyn Member>> {
        Ok(Box::new(FaultyMember {
            inner: self.inner.join(group, leads)?,
            faults: Arc::clone(&self.faults),
        }))
    }
    fn committed(&self, group: &str) -> Result<Vec<(TopicPartition, Committed)>> {
        self.inner.committed(group)
    }
    fn groups(&self) -> Result<Vec<String>> {
        self.inner.groups()
    }
    fn forget_group(&self, group: &str) -> Result<()> {
        self.inner.forget_group(group)
    }
}

struct FaultyReader {
    inner: Box<dyn Reader>,
    faults: Arc<Faults>,
}

impl Reader for FaultyReader {
    fn poll(&mut self, wait: Duration, limits: FetchLimits) -> Result<Vec<Fetched>> {
        let fetched = self.inner.poll(wait, limits)?;
        let is_read = fetched.iter().any(|fetched| !fetched.records.is_empty());
        if is_read && self.faults.fires(4) == Some(0) {
            Faults::count(&self.faults.unreadable);
            return Err(Error::unavailable("the log cannot be read at the moment"));
        }
        Ok(fetched)
    }
    fn seek(&mut self, partition: &TopicPartition, to: Position) -> Result<()> {
        self.inner.seek(partition, to)
    }
}

struct FaultyMember {
    inner: Box<dyn Member>,
    faults: Arc<Faults>,
}

impl Member for FaultyMember {
    fn assignment(&mut self) -> Result<Vec<TopicPartition>> {
        let mut all = self.inner.assignment()?;
        all.retain(|_| !self.faults.shares || self.faults.fires(2) != Some(0));
        Ok(all)
    }
    fn is_changing(&self) -> bool {
        let is_changing = self.faults.shares && self.faults.fires(8) == Some(0);
        if is_changing {
            Faults::count(&self.faults.reassigned);
        }
        is_changing
    }
    fn committed(&self) -> Result<Vec<(TopicPartition, Committed)>> {
        self.inner.committed()
    }
    fn transactor(&self, worker: usize) -> Result<Box<dyn Transactor>> {
        if self.faults.fires(4) == Some(0) {
            return Err(Error::unavailable("no transactor at the moment"));
        }
        Ok(Box::new(FaultyTransactor {
            inner: self.inner.transactor(worker)?,
            faults: Arc::clone(&self.faults),
        }))
    }
}

struct FaultyTransactor {
    inner: Box<dyn Transactor>,
    faults: Arc<Faults>,
}

impl Transactor for FaultyTransactor {
    fn append(&mut self, partition: &TopicPartition, records: Records) -> Result<()> {
        self.inner.append(partition, records)
    }
    fn pending_bytes(&self) -> usize {
        self.inner.pending_bytes()
    }
    fn commit(&mut self, positions: &mut PositionsOf<'_>) -> Result<CommitOutcome> {
        let unknown = || CommitOutcome::Unknown {
            reason: "the reply was lost".into(),
        };
        let takes_nothing = self.faults.takes_nothing.load(Ordering::Relaxed);
        match self.faults.fires(3).or(takes_nothing.then_some(2)) {
            None => self.inner.commit(positions),
            Some(0) => {
                self.inner.commit(positions)?;
                Faults::count(&self.faults.unknown_committed);
                Ok(unknown())
            }
            Some(1) => {
                self.inner.abort()?;
                Faults::count(&self.faults.unknown_lost);
                Ok(unknown())
            }
            Some(_) => {
                self.inner.abort()?;
                Faults::count(&self.faults.refused);
                Err(Error::unavailable("the log takes nothing at the moment"))
            }
        }
    }
    fn abort(&mut self) -> Result<()> {
        self.inner.abort()
    }
}
