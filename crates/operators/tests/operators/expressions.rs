//! Single expressions on single rows. What CPython can be asked for stands in
//! `python_rules`; this is the rest.

use crate::support::{functions, run};
use headwater_core::{FieldPath, Step, Value};
use headwater_operators::Assign;
use headwater_plan::{BinaryOp, CastTo, Expr, OnCastError, ScalarFunction as F, UnaryOp, col, lit};

/// Checks `r` after `r = expr` on a row: its JSON text, or `!` and the error.
fn check(row: &str, expr: Expr, wanted: &str) {
    let fields = [("r".into(), expr.clone())];
    let mut assign = Assign::new(&fields, &functions()).expect("compiles");
    let ran = run(&mut assign, &[row]);
    let got = match ran.failed.first() {
        Some((_, reason)) => format!("!{reason}"),
        None => {
            let text = ran.rows[0]
                .rsplit_once("\"r\":")
                .expect("the field was set")
                .1;
            text.strip_suffix('}')
                .expect("it is the last field")
                .to_owned()
        }
    };
    assert_eq!(got, wanted, "{expr:?} on {row}");
}

fn scalar(function: F, input: Expr) -> Expr {
    Expr::Scalar {
        function,
        input: Box::new(input),
    }
}

fn path(steps: &[&str]) -> FieldPath {
    FieldPath(steps.iter().map(|&step| Step::Name(step.into())).collect())
}

