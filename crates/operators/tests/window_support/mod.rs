//! Drives a window as the engine does: steps, savepoints, drains, restores.

#![allow(dead_code, reason = "each test file uses a part")]

use headwater_core::env::Env;
use headwater_core::{
    Batch, DataError, Error, Evaluated, Header, Headers, Position, Positions, Records,
    RecordsBuilder, Result, Rows, TimestampMs, TopicPartition, Value, ValueRef,
};
use headwater_operators::{
    Call, Failure, Function, FunctionRows, Functions, Operator, Step, StepTimes, Wants, Window,
};
use headwater_plan::{
    Aggregate, AggregateFunction, BatchForm, Closing, Emit, FunctionRef, WindowLength, WindowSpec,
    col,
};
use headwater_state::{MemoryBudget, Tier, TierSettings};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What a task is given.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// A record; the watermark follows its time.
    Record {
        key: Option<String>,
        timestamp: TimestampMs,
        value: String,
    },
    /// A tick: the watermark, and the idle timeout.
    Tick {
        watermark: TimestampMs,
        idle_timeout_ms: i64,
    },
    /// The end of the input.
    End,
}

/// A record `{"v": value}`.
pub(crate) fn record(key: &str, timestamp: TimestampMs, value: impl std::fmt::Display) -> Input {
    Input::Record {
        key: Some(key.to_owned()),
        timestamp,
        value: format!("{{\"v\":{value}}}"),
    }
}

/// A result as it leaves.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Out {
    pub(crate) key: String,
    pub(crate) timestamp: TimestampMs,
    /// The row as JSON.
    pub(crate) row: String,
    /// The input, counted over all steps, and whether time emitted it.
    pub(crate) at: usize,
    pub(crate) is_emission: bool,
}

/// A record that failed, or an emission that did.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failed {
    pub(crate) at: usize,
    pub(crate) is_emission: bool,
    pub(crate) error: String,
}

/// A window and everything that came out of it.
pub(crate) struct Driver {
    spec: WindowSpec,
    functions: Functions,
    pub(crate) window: Window,
    pub(crate) outs: Vec<Out>,
    pub(crate) failed: Vec<Failed>,
    pub(crate) late: u64,
    pub(crate) warnings: Vec<String>,
    /// The compacted changelog.
    pub(crate) log: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) logged_records: usize,
    /// All records of the changelog in order, for a store that goes on from its
    /// own position.
    history: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Where the store spills to, and the memory that it may take.
    spill: Option<(tempfile::TempDir, usize)>,
    watermark: TimestampMs,
    /// The inputs of the steps before.
    base: usize,
}

impl Driver {
    pub(crate) fn new(spec: &WindowSpec, functions: &Functions) -> Driver {
        Driver {
            spec: spec.clone(),
            functions: functions.clone(),
            window: Window::new(spec, functions, "telemetry").expect("the window is sound"),
            outs: Vec::new(),
            failed: Vec::new(),
            late: 0,
            warnings: Vec::new(),
            log: BTreeMap::new(),
            logged_records: 0,
            history: Vec::new(),
            spill: None,
            watermark: TimestampMs::MIN,
            base: 0,
        }
    }

    /// A window whose store may take so many bytes of memory.
    pub(crate) fn spilling(spec: &WindowSpec, functions: &Functions, memory_max: usize) -> Driver {
        // Where there is one, a folder in which syncing costs nothing.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let mut driver = Driver::new(spec, functions);
        driver.spill = Some((folder.expect("a folder"), memory_max));
        driver.attach();
        driver
    }

    /// Opens the store's files; returns how much of the changelog they hold.
    fn attach(&mut self) -> usize {
        let Some((folder, memory_max)) = &self.spill else {
            return 0;
        };
        let tier = Tier::open(TierSettings {
            env: Env::system(),
            folder: folder.path().join("store"),
            budget: MemoryBudget::new(*memory_max),
            changelog_id: 1,
        });
        let tier = tier.expect("opens");
        self.store().attach(tier);
        let position = self.store().tier().and_then(Tier::position);
        let offset = position.and_then(|(position, _)| position.offset());
        offset.map_or(0, |offset| offset as usize)
    }

