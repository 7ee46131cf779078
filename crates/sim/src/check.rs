//! Compares what a run has left with what the model says.

use crate::at_least_once;
use crate::log::Stored;
use crate::naive::{canonical, canonical_text};
use crate::oracle::{Model, Record};
use crate::simulation::Simulation;
use crate::topology::{Segment, Step};
use crate::world::WALL_MS;
use headwater::ErrorPolicy;
use headwater::core::TopicPartition;
use headwater::core::partitioner::partition_of;
use headwater::state::{KeyReader, ValueReader};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// Where a task's metadata keeps the watermark: after version, epoch and topic id.
const WATERMARK_AT: usize = 17;

type Key = Option<String>;
/// A topic, a partition and a key.
type Place = (String, u32, Key);
/// Rows by place, in order.
type Rows = BTreeMap<Place, Vec<(i64, String)>>;

/// What the models of all pipelines say.
#[derive(Default)]
struct Wanted {
    rows: Rows,
    /// What each task has sent to each place of a repartition topic, in order.
    flows: Vec<(Place, Vec<(i64, String)>)>,
    dead: BTreeMap<String, Vec<String>>,
    lines: BTreeMap<String, Vec<String>>,
    /// By application.
    counts: BTreeMap<usize, Counts>,
}

/// What the reports of an application must add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    records_in: u64,
    records_out: u64,
    late: u64,
    failed: u64,
}

pub(crate) fn check(simulation: &Simulation) -> Result<(), String> {
    check_inputs(simulation)?;
    let mut wanted = Wanted::default();
    let segments = simulation.script.topology.segments();
    let programs = &simulation.script.topology.programs;
    let (repeating, exact): (Vec<&Segment>, Vec<&Segment>) =
        (segments.iter()).partition(|segment| programs[segment.application].is_repeating);
    for segment in &repeating {
        at_least_once::check(simulation, segment)?;
    }
    for segment in exact {
        check_segment(simulation, segment, &mut wanted)?;
    }
    let is_repeated = |topic: &str| {
        let mut writers = repeating.iter();
        writers.any(|segment| {
            let is_tee = |step: &Step| matches!(step, Step::Tee(to) if *to == topic);
            segment.output == topic || segment.steps.iter().any(is_tee)
        })
    };
    let mut rows = Rows::new();
    let topics = simulation
        .script
        .topology
        .topics
        .iter()
        .map(|(topic, _)| *topic);
    let internal = segments.iter().filter(|segment| segment.upstream.is_some());
    let topics = topics.chain(internal.map(|segment| segment.input.as_str()));
    for topic in topics.filter(|topic| *topic != "in" && !is_repeated(topic)) {
        for number in 0..simulation.partitions(topic) {
            let stored = simulation.log.stored(&TopicPartition::new(topic, number));
            for record in stored
                .into_iter()
                .filter(|record| announced(record).is_none())
            {
                let key = text_of(record.key.as_deref());
                let text = canonical_text(&text_of(record.value.as_deref()).unwrap_or_default());
                let place = (topic.to_owned(), number, key);
                rows.entry(place)
                    .or_default()
                    .push((record.timestamp, text));
            }
        }
    }
    // Several tasks write a key of a repartition topic: each keeps its own order.
    for (place, flow) in &wanted.flows {
        let found = rows.get(place).map(Vec::as_slice).unwrap_or_default();
        if !is_within(flow, found) {
            return Err(format!(
                "the order of a task's rows in {place:?}:\n    found  {found:?}\n    wanted {flow:?}"
            ));
        }
    }
    for list in [&mut rows, &mut wanted.rows] {
        let internal = list
            .iter_mut()
            .filter(|((topic, ..), _)| is_internal(topic));
        internal.for_each(|(_, rows)| rows.sort());
    }
    same_by("rows of topic, partition and key", &rows, &wanted.rows)?;
    check_dead(simulation, wanted.dead)?;
    check_files(simulation, wanted.lines)?;
    check_reports(simulation, &wanted.counts)
}

fn check_dead(
    simulation: &Simulation,
    mut wanted: BTreeMap<String, Vec<String>>,
) -> Result<(), String> {
    let mut dead = BTreeMap::new();
    let topology = &simulation.script.topology;
    let segments = topology.segments();
    let exact = segments
        .iter()
        .filter(|segment| !topology.programs[segment.application].is_repeating);
    for topic in exact.map(|segment| segment.input.as_str()) {
        let letters = simulation
            .log
            .stored(&TopicPartition::new(format!("{topic}.dead-letter"), 0));
        let texts = letters.iter().map(|letter| {
            canonical_text(&text_of(letter.value.as_deref()).unwrap_or_else(|| "<null>".into()))
        });
        let mut texts: Vec<String> = texts.collect();
        texts.sort();
        if !texts.is_empty() {
            dead.insert(topic.to_owned(), texts);
        }
    }
    wanted.retain(|_, texts| !texts.is_empty());
    wanted.values_mut().for_each(|texts| texts.sort());
    same_by("dead letters", &dead, &wanted)
}

