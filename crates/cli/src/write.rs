//! `headwater topics write`.

use crate::Console;
use crate::flags::Write;
use crate::outcome::Outcome;
use crate::topics::find;
use headwater::core::env::Env;
use headwater::core::json::{Locator, decode, elements};
use headwater::core::partitioner::partition_of;
use headwater::core::{FieldPath, Header, Headers, RecordsBuilder, Span, ValueRef};
use headwater::log::{Log, Producer};
use headwater::{Error, Result, TopicPartition};
use std::collections::BTreeMap;

/// The records that are appended at once, at most.
const RECORDS_MAX: usize = 1_000;

/// Appends what the input says. Lines that are there together are appended together; so a
/// pipe that gives one now and then is written at once.
pub(crate) fn write(log: &dyn Log, flags: &Write, console: &mut Console<'_>) -> Outcome {
    let topic = find(log, &flags.topic)?;
    let partitions = topic.config.partitions;
    if let Some(partition) = flags.partition.filter(|own| partitions <= *own) {
        return Err(Error::invalid(format!(
            "there is no such partition topic=`{}` partition=`{partition}` partitions=`{partitions}`",
            topic.name
        ))
        .into());
    }
    let mut lines = Lines {
        fields: Locator::new(&FIELDS.map(FieldPath::name)),
        wall_ms: 0,
        partitions,
        flags,
        topic: topic.name.as_str().into(),
        number: 0,
        written: 0,
        pending: BTreeMap::new(),
    };
    let mut producer = log.producer()?;
    let mut rest: Vec<u8> = Vec::new();
    let clock = Env::system().clock;
    loop {
        let chunk = console.input.fill_buf()?;
        let (len, is_end) = (chunk.len(), chunk.is_empty());
        rest.extend_from_slice(chunk);
        console.input.consume(len);
        lines.wall_ms = clock.wall_ms();
        let complete = match is_end {
            true => rest.len(),
            false => rest
                .iter()
                .rposition(|&byte| byte == b'\n')
                .map_or(0, |at| at + 1),
        };
        for line in rest[..complete].split_inclusive(|&byte| byte == b'\n') {
            if let Err(error) = lines.take(line) {
                // What stands before it is written, so that who mends it can go on there.
                lines.append(&mut *producer)?;
                let written = lines.written;
                writeln!(console.err, "{written} records written to `{}`", topic.name)?;
                return Err(error.into());
            }
            if RECORDS_MAX <= lines.pending_count() {
                lines.append(&mut *producer)?;
            }
        }
        rest.drain(..complete);
        lines.append(&mut *producer)?;
        if is_end {
            break;
        }
    }
    writeln!(
        console.err,
        "{} records written to `{}`",
        lines.written, topic.name
    )?;
    Ok(0)
}

const FIELDS: [&str; 4] = ["key", "value", "timestamp", "headers"];

/// Lines on their way into a topic.
struct Lines<'a> {
    fields: Locator,
    wall_ms: i64,
    partitions: u32,
    flags: &'a Write,
    topic: std::sync::Arc<str>,
    /// The line that is read, from 1.
    number: u64,
    /// The records that are in the topic.
    written: u64,
    pending: BTreeMap<u32, RecordsBuilder>,
}

impl Lines<'_> {
    fn take(&mut self, line: &[u8]) -> Result<()> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.number += 1;
        if line.is_empty() {
            return Ok(());
        }
        if self.flags.json {
            return self.take_json(line);
        }
        let tab = line.iter().position(|&byte| byte == b'\t');
        let (key, value) = match tab {
            Some(tab) => (Some(&line[..tab]), &line[tab + 1..]),
            None => (None, line),
        };
        self.push(key, Some(value), self.wall_ms, None);
        Ok(())
    }

    fn take_json(&mut self, line: &[u8]) -> Result<()> {
        let mut spans = [Span::NULL; FIELDS.len()];
        let malformed = |reason: String| {
            Error::invalid(format!(
                "a line of the input is no record: {reason} line=`{}`\n\
                 hint: one JSON object a line, as `headwater topics read --output json` prints",
                self.number
            ))
        };
        self.fields
            .locate(line, &mut spans)
            .map_err(|error| malformed(error.to_string()))?;
        let text_of = |span: Span| -> Option<&str> {
            let text = std::str::from_utf8(span.of(line)?).ok()?;
            (text != "null").then_some(text)
        };
        let [key, value, timestamp, headers] = spans.map(text_of);
        let mut scratch = String::new();
        let key = match key.map(|key| decode(key, &mut scratch)).transpose() {
            Ok(Some(ValueRef::Str(key))) => Some(key.as_bytes().to_vec()),
            Ok(None) => None,
            _ => return Err(malformed("its key is no text".into())),
        };
        let timestamp = match timestamp.map(str::parse) {
            None => self.wall_ms,
            Some(Ok(timestamp)) => timestamp,
            Some(Err(_)) => return Err(malformed("its timestamp is no integer".into())),
        };
        if spans[1].of(line).is_none() {
            return Err(malformed("it has no value".into()));
        }
        let headers = match headers {
            None => None,
            Some(headers) => Some(
                headers_of(headers)
                    .ok_or_else(|| malformed("its headers are no list of [name, value]".into()))?,
            ),
        };
        let value = value.map(str::as_bytes).map(<[u8]>::to_vec);
        self.push(
            key.as_deref(),
            value.as_deref(),
            timestamp,
            headers.flatten(),
        );
        Ok(())
    }

    fn push(&mut self, key: Option<&[u8]>, value: Option<&[u8]>, timestamp: i64, headers: Headers) {
        let by_key = || key.map_or(0, |key| partition_of(key, self.partitions));
        let partition = self.flags.partition.unwrap_or_else(by_key);
        let records = self.pending.entry(partition).or_default();
        records.push(key, value, timestamp, headers);
    }

    fn pending_count(&self) -> usize {
        self.pending.values().map(RecordsBuilder::len).sum()
    }

    fn append(&mut self, producer: &mut dyn Producer) -> Result<()> {
        let count = self.pending_count() as u64;
        for (partition, records) in std::mem::take(&mut self.pending) {
            let to = TopicPartition::new(std::sync::Arc::clone(&self.topic), partition);
            producer.append(&to, records.finish())?;
        }
        producer.flush()?;
        self.written += count;
        Ok(())
    }
}

/// Headers of `[[name, value], ...]`; `None` if it is none.
fn headers_of(text: &str) -> Option<Headers> {
    let text_of = |json: &str| {
        let mut scratch = String::new();
        match decode(json, &mut scratch) {
            Ok(ValueRef::Str(text)) => Some(text.to_owned()),
            _ => None,
        }
    };
    let mut headers = Vec::new();
    for pair in elements(text)? {
        let parts: Vec<&str> = elements(pair)?.collect();
        let [name, value] = parts.as_slice() else {
            return None;
        };
        let value = match *value {
            "null" => None,
            value => Some(text_of(value)?.into_bytes().into()),
        };
        headers.push(Header {
            name: text_of(name)?.into(),
            value,
        });
    }
    Some((!headers.is_empty()).then(|| headers.into()))
}
