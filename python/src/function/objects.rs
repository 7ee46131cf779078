//! Rows that stay Python objects from one function to the next.

use super::sharing::deep_copy;
use crate::json::{encode, encode_over};
use crate::value::{to_column, with_value};
use headwater::core::{
    ColumnBuilder, DataError, Evaluated, FieldPath, JsonRows, Objects, RowError, Span, Step,
    ValueRef,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use std::any::Any;
use std::sync::{Arc, OnceLock};

/// Python objects as the rows of a batch.
///
/// An object that was decoded from a record remembers its text: what a function
/// left alone goes out as the bytes that came in.
#[derive(Debug, Default)]
pub(crate) struct PyObjects {
    objects: Vec<Py<PyAny>>,
    origin: Option<Origin>,
    /// Written once, for all rows, under one hold of the interpreter.
    written: OnceLock<Written>,
}

/// The texts that objects were decoded from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// Rows with nothing laid over them, validated.
    pub(crate) texts: JsonRows,
    /// For each object, its row in the texts, or `NONE`.
    pub(crate) rows: Vec<u32>,
}

impl Origin {
    /// The object was not decoded from a text.
    pub(crate) const NONE: u32 = u32::MAX;
}

#[derive(Debug)]
struct Written {
    text: Vec<u8>,
    spans: Vec<Span>,
    refused: Vec<(u32, Refused)>,
}

/// Why a row could not be written, to be said as often as it is asked.
#[derive(Clone, Debug)]
struct Refused {
    reason: String,
    field: Option<String>,
    hint: Option<String>,
}

impl Drop for PyObjects {
    fn drop(&mut self) {
        // One hold of the interpreter for all objects. At its end there is none
        // to hold, and the operating system takes the memory back.
        let objects = std::mem::take(&mut self.objects);
        if !objects.is_empty() {
            Python::try_attach(|_| drop(objects));
        }
    }
}

impl PyObjects {
    pub(crate) fn new(objects: Vec<Py<PyAny>>, origin: Option<Origin>) -> PyObjects {
        PyObjects {
            objects,
            origin,
            written: OnceLock::new(),
        }
    }

    /// The object of a row.
    pub(crate) fn get<'py>(&self, py: Python<'py>, row: usize) -> Bound<'py, PyAny> {
        self.objects[row].bind(py).clone()
    }

    /// Where the objects come from.
    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    fn written(&self) -> &Written {
        self.written
            .get_or_init(|| Python::attach(|py| self.write_all(py)))
    }

    fn write_all(&self, py: Python<'_>) -> Written {
        let mut text = Vec::with_capacity(self.objects.len() * 128);
        let mut refused = Vec::new();
        let spans = (0..self.objects.len())
            .map(|row| {
                let object = self.objects[row].bind(py);
                let start = text.len();
                let result = match self.origin_text(row) {
                    _ if object.is_none() => return Span::NULL,
                    Some(origin) => encode_over(object, origin, &mut text),
                    None => encode(object, &mut text),
                };
                if let Err(error) = result {
                    let DataError {
                        reason,
                        field,
                        hint,
                        ..
                    } = error;
                    refused.push((
                        row as u32,
                        Refused {
                            reason,
                            field,
                            hint,
                        },
                    ));
                    return Span::NULL;
                }
                Span {
                    start: start as u32,
                    len: (text.len() - start) as u32,
                }
            })
            .collect();
        Written {
            text,
            spans,
            refused,
        }
    }

    fn origin_text(&self, row: usize) -> Option<&str> {
        let origin = self.origin.as_ref()?;
        let at = origin.rows[row];
        if at == Origin::NONE {
            return None;
        }
        std::str::from_utf8(origin.texts.text(at as usize)?).ok()
    }

    fn column(&self, py: Python<'_>, path: &FieldPath) -> Evaluated {
        if path.0.is_empty() {
            return to_column(self.objects.iter().map(|object| object.bind(py).clone()));
        }
        let mut builder = ColumnBuilder::with_capacity(self.objects.len());
        let mut errors = Vec::new();
        let mut scratch = Vec::new();
        for (row, object) in self.objects.iter().enumerate() {
            let pushed = match find(object.bind(py), path) {
                Ok(Some(value)) => with_value(&value, &mut scratch, |value| builder.push(value)),
                Ok(None) => {
                    builder.push(ValueRef::Null);
                    Ok(())
                }
                Err(error) => Err(error),
            };
            if let Err(error) = pushed {
                builder.push(ValueRef::Null);
                errors.push(RowError {
                    row: row as u32,
                    error: error.in_field(path),
                });
            }
        }
        Evaluated {
            column: builder.finish(),
            errors,
        }
    }
}

