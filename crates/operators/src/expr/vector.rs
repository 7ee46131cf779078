//! Loops over columns of one kind.
//!
//! A loop is taken only where it gives what the row-by-row rules give: before it
//! runs, or by a flag that it collects, it is known that no row overflows,
//! divides by zero or loses a digit. Otherwise the answer is `None`, and the
//! rules decide row by row.

use super::arithmetic::{floor_divide_floats, floor_divide_ints, modulo_floats, modulo_ints};
use super::operand::Term;
use headwater_core::arrow::array::{Array, BooleanArray, Float64Array, Int64Array};
use headwater_core::arrow::buffer::{BooleanBuffer, NullBuffer};
use headwater_core::{Column, Value};
use headwater_plan::{BinaryOp, UnaryOp};
use std::borrow::Cow;
use std::cell::Cell;

/// Integers up to this magnitude are floats without loss.
pub(super) const EXACT_MAX: i64 = 1 << 53;

/// Numbers of one kind: one for each row, or one for all.
#[derive(Clone, Copy)]
enum Lane<'a, T> {
    Rows(&'a [T]),
    Same(T),
}

impl<T: Copy> Lane<'_, T> {
    #[inline]
    fn all(&self, is_fine: impl Fn(T) -> bool) -> bool {
        // Folded without an early exit, so that it vectorises.
        match self {
            Lane::Rows(rows) => rows.iter().fold(true, |fine, &value| fine & is_fine(value)),
            Lane::Same(value) => is_fine(*value),
        }
    }
}

enum Numbers<'a> {
    Ints(Lane<'a, i64>),
    Floats(Lane<'a, f64>),
}

fn numbers(term: &Term) -> Option<(Numbers<'_>, Option<&NullBuffer>)> {
    Some(match term {
        Term::Column(Column::Int(array)) => {
            (Numbers::Ints(Lane::Rows(array.values())), array.nulls())
        }
        Term::Column(Column::Float(array)) => {
            (Numbers::Floats(Lane::Rows(array.values())), array.nulls())
        }
        Term::Constant(Value::Int(value)) => (Numbers::Ints(Lane::Same(*value)), None),
        Term::Constant(Value::Float(value)) => (Numbers::Floats(Lane::Same(*value)), None),
        _ => return None,
    })
}

/// An operation on two columns other than `&` and `|`.
pub(super) fn binary(op: BinaryOp, left: &Term, right: &Term, len: usize) -> Option<Column> {
    if matches!((left, right), (Term::Constant(_), Term::Constant(_))) {
        return None;
    }
    let ((left, left_nulls), (right, right_nulls)) = (numbers(left)?, numbers(right)?);
    let nulls = NullBuffer::union(left_nulls, right_nulls);
    if let Some(order) = Order::of(op) {
        let mask = match (left, right) {
            (Numbers::Ints(left), Numbers::Ints(right)) => compare(order, left, right, len),
            (left, right) => {
                let (left, right) = (exact_floats(&left)?, exact_floats(&right)?);
                compare(order, left.lane(), right.lane(), len)
            }
        };
        return Some(Column::Bool(BooleanArray::new(mask, nulls)));
    }
    match (left, right) {
        (Numbers::Ints(left), Numbers::Ints(right)) if op != BinaryOp::Divide => {
            let values = int_arithmetic(op, left, right, len)?;
            Some(Column::Int(Int64Array::new(values.into(), nulls)))
        }
        (Numbers::Ints(left), Numbers::Ints(right)) => {
            let (left, right) = (Numbers::Ints(left), Numbers::Ints(right));
            let (left, right) = (exact_floats(&left)?, exact_floats(&right)?);
            let values = float_arithmetic(op, left.lane(), right.lane(), len)?;
            Some(Column::Float(Float64Array::new(values.into(), nulls)))
        }
        (left, right) => {
            let (left, right) = (to_floats(&left), to_floats(&right));
            let values = float_arithmetic(op, left.lane(), right.lane(), len)?;
            Some(Column::Float(Float64Array::new(values.into(), nulls)))
        }
    }
}

/// Numbers as floats, converted where they were integers.
enum Floats<'a> {
    Rows(Cow<'a, [f64]>),
    Same(f64),
}

impl Floats<'_> {
    fn lane(&self) -> Lane<'_, f64> {
        match self {
            Floats::Rows(rows) => Lane::Rows(rows),
            Floats::Same(value) => Lane::Same(*value),
        }
    }
}

