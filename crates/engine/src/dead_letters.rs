//! Dead letters from outside: what they say, and sending them back.
//!
//! A letter that has been sent back is not sent again. Where each partition of the
//! dead-letter topic stands is committed under a group of its own,
//! `replay__<topic>`, **in the transaction that sends the letters**, so that each arrives
//! once whatever fails. Beside the position stand the offsets of single letters after it
//! that have been sent out of turn.

use crate::dead_letter::{KIND_HEADER, Kind, OUR_HEADERS, SUFFIX};
use headwater_core::partitioner::partition_of;
use headwater_core::{
    Error, Header, Position, RecordsBuilder, Result, TimestampMs, TopicPartition,
};
use headwater_log::{Bounds, CommitOutcome, Committed, Fetched, Log, each_record, fixed};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The header of a record that was sent back: the dead letter that it was.
pub const REPLAYED_HEADER: &str = "headwater.replayed";

const GROUP_PREFIX: &str = "replay__";
/// The letters of one transaction.
const LETTERS_MAX: usize = 1_000;

/// A record that could not be processed, as it stands in its dead-letter topic.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// Where it stands.
    pub partition: TopicPartition,
    /// Where there.
    pub position: Position,
    /// The time of the record.
    pub timestamp: TimestampMs,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// The record's bytes.
    pub value: Option<Vec<u8>>,
    /// The record's own headers.
    pub headers: Vec<Header>,
    /// Why it could not be processed.
    pub error: String,
    /// The operator at which it failed.
    pub operator: Option<String>,
    /// The field that was to blame.
    pub field: Option<String>,
    /// The line of the program.
    pub line: Option<String>,
    /// The topic that it came from.
    pub from_topic: Option<String>,
    /// The partition there.
    pub from_partition: Option<u32>,
    /// The offset there.
    pub from_offset: Option<String>,
    /// Whether it is the input record itself: else a window's result, or a row of a file,
    /// which do not belong into the topic that they came from.
    pub is_record: bool,
    /// Whether it has been sent back.
    pub is_replayed: bool,
}

/// What to send back.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// Where to; `None` is the topic and partition that each letter came from.
    pub to: Option<String>,
    /// These offsets of partition 0 alone; empty is all letters that were not sent yet.
    pub offsets: BTreeSet<u64>,
    /// Letters that have been sent before too.
    pub again: bool,
}

/// What a replay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Letters that were sent.
    pub sent: u64,
    /// Letters that had been sent before.
    pub known: u64,
    /// Letters that are no input records, and have no topic to go to.
    pub homeless: u64,
}

/// The dead-letter topics of a log, by name.
///
/// # Errors
/// What the log reports.
pub fn dead_letter_topics(log: &dyn Log) -> Result<Vec<String>> {
    let topics = log.topics()?.into_iter().map(|topic| topic.name);
    Ok(topics.filter(|name| name.ends_with(SUFFIX)).collect())
}

/// Visits the letters of a topic up to its end now, in order, until `visit` says
/// `false`.
///
/// # Errors
/// What the log and `visit` report.
pub fn visit_dead_letters(
    log: &dyn Log,
    topic: &str,
    visit: &mut dyn FnMut(DeadLetter) -> Result<bool>,
) -> Result<()> {
    let sent = sent(log.committed(&group_of(topic))?)?;
    for partition in partitions_of(log, topic)? {
        let bounds = log.bounds(&partition)?;
        let nothing = Sent::default();
        let sent = sent.get(&partition).unwrap_or(&nothing);
        let is_done = each_record(
            log,
            &partition,
            (bounds.start, bounds.end),
            &mut |fetched, index| {
                let letter = DeadLetter::of(fetched, index);
                let is_replayed = sent.contains(letter.position);
                visit(DeadLetter {
                    is_replayed,
                    ..letter
                })
            },
        )?;
        if !is_done {
            return Ok(());
        }
    }
    Ok(())
}

