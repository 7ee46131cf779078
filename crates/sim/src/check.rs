//! Compares what a run has left with what the model says.

use crate::log::Stored;
use crate::oracle::{Model, Record, canonical, canonical_text};
use crate::simulation::Simulation;
use crate::topology::{Pipeline, Step};
use crate::world::WALL_MS;
use headwater::ErrorPolicy;
use headwater::core::TopicPartition;
use headwater::core::partitioner::partition_of;
use headwater::state::{KeyReader, ValueReader};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::PoisonError;

/// Where a task's metadata keeps the watermark: after version, epoch and topic id.
const WATERMARK_AT: usize = 17;

type Key = Option<String>;
/// Rows by topic, partition and key, in order.
type Rows = BTreeMap<(String, u32, Key), Vec<(i64, String)>>;

/// What the models of all pipelines say.
#[derive(Default)]
struct Wanted {
    rows: Rows,
    dead: BTreeMap<String, Vec<String>>,
    lines: BTreeMap<String, Vec<String>>,
}

pub(crate) fn check(simulation: &Simulation) -> Result<(), String> {
    check_inputs(simulation)?;
    let mut wanted = Wanted::default();
    for pipeline in &simulation.script.topology.pipelines {
        check_pipeline(simulation, pipeline, &mut wanted)?;
    }
    let mut rows = Rows::new();
    for (topic, partitions) in &simulation.script.topology.topics {
        if *topic == "in" {
            continue;
        }
        for number in 0..*partitions {
            for record in simulation.log.stored(&TopicPartition::new(*topic, number)) {
                let key = text_of(record.key.as_deref());
                let text = canonical_text(&text_of(record.value.as_deref()).unwrap_or_default());
                let place = ((*topic).to_owned(), number, key);
                rows.entry(place)
                    .or_default()
                    .push((record.timestamp, text));
            }
        }
    }
    same_by("rows of topic, partition and key", &rows, &wanted.rows)?;
    let mut dead = BTreeMap::new();
    for topic in ["in", "mid"] {
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
    wanted.dead.retain(|_, texts| !texts.is_empty());
    wanted.dead.values_mut().for_each(|texts| texts.sort());
    same_by("dead letters", &dead, &wanted.dead)?;
    check_files(simulation, wanted.lines)
}

fn text_of(bytes: Option<&[u8]>) -> Option<String> {
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

fn check_pipeline(
    simulation: &Simulation,
    pipeline: &Pipeline,
    wanted: &mut Wanted,
) -> Result<(), String> {
    let program = &simulation.script.topology.programs[pipeline.application];
    let has_letters = matches!(program.settings.on_data_error, ErrorPolicy::DeadLetter);
    let idle_ms = program
        .settings
        .idle_timeout
        .map(|idle| idle.as_millis() as i64);
    for number in 0..simulation.partitions(pipeline.input) {
        let partition = TopicPartition::new(pipeline.input, number);
        let mut model = Model::new(pipeline);
        replay(simulation, program.name, &partition, &mut model, idle_ms)?;
        check_counts(simulation, program.name, pipeline, number, &model)?;
        for (topic, row) in model.rows() {
            let partitions = simulation.partitions(topic);
            let key = row.key.as_deref();
            let to = key.map_or(0, |key| partition_of(key.as_bytes(), partitions));
            let text = canonical(&row.value);
            if *topic == pipeline.output
                && let Some(sink) = pipeline.sink
            {
                let lines = wanted.lines.entry(sink.to_owned()).or_default();
                lines.push(text.clone());
            }
            let place = ((*topic).to_owned(), to, row.key.clone());
            wanted
                .rows
                .entry(place)
                .or_default()
                .push((row.timestamp, text));
        }
        if has_letters {
            let dead = wanted.dead.entry(pipeline.input.to_owned()).or_default();
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
) -> Result<(), String> {
    let records: Vec<Stored> = simulation.log.stored(partition);
    let mut next = 0;
    let mut reached = 0;
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
            let input = Record {
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                timestamp: record.timestamp,
            };
            model.take(input, WALL_MS);
            next += 1;
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
    match records.get(next) {
        None => Ok(()),
        Some(record) => Err(format!(
            "{partition} has not been read to its end: {record:?}"
        )),
    }
}

/// The counts that the changelog holds are those of the model.
fn check_counts(
    simulation: &Simulation,
    group: &str,
    pipeline: &Pipeline,
    number: u32,
    model: &Model,
) -> Result<(), String> {
    if !pipeline
        .steps
        .iter()
        .any(|step| matches!(step, Step::Count(_)))
    {
        return Ok(());
    }
    let prefix = format!("changelog__{group}--");
    let mut found = BTreeMap::new();
    for topic in simulation.log.changelogs(&prefix) {
        // Windows keep theirs in topics of their own; those of this input only.
        if !topic.contains(pipeline.input) {
            continue;
        }
        for record in simulation.log.stored(&TopicPartition::new(topic, number)) {
            let key = record.key.unwrap_or_default();
            let Ok((mut reader, 1)) = KeyReader::new(&key) else {
                continue;
            };
            let (Ok(key), Ok(Some(b"count"))) = (reader.bytes(), reader.bytes()) else {
                continue;
            };
            let key = text_of(key);
            match record.value {
                None => drop(found.remove(&key)),
                Some(value) => {
                    let decoded = ValueReader::new(&value)
                        .and_then(|(mut reader, expires)| {
                            Ok((text_of(Some(reader.bytes()?)), expires))
                        })
                        .map_err(|error| error.to_string())?;
                    found.insert(key, decoded);
                }
            }
        }
    }
    let counts = model.counts().into_iter().flatten();
    let wanted = counts
        .map(|(key, counted)| {
            let value = Some(counted.value.to_string());
            (key.clone(), (value, counted.expires))
        })
        .collect();
    same_by(
        &format!("counts of {}[{number}]", pipeline.input),
        &found,
        &wanted,
    )
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
