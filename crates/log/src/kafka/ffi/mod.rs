//! All the unsafe code of the Kafka backend: librdkafka's calls behind types that
//! own what they hold.
//!
//! The one key decision: **no code of librdkafka calls into Rust with work to do.**
//! What happens inside (a lost request, a line of its log, a full queue) sets a
//! counter or rings a [`Wake`]; our own threads ask for the rest, each with a time
//! limit. A [`Client`] goes last, because everything made from it holds it.
//!
//! Error codes are read as integers and never as the bindings' enum: a newer broker
//! sends codes that the enum lacks, and such a value would be undefined behaviour.

mod admin;
mod group;
mod messages;
mod transaction;

pub(super) use admin::{
    GroupOffset, Isolation, NewTopic, OffsetSpec, OffsetsAsked, TopicDescription,
};
pub(super) use group::{GroupEvent, GroupEvents, GroupMetadata};
pub(super) use messages::{Consumed, Deliveries, Message, PartitionQueue, Topic};

use super::wake::{Bell, Wake};
use headwater_core::TopicPartition;
use rdkafka_sys::bindings as sys;
use std::collections::VecDeque;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The calls whose bindings return the enum of error codes; see the module.
mod codes {
    use super::sys;
    use std::ffi::{c_char, c_int, c_void};

    unsafe extern "C" {
        pub(super) fn rd_kafka_error_code(error: *const sys::rd_kafka_error_t) -> c_int;
        pub(super) fn rd_kafka_err2str(code: c_int) -> *const c_char;
        pub(super) fn rd_kafka_event_error(event: *mut sys::rd_kafka_event_t) -> c_int;
        pub(super) fn rd_kafka_topic_result_error(
            result: *const sys::rd_kafka_topic_result_t,
        ) -> c_int;
        pub(super) fn rd_kafka_last_error() -> c_int;
        pub(super) fn rd_kafka_flush(rk: *mut sys::rd_kafka_t, timeout_ms: c_int) -> c_int;
        pub(super) fn rd_kafka_fatal_error(
            rk: *mut sys::rd_kafka_t,
            errstr: *mut c_char,
            errstr_size: usize,
        ) -> c_int;
        pub(super) fn rd_kafka_subscribe(
            rk: *mut sys::rd_kafka_t,
            topics: *const sys::rd_kafka_topic_partition_list_t,
        ) -> c_int;
        pub(super) fn rd_kafka_pause_partitions(
            rk: *mut sys::rd_kafka_t,
            partitions: *mut sys::rd_kafka_topic_partition_list_t,
        ) -> c_int;
        pub(super) fn rd_kafka_assign(
            rk: *mut sys::rd_kafka_t,
            partitions: *const sys::rd_kafka_topic_partition_list_t,
        ) -> c_int;
        pub(super) fn rd_kafka_commit_queue(
            rk: *mut sys::rd_kafka_t,
            offsets: *const sys::rd_kafka_topic_partition_list_t,
            queue: *mut sys::rd_kafka_queue_t,
            callback: Option<
                unsafe extern "C" fn(
                    *mut sys::rd_kafka_t,
                    c_int,
                    *mut sys::rd_kafka_topic_partition_list_t,
                    *mut c_void,
                ),
            >,
            opaque: *mut c_void,
        ) -> c_int;
        pub(super) fn rd_kafka_seek(
            topic: *mut sys::rd_kafka_topic_t,
            partition: i32,
            offset: i64,
            timeout_ms: c_int,
        ) -> c_int;
        pub(super) fn rd_kafka_position(
            rk: *mut sys::rd_kafka_t,
            partitions: *mut sys::rd_kafka_topic_partition_list_t,
        ) -> c_int;
        pub(super) fn rd_kafka_metadata(
            rk: *mut sys::rd_kafka_t,
            all_topics: c_int,
            only: *mut sys::rd_kafka_topic_t,
            metadata: *mut *const sys::rd_kafka_metadata,
            timeout_ms: c_int,
        ) -> c_int;
        pub(super) fn rd_kafka_oauthbearer_set_token(
            rk: *mut sys::rd_kafka_t,
            token: *const c_char,
            lifetime_ms: i64,
            principal: *const c_char,
            extensions: *mut *const c_char,
            extension_size: usize,
            errstr: *mut c_char,
            errstr_size: usize,
        ) -> c_int;
        pub(super) fn rd_kafka_oauthbearer_set_token_failure(
            rk: *mut sys::rd_kafka_t,
            reason: *const c_char,
        ) -> c_int;
        pub(super) fn rd_kafka_conf_set_error_cb(
            conf: *mut sys::rd_kafka_conf_t,
            error_cb: Option<
                unsafe extern "C" fn(*mut sys::rd_kafka_t, c_int, *const c_char, *mut c_void),
            >,
        );
    }
}

