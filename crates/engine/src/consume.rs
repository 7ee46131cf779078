//! Reading records from outside a pipeline.
//!
//! A consumer reads partitions of its own choice, or those that a group gives it, and
//! commits how far its user is; it has no state, no time and no rows. It is beside
//! the engine, on the same log, for programs that want records and nothing else.
//!
//! ```text
//!          subscribe               poll: the group gives partitions
//!  IDLE ───────────────▶ MEMBER ◀───────────────────────────────────┐
//!    │                     │ poll: the group changes; what the user has not
//!    │ assign              └─────────── committed is another's to read ─┘
//!    ▼
//!  ASSIGNED    reads, and commits nothing
//! ```

use crate::settings::OffsetReset;
use headwater_core::env::Clock;
use headwater_core::{Error, Position, Result, TopicPartition};
use headwater_log::{
    CommitOutcome, Committed, FetchLimits, Fetched, Log, Member, Reader, Transactor, fixed,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Reads records of topics, alone or with others of its group.
pub struct Consumer {
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    group: String,
    reset: OffsetReset,
    member: Option<Box<dyn Member>>,
    transactor: Option<Box<dyn Transactor>>,
    reader: Option<Box<dyn Reader>>,
    /// Where reading goes on, of what it reads.
    positions: BTreeMap<TopicPartition, Position>,
    /// The group has said that the partitions change, and no poll has told it yet.
    is_behind: bool,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Consumer({} on {})", self.group, self.log.describe())
    }
}

impl Consumer {
    /// A consumer of a group; `reset` says where it begins in a partition of which the
    /// group has committed nothing. Nothing is contacted.
    pub fn new(
        log: Arc<dyn Log>,
        clock: Arc<dyn Clock>,
        group: impl Into<String>,
        reset: OffsetReset,
    ) -> Consumer {
        Consumer {
            log,
            clock,
            group: group.into(),
            reset,
            member: None,
            transactor: None,
            reader: None,
            positions: BTreeMap::new(),
            is_behind: false,
        }
    }

    /// Shares the partitions of some topics with the others of the group.
    ///
    /// # Errors
    /// `Invalid` for a topic that does not exist, and where the log has one owner for
    /// each group and that is another.
    pub fn subscribe(&mut self, topics: &[Arc<str>]) -> Result<()> {
        self.unassign();
        let mut member = self.log.join(&self.group, topics)?;
        self.take_over(&mut *member)?;
        self.member = Some(member);
        Ok(())
    }

    /// Reads these partitions, whoever else does; from where the group has committed,
    /// if no position is given.
    ///
    /// # Errors
    /// `Invalid` for a partition that does not exist.
    pub fn assign(&mut self, partitions: &[(TopicPartition, Option<Position>)]) -> Result<()> {
        self.unassign();
        let committed: BTreeMap<_, _> = self.log.committed(&self.group)?.into_iter().collect();
        for (partition, position) in partitions {
            let position = match position {
                Some(position) => *position,
                None => self.first(partition, &committed)?,
            };
            self.positions.insert(partition.clone(), position);
        }
        self.read_anew()
    }

    /// Reads nothing, and leaves the group.
    pub fn unassign(&mut self) {
        self.let_go();
        (self.member, self.is_behind) = (None, false);
    }

    fn let_go(&mut self) {
        (self.reader, self.transactor) = (None, None);
        self.positions.clear();
    }

    /// What it reads, and where it goes on in each.
    pub fn assignment(&self) -> &BTreeMap<TopicPartition, Position> {
        &self.positions
    }

    /// The next records, waiting up to `wait` for the first. The second value says
    /// that the group has given it other partitions: what had not been committed of
    /// those before is read again, by whoever has them now.
    ///
    /// # Errors
    /// As [`Reader::poll`]; what a membership that is lost says.
    pub fn poll(&mut self, wait: Duration, limits: FetchLimits) -> Result<(Vec<Fetched>, bool)> {
        let member = self.member.as_ref();
        if member.is_some_and(|member| member.is_changing()) {
            self.let_go();
            self.is_behind = true;
        }
        let is_other = self.is_behind;
        if is_other && let Some(mut member) = self.member.take() {
            let taken = self.take_over(&mut *member);
            self.member = Some(member);
            if taken.is_err() {
                // What it may have taken of them is not all: the next poll does it anew.
                self.let_go();
            }
            taken?;
        }
        if self.reader.is_none() {
            self.read_anew()?;
        }
        let Some(reader) = &mut self.reader else {
            self.is_behind = false;
            self.clock.sleep(wait);
            return Ok((Vec::new(), is_other));
        };
        let polled = reader.poll(wait, limits);
        if polled.is_err() {
            // Nobody knows what such a reader has passed.
            self.reader = None;
        }
        let mut fetched = polled?;
        self.is_behind = false;
        for part in &fetched {
            self.positions.insert(part.partition.clone(), part.resume);
        }
        fetched.retain(|part| !part.records.is_empty());
        Ok((fetched, is_other))
    }

