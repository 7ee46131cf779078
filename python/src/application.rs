//! `_native.run` and what it needs: one run of an application, from data.
//!
//! The facade keeps an application as plain data; each run makes an engine
//! application of it. So a notebook may change anything between two runs.

use crate::error::{exception, raise};
use crate::frame::{PyFrame, TopicFormats, plan_of};
use crate::host::PythonHost;
use crate::log::{ConfigInput, PyLog};
use crate::metrics::PyMetrics;
use crate::rows::{KeyFormats, delivered_rows};
use crate::sink::UserSink;
use crate::source::UserSource;
use headwater::core::env::Env;
use headwater::core::{DataError, Error, Position, Result, TopicPartition};
use headwater::operators::Function;
use headwater::plan::LogicalPlan;
use headwater::{
    Application, Decision, Ended, ErrorPolicy, Host, OffsetReset, Places, Report, RunOptions,
    Settings, Start, Stopper,
};
use headwater_gateway::Endpoint;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyList, PyString};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What an application was told, as the facade's `ApplicationConfig` has it.
#[derive(FromPyObject)]
pub(crate) struct SettingsInput {
    name: String,
    auto_offset_reset: ResetInput,
    commit_interval: Option<f64>,
    commit_every: u64,
    workers: Option<usize>,
    on_error: Py<PyAny>,
    idle_timeout: Option<f64>,
    max_out_of_orderness_ms: i64,
    max_future_ms: i64,
    state_memory_max: usize,
    state_directory: PathBuf,
    auto_create_partitions: Option<u32>,
    broker_availability_timeout: Option<f64>,
    metrics_port: Option<u16>,
}

/// `"earliest"`, `"latest"`, `"error"`, or milliseconds.
#[derive(FromPyObject)]
pub(crate) enum ResetInput {
    Time(i64),
    Name(String),
}

impl ResetInput {
    pub(crate) fn reset(self) -> PyResult<OffsetReset> {
        Ok(match self {
            ResetInput::Time(time_ms) => OffsetReset::Time(time_ms),
            ResetInput::Name(name) if name == "earliest" => OffsetReset::Earliest,
            ResetInput::Name(name) if name == "latest" => OffsetReset::Latest,
            ResetInput::Name(name) if name == "error" => OffsetReset::Error,
            ResetInput::Name(other) => {
                return Err(PyValueError::new_err(format!(
                    "auto_offset_reset must be \"earliest\", \"latest\", \"error\" or a time, not \
                     {other:?}"
                )));
            }
        })
    }
}

/// Places in topics: an end of them, a time, or offsets.
#[derive(FromPyObject)]
struct PlacesInput {
    edge: Option<String>,
    time_ms: Option<i64>,
    offsets: Vec<(String, u32, u64)>,
}

impl From<PlacesInput> for Places {
    fn from(input: PlacesInput) -> Places {
        match (input.edge.as_deref(), input.time_ms) {
            (Some("earliest"), _) => Places::Beginning,
            (Some(_), _) => Places::End,
            (None, Some(time_ms)) => Places::Time(time_ms),
            (None, None) => Places::Positions(
                (input.offsets.into_iter())
                    .map(|(topic, partition, offset)| {
                        let partition = TopicPartition::new(topic, partition);
                        (partition, Position::from_offset(offset))
                    })
                    .collect(),
            ),
        }
    }
}

/// How one run begins and ends.
#[derive(FromPyObject)]
pub(crate) struct OptionsInput {
    count: Option<u64>,
    timeout: Option<f64>,
    start: Option<PlacesInput>,
    until: Option<PlacesInput>,
    commit: bool,
    writes_topics: bool,
    collect: bool,
    metadata: bool,
    confirm_lost_state: bool,
}

/// What the run consists of.
#[derive(FromPyObject)]
pub(crate) struct Parts {
    frames: Vec<Py<PyFrame>>,
    topics: Vec<(TopicFormats, Option<ConfigInput>)>,
    sources: Vec<(String, Py<PyAny>, TopicFormats)>,
    sinks: Vec<(String, Py<PyAny>)>,
}

/// Ends a run from a signal handler or another thread.
#[pyclass(frozen, name = "Stopper", module = "headwater._native")]
#[derive(Default)]
pub(crate) struct PyStopper(Mutex<Stoppable>);

/// What there is to stop.
#[derive(Default)]
enum Stoppable {
    #[default]
    Nothing,
    /// A run that the engine does not have yet.
    Beginning {
        is_asked: bool,
    },
    Running(Stopper),
}

#[pymethods]
impl PyStopper {
    #[new]
    fn new() -> PyStopper {
        PyStopper::default()
    }

