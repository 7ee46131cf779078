//! The first argument of each call: the row, or a value of it.

use super::UserFunction;
use super::objects::{Origin, PyObjects};
use super::row::{LazyRows, Row};
use crate::json::Decoder;
use headwater::core::arrow::buffer::Buffer;
use headwater::core::json::Locator;
use headwater::core::{Column, DataError, JsonRows, Objects, RowError, Rows, Span};
use headwater::operators::Call;
use pyo3::prelude::*;
use std::sync::Arc;

/// How the rows of one batch become arguments.
pub(super) enum Arguments<'a> {
    /// Rows that decode what is read.
    Lazy {
        rows: Arc<LazyRows>,
        failed: Vec<RowError>,
    },
    /// A dict for each row.
    Texts {
        texts: JsonRows,
        decoder: Decoder,
        failed: Vec<RowError>,
    },
    /// A value for each row.
    Column {
        column: &'a Column,
        decoder: Decoder,
    },
    /// The object that the function before returned. Other branches have copies.
    Objects(Arc<dyn Objects>),
}

impl<'a> Arguments<'a> {
    pub(super) fn new(py: Python<'_>, function: &UserFunction, call: &Call<'a>) -> Arguments<'a> {
        if let Some(column) = call.argument {
            return Arguments::Column {
                column,
                decoder: function.take_decoder(),
            };
        }
        match &call.batch.rows {
            Rows::Json(rows) if function.is_lazy => {
                let (rows, failed) = LazyRows::new(py, rows.clone(), &function.reference.reads);
                Arguments::Lazy { rows, failed }
            }
            Rows::Json(rows) => {
                let (texts, failed) = plain_texts(rows.clone());
                Arguments::Texts {
                    texts,
                    decoder: function.take_decoder(),
                    failed,
                }
            }
            Rows::Values(column) => Arguments::Column {
                column,
                decoder: function.take_decoder(),
            },
            Rows::Objects(objects) => Arguments::Objects(Arc::clone(objects)),
        }
    }

    /// The argument of a row.
    ///
    /// # Errors
    /// If the row cannot be decoded.
    pub(super) fn get<'py>(
        &mut self,
        py: Python<'py>,
        row: usize,
    ) -> Result<Bound<'py, PyAny>, DataError> {
        let decoded = match self {
            Arguments::Lazy { rows, failed } => {
                check(failed, row)?;
                Bound::new(py, Row::new(Arc::clone(rows), row)).map(Bound::into_any)
            }
            Arguments::Texts {
                texts,
                decoder,
                failed,
            } => {
                check(failed, row)?;
                match texts.text(row).map(std::str::from_utf8) {
                    None => Ok(py.None().into_bound(py)),
                    Some(Ok(text)) => decoder.decode(py, text),
                    Some(Err(_)) => return Err(DataError::new("the text is not UTF-8")),
                }
            }
            Arguments::Column { column, decoder } => decoder.object(py, column.value(row)),
            Arguments::Objects(objects) => match objects.as_any().downcast_ref::<PyObjects>() {
                Some(own) => Ok(own.get(py, row)),
                None => return foreign_object(py, &**objects, row),
            },
        };
        decoded.map_err(|raised| DataError::new(raised.value(py).to_string()))
    }

    /// The decoder, for the next batch.
    pub(super) fn take_decoder(&mut self) -> Option<Decoder> {
        match self {
            Arguments::Texts { decoder, .. } | Arguments::Column { decoder, .. } => {
                Some(std::mem::take(decoder))
            }
            Arguments::Lazy { .. } | Arguments::Objects(_) => None,
        }
    }

    /// Whether a function cannot change its rows, whatever it does.
    pub(super) fn cannot_change(&self) -> bool {
        match self {
            Arguments::Lazy { .. } => true,
            // Bare values are immutable, except for JSON in a column.
            Arguments::Column { column, .. } => {
                !matches!(column, Column::Json(_) | Column::Mixed(_))
            }
            Arguments::Texts { .. } | Arguments::Objects(_) => false,
        }
    }

    /// The row of [`Arguments::origin_texts`] that the argument was decoded from.
    pub(super) fn origin_of(&self, row: usize) -> u32 {
        match self {
            Arguments::Texts { .. } => row as u32,
            Arguments::Objects(objects) => objects
                .as_any()
                .downcast_ref::<PyObjects>()
                .and_then(PyObjects::origin)
                .map_or(Origin::NONE, |origin| origin.rows[row]),
            _ => Origin::NONE,
        }
    }

    /// The texts that arguments were decoded from.
    pub(super) fn origin_texts(&self) -> Option<JsonRows> {
        match self {
            Arguments::Texts { texts, .. } => Some(texts.clone()),
            Arguments::Objects(objects) => objects
                .as_any()
                .downcast_ref::<PyObjects>()
                .and_then(PyObjects::origin)
                .map(|origin| origin.texts.clone()),
            _ => None,
        }
    }
}

fn check(failed: &[RowError], row: usize) -> Result<(), DataError> {
    match failed.iter().find(|failed| failed.row == row as u32) {
        None => Ok(()),
        Some(failed) => Err(DataError::new(failed.error.reason.clone())),
    }
}

/// An object of another language than Python, by way of JSON.
fn foreign_object<'py>(
    py: Python<'py>,
    objects: &dyn Objects,
    row: usize,
) -> Result<Bound<'py, PyAny>, DataError> {
    let mut text = Vec::new();
    if !objects.write_json(row, &mut text)? {
        return Ok(py.None().into_bound(py));
    }
    let text = String::from_utf8(text).map_err(|_| DataError::new("the text is not UTF-8"))?;
    Decoder::default()
        .decode(py, &text)
        .map_err(|raised| DataError::new(raised.value(py).to_string()))
}

/// The rows as sound texts with nothing laid over them.
fn plain_texts(mut rows: JsonRows) -> (JsonRows, Vec<RowError>) {
    if rows.is_untouched() {
        let failed = rows.locate(&mut Locator::new(&[]));
        return (rows, failed);
    }
    let mut failed = rows.prepare_to_write();
    let mut text = Vec::with_capacity(rows.len() * 256);
    let spans: Vec<Span> = (0..rows.len())
        .map(|row| {
            let start = text.len();
            match rows.write_row(row, &mut text) {
                Ok(true) => Span {
                    start: start as u32,
                    len: (text.len() - start) as u32,
                },
                Ok(false) => Span::NULL,
                Err(error) => {
                    failed.push(RowError {
                        row: row as u32,
                        error,
                    });
                    Span::NULL
                }
            }
        })
        .collect();
    (JsonRows::new(Buffer::from_vec(text), spans), failed)
}
