//! Texts and bytes of users: casts, times, texts of floats, bare formats and
//! headers. What an expression gives for a row does not depend on its
//! neighbours, so every case is evaluated alone and among others.

use crate::input::Input;
use headwater_connect::TimestampFormat;
use headwater_core::{
    Batch, Column, Error, Evaluated, Kind, RecordsBuilder, Result, Rows, TopicPartition, Value,
    ValueRef, json::write_value,
};
use headwater_operators::{
    Call, Compiled, Function, FunctionRows, Functions, Operator, SetHeaders, Step, StepTimes,
    Wants, decode_rows,
};
use headwater_plan::{
    BatchForm, BinaryOp, CastTo, Expr, FunctionRef, OnCastError, ScalarFunction, TextFormat,
    UnaryOp, col,
};
use std::sync::Arc;

fn scalar(function: ScalarFunction, input: Expr) -> Expr {
    Expr::Scalar {
        function,
        input: Box::new(input),
    }
}

fn cast(to: CastTo, input: Expr) -> Expr {
    Expr::Cast {
        input: Box::new(input),
        to,
        on_error: OnCastError::Raise,
    }
}

/// A small tree of operations on the fields `a` and `b`.
fn expression(input: &mut Input<'_>, depth: u8) -> Expr {
    if depth == 0 {
        return match input.below(4) {
            0 => Expr::Literal(Value::Int(input.int())),
            1 => Expr::Literal(Value::Str(String::from_utf8_lossy(input.bytes()).into())),
            2 => col("b"),
            _ => col("a"),
        };
    }
    let inner = expression(input, depth - 1);
    let texts = |input: &mut Input<'_>| String::from_utf8_lossy(input.bytes()).into_owned();
    let index = |input: &mut Input<'_>| (input.byte() & 1 == 0).then(|| input.int());
    use ScalarFunction as S;
    match input.below(24) {
        0 => cast(CastTo::Int, inner),
        1 => cast(CastTo::Float, inner),
        2 => cast(CastTo::Str, inner),
        3 => cast(CastTo::Bool, inner),
        4 => scalar(S::ToTimestampMs, inner),
        5 => scalar(S::ToIsoFormat, inner),
        6 => scalar(S::Year, inner),
        7 => scalar(S::DayOfWeek, inner),
        8 => scalar(S::FloorTo(input.int()), inner),
        9 => scalar(S::Round(input.int() as i32), inner),
        10 => scalar(S::Slice(index(input), index(input)), inner),
        11 => scalar(S::Replace(texts(input).into(), texts(input).into()), inner),
        12 => scalar(S::Strip, inner),
        13 => scalar(S::Length, inner),
        14 => scalar(S::Upper, inner),
        15 => inner.unary(UnaryOp::Negate),
        16 => inner.abs(),
        _ => {
            const OPS: [BinaryOp; 8] = [
                BinaryOp::Add,
                BinaryOp::Subtract,
                BinaryOp::Multiply,
                BinaryOp::Divide,
                BinaryOp::FloorDivide,
                BinaryOp::Modulo,
                BinaryOp::Less,
                BinaryOp::Equal,
            ];
            let op = OPS[input.below(OPS.len())];
            inner.binary(op, expression(input, 0))
        }
    }
}

fn batch(rows: &[Vec<u8>]) -> Batch {
    let mut records = RecordsBuilder::default();
    for row in rows {
        records.push(Some(b"k"), Some(row), 0, None);
    }
    Batch::from_records(&records.finish())
}

/// The values or errors of rows, as texts that tell every value apart.
fn evaluate(expr: &Expr, rows: &[Vec<u8>]) -> Option<Vec<String>> {
    let mut compiled = Compiled::new(expr, &Functions::default()).ok()?;
    let times = StepTimes {
        before: 0,
        after: vec![0; rows.len()],
    };
    let (partition, mut keyed) = (TopicPartition::new("t", 0), Default::default());
    let mut step = Step::new(&times, &mut keyed, &partition);
    let mut batch = batch(rows);
    let Evaluated { column, errors } = compiled
        .evaluate(&mut batch, &mut step)
        .expect("no function is called");
    assert_eq!(column.len(), rows.len());
    let mut shown: Vec<String> = column.iter().map(show).collect();
    for error in errors {
        shown[error.row as usize] = error.error.to_string();
    }
    Some(shown)
}

fn show(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Float(float) if float.is_nan() => "nan".into(),
        ValueRef::Float(float) => format!("float {:x}", float.to_bits()),
        other => format!("{other:?}"),
    }
}

/// An expression on a few rows: no row's result depends on the others.
pub(crate) fn expressions(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let depth = 1 + input.byte() % 3;
    let expr = expression(&mut input, depth);
    let mut rows = Vec::new();
    for _ in 0..1 + input.below(5) {
        let mut row = b"{\"a\":".to_vec();
        value(&mut input, &mut row);
        row.extend_from_slice(b",\"b\":");
        value(&mut input, &mut row);
        row.push(b'}');
        rows.push(row);
    }
    let Some(together) = evaluate(&expr, &rows) else {
        return;
    };
    for (row, result) in rows.iter().zip(&together) {
        let alone = evaluate(&expr, std::slice::from_ref(row)).expect("it compiled before");
        assert_eq!(
            &alone[0],
            result,
            "{} by {expr:?} among others",
            String::from_utf8_lossy(row)
        );
    }
    check_float_text(&mut input);
    check_timestamp_format(&mut input);
}