    /// From here on there is a run to stop.
    fn begin(&self) {
        *self.state() = Stoppable::Beginning { is_asked: false };
    }

    /// Asks the run to end after its epoch; False if nothing runs.
    fn stop(&self) -> bool {
        match &mut *self.state() {
            Stoppable::Nothing => return false,
            Stoppable::Beginning { is_asked } => *is_asked = true,
            Stoppable::Running(stopper) => stopper.stop(),
        }
        true
    }

    /// There is none any more.
    fn end(&self) {
        *self.state() = Stoppable::Nothing;
    }
}

impl PyStopper {
    /// The engine has the run.
    fn running(&self, stopper: Stopper) {
        let mut state = self.state();
        if let Stoppable::Beginning { is_asked: true } = *state {
            stopper.stop();
        }
        *state = Stoppable::Running(stopper);
    }

    fn state(&self) -> MutexGuard<'_, Stoppable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn duration(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| PyValueError::new_err(format!("not a length of time: {seconds} seconds")))
}

impl SettingsInput {
    fn settings(self, py: Python<'_>) -> PyResult<Settings> {
        Ok(Settings {
            auto_offset_reset: self.auto_offset_reset.reset()?,
            commit_interval: self.commit_interval.map(duration).transpose()?,
            commit_every: self.commit_every,
            workers: self.workers,
            on_data_error: error_policy(py, self.on_error)?,
            idle_timeout: self.idle_timeout.map(duration).transpose()?,
            max_out_of_orderness_ms: self.max_out_of_orderness_ms,
            max_future_ms: self.max_future_ms,
            state_memory_max: self.state_memory_max,
            state_directory: Some(self.state_directory),
            auto_create_partitions: self.auto_create_partitions,
            broker_availability_timeout: self
                .broker_availability_timeout
                .map(duration)
                .transpose()?,
            ..Settings::new(self.name)
        })
    }
}

fn error_policy(py: Python<'_>, on_error: Py<PyAny>) -> PyResult<ErrorPolicy> {
    if let Ok(name) = on_error.bind(py).cast::<PyString>() {
        return Ok(match decision(name.to_str()?)? {
            Decision::Stop => ErrorPolicy::Stop,
            Decision::Skip => ErrorPolicy::Skip,
            Decision::DeadLetter => ErrorPolicy::DeadLetter,
        });
    }
    Ok(ErrorPolicy::Callback(Arc::new(move |error| {
        Python::attach(|py| ask(py, &on_error, error))
    })))
}

fn decision(name: &str) -> PyResult<Decision> {
    match name {
        "stop" => Ok(Decision::Stop),
        "skip" => Ok(Decision::Skip),
        "dead-letter" => Ok(Decision::DeadLetter),
        other => Err(PyValueError::new_err(format!(
            "on_error must be \"stop\", \"skip\", \"dead-letter\" or a function that returns one of \
             them, not {other:?}"
        ))),
    }
}

/// Asks the user's callback; True and False are Quix Streams' answers.
fn ask(py: Python<'_>, callback: &Py<PyAny>, error: &DataError) -> Result<Decision> {
    let decided = || -> PyResult<Decision> {
        let raised = exception(py, "DataError", &error.to_string());
        crate::error::Facts::of(error).write_to(py, &raised);
        let cause = error
            .source
            .as_ref()
            .and_then(|source| source.downcast_ref::<PyErr>());
        raised.set_cause(py, cause.map(|cause| cause.clone_ref(py)));
        let answer = callback.bind(py).call1((raised.value(py),))?;
        if let Ok(is_handled) = answer.cast::<PyBool>() {
            return Ok(if is_handled.is_true() {
                Decision::Skip
            } else {
                Decision::Stop
            });
        }
        match answer.cast::<PyString>() {
            Ok(name) => decision(name.to_str()?),
            Err(_) => Err(PyTypeError::new_err(
                "the on_error function must return \"stop\", \"skip\" or \"dead-letter\"",
            )),
        }
    };
    decided().map_err(crate::error::end)
}

fn application(py: Python<'_>, log: &PyLog, settings: SettingsInput) -> PyResult<Application> {
    let settings = settings.settings(py)?;
    let host = Arc::new(PythonHost::new(py));
    Ok(Application::new(
        Arc::clone(&log.log),
        Env::system(),
        settings,
        host,
    ))
}

