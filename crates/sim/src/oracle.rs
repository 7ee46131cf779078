//! What a pipeline must give, computed one record at a time from the rules in the
//! documentation, without a line of the engine: values by Python's number rules,
//! windows by the rules that the module of the window operator writes down.

use crate::topology::{Segment, Step, count_rows, fail_some};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

/// A number as Python has it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Num {
    Int(i64),
    Float(f64),
}

/// A field as an operand: `None` is null, an error is what cannot be calculated with.
type Operand = Result<Option<Num>, String>;

impl Num {
    fn of(value: Option<&Json>) -> Operand {
        match value {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Bool(value)) => Ok(Some(Num::Int((*value).into()))),
            Some(Json::Number(number)) => {
                let digits = number.to_string();
                if digits.contains(['.', 'e', 'E']) {
                    return Ok(Some(Num::Float(digits.parse().expect("a float"))));
                }
                let int = digits.parse().map_err(|_| "beyond 64 bits".to_owned())?;
                Ok(Some(Num::Int(int)))
            }
            Some(other) => Err(format!("not a number: {other}")),
        }
    }

    fn as_float(self) -> f64 {
        match self {
            Num::Int(value) => value as f64,
            Num::Float(value) => value,
        }
    }

    fn add(self, other: Num) -> Result<Num, String> {
        match (self, other) {
            (Num::Int(left), Num::Int(right)) => left
                .checked_add(right)
                .map(Num::Int)
                .ok_or_else(|| "sum beyond 64 bits".to_owned()),
            _ => Ok(Num::Float(self.as_float() + other.as_float())),
        }
    }

    fn times(self, other: Num) -> Result<Num, String> {
        match (self, other) {
            (Num::Int(left), Num::Int(right)) => left
                .checked_mul(right)
                .map(Num::Int)
                .ok_or_else(|| "product beyond 64 bits".to_owned()),
            _ => Ok(Num::Float(self.as_float() * other.as_float())),
        }
    }

    /// Compared with a small integer.
    fn is_above(self, bound: i64) -> bool {
        match self {
            Num::Int(value) => bound < value,
            Num::Float(value) => (bound as f64) < value,
        }
    }

    fn json(self) -> Json {
        match self {
            Num::Int(value) => value.into(),
            Num::Float(value) => {
                serde_json::Number::from_f64(value).map_or(Json::Null, Json::Number)
            }
        }
    }
}

