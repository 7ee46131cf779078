//! Functions of times: milliseconds since 1970 (UTC), or ISO 8601 text.

use super::fault::{Fault, fault};
use headwater_core::ValueRef;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, civil};

/// The time that a value stands for, in milliseconds.
pub(super) fn milliseconds(value: ValueRef<'_>) -> Result<i64, Fault> {
    match value {
        ValueRef::Int(value) => Ok(value),
        ValueRef::Str(text) => parse(text),
        other => {
            let kind = other.kind().name();
            let mut error = fault(format!(
                "a time is an int of milliseconds or an ISO 8601 text, this is {kind}"
            ));
            if let ValueRef::Float(_) = other {
                *error = error.with_hint("cast it with `.astype(int)`");
            }
            Err(error)
        }
    }
}

fn parse(text: &str) -> Result<i64, Fault> {
    // A text without an offset is taken for UTC.
    let timestamp = text.parse::<Timestamp>().or_else(|_| {
        text.parse::<civil::DateTime>()
            .and_then(|time| Offset::UTC.to_timestamp(time))
    });
    let timestamp = timestamp.map_err(|_| {
        let start: String = text.chars().take(40).collect();
        fault(format!("not an ISO 8601 time: {start:?}"))
    })?;
    let milliseconds = timestamp.as_nanosecond().div_euclid(1_000_000);
    Ok(i64::try_from(milliseconds).expect("nine thousand years of milliseconds fit"))
}

/// The calendar of UTC at a time.
pub(super) fn calendar(value: ValueRef<'_>) -> Result<civil::DateTime, Fault> {
    let time_ms = milliseconds(value)?;
    let timestamp = Timestamp::from_millisecond(time_ms)
        .map_err(|_| fault(format!("a time beyond the year 9999, time_ms=`{time_ms}`")))?;
    Ok(TimeZone::UTC.to_datetime(timestamp))
}

/// `2024-05-01T12:00:00.000Z`: always milliseconds, so that texts sort as times.
pub(super) fn iso_format(time: civil::DateTime) -> String {
    let (date, clock) = (time.date(), time.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        date.year(),
        date.month(),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second(),
        clock.millisecond()
    )
}
