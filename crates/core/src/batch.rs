//! The record batch: what an operator processes at a time.
//!
//! The key decision: a batch keeps the **original payload bytes**. Fields are
//! located in them when a plan names them and decoded when an expression needs
//! them; an assigned field lies over the bytes until the row is written, when it
//! is spliced into them. Decoding and encoding cost nearly all the time of a
//! pipeline, so bytes are touched once and untouched fields come out as they
//! went in.
//!
//! ```text
//! {"id":7,"speed":12.5,"note":null}     text     never changed
//!          located: speed ↑             spans    one per named field and row
//!          decoded: [12.5]              column   when an expression reads it
//!          overlay: kmh = [45.0]        column   spliced in by `write_row`
//! {"id":7,"speed":12.5,"note":null,"kmh":45.0}
//! ```
//!
//! Everything in a batch is shared, so a clone (a branch, a savepoint) copies
//! no rows, and [`Batch::take`] gathers only spans and numbers.

use crate::json;
use crate::{Column, DataError, FieldPath, Header, Headers, JsonRows, Records, Span, TimestampMs};
use arrow_buffer::{Buffer, ScalarBuffer};
use std::any::Any;
use std::sync::Arc;

/// A row that cannot be processed, by its number in the batch.
#[derive(Debug)]
pub struct RowError {
    /// The row.
    pub row: u32,
    /// Why.
    pub error: DataError,
}

/// A column and the rows for which there is none. Where a row is in `errors`,
/// the column holds null.
#[derive(Debug)]
pub struct Evaluated {
    /// One value for each row.
    pub column: Column,
    /// The rows that failed, ascending.
    pub errors: Vec<RowError>,
}

impl From<Column> for Evaluated {
    fn from(column: Column) -> Self {
        Evaluated {
            column,
            errors: Vec::new(),
        }
    }
}

/// Records on their way through operators. All parts are equally long.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The values.
    pub rows: Rows,
    /// The keys.
    pub keys: Keys,
    /// Event times in milliseconds.
    pub timestamps: ScalarBuffer<TimestampMs>,
    /// The headers of each row, where any row has some.
    pub headers: Option<Arc<[Headers]>>,
    /// What each row descends from. The number of the input never decreases.
    pub causes: ScalarBuffer<u64>,
}

/// What a row descends from, within one step of a task: the unit of atomic
/// effects. The causes of one input: the input itself, then what it made windows
/// emit, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cause(pub u64);

impl Cause {
    /// The step's input number `at`: a record, or the step's tick.
    pub fn input(at: usize) -> Cause {
        Cause((at as u64) << 32)
    }

    /// The `emission`th row, from 1, of those that windows emitted because the
    /// input `at` had moved the time of its key or the watermark.
    pub fn emission(at: usize, emission: u32) -> Cause {
        Cause((at as u64) << 32 | u64::from(emission))
    }

    /// The number of the input at which it happened.
    pub fn at(self) -> usize {
        (self.0 >> 32) as usize
    }

    /// Whether it is a row that a closing window emitted, rather than an input.
    pub fn is_emission(self) -> bool {
        self.0 as u32 != 0
    }
}

/// The values of a batch.
#[derive(Clone, Debug)]
pub enum Rows {
    /// JSON texts, with what has been located in and laid over them.
    Json(JsonRows),
    /// Bare values: texts, bytes, integers or doubles.
    Values(Column),
    /// Objects of the user's language, passed from one record function to the next.
    Objects(Arc<dyn Objects>),
}

/// Rows that a user's function returned, in its own language.
pub trait Objects: Send + Sync + std::fmt::Debug {
    /// The number of rows.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// One column for each path; the empty path is the whole value. Objects and
    /// arrays come as JSON text.
    fn columns(&self, paths: &[FieldPath]) -> Vec<Evaluated>;
    /// Whether each row is an object that has the field, null or not.
    fn has_field(&self, row: usize, path: &FieldPath) -> bool;
    /// The rows named by `rows`, in that order.
    fn take(&self, rows: &[u32]) -> Arc<dyn Objects>;
    /// The same rows as objects of their own, so that a function which changes
    /// its argument in place changes them in one branch alone.
    fn isolate(&self) -> Arc<dyn Objects>;
    /// Appends a row as JSON; `false` for null, which appends nothing.
    ///
    /// # Errors
    /// If the row holds what JSON has no form for; nothing is appended then.
    fn write_json(&self, row: usize, out: &mut Vec<u8>) -> Result<bool, DataError>;
    /// For the language's own code to find its type again.
    fn as_any(&self) -> &dyn Any;
}

/// The keys of a batch.
#[derive(Clone, Debug)]
pub struct Keys {
    bytes: Buffer,
    spans: Arc<[Span]>,
}

impl Keys {
    /// Keys that stand in `bytes`.
    pub fn new(bytes: Buffer, spans: impl Into<Arc<[Span]>>) -> Self {
        Keys {
            bytes,
            spans: spans.into(),
        }
    }

    /// Keys copied from an iterator.
    pub fn collect<'a>(keys: impl IntoIterator<Item = Option<&'a [u8]>>) -> Self {
        let mut bytes = Vec::new();
        let spans: Vec<Span> = keys
            .into_iter()
            .map(|key| {
                let Some(key) = key else { return Span::NULL };
                let start = bytes.len() as u32;
                bytes.extend_from_slice(key);
                Span {
                    start,
                    len: key.len() as u32,
                }
            })
            .collect();
        Keys {
            bytes: Buffer::from_vec(bytes),
            spans: spans.into(),
        }
    }

    /// The key of a row, as the log has it.
    #[inline]
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        self.spans[row].of(&self.bytes)
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The keys of the rows named by `rows`.
    #[must_use]
    pub fn take(&self, rows: &[u32]) -> Keys {
        Keys {
            bytes: self.bytes.clone(),
            spans: gather(&self.spans, rows).into(),
        }
    }
}

