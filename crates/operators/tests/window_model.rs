//! A naive transcription of the rules of windows, and the window against it.
//!
//! The model keeps the values themselves, looks at every key at every input and
//! knows nothing of batches, timers, savepoints or changelogs. The window is
//! given the same inputs cut anyhow, drained and restored, rolled back and
//! redone: rows, order, causes, lateness and final state must be the same.

mod window_support;

use headwater_core::{TimestampMs, Value};
use headwater_operators::{Functions, Operator};
use headwater_plan::{AggregateFunction, Closing, Emit, WindowLength, WindowSpec};
use proptest::prelude::*;
use std::collections::BTreeMap;
use window_support::{Driver, Input, Out, aggregate, function, function_ref, record};

/// A row's value: what `v` holds.
type Number = i64;

#[derive(Default)]
struct ModelKey {
    k: Option<TimestampMs>,
    m: TimestampMs,
    c: Option<TimestampMs>,
    /// By start: event times and values in order of arrival.
    windows: BTreeMap<TimestampMs, Vec<(TimestampMs, Number)>>,
}

struct Model {
    spec: WindowSpec,
    keys: BTreeMap<String, ModelKey>,
    w: i128,
    /// Under partition closing, the largest end that the end of input closed.
    ended: i128,
    outs: Vec<Out>,
    late: u64,
    failed: Vec<usize>,
}

const NEVER: i128 = i64::MIN as i128;

impl Model {
    fn new(spec: &WindowSpec) -> Model {
        let (keys, outs, failed) = Default::default();
        Model {
            spec: spec.clone(),
            keys,
            w: NEVER,
            ended: NEVER,
            outs,
            late: 0,
            failed,
        }
    }

    fn is_by_key(&self) -> bool {
        self.spec.closing == Closing::Key
    }

    fn input(&mut self, at: usize, input: &Input) {
        let mut timeout = self.spec.key_timeout_ms;
        match input {
            Input::Record {
                key,
                timestamp,
                value,
            } => {
                self.w = self.w.max((*timestamp).into());
                let number = value[5..value.len() - 1].parse().ok();
                match key {
                    Some(key) => self.record(at, key, *timestamp, number),
                    None => self.failed.push(at),
                }
            }
            Input::Tick {
                watermark,
                idle_timeout_ms,
            } => {
                self.w = self.w.max((*watermark).into());
                timeout = timeout.min(*idle_timeout_ms);
            }
            Input::End => {}
        }
        // The end closes everything, but is no time.
        let closing = if matches!(input, Input::End) {
            i64::MAX.into()
        } else {
            self.w
        };
        self.time(at, timeout, closing);
    }

    /// The windows, by start, that a record is in and not late for.
    fn open_windows(&self, name: &str, ts: TimestampMs) -> Vec<TimestampMs> {
        let (size, advance) = (self.spec.length.size_ms(), self.spec.length.advance_ms());
        let (grace, retention) = (self.spec.grace_ms, self.spec.key_retention_ms);
        let is_late = |end: TimestampMs| match (self.spec.closing, self.keys.get(name)) {
            (Closing::Partition, _) => {
                i128::from(end + grace) <= self.w || i128::from(end) <= self.ended
            }
            (Closing::Key, Some(key)) => {
                key.k.is_some_and(|k| end + grace <= k) || key.c.is_some_and(|c| end <= c)
            }
            (Closing::Key, None) => i128::from(end + grace) <= self.w - i128::from(retention),
        };
        // Every start from long before the record on.
        let lowest = (ts - 2 * size).div_euclid(advance);
        let starts = (lowest..)
            .map(|n| n * advance)
            .take_while(|start| *start <= ts);
        let mine: Vec<TimestampMs> = starts.filter(|start| ts < start + size).collect();
        assert!(!mine.is_empty());
        mine.into_iter()
            .filter(|start| !is_late(start + size))
            .collect()
    }

