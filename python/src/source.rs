//! Sources written in Python, and the built-in ones with Python extractors.
//!
//! A user's `Source` runs on a thread of Python's own and puts records into a
//! bounded queue; the engine takes them out without the interpreter. A source
//! that is ahead waits, which is all the backpressure it needs.

use crate::error::{end, exception, is_about_data, raised_by_user};
use crate::format;
use headwater::connect::{Source, SourceBatch, Unread};
use headwater::core::env::Env;
use headwater::core::{DataError, Error, Headers, RecordsBuilder, Result, TimestampMs};
use headwater::plan::TextFormat;
use pyo3::prelude::*;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The most records that a source may be ahead of the engine.
const QUEUE_MAX: usize = 10_000;
/// How often a source that waits looks for the end of the run.
const WAIT: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Queue {
    records: VecDeque<Queued>,
    /// The source's `run` has returned, or raised.
    is_finished: bool,
    failure: Option<PyErr>,
    /// The engine takes no more.
    is_closed: bool,
}

struct Queued {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    timestamp: TimestampMs,
    headers: Headers,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    emptied: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Held for the length of a queue operation only.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `_native.SourceQueue`: where a user's source puts its records.
#[pyclass(frozen, name = "SourceQueue", module = "headwater._native")]
pub(crate) struct PySourceQueue {
    shared: Arc<Shared>,
    env: Env,
}

#[pymethods]
impl PySourceQueue {
    /// Puts a record; waits while the queue is full. False if the run is ending.
    #[pyo3(signature = (key, value, timestamp=None, headers=None))]
    fn put(
        &self,
        py: Python<'_>,
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        timestamp: Option<TimestampMs>,
        headers: Option<Vec<(String, Option<Vec<u8>>)>>,
    ) -> bool {
        let timestamp = timestamp.unwrap_or_else(|| self.env.clock.wall_ms());
        let headers = headers
            .filter(|headers| !headers.is_empty())
            .map(|headers| {
                headers
                    .into_iter()
                    .map(|(name, value)| headwater::core::Header {
                        name: name.into(),
                        value: value.map(Into::into),
                    })
                    .collect()
            });
        let record = Queued {
            key,
            value,
            timestamp,
            headers,
        };
        py.detach(|| {
            let mut queue = self.shared.lock();
            while queue.records.len() >= QUEUE_MAX && !queue.is_closed {
                let waited = self.shared.emptied.wait_timeout(queue, WAIT);
                queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            if !queue.is_closed {
                queue.records.push_back(record);
                self.shared.filled.notify_one();
            }
            !queue.is_closed
        })
    }

    /// Waits until the engine has taken everything, at most `timeout` seconds.
    fn drain(&self, py: Python<'_>, timeout: f64) -> bool {
        py.detach(|| {
            let queue = self.shared.lock();
            let timeout = Duration::from_secs_f64(timeout.max(0.0));
            let waited = self
                .shared
                .emptied
                .wait_timeout_while(queue, timeout, |queue| {
                    !queue.records.is_empty() && !queue.is_closed
                });
            waited
                .unwrap_or_else(PoisonError::into_inner)
                .0
                .records
                .is_empty()
        })
    }

    /// The source's `run` has returned, or raised.
    #[pyo3(signature = (failure=None))]
    fn finish(&self, failure: Option<Bound<'_, PyAny>>) {
        let mut queue = self.shared.lock();
        queue.is_finished = true;
        queue.failure = failure.map(PyErr::from_value);
        self.shared.filled.notify_one();
    }

    /// Whether the run goes on.
    #[getter]
    fn is_open(&self) -> bool {
        !self.shared.lock().is_closed
    }
}

/// A user's source, as the engine sees it.
pub(crate) struct UserSource {
    source: Py<PyAny>,
    name: String,
    shared: Arc<Shared>,
}

impl UserSource {
    pub(crate) fn new(name: String, source: Py<PyAny>) -> UserSource {
        UserSource {
            source,
            name,
            shared: Arc::default(),
        }
    }
}

impl Source for UserSource {
    fn open(&mut self, env: &Env, _position: Option<&[u8]>) -> Result<()> {
        self.shared = Arc::default();
        let queue = PySourceQueue {
            shared: Arc::clone(&self.shared),
            env: env.clone(),
        };
        Python::attach(|py| {
            let queue = Bound::new(py, queue).map_err(end)?;
            self.source
                .call_method1(py, "_start", (queue,))
                .map(drop)
                .map_err(end)
        })
    }

    fn poll(&mut self, wait: Duration, records_max: usize) -> Result<SourceBatch> {
        let queue = self.shared.lock();
        let waited = self.shared.filled.wait_timeout_while(queue, wait, |queue| {
            queue.records.is_empty() && !queue.is_finished
        });
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        let mut builder = RecordsBuilder::default();
        while builder.len() < records_max && builder.byte_count() < (8 << 20) {
            let Some(record) = queue.records.pop_front() else {
                break;
            };
            builder.push(
                record.key.as_deref(),
                record.value.as_deref(),
                record.timestamp,
                record.headers,
            );
        }
        self.shared.emptied.notify_all();
        let is_end = queue.records.is_empty() && queue.is_finished;
        if is_end
            && builder.is_empty()
            && let Some(raised) = queue.failure.take()
        {
            return Err(self.failed(raised));
        }
        let is_end = is_end && queue.failure.is_none();
        Ok(SourceBatch {
            records: builder.finish(),
            position: None,
            is_end,
            unread: Vec::new(),
        })
    }

