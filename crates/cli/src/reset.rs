//! `headwater reset` and `headwater groups reset`.

use crate::Console;
use crate::flags::{GroupReset, To};
use crate::groups::{inputs, running, unknown};
use crate::outcome::{Outcome, is_confirmed};
use crate::place::Place;
use crate::topics::record_count;
use headwater::core::env::Env;
use headwater::log::{Log, TopicInfo};
use headwater::plan::StoreId;
use headwater::{Error, Position, Result, TopicPartition};

/// Forgets all of an application, or moves where it goes on.
pub(crate) fn reset_group(place: &Place, flags: &GroupReset, console: &mut Console<'_>) -> Outcome {
    let (log, application) = (&*place.log, &flags.application);
    let Some(to) = flags.to else {
        return reset(place, application, flags.yes, console);
    };
    check_stopped(place, application)?;
    let mut all = inputs(log, application)?;
    if all.is_empty() {
        return Err(unknown(log, application, &log.groups()?.join(", ")).into());
    }
    all.retain(|(at, _)| {
        flags
            .topic
            .as_ref()
            .is_none_or(|topic| *at.topic == **topic)
            && flags.partition.is_none_or(|number| number == at.partition)
    });
    if all.is_empty() {
        return Err(Error::invalid(format!(
            "the application has read no such partition application=`{application}`\n\
             hint: `headwater groups lag {application}` shows those that it has read"
        ))
        .into());
    }
    let mut moved = Vec::new();
    for (partition, committed) in all {
        let position = position_of(log, &partition, to)?;
        let from = committed.position;
        writeln!(console.out, "{partition}: from {from} to {position}")?;
        moved.push((partition, position));
    }
    if !flags.yes && !is_confirmed("go on?", console)? {
        return Ok(1);
    }
    headwater::move_positions(log, application, &moved)?;
    writeln!(console.out, "done")?;
    Ok(0)
}

fn position_of(log: &dyn Log, partition: &TopicPartition, to: To) -> Result<Position> {
    match to {
        To::Earliest => Ok(log.bounds(partition)?.start),
        To::Latest => Ok(log.bounds(partition)?.end),
        To::Offset(offset) => Ok(Position::from_offset(offset)),
        To::Time(time_ms) => log.position_at(partition, time_ms),
    }
}

/// # Errors
/// `Invalid` if a process of this host runs the application.
fn check_stopped(place: &Place, application: &str) -> Result<()> {
    if let Some(process) = running(place.directory.as_deref(), application)? {
        return Err(Error::invalid(format!(
            "the application is running application=`{application}` process=`{process}`\n\
             hint: stop it first"
        )));
    }
    Ok(())
}

/// Forgets positions and state.
pub(crate) fn reset(
    place: &Place,
    application: &str,
    is_confirmed_already: bool,
    console: &mut Console<'_>,
) -> Outcome {
    let log = &*place.log;
    check_stopped(place, application)?;
    write!(console.out, "{}", what_is_forgotten(log, application)?)?;
    if !is_confirmed_already && !is_confirmed("go on?", console)? {
        return Ok(1);
    }
    headwater::reset(log, &Env::system(), application)?;
    writeln!(console.out, "done")?;
    Ok(0)
}

/// What a reset removes, one thing a line.
fn what_is_forgotten(log: &dyn Log, application: &str) -> Result<String> {
    let mut lines = vec![format!("reset of application `{application}`:")];
    for (partition, committed) in log.committed(application)? {
        let position = committed.position;
        lines.push(match partition.topic.split_once(':') {
            None => format!("  forgets that it has read {partition} to {position}"),
            Some(("source", name)) => format!("  forgets how far source `{name}` has been read"),
            Some(("sink", name)) => {
                format!("  forgets sink `{name}`: remove its file before the next run")
            }
            // Its changelog says more.
            Some(_) => continue,
        });
    }
    // A store without a name has the beginning that all have.
    let changelogs = StoreId(String::new()).changelog_topic(application);
    for topic in topics_of(log, &changelogs)? {
        let count = record_count(log, &topic)?;
        lines.push(format!(
            "  deletes its state in {} ({count} records)",
            topic.name
        ));
    }
    for topic in topics_of(log, &headwater::plan::repartition_prefix(application))? {
        lines.push(format!("  deletes rows on their way in {}", topic.name));
    }
    if lines.len() == 1 {
        let known = log.groups()?.join(", ");
        return Err(unknown(log, application, &known));
    }
    lines.push("its topics and their records stay\n".to_owned());
    Ok(lines.join("\n"))
}

fn topics_of(log: &dyn Log, prefix: &str) -> Result<Vec<TopicInfo>> {
    let mut topics = log.topics()?;
    topics.retain(|topic| topic.name.starts_with(prefix));
    Ok(topics)
}
