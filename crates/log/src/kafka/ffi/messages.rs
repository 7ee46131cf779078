//! Messages: consuming a partition in batches, producing one by one.

use super::{Client, Fault, Partitions, Queue, c_string, code, codes, millis, sys, text_of};
use crate::kafka::wake::Wake;
use headwater_core::{Header, Headers};
use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// A topic of a client.
pub(in super::super) struct Topic {
    topic: NonNull<sys::rd_kafka_topic_t>,
    /// It goes after the topic.
    client: Arc<Client>,
}

// SAFETY: librdkafka's topic may be used by any thread.
unsafe impl Send for Topic {}
// SAFETY: as above.
unsafe impl Sync for Topic {}

impl Topic {
    pub(in super::super) fn new(client: &Arc<Client>, name: &str) -> Result<Topic, Fault> {
        let name = c_string(name)?;
        // SAFETY: the client and the name live; no settings are those of the client.
        let topic =
            unsafe { sys::rd_kafka_topic_new(client.raw(), name.as_ptr(), std::ptr::null_mut()) };
        match NonNull::new(topic) {
            Some(topic) => Ok(Topic {
                topic,
                client: client.clone(),
            }),
            // SAFETY: it reads a number of this thread.
            None => Err(Fault::of(unsafe { codes::rd_kafka_last_error() })),
        }
    }

    fn raw(&self) -> *mut sys::rd_kafka_topic_t {
        self.topic.as_ptr()
    }

    /// Queues a message for a partition. `tag` comes back with its delivery.
    pub(in super::super) fn produce(
        &self,
        partition: u32,
        message: &Message<'_>,
        tag: usize,
    ) -> Result<(), Fault> {
        use sys::rd_kafka_vtype_t as Kind;
        fn argument(
            vtype: Kind,
            set: impl FnOnce(&mut sys::rd_kafka_vu_s__bindgen_ty_1),
        ) -> sys::rd_kafka_vu_t {
            let mut value = sys::rd_kafka_vu_s__bindgen_ty_1 { _pad: [0; 64] };
            set(&mut value);
            sys::rd_kafka_vu_t { vtype, u: value }
        }
        let bytes = |bytes: Option<&[u8]>| sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
            ptr: bytes.map_or(std::ptr::null_mut(), |bytes| {
                bytes.as_ptr().cast_mut().cast::<c_void>()
            }),
            size: bytes.map_or(0, <[u8]>::len),
        };
        let headers = if message.headers.is_empty() {
            None
        } else {
            Some(ProduceHeaders::new(message.headers)?)
        };
        let no_headers = std::ptr::null_mut();
        let arguments = [
            argument(Kind::RD_KAFKA_VTYPE_RKT, |value| value.rkt = self.raw()),
            argument(Kind::RD_KAFKA_VTYPE_PARTITION, |value| {
                value.i32_ = partition as i32;
            }),
            argument(Kind::RD_KAFKA_VTYPE_MSGFLAGS, |value| {
                value.i = sys::RD_KAFKA_MSG_F_COPY;
            }),
            argument(Kind::RD_KAFKA_VTYPE_VALUE, |value| {
                value.mem = bytes(message.value);
            }),
            argument(Kind::RD_KAFKA_VTYPE_KEY, |value| {
                value.mem = bytes(message.key);
            }),
            argument(Kind::RD_KAFKA_VTYPE_TIMESTAMP, |value| {
                value.i64_ = message.timestamp;
            }),
            argument(Kind::RD_KAFKA_VTYPE_OPAQUE, |value| {
                value.ptr = std::ptr::without_provenance_mut(tag);
            }),
            argument(Kind::RD_KAFKA_VTYPE_HEADERS, |value| {
                value.headers = headers.as_ref().map_or(no_headers, ProduceHeaders::raw);
            }),
        ];
        let count = arguments.len() - usize::from(headers.is_none());
        // SAFETY: the client, the topic, the bytes (which are copied) and the headers
        // live; each argument has the member that its kind says.
        unsafe {
            Fault::take(sys::rd_kafka_produceva(
                self.client.raw(),
                arguments.as_ptr(),
                count,
            ))
        }?;
        // A message that was taken has taken its headers.
        std::mem::forget(headers);
        Ok(())
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: we own this reference.
        unsafe { sys::rd_kafka_topic_destroy(self.raw()) };
    }
}

struct ProduceHeaders(NonNull<sys::rd_kafka_headers_t>);

