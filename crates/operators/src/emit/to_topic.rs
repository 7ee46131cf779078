//! Appends rows to topics.

use super::encode::encode;
use crate::apply::Resolved;
use crate::{Appended, Compiled, Functions, Operator, Step, Wants, expr};
use headwater_core::{
    Batch, Cause, Column, DataError, Error, Evaluated, FieldPath, RecordsBuilder, Result, RowError,
    Rows, TopicPartition, ValueRef, json, partitioner,
};
use headwater_plan::{Expr, FunctionRef, Target, TextFormat, TopicRef};
use std::sync::Arc;

/// A topic that rows may go to, and its number of partitions.
#[derive(Clone, Debug)]
pub struct TopicRoute {
    /// The topic.
    pub topic: TopicRef,
    /// The number of its partitions.
    pub partitions: u32,
}

/// Encodes each row for a topic and chooses its partition; the row goes on.
///
/// A key goes to the partition that Kafka's default partitioner gives it. A row
/// without a key stays in the partition number that it came from, if the topic
/// has so many, else in partition 0: by itself, not by its neighbours.
#[derive(Debug)]
pub struct ToTopic {
    routes: Vec<Route>,
    /// Chooses the route by its name; without it there is one route.
    chooser: Option<Resolved>,
    key: Key,
}

#[derive(Debug)]
enum Key {
    /// The row's own, as it is.
    Own,
    Function(Resolved),
    Expr(Compiled),
}

/// A topic with the records that a batch has for it.
#[derive(Debug)]
struct Route {
    topic: TopicRef,
    /// By partition; those without records are `None`.
    open: Vec<Option<Open>>,
    /// The partitions with records.
    touched: Vec<u32>,
    /// The records and bytes that the last batch had for each row, by partition.
    shares: Vec<[f32; 2]>,
}

#[derive(Debug)]
struct Open {
    records: RecordsBuilder,
    causes: Vec<Cause>,
}

/// A field, or the reason why there is none.
type Fallible<T> = std::result::Result<T, Box<DataError>>;

impl ToTopic {
    /// Appends to `target`, which is among `routes`, under a new key if there is
    /// a function or an expression for it.
    ///
    /// # Errors
    /// `Invalid` if the target is not among the routes, a topic has no
    /// partitions, or a function was not registered.
    pub fn new(
        routes: Vec<TopicRoute>,
        target: &Target,
        key: Option<&FunctionRef>,
        key_expr: Option<&Expr>,
        functions: &Functions,
    ) -> Result<ToTopic> {
        let (chooser, routes) = match target {
            Target::Dynamic { function } => (Some(Resolved::new(function, functions)?), routes),
            Target::Topic(topic) => {
                let route = routes
                    .into_iter()
                    .find(|route| route.topic.name == topic.name);
                let route = route.ok_or_else(|| {
                    Error::invalid(format!(
                        "a topic to write to is unknown, topic=`{}`",
                        topic.name
                    ))
                })?;
                (
                    None,
                    vec![TopicRoute {
                        topic: topic.clone(),
                        ..route
                    }],
                )
            }
        };
        if let Some(route) = routes.iter().find(|route| route.partitions == 0) {
            let name = &route.topic.name;
            return Err(Error::invalid(format!(
                "a topic has no partitions, topic=`{name}`"
            )));
        }
        let key = match (key, key_expr) {
            (Some(function), _) => Key::Function(Resolved::new(function, functions)?),
            (None, Some(expr)) => Key::Expr(Compiled::new(expr, functions)?),
            (None, None) => Key::Own,
        };
        Ok(ToTopic {
            routes: routes.into_iter().map(Route::new).collect(),
            chooser,
            key,
        })
    }

    /// Leaves out the rows that cannot be written whatever their topic is, and
    /// returns the new keys and the topics' names, where rows have some.
    fn prepare(
        &mut self,
        batch: Batch,
        step: &mut Step<'_>,
    ) -> Result<(Batch, Option<Column>, Option<Column>)> {
        let mut batch = batch;
        if let Rows::Json(rows) = &mut batch.rows {
            let malformed = rows.prepare_to_write();
            batch = step.fail_rows(batch, malformed);
        }
        let keys = match &mut self.key {
            Key::Own => None,
            Key::Expr(expr) => Some(expr.evaluate(&mut batch, step)?),
            Key::Function(resolved) => {
                batch = resolved.prepare(batch, step);
                Some(resolved.values(&batch, Wants::Key, step)?)
            }
        };
        let mut keys = keys;
        if let Some(Evaluated { column, errors }) = &mut keys
            && !errors.is_empty()
        {
            let errors = std::mem::take(errors);
            *column = column.take(&expr::rows_without(batch.len(), &errors));
            batch = step.fail_rows(batch, errors);
        }
        let mut keys = keys.map(|keys| keys.column);
        let Some(chooser) = &mut self.chooser else {
            return Ok((batch, keys, None));
        };
        let len = batch.len();
        batch = chooser.prepare(batch, step);
        assert_eq!(batch.len(), len, "rows were checked before");
        let Evaluated {
            column: mut names,
            errors,
        } = chooser.values(&batch, Wants::Topic, step)?;
        if !errors.is_empty() {
            let rows = expr::rows_without(len, &errors);
            names = names.take(&rows);
            keys = keys.map(|keys| keys.take(&rows));
            batch = step.fail_rows(batch, errors);
        }
        Ok((batch, keys, Some(names)))
    }

