//! Rows on their way into topics: bytes, keys, partitions.

use crate::support::{self, batch, function, functions, run, run_batch};
use headwater_core::{Column, Keys, Rows, ValueRef, partitioner::partition_of};
use headwater_operators::{Assign, Operator, Outputs, ToTopic, TopicRoute};
use headwater_plan::{Expr, FunctionRef, Target, TextFormat, TopicRef, col};

fn route(name: &str, value: TextFormat, partitions: u32) -> TopicRoute {
    let topic = TopicRef {
        value,
        ..TopicRef::json(name)
    };
    TopicRoute { topic, partitions }
}

fn to_topic(route: TopicRoute, key: Option<&FunctionRef>, key_expr: Option<Expr>) -> ToTopic {
    let target = Target::Topic(route.topic.clone());
    ToTopic::new(vec![route], &target, key, key_expr.as_ref(), &functions()).expect("is sound")
}

/// `topic[partition] key=value` of all records.
fn shown(outputs: &Outputs) -> Vec<String> {
    let mut shown = Vec::new();
    for appended in &outputs.appended {
        assert_eq!(appended.records.len(), appended.causes.len());
        for index in 0..appended.records.len() {
            let text = |bytes: Option<&[u8]>| match bytes {
                Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                None => "-".to_owned(),
            };
            shown.push(format!(
                "{} {}={}",
                appended.partition,
                text(appended.records.key(index)),
                text(appended.records.value(index))
            ));
        }
    }
    shown
}