/// A JSON value: any bytes, so perhaps not even JSON, or one of a kind.
fn value(input: &mut Input<'_>, out: &mut Vec<u8>) {
    let value = match input.below(7) {
        0 => return out.extend_from_slice(input.bytes()),
        1 => Value::Null,
        2 => Value::Bool(input.byte() & 1 == 0),
        3 => Value::Int(input.int()),
        4 => match f64::from_bits(input.int() as u64) {
            float if float.is_finite() => Value::Float(float),
            _ => Value::Float(-0.0),
        },
        5 => Value::BigInt("98765432109876543210".into()),
        _ => Value::Str(String::from_utf8_lossy(input.bytes()).into()),
    };
    write_value(value.as_ref(), out).expect("JSON has a form for it");
}

/// A float that is cast to a text and back is the same float.
fn check_float_text(input: &mut Input<'_>) {
    let float = f64::from_bits(input.int() as u64);
    if !float.is_finite() {
        return;
    }
    let mut row = b"{\"a\":".to_vec();
    write_value(ValueRef::Float(float), &mut row).expect("a finite float");
    row.push(b'}');
    let there_and_back = cast(CastTo::Float, cast(CastTo::Str, col("a")));
    let shown = evaluate(&there_and_back, &[row]).expect("it compiles");
    assert_eq!(shown, [show(ValueRef::Float(float))]);
}

fn check_timestamp_format(input: &mut Input<'_>) {
    let name = String::from_utf8_lossy(input.bytes());
    if let Ok(format) = name.parse::<TimestampFormat>() {
        assert_eq!(format.name(), name);
    }
}

/// What a function gives as headers: the text of the row itself.
struct HeadersOf;

impl Function for HeadersOf {
    fn rows(&self, _: Call<'_>) -> Result<FunctionRows> {
        Err(Error::invalid("only headers are asked for"))
    }

    fn update(&self, call: Call<'_>) -> Result<FunctionRows> {
        self.rows(call)
    }

    fn values(&self, call: Call<'_>, _: Wants) -> Result<Evaluated> {
        let Rows::Json(rows) = &call.batch.rows else {
            return Err(Error::invalid("rows are JSON"));
        };
        let mut column = headwater_core::ColumnBuilder::with_capacity(rows.len());
        for row in 0..rows.len() {
            let text = rows
                .text(row)
                .and_then(|text| std::str::from_utf8(text).ok());
            column.push(text.map_or(ValueRef::Null, ValueRef::Json));
        }
        Ok(Evaluated {
            column: column.finish(),
            errors: Vec::new(),
        })
    }

    fn batch(&self, _: &[(Box<str>, Column)], _: BatchForm) -> Result<Vec<(Box<str>, Column)>> {
        Err(Error::invalid("only headers are asked for"))
    }

    fn invoke(&self, _: Option<&str>, _: &[ValueRef<'_>]) -> Result<Value> {
        Err(Error::invalid("only headers are asked for"))
    }
}

/// Bytes as a bare value of each format, and a text as headers.
pub(crate) fn formats(bytes: &[u8]) {
    let rows = [bytes.to_vec(), b"\0\0\0\x07".to_vec(), Vec::new()];
    for (format, kind) in [
        (TextFormat::String, Kind::Str),
        (TextFormat::Bytes, Kind::Bytes),
        (TextFormat::Integer, Kind::Int),
        (TextFormat::Double, Kind::Float),
    ] {
        let (decoded, errors) = decode_rows(batch(&rows), format);
        let Rows::Values(column) = &decoded.rows else {
            panic!("bare values are values");
        };
        let has_failed = errors.iter().any(|error| error.row == 0);
        let value = column.value(0);
        assert_eq!(value.is_null(), has_failed);
        let is_of_format = match format {
            TextFormat::String => std::str::from_utf8(bytes).is_ok(),
            TextFormat::Integer => bytes.len() == 4,
            TextFormat::Double => bytes.len() == 8,
            _ => true,
        };
        assert_eq!(!has_failed, is_of_format, "{format:?}");
        assert!(has_failed || value.kind() == kind);
    }
    if std::str::from_utf8(bytes)
        .is_ok_and(|text| serde_json::from_str::<serde_json::Value>(text).is_ok())
    {
        headers(bytes);
    }
}

fn headers(text: &[u8]) {
    let mut functions = Functions::default();
    functions.insert(1, Arc::new(HeadersOf));
    let function = FunctionRef {
        id: 1,
        name: "headers".into(),
        line: None,
        shape: Default::default(),
        reads: Vec::new(),
    };
    let mut set = SetHeaders::new(&function, &functions).expect("it is registered");
    let times = StepTimes {
        before: 0,
        after: vec![0],
    };
    let (partition, mut keyed) = (TopicPartition::new("t", 0), Default::default());
    let mut step = Step::new(&times, &mut keyed, &partition);
    let left = set.process(batch(&[text.to_vec()]), &mut step);
    let left = left
        .expect("the step goes on")
        .map_or(0, |batch| batch.len());
    assert_eq!(left + step.failures.len(), 1, "a row goes on or fails");
}