fn to_floats<'a>(numbers: &Numbers<'a>) -> Floats<'a> {
    match numbers {
        Numbers::Floats(Lane::Rows(rows)) => Floats::Rows(Cow::Borrowed(rows)),
        Numbers::Floats(Lane::Same(value)) => Floats::Same(*value),
        Numbers::Ints(Lane::Rows(rows)) => {
            Floats::Rows(rows.iter().map(|&value| value as f64).collect())
        }
        Numbers::Ints(Lane::Same(value)) => Floats::Same(*value as f64),
    }
}

/// The same, unless an integer would lose digits.
fn exact_floats<'a>(numbers: &Numbers<'a>) -> Option<Floats<'a>> {
    if let Numbers::Ints(ints) = numbers
        && !ints.all(|value| (-EXACT_MAX..=EXACT_MAX).contains(&value))
    {
        return None;
    }
    Some(to_floats(numbers))
}

#[inline]
fn map2<T: Copy, R>(
    left: Lane<'_, T>,
    right: Lane<'_, T>,
    len: usize,
    f: impl Fn(T, T) -> R,
) -> Vec<R> {
    match (left, right) {
        (Lane::Rows(left), Lane::Rows(right)) => left
            .iter()
            .zip(right)
            .map(|(&left, &right)| f(left, right))
            .collect(),
        (Lane::Rows(left), Lane::Same(right)) => left.iter().map(|&left| f(left, right)).collect(),
        (Lane::Same(left), Lane::Rows(right)) => {
            right.iter().map(|&right| f(left, right)).collect()
        }
        (Lane::Same(left), Lane::Same(right)) => (0..len).map(|_| f(left, right)).collect(),
    }
}

fn float_arithmetic(
    op: BinaryOp,
    left: Lane<'_, f64>,
    right: Lane<'_, f64>,
    len: usize,
) -> Option<Vec<f64>> {
    let is_division = matches!(
        op,
        BinaryOp::Divide | BinaryOp::FloorDivide | BinaryOp::Modulo
    );
    if is_division && !right.all(|value| value != 0.0) {
        return None;
    }
    Some(match op {
        BinaryOp::Add => map2(left, right, len, |a, b| a + b),
        BinaryOp::Subtract => map2(left, right, len, |a, b| a - b),
        BinaryOp::Multiply => map2(left, right, len, |a, b| a * b),
        BinaryOp::Divide => map2(left, right, len, |a, b| a / b),
        BinaryOp::FloorDivide => map2(left, right, len, floor_divide_floats),
        BinaryOp::Modulo => map2(left, right, len, modulo_floats),
        _ => return None,
    })
}

fn int_arithmetic(
    op: BinaryOp,
    left: Lane<'_, i64>,
    right: Lane<'_, i64>,
    len: usize,
) -> Option<Vec<i64>> {
    // Half the range at most, so that a sum or difference fits.
    const SUM_MAX: i64 = i64::MAX / 2;
    let are_within = |max: i64| {
        left.all(|value| (-max..=max).contains(&value))
            && right.all(|value| (-max..=max).contains(&value))
    };
    match op {
        BinaryOp::Add if are_within(SUM_MAX) => Some(map2(left, right, len, |a, b| a + b)),
        BinaryOp::Subtract if are_within(SUM_MAX) => Some(map2(left, right, len, |a, b| a - b)),
        BinaryOp::Multiply => {
            let has_overflowed = Cell::new(false);
            let products = map2(left, right, len, |a, b| {
                let (product, overflows) = a.overflowing_mul(b);
                has_overflowed.set(has_overflowed.get() | overflows);
                product
            });
            (!has_overflowed.get()).then_some(products)
        }
        BinaryOp::FloorDivide if right.all(|value| value > 0) => {
            Some(map2(left, right, len, |a, b| {
                floor_divide_ints(a, b).expect("a divisor above 0 makes nothing larger")
            }))
        }
        BinaryOp::Modulo if right.all(|value| value != 0) => {
            Some(map2(left, right, len, modulo_ints))
        }
        _ => None,
    }
}

#[derive(Clone, Copy)]
enum Order {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn of(op: BinaryOp) -> Option<Order> {
        Some(match op {
            BinaryOp::Equal => Order::Equal,
            BinaryOp::NotEqual => Order::NotEqual,
            BinaryOp::Less => Order::Less,
            BinaryOp::LessOrEqual => Order::LessOrEqual,
            BinaryOp::Greater => Order::Greater,
            BinaryOp::GreaterOrEqual => Order::GreaterOrEqual,
            _ => return None,
        })
    }
}

