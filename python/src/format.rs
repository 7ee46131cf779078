//! Keys and values as bytes, by the format of their topic.

use crate::json::{Decoder, encode};
use headwater::core::json::Locator;
use headwater::plan::TextFormat;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

/// The format of a name that Quix Streams knows it by.
pub(crate) fn parse(name: &str) -> PyResult<TextFormat> {
    match name {
        "json" => Ok(TextFormat::Json),
        "str" | "string" => Ok(TextFormat::String),
        "bytes" => Ok(TextFormat::Bytes),
        "int" | "integer" => Ok(TextFormat::Integer),
        "double" => Ok(TextFormat::Double),
        other => Err(PyValueError::new_err(format!(
            "unknown format {other:?}; use \"json\", \"str\", \"bytes\", \"int\" or \"double\""
        ))),
    }
}

/// Reads the values of one topic, learning their keys.
pub(crate) struct Values {
    format: TextFormat,
    locator: Locator,
    decoder: Decoder,
}

impl Values {
    pub(crate) fn new(format: TextFormat) -> Values {
        Values {
            format,
            locator: Locator::new(&[]),
            decoder: Decoder::default(),
        }
    }

    /// As [`read`].
    ///
    /// # Errors
    /// `ValueError` if they are not of the format.
    pub(crate) fn read<'py>(
        &mut self,
        py: Python<'py>,
        bytes: Option<&[u8]>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match (self.format, bytes) {
            (TextFormat::Json, Some(bytes)) => {
                self.locator
                    .locate(bytes, &mut [])
                    .map_err(|error| PyValueError::new_err(error.to_string()))?;
                let text = std::str::from_utf8(bytes)
                    .map_err(|_| PyValueError::new_err("the text is not UTF-8"))?;
                self.decoder.decode(py, text)
            }
            _ => read(py, self.format, bytes),
        }
    }
}

/// Bytes as the Python object they stand for.
///
/// # Errors
/// `ValueError` if they are not of the format.
pub(crate) fn read<'py>(
    py: Python<'py>,
    format: TextFormat,
    bytes: Option<&[u8]>,
) -> PyResult<Bound<'py, PyAny>> {
    let Some(bytes) = bytes else {
        return Ok(py.None().into_bound(py));
    };
    let wrong = |expected: &str| {
        PyValueError::new_err(format!("expected {expected}, got {} bytes", bytes.len()))
    };
    match format {
        TextFormat::Bytes => Ok(PyBytes::new(py, bytes).into_any()),
        TextFormat::String => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(PyString::new(py, text).into_any()),
            Err(_) => Err(wrong("UTF-8 text")),
        },
        TextFormat::Json => Values::new(format).read(py, Some(bytes)),
        TextFormat::Integer => {
            let bytes: [u8; 4] = bytes.try_into().map_err(|_| wrong("4 bytes"))?;
            Ok(i32::from_be_bytes(bytes).into_pyobject(py)?.into_any())
        }
        TextFormat::Double => {
            let bytes: [u8; 8] = bytes.try_into().map_err(|_| wrong("8 bytes"))?;
            Ok(f64::from_be_bytes(bytes).into_pyobject(py)?.into_any())
        }
    }
}

/// Appends an object as bytes; `false` for None, which appends nothing.
///
/// # Errors
/// `TypeError` or `ValueError` if the format has no bytes for it.
pub(crate) fn write(
    format: TextFormat,
    object: &Bound<'_, PyAny>,
    out: &mut Vec<u8>,
) -> PyResult<bool> {
    if object.is_none() {
        return Ok(false);
    }
    let wrong = |expected: &str| {
        let got = object
            .get_type()
            .name()
            .map_or_else(|_| String::new(), |name| name.to_string());
        PyTypeError::new_err(format!("expected {expected}, got {got}"))
    };
    match format {
        TextFormat::Bytes => match object.cast::<PyBytes>() {
            Ok(bytes) => out.extend_from_slice(bytes.as_bytes()),
            // A text as a key or value of bytes can mean only its UTF-8.
            Err(_) => match object.cast::<PyString>() {
                Ok(text) => out.extend_from_slice(text.to_str()?.as_bytes()),
                Err(_) => return Err(wrong("bytes or str")),
            },
        },
        TextFormat::String => match object.cast::<PyString>() {
            Ok(text) => out.extend_from_slice(text.to_str()?.as_bytes()),
            Err(_) => return Err(wrong("str")),
        },
        TextFormat::Json => {
            encode(object, out).map_err(|error| PyValueError::new_err(error.to_string()))?;
        }
        TextFormat::Integer => {
            let value: i32 = object.extract().map_err(|_| wrong("an int of 32 bits"))?;
            out.extend_from_slice(&value.to_be_bytes());
        }
        TextFormat::Double => {
            let value: f64 = object.extract().map_err(|_| wrong("a float"))?;
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
    Ok(true)
}

/// A key or a value as bytes; None is none.
#[pyfunction]
pub(crate) fn serialize<'py>(
    py: Python<'py>,
    format: &str,
    value: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let mut bytes = Vec::new();
    let is_there = write(parse(format)?, value, &mut bytes)?;
    Ok(is_there.then(|| PyBytes::new(py, &bytes)))
}

/// The key or the value that bytes stand for.
#[pyfunction]
pub(crate) fn deserialize<'py>(
    py: Python<'py>,
    format: &str,
    bytes: Option<&[u8]>,
) -> PyResult<Bound<'py, PyAny>> {
    read(py, parse(format)?, bytes)
}
