//! The log without a disk: the same promises, for tests and for trying things
//! out. One mutex guards everything, so that each call is a transaction; what
//! it promises to keep, it keeps until the process ends.

mod log;
mod reader;
mod state;
mod writer;

pub use log::MemoryLog;