/// What librdkafka or a broker refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Its number: negative from librdkafka, positive from a broker.
    pub(super) code: i32,
    /// What it says.
    pub(super) text: String,
    /// The client can do nothing any more.
    pub(super) is_fatal: bool,
    /// The open transaction has to be aborted.
    pub(super) requires_abort: bool,
}

impl Fault {
    /// A fault of this number, in librdkafka's words.
    pub(super) fn of(code: c_int) -> Fault {
        // SAFETY: any number is allowed, and the text is a constant.
        let text = unsafe { text_of(codes::rd_kafka_err2str(code)) };
        Fault {
            code,
            text,
            is_fatal: false,
            requires_abort: false,
        }
    }

    fn invalid(text: impl Into<String>) -> Fault {
        Fault {
            text: text.into(),
            ..Fault::of(code::INVALID_ARGUMENT)
        }
    }

    fn check(code: c_int) -> Result<(), Fault> {
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
    unsafe fn take(error: *mut sys::rd_kafka_error_t) -> Result<(), Fault> {
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
    unsafe fn read(error: *const sys::rd_kafka_error_t) -> Fault {
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
pub(super) mod code {
    use super::sys::rd_kafka_resp_err_t as Code;

    pub(in super::super) const TIMED_OUT: i32 = Code::RD_KAFKA_RESP_ERR__TIMED_OUT as i32;
    pub(in super::super) const INVALID_ARGUMENT: i32 = Code::RD_KAFKA_RESP_ERR__INVALID_ARG as i32;
    pub(in super::super) const ERRONEOUS_STATE: i32 = Code::RD_KAFKA_RESP_ERR__STATE as i32;
    /// No partition asked about has a leader: the topic may be gone.
    pub(in super::super) const NO_ENTRY: i32 = Code::RD_KAFKA_RESP_ERR__NOENT as i32;
    pub(in super::super) const QUEUE_FULL: i32 = Code::RD_KAFKA_RESP_ERR__QUEUE_FULL as i32;
    pub(in super::super) const PARTITION_EOF: i32 = Code::RD_KAFKA_RESP_ERR__PARTITION_EOF as i32;
    pub(in super::super) const AUTO_OFFSET_RESET: i32 =
        Code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET as i32;
    pub(in super::super) const AUTHENTICATION: i32 = Code::RD_KAFKA_RESP_ERR__AUTHENTICATION as i32;
    pub(in super::super) const FENCED: i32 = Code::RD_KAFKA_RESP_ERR__FENCED as i32;
    pub(in super::super) const UNKNOWN_TOPIC_LOCAL: i32 =
        Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC as i32;
    pub(in super::super) const UNKNOWN_PARTITION_LOCAL: i32 =
        Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION as i32;
    pub(in super::super) const REVOKE_PARTITIONS: i32 =
        Code::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS as i32;
    pub(in super::super) const ASSIGN_PARTITIONS: i32 =
        Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS as i32;
    pub(in super::super) const BAD_MESSAGE: i32 = Code::RD_KAFKA_RESP_ERR__BAD_MSG as i32;
    pub(in super::super) const BAD_COMPRESSION: i32 =
        Code::RD_KAFKA_RESP_ERR__BAD_COMPRESSION as i32;
    pub(in super::super) const OFFSET_OUT_OF_RANGE: i32 =
        Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE as i32;
    pub(in super::super) const UNKNOWN_TOPIC: i32 =
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART as i32;
    pub(in super::super) const UNKNOWN_TOPIC_ID: i32 =
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID as i32;
    pub(in super::super) const MESSAGE_TOO_LARGE: i32 =
        Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE as i32;
    pub(in super::super) const TOPIC_EXISTS: i32 =
        Code::RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS as i32;
    pub(in super::super) const INVALID_CONFIG: i32 = Code::RD_KAFKA_RESP_ERR_INVALID_CONFIG as i32;
    pub(in super::super) const INVALID_TIMESTAMP: i32 =
        Code::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP as i32;
    pub(in super::super) const TOPIC_AUTHORIZATION: i32 =
        Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED as i32;
    pub(in super::super) const GROUP_AUTHORIZATION: i32 =
        Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED as i32;
    pub(in super::super) const CLUSTER_AUTHORIZATION: i32 =
        Code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED as i32;
    pub(in super::super) const TRANSACTIONAL_ID_AUTHORIZATION: i32 =
        Code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED as i32;
    pub(in super::super) const SASL_AUTHENTICATION: i32 =
        Code::RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED as i32;
    pub(in super::super) const POLICY_VIOLATION: i32 =
        Code::RD_KAFKA_RESP_ERR_POLICY_VIOLATION as i32;
    pub(in super::super) const INVALID_REPLICATION_FACTOR: i32 =
        Code::RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR as i32;
    pub(in super::super) const INVALID_TOPIC: i32 = Code::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION as i32;
    pub(in super::super) const ILLEGAL_GENERATION: i32 =
        Code::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION as i32;
    pub(in super::super) const UNKNOWN_MEMBER: i32 =
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID as i32;
    pub(in super::super) const FENCED_INSTANCE: i32 =
        Code::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID as i32;
    pub(in super::super) const INVALID_PRODUCER_EPOCH: i32 =
        Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH as i32;
    pub(in super::super) const PRODUCER_FENCED: i32 =
        Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED as i32;
    pub(in super::super) const UNSTABLE_OFFSETS: i32 =
        Code::RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT as i32;
    pub(in super::super) const NON_EMPTY_GROUP: i32 =
        Code::RD_KAFKA_RESP_ERR_NON_EMPTY_GROUP as i32;
    pub(in super::super) const GROUP_NOT_FOUND: i32 =
        Code::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND as i32;
    pub(in super::super) const FENCED_MEMBER_EPOCH: i32 =
        Code::RD_KAFKA_RESP_ERR_FENCED_MEMBER_EPOCH as i32;
    pub(in super::super) const STALE_MEMBER_EPOCH: i32 =
        Code::RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH as i32;
    pub(in super::super) const NO_OFFSET: i64 = -1001;
}

/// Copies a text of librdkafka; null is empty.
///
/// # Safety
/// `text` is null or ends with a zero byte and lives for this call.
unsafe fn text_of(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: it ends with a zero byte, says the caller.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

fn c_string(text: &str) -> Result<CString, Fault> {
    CString::new(text).map_err(|_| Fault::invalid(format!("a zero byte in text=`{text:?}`")))
}

/// A time limit as librdkafka takes it.
fn millis(limit: Duration) -> c_int {
    limit.as_millis().min(3_600_000) as c_int
}

/// A bearer token for SASL OAUTHBEARER.
#[derive(Clone)]
pub struct Token {
    /// The token itself.
    pub value: String,
    /// When it ends, in milliseconds since 1970.
    pub expires_ms: i64,
    /// Whom it stands for.
    pub principal: String,
}

/// Gets a new bearer token; called on a thread of librdkafka's.
pub type TokenSource = dyn Fn() -> Result<Token, String> + Send + Sync;

/// What has happened inside a client.
#[derive(Default)]
pub(super) struct Events {
    /// Connections closed and requests given up, which librdkafka hides from the
    /// calls that they belong to.
    losses: AtomicU64,
    /// The newest lines of its log. Locked for a push or a copy.
    lines: Mutex<VecDeque<String>>,
    /// An error that no retry mends: a wrong password.
    refused: Mutex<Option<Fault>>,
    token: Option<Arc<TokenSource>>,
}

impl Events {
    const LINES_MAX: usize = 8;

    fn say(&self, line: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == Self::LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// The newest line of the log, for the text of an error.
    pub(super) fn last_line(&self) -> Option<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.back().cloned()
    }

    /// How many connections and requests have been lost so far.
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire)
    }

    /// An error that no retry mends, if there was one.
    pub(super) fn refused(&self) -> Option<Fault> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.clone()
    }
}

unsafe extern "C" fn on_log(
    rk: *const sys::rd_kafka_t,
    _level: c_int,
    facility: *const c_char,
    text: *const c_char,
) {
    // SAFETY: the opaque pointer of every client is its `Events`, which outlive it;
    // the texts live for this call.
    let (events, facility, text) = unsafe {
        let events = sys::rd_kafka_opaque(rk).cast::<Events>().as_ref();
        (events, text_of(facility), text_of(text))
    };
    let Some(events) = events else { return };
    // A setting of one kind of client says nothing about the others.
    if facility == "CONFWARN" {
        return;
    }
    if facility == "REQTMOUT" {
        events.losses.fetch_add(1, Ordering::AcqRel);
    }
    events.say(text);
}

unsafe extern "C" fn on_error(
    _rk: *mut sys::rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: as in `on_log`.
    let (events, text) = unsafe { (opaque.cast::<Events>().as_ref(), text_of(reason)) };
    let Some(events) = events else { return };
    events.say(text.clone());
    if matches!(
        code,
        self::code::AUTHENTICATION | self::code::SASL_AUTHENTICATION
    ) {
        let mut refused = events
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *refused = Some(Fault {
            text,
            ..Fault::of(code)
        });
    }
}

unsafe extern "C" fn on_close_socket(socket: c_int, opaque: *mut c_void) -> c_int {
    // SAFETY: as in `on_log`.
    if let Some(events) = unsafe { opaque.cast::<Events>().as_ref() } {
        events.losses.fetch_add(1, Ordering::AcqRel);
    }
    // SAFETY: librdkafka hands the socket over and never uses it again.
    drop(unsafe { OwnedFd::from_raw_fd(socket) });
    0
}

unsafe extern "C" fn on_token_due(
    rk: *mut sys::rd_kafka_t,
    _settings: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: as in `on_log`.
    let events = unsafe { opaque.cast::<Events>().as_ref() };
    let Some(source) = events.and_then(|events| events.token.clone()) else {
        return;
    };
    // A panic must not cross into C.
    let token = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| source()))
        .unwrap_or_else(|_| Err("the source of tokens panicked".into()));
    let fault = match token.and_then(|token| set_token(rk, &token)) {
        Ok(()) => return,
        Err(reason) => reason.replace('\0', " "),
    };
    if let Ok(reason) = CString::new(fault) {
        // SAFETY: the client lives during its own callback.
        unsafe { codes::rd_kafka_oauthbearer_set_token_failure(rk, reason.as_ptr()) };
    }
}

