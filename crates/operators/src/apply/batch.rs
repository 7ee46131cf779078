//! A user's function of columns, called once a batch.
//!
//! A call that fails is repeated with each half of its rows, down to single
//! rows, so that only the rows to blame fail and the others do not depend on
//! their neighbours.

use super::Resolved;
use crate::{Functions, Operator, Step, assign, expr};
use headwater_core::json::Locator;
use headwater_core::{
    Batch, Column, ColumnBuilder, DataError, FieldPath, Result, RowError, Rows, ValueRef,
};
use headwater_plan::{BatchForm, FunctionRef};

/// Columns by name.
type Columns = Vec<(Box<str>, Column)>;

/// Passes columns to a function and sets the fields that it returns.
#[derive(Debug)]
pub struct ApplyBatch {
    resolved: Resolved,
    columns: Vec<Box<str>>,
    form: BatchForm,
    locator: Locator,
}

impl ApplyBatch {
    /// The name of the only column that a function gets which takes rows whole.
    const WHOLE_ROW: &'static str = "value";

    /// Applies a function to these columns; to one column of JSON texts, named
    /// `value`, where there are none.
    ///
    /// # Errors
    /// `Invalid` if the function was not registered.
    pub fn new(
        function: &FunctionRef,
        columns: Vec<Box<str>>,
        form: BatchForm,
        functions: &Functions,
    ) -> Result<ApplyBatch> {
        let resolved = Resolved::new(function, functions)?;
        let paths: Vec<FieldPath> = columns.iter().map(|name| FieldPath::name(name)).collect();
        let locator = expr::widened(&Locator::new(&paths), &function.reads);
        Ok(ApplyBatch {
            resolved,
            columns,
            form,
            locator,
        })
    }

    /// The columns to pass, and the batch without the rows that lack one.
    fn arguments(&self, mut batch: Batch, step: &mut Step<'_>) -> (Batch, Columns) {
        let names: Vec<(Box<str>, FieldPath)> = if self.columns.is_empty() {
            vec![(Self::WHOLE_ROW.into(), FieldPath::default())]
        } else {
            self.columns
                .iter()
                .map(|name| (name.clone(), FieldPath::name(name)))
                .collect()
        };
        loop {
            let mut columns = Vec::with_capacity(names.len());
            let mut errors = Vec::new();
            for (name, path) in &names {
                let evaluated = batch.rows.column(path);
                columns.push((name.clone(), evaluated.column));
                errors = expr::merge_errors(errors, evaluated.errors);
            }
            if errors.is_empty() {
                return (batch, columns);
            }
            batch = step.fail_rows(batch, errors);
        }
    }

    fn call(&self, columns: &[(Box<str>, Column)], len: usize) -> Result<Columns> {
        let results = self.resolved.function.batch(columns, self.form)?;
        match results.iter().find(|(_, column)| column.len() != len) {
            None => Ok(results),
            Some((name, column)) => Err(headwater_core::Error::data(
                DataError::new(format!(
                    "a batch function must return as many values as it got, got=`{len}` returned=`{}`",
                    column.len()
                ))
                .in_field(name),
            )),
        }
    }

    /// What the function gives for all rows, and the rows for which it fails.
    fn results(
        &self,
        columns: &[(Box<str>, Column)],
        len: usize,
    ) -> Result<(Columns, Vec<RowError>)> {
        let error = match self.call(columns, len) {
            Ok(results) => return Ok((results, Vec::new())),
            Err(error) => crate::function::data_or_end(error)?,
        };
        if len == 1 {
            return Ok((Columns::new(), vec![RowError { row: 0, error }]));
        }
        let (mut parts, mut errors) = (Vec::new(), Vec::new());
        let (middle, end) = (len as u32 / 2, len as u32);
        self.call_in_parts(columns, (0, middle), &mut parts, &mut errors)?;
        self.call_in_parts(columns, (middle, end), &mut parts, &mut errors)?;
        Ok((join(&parts, len), errors))
    }

    /// Calls the function for the rows `[start, end)`, in halves where it fails.
    fn call_in_parts(
        &self,
        columns: &[(Box<str>, Column)],
        (start, end): (u32, u32),
        parts: &mut Vec<Part>,
        errors: &mut Vec<RowError>,
    ) -> Result<()> {
        let rows: Vec<u32> = (start..end).collect();
        let part: Columns = columns
            .iter()
            .map(|(name, column)| (name.clone(), column.take(&rows)))
            .collect();
        match self.call(&part, rows.len()) {
            Ok(results) => parts.push(Part {
                start,
                len: end - start,
                results,
            }),
            Err(error) => {
                let error = crate::function::data_or_end(error)?;
                if end - start == 1 {
                    errors.push(RowError { row: start, error });
                    return Ok(());
                }
                let middle = start + (end - start) / 2;
                self.call_in_parts(columns, (start, middle), parts, errors)?;
                self.call_in_parts(columns, (middle, end), parts, errors)?;
            }
        }
        Ok(())
    }
}

/// What a call returned for the rows from `start` on.
struct Part {
    start: u32,
    len: u32,
    results: Columns,
}

impl Operator for ApplyBatch {
    fn process(&mut self, batch: Batch, step: &mut Step<'_>) -> Result<Option<Batch>> {
        let batch = assign::as_objects(batch, &mut self.locator, step);
        let (batch, columns) = self.arguments(batch, step);
        if batch.is_empty() {
            return Ok(None);
        }
        let (results, errors) = self.results(&columns, batch.len())?;
        let mut batch = batch;
        let Rows::Json(rows) = &mut batch.rows else {
            unreachable!("rows were made objects before")
        };
        // From the next batch on, the results are located in the same pass.
        let names: Vec<FieldPath> = results
            .iter()
            .map(|(name, _)| FieldPath::name(name))
            .collect();
        if names
            .iter()
            .any(|name| !self.locator.paths().contains(name))
        {
            self.locator = expr::widened(&self.locator, &names);
        }
        for (name, column) in results {
            rows.assign(&name, column);
        }
        Ok(Some(step.fail_rows(batch, errors)))
    }
}

/// One column for each name that any part returned, null where none did.
fn join(parts: &[Part], len: usize) -> Columns {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in parts.iter().flat_map(|part| &part.results) {
        if !names.contains(&&**name) {
            names.push(name);
        }
    }
    let column_of = |name: &str| {
        let mut builder = ColumnBuilder::with_capacity(len);
        for part in parts {
            while builder.len() < part.start as usize {
                builder.push(ValueRef::Null);
            }
            let returned = part.results.iter().find(|(known, _)| **known == *name);
            for row in 0..part.len as usize {
                builder.push(returned.map_or(ValueRef::Null, |(_, column)| column.value(row)));
            }
        }
        while builder.len() < len {
            builder.push(ValueRef::Null);
        }
        builder.finish()
    };
    names
        .into_iter()
        .map(|name| (name.into(), column_of(name)))
        .collect()
}
