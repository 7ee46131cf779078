//! A client: its settings, its threads, and what happens inside it.

use super::fault::code;
use super::{Fault, c_string, codes, sys, text_of};
use std::collections::VecDeque;
use std::ffi::{CString, c_char, c_int, c_void};
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
pub(in super::super) struct Events {
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
    pub(in super::super) fn last_line(&self) -> Option<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.back().cloned()
    }

    /// How many connections and requests have been lost so far.
    pub(in super::super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire)
    }

    /// An error that no retry mends, if there was one.
    pub(in super::super) fn refused(&self) -> Option<Fault> {
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
    // That all brokers are down says less than why.
    if code != code::ALL_BROKERS_DOWN || events.last_line().is_none() {
        events.say(text.clone());
    }
    // A certificate that does not hold is as final as a wrong password.
    let is_certificate = code == code::SSL && text.contains("certificate");
    let code = if is_certificate {
        code::AUTHENTICATION
    } else {
        code
    };
    if matches!(code, code::AUTHENTICATION | code::SASL_AUTHENTICATION) {
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
pub(in super::super) enum Kind {
    /// Writes, and asks the cluster questions.
    Producer,
    /// Reads, with a group or without.
    Consumer,
}

/// Settings that no client has taken yet.
struct Conf(*mut sys::rd_kafka_conf_t);

impl Conf {
    fn new(settings: &[(String, String)]) -> Result<Conf, Fault> {
        // SAFETY: nothing is asked of the caller.
        let conf = Conf(unsafe { sys::rd_kafka_conf_new() });
        let mut text = [0; TEXT_MAX];
        for (name, value) in settings {
            let (name_c, value_c) = match (c_string(name), c_string(value)) {
                (Ok(name), Ok(value)) => (name, value),
                _ => return Err(Fault::invalid(format!("a zero byte in setting=`{name}`"))),
            };
            // SAFETY: `conf` lives, and the texts live for the call.
            let result = unsafe {
                sys::rd_kafka_conf_set(
                    conf.0,
                    name_c.as_ptr(),
                    value_c.as_ptr(),
                    text.as_mut_ptr(),
                    TEXT_MAX,
                )
            };
            if result != sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                // SAFETY: librdkafka ends the text within the buffer.
                let text = unsafe { text_of(text.as_ptr()) };
                // It may hold the value, which may be a secret.
                let text = match value.as_str() {
                    "" => text,
                    value => text.replace(value, "…"),
                };
                return Err(Fault::invalid(format!("{text} setting=`{name}`")));
            }
        }
        Ok(conf)
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        // SAFETY: no client has taken it.
        unsafe { sys::rd_kafka_conf_destroy(self.0) };
    }
}

/// A client of the cluster with its own threads and connections.
pub(in super::super) struct Client {
    rk: NonNull<sys::rd_kafka_t>,
    events: Arc<Events>,
}

// SAFETY: librdkafka's client may be used by any thread at any time.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    /// Starts one. It connects when it is first asked for something.
    pub(in super::super) fn new(
        kind: Kind,
        settings: &[(String, String)],
        token: Option<Arc<TokenSource>>,
    ) -> Result<Arc<Client>, Fault> {
        let events = Arc::new(Events {
            token,
            ..Events::default()
        });
        let conf = Conf::new(settings)?;
        let mut text = [0; TEXT_MAX];
        let opaque = Arc::as_ptr(&events).cast_mut().cast::<c_void>();
        // SAFETY: `conf` was made above; the callbacks find `Events` at the opaque
        // pointer, which the client's `Arc` keeps until the client is destroyed.
        let rk = unsafe {
            sys::rd_kafka_conf_set_opaque(conf.0, opaque);
            sys::rd_kafka_conf_set_log_cb(conf.0, Some(on_log));
            codes::rd_kafka_conf_set_error_cb(conf.0, Some(on_error));
            sys::rd_kafka_conf_set_closesocket_cb(conf.0, Some(on_close_socket));
            if events.token.is_some() {
                sys::rd_kafka_conf_set_oauthbearer_token_refresh_cb(conf.0, Some(on_token_due));
                sys::rd_kafka_conf_enable_sasl_queue(conf.0, 1);
            }
            sys::rd_kafka_conf_set_events(
                conf.0,
                sys::RD_KAFKA_EVENT_DR | sys::RD_KAFKA_EVENT_REBALANCE,
            );
            let kind = match kind {
                Kind::Producer => sys::rd_kafka_type_t::RD_KAFKA_PRODUCER,
                Kind::Consumer => sys::rd_kafka_type_t::RD_KAFKA_CONSUMER,
            };
            sys::rd_kafka_new(kind, conf.0, text.as_mut_ptr(), TEXT_MAX)
        };
        let Some(rk) = NonNull::new(rk) else {
            // SAFETY: librdkafka ends the text within the buffer.
            return Err(Fault::invalid(unsafe { text_of(text.as_ptr()) }));
        };
        // The client has taken it.
        std::mem::forget(conf);
        let client = Arc::new(Client { rk, events });
        if client.events.token.is_some() {
            // SAFETY: the client was just made.
            unsafe { Fault::take(sys::rd_kafka_sasl_background_callbacks_enable(client.raw())) }?;
        }
        Ok(client)
    }

    pub(super) fn raw(&self) -> *mut sys::rd_kafka_t {
        self.rk.as_ptr()
    }

    /// What has happened inside.
    pub(in super::super) fn events(&self) -> &Events {
        &self.events
    }

    /// Why it can do nothing any more, if that is so.
    pub(in super::super) fn ended(&self) -> Option<Fault> {
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
    pub(in super::super) fn push_out(&self) {
        // SAFETY: the client lives. Its reports are events, so nothing is served here.
        unsafe { codes::rd_kafka_flush(self.raw(), 1) };
    }

    /// Lets errors be told to [`Events`]; for a client whose queue nobody serves.
    pub(in super::super) fn serve_errors(&self) {
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