/// Adds topics, sources, sinks and functions; the plan and its key formats.
fn assemble(
    py: Python<'_>,
    application: &mut Application,
    parts: Parts,
) -> PyResult<(LogicalPlan, KeyFormats)> {
    let (plan, functions) = raise(py, plan_of(py, &parts.frames))?;
    let plan = plan.bound_to(&application.settings().name);
    for function in functions {
        let id = function.reference.id;
        application
            .functions_mut()
            .insert(id, function as Arc<dyn Function>);
    }
    let mut formats = KeyFormats::new();
    for (_, input) in plan.inputs() {
        formats.insert(input.topic.name.to_string(), input.topic.key);
    }
    for (topic, config) in parts.topics {
        application.declare_topic(topic.topic_ref()?, config.map(Into::into));
    }
    for (name, source, topic) in parts.sources {
        let boxed = crate::builtin::source(py, source.bind(py))?
            .unwrap_or_else(|| Box::new(UserSource::new(name.clone(), source)));
        raise(py, application.add_source(&name, boxed, topic.topic_ref()?))?;
    }
    for (name, sink) in parts.sinks {
        let boxed = crate::builtin::sink(sink.bind(py))?
            .unwrap_or_else(|| Box::new(UserSink::new(sink, formats.clone())));
        raise(py, application.add_sink(&name, boxed))?;
    }
    Ok((plan, formats))
}

/// Runs an application until it ends: its rows, if they are wanted, and counts.
#[pyfunction]
pub(crate) fn run<'py>(
    py: Python<'py>,
    log: &PyLog,
    settings: SettingsInput,
    parts: Parts,
    options: OptionsInput,
    stopper: &PyStopper,
    metrics: &PyMetrics,
) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyDict>)> {
    let port = settings.metrics_port;
    let mut application = application(py, log, settings)?;
    application.set_metrics(metrics.handle());
    let (plan, formats) = assemble(py, &mut application, parts)?;
    let run_options = RunOptions {
        count: options.count,
        timeout: options.timeout.map(duration).transpose()?,
        start: match options.start {
            Some(places) => Start::At(places.into()),
            None => Start::Committed,
        },
        until: options.until.map(Places::from),
        commit: options.commit,
        writes_topics: options.writes_topics,
        collect: options.collect,
        confirm_lost_state: options.confirm_lost_state,
    };
    let endpoint = port.map(|port| Endpoint::open(port, metrics.handle(), Arc::clone(&log.log)));
    let endpoint = raise(py, endpoint.transpose())?;
    metrics.answers_at(endpoint.as_ref());
    if let Some(endpoint) = &endpoint {
        let address = endpoint.address();
        PythonHost::new(py).log(&format!(
            "/livez, /readyz and /metrics are at http://{address}"
        ));
    }
    stopper.running(application.stopper());
    let report = py.detach(|| application.run(&plan, &run_options));
    metrics.answers_at(None);
    py.detach(|| drop(endpoint));
    let report: Report = raise(py, report)?;
    let rows = PyList::empty(py);
    for delivery in &report.collected {
        for row in delivered_rows(py, delivery, &formats, options.metadata)? {
            rows.append(row)?;
        }
    }
    if let Some(count) = options.count {
        // The last batch may hold more rows than were asked for.
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if rows.len() > count {
            rows.del_slice(count, rows.len())?;
        }
    }
    Ok((rows, counts(py, &report)?))
}

fn counts<'py>(py: Python<'py>, report: &Report) -> PyResult<Bound<'py, PyDict>> {
    let counts = PyDict::new(py);
    counts.set_item(
        "ended",
        match report.ended {
            Ended::Stopped => "stopped",
            Ended::Count => "count",
            Ended::Timeout => "timeout",
            Ended::EndOfInput => "end of input",
        },
    )?;
    counts.set_item("records_in", report.records_in)?;
    counts.set_item("rows_out", report.rows_out)?;
    counts.set_item("records_out", report.records_out)?;
    counts.set_item("late", report.late)?;
    counts.set_item("skipped", report.skipped)?;
    counts.set_item("dead_lettered", report.dead_lettered)?;
    Ok(counts)
}

/// Forgets the state and the positions of an application.
#[pyfunction]
pub(crate) fn clear_state(py: Python<'_>, log: &PyLog, settings: SettingsInput) -> PyResult<()> {
    let application = application(py, log, settings)?;
    let cleared: Result<(), Error> = py.detach(move || application.clear_state());
    raise(py, cleared)
}

/// What the frames do, step by step.
#[pyfunction]
pub(crate) fn explain(py: Python<'_>, frames: Vec<Py<PyFrame>>) -> PyResult<String> {
    let (plan, _) = raise(py, plan_of(py, &frames))?;
    Ok(headwater::explain(&plan))
}
