//! Users' functions, as the engine calls them: once a batch.
//!
//! Whatever the user's language is, its functions come through [`Function`]; the
//! plan names them by number ([`FunctionRef`](headwater_plan::FunctionRef)) and
//! [`Functions`] resolves the number. A function fails by row: the others go on.

use crate::StepTimes;
use headwater_core::{
    Batch, Column, DataError, Error, Evaluated, Positions, Result, RowError, Rows, TopicPartition,
    Value, ValueRef,
};
use headwater_plan::{BatchForm, FunctionShape};
use headwater_state::KeyedStore;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One call of a user's function with the rows of a batch.
#[derive(Debug)]
pub struct Call<'a> {
    /// The rows, with keys, times and headers. Fields that the function is known
    /// to read have been located.
    pub batch: &'a Batch,
    /// The argument of each row, where it isn't the row itself.
    pub argument: Option<&'a Column>,
    /// Which further arguments it takes, and whether its results are expanded.
    pub shape: FunctionShape,
    /// The state, for a stateful function.
    pub keyed: &'a mut KeyedStore,
    /// Where the records stand.
    pub partition: &'a TopicPartition,
    /// The position of each input of the step, by [`Cause::at`](headwater_core::Cause::at).
    pub positions: Option<&'a Positions>,
    /// The watermark while the inputs pass.
    pub times: &'a StepTimes,
}

/// What a function made of some rows.
#[derive(Debug)]
pub struct FunctionRows {
    /// The rows.
    pub rows: Rows,
    /// The row of the batch that each comes from, ascending; `None` if it is the
    /// same one, row by row.
    pub sources: Option<Vec<u32>>,
    /// The rows of the batch for which it failed, ascending. Where `sources` is
    /// `None`, `rows` holds a null for each of them.
    pub errors: Vec<RowError>,
}

/// A user's function.
pub trait Function: Send + Sync {
    /// Calls it for each row; the results are rows.
    ///
    /// # Errors
    /// Only what ends the job: a keyboard interrupt, an exit.
    fn rows(&self, call: Call<'_>) -> Result<FunctionRows>;

    /// Calls it for each row for its effect on the row; the arguments are the
    /// rows that go on.
    ///
    /// # Errors
    /// As [`Function::rows`].
    fn update(&self, call: Call<'_>) -> Result<FunctionRows>;

    /// Calls it for each row; the results are one column. For a filter the
    /// results are booleans by the language's own truth.
    ///
    /// # Errors
    /// As [`Function::rows`].
    fn values(&self, call: Call<'_>, wants: Wants) -> Result<Evaluated>;

    /// Calls it once with columns; the results are columns of the same length.
    /// `columns` is empty where the function takes the rows whole.
    ///
    /// # Errors
    /// `Data` if the call failed, for the rows as a whole; otherwise as
    /// [`Function::rows`].
    fn batch(
        &self,
        columns: &[(Box<str>, Column)],
        form: BatchForm,
    ) -> Result<Vec<(Box<str>, Column)>>;

    /// Calls it, or the named method of the object, once with plain values: for
    /// aggregators and callbacks.
    ///
    /// # Errors
    /// `Data` if the call failed; otherwise as [`Function::rows`].
    fn invoke(&self, method: Option<&str>, arguments: &[ValueRef<'_>]) -> Result<Value>;
}

/// What the results of [`Function::values`] are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// A field or an operand: any value.
    Any,
    /// A condition: a boolean by the language's truth.
    Truth,
    /// An integer of milliseconds.
    Timestamp,
    /// A key, as bytes by the format that the caller applies.
    Key,
    /// A JSON array of `[name, value]` pairs.
    Headers,
    /// The name of a declared topic.
    Topic,
}

/// The functions of an application by number.
#[derive(Clone, Default)]
pub struct Functions(BTreeMap<u32, Arc<dyn Function>>);

impl std::fmt::Debug for Functions {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Functions({})", self.0.len())
    }
}

impl Functions {
    /// Registers a function under a number of the caller's.
    pub fn insert(&mut self, id: u32, function: Arc<dyn Function>) {
        self.0.insert(id, function);
    }

    /// A registered function.
    ///
    /// # Errors
    /// `Invalid` if there is none of that number.
    pub fn get(&self, id: u32) -> Result<Arc<dyn Function>> {
        self.0.get(&id).cloned().ok_or_else(|| {
            Error::invalid(format!(
                "the plan names a function that was not registered, id=`{id}`"
            ))
        })
    }
}

/// Splits the error of a call that concerns the whole batch or one value: a data
/// error is the rows', anything else the job's.
pub(crate) fn data_or_end(error: Error) -> Result<DataError> {
    if error.class() != headwater_core::Class::Data {
        return Err(error);
    }
    let mut data = DataError::new(error.message());
    if let Some(known) = error.data_error() {
        data = DataError::new(known.reason.clone());
        data.field = known.field.clone();
        data.line = known.line.clone();
        data.hint = known.hint.clone();
    }
    data.source = error.into_source();
    Ok(data)
}
