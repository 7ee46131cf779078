//! Rows that leave for something other than a topic.
//!
//! Rows for sinks wait for the end of the epoch ([`SinkSet`]); what is printed
//! is shown when its step ends, before the commit, so that a user sees what the
//! program does now: after a crash it may be shown again.

use headwater_connect::{Delivery, Sink, Table, TableOptions};
use headwater_core::env::Env;
use headwater_core::json;
use headwater_core::{Batch, Cause, Error, Position, Result, Rows, TopicPartition, ValueRef};
use headwater_log::{Committed, Fetched};
use headwater_operators::Delivered;
use headwater_plan::{LogicalPlan, NodeId, Op, Print};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::settings::Host;

/// Adds to rows where they came from.
pub(crate) fn delivery(
    delivered: Delivered,
    partition: &TopicPartition,
    fetched: Option<&Fetched>,
    resume: Position,
) -> Delivery {
    let position_of = |cause: Cause| match fetched {
        Some(fetched) if !fetched.records.is_empty() => fetched.positions.get(cause.at()),
        _ => resume,
    };
    let batch = delivered.batch;
    let positions = (0..batch.len())
        .map(|row| position_of(batch.cause(row)))
        .collect();
    Delivery {
        batch,
        partition: partition.clone(),
        positions,
    }
}

/// The sinks of an application, shared by its workers. A worker holds the lock
/// from the first row of its epoch to the end of its commit, so that the
/// committed position of a sink is that of whole epochs.
#[derive(Clone, Default)]
pub(crate) struct SinkSet {
    sinks: Arc<Mutex<Sinks>>,
}

#[derive(Default)]
struct Sinks {
    by_name: BTreeMap<String, Box<dyn Sink>>,
    /// Whether rows may have been written that were not committed. Nothing more
    /// is committed then, or another worker's commit would count them in.
    is_broken: bool,
}

/// The pseudo partition under which a sink's position is committed.
pub(crate) fn sink_partition(name: &str) -> TopicPartition {
    TopicPartition::new(format!("sink:{name}"), 0)
}

impl SinkSet {
    pub(crate) fn insert(&self, name: &str, sink: Box<dyn Sink>) {
        self.lock().by_name.insert(name.to_owned(), sink);
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.lock().by_name.contains_key(name)
    }

    fn lock(&self) -> MutexGuard<'_, Sinks> {
        self.sinks
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Opens every sink where its last commit ended. A sink without a committed
    /// position gets one before its first row, so that what a crash leaves in it
    /// can be cut off; those positions are returned, to be committed now.
    pub(crate) fn open(
        &self,
        env: &Env,
        committed: &BTreeMap<TopicPartition, Committed>,
    ) -> Result<Vec<(TopicPartition, Committed)>> {
        let mut first = Vec::new();
        let mut sinks = self.lock();
        sinks.is_broken = false;
        for (name, open) in &mut sinks.by_name {
            let partition = sink_partition(name);
            let position = committed
                .get(&partition)
                .map(|known| known.metadata.clone());
            open.open(env, position.as_deref())?;
            if position.is_none()
                && let Some(metadata) = open.flush()?
            {
                let position = Position::from_offset(0);
                first.push((partition, Committed { position, metadata }));
            }
        }
        Ok(first)
    }

    pub(crate) fn close(&self) {
        let mut sinks = self.lock();
        sinks.by_name.values_mut().for_each(|sink| sink.close());
    }

    /// Writes an epoch's rows, lets `commit` commit the sinks' positions with
    /// everything else, and keeps other workers out meanwhile.
    pub(crate) fn write_and_commit<T>(
        &self,
        rows: &[(String, Delivery)],
        commit: impl FnOnce(Vec<(TopicPartition, Committed)>) -> Result<T>,
    ) -> Result<T> {
        if rows.is_empty() {
            return commit(Vec::new());
        }
        let mut sinks = self.lock();
        if sinks.is_broken {
            return Err(Error::unavailable(
                "another worker's rows are in a sink and not committed",
            ));
        }
        sinks.is_broken = true;
        let result = commit(sinks.write(rows)?)?;
        sinks.is_broken = false;
        Ok(result)
    }
}

