//! `_native.Producer`: appends records one by one, fast.
//!
//! A record is copied into a buffer and the call returns; a thread appends the
//! buffers in batches and makes them durable. What is buffered is bounded in
//! bytes and in time: a producer that is faster than the log waits for it.
//!
//! ```text
//! produce ── buffer ──(BATCH_BYTES, or LINGER after the first record)──▶ append, flush
//!    waits while PENDING_BYTES_MAX are buffered              memory, to be filled again
//! ```
//!
//! The memory goes round: the system would have to clear new pages for every
//! buffer.

use crate::error::{exception, raise};
use headwater::core::env::{Clock, Env};
use headwater::core::partitioner::partition_of;
use headwater::core::{
    Error, Header, Headers, RecordsBuilder, Result, TimestampMs, TopicPartition,
};
use headwater::log::{Log, Producer, TopicConfig};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The least time between two appends, unless there is a whole batch: a record
/// after a pause goes at once, one of many waits for others to go with.
const LINGER: Duration = Duration::from_millis(4);
/// A batch that is appended without waiting.
const BATCH_BYTES: usize = 1 << 20;
/// The most that is buffered.
const PENDING_BYTES_MAX: usize = 16 << 20;
/// The buffers that are kept for later records.
const SPARE_MAX: usize = 4;
/// How often a record or a flush that waits looks for Python's signals.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// Grows in the child of a fork by Python, which has the producer's memory but not
/// its thread. (Asking for the process's id would cost each record a system call.)
static FORKS: AtomicU64 = AtomicU64::new(0);

#[pyfunction]
fn count_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Has forks counted from now on.
fn watch_forks(py: Python<'_>) -> PyResult<()> {
    static WATCHED: PyOnceLock<()> = PyOnceLock::new();
    let watch = || {
        if let Some(register) = py.import("os")?.getattr_opt("register_at_fork")? {
            let in_child = PyDict::new(py);
            in_child.set_item("after_in_child", wrap_pyfunction!(count_fork, py)?)?;
            register.call((), Some(&in_child))?;
        }
        Ok(())
    };
    WATCHED.get_or_try_init(py, watch).map(drop)
}

/// What the caller and the thread share.
struct Shared {
    buffer: Mutex<Buffer>,
    /// There is something to append, or to end for.
    work: Condvar,
    /// Something has been appended, or has failed.
    done: Condvar,
}

#[derive(Default)]
struct Buffer {
    topics: Vec<Topic>,
    /// Memory of records that have been appended.
    spare: Vec<Vec<u8>>,
    bytes: usize,
    records: u64,
    /// Records handed to the log and durable.
    durable: u64,
    flush_wanted: bool,
    is_closing: bool,
    failure: Option<Error>,
}

struct Topic {
    name: Arc<str>,
    partitions: Vec<RecordsBuilder>,
    /// The next partition for a record without a key.
    next: u32,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Buffer> {
        // Held for one record or one swap of buffers, and never while the log
        // or Python is called.
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A producer.
#[pyclass(frozen, name = "Producer", module = "headwater._native")]
pub(crate) struct PyProducer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The number of forks when the thread was started.
    forks: u64,
    log: Arc<dyn Log>,
    env: Env,
    /// How missing topics are made, if they are.
    config: Option<TopicConfig>,
}

impl PyProducer {
    pub(crate) fn new(
        py: Python<'_>,
        log: Arc<dyn Log>,
        config: Option<TopicConfig>,
    ) -> PyResult<PyProducer> {
        watch_forks(py)?;
        let producer = raise(py, py.detach(|| log.producer()))?;
        let shared = Arc::new(Shared {
            buffer: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
        });
        let for_thread = Arc::clone(&shared);
        let env = Env::system();
        let clock = Arc::clone(&env.clock);
        let thread = std::thread::Builder::new()
            .name("headwater-producer".into())
            .spawn(move || append_all(&for_thread, producer, &*clock))?;
        let thread = Mutex::new(Some(thread));
        Ok(PyProducer {
            shared,
            thread,
            forks: FORKS.load(Ordering::Relaxed),
            log,
            env,
            config,
        })
    }

    fn is_forked(&self) -> bool {
        self.forks != FORKS.load(Ordering::Relaxed)
    }

    /// Refuses the child of a fork, before it waits for a lock or for the thread
    /// that only its parent has.
    fn check_fork(&self, py: Python<'_>) -> PyResult<()> {
        let refused = || {
            Error::invalid(
                "the producer was opened by another process, of which this one is a fork\n\
                 hint: open the log after the fork, or start processes by `spawn`",
            )
        };
        raise(
            py,
            if self.is_forked() {
                Err(refused())
            } else {
                Ok(())
            },
        )
    }

