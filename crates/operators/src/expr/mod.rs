//! Physical expressions: one column out of the columns of a batch.
//!
//! The key decision: **what a row gives depends on that row alone.** Columns of
//! one kind run through plain loops over slices that the compiler vectorises;
//! whenever such a loop meets what Python treats specially (an overflow, a
//! division by zero, a second kind) the batch goes through the row-by-row rules
//! instead, which are the definition. Both give the same values, errors and
//! kinds.
//!
//! ```text
//! compile      Expr ─▶ Node: fields become slots, functions are resolved
//! node         evaluates the tree, operand by operand
//!  ├─ vector       loops over slices of one kind
//!  ├─ arithmetic   Python's number rules, row by row
//!  ├─ compare      Python's equality and order, row by row; JSON by value
//!  ├─ logic        & | ~, coalesce, choose: operands and three-valued truth
//!  ├─ cast         int(), float(), str(), bool()
//!  ├─ text, time, round   the built-in functions
//!  └─ call         user's functions, for the rows that need them
//! ```

mod arithmetic;
mod call;
mod cast;
mod compare;
mod compile;
mod fault;
mod logic;
mod node;
mod operand;
mod round;
mod scalar;
mod text;
mod time;
mod vector;

pub(crate) use compare::compare_exactly;
pub(crate) use fault::{copy_error, merge_errors};
pub(crate) use operand::scatter;

use crate::{Functions, Step};
use headwater_core::{Batch, Error, Evaluated, FieldPath, Result, RowError, Rows, json::Locator};
use headwater_plan::Expr;
use node::{Node, Scope};

/// An expression ready to run: its functions resolved, its fields known.
///
/// It learns the key order of the rows it sees, so keep one for each operator.
///
/// # Examples
/// ```
/// use headwater_operators::{Compiled, Functions, Step, StepTimes};
/// use headwater_core::{Batch, RecordsBuilder, TopicPartition, ValueRef};
/// use headwater_plan::col;
///
/// let mut records = RecordsBuilder::default();
/// records.push(None, Some(br#"{"speed": 10}"#), 0, None);
/// let mut batch = Batch::from_records(&records.finish());
///
/// let times = StepTimes { before: 0, after: vec![0] };
/// let partition = TopicPartition::new("telemetry", 0);
/// let mut keyed = Default::default();
/// let mut step = Step::new(&times, &mut keyed, &partition);
/// let mut kmh = Compiled::new(&(col("speed") * 3.6), &Functions::default())?;
/// assert_eq!(kmh.evaluate(&mut batch, &mut step)?.column.value(0), ValueRef::Float(36.0));
/// # Ok::<(), headwater_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Compiled {
    root: Node,
    /// What it reads; the empty path where it reads the row whole.
    slots: Vec<FieldPath>,
    fields: Vec<FieldPath>,
    needs_whole_rows: bool,
    locator: Locator,
}

impl Compiled {
    /// Compiles an expression.
    ///
    /// # Errors
    /// `Invalid` if it calls a function that `functions` lacks, or a constant of
    /// a built-in function makes no sense.
    pub fn new(expr: &Expr, functions: &Functions) -> Result<Compiled> {
        let compiled = compile::compile(expr, functions)?;
        let locator = Locator::new(&compiled.fields);
        Ok(Compiled {
            root: compiled.root,
            slots: compiled.slots,
            fields: compiled.fields,
            needs_whole_rows: compiled.needs_whole_rows,
            locator,
        })
    }

    /// The fields it reads, and those that its functions are known to read, each
    /// once.
    pub fn fields(&self) -> &[FieldPath] {
        &self.fields
    }

    /// Locates further fields in the same pass over the rows: what later
    /// operators of the same chain will read.
    pub fn also_locate(&mut self, paths: &[FieldPath]) {
        self.locator = widened(&self.locator, paths);
    }

    /// Finds the fields in the rows, once for all expressions that share them.
    /// Rows that are malformed are returned; leave them out, or
    /// [`Compiled::evaluate`] will take them for rows without fields.
    ///
    /// An operator calls it before it evaluates more than one expression.
    pub fn locate(&mut self, batch: &mut Batch) -> Vec<RowError> {
        locate(batch, &mut self.locator, self.needs_whole_rows)
    }

