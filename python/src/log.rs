//! `_native.Log`: the embedded log, opened once by an application.

use crate::application::ResetInput;
use crate::consumer::PyConsumer;
use crate::error::raise;
use crate::format;
use crate::producer::PyProducer;
use crate::reader::PyTopicReader;
use headwater::core::env::Env;
use headwater::log::embedded::{EmbeddedLog, Options};
use headwater::log::kafka::{
    GroupProtocol, Guarantee, Instance, KafkaLog, Options as KafkaOptions, Token, TokenSource,
};
use headwater::log::{Log, TopicConfig};
use pyo3::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A log.
#[pyclass(frozen, name = "Log", module = "headwater._native")]
pub(crate) struct PyLog {
    pub(crate) log: Arc<dyn Log>,
}

/// How a topic is made, as the facade's `TopicConfig` says it.
#[derive(FromPyObject)]
pub(crate) struct ConfigInput {
    num_partitions: u32,
    replication_factor: Option<u16>,
    /// Negative is for ever.
    retention_ms: Option<i64>,
    retention_bytes: Option<i64>,
}

impl From<ConfigInput> for TopicConfig {
    fn from(input: ConfigInput) -> Self {
        let default = TopicConfig::default();
        let bound = |asked: Option<i64>, default| match asked {
            None => default,
            Some(asked) => u64::try_from(asked).ok(),
        };
        TopicConfig {
            partitions: input.num_partitions,
            retention_ms: bound(input.retention_ms, default.retention_ms),
            retention_bytes: bound(input.retention_bytes, default.retention_bytes),
            compacted: false,
            replicas: input.replication_factor,
        }
    }
}

/// How to reach a cluster, as the facade's `Connection` says it.
#[derive(FromPyObject)]
pub(crate) struct ConnectionInput {
    brokers: String,
    settings: BTreeMap<String, String>,
    oauth_cb: Option<Py<PyAny>>,
    is_exactly_once: bool,
    is_consumer_protocol: bool,
    group_instance_id: Option<String>,
    directory: PathBuf,
    commit_interval: Option<f64>,
}

impl ConnectionInput {
    fn options(self) -> KafkaOptions {
        let mut options = KafkaOptions::new(self.brokers);
        options.settings = self.settings;
        let config = options.settings.get("sasl.oauthbearer.config").cloned();
        options.token = self
            .oauth_cb
            .map(|ask| token_source(ask, config.unwrap_or_default()));
        options.guarantee = match self.is_exactly_once {
            true => Guarantee::ExactlyOnce,
            false => Guarantee::AtLeastOnce,
        };
        options.group_protocol = match self.is_consumer_protocol {
            true => GroupProtocol::Consumer,
            false => GroupProtocol::Classic,
        };
        options.group_instance_id = self.group_instance_id;
        options.instance = Instance::Slot(self.directory);
        if let Some(interval) = self.commit_interval {
            // A transaction must not be aborted while its epoch is still open.
            let least = Duration::from_secs_f64(interval.max(0.0)) * 3;
            options.transaction_timeout = options.transaction_timeout.max(least);
        }
        options.warn = Arc::new(warn);
        options
    }
}

/// Asks the user's function for a bearer token: it gets the setting
/// `sasl.oauthbearer.config` and returns the token and when it expires, in seconds
/// since 1970, as with confluent-kafka.
fn token_source(ask: Py<PyAny>, config: String) -> Arc<TokenSource> {
    Arc::new(move || {
        Python::attach(|py| {
            let (value, expires_s): (String, f64) = ask.bind(py).call1((&config,))?.extract()?;
            Ok(Token {
                value,
                expires_ms: (expires_s * 1_000.0) as i64,
                principal: "headwater".into(),
            })
        })
        .map_err(|error: PyErr| error.to_string())
    })
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

    /// A log on a Kafka cluster; no broker is contacted.
    #[staticmethod]
    fn connect(py: Python<'_>, connection: ConnectionInput) -> PyResult<PyLog> {
        let log = KafkaLog::new(connection.options()).map(|log| log as Arc<dyn Log>);
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
    fn producer(&self, py: Python<'_>, config: Option<ConfigInput>) -> PyResult<PyProducer> {
        PyProducer::new(py, Arc::clone(&self.log), config.map(Into::into))
    }

    /// A consumer of a group.
    fn consumer(&self, group: String, reset: ResetInput) -> PyResult<PyConsumer> {
        Ok(PyConsumer::new(
            Arc::clone(&self.log),
            group,
            reset.reset()?,
        ))
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
