//! Records that cannot be processed, with the reason.
//!
//! A dead letter holds the record's original key and value, or the row itself if a
//! closing window emitted it, or the bytes that a source could not read. It leaves in the epoch's transaction: a record is either
//! processed or a dead letter, once.

use headwater_connect::Unread;
use headwater_core::{DataError, Header, Records, RecordsBuilder, Result, Rows, TimestampMs};
use headwater_log::Fetched;
use headwater_operators::Failure;

/// What follows an input's name in that of the topic of its dead letters.
pub(crate) const SUFFIX: &str = ".dead-letter";

/// The header that says what a dead letter is.
pub(crate) const KIND_HEADER: &str = "headwater.kind";

/// All headers that a dead letter gets beside the record's own.
pub(crate) const OUR_HEADERS: [&str; 8] = [
    "headwater.error",
    KIND_HEADER,
    "headwater.operator",
    "headwater.field",
    "headwater.line",
    "headwater.topic",
    "headwater.partition",
    "headwater.offset",
];

/// What a dead letter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The input record.
    Record,
    /// A row that a closing window emitted.
    Result,
    /// What a source could not read.
    Source,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Record => "record",
            Kind::Result => "result",
            Kind::Source => "source",
        }
    }
}

/// The topic of an input's dead letters.
pub fn dead_letter_topic(topic: &str) -> String {
    format!("{topic}{SUFFIX}")
}

/// One dead letter.
///
/// # Errors
/// `Internal` if neither the record nor the row is known.
pub(crate) fn dead_letter(failure: &Failure, fetched: Option<&Fetched>) -> Result<Records> {
    let mut builder = RecordsBuilder::default();
    let kind = match failure.row {
        Some(_) => Kind::Result,
        None => Kind::Record,
    };
    let headers = headers_of(&failure.error, kind);
    match (&failure.row, fetched) {
        (Some(batch), _) => {
            let mut value = Vec::new();
            let mut rows = batch.rows.clone();
            if let Rows::Json(json) = &mut rows {
                json.prepare_to_write();
            }
            let (mut json, _) = rows.into_json();
            json.prepare_to_write();
            let is_there = json.write_row(0, &mut value).unwrap_or(false);
            let value = is_there.then_some(value.as_slice());
            builder.push(
                batch.keys.get(0),
                value,
                batch.timestamps[0],
                Some(headers.into()),
            );
        }
        (None, Some(fetched)) => {
            let (records, index) = (&fetched.records, failure.cause.at());
            let mut all = headers;
            all.extend(records.headers(index).iter().cloned());
            builder.push(
                records.key(index),
                records.value(index),
                records.timestamps[index],
                Some(all.into()),
            );
        }
        (None, None) => {
            return Err(headwater_core::Error::internal(
                "a failure without a record and without a row",
            ));
        }
    }
    Ok(builder.finish())
}

/// The dead letter of a record that a source could not read.
pub(crate) fn unread_letter(unread: &Unread, wall_ms: TimestampMs) -> Records {
    let mut builder = RecordsBuilder::default();
    let headers = headers_of(&unread.error, Kind::Source).into();
    builder.push(None, Some(&unread.bytes), wall_ms, Some(headers));
    builder.finish()
}

fn headers_of(error: &DataError, kind: Kind) -> Vec<Header> {
    let text = |fact: Option<String>| fact.unwrap_or_default();
    [
        ("headwater.error", error.reason.clone()),
        (KIND_HEADER, kind.name().to_owned()),
        ("headwater.operator", text(error.operator.clone())),
        ("headwater.field", text(error.field.clone())),
        ("headwater.line", text(error.line.clone())),
        (
            "headwater.topic",
            text(
                error
                    .partition
                    .as_ref()
                    .map(|place| place.topic.to_string()),
            ),
        ),
        (
            "headwater.partition",
            text(
                error
                    .partition
                    .as_ref()
                    .map(|place| place.partition.to_string()),
            ),
        ),
        (
            "headwater.offset",
            text(error.position.map(|position| position.to_string())),
        ),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| Header {
        name: name.into(),
        value: Some(value.into_bytes().into()),
    })
    .collect()
}
