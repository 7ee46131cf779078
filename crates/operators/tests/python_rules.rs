//! Expressions against CPython, whose results `python_rules.py` wrote down.
//!
//! Every case is evaluated three times: alone, among neighbours of its own kind
//! (where loops over slices take over), and among all other cases.

use headwater_core::{Batch, Column, Evaluated, JsonRows, Keys, Rows, TopicPartition, Value};
use headwater_operators::{Compiled, Functions, Step, StepTimes};
use headwater_plan::{BinaryOp, CastTo, Expr, OnCastError, ScalarFunction, UnaryOp, col};
use std::collections::BTreeMap;

const TABLE: &str = include_str!("python_rules.tsv");

/// An operation on the fields `a` and `b` of a row, and the result or an error.
struct Case {
    name: String,
    a: Value,
    b: Value,
    wanted: Option<Value>,
}

fn read(text: &str) -> Value {
    match text {
        "null" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "inf" => Value::Float(f64::INFINITY),
        "-inf" => Value::Float(f64::NEG_INFINITY),
        "nan" => Value::Float(f64::NAN),
        _ => {
            if let Some(text) = text.strip_prefix('\'') {
                return text.into();
            }
            if text.contains(['.', 'e']) {
                return Value::Float(text.parse().expect("a float"));
            }
            text.parse()
                .map_or_else(|_| Value::BigInt(text.into()), Value::Int)
        }
    }
}

/// The parts of the table: the operation, and its cases.
fn parts() -> Vec<(String, Vec<Case>)> {
    let mut parts: Vec<(String, Vec<Case>)> = Vec::new();
    let mut rights: Vec<&str> = Vec::new();
    for line in TABLE.split_terminator('\n') {
        let mut cells = line.split('\t');
        let first = cells.next().expect("a line has a cell");
        if let Some(name) = first.strip_prefix('#') {
            rights = cells.collect();
            parts.push((name.to_owned(), Vec::new()));
            continue;
        }
        let (name, cases) = parts.last_mut().expect("a part has a head");
        for (right, wanted) in rights.iter().zip(cells) {
            cases.push(Case {
                name: format!("{first} {name} {right}"),
                a: read(first),
                b: read(right),
                wanted: (wanted != "!").then(|| read(wanted)),
            });
        }
    }
    parts
}

fn binary_op(symbol: &str) -> Option<BinaryOp> {
    use BinaryOp as B;
    [
        B::Add,
        B::Subtract,
        B::Multiply,
        B::Divide,
        B::FloorDivide,
        B::Modulo,
        B::Power,
        B::Equal,
        B::NotEqual,
        B::Less,
        B::LessOrEqual,
        B::Greater,
        B::GreaterOrEqual,
        B::And,
        B::Or,
    ]
    .into_iter()
    .find(|op| op.symbol() == symbol)
}

/// The expression of a part for one right cell.
fn expression(part: &str, right: &Value) -> Expr {
    if let Some(op) = binary_op(part) {
        return col("a").binary(op, col("b"));
    }
    let name = match right {
        Value::Str(name) => &**name,
        _ => "",
    };
    let input = Box::new(col("a"));
    let cast = |to| Expr::Cast {
        input: Box::new(col("a")),
        to,
        on_error: OnCastError::Raise,
    };
    match (part, name) {
        ("unary", "negate") => col("a").unary(UnaryOp::Negate),
        ("unary", "abs") => col("a").unary(UnaryOp::Abs),
        ("unary", "not") => col("a").unary(UnaryOp::Not),
        ("cast", "int") => cast(CastTo::Int),
        ("cast", "float") => cast(CastTo::Float),
        ("cast", "str") => cast(CastTo::Str),
        ("cast", "bool") => cast(CastTo::Bool),
        ("round", _) => {
            let Value::Int(digits) = *right else {
                panic!("{right:?} decimals")
            };
            Expr::Scalar {
                function: ScalarFunction::Round(digits as i32),
                input,
            }
        }
        other => panic!("an unknown part {other:?}"),
    }
}

fn batch_of(cases: &[&Case]) -> Batch {
    let a: Column = cases.iter().map(|case| case.a.as_ref()).collect();
    let b: Column = cases.iter().map(|case| case.b.as_ref()).collect();
    Batch {
        rows: Rows::Json(JsonRows::from_columns(vec![
            ("a".into(), a),
            ("b".into(), b),
        ])),
        keys: Keys::collect(cases.iter().map(|_| None)),
        timestamps: vec![0; cases.len()].into(),
        headers: None,
        causes: vec![0; cases.len()].into(),
    }
}

fn evaluate(expr: &Expr, cases: &[&Case]) -> Evaluated {
    let times = StepTimes {
        before: 0,
        after: vec![0],
    };
    let partition = TopicPartition::new("t", 0);
    let mut keyed = Default::default();
    let mut step = Step::new(&times, &mut keyed, &partition);
    let mut compiled = Compiled::new(expr, &Functions::default()).expect("compiles");
    compiled
        .evaluate(&mut batch_of(cases), &mut step)
        .expect("evaluates")
}

/// Equal in kind and bits; any NaN is as good as another.
fn is_same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Float(left), Value::Float(right)) => {
            left.to_bits() == right.to_bits() || left.is_nan() && right.is_nan()
        }
        _ => left == right,
    }
}

fn check(expr: &Expr, cases: &[&Case], wrong: &mut Vec<String>) {
    let Evaluated { column, errors } = evaluate(expr, cases);
    let mut failed = errors.iter().map(|error| error.row as usize).peekable();
    for (row, case) in cases.iter().enumerate() {
        let got = column.value(row).to_owned();
        let is_error = failed.next_if_eq(&row).is_some();
        let is_right = match &case.wanted {
            None => is_error && got == Value::Null,
            Some(wanted) => !is_error && is_same(&got, wanted),
        };
        if !is_right {
            wrong.push(format!(
                "{} among {}: {got:?} (error {is_error}) instead of {:?}",
                case.name,
                cases.len(),
                case.wanted
            ));
        }
    }
    assert_eq!(failed.next(), None, "errors ascend and none is left");
}

#[test]
fn expressions_give_what_python_gives() {
    let mut wrong = Vec::new();
    for (part, cases) in parts() {
        let mut by_expression: Vec<(Expr, Vec<&Case>)> = Vec::new();
        for case in &cases {
            let expr = expression(&part, &case.b);
            match by_expression.iter_mut().find(|(known, _)| *known == expr) {
                Some((_, group)) => group.push(case),
                None => by_expression.push((expr, vec![case])),
            }
        }
        for (expr, group) in by_expression {
            check(&expr, &group, &mut wrong);
            for case in &group {
                check(&expr, &[case], &mut wrong);
            }
            let mut by_kind: BTreeMap<_, Vec<&Case>> = BTreeMap::new();
            for case in &group {
                let kinds = (case.a.as_ref().kind(), case.b.as_ref().kind());
                by_kind
                    .entry((kinds, case.wanted.is_none()))
                    .or_default()
                    .push(case);
            }
            for same_kinds in by_kind.values() {
                check(&expr, same_kinds, &mut wrong);
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(60)].join("\n")
    );
}