    fn is_bounded(&self) -> bool {
        false
    }

    fn close(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.emptied.notify_all();
        Python::try_attach(|py| {
            if let Err(raised) = self.source.call_method0(py, "_stop") {
                raised.write_unraisable(py, Some(self.source.bind(py)));
            }
        });
    }
}

impl UserSource {
    fn failed(&self, raised: PyErr) -> Error {
        Python::attach(|py| {
            if !is_about_data(py, &raised) {
                return end(raised);
            }
            let message = format!("the source {:?} failed: {raised}", self.name);
            let made = exception(py, "SourceException", &message);
            made.set_cause(py, Some(raised));
            end(made)
        })
    }
}

/// A built-in source whose keys or times a Python function takes from the row.
pub(crate) struct Extracting {
    pub(crate) inner: Box<dyn Source>,
    pub(crate) key: Option<Py<PyAny>>,
    pub(crate) timestamp: Option<Py<PyAny>>,
}

impl Extracting {
    /// Gives the batch's records their keys and times. Those that an extractor raises
    /// for are not among them.
    fn extract(&self, py: Python<'_>, batch: SourceBatch) -> Result<SourceBatch> {
        let records = &batch.records;
        let mut unread = batch.unread;
        let mut values = format::Values::new(TextFormat::Json);
        let mut builder = RecordsBuilder::default();
        let mut key_bytes = Vec::new();
        for index in 0..records.len() {
            let row = values.read(py, records.value(index)).map_err(end)?;
            let extracted = self
                .key_of(&row, &mut key_bytes)
                .and_then(|has_key| Ok((has_key, self.timestamp_of(&row)?)));
            let (has_key, timestamp) = match extracted {
                Ok(extracted) => extracted,
                Err((_, raised)) if !is_about_data(py, &raised) => return Err(end(raised)),
                Err((extractor, raised)) => {
                    unread.push(Unread {
                        error: failed_extractor(py, extractor, raised),
                        bytes: records.value(index).unwrap_or_default().to_vec(),
                    });
                    continue;
                }
            };
            let key = match &self.key {
                Some(_) => has_key.then_some(key_bytes.as_slice()),
                None => records.key(index),
            };
            let timestamp = timestamp.unwrap_or(records.timestamps[index]);
            let headers = records.headers.get(index).cloned().flatten();
            builder.push(key, records.value(index), timestamp, headers);
        }
        Ok(SourceBatch {
            records: builder.finish(),
            unread,
            ..batch
        })
    }

    /// Writes the row's key; `false` if it has none.
    fn key_of<'s>(&'s self, row: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> Extracted<'s, bool> {
        let Some(extractor) = &self.key else {
            return Ok(false);
        };
        out.clear();
        let mut extract = || {
            let key = extractor.bind(row.py()).call1((row,))?;
            let format = match key.is_instance_of::<pyo3::types::PyString>() {
                true => TextFormat::String,
                false if key.is_instance_of::<pyo3::types::PyBytes>() => TextFormat::Bytes,
                false => TextFormat::Json,
            };
            format::write(format, &key, out)
        };
        extract().map_err(|raised| (extractor, raised))
    }

    /// The row's time, if a function says it.
    fn timestamp_of<'s>(&'s self, row: &Bound<'_, PyAny>) -> Extracted<'s, Option<TimestampMs>> {
        let Some(extractor) = &self.timestamp else {
            return Ok(None);
        };
        let timestamp = extractor.bind(row.py()).call1((row,));
        let timestamp = timestamp.and_then(|timestamp| timestamp.extract());
        timestamp.map(Some).map_err(|raised| (extractor, raised))
    }
}

/// What an extractor made of a row, or which one raised what.
type Extracted<'s, T> = std::result::Result<T, (&'s Py<PyAny>, PyErr)>;

/// The error of a row that an extractor raised for.
fn failed_extractor(py: Python<'_>, extractor: &Py<PyAny>, raised: PyErr) -> DataError {
    let extractor = extractor.bind(py);
    let code = extractor.getattr("__code__").ok();
    let name = extractor
        .getattr("__name__")
        .and_then(|name| name.extract());
    let name: String = name.unwrap_or_else(|_| "extractor".into());
    raised_by_user(py, raised, &name, code.as_ref())
}

impl Source for Extracting {
    fn open(&mut self, env: &Env, position: Option<&[u8]>) -> Result<()> {
        self.inner.open(env, position)
    }

    fn poll(&mut self, wait: Duration, records_max: usize) -> Result<SourceBatch> {
        let batch = self.inner.poll(wait, records_max)?;
        if batch.records.is_empty() {
            return Ok(batch);
        }
        Python::attach(|py| self.extract(py, batch))
    }

    fn is_bounded(&self) -> bool {
        self.inner.is_bounded()
    }

    fn close(&mut self) {
        self.inner.close();
    }
}
