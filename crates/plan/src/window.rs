//! What a windowed aggregation is.

use crate::{Expr, FunctionRef};
use headwater_core::{Error, Result};

/// A windowed aggregation, for each key.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowSpec {
    /// The user's name for its store.
    pub name: Option<Box<str>>,
    /// How long windows are and how they follow each other.
    pub length: WindowLength,
    /// How long after its end a window still accepts records, in milliseconds.
    pub grace_ms: i64,
    /// When results leave.
    pub emit: Emit,
    /// Whose time closes a window.
    pub closing: Closing,
    /// Event time after which a silent key's windows close, in milliseconds.
    pub key_timeout_ms: i64,
    /// Event time after which a silent key is forgotten, in milliseconds.
    pub key_retention_ms: i64,
    /// What is computed, in order of output.
    pub aggregates: Vec<Aggregate>,
    /// Called for each window that a late record missed; its result says
    /// whether to log a warning too.
    pub on_late: Option<FunctionRef>,
    /// Called before a window takes a record: a true result emits the window
    /// as it is and starts it anew with the record.
    pub before_update: Option<FunctionRef>,
    /// Called after a window took a record: a true result emits the window and
    /// starts it anew, empty.
    pub after_update: Option<FunctionRef>,
}

impl WindowSpec {
    /// Silent keys' windows close after 15 minutes of event time.
    pub const KEY_TIMEOUT_MS: i64 = 15 * 60_000;
    /// Keys are forgotten after seven days of event time.
    pub const KEY_RETENTION_MS: i64 = 7 * 24 * 3_600_000;

    /// A window without aggregates, closing by key, emitting when closed.
    pub fn new(length: WindowLength) -> Self {
        WindowSpec {
            name: None,
            length,
            grace_ms: 0,
            emit: Emit::Final,
            closing: Closing::Key,
            key_timeout_ms: Self::KEY_TIMEOUT_MS,
            key_retention_ms: Self::KEY_RETENTION_MS,
            aggregates: Vec::new(),
            on_late: None,
            before_update: None,
            after_update: None,
        }
    }
}

/// How long windows are. All are aligned to 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowLength {
    /// `[n * size, (n + 1) * size)`.
    Tumbling {
        /// In milliseconds, above 0.
        size_ms: i64,
    },
    /// `[n * advance, n * advance + size)`.
    Hopping {
        /// In milliseconds, above `advance_ms`.
        size_ms: i64,
        /// In milliseconds, above 0.
        advance_ms: i64,
    },
}

impl WindowLength {
    /// The length of a window, in milliseconds.
    pub fn size_ms(self) -> i64 {
        match self {
            WindowLength::Tumbling { size_ms } | WindowLength::Hopping { size_ms, .. } => size_ms,
        }
    }

    /// The distance between starts, in milliseconds.
    pub fn advance_ms(self) -> i64 {
        match self {
            WindowLength::Tumbling { size_ms } => size_ms,
            WindowLength::Hopping { advance_ms, .. } => advance_ms,
        }
    }
}

/// When results leave a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Emit {
    /// Once, when it closes.
    #[default]
    Final,
    /// At every update.
    Current,
}

/// Whose time judges lateness and closes windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Closing {
    /// Each key's own.
    #[default]
    Key,
    /// The watermark of the partition.
    Partition,
}

/// One output of an aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// The field of the result.
    pub output: Box<str>,
    /// What is computed.
    pub function: AggregateFunction,
    /// Of what; the whole row where it is `None`.
    pub input: Option<Expr>,
}

/// What an aggregation computes. Null is skipped by all but `Count` without a
/// column, `Collect` and the user's own; a result over nothing is null, but 0
/// for `Count` and `Sum`.
#[derive(Clone, Debug, PartialEq)]
pub enum AggregateFunction {
    /// The number of rows, or of values that are not null.
    Count,
    /// The sum, folded in record order: integers stay integers.
    Sum,
    /// The mean, as a float: the sum over the count.
    Mean,
    /// The smallest value; NaN if any value is NaN.
    Min,
    /// The largest value; NaN if any value is NaN.
    Max,
    /// The first value by arrival.
    First,
    /// The last value by arrival.
    Last,
    /// The value of the smallest event time; the first of equals.
    Earliest,
    /// The value of the largest event time; the last of equals.
    Latest,
    /// The sample standard deviation (n - 1), by Welford's recurrence.
    Std,
    /// The sample variance (n - 1), by Welford's recurrence.
    Variance,
    /// All values in a list, by (event time, arrival). Not with [`Emit::Current`].
    Collect,
    /// A user's fold: `initialise(value)`, then `reduce(accumulator, value)`.
    Reduce {
        /// Makes the first accumulator of a value.
        initialise: FunctionRef,
        /// Folds a value in.
        reduce: FunctionRef,
    },
    /// A user's aggregator object with `initialize`, `agg` and `result`.
    User {
        /// The object, registered as a function.
        aggregator: FunctionRef,
        /// A user's collector instead: `result(items)` of the collected values.
        is_collector: bool,
    },
}

impl WindowSpec {
    /// What must stay the same for the store's state to be usable.
    pub(crate) fn signature(&self) -> Vec<String> {
        let closing = match self.closing {
            Closing::Key => "key",
            Closing::Partition => "partition",
        };
        vec!["window".to_owned(), format!("closing={closing}")]
    }

    pub(crate) fn differs_in_aggregates_alone(&self, other: &WindowSpec) -> bool {
        let aggregates = other.aggregates.clone();
        *other
            == WindowSpec {
                aggregates,
                ..self.clone()
            }
    }

    /// Checks what a user may get wrong.
    pub(crate) fn check(&self) -> Result<()> {
        let (size_ms, advance_ms) = (self.length.size_ms(), self.length.advance_ms());
        if size_ms <= 0 || advance_ms <= 0 || advance_ms > size_ms {
            return Err(Error::invalid(format!(
                "a window needs a size above 0 and an advance above 0 and not above the size, \
                 size_ms=`{size_ms}` advance_ms=`{advance_ms}`"
            )));
        }
        if self.grace_ms < 0 || self.key_timeout_ms < 0 || self.key_retention_ms < 0 {
            return Err(Error::invalid(format!(
                "grace, key timeout and key retention cannot be negative, grace_ms=`{}` \
                 key_timeout_ms=`{}` key_retention_ms=`{}`",
                self.grace_ms, self.key_timeout_ms, self.key_retention_ms
            )));
        }
        if self.aggregates.is_empty() {
            return Err(Error::invalid(
                "a window needs something to aggregate: `.agg(total=Sum(...))`",
            ));
        }
        let is_collecting = |aggregate: &Aggregate| {
            matches!(
                aggregate.function,
                AggregateFunction::Collect
                    | AggregateFunction::User {
                        is_collector: true,
                        ..
                    }
            )
        };
        if self.emit == Emit::Current && self.aggregates.iter().any(is_collecting) {
            return Err(Error::invalid(
                "`.current()` would emit the whole list at every record; collect with `.final()`",
            ));
        }
        for (index, aggregate) in self.aggregates.iter().enumerate() {
            let output = &*aggregate.output;
            let is_taken = matches!(output, "start" | "end")
                || self.aggregates[..index]
                    .iter()
                    .any(|other| *other.output == *output);
            if is_taken {
                return Err(Error::invalid(format!(
                    "an output of a window needs a name of its own, other than `start` and `end`, \
                     output=`{output}`"
                )));
            }
        }
        Ok(())
    }
}
