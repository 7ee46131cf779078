//! What the naive models of all tests are made of: values by Python's number rules and
//! windows by the rules that the module of the window operator writes down, one record
//! at a time, without a line of the engine.
//!
//! The tests of the engine take this file as it is, so it names nothing of this crate.

use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

/// A number as Python has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Num {
    /// Of 64 bits.
    Int(i64),
    /// Of 64 bits.
    Float(f64),
}

/// A field as an operand: `None` is null, an error is what cannot be calculated with.
pub type Operand = Result<Option<Num>, String>;

impl Num {
    /// The number in a field.
    ///
    /// # Errors
    /// Why there is none.
    ///
    /// # Panics
    /// Never: JSON says what a float is.
    pub fn of(value: Option<&Json>) -> Operand {
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

    /// As a float.
    pub fn as_float(self) -> f64 {
        match self {
            Num::Int(value) => value as f64,
            Num::Float(value) => value,
        }
    }

    /// The sum.
    ///
    /// # Errors
    /// If it is beyond 64 bits.
    pub fn plus(self, other: Num) -> Result<Num, String> {
        match (self, other) {
            (Num::Int(left), Num::Int(right)) => left
                .checked_add(right)
                .map(Num::Int)
                .ok_or_else(|| "sum beyond 64 bits".to_owned()),
            _ => Ok(Num::Float(self.as_float() + other.as_float())),
        }
    }

    /// The product.
    ///
    /// # Errors
    /// If it is beyond 64 bits.
    pub fn times(self, other: Num) -> Result<Num, String> {
        match (self, other) {
            (Num::Int(left), Num::Int(right)) => left
                .checked_mul(right)
                .map(Num::Int)
                .ok_or_else(|| "product beyond 64 bits".to_owned()),
            _ => Ok(Num::Float(self.as_float() * other.as_float())),
        }
    }

    /// Compared with a small integer.
    pub fn is_above(self, bound: i64) -> bool {
        match self {
            Num::Int(value) => bound < value,
            Num::Float(value) => (bound as f64) < value,
        }
    }

    /// As JSON.
    pub fn json(self) -> Json {
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
    /// Event times and values, in order of arrival.
    items: Vec<(i64, Json)>,
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
pub struct Windows {
    rules: Rules,
    /// Whether records of one key come from several tasks, behind a change of key: then
    /// a key's own time has only passed what the watermark has passed too.
    is_shared: bool,
    /// Whether there is a `Collect` too.
    pub collects: bool,
    field: &'static str,
    keys: BTreeMap<String, Key>,
    /// Records that came too late for all their windows.
    pub late: u64,
}

impl Windows {
    /// No window is open, and no key known.
    pub fn new(rules: Rules, field: &'static str, is_shared: bool) -> Windows {
        Windows {
            rules,
            is_shared,
            collects: false,
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
        if self.collects {
            let mut items = totals.items.clone();
            items.sort_by_key(|item| item.0);
            let items = items.into_iter().map(|item| item.1).collect();
            value.insert("all".into(), Json::Array(items));
        }
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
    ///
    /// # Errors
    /// Why the record fails; there is no effect of it then.
    pub fn record(&mut self, row: &Row, watermark: i64) -> Result<(Vec<Row>, Vec<Row>), String> {
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
                items: Vec::new(),
                total: Num::Int(0),
                count: 0,
                first: Json::Null,
                last: Json::Null,
            });
            totals.items.push((row.timestamp, raw.clone()));
            totals.count += 1;
            if let Some(amount) = amount {
                totals.total = totals.total.plus(amount)?;
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
    pub fn advance(&mut self, watermark: i64, tick_timeout: Option<i64>) -> Vec<Row> {
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
