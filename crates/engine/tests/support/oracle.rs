//! What a job must give, computed one record at a time from the rules in the
//! documentation, without a line of the engine: values by Python's number rules,
//! windows by the rules of DESIGN.md section 6.

use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

/// A number as Python has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Num {
    Int(i64),
    Float(f64),
}

/// A field as an operand: `None` is null, an error is what cannot be calculated with.
pub type Operand = Result<Option<Num>, String>;

impl Num {
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

    pub fn as_float(self) -> f64 {
        match self {
            Num::Int(value) => value as f64,
            Num::Float(value) => value,
        }
    }

    pub fn add(self, other: Num) -> Result<Num, String> {
        match (self, other) {
            (Num::Int(left), Num::Int(right)) => left
                .checked_add(right)
                .map(Num::Int)
                .ok_or_else(|| "sum beyond 64 bits".to_owned()),
            _ => Ok(Num::Float(self.as_float() + other.as_float())),
        }
    }

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

pub fn canonical_text(text: &str) -> String {
    match serde_json::from_str::<Json>(text) {
        Ok(value) => canonical(&value),
        Err(_) => format!("unparsable {text}"),
    }
}

/// A row on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub key: Option<String>,
    pub value: Json,
    pub timestamp: i64,
}

#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub size: i64,
    pub advance: i64,
    pub grace: i64,
    pub is_by_key: bool,
    pub is_final: bool,
    pub key_timeout: i64,
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
    pub rules: Rules,
    pub field: &'static str,
    keys: BTreeMap<String, Key>,
    pub late: u64,
    /// Whether there is a `Collect` too.
    pub collects: bool,
}

impl Windows {
    pub fn new(rules: Rules, field: &'static str) -> Windows {
        Windows {
            rules,
            field,
            keys: BTreeMap::new(),
            late: 0,
            collects: false,
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

    /// One record; `watermark` has it counted.
    pub fn record(&mut self, row: &Row, watermark: i64) -> Result<Vec<Row>, String> {
        let key = row.key.clone().ok_or("no key")?;
        let rules = self.rules;
        let raw = row.value.get(self.field).cloned().unwrap_or(Json::Null);
        let known = self.keys.get(&key).cloned();
        let closed_end = match (&known, rules.is_by_key) {
            (_, false) => watermark.saturating_sub(rules.grace),
            (Some(known), true) => known.latest.saturating_sub(rules.grace).max(known.closed),
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
            return Ok(Vec::new());
        }
        let mut rows = Vec::new();
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
            while let Some((&start, totals)) = state.open.first_key_value() {
                if state.latest < start + rules.size + rules.grace {
                    break;
                }
                if rules.is_final {
                    rows.push(self.result(&key, start, totals));
                }
                state.closed = state.closed.max(start + rules.size);
                state.open.pop_first();
            }
        }
        self.keys.insert(key, state);
        Ok(rows)
    }

    /// What time has closed; called after every input. On a tick, a key's silence
    /// is waited for no longer than the idle timeout.
    pub fn advance(&mut self, watermark: i64, idle_timeout: Option<i64>) -> Vec<Row> {
        let rules = self.rules;
        let key_timeout = rules.key_timeout.min(idle_timeout.unwrap_or(i64::MAX));
        let mut due = Vec::new();
        for (key, state) in &self.keys {
            for &start in state.open.keys() {
                let close = start + rules.size + rules.grace;
                let deadline = if rules.is_by_key {
                    let silence = (close - state.latest).max(key_timeout);
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
            let state = self.keys.get_mut(&key).expect("the key is known");
            let totals = state.open.remove(&start).expect("the window is open");
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