impl ProduceHeaders {
    fn new(headers: &[Header]) -> Result<ProduceHeaders, Fault> {
        // SAFETY: nothing is asked of the caller.
        let list = unsafe { sys::rd_kafka_headers_new(headers.len()) };
        let list =
            ProduceHeaders(NonNull::new(list).expect("librdkafka ends the process without memory"));
        for header in headers {
            let name = c_string(&header.name)?;
            let (value, size) = match &header.value {
                Some(value) => (value.as_ptr().cast::<c_void>(), value.len() as isize),
                None => (std::ptr::null(), 0),
            };
            // SAFETY: the list lives and copies the name and the value.
            unsafe {
                sys::rd_kafka_header_add(
                    list.raw(),
                    name.as_ptr(),
                    header.name.len() as isize,
                    value,
                    size,
                );
            }
        }
        Ok(list)
    }

    fn raw(&self) -> *mut sys::rd_kafka_headers_t {
        self.0.as_ptr()
    }
}

impl Drop for ProduceHeaders {
    fn drop(&mut self) {
        // SAFETY: no message has taken it.
        unsafe { sys::rd_kafka_headers_destroy(self.raw()) };
    }
}

/// A record as the client has it.
pub(in super::super) struct Message<'a> {
    pub(in super::super) key: Option<&'a [u8]>,
    pub(in super::super) value: Option<&'a [u8]>,
    /// In milliseconds; 0 would become the time of the machine, see `timestamps`.
    pub(in super::super) timestamp: i64,
    pub(in super::super) headers: &'a [Header],
}

/// What became of the messages of one delivery report, as its events arrive.
pub(in super::super) struct Delivered {
    /// The tag that the message was produced with.
    pub(in super::super) tag: usize,
    /// Its offset, or why it was not stored.
    pub(in super::super) offset: Result<i64, Fault>,
}

/// The delivery reports of a producing client.
pub(in super::super) struct Deliveries(Queue);

impl Deliveries {
    pub(in super::super) fn new(client: &Arc<Client>, wake: &Arc<Wake>) -> Deliveries {
        Deliveries(Queue::main(client, wake))
    }

    /// Hands out what has arrived, waiting so long for the first.
    pub(in super::super) fn serve(&self, wait: Duration, mut each: impl FnMut(Delivered)) {
        let mut wait = wait;
        while let Some(event) = self.0.poll(wait) {
            wait = Duration::ZERO;
            if event.kind() != sys::RD_KAFKA_EVENT_DR {
                continue;
            }
            loop {
                // SAFETY: the event lives; it owns its messages, which live as long.
                let message = unsafe { sys::rd_kafka_event_message_next(event.raw()) };
                if message.is_null() {
                    break;
                }
                // SAFETY: as above; the code is read as an integer.
                let (tag, offset, code) = unsafe {
                    (
                        (*message)._private.addr(),
                        (*message).offset,
                        (&raw const (*message).err).cast::<c_int>().read(),
                    )
                };
                let offset = match code {
                    0 => Ok(offset),
                    code => Err(Fault::of(code)),
                };
                each(Delivered { tag, offset });
            }
        }
    }
}

/// The partition that a consuming client reads, in a queue of its own, with the
/// messages that were taken from it and not yet handed out.
pub(in super::super) struct PartitionQueue {
    taken: VecDeque<NonNull<sys::rd_kafka_message_t>>,
    batch: Vec<*mut sys::rd_kafka_message_t>,
    partition: u32,
    name: Arc<str>,
    /// The newest end that was told.
    end_told: Option<u64>,
    queue: Queue,
    /// They go in this order: messages, queue, topic with its client.
    topic: Topic,
}

// SAFETY: messages of librdkafka may be read and destroyed by any thread.
unsafe impl Send for PartitionQueue {}

/// One consumed message.
pub(in super::super) enum Consumed<'a> {
    /// A record.
    Record {
        offset: u64,
        key: Option<&'a [u8]>,
        value: Option<&'a [u8]>,
        /// Its time in milliseconds, -1 for none.
        timestamp: i64,
        /// Whether that is when the broker stored it.
        is_append_time: bool,
        headers: Headers,
    },
    /// The end of the partition, at this offset.
    End(u64),
    /// It cannot be read on from here.
    Failed(Fault),
}

impl PartitionQueue {
    /// Reads a partition from an offset. `client` has no group.
    pub(in super::super) fn start(
        client: &Arc<Client>,
        name: &Arc<str>,
        partition: u32,
        offset: u64,
        wake: &Arc<Wake>,
    ) -> Result<PartitionQueue, Fault> {
        let queue = PartitionQueue {
            taken: VecDeque::new(),
            batch: Vec::new(),
            partition,
            name: name.clone(),
            end_told: None,
            queue: Queue::new(client, wake),
            topic: Topic::new(client, name)?,
        };
        queue.begin(offset)?;
        Ok(queue)
    }