pub(crate) fn is_internal(topic: &str) -> bool {
    topic.starts_with("repartition__")
}

/// Whether some rows are among others, in the same order.
fn is_within<T: PartialEq>(some: &[T], others: &[T]) -> bool {
    let mut others = others.iter();
    some.iter().all(|row| others.any(|other| other == row))
}

pub(crate) fn text_of(bytes: Option<&[u8]>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// Compares two maps and names the first difference.
fn same_by<K: Ord + Debug, V: PartialEq + Debug>(
    what: &str,
    found: &BTreeMap<K, V>,
    wanted: &BTreeMap<K, V>,
) -> Result<(), String> {
    for key in found.keys().chain(wanted.keys()) {
        let (found, wanted) = (found.get(key), wanted.get(key));
        if found != wanted {
            return Err(format!(
                "{what} {key:?}:\n    found  {found:?}\n    wanted {wanted:?}"
            ));
        }
    }
    Ok(())
}

/// What the log has acknowledged is there once, and nothing of an aborted transaction.
fn check_inputs(simulation: &Simulation) -> Result<(), String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for number in 0..simulation.partitions("in") {
        for record in simulation.log.stored(&TopicPartition::new("in", number)) {
            let text = text_of(record.value.as_deref()).unwrap_or_default();
            if text.contains("\"ghost\"") {
                return Err(format!("an aborted record can be read: {text}"));
            }
            *counts.entry(text).or_default() += 1;
        }
    }
    let acknowledged = simulation
        .acknowledged
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let is_unique = |text: &&String| text.contains("\"id\"");
    for text in acknowledged.iter().filter(is_unique) {
        if counts.get(text) != Some(&1) {
            return Err(format!(
                "an acknowledged record is there {:?} times: {text}",
                counts.get(text)
            ));
        }
    }
    Ok(())
}

fn check_segment(
    simulation: &Simulation,
    segment: &Segment,
    wanted: &mut Wanted,
) -> Result<(), String> {
    let program = &simulation.script.topology.programs[segment.application];
    let has_letters = matches!(program.settings.on_data_error, ErrorPolicy::DeadLetter);
    let idle_ms = program
        .settings
        .idle_timeout
        .map(|idle| idle.as_millis() as i64);
    for number in 0..simulation.partitions(&segment.input) {
        let partition = TopicPartition::new(segment.input.as_str(), number);
        let upstream = segment.upstream.as_deref();
        let upstream = upstream.map_or(0, |topic| simulation.partitions(topic));
        let mut model = Model::new(segment, upstream);
        let read = replay(simulation, program.name, &partition, &mut model, idle_ms)?;
        check_counts(simulation, program.name, segment, number, &model)?;
        let counts = wanted.counts.entry(segment.application).or_default();
        counts.records_in += read;
        counts.records_out += model.rows().len() as u64;
        counts.late += model.late();
        counts.failed += model.dead().len() as u64;
        let mut own = Rows::new();
        for (topic, row) in model.rows() {
            let partitions = simulation.partitions(topic);
            let key = row.key.as_deref();
            let to = key.map_or(0, |key| partition_of(key.as_bytes(), partitions));
            let text = canonical(&row.value);
            if *topic == segment.output
                && let Some(sink) = segment.sink
            {
                let lines = wanted.lines.entry(sink.to_owned()).or_default();
                lines.push(text.clone());
            }
            let place = (topic.clone(), to, row.key.clone());
            own.entry(place).or_default().push((row.timestamp, text));
        }
        for (place, rows) in own {
            if is_internal(&place.0) {
                wanted.flows.push((place.clone(), rows.clone()));
            }
            wanted.rows.entry(place).or_default().extend(rows);
        }
        if has_letters {
            let dead = wanted.dead.entry(segment.input.clone()).or_default();
            dead.extend(model.dead().iter().cloned());
        }
    }
    Ok(())
}

/// Feeds a model what an application has committed: records up to each committed
/// position, then a tick where the watermark stands beyond them.
fn replay(
    simulation: &Simulation,
    group: &str,
    partition: &TopicPartition,
    model: &mut Model,
    idle_ms: Option<i64>,
) -> Result<u64, String> {
    let records: Vec<Stored> = simulation.log.stored(partition);
    let (mut next, mut reached, mut read) = (0, 0, 0);
    for (of, committed) in simulation.log.history(group) {
        if of != *partition {
            continue;
        }
        let to = committed.position.offset().unwrap_or_default();
        if to < reached {
            return Err(format!(
                "the committed position of {partition} goes back from {reached} to {to}"
            ));
        }
        reached = to;
        while let Some(record) = records.get(next).filter(|record| record.offset < to) {
            if let Some((from, is_idle, time)) = announced(record) {
                model.hear(from, is_idle, time, idle_ms);
                next += 1;
                continue;
            }
            let input = Record {
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                timestamp: record.timestamp,
            };
            model.take(input, WALL_MS);
            next += 1;
            read += 1;
        }
        let bytes = committed.metadata.get(WATERMARK_AT..WATERMARK_AT + 8);
        let watermark = bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(i64::from_le_bytes);
        let watermark = watermark.ok_or("a commit without a watermark")?;
        if watermark < model.watermark() {
            return Err(format!(
                "the committed watermark of {partition} at {to} is {watermark}, wanted {}",
                model.watermark()
            ));
        }
        if model.watermark() < watermark {
            let idle_ms =
                idle_ms.ok_or_else(|| format!("time went on by itself in {partition}"))?;
            model.tick(watermark, idle_ms);
        }
    }
    let left = records.get(next..).unwrap_or_default().iter();
    match left.clone().find(|record| announced(record).is_none()) {
        None => Ok(read),
        Some(record) => Err(format!(
            "{partition} has not been read to its end: {record:?}"
        )),
    }
}

