//! A file of comma-separated values.
//!
//! A row becomes a JSON object in the order of the columns. Rows are read one
//! after the other from the bytes that the last commit named, so a restart does
//! not read what it has read before, and what one row becomes does not depend
//! on any other.

use crate::csv_cell::{CellTypes, write_cell};
use crate::file::{FilePlace, FileReader, at_line, file_error, fingerprint};
use crate::{Source, SourceBatch, TimestampField, Unread};
use csv::ByteRecord;
use headwater_core::env::Env;
use headwater_core::json::write_key;
use headwater_core::{DataError, Error, RecordsBuilder, Result, TimestampMs};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A batch ends at this size.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// How a CSV file is read.
#[derive(Clone, Debug)]
pub struct CsvSourceOptions {
    /// What separates cells.
    pub delimiter: u8,
    /// What cells become.
    pub types: CellTypes,
    /// The cells that become null. pandas' longer list has `NA` and `None`,
    /// which are names as often as not; add them where they aren't.
    pub null_values: Vec<String>,
    /// The column that is the key, as its text. An empty cell is no key.
    pub key_column: Option<String>,
    /// The column that is the event time; without it, a record is stamped with
    /// the wall-clock time at which it is read.
    pub timestamp: Option<TimestampField>,
    /// The time from one row to the next, to play a file like a live stream.
    pub delay: Duration,
}

impl Default for CsvSourceOptions {
    fn default() -> Self {
        CsvSourceOptions {
            delimiter: b',',
            types: CellTypes::default(),
            null_values: ["", "nan", "NaN", "null", "NULL"].map(String::from).into(),
            key_column: None,
            timestamp: None,
            delay: Duration::ZERO,
        }
    }
}

/// Reads a CSV file (RFC 4180, UTF-8) whose first row names the columns.
///
/// As in pandas, a second column of one name becomes `name.1`, and one without
/// a name `Unnamed: 0`, by its place. A row with more or fewer cells than the
/// header is a data error that names file and line.
///
/// # Examples
/// ```
/// use headwater_connect::{CsvSource, CsvSourceOptions, Source};
/// use headwater_core::env::Env;
/// use std::time::Duration;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("laps.csv");
/// std::fs::write(&path, "car,lap,time\na,1,83.50\nb,1,\n")?;
/// let mut source = CsvSource::new(path, CsvSourceOptions::default());
/// source.open(&Env::system(), None)?;
/// let batch = source.poll(Duration::ZERO, 100)?;
/// assert_eq!(batch.records.value(0), Some(br#"{"car":"a","lap":1,"time":83.50}"#.as_slice()));
/// assert_eq!(batch.records.value(1), Some(br#"{"car":"b","lap":1,"time":null}"#.as_slice()));
/// assert!(batch.is_end);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CsvSource {
    path: PathBuf,
    options: CsvSourceOptions,
    open: Option<Open>,
}

/// The file between open and close.
struct Open {
    env: Env,
    rows: Rows,
    columns: Columns,
    /// The fingerprint of the header.
    header: u64,
    /// The place after the last row that was handed out.
    done: Place,
    /// A row that cannot be read and came after others.
    unread: Option<Box<Unread>>,
    /// When the next row is due, if rows are delayed.
    due: Option<Duration>,
}

impl std::fmt::Debug for CsvSource {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "CsvSource({})", self.path.display())
    }
}

impl CsvSource {
    /// A source of the file at `path`.
    pub fn new(path: impl Into<PathBuf>, options: CsvSourceOptions) -> Self {
        CsvSource {
            path: path.into(),
            options,
            open: None,
        }
    }
}

impl Source for CsvSource {
    fn open(&mut self, env: &Env, position: Option<&[u8]>) -> Result<()> {
        let reader = FileReader::open(env, &self.path)?;
        let start = Place { offset: 0, line: 1 };
        let mut rows = Rows::new(reader, &self.path, self.options.delimiter, start);
        let Some(names) = rows.next()?.then(|| rows.row.clone()) else {
            let path = self.path.display();
            return Err(Error::invalid(format!(
                "the file has no header row file=`{path}`"
            )));
        };
        let header = fingerprint(format!("{}{names:?}", self.options.delimiter).as_bytes());
        let columns = Columns::new(&names, &self.options, &self.path)?;
        let mut done = rows.place();
        if let Some(position) = position {
            let place = FilePlace::decode(position)?;
            if place.detail != header {
                return Err(Error::invalid(format!(
                    "the header of the file has changed since it was read file=`{}`\n\
                     hint: to read the file from its beginning, give the source another name, or \
                     reset the application",
                    self.path.display()
                )));
            }
            rows.reader.get_ref().check(&place)?;
            done = Place {
                offset: place.offset,
                line: place.line,
            };
        }
        let reader = rows.reader.into_inner();
        let rows = Rows::new(reader, &self.path, self.options.delimiter, done);
        let env = env.clone();
        self.open = Some(Open {
            env,
            rows,
            columns,
            header,
            done,
            unread: None,
            due: None,
        });
        Ok(())
    }

