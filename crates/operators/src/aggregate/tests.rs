use super::{Accumulators, Aggregators};
use crate::Functions;
use headwater_core::{Column, TimestampMs, Value, ValueRef};
use headwater_plan::{Aggregate, AggregateFunction, col};
use headwater_state::{ValueReader, ValueWriter};

fn aggregators(functions: &[AggregateFunction]) -> Aggregators {
    let aggregates: Vec<Aggregate> = functions
        .iter()
        .enumerate()
        .map(|(index, function)| Aggregate {
            output: format!("out{index}").into(),
            function: function.clone(),
            input: Some(col("speed")),
        })
        .collect();
    Aggregators::new(&aggregates, &Functions::default()).expect("they are sound")
}

/// Folds the values at times 0, 1, 2, … and stores the accumulators in between.
fn fold(function: AggregateFunction, values: &[Value]) -> Result<Value, String> {
    let timed = |(index, value): (usize, &Value)| (index as TimestampMs, value.clone());
    fold_timed(
        function,
        &values.iter().enumerate().map(timed).collect::<Vec<_>>(),
    )
}

fn fold_timed(
    function: AggregateFunction,
    values: &[(TimestampMs, Value)],
) -> Result<Value, String> {
    let aggregators = aggregators(&[function]);
    let mut accumulators = aggregators.initial();
    let columns: [Column; 1] = [values.iter().map(|(_, value)| value.as_ref()).collect()];
    for (row, (timestamp, _)) in values.iter().enumerate() {
        aggregators
            .check(&accumulators, &columns, row)
            .map_err(|error| error.to_string())?;
        aggregators
            .add(&mut accumulators, &columns, row, *timestamp)
            .map_err(|e| e.to_string())?;
        accumulators = stored(&aggregators, accumulators);
    }
    let mut results = Vec::new();
    aggregators
        .results(&accumulators, &mut results)
        .map_err(|error| error.to_string())?;
    assert_eq!(results.len(), 1);
    Ok(results.remove(0))
}

/// The accumulators as they come back from a changelog.
fn stored(aggregators: &Aggregators, accumulators: Accumulators) -> Accumulators {
    let mut writer = ValueWriter::new(None);
    aggregators.write(&accumulators, &mut writer);
    let bytes = writer.finish();
    let (mut reader, _) = ValueReader::new(&bytes).expect("a value");
    let mut back = Accumulators {
        items: accumulators.items,
        ..aggregators.initial()
    };
    aggregators
        .read(&mut back, &mut reader)
        .expect("it was just written");
    assert!(reader.is_at_end());
    assert_eq!(
        format!("{:?}", back.folds),
        format!("{:?}", accumulators.folds)
    );
    back
}

fn values<T: Into<Value>>(values: impl IntoIterator<Item = T>) -> Vec<Value> {
    values.into_iter().map(Into::into).collect()
}

const NAN: Value = Value::Float(f64::NAN);

#[test]
fn nothing_aggregated_is_null_but_count_and_sum_are_zero() {
    use AggregateFunction as F;
    let all = [
        F::Count,
        F::Sum,
        F::Mean,
        F::Min,
        F::Max,
        F::First,
        F::Last,
        F::Earliest,
        F::Latest,
    ];
    for function in all.into_iter().chain([F::Std, F::Variance]) {
        let expected = match function {
            F::Count | F::Sum => Value::Int(0),
            _ => Value::Null,
        };
        assert_eq!(fold(function.clone(), &[]), Ok(expected.clone()));
        assert_eq!(
            fold(function, &[Value::Null, Value::Null]),
            Ok(expected),
            "null is skipped"
        );
    }
}

