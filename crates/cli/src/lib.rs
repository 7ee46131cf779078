//! The `headwater` command: looking at a log and putting it in order while jobs
//! run.
//!
//! A library, because the wheel's console script calls it inside Python. It
//! holds no logic that a user of the Rust library would need: each command reads
//! its flags, calls the library and writes text.
//!
//! ```text
//! flags     what was typed, checked by clap       (`flags`)
//! command   flags → calls of `headwater` → text   (`topics`, `read`, `groups`, `reset`)
//! outcome   errors and exit codes                 (`outcome`)
//! ```

mod flags;
mod groups;
mod layout;
mod outcome;
mod read;
mod reset;
mod topics;

use clap::Parser;
use clap::error::ErrorKind;
use flags::{Command, Flags, TopicsCommand};
use headwater::core::env::Env;
use headwater::log::embedded::{EmbeddedLog, Options};
use headwater::{Error, Result};
use outcome::{Outcome, report};
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a command reads and writes.
pub struct Console<'a> {
    /// Results.
    pub out: &'a mut dyn Write,
    /// Errors and questions.
    pub err: &'a mut dyn Write,
    /// Answers.
    pub input: &'a mut dyn BufRead,
}

impl std::fmt::Debug for Console<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Console")
    }
}

/// Runs the command on the process's own streams and returns its exit code: 0,
/// 1 for an error, 2 for flags that make no sense. `args` begins with the name
/// of the program, as `sys.argv` does.
///
/// `topics read --follow` ends by the signal that Ctrl-C sends: inside another
/// language's runtime, give SIGINT its default action first.
pub fn main(args: Vec<String>) -> i32 {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut console = Console {
        out: &mut out,
        err: &mut std::io::stderr().lock(),
        input: &mut std::io::stdin().lock(),
    };
    run(args, &mut console)
}

/// Runs the command on the given streams; see [`main`].
pub fn run(args: Vec<String>, console: &mut Console<'_>) -> i32 {
    let flags = match Flags::try_parse_from(args) {
        Ok(flags) => flags,
        Err(error) => return refuse(&error, console),
    };
    let outcome = execute(&flags, console).and_then(|code| {
        console.out.flush()?;
        Ok(code)
    });
    report(outcome, console.err)
}

/// Help goes to the output, a mistake to the errors.
fn refuse(error: &clap::Error, console: &mut Console<'_>) -> i32 {
    let is_asked = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    let (stream, code) = match is_asked {
        true => (&mut console.out, 0),
        false => (&mut console.err, 2),
    };
    // There is nobody to tell if it cannot be written.
    let _ = write!(stream, "{}", error.render());
    let _ = stream.flush();
    code
}

fn execute(flags: &Flags, console: &mut Console<'_>) -> Outcome {
    let directory = directory(flags);
    match &flags.command {
        Command::Topics(TopicsCommand::List(list)) => {
            topics::list(&*existing_log(&directory)?, list, console)
        }
        Command::Topics(TopicsCommand::Read(what)) => {
            read::read(&*existing_log(&directory)?, what, console)
        }
        Command::Topics(TopicsCommand::Create(create)) => {
            topics::create(&*open(&directory)?, create, console)
        }
        Command::Topics(TopicsCommand::Delete(delete)) => {
            topics::delete(&*existing_log(&directory)?, delete, console)
        }
        Command::Groups => groups::list(&*existing_log(&directory)?, &directory, console),
        Command::Reset(what) => {
            reset::reset(&*existing_log(&directory)?, &directory, what, console)
        }
    }
}

fn directory(flags: &Flags) -> PathBuf {
    let given = flags.directory.clone();
    let variable = || std::env::var_os("HEADWATER_DIR").filter(|value| !value.is_empty());
    given
        .or_else(|| variable().map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from(".headwater"))
}

fn open(directory: &Path) -> Result<Arc<EmbeddedLog>> {
    EmbeddedLog::open(directory, Options::new(Env::system()))
}

/// A command that only looks makes no log.
fn existing_log(directory: &Path) -> Result<Arc<EmbeddedLog>> {
    if directory.join("log.db").exists() {
        return open(directory);
    }
    Err(Error::invalid(format!(
        "there is no log in this directory directory=`{}`\n\
         hint: go to the folder where the job runs, or name its directory with --directory or \
         HEADWATER_DIR",
        directory.display()
    )))
}
