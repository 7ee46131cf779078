//! What a row gives does not depend on its neighbours: an expression over a
//! batch equals the same expression over each row alone.

use headwater_core::{Batch, RecordsBuilder, TopicPartition, Value};
use headwater_operators::{Compiled, Functions, Step, StepTimes};
use headwater_plan::{
    BinaryOp, CastTo, Expr, OnCastError, ScalarFunction, UnaryOp, col, lit, timestamp,
};
use proptest::prelude::*;

/// JSON texts of a field; `None` is a missing one.
fn field() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![
        2 => Just(None),
        6 => prop::sample::select(vec!["0", "1", "2", "-3", "7", "100"]).prop_map(Some),
        6 => prop::sample::select(vec!["0.0", "-0.0", "0.5", "2.0", "-7.25", "1e300"]).prop_map(Some),
        6 => prop::sample::select(vec![
            "null", "true", "false", "\"\"", "\"a\"", "\"12\"", "\"2024-02-29T12:00:00Z\"",
            "9223372036854775807", "-9223372036854775808", "9007199254740993",
            "123456789012345678901", "[]", "[1, \"a\"]", "{}", "{\"a\": 1.0}", "{\"a\":1}",
            "\"\\ud800\"", "1e999"
        ]).prop_map(Some),
    ]
}

/// Rows, some of which are not JSON or have no fields.
fn row() -> impl Strategy<Value = Option<String>> {
    let object = (field(), field(), field()).prop_map(|(a, b, c)| {
        let fields: Vec<String> = [("a", a), ("b", b), ("c", c)]
            .into_iter()
            .filter_map(|(name, text)| Some(format!("\"{name}\": {}", text?)))
            .collect();
        Some(format!("{{{}}}", fields.join(", ")))
    });
    prop_oneof![
        12 => object,
        1 => prop::sample::select(vec![None, Some("{"), Some("7"), Some("[1]"), Some("null")])
            .prop_map(|text| text.map(str::to_owned)),
    ]
}

/// Rows of one kind in each field, so that loops over slices run too.
fn rows() -> impl Strategy<Value = Vec<Option<String>>> {
    let uniform = prop::collection::vec((-3i64..4, -4i8..5), 1..70).prop_map(|numbers| {
        let text = |(a, b): (i64, i8)| {
            Some(format!(
                "{{\"a\": {a}, \"b\": {}, \"c\": {}}}",
                f64::from(b) / 2.0,
                i64::from(b)
            ))
        };
        numbers.into_iter().map(text).collect()
    });
    prop_oneof![prop::collection::vec(row(), 1..40), uniform]
}

fn literal() -> impl Strategy<Value = Expr> {
    prop_oneof![
        prop::sample::select(vec![0i64, 1, 2, -3, i64::MAX, 1 << 53]).prop_map(lit),
        prop::sample::select(vec![0.0, 0.5, -2.0, f64::NAN, 1e308]).prop_map(lit),
        prop::sample::select(vec!["", "a", "12"]).prop_map(lit),
        any::<bool>().prop_map(lit),
        Just(Expr::Literal(Value::Null)),
    ]
}

fn binary_op() -> impl Strategy<Value = BinaryOp> {
    use BinaryOp as B;
    prop::sample::select(vec![
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
        B::Is,
        B::Contains,
    ])
}

fn scalar() -> impl Strategy<Value = ScalarFunction> {
    use ScalarFunction as F;
    prop::sample::select(vec![
        F::Lower,
        F::Length,
        F::Round(1),
        F::Round(-1),
        F::ToTimestampMs,
        F::Year,
        F::DayOfWeek,
        F::FloorTo(1000),
        F::ToIsoFormat,
        F::Slice(Some(-1), None),
        F::StartsWith("a".into()),
    ])
}

fn expression() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        6 => prop::sample::select(vec!["a", "b", "c"]).prop_map(col),
        1 => Just(Expr::Field(Default::default())),
        1 => Just(timestamp()),
        3 => literal(),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        let unary = prop::sample::select(vec![
            UnaryOp::Not,
            UnaryOp::Negate,
            UnaryOp::Abs,
            UnaryOp::IsNull,
            UnaryOp::NotNull,
        ]);
        let cast =
            prop::sample::select(vec![CastTo::Int, CastTo::Float, CastTo::Str, CastTo::Bool]);
        let on_error = prop::sample::select(vec![OnCastError::Raise, OnCastError::Null]);
        prop_oneof![
            8 => (inner.clone(), binary_op(), inner.clone())
                .prop_map(|(left, op, right)| left.binary(op, right)),
            2 => (inner.clone(), unary).prop_map(|(input, op)| input.unary(op)),
            1 => (boxed.clone(), cast, on_error)
                .prop_map(|(input, to, on_error)| Expr::Cast { input, to, on_error }),
            1 => (boxed.clone(), boxed.clone())
                .prop_map(|(input, fallback)| Expr::Coalesce { input, fallback }),
            1 => (boxed.clone(), boxed.clone(), boxed.clone()).prop_map(
                |(condition, then, otherwise)| Expr::Choose { condition, then, otherwise }
            ),
            1 => (boxed.clone(), scalar())
                .prop_map(|(input, function)| Expr::Scalar { function, input }),
            1 => boxed.prop_map(|input| Expr::IsIn {
                input,
                values: vec![Value::Int(1), Value::Null, "a".into()],
            }),
        ]
    })
}

type Outcome = Result<Value, String>;

fn evaluate(expr: &Expr, rows: &[Option<String>], start_ms: i64) -> Vec<Outcome> {
    let mut records = RecordsBuilder::default();
    for (index, row) in rows.iter().enumerate() {
        records.push(
            None,
            row.as_ref().map(String::as_bytes),
            start_ms + index as i64,
            None,
        );
    }
    let mut batch = Batch::from_records(&records.finish());
    let times = StepTimes {
        before: 0,
        after: vec![0; rows.len()],
    };
    let partition = TopicPartition::new("t", 0);
    let mut keyed = Default::default();
    let mut step = Step::new(&times, &mut keyed, &partition);
    let mut compiled = Compiled::new(expr, &Functions::default()).expect("compiles");
    let evaluated = compiled.evaluate(&mut batch, &mut step).expect("evaluates");
    let mut outcomes: Vec<Outcome> = evaluated
        .column
        .iter()
        .map(|value| Ok(value.to_owned()))
        .collect();
    assert!(evaluated.errors.is_sorted_by_key(|error| error.row));
    for error in evaluated.errors {
        let outcome = &mut outcomes[error.row as usize];
        assert_eq!(*outcome, Ok(Value::Null), "a row that failed is null");
        *outcome = Err(error.error.to_string());
    }
    outcomes
}

fn is_same(left: &Outcome, right: &Outcome) -> bool {
    match (left, right) {
        (Ok(Value::Float(left)), Ok(Value::Float(right))) => {
            left.to_bits() == right.to_bits() || left.is_nan() && right.is_nan()
        }
        _ => left == right,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_gives_what_its_rows_give_alone(expr in expression(), rows in rows()) {
        let together = evaluate(&expr, &rows, 0);
        for (index, row) in rows.iter().enumerate() {
            let alone = evaluate(&expr, std::slice::from_ref(row), index as i64);
            prop_assert!(
                is_same(&together[index], &alone[0]),
                "row {index} {row:?}: together {:?}, alone {:?}", together[index], alone[0]
            );
        }
    }
}
