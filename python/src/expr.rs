//! `_native.Expr`: an expression of the plan, built step by step from Python.
//!
//! Names of operators are those of the plan in snake case; the facade
//! (`headwater/dataframe/series.py`) gives them Python's syntax.

use crate::function::{PyFunction, UserFunction};
use crate::value::to_value;
use headwater::core::{FieldPath, Step, Value};
use headwater::plan::{BinaryOp, CastTo, Expr, OnCastError, ScalarFunction, UnaryOp};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use std::sync::Arc;

/// The user's functions that an expression or a frame calls.
pub(crate) type UsedFunctions = Vec<Arc<UserFunction>>;

/// An expression, with the functions that it names.
#[pyclass(frozen, name = "Expr", module = "headwater._native")]
#[derive(Clone)]
pub(crate) struct PyExpr {
    pub(crate) expr: Expr,
    pub(crate) functions: UsedFunctions,
}

impl PyExpr {
    fn bare(expr: Expr) -> PyExpr {
        PyExpr {
            expr,
            functions: Vec::new(),
        }
    }

    fn with(&self, expr: Expr, others: &[&PyExpr]) -> PyExpr {
        let mut functions = self.functions.clone();
        functions.extend(
            others
                .iter()
                .flat_map(|other| other.functions.iter().cloned()),
        );
        PyExpr { expr, functions }
    }

    fn boxed(&self) -> Box<Expr> {
        Box::new(self.expr.clone())
    }
}

/// One step of a path: a name or an index.
#[derive(FromPyObject)]
enum Key {
    Name(String),
    Index(i64),
}

impl From<Key> for Step {
    fn from(key: Key) -> Self {
        match key {
            Key::Name(name) => Step::Name(name.into()),
            Key::Index(index) => Step::Index(index),
        }
    }
}

/// A constant of the user's.
fn literal(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    to_value(value).map_err(|error| PyTypeError::new_err(error.to_string()))
}

#[pymethods]
impl PyExpr {
    /// A field of the row; no keys at all is the row itself.
    #[staticmethod]
    fn field(path: Vec<Key>) -> PyExpr {
        PyExpr::bare(Expr::Field(FieldPath(
            path.into_iter().map(Step::from).collect(),
        )))
    }

    #[staticmethod]
    #[pyo3(name = "literal")]
    fn new_literal(value: &Bound<'_, PyAny>) -> PyResult<PyExpr> {
        Ok(PyExpr::bare(Expr::Literal(literal(value)?)))
    }

    #[staticmethod]
    fn timestamp() -> PyExpr {
        PyExpr::bare(Expr::Timestamp)
    }

    #[staticmethod]
    fn has_fields(names: Vec<String>) -> PyExpr {
        PyExpr::bare(Expr::HasFields(
            names.iter().map(|name| FieldPath::name(name)).collect(),
        ))
    }

    #[staticmethod]
    fn choose(condition: &PyExpr, then: &PyExpr, otherwise: &PyExpr) -> PyExpr {
        let expr = Expr::Choose {
            condition: condition.boxed(),
            then: then.boxed(),
            otherwise: otherwise.boxed(),
        };
        condition.with(expr, &[then, otherwise])
    }

    /// A further step into a field; None if this is something else than a field.
    fn step(&self, key: Key) -> Option<PyExpr> {
        let Expr::Field(path) = &self.expr else {
            return None;
        };
        let mut path = path.clone();
        path.0.push(key.into());
        Some(self.with(Expr::Field(path), &[]))
    }

    fn unary(&self, op: &str) -> PyResult<PyExpr> {
        let op = match op {
            "not" => UnaryOp::Not,
            "negate" => UnaryOp::Negate,
            "abs" => UnaryOp::Abs,
            "is_null" => UnaryOp::IsNull,
            "not_null" => UnaryOp::NotNull,
            other => return Err(unknown(other)),
        };
        Ok(self.with(
            Expr::Unary {
                op,
                input: self.boxed(),
            },
            &[],
        ))
    }

    fn binary(&self, op: &str, right: &PyExpr) -> PyResult<PyExpr> {
        let op = binary_op(op)?;
        let expr = Expr::Binary {
            op,
            left: self.boxed(),
            right: right.boxed(),
        };
        Ok(self.with(expr, &[right]))
    }

    fn is_in(&self, values: Vec<Bound<'_, PyAny>>) -> PyResult<PyExpr> {
        let values = values.iter().map(literal).collect::<PyResult<_>>()?;
        Ok(self.with(
            Expr::IsIn {
                input: self.boxed(),
                values,
            },
            &[],
        ))
    }