/// Sends letters back, each once.
///
/// # Errors
/// `Invalid` for an offset that holds no letter, or for a topic that is gone; what the log
/// reports. Whatever was not sent by then is sent by the next call.
pub fn replay_dead_letters(log: &dyn Log, topic: &str, what: &Replay) -> Result<Replayed> {
    let group = group_of(topic);
    let mut member = log.join(&group, &[Arc::from(topic)])?;
    let owned = member.assignment()?;
    let mut transactor = member.transactor(0)?;
    let mut sent = sent(member.committed()?)?;
    let mut done = Replayed::default();
    let mut found = BTreeSet::new();
    for partition in owned {
        let Bounds { start, end } = log.bounds(&partition)?;
        let own = sent.entry(partition.clone()).or_default();
        own.position = own.position.max(Some(start));
        let mut at = match what.again || !what.offsets.is_empty() {
            true => start,
            false => own.position.unwrap_or(start),
        };
        let homeless_before = done.homeless;
        while at < end {
            let (letters, next) = next_letters(log, &partition, (at, end), what)?;
            found.extend(letters.iter().filter_map(|letter| letter.position.offset()));
            let outgoing = choose(log, &letters, what, own, &mut done)?;
            if what.offsets.is_empty() && done.homeless == homeless_before {
                own.settle(next);
            }
            for (home, records) in outgoing {
                transactor.append(&home, records.finish())?;
            }
            let positions = [(partition.clone(), own.committed(start)?)];
            if let CommitOutcome::Unknown { reason } = transactor.commit(&mut fixed(&positions))? {
                return Err(Error::unavailable(format!(
                    "it is not known whether the letters were sent; do it again, none is sent \
                     twice: {reason}"
                )));
            }
            at = next;
        }
    }
    match what.offsets.difference(&found).next() {
        None => Ok(done),
        Some(missing) => Err(Error::invalid(format!(
            "there is no such dead letter topic=`{topic}` offset=`{missing}`"
        ))),
    }
}

/// The letters of one transaction that are asked for, and where the next ones begin.
fn next_letters(
    log: &dyn Log,
    partition: &TopicPartition,
    (at, end): (Position, Position),
    what: &Replay,
) -> Result<(Vec<DeadLetter>, Position)> {
    let (mut letters, mut next) = (Vec::new(), end);
    each_record(log, partition, (at, end), &mut |fetched, index| {
        let position = fetched.positions.get(index);
        if letters.len() == LETTERS_MAX {
            next = position;
            return Ok(false);
        }
        let is_asked = position
            .offset()
            .is_some_and(|at| what.offsets.contains(&at));
        if what.offsets.is_empty() || is_asked {
            letters.push(DeadLetter::of(fetched, index));
        }
        Ok(true)
    })?;
    Ok((letters, next))
}

/// Puts letters on their way that are to be sent, and remembers them.
fn choose(
    log: &dyn Log,
    letters: &[DeadLetter],
    what: &Replay,
    own: &mut Sent,
    done: &mut Replayed,
) -> Result<BTreeMap<TopicPartition, RecordsBuilder>> {
    let mut outgoing: BTreeMap<TopicPartition, RecordsBuilder> = BTreeMap::new();
    for letter in letters {
        if own.contains(letter.position) && !what.again {
            done.known += 1;
            continue;
        }
        match home_of(log, letter, what.to.as_deref())? {
            Some(home) => {
                letter.push_to(outgoing.entry(home).or_default());
                own.add(letter.position)?;
                done.sent += 1;
            }
            None => done.homeless += 1,
        }
    }
    Ok(outgoing)
}

/// The group under which is remembered what has been sent.
fn group_of(topic: &str) -> String {
    format!("{GROUP_PREFIX}{topic}")
}

/// Whether a group is one under which is remembered which dead letters were sent.
pub fn is_replay_group(group: &str) -> bool {
    let topic = group.strip_prefix(GROUP_PREFIX);
    topic.is_some_and(|topic| topic.ends_with(SUFFIX))
}

