//! `headwater reset`.

use crate::Console;
use crate::flags::Reset;
use crate::groups::{running, unknown};
use crate::outcome::{Outcome, is_confirmed};
use crate::place::Place;
use crate::topics::record_count;
use headwater::core::env::Env;
use headwater::log::{Log, TopicInfo};
use headwater::plan::StoreId;
use headwater::{Error, Result};

pub(crate) fn reset(place: &Place, flags: &Reset, console: &mut Console<'_>) -> Outcome {
    let log = &*place.log;
    let application = &flags.application;
    if let Some(process) = running(place.directory.as_deref(), application)? {
        return Err(Error::invalid(format!(
            "the application is running application=`{application}` process=`{process}`\n\
             hint: stop it first"
        ))
        .into());
    }
    write!(console.out, "{}", what_is_forgotten(log, application)?)?;
    if !flags.yes && !is_confirmed("go on?", console)? {
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
