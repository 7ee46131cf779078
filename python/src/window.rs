//! `_native.Window`: the definition of a windowed aggregation.

use crate::expr::{PyExpr, UsedFunctions};
use crate::function::PyFunction;
use headwater::plan::{Aggregate, AggregateFunction, Closing, Emit, WindowLength, WindowSpec};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::Arc;

/// One output of a window, as the facade's aggregators make it.
#[pyclass(frozen, name = "Aggregate", module = "headwater._native")]
#[derive(Clone)]
pub(crate) struct PyAggregate {
    function: AggregateFunction,
    input: Option<PyExpr>,
    functions: UsedFunctions,
}

#[pymethods]
impl PyAggregate {
    /// A built-in aggregation by name.
    #[staticmethod]
    #[pyo3(signature = (name, input=None))]
    fn builtin(name: &str, input: Option<&PyExpr>) -> PyResult<PyAggregate> {
        let function = match name {
            "count" => AggregateFunction::Count,
            "sum" => AggregateFunction::Sum,
            "mean" => AggregateFunction::Mean,
            "min" => AggregateFunction::Min,
            "max" => AggregateFunction::Max,
            "first" => AggregateFunction::First,
            "last" => AggregateFunction::Last,
            "earliest" => AggregateFunction::Earliest,
            "latest" => AggregateFunction::Latest,
            "std" => AggregateFunction::Std,
            "variance" => AggregateFunction::Variance,
            "collect" => AggregateFunction::Collect,
            other => return Err(PyValueError::new_err(format!("no aggregation {other:?}"))),
        };
        Ok(PyAggregate::new(function, input, Vec::new()))
    }

    #[staticmethod]
    fn reduce(initialise: &PyFunction, reduce: &PyFunction) -> PyAggregate {
        let function = AggregateFunction::Reduce {
            initialise: initialise.0.reference.clone(),
            reduce: reduce.0.reference.clone(),
        };
        PyAggregate::new(
            function,
            None,
            vec![Arc::clone(&initialise.0), Arc::clone(&reduce.0)],
        )
    }

    /// An object of the user's with the methods of an aggregator or a collector.
    #[staticmethod]
    #[pyo3(signature = (object, is_collector, input=None))]
    fn user(object: &PyFunction, is_collector: bool, input: Option<&PyExpr>) -> PyAggregate {
        let function = AggregateFunction::User {
            aggregator: object.0.reference.clone(),
            is_collector,
        };
        PyAggregate::new(function, input, vec![Arc::clone(&object.0)])
    }
}

impl PyAggregate {
    fn new(
        function: AggregateFunction,
        input: Option<&PyExpr>,
        mut functions: UsedFunctions,
    ) -> PyAggregate {
        functions.extend(
            input
                .iter()
                .flat_map(|input| input.functions.iter().cloned()),
        );
        PyAggregate {
            function,
            input: input.cloned(),
            functions,
        }
    }
}

/// A windowed aggregation.
#[pyclass(frozen, name = "Window", module = "headwater._native")]
pub(crate) struct PyWindow {
    spec: WindowSpec,
    functions: UsedFunctions,
}

impl PyWindow {
    pub(crate) fn spec(&self) -> WindowSpec {
        self.spec.clone()
    }

    pub(crate) fn functions(&self) -> UsedFunctions {
        self.functions.clone()
    }
}

#[pymethods]
impl PyWindow {
    #[new]
    #[pyo3(signature = (
        *, size_ms, advance_ms=None, grace_ms=0, name=None, current=false, by_partition=false,
        key_timeout_ms=None, key_retention_ms=None, aggregates, on_late=None, before_update=None,
        after_update=None,
    ))]
    #[expect(
        clippy::too_many_arguments,
        reason = "keyword arguments of one Python class"
    )]
    fn new(
        size_ms: i64,
        advance_ms: Option<i64>,
        grace_ms: i64,
        name: Option<&str>,
        current: bool,
        by_partition: bool,
        key_timeout_ms: Option<i64>,
        key_retention_ms: Option<i64>,
        aggregates: Vec<(String, PyRef<'_, PyAggregate>)>,
        on_late: Option<&PyFunction>,
        before_update: Option<&PyFunction>,
        after_update: Option<&PyFunction>,
    ) -> PyWindow {
        let mut functions: UsedFunctions = aggregates
            .iter()
            .flat_map(|(_, aggregate)| aggregate.functions.clone())
            .collect();
        let callbacks = [on_late, before_update, after_update];
        functions.extend(
            callbacks
                .iter()
                .flatten()
                .map(|callback| Arc::clone(&callback.0)),
        );
        let reference = |function: &PyFunction| function.0.reference.clone();
        let length = match advance_ms {
            None => WindowLength::Tumbling { size_ms },
            Some(advance_ms) => WindowLength::Hopping {
                size_ms,
                advance_ms,
            },
        };
        let spec = WindowSpec {
            name: name.map(Into::into),
            grace_ms,
            emit: if current { Emit::Current } else { Emit::Final },
            closing: if by_partition {
                Closing::Partition
            } else {
                Closing::Key
            },
            key_timeout_ms: key_timeout_ms.unwrap_or(WindowSpec::KEY_TIMEOUT_MS),
            key_retention_ms: key_retention_ms.unwrap_or(WindowSpec::KEY_RETENTION_MS),
            aggregates: aggregates
                .into_iter()
                .map(|(output, aggregate)| Aggregate {
                    output: output.into(),
                    function: aggregate.function.clone(),
                    input: aggregate.input.as_ref().map(|input| input.expr.clone()),
                })
                .collect(),
            on_late: on_late.map(reference),
            before_update: before_update.map(reference),
            after_update: after_update.map(reference),
            ..WindowSpec::new(length)
        };
        PyWindow { spec, functions }
    }
}
