//! OpenTelemetry's context, as any other header: what is made of one record carries it
//! on, what is made of many does not.

mod support;

use headwater::core::{Header, RecordsBuilder, TopicPartition};
use headwater::log::{Log, TopicConfig};
use headwater::plan::{Aggregate, AggregateFunction};
use headwater::{DataFrame, Emit, ErrorPolicy, WindowLength, WindowSpec, col};
use std::sync::Arc;
use support::functions::Registry;
use support::{Out, Variant, WALL_MS};

const CONTEXT: [(&str, &str); 3] = [
    (
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
    ("tracestate", "vendor=t61rcWkgMzE"),
    ("baggage", "tenant=ada"),
];

/// A record with a trace of its own, and a neighbour without one.
fn fill(log: &dyn Log, values: &[(&str, bool)]) {
    log.create_topic("in", &TopicConfig::default())
        .expect("a topic");
    let mut records = RecordsBuilder::default();
    for (value, is_traced) in values {
        let headers = CONTEXT.map(|(name, value)| Header {
            name: name.into(),
            value: Some(value.as_bytes().into()),
        });
        let headers = is_traced.then(|| headers.into());
        records.push(Some(b"k"), Some(value.as_bytes()), WALL_MS, headers);
    }
    let mut producer = log.producer().expect("a producer");
    let to = TopicPartition::new("in", 0);
    producer.append(&to, records.finish()).expect("appends");
    producer.flush().expect("flushes");
}

fn is_traced(record: &Out) -> bool {
    let has = |(name, value): &(&str, &str)| record.header(name) == *value;
    let count = CONTEXT.iter().filter(|context| has(context)).count();
    assert!(
        count == 0 || count == CONTEXT.len(),
        "all or nothing: {record:?}"
    );
    0 < count
}

fn check(log: Arc<dyn Log>, env: &headwater::core::env::Env, rows_max: usize) {
    let values = [
        (r#"{"x":1,"c":"a"}"#, true),
        (r#"{"x":2,"c":"b"}"#, false),
        (r#"{"x":"#, true),
        (r#"{"x":-1,"c":"a"}"#, true),
        (r#"{"x":"text","c":"a"}"#, true),
    ];
    fill(&*log, &values);
    let mut registry = Registry::default();
    let assigned = DataFrame::topic("in")
        .filter(col("x").not_null())
        .assign("y", col("x") * 2)
        .filter(col("y").gt(0));
    let twice = registry.stateful(&assigned, "twice", true, |row, _| {
        Ok(vec![row.clone(), row.clone()])
    });
    let count = Aggregate {
        output: "n".into(),
        function: AggregateFunction::Count,
        input: None,
    };
    let windows = assigned.window(WindowSpec {
        aggregates: vec![count],
        emit: Emit::Current,
        ..WindowSpec::new(WindowLength::Tumbling { size_ms: 1_000 })
    });
    let frames = [
        assigned.to_topic("assigned"),
        twice.to_topic("twice"),
        assigned.group_by("city", col("c")).to_topic("by-city"),
        windows.to_topic("windows"),
    ];
    let variant = Variant {
        batch_rows_max: rows_max,
        ..Variant::plain(ErrorPolicy::DeadLetter)
    };
    // The second run reads what the last epoch of the first has sent to the repartition
    // topic.
    for _ in 0..2 {
        support::run(&log, env, &frames, &registry.functions, &variant).expect("runs");
    }
    let traced = |topic: &str| -> Vec<bool> {
        let records = support::read(&*log, topic);
        records.iter().map(is_traced).collect()
    };
    assert_eq!(traced("assigned"), [true, false]);
    assert_eq!(traced("twice"), [true, true, false, false]);
    assert_eq!(traced("by-city"), [true, false]);
    // Malformed, and a text that cannot be doubled.
    assert_eq!(traced("in.dead-letter"), [true, true]);
    // Each is made of all rows of its window so far.
    assert_eq!(traced("windows"), [false, false]);
}

#[test]
fn a_trace_goes_on_with_what_is_made_of_its_record() {
    for rows_max in [1, 100] {
        let (log, env) = support::memory();
        check(log, &env, rows_max);
        let folder = support::scratch();
        let (log, env) = support::embedded(folder.path());
        check(log, &env, rows_max);
    }
}
