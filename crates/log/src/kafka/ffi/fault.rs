//! What goes wrong, with the numbers that we tell apart.

use super::{codes, sys, text_of};
use std::ffi::c_int;

/// What librdkafka or a broker refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Fault {
    /// Its number: negative from librdkafka, positive from a broker.
    pub(in super::super) code: i32,
    /// What it says.
    pub(in super::super) text: String,
    /// The client can do nothing any more.
    pub(in super::super) is_fatal: bool,
    /// The open transaction has to be aborted.
    pub(in super::super) requires_abort: bool,
}

impl Fault {
    /// A fault of this number, in librdkafka's words.
    pub(in super::super) fn of(code: c_int) -> Fault {
        // SAFETY: any number is allowed, and the text is a constant.
        let text = unsafe { text_of(codes::rd_kafka_err2str(code)) };
        Fault {
            code,
            text,
            is_fatal: false,
            requires_abort: false,
        }
    }

    pub(super) fn invalid(text: impl Into<String>) -> Fault {
        Fault {
            text: text.into(),
            ..Fault::of(code::INVALID_ARGUMENT)
        }
    }

    pub(super) fn check(code: c_int) -> Result<(), Fault> {
        if code == 0 {
            Ok(())
        } else {
            Err(Fault::of(code))
        }
    }

    /// Takes an error object; null is success.
    ///
    /// # Safety
    /// `error` is null or an error that the caller owns.
    pub(super) unsafe fn take(error: *mut sys::rd_kafka_error_t) -> Result<(), Fault> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: the caller owns it.
        let fault = unsafe { Fault::read(error) };
        // SAFETY: and gives it up here.
        unsafe { sys::rd_kafka_error_destroy(error) };
        Err(fault)
    }

    /// Reads an error object, which is not null.
    ///
    /// # Safety
    /// `error` is an error that lives for this call.
    pub(super) unsafe fn read(error: *const sys::rd_kafka_error_t) -> Fault {
        // SAFETY: it lives, says the caller; its text lives as long.
        unsafe {
            Fault {
                code: codes::rd_kafka_error_code(error),
                text: text_of(sys::rd_kafka_error_string(error)),
                is_fatal: sys::rd_kafka_error_is_fatal(error) != 0,
                requires_abort: sys::rd_kafka_error_txn_requires_abort(error) != 0,
            }
        }
    }
}

/// The numbers that we tell apart.
pub(in super::super) mod code {
    use super::super::sys::rd_kafka_resp_err_t as Code;