    fn begin(&self, offset: u64) -> Result<(), Fault> {
        // SAFETY: topic and queue live, and the client ends before their memory goes.
        let result = unsafe {
            sys::rd_kafka_consume_start_queue(
                self.topic.raw(),
                self.partition as i32,
                offset as i64,
                self.queue.raw(),
            )
        };
        if result == 0 {
            return Ok(());
        }
        // SAFETY: it reads a number of this thread.
        Err(Fault::of(unsafe { codes::rd_kafka_last_error() }))
    }

    /// Takes up to `count` messages that have arrived; nothing waits. Returns where
    /// the queue stands then, if that is known: control records and aborted ones leave
    /// no message behind, but move it.
    pub(in super::super) fn take(&mut self, count: usize) -> Option<u64> {
        if !self.queue.bell().take() {
            return None;
        }
        self.batch.clear();
        self.batch.reserve(count);
        // SAFETY: the queue lives; `batch` has room for `count` pointers, of which so
        // many are set as the call returns.
        let taken = unsafe {
            let taken = sys::rd_kafka_consume_batch_queue(
                self.queue.raw(),
                0,
                self.batch.as_mut_ptr(),
                count,
            );
            let taken = usize::try_from(taken).unwrap_or(0);
            self.batch.set_len(taken);
            taken
        };
        let mut has_failed = false;
        for message in self.batch.drain(..) {
            // SAFETY: the message lives.
            match unsafe { consumed(message) } {
                Consumed::End(offset) => self.end_told = Some(offset),
                Consumed::Failed(_) => has_failed = true,
                Consumed::Record { .. } => {}
            }
            self.taken
                .push_back(NonNull::new(message).expect("a batch has no null messages"));
        }
        if taken == count {
            self.queue.bell().keep();
            return None;
        }
        // librdkafka counts a message that tells a failure as if it were a record.
        if has_failed { None } else { self.position() }
    }

    /// The offset after the last message, control records included, that was taken.
    fn position(&self) -> Option<u64> {
        let mut list = Partitions::new(1);
        list.push(&self.name, self.partition, code::NO_OFFSET)
            .ok()?;
        // SAFETY: client and list live.
        unsafe { codes::rd_kafka_position(self.topic.client.raw(), list.raw()) };
        let entry = list.entries().into_iter().next()?;
        let position = u64::try_from(entry.offset).ok()?;
        // So it does one that tells the end.
        let is_end = self.end_told.is_some_and(|end| end + 1 == position);
        Some(position - u64::from(is_end))
    }

    /// The end of the partition, open transactions counted, in the newest answer
    /// that brought messages.
    pub(in super::super) fn end_seen(&self) -> Option<u64> {
        let name = c_string(&self.name).ok()?;
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the client, the name and the numbers live.
        unsafe {
            sys::rd_kafka_get_watermark_offsets(
                self.topic.client.raw(),
                name.as_ptr(),
                self.partition as i32,
                &raw mut low,
                &raw mut high,
            );
        }
        u64::try_from(high).ok()
    }

    /// Whether messages are at hand.
    pub(in super::super) fn has_taken(&self) -> bool {
        !self.taken.is_empty()
    }

    /// Whether something has arrived that was not taken yet.
    pub(in super::super) fn has_arrived(&self) -> bool {
        self.queue.bell().has_rung()
    }

    /// The number of messages at hand.
    pub(in super::super) fn taken_count(&self) -> usize {
        self.taken.len()
    }

    /// The first message at hand.
    pub(in super::super) fn front(&self) -> Option<Consumed<'_>> {
        let message = self.taken.front()?.as_ptr().cast_const();
        // SAFETY: the message lives until `pop`, which needs this borrow to end; its
        // bytes live as long. The code is read as an integer.
        Some(unsafe { consumed(message) })
    }

    /// Lets go of the first message at hand.
    pub(in super::super) fn pop(&mut self) {
        if let Some(message) = self.taken.pop_front() {
            // SAFETY: it was taken and is let go here.
            unsafe { sys::rd_kafka_message_destroy(message.as_ptr()) };
        }
    }

    /// Reads on from another offset and drops what is at hand.
    pub(in super::super) fn seek(&mut self, offset: u64, limit: Duration) -> Result<(), Fault> {
        // SAFETY: the topic lives.
        let code = unsafe {
            codes::rd_kafka_seek(
                self.topic.raw(),
                self.partition as i32,
                offset as i64,
                millis(limit),
            )
        };
        while self.has_taken() {
            self.pop();
        }
        if code != code::ERRONEOUS_STATE {
            return Fault::check(code);
        }
        // It had stopped at a failure. Nobody fetches it, so the stop is immediate.
        // SAFETY: the topic lives.
        unsafe { sys::rd_kafka_consume_stop(self.topic.raw(), self.partition as i32) };
        self.begin(offset)
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        while self.has_taken() {
            self.pop();
        }
    }
}