#[test]
fn a_count_without_a_column_counts_rows() {
    let count = Aggregate {
        output: "n".into(),
        function: AggregateFunction::Count,
        input: None,
    };
    let aggregators = Aggregators::new(&[count], &Functions::default()).expect("sound");
    assert!(aggregators.inputs().is_empty());
    let mut accumulators = aggregators.initial();
    aggregators
        .add(&mut accumulators, &[], 0, 0)
        .expect("it counts");
    let mut results = Vec::new();
    aggregators
        .results(&accumulators, &mut results)
        .expect("a count");
    assert_eq!(results, [Value::Int(1)]);
}

#[test]
fn a_sum_keeps_integers_until_a_float_comes() {
    let sum = |values: &[Value]| fold(AggregateFunction::Sum, values);
    assert_eq!(sum(&values([1, 2])), Ok(Value::Int(3)));
    assert_eq!(
        sum(&[1.into(), 2.into(), 0.5.into(), 1.into()]),
        Ok(Value::Float(4.5))
    );
    assert_eq!(
        sum(&[true.into(), 2.into()]),
        Ok(Value::Int(3)),
        "as Python has it"
    );
    // In record order: 1e16 swallows each one.
    assert_eq!(sum(&values([1e16, 1.0, 1.0])), Ok(Value::Float(1e16)));
    assert_eq!(sum(&values([1.0, 1.0, 1e16])), Ok(Value::Float(1e16 + 2.0)));
    let Ok(Value::Float(zero)) = sum(&values([-0.0])) else {
        panic!("a float")
    };
    assert!(zero.is_sign_positive(), "0 + -0.0 is 0.0");
}

#[test]
fn a_sum_beyond_64_bits_is_a_data_error_but_not_as_a_float() {
    let error = fold(AggregateFunction::Sum, &values([i64::MAX, 1])).expect_err("too large");
    assert!(
        error.starts_with("the integer sum is beyond 64 bits field=`speed`"),
        "{error}"
    );
    assert!(fold(AggregateFunction::Mean, &values([i64::MIN, -1])).is_err());
    let float = fold(
        AggregateFunction::Sum,
        &[i64::MAX.into(), 1.0.into(), i64::MAX.into()],
    );
    assert_eq!(
        float,
        Ok(Value::Float(i64::MAX as f64 + 1.0 + i64::MAX as f64))
    );
}

#[test]
fn a_mean_is_the_sum_over_the_count_as_a_float() {
    assert_eq!(
        fold(AggregateFunction::Mean, &values([2, 4])),
        Ok(Value::Float(3.0))
    );
    assert_eq!(
        fold(AggregateFunction::Mean, &[1.into(), Value::Null, 2.into()]),
        Ok(Value::Float(1.5))
    );
}

#[test]
fn min_and_max_compare_integers_and_floats_exactly_and_keep_the_first_of_equals() {
    let large = 9_007_199_254_740_993_i64;
    let mixed = [Value::Int(large), Value::Float(9_007_199_254_740_992.0)];
    assert_eq!(fold(AggregateFunction::Max, &mixed), Ok(Value::Int(large)));
    assert_eq!(fold(AggregateFunction::Min, &mixed), Ok(mixed[1].clone()));
    let equals = [Value::Int(1), Value::Float(1.0)];
    assert_eq!(fold(AggregateFunction::Min, &equals), Ok(Value::Int(1)));
    assert_eq!(fold(AggregateFunction::Max, &equals), Ok(Value::Int(1)));
    assert_eq!(
        fold(AggregateFunction::Min, &values(["b", "a"])),
        Ok("a".into())
    );
}

#[test]
fn b9_nan_makes_min_and_max_nan_wherever_it_comes() {
    for function in [AggregateFunction::Min, AggregateFunction::Max] {
        for order in [
            [NAN, 1.0.into(), 2.into()],
            [1.0.into(), NAN, 2.into()],
            [1.0.into(), 2.into(), NAN],
        ] {
            let Ok(Value::Float(result)) = fold(function.clone(), &order) else {
                panic!("a float")
            };
            assert!(result.is_nan(), "{function:?} of {order:?}");
        }
    }
}

