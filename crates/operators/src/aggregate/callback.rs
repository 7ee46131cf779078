//! A user's function or object that is called with plain values.

use crate::function::data_or_end;
use crate::{Function, Functions};
use headwater_core::{Error, Result, Value, ValueRef};
use headwater_plan::FunctionRef;
use std::fmt;
use std::sync::Arc;

/// A resolved function that names its own line in errors.
#[derive(Clone)]
pub(crate) struct Callback {
    function: Arc<dyn Function>,
    name: Arc<str>,
    line: Option<Arc<str>>,
}

impl fmt::Debug for Callback {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}()", self.name)
    }
}

impl Callback {
    pub(crate) fn new(function: &FunctionRef, functions: &Functions) -> Result<Callback> {
        Ok(Callback {
            function: functions.get(function.id)?,
            name: Arc::clone(&function.name),
            line: function.line.clone(),
        })
    }

    /// Calls it, or the named method of the object.
    ///
    /// # Errors
    /// `Data` if the call failed; anything else ends the job.
    pub(crate) fn call(&self, method: Option<&str>, arguments: &[ValueRef<'_>]) -> Result<Value> {
        self.function
            .invoke(method, arguments)
            .map_err(|error| match data_or_end(error) {
                Err(end) => end,
                Ok(mut data) => {
                    if data.line.is_none() {
                        data.line = self.line.as_deref().map(str::to_owned);
                    }
                    Error::data(data)
                }
            })
    }
}
