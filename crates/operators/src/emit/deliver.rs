//! Hands rows to a sink, a table, the standard output or the caller.

use crate::{Delivered, Operator, Step, expr};
use headwater_core::{Batch, JsonRows, Result, RowError, Rows};

/// Delivers each row as it is; the row goes on.
///
/// A row that has no JSON form fails here, so that whoever writes the rows later
/// can't. Bare values are delivered as they are: they need not become JSON.
#[derive(Debug, Default)]
pub struct Deliver;

impl Deliver {
    /// Delivers under the number of the running operator.
    pub fn new() -> Deliver {
        Deliver
    }
}

impl Operator for Deliver {
    fn process(&mut self, batch: Batch, step: &mut Step<'_>) -> Result<Option<Batch>> {
        let mut batch = batch;
        let delivered = match &mut batch.rows {
            Rows::Values(_) => None,
            Rows::Json(rows) => {
                let malformed = rows.prepare_to_write();
                let unwritable = unwritable(rows);
                batch = step.fail_rows(batch, expr::merge_errors(malformed, unwritable));
                None
            }
            Rows::Objects(_) => {
                let (rows, errors) = batch.rows.clone().into_json();
                let written = batch.clone().with_rows(Rows::Json(rows)).without(&errors);
                batch = step.fail_rows(batch, errors);
                Some(written)
            }
        };
        if !batch.is_empty() {
            let delivered = delivered.unwrap_or_else(|| batch.clone());
            step.outputs.delivered.push(Delivered {
                operator: step.operator,
                batch: delivered,
            });
        }
        Ok(Some(batch))
    }
}

/// The rows whose changed fields have no JSON form.
fn unwritable(rows: &JsonRows) -> Vec<RowError> {
    if rows.is_untouched() {
        return Vec::new();
    }
    let mut text = Vec::new();
    (0..rows.len())
        .filter_map(|row| {
            text.clear();
            let error = rows.write_row(row, &mut text).err()?;
            Some(RowError {
                row: row as u32,
                error,
            })
        })
        .collect()
}