    /// The index of a topic among those written to, with the buffer locked.
    fn topic(&self, py: Python<'_>, name: &str) -> PyResult<(MutexGuard<'_, Buffer>, usize)> {
        let buffer = self.shared.lock();
        if let Some(index) = buffer.topics.iter().position(|topic| &*topic.name == name) {
            return Ok((buffer, index));
        }
        drop(buffer);
        let partitions = raise(
            py,
            py.detach(|| partitions_of(&*self.log, name, self.config.as_ref())),
        )?;
        let mut topic = Topic {
            name: name.into(),
            partitions: Vec::new(),
            next: 0,
        };
        topic
            .partitions
            .resize_with(partitions as usize, RecordsBuilder::default);
        let mut buffer = self.shared.lock();
        // Another thread may have been here meanwhile.
        let known = buffer.topics.iter().position(|topic| &*topic.name == name);
        let index = known.unwrap_or_else(|| {
            buffer.topics.push(topic);
            buffer.topics.len() - 1
        });
        Ok((buffer, index))
    }

    /// Waits until `is_done`, with Python's signals looked at.
    fn wait(&self, py: Python<'_>, is_done: impl Fn(&Buffer) -> bool + Sync) -> PyResult<()> {
        loop {
            let done = py.detach(|| {
                let buffer = self.shared.lock();
                let waited =
                    self.shared
                        .done
                        .wait_timeout_while(buffer, SIGNAL_INTERVAL, |buffer| {
                            buffer.failure.is_none() && !is_done(buffer)
                        });
                let (mut buffer, _) = waited.unwrap_or_else(PoisonError::into_inner);
                match buffer.failure.take() {
                    Some(error) => Err(error),
                    None => Ok(is_done(&buffer)),
                }
            });
            if raise(py, done)? {
                return Ok(());
            }
            py.check_signals()?;
        }
    }
}

fn partitions_of(log: &dyn Log, name: &str, config: Option<&TopicConfig>) -> Result<u32> {
    if let Some(info) = log.topic(name)? {
        return Ok(info.config.partitions);
    }
    let Some(config) = config else {
        return Err(Error::invalid(format!(
            "a topic does not exist, and auto_create_topics is False: make it first, or declare it \
             with a config, topic=`{name}`"
        )));
    };
    log.create_topic(name, config)?;
    Ok(config.partitions)
}

impl Buffer {
    /// Keeps memory for the next records, of buffers that are worth it.
    fn keep(&mut self, memory: Vec<Vec<u8>>) {
        for bytes in memory {
            if self.spare.len() < SPARE_MAX && bytes.capacity() >= BATCH_BYTES {
                self.spare.push(bytes);
            }
        }
    }
}

/// The thread: appends what is buffered until the producer closes.
fn append_all(shared: &Shared, mut producer: Box<dyn Producer>, clock: &dyn Clock) {
    let mut next_append = Duration::ZERO;
    loop {
        let mut buffer = shared.lock();
        while buffer.bytes == 0 && !buffer.flush_wanted && !buffer.is_closing {
            buffer = shared
                .work
                .wait(buffer)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let linger = next_append.saturating_sub(clock.monotonic());
        if !buffer.flush_wanted
            && !buffer.is_closing
            && buffer.bytes < BATCH_BYTES
            && !linger.is_zero()
        {
            let waited = shared.work.wait_timeout_while(buffer, linger, |buffer| {
                buffer.bytes < BATCH_BYTES && !buffer.flush_wanted && !buffer.is_closing
            });
            buffer = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let batches = take_batches(&mut buffer);
        let (records, is_closing) = (buffer.records, buffer.is_closing);
        buffer.flush_wanted = false;
        drop(buffer);
        let appended = append(&mut *producer, batches);
        next_append = clock.monotonic() + LINGER;
        let mut buffer = shared.lock();
        match appended {
            Ok(spare) => {
                buffer.durable = records;
                buffer.keep(spare);
            }
            Err(error) => buffer.failure = Some(error),
        }
        drop(buffer);
        shared.done.notify_all();
        if is_closing {
            return;
        }
    }
}

fn take_batches(buffer: &mut Buffer) -> Vec<(TopicPartition, RecordsBuilder)> {
    let mut batches = Vec::new();
    for topic in &mut buffer.topics {
        for (partition, builder) in (0..).zip(&mut topic.partitions) {
            if !builder.is_empty() {
                let place = TopicPartition::new(Arc::clone(&topic.name), partition);
                let next = buffer.spare.pop().map(RecordsBuilder::reusing);
                batches.push((place, std::mem::replace(builder, next.unwrap_or_default())));
            }
        }
    }
    buffer.bytes = 0;
    batches
}

/// Appends and makes durable; returns the memory in which the records stood.
fn append(
    producer: &mut dyn Producer,
    batches: Vec<(TopicPartition, RecordsBuilder)>,
) -> Result<Vec<Vec<u8>>> {
    let mut spare = Vec::new();
    for (partition, builder) in batches {
        let records = builder.finish();
        let bytes = records.bytes.clone();
        producer.append(&partition, records)?;
        // A log that keeps the records keeps their memory as well.
        spare.extend(bytes.into_vec().ok());
    }
    producer.flush()?;
    Ok(spare)
}

/// A key or a value as bytes: bytes and text as they are, anything else as JSON.
enum Bytes<'a> {
    Borrowed(&'a [u8]),
    Owned(Vec<u8>),
}

impl Bytes<'_> {
    fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Borrowed(bytes) => bytes,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

fn bytes_of<'a>(object: &'a Bound<'_, PyAny>, what: &str) -> PyResult<Bytes<'a>> {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return Ok(Bytes::Borrowed(bytes.as_bytes()));
    }
    if let Ok(text) = object.cast::<PyString>() {
        return Ok(Bytes::Borrowed(text.to_str()?.as_bytes()));
    }
    let is_json = object.is_instance_of::<PyDict>()
        || object.is_instance_of::<PyList>()
        || object.is_instance_of::<PyTuple>();
    if !is_json {
        let got = object.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "a {what} must be bytes, str, dict or list, not {got}; use `topic.serialize(...)` for \
             other formats"
        )));
    }
    let mut text = Vec::new();
    crate::json::encode(object, &mut text)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(Bytes::Owned(text))
}

