//! A log that is nastier than a broker.
//!
//! It keeps what [`Log`] promises and nothing beyond it:
//!
//! - Positions have gaps: markers of transactions take offsets, aborted records
//!   leave holes, compaction and retention make more.
//! - A transaction reaches its partitions, and the group's positions, marker by
//!   marker: the last stable offset trails, and positions may be seen before the
//!   records that belong to them.
//! - A group is shared out among its members at any moment; who does not come back
//!   in time is thrown out. Replies are lost, before or after the effect. Requests
//!   arrive late. A transaction that stays open too long is aborted.
//!
//! ```text
//!                 append                 end: decided         last marker
//!   (none) ──────────────▶ OPEN ───────────────────▶ DECIDED ─────────────▶ DONE
//!                            │ timed out, or fenced      ▲
//!                            └─── decided: abort ────────┘
//! ```
//!
//! `state` holds what is stored, `transactions` and `groups` are the two coordinators,
//! `reader`, `writer`, `repeating` and `member` what a process holds in its hands.

mod groups;
mod member;
mod reader;
mod repeating;
mod state;
mod transactions;
mod writer;

use crate::bug::Bug;
use crate::seed::Seed;
use crate::trouble::{Call, Trouble};
use crate::world::World;
use headwater::core::{Error, Position, Result, TimestampMs, TopicPartition};
use headwater::log::{Bounds, Committed, Log, Member, Producer, Reader, TopicConfig, TopicInfo};
use state::State;
pub use state::Stored;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How nasty a log is.
#[derive(Clone, Copy, Debug)]
pub struct Nature {
    /// Whether records reach the log before their transaction ends, and markers take
    /// offsets.
    pub has_markers: bool,
    /// The longest that a marker takes to a partition.
    pub marker_delay_ms_max: u64,
    /// One fetch in so many is cut short; 0 is none.
    pub short_fetch_one_in: u64,
    /// A transaction that stays open for longer is aborted.
    pub transaction_timeout: Duration,
    /// A member that is not heard of for longer is thrown out of its group.
    pub session_timeout: Duration,
    /// What it does wrong.
    pub bug: Option<Bug>,
}

impl Nature {
    /// A log without surprises.
    pub fn calm() -> Nature {
        Nature {
            has_markers: false,
            marker_delay_ms_max: 0,
            short_fetch_one_in: 0,
            transaction_timeout: Duration::MAX,
            session_timeout: Duration::MAX,
            bug: None,
        }
    }

    /// A log with some of the surprises, by chance.
    pub fn random(seed: &mut Seed, bug: Option<Bug>) -> Nature {
        Nature {
            has_markers: !seed.hits(8),
            marker_delay_ms_max: *seed.pick(&[0, 5, 50, 400]),
            short_fetch_one_in: *seed.pick(&[0, 2, 5]),
            transaction_timeout: Duration::from_millis(*seed.pick(&[1_500, 4_000, 10_000])),
            session_timeout: Duration::from_millis(*seed.pick(&[800, 3_000])),
            bug,
        }
    }
}

/// See the module.
pub struct SimLog {
    pub(crate) world: Arc<World>,
    state: Mutex<State>,
}

impl SimLog {
    /// An empty log.
    pub fn new(world: Arc<World>, seed: Seed, nature: Nature) -> Arc<SimLog> {
        let state = Mutex::new(State::new(seed, nature));
        Arc::new(SimLog { world, state })
    }

    /// What the world has done meanwhile is seen; held for one call, never across a turn.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now = self.world.now();
        state.wall_ms = self.world.wall_ms();
        if let Some(life) = self.world.life()
            && self.world.is_alive(Some(life))
        {
            state.hear_of(life);
        }
        for trouble in self.world.take_for_log() {
            match trouble {
                Trouble::CoordinatorLost(ms) => {
                    state.coordinator_back = state.now + Duration::from_millis(ms);
                }
                Trouble::Rebalance => state.share_out_all(),
                Trouble::Compact => state.compact(),
                _ => state.delete_what_is_committed(),
            }
        }
        if state.settle() {
            self.world.records_came();
        }
        state
    }

    /// No surprises from now on.
    pub fn calm_down(&self) {
        let mut state = self.state();
        state.nature = Nature {
            has_markers: state.nature.has_markers,
            bug: state.nature.bug,
            ..Nature::calm()
        };
        state.coordinator_back = Duration::ZERO;
        state.end_all();
    }

    /// All records of a partition that were ever seen, also those that retention has
    /// deleted, in order.
    pub fn stored(&self, partition: &TopicPartition) -> Vec<Stored> {
        self.state().stored(partition)
    }

    /// The changelog topics whose names begin so.
    pub fn changelogs(&self, prefix: &str) -> Vec<String> {
        let state = self.state();
        let names = state.topics.keys();
        names
            .filter(|name| name.starts_with(prefix))
            .cloned()
            .collect()
    }

    /// Everything that a group has committed, in order.
    pub fn history(&self, group: &str) -> Vec<(TopicPartition, Committed)> {
        let state = self.state();
        let own = state.history.iter().filter(|(of, ..)| of == group);
        own.map(|(_, partition, committed)| (partition.clone(), committed.clone()))
            .collect()
    }

    /// Whether no transaction is open and a group stands at the end of a topic.
    pub fn is_at_end(&self, group: &str, topic: &str) -> bool {
        self.state().is_at_end(group, topic)
    }

    /// Something that a process asks of the log: may fail, may take long.
    fn ask(&self, call: Call, detail: u64) -> Result<Option<Trouble>> {
        match self.world.call(call, detail) {
            Some(Trouble::Unavailable) => Err(unavailable()),
            trouble => Ok(trouble),
        }
    }

    /// As [`SimLog::ask`], for what the coordinator answers.
    fn ask_coordinator(&self, call: Call, detail: u64) -> Result<Option<Trouble>> {
        let trouble = self.ask(call, detail)?;
        let state = self.state();
        match state.now < state.coordinator_back {
            true => Err(unavailable()),
            false => Ok(trouble),
        }
    }
}