fn set_token(rk: *mut sys::rd_kafka_t, token: &Token) -> Result<(), String> {
    let value = c_string(&token.value).map_err(|_| "the token has a zero byte".to_string())?;
    let principal = c_string(&token.principal).map_err(|fault| fault.text)?;
    let mut text = [0; TEXT_MAX];
    // SAFETY: the client lives during its own callback, and so do the texts.
    let code = unsafe {
        codes::rd_kafka_oauthbearer_set_token(
            rk,
            value.as_ptr(),
            token.expires_ms,
            principal.as_ptr(),
            std::ptr::null_mut(),
            0,
            text.as_mut_ptr(),
            TEXT_MAX,
        )
    };
    if code == 0 {
        return Ok(());
    }
    // SAFETY: librdkafka ends the text within the buffer.
    Err(unsafe { text_of(text.as_ptr()) })
}

const TEXT_MAX: usize = 512;

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Writes, and asks the cluster questions.
    Producer,
    /// Reads, with a group or without.
    Consumer,
}

/// A client of the cluster with its own threads and connections.
pub(super) struct Client {
    rk: NonNull<sys::rd_kafka_t>,
    events: Arc<Events>,
}

// SAFETY: librdkafka's client may be used by any thread at any time.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    /// Starts one. It connects when it is first asked for something.
    pub(super) fn new(
        kind: Kind,
        settings: &[(String, String)],
        token: Option<Arc<TokenSource>>,
    ) -> Result<Arc<Client>, Fault> {
        let events = Arc::new(Events {
            token,
            ..Events::default()
        });
        // SAFETY: nothing is asked of the caller.
        let conf = unsafe { sys::rd_kafka_conf_new() };
        let mut text = [0; TEXT_MAX];
        for (name, value) in settings {
            let (name_c, value_c) = match (c_string(name), c_string(value)) {
                (Ok(name), Ok(value)) => (name, value),
                _ => {
                    // SAFETY: it was made above and is used no more.
                    unsafe { sys::rd_kafka_conf_destroy(conf) };
                    return Err(Fault::invalid(format!("a zero byte in setting=`{name}`")));
                }
            };
            // SAFETY: `conf` was made above; the texts live for the call.
            let result = unsafe {
                sys::rd_kafka_conf_set(
                    conf,
                    name_c.as_ptr(),
                    value_c.as_ptr(),
                    text.as_mut_ptr(),
                    TEXT_MAX,
                )
            };
            if result != sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                // SAFETY: as above; librdkafka ends the text within the buffer.
                let text = unsafe {
                    sys::rd_kafka_conf_destroy(conf);
                    text_of(text.as_ptr())
                };
                // The text may hold the value, which may be a secret.
                let text = if value.is_empty() {
                    text
                } else {
                    text.replace(value.as_str(), "…")
                };
                return Err(Fault::invalid(format!("{text} setting=`{name}`")));
            }
        }
        let opaque = Arc::as_ptr(&events).cast_mut().cast::<c_void>();
        // SAFETY: `conf` was made above; the callbacks find `Events` at the opaque
        // pointer, which the client's `Arc` keeps until the client is destroyed.
        let rk = unsafe {
            sys::rd_kafka_conf_set_opaque(conf, opaque);
            sys::rd_kafka_conf_set_log_cb(conf, Some(on_log));
            codes::rd_kafka_conf_set_error_cb(conf, Some(on_error));
            sys::rd_kafka_conf_set_closesocket_cb(conf, Some(on_close_socket));
            if events.token.is_some() {
                sys::rd_kafka_conf_set_oauthbearer_token_refresh_cb(conf, Some(on_token_due));
                sys::rd_kafka_conf_enable_sasl_queue(conf, 1);
            }
            sys::rd_kafka_conf_set_events(
                conf,
                sys::RD_KAFKA_EVENT_DR | sys::RD_KAFKA_EVENT_REBALANCE,
            );
            let kind = match kind {
                Kind::Producer => sys::rd_kafka_type_t::RD_KAFKA_PRODUCER,
                Kind::Consumer => sys::rd_kafka_type_t::RD_KAFKA_CONSUMER,
            };
            sys::rd_kafka_new(kind, conf, text.as_mut_ptr(), TEXT_MAX)
        };
        let Some(rk) = NonNull::new(rk) else {
            // SAFETY: a failed start leaves `conf` to us; the text ends.
            let text = unsafe {
                sys::rd_kafka_conf_destroy(conf);
                text_of(text.as_ptr())
            };
            return Err(Fault::invalid(text));
        };
        let client = Arc::new(Client { rk, events });
        if client.events.token.is_some() {
            // SAFETY: the client was just made.
            unsafe { Fault::take(sys::rd_kafka_sasl_background_callbacks_enable(client.raw())) }?;
        }
        Ok(client)
    }

    fn raw(&self) -> *mut sys::rd_kafka_t {
        self.rk.as_ptr()
    }

    /// What has happened inside.
    pub(super) fn events(&self) -> &Events {
        &self.events
    }

    /// Why it can do nothing any more, if that is so.
    pub(super) fn ended(&self) -> Option<Fault> {
        let mut text = [0; TEXT_MAX];
        // SAFETY: client and buffer live, and librdkafka ends the text within it.
        unsafe {
            match codes::rd_kafka_fatal_error(self.raw(), text.as_mut_ptr(), TEXT_MAX) {
                0 => None,
                code => Some(Fault {
                    text: text_of(text.as_ptr()),
                    is_fatal: true,
                    ..Fault::of(code)
                }),
            }
        }
    }

    /// Sends what waits for more company to be sent with, and waits a moment.
    pub(super) fn push_out(&self) {
        // SAFETY: the client lives. Its reports are events, so nothing is served here.
        unsafe { codes::rd_kafka_flush(self.raw(), 1) };
    }

    /// Lets errors be told to [`Events`]; for a client whose queue nobody serves.
    pub(super) fn serve_errors(&self) {
        // SAFETY: the client lives. Nothing waits.
        unsafe { sys::rd_kafka_poll(self.raw(), 0) };
    }
}