/// Follows a path into an object; `None` if something on it is missing.
fn find<'py>(
    object: &Bound<'py, PyAny>,
    path: &FieldPath,
) -> Result<Option<Bound<'py, PyAny>>, DataError> {
    let mut value = object.clone();
    for (depth, step) in path.0.iter().enumerate() {
        let next = match (step, value.cast::<PyDict>()) {
            (Step::Name(name), Ok(dict)) => dict.get_item(&**name).ok().flatten(),
            (Step::Index(index), _) => item(&value, *index),
            // A row that is no object is a mistake; deeper, a field is missing.
            (Step::Name(_), Err(_)) if depth == 0 && !value.is_none() => {
                return Err(DataError::new(format!(
                    "the row is of type {}, which has no fields",
                    value
                        .get_type()
                        .name()
                        .map_or_else(|_| "object".into(), |name| name.to_string())
                ))
                .with_hint("return a dict from the function before"));
            }
            _ => None,
        };
        let Some(next) = next else { return Ok(None) };
        value = next;
    }
    Ok(Some(value))
}

fn item<'py>(value: &Bound<'py, PyAny>, index: i64) -> Option<Bound<'py, PyAny>> {
    let at = |len: usize| {
        usize::try_from(if index < 0 { index + len as i64 } else { index })
            .ok()
            .filter(|at| *at < len)
    };
    if let Ok(list) = value.cast::<PyList>() {
        return at(list.len()).and_then(|at| list.get_item(at).ok());
    }
    let tuple = value.cast::<PyTuple>().ok()?;
    at(tuple.len()).and_then(|at| tuple.get_item(at).ok())
}

impl Objects for PyObjects {
    fn len(&self) -> usize {
        self.objects.len()
    }

    fn columns(&self, paths: &[FieldPath]) -> Vec<Evaluated> {
        Python::attach(|py| paths.iter().map(|path| self.column(py, path)).collect())
    }

    fn has_field(&self, row: usize, path: &FieldPath) -> bool {
        Python::attach(|py| {
            find(self.objects[row].bind(py), path).is_ok_and(|found| found.is_some())
        })
    }

    fn take(&self, rows: &[u32]) -> Arc<dyn Objects> {
        let objects = Python::attach(|py| {
            rows.iter()
                .map(|&row| self.objects[row as usize].clone_ref(py))
                .collect()
        });
        let origin = self.origin.as_ref().map(|origin| Origin {
            texts: origin.texts.clone(),
            rows: rows.iter().map(|&row| origin.rows[row as usize]).collect(),
        });
        Arc::new(PyObjects::new(objects, origin))
    }

    fn isolate(&self) -> Arc<dyn Objects> {
        let objects = Python::attach(|py| {
            let copy = |object: &Py<PyAny>| match deep_copy(object.bind(py)) {
                Ok(copy) => copy.unbind(),
                // What refuses to be copied (a lock, a generator) is shared.
                Err(_) => object.clone_ref(py),
            };
            self.objects.iter().map(copy).collect()
        });
        Arc::new(PyObjects::new(objects, self.origin.clone()))
    }

    fn write_json(&self, row: usize, out: &mut Vec<u8>) -> Result<bool, DataError> {
        let written = self.written();
        match written.spans[row].of(&written.text) {
            Some(text) => {
                out.extend_from_slice(text);
                Ok(true)
            }
            None => match written
                .refused
                .iter()
                .find(|(refused, _)| *refused == row as u32)
            {
                Some((_, refused)) => {
                    let mut error = DataError::new(refused.reason.clone());
                    error.field = refused.field.clone();
                    error.hint = refused.hint.clone();
                    Err(error)
                }
                None => Ok(false),
            },
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
