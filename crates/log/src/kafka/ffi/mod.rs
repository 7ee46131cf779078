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
mod client;
mod fault;
mod group;
mod messages;
mod transaction;

pub(super) use admin::{
    GroupOffset, Isolation, NewTopic, OffsetSpec, OffsetsAsked, TopicDescription,
};
pub(super) use group::{GroupEvent, GroupEvents, GroupMetadata};
pub(super) use messages::{Consumed, Deliveries, Message, PartitionQueue, Topic};

pub(super) use client::{Client, Kind};
pub use client::{Token, TokenSource};
pub(super) use fault::{Fault, code};

use super::wake::{Bell, Wake};
use headwater_core::TopicPartition;
use rdkafka_sys::bindings as sys;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::NonNull;
use std::sync::Arc;
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
