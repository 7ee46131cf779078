//! How a command ends, and what is said about it.

use crate::Console;
use headwater::Error;
use std::io::{self, Write};

/// The exit code of a command, or why it failed.
pub(crate) type Outcome = Result<i32, Failure>;

pub(crate) enum Failure {
    /// The library refused.
    Refused(Error),
    /// The result could not be written.
    Output(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Refused(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Output(error)
    }
}

/// Says what failed; an error's own hints follow on lines of their own.
pub(crate) fn report(outcome: Outcome, err: &mut dyn Write) -> i32 {
    let text = match outcome {
        Ok(code) => return code,
        // `head` has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => return 0,
        Err(Failure::Output(error)) => format!("the result cannot be written: {error}"),
        Err(Failure::Refused(error)) => error.to_string(),
    };
    // There is nobody to tell if it cannot be written.
    let _ = writeln!(err, "error: {text}");
    1
}

/// Asks; no answer is no.
pub(crate) fn is_confirmed(question: &str, console: &mut Console<'_>) -> io::Result<bool> {
    console.out.flush()?;
    write!(console.err, "{question} [y/N] ")?;
    console.err.flush()?;
    let mut answer = String::new();
    console.input.read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(true);
    }
    let nobody = if answer.is_empty() { "\n" } else { "" };
    writeln!(
        console.err,
        "{nobody}nothing was changed\nhint: answer y, or add --yes"
    )?;
    Ok(false)
}
