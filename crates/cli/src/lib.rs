//! The `headwater` command: looking at a log and putting it in order while jobs
//! run.
//!
//! A library, because the wheel's console script calls it inside Python. It
//! holds no logic that a user of the Rust library would need: each command reads
//! its flags, calls the library and writes text.
//!
//! ```text
//! flags     what was typed, checked by clap       (`flags`)
//! place     the log that is meant                   (`place`)
//! command   flags → calls of `headwater` → text   (`topics`, `read`, `write`, `groups`, `state`, `dlq`,
//!                                                  `reset`)
//! layout    lists, as columns or as JSON          (`layout`)
//! outcome   errors and exit codes                 (`outcome`)
//! ```

mod dlq;
mod flags;
mod groups;
mod layout;
mod outcome;
mod place;
mod read;
mod reset;
mod state;
mod topics;
mod write;

use clap::Parser;
use clap::error::ErrorKind;
use flags::{Command, DlqCommand, Flags, Form, GroupsCommand, StateCommand, TopicsCommand};
use headwater::log::Log;
use outcome::{Outcome, report};
use place::Place;
use state::Asked;
use std::io::{BufRead, Write};

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
    let may_create = matches!(flags.command, Command::Topics(TopicsCommand::Create(_)));
    let place = Place::of(flags, may_create)?;
    let (log, form) = (&*place.log, flags.output);
    match &flags.command {
        Command::Topics(command) => match command {
            TopicsCommand::List(what) => topics::list(log, what, form, console),
            TopicsCommand::Read(what) => read::read(log, what, form, console),
            TopicsCommand::Write(what) => write::write(log, what, console),
            TopicsCommand::Create(what) => topics::create(log, what, console),
            TopicsCommand::Delete(what) => topics::delete(log, what, console),
        },
        Command::Groups { command } => match command {
            None => groups::lag(&place, None, form, console),
            Some(GroupsCommand::List) => groups::list(&place, form, console),
            Some(GroupsCommand::Lag { application }) => {
                groups::lag(&place, application.as_deref(), form, console)
            }
            Some(GroupsCommand::Reset(what)) => reset::reset_group(&place, what, console),
        },
        Command::State(command) => look_at_state(log, command, form, console),
        Command::Dlq(command) => match command {
            DlqCommand::List => dlq::list(log, form, console),
            DlqCommand::Show {
                topic,
                offset,
                count,
            } => dlq::show(log, topic, (*offset, *count), form, console),
            DlqCommand::Replay(what) => dlq::replay(log, what, console),
        },
        Command::Reset(what) => reset::reset(&place, &what.application, what.yes, console),
    }
}

fn look_at_state(
    log: &dyn Log,
    command: &StateCommand,
    form: Form,
    console: &mut Console<'_>,
) -> Outcome {
    let asked = match command {
        StateCommand::Get {
            application,
            key,
            store,
        } => Asked {
            application,
            store: store.as_deref(),
            key: Some(key),
            count: None,
        },
        StateCommand::Scan {
            application, store, ..
        } if store.is_none() => return state::stores(log, application, form, console),
        StateCommand::Scan {
            application,
            store,
            count,
        } => Asked {
            application,
            store: store.as_deref(),
            key: None,
            count: *count,
        },
    };
    state::show(log, &asked, form, console)
}
