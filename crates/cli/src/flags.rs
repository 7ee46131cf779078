//! What can be typed.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Look at a log and put it in order, also while jobs run.
#[derive(Debug, Parser)]
#[command(name = "headwater", version, arg_required_else_help = true)]
pub(crate) struct Flags {
    /// The directory of the log [default: HEADWATER_DIR, else .headwater]
    #[arg(long, global = true, value_name = "DIRECTORY")]
    pub(crate) directory: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List, read, create and delete topics
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Show applications: what they have committed and what waits for them
    Groups,
    /// Forget the positions and the state of an application
    Reset(Reset),
}

#[derive(Debug, Subcommand)]
pub(crate) enum TopicsCommand {
    /// List topics
    List(List),
    /// Print the records of a topic, one a line
    Read(Read),
    /// Create a topic
    Create(Create),
    /// Delete topics with their records
    Delete(Delete),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Internal topics too
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Read {
    /// The topic
    pub(crate) topic: String,
    /// Where to begin: earliest, latest or an offset
    #[arg(long, default_value = "earliest", value_parser = parse_from)]
    pub(crate) from: From,
    /// End after this many records
    #[arg(long)]
    pub(crate) count: Option<u64>,
    /// Wait for more at the end
    #[arg(long)]
    pub(crate) follow: bool,
    /// One partition only
    #[arg(long)]
    pub(crate) partition: Option<u32>,
    /// Print records as JSON objects
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Earliest,
    Latest,
    Offset(u64),
}

fn parse_from(text: &str) -> Result<From, String> {
    match text {
        "earliest" => Ok(From::Earliest),
        "latest" => Ok(From::Latest),
        offset => offset
            .parse()
            .map(From::Offset)
            .map_err(|_| "expected earliest, latest or an offset".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The topic
    pub(crate) topic: String,
    /// The number of partitions
    #[arg(long, default_value_t = 1)]
    pub(crate) partitions: u32,
    /// How long records are kept, in milliseconds [default: 7 days]
    #[arg(long)]
    pub(crate) retention_ms: Option<u64>,
    /// How many bytes of a partition are kept [default: 4 GiB]
    #[arg(long)]
    pub(crate) retention_bytes: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The topics
    #[arg(required = true)]
    pub(crate) topics: Vec<String>,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// The application, by the name of its consumer group
    pub(crate) application: String,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}
