//! From records to the rows of a task: format, event time, watermark.
//!
//! What fails here (malformed JSON, a poison timestamp, an extractor that
//! raises) fails before any operator or clock has seen it.

use crate::task::{ClockMove, Prepared, Task};
use crate::unseen::Unseen;
use crate::upstream::Upstream;
use headwater_core::json::Locator;
use headwater_core::{
    Batch, FieldPath, Header, Records, Result, Rows, TimestampMs, TopicPartition,
};
use headwater_log::Fetched;
use headwater_operators::{Failure, SetTimestamp, Step, StepTimes, check_event_times, decode_rows};
use headwater_plan::{NodeId, TextFormat};
use headwater_state::KeyedStore;

/// The header that tells a control record of ours from a record.
pub(crate) const CONTROL_HEADER: &str = "headwater.control";
/// The control record at the end of a bounded source.
pub(crate) const CONTROL_END: &[u8] = b"end-of-input";

/// How a task reads its records.
pub(crate) struct Input {
    pub(crate) plan_id: NodeId,
    pub(crate) format: TextFormat,
    /// All fields that operators name before a row is replaced: one pass finds
    /// them and checks the text.
    pub(crate) locator: Locator,
    /// Fields that are read and that no record has had so far.
    pub(crate) unseen: Unseen,
    /// The user's extractor, if there is one.
    pub(crate) extractor: Option<SetTimestamp>,
    pub(crate) max_future_ms: i64,
    pub(crate) max_out_of_orderness_ms: i64,
    /// How long a key must be silent for a tick to close its windows.
    pub(crate) idle_timeout_ms: Option<i64>,
}

impl Input {
    /// Makes one step's inputs of fetched records.
    ///
    /// # Errors
    /// What ends the run.
    pub(crate) fn prepare(
        &mut self,
        fetched: &Fetched,
        wall_ms: TimestampMs,
        partition: &TopicPartition,
        keyed: &mut KeyedStore,
        upstream: Option<&Upstream>,
    ) -> Result<Prepared> {
        let records = &fetched.records;
        let mut clocks = vec![ClockMove::None; records.len()];
        let mut upstream = upstream.cloned();
        let controls = control_records(records, &mut clocks, &mut upstream)?;
        let is_tick = !controls.is_empty() && upstream.as_ref().is_some_and(Upstream::is_idle);
        let mut batch = Batch::from_records(records);
        if !controls.is_empty() {
            let rows: Vec<u32> = (0..records.len() as u32)
                .filter(|row| !controls.contains(row))
                .collect();
            batch = batch.take(&rows);
        }
        let times = StepTimes {
            before: TimestampMs::MIN,
            after: vec![0; records.len()],
        };
        let mut step = Step::new(&times, keyed, partition);
        step.operator = self.plan_id;
        step.positions = Some(&fetched.positions);
        // The end of the minute, which all records of a fetch have in common: what
        // one record is judged by must not depend on those fetched with it.
        let stored_ms = fetched.append_time_ms.unwrap_or(wall_ms);
        step.latest_ms = (Fetched::append_minute(stored_ms) + 1)
            .saturating_mul(60_000)
            .saturating_add(self.max_future_ms);
        batch = self.decode(batch, &mut step);
        if let Some(extractor) = &mut self.extractor {
            use headwater_operators::Operator;
            match extractor.process(batch, &mut step)? {
                Some(extracted) => batch = extracted,
                None => batch = Batch::from_records(&Records::default()),
            }
        }
        batch = check_event_times(batch, &mut step);
        if upstream.is_none() {
            self.move_clocks(&batch, &mut clocks);
        }
        let latest_ms = step.latest_ms;
        let failures = step.failures;
        Ok(Prepared {
            batch,
            clocks,
            failures,
            positions: Some(fetched.positions.clone()),
            latest_ms,
            upstream,
            is_tick,
        })
    }

    fn decode(&mut self, batch: Batch, step: &mut Step<'_>) -> Batch {
        if self.format != TextFormat::Json {
            let (batch, errors) = decode_rows(batch, self.format);
            return step.fail_rows(batch, errors);
        }
        let mut batch = batch;
        let Rows::Json(rows) = &mut batch.rows else {
            unreachable!("records come as JSON rows")
        };
        let errors = rows.locate(&mut self.locator);
        self.unseen.look(rows);
        step.fail_rows(batch, errors)
    }

