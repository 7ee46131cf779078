//! `_native.TopicReader`: the records that a topic holds at one moment.
//!
//! A bounded read, outside any group: it takes no lock and commits nothing.

use crate::error::{exception, raise};
use crate::format;
use crate::function::headers_list;
use crate::rows::{add_metadata, row_dict};
use headwater::core::{Position, Records, Result, TopicPartition};
use headwater::log::{FetchLimits, Fetched, Log, Reader};
use headwater::plan::TextFormat;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Control records of the engine stand beside the user's.
const CONTROL_HEADER: &str = "headwater.control";

/// Reads to the end that the topic had when reading began.
#[pyclass(frozen, name = "TopicReader", module = "headwater._native")]
pub(crate) struct PyTopicReader {
    reading: Mutex<Reading>,
    value_format: TextFormat,
    key_format: TextFormat,
}

struct Reading {
    reader: Option<Box<dyn Reader>>,
    /// Partitions that have not been read to their end.
    open: Vec<(TopicPartition, Position)>,
    left: usize,
}

impl PyTopicReader {
    pub(crate) fn new(
        py: Python<'_>,
        log: &dyn Log,
        topic: &str,
        (value_format, key_format): (TextFormat, TextFormat),
        limit: Option<usize>,
    ) -> PyResult<PyTopicReader> {
        let begun = py.detach(|| begin(log, topic));
        let Some((reader, open)) = raise(py, begun)? else {
            return Err(exception(
                py,
                "TopicNotFoundError",
                &format!("there is no topic {topic:?} in the {}", log.describe()),
            ));
        };
        let left = limit.unwrap_or(usize::MAX);
        let reading = Mutex::new(Reading { reader, open, left });
        Ok(PyTopicReader {
            reading,
            value_format,
            key_format,
        })
    }
}

type Begun = (Option<Box<dyn Reader>>, Vec<(TopicPartition, Position)>);

fn begin(log: &dyn Log, topic: &str) -> Result<Option<Begun>> {
    let Some(info) = log.topic(topic)? else {
        return Ok(None);
    };
    let (mut from, mut open) = (Vec::new(), Vec::new());
    for partition in 0..info.config.partitions {
        let partition = TopicPartition::new(topic, partition);
        let bounds = log.bounds(&partition)?;
        if bounds.start < bounds.end {
            from.push((partition.clone(), bounds.start));
            open.push((partition, bounds.end));
        }
    }
    let reader = if from.is_empty() {
        None
    } else {
        Some(log.reader(&from)?)
    };
    Ok(Some((reader, open)))
}

impl Reading {
    /// The next records of partitions that are still open; empty at the end.
    fn next(&mut self) -> Result<Vec<Fetched>> {
        while !self.open.is_empty() && self.left > 0 {
            let Some(reader) = &mut self.reader else {
                break;
            };
            let limits = FetchLimits {
                records_max: self.left.min(10_000),
                ..Default::default()
            };
            let mut fetched = reader.poll(Duration::from_millis(100), limits)?;
            fetched.retain(|part| self.open.iter().any(|(open, _)| *open == part.partition));
            for part in &mut fetched {
                self.cut(part);
            }
            fetched.retain(|part| !part.records.is_empty());
            if !fetched.is_empty() {
                return Ok(fetched);
            }
        }
        Ok(Vec::new())
    }

    /// Cuts what came after the end, and closes a partition that reached it.
    fn cut(&mut self, part: &mut Fetched) {
        let Some(index) = self
            .open
            .iter()
            .position(|(open, _)| *open == part.partition)
        else {
            return;
        };
        let end = self.open[index].1;
        let mut kept = part.records.len();
        while kept > 0 && part.positions.get(kept - 1) >= end {
            kept -= 1;
        }
        if kept < part.records.len() || part.resume >= end || part.at_end {
            self.open.remove(index);
        }
        part.records = part.records.slice(0, kept.min(self.left));
        self.left -= part.records.len();
    }
}

fn is_control(records: &Records, index: usize) -> bool {
    records
        .headers(index)
        .iter()
        .any(|header| &*header.name == CONTROL_HEADER)
}

#[pymethods]
impl PyTopicReader {
    /// The next rows as dicts; an empty list is the end.
    fn next_rows<'py>(&self, py: Python<'py>, metadata: bool) -> PyResult<Vec<Bound<'py, PyDict>>> {
        loop {
            let fetched = py.detach(|| {
                self.reading
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .next()
            });
            let fetched = raise(py, fetched)?;
            if fetched.is_empty() {
                return Ok(Vec::new());
            }
            let mut rows = Vec::new();
            for part in &fetched {
                self.append_rows(py, part, metadata, &mut rows)?;
            }
            if !rows.is_empty() {
                return Ok(rows);
            }
        }
    }

    /// The number of records that are left.
    fn count(&self, py: Python<'_>) -> PyResult<usize> {
        let counted = py.detach(|| {
            let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
            let mut count = 0;
            loop {
                let fetched = reading.next()?;
                if fetched.is_empty() {
                    return Ok(count);
                }
                for part in &fetched {
                    let records = &part.records;
                    count += (0..records.len())
                        .filter(|index| !is_control(records, *index))
                        .count();
                }
            }
        });
        raise(py, counted)
    }
}

impl PyTopicReader {
    fn append_rows<'py>(
        &self,
        py: Python<'py>,
        part: &Fetched,
        metadata: bool,
        rows: &mut Vec<Bound<'py, PyDict>>,
    ) -> PyResult<()> {
        let records = &part.records;
        let mut values = format::Values::new(self.value_format);
        for index in 0..records.len() {
            if is_control(records, index) {
                continue;
            }
            let row = row_dict(values.read(py, records.value(index))?)?;
            if metadata {
                let key = format::read(py, self.key_format, records.key(index))?;
                let headers = headers_list(py, records.headers(index))?;
                let place = (&part.partition, part.positions.get(index));
                add_metadata(&row, key, records.timestamps[index], headers, place)?;
            }
            rows.push(row);
        }
        Ok(())
    }
}