    fn poll(&mut self, wait: Duration, records_max: usize) -> Result<SourceBatch> {
        let Some(open) = &mut self.open else {
            return Err(Error::internal("a source is polled that is not open"));
        };
        let records_max = open.wait_until_due(self.options.delay, wait, records_max);
        open.read(&self.options, records_max)
    }

    fn is_bounded(&self) -> bool {
        true
    }

    fn close(&mut self) {
        self.open = None;
    }
}

/// What is next in the file.
enum Next {
    Row,
    Unread(Box<Unread>),
    End,
}

impl Open {
    fn read(&mut self, options: &CsvSourceOptions, records_max: usize) -> Result<SourceBatch> {
        let mut records = RecordsBuilder::default();
        let mut is_end = false;
        while self.unread.is_none()
            && !is_end
            && records.len() < records_max
            && records.byte_count() < BATCH_BYTES_MAX
        {
            match self.next(options, &mut records)? {
                Next::Row => self.done = self.rows.place(),
                Next::Unread(unread) => self.unread = Some(unread),
                Next::End => is_end = true,
            }
        }
        let unread = self.unread.take_if(|_| records.is_empty());
        if unread.is_some() {
            self.done = self.rows.place();
        }
        let Place { offset, line } = self.done;
        let tail = self.rows.reader.get_ref().tail(offset)?;
        let place = FilePlace {
            offset,
            line,
            detail: self.header,
            tail,
        };
        Ok(SourceBatch {
            records: records.finish(),
            position: Some(place.encode()),
            is_end,
            unread: unread.map(|record| *record).into_iter().collect(),
        })
    }

    /// Reads one row.
    fn next(&mut self, options: &CsvSourceOptions, records: &mut RecordsBuilder) -> Result<Next> {
        if !self.rows.next()? {
            return Ok(Next::End);
        }
        let row = &self.rows.row;
        match self.columns.write(row, options) {
            Ok(timestamp) => {
                let key = self.columns.key(row, options);
                let timestamp = timestamp.unwrap_or_else(|| self.env.clock.wall_ms());
                records.push(key, Some(&self.columns.text), timestamp, None);
                Ok(Next::Row)
            }
            Err(error) => Ok(Next::Unread(Box::new(Unread {
                error: at_line(error, &self.rows.path, self.rows.line_of_row()?),
                bytes: self.rows.text_since(self.done)?,
            }))),
        }
    }

    /// How many of `records_max` rows are due, after waiting up to `wait` for
    /// the first.
    fn wait_until_due(&mut self, delay: Duration, wait: Duration, records_max: usize) -> usize {
        if delay.is_zero() {
            return records_max;
        }
        let mut now = self.env.clock.monotonic();
        let due = *self.due.get_or_insert(now);
        if now < due && !wait.is_zero() {
            self.env.clock.sleep(wait.min(due - now));
            now = self.env.clock.monotonic();
        }
        if now < due {
            return 0;
        }
        let count = 1 + ((now - due).as_nanos() / delay.as_nanos()) as usize;
        let count = count.min(records_max);
        self.due = Some(due + delay.saturating_mul(count as u32));
        count
    }
}

/// The end of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    offset: u64,
    /// The line that follows, from 1.
    line: u64,
}

/// The rows of a file from one place on.
struct Rows {
    reader: csv::Reader<FileReader>,
    path: PathBuf,
    start: Place,
    /// The row that was read last.
    row: ByteRecord,
}

/// Stands before the bytes of a later place: the reader drops a byte order mark
/// at the beginning of its input, and here it is not the beginning of the file.
const LINE_BREAK: &[u8] = b"\n";

impl Rows {
    fn new(reader: FileReader, path: &Path, delimiter: u8, start: Place) -> Rows {
        let prefix = if start.offset == 0 { b"" } else { LINE_BREAK };
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            .buffer_capacity(256 << 10)
            .from_reader(reader.at(start.offset, prefix));
        Rows {
            reader,
            path: path.to_owned(),
            start,
            row: ByteRecord::new(),
        }
    }

    fn next(&mut self) -> Result<bool> {
        self.reader
            .read_byte_record(&mut self.row)
            .map_err(|error| match error.into_kind() {
                csv::ErrorKind::Io(error) => file_error("read", &self.path, error),
                kind => Error::internal(format!("the reader of CSV failed: {kind:?}")),
            })
    }

    /// The place after the row that was read last.
    fn place(&self) -> Place {
        let position = self.reader.position();
        let Place { offset, line } = self.start;
        let prefix = if offset == 0 {
            0
        } else {
            LINE_BREAK.len() as u64
        };
        Place {
            offset: offset + position.byte().saturating_sub(prefix),
            line: line + (position.line() - 1).saturating_sub(prefix),
        }
    }

