//! What the user asked for, as a value.
//!
//! A [`DataFrame`] is a list of operations that ends in its newest one; frames
//! that share a beginning are branches. A [`LogicalPlan`] is the tree of all
//! frames of an application. Neither holds a handle or a callable: a user's
//! function is a [`FunctionRef`], a number and a signature, and the engine
//! resolves it. So a plan can be compared, shown, checked and, one day, stored.
//!
//! ```text
//! Expr ─┐
//! Op  ──┴─ DataFrame ── LogicalPlan ── check ── (engine: lowering)
//!                                  └── explain
//! ```

mod explain;
mod expr;
mod frame;
mod op;
mod store_id;
mod window;

pub use explain::{describe, explain, text_of};
pub use expr::{BinaryOp, CastTo, Expr, OnCastError, ScalarFunction, UnaryOp, col, lit, timestamp};
pub use frame::{DataFrame, LogicalPlan, Node, NodeId, repartition_prefix};
pub use op::{
    BatchForm, FunctionRef, FunctionShape, GroupBy, Input, MissingField, Op, Origin, Print,
    PrintTable, Target, TextFormat, TopicRef,
};
pub use store_id::{StoreId, StoreUse};
pub use window::{Aggregate, AggregateFunction, Closing, Emit, WindowLength, WindowSpec};
