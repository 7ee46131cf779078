//! Why a text is not JSON, or a value cannot become JSON.
//!
//! Both are plain data without an allocation, because a topic may be full of
//! bad rows and the error policy may be to drop them at full speed. They turn
//! into a [`DataError`] when somebody has to read them.

use crate::DataError;
use std::fmt;

/// Why a text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// What is wrong, in one clause.
    pub reason: &'static str,
    /// The byte of the text where it is wrong, from 0.
    pub at: usize,
}

impl JsonError {
    /// An error at byte `at`. It is made out of line, so that the scan's fast
    /// paths stay short.
    #[cold]
    pub(super) fn new(reason: &'static str, at: usize) -> Self {
        JsonError { reason, at }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "malformed JSON: {} at byte {}", self.reason, self.at)
    }
}

impl std::error::Error for JsonError {}

impl From<JsonError> for DataError {
    fn from(error: JsonError) -> Self {
        DataError::new(error.to_string())
    }
}

/// Why a value cannot be written as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteError {
    /// What is wrong, in one clause.
    pub reason: &'static str,
}

impl fmt::Display for WriteError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.reason)
    }
}

impl std::error::Error for WriteError {}

impl From<WriteError> for DataError {
    fn from(error: WriteError) -> Self {
        DataError::new(error.reason)
    }
}