fn headers_of(headers: Option<&Bound<'_, PyAny>>) -> PyResult<Headers> {
    let Some(headers) = headers.filter(|headers| !headers.is_none()) else {
        return Ok(None);
    };
    let pairs = match headers.cast::<PyDict>() {
        Ok(dict) => dict.items().into_any(),
        Err(_) => headers.clone(),
    };
    let mut made = Vec::new();
    for pair in pairs.try_iter()? {
        let (name, value): (String, Bound<'_, PyAny>) = pair?.extract()?;
        let value = match value.is_none() {
            true => None,
            false => Some(bytes_of(&value, "header")?.as_slice().into()),
        };
        made.push(Header {
            name: name.into(),
            value,
        });
    }
    Ok(if made.is_empty() {
        None
    } else {
        Some(made.into())
    })
}

#[pymethods]
impl PyProducer {
    #[pyo3(signature = (topic, value=None, key=None, headers=None, partition=None, timestamp=None))]
    #[expect(clippy::too_many_arguments, reason = "the arguments of a record")]
    fn produce(
        &self,
        py: Python<'_>,
        topic: &str,
        value: Option<&Bound<'_, PyAny>>,
        key: Option<&Bound<'_, PyAny>>,
        headers: Option<&Bound<'_, PyAny>>,
        partition: Option<u32>,
        timestamp: Option<TimestampMs>,
    ) -> PyResult<()> {
        self.check_fork(py)?;
        let value = value.map(|value| bytes_of(value, "value")).transpose()?;
        let key = key.map(|key| bytes_of(key, "key")).transpose()?;
        let headers = headers_of(headers)?;
        let timestamp = timestamp.unwrap_or_else(|| self.env.clock.wall_ms());
        let (value, key) = (
            value.as_ref().map(Bytes::as_slice),
            key.as_ref().map(Bytes::as_slice),
        );
        let (mut buffer, index) = self.topic(py, topic)?;
        if buffer.is_closing {
            return Err(exception(
                py,
                "ProducerClosed",
                "the producer has been closed",
            ));
        }
        if let Some(error) = buffer.failure.take() {
            return raise(py, Err(error));
        }
        let topic = &mut buffer.topics[index];
        let count = topic.partitions.len() as u32;
        let partition = match (partition, key) {
            (Some(partition), _) if partition >= count => {
                return Err(PyValueError::new_err(format!(
                    "topic {:?} has {count} partitions, there is no partition {partition}",
                    topic.name
                )));
            }
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of(key, count),
            (None, None) => {
                topic.next = (topic.next + 1) % count;
                topic.next
            }
        };
        topic.partitions[partition as usize].push(key, value, timestamp, headers);
        let was_empty = buffer.bytes == 0;
        let before = buffer.bytes;
        buffer.bytes += 32 + key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        buffer.records += 1;
        let is_full = buffer.bytes > PENDING_BYTES_MAX;
        let is_batch = before < BATCH_BYTES && buffer.bytes >= BATCH_BYTES;
        drop(buffer);
        if was_empty || is_batch {
            self.shared.work.notify_one();
        }
        if is_full {
            self.wait(py, |buffer| buffer.bytes <= PENDING_BYTES_MAX)?;
        }
        Ok(())
    }

    /// Waits until everything produced is durable.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        self.check_fork(py)?;
        let records = {
            let mut buffer = self.shared.lock();
            if let Some(error) = buffer.failure.take() {
                drop(buffer);
                return raise(py, Err(error));
            }
            buffer.flush_wanted = true;
            buffer.records
        };
        self.shared.work.notify_one();
        self.wait(py, |buffer| buffer.durable >= records)
    }

    /// Flushes, and ends the thread.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_forked() {
            // What is buffered is the parent's.
            return Ok(());
        }
        let Some(thread) = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        else {
            return Ok(());
        };
        let flushed = self.flush(py);
        self.shared.lock().is_closing = true;
        self.shared.work.notify_one();
        py.detach(|| {
            // The thread holds nothing that a panic in it could leave undone.
            let _ = thread.join();
        });
        flushed
    }
}

impl Drop for PyProducer {
    fn drop(&mut self) {
        if self.is_forked() {
            return;
        }
        self.shared.lock().is_closing = true;
        self.shared.work.notify_one();
    }
}
