//! Operations: the steps of a data frame.

use crate::{Expr, WindowSpec};
use headwater_core::FieldPath;
use std::sync::Arc;

/// One step of a frame. The comment says whether a row goes on afterwards.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Where the frame's rows come from.
    Input(Input),
    /// Keeps the rows where the predicate is true.
    Filter(Expr),
    /// Sets fields, left to right: a later one sees the earlier.
    Assign(Vec<(Box<str>, Expr)>),
    /// Keeps the named fields alone, in that order.
    Project(Vec<Box<str>>),
    /// Removes fields.
    Drop {
        /// Their names.
        names: Vec<Box<str>>,
        /// What to do about a row that lacks one.
        missing: MissingField,
    },
    /// Replaces each row by what the function returns, or by each item of it.
    Apply(FunctionRef),
    /// Calls the function for its effect on the row; the row goes on.
    Update(FunctionRef),
    /// Keeps the rows for which the function's result is true.
    FilterBy(FunctionRef),
    /// Calls the function once a batch with columns and takes columns back.
    ApplyBatch {
        /// Which function.
        function: FunctionRef,
        /// The columns to pass; empty for the whole row as one JSON text each.
        columns: Vec<Box<str>>,
        /// How the columns are passed.
        form: BatchForm,
    },
    /// Sets the event time of each row to the value, in milliseconds.
    SetTimestamp(Expr),
    /// Sets the event time by a function of value, key, timestamp and headers.
    SetTimestampBy(FunctionRef),
    /// Sets the headers by a function of value, key, timestamp and headers.
    SetHeaders(FunctionRef),
    /// Aggregates over windows of event time, for each key.
    Window(WindowSpec),
    /// Appends each row to a topic; the row goes on.
    ToTopic {
        /// Which topic.
        target: Target,
        /// The new key, from the value; otherwise the row's own.
        key: Option<FunctionRef>,
        /// The new key by an expression instead.
        key_expr: Option<Expr>,
    },
    /// Appends each row under another key to a repartition topic; the rows of
    /// that topic go on.
    GroupBy(GroupBy),
    /// Hands each row to a sink.
    Sink {
        /// The sink's name, unique in the application.
        name: Box<str>,
    },
    /// Writes each row to the standard output; the row goes on.
    Print(Print),
    /// Shows the newest rows as a table on the terminal; the row goes on.
    PrintTable(PrintTable),
}

/// Where rows come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// The topic that is read. A source writes to a topic of its own.
    pub topic: TopicRef,
    /// The event time of a record, from its value, where it isn't the record's
    /// own timestamp.
    pub timestamp: Origin,
}

/// A change of key, by way of a repartition topic: the steps after it run in tasks
/// of its partitions, so that rows of equal keys meet.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupBy {
    /// The name of the stream that begins here: the stream before it and the
    /// operation's own name.
    pub stream: Arc<str>,
    /// The rows of the repartition topic; [`LogicalPlan::bound_to`] names it.
    ///
    /// [`LogicalPlan::bound_to`]: crate::LogicalPlan::bound_to
    pub input: Input,
    /// The new key, by a function of the value.
    pub key: Option<FunctionRef>,
    /// The new key by an expression instead.
    pub key_expr: Option<Expr>,
}

/// Where a record's event time comes from.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Origin {
    /// The record's own timestamp.
    #[default]
    Record,
    /// An expression over its value, in milliseconds.
    Expr(Expr),
    /// A user's function of value, headers, timestamp and timestamp type.
    Function(FunctionRef),
}

/// A topic and the format of its keys and values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRef {
    /// Its name.
    pub name: Arc<str>,
    /// How values are written.
    pub value: TextFormat,
    /// How keys are written.
    pub key: TextFormat,
}

impl TopicRef {
    /// A topic of JSON values and plain keys.
    pub fn json(name: impl Into<Arc<str>>) -> Self {
        TopicRef {
            name: name.into(),
            value: TextFormat::Json,
            key: TextFormat::Bytes,
        }
    }
}

/// How a key or a value is written as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// JSON text.
    Json,
    /// UTF-8 text.
    String,
    /// Bytes as they are.
    Bytes,
    /// Four bytes, big-endian, signed, as Kafka's IntegerSerializer.
    Integer,
    /// Eight bytes, big-endian, as Kafka's DoubleSerializer.
    Double,
}

/// A user's function: a number to find it by, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionRef {
    /// The number under which the engine's caller registered it.
    pub id: u32,
    /// Its name, for people.
    pub name: Arc<str>,
    /// Where the user wrote it, `file.py:12`.
    pub line: Option<Arc<str>>,
    /// How it is called.
    pub shape: FunctionShape,
    /// Top-level fields that it is known to read; they are located beforehand.
    pub reads: Vec<FieldPath>,
}

/// How a user's function is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FunctionShape {
    /// The result is an iterable, each item of which is a row.
    pub is_expand: bool,
    /// It takes key, timestamp and headers besides the value.
    pub has_metadata: bool,
    /// It takes the key's state as its last argument.
    pub is_stateful: bool,
}

/// What to do about a row that lacks a field which is to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MissingField {
    /// A data error.
    #[default]
    Raise,
    /// Nothing.
    Ignore,
}

/// How a batch function gets its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchForm {
    /// A `pyarrow.RecordBatch` (in Rust: an Arrow `RecordBatch`).
    Arrow,
    /// A `pandas.DataFrame`.
    Pandas,
    /// A dict of `numpy.ndarray`.
    NumPy,
}

/// Where `to_topic` appends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One topic.
    Topic(TopicRef),
    /// The topic that a function of value, key, timestamp and headers returns,
    /// by name among these.
    Dynamic {
        /// The function; it returns a topic that the application has declared.
        function: FunctionRef,
    },
}

/// What `print` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Print {
    /// Indented, over several lines.
    pub is_pretty: bool,
    /// Key, timestamp and headers too.
    pub has_metadata: bool,
}

/// What `print_table` shows.
#[derive(Clone, Debug, PartialEq)]
pub struct PrintTable {
    /// The number of rows.
    pub size: usize,
    /// The line above the table.
    pub title: Option<String>,
    /// Key and timestamp too.
    pub has_metadata: bool,
    /// The columns, or all.
    pub columns: Option<Vec<String>>,
    /// Redraw in place on a terminal.
    pub is_live: bool,
    /// Where it isn't a terminal: print what there is after this many seconds.
    pub timeout_s: f64,
    /// Column widths in characters, by name.
    pub column_widths: Vec<(String, usize)>,
}