    fn end(&self) -> Position {
        Position::from_offset(self.history.len() as u64)
    }

    /// All inputs: records in one step, ticks and the end in steps of their own.
    pub(crate) fn feed(mut self, inputs: &[Input]) -> Driver {
        let mut start = 0;
        for end in 1..=inputs.len() {
            let is_cut = end == inputs.len()
                || !matches!(inputs[end], Input::Record { .. })
                || !matches!(inputs[end - 1], Input::Record { .. });
            if is_cut {
                self.step(&inputs[start..end]);
                start = end;
            }
        }
        self
    }

    /// One step.
    pub(crate) fn step(&mut self, inputs: &[Input]) {
        let (times, batch) = self.prepare(inputs);
        self.mark();
        self.run(inputs, &times, batch, true);
        self.settle(inputs.len(), &times);
    }

    /// One step that is undone and repeated, one row at a time.
    pub(crate) fn step_undone(&mut self, inputs: &[Input]) {
        let (times, batch) = self.prepare(inputs);
        let outer = self.mark();
        let kept = (self.outs.len(), self.failed.len());
        self.run(inputs, &times, batch.clone(), true);
        self.store().rollback(outer);
        self.outs.truncate(kept.0);
        self.failed.truncate(kept.1);
        for row in 0..batch.len() {
            let one = batch.take(&[row as u32]);
            let inner = self.mark();
            let kept = (self.outs.len(), self.failed.len());
            // Twice: a savepoint stays open when it was gone back to.
            for _ in 0..2 {
                self.run(inputs, &times, one.clone(), false);
                self.store().rollback(inner);
                self.outs.truncate(kept.0);
                self.failed.truncate(kept.1);
            }
            self.run(inputs, &times, one, false);
        }
        self.run(inputs, &times, batch.take(&[]), true);
        self.settle(inputs.len(), &times);
    }

    fn mark(&mut self) -> headwater_state::Mark {
        self.store().mark()
    }

    fn store(&mut self) -> &mut dyn headwater_state::StateStore {
        self.window.store().expect("a window has a store")
    }

    fn settle(&mut self, inputs: usize, times: &StepTimes) {
        self.store().release();
        self.store().check().expect("everything could be read");
        self.late += self.window.take_late_count();
        self.base += inputs;
        // The end of the input is no time; the engine goes back to the last one.
        let last = times
            .after
            .iter()
            .rev()
            .find(|after| **after < TimestampMs::MAX);
        self.watermark = last.copied().unwrap_or(times.before);
    }

    fn prepare(&self, inputs: &[Input]) -> (StepTimes, Batch) {
        let mut times = StepTimes {
            before: self.watermark,
            after: Vec::new(),
        };
        let mut records = RecordsBuilder::default();
        let mut watermark = self.watermark;
        for input in inputs {
            match input {
                Input::Record {
                    key,
                    timestamp,
                    value,
                } => {
                    watermark = watermark.max(*timestamp);
                    let headers: Headers = Some(
                        [Header {
                            name: "h".into(),
                            value: Some(b"x"[..].into()),
                        }]
                        .into(),
                    );
                    let key = key.as_ref().map(|key| key.as_bytes());
                    records.push(key, Some(value.as_bytes()), *timestamp, headers);
                }
                Input::Tick { watermark: to, .. } => watermark = watermark.max(*to),
                Input::End => watermark = TimestampMs::MAX,
            }
            times.after.push(watermark);
        }
        (times, Batch::from_records(&records.finish()))
    }

