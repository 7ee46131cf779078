//! The lazy row: a mapping over the bytes of a record that decodes what is read.
//!
//! The key decision: **a function gets a lazy row only if its bytecode shows
//! that it can't tell it from a dict** (`headwater/_reads.py`): the row is read
//! by constant names and nothing else happens to it. It is never passed on,
//! returned, kept, changed or asked for its type, so `json`, `**`, `isinstance`
//! and pickling never meet a [`Row`]; every function that could do such things
//! gets an exact `dict`. The methods here serve a person at a debugger's prompt.

use crate::json::Decoder;
use headwater::core::json::Locator;
use headwater::core::{Column, DataError, FieldPath, JsonRows, RowError};
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};
use std::sync::{Arc, Mutex};

/// The rows of one batch, with the fields that the function is known to read.
pub(super) struct LazyRows {
    rows: JsonRows,
    fields: Vec<Field>,
    decoder: Mutex<Decoder>,
}

struct Field {
    name: Py<PyString>,
    path: FieldPath,
    column: Column,
    errors: Vec<RowError>,
}

impl LazyRows {
    /// Decodes the fields of all rows. Malformed rows are returned beside them.
    pub(super) fn new(
        py: Python<'_>,
        mut rows: JsonRows,
        reads: &[FieldPath],
    ) -> (Arc<LazyRows>, Vec<RowError>) {
        let malformed = rows.locate(&mut Locator::new(reads));
        let fields = reads
            .iter()
            .map(|path| {
                let evaluated = rows.column(path);
                Field {
                    name: PyString::intern(py, path.root().unwrap_or_default()).unbind(),
                    path: path.clone(),
                    column: evaluated.column,
                    errors: evaluated.errors,
                }
            })
            .collect();
        (
            Arc::new(LazyRows {
                rows,
                fields,
                decoder: Mutex::default(),
            }),
            malformed,
        )
    }

    fn field(&self, key: &Bound<'_, PyAny>) -> Option<&Field> {
        // Constants of Python code are interned, so the name is mostly the same object.
        self.fields
            .iter()
            .find(|field| field.name.is(key))
            .or_else(|| {
                let key = key.cast::<PyString>().ok()?.to_str().ok()?;
                self.fields
                    .iter()
                    .find(|field| field.path.root() == Some(key))
            })
    }
}

/// One row of a batch. See the module's documentation.
#[pyclass(frozen, mapping, module = "headwater._native")]
pub(crate) struct Row {
    rows: Arc<LazyRows>,
    row: u32,
    dict: PyOnceLock<Py<PyDict>>,
}

impl Row {
    pub(super) fn new(rows: Arc<LazyRows>, row: usize) -> Row {
        Row {
            rows,
            row: row as u32,
            dict: PyOnceLock::new(),
        }
    }

    /// The value of a field; `None` if the row lacks it.
    fn read<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(field) = self.rows.field(key) else {
            return self.dict(py)?.get_item(key);
        };
        let value = field.column.value(self.row as usize);
        if value.is_null() {
            if let Some(failed) = field.errors.iter().find(|error| error.row == self.row) {
                return Err(PyValueError::new_err(failed.error.to_string()));
            }
            if !self.rows.rows.has_field(self.row as usize, &field.path) {
                return Ok(None);
            }
        }
        let mut decoder = self
            .rows
            .decoder
            .lock()
            .expect("no holder of this lock panics");
        decoder.object(py, value).map(Some)
    }

    /// The whole row, made at its first use.
    fn dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = self.dict.get_or_try_init(py, || {
            let mut one = self.rows.rows.take(&[self.row]);
            let text =
                written(&mut one, 0).map_err(|error| PyValueError::new_err(error.to_string()))?;
            match Decoder::default().decode(py, &text)?.cast_into::<PyDict>() {
                Ok(dict) => Ok::<_, PyErr>(dict.unbind()),
                Err(_) => Ok(PyDict::new(py).unbind()),
            }
        })?;
        Ok(dict.bind(py).clone())
    }
}

/// A row as it would be written.
pub(super) fn written(rows: &mut JsonRows, row: usize) -> Result<String, DataError> {
    if let Some(malformed) = rows
        .prepare_to_write()
        .into_iter()
        .find(|error| error.row == row as u32)
    {
        return Err(malformed.error);
    }
    let mut text = Vec::new();
    let is_there = rows.write_row(row, &mut text)?;
    if !is_there {
        return Ok("null".into());
    }
    String::from_utf8(text).map_err(|_| DataError::new("the text is not UTF-8"))
}

#[pymethods]
impl Row {
    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.read(py, key)? {
            Some(value) => Ok(value),
            None => Err(PyKeyError::new_err(key.clone().unbind())),
        }
    }

    #[pyo3(signature = (key, default=None, /))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let value = self.read(py, key)?;
        Ok(value
            .or(default)
            .unwrap_or_else(|| py.None().into_bound(py)))
    }

    fn __contains__(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        match self.rows.field(key) {
            Some(field) => Ok(self.rows.rows.has_field(self.row as usize, &field.path)),
            None => self.dict(py)?.contains(key),
        }
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.dict(py)?.len())
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.dict(py)?.as_any().try_iter()?.into_any())
    }

    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.dict(py)?.call_method0("keys")
    }

    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.dict(py)?.call_method0("values")
    }

    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.dict(py)?.call_method0("items")
    }

    fn copy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.dict(py)?.copy()
    }

    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.dict(py)?.as_any().eq(other)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.dict(py)?.repr()?.to_string())
    }

    fn __reduce__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyDict>,))> {
        Ok((py.get_type::<PyDict>().into_any(), (self.dict(py)?,)))
    }
}