fn partitions_of(log: &dyn Log, topic: &str) -> Result<Vec<TopicPartition>> {
    let info = log
        .topic(topic)?
        .ok_or_else(|| Error::invalid(format!("there is no such topic topic=`{topic}`")))?;
    let numbers = 0..info.config.partitions;
    Ok(numbers
        .map(|number| TopicPartition::new(topic, number))
        .collect())
}

/// Where a letter goes: a partition of the topic that is asked for, or the partition that
/// it came from.
fn home_of(log: &dyn Log, letter: &DeadLetter, to: Option<&str>) -> Result<Option<TopicPartition>> {
    let (topic, own) = match (to, &letter.from_topic) {
        (Some(to), _) => (to, None),
        (None, Some(from)) if letter.is_record => (from.as_str(), letter.from_partition),
        _ => return Ok(None),
    };
    let info = log.topic(topic)?.ok_or_else(|| {
        Error::invalid(format!(
            "the topic that dead letters are to go to does not exist topic=`{topic}`"
        ))
    })?;
    let partitions = info.config.partitions;
    let by_key = letter
        .key
        .as_deref()
        .map(|key| partition_of(key, partitions));
    let partition = own.filter(|own| *own < partitions).or(by_key).unwrap_or(0);
    Ok(Some(TopicPartition::new(topic, partition)))
}

/// What has been sent of one partition.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sent {
    /// Everything before it.
    position: Option<Position>,
    /// And these offsets after it: ranges, first to last.
    ranges: BTreeMap<u64, u64>,
}

fn sent(committed: Vec<(TopicPartition, Committed)>) -> Result<BTreeMap<TopicPartition, Sent>> {
    let one = |(partition, committed): (TopicPartition, Committed)| {
        let ranges = ranges_of(&committed.metadata).ok_or_else(|| {
            Error::internal(format!(
                "what is remembered of replays is damaged partition=`{partition}`"
            ))
        })?;
        let sent = Sent {
            position: Some(committed.position),
            ranges,
        };
        Ok((partition, sent))
    };
    committed.into_iter().map(one).collect()
}

/// Reads what [`Sent::committed`] wrote: `3,7-9`.
fn ranges_of(metadata: &[u8]) -> Option<BTreeMap<u64, u64>> {
    let text = std::str::from_utf8(metadata).ok()?;
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    text.split_terminator(',').map(range).collect()
}

impl Sent {
    fn contains(&self, position: Position) -> bool {
        let in_range = |offset: u64| {
            let mut before = self.ranges.range(..=offset);
            before.next_back().is_some_and(|(_, &last)| offset <= last)
        };
        self.position.is_some_and(|before| position < before)
            || position.offset().is_some_and(in_range)
    }

    fn add(&mut self, position: Position) -> Result<()> {
        let offset = position.offset().ok_or_else(|| {
            Error::invalid("single dead letters can be sent on logs with offsets only")
        })?;
        if self.contains(position) {
            return Ok(());
        }
        let after = offset.checked_add(1);
        let last = after.and_then(|after| self.ranges.remove(&after));
        let last = last.unwrap_or(offset);
        match self.ranges.range_mut(..offset).next_back() {
            Some((_, end)) if *end + 1 == offset => *end = last,
            _ => {
                self.ranges.insert(offset, last);
            }
        }
        Ok(())
    }

    /// Everything before a position has been sent.
    fn settle(&mut self, before: Position) {
        self.position = self.position.max(Some(before));
        let position = self.position;
        let is_after =
            |last: u64| position.is_none_or(|before| before <= Position::from_offset(last));
        self.ranges.retain(|_, last| is_after(*last));
    }

    fn committed(&self, start: Position) -> Result<Committed> {
        let ranges = self.ranges.iter().map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        });
        let metadata = ranges.collect::<Vec<_>>().join(",").into_bytes();
        if Committed::METADATA_BYTES_MAX < metadata.len() {
            return Err(Error::invalid(format!(
                "too many dead letters lie between others that were not sent; send them together, and \
                 say where those are to go that came from no topic ranges=`{}`",
                self.ranges.len()
            )));
        }
        Ok(Committed {
            position: self.position.unwrap_or(start),
            metadata,
        })
    }
}