/// One form for every text of the same value: floats by their bits, integers by
/// their digits, the fields of an object by name.
pub fn canonical(value: &Json) -> String {
    match value {
        Json::Number(number) => {
            let digits = number.to_string();
            if digits.contains(['.', 'e', 'E']) {
                let float: f64 = digits.parse().expect("a float");
                return format!("{float:?}f");
            }
            digits
        }
        Json::Object(fields) => {
            let sorted: BTreeMap<&String, &Json> = fields.iter().collect();
            let fields: Vec<String> = sorted
                .iter()
                .map(|(name, value)| format!("{name:?}:{}", canonical(value)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        other => other.to_string(),
    }
}

/// As [`canonical`], of a text that may be none.
pub fn canonical_text(text: &str) -> String {
    match serde_json::from_str::<Json>(text) {
        Ok(value) => canonical(&value),
        Err(_) => format!("unparsable {text}"),
    }
}

/// A row on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its key.
    pub key: Option<String>,
    /// Its value.
    pub value: Json,
    /// Its event time.
    pub timestamp: i64,
}

/// The lengths of a window, in milliseconds, and its strategies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// How long a window is.
    pub size: i64,
    /// How far its successor starts after it.
    pub advance: i64,
    /// How long it takes records after its end.
    pub grace: i64,
    /// Whether each key has its own time.
    pub is_by_key: bool,
    /// Whether results leave when it closes, not on each record.
    pub is_final: bool,
    /// After which silence of a key it closes.
    pub key_timeout: i64,
    /// After which silence a key is forgotten.
    pub key_retention: i64,
}

#[derive(Clone, Debug)]
struct Totals {
    total: Num,
    count: i64,
    first: Json,
    last: Json,
}

#[derive(Clone, Debug)]
struct Key {
    latest: i64,
    moved: i64,
    closed: i64,
    open: BTreeMap<i64, Totals>,
}

/// A windowed `Sum`, `Count`, `First` and `Last` of one field.
#[derive(Clone, Debug)]
struct Windows {
    rules: Rules,
    /// Whether records of one key come from several tasks, behind a change of key: then
    /// a key's own time has only passed what the watermark has passed too.
    is_shared: bool,
    field: &'static str,
    keys: BTreeMap<String, Key>,
    late: u64,
}

impl Windows {
    fn new(rules: Rules, field: &'static str, is_shared: bool) -> Windows {
        Windows {
            rules,
            is_shared,
            field,
            keys: BTreeMap::new(),
            late: 0,
        }
    }

    fn result(&self, key: &str, start: i64, totals: &Totals) -> Row {
        let mut value = Map::new();
        value.insert("start".into(), start.into());
        value.insert("end".into(), (start + self.rules.size).into());
        value.insert("total".into(), totals.total.json());
        value.insert("n".into(), totals.count.into());
        value.insert("first".into(), totals.first.clone());
        value.insert("last".into(), totals.last.clone());
        Row {
            key: Some(key.to_owned()),
            value: Json::Object(value),
            timestamp: start,
        }
    }

    fn starts(&self, timestamp: i64) -> Vec<i64> {
        let Rules { size, advance, .. } = self.rules;
        let last = timestamp - timestamp.rem_euclid(advance);
        let mut starts: Vec<i64> = (0..)
            .map(|back| last - back * advance)
            .take_while(|start| timestamp < start + size)
            .collect();
        starts.reverse();
        starts
    }

    /// One record; `watermark` has it counted. The results of windows that it closes, which
    /// are causes of their own, and its own rows.
    fn record(&mut self, row: &Row, watermark: i64) -> Result<(Vec<Row>, Vec<Row>), String> {
        let key = row.key.clone().ok_or("no key")?;
        let rules = self.rules;
        let raw = row.value.get(self.field).cloned().unwrap_or(Json::Null);
        let known = self.keys.get(&key).cloned();
        let closed_end = match (&known, rules.is_by_key) {
            (_, false) => watermark.saturating_sub(rules.grace),
            (Some(known), true) => {
                let passed = self.passed(known, watermark);
                passed.saturating_sub(rules.grace).max(known.closed)
            }
            (None, true) => watermark
                .saturating_sub(rules.key_retention)
                .saturating_sub(rules.grace),
        };
        let open: Vec<i64> = self
            .starts(row.timestamp)
            .into_iter()
            .filter(|start| closed_end < start + rules.size)
            .collect();
        // A late record is late, whatever is in it.
        let amount = match open.is_empty() {
            true => None,
            false => Num::of(row.value.get(self.field))?,
        };
        if open.is_empty() {
            self.late += 1;
        }
        let is_new = known.is_none();
        let mut state = known.unwrap_or(Key {
            latest: i64::MIN,
            moved: i64::MIN,
            closed: i64::MIN,
            open: BTreeMap::new(),
        });
        if is_new && open.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let mut rows = Vec::new();
        let mut closed = Vec::new();
        for start in open {
            let totals = state.open.entry(start).or_insert(Totals {
                total: Num::Int(0),
                count: 0,
                first: Json::Null,
                last: Json::Null,
            });
            totals.count += 1;
            if let Some(amount) = amount {
                totals.total = totals.total.add(amount)?;
                if totals.first.is_null() {
                    totals.first = raw.clone();
                }
                totals.last = raw.clone();
            }
            if !rules.is_final {
                let totals = totals.clone();
                rows.push(self.result(&key, start, &totals));
            }
        }
        if rules.is_by_key {
            state.latest = state.latest.max(row.timestamp);
            state.moved = state.latest.max(watermark);
            closed = self.close_passed(&key, &mut state, watermark);
        }
        self.keys.insert(key, state);
        Ok((closed, rows))
    }

    fn passed(&self, key: &Key, watermark: i64) -> i64 {
        match self.is_shared {
            true => key.latest.min(watermark),
            false => key.latest,
        }
    }

    /// Closes what a key's own time has passed.
    fn close_passed(&self, key: &str, state: &mut Key, watermark: i64) -> Vec<Row> {
        let rules = self.rules;
        let mut rows = Vec::new();
        while let Some((&start, totals)) = state.open.first_key_value() {
            if self.passed(state, watermark) < start + rules.size + rules.grace {
                break;
            }
            if rules.is_final {
                rows.push(self.result(key, start, totals));
            }
            state.closed = state.closed.max(start + rules.size);
            state.open.pop_first();
        }
        rows
    }

    /// What time has closed; called after every input. On a tick a key counts as
    /// silent after `tick_timeout` at most.
    fn advance(&mut self, watermark: i64, tick_timeout: Option<i64>) -> Vec<Row> {
        let rules = self.rules;
        let timeout = tick_timeout.map_or(rules.key_timeout, |tick| tick.min(rules.key_timeout));
        let mut due = Vec::new();
        for (key, state) in &self.keys {
            for &start in state.open.keys() {
                let close = start + rules.size + rules.grace;
                let is_passed = self.is_shared && close <= state.latest;
                let deadline = if rules.is_by_key && !is_passed {
                    let silence = (close - state.latest).max(timeout);
                    state.moved.saturating_add(silence)
                } else {
                    close
                };
                if deadline <= watermark {
                    due.push((deadline, key.clone(), start));
                }
            }
        }
        due.sort();
        let mut rows = Vec::new();
        for (_, key, start) in due {
            let Some(state) = self.keys.get_mut(&key) else {
                continue;
            };
            let Some(totals) = state.open.remove(&start) else {
                continue;
            };
            state.closed = state.closed.max(start + rules.size);
            if rules.is_final {
                rows.push(self.result(&key, start, &totals));
            }
        }
        self.keys.retain(|_, state| {
            let closed = state.closed.saturating_add(rules.grace);
            let forget = state.latest.max(closed).saturating_add(rules.key_retention);
            !state.open.is_empty() || (rules.is_by_key && watermark < forget)
        });
        rows
    }
}

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
        self.push(0, row)?;
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

    /// A row goes through the stages from one on; an error is the text of the row that
    /// fails, as it came to the stage where it does.
    fn push(&mut self, at: usize, row: Row) -> Result<(), String> {
        let text = canonical(&row.value);
        let watermark = self.watermark;
        let Some(stage) = self.stages.get_mut(at) else {
            self.rows.push((self.output.clone(), row));
            return Ok(());
        };
        let made = match stage {
            Stage::Plain(step) => {
                if let Step::Tee(topic) = step {
                    self.rows.push(((*topic).to_owned(), row.clone()));
                }
                plain(step, row).map_err(|_| text)?
            }
            Stage::Count(ttl, counts) => {
                let counted = counts.entry(row.key.clone()).or_default();
                let count = counted.add(row.timestamp, *ttl);
                let made = count_rows(&row.value, count).map_err(|_| text)?;
                made.into_iter()
                    .map(|value| Row {
                        value,
                        ..row.clone()
                    })
                    .collect()
            }
            Stage::Windows(windows) => {
                let (closed, own) = windows.record(&row, watermark).map_err(|_| text)?;
                for row in closed {
                    self.push_alone(at + 1, row);
                }
                own
            }
        };
        made.into_iter().try_for_each(|row| self.push(at + 1, row))
    }

    /// The result of a window that has closed goes on: if it fails, it fails alone.
    fn push_alone(&mut self, at: usize, row: Row) {
        let before = self.clone();
        if let Err(text) = self.push(at, row) {
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
                Some(value) => value.times(Num::Int(2))?.add(Num::Int(1))?.json(),
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
            let made = fail_some(&row.value, *divisor)?;
            let with = |value| Row {
                value,
                ..row.clone()
            };
            Ok(made.into_iter().map(with).collect())
        }
        _ => Ok(vec![row]),
    }
}
