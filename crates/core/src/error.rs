//! The one error type: its class says what to do next, its message what
//! happened, and its data error where.

use crate::{Position, TopicPartition};
use std::fmt;

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The request or the definition is wrong: change it.
    Invalid,
    /// A record is wrong: the error policy decides.
    Data,
    /// Something outside is not there at the moment: try again.
    Unavailable,
    /// Another owner has taken over: stop, without a retry.
    Fenced,
    /// An invariant of ours is broken, or storage is damaged: report it.
    Internal,
}

/// The result of every fallible call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    class: Class,
    message: String,
    data: Option<Box<DataError>>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `class`. Messages are lower case, without a full stop, facts
    /// last as key=`value`.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Error {
            class,
            message: message.into(),
            data: None,
            source: None,
        }
    }

    /// See [`Class::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Error::new(Class::Invalid, message)
    }

    /// See [`Class::Unavailable`].
    pub fn unavailable(message: impl Into<String>) -> Self {
        Error::new(Class::Unavailable, message)
    }

    /// See [`Class::Fenced`].
    pub fn fenced(message: impl Into<String>) -> Self {
        Error::new(Class::Fenced, message)
    }

    /// See [`Class::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Error::new(Class::Internal, message)
    }

    /// An error about one record.
    pub fn data(error: DataError) -> Self {
        let mut error = error;
        let source = error.source.take();
        Error {
            class: Class::Data,
            message: error.to_string(),
            data: Some(Box::new(error)),
            source,
        }
    }

    /// Keeps the error that led to this one.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What to do about it.
    pub fn class(&self) -> Class {
        self.class
    }

    /// What happened.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where it happened, for an error about one record.
    pub fn data_error(&self) -> Option<&DataError> {
        self.data.as_deref()
    }

    /// The error that led to this one; a Python exception travels here with its
    /// traceback.
    pub fn into_source(self) -> Option<Box<dyn std::error::Error + Send + Sync>> {
        self.source
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let class = match error.kind() {
            std::io::ErrorKind::StorageFull
            | std::io::ErrorKind::QuotaExceeded
            | std::io::ErrorKind::TimedOut
            | std::io::ErrorKind::Interrupted => Class::Unavailable,
            _ => Class::Internal,
        };
        Error::new(class, format!("input or output failed: {error}")).with_source(error)
    }
}

/// One record cannot be processed: what is wrong and where it stands.
///
/// An operator knows the field and the reason; the engine adds the operator and
/// the record's place in the log as the error passes it.
#[derive(Debug, Default)]
pub struct DataError {
    /// What is wrong with the value, in one clause.
    pub reason: String,
    /// The field, if one is to blame.
    pub field: Option<String>,
    /// The operator as `explain()` shows it.
    pub operator: Option<String>,
    /// The user's own line, `file.py:12`.
    pub line: Option<String>,
    /// The record's topic and partition.
    pub partition: Option<TopicPartition>,
    /// The record's position there.
    pub position: Option<Position>,
    /// What to do about it, in one clause.
    pub hint: Option<String>,
    /// What led to it: the Python exception, with its traceback.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl DataError {
    /// A data error that still lacks its place.
    pub fn new(reason: impl Into<String>) -> Self {
        DataError {
            reason: reason.into(),
            ..DataError::default()
        }
    }

    /// Names the field to blame.
    #[must_use]
    pub fn in_field(mut self, field: impl fmt::Display) -> Self {
        self.field.get_or_insert_with(|| field.to_string());
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }
}

impl fmt::Display for DataError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.reason)?;
        let mut facts = |name: &str, fact: &dyn fmt::Display| write!(out, " {name}=`{fact}`");
        if let Some(field) = &self.field {
            facts("field", field)?;
        }
        if let Some(operator) = &self.operator {
            facts("operator", operator)?;
        }
        if let Some(line) = &self.line {
            facts("line", line)?;
        }
        if let Some(partition) = &self.partition {
            facts("topic", &partition.topic)?;
            facts("partition", &partition.partition)?;
        }
        if let Some(position) = &self.position {
            facts("offset", position)?;
        }
        if let Some(hint) = &self.hint {
            write!(out, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_error_says_what_where_and_what_next() {
        let mut error = DataError::new("cannot multiply str by float")
            .in_field("speed")
            .with_hint("cast it with `.astype(float)`");
        error.operator = Some("assign speed_kmh".into());
        error.partition = Some(TopicPartition::new("telemetry", 2));
        error.position = Some(Position::from_offset(17));
        assert_eq!(
            Error::data(error).to_string(),
            "cannot multiply str by float field=`speed` operator=`assign speed_kmh` \
             topic=`telemetry` partition=`2` offset=`17`\nhint: cast it with `.astype(float)`"
        );
    }
}
