//! From librdkafka's faults to the classes of errors that the engine acts on.

use super::ffi::{Client, Fault, code};
use headwater_core::{Class, Error};

/// What to do about a fault, where nothing more special is known.
pub(super) fn class_of(fault: &Fault) -> Class {
    match fault.code {
        code::FENCED
        | code::FENCED_INSTANCE
        | code::INVALID_PRODUCER_EPOCH
        | code::PRODUCER_FENCED => Class::Fenced,
        code::INVALID_ARGUMENT
        | code::MESSAGE_TOO_LARGE
        | code::INVALID_CONFIG
        | code::INVALID_RECORD
        | code::INVALID_TIMESTAMP
        | code::TOPIC_AUTHORIZATION
        | code::GROUP_AUTHORIZATION
        | code::CLUSTER_AUTHORIZATION
        | code::TRANSACTIONAL_ID_AUTHORIZATION
        | code::AUTHENTICATION
        | code::SASL_AUTHENTICATION
        | code::POLICY_VIOLATION
        | code::INVALID_REPLICATION_FACTOR
        | code::INVALID_TOPIC => Class::Invalid,
        code::BAD_MESSAGE | code::BAD_COMPRESSION => Class::Internal,
        // Brokers come back, leaders are elected, quotas pass: what is not known to
        // be final is tried again. So is a topic that one broker does not know, which
        // may be new: `Cluster::describe` says whether it is gone.
        _ => Class::Unavailable,
    }
}

/// An error that says what was being done.
pub(super) fn error(doing: &str, fault: &Fault) -> Error {
    let hint = match fault.code {
        code::MESSAGE_TOO_LARGE => {
            "\nhint: raise `max.message.bytes` of the topic, or `message.max.bytes` of the client"
        }
        code::INVALID_RECORD => "\nhint: a compacted topic takes no record without a key",
        code::INVALID_TIMESTAMP => {
            "\nhint: raise `message.timestamp.after.max.ms` of the topic, or set other timestamps"
        }
        code::INVALID_REPLICATION_FACTOR => "\nhint: ask for as many replicas as there are brokers",
        _ => "",
    };
    Error::new(
        class_of(fault),
        format!("{doing}: {} code=`{}`{hint}", fault.text, fault.code),
    )
}

/// As [`error`], with what the client knows: why it has ended, what no retry mends,
/// and what it last logged where nobody answered.
pub(super) fn client_error(doing: &str, client: &Client, fault: &Fault) -> Error {
    if let Some(ended) = client.ended() {
        return error(doing, &ended);
    }
    let events = client.events();
    if let Some(refused) = events.refused() {
        return error(doing, &refused);
    }
    match events.last_line().filter(|_| fault.code == code::TIMED_OUT) {
        Some(line) => Error::unavailable(format!(
            "{doing}: no answer in time last=`{line}` code=`{}`\n\
             hint: is a broker there, and does it take connections of this `security.protocol`?",
            fault.code
        )),
        None => error(doing, fault),
    }
}

/// Whether the topic may be gone.
pub(super) fn is_about_topic(fault: &Fault) -> bool {
    matches!(
        fault.code,
        code::UNKNOWN_TOPIC
            | code::UNKNOWN_TOPIC_ID
            | code::UNKNOWN_TOPIC_LOCAL
            | code::UNKNOWN_PARTITION_LOCAL
            | code::NO_ENTRY
    )
}
