//! Time across a repartition topic.
//!
//! The records of a repartition topic come from several upstream tasks, each with
//! a time of its own, so their timestamps say nothing about what is still to come:
//! during catch-up one upstream may be days behind another. Therefore upstream
//! tasks **announce** their time by control records in the topic itself, and a
//! downstream task's watermark follows those alone: the minimum over its upstream
//! tasks that are not idle.
//!
//! ```text
//! upstream task p                              downstream task
//!   rows ────────▶ repartition topic ────────▶ rows: move no watermark
//!   announcement ▶   (one transaction)  ─────▶ Upstream::hear(p, …) ▶ watermark
//! ```
//!
//! An upstream task that has said nothing yet holds the watermark back: it may be
//! restoring, or its owner may be gone. One whose input has been quiet for
//! `idle_timeout` says that it is idle, so an empty partition holds nobody up. Where
//! all are idle, the watermark follows the furthest of them, whose ticks move it.
//!
//! An announcement is made on change, at most once an epoch, and to a partition that
//! got no rows at most once a second. Because it stands in the topic, behind the rows it
//! speaks of, a replay hears the same.

use crate::worker::TaskSlot;
use headwater_core::{Error, Header, Records, RecordsBuilder, Result, TimestampMs, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::input::CONTROL_HEADER;

/// The version and kind of an announcement, before its number and time.
const VERSION: u8 = 1;
const LENGTH: usize = 14;

/// As many as a commit can name; a number beyond is damage and asks for no memory.
const PARTITIONS_MAX: usize = u16::MAX as usize;

/// The shortest time between two announcements to a partition that gets no rows.
const INTERVAL: Duration = Duration::from_secs(1);

/// What an upstream task says of its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Its watermark.
    At(TimestampMs),
    /// It waits for nothing to come; its watermark, which ticks still move.
    Idle(TimestampMs),
    /// Its input has ended.
    Ended,
}

impl Said {
    fn parts(self) -> (u8, TimestampMs) {
        match self {
            Said::At(time) => (0, time),
            Said::Idle(time) => (1, time),
            Said::Ended => (2, TimestampMs::MAX),
        }
    }

    fn from_parts(kind: u8, time: TimestampMs) -> Option<Said> {
        match kind {
            0 => Some(Said::At(time)),
            1 => Some(Said::Idle(time)),
            2 => Some(Said::Ended),
            _ => None,
        }
    }

    /// As bytes: the kind and the time.
    pub(crate) fn encode(self) -> [u8; 9] {
        let (kind, time) = self.parts();
        let mut bytes = [kind; 9];
        bytes[1..].copy_from_slice(&time.to_le_bytes());
        bytes
    }

    /// What [`Said::encode`] wrote, or `None` if it did not.
    pub(crate) fn decode(bytes: [u8; 9]) -> Option<Said> {
        let [kind, time @ ..] = bytes;
        Said::from_parts(kind, TimestampMs::from_le_bytes(time))
    }

    fn is_same_kind(self, other: Said) -> bool {
        self.parts().0 == other.parts().0
    }
}

/// What a downstream task has heard of its upstream tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upstream {
    /// By upstream partition; `None` where nothing has been said.
    pub(crate) said: Vec<Option<Said>>,
}

impl Upstream {
    /// Nothing heard yet of `count` upstream tasks.
    pub(crate) fn new(count: u32) -> Upstream {
        Upstream {
            said: vec![None; count as usize],
        }
    }

    /// There are so many upstream tasks now; those that are new have said nothing.
    pub(crate) fn expect(&mut self, count: u32) {
        let count = self.said.len().max(count as usize);
        self.said.resize(count, None);
    }

    /// Takes note of an announcement.
    ///
    /// # Errors
    /// `Internal` for one that is damaged.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> Result<()> {
        let damaged =
            || Error::internal("an announcement of time in a repartition topic is damaged");
        let bytes: &[u8; LENGTH] = bytes.try_into().map_err(|_| damaged())?;
        let ([version, partition @ ..], said) =
            bytes.split_first_chunk::<5>().ok_or_else(damaged)?;
        let said = said.try_into().ok().and_then(Said::decode);
        let (&VERSION, Some(said)) = (version, said) else {
            return Err(damaged());
        };
        let partition = u32::from_le_bytes(*partition) as usize;
        if PARTITIONS_MAX <= partition {
            return Err(damaged());
        }
        if self.said.len() <= partition {
            // The upstream topic has grown.
            self.said.resize(partition + 1, None);
        }
        self.said[partition] = Some(said);
        Ok(())
    }

    /// Whether all upstream inputs have ended.
    pub(crate) fn is_ended(&self) -> bool {
        self.said.iter().all(|said| *said == Some(Said::Ended))
    }

    /// Whether nothing is expected from any upstream task.
    pub(crate) fn is_idle(&self) -> bool {
        let is_idle = |said: &Option<Said>| matches!(said, Some(Said::Idle(_) | Said::Ended));
        self.said.iter().all(is_idle)
    }

    /// The watermark that follows, or `MIN` while it is not known.
    pub(crate) fn watermark(&self) -> TimestampMs {
        let mut lowest = None;
        let mut furthest_idle = TimestampMs::MIN;
        for said in &self.said {
            match *said {
                None => return TimestampMs::MIN,
                Some(Said::At(time)) => lowest = Some(lowest.unwrap_or(time).min(time)),
                Some(Said::Idle(time)) => furthest_idle = furthest_idle.max(time),
                Some(Said::Ended) => {}
            }
        }
        lowest.unwrap_or(furthest_idle)
    }
}

