//! What an application has done and where it stands, for whoever looks at it from
//! outside: a dashboard, a probe, a test.
//!
//! [`Metrics`] is a handle that any thread may read while the application runs. **Counts
//! are those of committed epochs**, from the same tally as the report of a run: what is
//! repeated after a crash is not counted twice under exactly-once, and a count that was
//! shown never goes back. Nothing is done for a record; a commit adds what the tasks have
//! counted by the batch.
//!
//! ```text
//! worker: tally of the open epoch ──commit──▶ Totals ──▶ report of the run
//!                                               └─────▶ Metrics ──snapshot──▶ reader
//! worker: its turns          run: phase    restore: progress   ──┘
//! ```
//!
//! # Conservation
//!
//! No operator loses a row without saying where it went:
//!
//! `in + expanded + emitted = out + filtered + absorbed + late + failed`
//!
//! [`Snapshot::check`] holds every operator against that, and the sum of all inputs
//! against what the partitions say they have given.

use crate::tally::{Counts, OperatorId, PartitionCounts, Tally};
use headwater_core::{Error, Position, Result, TimestampMs, TopicPartition};
use headwater_log::Log;
use headwater_plan::{LogicalPlan, NodeId, Op, describe};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Upper bounds of the buckets in which the durations of commits are counted.
pub const COMMIT_BUCKETS: [Duration; 12] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(10),
    Duration::from_secs(60),
];

/// Rates are taken over about this long.
const RATE_SPAN: Duration = Duration::from_secs(10);
/// How many points of it are kept.
const RATE_POINTS_MAX: usize = 20;

/// A handle on what an application has done; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<Figures>>);

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Phase {
    /// Nothing: no run has begun, or the last one has ended.
    #[default]
    Stopped,
    /// It waits for its partitions.
    Joining,
    /// It restores state.
    Restoring,
    /// It processes records.
    Running,
    /// It hands partitions over, or ends.
    Draining,
    /// The log is unavailable; it will begin again.
    Waiting,
}

impl Phase {
    /// All of them.
    pub const ALL: [Phase; 6] = [
        Phase::Stopped,
        Phase::Joining,
        Phase::Restoring,
        Phase::Running,
        Phase::Draining,
        Phase::Waiting,
    ];

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Stopped => "stopped",
            Phase::Joining => "joining",
            Phase::Restoring => "restoring",
            Phase::Running => "running",
            Phase::Draining => "draining",
            Phase::Waiting => "waiting",
        }
    }
}

/// What was so at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The application's name; empty before the first run.
    pub application: String,
    /// What the run is doing.
    pub phase: Phase,
    /// How many turns each worker of the run has made: a number that stands still is a
    /// worker that does.
    pub turns: Vec<u64>,
    /// How often the run has begun again from its last commit because of trouble.
    pub restarts: u64,
    /// Records appended to topics.
    pub records_out: u64,
    /// Rows that reached the end of a frame.
    pub rows_out: u64,
    /// Records read in a second, over the last ten.
    pub records_in_rate: f64,
    /// Records appended in a second, over the last ten.
    pub records_out_rate: f64,
    /// The operators, in the order of the plan.
    pub operators: Vec<OperatorMetrics>,
    /// The partitions that were read, those of repartition topics too.
    pub partitions: Vec<PartitionMetrics>,
    /// Commits and how long they took.
    pub commits: Durations,
    /// Restores of state, by partition of the changelog, since the last assignment.
    pub restores: Vec<RestoreMetrics>,
}

/// The rows of one operator, over all tasks of this process.
///
/// A row that has passed an operator counts there, also if its cause failed further
/// down and has left no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorMetrics {
    /// Its number in the plan.
    pub node: NodeId,
    /// Whether it is a topic that is read. A change of key is two operators: rows leave
    /// by one and come back by the other.
    pub is_input: bool,
    /// What it does, as `explain()` says it.
    pub name: String,
    /// Rows that came in: of an input, records.
    pub rows_in: u64,
    /// Rows that went on.
    pub rows_out: u64,
    /// Rows that it left out on purpose.
    pub filtered: u64,
    /// Rows that it made beyond one for each that came in.
    pub expanded: u64,
    /// Rows that became part of a window, or left for a repartition topic.
    pub absorbed: u64,
    /// Results of windows.
    pub emitted: u64,
    /// Rows that were late for all their windows.
    pub late: u64,
    /// Rows that could not be processed.
    pub failed: u64,
}

