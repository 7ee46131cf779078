//! From the plan's expression to the tree that runs.

use super::call::Called;
use super::invalid;
use super::node::{Blame, Node};
use crate::Functions;
use headwater_core::{FieldPath, Result};
use headwater_plan::{Expr, ScalarFunction};

/// A compiled tree and what it reads.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: Node,
    /// The paths that are read as columns.
    pub(super) slots: Vec<FieldPath>,
    /// What is to be located in JSON rows.
    pub(super) fields: Vec<FieldPath>,
    /// Whether a function or a column takes rows whole.
    pub(super) needs_whole_rows: bool,
}

pub(super) fn compile(expr: &Expr, functions: &Functions) -> Result<Tree> {
    let mut compiler = Compiler {
        functions,
        slots: Vec::new(),
        needs_whole_rows: false,
    };
    let root = compiler.node(expr)?;
    let mut fields = expr.fields();
    for function in expr.functions() {
        for path in &function.reads {
            if !fields.contains(path) {
                fields.push(path.clone());
            }
        }
    }
    let Compiler {
        slots,
        needs_whole_rows,
        ..
    } = compiler;
    Ok(Tree {
        root,
        slots,
        fields,
        needs_whole_rows,
    })
}

struct Compiler<'a> {
    functions: &'a Functions,
    slots: Vec<FieldPath>,
    needs_whole_rows: bool,
}

impl Compiler<'_> {
    fn boxed(&mut self, expr: &Expr) -> Result<Box<Node>> {
        self.node(expr).map(Box::new)
    }

    fn slot(&mut self, path: &FieldPath) -> usize {
        self.needs_whole_rows |= path.0.is_empty();
        self.slots
            .iter()
            .position(|known| known == path)
            .unwrap_or_else(|| {
                self.slots.push(path.clone());
                self.slots.len() - 1
            })
    }

    fn node(&mut self, expr: &Expr) -> Result<Node> {
        Ok(match expr {
            Expr::Field(path) => Node::Slot(self.slot(path)),
            Expr::Timestamp => Node::Timestamp,
            Expr::Literal(value) => Node::Literal(value.clone()),
            Expr::Unary { op, input } => Node::Unary {
                op: *op,
                input: self.boxed(input)?,
                blame: blame(input),
            },
            Expr::Binary { op, left, right } => Node::Binary {
                op: *op,
                left: self.boxed(left)?,
                right: self.boxed(right)?,
                blame: [blame(left), blame(right)],
            },
            Expr::IsIn { input, values } => Node::IsIn {
                input: self.boxed(input)?,
                values: values.clone(),
            },
            Expr::HasFields(paths) => Node::HasFields(paths.clone()),
            Expr::Cast {
                input,
                to,
                on_error,
            } => Node::Cast {
                input: self.boxed(input)?,
                to: *to,
                on_error: *on_error,
                blame: blame(input),
            },
            Expr::Coalesce { input, fallback } => Node::Coalesce {
                input: self.boxed(input)?,
                fallback: self.boxed(fallback)?,
            },
            Expr::Choose {
                condition,
                then,
                otherwise,
            } => Node::Choose {
                condition: self.boxed(condition)?,
                then: self.boxed(then)?,
                otherwise: self.boxed(otherwise)?,
            },
            Expr::Scalar { function, input } => {
                check(function)?;
                Node::Scalar {
                    function: function.clone(),
                    input: self.boxed(input)?,
                    blame: blame(input),
                }
            }
            Expr::Function { function, input } => {
                // A function may read what it is not known to read.
                self.needs_whole_rows = true;
                let called = Called::new(function, self.functions)?;
                let takes_row = matches!(&**input, Expr::Field(path) if path.0.is_empty());
                let input = if takes_row {
                    None
                } else {
                    Some(self.boxed(input)?)
                };
                Node::Call { called, input }
            }
        })
    }
}

/// The field an error about this operand names: the only one that it reads.
fn blame(operand: &Expr) -> Blame {
    match operand.fields().as_slice() {
        [only] => Some(only.to_string().into()),
        _ => None,
    }
}

fn check(function: &ScalarFunction) -> Result<()> {
    match function {
        ScalarFunction::FloorTo(unit_ms) if *unit_ms <= 0 => Err(invalid(format!(
            "a time is rounded down to a multiple of a length above 0, unit_ms=`{unit_ms}`"
        ))),
        _ => Ok(()),
    }
}
