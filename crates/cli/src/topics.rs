//! `headwater topics list|create|delete`.

use crate::Console;
use crate::flags::{Create, Delete, List};
use crate::layout::{bytes, columns, duration, head};
use crate::outcome::{Outcome, is_confirmed};
use headwater::log::{Log, TopicConfig, TopicInfo};
use headwater::{Error, Result, TopicPartition};

/// The beginning of the names of topics that the engine makes for itself.
const INTERNAL_PREFIXES: [&str; 2] = ["changelog__", "repartition__"];

pub(crate) fn list(log: &dyn Log, flags: &List, console: &mut Console<'_>) -> Outcome {
    let is_internal = |name: &str| {
        INTERNAL_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
    };
    let mut rows = vec![head(["TOPIC", "PARTITIONS", "RECORDS", "KEPT"])];
    let mut hidden = 0;
    for topic in log.topics()? {
        if is_internal(&topic.name) && !flags.all {
            hidden += 1;
            continue;
        }
        let records = record_count(log, &topic)?;
        rows.push(vec![
            topic.name,
            topic.config.partitions.to_string(),
            records.to_string(),
            kept(&topic.config),
        ]);
    }
    write!(console.out, "{}", columns(&rows))?;
    if hidden > 0 {
        console.out.flush()?;
        writeln!(
            console.err,
            "hint: {hidden} internal topics are shown with --all"
        )?;
    }
    Ok(0)
}

/// How many records a topic holds.
pub(crate) fn record_count(log: &dyn Log, topic: &TopicInfo) -> Result<u64> {
    let mut count = 0;
    for partition in 0..topic.config.partitions {
        let partition = TopicPartition::new(topic.name.as_str(), partition);
        count += log.waiting(&partition, log.bounds(&partition)?.start)?;
    }
    Ok(count)
}

fn kept(config: &TopicConfig) -> String {
    if config.compacted {
        return "newest of each key".to_owned();
    }
    let time = config.retention_ms.map(duration);
    let size = config
        .retention_bytes
        .map(|size| format!("{} a partition", bytes(size)));
    let limits: Vec<String> = time.into_iter().chain(size).collect();
    match limits.as_slice() {
        [] => "for ever".to_owned(),
        limits => limits.join(", "),
    }
}

pub(crate) fn create(log: &dyn Log, flags: &Create, console: &mut Console<'_>) -> Outcome {
    let default = TopicConfig::default();
    let config = TopicConfig {
        partitions: flags.partitions,
        retention_ms: flags.retention_ms.or(default.retention_ms),
        retention_bytes: flags.retention_bytes.or(default.retention_bytes),
        compacted: false,
    };
    let is_new = log.create_topic(&flags.topic, &config)?;
    let done = if is_new { "created" } else { "exists already" };
    writeln!(console.out, "topic `{}` {done}", flags.topic)?;
    Ok(0)
}

pub(crate) fn delete(log: &dyn Log, flags: &Delete, console: &mut Console<'_>) -> Outcome {
    let mut doomed = Vec::new();
    for name in &flags.topics {
        let topic = find(log, name)?;
        let count = record_count(log, &topic)?;
        doomed.push(format!("`{name}` ({count} records)"));
    }
    let question = format!("delete {}?", doomed.join(", "));
    if !flags.yes && !is_confirmed(&question, console)? {
        return Ok(1);
    }
    for name in &flags.topics {
        log.delete_topic(name)?;
        writeln!(console.out, "topic `{name}` deleted")?;
    }
    Ok(0)
}

/// A topic that exists.
pub(crate) fn find(log: &dyn Log, name: &str) -> Result<TopicInfo> {
    if let Some(topic) = log.topic(name)? {
        return Ok(topic);
    }
    let names: Vec<String> = log.topics()?.into_iter().map(|topic| topic.name).collect();
    let known = names
        .iter()
        .filter(|known| !known.starts_with(INTERNAL_PREFIXES[0]));
    let known: Vec<&str> = known.map(String::as_str).collect();
    Err(Error::invalid(format!(
        "there is no such topic topic=`{name}`\nhint: the topics of {} are: {}",
        log.describe(),
        if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        }
    )))
}
