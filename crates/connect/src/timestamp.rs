//! Event time as it is written in files.
//!
//! A date and time without a zone is taken for UTC, because the machine's own
//! zone would give one file different times on different machines.

use headwater_core::{DataError, Error, Result, TimestampMs};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use std::str::FromStr;

/// Where a source finds the event time of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampField {
    /// The column or the top-level field.
    pub name: String,
    /// How it is written.
    pub format: TimestampFormat,
}

/// How an event time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TimestampFormat {
    /// ISO 8601: `2013-12-02 21:15:00`, with `T` or a space, with or without a
    /// fraction and a zone (UTC if it has none), or a date alone.
    #[default]
    Iso8601,
    /// Seconds since 1970, with or without a fraction.
    Seconds,
    /// Milliseconds since 1970, with or without a fraction.
    Milliseconds,
    /// Microseconds since 1970.
    Microseconds,
    /// Nanoseconds since 1970.
    Nanoseconds,
}

impl FromStr for TimestampFormat {
    type Err = Error;

    /// The short names: `iso8601`, `s`, `ms`, `us` and `ns`.
    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "iso8601" => TimestampFormat::Iso8601,
            "s" => TimestampFormat::Seconds,
            "ms" => TimestampFormat::Milliseconds,
            "us" => TimestampFormat::Microseconds,
            "ns" => TimestampFormat::Nanoseconds,
            _ => {
                return Err(Error::invalid(format!(
                    "a timestamp format is one of iso8601, s, ms, us, ns format=`{name}`"
                )));
            }
        })
    }
}

impl TimestampFormat {
    /// The short name.
    pub fn name(self) -> &'static str {
        match self {
            TimestampFormat::Iso8601 => "iso8601",
            TimestampFormat::Seconds => "s",
            TimestampFormat::Milliseconds => "ms",
            TimestampFormat::Microseconds => "us",
            TimestampFormat::Nanoseconds => "ns",
        }
    }

    /// Reads a timestamp; what is finer than a millisecond is cut off.
    pub(crate) fn read(self, text: &str) -> Result<TimestampMs, DataError> {
        let text = text.trim();
        let read = match self {
            TimestampFormat::Iso8601 => date_time_ms(text),
            TimestampFormat::Seconds => number_ms(text, 1_000_000_000),
            TimestampFormat::Milliseconds => number_ms(text, 1_000_000),
            TimestampFormat::Microseconds => number_ms(text, 1_000),
            TimestampFormat::Nanoseconds => number_ms(text, 1),
        };
        read.ok_or_else(|| {
            let name = self.name();
            DataError::new(format!(
                "not a timestamp of format {name} value=`{}`",
                shortened(text)
            ))
        })
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

fn date_time_ms(text: &str) -> Option<TimestampMs> {
    let has_zone = text
        .get(10..)
        .is_some_and(|time| time.contains(['Z', 'z', '+', '-']));
    let timestamp: Timestamp = if has_zone {
        text.parse().ok()?
    } else {
        let local: DateTime = text.parse().ok()?;
        TimeZone::UTC.to_timestamp(local).ok()?
    };
    i64::try_from(timestamp.as_nanosecond().div_euclid(1_000_000)).ok()
}

/// A decimal number of units of `unit_ns`, exactly.
fn number_ms(text: &str, unit_ns: i128) -> Option<TimestampMs> {
    /// More digits are no time, and cannot overflow below.
    const DIGITS_MAX: usize = 20;
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |digits: &str| {
        (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    // Nanoseconds are fine enough: nine digits of a fraction of a second.
    let fraction = &fraction[..fraction.len().min(9)];
    let scale = 10i128.pow(fraction.len() as u32);
    let ns = (whole.parse::<i128>().ok()? * scale + fraction.parse::<i128>().ok()?) * unit_ns;
    let ns = if is_negative { -ns } else { ns };
    i64::try_from(ns.div_euclid(scale * 1_000_000)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_read_as_they_are_written() {
        use TimestampFormat::*;
        let check = |format: TimestampFormat, text: &str, expected: Option<i64>| {
            assert_eq!(format.read(text).ok(), expected, "{format:?} {text}");
        };
        check(Iso8601, "2013-12-02 21:15:00", Some(1_386_018_900_000));
        check(Iso8601, "2013-12-02T21:15:00.1239", Some(1_386_018_900_123));
        check(Iso8601, "2013-12-02T21:15:00Z", Some(1_386_018_900_000));
        check(
            Iso8601,
            " 2013-12-02 23:15:00+02:00 ",
            Some(1_386_018_900_000),
        );
        check(Iso8601, "2013-12-02", Some(1_385_942_400_000));
        check(Iso8601, "1969-12-31T23:59:59.9995", Some(-1));
        check(Iso8601, "02.12.2013", None);
        check(Iso8601, "", None);
        check(Iso8601, "äöüäöüäöü", None);
        check(Seconds, "1386018900", Some(1_386_018_900_000));
        check(Seconds, "1386018900.1239", Some(1_386_018_900_123));
        check(Seconds, "-0.0001", Some(-1));
        check(Milliseconds, "1386018900123", Some(1_386_018_900_123));
        check(
            Milliseconds,
            "1386018900123.999999999999",
            Some(1_386_018_900_123),
        );
        check(Microseconds, "-1", Some(-1));
        check(Nanoseconds, "1386018900123456789", Some(1_386_018_900_123));
        for text in [
            "",
            "-",
            "1e9",
            "+1",
            "1.",
            ".1",
            "123456789012345678901",
            "NaN",
        ] {
            check(Seconds, text, None);
        }
        check(Seconds, "99999999999999999999", None);
    }

    #[test]
    fn a_format_is_known_by_its_short_name() -> Result<()> {
        for name in ["iso8601", "s", "ms", "us", "ns"] {
            assert_eq!(name.parse::<TimestampFormat>()?.name(), name);
        }
        assert!("minutes".parse::<TimestampFormat>().is_err());
        Ok(())
    }
}
