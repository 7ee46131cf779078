//! The Python face: PyO3 classes over the engine.
//!
//! The package `headwater` (in `python/headwater`) is what a user sees: names,
//! documentation, types, messages about misuse. This extension, `_native`, is
//! what it stands on: plans are built, functions called, logs read and written
//! here. Neither holds logic that a Rust user would want; that lives below.
//!
//! ```text
//! expr, frame, window    the plan, step by step
//! function, json, state  users' functions: rows in, rows out, state between
//! application, host      a run: settings, callbacks, signals, results
//! source, sink           sources and sinks written in Python, and the built-in ones
//! metrics                what an application has done
//! log, producer, consumer, reader
//!                        the log: topics, appending, reading
//! error                  the one mapping from errors to exceptions
//! ```

mod application;
mod builtin;
mod cli;
mod consumer;
mod error;
mod expr;
mod format;
mod frame;
mod function;
mod host;
mod json;
mod log;
mod metrics;
mod producer;
mod reader;
mod rows;
mod sink;
mod source;
mod state;
mod value;
mod window;

use pyo3::prelude::*;

/// Allocation is a third of the cost of passing records to Python; the system's
/// allocator is slower at it from several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use crate::application::{PyStopper, clear_state, explain, run};
    #[pymodule_export]
    use crate::cli::cli_main;
    #[pymodule_export]
    use crate::consumer::PyConsumer;
    #[pymodule_export]
    use crate::expr::PyExpr;
    #[pymodule_export]
    use crate::format::{deserialize, serialize};
    #[pymodule_export]
    use crate::frame::PyFrame;
    #[pymodule_export]
    use crate::function::{PyFunction, Row, message_context};
    #[pymodule_export]
    use crate::log::PyLog;
    #[pymodule_export]
    use crate::metrics::PyMetrics;
    #[pymodule_export]
    use crate::producer::PyProducer;
    #[pymodule_export]
    use crate::reader::PyTopicReader;
    #[pymodule_export]
    use crate::source::PySourceQueue;
    #[pymodule_export]
    use crate::state::PyState;
    #[pymodule_export]
    use crate::window::{PyAggregate, PyWindow};
}