    /// One value for each row of the batch. A row that failed is in the errors,
    /// ascending, and null in the column. Rows that are malformed count as
    /// failed unless they were located before.
    ///
    /// # Errors
    /// What ends the job; see [`Function`](crate::Function).
    pub fn evaluate(&mut self, batch: &mut Batch, step: &mut Step<'_>) -> Result<Evaluated> {
        let malformed = self.locate(batch);
        if malformed.is_empty() {
            return self.evaluate_located(batch, step);
        }
        let len = batch.len();
        let mut sound = batch.clone().without(&malformed);
        let rows = rows_without(len, &malformed);
        let evaluated = self.evaluate_located(&mut sound, step)?;
        let scattered = scatter(evaluated, &rows, len);
        Ok(Evaluated {
            column: scattered.column,
            errors: merge_errors(scattered.errors, malformed),
        })
    }

    fn evaluate_located(&mut self, batch: &mut Batch, step: &mut Step<'_>) -> Result<Evaluated> {
        let slots = read_slots(&mut batch.rows, &self.slots);
        let scope = Scope {
            batch,
            slots: &slots,
        };
        Ok(self
            .root
            .evaluate(&scope, step)?
            .into_evaluated(batch.len()))
    }
}

/// Evaluates several expressions over one batch, with one pass over its rows.
/// A row that fails in one of them may have values in the others.
///
/// # Errors
/// As [`Compiled::evaluate`].
pub fn evaluate(
    expressions: &mut [Compiled],
    batch: &mut Batch,
    step: &mut Step<'_>,
) -> Result<Vec<Evaluated>> {
    if let Some((first, others)) = expressions.split_first_mut() {
        let is_known = |path: &FieldPath| first.locator.paths().contains(path);
        let missing: Vec<FieldPath> = others
            .iter()
            .flat_map(|other| &other.fields)
            .filter(|path| !is_known(path))
            .cloned()
            .collect();
        if !missing.is_empty() {
            first.also_locate(&missing);
        }
    }
    expressions
        .iter_mut()
        .map(|expression| expression.evaluate(batch, step))
        .collect()
}

/// Finds the fields that `locator` names in JSON rows, and what writing the rows
/// needs if someone reads them whole. Rows of other kinds stay as they are.
/// Malformed rows are returned.
pub(crate) fn locate(
    batch: &mut Batch,
    locator: &mut Locator,
    needs_whole_rows: bool,
) -> Vec<RowError> {
    let Rows::Json(rows) = &mut batch.rows else {
        return Vec::new();
    };
    if locator.paths().is_empty() && !needs_whole_rows {
        return Vec::new();
    }
    let errors = rows.locate(locator);
    if !needs_whole_rows {
        return errors;
    }
    merge_errors(errors, rows.prepare_to_write())
}

/// A locator of more paths.
pub(crate) fn widened(locator: &Locator, paths: &[FieldPath]) -> Locator {
    let mut all = locator.paths().to_vec();
    for path in paths {
        if !all.contains(path) {
            all.push(path.clone());
        }
    }
    Locator::new(&all)
}

/// The rows that `errors`, ascending, do not name.
pub(crate) fn rows_without(len: usize, errors: &[RowError]) -> Vec<u32> {
    let mut failed = errors.iter().map(|error| error.row).peekable();
    (0..len as u32)
        .filter(|row| {
            while failed.next_if(|next| next < row).is_some() {}
            failed.peek() != Some(row)
        })
        .collect()
}

fn read_slots(rows: &mut Rows, paths: &[FieldPath]) -> Vec<Evaluated> {
    match rows {
        Rows::Objects(objects) => {
            if paths.is_empty() {
                Vec::new()
            } else {
                objects.columns(paths)
            }
        }
        _ => paths.iter().map(|path| rows.column(path)).collect(),
    }
}

/// The error of an expression that cannot be compiled.
fn invalid(message: impl Into<String>) -> Error {
    Error::invalid(message)
}
