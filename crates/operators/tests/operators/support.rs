//! Batches in, rows out, and functions that stand for a user's.

use headwater_core::{
    Batch, Column, DataError, Error, Evaluated, JsonRows, RecordsBuilder, Result, RowError, Rows,
    TopicPartition, Value, ValueRef, json,
};
use headwater_operators::{
    Call, Function, FunctionRows, Functions, Operator, Outputs, Step, StepTimes, Wants,
};
use headwater_plan::{BatchForm, FunctionRef, FunctionShape};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Twice the argument, or the row.
pub(crate) const DOUBLE: u32 = 0;
/// `{"was": row}`; fails for the text "fail".
pub(crate) const WRAP: u32 = 1;
/// The elements of an array.
pub(crate) const EXPAND: u32 = 2;
/// Whether the row has the field `v`.
pub(crate) const HAS_V: u32 = 3;
/// Half of `v` as `half`; raises where a value is odd.
pub(crate) const HALVE: u32 = 4;
/// Too few values.
pub(crate) const SHORT: u32 = 5;
/// The length of rows that it gets whole.
pub(crate) const WHOLE: u32 = 6;
/// The row itself.
pub(crate) const HEADERS: u32 = 7;

/// Records with keys `k0`, `k1` and event times 0, 1 and so on.
pub(crate) fn batch<T: AsRef<[u8]>>(rows: &[T]) -> Batch {
    let mut records = RecordsBuilder::default();
    for (index, row) in rows.iter().enumerate() {
        let key = format!("k{index}");
        records.push(Some(key.as_bytes()), Some(row.as_ref()), index as i64, None);
    }
    Batch::from_records(&records.finish())
}

/// What an operator made of a batch.
pub(crate) struct Ran {
    pub(crate) batch: Option<Batch>,
    /// The rows that go on, as JSON; empty if they are none.
    pub(crate) rows: Vec<String>,
    /// The inputs that failed, and why.
    pub(crate) failed: Vec<(usize, String)>,
    /// The rows that failed, where they are kept, as JSON.
    pub(crate) failed_rows: Vec<String>,
    pub(crate) outputs: Outputs,
}

impl Ran {
    /// The failures, to compare with literals.
    pub(crate) fn failed(&self) -> Vec<(usize, &str)> {
        self.failed
            .iter()
            .map(|(at, reason)| (*at, &**reason))
            .collect()
    }
}

pub(crate) fn run(operator: &mut dyn Operator, rows: &[&str]) -> Ran {
    run_batch(operator, batch(rows))
}

pub(crate) fn run_batch(operator: &mut dyn Operator, batch: Batch) -> Ran {
    let times = StepTimes {
        before: 0,
        after: vec![0; batch.len()],
    };
    let partition = TopicPartition::new("in", 2);
    let mut keyed = Default::default();
    let mut step = Step::new(&times, &mut keyed, &partition);
    let batch = operator
        .process(batch, &mut step)
        .expect("the task goes on");
    let kept = step
        .failures
        .iter()
        .filter_map(|failure| failure.row.clone());
    let failed_rows = kept.flat_map(written).collect();
    let mut failed: Vec<(usize, String)> = step
        .failures
        .into_iter()
        .map(|failure| (failure.cause.at(), failure.error.to_string()))
        .collect();
    failed.sort_by_key(|(at, _)| *at);
    Ran {
        rows: batch.clone().map(written).unwrap_or_default(),
        batch,
        failed,
        failed_rows,
        outputs: step.outputs,
    }
}

fn written(batch: Batch) -> Vec<String> {
    let (mut rows, errors) = batch.rows.into_json();
    if !errors.is_empty() || !rows.prepare_to_write().is_empty() {
        return Vec::new();
    }
    let text = |row: usize| {
        let mut text = Vec::new();
        match rows.write_row(row, &mut text) {
            Ok(_) => String::from_utf8(text).expect("JSON is UTF-8"),
            Err(_) => "unwritable".to_owned(),
        }
    };
    (0..rows.len()).map(text).collect()
}

pub(crate) fn function(id: u32) -> FunctionRef {
    FunctionRef {
        id,
        name: "f".into(),
        line: None,
        shape: FunctionShape::default(),
        reads: Vec::new(),
    }
}

pub(crate) fn functions() -> Functions {
    counted_functions().0
}

/// The functions, and the number of rows that functions of values have seen.
pub(crate) fn counted_functions() -> (Functions, Arc<AtomicI64>) {
    let mut functions = Functions::default();
    let rows_seen = Arc::new(AtomicI64::new(0));
    for id in DOUBLE..=HEADERS {
        functions.insert(
            id,
            Arc::new(Fake {
                id,
                rows_seen: Arc::clone(&rows_seen),
            }),
        );
    }
    (functions, rows_seen)
}

