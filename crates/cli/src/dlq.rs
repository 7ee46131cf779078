//! `headwater dlq list|show|replay`.

use crate::Console;
use crate::flags::{Form, ReplayFlags};
use crate::layout::{Cell, Listing, json_object};
use crate::outcome::{Failure, Outcome, is_confirmed};
use crate::read::{headers_json, value_json};
use crate::topics::find;
use headwater::core::ValueRef;
use headwater::log::Log;
use headwater::{
    DeadLetter, Error, Replay, Result, Value, dead_letter_topic, dead_letter_topics,
    replay_dead_letters, visit_dead_letters,
};

pub(crate) fn list(log: &dyn Log, form: Form, console: &mut Console<'_>) -> Outcome {
    let mut listing = Listing::new(["topic", "letters", "replayed", "newest_error"]);
    for topic in dead_letter_topics(log)? {
        let (mut letters, mut replayed, mut newest) = (0_u64, 0_u64, None);
        visit_dead_letters(log, &topic, &mut |letter| {
            letters += 1;
            replayed += u64::from(letter.is_replayed);
            newest = Some(letter.error);
            Ok(true)
        })?;
        listing.push([
            Cell::text(topic),
            Cell::number(letters),
            Cell::number(replayed),
            Cell::maybe(newest),
        ]);
    }
    listing.write(form, console.out)?;
    Ok(0)
}

pub(crate) fn show(
    log: &dyn Log,
    topic: &str,
    (offset, count): (Option<u64>, Option<u64>),
    form: Form,
    console: &mut Console<'_>,
) -> Outcome {
    let topic = letters_of(log, topic)?;
    let mut left = count.unwrap_or(u64::MAX);
    let mut written = Ok(());
    let mut listing = Listing::new([
        "offset", "from", "error", "operator", "replayed", "key", "value",
    ]);
    visit_dead_letters(log, &topic, &mut |letter| {
        if offset.is_some() && letter.position.offset() != offset {
            return Ok(true);
        }
        if left == 0 {
            return Ok(false);
        }
        left -= 1;
        match form {
            Form::Table => listing.push(row(&letter)),
            Form::Json => written = writeln!(console.out, "{}", line(&letter)),
        }
        Ok(written.is_ok())
    })?;
    written.map_err(Failure::Output)?;
    if form == Form::Table {
        listing.write(form, console.out)?;
    }
    Ok(0)
}

pub(crate) fn replay(log: &dyn Log, flags: &ReplayFlags, console: &mut Console<'_>) -> Outcome {
    let topic = letters_of(log, &flags.topic)?;
    if let Some(to) = &flags.to {
        find(log, to)?;
    }
    if !flags.yes && !is_confirmed(&question(log, &topic, flags)?, console)? {
        return Ok(1);
    }
    let replay = Replay {
        to: flags.to.clone(),
        offsets: flags.offset.iter().copied().collect(),
        again: flags.again,
    };
    let done = replay_dead_letters(log, &topic, &replay)?;
    writeln!(console.out, "{} sent", done.sent)?;
    console.out.flush()?;
    if 0 < done.known && !flags.offset.is_empty() {
        writeln!(
            console.err,
            "hint: {} had been sent before; --again sends them again",
            done.known
        )?;
    }
    if 0 < done.homeless {
        writeln!(
            console.err,
            "hint: {} are no input records, but results of windows or lines of files; --to names \
             a topic for them",
            done.homeless
        )?;
    }
    Ok(0)
}

/// What a replay is about to do.
fn question(log: &dyn Log, topic: &str, flags: &ReplayFlags) -> Result<String> {
    let mut count = flags.offset.len();
    if count == 0 {
        visit_dead_letters(log, topic, &mut |letter| {
            let has_home = letter.is_record || flags.to.is_some();
            count += usize::from(has_home && (flags.again || !letter.is_replayed));
            Ok(true)
        })?;
    }
    let to = match &flags.to {
        Some(to) => format!("to `{to}`"),
        None => "to the topics that they came from".to_owned(),
    };
    Ok(format!("send {count} dead letters of `{topic}` {to}?"))
}

/// The topic of dead letters that is meant, by its own name or its input's.
fn letters_of(log: &dyn Log, name: &str) -> Result<String> {
    let own = dead_letter_topic(name);
    if log.topic(&own)?.is_some() {
        return Ok(own);
    }
    let topic = find(log, name)?.name;
    match topic.ends_with(&dead_letter_topic("")) {
        true => Ok(topic),
        false => Err(Error::invalid(format!(
            "there are no dead letters of this topic topic=`{topic}`\n\
             hint: `headwater dlq list` shows those that there are"
        ))),
    }
}

fn row(letter: &DeadLetter) -> [Cell; 7] {
    let from = letter.from_topic.as_ref().map(|topic| {
        format!(
            "{topic}[{}]@{}",
            letter.from_partition.unwrap_or(0),
            letter.from_offset.as_deref().unwrap_or("?")
        )
    });
    let place = match letter.partition.partition {
        0 => letter.position.to_string(),
        partition => format!("{partition}:{}", letter.position),
    };
    [
        Cell::text(place),
        Cell::maybe(from),
        Cell::text(letter.error.as_str()),
        Cell::maybe(letter.operator.as_deref()),
        Cell::text(if letter.is_replayed { "yes" } else { "no" }),
        Cell::bytes(letter.key.as_deref()),
        Cell::bytes(letter.value.as_deref()),
    ]
}

fn line(letter: &DeadLetter) -> String {
    let key = letter.key.as_deref().map(String::from_utf8_lossy);
    let value = value_json(letter.value.as_deref());
    let headers = headers_json(&letter.headers);
    let position = letter.position.to_string();
    let offset = match letter.position.offset() {
        Some(_) => ValueRef::BigInt(&position),
        None => ValueRef::Str(&position),
    };
    let text = |text: &'_ Option<String>| -> Value {
        text.as_deref()
            .map_or(Value::Null, |text| Value::Str(text.into()))
    };
    let [operator, field, line, topic, from_offset] = [
        &letter.operator,
        &letter.field,
        &letter.line,
        &letter.from_topic,
        &letter.from_offset,
    ]
    .map(text);
    json_object([
        (
            "partition",
            ValueRef::Int(letter.partition.partition.into()),
        ),
        ("offset", offset),
        ("from_topic", topic.as_ref()),
        (
            "from_partition",
            letter
                .from_partition
                .map_or(ValueRef::Null, |known| ValueRef::Int(known.into())),
        ),
        ("from_offset", from_offset.as_ref()),
        ("error", ValueRef::Str(&letter.error)),
        ("operator", operator.as_ref()),
        ("field", field.as_ref()),
        ("line", line.as_ref()),
        ("is_record", ValueRef::Bool(letter.is_record)),
        ("is_replayed", ValueRef::Bool(letter.is_replayed)),
        ("timestamp", ValueRef::Int(letter.timestamp)),
        ("key", key.as_deref().map_or(ValueRef::Null, ValueRef::Str)),
        ("value", ValueRef::Json(&value)),
        ("headers", ValueRef::Json(&headers)),
    ])
}
