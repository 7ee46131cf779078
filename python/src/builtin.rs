//! The built-in sources and sinks, made from what the facade's classes say.
//!
//! A facade class that the engine has in Rust answers `_native()` with a name and
//! its options; any other is run as Python.

use crate::error::raise;
use crate::source::Extracting;
use headwater::connect::{
    AtEnd, CellTypes, CsvSink, CsvSinkOptions, CsvSource, CsvSourceOptions, ExistingFile,
    JsonLinesSink, JsonLinesSinkOptions, JsonLinesSource, JsonLinesSourceOptions, Sink, Source,
    TimestampField, TimestampFormat,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::path::PathBuf;
use std::time::Duration;

/// Which built-in one it is, and its options; `None` for a class in Python.
fn described<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<(String, Bound<'py, PyAny>)>> {
    match object.getattr_opt("_native")? {
        Some(method) => Ok(Some(method.call0()?.extract()?)),
        None => Ok(None),
    }
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct FileOptions {
    path: PathBuf,
    #[pyo3(default)]
    key_column: Option<String>,
    #[pyo3(default)]
    timestamp_column: Option<String>,
    timestamp_format: String,
    key_function: Option<Py<PyAny>>,
    timestamp_function: Option<Py<PyAny>>,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct CsvReading {
    delay: f64,
    delimiter: char,
    types: String,
}

impl FileOptions {
    fn timestamp(&self, py: Python<'_>) -> PyResult<Option<TimestampField>> {
        let Some(name) = self.timestamp_column.clone() else {
            return Ok(None);
        };
        let format: TimestampFormat = raise(py, self.timestamp_format.parse())?;
        Ok(Some(TimestampField { name, format }))
    }
}

/// The source in Rust for a facade's source, if there is one.
pub(crate) fn source(
    py: Python<'_>,
    source: &Bound<'_, PyAny>,
) -> PyResult<Option<Box<dyn Source>>> {
    let Some((kind, options)) = described(source)? else {
        return Ok(None);
    };
    let file: FileOptions = options.extract()?;
    let timestamp = file.timestamp(py)?;
    let inner: Box<dyn Source> = match kind.as_str() {
        "csv" => {
            let csv: CsvReading = options.extract()?;
            let types = if csv.types == "text" {
                CellTypes::Text
            } else {
                CellTypes::Inferred
            };
            let delay = Duration::try_from_secs_f64(csv.delay)
                .map_err(|_| PyValueError::new_err("delay must be a number of seconds"))?;
            let options = CsvSourceOptions {
                delimiter: csv.delimiter as u8,
                types,
                key_column: file.key_column.clone(),
                timestamp,
                delay,
                ..Default::default()
            };
            Box::new(CsvSource::new(&file.path, options))
        }
        "json_lines" => {
            let is_following: bool = options.get_item("follow")?.extract()?;
            let options = JsonLinesSourceOptions {
                key_field: file.key_column.clone(),
                timestamp,
                at_end: if is_following {
                    AtEnd::Follow
                } else {
                    AtEnd::Finish
                },
            };
            Box::new(JsonLinesSource::new(&file.path, options))
        }
        other => {
            return Err(PyValueError::new_err(format!(
                "no built-in source {other:?}"
            )));
        }
    };
    if file.key_function.is_none() && file.timestamp_function.is_none() {
        return Ok(Some(inner));
    }
    let (key, timestamp) = (file.key_function, file.timestamp_function);
    Ok(Some(Box::new(Extracting {
        inner,
        key,
        timestamp,
    })))
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct CsvWriting {
    path: PathBuf,
    columns: Option<Vec<String>>,
    key_column: Option<String>,
    timestamp_column: Option<String>,
    delimiter: char,
    existing: String,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct JsonLinesWriting {
    path: PathBuf,
    metadata: bool,
    existing: String,
}

fn existing(name: &str) -> ExistingFile {
    if name == "append" {
        ExistingFile::Append
    } else {
        ExistingFile::Refuse
    }
}

/// The sink in Rust for a facade's sink, if there is one.
pub(crate) fn sink(sink: &Bound<'_, PyAny>) -> PyResult<Option<Box<dyn Sink>>> {
    let Some((kind, options)) = described(sink)? else {
        return Ok(None);
    };
    Ok(Some(match kind.as_str() {
        "csv" => {
            let csv: CsvWriting = options.extract()?;
            let options = CsvSinkOptions {
                delimiter: csv.delimiter as u8,
                columns: csv.columns,
                key_column: csv.key_column,
                timestamp_column: csv.timestamp_column,
                existing: existing(&csv.existing),
            };
            Box::new(CsvSink::new(csv.path, options))
        }
        "json_lines" => {
            let lines: JsonLinesWriting = options.extract()?;
            let options = JsonLinesSinkOptions {
                has_metadata: lines.metadata,
                existing: existing(&lines.existing),
            };
            Box::new(JsonLinesSink::new(lines.path, options))
        }
        other => return Err(PyValueError::new_err(format!("no built-in sink {other:?}"))),
    }))
}