fn compare<T: Copy + PartialOrd>(
    order: Order,
    left: Lane<'_, T>,
    right: Lane<'_, T>,
    len: usize,
) -> BooleanBuffer {
    match order {
        Order::Equal => mask2(left, right, len, |a, b| a == b),
        Order::NotEqual => mask2(left, right, len, |a, b| a != b),
        Order::Less => mask2(left, right, len, |a, b| a < b),
        Order::LessOrEqual => mask2(left, right, len, |a, b| a <= b),
        Order::Greater => mask2(left, right, len, |a, b| a > b),
        Order::GreaterOrEqual => mask2(left, right, len, |a, b| a >= b),
    }
}

#[inline]
fn mask2<T: Copy>(
    left: Lane<'_, T>,
    right: Lane<'_, T>,
    len: usize,
    f: impl Fn(T, T) -> bool,
) -> BooleanBuffer {
    match (left, right) {
        (Lane::Rows(left), Lane::Rows(right)) => {
            let (left, right) = (&left[..len], &right[..len]);
            BooleanBuffer::collect_bool(len, |row| f(left[row], right[row]))
        }
        (Lane::Rows(left), Lane::Same(right)) => {
            let left = &left[..len];
            BooleanBuffer::collect_bool(len, |row| f(left[row], right))
        }
        (Lane::Same(left), Lane::Rows(right)) => {
            let right = &right[..len];
            BooleanBuffer::collect_bool(len, |row| f(left, right[row]))
        }
        (Lane::Same(left), Lane::Same(right)) => {
            BooleanBuffer::collect_bool(len, |_| f(left, right))
        }
    }
}

/// `&` and `|` of booleans without nulls.
pub(super) fn and_or(op: BinaryOp, left: &Term, right: &Term, len: usize) -> Option<Column> {
    let (Term::Column(Column::Bool(left)), Term::Column(Column::Bool(right))) = (left, right)
    else {
        return None;
    };
    if left.null_count() + right.null_count() > 0 {
        return None;
    }
    debug_assert_eq!(left.len(), len);
    let mask = match op {
        BinaryOp::And => left.values() & right.values(),
        _ => left.values() | right.values(),
    };
    Some(Column::Bool(BooleanArray::new(mask, None)))
}

/// An operation on one column.
pub(super) fn unary(op: UnaryOp, input: &Term, len: usize) -> Option<Column> {
    let Term::Column(column) = input else {
        return None;
    };
    match (op, column) {
        (UnaryOp::Not, Column::Bool(array)) => Some(Column::Bool(BooleanArray::new(
            !array.values(),
            array.nulls().cloned(),
        ))),
        (UnaryOp::IsNull | UnaryOp::NotNull, column) => {
            let wants_null = op == UnaryOp::IsNull;
            let nulls = match column {
                Column::Mixed(_) => return None,
                Column::Null(_) => return Some(same_truth(wants_null, len)),
                Column::Bool(array) => array.nulls(),
                Column::Int(array) => array.nulls(),
                Column::Float(array) => array.nulls(),
                Column::Str(array) | Column::Json(array) => array.nulls(),
                Column::Bytes(array) => array.nulls(),
            };
            let Some(nulls) = nulls else {
                return Some(same_truth(!wants_null, len));
            };
            let mask = if wants_null {
                !nulls.inner()
            } else {
                nulls.inner().clone()
            };
            Some(Column::Bool(BooleanArray::new(mask, None)))
        }
        (UnaryOp::Negate | UnaryOp::Abs, Column::Float(array)) => {
            let values: Vec<f64> = if op == UnaryOp::Negate {
                array.values().iter().map(|value| -value).collect()
            } else {
                array.values().iter().map(|value| value.abs()).collect()
            };
            Some(Column::Float(Float64Array::new(
                values.into(),
                array.nulls().cloned(),
            )))
        }
        (UnaryOp::Negate | UnaryOp::Abs, Column::Int(array)) => {
            if array.values().contains(&i64::MIN) {
                return None;
            }
            let values: Vec<i64> = if op == UnaryOp::Negate {
                array.values().iter().map(|value| -value).collect()
            } else {
                array.values().iter().map(|value| value.abs()).collect()
            };
            Some(Column::Int(Int64Array::new(
                values.into(),
                array.nulls().cloned(),
            )))
        }
        _ => None,
    }
}

fn same_truth(value: bool, len: usize) -> Column {
    let mask = if value {
        BooleanBuffer::new_set(len)
    } else {
        BooleanBuffer::new_unset(len)
    };
    Column::Bool(BooleanArray::new(mask, None))
}