/// The counts that the changelog holds are those of the model.
fn check_counts(
    simulation: &Simulation,
    group: &str,
    segment: &Segment,
    number: u32,
    model: &Model,
) -> Result<(), String> {
    if !segment
        .steps
        .iter()
        .any(|step| matches!(step, Step::Count(_)))
    {
        return Ok(());
    }
    let topic = format!("changelog__{group}--{}--default", segment.stream);
    let mut found = BTreeMap::new();
    for record in simulation.log.stored(&TopicPartition::new(topic, number)) {
        let key = record.key.unwrap_or_default();
        let Ok((mut reader, 1)) = KeyReader::new(&key) else {
            continue;
        };
        let (Ok(key), Ok(Some(b"count"))) = (reader.bytes(), reader.bytes()) else {
            continue;
        };
        let key = text_of(key);
        let Some(value) = record.value else {
            found.remove(&key);
            continue;
        };
        let decoded = ValueReader::new(&value)
            .and_then(|(mut reader, expires)| Ok((text_of(Some(reader.bytes()?)), expires)))
            .map_err(|error| error.to_string())?;
        found.insert(key, decoded);
    }
    let counts = model.counts().into_iter().flatten();
    let wanted = counts
        .map(|(key, counted)| {
            let value = Some(counted.value.to_string());
            (key.clone(), (value, counted.expires))
        })
        .collect();
    same_by(
        &format!("counts of {}[{number}]", segment.input),
        &found,
        &wanted,
    )
}

/// What a task says of its time in a repartition topic: its partition, whether it waits
/// for nothing more, and its time.
pub(crate) fn announced(record: &Stored) -> Option<(usize, bool, i64)> {
    let headers = record.headers.as_deref()?;
    let control = headers
        .iter()
        .find(|header| &*header.name == "headwater.control")?;
    let bytes = control.value.as_deref()?;
    let partition = u32::from_le_bytes(bytes.get(1..5)?.try_into().ok()?);
    let time = i64::from_le_bytes(bytes.get(6..14)?.try_into().ok()?);
    Some((partition as usize, bytes[5] != 0, time))
}

/// The public counters obey the conservation law: what came in is what the model took,
/// and all of it went out, was late or failed as the model says. Only runs whose
/// reports are all there can be added up.
fn check_reports(simulation: &Simulation, wanted: &BTreeMap<usize, Counts>) -> Result<(), String> {
    let topology = &simulation.script.topology;
    let reports = simulation
        .reports
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    for (&application, wanted) in wanted {
        let segments = topology.segments();
        let mut own = segments
            .iter()
            .filter(|known| known.application == application);
        // Internal records count as neither in nor out.
        let is_grouped = own.any(|segment| segment.upstream.is_some());
        // Where instances share a group, one that does not know whether its commit
        // happened cannot find out once another has gone on: it does not count it.
        let is_shared = topology.programs[application].processes > 1;
        let has_doubts = is_shared
            && simulation
                .world
                .fired()
                .iter()
                .any(|fault| fault.trouble.is_doubt());
        let is_lost = simulation.uncounted[application].load(Ordering::Acquire) > 0;
        if is_grouped || has_doubts || is_lost {
            continue;
        }
        let mut found = Counts::default();
        for report in &reports[application] {
            found.records_in += report.records_in;
            found.records_out += report.records_out;
            found.late += report.late;
            found.failed += report.skipped + report.dead_lettered;
        }
        if found != *wanted {
            return Err(format!(
                "the counts of application {application}:\n    found  {found:?}\n    wanted {wanted:?}"
            ));
        }
    }
    Ok(())
}

fn check_files(
    simulation: &Simulation,
    mut wanted: BTreeMap<String, Vec<String>>,
) -> Result<(), String> {
    for (sink, lines) in &mut wanted {
        lines.sort();
        let bytes = simulation.disk.contents(&Simulation::path_of(sink));
        let text = text_of(bytes.as_deref()).unwrap_or_default();
        let mut found: Vec<String> = text.lines().map(canonical_text).collect();
        found.sort();
        if found != *lines {
            return Err(format!(
                "the file of sink {sink}:\n    found  {found:?}\n    wanted {lines:?}"
            ));
        }
    }
    Ok(())
}
