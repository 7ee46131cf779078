//! What a worker does between records: ticks, the ends of bounded runs, and letting
//! go of rows that have been read behind a change of key.
//!
//! Each is decided by what the worker itself has seen, at one point of its loop, so
//! that it has a place among the records.

use crate::crew::reader_of;
use crate::worker::{Attempt, BACK_OFF, TaskSlot, Worker};
use headwater_core::{Class, Error, Result, TimestampMs, TopicPartition};
use std::time::Duration;

/// How often repartition topics are trimmed.
const TRIM_INTERVAL: Duration = Duration::from_secs(30);

/// What a step without records does to time.
#[derive(Clone, Copy)]
pub(crate) enum Passing {
    /// Sets the watermark.
    Tick(TimestampMs),
    /// Ends the input.
    End,
}

impl Worker {
    /// Lets time pass for tasks whose input has been quiet for long enough, and says what
    /// could not be said before of the time of the others.
    pub(crate) fn tick(&mut self) -> Result<()> {
        if let Some(idle_timeout) = self.common.settings.idle_timeout {
            self.pass_quiet_time(idle_timeout)?;
        }
        if self.epoch.opened.is_none() {
            let now = self.env.clock.monotonic();
            let mut slots = self.tasks.values();
            if slots.any(|slot| !slot.announcements(now).is_empty()) {
                self.epoch.open(now, 0);
                self.epoch.is_due = true;
            }
        }
        Ok(())
    }

    fn pass_quiet_time(&mut self, idle_timeout: Duration) -> Result<()> {
        let mut due = Vec::new();
        for (partition, slot) in &mut self.tasks {
            let waits_behind = slot.waits_behind_changes_of_key();
            if slot.task.upstream.is_none()
                && let Some(quiet) = &mut slot.quiet
                && (waits_behind || slot.task.tree.is_waiting_for_time())
                && let Some(watermark) = quiet.tick(idle_timeout)
                && watermark > slot.task.watermark
            {
                due.push((partition.clone(), watermark));
            }
        }
        for (partition, watermark) in due {
            self.pass_time(&partition, Passing::Tick(watermark))?;
        }
        Ok(())
    }

    /// Ends the tasks whose part of a bounded run has been read: everything closes.
    pub(crate) fn end_ranges(&mut self) -> Result<()> {
        let is_over = |slot: &TaskSlot| {
            !slot.is_ended && slot.until.is_some_and(|until| until <= slot.resume)
        };
        let over: Vec<_> = (self.tasks.iter())
            .filter(|(_, slot)| is_over(slot))
            .map(|(partition, _)| partition.clone())
            .collect();
        for partition in &over {
            if self.common.has_enough() {
                return Ok(());
            }
            self.pass_time(partition, Passing::End)?;
            let slot = self.slot(partition);
            (slot.is_ended, slot.is_at_end) = (true, true);
        }
        if !over.is_empty() {
            // What stands behind the ends is not read.
            let tasks = self.tasks.iter();
            let going_on = tasks.filter(|(_, slot)| slot.until.is_none() || !slot.is_ended);
            self.reader = reader_of(&*self.common.log, going_on)?;
        }
        Ok(())
    }

    /// One step without records.
    fn pass_time(&mut self, partition: &TopicPartition, passing: Passing) -> Result<()> {
        let mut waits = BACK_OFF.iter();
        while let Attempt::Failed(failure) = self.attempt(None, partition, Some(passing))? {
            match waits.next() {
                Some(wait) => self.env.clock.sleep(*wait),
                None => return Err(Error::data(failure.error)),
            }
        }
        self.epoch.is_due = true;
        Ok(())
    }

    /// Lets the log forget rows that have changed their key and are committed behind it:
    /// nobody else reads them.
    pub(crate) fn trim(&mut self) {
        let now = self.env.clock.monotonic();
        let interval = match self.common.options.commit {
            true => TRIM_INTERVAL,
            // They take memory.
            false => Duration::ZERO,
        };
        if now < self.trimmed_at + interval || self.epoch.opened.is_some() {
            return;
        }
        self.trimmed_at = now;
        for (partition, slot) in &mut self.tasks {
            if slot.task.upstream.is_none() || slot.trimmed_to == Some(slot.resume) {
                continue;
            }
            let trimmed = self.common.log.delete_before(partition, slot.resume);
            match trimmed {
                Ok(()) => slot.trimmed_to = Some(slot.resume),
                // It is tried again; what is not deleted only takes room.
                Err(error) if error.class() == Class::Unavailable => {}
                Err(error) => {
                    slot.trimmed_to = Some(slot.resume);
                    let text = format!("a repartition topic keeps what it need not: {error}");
                    self.common.host.warn(&text);
                }
            }
        }
    }
}