#[test]
fn untouched_and_spliced_rows_are_written_and_go_on() {
    let fields = [("b".into(), col("a") * 2)];
    let mut assign = Assign::new(&fields, &functions()).expect("compiles");
    let rows = run(&mut assign, &[r#"{"a": 1}"#, r#"{"a": 2}"#])
        .batch
        .expect("rows");
    let mut operator = to_topic(route("out", TextFormat::Json, 1), None, None);
    let ran = run_batch(&mut operator, rows);
    assert_eq!(
        shown(&ran.outputs),
        [r#"out[0] k0={"a": 1,"b":2}"#, r#"out[0] k1={"a": 2,"b":4}"#]
    );
    assert_eq!(ran.rows.len(), 2);
    assert_eq!(ran.outputs.appended[0].records.timestamps, [0, 1]);
    let ran = run(&mut operator, &[r#"{ "a":1.50 }"#, "{oops", "7"]);
    assert_eq!(
        shown(&ran.outputs),
        [r#"out[0] k0={ "a":1.50 }"#, "out[0] k2=7"]
    );
    assert_eq!(ran.failed.len(), 1);
    assert_eq!(ran.outputs.appended[0].causes[1].at(), 2);
}

#[test]
fn keys_choose_partitions_as_kafka_does() {
    let mut operator = to_topic(route("out", TextFormat::Json, 4), None, None);
    let ran = run(&mut operator, &["0", "1", "2", "3", "4", "5"]);
    let mut partitions: Vec<u32> = Vec::new();
    for appended in &ran.outputs.appended {
        for index in 0..appended.records.len() {
            let key = appended.records.key(index).expect("a key");
            assert_eq!(appended.partition.partition, partition_of(key, 4));
        }
        partitions.push(appended.partition.partition);
    }
    assert!(
        partitions.is_sorted() && partitions.len() > 1,
        "{partitions:?}"
    );
}

#[test]
fn a_row_without_a_key_stays_in_its_partition_number() {
    for (partitions, wanted) in [(4, 2), (2, 0), (1, 0)] {
        let mut rows = batch(&["1"]);
        rows.keys = Keys::collect([None]);
        let mut operator = to_topic(route("out", TextFormat::Json, partitions), None, None);
        let ran = run_batch(&mut operator, rows);
        assert_eq!(shown(&ran.outputs), [format!("out[{wanted}] -=1")]);
    }
}

#[test]
fn a_new_key_comes_from_an_expression_or_a_function() {
    let mut operator = to_topic(route("out", TextFormat::Json, 1), None, Some(col("k")));
    let ran = run(&mut operator, &[r#"{"k":"a"}"#, r#"{"k":7}"#, "{}"]);
    assert_eq!(
        shown(&ran.outputs),
        [r#"out[0] a={"k":"a"}"#, "out[0] -={}"]
    );
    assert_eq!(ran.rows.len(), 2);
    assert!(
        ran.failed[0].1.starts_with("cannot write int as bytes"),
        "{}",
        ran.failed[0].1
    );
    let mut integers = route("out", TextFormat::Json, 1);
    integers.topic.key = TextFormat::Integer;
    let mut operator = to_topic(integers, Some(&function(support::DOUBLE)), None);
    let ran = run(&mut operator, &["1", "\"x\"", "3"]);
    let records = &ran.outputs.appended[0].records;
    assert_eq!(records.key(1), Some(6i32.to_be_bytes().as_slice()));
    assert_eq!(ran.failed(), [(1, "unexpected")]);
}

#[test]
fn formats_take_the_values_that_they_have_a_form_for() {
    let check = |format, value: ValueRef<'_>, wanted: Result<Option<&[u8]>, &str>| {
        let mut rows = batch(&["0"]);
        let column: Column = [value].into_iter().collect();
        rows.rows = Rows::Values(column);
        let ran = run_batch(&mut to_topic(route("out", format, 1), None, None), rows);
        match wanted {
            Ok(wanted) => assert_eq!(ran.outputs.appended[0].records.value(0), wanted),
            Err(reason) => {
                assert!(ran.outputs.appended.is_empty());
                assert!(ran.failed[0].1.starts_with(reason), "{}", ran.failed[0].1);
            }
        }
    };
    check(
        TextFormat::Json,
        ValueRef::Str("a\""),
        Ok(Some(br#""a\"""#)),
    );
    check(TextFormat::Json, ValueRef::Null, Ok(None));
    check(
        TextFormat::Json,
        ValueRef::Bytes(b"x"),
        Err("bytes cannot be written as JSON"),
    );
    check(
        TextFormat::String,
        ValueRef::Str("é"),
        Ok(Some("é".as_bytes())),
    );
    check(
        TextFormat::String,
        ValueRef::Int(1),
        Err("cannot write int as str"),
    );
    check(
        TextFormat::Bytes,
        ValueRef::Bytes(b"\xff"),
        Ok(Some(b"\xff")),
    );
    check(TextFormat::Integer, ValueRef::Int(-1), Ok(Some(&[255; 4])));
    check(
        TextFormat::Integer,
        ValueRef::Int(1 << 31),
        Err("the integer does not fit"),
    );
    check(
        TextFormat::Double,
        ValueRef::Float(1.5),
        Ok(Some(&1.5f64.to_be_bytes())),
    );
    check(
        TextFormat::Double,
        ValueRef::Int(2),
        Ok(Some(&2f64.to_be_bytes())),
    );
}

#[test]
fn a_function_chooses_among_declared_topics() {
    let routes = vec![
        route("a", TextFormat::Json, 1),
        route("b", TextFormat::String, 1),
    ];
    let target = Target::Dynamic {
        function: function(support::HEADERS),
    };
    let mut operator = ToTopic::new(routes, &target, None, None, &functions()).expect("is sound");
    let ran = run(
        &mut operator as &mut dyn Operator,
        &["\"a\"", "\"b\"", "\"c\"", "1"],
    );
    assert_eq!(shown(&ran.outputs), ["a[0] k0=\"a\"", "b[0] k1=b"]);
    assert_eq!(
        ran.failed[0].1,
        "the topic was not declared, topic=`c`\n\
         hint: declare it with `app.topic(...)` before the application runs"
    );
    assert_eq!(ran.failed.len(), 2);
}

#[test]
fn a_target_must_be_among_the_routes() {
    let target = Target::Topic(TopicRef::json("nowhere"));
    let made = ToTopic::new(Vec::new(), &target, None, None, &functions());
    assert!(made.is_err_and(|error| error.message().contains("nowhere")));
}