pub(crate) fn gather<T: Copy>(values: &[T], rows: &[u32]) -> Vec<T> {
    rows.iter().map(|&row| values[row as usize]).collect()
}

impl Batch {
    /// Records as they came from a log, their values taken for JSON. Record `i`
    /// is the step's input `i`.
    pub fn from_records(records: &Records) -> Batch {
        Batch {
            rows: Rows::Json(JsonRows::new(
                records.bytes.clone(),
                records.values.as_slice(),
            )),
            keys: Keys::new(records.bytes.clone(), records.keys.as_slice()),
            timestamps: records.timestamps.clone().into(),
            headers: (!records.headers.is_empty()).then(|| records.headers.as_slice().into()),
            causes: (0..records.len())
                .map(|at| Cause::input(at).0)
                .collect::<Vec<_>>()
                .into(),
        }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// What a row descends from.
    #[inline]
    pub fn cause(&self, row: usize) -> Cause {
        Cause(self.causes[row])
    }

    /// The headers of a row.
    pub fn headers(&self, row: usize) -> &[Header] {
        match &self.headers {
            Some(headers) => headers[row].as_deref().unwrap_or(&[]),
            None => &[],
        }
    }

    /// The rows named by `rows`, in that order.
    #[must_use]
    pub fn take(&self, rows: &[u32]) -> Batch {
        Batch {
            rows: self.rows.take(rows),
            keys: self.keys.take(rows),
            timestamps: gather(&self.timestamps, rows).into(),
            headers: self.headers.as_ref().map(|headers| {
                rows.iter()
                    .map(|&row| headers[row as usize].clone())
                    .collect()
            }),
            causes: gather(&self.causes, rows).into(),
        }
    }

    /// The batch without the rows that failed. `errors` ascend by row.
    #[must_use]
    pub fn without(self, errors: &[RowError]) -> Batch {
        if errors.is_empty() {
            return self;
        }
        let mut failed = errors.iter().map(|error| error.row).peekable();
        let rows: Vec<u32> = (0..self.len() as u32)
            .filter(|row| {
                while failed.peek().is_some_and(|next| next < row) {
                    failed.next();
                }
                failed.peek() != Some(row)
            })
            .collect();
        self.take(&rows)
    }

    /// A copy for another branch: objects of the user's language are copied,
    /// everything else is shared, because nothing changes it.
    #[must_use]
    pub fn isolate(&self) -> Batch {
        let mut batch = self.clone();
        if let Rows::Objects(objects) = &mut batch.rows {
            *objects = objects.isolate();
        }
        batch
    }

    /// The same keys, times and headers with other values.
    #[must_use]
    pub fn with_rows(self, rows: Rows) -> Batch {
        debug_assert_eq!(rows.len(), self.len());
        Batch { rows, ..self }
    }
}

impl Rows {
    /// The number of rows.
    pub fn len(&self) -> usize {
        match self {
            Rows::Json(rows) => rows.len(),
            Rows::Values(column) => column.len(),
            Rows::Objects(objects) => objects.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows named by `rows`, in that order.
    #[must_use]
    pub fn take(&self, rows: &[u32]) -> Rows {
        match self {
            Rows::Json(json) => Rows::Json(json.take(rows)),
            Rows::Values(column) => Rows::Values(column.take(rows)),
            Rows::Objects(objects) => Rows::Objects(objects.take(rows)),
        }
    }

    /// The column at `path`; call [`JsonRows::locate`] for it before. A missing
    /// field is null.
    pub fn column(&mut self, path: &FieldPath) -> Evaluated {
        match self {
            Rows::Json(rows) => rows.column(path),
            Rows::Values(column) if path.0.is_empty() => column.clone().into(),
            Rows::Values(column) => {
                let errors = (0..column.len())
                    .filter(|&row| !column.value(row).is_null())
                    .map(|row| RowError {
                        row: row as u32,
                        error: DataError::new(format!(
                            "the value is a {}, which has no fields",
                            column.value(row).kind().name()
                        ))
                        .in_field(path),
                    })
                    .collect();
                Evaluated {
                    column: Column::Null(column.len()),
                    errors,
                }
            }
            Rows::Objects(objects) => objects
                .columns(std::slice::from_ref(path))
                .pop()
                .expect("one column for one path"),
        }
    }

    /// Rows that fields can be laid over: objects are written as JSON first.
    /// A row that cannot be is an error.
    pub fn into_json(self) -> (JsonRows, Vec<RowError>) {
        let len = self.len();
        if let Rows::Json(rows) = self {
            return (rows, Vec::new());
        }
        let mut text = Vec::with_capacity(len * 128);
        let mut errors = Vec::new();
        let spans: Vec<Span> = (0..len)
            .map(|row| {
                let start = text.len() as u32;
                let written = match &self {
                    Rows::Objects(objects) => objects.write_json(row, &mut text),
                    Rows::Values(column) if column.value(row).is_null() => Ok(false),
                    Rows::Values(column) => json::write_value(column.value(row), &mut text)
                        .map(|()| true)
                        .map_err(|error| DataError::new(error.reason)),
                    Rows::Json(_) => unreachable!("returned above"),
                };
                match written {
                    Ok(true) => Span {
                        start,
                        len: text.len() as u32 - start,
                    },
                    Ok(false) => Span::NULL,
                    Err(error) => {
                        errors.push(RowError {
                            row: row as u32,
                            error,
                        });
                        Span::NULL
                    }
                }
            })
            .collect();
        (JsonRows::well_formed(Buffer::from_vec(text), spans), errors)
    }
}
