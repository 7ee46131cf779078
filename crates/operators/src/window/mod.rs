//! Windowed aggregation, for each key.
//!
//! The key decision: **every key has its own clock.** A device that comes back
//! with a backlog is judged by its own records, so its neighbours, who are
//! ahead, make none of them late.
//!
//! # A key's state
//!
//! | | |
//! |---|---|
//! | K | the largest event time of the key's records |
//! | M | the larger of the watermark and K when its last record arrived |
//! | C | the largest end of a window of the key that was closed |
//! | open windows | by start: accumulators, and whether empty |
//!
//! W is the watermark. While a record is handled, W includes that record. T is
//! the key timeout, R the key retention.
//!
//! # Rules under [`Closing::Key`](headwater_plan::Closing::Key)
//!
//! 1. A record at `ts` is in the windows `start <= ts < end` where `start` is a
//!    multiple of the advance, rounding down also before 1970.
//! 2. It is late for a window with `end + grace <= K` or `end <= C`; if its key
//!    is not known, with `end + grace <= W - R`. It is added to the others. K
//!    and M follow it in any case, but a record that is late for all its windows
//!    makes no key known.
//! 3. Then it closes its key's windows with `end + grace <= K`, ascending by
//!    start. The result of each is a cause of its own.
//! 4. W closes a window when it reaches `M + max(T, end + grace - K)`; on a
//!    tick T is at most the idle timeout. Windows due together leave by deadline,
//!    key, start; each is a cause of its own.
//! 5. Closing a window raises C to its end.
//! 6. A key without open windows is forgotten when W reaches
//!    `max(K, C + grace) + R`. By rule 2 nothing becomes less late by it.
//! 7. The end of the input (W at its largest) closes all windows. It is no time:
//!    it makes nothing late and no key forgotten, because a file may grow.
//!
//! Behind a change of key, records of one key come from several tasks, one of which
//! may be far ahead of another. There rules 2 and 3 take `min(K, W)` for K, and W
//! closes a window that K has passed when it reaches `end + grace`: only what all
//! tasks have passed is over.
//!
//! # Rules under [`Closing::Partition`](headwater_plan::Closing::Partition)
//!
//! A record is late for a window with `end + grace <= W`, and W closes a window
//! when it reaches `end + grace`. Keys have no clocks. Windows that the end of the
//! input closed before their time stay closed: so do all that end no later.
//!
//! # What leaves
//!
//! [`Emit::Final`](headwater_plan::Emit::Final): each window once, when it
//! closes. [`Emit::Current`](headwater_plan::Emit::Current): each window that a
//! record was added to, ascending by start, and nothing on closing. A trigger
//! emits a window early and starts it anew; the window stays open, and if it is
//! empty when it closes nothing leaves. Early results come after those of
//! windows that the same record closed.
//!
//! # When time passes
//!
//! Before a row of input `at` is handled, everything due at the watermark before
//! `at` is done; [`Operator::advance`] does the rest of the step. A window that
//! time closes belongs to the first input whose watermark reached its
//! deadline. So rows, order and state do not depend on how inputs were cut. What
//! was due before the first input of a step (after an at-least-once restart)
//! counts as made due by that input.
//!
//! # Atomic rows
//!
//! All windows of a row are checked before the first changes. Where users'
//! functions take part, the row runs under a savepoint instead.
//!
//! ```text
//! Window     process ─ update    one row: rules 1, 2, 3
//!            advance ─ due       what time has closed: rules 4, 6
//! rules      the arithmetic of the rules
//! WindowStore  store, entries, entry, key, windows
//!            timers              one per key, re-armed lazily
//!            undo                savepoints
//!            changelog, restore  what is logged, and how it comes back
//!            spill       entries that stand on disk
//! results    rows on their way out;   callbacks   on_late and triggers
//! ```

mod callbacks;
mod changelog;
mod due;
mod entries;
mod entry;
mod key;
mod restore;
mod results;
mod rules;
mod spill;
mod store;
mod stored;
mod timers;
mod undo;
mod update;
mod windows;

pub use store::WindowStore;
pub use stored::stored_window;

use crate::{Aggregators, Compiled, Functions, Operator, Step, evaluate};
use callbacks::Callbacks;
use headwater_core::{Batch, Column, ColumnBuilder, Result, RowError, ValueRef, fault};
use headwater_plan::{Emit, StoreId, WindowSpec};
use headwater_state::StateStore;
use results::{Bounds, Results};
use rules::Rules;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Aggregates rows by key and window of event time. A result is
/// `{"start", "end", outputs...}` at the window's start, under the row's key.
#[derive(Debug)]
pub struct Window {
    rules: Rules,
    emit: Emit,
    aggregators: Arc<Aggregators>,
    inputs: Vec<Compiled>,
    callbacks: Callbacks,
    store: WindowStore,
    results: Results,
    /// Early results of the row that is being handled.
    early: Results,
    /// Where the keys of the next rows stood when they were fetched.
    fetched: Vec<u32>,
    /// Whether a row can fail midway.
    has_savepoints: bool,
}

/// The rows whose keys are fetched from memory together. Their entries stay in
/// the processor's cache until it is their turn.
const FETCH_ROWS: usize = 256;