impl Drop for Client {
    /// Ends its threads. They end within milliseconds; one that hangs is left alone
    /// rather than waited for.
    fn drop(&mut self) {
        struct Doomed(
            NonNull<sys::rd_kafka_t>,
            #[expect(dead_code, reason = "kept for callbacks")] Arc<Events>,
        );
        // SAFETY: as for `Client`.
        unsafe impl Send for Doomed {}
        impl Doomed {
            fn destroy(self) {
                // SAFETY: this was the last user: everything made of the client holds it.
                unsafe {
                    sys::rd_kafka_destroy_flags(
                        self.0.as_ptr(),
                        sys::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE,
                    );
                }
            }
        }
        const DESTROY_WAIT_MAX: Duration = Duration::from_secs(3);
        let doomed = Doomed(self.rk, self.events.clone());
        let (done, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("kafka-end".into());
        let spawned = thread.spawn(move || {
            doomed.destroy();
            drop(done);
        });
        if spawned.is_ok() {
            // It ends by the sender's drop, or the time is up.
            let _ = ended.recv_timeout(DESTROY_WAIT_MAX);
        }
    }
}

/// A queue of librdkafka that rings when something arrives.
struct Queue {
    queue: NonNull<sys::rd_kafka_queue_t>,
    /// What it rings, as the pointer that the callback gets.
    bell: *const Bell,
    /// It goes after the queue.
    client: Arc<Client>,
}

// SAFETY: librdkafka's queue may be used by any thread.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

unsafe extern "C" fn on_arrival(_rk: *mut sys::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: a queue keeps its `Bell` until it has taken this callback back.
    if let Some(bell) = unsafe { opaque.cast::<Bell>().as_ref() } {
        bell.ring();
    }
}

impl Queue {
    /// A new queue.
    fn new(client: &Arc<Client>, wake: &Arc<Wake>) -> Queue {
        // SAFETY: the client lives.
        let queue = unsafe { sys::rd_kafka_queue_new(client.raw()) };
        Queue::own(client, queue, wake)
    }

