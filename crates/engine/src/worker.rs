//! A worker: the thread that runs tasks.
//!
//! Worker 0 is the thread that called `run()`; it also polls the sources and
//! asks the host for signals. Every worker has its own reader, transaction and
//! epoch, because tasks share nothing.
//!
//! ```text
//! poll ─▶ step the tasks ─▶ sources ─▶ ticks ─▶ commit if due ─▶ poll …
//! ```

use crate::aging::Aging;
use crate::application::Shared;
use crate::checkpoint::Epoch;
use crate::dead_letter::{dead_letter, dead_letter_topic, unread_letter};
use crate::delivery::{Screen, SinkSet, delivery};
use crate::input::{around_controls, has_rows};
use crate::metrics::Metrics;
use crate::passing::Passing;
use crate::quiet::Quiet;
use crate::replay::ToRestore;
use crate::settings::{Decision, ErrorPolicy, Host, RunOptions, Settings};
use crate::source_task::{Polled, SourceTask};
use crate::tally::{Counts, Tally};
use crate::task::{ClockMove, Effects, Task};
use crate::upstream::Announcements;
use headwater_core::env::Env;
use headwater_core::{Cause, DataError, Error, Position, Records, Result, Rows, TopicPartition};
use headwater_log::{Committed, Ends, FetchLimits, Fetched, Log, Positions, Reader, Transactor};
use headwater_operators::{Delivered, Failure};
use headwater_plan::{LogicalPlan, NodeId, Op};
use headwater_state::StateStore;
use std::collections::BTreeMap;
use std::iter;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The longest a worker waits before it looks at signals and sources.
const WAIT_MAX: Duration = Duration::from_millis(50);
/// How long a worker with a source waits for the log.
const WAIT_WITH_SOURCE: Duration = Duration::from_millis(1);
/// The longest an epoch lasts while records wait and the worker keeps up.
pub(crate) const EPOCH_MAX: Duration = Duration::from_millis(50);
/// An epoch that has nothing left to read ends once this many times the last
/// commit's duration has passed since that commit: so commits never take more
/// than a fifth of the time, and an idle pipeline answers at once.
const COMMIT_SHARE: u32 = 4;
/// A step that took longer makes the next ones smaller.
const STEP_MAX: Duration = Duration::from_millis(50);
/// What a row for a sink takes beside the bytes that were fetched, all of which one
/// row keeps: its place, its columns. It need not be exact; it bounds rows that a window makes of little.
const HELD_ROW_BYTES: usize = 128;
/// Waits before a record is tried again under the policy `stop`.
pub(crate) const BACK_OFF: [Duration; 3] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(400),
];

/// A task and where it stands.
pub(crate) struct TaskSlot {
    pub(crate) task: Task,
    pub(crate) resume: Position,
    pub(crate) topic_id: u64,
    /// Whether the last input was the end of a bounded source.
    pub(crate) is_ended: bool,
    pub(crate) is_at_end: bool,
    pub(crate) quiet: Option<Quiet>,
    pub(crate) keyed_changelog: Option<TopicPartition>,
    pub(crate) changelogs: BTreeMap<NodeId, TopicPartition>,
    /// Where the committed part of each changelog ends.
    pub(crate) changelog_ends: Ends,
    /// What the tasks behind its changes of key have been told.
    pub(crate) announcements: Announcements,
    /// What its stores have still to be told, by changelog. It runs once this is empty.
    pub(crate) to_restore: BTreeMap<TopicPartition, ToRestore>,
    /// Where its part of a bounded run ends.
    pub(crate) until: Option<Position>,
    /// What the log has been told to forget of its repartition topic.
    pub(crate) trimmed_to: Option<Position>,
}

impl TaskSlot {
    /// The changelogs of the task's stores.
    pub(crate) fn own_changelogs(&self) -> impl Iterator<Item = &TopicPartition> {
        self.keyed_changelog.iter().chain(self.changelogs.values())
    }

