//! Operators on batches: what comes out, what fails and why.

mod expressions;
mod rows;
mod support;
mod to_topic;