#[test]
fn comparing_a_text_with_a_number_is_a_data_error_that_names_the_field() {
    for values in [
        [Value::from("fast"), 1.into()],
        [1.into(), "fast".into()],
        [NAN, "fast".into()],
    ] {
        let error = fold(AggregateFunction::Max, &values).expect_err("no order");
        assert!(error.contains("field=`speed`"), "{error}");
        assert!(error.contains("hint: cast the field"), "{error}");
    }
    assert!(fold(AggregateFunction::Max, &[Value::Json("[1]".into())]).is_err());
    assert!(
        fold(
            AggregateFunction::Sum,
            &[Value::BigInt("18446744073709551616".into())]
        )
        .is_err()
    );
}

#[test]
fn first_and_last_go_by_arrival_earliest_and_latest_by_event_time() {
    let rows: Vec<(i64, Value)> = vec![
        (5, "a".into()),
        (1, "b".into()),
        (9, "c".into()),
        (1, "d".into()),
        (9, "e".into()),
        (3, "f".into()),
    ];
    let check = |function, expected: &str| {
        assert_eq!(fold_timed(function, &rows), Ok(expected.into()));
    };
    check(AggregateFunction::First, "a");
    check(AggregateFunction::Last, "f");
    check(AggregateFunction::Earliest, "b");
    check(AggregateFunction::Latest, "e");
    let big = Value::BigInt("18446744073709551616".into());
    assert_eq!(
        fold(AggregateFunction::Last, std::slice::from_ref(&big)),
        Ok(big)
    );
}

#[test]
fn variance_and_deviation_are_those_of_a_sample() {
    let check = |function, values: &[Value], expected: f64| match fold(function, values) {
        Ok(Value::Float(result)) => assert!((result - expected).abs() < 1e-9 * expected.abs()),
        other => panic!("not a float: {other:?}"),
    };
    let sample = values([2, 4, 4, 4, 5, 5, 7, 9]);
    check(AggregateFunction::Variance, &sample, 32.0 / 7.0);
    check(AggregateFunction::Std, &sample, (32.0_f64 / 7.0).sqrt());
    // A difference of squares would give 0 or less.
    check(
        AggregateFunction::Variance,
        &values([1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0]),
        30.0,
    );
    assert_eq!(fold(AggregateFunction::Std, &values([3])), Ok(Value::Null));
}

#[test]
fn collected_values_are_a_list_by_event_time_then_arrival() {
    let rows = [
        (5, Value::Json("{\"a\": 1}".into())),
        (1, Value::Null),
        (5, Value::Float(1.0)),
        (3, Value::from("x\"y")),
    ];
    let list = Value::Json("[null,\"x\\\"y\",{\"a\": 1},1.0]".into());
    assert_eq!(fold_timed(AggregateFunction::Collect, &rows), Ok(list));
    assert_eq!(
        fold(AggregateFunction::Collect, &[]),
        Ok(Value::Json("[]".into()))
    );
    assert!(fold(AggregateFunction::Collect, &[NAN]).is_err());
}

#[test]
fn an_accumulator_goes_back_to_what_was_saved() {
    let aggregators = aggregators(&[AggregateFunction::Sum, AggregateFunction::Collect]);
    let columns: [Column; 1] = [[ValueRef::Int(1), ValueRef::Int(2)].into_iter().collect()];
    let mut accumulators = aggregators.initial();
    aggregators
        .add(&mut accumulators, &columns, 0, 0)
        .expect("it adds");
    let before = accumulators.clone();
    let saved = accumulators.save();
    aggregators
        .add(&mut accumulators, &columns, 1, 1)
        .expect("it adds");
    assert_ne!(accumulators, before);
    accumulators.go_back(saved);
    assert_eq!(accumulators, before);
}

#[test]
fn an_accumulator_takes_little_room() {
    assert!(size_of::<super::accumulator::Accumulator>() <= 40);
    assert!(size_of::<Accumulators>() <= 56);
}