    /// Names no end of a changelog that is not the task's any more: its operator
    /// is gone, and one that comes back begins anew.
    pub(crate) fn forget_other_changelogs(&mut self) {
        let mut ends = std::mem::take(&mut self.changelog_ends);
        ends.retain(|changelog, _| self.own_changelogs().any(|own| own == changelog));
        self.changelog_ends = ends;
    }
}

impl TaskSlot {
    /// Each store with its changelog, if it has one.
    pub(crate) fn stores(
        &mut self,
    ) -> impl Iterator<Item = (Option<&TopicPartition>, &mut dyn StateStore)> {
        let keyed: &mut dyn StateStore = &mut self.task.keyed;
        let changelogs = &self.changelogs;
        let others = self.task.tree.stores_by_node();
        iter::once((self.keyed_changelog.as_ref(), keyed))
            .chain(others.map(|(node, store)| (changelogs.get(&node), store)))
    }

    /// Whether everything that was read of state could be read.
    pub(crate) fn check_stores(&mut self) -> Result<()> {
        self.stores().try_for_each(|(_, store)| store.check())
    }

    /// Tells the stores that what they hold is committed.
    pub(crate) fn settle_stores(&mut self) -> Result<()> {
        self.for_each_end(|store, end| store.settle(end))
    }

    pub(crate) fn settle_stores_at_end(&mut self) -> Result<()> {
        self.for_each_end(|store, end| store.settle_at_end(end))
    }

    fn for_each_end(
        &mut self,
        mut work: impl FnMut(&mut dyn StateStore, Position) -> Result<()>,
    ) -> Result<()> {
        let ends = std::mem::take(&mut self.changelog_ends);
        let mut done = Ok(());
        for (changelog, store) in self.stores() {
            let end = changelog.and_then(|changelog| ends.get(changelog));
            if let (Some(&end), Ok(())) = (end, &done) {
                done = work(store, end);
            }
        }
        self.changelog_ends = ends;
        done
    }

    /// Whether a store uses more memory than it may.
    fn is_over_memory(&mut self) -> bool {
        self.stores().any(|(_, store)| store.is_over_budget())
    }
}

impl std::fmt::Debug for TaskSlot {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "TaskSlot({} at {})", self.task.partition, self.resume)
    }
}

impl TaskSlot {
    /// Says of failures where they happened: in the log, in the plan, in the program.
    fn place(
        &self,
        failures: &mut [Failure],
        fetched: Option<&Fetched>,
        (names, lines): (&[String], &[Option<Arc<str>>]),
    ) {
        for failure in failures {
            self.task.place(failure, fetched, names);
            if let Some(line) = &lines[failure.operator] {
                failure.error.line.get_or_insert_with(|| line.to_string());
            }
        }
    }
}

/// What all workers of a run have in common.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) aging: Arc<Aging>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) env: Env,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) settings: Settings,
    pub(crate) options: RunOptions,
    pub(crate) plan: Arc<LogicalPlan>,
    /// What `explain()` calls each operator.
    pub(crate) names: Arc<[String]>,
    /// Where the user wrote each.
    pub(crate) lines: Arc<[Option<Arc<str>>]>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics: Metrics,
    pub(crate) sinks: SinkSet,
    pub(crate) screen: Arc<Mutex<Screen>>,
}

impl Common {
    /// The most records of a step, where a run is to give so many rows. A step that
    /// gives more is undone, so its length is free, except that other workers give
    /// rows meanwhile, and that functions should not be called with records that
    /// then wait for the next run.
    fn step_max(&self) -> usize {
        let Some(count) = self.options.count else {
            return usize::MAX;
        };
        if 1 < self.shared.finished.len() {
            return 1;
        }
        let nodes = self.plan.nodes();
        if (0..nodes.len()).all(|id| self.plan.functions_of(id).is_empty()) {
            return usize::MAX;
        }
        let leaves = nodes.iter().filter(|node| node.children.is_empty()).count();
        let missing = count.saturating_sub(self.shared.rows_out());
        usize::try_from(missing)
            .unwrap_or(usize::MAX)
            .div_ceil(leaves.max(1))
            .max(1)
    }