impl OperatorMetrics {
    /// Whether every row is accounted for.
    pub fn is_conserved(&self) -> bool {
        self.rows_in + self.expanded + self.emitted
            == self.rows_out + self.filtered + self.absorbed + self.late + self.failed
    }
}

/// One input partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMetrics {
    /// Which.
    pub partition: TopicPartition,
    /// Whether this process has it now.
    pub is_assigned: bool,
    /// Records read.
    pub records_in: u64,
    /// Records that were late for all their windows, at any operator.
    pub late: u64,
    /// Records left out because they could not be processed.
    pub skipped: u64,
    /// Records sent to the dead-letter topic.
    pub dead_lettered: u64,
    /// Where reading resumes, as committed; `None` before the first commit.
    pub position: Option<Position>,
    /// The task's watermark; `None` while it has none.
    pub watermark_ms: Option<TimestampMs>,
    /// Records between the committed position and the end, when it was last
    /// [looked up](Metrics::look_up_lag).
    pub lag: Option<u64>,
}

/// How long something took, each time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations {
    /// How often it happened.
    pub count: u64,
    /// All together.
    pub total: Duration,
    /// The last time.
    pub last: Duration,
    /// How often it took at most the time of [`COMMIT_BUCKETS`] at this index and more
    /// than that before; what took longer than all is in none.
    pub buckets: [u64; COMMIT_BUCKETS.len()],
}

impl Durations {
    fn add(&mut self, took: Duration) {
        self.count += 1;
        self.total += took;
        self.last = took;
        if let Some(bucket) = COMMIT_BUCKETS.iter().position(|most| took <= *most) {
            self.buckets[bucket] += 1;
        }
    }
}

/// The restore of one store of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreMetrics {
    /// The changelog that is read.
    pub changelog: TopicPartition,
    /// Records applied so far.
    pub records: u64,
    /// Offsets that are still to be read; `None` where positions are no offsets.
    pub remaining: Option<u64>,
    /// Whether it is done.
    pub is_done: bool,
}

#[derive(Debug, Default)]
struct Figures {
    application: String,
    phase: Phase,
    restarts: u64,
    records_out: u64,
    rows_out: u64,
    records_in: u64,
    operators: BTreeMap<OperatorId, (Kind, String, Counts)>,
    partitions: BTreeMap<TopicPartition, Place>,
    commits: Durations,
    restores: BTreeMap<TopicPartition, RestoreMetrics>,
    /// How many turns each worker has made.
    turns: BTreeMap<usize, u64>,
    /// When the last of them ended.
    now: Duration,
    /// When how many records had been read and written.
    points: VecDeque<(Duration, u64, u64)>,
}

#[derive(Debug, Default)]
struct Place {
    is_assigned: bool,
    counts: PartitionCounts,
    position: Option<Position>,
    watermark_ms: Option<TimestampMs>,
    lag: Option<u64>,
}

/// What an operator may do with rows beside passing them on.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    Filters,
    Expands,
    Emits,
    Leaves,
}

impl Kind {
    fn of(op: &Op, is_input: bool) -> Kind {
        match op {
            _ if is_input => Kind::Plain,
            Op::Filter(_) | Op::FilterBy(_) => Kind::Filters,
            Op::Apply(function) if function.shape.is_expand => Kind::Expands,
            Op::Window(_) => Kind::Emits,
            Op::GroupBy(_) => Kind::Leaves,
            _ => Kind::Plain,
        }
    }

    fn metrics(self, id: OperatorId, name: &str, counts: Counts) -> OperatorMetrics {
        let mut metrics = OperatorMetrics {
            node: id.node,
            is_input: id.is_input,
            name: name.to_owned(),
            rows_in: counts.rows_in,
            rows_out: counts.rows_out,
            filtered: 0,
            expanded: 0,
            absorbed: 0,
            emitted: 0,
            late: counts.late,
            failed: counts.failed + counts.failed_emissions,
        };
        let passed = counts.rows_in.saturating_sub(counts.failed);
        let missing = passed.saturating_sub(counts.rows_out);
        match self {
            Kind::Plain => {}
            Kind::Filters => metrics.filtered = missing,
            Kind::Expands => {
                metrics.filtered = missing;
                metrics.expanded = counts.rows_out.saturating_sub(passed);
            }
            Kind::Emits => {
                metrics.absorbed = passed.saturating_sub(counts.late);
                metrics.emitted = counts.rows_out + counts.failed_emissions;
            }
            Kind::Leaves => metrics.absorbed = passed,
        }
        metrics
    }
}