    fn run(&mut self, inputs: &[Input], times: &StepTimes, batch: Batch, is_last: bool) {
        let partition = TopicPartition::new("telemetry", 3);
        let mut keyed = Default::default();
        let mut step = Step::new(times, &mut keyed, &partition);
        let positions = Positions::From(self.base as u64);
        step.positions = Some(&positions);
        if let [
            Input::Tick {
                idle_timeout_ms, ..
            },
        ] = inputs
        {
            step.tick_timeout_ms = Some(*idle_timeout_ms);
            step.positions = None;
        }
        let mut batches = Vec::new();
        if !batch.is_empty() {
            batches.extend(
                self.window
                    .process(batch, &mut step)
                    .expect("the step goes on"),
            );
        }
        if is_last {
            batches.extend(self.window.advance(&mut step).expect("the step goes on"));
        }
        let warnings = step.outputs.warnings.drain(..);
        self.warnings.extend(warnings.map(|warning| warning.text));
        let mut last = 0;
        for Failure { cause, error, .. } in std::mem::take(&mut step.failures) {
            self.failed.push(Failed {
                at: self.base + cause.at(),
                is_emission: cause.is_emission(),
                error: error.to_string(),
            });
        }
        for batch in batches {
            for row in 0..batch.len() {
                let at = batch.cause(row).at();
                assert!(last <= at, "inputs never decrease");
                last = at;
            }
            self.outs.extend(outs(batch, self.base));
        }
    }

    /// Drains the changes, as at the end of an epoch.
    pub(crate) fn drain(&mut self) {
        let mut out = RecordsBuilder::default();
        self.store().drain_changes(&mut out);
        let records = out.finish();
        self.logged_records += records.len();
        apply(&records, &mut self.log);
        for index in 0..records.len() {
            let key = records.key(index).expect("changelog records have keys");
            let value = records.value(index).map(<[u8]>::to_vec);
            self.history.push((key.to_vec(), value));
        }
        let end = self.end();
        self.store().settle(end).expect("it settles");
    }

    /// Goes on with a fresh window restored from the changelog.
    pub(crate) fn restart(&mut self) {
        self.drain();
        if self.spill.is_some() {
            return self.restart_from_disk();
        }
        self.window = Window::new(&self.spec, &self.functions, "telemetry").expect("it is sound");
        let log = std::mem::take(&mut self.log);
        for (key, value) in &log {
            self.store().restore(key, Some(value)).expect("it restores");
        }
        self.log = log;
    }

    /// As [`Driver::restart`], with a program whose rules have changed.
    pub(crate) fn restart_with(&mut self, spec: WindowSpec) {
        self.drain();
        self.spec = spec;
        self.restart();
    }

    /// Goes on from the store's own position; every other time it was written to
    /// the end.
    fn restart_from_disk(&mut self) {
        if self.history.len().is_multiple_of(2) {
            let end = self.end();
            self.store().settle_at_end(end).expect("it settles");
        }
        // The files are locked until the old store is gone.
        self.window = Window::new(&self.spec, &self.functions, "telemetry").expect("it is sound");
        let start = self.attach();
        let history = std::mem::take(&mut self.history);
        for (index, (key, value)) in history.iter().enumerate().skip(start) {
            let store = self.store();
            store.restore(key, value.as_deref()).expect("it restores");
            if index % 5 == 0 {
                let position = Position::from_offset(index as u64 + 1);
                store.settle_restoring(position).expect("it settles");
            }
        }
        self.history = history;
    }

    /// The rows, as `key start end outputs`.
    pub(crate) fn rows(&self) -> Vec<String> {
        self.outs
            .iter()
            .map(|out| format!("{} {}", out.key, short(&out.row)))
            .collect()
    }

    pub(crate) fn len(&mut self) -> usize {
        self.store().len()
    }
}

/// `{"start":0,"end":10,"sum":3}` as `[0, 10) 3`.
fn short(row: &str) -> String {
    let row: serde_json::Value = serde_json::from_str(row).expect("rows are JSON");
    let fields = row.as_object().expect("rows are objects");
    let mut text = format!("[{}, {})", fields["start"], fields["end"]);
    for (name, value) in fields {
        if name != "start" && name != "end" {
            text += &format!(" {value}");
        }
    }
    text
}

fn apply(records: &Records, log: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    for index in 0..records.len() {
        let key = records
            .key(index)
            .expect("changelog records have keys")
            .to_vec();
        match records.value(index) {
            Some(value) => log.insert(key, value.to_vec()),
            None => log.remove(&key),
        };
    }
}

