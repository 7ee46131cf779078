//! `_native.Consumer`: records one by one, for programs that want no pipeline.

use crate::error::raise;
use crate::function::headers_list;
use headwater::core::env::{Clock, Env};
use headwater::core::{Position, Result, TopicPartition};
use headwater::is_control;
use headwater::log::{FetchLimits, Fetched, Log};
use headwater::{Consumer, OffsetReset};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a poll that waits looks for Python's signals.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// Topic, partition and, if it is known, offset.
type Place = (String, u32, Option<u64>);
/// Topic, partition and offset.
type Offset = (String, u32, u64);

/// See [`Consumer`].
#[pyclass(frozen, name = "Consumer", module = "headwater._native")]
pub(crate) struct PyConsumer {
    reading: Mutex<Reading>,
    clock: Arc<dyn Clock>,
}

struct Reading {
    consumer: Consumer,
    /// What has been fetched, and the index of its next record to hand out.
    fetched: VecDeque<(Arc<Fetched>, usize)>,
    /// The group has given it other partitions, and nobody has asked yet.
    has_others: bool,
}

impl PyConsumer {
    pub(crate) fn new(log: Arc<dyn Log>, group: String, reset: OffsetReset) -> PyConsumer {
        let clock = Env::system().clock;
        let consumer = Consumer::new(log, Arc::clone(&clock), group, reset);
        PyConsumer {
            reading: Mutex::new(Reading {
                consumer,
                fetched: VecDeque::new(),
                has_others: false,
            }),
            clock,
        }
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` without the interpreter's lock.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Reading) -> Result<T> + Send,
    ) -> PyResult<T> {
        let done = py.detach(|| work(&mut self.reading()));
        raise(py, done)
    }
}

impl Reading {
    /// Fetches until something is at hand, for as long as `wait`.
    fn fill(&mut self, wait: Duration) -> Result<()> {
        let (fetched, is_other) = self.consumer.poll(wait, FetchLimits::default())?;
        if is_other {
            self.fetched.clear();
            self.has_others = true;
        }
        self.fetched
            .extend(fetched.into_iter().map(|part| (Arc::new(part), 0)));
        Ok(())
    }

    /// The next record that is at hand, and the fetch that has it.
    fn next(&mut self) -> Option<(Arc<Fetched>, usize)> {
        while let Some((part, next)) = self.fetched.front_mut() {
            let index = *next;
            if index == part.records.len() {
                self.fetched.pop_front();
                continue;
            }
            *next += 1;
            if !is_control(part.records.headers(index)) {
                return Some((Arc::clone(part), index));
            }
        }
        None
    }
}

fn partition_of<T>((topic, partition, _): &(String, u32, T)) -> TopicPartition {
    TopicPartition::new(topic.as_str(), *partition)
}

fn place_of((partition, position): (TopicPartition, Position)) -> Place {
    let topic = partition.topic.to_string();
    (topic, partition.partition, position.offset())
}

#[pymethods]
impl PyConsumer {
    fn subscribe(&self, py: Python<'_>, topics: Vec<String>) -> PyResult<()> {
        let topics: Vec<Arc<str>> = topics.into_iter().map(Into::into).collect();
        self.with(py, |reading| {
            reading.fetched.clear();
            reading.consumer.subscribe(&topics)
        })
    }

    fn assign(&self, py: Python<'_>, places: Vec<Place>) -> PyResult<()> {
        self.with(py, |reading| {
            let at = |place: &Place| (partition_of(place), place.2.map(Position::from_offset));
            let places: Vec<_> = places.iter().map(at).collect();
            reading.fetched.clear();
            reading.consumer.assign(&places)
        })
    }

    fn unassign(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |reading| {
            reading.fetched.clear();
            reading.consumer.unassign();
            Ok(())
        })
    }

    fn assignment(&self, py: Python<'_>) -> PyResult<Vec<Place>> {
        self.with(py, |reading| {
            let all = reading.consumer.assignment().iter();
            Ok(all
                .map(|(at, position)| place_of((at.clone(), *position)))
                .collect())
        })
    }

    fn seek(&self, py: Python<'_>, place: Offset) -> PyResult<()> {
        self.with(py, |reading| {
            let partition = partition_of(&place);
            let to = Position::from_offset(place.2);
            reading.consumer.seek(&partition, to)?;
            reading
                .fetched
                .retain(|(part, _)| part.partition != partition);
            Ok(())
        })
    }

    fn commit(&self, py: Python<'_>, places: Vec<Offset>) -> PyResult<()> {
        self.with(py, |reading| {
            let at = |place: &Offset| (partition_of(place), Position::from_offset(place.2));
            let places: Vec<_> = places.iter().map(at).collect();
            reading.consumer.commit(&places)
        })
    }

    /// Whether the group has given it other partitions since this was last asked.
    fn took_over(&self) -> bool {
        std::mem::take(&mut self.reading().has_others)
    }

    fn committed(&self, py: Python<'_>) -> PyResult<Vec<Place>> {
        self.with(py, |reading| {
            let all = reading.consumer.committed()?.into_iter();
            Ok(all.map(place_of).collect())
        })
    }

    /// The next record as (topic, partition, offset, key, value, headers, timestamp),
    /// or None if none comes in time.
    fn poll<'py>(&self, py: Python<'py>, seconds: f64) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let wait = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        let deadline = self.clock.monotonic().saturating_add(wait);
        loop {
            let left = deadline.saturating_sub(self.clock.monotonic());
            let next = self.with(py, |reading| {
                let at_hand = reading.next();
                if at_hand.is_some() {
                    return Ok(at_hand);
                }
                reading.fill(left.min(SIGNAL_INTERVAL))?;
                Ok(reading.next())
            })?;
            if let Some((part, index)) = next {
                return record(py, &part, index).map(Some);
            }
            py.check_signals()?;
            if left.is_zero() {
                return Ok(None);
            }
        }
    }
}

fn record<'py>(py: Python<'py>, part: &Fetched, index: usize) -> PyResult<Bound<'py, PyTuple>> {
    let records = &part.records;
    (
        &*part.partition.topic,
        part.partition.partition,
        part.positions.get(index).offset(),
        records.key(index).map(|key| PyBytes::new(py, key)),
        records.value(index).map(|value| PyBytes::new(py, value)),
        headers_list(py, records.headers(index))?,
        records.timestamps[index],
    )
        .into_pyobject(py)
}