    /// Says once of a topic that what it gets is deleted soon.
    fn warn_of_age(&self, partition: &TopicPartition, records: &Records) {
        let (topic, wall_ms) = (&partition.topic, self.env.clock.wall_ms());
        if let Some(warning) = self.aging.warning(topic, records, wall_ms) {
            self.host.warn(&warning);
        }
    }

    /// Whether the run ends because it has given the rows it was to give, or for
    /// another reason meanwhile.
    pub(crate) fn has_enough(&self) -> bool {
        self.options.count.is_some() && self.shared.is_ending()
    }

    /// The number of a step's `len` records after which the run has the rows it was
    /// to give; `None` if it needs them all.
    fn records_wanted(&self, leaves: &[Delivered], len: usize) -> Option<usize> {
        let missing = self.options.count?.saturating_sub(self.shared.rows_out());
        let rows = leaves.iter().map(|leaf| leaf.batch.len()).sum::<usize>();
        if (rows as u64) < missing {
            return None;
        }
        let causes = leaves.iter().flat_map(|leaf| leaf.batch.causes.iter());
        let mut at: Vec<usize> = causes.map(|&cause| Cause(cause).at()).collect();
        at.sort_unstable();
        let last = usize::try_from(missing).ok()?.checked_sub(1);
        Some(last.map_or(1, |last| at[last] + 1)).filter(|&records| records < len)
    }

    /// What the error policy says about an error.
    fn decide(&self, error: &DataError) -> Result<Decision> {
        match &self.settings.on_data_error {
            ErrorPolicy::Stop => Ok(Decision::Stop),
            ErrorPolicy::Skip => Ok(Decision::Skip),
            ErrorPolicy::DeadLetter => Ok(Decision::DeadLetter),
            ErrorPolicy::Callback(callback) => callback(error),
        }
    }
}

/// How a step ended.
pub(crate) enum Attempt {
    Done,
    /// It was undone: this failure ends the run, unless it goes away.
    Failed(Box<Failure>),
    /// It was undone: after so many records the run has the rows it was to give.
    TooMany {
        records: usize,
    },
}

/// A thread's share of a run.
pub(crate) struct Worker {
    pub(crate) common: Common,
    pub(crate) env: Env,
    pub(crate) index: usize,
    pub(crate) tasks: BTreeMap<TopicPartition, TaskSlot>,
    pub(crate) sources: Vec<SourceTask>,
    pub(crate) reader: Option<Box<dyn Reader>>,
    /// `None` for a run that commits nothing.
    pub(crate) transactor: Option<Box<dyn Transactor>>,
    pub(crate) sinks: SinkSet,
    pub(crate) sink_rows: Vec<(String, headwater_connect::Delivery)>,
    pub(crate) epoch: Epoch,
    /// What was done in the open epoch.
    pub(crate) tally: Tally,
    /// What is committed before the first record.
    pub(crate) first_positions: Vec<(TopicPartition, Committed)>,
    pub(crate) rows_max: usize,
    /// When repartition topics were last trimmed.
    pub(crate) trimmed_at: Duration,
    /// Whether the sources were done before the last poll, so that the end of a
    /// partition is the end for good.
    pub(crate) has_all_input: bool,
}

impl Worker {
    /// Runs until the run ends or the group wants another assignment, as
    /// `is_changing` says.
    ///
    /// # Errors
    /// What ended it; the epoch that was open is then dropped.
    pub(crate) fn run(&mut self, is_changing: &dyn Fn() -> bool) -> Result<()> {
        while !self.is_asked_to_end(is_changing)? {
            self.has_all_input = self.common.shared.sources_done.load(Ordering::Acquire);
            let fetched = self.poll()?;
            for fetched in &fetched {
                self.take(fetched)?;
            }
            self.poll_sources()?;
            self.end_ranges()?;
            self.tick()?;
            if self.is_epoch_due() {
                self.commit()?;
            }
            self.trim();
            self.look_around();
        }
        if self.index == 0 && self.epoch.opened.is_some() && self.common.shared.is_stopped() {
            self.common
                .host
                .log("asked to stop: the open epoch is committed first");
        }
        self.commit()?;
        if !self.common.shared.is_reassigning() {
            self.settle_at_end()?;
            self.warn_of_unseen(true);
        }
        Ok(())
    }

