//! Operators on rows of JSON: what comes out, what fails and why.

use crate::support::{self, Ran, batch, counted_functions, function, functions, run, run_batch};
use headwater_core::{Batch, Cause, Column, Keys, Rows, Value, ValueRef};
use headwater_operators::{
    Apply, ApplyBatch, Assign, Deliver, Drop, Filter, FilterBy, Operator, Project, SetHeaders,
    SetTimestamp, Update, decode_rows,
};
use headwater_plan::{BatchForm, Expr, MissingField, TextFormat, col, lit, timestamp};
use std::sync::atomic::Ordering;

fn filter(predicate: Expr) -> Filter {
    Filter::new(&predicate, &functions()).expect("compiles")
}

fn assign(fields: &[(&str, Expr)]) -> Assign {
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, expr)| ((*name).into(), expr.clone()))
        .collect();
    Assign::new(&fields, &functions()).expect("compiles")
}

#[test]
fn filter_keeps_true_rows_as_they_came() {
    let rows = [
        r#"{"v": 1}"#,
        r#"{ "v":2.50 }"#,
        r#"{"v": null}"#,
        "{}",
        r#"{"v": 3}"#,
    ];
    let ran = run(&mut filter(col("v").gt(1.5)), &rows);
    assert_eq!(ran.rows, [r#"{ "v":2.50 }"#, r#"{"v": 3}"#]);
    assert_eq!(ran.failed(), []);
}

#[test]
fn filter_takes_pythons_truth() {
    let rows = [
        r#"{"v":0}"#,
        r#"{"v":""}"#,
        r#"{"v":"a"}"#,
        r#"{"v":[]}"#,
        r#"{"v":{"a":1}}"#,
    ];
    let ran = run(&mut filter(col("v")), &rows);
    assert_eq!(ran.rows, [r#"{"v":"a"}"#, r#"{"v":{"a":1}}"#]);
}

#[test]
fn a_row_that_fails_is_left_out_and_the_others_go_on() {
    let rows = [
        r#"{"v": 2}"#,
        "{oops",
        r#"{"v": "12"}"#,
        r#"{"v": 3}"#,
        "\u{1}",
    ];
    let ran = run(&mut filter(col("v").gt(1)), &rows);
    assert_eq!(ran.rows, [r#"{"v": 2}"#, r#"{"v": 3}"#]);
    let failed = ran.failed();
    assert_eq!(failed.len(), 3);
    assert_eq!((failed[0].0, failed[2].0), (1, 4));
    assert_eq!(
        failed[1],
        (
            2,
            "cannot compare str with int, op=`>` field=`v`\n\
             hint: compare with a number, or cast it with `.astype(float)`"
        )
    );
}

#[test]
fn assign_splices_fields_left_to_right() {
    let mut operator = assign(&[
        ("a", col("a") + 1),
        ("b", col("a") * 2.0),
        ("c", timestamp()),
    ]);
    let ran = run(
        &mut operator,
        &[r#"{"a": 1, "x": 0.50}"#, r#"{"b": 9,"a":"t"}"#, "{}"],
    );
    assert_eq!(
        ran.rows,
        [
            r#"{"a": 2, "x": 0.50,"b":4.0,"c":0}"#,
            r#"{"a":null,"b":null,"c":2}"#
        ]
    );
    assert_eq!(
        ran.failed(),
        [(
            1,
            "cannot add str and int field=`a`\nhint: cast it with `.astype(float)`"
        )]
    );
}

/// Its dead letter must not have a field that nobody could compute.
#[test]
fn a_row_that_cannot_be_assigned_to_is_kept_as_it_was() {
    let rows = [r#"{"a":1}"#, r#"{"a":"t"}"#];
    let mut emitted = batch(&rows);
    emitted.causes = vec![Cause::emission(0, 1).0, Cause::emission(0, 2).0].into();
    let ran = run_batch(&mut assign(&[("b", col("a") + 1)]), emitted);
    assert_eq!(ran.rows, [r#"{"a":1,"b":2}"#]);
    assert_eq!(ran.failed_rows, [r#"{"a":"t"}"#]);
}

#[test]
fn fields_cannot_be_set_on_what_is_no_object() {
    let rows = ["7", "[1]", "null", " {} ", "\"a\""];
    let expected: Vec<String> = ["int", "an array", "null", "str"]
        .iter()
        .map(|kind| format!("the value is not an object with fields, it is {kind}"))
        .collect();
    for operator in [
        &mut assign(&[("x", lit(1))]) as &mut dyn Operator,
        &mut Project::new(vec!["x".into()]),
        &mut Drop::new(vec!["x".into()], MissingField::Ignore),
    ] {
        let ran = run(operator, &rows);
        assert_eq!(ran.rows.len(), 1);
        let reasons: Vec<_> = ran
            .failed
            .iter()
            .map(|(_, reason)| reason.clone())
            .collect();
        assert_eq!(reasons, expected);
    }
}

#[test]
fn project_keeps_the_named_fields_in_order() {
    let mut operator = Project::new(vec!["b".into(), "a".into()]);
    let ran = run(
        &mut operator,
        &[r#"{"a": 1.0, "x": 1, "b": [ 1 ]}"#, r#"{"a":1}"#],
    );
    assert_eq!(ran.rows, [r#"{"b":[ 1 ],"a":1.0}"#, r#"{"b":null,"a":1}"#]);
}

#[test]
fn drop_removes_fields_and_says_which_one_is_missing() {
    let rows = [r#"{"a": 1, "b": null}"#, r#"{"a": 1}"#];
    let names = || vec!["a".into(), "b".into()];
    let ran = run(&mut Drop::new(names(), MissingField::Raise), &rows);
    assert_eq!(ran.rows, ["{}"]);
    let reason = "the row lacks a field that is to be dropped field=`b`\n\
                  hint: pass `errors=\"ignore\"` to `drop`";
    assert_eq!(ran.failed(), [(1, reason)]);
    let ran = run(&mut Drop::new(names(), MissingField::Ignore), &rows);
    assert_eq!(ran.rows, ["{}", "{}"]);
}

#[test]
fn the_side_of_a_condition_that_does_not_count_does_not_fail() {
    let rows = [
        r#"{"a": false, "b": "x"}"#,
        r#"{"a": true, "b": "x"}"#,
        r#"{"b": "x"}"#,
    ];
    let ran = run(&mut filter(col("a") & (col("b") * 2.0).gt(1)), &rows);
    assert!(ran.rows.is_empty());
    assert_eq!(
        ran.failed.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
        [1, 2]
    );
}

#[test]
fn a_function_is_called_for_the_rows_that_need_it_and_only_with_sound_ones() {
    let call = Expr::Function {
        function: function(support::DOUBLE),
        input: Box::new(col("v")),
    };
    let predicate = col("v").gt(1) & call.gt(4);
    let rows = [
        r#"{"v": 1}"#,
        r#"{"v": 2}"#,
        "{",
        r#"{"v": 3}"#,
        r#"{"v": "a"}"#,
    ];
    let (registered, rows_seen) = counted_functions();
    let mut operator = Filter::new(&predicate, &registered).expect("compiles");
    let ran = run(&mut operator, &rows);
    assert_eq!(ran.rows, [r#"{"v": 3}"#]);
    assert_eq!(
        ran.failed.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
        [2, 4]
    );
    assert_eq!(rows_seen.load(Ordering::SeqCst), 2);
}

#[test]
fn apply_takes_over_what_the_function_returns() {
    let mut operator = Apply::new(&function(support::WRAP), &functions()).expect("known");
    let ran = run(&mut operator, &[r#"{"v":1}"#, "[", r#""fail""#, "2"]);
    assert_eq!(ran.rows, [r#"{"was":{"v":1}}"#, r#"{"was":2}"#]);
    assert_eq!(ran.failed.len(), 2);
    assert_eq!(ran.failed[1], (2, "asked to fail".to_owned()));
}

#[test]
fn apply_expands_rows_with_their_keys_times_and_causes() {
    let mut operator = Apply::new(&function(support::EXPAND), &functions()).expect("known");
    let ran = run(&mut operator, &["[1,2]", "[]", "[3]"]);
    assert_eq!(ran.rows, ["1", "2", "3"]);
    let batch = ran.batch.expect("rows");
    assert_eq!(batch.timestamps.to_vec(), [0, 0, 2]);
    assert_eq!(
        (batch.keys.get(2), batch.cause(2).at()),
        (Some(b"k2".as_slice()), 2)
    );
}

#[test]
fn update_and_filter_by_call_functions() {
    let mut update = Update::new(&function(support::WRAP), &functions()).expect("known");
    assert_eq!(run(&mut update, &["1"]).rows, [r#"{"was":1}"#]);
    let mut filter = FilterBy::new(&function(support::HAS_V), &functions()).expect("known");
    assert_eq!(run(&mut filter, &["1", r#"{"v":0}"#]).rows, [r#"{"v":0}"#]);
}

#[test]
fn a_batch_function_that_raises_fails_only_for_the_rows_to_blame() {
    let columns = || vec!["v".into()];
    let registered = functions();
    let new = |id| ApplyBatch::new(&function(id), columns(), BatchForm::Arrow, &registered);
    let mut operator = new(support::HALVE).expect("known");
    let rows = [
        r#"{"v":8}"#,
        r#"{"v":3}"#,
        r#"{"v":4}"#,
        r#"{"v":5}"#,
        r#"{"v":2}"#,
    ];
    let ran = run(&mut operator, &rows);
    assert_eq!(
        ran.rows,
        [
            r#"{"v":8,"half":4}"#,
            r#"{"v":4,"half":2}"#,
            r#"{"v":2,"half":1}"#
        ]
    );
    assert_eq!(ran.failed(), [(1, "3 is odd"), (3, "5 is odd")]);
    let ran = run(&mut new(support::SHORT).expect("known"), &rows[..1]);
    assert_eq!(
        ran.failed(),
        [(
            0,
            "a batch function must return as many values as it got, got=`1` returned=`0` field=`x`"
        )]
    );
}

#[test]
fn a_batch_function_without_columns_gets_rows_whole() {
    let registered = functions();
    let whole = function(support::WHOLE);
    let mut operator =
        ApplyBatch::new(&whole, Vec::new(), BatchForm::Arrow, &registered).expect("known");
    let ran = run(&mut operator, &[r#"{"v": 1}"#]);
    assert_eq!(ran.rows, [r#"{"v": 1,"chars":8}"#]);
}

#[test]
fn an_event_time_is_an_int() {
    let mut operator = SetTimestamp::by_expr(&col("t"), &functions()).expect("compiles");
    let rows = [r#"{"t": 5}"#, r#"{"t": 5.0}"#, "{}", r#"{"t": 7}"#];
    let Ran { batch, failed, .. } = run(&mut operator, &rows);
    assert_eq!(batch.expect("rows").timestamps.to_vec(), [5, 7]);
    let reason = "an event time is an int of milliseconds since 1970, this is";
    assert_eq!(failed.len(), 2);
    assert_eq!(
        failed[0],
        (
            1,
            format!("{reason} float\nhint: cast it with `.astype(int)`")
        )
    );
    assert_eq!(failed[1], (2, format!("{reason} null")));
    let mut operator =
        SetTimestamp::by_function(&function(support::DOUBLE), &functions()).expect("known");
    assert_eq!(
        run(&mut operator, &["21"])
            .batch
            .expect("a row")
            .timestamps
            .to_vec(),
        [42]
    );
}

#[test]
fn headers_are_pairs() {
    let mut operator = SetHeaders::new(&function(support::HEADERS), &functions()).expect("known");
    let ran = run(&mut operator, &[r#"[["a","x"],["b",null]]"#, "7", "null"]);
    let batch = ran.batch.clone().expect("rows");
    assert_eq!(batch.headers(0).len(), 2);
    assert_eq!(batch.headers(0)[0].value.as_deref(), Some(b"x".as_slice()));
    assert_eq!(
        (&*batch.headers(0)[1].name, &batch.headers(0)[1].value),
        ("b", &None)
    );
    assert!(batch.headers(1).is_empty());
    assert_eq!(
        ran.failed(),
        [(1, "headers are a list of (name, value) pairs")]
    );
}

#[test]
fn bytes_are_decoded_by_format() {
    let decoded = |format, bytes: &[&[u8]]| {
        let (batch, errors) = decode_rows(batch(bytes), format);
        let Rows::Values(column) = batch.rows else {
            panic!("bare values")
        };
        let values: Vec<Value> = column.iter().map(|value| value.to_owned()).collect();
        (
            values,
            errors
                .into_iter()
                .map(|error| error.error.reason)
                .collect::<Vec<_>>(),
        )
    };
    let (values, errors) = decoded(TextFormat::String, &[b"a", b"\xff"]);
    assert_eq!(values, ["a".into(), Value::Null]);
    assert_eq!(errors, ["the value is not UTF-8 at byte 0"]);
    let (values, errors) = decoded(TextFormat::Integer, &[&(-2i32).to_be_bytes(), b"12345"]);
    assert_eq!(values, [Value::Int(-2), Value::Null]);
    assert_eq!(errors, ["the value has 5 bytes where 4 are expected"]);
    let (values, _) = decoded(TextFormat::Double, &[&1.5f64.to_be_bytes()]);
    assert_eq!(values, [Value::Float(1.5)]);
}

#[test]
fn what_is_delivered_can_be_written() {
    let mut inf = assign(&[("x", col("v") * 1e308)]);
    let batch = run(&mut inf, &[r#"{"v": 1}"#, r#"{"v": 10}"#])
        .batch
        .expect("rows");
    let ran = run_batch(&mut Deliver::new(), batch);
    assert_eq!(ran.rows, [r#"{"v": 1,"x":1e+308}"#]);
    assert_eq!(
        ran.failed(),
        [(1, "NaN or infinity cannot be written as JSON field=`x`")]
    );
    assert_eq!(ran.outputs.delivered.len(), 1);
    assert_eq!(ran.outputs.delivered[0].batch.len(), 1);
}

#[test]
fn bare_values_have_no_fields() {
    let column: Column = [ValueRef::Str("a"), ValueRef::Null].into_iter().collect();
    let batch = Batch {
        rows: Rows::Values(column),
        keys: Keys::collect([None, None]),
        timestamps: vec![0, 0].into(),
        headers: None,
        causes: vec![0, 1 << 32].into(),
    };
    let ran = run_batch(&mut filter(col("v").is_null()), batch.clone());
    assert_eq!(
        ran.failed(),
        [(0, "the value is a str, which has no fields field=`v`")]
    );
    let whole = Expr::Field(Default::default());
    let ran = run_batch(&mut filter(whole.eq("a")), batch);
    assert_eq!(ran.batch.expect("a row").len(), 1);
}
