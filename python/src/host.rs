//! The process that a run lives in: Python's signals, output and threads.

use crate::error::end;
use headwater::Host;
use headwater::core::Result;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict};
use std::sync::Mutex;

/// Python, as the engine sees it.
pub(crate) struct PythonHost {
    is_terminal: bool,
}

impl PythonHost {
    pub(crate) fn new(py: Python<'_>) -> PythonHost {
        let is_terminal = py
            .import("sys")
            .and_then(|sys| sys.getattr("stdout"))
            .and_then(|stdout| stdout.call_method0("isatty"))
            .is_ok_and(|answer| answer.is_truthy().unwrap_or(false));
        PythonHost { is_terminal }
    }
}

impl Host for PythonHost {
    fn check(&self) -> Result<bool> {
        Python::attach(|py| py.check_signals().map(|()| false).map_err(end))
    }

    fn print(&self, text: &str) {
        // Through `sys.stdout`, so that a notebook and a test see it. A closed
        // output is the reader's choice, not an error of the run.
        Python::attach(|py| {
            let stdout = py.import("sys").and_then(|sys| sys.getattr("stdout"));
            let _ = stdout.and_then(|stdout| {
                stdout.call_method1("write", (text,))?;
                stdout.call_method0("flush")
            });
        });
    }

    fn log(&self, text: &str) {
        log("info", text);
    }

    fn warn(&self, text: &str) {
        log("warning", text);
    }

    fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    fn spawn(
        &self,
        name: &str,
        work: Box<dyn FnOnce() + Send>,
    ) -> Result<Box<dyn FnOnce() + Send>> {
        // A thread of `threading`, so that debuggers and profilers see what runs
        // on it.
        let thread = Python::attach(|py| start_thread(py, name, work)).map_err(end)?;
        Ok(Box::new(move || {
            Python::attach(|py| {
                if let Err(raised) = thread.call_method0(py, "join") {
                    raised.write_unraisable(py, None);
                }
            });
        }))
    }
}

fn start_thread(py: Python<'_>, name: &str, work: Box<dyn FnOnce() + Send>) -> PyResult<Py<PyAny>> {
    let work = Mutex::new(Some(work));
    let target = PyCFunction::new_closure(py, None, None, move |arguments, _| {
        let work = work.lock().expect("no holder of this lock panics").take();
        if let Some(work) = work {
            arguments.py().detach(work);
        }
    })?;
    let options = PyDict::new(py);
    options.set_item("target", target)?;
    options.set_item("name", name)?;
    let thread = py
        .import("threading")?
        .getattr("Thread")?
        .call((), Some(&options))?;
    thread.call_method0("start")?;
    Ok(thread.unbind())
}

/// Says it through Python's logging, at that level.
fn log(level: &str, text: &str) {
    Python::attach(|py| {
        let logger = py
            .import("logging")
            .and_then(|logging| logging.call_method1("getLogger", ("headwater",)));
        let _ = logger.and_then(|logger| logger.call_method1(level, ("%s", text)));
    });
}