/// What the rows of a batch give the aggregators.
#[derive(Debug)]
struct Inputs {
    columns: Vec<Column>,
    /// Ascending by row; the first of each row counts.
    errors: Vec<RowError>,
}

impl Window {
    /// The operator for a window over the stream of that name.
    ///
    /// # Errors
    /// `Invalid` if the lengths make no sense, a function was not registered or
    /// an expression cannot be compiled.
    pub fn new(spec: &WindowSpec, functions: &Functions, stream: &str) -> Result<Window> {
        let rules = Rules::new(spec)?;
        let aggregators = Arc::new(Aggregators::new(&spec.aggregates, functions)?);
        let inputs = aggregators
            .inputs()
            .iter()
            .map(|input| Compiled::new(input, functions));
        let inputs = inputs.collect::<Result<Vec<Compiled>>>()?;
        let callbacks = Callbacks::new(spec, functions, StoreId::window(stream, spec).0)?;
        Ok(Window {
            rules,
            emit: spec.emit,
            has_savepoints: aggregators.has_functions() || callbacks.has_triggers(),
            store: WindowStore::new(rules, Arc::clone(&aggregators)),
            aggregators,
            inputs,
            callbacks,
            results: Results::default(),
            early: Results::default(),
            fetched: Vec::new(),
        })
    }

    /// This window behind a change of key, where records of one key come from
    /// several tasks.
    #[must_use]
    pub fn behind_a_change_of_key(mut self) -> Window {
        self.rules.is_shared = true;
        self.store.rules.is_shared = true;
        self
    }

    fn evaluate(&mut self, batch: &mut Batch, step: &mut Step<'_>) -> Result<Inputs> {
        let evaluated = evaluate(&mut self.inputs, batch, step)?;
        let mut inputs = Inputs {
            columns: Vec::with_capacity(evaluated.len()),
            errors: Vec::new(),
        };
        for input in evaluated {
            inputs.columns.push(input.column);
            inputs.errors.extend(input.errors);
        }
        if fault!("partial-float-sums") {
            inputs.columns = inputs
                .columns
                .iter()
                .map(|column| partial(column, batch))
                .collect();
        }
        // Stable: of one row's errors the first aggregate's comes first.
        inputs.errors.sort_by_key(|error| error.row);
        inputs.errors.dedup_by_key(|error| error.row);
        Ok(inputs)
    }

    fn bounds(&self, start_ms: i64) -> Bounds {
        Bounds {
            start_ms,
            end_ms: self.rules.end(start_ms),
        }
    }
}

/// For the planted bug of that name: floats are summed for each key of a batch first.
fn partial(column: &Column, batch: &Batch) -> Column {
    let mut sums: BTreeMap<Option<&[u8]>, (usize, f64)> = BTreeMap::new();
    for row in 0..batch.len() {
        if let ValueRef::Float(value) = column.value(row) {
            let sum = sums.entry(batch.keys.get(row)).or_insert((row, 0.0));
            *sum = (row, sum.1 + value);
        }
    }
    let mut builder = ColumnBuilder::with_capacity(batch.len());
    for row in 0..batch.len() {
        match (column.value(row), sums.get(&batch.keys.get(row))) {
            (ValueRef::Float(_), Some(&(last, sum))) if last == row => {
                builder.push(ValueRef::Float(sum));
            }
            (ValueRef::Float(_), _) => builder.push(ValueRef::Float(0.0)),
            (other, _) => builder.push(other),
        }
    }
    builder.finish()
}

impl Operator for Window {
    fn process(&mut self, mut batch: Batch, step: &mut Step<'_>) -> Result<Option<Batch>> {
        self.store.finish_restore();
        let Inputs { columns, errors } = self.evaluate(&mut batch, step)?;
        let mut errors = errors.into_iter().peekable();
        for row in 0..batch.len() {
            if row % FETCH_ROWS == 0 {
                let chunk = row..batch.len().min(row + FETCH_ROWS);
                self.store
                    .fetch(chunk.map(|row| batch.keys.get(row)), &mut self.fetched);
            }
            let at = batch.cause(row).at();
            if 0 < at && self.store.is_due(step.times.before(at)) {
                self.close_due(step.times.before(at), step)?;
            }
            match errors.next_if(|error| error.row as usize == row) {
                Some(RowError { error, .. }) => step.fail(&batch, row, error),
                None => self.take_row(&batch, row, &columns, step)?,
            }
        }
        Ok(self.results.take(&self.aggregators))
    }

    fn advance(&mut self, step: &mut Step<'_>) -> Result<Option<Batch>> {
        self.store.finish_restore();
        let watermark = step
            .times
            .after
            .last()
            .copied()
            .unwrap_or(step.times.before);
        if let Some(timeout_ms) = step.tick_timeout_ms {
            self.close_quiet(watermark, timeout_ms, step)?;
        }
        self.close_due(watermark, step)?;
        Ok(self.results.take(&self.aggregators))
    }

    fn store(&mut self) -> Option<&mut dyn StateStore> {
        Some(&mut self.store)
    }

    fn is_waiting_for_time(&self) -> bool {
        self.emit == Emit::Final && 0 < self.store.open_count
    }

    fn take_late_count(&mut self) -> u64 {
        std::mem::take(&mut self.store.late_count)
    }
}
