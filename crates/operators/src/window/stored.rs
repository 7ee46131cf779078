//! A changelog record of a window's store, for people.

use super::changelog::{
    KIND_CLOCK, KIND_ENDED, KIND_ITEM, KIND_WINDOW, read_clock, read_window_head,
};
use super::rules::Clock;
use crate::aggregate::Accumulator;
use headwater_core::{Error, Result, Value};
use headwater_state::{KeyReader, StoredEntry, ValueReader};

/// What a record of a window's changelog says. Of the aggregates it has the functions and
/// what they have come to so far; their names are those of the program.
///
/// # Errors
/// `Internal` if it is damaged or of a newer version.
pub fn stored_window(key: &[u8], value: &[u8]) -> Result<StoredEntry> {
    let (mut parts, kind) = KeyReader::new(key)?;
    let key = parts.bytes()?.map(<[u8]>::to_vec);
    let (mut reader, _) = ValueReader::new(value)?;
    let mut fields = Vec::new();
    let kind = match kind {
        KIND_CLOCK => {
            push_clock(read_clock(&mut reader)?, &mut fields);
            "clock"
        }
        KIND_WINDOW => {
            fields.push(("start_ms", Value::Int(parts.int()?)));
            let (is_empty, clock) = read_window_head(&mut reader)?;
            if is_empty {
                fields.push(("is_empty", Value::Bool(true)));
            }
            fields.extend(Accumulator::stored_results(&mut reader)?);
            if let Some(clock) = clock {
                push_clock(clock, &mut fields);
            }
            "window"
        }
        KIND_ITEM => {
            fields.push(("start_ms", Value::Int(parts.int()?)));
            fields.push(("sequence", Value::Int(parts.int()?)));
            fields.push(("timestamp_ms", Value::Int(reader.int()?)));
            for _ in 0..reader.varint()? {
                reader.varint()?;
                fields.push(("item", StoredEntry::shown(reader.bytes()?)));
            }
            "item"
        }
        KIND_ENDED => {
            fields.push(("ended_ms", Value::Int(reader.int()?)));
            "end"
        }
        kind => {
            return Err(Error::internal(format!(
                "a changelog record of a window is of an unknown kind, kind=`{kind}`"
            )));
        }
    };
    Ok(StoredEntry { key, kind, fields })
}

fn push_clock(clock: Clock, fields: &mut Vec<(&'static str, Value)>) {
    fields.push(("latest_ms", Value::Int(clock.latest_ms)));
    fields.push(("moved_ms", Value::Int(clock.moved_ms)));
    fields.push(("closed_ms", Value::Int(clock.closed_ms)));
}
