//! The plain Rust loop of `make bench-kafka`: what passing records on costs where there
//! is no engine, by the same calls and with the same guarantee.
//!
//! ```text
//! kafka_loop BROKERS INPUT OUTPUT [at-least-once|exactly-once]
//! ```
//!
//! Prints a line of JSON. `seconds` begins with the first records and ends with the last
//! commit; who starts it takes the processor time.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use headwater_core::{Position, Result, TopicPartition};
use headwater_log::kafka::{Guarantee, KafkaLog, Options};
use headwater_log::{Committed, FetchLimits, Log, fixed};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// As the engine: how long a poll may wait and what it may bring.
const POLL: Duration = Duration::from_millis(50);
const LIMITS: FetchLimits = FetchLimits {
    records_max: 10_000,
    bytes_max: 32 << 20,
};
const INTERVAL: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, input, output, rest @ ..] = &arguments[..] else {
        panic!("kafka_loop BROKERS INPUT OUTPUT [at-least-once|exactly-once]");
    };
    let mut options = Options::new(brokers);
    options.guarantee = match rest.first().map(String::as_str) {
        Some("exactly-once") => Guarantee::ExactlyOnce,
        _ => Guarantee::AtLeastOnce,
    };
    let log = KafkaLog::new(options)?;
    let count = log.topic(input)?.map_or(0, |topic| topic.config.partitions);
    let places: Vec<_> = (0..count)
        .map(|number| TopicPartition::new(&**input, number))
        .collect();
    let start = |place: &TopicPartition| (place.clone(), Position::from_offset(0));
    let from: Vec<_> = places.iter().map(start).collect();
    let mut reader = log.reader(&from)?;
    let member = log.join(&format!("kafka-loop-{}", std::process::id()), &[])?;
    let mut transactor = member.transactor(0)?;
    let mut at: BTreeMap<TopicPartition, (Position, bool)> = BTreeMap::new();
    let (mut records, mut started, mut opened) = (0, None, Instant::now());
    loop {
        for fetched in reader.poll(POLL, LIMITS)? {
            started.get_or_insert_with(Instant::now);
            records += fetched.records.len();
            let ends = (fetched.resume, fetched.at_end);
            let place = fetched.partition;
            let target = TopicPartition::new(&**output, place.partition);
            transactor.append(&target, fetched.records)?;
            at.insert(place, ends);
        }
        let is_done = at.len() == places.len() && at.values().all(|(_, at_end)| *at_end);
        if is_done || INTERVAL <= opened.elapsed() {
            let committed = |(place, (position, _)): (&TopicPartition, &(Position, bool))| {
                let position = *position;
                let metadata = Vec::new();
                (place.clone(), Committed { position, metadata })
            };
            let positions: Vec<_> = at.iter().map(committed).collect();
            transactor.commit(&mut fixed(&positions))?;
            opened = Instant::now();
        }
        if is_done {
            break;
        }
    }
    let seconds = started.map_or(0.0, |started| started.elapsed().as_secs_f64());
    println!("{{\"records\":{records},\"records_out\":{records},\"seconds\":{seconds:.4}}}");
    Ok(())
}
