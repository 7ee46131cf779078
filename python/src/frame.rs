//! `_native.Frame`: one immutable step of a data frame, and the steps before it.
//!
//! A frame keeps the functions that its step names, so that a frame which is no
//! longer part of the application takes its functions with it.

use crate::expr::{PyExpr, UsedFunctions};
use crate::format;
use crate::function::PyFunction;
use crate::window::PyWindow;
use headwater::plan::{
    BatchForm, DataFrame, Expr, Input, LogicalPlan, MissingField, Op, Origin, Print, PrintTable,
    Target, TopicRef,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::Arc;

/// A step of a frame.
#[pyclass(frozen, name = "Frame", module = "headwater._native")]
pub(crate) struct PyFrame {
    pub(crate) frame: DataFrame,
    /// The functions of this step alone.
    functions: UsedFunctions,
    parent: Option<Py<PyFrame>>,
}

/// A topic and its formats, as the facade names them.
#[derive(FromPyObject)]
pub(crate) struct TopicFormats {
    name: String,
    value_format: String,
    key_format: String,
}

impl TopicFormats {
    pub(crate) fn topic_ref(&self) -> PyResult<TopicRef> {
        Ok(TopicRef {
            name: self.name.as_str().into(),
            value: format::parse(&self.value_format)?,
            key: format::parse(&self.key_format)?,
        })
    }
}

fn then(
    this: &Bound<'_, PyFrame>,
    op: Op,
    functions: UsedFunctions,
    line: Option<&str>,
) -> PyFrame {
    let frame = this.get().frame.then_at(op, line.map(Into::into));
    PyFrame {
        frame,
        functions,
        parent: Some(this.clone().unbind()),
    }
}

fn one(function: &PyFunction) -> UsedFunctions {
    vec![Arc::clone(&function.0)]
}

#[pymethods]
impl PyFrame {
    /// The rows of a topic, stamped by the record, an expression or a function.
    #[staticmethod]
    #[pyo3(signature = (topic, timestamp=None))]
    fn input(topic: TopicFormats, timestamp: Option<&PyFunction>) -> PyResult<PyFrame> {
        let (timestamp, functions) = match timestamp {
            Some(function) => (
                Origin::Function(function.0.reference.clone()),
                one(function),
            ),
            None => (Origin::Record, Vec::new()),
        };
        let input = Input {
            topic: topic.topic_ref()?,
            timestamp,
        };
        Ok(PyFrame {
            frame: DataFrame::input(input),
            functions,
            parent: None,
        })
    }

    /// The step before this one.
    #[getter]
    fn parent(&self, py: Python<'_>) -> Option<Py<PyFrame>> {
        self.parent.as_ref().map(|parent| parent.clone_ref(py))
    }

    /// The function, if this step applies one to each row and does nothing else.
    #[getter]
    fn applied(&self) -> Option<PyFunction> {
        match (&self.frame.op(), self.functions.as_slice()) {
            (Op::Apply(reference), [function]) if !reference.shape.is_expand => {
                Some(PyFunction(Arc::clone(function)))
            }
            _ => None,
        }
    }

    #[pyo3(signature = (predicate, line=None))]
    fn filter(this: &Bound<'_, Self>, predicate: &PyExpr, line: Option<&str>) -> PyFrame {
        then(
            this,
            Op::Filter(predicate.expr.clone()),
            predicate.functions.clone(),
            line,
        )
    }

    #[pyo3(signature = (fields, line=None))]
    fn assign(
        this: &Bound<'_, Self>,
        fields: Vec<(String, PyRef<'_, PyExpr>)>,
        line: Option<&str>,
    ) -> PyFrame {
        let functions = fields
            .iter()
            .flat_map(|(_, expr)| expr.functions.clone())
            .collect();
        let fields: Vec<(Box<str>, Expr)> = fields
            .into_iter()
            .map(|(name, expr)| (name.into(), expr.expr.clone()))
            .collect();
        then(this, Op::Assign(fields), functions, line)
    }

    #[pyo3(signature = (names, line=None))]
    fn project(this: &Bound<'_, Self>, names: Vec<String>, line: Option<&str>) -> PyFrame {
        then(this, Op::Project(boxed(names)), Vec::new(), line)
    }

    #[pyo3(signature = (names, ignore_missing, line=None))]
    fn drop(
        this: &Bound<'_, Self>,
        names: Vec<String>,
        ignore_missing: bool,
        line: Option<&str>,
    ) -> PyFrame {
        let missing = if ignore_missing {
            MissingField::Ignore
        } else {
            MissingField::Raise
        };
        then(
            this,
            Op::Drop {
                names: boxed(names),
                missing,
            },
            Vec::new(),
            line,
        )
    }

    #[pyo3(signature = (function, line=None))]
    fn apply(this: &Bound<'_, Self>, function: &PyFunction, line: Option<&str>) -> PyFrame {
        then(
            this,
            Op::Apply(function.0.reference.clone()),
            one(function),
            line,
        )
    }

    #[pyo3(signature = (function, line=None))]
    fn update(this: &Bound<'_, Self>, function: &PyFunction, line: Option<&str>) -> PyFrame {
        then(
            this,
            Op::Update(function.0.reference.clone()),
            one(function),
            line,
        )
    }

    #[pyo3(signature = (function, line=None))]
    fn filter_by(this: &Bound<'_, Self>, function: &PyFunction, line: Option<&str>) -> PyFrame {
        then(
            this,
            Op::FilterBy(function.0.reference.clone()),
            one(function),
            line,
        )
    }

    #[pyo3(signature = (function, columns, form, line=None))]
    fn apply_batch(
        this: &Bound<'_, Self>,
        function: &PyFunction,
        columns: Vec<String>,
        form: &str,
        line: Option<&str>,
    ) -> PyResult<PyFrame> {
        let form = match form {
            "arrow" => BatchForm::Arrow,
            "pandas" => BatchForm::Pandas,
            "numpy" => BatchForm::NumPy,
            other => {
                return Err(PyValueError::new_err(format!(
                    "form must be \"pandas\", \"arrow\" or \"numpy\", not {other:?}"
                )));
            }
        };
        let reference = function.0.reference.clone();
        let op = Op::ApplyBatch {
            function: reference,
            columns: boxed(columns),
            form,
        };
        Ok(then(this, op, one(function), line))
    }

    #[pyo3(signature = (timestamp, line=None))]
    fn set_timestamp(this: &Bound<'_, Self>, timestamp: &PyExpr, line: Option<&str>) -> PyFrame {
        let op = Op::SetTimestamp(timestamp.expr.clone());
        then(this, op, timestamp.functions.clone(), line)
    }

    #[pyo3(signature = (function, line=None))]
    fn set_timestamp_by(
        this: &Bound<'_, Self>,
        function: &PyFunction,
        line: Option<&str>,
    ) -> PyFrame {
        then(
            this,
            Op::SetTimestampBy(function.0.reference.clone()),
            one(function),
            line,
        )
    }

    #[pyo3(signature = (function, line=None))]
    fn set_headers(this: &Bound<'_, Self>, function: &PyFunction, line: Option<&str>) -> PyFrame {
        then(
            this,
            Op::SetHeaders(function.0.reference.clone()),
            one(function),
            line,
        )
    }

    #[pyo3(signature = (window, line=None))]
    fn window(this: &Bound<'_, Self>, window: &PyWindow, line: Option<&str>) -> PyFrame {
        then(this, Op::Window(window.spec()), window.functions(), line)
    }

    /// Appends to one topic, or to the one that a function names.
    #[pyo3(signature = (topic=None, choose=None, key=None, key_expr=None, line=None))]
    fn to_topic(
        this: &Bound<'_, Self>,
        topic: Option<TopicFormats>,
        choose: Option<&PyFunction>,
        key: Option<&PyFunction>,
        key_expr: Option<&PyExpr>,
        line: Option<&str>,
    ) -> PyResult<PyFrame> {
        let target = match (topic, choose) {
            (Some(topic), None) => Target::Topic(topic.topic_ref()?),
            (None, Some(function)) => Target::Dynamic {
                function: function.0.reference.clone(),
            },
            _ => {
                return Err(PyValueError::new_err(
                    "either a topic or a function that chooses one",
                ));
            }
        };
        let functions = [choose, key].into_iter().flatten().flat_map(one);
        let by_expr = key_expr
            .iter()
            .flat_map(|expr| expr.functions.iter().cloned());
        let functions = functions.chain(by_expr).collect();
        let op = Op::ToTopic {
            target,
            key: key.map(|key| key.0.reference.clone()),
            key_expr: key_expr.map(|key| key.expr.clone()),
        };
        Ok(then(this, op, functions, line))
    }

    /// Goes on under another key, by way of a repartition topic of these formats.
    #[pyo3(signature = (name, formats, key=None, key_expr=None, line=None))]
    fn group_by(
        this: &Bound<'_, Self>,
        name: &str,
        formats: TopicFormats,
        key: Option<&PyFunction>,
        key_expr: Option<&PyExpr>,
        line: Option<&str>,
    ) -> PyResult<PyFrame> {
        let by_expr = key_expr.iter().flat_map(|expr| expr.functions.clone());
        let functions = key.into_iter().flat_map(one).chain(by_expr).collect();
        let op = this.get().frame.group_by_op(
            name,
            key.map(|key| key.0.reference.clone()),
            key_expr.map(|key| key.expr.clone()),
            formats.topic_ref()?,
        );
        Ok(then(this, op, functions, line))
    }

    #[pyo3(signature = (name, line=None))]
    fn sink(this: &Bound<'_, Self>, name: &str, line: Option<&str>) -> PyFrame {
        then(this, Op::Sink { name: name.into() }, Vec::new(), line)
    }

    #[pyo3(signature = (pretty, metadata, line=None))]
    fn print(this: &Bound<'_, Self>, pretty: bool, metadata: bool, line: Option<&str>) -> PyFrame {
        let print = Print {
            is_pretty: pretty,
            has_metadata: metadata,
        };
        then(this, Op::Print(print), Vec::new(), line)
    }

    #[pyo3(signature = (size, title, metadata, columns, live, timeout, column_widths, line=None))]
    #[expect(
        clippy::too_many_arguments,
        reason = "one argument for each option of the table"
    )]
    fn print_table(
        this: &Bound<'_, Self>,
        size: usize,
        title: Option<String>,
        metadata: bool,
        columns: Option<Vec<String>>,
        live: bool,
        timeout: f64,
        column_widths: Vec<(String, usize)>,
        line: Option<&str>,
    ) -> PyFrame {
        let table = PrintTable {
            size,
            title,
            has_metadata: metadata,
            columns,
            is_live: live,
            timeout_s: timeout,
            column_widths,
        };
        then(this, Op::PrintTable(table), Vec::new(), line)
    }
}

fn boxed(names: Vec<String>) -> Vec<Box<str>> {
    names.into_iter().map(Into::into).collect()
}

/// The plan of some frames and all functions that it names.
///
/// # Errors
/// As [`LogicalPlan::new`].
pub(crate) fn plan_of(
    py: Python<'_>,
    frames: &[Py<PyFrame>],
) -> headwater::core::Result<(LogicalPlan, UsedFunctions)> {
    let mut functions: UsedFunctions = Vec::new();
    for frame in frames {
        let mut step = Some(frame.clone_ref(py));
        while let Some(here) = step {
            let here = here.get();
            functions.extend(here.functions.iter().cloned());
            step = here.parent.as_ref().map(|parent| parent.clone_ref(py));
        }
    }
    functions.sort_by_key(|function| function.reference.id);
    functions.dedup_by_key(|function| function.reference.id);
    let frames: Vec<DataFrame> = frames
        .iter()
        .map(|frame| frame.get().frame.clone())
        .collect();
    LogicalPlan::new(&frames).map(|plan| (plan, functions))
}