    /// The queue of the client's own events: delivery reports.
    fn main(client: &Arc<Client>, wake: &Arc<Wake>) -> Queue {
        // SAFETY: the client lives.
        let queue = unsafe { sys::rd_kafka_queue_get_main(client.raw()) };
        Queue::own(client, queue, wake)
    }

    fn own(client: &Arc<Client>, queue: *mut sys::rd_kafka_queue_t, wake: &Arc<Wake>) -> Queue {
        let queue = NonNull::new(queue).expect("librdkafka ends the process without memory");
        let bell = Box::into_raw(Box::new(Bell::new(wake))).cast_const();
        // SAFETY: both live until `drop`, which takes the callback back first.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(
                queue.as_ptr(),
                Some(on_arrival),
                bell.cast_mut().cast(),
            );
        }
        Queue {
            queue,
            bell,
            client: client.clone(),
        }
    }

    fn raw(&self) -> *mut sys::rd_kafka_queue_t {
        self.queue.as_ptr()
    }

    /// What it rings.
    fn bell(&self) -> &Bell {
        // SAFETY: it is ours until `drop`.
        unsafe { &*self.bell }
    }

    /// The next event, waiting so long for it.
    fn poll(&self, wait: Duration) -> Option<Event> {
        // SAFETY: the queue lives.
        let event = unsafe { sys::rd_kafka_queue_poll(self.raw(), millis(wait)) };
        NonNull::new(event).map(Event)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the queue lives. Callbacks run under its lock, so none is under
        // way once this one is gone, and the bell of `into_raw` may go.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.raw(), None, std::ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.raw());
            drop(Box::from_raw(self.bell.cast_mut()));
        }
    }
}

