//! Rows that leave the engine for Python: for sinks, and for `run()`'s list.

use crate::format;
use crate::function::{PyObjects, headers_list};
use crate::json::Decoder;
use headwater::connect::Delivery;
use headwater::core::{Batch, DataError, Position, Rows, TopicPartition};
use headwater::plan::TextFormat;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::collections::BTreeMap;

/// How the keys of each input topic are read.
pub(crate) type KeyFormats = BTreeMap<String, TextFormat>;

/// The value of each row.
///
/// # Errors
/// `ValueError` for a row that JSON has no form for.
pub(crate) fn values<'py>(py: Python<'py>, batch: &Batch) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let mut decoder = Decoder::default();
    match &batch.rows {
        Rows::Values(column) => column
            .iter()
            .map(|value| decoder.object(py, value))
            .collect(),
        Rows::Objects(objects) => {
            if let Some(own) = objects.as_any().downcast_ref::<PyObjects>() {
                return Ok((0..batch.len()).map(|row| own.get(py, row)).collect());
            }
            written(
                py,
                batch.len(),
                |row, out| objects.write_json(row, out),
                &mut decoder,
            )
        }
        Rows::Json(rows) => {
            let mut rows = rows.clone();
            if let Some(malformed) = rows.prepare_to_write().into_iter().next() {
                return Err(PyValueError::new_err(malformed.error.to_string()));
            }
            written(
                py,
                batch.len(),
                |row, out| rows.write_row(row, out),
                &mut decoder,
            )
        }
    }
}

fn written<'py>(
    py: Python<'py>,
    len: usize,
    write: impl Fn(usize, &mut Vec<u8>) -> Result<bool, DataError>,
    decoder: &mut Decoder,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let mut text = Vec::new();
    (0..len)
        .map(|row| {
            text.clear();
            match write(row, &mut text) {
                Ok(false) => Ok(py.None().into_bound(py)),
                Ok(true) => match std::str::from_utf8(&text) {
                    Ok(text) => decoder.decode(py, text),
                    Err(_) => Err(PyValueError::new_err("the text is not UTF-8")),
                },
                Err(error) => Err(PyValueError::new_err(error.to_string())),
            }
        })
        .collect()
}

/// A row as Quix Streams returns it: a dict as it is, anything else under `_value`.
pub(crate) fn row_dict<'py>(value: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    match value.cast_into::<PyDict>() {
        Ok(dict) => Ok(dict),
        Err(other) => {
            let value = other.into_inner();
            let row = PyDict::new(value.py());
            row.set_item("_value", value)?;
            Ok(row)
        }
    }
}

/// Adds key, time, headers and place to a row.
pub(crate) fn add_metadata<'py>(
    row: &Bound<'py, PyDict>,
    key: Bound<'py, PyAny>,
    timestamp: i64,
    headers: Bound<'py, PyAny>,
    (partition, position): (&TopicPartition, Position),
) -> PyResult<()> {
    row.set_item("_key", key)?;
    row.set_item("_timestamp", timestamp)?;
    row.set_item("_headers", headers)?;
    row.set_item("_topic", &*partition.topic)?;
    row.set_item("_partition", partition.partition)?;
    row.set_item("_offset", position.offset())
}

/// The rows of a delivery as dicts.
///
/// # Errors
/// As [`values`].
pub(crate) fn delivered_rows<'py>(
    py: Python<'py>,
    delivery: &Delivery,
    formats: &KeyFormats,
    metadata: bool,
) -> PyResult<Vec<Bound<'py, PyDict>>> {
    let values = values(py, &delivery.batch)?;
    let format = key_format(formats, &delivery.partition);
    values
        .into_iter()
        .enumerate()
        .map(|(index, value)| {
            let mut row = row_dict(value)?;
            if metadata {
                // The dict may be the user's own object.
                row = row.copy()?;
                let key = format::read(py, format, delivery.batch.keys.get(index))?;
                let headers = headers_list(py, delivery.batch.headers(index))?;
                let place = (&delivery.partition, delivery.positions[index]);
                add_metadata(&row, key, delivery.batch.timestamps[index], headers, place)?;
            }
            Ok(row)
        })
        .collect()
}

/// How the keys of a partition are read. (Of several patterns the first counts.)
pub(crate) fn key_format(formats: &KeyFormats, partition: &TopicPartition) -> TextFormat {
    let by_pattern = || formats.iter().find(|(name, _)| name.starts_with('^'));
    formats
        .get(&*partition.topic)
        .or_else(|| by_pattern().map(|(_, format)| format))
        .copied()
        .unwrap_or(TextFormat::Bytes)
}