    fn is_asked_to_end(&self, is_changing: &dyn Fn() -> bool) -> Result<bool> {
        if self.index == 0 && self.common.host.check()? {
            self.common.shared.ask_to_stop();
        }
        if is_changing() {
            self.common.shared.reassign();
        }
        Ok(self.common.shared.is_ending())
    }

    fn poll(&mut self) -> Result<Vec<Fetched>> {
        let now = self.env.clock.monotonic();
        let has_source = self.sources.iter().any(|source| !source.is_done());
        let mut wait = if has_source {
            WAIT_WITH_SOURCE
        } else {
            WAIT_MAX
        };
        if let Some(opened) = self.epoch.opened {
            let due = match self.common.settings.commit_interval {
                Some(interval) => opened + interval,
                None => (self.epoch.last_commit_at + self.epoch.last_commit * COMMIT_SHARE)
                    .clamp(opened, opened + self.epoch.length_max),
            };
            wait = wait.min(due.saturating_sub(now));
        }
        let limits = FetchLimits {
            records_max: self.rows_max,
            bytes_max: self.common.settings.epoch_bytes_max,
        };
        match &mut self.reader {
            Some(reader) => reader.poll(wait, limits),
            None => {
                self.env.clock.sleep(wait);
                Ok(Vec::new())
            }
        }
    }

    /// Processes what one poll found in one partition.
    fn take(&mut self, fetched: &Fetched) -> Result<()> {
        let now = self.env.clock.monotonic();
        let slot = self.slot(&fetched.partition);
        if let Some(until) = slot.until {
            if slot.is_ended {
                return Ok(());
            }
            if until <= fetched.resume {
                let count = fetched.records.len();
                let within = |index: &usize| fetched.positions.get(*index) < until;
                let kept = (0..count).rev().find(within).map_or(0, |last| last + 1);
                if 0 < kept {
                    self.take_records(&slice(fetched, 0, kept), now)?;
                }
                self.slot(&fetched.partition).resume = until;
                return Ok(());
            }
        }
        self.take_records(fetched, now)
    }

    fn take_records(&mut self, fetched: &Fetched, now: Duration) -> Result<()> {
        if fetched.records.is_empty() {
            let slot = self.slot(&fetched.partition);
            slot.is_at_end = fetched.at_end;
            // The end of a bounded run is its own: no time passes before it.
            if fetched.at_end && slot.until.is_none() {
                match &mut slot.quiet {
                    Some(quiet) => quiet.confirm(now),
                    None => slot.quiet = Some(Quiet::begin(now, slot.task.watermark)),
                }
            }
            return Ok(());
        }
        if has_rows(&fetched.records) {
            self.common.shared.saw_records(now);
        }
        self.common
            .warn_of_age(&fetched.partition, &fetched.records);
        self.slot(&fetched.partition).quiet = None;
        let mut start = 0;
        for end in around_controls(&fetched.records) {
            while start < end {
                if self.common.has_enough() {
                    return Ok(());
                }
                let next = end.min(start.saturating_add(self.common.step_max()));
                match next - start == fetched.records.len() {
                    true => self.process(fetched)?,
                    false => self.process(&slice(fetched, start, next))?,
                }
                start = next;
            }
        }
        self.slot(&fetched.partition).is_at_end = fetched.at_end;
        let done = self.env.clock.monotonic();
        if has_rows(&fetched.records) {
            self.common.shared.saw_records(done);
        }
        let took = done.saturating_sub(now);
        let share = took.mul_f64(self.rows_max as f64 / fetched.records.len().max(1) as f64);
        let max = self.common.settings.batch_rows_max;
        self.rows_max = if took > STEP_MAX {
            (self.rows_max / 2).max(1)
        } else if share < STEP_MAX / 2 {
            (self.rows_max * 2).min(max)
        } else {
            self.rows_max
        };
        Ok(())
    }

    pub(crate) fn slot(&mut self, partition: &TopicPartition) -> &mut TaskSlot {
        self.tasks
            .get_mut(partition)
            .expect("a worker reads its own partitions only")
    }