impl Metrics {
    fn lock(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is so now; waits for nothing.
    pub fn snapshot(&self) -> Snapshot {
        let figures = self.lock();
        let operators = figures
            .operators
            .iter()
            .map(|(id, (kind, name, counts))| kind.metrics(*id, name, *counts));
        let partitions = figures.partitions.iter().map(|(partition, place)| {
            let counts = place.counts;
            PartitionMetrics {
                partition: partition.clone(),
                is_assigned: place.is_assigned,
                records_in: counts.records_in,
                late: counts.late,
                skipped: counts.skipped,
                dead_lettered: counts.dead_lettered,
                position: place.position,
                watermark_ms: place.watermark_ms,
                lag: place.lag,
            }
        });
        let [records_in_rate, records_out_rate] = figures.rates();
        Snapshot {
            application: figures.application.clone(),
            phase: figures.phase,
            turns: figures.turns.values().copied().collect(),
            restarts: figures.restarts,
            records_out: figures.records_out,
            rows_out: figures.rows_out,
            records_in_rate,
            records_out_rate,
            operators: operators.collect(),
            partitions: partitions.collect(),
            commits: figures.commits.clone(),
            restores: figures.restores.values().cloned().collect(),
        }
    }

    /// Asks the log how many records wait in each partition of this process, for the
    /// next snapshots. A log that cannot say leaves the lag unknown.
    ///
    /// # Errors
    /// What the log reports.
    pub fn look_up_lag(&self, log: &dyn Log) -> Result<()> {
        let places: Vec<(TopicPartition, Option<Position>)> = self
            .lock()
            .partitions
            .iter()
            .filter(|(_, place)| place.is_assigned)
            .map(|(partition, place)| (partition.clone(), place.position))
            .collect();
        for (partition, position) in places {
            let lag = position.map(|position| log.waiting(&partition, position));
            let (lag, result) = match lag.transpose() {
                Ok(lag) => (lag, Ok(())),
                Err(error) => (None, Err(error)),
            };
            if let Some(place) = self.lock().partitions.get_mut(&partition) {
                place.lag = lag;
            }
            result?;
        }
        Ok(())
    }

    /// A run begins.
    pub(crate) fn begin(&self, application: &str, plan: &LogicalPlan) {
        let mut operators = BTreeMap::new();
        for (id, node) in plan.nodes().iter().enumerate() {
            let sides: &[bool] = match &node.op {
                Op::Input(_) => &[true],
                Op::GroupBy(_) => &[false, true],
                _ => &[false],
            };
            for &is_input in sides {
                let kind = Kind::of(&node.op, is_input);
                let name = match &node.op {
                    Op::GroupBy(_) if is_input => {
                        format!("read {}", plan.input_of(id).topic.name)
                    }
                    op => describe(op),
                };
                let operator = OperatorId { node: id, is_input };
                operators.insert(operator, (kind, name, Counts::default()));
            }
        }
        let mut figures = self.lock();
        application.clone_into(&mut figures.application);
        for (id, (_, name, counts)) in &mut operators {
            // Another plan has other operators, which begin at nothing.
            if let Some((_, known, before)) = figures.operators.get(id)
                && known == name
            {
                *counts = *before;
            }
        }
        figures.operators = operators;
    }

    /// What the run does now.
    pub(crate) fn enter(&self, phase: Phase) {
        let mut figures = self.lock();
        figures.phase = phase;
        if phase == Phase::Waiting {
            figures.restarts += 1;
        }
        if phase != Phase::Running {
            figures.turns.clear();
        }
        if phase == Phase::Waiting || phase == Phase::Stopped {
            // Nothing is read then, and no turn ends that would say so.
            figures.points.clear();
        }
        if phase == Phase::Joining || phase == Phase::Stopped {
            figures.assign(&BTreeSet::new());
        }
    }

    /// The process has these partitions and no others, and restores their state.
    pub(crate) fn assign(&self, partitions: &BTreeSet<TopicPartition>) {
        self.enter(Phase::Restoring);
        let mut figures = self.lock();
        figures.restores.clear();
        figures.assign(partitions);
    }

    /// A worker ends a turn.
    pub(crate) fn turned(&self, worker: usize, now: Duration) {
        let mut figures = self.lock();
        *figures.turns.entry(worker).or_default() += 1;
        figures.now = now;
    }

    /// An epoch has been committed.
    pub(crate) fn count(&self, tally: &Tally) {
        let mut figures = self.lock();
        figures.records_in += tally.records_in;
        figures.records_out += tally.records_out;
        figures.rows_out += tally.rows_out;
        for (partition, counts) in &tally.partitions {
            let place = figures.partitions.entry(partition.clone()).or_default();
            place.counts.add(*counts);
        }
        for (operator, counts) in &tally.operators {
            if let Some((_, _, total)) = figures.operators.get_mut(operator) {
                total.add(*counts);
            }
        }
    }

    /// A commit took so long, ended now, and left tasks there.
    pub(crate) fn committed<'a>(
        &self,
        took: Duration,
        now: Duration,
        tasks: impl Iterator<Item = (&'a TopicPartition, Position, TimestampMs)>,
    ) {
        let mut figures = self.lock();
        figures.commits.add(took);
        for (partition, position, watermark_ms) in tasks {
            if let Some(place) = figures.partitions.get_mut(partition) {
                place.position = Some(position);
                place.watermark_ms = (watermark_ms != TimestampMs::MIN).then_some(watermark_ms);
            }
        }
        figures.add_point(now);
    }

    /// A restore has got so far.
    pub(crate) fn restored(
        &self,
        changelog: &TopicPartition,
        records: u64,
        (at, end): (Position, Position),
    ) {
        let remaining = at.offset().zip(end.offset());
        let progress = RestoreMetrics {
            changelog: changelog.clone(),
            records,
            remaining: remaining.map(|(at, end)| end.saturating_sub(at)),
            is_done: end <= at,
        };
        self.lock().restores.insert(changelog.clone(), progress);
    }
}

impl Figures {
    fn assign(&mut self, partitions: &BTreeSet<TopicPartition>) {
        for partition in partitions {
            self.partitions.entry(partition.clone()).or_default();
        }
        for (partition, place) in &mut self.partitions {
            place.is_assigned = partitions.contains(partition);
            if !place.is_assigned {
                (place.position, place.watermark_ms, place.lag) = (None, None, None);
            }
        }
    }

