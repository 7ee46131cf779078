//! What can be typed.

use clap::{Args, Parser, Subcommand, ValueEnum};
use headwater::core::TimestampMs;
use std::path::PathBuf;

/// Look at a log and put it in order, also while jobs run.
#[derive(Debug, Parser)]
#[command(name = "headwater", version, arg_required_else_help = true)]
pub(crate) struct Flags {
    /// The directory of the log [default: HEADWATER_DIR, else .headwater]
    #[arg(long, global = true, value_name = "DIRECTORY")]
    pub(crate) directory: Option<PathBuf>,
    /// The brokers of a Kafka cluster, HOST:PORT[,HOST:PORT] [default: HEADWATER_BROKER]
    #[arg(
        long,
        global = true,
        value_name = "BROKERS",
        conflicts_with = "directory"
    )]
    pub(crate) broker: Option<String>,
    /// A setting of the Kafka client, by librdkafka's name
    #[arg(long, global = true, value_name = "NAME=VALUE", value_parser = parse_setting)]
    pub(crate) config: Vec<(String, String)>,
    /// A file of such settings, one a line: for passwords
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config_file: Option<PathBuf>,
    /// How lists are shown: one JSON object a line is for scripts
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORM",
        default_value = "table"
    )]
    pub(crate) output: Form,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How results are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List, read, write, create and delete topics
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Show applications: what they have committed and what waits for them
    Groups {
        #[command(subcommand)]
        command: Option<GroupsCommand>,
    },
    /// Show what the stores of an application hold, up to its last commit
    #[command(subcommand)]
    State(StateCommand),
    /// Show records that could not be processed, and send them back
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Forget the positions and the state of an application, or move where it goes on
    Reset(Reset),
}

#[derive(Debug, Subcommand)]
pub(crate) enum TopicsCommand {
    /// List topics
    List(List),
    /// Print the records of a topic, one a line
    Read(Read),
    /// Append lines of the input to a topic
    Write(Write),
    /// Create a topic
    Create(Create),
    /// Delete topics with their records
    Delete(Delete),
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupsCommand {
    /// List applications
    List,
    /// Show by partition what an application has committed and what waits
    Lag {
        /// The application; all of them without it
        application: Option<String>,
    },
    /// Forget the positions and the state of an application, or move where it goes on
    Reset(GroupReset),
}

#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// Show what is stored of one key
    Get {
        /// The application, by the name of its consumer group
        application: String,
        /// The key of the records
        key: String,
        /// One store alone
        #[arg(long)]
        store: Option<String>,
    },
    /// Show all that is stored, or without --store what stores there are
    Scan {
        /// The application, by the name of its consumer group
        application: String,
        /// The store
        #[arg(long)]
        store: Option<String>,
        /// End after this many entries of the store
        #[arg(long, requires = "store")]
        count: Option<u64>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// List topics of dead letters
    List,
    /// Show dead letters: where from, why, and their bytes
    Show {
        /// The topic that they came from, or their own
        topic: String,
        /// One letter alone
        #[arg(long)]
        offset: Option<u64>,
        /// End after this many
        #[arg(long)]
        count: Option<u64>,
    },
    /// Send the original records back, each once
    Replay(ReplayFlags),
}

#[derive(Debug, Args)]
pub(crate) struct ReplayFlags {
    /// The topic that they came from, or their own
    pub(crate) topic: String,
    /// Send them to this topic instead
    #[arg(long, value_name = "TOPIC")]
    pub(crate) to: Option<String>,
    /// These letters alone
    #[arg(long)]
    pub(crate) offset: Vec<u64>,
    /// Those too that have been sent before
    #[arg(long)]
    pub(crate) again: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Internal topics too
    #[arg(long)]
    pub(crate) all: bool,
    /// Internal topics of applications that are gone, alone
    #[arg(long)]
    pub(crate) orphaned: bool,
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
    /// As --output json
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Write {
    /// The topic; it must exist
    pub(crate) topic: String,
    /// Lines are JSON objects with value and perhaps key, timestamp and headers, as
    /// `topics read --output json` prints them (a value that is no JSON stands there, and
    /// is written, as a JSON text); else KEY<TAB>VALUE, or a value alone
    #[arg(long)]
    pub(crate) json: bool,
    /// One partition instead of that of the key
    #[arg(long)]
    pub(crate) partition: Option<u32>,
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

/// Where an application is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Earliest,
    Latest,
    Offset(u64),
    Time(TimestampMs),
}

fn parse_to(text: &str) -> Result<To, String> {
    match parse_from(text) {
        Ok(From::Earliest) => Ok(To::Earliest),
        Ok(From::Latest) => Ok(To::Latest),
        Ok(From::Offset(offset)) => Ok(To::Offset(offset)),
        Err(_) => match text.parse::<jiff::Timestamp>() {
            Ok(time) => Ok(To::Time(time.as_millisecond())),
            Err(_) => Err("expected earliest, latest, an offset or a time such as \
                           2026-11-27T22:00:00Z"
                .to_owned()),
        },
    }
}

/// A setting, `name=value`.
pub(crate) fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        // What stands there may be a password, so it is not repeated.
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The topic
    pub(crate) topic: String,
    /// The number of partitions
    #[arg(long, default_value_t = 1)]
    pub(crate) partitions: u32,
    /// How long records are kept, in milliseconds [default: 7 days; the brokers' own]
    #[arg(long)]
    pub(crate) retention_ms: Option<u64>,
    /// How many bytes of a partition are kept [default: 4 GiB; the brokers' own]
    #[arg(long)]
    pub(crate) retention_bytes: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The topics
    #[arg(required_unless_present = "orphaned")]
    pub(crate) topics: Vec<String>,
    /// Internal topics of applications that are gone
    #[arg(long, conflicts_with = "topics")]
    pub(crate) orphaned: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GroupReset {
    /// The application, by the name of its consumer group
    pub(crate) application: String,
    /// Go on there instead of forgetting everything: earliest, latest, an offset or a time
    /// such as 2026-11-27T22:00:00Z; for an application without state
    #[arg(long, value_name = "PLACE", value_parser = parse_to)]
    pub(crate) to: Option<To>,
    /// In this topic alone
    #[arg(long, requires = "to")]
    pub(crate) topic: Option<String>,
    /// In this partition alone
    #[arg(long, requires = "to")]
    pub(crate) partition: Option<u32>,
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
