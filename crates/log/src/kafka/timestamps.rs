//! Times that Kafka's client cannot carry.
//!
//! librdkafka takes a timestamp of 0 for "now", and brokers refuse times before
//! 1970. A record of such a time is sent as one of the first millisecond of 1970, with
//! its own time in the header `headwater-timestamp`, eight bytes, big-endian. The
//! reader puts the time back and takes the header out.

use headwater_core::{Header, Headers};

const NAME: &str = "headwater-timestamp";

/// The time to send, and the headers if they change.
pub(super) fn sent(timestamp: i64, headers: &[Header]) -> (i64, Option<Vec<Header>>) {
    if 0 < timestamp {
        return (timestamp, None);
    }
    let own = Header {
        name: NAME.into(),
        value: Some(timestamp.to_be_bytes().into()),
    };
    (1, Some(headers.iter().cloned().chain([own]).collect()))
}

/// The time and the headers that were meant.
pub(super) fn received(timestamp: i64, headers: Headers) -> (i64, Headers) {
    let Some(last) = headers.as_deref().and_then(<[Header]>::last) else {
        return (timestamp, headers);
    };
    let own = last
        .value
        .as_deref()
        .and_then(|value| value.try_into().ok());
    match own {
        Some(own) if timestamp == 1 && &*last.name == NAME => {
            let others = headers
                .as_deref()
                .map_or(&[][..], |all| &all[..all.len() - 1]);
            let others = (!others.is_empty()).then(|| others.to_vec().into());
            (i64::from_be_bytes(own), others)
        }
        _ => (timestamp, headers),
    }
}
