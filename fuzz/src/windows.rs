//! The changelog of windows: any records give an error, or a window that goes
//! on, is written again and closes.

use crate::input::Input;
use crate::state::{changelog_key, changelog_value};
use headwater_core::{Batch, RecordsBuilder, TopicPartition};
use headwater_operators::{Functions, Operator, Step, StepTimes, Window, stored_window};
use headwater_plan::{Aggregate, AggregateFunction, Closing, Emit, WindowLength, WindowSpec, col};

fn spec(input: &mut Input<'_>) -> WindowSpec {
    let length = match input.below(2) {
        0 => WindowLength::Tumbling { size_ms: 10 },
        _ => WindowLength::Hopping {
            size_ms: 10,
            advance_ms: 4,
        },
    };
    let mut spec = WindowSpec::new(length);
    if input.byte() & 1 == 1 {
        spec.closing = Closing::Partition;
    }
    let functions = [
        AggregateFunction::Count,
        AggregateFunction::Sum,
        AggregateFunction::Mean,
        AggregateFunction::Min,
        AggregateFunction::Max,
        AggregateFunction::First,
        AggregateFunction::Last,
        AggregateFunction::Earliest,
        AggregateFunction::Latest,
    ];
    let aggregate = |(at, function)| Aggregate {
        output: format!("o{at}").into(),
        function,
        input: Some(col("v")),
    };
    spec.aggregates = functions.into_iter().enumerate().map(aggregate).collect();
    if input.byte() & 1 == 1 {
        spec.emit = Emit::Current;
    } else {
        spec.aggregates
            .push(aggregate((9, AggregateFunction::Collect)));
    }
    spec
}

/// What a window of all aggregates writes for a few rows, so that the fuzzer
/// changes sound records instead of looking for their form.
fn sound_records(spec: &WindowSpec) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut window = window(spec);
    run(&mut window, 0);
    drain(&mut window)
}

fn window(spec: &WindowSpec) -> Window {
    Window::new(spec, &Functions::default(), "telemetry").expect("a sound window")
}

/// Any changelog of a window.
pub(crate) fn restore(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let spec = spec(&mut input);
    let mut records = sound_records(&spec);
    let mut window = window(&spec);
    while !input.is_empty() {
        let (key, value) = if input.below(3) == 0 || records.is_empty() {
            (changelog_key(&mut input), changelog_value(&mut input))
        } else {
            let at = input.below(records.len());
            damage(&mut records[at], &mut input);
            records[at].clone()
        };
        let shown = stored_window(&key, value.as_deref().unwrap_or_default());
        std::hint::black_box(shown.is_ok());
        let store = window.store().expect("a window has a store");
        if store.restore(&key, value.as_deref()).is_err() {
            return;
        }
    }
    run(&mut window, 3);
    let records = drain(&mut window);
    run(&mut window, i64::MAX);
    drain(&mut window);
    // What it wrote is a changelog of its own.
    let mut again = self::window(&spec);
    let store = again.store().expect("a window has a store");
    for (key, value) in records {
        let restored = store.restore(&key, value.as_deref());
        restored.expect("what a window writes it can read");
        if let Some(value) = value {
            stored_window(&key, &value).expect("what a window writes can be shown");
        }
    }
}

fn damage(record: &mut (Vec<u8>, Option<Vec<u8>>), input: &mut Input<'_>) {
    let (key, value) = record;
    let bytes = match (input.below(4), value) {
        (0, _) => key,
        (1, value) => {
            *value = None;
            return;
        }
        (_, Some(value)) => value,
        (_, None) => key,
    };
    let at = input.below(bytes.len().max(1));
    match input.below(3) {
        0 => bytes.truncate(at),
        1 => bytes
            .splice(at..at, input.bytes().iter().copied())
            .for_each(drop),
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = input.byte();
            }
        }
    }
}

/// One step of a few rows; then time passes to `end`.
fn run(window: &mut Window, end: i64) {
    let mut records = RecordsBuilder::default();
    let mut times = StepTimes {
        before: i64::MIN,
        after: Vec::new(),
    };
    if end != i64::MAX {
        for (at, value) in [(0, "1"), (1, "2.5"), (2, "true"), (3, "9007199254740993")] {
            let row = format!("{{\"v\":{value}}}");
            let key: &[u8] = if at == 1 { b"b" } else { b"a" };
            records.push(Some(key), Some(row.as_bytes()), at, None);
            times.after.push(at);
        }
    } else {
        times.after.push(i64::MAX);
    }
    let batch = Batch::from_records(&records.finish());
    let partition = TopicPartition::new("telemetry", 0);
    let mut keyed = Default::default();
    let store = window.store().expect("a window has a store");
    let mark = store.mark();
    // Once to be undone, once to stay.
    for is_kept in [false, true] {
        let mut step = Step::new(&times, &mut keyed, &partition);
        if !batch.is_empty() {
            let left = window.process(batch.clone(), &mut step);
            std::hint::black_box(left.expect("the step goes on").is_some());
        }
        let left = window.advance(&mut step);
        std::hint::black_box(left.expect("the step goes on").is_some());
        let store = window.store().expect("a window has a store");
        if !is_kept {
            store.rollback(mark);
        } else {
            store.release();
        }
    }
}

fn drain(window: &mut Window) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut out = RecordsBuilder::default();
    let store = window.store().expect("a window has a store");
    store.drain_changes(&mut out);
    let records = out.finish();
    (0..records.len())
        .map(|index| {
            let key = records.key(index).expect("changes have keys").to_vec();
            (key, records.value(index).map(<[u8]>::to_vec))
        })
        .collect()
}
