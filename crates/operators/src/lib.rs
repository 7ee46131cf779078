//! Operators: synchronous functions of batch, state and time.
//!
//! An operator never waits, spawns, reads a clock or does input or output. It
//! gets a batch, changes its own state, says what failed and what is to leave
//! ([`Step`]), and returns the rows that go on. The engine runs the tree.
//!
//! ```text
//!            Step: watermark by input, failures, outputs, keyed state
//!              │
//! Batch ── process ── Batch ── process ── …      depth first, branches in order
//!              │
//!          advance                               after the rows of a step: what
//!                                                time has closed meanwhile
//! ```
//!
//! **A row that fails is marked and left out; the operator goes on.** The engine
//! decides afterwards what the failure means for the effects of its cause.

mod aggregate;
mod apply;
mod assign;
mod emit;
mod expr;
mod filter;
mod function;
mod metadata;
mod operator;
mod step;
mod window;

pub use aggregate::{Accumulators, Aggregators};
pub use apply::{Apply, ApplyBatch, FilterBy, Update};
pub use assign::{Assign, Drop, Project};
pub use emit::{Deliver, Repartition, ToTopic, TopicRoute};
pub use expr::{Compiled, evaluate};
pub use filter::Filter;
pub use function::{Call, Function, FunctionRows, Functions, Wants};
pub use metadata::{SetHeaders, SetTimestamp, check_event_times, decode_rows};
pub use operator::Operator;
pub use step::{Appended, Delivered, Failure, Outputs, Step, StepTimes, Warning};
pub use window::{Window, WindowStore, stored_window};