    pub(in crate::kafka) const TIMED_OUT: i32 = Code::RD_KAFKA_RESP_ERR__TIMED_OUT as i32;
    pub(in crate::kafka) const ALL_BROKERS_DOWN: i32 =
        Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN as i32;
    pub(in crate::kafka) const INVALID_ARGUMENT: i32 = Code::RD_KAFKA_RESP_ERR__INVALID_ARG as i32;
    pub(in crate::kafka) const ERRONEOUS_STATE: i32 = Code::RD_KAFKA_RESP_ERR__STATE as i32;
    /// No partition asked about has a leader: the topic may be gone.
    pub(in crate::kafka) const NO_ENTRY: i32 = Code::RD_KAFKA_RESP_ERR__NOENT as i32;
    pub(in crate::kafka) const QUEUE_FULL: i32 = Code::RD_KAFKA_RESP_ERR__QUEUE_FULL as i32;
    pub(in crate::kafka) const PARTITION_EOF: i32 = Code::RD_KAFKA_RESP_ERR__PARTITION_EOF as i32;
    pub(in crate::kafka) const AUTO_OFFSET_RESET: i32 =
        Code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET as i32;
    pub(in crate::kafka) const AUTHENTICATION: i32 = Code::RD_KAFKA_RESP_ERR__AUTHENTICATION as i32;
    pub(in crate::kafka) const SSL: i32 = Code::RD_KAFKA_RESP_ERR__SSL as i32;
    pub(in crate::kafka) const FENCED: i32 = Code::RD_KAFKA_RESP_ERR__FENCED as i32;
    pub(in crate::kafka) const UNKNOWN_TOPIC_LOCAL: i32 =
        Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC as i32;
    pub(in crate::kafka) const UNKNOWN_PARTITION_LOCAL: i32 =
        Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION as i32;
    pub(in crate::kafka) const REVOKE_PARTITIONS: i32 =
        Code::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS as i32;
    pub(in crate::kafka) const ASSIGN_PARTITIONS: i32 =
        Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS as i32;
    pub(in crate::kafka) const BAD_MESSAGE: i32 = Code::RD_KAFKA_RESP_ERR__BAD_MSG as i32;
    pub(in crate::kafka) const BAD_COMPRESSION: i32 =
        Code::RD_KAFKA_RESP_ERR__BAD_COMPRESSION as i32;
    pub(in crate::kafka) const OFFSET_OUT_OF_RANGE: i32 =
        Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE as i32;
    pub(in crate::kafka) const UNKNOWN_TOPIC: i32 =
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART as i32;
    pub(in crate::kafka) const UNKNOWN_TOPIC_ID: i32 =
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID as i32;
    pub(in crate::kafka) const MESSAGE_TOO_LARGE: i32 =
        Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE as i32;
    pub(in crate::kafka) const TOPIC_EXISTS: i32 =
        Code::RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS as i32;
    pub(in crate::kafka) const INVALID_CONFIG: i32 = Code::RD_KAFKA_RESP_ERR_INVALID_CONFIG as i32;
    pub(in crate::kafka) const INVALID_RECORD: i32 = Code::RD_KAFKA_RESP_ERR_INVALID_RECORD as i32;
    pub(in crate::kafka) const INVALID_TIMESTAMP: i32 =
        Code::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP as i32;
    pub(in crate::kafka) const TOPIC_AUTHORIZATION: i32 =
        Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED as i32;
    pub(in crate::kafka) const GROUP_AUTHORIZATION: i32 =
        Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED as i32;
    pub(in crate::kafka) const CLUSTER_AUTHORIZATION: i32 =
        Code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED as i32;
    pub(in crate::kafka) const TRANSACTIONAL_ID_AUTHORIZATION: i32 =
        Code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED as i32;
    pub(in crate::kafka) const SASL_AUTHENTICATION: i32 =
        Code::RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED as i32;
    pub(in crate::kafka) const POLICY_VIOLATION: i32 =
        Code::RD_KAFKA_RESP_ERR_POLICY_VIOLATION as i32;
    pub(in crate::kafka) const INVALID_REPLICATION_FACTOR: i32 =
        Code::RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR as i32;
    pub(in crate::kafka) const INVALID_TOPIC: i32 = Code::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION as i32;
    pub(in crate::kafka) const ILLEGAL_GENERATION: i32 =
        Code::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION as i32;
    pub(in crate::kafka) const UNKNOWN_MEMBER: i32 =
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID as i32;
    pub(in crate::kafka) const FENCED_INSTANCE: i32 =
        Code::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID as i32;
    pub(in crate::kafka) const INVALID_PRODUCER_EPOCH: i32 =
        Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH as i32;
    pub(in crate::kafka) const PRODUCER_FENCED: i32 =
        Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED as i32;
    pub(in crate::kafka) const UNSTABLE_OFFSETS: i32 =
        Code::RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT as i32;
    pub(in crate::kafka) const NON_EMPTY_GROUP: i32 =
        Code::RD_KAFKA_RESP_ERR_NON_EMPTY_GROUP as i32;
    pub(in crate::kafka) const GROUP_NOT_FOUND: i32 =
        Code::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND as i32;
    pub(in crate::kafka) const FENCED_MEMBER_EPOCH: i32 =
        Code::RD_KAFKA_RESP_ERR_FENCED_MEMBER_EPOCH as i32;
    pub(in crate::kafka) const STALE_MEMBER_EPOCH: i32 =
        Code::RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH as i32;
    pub(in crate::kafka) const NO_OFFSET: i64 = -1001;
    /// Of ours: the answer about a partition has no offset.
    pub(in crate::kafka) const NO_OFFSET_SAID: i32 = i32::MIN;
}