impl Sinks {
    /// Writes rows and flushes the sinks that got some; returns their positions.
    fn write(&mut self, rows: &[(String, Delivery)]) -> Result<Vec<(TopicPartition, Committed)>> {
        for (name, delivery) in rows {
            let open = self.by_name.get_mut(name).ok_or_else(|| {
                Error::internal(format!("rows for a sink that is not there, sink=`{name}`"))
            })?;
            open.write(delivery)?;
        }
        let mut positions = Vec::new();
        for (name, open) in &mut self.by_name {
            if rows.iter().any(|(other, _)| other == name)
                && let Some(metadata) = open.flush()?
            {
                let position = Position::from_offset(0);
                positions.push((sink_partition(name), Committed { position, metadata }));
            }
        }
        Ok(positions)
    }
}

/// What is shown to the user while the application runs.
pub(crate) struct Screen {
    host: Arc<dyn Host>,
    tables: BTreeMap<NodeId, Table>,
}

impl Screen {
    pub(crate) fn new(plan: &LogicalPlan, host: Arc<dyn Host>) -> Screen {
        let mut tables = BTreeMap::new();
        for (id, node) in plan.nodes().iter().enumerate() {
            if let Op::PrintTable(options) = &node.op {
                tables.insert(
                    id,
                    Table::new(TableOptions {
                        size: options.size,
                        title: options.title.clone(),
                        has_metadata: options.has_metadata,
                        columns: options.columns.clone(),
                        column_widths: options.column_widths.clone(),
                        is_live: options.is_live && host.is_terminal(),
                        timeout: Duration::from_secs_f64(options.timeout_s.max(0.0)),
                    }),
                );
            }
        }
        Screen { host, tables }
    }

    /// Shows rows of a `print` or `print_table` operator.
    pub(crate) fn show(&mut self, op: &Op, id: NodeId, delivery: &Delivery, now: Duration) {
        match op {
            Op::Print(print) => {
                for row in 0..delivery.batch.len() {
                    self.host.print(&line_of(print, &delivery.batch, row));
                }
            }
            _ => {
                if let Some(table) = self.tables.get_mut(&id) {
                    table.push(delivery, now);
                }
            }
        }
    }

    /// Draws the tables that have changed.
    pub(crate) fn draw(&mut self, now: Duration, is_last: bool) {
        for table in self.tables.values_mut() {
            if let Some(text) = table.draw(now, is_last) {
                self.host.print(&text);
            }
        }
    }
}

/// A row as JSON text.
pub(crate) fn row_text(batch: &Batch, row: usize) -> String {
    let mut text = Vec::new();
    let is_there = match &batch.rows {
        Rows::Json(rows) => rows.write_row(row, &mut text).unwrap_or(false),
        Rows::Objects(objects) => objects.write_json(row, &mut text).unwrap_or(false),
        Rows::Values(column) => match column.value(row) {
            ValueRef::Bytes(bytes) => {
                text.extend(bytes.escape_ascii());
                true
            }
            value => json::write_value(value, &mut text).is_ok(),
        },
    };
    if is_there {
        String::from_utf8_lossy(&text).into_owned()
    } else {
        "null".to_owned()
    }
}

fn line_of(print: &Print, batch: &Batch, row: usize) -> String {
    let mut text = row_text(batch, row);
    if print.is_pretty {
        text = json::pretty(&text);
    }
    if !print.has_metadata {
        return text + "\n";
    }
    let key = match batch.keys.get(row) {
        None => "null".to_owned(),
        Some(key) => key.escape_ascii().to_string(),
    };
    let headers: Vec<String> = batch
        .headers(row)
        .iter()
        .map(|header| match &header.value {
            Some(value) => format!("{}={}", header.name, value.escape_ascii()),
            None => header.name.to_string(),
        })
        .collect();
    let headers = if headers.is_empty() {
        String::new()
    } else {
        format!(" headers={}", headers.join(","))
    };
    format!(
        "key={key} timestamp={}{headers} {text}\n",
        batch.timestamps[row]
    )
}