fn unavailable() -> Error {
    Error::unavailable("the simulated log does not answer at the moment")
}

/// A handle on the log for the processes that use it.
#[derive(Clone)]
pub struct SimLogHandle {
    /// The log.
    pub log: Arc<SimLog>,
    /// Whether members write at least once, without transactions.
    pub is_repeating: bool,
}

impl Log for SimLogHandle {
    fn describe(&self) -> String {
        "simulated log".into()
    }

    fn repeats_epochs(&self) -> bool {
        self.is_repeating
    }

    fn create_topic(&self, name: &str, config: &TopicConfig) -> Result<bool> {
        self.log.ask(Call::Look, 0)?;
        self.log.state().create_topic(name, config)
    }

    fn topic(&self, name: &str) -> Result<Option<TopicInfo>> {
        self.log.ask(Call::Look, 1)?;
        Ok(self.log.state().info(name))
    }

    fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.log.ask(Call::Look, 2)?;
        let state = self.log.state();
        let names = state.topics.keys();
        Ok(names.filter_map(|name| state.info(name)).collect())
    }

    fn delete_topic(&self, name: &str) -> Result<bool> {
        self.log.ask(Call::Look, 3)?;
        Ok(self.log.state().delete_topic(name))
    }

    fn bounds(&self, partition: &TopicPartition) -> Result<Bounds> {
        self.log.ask(Call::Look, 4)?;
        let state = self.log.state();
        let found = state.partition(partition)?;
        Ok(Bounds {
            start: Position::from_offset(found.start),
            end: Position::from_offset(state.readable_end(found)),
        })
    }

    fn position_at(&self, partition: &TopicPartition, time_ms: TimestampMs) -> Result<Position> {
        self.log.ask(Call::Look, 9)?;
        let state = self.log.state();
        let found = state.partition(partition)?;
        let end = state.readable_end(found);
        let mut seen = found.records.iter();
        let first = seen.find(|record| record.offset < end && time_ms <= record.timestamp);
        Ok(Position::from_offset(
            first.map_or(end, |record| record.offset),
        ))
    }

    fn add_partitions(&self, topic: &str, partitions: u32) -> Result<bool> {
        self.log.ask(Call::Look, 10)?;
        self.log.state().add_partitions(topic, partitions)
    }

    fn delete_before(&self, partition: &TopicPartition, position: Position) -> Result<()> {
        self.log.ask(Call::Look, 11)?;
        let offset = state::offset_of(position)?;
        let mut state = self.log.state();
        state.partition(partition)?;
        state.delete_before(partition, offset);
        Ok(())
    }

    fn waiting(&self, partition: &TopicPartition, from: Position) -> Result<u64> {
        let state = self.log.state();
        let found = state.partition(partition)?;
        let from = state::offset_of(from)?.max(found.start);
        let end = state.readable_end(found);
        let is_waiting = |record: &&state::Record| from <= record.offset && record.offset < end;
        Ok(found.records.iter().filter(is_waiting).count() as u64)
    }

    fn reader(&self, from: &[(TopicPartition, Position)]) -> Result<Box<dyn Reader>> {
        self.log.ask(Call::Look, 5)?;
        Ok(Box::new(reader::SimReader::new(
            Arc::clone(&self.log),
            from,
        )?))
    }

    fn producer(&self) -> Result<Box<dyn Producer>> {
        Ok(Box::new(writer::SimProducer::new(Arc::clone(&self.log))))
    }

    fn join(&self, group: &str, leads: &[Arc<str>]) -> Result<Box<dyn Member>> {
        Ok(Box::new(member::SimMember::join(self, group, leads)?))
    }

    fn committed(&self, group: &str) -> Result<Vec<(TopicPartition, Committed)>> {
        self.log.ask_coordinator(Call::Look, 6)?;
        Ok(self.log.state().positions_of(group))
    }

    fn groups(&self) -> Result<Vec<String>> {
        self.log.ask_coordinator(Call::Look, 7)?;
        Ok(self.log.state().groups_with_positions())
    }

    fn forget_group(&self, group: &str) -> Result<()> {
        self.log.ask_coordinator(Call::Look, 8)?;
        self.log.state().forget_group(group)
    }
}