    /// Runs records through their task, under the error policy.
    fn process(&mut self, fetched: &Fetched) -> Result<()> {
        match self.attempt(Some(fetched), &fetched.partition, None)? {
            Attempt::Done => Ok(()),
            Attempt::Failed(failure) => self.stop_at(fetched, *failure),
            Attempt::TooMany { records } => self.process(&slice(fetched, 0, records)),
        }
    }

    /// Runs one step. A failure for which the policy says stop undoes it, and so
    /// do more rows than the run was to give.
    pub(crate) fn attempt(
        &mut self,
        fetched: Option<&Fetched>,
        partition: &TopicPartition,
        passing: Option<Passing>,
    ) -> Result<Attempt> {
        let wall_ms = self.env.clock.wall_ms();
        let (names, lines) = (
            Arc::clone(&self.common.names),
            Arc::clone(&self.common.lines),
        );
        let slot = self.slot(partition);
        let prepared = match (fetched, passing) {
            (Some(fetched), _) => slot.task.prepare(fetched, wall_ms)?,
            (None, Some(Passing::Tick(watermark))) => Task::tick(watermark),
            (None, Some(Passing::End)) => Task::end(),
            (None, None) => unreachable!("a step has records, or time passes"),
        };
        let is_end = prepared
            .clocks
            .last()
            .map(|clock| matches!(clock, ClockMove::End));
        let mut effects = slot.task.step(prepared)?;
        slot.check_stores()?;
        let len = fetched.map_or(0, |fetched| fetched.records.len());
        if let Some(records) = self.common.records_wanted(&effects.leaves, len) {
            self.slot(partition).task.undo();
            return Ok(Attempt::TooMany { records });
        }
        let slot = self.slot(partition);
        slot.place(&mut effects.failures, fetched, (&names, &lines));
        let decisions = self.decide(&effects.failures)?;
        if let Some(first) = decisions
            .iter()
            .position(|decision| *decision == Decision::Stop)
        {
            self.slot(partition).task.undo();
            return Ok(Attempt::Failed(Box::new(
                effects.failures.swap_remove(first),
            )));
        }
        let now = self.env.clock.monotonic();
        let slot = self.slot(partition);
        slot.task.accept();
        slot.task.sweep();
        if let Some(fetched) = fetched {
            slot.resume = fetched.resume;
            slot.is_ended = is_end.unwrap_or(slot.is_ended);
        }
        if is_end == Some(true) {
            // Who comes after waits for it.
            self.epoch.is_due = true;
        }
        let slot = self.slot(partition);
        let is_internal = slot.task.upstream.is_some();
        let count = fetched.map_or(0, |fetched| fetched.records.len() as u64);
        if !is_internal {
            self.tally.records_in += count;
        }
        let has_rows = fetched.is_some_and(|fetched| has_rows(&fetched.records));
        let count = if has_rows { count } else { 0 };
        self.tally.of(partition).records_in += count;
        self.epoch.open(now, count);
        self.leave(effects, &decisions, fetched, partition)?;
        self.common.shared.check_count(self.common.options.count);
        Ok(Attempt::Done)
    }

    fn decide(&self, failures: &[Failure]) -> Result<Vec<Decision>> {
        failures
            .iter()
            .map(|failure| self.common.decide(&failure.error))
            .collect()
    }

    /// Keeps what came before the failed record, commits it, and tries the
    /// record again; if it still fails, that ends the run.
    fn stop_at(&mut self, fetched: &Fetched, failure: Failure) -> Result<()> {
        let (at, len) = (failure.cause.at(), fetched.records.len());
        if at > 0 {
            self.process(&slice(fetched, 0, at))?;
        }
        self.commit()?;
        let mut failure = failure;
        let single = slice(fetched, at, at + 1);
        for wait in BACK_OFF {
            self.env.clock.sleep(wait);
            match self.attempt(Some(&single), &fetched.partition, None)? {
                Attempt::Failed(again) => failure = *again,
                _ if at + 1 == len || self.common.has_enough() => return Ok(()),
                _ => return self.process(&slice(fetched, at + 1, len)),
            }
        }
        Err(Error::data(failure.error))
    }

