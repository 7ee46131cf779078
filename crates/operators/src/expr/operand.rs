//! What a part of an expression gives: a column or a constant, and the rows that
//! failed.

use super::fault::Fault;
use headwater_core::{Column, ColumnBuilder, DataError, Evaluated, RowError, Value, ValueRef};

/// One value for each row.
#[derive(Clone, Debug)]
pub(super) enum Term {
    Column(Column),
    /// The same value for every row.
    Constant(Value),
}

/// A term and the rows for which there is none. What the term holds where a row
/// is in `errors` does not count.
#[derive(Debug)]
pub(super) struct Operand {
    pub(super) term: Term,
    /// Ascending by row, each row once.
    pub(super) errors: Vec<RowError>,
}

impl Term {
    #[inline]
    pub(super) fn value(&self, row: usize) -> ValueRef<'_> {
        match self {
            Term::Column(column) => column.value(row),
            Term::Constant(value) => value.as_ref(),
        }
    }
}

impl Operand {
    pub(super) fn into_evaluated(self, len: usize) -> Evaluated {
        let Operand { term, errors } = self;
        let column = match term {
            Term::Column(column) if errors.is_empty() => column,
            Term::Constant(value) if errors.is_empty() => Column::repeat(value.as_ref(), len),
            term => {
                let mut failed = errors.iter().map(|error| error.row as usize).peekable();
                let value = |row: usize| match failed.next_if_eq(&row) {
                    Some(_) => ValueRef::Null,
                    None => term.value(row),
                };
                (0..len).map(value).collect()
            }
        };
        Evaluated { column, errors }
    }
}

impl From<Column> for Operand {
    fn from(column: Column) -> Self {
        Operand {
            term: Term::Column(column),
            errors: Vec::new(),
        }
    }
}

impl From<Evaluated> for Operand {
    fn from(evaluated: Evaluated) -> Self {
        Operand {
            term: Term::Column(evaluated.column),
            errors: evaluated.errors,
        }
    }
}

/// A column built row by row. What is to blame for a fault is named by `blame`.
pub(super) fn by_row(
    len: usize,
    blame: Option<&str>,
    mut value: impl FnMut(usize) -> Result<Value, Fault>,
) -> Operand {
    let mut builder = ColumnBuilder::with_capacity(len);
    let mut errors = Vec::new();
    for row in 0..len {
        match value(row) {
            Ok(value) => builder.push(value.as_ref()),
            Err(fault) => {
                builder.push(ValueRef::Null);
                errors.push(blamed(row, *fault, blame));
            }
        }
    }
    Operand {
        term: Term::Column(builder.finish()),
        errors,
    }
}

#[cold]
fn blamed(row: usize, error: DataError, blame: Option<&str>) -> RowError {
    let error = match blame {
        Some(field) => error.in_field(field),
        None => error,
    };
    RowError {
        row: row as u32,
        error,
    }
}

/// Puts what was evaluated for some rows, ascending, in its place among `len`
/// rows; the others are null.
pub(crate) fn scatter(evaluated: Evaluated, rows: &[u32], len: usize) -> Evaluated {
    let mut builder = ColumnBuilder::with_capacity(len);
    let mut next = 0;
    for row in 0..len as u32 {
        if rows.get(next) == Some(&row) {
            builder.push(evaluated.column.value(next));
            next += 1;
        } else {
            builder.push(ValueRef::Null);
        }
    }
    let errors = evaluated
        .errors
        .into_iter()
        .map(|RowError { row, error }| RowError {
            row: rows[row as usize],
            error,
        })
        .collect();
    Evaluated {
        column: builder.finish(),
        errors,
    }
}
