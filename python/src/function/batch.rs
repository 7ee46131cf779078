//! Batch functions: columns as Arrow, pandas or NumPy, and back.
//!
//! Only the form that the user asked for is imported. A missing value is null in
//! Arrow; in pandas and NumPy it is NaN in a column of floats and None in any
//! other, and NaN in a result is a missing value again.

use crate::value::{to_column, to_list};
use headwater::core::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use headwater::core::arrow::schema::{Field, Schema};
use headwater::core::{Column, DataError};
use headwater::plan::BatchForm;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyList};
use pyo3_arrow::PyRecordBatch;
use std::sync::Arc;

/// Why a batch function gave no columns.
pub(super) enum Failure {
    /// It, or a conversion, raised.
    Raised(PyErr),
    /// It returned something else.
    Result(DataError),
}

impl From<PyErr> for Failure {
    fn from(raised: PyErr) -> Self {
        Failure::Raised(raised)
    }
}

type Columns = Vec<(Box<str>, Column)>;

/// Calls a batch function.
pub(super) fn call(
    py: Python<'_>,
    function: &Bound<'_, PyAny>,
    columns: &[(Box<str>, Column)],
    form: BatchForm,
) -> Result<Columns, Failure> {
    let argument = match form {
        BatchForm::Arrow => record_batch(py, columns)?,
        BatchForm::Pandas => py
            .import("pandas")?
            .call_method1("DataFrame", (arrays(py, columns)?,))?,
        BatchForm::NumPy => arrays(py, columns)?.into_any(),
    };
    let result = function.call1((argument,))?;
    read_result(py, &result)
}

fn record_batch<'py>(
    py: Python<'py>,
    columns: &[(Box<str>, Column)],
) -> Result<Bound<'py, PyAny>, Failure> {
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for (name, column) in columns {
        let array = arrow_array(name, column)?;
        fields.push(Field::new(&**name, array.data_type().clone(), true));
        arrays.push(array);
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
        .map_err(|error| Failure::Result(DataError::new(error.to_string())))?;
    Ok(PyRecordBatch::new(batch).into_pyarrow(py)?)
}

fn arrow_array(name: &str, column: &Column) -> Result<ArrayRef, Failure> {
    Ok(match column {
        // A column of no known kind is one of floats: what a function computes
        // from it is then null too.
        Column::Null(len) => Arc::new(
            std::iter::repeat_n(None::<f64>, *len)
                .collect::<headwater::core::arrow::array::Float64Array>(),
        ),
        Column::Bool(array) => Arc::new(array.clone()),
        Column::Int(array) => Arc::new(array.clone()),
        Column::Float(array) => Arc::new(array.clone()),
        Column::Str(array) | Column::Json(array) => Arc::new(array.clone()),
        Column::Bytes(array) => Arc::new(array.clone()),
        Column::Mixed(_) => {
            return Err(Failure::Result(
                DataError::new("a column of several kinds has no Arrow form")
                    .in_field(name)
                    .with_hint("cast it before with `.astype(...)`, or use form=\"pandas\""),
            ));
        }
    })
}

/// The columns as a dict of NumPy arrays.
fn arrays<'py>(py: Python<'py>, columns: &[(Box<str>, Column)]) -> PyResult<Bound<'py, PyDict>> {
    let numpy = py.import("numpy")?;
    let arrays = PyDict::new(py);
    for (name, column) in columns {
        arrays.set_item(&**name, array(py, &numpy, column)?)?;
    }
    Ok(arrays)
}

fn array<'py>(
    py: Python<'py>,
    numpy: &Bound<'py, PyModule>,
    column: &Column,
) -> PyResult<Bound<'py, PyAny>> {
    let of_bytes = |bytes: &[u8], kind: &str| {
        // A bytearray, so that the array can be written to.
        numpy.call_method1("frombuffer", (PyByteArray::new(py, bytes), kind))
    };
    match column {
        Column::Float(array) if array.null_count() == 0 => {
            of_bytes(array.values().inner().as_slice(), "f8")
        }
        Column::Float(array) => {
            let values: Vec<u8> = array
                .iter()
                .flat_map(|value| value.unwrap_or(f64::NAN).to_ne_bytes())
                .collect();
            of_bytes(&values, "f8")
        }
        Column::Null(len) => {
            let values: Vec<u8> = std::iter::repeat_n(f64::NAN.to_ne_bytes(), *len)
                .flatten()
                .collect();
            of_bytes(&values, "f8")
        }
        Column::Int(array) if array.null_count() == 0 => {
            of_bytes(array.values().inner().as_slice(), "i8")
        }
        Column::Bool(array) if array.null_count() == 0 => of_bytes(&bool_bytes(array), "?"),
        column => {
            let list = to_list(py, column)?;
            let array = numpy.call_method1("empty", (list.len(), "O"))?;
            array.set_item(pyo3::types::PySlice::full(py), list)?;
            Ok(array)
        }
    }
}

