//! Users' functions of the simulation and of the engine's tests, which take this file as
//! it is: closures over JSON values.

use headwater::core::arrow::buffer::Buffer;
use headwater::core::{
    Column, ColumnBuilder, DataError, Evaluated, JsonRows, RowError, Rows, Span, ValueRef,
};
use headwater::operators::{Call, Function, FunctionRows, Functions, Wants};
use headwater::plan::{BatchForm, FunctionRef, FunctionShape, Op};
use headwater::state::KeyedState;
use headwater::{DataFrame, Result, Value};
use serde_json::Value as Json;
use std::sync::Arc;

/// What a record function does: the rows it gives, or why it fails.
pub type Body =
    dyn Fn(&Json, &mut KeyedState<'_>) -> std::result::Result<Vec<Json>, String> + Send + Sync;

struct RecordFunction(Box<Body>);

/// Each row of a batch as JSON.
fn parsed(rows: &Rows) -> Vec<Json> {
    let Rows::Json(rows) = rows else {
        panic!("rows are JSON here")
    };
    let mut rows = rows.clone();
    assert!(
        rows.prepare_to_write().is_empty(),
        "functions see sound rows only"
    );
    (0..rows.len())
        .map(|row| {
            let mut text = Vec::new();
            match rows.write_row(row, &mut text) {
                Ok(true) => serde_json::from_slice(&text).expect("sound JSON"),
                _ => Json::Null,
            }
        })
        .collect()
}

impl RecordFunction {
    fn each(&self, call: Call<'_>) -> Vec<std::result::Result<Vec<Json>, String>> {
        let rows = parsed(&call.batch.rows);
        rows.iter()
            .enumerate()
            .map(|(row, value)| {
                let now_ms = call.batch.timestamps[row];
                let mut state = call.keyed.of_key(call.batch.keys.get(row), now_ms);
                (self.0)(value, &mut state)
            })
            .collect()
    }
}

impl Function for RecordFunction {
    fn rows(&self, call: Call<'_>) -> Result<FunctionRows> {
        let is_expand = call.shape.is_expand;
        let (mut text, mut spans) = (Vec::new(), Vec::new());
        let (mut sources, mut errors) = (Vec::new(), Vec::new());
        for (row, result) in self.each(call).into_iter().enumerate() {
            match result {
                Ok(made) => {
                    assert!(is_expand || made.len() == 1, "one row for each row");
                    for value in made {
                        let written = value.to_string();
                        spans.push(Span {
                            start: text.len() as u32,
                            len: written.len() as u32,
                        });
                        text.extend_from_slice(written.as_bytes());
                        sources.push(row as u32);
                    }
                }
                Err(reason) => {
                    errors.push(RowError {
                        row: row as u32,
                        error: DataError::new(reason),
                    });
                    if !is_expand {
                        spans.push(Span::NULL);
                    }
                }
            }
        }
        Ok(FunctionRows {
            rows: Rows::Json(JsonRows::new(Buffer::from_vec(text), spans)),
            sources: is_expand.then_some(sources),
            errors,
        })
    }

    fn update(&self, call: Call<'_>) -> Result<FunctionRows> {
        self.rows(call)
    }

    fn values(&self, call: Call<'_>, _wants: Wants) -> Result<Evaluated> {
        let mut builder = ColumnBuilder::with_capacity(call.batch.len());
        let mut errors = Vec::new();
        for (row, result) in self.each(call).into_iter().enumerate() {
            match result {
                Ok(made) => builder.push(ValueRef::Bool(made == [Json::Bool(true)])),
                Err(reason) => {
                    builder.push(ValueRef::Null);
                    errors.push(RowError {
                        row: row as u32,
                        error: DataError::new(reason),
                    });
                }
            }
        }
        Ok(Evaluated {
            column: builder.finish(),
            errors,
        })
    }

    fn batch(&self, _: &[(Box<str>, Column)], _: BatchForm) -> Result<Vec<(Box<str>, Column)>> {
        unreachable!("there are no batch functions here")
    }

    fn invoke(&self, _: Option<&str>, _: &[ValueRef<'_>]) -> Result<Value> {
        unreachable!("there are no aggregators of a user here")
    }
}

/// The functions of one program, and steps that call them.
#[derive(Default)]
pub struct Registry {
    /// By their numbers.
    pub functions: Functions,
    next: u32,
}

impl Registry {
    fn add(&mut self, name: &str, shape: FunctionShape, body: Box<Body>) -> FunctionRef {
        self.next += 1;
        self.functions
            .insert(self.next, Arc::new(RecordFunction(body)));
        FunctionRef {
            id: self.next,
            name: name.into(),
            line: None,
            shape,
            reads: Vec::new(),
        }
    }

    /// One row for each row, without state.
    pub fn apply(
        &mut self,
        frame: &DataFrame,
        name: &str,
        body: impl Fn(&Json) -> std::result::Result<Json, String> + Send + Sync + 'static,
    ) -> DataFrame {
        let body = Box::new(move |row: &Json, _: &mut KeyedState<'_>| Ok(vec![body(row)?]));
        let function = self.add(name, FunctionShape::default(), body);
        frame.then(Op::Apply(function))
    }

    /// Keeps the rows for which `body` is true.
    pub fn filter(
        &mut self,
        frame: &DataFrame,
        name: &str,
        body: impl Fn(&Json) -> std::result::Result<bool, String> + Send + Sync + 'static,
    ) -> DataFrame {
        let body =
            Box::new(move |row: &Json, _: &mut KeyedState<'_>| Ok(vec![Json::Bool(body(row)?)]));
        let function = self.add(name, FunctionShape::default(), body);
        frame.then(Op::FilterBy(function))
    }

    /// Any number of rows for each row, with the key's state.
    pub fn stateful(
        &mut self,
        frame: &DataFrame,
        name: &str,
        is_expand: bool,
        body: impl Fn(&Json, &mut KeyedState<'_>) -> std::result::Result<Vec<Json>, String>
        + Send
        + Sync
        + 'static,
    ) -> DataFrame {
        let shape = FunctionShape {
            is_expand,
            is_stateful: true,
            ..FunctionShape::default()
        };
        let function = self.add(name, shape, Box::new(body));
        frame.then(Op::Apply(function))
    }
}

/// Adds to a number that a key keeps under `name`; returns the new one.
pub fn add_to(state: &mut KeyedState<'_>, name: &str, amount: i64) -> i64 {
    let known = state.get(name.as_bytes());
    let before: i64 = known
        .as_deref()
        .and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse().ok())
        .unwrap_or(0);
    let after = before + amount;
    state.set(name.as_bytes(), after.to_string().as_bytes(), None);
    after
}
