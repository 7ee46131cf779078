//! Users' functions of the simulation: closures over JSON values.

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
type Body =
    dyn Fn(&Json, &mut KeyedState<'_>) -> std::result::Result<Vec<Json>, String> + Send + Sync;

struct RecordFunction(Box<Body>);

/// Each row of a batch as JSON.
fn parsed(rows: &Rows) -> Vec<Json> {
    let Rows::Json(rows) = rows else {
        return Vec::new();
    };
    let mut rows = rows.clone();
    rows.prepare_to_write();
    (0..rows.len())
        .map(|row| {
            let mut text = Vec::new();
            match rows.write_row(row, &mut text) {
                Ok(true) => serde_json::from_slice(&text).unwrap_or(Json::Null),
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
        for _ in 0..call.batch.len() {
            builder.push(ValueRef::Null);
        }
        Ok(Evaluated {
            column: builder.finish(),
            errors: Vec::new(),
        })
    }

    fn batch(&self, _: &[(Box<str>, Column)], _: BatchForm) -> Result<Vec<(Box<str>, Column)>> {
        Err(headwater::Error::invalid(
            "the simulation has no batch functions",
        ))
    }

    fn invoke(&self, _: Option<&str>, _: &[ValueRef<'_>]) -> Result<Value> {
        Err(headwater::Error::invalid(
            "the simulation has no aggregators of its own",
        ))
    }
}

/// The functions of one program, and steps that call them.
#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) functions: Functions,
    next: u32,
}

impl Registry {
    /// Rows for each row, with the key's state if `is_stateful`.
    pub(crate) fn apply(
        &mut self,
        frame: &DataFrame,
        name: &str,
        is_stateful: bool,
        body: impl Fn(&Json, &mut KeyedState<'_>) -> std::result::Result<Vec<Json>, String>
        + Send
        + Sync
        + 'static,
    ) -> DataFrame {
        self.next += 1;
        let function = Arc::new(RecordFunction(Box::new(body)));
        self.functions.insert(self.next, function);
        frame.then(Op::Apply(FunctionRef {
            id: self.next,
            name: name.into(),
            line: None,
            shape: FunctionShape {
                is_expand: is_stateful,
                is_stateful,
                ..FunctionShape::default()
            },
            reads: Vec::new(),
        }))
    }
}

/// Counts a key's rows, for ever or until the key has been silent for `ttl_ms`.
pub(crate) fn count(state: &mut KeyedState<'_>, ttl_ms: Option<i64>) -> i64 {
    if state.has_clock() {
        state.advance_clock();
    }
    let known = state.get(b"count");
    let before: i64 = known
        .as_deref()
        .and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse().ok())
        .unwrap_or(0);
    let after = before + 1;
    state.set(b"count", after.to_string().as_bytes(), ttl_ms);
    after
}