    fn add_point(&mut self, now: Duration) {
        let step = RATE_SPAN / RATE_POINTS_MAX as u32;
        // A clock that begins anew is another run's.
        self.points.retain(|(at, ..)| *at <= now);
        let last = self.points.back();
        if last.is_none_or(|(at, ..)| at.saturating_add(step) <= now) {
            self.points
                .push_back((now, self.records_in, self.records_out));
        }
        while RATE_POINTS_MAX < self.points.len() {
            self.points.pop_front();
        }
    }

    /// Records in and out in a second, until the last turn of a worker.
    fn rates(&self) -> [f64; 2] {
        let now = self.now;
        let recent = |at: Duration| now.saturating_sub(at) <= RATE_SPAN;
        let mut points = self.points.iter();
        let Some((at, records_in, records_out)) = points.find(|(at, ..)| recent(*at)) else {
            return [0.0, 0.0];
        };
        let span = now.saturating_sub(*at).as_secs_f64();
        if span <= 0.0 {
            return [0.0, 0.0];
        }
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / span;
        [
            rate(self.records_in, *records_in),
            rate(self.records_out, *records_out),
        ]
    }
}

impl Snapshot {
    /// Holds every operator against the law of conservation, and the inputs against
    /// what the partitions have given.
    ///
    /// # Errors
    /// `Internal`, with the operator that breaks it and its counts.
    pub fn check(&self) -> Result<()> {
        if let Some(operator) = self.operators.iter().find(|known| !known.is_conserved()) {
            return Err(Error::internal(format!(
                "an operator does not account for its rows operator=`{}` counts=`{operator:?}`",
                operator.name
            )));
        }
        let given: u64 = self.partitions.iter().map(|known| known.records_in).sum();
        let inputs = self.operators.iter().filter(|known| known.is_input);
        let taken: u64 = inputs.map(|input| input.rows_in).sum();
        if given != taken {
            return Err(Error::internal(format!(
                "the inputs do not account for the records of their partitions \
                 partitions=`{given}` inputs=`{taken}`"
            )));
        }
        let late: u64 = self.operators.iter().map(|known| known.late).sum();
        let of_partitions: u64 = self.partitions.iter().map(|known| known.late).sum();
        if late != of_partitions {
            return Err(Error::internal(format!(
                "late rows are not those of the partitions partitions=`{of_partitions}` \
                 operators=`{late}`"
            )));
        }
        Ok(())
    }
}
