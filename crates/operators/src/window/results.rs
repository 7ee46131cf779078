//! Rows on their way out of a window.

use crate::Aggregators;
use headwater_core::arrow::buffer::Buffer;
use headwater_core::{
    Batch, Cause, Column, JsonRows, Keys, Result, Rows, Span, TimestampMs, Value,
};

/// Results in order, which become one batch. Those of a row that fails are cut
/// off again.
#[derive(Debug, Default)]
pub(super) struct Results {
    keys: Vec<u8>,
    spans: Vec<Span>,
    starts: Vec<TimestampMs>,
    ends: Vec<TimestampMs>,
    causes: Vec<u64>,
    /// The outputs of one result after the other.
    values: Vec<Value>,
}

/// The start and the end of a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) start_ms: TimestampMs,
    pub(super) end_ms: TimestampMs,
}

impl Results {
    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Appends the result that `write` appends to the values.
    ///
    /// # Errors
    /// That of `write`; the row is appended with what it wrote.
    pub(super) fn push(
        &mut self,
        key: &[u8],
        bounds: Bounds,
        cause: Cause,
        write: impl FnOnce(&mut Vec<Value>) -> Result<()>,
    ) -> Result<()> {
        let start = self.keys.len() as u32;
        self.keys.extend_from_slice(key);
        self.spans.push(Span {
            start,
            len: key.len() as u32,
        });
        self.starts.push(bounds.start_ms);
        self.ends.push(bounds.end_ms);
        self.causes.push(cause.0);
        write(&mut self.values)
    }

    /// Moves all rows of `other` to the end.
    pub(super) fn append(&mut self, other: &mut Results) {
        let shift = self.keys.len() as u32;
        self.keys.append(&mut other.keys);
        let shifted = |span: Span| Span {
            start: span.start + shift,
            ..span
        };
        self.spans.extend(other.spans.drain(..).map(shifted));
        self.starts.append(&mut other.starts);
        self.ends.append(&mut other.ends);
        self.causes.append(&mut other.causes);
        self.values.append(&mut other.values);
    }

    /// Cuts off all rows but the first `len`; each has `outputs` values.
    pub(super) fn truncate(&mut self, len: usize, outputs: usize) {
        if let Some(span) = self.spans.get(len) {
            self.keys.truncate(span.start as usize);
        }
        self.spans.truncate(len);
        self.starts.truncate(len);
        self.ends.truncate(len);
        self.causes.truncate(len);
        self.values.truncate(len * outputs);
    }

    /// Takes the last row out, which has `outputs` values.
    pub(super) fn split_last(&mut self, outputs: usize) -> Results {
        let Some(last) = self.len().checked_sub(1) else {
            return Results::default();
        };
        let start = self.spans[last].start as usize;
        let keys = self.keys.split_off(start);
        let span = Span {
            start: 0,
            len: keys.len() as u32,
        };
        self.spans.truncate(last);
        Results {
            keys,
            spans: vec![span],
            starts: self.starts.split_off(last),
            ends: self.ends.split_off(last),
            causes: self.causes.split_off(last),
            values: self.values.split_off(last * outputs),
        }
    }

    /// The rows as a batch; `None` if there are none. Nothing is left.
    pub(super) fn take(&mut self, aggregators: &Aggregators) -> Option<Batch> {
        if self.is_empty() {
            return None;
        }
        let Results {
            keys,
            spans,
            starts,
            ends,
            causes,
            values,
        } = std::mem::take(self);
        let outputs = aggregators.outputs().len();
        let mut fields: Vec<(Box<str>, Column)> = Vec::with_capacity(outputs + 2);
        fields.push(("start".into(), Column::Int(starts.clone().into())));
        fields.push(("end".into(), Column::Int(ends.into())));
        for (index, output) in aggregators.outputs().enumerate() {
            let column = values
                .iter()
                .skip(index)
                .step_by(outputs)
                .map(Value::as_ref)
                .collect();
            fields.push((output.into(), column));
        }
        Some(Batch {
            rows: Rows::Json(JsonRows::from_columns(fields)),
            keys: Keys::new(Buffer::from_vec(keys), spans),
            timestamps: starts.into(),
            headers: None,
            causes: causes.into(),
        })
    }
}
