//! The command line, for the wheel's console script.

use pyo3::prelude::*;

/// Runs the command line; returns its exit code.
#[pyfunction]
pub(crate) fn cli_main(py: Python<'_>, arguments: Vec<String>) -> i32 {
    py.detach(|| headwater_cli::main(arguments))
}