    fn cast(&self, to: &str, coerce: bool) -> PyResult<PyExpr> {
        let to = match to {
            "int" => CastTo::Int,
            "float" => CastTo::Float,
            "str" => CastTo::Str,
            "bool" => CastTo::Bool,
            other => return Err(unknown(other)),
        };
        let on_error = if coerce {
            OnCastError::Null
        } else {
            OnCastError::Raise
        };
        Ok(self.with(
            Expr::Cast {
                input: self.boxed(),
                to,
                on_error,
            },
            &[],
        ))
    }

    fn coalesce(&self, fallback: &PyExpr) -> PyExpr {
        let expr = Expr::Coalesce {
            input: self.boxed(),
            fallback: fallback.boxed(),
        };
        self.with(expr, &[fallback])
    }

    /// A built-in function with its constants.
    #[pyo3(signature = (name, *arguments))]
    fn scalar(&self, name: &str, arguments: &Bound<'_, pyo3::types::PyTuple>) -> PyResult<PyExpr> {
        let function = scalar_function(name, arguments)?;
        Ok(self.with(
            Expr::Scalar {
                function,
                input: self.boxed(),
            },
            &[],
        ))
    }

    /// A user's function of this value.
    fn call(&self, function: &PyFunction) -> PyExpr {
        let reference = function.0.reference.clone();
        let mut made = self.with(
            Expr::Function {
                function: reference,
                input: self.boxed(),
            },
            &[],
        );
        made.functions.push(Arc::clone(&function.0));
        made
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.expr)
    }
}

fn unknown(name: &str) -> PyErr {
    PyValueError::new_err(format!("the engine has no operation {name:?}"))
}

fn binary_op(name: &str) -> PyResult<BinaryOp> {
    Ok(match name {
        "add" => BinaryOp::Add,
        "subtract" => BinaryOp::Subtract,
        "multiply" => BinaryOp::Multiply,
        "divide" => BinaryOp::Divide,
        "floor_divide" => BinaryOp::FloorDivide,
        "modulo" => BinaryOp::Modulo,
        "power" => BinaryOp::Power,
        "equal" => BinaryOp::Equal,
        "not_equal" => BinaryOp::NotEqual,
        "less" => BinaryOp::Less,
        "less_or_equal" => BinaryOp::LessOrEqual,
        "greater" => BinaryOp::Greater,
        "greater_or_equal" => BinaryOp::GreaterOrEqual,
        "and" => BinaryOp::And,
        "or" => BinaryOp::Or,
        "is" => BinaryOp::Is,
        "contains" => BinaryOp::Contains,
        other => return Err(unknown(other)),
    })
}

fn scalar_function(
    name: &str,
    arguments: &Bound<'_, pyo3::types::PyTuple>,
) -> PyResult<ScalarFunction> {
    let text = |index: usize| -> PyResult<Box<str>> {
        Ok(arguments.get_item(index)?.extract::<String>()?.into())
    };
    let int = |index: usize| arguments.get_item(index)?.extract::<i64>();
    Ok(match name {
        "lower" => ScalarFunction::Lower,
        "upper" => ScalarFunction::Upper,
        "strip" => ScalarFunction::Strip,
        "length" => ScalarFunction::Length,
        "starts_with" => ScalarFunction::StartsWith(text(0)?),
        "ends_with" => ScalarFunction::EndsWith(text(0)?),
        "has_text" => ScalarFunction::HasText(text(0)?),
        "replace" => ScalarFunction::Replace(text(0)?, text(1)?),
        "slice" => ScalarFunction::Slice(
            arguments.get_item(0)?.extract()?,
            arguments.get_item(1)?.extract()?,
        ),
        "round" => ScalarFunction::Round(arguments.get_item(0)?.extract()?),
        "to_timestamp_ms" => ScalarFunction::ToTimestampMs,
        "to_iso_format" => ScalarFunction::ToIsoFormat,
        "year" => ScalarFunction::Year,
        "month" => ScalarFunction::Month,
        "day" => ScalarFunction::Day,
        "hour" => ScalarFunction::Hour,
        "minute" => ScalarFunction::Minute,
        "second" => ScalarFunction::Second,
        "millisecond" => ScalarFunction::Millisecond,
        "day_of_week" => ScalarFunction::DayOfWeek,
        "floor_to" => ScalarFunction::FloorTo(int(0)?),
        other => return Err(unknown(other)),
    })
}