#[test]
fn fields_are_found_at_any_depth() {
    let row = r#"{"a": {"b": [10, {"c": "x"}], "b2": null}}"#;
    check(row, col("a").at("b").step(Step::Index(0)), "10");
    check(row, col("a").at("b").step(Step::Index(-1)).at("c"), "\"x\"");
    check(row, col("a").at("b"), r#"[10, {"c": "x"}]"#);
    check(row, col("a").at("none").at("c"), "null");
    check(
        row,
        Expr::HasFields(vec![path(&["a", "b2"]), path(&["a"])]),
        "true",
    );
    check(row, Expr::HasFields(vec![path(&["a", "b3"])]), "false");
}

#[test]
fn objects_and_arrays_compare_by_value() {
    let equal = |other: &str| format!(r#"{{"a": {{"x": [1, 2.0], "y": null}}, "b": {other}}}"#);
    for (other, wanted) in [
        (r#"{"y":null,"x":[1.0,2]}"#, "true"),
        (r#"{"y":null,"x":[true,2]}"#, "true"),
        (r#"{"x":[1],"y":null,"x":[1,2]}"#, "true"),
        (r#"{"\u0078":[1,2],"y":null}"#, "true"),
        (r#"{"y":null,"x":[2,1]}"#, "false"),
        (r#"{"y":false,"x":[1,2]}"#, "false"),
        (r#"{"x":[1,2]}"#, "false"),
        (r#"[1,2]"#, "false"),
        (r#""{}""#, "false"),
    ] {
        check(&equal(other), col("a").eq(col("b")), wanted);
    }
    let objects = "!cannot compare object or array with object or array, op=`<` field=`a`";
    check(&equal("{}"), col("a").lt(col("b")), objects);
}

#[test]
fn null_propagates_and_logic_is_three_valued() {
    let row = r#"{"n": null, "t": true, "f": false, "x": 5, "s": ""}"#;
    check(row, col("n") + 1, "null");
    check(row, col("n").eq(col("n")), "null");
    check(row, col("n").binary(BinaryOp::Is, col("none")), "true");
    check(row, col("n").binary(BinaryOp::Is, lit(0)), "false");
    check(row, col("n") & col("f"), "false");
    check(row, col("n") & col("t"), "null");
    check(row, col("n") | col("t"), "true");
    check(row, col("t") & col("n"), "null");
    check(row, col("f") | col("n"), "null");
    check(row, !col("n"), "null");
    check(row, col("x") & col("s"), "\"\"");
    check(row, col("s") | col("x"), "5");
    check(row, col("f") & (col("x") / 0), "false");
    check(
        row,
        col("n") & (col("x") / 0),
        "!division by zero field=`x`",
    );
    check(row, !col("s"), "true");
}

#[test]
fn big_integers_pass_through() {
    let row = r#"{"a": 18446744073709551616, "b": 18446744073709551616, "s": "x"}"#;
    check(row, col("a"), "18446744073709551616");
    check(row, col("a").eq(col("b")), "true");
    check(row, col("a").eq(18446744073709551616.0), "true");
    let reason = "!cannot compute with an integer beyond 64 bits, which only passes through, op=";
    check(row, col("a") + 1, &format!("{reason}`+` field=`a`"));
    check(
        row,
        lit(1.5).lt(col("a")),
        &format!("{reason}`<` field=`a`"),
    );
    check(
        row,
        col("a") + col("s"),
        "!cannot add int beyond 64 bits and str field=`s`",
    );
}

#[test]
fn membership_uses_equality() {
    let row = r#"{"s": "abc", "l": [1, "b", null], "o": {"k": 1}, "i": 1, "n": null}"#;
    let contains =
        |field: &str, value: Value| col(field).binary(BinaryOp::Contains, Expr::Literal(value));
    check(row, contains("s", "bc".into()), "true");
    check(row, contains("l", 1.0.into()), "true");
    check(row, contains("l", "c".into()), "false");
    check(row, contains("o", "k".into()), "true");
    check(row, contains("o", 1.into()), "false");
    check(
        row,
        contains("s", 1.into()),
        "!cannot look for int in str field=`s`",
    );
    let is_in = |field: &str, values: Vec<Value>| Expr::IsIn {
        input: Box::new(col(field)),
        values,
    };
    check(row, is_in("i", vec!["1".into(), true.into()]), "true");
    check(row, is_in("n", vec![1.into()]), "false");
    check(row, is_in("n", vec![Value::Null]), "true");
    check(row, is_in("s", vec!["abc".into()]), "true");
}

#[test]
fn one_side_is_chosen_with_its_errors() {
    let row = r#"{"n": null, "x": 2, "z": 0}"#;
    let boxed = Box::new;
    let coalesce = |input, fallback| Expr::Coalesce {
        input: boxed(input),
        fallback: boxed(fallback),
    };
    check(row, coalesce(col("x"), col("x") / 0), "2");
    check(row, coalesce(col("n"), lit(7)), "7");
    check(
        row,
        coalesce(col("x") / 0, lit(7)),
        "!division by zero field=`x`",
    );
    let choose = |condition, then, otherwise| Expr::Choose {
        condition: Box::new(condition),
        then: Box::new(then),
        otherwise: Box::new(otherwise),
    };
    check(
        row,
        choose(col("x").gt(1), lit("big"), col("x") / 0),
        "\"big\"",
    );
    check(row, choose(col("n"), lit(1), lit(2)), "2");
    check(
        row,
        choose(col("z").eq(0), lit(0), col("x") / col("z")),
        "0",
    );
}

#[test]
fn casts_that_fail_are_errors_or_null() {
    let row = r#"{"s": "12x", "o": {"a": 1}}"#;
    let cast = |field: &str, to, on_error| Expr::Cast {
        input: Box::new(col(field)),
        to,
        on_error,
    };
    check(
        row,
        cast("s", CastTo::Int, OnCastError::Raise),
        "!cannot cast the text \"12x\" to int field=`s`",
    );
    check(row, cast("s", CastTo::Float, OnCastError::Null), "null");
    check(row, cast("o", CastTo::Int, OnCastError::Null), "null");
    check(
        row,
        cast("o", CastTo::Str, OnCastError::Raise),
        r#""{\"a\": 1}""#,
    );
    check(row, cast("o", CastTo::Bool, OnCastError::Raise), "true");
}

#[test]
fn texts_are_counted_in_characters() {
    let row = r#"{"s": " Äpfel\u00a0", "l": [1,[2]], "o": {"a":1,"a":2}, "n": 1}"#;
    check(row, scalar(F::Strip, col("s")), "\"Äpfel\"");
    check(
        row,
        scalar(F::Upper, scalar(F::Strip, col("s"))),
        "\"ÄPFEL\"",
    );
    check(row, scalar(F::Lower, lit("ÄB")), "\"äb\"");
    check(row, scalar(F::Length, col("s")), "7");
    check(row, scalar(F::Length, col("l")), "2");
    check(row, scalar(F::Length, col("o")), "1");
    check(
        row,
        scalar(F::Length, col("n")),
        "!int has no length field=`n`",
    );
    check(row, scalar(F::Slice(Some(1), Some(3)), col("s")), "\"Äp\"");
    check(row, scalar(F::Slice(Some(-2), None), lit("äöü")), "\"öü\"");
    check(row, scalar(F::Slice(None, Some(-2)), lit("äöü")), "\"ä\"");
    check(row, scalar(F::Slice(Some(5), Some(2)), lit("äöü")), "\"\"");
    check(
        row,
        scalar(F::Slice(Some(-9), Some(9)), lit("äöü")),
        "\"äöü\"",
    );
    check(
        row,
        scalar(F::Replace("p".into(), "b".into()), lit("appel")),
        "\"abbel\"",
    );
    check(row, scalar(F::StartsWith("a".into()), lit("ab")), "true");
    check(row, scalar(F::EndsWith("a".into()), lit("ab")), "false");
    check(row, scalar(F::HasText("b".into()), lit("ab")), "true");
    let error = "!a text was expected, this is int field=`n`\nhint: cast it with `.astype(str)`";
    check(row, scalar(F::Lower, col("n")), error);
}

#[test]
fn times_are_milliseconds_or_iso_text_in_utc() {
    let row =
        r#"{"ms": 1709208000123, "old": -1, "iso": "2024-02-29T14:00:00.123999+02:00", "f": 1.5}"#;
    for field in ["ms", "iso"] {
        let input = || col(field);
        check(row, scalar(F::ToTimestampMs, input()), "1709208000123");
        check(
            row,
            scalar(F::ToIsoFormat, input()),
            "\"2024-02-29T12:00:00.123Z\"",
        );
        check(row, scalar(F::Year, input()), "2024");
        check(row, scalar(F::Month, input()), "2");
        check(row, scalar(F::Day, input()), "29");
        check(row, scalar(F::Hour, input()), "12");
        check(row, scalar(F::Minute, input()), "0");
        check(row, scalar(F::Second, input()), "0");
        check(row, scalar(F::Millisecond, input()), "123");
        check(row, scalar(F::DayOfWeek, input()), "3");
        check(
            row,
            scalar(F::FloorTo(86_400_000), input()),
            "1709164800000",
        );
    }
    check(
        row,
        scalar(F::ToIsoFormat, col("old")),
        "\"1969-12-31T23:59:59.999Z\"",
    );
    check(row, scalar(F::Millisecond, col("old")), "999");
    check(row, scalar(F::FloorTo(1000), col("old")), "-1000");
    check(
        row,
        scalar(F::ToTimestampMs, lit("2024-02-29")),
        "1709164800000",
    );
    check(
        row,
        scalar(F::ToTimestampMs, lit("2024-02-29 12:00:00")),
        "1709208000000",
    );
    check(
        row,
        scalar(F::ToTimestampMs, lit("1969-12-31T23:59:59.9995Z")),
        "-1",
    );
    check(
        row,
        scalar(F::Year, lit("soon")),
        "!not an ISO 8601 time: \"soon\"",
    );
    check(
        row,
        scalar(F::Year, col("f")),
        "!a time is an int of milliseconds or an ISO 8601 text, this is float field=`f`\n\
         hint: cast it with `.astype(int)`",
    );
    check(
        row,
        scalar(F::Year, lit(i64::MAX)),
        "!a time beyond the year 9999, time_ms=`9223372036854775807`",
    );
}

#[test]
fn errors_name_the_field_and_the_way_out() {
    let row = r#"{"a": "12", "b": 3, "c": 9223372036854775807}"#;
    check(
        row,
        col("b").gt_eq(col("a")),
        "!cannot compare int with str, op=`>=` field=`a`\n\
         hint: compare with a number, or cast it with `.astype(float)`",
    );
    check(
        row,
        col("a") * 2.0,
        "!cannot multiply str by float field=`a`\nhint: cast it with `.astype(float)`",
    );
    check(
        row,
        col("c") + 1,
        "!integer result beyond 64 bits field=`c`",
    );
    check(row, -col("a"), "!cannot negate str field=`a`");
    check(
        row,
        col("a").unary(UnaryOp::Abs),
        "!cannot take the absolute value of str field=`a`",
    );
}

#[test]
fn an_unknown_function_or_a_senseless_constant_does_not_compile() {
    let unknown = Expr::Function {
        function: headwater_plan::FunctionRef {
            id: 99,
            ..crate::support::function(0)
        },
        input: Box::new(col("a")),
    };
    for expr in [unknown, scalar(F::FloorTo(0), col("a"))] {
        let compiled = headwater_operators::Compiled::new(&expr, &functions());
        let error = compiled.expect_err("does not compile");
        assert_eq!(error.class(), headwater_core::Class::Invalid);
    }
}