    /// Goes on elsewhere in a partition that it reads.
    ///
    /// # Errors
    /// `Invalid` for another partition.
    pub fn seek(&mut self, partition: &TopicPartition, to: Position) -> Result<()> {
        match (&mut self.reader, self.positions.get_mut(partition)) {
            (Some(reader), Some(position)) => {
                reader.seek(partition, to)?;
                *position = to;
                Ok(())
            }
            _ => Err(Error::invalid(format!(
                "the consumer does not read this partition, partition=`{partition}`"
            ))),
        }
    }

    /// Commits where the group goes on in some partitions.
    ///
    /// # Errors
    /// `Invalid` for a consumer that is not subscribed, or has not been given a
    /// partition; `Unavailable` where it is not known whether it happened.
    pub fn commit(&mut self, positions: &[(TopicPartition, Position)]) -> Result<()> {
        let Some(member) = &self.member else {
            return Err(Error::invalid(
                "only a consumer that is subscribed commits; assign() reads beside the group",
            ));
        };
        if let Some((other, _)) =
            (positions.iter()).find(|(at, _)| !self.positions.contains_key(at))
        {
            return Err(Error::invalid(format!(
                "the group has given the partition to another, partition=`{other}`"
            )));
        }
        let transactor = match &mut self.transactor {
            Some(transactor) => transactor,
            none => none.insert(member.transactor(0)?),
        };
        let committed = |(partition, position): &(TopicPartition, Position)| {
            let (position, metadata) = (*position, Vec::new());
            (partition.clone(), Committed { position, metadata })
        };
        let all: Vec<_> = positions.iter().map(committed).collect();
        match transactor.commit(&mut fixed(&all))? {
            CommitOutcome::Committed => Ok(()),
            CommitOutcome::Unknown { reason } => Err(Error::unavailable(format!(
                "it is not known whether the commit happened: {reason}"
            ))),
        }
    }

    /// What the group has committed.
    ///
    /// # Errors
    /// What the log reports.
    pub fn committed(&self) -> Result<Vec<(TopicPartition, Position)>> {
        let all = self.log.committed(&self.group)?.into_iter();
        Ok(all
            .map(|(at, committed)| (at, committed.position))
            .collect())
    }

    /// Begins to read what the group has given.
    fn take_over(&mut self, member: &mut dyn Member) -> Result<()> {
        let owned = member.assignment()?;
        // Whoever had a partition before may have a commit on its way.
        let transactor = member.transactor(0)?;
        let committed: BTreeMap<_, _> = member.committed()?.into_iter().collect();
        self.transactor = Some(transactor);
        for partition in owned {
            let position = self.first(&partition, &committed)?;
            self.positions.insert(partition, position);
        }
        self.read_anew()
    }

    fn first(
        &self,
        partition: &TopicPartition,
        committed: &BTreeMap<TopicPartition, Committed>,
    ) -> Result<Position> {
        if let Some(committed) = committed.get(partition) {
            return Ok(committed.position);
        }
        match self.reset {
            OffsetReset::Earliest => Ok(self.log.bounds(partition)?.start),
            OffsetReset::Latest => Ok(self.log.bounds(partition)?.end),
            OffsetReset::Time(time_ms) => self.log.position_at(partition, time_ms),
            OffsetReset::Error => Err(Error::invalid(format!(
                "nothing is committed for a partition and auto_offset_reset is \"error\", \
                 partition=`{partition}`"
            ))),
        }
    }

    fn read_anew(&mut self) -> Result<()> {
        let from: Vec<_> = (self.positions.iter())
            .map(|(partition, position)| (partition.clone(), *position))
            .collect();
        self.reader = match from.is_empty() {
            true => None,
            false => Some(self.log.reader(&from)?),
        };
        Ok(())
    }
}
