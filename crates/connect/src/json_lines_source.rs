//! A file of JSON documents, one a line.
//!
//! Lines are handed on as they are, well-formed or not: the engine's policy for
//! data errors decides about a malformed one, with its bytes at hand for the
//! dead-letter topic. The source itself looks into a line only where it has to
//! find the key or the time.

use crate::file::{FilePlace, FileReader, at_line};
use crate::lines::Lines;
use crate::{Source, SourceBatch, TimestampField, TimestampFormat, Unread};
use headwater_core::env::Env;
use headwater_core::json::{Locator, decode};
use headwater_core::{
    DataError, Error, FieldPath, RecordsBuilder, Result, Span, TimestampMs, ValueRef,
};
use std::path::PathBuf;
use std::time::Duration;

/// A batch ends at this size.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// How often the end of a file that is followed is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(20);
/// What some editors put at the beginning of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a source does at the end of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AtEnd {
    /// It ends. A last line without a line break is complete.
    #[default]
    Finish,
    /// It waits for more. A last line without a line break is not there yet.
    Follow,
}

/// How a file of JSON lines is read.
#[derive(Clone, Debug, Default)]
pub struct JsonLinesSourceOptions {
    /// The top-level field that is the key: a text as it is, anything else as
    /// its JSON. A record that lacks it, or has null there, has no key.
    pub key_field: Option<String>,
    /// The field that is the event time; without it, a record is stamped with
    /// the wall-clock time at which it is read.
    pub timestamp: Option<TimestampField>,
    /// What happens at the end.
    pub at_end: AtEnd,
}

/// Reads a file of JSON documents, one a line. Blank lines are skipped.
///
/// # Examples
/// ```
/// use headwater_connect::{JsonLinesSource, JsonLinesSourceOptions, Source};
/// use headwater_core::env::Env;
/// use std::time::Duration;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("telemetry.jsonl");
/// std::fs::write(&path, "{\"car\": \"a\", \"speed\": 12.50}\n")?;
/// let options = JsonLinesSourceOptions { key_field: Some("car".into()), ..Default::default() };
/// let mut source = JsonLinesSource::new(path, options);
/// source.open(&Env::system(), None)?;
/// let batch = source.poll(Duration::ZERO, 100)?;
/// assert_eq!(batch.records.key(0), Some(b"a".as_slice()));
/// assert_eq!(batch.records.value(0), Some(br#"{"car": "a", "speed": 12.50}"#.as_slice()));
/// assert!(batch.is_end);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct JsonLinesSource {
    path: PathBuf,
    options: JsonLinesSourceOptions,
    open: Option<Open>,
}

struct Open {
    env: Env,
    lines: Lines,
    /// Of the key and the timestamp, as far as they are wanted.
    locator: Locator,
    spans: Vec<Span>,
    /// The place after the last record that was handed out.
    offset: u64,
    line: u64,
    /// A line that cannot be read and came after others.
    unread: Option<Box<Unread>>,
    /// The time of a line that is malformed and has none of its own.
    last_timestamp: TimestampMs,
}

impl std::fmt::Debug for JsonLinesSource {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "JsonLinesSource({})", self.path.display())
    }
}

impl JsonLinesSource {
    /// A source of the file at `path`.
    pub fn new(path: impl Into<PathBuf>, options: JsonLinesSourceOptions) -> Self {
        JsonLinesSource {
            path: path.into(),
            options,
            open: None,
        }
    }

    fn wanted_fields(&self) -> Vec<FieldPath> {
        let timestamp = self.options.timestamp.as_ref().map(|field| &field.name);
        let key = self.options.key_field.as_ref();
        key.into_iter()
            .chain(timestamp)
            .map(|name| FieldPath::name(name))
            .collect()
    }
}

impl Source for JsonLinesSource {
    fn open(&mut self, env: &Env, position: Option<&[u8]>) -> Result<()> {
        let reader = FileReader::open(env, &self.path)?;
        let place = match position {
            Some(position) => FilePlace::decode(position)?,
            None => FilePlace {
                offset: 0,
                line: 1,
                detail: 0,
                tail: reader.tail(0)?,
            },
        };
        reader.check(&place)?;
        let fields = self.wanted_fields();
        self.open = Some(Open {
            env: env.clone(),
            lines: Lines::new(reader, self.path.clone(), place.offset, place.line),
            spans: vec![Span::NULL; fields.len()],
            locator: Locator::new(&fields),
            offset: place.offset,
            line: place.line,
            unread: None,
            last_timestamp: place.detail as TimestampMs,
        });
        Ok(())
    }

    fn poll(&mut self, wait: Duration, records_max: usize) -> Result<SourceBatch> {
        let Some(open) = &mut self.open else {
            return Err(Error::internal("a source is polled that is not open"));
        };
        let deadline = open.env.clock.monotonic() + wait;
        loop {
            let batch = open.read(&self.path, &self.options, records_max)?;
            let now = open.env.clock.monotonic();
            let is_something = !batch.records.is_empty() || !batch.unread.is_empty();
            if batch.is_end || is_something || deadline <= now {
                return Ok(batch);
            }
            open.env.clock.sleep(FOLLOW_INTERVAL.min(deadline - now));
        }
    }

