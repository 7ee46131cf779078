//! How fast a window takes rows whose fields have been decoded already.
//!
//! `cargo run --release -p headwater-operators --example window_bench [variant]`

use headwater_core::env::Env;
use headwater_core::{
    Batch, Cause, Column, JsonRows, Keys, RecordsBuilder, Result, Rows, TopicPartition,
};
use headwater_operators::{Functions, Operator, Step, StepTimes, Window};
use headwater_plan::{Aggregate, AggregateFunction, Closing, Emit, WindowLength, WindowSpec, col};

const KEYS: u64 = 100_000;
const ROWS: usize = 4_000_000;
const BATCH_ROWS: usize = 1_000;
const DRAIN_ROWS: usize = 50_000;
/// Rows for each millisecond of event time.
const ROWS_PER_MS: usize = 1_000;

/// A name, and what is measured under it.
type Variant<'a> = (
    &'a str,
    WindowLength,
    (Closing, Emit),
    &'a [AggregateFunction],
);

fn main() -> Result<()> {
    let wanted = std::env::args().nth(1);
    let tumbling = WindowLength::Tumbling { size_ms: 1_000 };
    let hopping = WindowLength::Hopping {
        size_ms: 1_000,
        advance_ms: 200,
    };
    let sum = [AggregateFunction::Sum];
    let several = [
        AggregateFunction::Count,
        AggregateFunction::Mean,
        AggregateFunction::Max,
        AggregateFunction::Latest,
    ];
    let key = (Closing::Key, Emit::Final);
    let variants: [Variant<'_>; 6] = [
        ("tumbling sum", tumbling, key, &sum),
        (
            "tumbling sum, partition closing",
            tumbling,
            (Closing::Partition, Emit::Final),
            &sum,
        ),
        (
            "tumbling sum, current",
            tumbling,
            (Closing::Key, Emit::Current),
            &sum,
        ),
        ("tumbling count mean max latest", tumbling, key, &several),
        (
            "tumbling collect",
            tumbling,
            key,
            &[AggregateFunction::Collect],
        ),
        ("hopping sum, 5 windows a row", hopping, key, &sum),
    ];
    for (name, length, (closing, emit), functions) in variants {
        if wanted.as_ref().is_none_or(|wanted| name == wanted.as_str()) {
            run(name, length, (closing, emit), functions)?;
        }
    }
    Ok(())
}

fn run(
    name: &str,
    length: WindowLength,
    (closing, emit): (Closing, Emit),
    functions: &[AggregateFunction],
) -> Result<()> {
    let mut spec = WindowSpec {
        closing,
        emit,
        ..WindowSpec::new(length)
    };
    for (index, function) in functions.iter().enumerate() {
        spec.aggregates.push(Aggregate {
            output: format!("out{index}").into(),
            function: function.clone(),
            input: Some(col("speed")),
        });
    }
    let mut window = Window::new(&spec, &Functions::default(), "bench")?;
    let batches = batches();
    let partition = TopicPartition::new("bench", 0);
    let mut keyed = Default::default();
    let clock = Env::system().clock;
    let (mut results, mut changes, mut drained_ns) = (0, 0, 0);
    let mut times = StepTimes {
        before: i64::MIN,
        after: Vec::new(),
    };
    let (start, start_cpu_ns) = (clock.monotonic(), cpu_ns());
    for (index, batch) in batches.iter().enumerate() {
        times.after.clear();
        times.after.extend_from_slice(&batch.timestamps);
        let mut step = Step::new(&times, &mut keyed, &partition);
        let store = window.store().expect("a window has a store");
        store.mark();
        let batch = window.process(batch.clone(), &mut step)?;
        results += batch.map_or(0, |batch| batch.len());
        results += window.advance(&mut step)?.map_or(0, |batch| batch.len());
        assert!(step.failures.is_empty());
        let store = window.store().expect("a window has a store");
        store.release();
        if (index + 1) % (DRAIN_ROWS / BATCH_ROWS) == 0 {
            let before = clock.monotonic();
            let mut out = RecordsBuilder::default();
            store.drain_changes(&mut out);
            changes += out.finish().len();
            drained_ns += (clock.monotonic() - before).as_nanos();
        }
        times.before = times.after.last().copied().unwrap_or(times.before);
    }
    let nanos = (clock.monotonic() - start).as_nanos();
    let cpu_ns = cpu_ns() - start_cpu_ns;
    println!(
        "{name:32} {:5.2} M rows/s of CPU time, {:4} ns a row; by the clock {:5.2} M rows/s, \
         {:3} ns a row draining; {results} results, {changes} changes",
        ROWS as f64 * 1e3 / cpu_ns as f64,
        cpu_ns / ROWS as u64,
        ROWS as f64 * 1e3 / nanos as f64,
        drained_ns / ROWS as u128,
    );
    Ok(())
}

/// The time this thread has run, which other work on the machine makes longer
/// only by sharing its caches; 0 where the system does not say.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|ns| ns.parse().ok())
        .unwrap_or_default()
}

fn batches() -> Vec<Batch> {
    let mut seed = 1_u64;
    let mut random = move || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        seed >> 33
    };
    (0..ROWS / BATCH_ROWS)
        .map(|batch| {
            let names: Vec<String> = (0..BATCH_ROWS)
                .map(|_| format!("car-{:05}", random() % KEYS))
                .collect();
            let speeds: Vec<f64> = (0..BATCH_ROWS).map(|_| random() as f64 / 7.0).collect();
            let first = batch * BATCH_ROWS;
            let time = |row: usize| ((first + row) / ROWS_PER_MS) as i64 + 1_700_000_000_000;
            Batch {
                rows: Rows::Json(JsonRows::from_columns(vec![(
                    "speed".into(),
                    Column::Float(speeds.into()),
                )])),
                keys: Keys::collect(names.iter().map(|name| Some(name.as_bytes()))),
                timestamps: (0..BATCH_ROWS).map(time).collect::<Vec<_>>().into(),
                headers: None,
                causes: (0..BATCH_ROWS)
                    .map(|at| Cause::input(at).0)
                    .collect::<Vec<_>>()
                    .into(),
            }
        })
        .collect()
}
