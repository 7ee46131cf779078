//! `_native.Metrics`: what an application has done, over all its runs.

use crate::log::PyLog;
use headwater::{Metrics, OperatorMetrics, PartitionMetrics, RestoreMetrics};
use headwater_gateway::Endpoint;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

/// The counts of an application; a run adds to them.
#[pyclass(frozen, name = "Metrics", module = "headwater._native")]
#[derive(Default)]
pub(crate) struct PyMetrics {
    metrics: Metrics,
    /// Where the running application answers.
    address: Mutex<Option<SocketAddr>>,
}

impl PyMetrics {
    pub(crate) fn handle(&self) -> Metrics {
        self.metrics.clone()
    }

    pub(crate) fn answers_at(&self, endpoint: Option<&Endpoint>) {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) =
            endpoint.map(Endpoint::address);
    }
}

#[pymethods]
impl PyMetrics {
    #[new]
    fn new() -> PyMetrics {
        PyMetrics::default()
    }

    /// What is so now; with a log, it is asked first how many records wait.
    fn snapshot<'py>(&self, py: Python<'py>, log: Option<&PyLog>) -> PyResult<Bound<'py, PyDict>> {
        if let Some(log) = log {
            // What cannot be looked up is None.
            let _ = py.detach(|| self.metrics.look_up_lag(&*log.log));
        }
        let snapshot = self.metrics.snapshot();
        let address = *self.address.lock().unwrap_or_else(PoisonError::into_inner);
        let all = PyDict::new(py);
        all.set_item("phase", snapshot.phase.name())?;
        all.set_item("address", address.map(|address| address.to_string()))?;
        all.set_item("restarts", snapshot.restarts)?;
        all.set_item("records_out", snapshot.records_out)?;
        all.set_item("rows_out", snapshot.rows_out)?;
        all.set_item("records_in_rate", snapshot.records_in_rate)?;
        all.set_item("records_out_rate", snapshot.records_out_rate)?;
        let checkpoints = PyDict::new(py);
        checkpoints.set_item("count", snapshot.commits.count)?;
        checkpoints.set_item("total_seconds", snapshot.commits.total.as_secs_f64())?;
        checkpoints.set_item("last_seconds", snapshot.commits.last.as_secs_f64())?;
        all.set_item("checkpoints", checkpoints)?;
        all.set_item("operators", list(py, &snapshot.operators, operator)?)?;
        all.set_item("partitions", list(py, &snapshot.partitions, partition)?)?;
        all.set_item("restores", list(py, &snapshot.restores, restore)?)?;
        Ok(all)
    }
}

fn list<'py, T>(
    py: Python<'py>,
    items: &[T],
    fill: fn(&T, &Bound<'py, PyDict>) -> PyResult<()>,
) -> PyResult<Bound<'py, PyList>> {
    let all = PyList::empty(py);
    for item in items {
        let dict = PyDict::new(py);
        fill(item, &dict)?;
        all.append(dict)?;
    }
    Ok(all)
}

fn operator(operator: &OperatorMetrics, dict: &Bound<'_, PyDict>) -> PyResult<()> {
    dict.set_item("node", operator.node)?;
    dict.set_item("operator", &operator.name)?;
    for (name, count) in [
        ("rows_in", operator.rows_in),
        ("rows_out", operator.rows_out),
        ("filtered", operator.filtered),
        ("expanded", operator.expanded),
        ("absorbed", operator.absorbed),
        ("emitted", operator.emitted),
        ("late", operator.late),
        ("failed", operator.failed),
    ] {
        dict.set_item(name, count)?;
    }
    Ok(())
}

fn partition(partition: &PartitionMetrics, dict: &Bound<'_, PyDict>) -> PyResult<()> {
    dict.set_item("topic", &*partition.partition.topic)?;
    dict.set_item("partition", partition.partition.partition)?;
    dict.set_item("is_assigned", partition.is_assigned)?;
    dict.set_item("records_in", partition.records_in)?;
    dict.set_item("late", partition.late)?;
    dict.set_item("skipped", partition.skipped)?;
    dict.set_item("dead_lettered", partition.dead_lettered)?;
    dict.set_item("offset", partition.position.and_then(|at| at.offset()))?;
    dict.set_item("watermark", partition.watermark_ms)?;
    dict.set_item("lag", partition.lag)
}

fn restore(restore: &RestoreMetrics, dict: &Bound<'_, PyDict>) -> PyResult<()> {
    dict.set_item("topic", &*restore.changelog.topic)?;
    dict.set_item("partition", restore.changelog.partition)?;
    dict.set_item("records", restore.records)?;
    dict.set_item("remaining", restore.remaining)?;
    dict.set_item("is_done", restore.is_done)
}
