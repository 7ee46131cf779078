//! `headwater groups`.

use crate::Console;
use crate::layout::{columns, head};
use crate::outcome::Outcome;
use headwater::log::{Committed, Log};
use headwater::{Error, Result, TopicPartition};
use std::fs::{File, TryLockError};
use std::io::Read;
use std::path::Path;

pub(crate) fn list(log: &dyn Log, directory: &Path, console: &mut Console<'_>) -> Outcome {
    let groups = log.groups()?;
    if groups.is_empty() {
        writeln!(console.err, "no application has committed anything yet")?;
        return Ok(0);
    }
    let mut rows = vec![head([
        "APPLICATION",
        "PROCESS",
        "TOPIC",
        "PARTITION",
        "COMMITTED",
        "END",
        "WAITING",
    ])];
    for group in groups {
        let process = running(directory, &group)?.unwrap_or_else(|| "-".to_owned());
        let committed = log.committed(&group)?;
        let inputs: Vec<_> = committed
            .iter()
            .filter(|(place, _)| is_topic(place))
            .collect();
        if inputs.is_empty() {
            rows.push(vec![group.clone(), process.clone()]);
        }
        for (partition, committed) in inputs {
            let [end, waiting] = ahead(log, partition, committed)?;
            rows.push(vec![
                group.clone(),
                process.clone(),
                partition.topic.to_string(),
                partition.partition.to_string(),
                committed.position.to_string(),
                end,
                waiting,
            ]);
        }
    }
    write!(console.out, "{}", columns(&rows))?;
    Ok(0)
}

/// Whether it is a partition, and not the place of a source or a sink, whose
/// name no topic can have.
fn is_topic(partition: &TopicPartition) -> bool {
    !partition.topic.contains(':')
}

/// The end of a partition and how many records wait before it.
fn ahead(log: &dyn Log, partition: &TopicPartition, committed: &Committed) -> Result<[String; 2]> {
    if log.topic(&partition.topic)?.is_none() {
        return Ok(["deleted".to_owned(), "-".to_owned()]);
    }
    let end = log.bounds(partition)?.end;
    let waiting = log.waiting(partition, committed.position)?;
    Ok([end.to_string(), waiting.to_string()])
}

/// The process that runs an application, if one does.
///
/// Joining the group would tell too, but would fence a job that starts just
/// now; a shared lock for a moment disturbs nobody who already holds the lock.
pub(crate) fn running(directory: &Path, application: &str) -> Result<Option<String>> {
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