impl DeadLetter {
    fn of(fetched: &Fetched, index: usize) -> DeadLetter {
        let records = &fetched.records;
        let (ours, headers): (Vec<&Header>, Vec<&Header>) = records
            .headers(index)
            .iter()
            .partition(|header| OUR_HEADERS.contains(&&*header.name));
        // A record that failed again after a replay has ours of both times; the first
        // ones are of this failure.
        let of = |name: &str| {
            let header = ours.iter().find(|header| &*header.name == name)?;
            let value = header.value.as_deref()?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        DeadLetter {
            partition: fetched.partition.clone(),
            position: fetched.positions.get(index),
            timestamp: records.timestamps[index],
            key: records.key(index).map(<[u8]>::to_vec),
            value: records.value(index).map(<[u8]>::to_vec),
            headers: headers.into_iter().cloned().collect(),
            error: of("headwater.error").unwrap_or_default(),
            operator: of("headwater.operator"),
            field: of("headwater.field"),
            line: of("headwater.line"),
            from_topic: of("headwater.topic"),
            from_partition: of("headwater.partition").and_then(|text| text.parse().ok()),
            from_offset: of("headwater.offset"),
            is_record: of(KIND_HEADER).is_none_or(|kind| kind == Kind::Record.name()),
            is_replayed: false,
        }
    }

    /// Appends the original record, with a header that says what it was.
    fn push_to(&self, out: &mut RecordsBuilder) {
        let mut headers: Vec<Header> = self
            .headers
            .iter()
            .filter(|header| &*header.name != REPLAYED_HEADER)
            .cloned()
            .collect();
        let place = format!("{}@{}", self.partition, self.position);
        headers.push(Header {
            name: REPLAYED_HEADER.into(),
            value: Some(place.into_bytes().into()),
        });
        out.push(
            self.key.as_deref(),
            self.value.as_deref(),
            self.timestamp,
            Some(headers.into()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Position {
        Position::from_offset(offset)
    }

    #[test]
    fn what_was_sent_is_remembered_in_few_bytes() -> Result<()> {
        let mut sent = Sent {
            position: Some(at(2)),
            ..Sent::default()
        };
        for offset in [9, 5, 7, 6, 1, 12, 5, u64::MAX] {
            sent.add(at(offset))?;
        }
        let committed = sent.committed(at(0))?;
        let last = u64::MAX;
        assert_eq!(
            String::from_utf8_lossy(&committed.metadata),
            format!("5-7,9,12,{last}")
        );
        assert_eq!(ranges_of(&committed.metadata), Some(sent.ranges.clone()));
        let known: Vec<u64> = (0..14)
            .filter(|&offset| sent.contains(at(offset)))
            .collect();
        assert_eq!(known, [0, 1, 5, 6, 7, 9, 12]);
        sent.settle(at(9));
        sent.settle(at(3));
        assert_eq!(sent.position, Some(at(9)));
        assert_eq!(sent.ranges, [(9, 9), (12, 12), (last, last)].into());
        for damaged in ["x", "3-", "1,,2", "-1", "\u{ff}"] {
            assert_eq!(ranges_of(damaged.as_bytes()), None, "{damaged}");
        }
        // One that is damaged asks for no memory.
        assert!(ranges_of(b"0-18446744073709551615").is_some());
        Ok(())
    }

    #[test]
    fn more_than_a_commit_can_hold_is_refused() -> Result<()> {
        let mut sent = Sent::default();
        for offset in 0..1_000 {
            sent.add(at(offset * 2 + 10_000))?;
        }
        let error = sent.committed(at(0)).expect_err("it is too long");
        assert!(error.to_string().contains("ranges=`1000`"), "{error}");
        Ok(())
    }
}