    fn record(&mut self, at: usize, name: &str, ts: TimestampMs, number: Option<Number>) {
        let (size, grace) = (self.spec.length.size_ms(), self.spec.grace_ms);
        let open = self.open_windows(name, ts);
        self.late += u64::from(open.is_empty());
        if open.is_empty() && !self.keys.contains_key(name) {
            return;
        }
        // A value that cannot be summed fails its record, unless it is late.
        let number = match number {
            None if !open.is_empty() => return self.failed.push(at),
            number => number.unwrap_or_default(),
        };
        let mut early = Vec::new();
        for start in open {
            let key = self.keys.entry(name.to_owned()).or_default();
            let items = key.windows.entry(start).or_default();
            let mut leaving = Vec::new();
            if self.spec.before_update.is_some() && is_before(items) {
                leaving.push(std::mem::take(items));
            }
            items.push((ts, number));
            let mut has_left = false;
            if self.spec.after_update.is_some() && is_after(number) {
                leaving.push(std::mem::take(items));
                has_left = true;
            }
            let is_current = self.spec.emit == Emit::Current;
            if is_current && !has_left {
                leaving.push(items.clone());
            }
            for items in leaving {
                if is_current {
                    self.emit(at, false, name, start, &items);
                } else {
                    early.push((start, items));
                }
            }
        }
        if self.is_by_key() {
            let w = self.w;
            let key = self.keys.entry(name.to_owned()).or_default();
            let k = key.k.unwrap_or(ts).max(ts);
            key.k = Some(k);
            key.m = i128::from(k).max(w) as i64;
            let passed: Vec<TimestampMs> = key
                .windows
                .keys()
                .copied()
                .filter(|start| start + size + grace <= k)
                .collect();
            for start in passed {
                self.close(at, name, start);
            }
        }
        for (start, items) in early {
            self.emit(at, false, name, start, &items);
        }
    }

    /// Everything that is due at the watermark, by deadline, key and start.
    fn time(&mut self, at: usize, timeout: i64, closing: i128) {
        let size = self.spec.length.size_ms();
        let mut due = Vec::new();
        for (name, key) in &self.keys {
            for start in key.windows.keys() {
                let close = i128::from(start + size + self.spec.grace_ms);
                let deadline = match self.spec.closing {
                    Closing::Partition => close,
                    Closing::Key => {
                        let k = i128::from(key.k.expect("a key with windows has a clock"));
                        i128::from(key.m) + i128::from(timeout).max(close - k)
                    }
                };
                due.push((deadline.min(i64::MAX.into()), name.clone(), *start));
            }
        }
        due.sort();
        for (deadline, name, start) in due {
            if deadline <= closing {
                self.close(at, &name, start);
                if !self.is_by_key() && self.w < closing {
                    self.ended = self.ended.max((start + size).into());
                }
            }
        }
        let (w, grace) = (self.w, self.spec.grace_ms);
        let retention = i128::from(self.spec.key_retention_ms);
        let is_by_key = self.is_by_key();
        self.keys.retain(|_, key| {
            let closed = key.c.map_or(NEVER, |c| i128::from(c + grace));
            let last = closed.max(key.k.map_or(NEVER, i128::from));
            !key.windows.is_empty() || (is_by_key && w < (last + retention).min(i64::MAX.into()))
        });
    }

    fn close(&mut self, at: usize, name: &str, start: TimestampMs) {
        let end = start + self.spec.length.size_ms();
        let key = self.keys.get_mut(name).expect("a window has a key");
        let items = key.windows.remove(&start).expect("an open window");
        key.c = key.c.max(Some(end));
        if self.spec.emit == Emit::Final && !items.is_empty() {
            self.emit(at, true, name, start, &items);
        }
    }

    fn emit(
        &mut self,
        at: usize,
        is_emission: bool,
        name: &str,
        start: TimestampMs,
        items: &[(TimestampMs, Number)],
    ) {
        let end = start + self.spec.length.size_ms();
        let mut row = format!("{{\"start\":{start},\"end\":{end}");
        for aggregate in &self.spec.aggregates {
            let result = result(&aggregate.function, items);
            row += &format!(",\"{}\":{result}", aggregate.output);
        }
        row.push('}');
        let key = name.to_owned();
        self.outs.push(Out {
            key,
            timestamp: start,
            row,
            at,
            is_emission,
        });
    }
}

/// What `before_update` says: the window holds three values or more.
fn is_before(items: &[(TimestampMs, Number)]) -> bool {
    3 <= items.len()
}

/// What `after_update` says: the value is a multiple of five.
fn is_after(number: Number) -> bool {
    number % 5 == 0
}

