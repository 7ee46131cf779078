//! `headwater topics list|create|delete`.

use crate::Console;
use crate::flags::{Create, Delete, Form, List};
use crate::layout::{Cell, Listing, bytes, duration, json_object};
use crate::outcome::{Outcome, is_confirmed};
use headwater::core::ValueRef;
use headwater::log::{Log, TopicConfig, TopicInfo};
use headwater::{Error, Result, TopicPartition, Value, orphaned_topics, owner_of_topic};

pub(crate) fn list(log: &dyn Log, flags: &List, form: Form, console: &mut Console<'_>) -> Outcome {
    let orphans = match flags.orphaned {
        true => orphaned_topics(log)?,
        false => Vec::new(),
    };
    let mut listing = Listing::new(["topic", "partitions", "records", "kept"]);
    let mut hidden = 0;
    for topic in log.topics()? {
        let is_internal = owner_of_topic(&topic.name).is_some();
        let is_shown = match flags.orphaned {
            true => orphans.contains(&topic.name),
            false => !is_internal || flags.all,
        };
        if !is_shown {
            hidden += usize::from(is_internal && !flags.orphaned);
            continue;
        }
        let records = record_count(log, &topic)?;
        listing.push([
            Cell::text(topic.name),
            Cell::number(topic.config.partitions),
            Cell::number(records),
            kept(&topic.config),
        ]);
    }
    listing.write(form, console.out)?;
    if hidden > 0 && form == Form::Table {
        console.out.flush()?;
        writeln!(
            console.err,
            "hint: --all shows internal topics too internal=`{hidden}`"
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

fn kept(config: &TopicConfig) -> Cell {
    let number = |limit: Option<u64>| match limit.map(i64::try_from) {
        Some(Ok(limit)) => ValueRef::Int(limit),
        _ => ValueRef::Null,
    };
    let json = json_object([
        ("retention_ms", number(config.retention_ms)),
        ("retention_bytes", number(config.retention_bytes)),
        ("compacted", ValueRef::Bool(config.compacted)),
    ]);
    Cell::shown(Value::Json(json.into()), kept_text(config))
}

fn kept_text(config: &TopicConfig) -> String {
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
        replicas: None,
    };
    let is_new = log.create_topic(&flags.topic, &config)?;
    let done = if is_new { "created" } else { "exists already" };
    writeln!(console.out, "topic `{}` {done}", flags.topic)?;
    Ok(0)
}

pub(crate) fn delete(log: &dyn Log, flags: &Delete, console: &mut Console<'_>) -> Outcome {
    let names = match flags.orphaned {
        true => orphaned_topics(log)?,
        false => flags.topics.clone(),
    };
    if names.is_empty() {
        writeln!(
            console.err,
            "there are no internal topics of applications that are gone"
        )?;
        return Ok(0);
    }
    let mut doomed = Vec::new();
    for name in &names {
        let topic = find(log, name)?;
        let count = record_count(log, &topic)?;
        doomed.push(format!("`{name}` ({count} records)"));
    }
    let question = format!("delete {}?", doomed.join(", "));
    if !flags.yes && !is_confirmed(&question, console)? {
        return Ok(1);
    }
    for name in &names {
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
    let known = names.iter().filter(|known| owner_of_topic(known).is_none());
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