    /// Lets rows move the clock.
    fn move_clocks(&self, batch: &Batch, clocks: &mut [ClockMove]) {
        for row in 0..batch.len() {
            let time = batch.timestamps[row];
            let watermark = time.saturating_sub(self.max_out_of_orderness_ms);
            clocks[batch.cause(row).at()] = ClockMove::To(watermark);
        }
    }
}

/// Whether a record with these headers is one of the engine's own, such as the
/// end of a bounded source, and no row.
pub fn is_control(headers: &[Header]) -> bool {
    headers.iter().any(|header| &*header.name == CONTROL_HEADER)
}

/// Finds the control records: the end of a bounded source closes everything, and
/// what upstream tasks say moves the clock.
fn control_records(
    records: &Records,
    clocks: &mut [ClockMove],
    upstream: &mut Option<Upstream>,
) -> Result<Vec<u32>> {
    let mut controls = Vec::new();
    let with_headers = records.headers.len();
    for (index, clock) in clocks.iter_mut().enumerate().take(with_headers) {
        let header = records.headers(index).iter();
        let Some(control) = header
            .into_iter()
            .find(|header| &*header.name == CONTROL_HEADER)
        else {
            continue;
        };
        *clock = match upstream {
            None => ClockMove::End,
            Some(upstream) => {
                upstream.hear(control.value.as_deref().unwrap_or_default())?;
                match upstream.is_ended() {
                    true => ClockMove::End,
                    false => ClockMove::To(upstream.watermark()),
                }
            }
        };
        controls.push(index as u32);
    }
    Ok(controls)
}

/// Whether any of some records is a row, and not one of the engine's own.
pub(crate) fn has_rows(records: &Records) -> bool {
    let mut controls = (0..records.headers.len()).map(|index| is_control(records.headers(index)));
    records.headers.len() < records.len() || controls.any(|is_control| !is_control)
}

/// Where to cut records so that each control record has a step of its own: the end
/// of an input must be the last of its step, and a tick of upstream tasks judges
/// silent keys differently from a record.
pub(crate) fn around_controls(records: &Records) -> Vec<usize> {
    let mut cuts: Vec<usize> = (0..records.headers.len())
        .filter(|&index| is_control(records.headers(index)))
        .flat_map(|index| [index, index + 1])
        .collect();
    cuts.push(records.len());
    cuts.dedup();
    cuts.retain(|&cut| cut > 0);
    cuts
}

impl Task {
    /// As [`Input::prepare`], for the task's own input.
    pub(crate) fn prepare(&mut self, fetched: &Fetched, wall_ms: TimestampMs) -> Result<Prepared> {
        let Task {
            input,
            keyed,
            partition,
            upstream,
            ..
        } = self;
        input.prepare(fetched, wall_ms, partition, keyed, upstream.as_ref())
    }

    /// The end of an input that says nothing of its end.
    pub(crate) fn end() -> Prepared {
        Prepared {
            clocks: vec![ClockMove::End],
            is_tick: false,
            ..Task::tick(TimestampMs::MIN)
        }
    }

    /// The inputs of one tick: no rows, and a watermark.
    pub(crate) fn tick(watermark: TimestampMs) -> Prepared {
        Prepared {
            batch: Batch::from_records(&Records::default()),
            clocks: vec![ClockMove::To(watermark)],
            failures: Vec::new(),
            positions: None,
            latest_ms: TimestampMs::MAX,
            upstream: None,
            is_tick: true,
        }
    }

    /// What a cause failed with, with its place in the log.
    pub(crate) fn place(&self, failure: &mut Failure, fetched: Option<&Fetched>, names: &[String]) {
        let error = &mut failure.error;
        error
            .partition
            .get_or_insert_with(|| self.partition.clone());
        if let Some(fetched) = fetched
            && error.position.is_none()
        {
            error.position = Some(fetched.positions.get(failure.cause.at()));
        }
        error
            .operator
            .get_or_insert_with(|| names[failure.operator].clone());
    }
}

/// The fields, without the empty path and twice-named ones.
pub(crate) fn distinct(fields: impl IntoIterator<Item = FieldPath>) -> Vec<FieldPath> {
    let mut distinct: Vec<FieldPath> = Vec::new();
    for field in fields {
        if !field.0.is_empty() && !distinct.contains(&field) {
            distinct.push(field);
        }
    }
    distinct
}