fn result(function: &AggregateFunction, items: &[(TimestampMs, Number)]) -> String {
    let numbers: Vec<Number> = items.iter().map(|item| item.1).collect();
    let mut by_time = items.to_vec();
    by_time.sort_by_key(|item| item.0);
    let smallest = items.iter().map(|item| item.0).min();
    let largest = items.iter().map(|item| item.0).max();
    let earliest = || {
        items
            .iter()
            .find(|item| Some(item.0) == smallest)
            .expect("not empty")
            .1
    };
    let latest = || {
        items
            .iter()
            .rfind(|item| Some(item.0) == largest)
            .expect("not empty")
            .1
    };
    let number = match function {
        AggregateFunction::Count => numbers.len() as i64,
        AggregateFunction::Sum => numbers.iter().sum(),
        AggregateFunction::Min => *numbers.iter().min().expect("not empty"),
        AggregateFunction::Max => *numbers.iter().max().expect("not empty"),
        AggregateFunction::First => numbers[0],
        AggregateFunction::Last => numbers[numbers.len() - 1],
        AggregateFunction::Earliest => earliest(),
        AggregateFunction::Latest => latest(),
        AggregateFunction::Collect => {
            let texts: Vec<String> = by_time.iter().map(|item| item.1.to_string()).collect();
            return format!("[{}]", texts.join(","));
        }
        other => panic!("the model has no {other:?}"),
    };
    number.to_string()
}

fn functions() -> Functions {
    let mut functions = Functions::default();
    let count = |outputs: &Value| match outputs {
        Value::Json(text) => {
            let outputs: serde_json::Value = serde_json::from_str(text).expect("outputs are JSON");
            outputs["n"].as_i64().expect("a count")
        }
        other => panic!("outputs are an object, not {other:?}"),
    };
    functions.insert(
        1,
        function(move |_, arguments| Ok(Value::Bool(3 <= count(&arguments[0])))),
    );
    functions.insert(
        2,
        function(|_, arguments| match &arguments[1] {
            Value::Json(text) => {
                let row: serde_json::Value = serde_json::from_str(text).expect("rows are JSON");
                Ok(Value::Bool(is_after(row["v"].as_i64().expect("a number"))))
            }
            other => panic!("a row is an object, not {other:?}"),
        }),
    );
    functions
}

/// How the inputs are cut, and what happens after each step.
#[derive(Clone, Debug)]
struct Plan {
    cuts: Vec<(usize, u8)>,
}

fn drive(spec: &WindowSpec, inputs: &[Input], plan: &Plan) -> Driver {
    drive_on(Driver::new(spec, &functions()), inputs, plan)
}

fn drive_on(mut driver: Driver, inputs: &[Input], plan: &Plan) -> Driver {
    let mut rest = inputs;
    let mut cuts = plan.cuts.iter().cycle();
    while !rest.is_empty() {
        let (len, what) = cuts.next().copied().expect("an endless plan");
        let is_record = |input: &Input| matches!(input, Input::Record { .. });
        let records = rest.iter().take_while(|input| is_record(input)).count();
        let len = if records == 0 {
            1
        } else {
            len.clamp(1, records)
        };
        let (step, next) = rest.split_at(len);
        match what % 4 {
            0 => driver.step_undone(step),
            _ => driver.step(step),
        }
        match what % 3 {
            0 => driver.restart(),
            1 => driver.drain(),
            _ => {}
        }
        rest = next;
    }
    driver.drain();
    driver
}

fn specs() -> impl Strategy<Value = WindowSpec> {
    let lengths = prop_oneof![
        Just(WindowLength::Tumbling { size_ms: 10 }),
        Just(WindowLength::Tumbling { size_ms: 7 }),
        Just(WindowLength::Hopping {
            size_ms: 10,
            advance_ms: 5
        }),
        Just(WindowLength::Hopping {
            size_ms: 10,
            advance_ms: 3
        }),
        Just(WindowLength::Hopping {
            size_ms: 7,
            advance_ms: 1
        }),
    ];
    let closing = prop_oneof![2 => Just(Closing::Key), 1 => Just(Closing::Partition)];
    let times = (
        prop::sample::select(vec![0, 3, 25]),
        prop::sample::select(vec![0, 5, 40, 1_000]),
        prop::sample::select(vec![0, 10, 60, 10_000]),
    );
    (lengths, closing, any::<bool>(), times, any::<[bool; 3]>()).prop_map(
        |(length, closing, is_current, (grace, timeout, retention), [before, after, several])| {
            let mut spec = WindowSpec::new(length);
            (spec.closing, spec.grace_ms) = (closing, grace);
            (spec.key_timeout_ms, spec.key_retention_ms) = (timeout, retention);
            spec.aggregates
                .push(aggregate("n", AggregateFunction::Count));
            spec.aggregates
                .push(aggregate("sum", AggregateFunction::Sum));
            if several {
                let all = [
                    ("min", AggregateFunction::Min),
                    ("max", AggregateFunction::Max),
                    ("first", AggregateFunction::First),
                    ("last", AggregateFunction::Last),
                    ("earliest", AggregateFunction::Earliest),
                    ("latest", AggregateFunction::Latest),
                ];
                spec.aggregates
                    .extend(all.map(|(name, function)| aggregate(name, function)));
            }
            if is_current {
                spec.emit = Emit::Current;
            } else if several {
                spec.aggregates
                    .push(aggregate("all", AggregateFunction::Collect));
                spec.aggregates
                    .push(aggregate("again", AggregateFunction::Collect));
            }
            spec.before_update = before.then(|| function_ref(1));
            spec.after_update = after.then(|| function_ref(2));
            spec
        },
    )
}

