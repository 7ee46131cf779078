//! What a pipeline must give, computed one record at a time from the rules in the
//! documentation, without a line of the engine.

use crate::naive::{Num, Row, Windows, canonical, canonical_text};
use crate::topology::{Segment, Step, count_rows, fail_some};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// How far ahead of the log's time a record may be.
const MAX_FUTURE: i64 = 24 * 3_600_000;

/// A key's count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted {
    /// The number, once there is one.
    pub value: i64,
    /// When it is gone.
    pub expires: Option<i64>,
    /// The key's own clock, once something can expire.
    pub clock: Option<i64>,
}

#[derive(Clone, Debug)]
enum Stage {
    Plain(Step),
    Count(Option<i64>, BTreeMap<Option<String>, Counted>),
    Windows(Box<Windows>),
}

/// One segment of a pipeline on one partition.
#[derive(Clone, Debug)]
pub struct Model {
    stages: Vec<Stage>,
    output: String,
    watermark: i64,
    rows: Vec<(String, Row)>,
    /// What the tasks have said that fill the input, if that is a repartition topic:
    /// nothing, a time, a time at which they wait for nothing more.
    upstream: Option<Vec<Option<(bool, i64)>>>,
    dead: Vec<String>,
}

/// A record of the input, as the log has it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its event time.
    pub timestamp: i64,
}

impl Model {
    /// A model that has seen nothing.
    pub fn new(segment: &Segment, upstream_partitions: u32) -> Model {
        let stage = |step: &Step| match step {
            Step::Count(ttl) => Stage::Count(*ttl, BTreeMap::new()),
            Step::Window(rules, field) => Stage::Windows(Box::new(Windows::new(
                *rules,
                field,
                segment.upstream.is_some(),
            ))),
            plain => Stage::Plain(plain.clone()),
        };
        Model {
            stages: segment.steps.iter().map(stage).collect(),
            output: segment.output.clone(),
            upstream: segment
                .upstream
                .as_ref()
                .map(|_| vec![None; upstream_partitions as usize]),
            watermark: i64::MIN,
            rows: Vec::new(),
            dead: Vec::new(),
        }
    }

    /// The watermark now.
    pub fn watermark(&self) -> i64 {
        self.watermark
    }

    /// The rows given so far, with their topics.
    pub fn rows(&self) -> &[(String, Row)] {
        &self.rows
    }

    /// The texts of what has failed so far.
    pub fn dead(&self) -> &[String] {
        &self.dead
    }

    /// How many records came too late for their windows.
    pub fn late(&self) -> u64 {
        let late = |stage: &Stage| match stage {
            Stage::Windows(windows) => windows.late,
            _ => 0,
        };
        self.stages.iter().map(late).sum()
    }

    /// What keys have counted, if anything counts.
    pub fn counts(&self) -> Option<&BTreeMap<Option<String>, Counted>> {
        self.stages.iter().find_map(|stage| match stage {
            Stage::Count(_, counts) => Some(counts),
            _ => None,
        })
    }

    /// Takes a record: all of its effects, or none.
    pub fn take(&mut self, record: Record<'_>, wall_ms: i64) {
        let before = self.clone();
        if self.try_take(record, wall_ms).is_err() {
            *self = before;
            let text = String::from_utf8_lossy(record.value.unwrap_or(b"<null>"));
            self.dead.push(canonical_text(&text));
        }
    }

    fn try_take(&mut self, record: Record<'_>, wall_ms: i64) -> Result<(), String> {
        let text = record.value.ok_or("a tombstone")?;
        let value: Json = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if wall_ms + MAX_FUTURE < record.timestamp {
            return Err("too far ahead".into());
        }
        if self.upstream.is_none() {
            self.watermark = self.watermark.max(record.timestamp);
        }
        let key = record
            .key
            .map(|key| String::from_utf8_lossy(key).into_owned());
        let row = Row {
            key,
            value,
            timestamp: record.timestamp,
        };
        self.push(0, vec![row])?;
        self.advance(None);
        Ok(())
    }

    /// A task that fills the input says what time it is: its partition, whether it waits
    /// for nothing more, and its time. The watermark is that of the slowest that does
    /// not wait; where all wait, of the furthest, and then time passes by itself.
    pub fn hear(&mut self, partition: usize, is_idle: bool, time: i64, idle_timeout: Option<i64>) {
        let Some(upstream) = &mut self.upstream else {
            return;
        };
        upstream[partition] = Some((is_idle, time));
        let busy = upstream.iter().flatten().filter(|(is_idle, _)| !is_idle);
        let slowest = busy.map(|(_, time)| *time).min();
        let furthest = upstream.iter().flatten().map(|(_, time)| *time).max();
        let is_known = upstream.iter().all(Option::is_some);
        let watermark = match (is_known, slowest) {
            (false, _) => i64::MIN,
            (true, Some(slowest)) => slowest,
            (true, None) => furthest.unwrap_or(i64::MIN),
        };
        self.watermark = self.watermark.max(watermark);
        let is_tick = is_known && slowest.is_none();
        self.advance(idle_timeout.filter(|_| is_tick));
    }