    /// The number of the route with a name.
    fn route_named(&self, name: ValueRef<'_>) -> Fallible<usize> {
        let ValueRef::Str(name) = name else {
            let kind = name.kind().name();
            return Err(Box::new(DataError::new(format!(
                "a function that chooses a topic returns a topic, this is {kind}"
            ))));
        };
        self.routes
            .iter()
            .position(|route| *route.topic.name == *name)
            .ok_or_else(|| {
                let error = DataError::new(format!("the topic was not declared, topic=`{name}`"));
                Box::new(
                    error.with_hint("declare it with `app.topic(...)` before the application runs"),
                )
            })
    }
}

impl Operator for ToTopic {
    fn process(&mut self, batch: Batch, step: &mut Step<'_>) -> Result<Option<Batch>> {
        let (mut batch, keys, names) = self.prepare(batch, step)?;
        let is_json = |route: &Route| route.topic.value == TextFormat::Json;
        let mut errors = Vec::new();
        let bare = if self.routes.iter().all(is_json) {
            None
        } else {
            Some(batch.rows.column(&FieldPath::default()))
        };
        let mut encoded_key = Vec::new();
        for row in 0..batch.len() {
            let route = match &names {
                None => Ok(0),
                Some(names) => self.route_named(names.value(row)),
            };
            let pushed = route.and_then(|route| {
                let route = &mut self.routes[route];
                let key = match &keys {
                    None => batch.keys.get(row),
                    Some(keys) => {
                        encoded_key.clear();
                        let has_key = encode(keys.value(row), route.topic.key, &mut encoded_key)
                            .map_err(|error| Box::new(error.in_field("the key")))?;
                        has_key.then_some(encoded_key.as_slice())
                    }
                };
                route.push(&batch, row, key, bare.as_ref(), step)
            });
            if let Err(error) = pushed {
                errors.push(RowError {
                    row: row as u32,
                    error: *error,
                });
            }
        }
        for route in &mut self.routes {
            route.close(batch.len(), step);
        }
        Ok(Some(step.fail_rows(batch, errors)))
    }
}

impl Route {
    fn new(route: TopicRoute) -> Route {
        let open = (0..route.partitions).map(|_| None).collect();
        let shares = vec![[0.0; 2]; route.partitions as usize];
        Route {
            topic: route.topic,
            open,
            touched: Vec::new(),
            shares,
        }
    }

    fn partition_of(&self, key: Option<&[u8]>, source: u32) -> u32 {
        let partitions = self.open.len() as u32;
        match key {
            _ if partitions == 1 => 0,
            Some(key) => partitioner::partition_of(key, partitions),
            None if source < partitions => source,
            None => 0,
        }
    }

    /// Encodes a row. `bare` holds the rows' values where a format needs them.
    fn push(
        &mut self,
        batch: &Batch,
        row: usize,
        key: Option<&[u8]>,
        bare: Option<&Evaluated>,
        step: &mut Step<'_>,
    ) -> Fallible<()> {
        let partition = self.partition_of(key, step.partition.partition);
        let slot = &mut self.open[partition as usize];
        if slot.is_none() {
            self.touched.push(partition);
        }
        let open = slot.get_or_insert_with(|| {
            let expected = |share: f32| (share * batch.len() as f32) as usize;
            let [records, bytes] = self.shares[partition as usize].map(expected);
            Open {
                records: RecordsBuilder::with_capacity(records, bytes),
                causes: Vec::with_capacity(records),
            }
        });
        let headers = batch
            .headers
            .as_ref()
            .and_then(|headers| headers[row].clone());
        let format = self.topic.value;
        open.records
            .try_push_with(key, batch.timestamps[row], headers, |out| match bare {
                Some(bare) if format != TextFormat::Json => encode_bare(bare, row, format, out),
                _ => write_json(&batch.rows, row, out),
            })?;
        open.causes.push(batch.cause(row));
        if open.records.byte_count() >= RecordsBuilder::BYTES_MAX {
            self.close(batch.len(), step);
        }
        Ok(())
    }

    /// Hands the records over, in the order of the partitions.
    fn close(&mut self, batch_rows: usize, step: &mut Step<'_>) {
        self.touched.sort_unstable();
        for partition in self.touched.drain(..) {
            let Some(open) = self.open[partition as usize].take() else {
                continue;
            };
            if open.records.is_empty() {
                continue;
            }
            let sizes = [open.records.len(), open.records.byte_count()];
            self.shares[partition as usize] = sizes.map(|size| size as f32 / batch_rows as f32);
            step.outputs.appended.push(Appended {
                operator: step.operator,
                partition: TopicPartition::new(Arc::clone(&self.topic.name), partition),
                records: open.records.finish(),
                causes: open.causes,
            });
        }
    }
}

fn encode_bare(
    bare: &Evaluated,
    row: usize,
    format: TextFormat,
    out: &mut Vec<u8>,
) -> Fallible<bool> {
    let failed = bare
        .errors
        .binary_search_by_key(&(row as u32), |error| error.row);
    match failed {
        Ok(index) => Err(Box::new(expr::copy_error(&bare.errors[index].error))),
        Err(_) => encode(bare.column.value(row), format, out),
    }
}

/// Appends a row as JSON; `false` for a tombstone.
fn write_json(rows: &Rows, row: usize, out: &mut Vec<u8>) -> Fallible<bool> {
    match rows {
        Rows::Json(rows) => rows.write_row(row, out).map_err(Box::new),
        Rows::Objects(objects) => objects.write_json(row, out).map_err(Box::new),
        Rows::Values(column) => match column.value(row) {
            ValueRef::Null => Ok(false),
            value => {
                json::write_value(value, out).map_err(|error| Box::new(DataError::from(error)))?;
                Ok(true)
            }
        },
    }
}
