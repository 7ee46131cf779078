//! The compiled tree and its evaluation.

use super::call::Called;
use super::fault::copy_errors;
use super::operand::{Operand, Term, by_row};
use super::{arithmetic, cast, compare, logic, scalar, vector};
use crate::Step;
use headwater_core::{
    Batch, Column, Evaluated, FieldPath, Kind, Result, Rows, Value, arrow::array::Int64Array,
};
use headwater_plan::{BinaryOp, CastTo, OnCastError, ScalarFunction, UnaryOp};

/// A part of a compiled expression.
#[derive(Debug)]
pub(super) enum Node {
    /// What the rows hold at a path, read before the evaluation starts.
    Slot(usize),
    Timestamp,
    Literal(Value),
    Unary {
        op: UnaryOp,
        input: Box<Node>,
        blame: Blame,
    },
    Binary {
        op: BinaryOp,
        left: Box<Node>,
        right: Box<Node>,
        blame: [Blame; 2],
    },
    IsIn {
        input: Box<Node>,
        values: Vec<Value>,
    },
    HasFields(Vec<FieldPath>),
    Cast {
        input: Box<Node>,
        to: CastTo,
        on_error: OnCastError,
        blame: Blame,
    },
    Coalesce {
        input: Box<Node>,
        fallback: Box<Node>,
    },
    Choose {
        condition: Box<Node>,
        then: Box<Node>,
        otherwise: Box<Node>,
    },
    Scalar {
        function: ScalarFunction,
        input: Box<Node>,
        blame: Blame,
    },
    /// `input` is `None` where the function takes the row itself.
    Call {
        called: Called,
        input: Option<Box<Node>>,
    },
}

/// The field to name in an error: the operand's, if it is one.
pub(super) type Blame = Option<Box<str>>;

/// What an evaluation reads.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) batch: &'a Batch,
    /// One for each of the expression's slots.
    pub(super) slots: &'a [Evaluated],
}

impl Scope<'_> {
    pub(super) fn len(&self) -> usize {
        self.batch.len()
    }
}

impl Node {
    /// Whether it calls a user's function: then it is evaluated only for the
    /// rows that need it.
    pub(super) fn has_calls(&self) -> bool {
        match self {
            Node::Slot(_) | Node::Timestamp | Node::Literal(_) | Node::HasFields(_) => false,
            Node::Call { .. } => true,
            Node::Unary { input, .. }
            | Node::IsIn { input, .. }
            | Node::Cast { input, .. }
            | Node::Scalar { input, .. } => input.has_calls(),
            Node::Binary { left, right, .. } => left.has_calls() || right.has_calls(),
            Node::Coalesce { input, fallback } => input.has_calls() || fallback.has_calls(),
            Node::Choose {
                condition,
                then,
                otherwise,
            } => condition.has_calls() || then.has_calls() || otherwise.has_calls(),
        }
    }

    pub(super) fn evaluate(&self, scope: &Scope<'_>, step: &mut Step<'_>) -> Result<Operand> {
        let len = scope.len();
        Ok(match self {
            Node::Slot(slot) => {
                let Evaluated { column, errors } = &scope.slots[*slot];
                Operand {
                    term: Term::Column(column.clone()),
                    errors: copy_errors(errors),
                }
            }
            Node::Timestamp => {
                Column::Int(Int64Array::new(scope.batch.timestamps.clone(), None)).into()
            }
            Node::Literal(value) => Operand {
                term: Term::Constant(value.clone()),
                errors: Vec::new(),
            },
            Node::Unary { op, input, blame } => {
                arithmetic::unary(*op, input.evaluate(scope, step)?, len, blame.as_deref())
            }
            Node::Binary {
                op: op @ (BinaryOp::And | BinaryOp::Or),
                left,
                right,
                ..
            } => logic::and_or(*op, left, right, scope, step)?,
            Node::Binary {
                op,
                left,
                right,
                blame,
            } => {
                let left = left.evaluate(scope, step)?;
                let right = right.evaluate(scope, step)?;
                binary(*op, left, right, len, blame)
            }
            Node::IsIn { input, values } => {
                compare::is_in(input.evaluate(scope, step)?, values, len)
            }
            Node::HasFields(paths) => has_fields(&scope.batch.rows, paths).into(),
            Node::Cast {
                input,
                to,
                on_error,
                blame,
            } => {
                let input = input.evaluate(scope, step)?;
                cast::cast(input, *to, *on_error, len, blame.as_deref())
            }
            Node::Coalesce { input, fallback } => logic::coalesce(input, fallback, scope, step)?,
            Node::Choose {
                condition,
                then,
                otherwise,
            } => logic::choose(condition, [then, otherwise], scope, step)?,
            Node::Scalar {
                function,
                input,
                blame,
            } => scalar::scalar(
                function,
                input.evaluate(scope, step)?,
                len,
                blame.as_deref(),
            ),
            Node::Call { called, input } => call(called, input.as_deref(), scope, step)?,
        })
    }
}

fn call(
    called: &Called,
    input: Option<&Node>,
    scope: &Scope<'_>,
    step: &mut Step<'_>,
) -> Result<Operand> {
    let Some(input) = input else {
        return called.with_rows(scope.batch, step);
    };
    let argument = input.evaluate(scope, step)?.into_evaluated(scope.len());
    called.with_argument(scope.batch, argument, step)
}

/// All operations on two operands but `&` and `|`.
fn binary(op: BinaryOp, left: Operand, right: Operand, len: usize, blame: &[Blame; 2]) -> Operand {
    let (left_term, right_term) = (&left.term, &right.term);
    let computed = match vector::binary(op, left_term, right_term, len) {
        Some(column) => column.into(),
        None => {
            let mut computed = by_row(len, None, |row| {
                let (left, right) = (left_term.value(row), right_term.value(row));
                match op {
                    BinaryOp::Add
                    | BinaryOp::Subtract
                    | BinaryOp::Multiply
                    | BinaryOp::Divide
                    | BinaryOp::FloorDivide
                    | BinaryOp::Modulo
                    | BinaryOp::Power => arithmetic::binary(op, left, right),
                    _ => compare::binary(op, left, right),
                }
            });
            for error in &mut computed.errors {
                let row = error.row as usize;
                let field = to_blame(blame, left_term, right_term, row);
                if let Some(field) = field {
                    error.error.field.get_or_insert_with(|| field.to_owned());
                }
            }
            computed
        }
    };
    let errors = super::merge_errors(left.errors, right.errors);
    Operand {
        term: computed.term,
        errors: super::merge_errors(errors, computed.errors),
    }
}

/// The field that an error of one row names: that of the text where a text meets
/// a number, otherwise the left one.
fn to_blame<'a>(blame: &'a [Blame; 2], left: &Term, right: &Term, row: usize) -> Option<&'a str> {
    let [of_left, of_right] = blame;
    let right_is_the_odd_one =
        right.value(row).kind() == Kind::Str && left.value(row).kind() != Kind::Str;
    let (first, second) = if right_is_the_odd_one {
        (of_right, of_left)
    } else {
        (of_left, of_right)
    };
    first.as_deref().or(second.as_deref())
}

fn has_fields(rows: &Rows, paths: &[FieldPath]) -> Column {
    let has = |row: usize| match rows {
        Rows::Json(rows) => paths.iter().all(|path| rows.has_field(row, path)),
        Rows::Objects(objects) => paths.iter().all(|path| objects.has_field(row, path)),
        Rows::Values(_) => paths.is_empty(),
    };
    Column::Bool((0..rows.len()).map(has).collect::<Vec<bool>>().into())
}