/// Where a task's rows go to a repartition topic, and what decides their time.
#[derive(Clone, Debug)]
pub(crate) struct Exit {
    /// The repartition topic.
    pub(crate) topic: std::sync::Arc<str>,
    pub(crate) partitions: u32,
    /// The branch whose own clock rules there; else the task's watermark does.
    pub(crate) clock_of: Option<usize>,
    /// How far results of windows above may lie behind that clock: their lengths
    /// and grace, as a result is stamped with its window's start.
    pub(crate) behind_ms: i64,
    /// How long after the last record windows below may still wait for time, beyond
    /// the idle timeout, in milliseconds; `None` where there is no window.
    pub(crate) closes_within_ms: Option<i64>,
}

/// What has been announced to one partition, and when.
#[derive(Clone, Copy, Debug)]
struct Announced {
    said: Said,
    at: Duration,
}

/// What a task has announced so far, and where its rows have gone meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Announcements {
    last: BTreeMap<TopicPartition, Announced>,
    /// Partitions that have got rows in the open epoch.
    pub(crate) touched: BTreeSet<TopicPartition>,
}

impl TaskSlot {
    /// What is to be announced now, as records for each partition.
    pub(crate) fn announcements(&self, now: Duration) -> Vec<(TopicPartition, Said)> {
        let mut due = Vec::new();
        for exit in &self.task.tree.exits {
            let Some(said) = self.time_at(exit) else {
                continue;
            };
            for partition in 0..exit.partitions {
                let partition = TopicPartition::new(exit.topic.clone(), partition);
                let is_due = match self.announcements.last.get(&partition) {
                    None => true,
                    Some(last) if last.said == said => false,
                    Some(last) => {
                        !last.said.is_same_kind(said)
                            || self.announcements.touched.contains(&partition)
                            || last.at + INTERVAL <= now
                    }
                };
                if is_due {
                    due.push((partition, said));
                }
            }
        }
        due
    }

    /// Makes an announcement's record and remembers it.
    pub(crate) fn announce(&mut self, to: &TopicPartition, said: Said, now: Duration) -> Records {
        let announced = Announced { said, at: now };
        self.announcements.last.insert(to.clone(), announced);
        let mut bytes = [VERSION; LENGTH];
        bytes[1..5].copy_from_slice(&self.task.partition.partition.to_le_bytes());
        bytes[5..].copy_from_slice(&said.encode());
        let header = Header {
            name: CONTROL_HEADER.into(),
            value: Some(bytes.into()),
        };
        let mut record = RecordsBuilder::default();
        record.push(None, None, 0, Some([header].into()));
        record.finish()
    }

    /// The time of an exit; `None` while there is nothing to say.
    fn time_at(&self, exit: &Exit) -> Option<Said> {
        if self.is_ended {
            return Some(Said::Ended);
        }
        let clock = match exit.clock_of {
            Some(branch) => self.task.tree.branches[branch].clock,
            None => Some(self.task.watermark),
        };
        let time = clock.unwrap_or(TimestampMs::MIN);
        let time = match time {
            TimestampMs::MIN => time,
            _ => time.saturating_sub(exit.behind_ms),
        };
        match (self.is_idle(), time) {
            (true, _) => Some(Said::Idle(time)),
            (false, TimestampMs::MIN) => None,
            (false, _) => Some(Said::At(time)),
        }
    }

    /// Whether windows behind its changes of key may still wait for the quiet time
    /// that passes here.
    pub(crate) fn waits_behind_changes_of_key(&self) -> bool {
        let (Some(idle_ms), Some(quiet)) = (self.task.input.idle_timeout_ms, self.quiet) else {
            return false;
        };
        let waits = |within_ms: i64| !quiet.is_longer_than(idle_ms.saturating_add(within_ms));
        self.task.tree.closes_within_ms().is_some_and(waits)
    }

    /// Whether nothing is expected at the task's input.
    fn is_idle(&self) -> bool {
        match &self.task.upstream {
            Some(upstream) => upstream.is_idle(),
            None => {
                let timeout = self.task.input.idle_timeout_ms;
                self.quiet.is_some_and(|quiet| {
                    timeout.is_some_and(|timeout| quiet.is_longer_than(timeout))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(said: &[Option<Said>]) -> Upstream {
        Upstream {
            said: said.to_vec(),
        }
    }

    #[test]
    fn the_slowest_that_is_not_idle_decides() {
        let (slow, fast) = (Some(Said::At(5)), Some(Said::At(900)));
        assert_eq!(upstream(&[slow, fast]).watermark(), 5);
        assert_eq!(upstream(&[None, fast]).watermark(), TimestampMs::MIN);
        let idle = Some(Said::Idle(3));
        assert_eq!(upstream(&[idle, fast]).watermark(), 900);
        assert_eq!(upstream(&[Some(Said::Ended), fast]).watermark(), 900);
        let empty = Some(Said::Idle(TimestampMs::MIN));
        let all_idle = upstream(&[idle, empty, Some(Said::Ended)]);
        assert_eq!(all_idle.watermark(), 3);
        assert!(all_idle.is_idle() && !all_idle.is_ended());
        assert!(upstream(&[Some(Said::Ended); 2]).is_ended());
    }

    #[test]
    fn damaged_announcements_are_refused() {
        let mut upstream = Upstream::new(1);
        // The last is of partition 16,843,009.
        for bytes in [
            &[][..],
            &[2; LENGTH],
            &[VERSION; LENGTH - 1],
            &[VERSION; LENGTH],
        ] {
            assert!(upstream.hear(bytes).is_err(), "{bytes:?}");
        }
        assert_eq!(upstream, Upstream::new(1));
    }
}
