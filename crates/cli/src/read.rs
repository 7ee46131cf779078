//! `headwater topics read`.

use crate::Console;
use crate::flags::{Form, From, Read};
use crate::layout::{json_object, one_line};
use crate::outcome::Outcome;
use crate::topics::find;
use headwater::core::json::{Locator, write_value};
use headwater::core::{Header, ValueRef};
use headwater::log::{FetchLimits, Fetched, Log, TopicInfo};
use headwater::{Error, Position, Result, TopicPartition};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long one look for new records takes.
const WAIT: Duration = Duration::from_millis(500);
/// The records of one look.
const RECORDS_MAX: u64 = 1_000;

/// What is still to be read: the end of each partition. Without `--follow`,
/// that of the moment when the command began.
type Ends = BTreeMap<TopicPartition, Position>;

pub(crate) fn read(log: &dyn Log, flags: &Read, form: Form, console: &mut Console<'_>) -> Outcome {
    let form = if flags.json { Form::Json } else { form };
    let topic = find(log, &flags.topic)?;
    let (starts, mut ends) = range(log, &topic, flags)?;
    let mut reader = log.reader(&starts)?;
    let mut left = flags.count.unwrap_or(u64::MAX);
    while left > 0 && (flags.follow || !ends.is_empty()) {
        let limits = FetchLimits {
            records_max: left.min(RECORDS_MAX) as usize,
            ..FetchLimits::default()
        };
        for fetched in reader.poll(WAIT, limits)? {
            let end = match flags.follow {
                true => None,
                false => ends.get(&fetched.partition).copied(),
            };
            if end.is_some() || flags.follow {
                let shows_partition = 1 < topic.config.partitions;
                left -= write_records(&fetched, end, left, form, shows_partition, console)?;
            }
            if end.is_some_and(|end| end <= fetched.resume) {
                ends.remove(&fetched.partition);
            }
        }
        console.out.flush()?;
    }
    Ok(0)
}

/// Where to begin in each partition, and the ends of those that hold records.
fn range(
    log: &dyn Log,
    topic: &TopicInfo,
    flags: &Read,
) -> Result<(Vec<(TopicPartition, Position)>, Ends)> {
    let count = topic.config.partitions;
    if let (From::Offset(_), None, 2..) = (flags.from, flags.partition, count) {
        return Err(Error::invalid(format!(
            "an offset belongs to one partition topic=`{}` partitions=`{count}`\n\
             hint: add --partition",
            topic.name
        )));
    }
    let partitions = match flags.partition {
        None => 0..count,
        Some(partition) => partition..partition.saturating_add(1),
    };
    let (mut starts, mut ends) = (Vec::new(), Ends::new());
    for partition in partitions {
        let partition = TopicPartition::new(topic.name.as_str(), partition);
        let bounds = log.bounds(&partition)?;
        let from = match flags.from {
            From::Earliest => bounds.start,
            From::Latest => bounds.end,
            From::Offset(offset) => Position::from_offset(offset),
        };
        if from < bounds.start || bounds.end < from {
            return Err(Error::invalid(format!(
                "the partition does not reach to this offset topic=`{}` partition=`{}` \
                 offset=`{from}` first=`{}` end=`{}`",
                topic.name, partition.partition, bounds.start, bounds.end
            )));
        }
        if from < bounds.end {
            ends.insert(partition.clone(), bounds.end);
        }
        starts.push((partition, from));
    }
    Ok((starts, ends))
}

/// Writes at most `left` records before `end`; returns how many.
fn write_records(
    fetched: &Fetched,
    end: Option<Position>,
    left: u64,
    form: Form,
    shows_partition: bool,
    console: &mut Console<'_>,
) -> std::io::Result<u64> {
    let mut count = 0;
    let mut line = Vec::new();
    for index in 0..fetched.records.len() {
        let position = fetched.positions.get(index);
        if left <= count || end.is_some_and(|end| end <= position) {
            break;
        }
        let headers = fetched.records.headers(index);
        if headwater::is_control(headers) {
            continue;
        }
        line.clear();
        match form {
            Form::Json => write_json(fetched, index, position, &mut line),
            Form::Table => write_text(fetched, index, position, shows_partition, &mut line),
        }
        line.push(b'\n');
        console.out.write_all(&line)?;
        count += 1;
    }
    Ok(count)
}

/// Offset, time, key and value, with tabs between.
fn write_text(
    fetched: &Fetched,
    index: usize,
    position: Position,
    shows_partition: bool,
    line: &mut Vec<u8>,
) {
    if shows_partition {
        line.extend_from_slice(format!("{}:", fetched.partition.partition).as_bytes());
    }
    let records = &fetched.records;
    let time = time_text(records.timestamps[index]);
    line.extend_from_slice(format!("{position}\t{time}\t").as_bytes());
    write_plain(records.key(index), line);
    line.push(b'\t');
    write_plain(records.value(index), line);
}

/// Bytes as text that stays on its line.
fn write_plain(bytes: Option<&[u8]>, line: &mut Vec<u8>) {
    let Some(bytes) = bytes else {
        line.extend_from_slice(b"null");
        return;
    };
    match std::str::from_utf8(bytes) {
        Ok(text) => line.extend_from_slice(one_line(text).as_bytes()),
        Err(_) => line.extend(bytes.escape_ascii()),
    }
}

fn time_text(timestamp_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(timestamp_ms)
        .map_or_else(|_| timestamp_ms.to_string(), |time| format!("{time:.3}"))
}

/// One JSON object.
fn write_json(fetched: &Fetched, index: usize, position: Position, line: &mut Vec<u8>) {
    let records = &fetched.records;
    let offset = position.to_string();
    let offset = match position.offset() {
        Some(_) => ValueRef::BigInt(&offset),
        None => ValueRef::Str(&offset),
    };
    let key = records.key(index).map(String::from_utf8_lossy);
    let headers = headers_json(records.headers(index));
    let value = value_json(records.value(index));
    let object = json_object([
        (
            "partition",
            ValueRef::Int(fetched.partition.partition.into()),
        ),
        ("offset", offset),
        ("timestamp", ValueRef::Int(records.timestamps[index])),
        ("key", key.as_deref().map_or(ValueRef::Null, ValueRef::Str)),
        ("value", ValueRef::Json(&value)),
        ("headers", ValueRef::Json(&headers)),
    ]);
    line.extend_from_slice(object.as_bytes());
}

/// A value as it is if it is JSON, else as a text.
pub(crate) fn value_json(value: Option<&[u8]>) -> String {
    let Some(value) = value else {
        return "null".to_owned();
    };
    let text = String::from_utf8_lossy(value);
    if Locator::new(&[]).locate(value, &mut []).is_ok() {
        return text.trim().replace(['\n', '\r'], " ");
    }
    text_json(&text)
}

fn text_json(text: &str) -> String {
    let mut json = Vec::new();
    write_value(ValueRef::Str(text), &mut json).expect("a text has a form in JSON");
    String::from_utf8_lossy(&json).into_owned()
}

pub(crate) fn headers_json(headers: &[Header]) -> String {
    let pair = |header: &Header| {
        let value = header.value.as_deref().map(String::from_utf8_lossy);
        let value = value.map_or("null".to_owned(), |value| text_json(&value));
        format!("[{},{value}]", text_json(&header.name))
    };
    let pairs: Vec<String> = headers.iter().map(pair).collect();
    format!("[{}]", pairs.join(","))
}