    fn is_bounded(&self) -> bool {
        self.options.at_end == AtEnd::Finish
    }

    fn close(&mut self) {
        self.open = None;
    }
}

/// What is next in the file.
enum Next {
    Record,
    Unread(Box<Unread>),
    Nothing,
}

impl Open {
    fn read(
        &mut self,
        path: &std::path::Path,
        options: &JsonLinesSourceOptions,
        records_max: usize,
    ) -> Result<SourceBatch> {
        let mut records = RecordsBuilder::default();
        let mut is_end = false;
        while self.unread.is_none()
            && records.len() < records_max
            && records.byte_count() < BATCH_BYTES_MAX
        {
            match self.next(path, options, &mut records)? {
                Next::Record => self.hand_out(),
                Next::Unread(unread) => self.unread = Some(unread),
                Next::Nothing => {
                    is_end = options.at_end == AtEnd::Finish;
                    break;
                }
            }
        }
        let unread = self.unread.take_if(|_| records.is_empty());
        if unread.is_some() {
            self.hand_out();
        }
        let tail = self.lines.reader.tail(self.offset)?;
        let place = FilePlace {
            offset: self.offset,
            line: self.line,
            detail: self.last_timestamp as u64,
            tail,
        };
        Ok(SourceBatch {
            records: records.finish(),
            position: Some(place.encode()),
            is_end,
            unread: unread.map(|record| *record).into_iter().collect(),
        })
    }

    /// What has been read counts as handed out.
    fn hand_out(&mut self) {
        (self.offset, self.line) = (self.lines.offset, self.lines.line);
    }

    /// Reads one record.
    fn next(
        &mut self,
        path: &std::path::Path,
        options: &JsonLinesSourceOptions,
        records: &mut RecordsBuilder,
    ) -> Result<Next> {
        loop {
            let is_first = self.lines.offset == 0;
            let line = self.lines.line;
            let Some(text) = self.lines.next(options.at_end == AtEnd::Finish)? else {
                return Ok(Next::Nothing);
            };
            let text = match text.strip_prefix(BYTE_ORDER_MARK) {
                Some(rest) if is_first => rest,
                _ => text,
            };
            if text.trim_ascii().is_empty() {
                continue;
            }
            let fields = Fields {
                locator: &mut self.locator,
                spans: &mut self.spans,
            };
            let (key, timestamp) = match fields.read(text, options, self.last_timestamp) {
                Ok(read) => read,
                Err(error) => {
                    return Ok(Next::Unread(Box::new(Unread {
                        error: at_line(error, path, line),
                        bytes: text.to_vec(),
                    })));
                }
            };
            let timestamp = timestamp.unwrap_or_else(|| self.env.clock.wall_ms());
            self.last_timestamp = timestamp;
            records.push(key.as_deref(), Some(text), timestamp, None);
            return Ok(Next::Record);
        }
    }
}

/// Finds key and time in a line.
struct Fields<'a> {
    locator: &'a mut Locator,
    spans: &'a mut [Span],
}

type Key = Option<Box<[u8]>>;

impl Fields<'_> {
    fn read(
        self,
        text: &[u8],
        options: &JsonLinesSourceOptions,
        last_timestamp: TimestampMs,
    ) -> Result<(Key, Option<TimestampMs>), DataError> {
        if self.spans.is_empty() {
            return Ok((None, None));
        }
        if self.locator.locate(text, self.spans).is_err() {
            // It goes on as it is, and must not move the time before it is refused.
            return Ok((None, options.timestamp.as_ref().map(|_| last_timestamp)));
        }
        let text_of = |index: usize| {
            let found: Option<&Span> = self.spans.get(index);
            found
                .and_then(|span| span.of(text))
                .map(|found| std::str::from_utf8(found).expect("located texts are UTF-8"))
        };
        let key = match &options.key_field {
            Some(name) => text_of(0)
                .map_or(Ok(None), key_of)
                .map_err(|error| error.in_field(name))?,
            None => None,
        };
        let Some(field) = &options.timestamp else {
            return Ok((key, None));
        };
        let index = usize::from(options.key_field.is_some());
        let timestamp = match text_of(index) {
            Some(found) => timestamp_of(found, field.format),
            None => Err(DataError::new("the record has no timestamp")),
        };
        Ok((
            key,
            Some(timestamp.map_err(|error| error.in_field(&field.name))?),
        ))
    }
}

fn key_of(text: &str) -> Result<Key, DataError> {
    let mut scratch = String::new();
    Ok(match decode(text, &mut scratch)? {
        ValueRef::Null => None,
        ValueRef::Str(text) => Some(text.as_bytes().into()),
        _ => Some(text.as_bytes().into()),
    })
}

fn timestamp_of(text: &str, format: TimestampFormat) -> Result<TimestampMs, DataError> {
    let mut scratch = String::new();
    match decode(text, &mut scratch)? {
        ValueRef::Str(text) => format.read(text),
        ValueRef::Null => Err(DataError::new("the record's timestamp is null")),
        _ => format.read(text),
    }
}
