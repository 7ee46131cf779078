//! The checkpoint: the one place that commits.
//!
//! An epoch is everything between two commits of one worker: some steps of its
//! tasks, what its sources appended, and the rows for sinks.
//!
//! ```text
//!            first record, tick or source record
//!   CLEAN ────────────────────────────────────────▶ OPEN
//!     ▲                                               │ interval, bytes, count of records,
//!     │                                               │ a tick, the end of the run
//!     │                                               ▼
//!     │   1 rows to sinks, sinks flushed          COMMITTING
//!     │   2 changes of every store appended, and      │
//!     │     what later subtopologies are told of time │
//!     │   3 every append has its place in the log     │
//!     │   4 positions of all tasks with the ends of   │
//!     │     their changelogs, of sources, sinks and   │
//!     │     the plan's stores                         │
//!     │   5 one transaction                           │
//!     │ Committed                                     │
//!     │   6 stores spill to disk, if they must        │
//!     └───────────────────────────────────────────────┤
//!                                                     │ Unknown, or Unavailable
//!                                                     ▼
//!                                                  BROKEN  the run starts again from
//!                                                          what is committed: joins
//!                                                          (which fences), restores,
//!                                                          opens sinks and sources
//! ```
//!
//! A failed step never reaches OPEN's outputs: its task has undone it. State in
//! memory is ahead of the log only while the epoch is OPEN; BROKEN drops it.
//! Crash points, each tested by a kill: after 1 (a file sink is longer than its
//! committed length and is cut back), after 2, 3 and 4 (nothing is visible), after
//! 5 (all is, or, on a log that shows a transaction partition by partition, will
//! be: a restore waits for the ends that the positions name), in 6 (a store on disk
//! is as it was before or after; it goes on from the position that stands there).

use crate::metadata::TaskMetadata;
use crate::worker::{EPOCH_MAX, TaskSlot, Worker};
use headwater_connect::Delivery;
use headwater_core::{Error, RecordsBuilder, Result, TopicPartition, fault};
use headwater_log::{CommitOutcome, Committed, Ends, Transactor};
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest an epoch lasts while the worker is behind: whoever waits for its
/// results waits for the backlog anyway, and fewer commits and fewer changes of
/// the same keys get through it sooner.
const EPOCH_BEHIND_MAX: Duration = Duration::from_secs(1);

/// The epoch that is open.
#[derive(Debug)]
pub(crate) struct Epoch {
    /// Its number; the committed ones are smaller.
    pub(crate) number: u64,
    /// When it became open.
    pub(crate) opened: Option<Duration>,
    /// Records in it.
    pub(crate) records: u64,
    /// The memory that its rows for sinks keep, about.
    pub(crate) held_bytes: usize,
    /// Whether it ends now, whatever its age.
    pub(crate) is_due: bool,
    /// How long it may last.
    pub(crate) length_max: Duration,
    /// How long the last commit took, and when it ended.
    pub(crate) last_commit: Duration,
    pub(crate) last_commit_at: Duration,
}

impl Default for Epoch {
    fn default() -> Self {
        Epoch {
            number: 0,
            opened: None,
            records: 0,
            held_bytes: 0,
            is_due: false,
            length_max: EPOCH_MAX,
            last_commit: Duration::ZERO,
            last_commit_at: Duration::ZERO,
        }
    }
}

impl Epoch {
    /// Something happened that is to be committed.
    pub(crate) fn open(&mut self, now: Duration, records: u64) {
        self.opened.get_or_insert(now);
        self.records += records;
    }
}