fn bool_bytes(array: &BooleanArray) -> Vec<u8> {
    (0..array.len())
        .map(|row| u8::from(array.value(row)))
        .collect()
}

/// The columns of a pandas DataFrame, an Arrow batch or table, or a dict.
fn read_result(py: Python<'_>, result: &Bound<'_, PyAny>) -> Result<Columns, Failure> {
    if let Ok(dict) = result.cast::<PyDict>() {
        return dict
            .iter()
            .map(|(name, values)| read_column(py, &name, &values))
            .collect();
    }
    if result.hasattr("column_names")? || result.hasattr("schema")? {
        let names = result.getattr("schema")?.getattr("names")?;
        return names
            .try_iter()?
            .map(|name| {
                let name = name?;
                let values = result.call_method1("column", (&name,))?;
                read_column(py, &name, &values)
            })
            .collect();
    }
    if result.hasattr("columns")? && result.hasattr("iloc")? {
        let names = result.getattr("columns")?;
        return names
            .try_iter()?
            .map(|name| {
                let name = name?;
                read_column(py, &name, &result.get_item(&name)?)
            })
            .collect();
    }
    let got = result.get_type().name()?;
    Err(Failure::Result(
        DataError::new(format!(
            "a batch function must return columns, it returned {got}"
        ))
        .with_hint("return a pandas.DataFrame, a pyarrow.RecordBatch or a dict of arrays"),
    ))
}

fn read_column(
    py: Python<'_>,
    name: &Bound<'_, PyAny>,
    values: &Bound<'_, PyAny>,
) -> Result<(Box<str>, Column), Failure> {
    let name: Box<str> = name.str()?.to_str()?.into();
    if let Some(column) = read_numbers(values)? {
        return Ok((name, column));
    }
    let list = if values.hasattr("to_pylist")? {
        values.call_method0("to_pylist")?
    } else if values.hasattr("tolist")? {
        values.call_method0("tolist")?
    } else {
        py.get_type::<PyList>().call1((values,))?
    };
    let missing = missing_values(py);
    let objects: Vec<_> = list
        .try_iter()?
        .map(|object| {
            object.map(|object| {
                if is_missing(&object, &missing) {
                    none(py)
                } else {
                    object
                }
            })
        })
        .collect::<PyResult<_>>()?;
    let evaluated = to_column(objects.into_iter());
    match evaluated.errors.into_iter().next() {
        None => Ok((name, evaluated.column)),
        Some(failed) => Err(Failure::Result(failed.error.in_field(&name))),
    }
}

fn none(py: Python<'_>) -> Bound<'_, PyAny> {
    py.None().into_bound(py)
}

/// `pandas.NA` and `NaT`, if pandas is in use.
fn missing_values(py: Python<'_>) -> Vec<Bound<'_, PyAny>> {
    let modules = py.import("sys").and_then(|sys| sys.getattr("modules"));
    let pandas = modules.and_then(|modules| modules.get_item("pandas"));
    let Ok(pandas) = pandas else {
        return Vec::new();
    };
    ["NA", "NaT"]
        .iter()
        .filter_map(|name| pandas.getattr(*name).ok())
        .collect()
}

fn is_missing(object: &Bound<'_, PyAny>, missing: &[Bound<'_, PyAny>]) -> bool {
    object.extract::<f64>().is_ok_and(f64::is_nan) || missing.iter().any(|value| value.is(object))
}

/// Floats, integers and booleans of a NumPy array or a pandas Series, copied whole.
fn read_numbers(values: &Bound<'_, PyAny>) -> PyResult<Option<Column>> {
    let Ok(kind) = values.getattr("dtype").and_then(|kind| kind.str()) else {
        return Ok(None);
    };
    let kind = kind.to_string();
    let (to, is_float) = match kind.as_str() {
        "float64" | "float32" => ("f8", true),
        "int64" | "int32" | "int16" | "int8" | "uint32" | "uint16" | "uint8" => ("i8", false),
        _ => return Ok(None),
    };
    let array = if values.hasattr("to_numpy")? {
        values.call_method0("to_numpy")?
    } else {
        values.clone()
    };
    let bytes = array
        .call_method1("astype", (to,))?
        .call_method0("tobytes")?;
    let bytes = bytes.cast::<PyBytes>()?.as_bytes();
    let (words, _) = bytes.as_chunks::<8>();
    Ok(Some(if is_float {
        Column::Float(
            words
                .iter()
                .map(|word| Some(f64::from_ne_bytes(*word)).filter(|f| !f.is_nan()))
                .collect(),
        )
    } else {
        Column::Int(
            words
                .iter()
                .map(|word| i64::from_ne_bytes(*word))
                .collect::<Vec<_>>()
                .into(),
        )
    }))
}