/// Reads a message.
///
/// # Safety
/// `message` lives as long as the result.
unsafe fn consumed<'a>(message: *const sys::rd_kafka_message_t) -> Consumed<'a> {
    // SAFETY: it lives, says the caller, and its bytes with it. Keys and values that
    // are not null have the length beside them.
    unsafe {
        match (&raw const (*message).err).cast::<c_int>().read() {
            0 => {}
            code::PARTITION_EOF => return Consumed::End((*message).offset.max(0) as u64),
            code => {
                return Consumed::Failed(Fault {
                    text: text_of(sys::rd_kafka_message_errstr(message)),
                    ..Fault::of(code)
                });
            }
        }
        let bytes = |start: *mut c_void, len: usize| {
            let start = start.cast::<u8>().cast_const();
            (!start.is_null()).then(|| std::slice::from_raw_parts(start, len))
        };
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        let timestamp = sys::rd_kafka_message_timestamp(message, &raw mut kind);
        Consumed::Record {
            offset: (*message).offset as u64,
            key: bytes((*message).key, (*message).key_len),
            value: bytes((*message).payload, (*message).len),
            timestamp,
            is_append_time: kind
                == sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME,
            headers: headers_of(message),
        }
    }
}

/// Copies a message's headers.
///
/// # Safety
/// `message` lives for this call.
unsafe fn headers_of(message: *const sys::rd_kafka_message_t) -> Headers {
    // SAFETY: the message lives, says the caller, and came from a consumer.
    if unsafe { is_without_headers(message) } {
        return None;
    }
    let mut list = std::ptr::null_mut();
    // SAFETY: the message lives, says the caller, and owns the list and its texts.
    unsafe {
        sys::rd_kafka_message_headers(message, &raw mut list);
        if list.is_null() {
            return None;
        }
        let count = sys::rd_kafka_header_cnt(list);
        let mut headers = Vec::with_capacity(count);
        for index in 0..count {
            let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
            sys::rd_kafka_header_get_all(list, index, &raw mut name, &raw mut value, &raw mut size);
            let value = value.cast::<u8>();
            headers.push(Header {
                name: text_of(name).into(),
                value: (!value.is_null()).then(|| std::slice::from_raw_parts(value, size).into()),
            });
        }
        (!headers.is_empty()).then(|| headers.into())
    }
}

/// The librdkafka whose messages look like [`Consumable`]: 2.12.1.
const CONSUMABLE_OF: c_int = 0x020c_01ff;

/// The start of what librdkafka keeps of a consumed message (`rd_kafka_msg_s` in
/// `rdkafka_msg.h`).
#[repr(C)]
struct Consumable {
    message: sys::rd_kafka_message_t,
    link: [*mut c_void; 2],
    flags: c_int,
    timestamp_kind: c_int,
    timestamp: i64,
    /// Headers that have been parsed.
    headers: *mut c_void,
    status: c_int,
    broker: i32,
    /// Headers as they came; -1 is null.
    bytes_len: i32,
    bytes: *const u8,
}

/// Whether a message is known to have no headers. To ask librdkafka costs an eighth of
/// what consuming a message costs, because it allocates a buffer before it looks at their
/// number; so the number is read where it stands, if this is the librdkafka of which
/// that is known.
///
/// # Safety
/// A consumer has returned `message`, which lives.
unsafe fn is_without_headers(message: *const sys::rd_kafka_message_t) -> bool {
    static IS_KNOWN: LazyLock<bool> =
        // SAFETY: it returns a number.
        LazyLock::new(|| unsafe { sys::rd_kafka_version() } == CONSUMABLE_OF);
    if !*IS_KNOWN {
        return false;
    }
    let message = message.cast::<Consumable>();
    // SAFETY: in this librdkafka a consumed message is the start of what `Consumable` is
    // the start of, and its headers are `bytes_len` bytes at `bytes`.
    unsafe {
        let is_unparsed = (*message).headers.is_null();
        is_unparsed && ((*message).bytes_len <= 0 || *(*message).bytes == 0)
    }
}