    /// The last row as the file has it, which began at `place` or after blank
    /// lines.
    fn text_since(&self, place: Place) -> Result<Vec<u8>> {
        let file = self.reader.get_ref();
        let bytes = file.range(place.offset, self.place().offset)?;
        let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let start = bytes.iter().position(|byte| !is_break(byte));
        let end = bytes.iter().rposition(|byte| !is_break(byte));
        Ok(match (start, end) {
            (Some(start), Some(end)) => bytes[start..=end].to_vec(),
            _ => Vec::new(),
        })
    }

    /// The line on which the last row begins: the reader knows only where it
    /// ended, and after which blank lines it began.
    fn line_of_row(&self) -> Result<u64> {
        let Place { offset, line } = self.place();
        let inside = memchr::memchr_iter(b'\n', self.row.as_slice()).count() as u64;
        let last = offset
            .checked_sub(1)
            .map(|last| self.reader.get_ref().byte_at(last));
        let has_ended_line = last.transpose()?.flatten() == Some(b'\n');
        Ok(line - inside - u64::from(has_ended_line))
    }
}

/// The columns of the header.
struct Columns {
    names: Vec<String>,
    /// Each name as a JSON key, with what stands before it.
    keys: Vec<Vec<u8>>,
    key_index: Option<usize>,
    timestamp_index: Option<usize>,
    /// The row that was written last.
    text: Vec<u8>,
}

impl Columns {
    fn new(header: &ByteRecord, options: &CsvSourceOptions, path: &Path) -> Result<Columns> {
        let names = unique_names(header).ok_or_else(|| {
            Error::invalid(format!("the header is not UTF-8 file=`{}`", path.display()))
        })?;
        let index_of = |wanted: Option<&String>| {
            match wanted {
            None => Ok(None),
            Some(wanted) => names.iter().position(|name| name == wanted).map(Some).ok_or_else(|| {
                Error::invalid(format!(
                    "the file has no column of that name column=`{wanted}` file=`{}` columns=`{}`",
                    path.display(),
                    names.join(", ")
                ))
            }),
        }
        };
        let key_index = index_of(options.key_column.as_ref())?;
        let timestamp_index = index_of(options.timestamp.as_ref().map(|field| &field.name))?;
        let keys = names.iter().enumerate().map(|(index, name)| {
            let mut key = vec![if index == 0 { b'{' } else { b',' }];
            write_key(name, &mut key);
            key
        });
        let keys = keys.collect();
        Ok(Columns {
            names,
            keys,
            key_index,
            timestamp_index,
            text: Vec::new(),
        })
    }

    /// Writes a row as JSON into `text` and returns its time.
    fn write(
        &mut self,
        row: &ByteRecord,
        options: &CsvSourceOptions,
    ) -> Result<Option<TimestampMs>, DataError> {
        if row.len() != self.keys.len() {
            let (cells, columns) = (row.len(), self.keys.len());
            return Err(DataError::new(format!(
                "the row has another number of cells than the header cells=`{cells}` \
                 columns=`{columns}`"
            )));
        }
        self.text.clear();
        for (index, (cell, key)) in row.iter().zip(&self.keys).enumerate() {
            self.text.extend_from_slice(key);
            if is_null(cell, options) {
                self.text.extend_from_slice(b"null");
                continue;
            }
            write_cell(cell, options.types, &mut self.text).map_err(|_| {
                DataError::new("the cell is not UTF-8").in_field(&self.names[index])
            })?;
        }
        self.text.push(b'}');
        let (Some(index), Some(field)) = (self.timestamp_index, &options.timestamp) else {
            return Ok(None);
        };
        let cell = String::from_utf8_lossy(&row[index]);
        let timestamp = field
            .format
            .read(&cell)
            .map_err(|error| error.in_field(&field.name))?;
        Ok(Some(timestamp))
    }

    fn key<'a>(&self, row: &'a ByteRecord, options: &CsvSourceOptions) -> Option<&'a [u8]> {
        let cell = &row[self.key_index?];
        (!is_null(cell, options)).then_some(cell)
    }
}

fn is_null(cell: &[u8], options: &CsvSourceOptions) -> bool {
    options
        .null_values
        .iter()
        .any(|null| null.as_bytes() == cell)
}

/// The names of a header, as pandas makes them unique. `None` if one is not UTF-8.
fn unique_names(header: &ByteRecord) -> Option<Vec<String>> {
    let mut names: Vec<String> = Vec::with_capacity(header.len());
    for (index, name) in header.iter().enumerate() {
        let name = match std::str::from_utf8(name).ok()? {
            "" => format!("Unnamed: {index}"),
            name => name.to_owned(),
        };
        let mut unique = name.clone();
        for count in 1.. {
            if !names.contains(&unique) {
                break;
            }
            unique = format!("{name}.{count}");
        }
        names.push(unique);
    }
    Some(names)
}