    /// Time goes on without records.
    pub fn tick(&mut self, watermark: i64, idle_timeout: i64) {
        self.watermark = watermark;
        self.advance(Some(idle_timeout));
    }

    /// The rows of one cause go through the stages from one on together; an error is the
    /// text of the first that fails at the first stage where one does, as it came there.
    fn push(&mut self, at: usize, rows: Vec<Row>) -> Result<(), String> {
        let watermark = self.watermark;
        let mut own = Vec::new();
        for row in rows {
            let text = canonical(&row.value);
            let Some(stage) = self.stages.get_mut(at) else {
                self.rows.push((self.output.clone(), row));
                continue;
            };
            match stage {
                Stage::Plain(step) => {
                    if let Step::Tee(topic) = step {
                        self.rows.push(((*topic).to_owned(), row.clone()));
                    }
                    let made = plain(step, row).map_err(|_| text)?;
                    own.extend(made.into_iter().map(Made::Own));
                }
                Stage::Count(ttl, counts) => {
                    let counted = counts.entry(row.key.clone()).or_default();
                    let count = counted.add(row.timestamp, *ttl);
                    let made = count_rows(&row.value, count).map_err(|_| text)?;
                    let row_of = |value| Row {
                        value,
                        ..row.clone()
                    };
                    own.extend(made.into_iter().map(row_of).map(Made::Own));
                }
                Stage::Windows(windows) => {
                    let (closed, made) = windows.record(&row, watermark).map_err(|_| text)?;
                    own.extend(closed.into_iter().map(Made::Result));
                    own.extend(made.into_iter().map(Made::Own));
                }
            }
        }
        let mut together = Vec::new();
        for made in own {
            match made {
                Made::Own(row) => together.push(row),
                Made::Result(row) => {
                    self.push_on(at, &mut together)?;
                    self.push_alone(at + 1, row);
                }
            }
        }
        self.push_on(at, &mut together)
    }

    fn push_on(&mut self, at: usize, rows: &mut Vec<Row>) -> Result<(), String> {
        match rows.is_empty() {
            true => Ok(()),
            false => self.push(at + 1, std::mem::take(rows)),
        }
    }

    /// The result of a window that has closed goes on: if it fails, it fails alone.
    fn push_alone(&mut self, at: usize, row: Row) {
        let before = self.clone();
        if let Err(text) = self.push(at, vec![row]) {
            *self = before;
            self.dead.push(text);
        }
    }

    /// What time has closed goes on row by row; a row that fails fails alone, and its
    /// window stays closed.
    fn advance(&mut self, tick_timeout: Option<i64>) {
        for at in 0..self.stages.len() {
            let watermark = self.watermark;
            let Stage::Windows(windows) = &mut self.stages[at] else {
                continue;
            };
            for row in windows.advance(watermark, tick_timeout) {
                self.push_alone(at + 1, row);
            }
        }
    }
}

/// What a stage makes of a row.
enum Made {
    /// A row with the same cause.
    Own(Row),
    /// The result of a window that it closes, which is a cause of its own.
    Result(Row),
}

impl Counted {
    fn add(&mut self, now: i64, ttl: Option<i64>) -> i64 {
        self.clock = self.clock.map(|clock| clock.max(now));
        let clock = self.clock.unwrap_or(i64::MIN).max(now);
        let is_there = self.expires.is_none_or(|expires| clock < expires);
        self.value = if is_there { self.value + 1 } else { 1 };
        if let Some(ttl) = ttl {
            self.expires = Some(now + ttl);
            self.clock = Some(clock);
        }
        self.value
    }
}

fn plain(step: &Step, row: Row) -> Result<Vec<Row>, String> {
    match step {
        Step::FilterAbove(field, bound) => {
            let value = Num::of(row.value.get(*field))?;
            Ok(match value.is_some_and(|value| value.is_above(*bound)) {
                true => vec![row],
                false => Vec::new(),
            })
        }
        Step::Double(field) => {
            let doubled = match Num::of(row.value.get(*field))? {
                Some(value) => value.times(Num::Int(2))?.plus(Num::Int(1))?.json(),
                None => Json::Null,
            };
            let mut row = row;
            if let Json::Object(fields) = &mut row.value {
                fields.insert("y".into(), doubled);
            }
            Ok(vec![row])
        }
        Step::GroupBy(field) => {
            let key = row.value.get(*field).ok_or("no key")?.to_string();
            Ok(vec![Row {
                key: Some(key),
                ..row
            }])
        }
        Step::FailSome(divisor) => {
            let value = fail_some(&row.value, *divisor)?;
            Ok(vec![Row { value, ..row }])
        }
        _ => Ok(vec![row]),
    }
}
