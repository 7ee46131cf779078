//! `headwater groups`.

use crate::Console;
use crate::flags::Form;
use crate::layout::{Cell, Listing};
use crate::outcome::Outcome;
use crate::place::Place;
use headwater::log::{Committed, Log};
use headwater::{Error, Result, TopicPartition, Value, is_replay_group};
use std::fs::{File, TryLockError};
use std::io::Read;
use std::path::Path;

/// What each application has committed, in one line.
pub(crate) fn list(place: &Place, form: Form, console: &mut Console<'_>) -> Outcome {
    let log = &*place.log;
    let mut listing = Listing::new(["application", "process", "partitions", "waiting"]);
    for group in applications(log, console)? {
        let (mut partitions, mut all) = (0, 0);
        for (partition, committed) in &inputs(log, &group)? {
            let (_, waiting) = ahead(log, partition, committed)?;
            partitions += 1;
            all += waiting.unwrap_or(0);
        }
        let process = running(place.directory.as_deref(), &group)?;
        listing.push([
            Cell::text(group),
            Cell::maybe(process),
            Cell::number(partitions),
            Cell::number(all),
        ]);
    }
    listing.write(form, console.out)?;
    Ok(0)
}

/// What one application or all have committed, by partition.
pub(crate) fn lag(
    place: &Place,
    application: Option<&str>,
    form: Form,
    console: &mut Console<'_>,
) -> Outcome {
    let log = &*place.log;
    let mut groups = applications(log, console)?;
    if let Some(application) = application {
        let known = groups.join(", ");
        groups.retain(|group| group == application);
        if groups.is_empty() {
            return Err(unknown(log, application, &known).into());
        }
    }
    if groups.is_empty() {
        return Ok(0);
    }
    let mut listing = Listing::new([
        "application",
        "process",
        "topic",
        "partition",
        "committed",
        "end",
        "waiting",
    ]);
    for group in groups {
        let process = running(place.directory.as_deref(), &group)?;
        for (partition, committed) in inputs(log, &group)? {
            let (end, waiting) = ahead(log, &partition, &committed)?;
            listing.push([
                Cell::text(group.as_str()),
                Cell::maybe(process.as_deref()),
                Cell::text(&*partition.topic),
                Cell::number(partition.partition),
                position(committed.position),
                end,
                waiting.map_or(Cell::none(), Cell::number),
            ]);
        }
    }
    listing.write(form, console.out)?;
    Ok(0)
}

/// Nothing is known of an application.
pub(crate) fn unknown(log: &dyn Log, application: &str, known: &str) -> Error {
    Error::invalid(format!(
        "nothing is known of this application application=`{application}`\n\
         hint: the applications of {} are: {}",
        log.describe(),
        if known.is_empty() { "none" } else { known }
    ))
}

/// The applications that have committed anything: groups, but those of replays.
fn applications(log: &dyn Log, console: &mut Console<'_>) -> Result<Vec<String>> {
    let mut groups = log.groups()?;
    groups.retain(|group| !is_replay_group(group));
    if groups.is_empty() {
        writeln!(console.err, "no application has committed anything yet")?;
    }
    Ok(groups)
}

/// What an application has committed of topics. The places of sources, sinks and stores
/// have names that no topic can have.
pub(crate) fn inputs(log: &dyn Log, group: &str) -> Result<Vec<(TopicPartition, Committed)>> {
    let mut committed = log.committed(group)?;
    committed.retain(|(place, _)| !place.topic.contains(':'));
    Ok(committed)
}

/// The end of a partition and how many records wait before it.
fn ahead(
    log: &dyn Log,
    partition: &TopicPartition,
    committed: &Committed,
) -> Result<(Cell, Option<u64>)> {
    if log.topic(&partition.topic)?.is_none() {
        return Ok((Cell::shown(Value::Null, "deleted"), None));
    }
    let end = log.bounds(partition)?.end;
    let waiting = log.waiting(partition, committed.position)?;
    Ok((position(end), Some(waiting)))
}

fn position(position: headwater::Position) -> Cell {
    match position.offset() {
        Some(offset) => Cell::number(offset),
        None => Cell::text(position.to_string()),
    }
}

/// The process that runs an application, if one on this host does. On a cluster nobody
/// can tell from outside; there the brokers refuse to forget a group with members.
///
/// Joining the group would tell too, but would fence a job that starts just
/// now; a shared lock for a moment disturbs nobody who already holds the lock.
pub(crate) fn running(directory: Option<&Path>, application: &str) -> Result<Option<String>> {
    let Some(directory) = directory else {
        return Ok(None);
    };
    let path = directory.join("groups").join(format!("{application}.lock"));
    let Ok(mut file) = File::open(&path) else {
        return Ok(None);
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => {
            let mut process = String::new();
            file.read_to_string(&mut process)?;
            Ok(Some(process))
        }
        Err(TryLockError::Error(error)) => Err(Error::from(error)),
    }
}
