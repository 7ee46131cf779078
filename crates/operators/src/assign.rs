//! Sets, keeps and removes fields.
//!
//! All three lay their change over the rows' text, which is written once when a
//! row leaves. They need rows that are objects, and say so here rather than when
//! it is too late to fail the row.

use crate::expr::{self, Compiled};
use crate::{Functions, Operator, Step};
use headwater_core::json::Locator;
use headwater_core::{
    Batch, Column, DataError, Evaluated, FieldPath, JsonRows, Result, RowError, Rows, ValueRef,
    json,
};
use headwater_plan::{Expr, MissingField};

/// Sets fields, left to right: a later one sees the earlier.
#[derive(Debug)]
pub struct Assign {
    fields: Vec<(Box<str>, Compiled)>,
    /// What the expressions read and where the results will be spliced in.
    locator: Locator,
}

impl Assign {
    /// Sets each field to its expression.
    ///
    /// # Errors
    /// As [`Compiled::new`].
    pub fn new(fields: &[(Box<str>, Expr)], functions: &Functions) -> Result<Assign> {
        let mut locator = Locator::new(&[]);
        let mut compiled = Vec::with_capacity(fields.len());
        for (name, expr) in fields {
            let expression = Compiled::new(expr, functions)?;
            locator = expr::widened(&locator, expression.fields());
            locator = expr::widened(&locator, &[FieldPath::name(name)]);
            compiled.push((name.clone(), expression));
        }
        Ok(Assign {
            fields: compiled,
            locator,
        })
    }
}

impl Operator for Assign {
    fn process(&mut self, batch: Batch, step: &mut Step<'_>) -> Result<Option<Batch>> {
        let mut batch = as_objects(batch, &mut self.locator, step);
        for (name, expression) in &mut self.fields {
            if batch.is_empty() {
                return Ok(None);
            }
            let Evaluated { column, errors } = expression.evaluate(&mut batch, step)?;
            // A row that fails is kept as it was: its dead letter has no field that
            // nobody could compute.
            let before = (!errors.is_empty()).then(|| batch.clone());
            let Rows::Json(rows) = &mut batch.rows else {
                unreachable!("rows were made objects before")
            };
            rows.assign(name, column);
            if let Some(before) = before {
                batch = batch.without(&errors);
                for RowError { row, error } in errors {
                    step.fail(&before, row as usize, error);
                }
            }
        }
        Ok(Some(batch))
    }
}

/// Keeps the named fields alone, in that order. One that a row lacks is null.
#[derive(Debug)]
pub struct Project {
    names: Vec<Box<str>>,
    locator: Locator,
}

impl Project {
    /// Keeps these fields.
    pub fn new(names: Vec<Box<str>>) -> Project {
        let locator = locator_of(&names);
        Project { names, locator }
    }
}

impl Operator for Project {
    fn process(&mut self, batch: Batch, step: &mut Step<'_>) -> Result<Option<Batch>> {
        let mut batch = as_objects(batch, &mut self.locator, step);
        if let Rows::Json(rows) = &mut batch.rows {
            rows.project(&self.names);
        }
        Ok(Some(batch))
    }
}

/// Removes fields.
#[derive(Debug)]
pub struct Drop {
    names: Vec<Box<str>>,
    missing: MissingField,
    paths: Vec<FieldPath>,
    locator: Locator,
}

impl Drop {
    /// Removes these fields.
    pub fn new(names: Vec<Box<str>>, missing: MissingField) -> Drop {
        let paths = names.iter().map(|name| FieldPath::name(name)).collect();
        let locator = locator_of(&names);
        Drop {
            names,
            missing,
            paths,
            locator,
        }
    }

    fn first_missing(&self, rows: &JsonRows, row: usize) -> Option<RowError> {
        let path = self.paths.iter().find(|path| !rows.has_field(row, path))?;
        let error = DataError::new("the row lacks a field that is to be dropped")
            .in_field(path)
            .with_hint("pass `errors=\"ignore\"` to `drop`");
        Some(RowError {
            row: row as u32,
            error,
        })
    }
}

impl Operator for Drop {
    fn process(&mut self, batch: Batch, step: &mut Step<'_>) -> Result<Option<Batch>> {
        let mut batch = as_objects(batch, &mut self.locator, step);
        if self.missing == MissingField::Raise {
            let Rows::Json(rows) = &batch.rows else {
                unreachable!("rows were made objects before")
            };
            let errors = (0..rows.len())
                .filter_map(|row| self.first_missing(rows, row))
                .collect();
            batch = step.fail_rows(batch, errors);
        }
        if let Rows::Json(rows) = &mut batch.rows {
            for name in &self.names {
                rows.drop_field(name);
            }
        }
        Ok(Some(batch))
    }
}

fn locator_of(names: &[Box<str>]) -> Locator {
    let paths: Vec<FieldPath> = names.iter().map(|name| FieldPath::name(name)).collect();
    expr::widened(&Locator::new(&[]), &paths)
}

/// The batch with rows that are JSON objects, with the locator's fields located.
/// Rows that are none fail.
pub(crate) fn as_objects(batch: Batch, locator: &mut Locator, step: &mut Step<'_>) -> Batch {
    let mut batch = batch;
    let rows = std::mem::replace(&mut batch.rows, Rows::Values(Column::Null(0)));
    let (rows, errors) = rows.into_json();
    batch.rows = Rows::Json(rows);
    batch = step.fail_rows(batch, errors);
    let malformed = expr::locate(&mut batch, locator, false);
    let batch = step.fail_rows(batch, malformed);
    let Rows::Json(rows) = &batch.rows else {
        unreachable!("rows were made JSON above")
    };
    let errors = (0..rows.len())
        .filter_map(|row| not_an_object(rows, row))
        .collect();
    step.fail_rows(batch, errors)
}

fn not_an_object(rows: &JsonRows, row: usize) -> Option<RowError> {
    let text = rows.text(row);
    let first = text.and_then(|text| text.iter().find(|byte| !byte.is_ascii_whitespace()));
    if first == Some(&b'{') {
        return None;
    }
    let mut scratch = String::new();
    let kind = match text.and_then(|text| std::str::from_utf8(text).ok()) {
        None => "null (a tombstone)",
        Some(_) if first == Some(&b'[') => "an array",
        Some(text) => json::decode(text, &mut scratch)
            .unwrap_or(ValueRef::Null)
            .kind()
            .name(),
    };
    let error = DataError::new(format!(
        "the value is not an object with fields, it is {kind}"
    ));
    Some(RowError {
        row: row as u32,
        error,
    })
}
