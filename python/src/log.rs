//! `_native.Log`: the embedded log, opened once by an application.

use crate::error::raise;
use crate::format;
use crate::producer::PyProducer;
use crate::reader::PyTopicReader;
use headwater::core::env::Env;
use headwater::log::embedded::{EmbeddedLog, Options};
use headwater::log::{Log, TopicConfig};
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::Arc;

/// A log.
#[pyclass(frozen, name = "Log", module = "headwater._native")]
pub(crate) struct PyLog {
    pub(crate) log: Arc<dyn Log>,
}

/// How a topic is made, as the facade's `TopicConfig` says it.
#[derive(FromPyObject)]
pub(crate) struct ConfigInput {
    num_partitions: u32,
    retention_ms: Option<u64>,
    retention_bytes: Option<u64>,
}

impl From<ConfigInput> for TopicConfig {
    fn from(input: ConfigInput) -> Self {
        let default = TopicConfig::default();
        TopicConfig {
            partitions: input.num_partitions,
            retention_ms: input.retention_ms.or(default.retention_ms),
            retention_bytes: input.retention_bytes.or(default.retention_bytes),
            compacted: false,
        }
    }
}

/// Hands a warning of the log's housekeeping to Python's logging.
fn warn(warning: &str) {
    // At the interpreter's end there is nobody left to warn.
    Python::try_attach(|py| {
        let logger = py
            .import("logging")
            .and_then(|logging| logging.call_method1("getLogger", ("headwater",)));
        let _ = logger.and_then(|logger| logger.call_method1("warning", ("%s", warning)));
    });
}

#[pymethods]
impl PyLog {
    /// Opens the log in a directory, and makes it if there is none.
    #[staticmethod]
    fn open(py: Python<'_>, directory: PathBuf) -> PyResult<PyLog> {
        let options = Options {
            warn: Arc::new(warn),
            ..Options::new(Env::system())
        };
        let log = py.detach(|| EmbeddedLog::open(&directory, options));
        Ok(PyLog {
            log: raise(py, log)?,
        })
    }

    fn describe(&self) -> String {
        self.log.describe()
    }

    /// Topics with their numbers of partitions.
    fn topics(&self, py: Python<'_>) -> PyResult<Vec<(String, u32)>> {
        let topics = raise(py, py.detach(|| self.log.topics()))?;
        Ok(topics
            .into_iter()
            .map(|topic| (topic.name, topic.config.partitions))
            .collect())
    }

    /// Makes a topic; False if it was there.
    fn create_topic(&self, py: Python<'_>, name: &str, config: ConfigInput) -> PyResult<bool> {
        let config = config.into();
        raise(py, py.detach(|| self.log.create_topic(name, &config)))
    }

    /// A producer; `defaults` says how topics are made that are missing.
    fn producer(&self, py: Python<'_>, config: ConfigInput) -> PyResult<PyProducer> {
        PyProducer::new(py, Arc::clone(&self.log), config.into())
    }

    /// Reads what a topic holds now.
    #[pyo3(signature = (topic, value_format, key_format, limit=None))]
    fn read(
        &self,
        py: Python<'_>,
        topic: &str,
        value_format: &str,
        key_format: &str,
        limit: Option<usize>,
    ) -> PyResult<PyTopicReader> {
        let formats = (format::parse(value_format)?, format::parse(key_format)?);
        PyTopicReader::new(py, &*self.log, topic, formats, limit)
    }
}