    /// Sends out what a step did.
    fn leave(
        &mut self,
        effects: Effects,
        decisions: &[Decision],
        fetched: Option<&Fetched>,
        partition: &TopicPartition,
    ) -> Result<()> {
        let resume = self.slot(partition).resume;
        let warnings = effects.outputs.warnings.iter();
        warnings.for_each(|warning| self.common.host.warn(&warning.text));
        for appended in effects.outputs.appended {
            let slot = self
                .tasks
                .get_mut(partition)
                .expect("a worker processes its own partitions only");
            match slot.task.tree.is_exit(&appended.partition.topic) {
                true => {
                    let touched = &mut slot.announcements.touched;
                    touched.insert(appended.partition.clone());
                }
                false => {
                    self.tally.records_out += appended.records.len() as u64;
                    let to = &appended.partition;
                    self.common.warn_of_age(to, &appended.records);
                }
            }
            if let Some(transactor) = &mut self.transactor {
                transactor.append(&appended.partition, appended.records)?;
            }
        }
        let now = self.env.clock.monotonic();
        let mut fetched_bytes = fetched.map_or(0, |fetched| byte_count(&fetched.records));
        for delivered in effects.outputs.delivered {
            let id = delivered.operator;
            let rows = delivery(delivered, partition, fetched, resume);
            match &self.common.plan.node(id).op {
                Op::Sink { name } => {
                    let of_rows = rows.batch.len() * HELD_ROW_BYTES;
                    self.epoch.held_bytes += std::mem::take(&mut fetched_bytes) + of_rows;
                    self.sink_rows.push((name.to_string(), rows));
                }
                op => self
                    .common
                    .screen
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .show(op, id, &rows, now),
            }
        }
        for mut leaf in effects.leaves {
            self.common.shared.reached_end(leaf.batch.len() as u64);
            self.tally.rows_out += leaf.batch.len() as u64;
            if self.common.options.collect {
                if let Rows::Json(rows) = &mut leaf.batch.rows {
                    rows.prepare_to_write();
                }
                let rows = delivery(leaf, partition, fetched, resume);
                self.tally.collected.push(rows);
            }
        }
        for (failure, decision) in effects.failures.iter().zip(decisions) {
            let is_dead_letter = *decision == Decision::DeadLetter;
            self.tally.of(partition).count_failure(is_dead_letter);
            if is_dead_letter && let Some(transactor) = &mut self.transactor {
                let to = TopicPartition::new(dead_letter_topic(&partition.topic), 0);
                transactor.append(&to, dead_letter(failure, fetched)?)?;
            }
        }
        Ok(())
    }

    fn poll_sources(&mut self) -> Result<()> {
        let now = self.env.clock.monotonic();
        let Some(transactor) = &mut self.transactor else {
            // A run that commits nothing runs no source either.
            self.common
                .shared
                .sources_done
                .store(true, Ordering::Release);
            return Ok(());
        };
        let common = &self.common;
        for source in &mut self.sources {
            if transactor.pending_bytes() >= self.common.settings.epoch_bytes_max {
                break;
            }
            let polled = source.poll(
                Duration::ZERO,
                common.settings.batch_rows_max,
                &mut **transactor,
            );
            let Polled { mut count, unread } = polled?;
            let filled = TopicPartition::new(Arc::clone(&source.topic.name), 0);
            count += unread.len();
            for unread in unread {
                match common.decide(&unread.error)? {
                    // The epoch is dropped, and with it the position after the record.
                    Decision::Stop => return Err(Error::data(unread.error)),
                    Decision::Skip => self.tally.of(&filled).skipped += 1,
                    Decision::DeadLetter => {
                        let to = TopicPartition::new(dead_letter_topic(&source.topic.name), 0);
                        let letter = unread_letter(&unread, self.env.clock.wall_ms());
                        transactor.append(&to, letter)?;
                        self.tally.of(&filled).dead_lettered += 1;
                    }
                }
            }
            if count > 0 {
                self.common.shared.saw_records(now);
                self.epoch.open(now, count as u64);
            }
        }
        let is_done = self.sources.iter().all(SourceTask::is_done);
        if is_done && self.index == 0 && self.epoch.opened.is_none() {
            self.common
                .shared
                .sources_done
                .store(true, Ordering::Release);
        }
        Ok(())
    }