struct Fake {
    id: u32,
    rows_seen: Arc<AtomicI64>,
}

impl Fake {
    fn texts(call: &Call<'_>) -> Vec<String> {
        let Rows::Json(rows) = &call.batch.rows else {
            panic!("JSON rows")
        };
        let text = |row: usize| {
            let mut text = Vec::new();
            rows.write_row(row, &mut text)
                .expect("rows were made ready");
            String::from_utf8(text).expect("rows were checked")
        };
        (0..rows.len()).map(text).collect()
    }

    fn value(&self, value: ValueRef<'_>) -> Result<Value, DataError> {
        match (self.id, value) {
            (DOUBLE, ValueRef::Int(value)) => Ok(Value::Int(value * 2)),
            (HAS_V, ValueRef::Json(text)) => Ok(Value::Bool(text.contains("\"v\""))),
            (HAS_V, _) => Ok(Value::Bool(false)),
            (HEADERS, value) => Ok(value.to_owned()),
            _ => Err(DataError::new("unexpected")),
        }
    }
}

fn rows_of(texts: impl IntoIterator<Item = String>) -> Rows {
    let mut records = RecordsBuilder::default();
    for text in texts {
        records.push(None, Some(text.as_bytes()), 0, None);
    }
    let records = records.finish();
    Rows::Json(JsonRows::new(
        records.bytes.clone(),
        records.values.as_slice(),
    ))
}

impl Function for Fake {
    fn rows(&self, call: Call<'_>) -> Result<FunctionRows> {
        let texts = Fake::texts(&call);
        if self.id == EXPAND {
            let mut sources = Vec::new();
            let mut items = Vec::new();
            for (row, text) in texts.iter().enumerate() {
                for item in json::elements(text).expect("an array") {
                    sources.push(row as u32);
                    items.push(item.to_owned());
                }
            }
            return Ok(FunctionRows {
                rows: rows_of(items),
                sources: Some(sources),
                errors: Vec::new(),
            });
        }
        let mut errors = Vec::new();
        let made = texts.into_iter().enumerate().map(|(row, text)| {
            if text == "\"fail\"" {
                errors.push(RowError {
                    row: row as u32,
                    error: DataError::new("asked to fail"),
                });
                return "null".to_owned();
            }
            format!("{{\"was\":{text}}}")
        });
        let rows = rows_of(made);
        Ok(FunctionRows {
            rows,
            sources: None,
            errors,
        })
    }

    fn update(&self, call: Call<'_>) -> Result<FunctionRows> {
        self.rows(call)
    }

    fn values(&self, call: Call<'_>, _wants: Wants) -> Result<Evaluated> {
        let whole;
        let argument = match call.argument {
            Some(argument) => argument,
            None => {
                let mut rows = call.batch.rows.clone();
                whole = rows.column(&Default::default()).column;
                &whole
            }
        };
        self.rows_seen
            .fetch_add(argument.len() as i64, Ordering::SeqCst);
        let mut errors = Vec::new();
        let mut values = Vec::new();
        for (row, value) in argument.iter().enumerate() {
            values.push(self.value(value).unwrap_or_else(|error| {
                errors.push(RowError {
                    row: row as u32,
                    error,
                });
                Value::Null
            }));
        }
        Ok(Evaluated {
            column: values.iter().map(Value::as_ref).collect(),
            errors,
        })
    }

    fn batch(
        &self,
        columns: &[(Box<str>, Column)],
        _form: BatchForm,
    ) -> Result<Vec<(Box<str>, Column)>> {
        let (name, column) = &columns[0];
        let result: Result<(&str, Vec<Value>)> = match self.id {
            SHORT => Ok(("x", Vec::new())),
            WHOLE => {
                assert_eq!(&**name, "value");
                let length = |value: ValueRef<'_>| match value {
                    ValueRef::Json(text) => Value::Int(text.len() as i64),
                    other => panic!("{other:?}"),
                };
                Ok(("chars", column.iter().map(length).collect()))
            }
            _ => column
                .iter()
                .map(|value| match value {
                    ValueRef::Int(value) if value % 2 == 0 => Ok(Value::Int(value / 2)),
                    ValueRef::Int(value) => {
                        Err(Error::data(DataError::new(format!("{value} is odd"))))
                    }
                    other => panic!("{other:?}"),
                })
                .collect::<Result<Vec<Value>>>()
                .map(|values| ("half", values)),
        };
        let (name, values) = result?;
        Ok(vec![(
            name.into(),
            values.iter().map(Value::as_ref).collect(),
        )])
    }

    fn invoke(&self, _method: Option<&str>, _arguments: &[ValueRef<'_>]) -> Result<Value> {
        unreachable!("aggregators have tests of their own")
    }
}
