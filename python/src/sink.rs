//! Sinks written in Python.
//!
//! A user's sink is at-least-once: it is given the rows of an epoch, flushed, and
//! the epoch committed; an epoch that was flushed and not committed comes again.

use crate::error::end;
use crate::format;
use crate::function::headers_list;
use crate::rows::{KeyFormats, key_format, values};
use headwater::connect::{Delivery, Sink};
use headwater::core::env::Env;
use headwater::core::{Error, Result};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// A user's sink, as the engine sees it.
pub(crate) struct UserSink {
    sink: Py<PyAny>,
    formats: KeyFormats,
}

impl UserSink {
    pub(crate) fn new(sink: Py<PyAny>, formats: KeyFormats) -> UserSink {
        UserSink { sink, formats }
    }

    fn add_all(&self, py: Python<'_>, delivery: &Delivery) -> PyResult<()> {
        let add = self.sink.bind(py).getattr("add")?;
        let format = key_format(&self.formats, &delivery.partition);
        let batch = &delivery.batch;
        for (row, value) in values(py, batch)?.into_iter().enumerate() {
            let arguments = PyDict::new(py);
            arguments.set_item("value", value)?;
            arguments.set_item("key", format::read(py, format, batch.keys.get(row))?)?;
            arguments.set_item("timestamp", batch.timestamps[row])?;
            arguments.set_item("headers", headers_list(py, batch.headers(row))?)?;
            arguments.set_item("topic", &*delivery.partition.topic)?;
            arguments.set_item("partition", delivery.partition.partition)?;
            arguments.set_item("offset", delivery.positions[row].offset())?;
            add.call((), Some(&arguments))?;
        }
        Ok(())
    }
}

/// A sink that cannot take rows now is tried again; anything else ends the job.
fn failed(py: Python<'_>, raised: PyErr) -> Error {
    let backpressure = py
        .import("headwater.sinks")
        .and_then(|module| module.getattr("SinkBackpressureError"))
        .is_ok_and(|class| raised.matches(py, class).unwrap_or(false));
    match backpressure {
        true => Error::unavailable(raised.to_string()).with_source(raised),
        false => end(raised),
    }
}

impl Sink for UserSink {
    fn open(&mut self, _env: &Env, _position: Option<&[u8]>) -> Result<()> {
        Python::attach(|py| self.sink.call_method0(py, "_open").map(drop).map_err(end))
    }

    fn write(&mut self, delivery: &Delivery) -> Result<()> {
        Python::attach(|py| {
            self.add_all(py, delivery)
                .map_err(|raised| failed(py, raised))
        })
    }

    fn flush(&mut self) -> Result<Option<Vec<u8>>> {
        Python::attach(|py| match self.sink.call_method0(py, "flush") {
            Ok(_) => Ok(None),
            Err(raised) => {
                let error = failed(py, raised);
                if let Err(raised) = self.sink.call_method0(py, "on_paused") {
                    raised.write_unraisable(py, Some(self.sink.bind(py)));
                }
                Err(error)
            }
        })
    }

    fn close(&mut self) {
        Python::try_attach(|py| {
            if let Err(raised) = self.sink.call_method0(py, "_close") {
                raised.write_unraisable(py, Some(self.sink.bind(py)));
            }
        });
    }
}