impl Worker {
    /// Ends the epoch: commits everything of it, or nothing.
    ///
    /// # Errors
    /// `Unavailable` where the run must start again from what is committed.
    pub(crate) fn commit(&mut self) -> Result<()> {
        self.epoch.is_due = false;
        if self.epoch.opened.is_none() {
            return Ok(());
        }
        let started = self.env.clock.monotonic();
        let mut tally = self.take_tally();
        let rows = self.take_sink_rows();
        match &mut self.transactor {
            None => (self.tasks.values_mut()).try_for_each(|slot| drain(slot, None))?,
            Some(transactor) => {
                for slot in self.tasks.values_mut() {
                    drain(slot, Some(&mut **transactor))?;
                    announce(slot, started, &mut **transactor)?;
                }
                if fault!("spilled-before-commit") {
                    settle(&mut self.tasks)?;
                }
                let shared = &self.common.shared;
                let (tasks, epoch) = (&mut self.tasks, self.epoch.number);
                let mut others = std::mem::take(&mut self.first_positions);
                for source in self.sources.iter().filter(|source| source.is_owned) {
                    others.push(source.committed()?);
                }
                tally = self.sinks.write_and_commit(&rows, |of_sinks| {
                    others.extend(of_sinks);
                    let mut all = None;
                    let outcome = transactor.commit(&mut |ends| {
                        let mut positions = positions(tasks, epoch, ends);
                        positions.append(&mut others);
                        all = Some(positions.clone());
                        Ok(positions)
                    });
                    match outcome? {
                        CommitOutcome::Committed => Ok(tally),
                        CommitOutcome::Unknown { reason } => {
                            if let Some(all) = all {
                                shared.totals().doubt(all, tally);
                            }
                            Err(Error::unavailable(format!(
                                "it is not known whether the last commit happened: {reason}"
                            )))
                        }
                    }
                })?;
            }
        }
        self.common.shared.totals().add(tally);
        settle(&mut self.tasks)?;
        let now = self.env.clock.monotonic();
        let took = now.saturating_sub(started);
        self.show_commit(took, now);
        let is_behind = self.tasks.values().any(|slot| !slot.is_at_end);
        // A slow disk is not a quiet input: records may have come meanwhile.
        self.common.shared.was_busy(took, now);
        self.epoch = Epoch {
            number: self.epoch.number + 1,
            length_max: match is_behind {
                true => (self.epoch.length_max * 2).min(EPOCH_BEHIND_MAX),
                false => EPOCH_MAX,
            },
            last_commit: took,
            last_commit_at: now,
            ..Epoch::default()
        };
        Ok(())
    }

    /// The epoch's rows for sinks, which only a run that commits has open.
    fn take_sink_rows(&mut self) -> Vec<(String, Delivery)> {
        let mut rows = std::mem::take(&mut self.sink_rows);
        if !self.common.options.commit {
            rows.clear();
        }
        rows
    }

    /// Tells the metrics how long a commit took, and where it left the tasks.
    fn show_commit(&self, took: Duration, now: Duration) {
        let tasks = self.tasks.iter();
        let places = tasks.map(|(at, slot)| (at, slot.resume, slot.task.watermark));
        self.common.metrics.committed(took, now, places);
    }

    /// Commits where everything begins, before the first record: a sink that is
    /// cut back to its committed length must have one from the start.
    ///
    /// # Errors
    /// As [`Worker::commit`].
    pub(crate) fn commit_first(&mut self) -> Result<()> {
        self.epoch.open(self.env.clock.monotonic(), 0);
        self.commit()
    }
}

/// Positions of all tasks, changed or not, so that a stale owner is always caught,
/// with the ends of their changelogs after this epoch.
fn positions(
    tasks: &mut BTreeMap<TopicPartition, TaskSlot>,
    epoch: u64,
    ends: &Ends,
) -> Vec<(TopicPartition, Committed)> {
    let position_of = |(partition, slot): (&TopicPartition, &mut TaskSlot)| {
        let moved: Vec<_> = slot
            .own_changelogs()
            .filter_map(|changelog| Some((changelog.clone(), *ends.get(changelog)?)))
            .collect();
        slot.changelog_ends.extend(moved);
        let named = slot.changelog_ends.iter();
        let watermark_ms = match slot.quiet {
            Some(quiet) if fault!("tick-outside-commit") => quiet.since_watermark(),
            _ => slot.task.watermark,
        };
        let metadata = TaskMetadata {
            epoch,
            topic_id: slot.topic_id,
            watermark_ms,
            is_ended: slot.is_ended,
            clocks_ms: slot.task.tree.clocks(),
            upstream: slot.task.upstream.clone(),
            changelog_ends: named
                .map(|(changelog, &end)| (changelog.topic.clone(), end))
                .collect(),
        };
        let committed = Committed {
            position: slot.resume,
            metadata: metadata.encode(),
        };
        (partition.clone(), committed)
    };
    tasks.iter_mut().map(position_of).collect()
}

/// Tells the tasks behind the changes of key of this one what time it is.
fn announce(slot: &mut TaskSlot, now: Duration, transactor: &mut dyn Transactor) -> Result<()> {
    for (to, said) in slot.announcements(now) {
        transactor.append(&to, slot.announce(&to, said, now))?;
    }
    slot.announcements.touched.clear();
    Ok(())
}

/// Lets stores spill to disk.
fn settle(tasks: &mut BTreeMap<TopicPartition, TaskSlot>) -> Result<()> {
    tasks.values_mut().try_for_each(TaskSlot::settle_stores)
}

/// Takes the changes of a task's stores and appends them to their changelogs.
fn drain(slot: &mut TaskSlot, mut transactor: Option<&mut dyn Transactor>) -> Result<()> {
    for (changelog, store) in slot.stores() {
        store.check()?;
        let mut changes = RecordsBuilder::default();
        store.drain_changes(&mut changes);
        if let (Some(changelog), Some(transactor)) = (changelog, &mut transactor)
            && !changes.is_empty()
        {
            transactor.append(changelog, changes.finish())?;
        }
    }
    Ok(())
}