/// An event of a queue.
struct Event(NonNull<sys::rd_kafka_event_t>);

impl Event {
    fn raw(&self) -> *mut sys::rd_kafka_event_t {
        self.0.as_ptr()
    }

    fn kind(&self) -> i32 {
        // SAFETY: the event lives.
        unsafe { sys::rd_kafka_event_type(self.raw()) }
    }

    fn check(&self) -> Result<(), Fault> {
        // SAFETY: the event lives, and its text as long.
        unsafe {
            match codes::rd_kafka_event_error(self.raw()) {
                0 => Ok(()),
                code => Err(Fault {
                    text: text_of(sys::rd_kafka_event_error_string(self.raw())),
                    ..Fault::of(code)
                }),
            }
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: we own it.
        unsafe { sys::rd_kafka_event_destroy(self.raw()) };
    }
}

/// A list of partitions with offsets and metadata.
struct Partitions(NonNull<sys::rd_kafka_topic_partition_list_t>);

impl Partitions {
    fn new(size: usize) -> Partitions {
        // SAFETY: nothing is asked of the caller.
        let list = unsafe { sys::rd_kafka_topic_partition_list_new(size as c_int) };
        Partitions(NonNull::new(list).expect("librdkafka ends the process without memory"))
    }

    fn raw(&self) -> *mut sys::rd_kafka_topic_partition_list_t {
        self.0.as_ptr()
    }

