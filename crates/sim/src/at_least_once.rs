//! What at-least-once must leave: nothing is lost, whatever comes twice.
//!
//! What a repeated epoch does to an aggregate is not promised, so less can be said than
//! of exactly-once, and it is said of the segments that show it:
//!
//! - **Without state**: the rows are those of the model, each at least once, and no other.
//! - **Counts**: a key's counts have no gap. A record that is counted again gets the next
//!   count, and what has expired begins at one; a count that the state knows and the output
//!   does not is a gap.
//! - **Windows** that time alone closes: each of the model's results is there, with
//!   whatever numbers.

use crate::check::{announced, text_of};
use crate::naive::{canonical, canonical_text};
use crate::oracle::{Model, Record};
use crate::simulation::Simulation;
use crate::topology::{Segment, Step};
use crate::world::WALL_MS;
use headwater::core::TopicPartition;
use headwater::core::partitioner::partition_of;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// A record of a topic: partition, key, time, text.
type Place = (u32, Option<String>, i64, String);

pub(crate) fn check(simulation: &Simulation, segment: &Segment) -> Result<(), String> {
    let program = &simulation.script.topology.programs[segment.application];
    let before_state = |step: &&Step| !matches!(step, Step::Count(_) | Step::Window(..));
    let stateless = segment.steps.iter().take_while(before_state).count();
    let after = segment.steps.get(stateless + 1..).unwrap_or_default();
    match segment.steps.get(stateless) {
        None => check_stateless(simulation, segment),
        Some(Step::Count(_)) if after.iter().all(keeps_counts) => check_counts(simulation, segment),
        Some(Step::Window(rules, _))
            if rules.is_final && after.is_empty() && program.settings.idle_timeout.is_none() =>
        {
            check_windows(simulation, segment)
        }
        _ => Ok(()),
    }
}

/// A step that drops no rows; one that fails takes the count back.
fn keeps_counts(step: &Step) -> bool {
    !matches!(
        step,
        Step::FilterAbove(..) | Step::Window(..) | Step::Count(_)
    )
}

/// What the model makes of the input as it stands in the log.
fn models(simulation: &Simulation, segment: &Segment) -> Vec<Model> {
    let upstream = segment.upstream.as_deref();
    let upstream = upstream.map_or(0, |topic| simulation.partitions(topic));
    let of_partition = |number| {
        let mut model = Model::new(segment, upstream);
        let partition = TopicPartition::new(segment.input.as_str(), number);
        let to = processed(simulation, segment, &partition);
        let stored = simulation.log.stored(&partition).into_iter();
        for record in stored.take_while(|record| record.offset < to) {
            match announced(&record) {
                Some((from, is_idle, time)) => model.hear(from, is_idle, time, None),
                None => model.take(
                    Record {
                        key: record.key.as_deref(),
                        value: record.value.as_deref(),
                        timestamp: record.timestamp,
                    },
                    WALL_MS,
                ),
            }
        }
        model
    };
    (0..simulation.partitions(&segment.input))
        .map(of_partition)
        .collect()
}

/// How far an application has committed that it is in a partition: what time it is may
/// be told once more just before it is stopped.
fn processed(simulation: &Simulation, segment: &Segment, partition: &TopicPartition) -> u64 {
    let program = &simulation.script.topology.programs[segment.application];
    let history = simulation.log.history(&program.settings.name);
    let own = history.into_iter().filter(|(of, _)| of == partition);
    own.last()
        .map_or(0, |(_, committed)| committed.position.offset().unwrap_or(0))
}

/// The records of a topic, with their values.
fn found(simulation: &Simulation, topic: &str) -> Vec<(Place, Json)> {
    let mut found = Vec::new();
    for number in 0..simulation.partitions(topic) {
        let stored = simulation.log.stored(&TopicPartition::new(topic, number));
        for record in stored.iter().filter(|record| announced(record).is_none()) {
            let text = text_of(record.value.as_deref()).unwrap_or_default();
            let value = serde_json::from_str(&text).unwrap_or(Json::Null);
            let key = text_of(record.key.as_deref());
            let place = (number, key, record.timestamp, canonical_text(&text));
            found.push((place, value));
        }
    }
    found
}

fn check_stateless(simulation: &Simulation, segment: &Segment) -> Result<(), String> {
    let mut wanted: BTreeMap<String, BTreeSet<Place>> = BTreeMap::new();
    for model in models(simulation, segment) {
        for (topic, row) in model.rows() {
            let partitions = simulation.partitions(topic);
            let key = row.key.as_deref();
            let to = key.map_or(0, |key| partition_of(key.as_bytes(), partitions));
            let place = (to, row.key.clone(), row.timestamp, canonical(&row.value));
            wanted.entry(topic.clone()).or_default().insert(place);
        }
    }
    wanted.entry(segment.output.clone()).or_default();
    for (topic, wanted) in wanted {
        let found = found(simulation, &topic).into_iter();
        let found: BTreeSet<Place> = found.map(|(place, _)| place).collect();
        let lost = wanted.difference(&found).next();
        let strange = found.difference(&wanted).next();
        if lost.or(strange).is_some() {
            return Err(format!(
                "at least once, {topic}: lost {lost:?}, strange {strange:?}"
            ));
        }
    }
    Ok(())
}

fn check_counts(simulation: &Simulation, segment: &Segment) -> Result<(), String> {
    // A row may have another key since it was counted.
    let counted = found(simulation, &segment.input).into_iter();
    let counted = counted.filter_map(|((_, key, ..), row)| Some((id_of(&row)?, key)));
    let counted: BTreeMap<i64, Option<String>> = counted.collect();
    let mut counts: BTreeMap<Option<String>, BTreeSet<i64>> = BTreeMap::new();
    for ((_, key, ..), row) in found(simulation, &segment.output) {
        let key = id_of(&row)
            .and_then(|id| counted.get(&id))
            .unwrap_or(&key)
            .clone();
        let count = row.get("count").and_then(Json::as_i64);
        counts.entry(key).or_default().extend(count);
    }
    for (key, counts) in &counts {
        let last = counts.last().copied().unwrap_or_default();
        let gap = (1..=last).find(|count| count % 7 != 0 && !counts.contains(count));
        if let Some(gap) = gap {
            return Err(format!(
                "at least once, {}: count {gap} of {key:?} is lost: {counts:?}",
                segment.output
            ));
        }
    }
    Ok(())
}

fn id_of(row: &Json) -> Option<i64> {
    row.get("id").and_then(Json::as_i64)
}

fn check_windows(simulation: &Simulation, segment: &Segment) -> Result<(), String> {
    let found = found(simulation, &segment.output);
    let found: BTreeSet<(&Option<String>, i64)> = found
        .iter()
        .map(|((_, key, start, _), _)| (key, *start))
        .collect();
    for model in models(simulation, segment) {
        let of_output = |(topic, _): &&(String, _)| *topic == segment.output;
        for (_, row) in model.rows().iter().filter(of_output) {
            if !found.contains(&(&row.key, row.timestamp)) {
                return Err(format!(
                    "at least once, {}: the result of a window is lost: {row:?}",
                    segment.output
                ));
            }
        }
    }
    Ok(())
}