    fn is_epoch_due(&mut self) -> bool {
        let Some(opened) = self.epoch.opened else {
            return false;
        };
        let now = self.env.clock.monotonic();
        let settings = &self.common.settings;
        let interval = settings.commit_interval.unwrap_or(self.epoch.length_max);
        let pending = self
            .transactor
            .as_ref()
            .map_or(0, |transactor| transactor.pending_bytes());
        let bytes = pending + self.epoch.held_bytes;
        let is_drained = settings.commit_interval.is_none()
            && self.tasks.values().all(|slot| slot.is_at_end)
            && now >= self.epoch.last_commit_at + self.epoch.last_commit * COMMIT_SHARE;
        let is_over_memory = self.tasks.values_mut().any(TaskSlot::is_over_memory);
        self.epoch.is_due
            || is_drained
            || is_over_memory
            || now >= opened + interval
            || bytes >= settings.epoch_bytes_max
            || (settings.commit_every > 0 && self.epoch.records >= settings.commit_every)
    }

    /// Writes to disk what the next start would otherwise have to read from
    /// changelogs.
    fn settle_at_end(&mut self) -> Result<()> {
        let mut slots = self.tasks.values_mut();
        slots.try_for_each(TaskSlot::settle_stores_at_end)
    }

    /// Says which columns no record has had.
    fn warn_of_unseen(&mut self, is_last: bool) {
        for slot in self.tasks.values_mut() {
            let topic = Arc::clone(&slot.task.partition.topic);
            for warning in slot.task.input.unseen.warnings(&topic, is_last) {
                self.common.host.warn(&warning);
            }
        }
    }

    /// Ends the run where it has reached its end.
    fn look_around(&mut self) {
        self.warn_of_unseen(false);
        let now = self.env.clock.monotonic();
        let shared = &self.common.shared;
        let is_finished = self.has_all_input
            && self.epoch.opened.is_none()
            && self
                .tasks
                .values()
                .all(|slot| slot.is_ended && slot.is_at_end);
        shared.finished[self.index].store(is_finished, Ordering::Release);
        self.common.metrics.turned(self.index, now);
        if self.index == 0 {
            shared.check_end(now, &self.common.options);
            shared.say_what_it_waits_for(now, &self.common);
            if let Ok(mut screen) = self.common.screen.lock() {
                screen.draw(now, false);
            }
        }
    }

    /// What was done in the open epoch.
    pub(crate) fn take_tally(&mut self) -> Tally {
        let mut tally = std::mem::take(&mut self.tally);
        for (partition, slot) in &mut self.tasks {
            for (operator, counts) in slot.task.tree.take_counts() {
                if counts != Counts::default() {
                    tally.of(partition).late += counts.late;
                    tally.operators.entry(operator).or_default().add(counts);
                }
            }
        }
        tally
    }
}

/// The bytes of keys and values.
fn byte_count(records: &Records) -> usize {
    let spans = records.keys.iter().chain(&records.values);
    spans.map(|span| span.len as usize).sum()
}

/// The records `[start, end)` of a fetch, as if they alone had been fetched.
fn slice(fetched: &Fetched, start: usize, end: usize) -> Fetched {
    let is_whole = end == fetched.records.len();
    Fetched {
        partition: fetched.partition.clone(),
        records: fetched.records.slice(start, end),
        positions: match &fetched.positions {
            Positions::From(first) => Positions::From(first + start as u64),
            Positions::Each(each) => Positions::Each(each[start..end].to_vec()),
        },
        resume: if is_whole {
            fetched.resume
        } else {
            fetched.positions.get(end)
        },
        append_time_ms: fetched.append_time_ms,
        at_end: is_whole && fetched.at_end,
    }
}