    fn push(&mut self, topic: &str, partition: u32, offset: i64) -> Result<(), Fault> {
        let topic = c_string(topic)?;
        // SAFETY: the list lives and copies the name; the entry lives until the next push.
        unsafe {
            let entry = sys::rd_kafka_topic_partition_list_add(
                self.raw(),
                topic.as_ptr(),
                partition as i32,
            );
            (*entry).offset = offset;
        }
        Ok(())
    }

    fn push_with_metadata(
        &mut self,
        partition: &TopicPartition,
        offset: i64,
        metadata: &str,
    ) -> Result<(), Fault> {
        let topic = c_string(&partition.topic)?;
        let text = c_string(metadata)?;
        // SAFETY: the list lives and copies the name; the entry lives until the next
        // push. The list frees the metadata with its own allocator, which made it.
        unsafe {
            let entry = sys::rd_kafka_topic_partition_list_add(
                self.raw(),
                topic.as_ptr(),
                partition.partition as i32,
            );
            (*entry).offset = offset;
            if !metadata.is_empty() {
                let copy = sys::rd_kafka_mem_malloc(std::ptr::null_mut(), metadata.len());
                std::ptr::copy_nonoverlapping(
                    text.as_ptr().cast::<u8>(),
                    copy.cast(),
                    metadata.len(),
                );
                (*entry).metadata = copy;
                (*entry).metadata_size = metadata.len();
            }
        }
        Ok(())
    }

    fn entries(&self) -> Vec<Entry> {
        // SAFETY: the list lives.
        unsafe { entries_of(self.raw()) }
    }
}

impl Drop for Partitions {
    fn drop(&mut self) {
        // SAFETY: we own it.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.raw()) };
    }
}

/// One entry of a list of partitions, copied.
struct Entry {
    topic: String,
    partition: u32,
    offset: i64,
    metadata: Vec<u8>,
    code: c_int,
}

/// Copies a list of partitions; null is empty.
///
/// # Safety
/// `list` is null or a list that lives for this call.
unsafe fn entries_of(list: *const sys::rd_kafka_topic_partition_list_t) -> Vec<Entry> {
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: it lives, says the caller, and has `cnt` elements.
    unsafe {
        let count = usize::try_from((*list).cnt).unwrap_or(0);
        (0..count)
            .map(|index| entry_of((*list).elems.add(index)))
            .collect()
    }
}

/// Copies an entry.
///
/// # Safety
/// `entry` lives for this call.
unsafe fn entry_of(entry: *const sys::rd_kafka_topic_partition_t) -> Entry {
    // SAFETY: it lives, says the caller; the code is read as an integer, see the
    // module; metadata of some length is not null.
    unsafe {
        let metadata = (*entry).metadata.cast::<u8>().cast_const();
        let metadata = if metadata.is_null() {
            Vec::new()
        } else {
            std::slice::from_raw_parts(metadata, (*entry).metadata_size).to_vec()
        };
        Entry {
            topic: text_of((*entry).topic),
            partition: (*entry).partition as u32,
            offset: (*entry).offset,
            metadata,
            code: (&raw const (*entry).err).cast::<c_int>().read(),
        }
    }
}