fn outs(batch: Batch, base: usize) -> Vec<Out> {
    assert!(batch.headers.is_none());
    let (keys, timestamps) = (batch.keys.clone(), batch.timestamps.clone());
    let causes: Vec<_> = (0..batch.len()).map(|row| batch.cause(row)).collect();
    let Rows::Json(mut rows) = batch.rows else {
        panic!("results are JSON rows")
    };
    assert!(rows.prepare_to_write().is_empty());
    (0..causes.len())
        .map(|index| {
            let mut text = Vec::new();
            assert!(
                rows.write_row(index, &mut text)
                    .expect("results can be written")
            );
            Out {
                key: String::from_utf8_lossy(keys.get(index).expect("results have keys")).into(),
                timestamp: timestamps[index],
                row: String::from_utf8(text).expect("results are text"),
                at: base + causes[index].at(),
                is_emission: causes[index].is_emission(),
            }
        })
        .collect()
}

pub(crate) fn tumbling(size_ms: i64) -> WindowSpec {
    spec(WindowLength::Tumbling { size_ms })
}

pub(crate) fn hopping(size_ms: i64, advance_ms: i64) -> WindowSpec {
    spec(WindowLength::Hopping {
        size_ms,
        advance_ms,
    })
}

/// The sum of `v`.
pub(crate) fn spec(length: WindowLength) -> WindowSpec {
    let mut spec = WindowSpec::new(length);
    spec.aggregates = vec![aggregate("sum", AggregateFunction::Sum)];
    spec
}

pub(crate) fn partition(spec: WindowSpec) -> WindowSpec {
    WindowSpec {
        closing: Closing::Partition,
        ..spec
    }
}

pub(crate) fn current(spec: WindowSpec) -> WindowSpec {
    WindowSpec {
        emit: Emit::Current,
        ..spec
    }
}

/// `function` of the field `v`.
pub(crate) fn aggregate(output: &str, function: AggregateFunction) -> Aggregate {
    Aggregate {
        output: output.into(),
        function,
        input: Some(col("v")),
    }
}

/// Feeds everything to a new window without functions.
pub(crate) fn run(spec: &WindowSpec, inputs: &[Input]) -> Driver {
    Driver::new(spec, &Functions::default()).feed(inputs)
}

pub(crate) fn function_ref(id: u32) -> FunctionRef {
    FunctionRef {
        id,
        name: format!("function_{id}").into(),
        line: Some("app.py:7".into()),
        shape: Default::default(),
        reads: Vec::new(),
    }
}

type Body = dyn Fn(Option<&str>, &[Value]) -> std::result::Result<Value, String> + Send + Sync;

/// A function that notes its calls.
pub(crate) struct TestFunction {
    body: Box<Body>,
    pub(crate) calls: Mutex<Vec<Vec<Value>>>,
}

/// A function of plain values; an `Err` is an exception.
pub(crate) fn function(
    body: impl Fn(Option<&str>, &[Value]) -> std::result::Result<Value, String> + Send + Sync + 'static,
) -> Arc<TestFunction> {
    Arc::new(TestFunction {
        body: Box::new(body),
        calls: Mutex::default(),
    })
}

impl Function for TestFunction {
    fn rows(&self, _call: Call<'_>) -> Result<FunctionRows> {
        unreachable!("a window calls with plain values")
    }
    fn update(&self, _call: Call<'_>) -> Result<FunctionRows> {
        unreachable!("a window calls with plain values")
    }
    fn values(&self, _call: Call<'_>, _wants: Wants) -> Result<Evaluated> {
        unreachable!("a window calls with plain values")
    }
    fn batch(
        &self,
        _columns: &[(Box<str>, headwater_core::Column)],
        _form: BatchForm,
    ) -> Result<Vec<(Box<str>, headwater_core::Column)>> {
        unreachable!("a window calls with plain values")
    }
    fn invoke(&self, method: Option<&str>, arguments: &[ValueRef<'_>]) -> Result<Value> {
        let arguments: Vec<Value> = arguments.iter().map(ValueRef::to_owned).collect();
        let result = (self.body)(method, &arguments);
        self.calls
            .lock()
            .expect("no test panics here")
            .push(arguments);
        result.map_err(|reason| Error::data(DataError::new(reason)))
    }
}