/// Inputs around a time that moves on, jumps, and stands still.
fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let one = (0..100_u8, 0..4_u8, -30..12_i64, 0..20_i64);
    (prop::collection::vec(one, 1..70), -40..40_i64).prop_map(|(steps, start)| {
        let mut now = start;
        let mut inputs = Vec::new();
        for (kind, key, offset, number) in steps {
            let key = ["a", "b", "c", "a|b"][usize::from(key)];
            match kind {
                0..5 => {
                    now += 15;
                    inputs.push(Input::Tick {
                        watermark: now + offset,
                        idle_timeout_ms: number,
                    });
                }
                5..8 => inputs.push(record(key, now + offset, "\"x\"")),
                8 => inputs.push(Input::Record {
                    key: None,
                    timestamp: now,
                    value: "{\"v\":1}".into(),
                }),
                9..12 => {
                    now += 1_000 * number;
                    inputs.push(record(key, now, number));
                }
                12 => inputs.push(record(key, now + 100_000_000_000 * number, number)),
                _ => {
                    now += i64::from(kind % 4);
                    // Multiples of each other, so that windows are hit again.
                    let offset = if kind < 60 { offset.max(-3) } else { offset };
                    inputs.push(record(key, now + offset, number));
                }
            }
        }
        inputs
    })
}

fn plans() -> impl Strategy<Value = Plan> {
    prop::collection::vec((1..12_usize, any::<u8>()), 1..12).prop_map(|cuts| Plan { cuts })
}

/// `HEADWATER_CASES` random ones; proptest prints the seed of a failure.
fn config() -> ProptestConfig {
    let cases = std::env::var("HEADWATER_CASES").ok();
    ProptestConfig {
        cases: cases.and_then(|cases| cases.parse().ok()).unwrap_or(10_000),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_window_does_what_the_rules_say_however_it_is_cut(
        spec in specs(),
        mut inputs in inputs(),
        plan in plans(),
        ends in any::<bool>(),
        more in inputs(),
        memory_max in prop::sample::select(vec![1, 700, 2_000]),
    ) {
        if ends {
            inputs.push(Input::End);
            // A file that has grown.
            inputs.extend(more);
            inputs.push(Input::End);
        }
        let mut model = Model::new(&spec);
        for (at, input) in inputs.iter().enumerate() {
            model.input(at, input);
        }
        let whole = drive(&spec, &inputs, &Plan { cuts: vec![(usize::MAX, 2)] });
        prop_assert_eq!(&whole.outs, &model.outs);
        prop_assert_eq!(whole.late, model.late);
        let failed: Vec<usize> = whole.failed.iter().map(|failed| failed.at).collect();
        prop_assert_eq!(&failed, &model.failed);

        let mut cut = drive(&spec, &inputs, &plan);
        prop_assert_eq!(&cut.outs, &model.outs);
        prop_assert_eq!(cut.late, model.late);
        prop_assert_eq!(&cut.failed, &whole.failed);
        prop_assert_eq!(cut.len(), model.keys.len());
        prop_assert_eq!(&cut.log, &whole.log);
        cut.restart();
        prop_assert_eq!(cut.len(), model.keys.len());
        if ends {
            prop_assert!(!cut.window.is_waiting_for_time(), "at the end nothing is open");
        }

        // The memory that the store may take changes nothing.
        let spilling = Driver::spilling(&spec, &functions(), memory_max);
        let mut spilling = drive_on(spilling, &inputs, &plan);
        prop_assert_eq!(&spilling.outs, &model.outs);
        prop_assert_eq!(spilling.late, model.late);
        prop_assert_eq!(&spilling.failed, &whole.failed);
        prop_assert_eq!(&spilling.log, &whole.log);
        let is_waiting = whole.window.is_waiting_for_time();
        prop_assert_eq!(spilling.window.is_waiting_for_time(), is_waiting);
        spilling.restart();
        prop_assert_eq!(spilling.window.is_waiting_for_time(), is_waiting);
    }
}
