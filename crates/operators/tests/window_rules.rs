//! What windows promise, sentence by sentence: section 6 of the design, and the
//! bugs of Quix Streams that must not exist here (B5, B6, B9 to B11, B14, B15).
//!
//! tidy: long because each sentence of the rules has its scenario, in one order.

mod window_support;

use headwater_core::{Batch, Cause, FieldPath, RecordsBuilder, TopicPartition, Value};
use headwater_operators::{Functions, Operator, Step, StepTimes, Window};
use headwater_plan::{AggregateFunction, Closing, WindowSpec, col};
use window_support::{
    Driver, Input, aggregate, current, function, function_ref, hopping, partition, record, run,
    tumbling,
};

const MINUTE: i64 = 60_000;

#[test]
fn a_phone_five_minutes_behind_loses_nothing() {
    let mut inputs = Vec::new();
    for second in 0..600 {
        inputs.push(record("car", second * 1_000, 1));
        // The phone comes back with all it has recorded, out of step with the car.
        if 300 <= second {
            inputs.push(record("phone", (second - 300) * 1_000, 1));
        }
    }
    inputs.push(Input::End);
    let driver = run(&tumbling(MINUTE), &inputs);
    assert_eq!(driver.late, 0);
    let of_phone: Vec<_> = driver
        .rows()
        .into_iter()
        .filter(|row| row.starts_with("phone"))
        .collect();
    let expected: Vec<_> = (0..5)
        .map(|minute| format!("phone [{}, {}) 60", minute * MINUTE, (minute + 1) * MINUTE))
        .collect();
    assert_eq!(of_phone, expected);
}

#[test]
fn a_window_closes_when_its_keys_clock_passes_end_and_grace() {
    let spec = WindowSpec {
        grace_ms: 5,
        ..tumbling(10)
    };
    let inputs = [
        record("a", 1, 1),
        record("b", 900, 1),
        record("a", 14, 2),
        record("a", 2, 3),
    ];
    let mut driver = run(&spec, &inputs);
    assert_eq!(
        driver.rows(),
        Vec::<String>::new(),
        "the window waits for its grace period"
    );
    driver = driver.feed(&[record("a", 15, 4)]);
    assert_eq!(driver.rows(), ["a [0, 10) 4"]);
    assert_eq!((driver.outs[0].at, driver.outs[0].is_emission), (4, true));
    assert_eq!(driver.outs[0].timestamp, 0);
}

#[test]
fn a_record_is_late_by_its_own_keys_clock() {
    let driver = run(
        &tumbling(10),
        &[record("a", 20, 1), record("a", 9, 1), record("b", 9, 1)],
    );
    assert_eq!(driver.late, 1, "a has passed 10, b has not");
}

#[test]
fn a_record_is_late_where_time_has_closed_its_window_under_current_too() {
    for spec in [tumbling(10), current(tumbling(10))] {
        let spec = WindowSpec {
            key_timeout_ms: 100,
            ..spec
        };
        let inputs = [record("a", 1, 1), record("b", 101, 1), record("a", 2, 1)];
        let driver = run(&spec, &inputs);
        assert_eq!(
            driver.late, 1,
            "the window was closed though the key's clock is at 1"
        );
    }
}

#[test]
fn a_silent_keys_window_closes_key_timeout_after_the_key_was_last_heard() {
    let spec = WindowSpec {
        key_timeout_ms: 100,
        ..tumbling(10)
    };
    let inputs = [record("b", 500, 1), record("a", 1, 7), record("b", 599, 1)];
    let driver = run(&spec, &inputs);
    assert_eq!(
        driver.rows(),
        ["b [500, 510) 1"],
        "M is the watermark when a was heard: 500"
    );
    let driver = driver.feed(&[record("b", 600, 1)]);
    assert_eq!(driver.rows()[1..], ["b [590, 600) 1", "a [0, 10) 7"]);
    assert!(
        driver.outs[2].is_emission,
        "a window that closes emits a cause of its own"
    );
    assert_eq!(driver.outs[2].at, 3);
}

#[test]
fn a_silent_keys_window_is_held_open_for_its_grace_period_too() {
    let spec = WindowSpec {
        key_timeout_ms: 5,
        grace_ms: 50,
        ..tumbling(10)
    };
    let driver = run(
        &spec,
        &[record("b", 500, 1), record("a", 1, 7), record("b", 558, 1)],
    );
    assert_eq!(
        driver.rows(),
        Vec::<String>::new(),
        "59 after a, at 1, was heard at 500"
    );
    assert_eq!(driver.feed(&[record("b", 559, 1)]).rows(), ["a [0, 10) 7"]);
}

#[test]
fn a_tick_closes_windows_after_the_idle_timeout() {
    let tick = |watermark| Input::Tick {
        watermark,
        idle_timeout_ms: 10_000,
    };
    let inputs = [record("a", 1, 7), record("b", 2, 8), tick(10_000)];
    let driver = run(&tumbling(10), &inputs);
    assert_eq!(driver.rows(), Vec::<String>::new());
    let mut driver = driver.feed(&[tick(10_001), tick(10_002)]);
    assert_eq!(driver.rows(), ["a [0, 10) 7", "b [0, 10) 8"]);
    assert_eq!((driver.outs[0].at, driver.outs[1].at), (3, 4));
    assert!(!driver.window.is_waiting_for_time(), "no window is open");
    driver.step(&[record("a", 3, 1)]);
    assert_eq!(driver.late, 1);
}

#[test]
fn windows_due_together_leave_by_deadline_key_and_start() {
    let spec = WindowSpec {
        key_timeout_ms: 100,
        ..hopping(10, 5)
    };
    let inputs = [
        record("b", 7, 1),
        record("c", 3, 1),
        record("a", 7, 1),
        record("z", 1_000, 1),
    ];
    let driver = run(&spec, &inputs);
    assert_eq!(
        driver.rows(),
        [
            "a [0, 10) 1",
            "a [5, 15) 1",
            "b [0, 10) 1",
            "b [5, 15) 1",
            // Heard later than its own clock says, at 7 too.
            "c [-5, 5) 1",
            "c [0, 10) 1",
        ]
    );
    assert!(driver.outs.iter().all(|out| out.at == 3 && out.is_emission));
}

#[test]
fn a_window_that_time_closes_has_the_cause_of_the_input_that_made_it_due() {
    let spec = WindowSpec {
        key_timeout_ms: 100,
        ..tumbling(10)
    };
    let inputs: Vec<Input> = [1, 50, 101, 150, 160].map(|ts| record("b", ts, 1)).into();
    let inputs = [
        &[record("a", 1, 7)],
        inputs.as_slice(),
        &[record("a", 200, 1)],
    ]
    .concat();
    let driver = run(&spec, &inputs);
    let of_a = driver
        .outs
        .iter()
        .find(|out| out.key == "a")
        .expect("it closed");
    assert_eq!((of_a.at, of_a.is_emission), (3, true));
}

#[test]
fn a_key_is_forgotten_key_retention_after_its_clock() {
    let spec = WindowSpec {
        key_timeout_ms: 10,
        key_retention_ms: 1_000,
        ..tumbling(10)
    };
    let mut driver = run(&spec, &[record("a", 1, 1), record("b", 1_009, 1)]);
    assert_eq!(driver.len(), 2, "a's window was closed at 10");
    driver.step(&[record("b", 1_010, 1)]);
    assert_eq!(driver.len(), 1);
    driver.restart();
    assert_eq!(driver.len(), 1, "the changelog has forgotten it too");
}

#[test]
fn for_an_unknown_key_a_window_that_would_have_closed_before_the_bound_is_late() {
    let spec = WindowSpec {
        key_retention_ms: 1_000,
        grace_ms: 5,
        ..tumbling(10)
    };
    let mut driver = run(&spec, &[record("b", 2_000, 1), record("a", 984, 1)]);
    assert_eq!(driver.late, 1, "[980, 990) would have closed at 995");
    assert_eq!(driver.len(), 1, "it makes no key known");
    driver.step(&[record("a", 990, 1), record("a", 984, 1)]);
    assert_eq!(
        driver.late, 1,
        "[990, 1000) would not; and now the key is known by its clock"
    );
}

#[test]
fn forgetting_a_key_makes_nothing_less_late() {
    let spec = WindowSpec {
        key_timeout_ms: 10,
        key_retention_ms: 100,
        ..tumbling(10)
    };
    let inputs = [record("a", 1, 1), record("b", 500, 1), record("a", 2, 1)];
    let mut driver = run(&spec, &inputs);
    assert_eq!(driver.late, 1);
    assert_eq!(driver.len(), 1);
}

#[test]
fn partition_closing_judges_by_the_watermark_including_the_record() {
    let spec = partition(WindowSpec {
        grace_ms: 5,
        ..tumbling(10)
    });
    let inputs = [
        record("a", 1, 1),
        record("b", 14, 1),
        record("c", 2, 1),
        record("b", 15, 1),
    ];
    let driver = run(&spec, &inputs);
    assert_eq!(driver.rows(), ["a [0, 10) 1", "c [0, 10) 1"]);
    assert!(driver.outs.iter().all(|out| out.at == 3 && out.is_emission));
    let mut driver = driver.feed(&[record("c", 9, 1)]);
    assert_eq!(driver.late, 1, "any key's record is late now");
    assert_eq!(driver.len(), 1, "a key without open windows is not kept");
}

#[test]
fn windows_before_1970_round_down() {
    let driver = run(
        &tumbling(10),
        &[record("a", -1, 1), record("a", -10, 2), Input::End],
    );
    assert_eq!(driver.rows(), ["a [-10, 0) 3"]);
    let driver = run(&hopping(10, 2), &[record("a", 3, 1), Input::End]);
    assert_eq!(
        driver.rows(),
        [
            "a [-6, 4) 1",
            "a [-4, 6) 1",
            "a [-2, 8) 1",
            "a [0, 10) 1",
            "a [2, 12) 1"
        ]
    );
}

#[test]
fn b5_hopping_windows_close_by_partition_where_the_size_is_no_multiple_of_the_advance() {
    let inputs: Vec<Input> = (0..20)
        .map(|n| record("a", n * 3, 1))
        .chain([Input::End])
        .collect();
    let by_key = run(&hopping(10, 3), &inputs);
    let by_partition = run(&partition(hopping(10, 3)), &inputs);
    assert_eq!(by_key.rows(), by_partition.rows());
    assert_eq!(by_key.rows().len(), 23);
    assert_eq!(by_key.rows()[3], "a [0, 10) 4");
}

#[test]
fn b6_a_jump_in_time_costs_nothing_for_the_windows_it_skips() {
    for spec in [
        hopping(1_000, 1),
        partition(hopping(1_000, 1)),
        partition(tumbling(1)),
    ] {
        let far = 1_000_000_000_000_000;
        let driver = run(&spec, &[record("a", 0, 1), record("a", far, 1)]);
        let count = spec.length.size_ms() / spec.length.advance_ms();
        assert_eq!(driver.outs.len() as i64, count);
    }
}

#[test]
fn b14_a_far_future_record_makes_no_other_key_late() {
    let far = 1_000_000_000_000_000;
    let inputs = [
        record("a", 1, 1),
        record("a", far, 1),
        record("b", 2, 1),
        record("b", 12, 1),
    ];
    let spec = WindowSpec {
        key_retention_ms: 2 * far,
        ..tumbling(10)
    };
    let driver = run(&spec, &inputs);
    assert_eq!(driver.late, 0);
    assert_eq!(driver.rows(), ["a [0, 10) 1", "b [0, 10) 1"]);
    // The key itself goes on too, once the record is skipped as a data error:
    // then it moves no clock, because the window never sees it.
}

#[test]
fn b15_results_have_the_key_as_it_came() {
    let driver = run(
        &partition(tumbling(10)),
        &[record("\"a|b\"", 1, 1), Input::End],
    );
    assert_eq!(driver.rows(), ["\"a|b\" [0, 10) 1"]);
}

#[test]
fn b8_no_key_reads_anothers_windows() {
    let mut driver = run(
        &tumbling(10),
        &[record("a", 1, 1), record("a|b", 1, 2), record("", 1, 3)],
    );
    driver.restart();
    let driver = driver.feed(&[Input::End]);
    assert_eq!(
        driver.rows(),
        [" [0, 10) 3", "a [0, 10) 1", "a|b [0, 10) 2"]
    );
}

#[test]
fn the_end_of_the_input_closes_everything_once() {
    for spec in [tumbling(10), partition(tumbling(10))] {
        let inputs = [record("a", 1, 1), record("b", 5, 2), Input::End, Input::End];
        let mut driver = run(&spec, &inputs);
        assert_eq!(driver.rows(), ["a [0, 10) 1", "b [0, 10) 2"]);
        assert!(!driver.window.is_waiting_for_time());
        driver.restart();
        driver.step(&[record("a", 2, 1)]);
        assert_eq!(
            driver.late, 1,
            "what was closed stays closed when a file has grown"
        );
    }
}

#[test]
fn current_emits_each_update_by_start_and_nothing_on_closing() {
    let spec = current(hopping(10, 5));
    let driver = run(
        &spec,
        &[
            record("a", 7, 1),
            record("a", 8, 2),
            record("a", 40, 4),
            Input::End,
        ],
    );
    assert_eq!(
        driver.rows(),
        [
            "a [0, 10) 1",
            "a [5, 15) 1",
            "a [0, 10) 3",
            "a [5, 15) 3",
            "a [35, 45) 4",
            "a [40, 50) 4",
        ]
    );
    assert_eq!(
        driver.outs.iter().map(|out| out.at).collect::<Vec<_>>(),
        [0, 0, 1, 1, 2, 2]
    );
}

#[test]
fn windows_of_a_key_close_by_start() {
    let spec = WindowSpec {
        grace_ms: 100,
        ..tumbling(10)
    };
    let driver = run(
        &spec,
        &[record("a", 11, 1), record("a", 5, 2), record("a", 500, 3)],
    );
    assert_eq!(driver.rows(), ["a [0, 10) 2", "a [10, 20) 1"]);
}

#[test]
fn a_record_without_a_key_is_a_data_error() {
    let value = "{\"v\":1}".to_owned();
    let driver = run(
        &tumbling(10),
        &[Input::Record {
            key: None,
            timestamp: 1,
            value,
        }],
    );
    assert_eq!(driver.failed[0].at, 0);
    assert!(driver.failed[0].error.contains("hint: group by a key"));
}

#[test]
fn a_failing_record_changes_nothing() {
    let huge = i64::MAX - 5;
    let spec = WindowSpec {
        grace_ms: 10,
        ..hopping(10, 5)
    };
    let inputs = [
        record("a", 7, huge),
        record("a", 2, 1),
        // [-5, 5) could take it; [0, 10) would overflow.
        record("a", 3, 10),
        record("a", 8, "\"fast\""),
        record("a", 9, "null"),
        Input::End,
    ];
    let driver = run(&spec, &inputs);
    assert_eq!(
        driver
            .failed
            .iter()
            .map(|failed| failed.at)
            .collect::<Vec<_>>(),
        [2, 3]
    );
    assert!(driver.failed[0].error.contains("beyond 64 bits field=`v`"));
    assert!(driver.failed[1].error.contains("cannot sum str field=`v`"));
    assert!(
        driver.failed[1]
            .error
            .contains("hint: cast it with `.astype(float)`")
    );
    let sum = huge + 1;
    assert_eq!(
        driver.rows(),
        [
            "a [-5, 5) 1".to_owned(),
            format!("a [0, 10) {sum}"),
            format!("a [5, 15) {huge}"),
        ]
    );
}

#[test]
fn a_failing_record_moves_no_clock_and_makes_no_key_known() {
    let mut driver = run(&tumbling(10), &[record("a", 100, "\"x\"")]);
    assert_eq!(driver.len(), 0);
    driver = driver.feed(&[record("a", 1, 1), Input::End]);
    assert_eq!(driver.rows(), ["a [0, 10) 1"]);
}

/// A window with the callback or trigger of that name.
fn with_function(
    mut spec: WindowSpec,
    name: &str,
    result: impl Fn(&[Value]) -> Result<Value, String> + Send + Sync + 'static,
) -> (
    WindowSpec,
    Functions,
    std::sync::Arc<window_support::TestFunction>,
) {
    let wanted = Some(function_ref(1));
    match name {
        "on_late" => spec.on_late = wanted,
        "before_update" => spec.before_update = wanted,
        _ => spec.after_update = wanted,
    }
    let function = function(move |_, arguments| result(arguments));
    let mut functions = Functions::default();
    functions.insert(1, function.clone());
    (spec, functions, function)
}

#[test]
fn on_late_is_called_for_each_window_that_a_record_missed() {
    let (spec, functions, on_late) = with_function(hopping(10, 5), "on_late", |arguments| {
        let is_first = arguments[2] == Value::Int(8) && arguments[4] == Value::Int(0);
        Ok(Value::Bool(is_first))
    });
    let inputs = [
        record("a", 12, 1),
        record("a", 9, 2),
        record("a", 20, 3),
        record("a", 8, 4),
    ];
    let driver = Driver::new(&spec, &functions).feed(&inputs);
    assert_eq!(
        driver.late, 1,
        "the record at 9 was late for one of its windows only"
    );
    let calls = on_late.calls.lock().expect("no panic").clone();
    let bounds: Vec<_> = calls
        .iter()
        .map(|call| (call[2].clone(), call[4].clone()))
        .collect();
    let expected = [(9, 0), (8, 0), (8, 5)].map(|(ts, start)| (Value::Int(ts), Value::Int(start)));
    assert_eq!(bounds, expected);
    assert_eq!(
        calls[1],
        [
            Value::Json("{\"v\":4}".into()),
            Value::Bytes(b"a"[..].into()),
            Value::Int(8),
            Value::Int(12),
            Value::Int(0),
            Value::Int(10),
            Value::Str("telemetry--hopping_window_10_5".into()),
            Value::Str("telemetry".into()),
            Value::Int(3),
            Value::Int(3),
        ]
    );
    // One says yes, and is told of once more.
    assert_eq!(
        driver.warnings,
        [
            "a record came too late for its window, key=`a` timestamp_ms=`8` late_by_ms=`12` \
             start_ms=`0` end_ms=`10` store=`telemetry--hopping_window_10_5` topic=`telemetry` \
             partition=`3` offset=`3`"
        ]
    );
}

#[test]
fn a_callback_that_raises_fails_the_record_and_names_its_line() {
    let (spec, functions, _) = with_function(hopping(10, 5), "on_late", |_| {
        Err("KeyError: 'x'".to_owned())
    });
    let inputs = [record("a", 12, 1), record("a", 9, 2), Input::End];
    let driver = Driver::new(&spec, &functions).feed(&inputs);
    assert_eq!(driver.failed[0].error, "KeyError: 'x' line=`app.py:7`");
    assert_eq!(driver.rows(), ["a [5, 15) 1", "a [10, 20) 1"]);
}

/// Whether the window's sum has reached 3.
fn is_three(arguments: &[Value]) -> Result<Value, String> {
    let Value::Json(outputs) = &arguments[0] else {
        return Err("no outputs".to_owned());
    };
    Ok(Value::Bool(matches!(
        &**outputs,
        "{\"sum\":3}" | "{\"sum\":4}"
    )))
}

#[test]
fn b10_before_update_emits_the_window_as_it_is_and_keeps_the_record() {
    let inputs = [
        record("a", 1, 1),
        record("a", 2, 2),
        record("a", 3, 7),
        Input::End,
    ];
    let (spec, functions, calls) = with_function(tumbling(10), "before_update", is_three);
    let driver = Driver::new(&spec, &functions).feed(&inputs);
    assert_eq!(driver.rows(), ["a [0, 10) 3", "a [0, 10) 7"]);
    assert_eq!((driver.outs[0].at, driver.outs[0].is_emission), (2, false));
    let call = calls.calls.lock().expect("no panic")[0].clone();
    assert_eq!(
        call,
        [
            Value::Json("{\"sum\":1}".into()),
            Value::Json("{\"v\":2}".into()),
            Value::Bytes(b"a"[..].into()),
            Value::Int(2),
            Value::Json("[[\"h\",\"x\"]]".into()),
        ]
    );
    let (spec, functions, _) = with_function(current(tumbling(10)), "before_update", is_three);
    let driver = Driver::new(&spec, &functions).feed(&inputs);
    assert_eq!(
        driver.rows(),
        ["a [0, 10) 1", "a [0, 10) 3", "a [0, 10) 3", "a [0, 10) 7"]
    );
}

#[test]
fn b10_after_update_emits_with_the_record_and_starts_empty() {
    let inputs = [record("a", 1, 1), record("a", 2, 2), Input::End];
    for spec in [tumbling(10), current(tumbling(10))] {
        let (spec, functions, _) = with_function(spec, "after_update", is_three);
        let driver = Driver::new(&spec, &functions).feed(&inputs);
        let rows = driver.rows();
        assert_eq!(rows.last().map(String::as_str), Some("a [0, 10) 3"));
        assert_eq!(
            driver.outs[rows.len() - 1].at,
            1,
            "an empty window leaves nothing at its end"
        );
    }
}

#[test]
fn early_results_leave_after_those_of_windows_that_the_record_closed() {
    let (spec, functions, _) = with_function(tumbling(10), "after_update", is_three);
    let inputs = [record("a", 1, 1), record("a", 11, 3)];
    let driver = Driver::new(&spec, &functions).feed(&inputs);
    assert_eq!(driver.rows(), ["a [0, 10) 1", "a [10, 20) 3"]);
}

#[test]
fn b11_collect_with_triggers_emits_each_value_once() {
    let mut spec = tumbling(10);
    spec.aggregates
        .push(aggregate("all", AggregateFunction::Collect));
    let three = |arguments: &[Value]| {
        let Value::Json(outputs) = &arguments[0] else {
            return Err("no outputs".to_owned());
        };
        Ok(Value::Bool(outputs.starts_with("{\"sum\":3,")))
    };
    let (spec, functions, _) = with_function(spec, "after_update", three);
    let mut driver = Driver::new(&spec, &functions);
    for input in [
        record("a", 2, 1),
        record("a", 1, 2),
        record("a", 3, 3),
        record("a", 4, 9),
    ] {
        driver.step(&[input]);
        driver.restart();
    }
    let driver = driver.feed(&[Input::End]);
    assert_eq!(
        driver.rows(),
        ["a [0, 10) 3 [2,1]", "a [0, 10) 3 [3]", "a [0, 10) 9 [9]"]
    );
    let mut driver = driver;
    driver.drain();
    assert_eq!(driver.log.len(), 1, "the clock alone is left");
}

#[test]
fn a_trigger_that_raises_takes_the_whole_record_back() {
    let raises = |arguments: &[Value]| match &arguments[3] {
        Value::Int(9) if arguments[0] == Value::Json("{\"sum\":7}".into()) => {
            Err("ValueError: no".to_owned())
        }
        _ => Ok(Value::Bool(true)),
    };
    let (spec, functions, _) = with_function(hopping(10, 5), "after_update", raises);
    // The trigger takes the first window and raises for the second, where the
    // record before left nothing.
    let mut functions_kept = functions.clone();
    functions_kept.insert(2, function(|_, _| Ok(Value::Bool(false))));
    let inputs = [record("a", 6, 1), record("a", 9, 7), Input::End];
    let driver = Driver::new(&spec, &functions_kept).feed(&inputs);
    assert_eq!(driver.failed.len(), 1);
    assert_eq!(driver.rows(), ["a [0, 10) 1", "a [5, 15) 1"]);
}

#[test]
fn users_aggregators_fold_collect_and_reduce() {
    let mut spec = tumbling(10);
    let user = |is_collector| AggregateFunction::User {
        aggregator: function_ref(1),
        is_collector,
    };
    spec.aggregates = vec![
        aggregate("user", user(false)),
        aggregate("list", user(true)),
        aggregate(
            "fold",
            AggregateFunction::Reduce {
                initialise: function_ref(2),
                reduce: function_ref(3),
            },
        ),
    ];
    let int = |value: &Value| match value {
        Value::Int(value) => *value,
        Value::Null => 0,
        other => panic!("not an int: {other:?}"),
    };
    let mut functions = Functions::default();
    functions.insert(
        1,
        function(move |method, arguments| match (method, arguments) {
            (Some("initialize"), []) => Ok(Value::Int(1_000)),
            (Some("agg"), [old, new, Value::Int(_)]) => Ok(Value::Int(int(old) + int(new))),
            (Some("result"), [Value::Json(items)]) => Ok(Value::Str(items.clone())),
            (Some("result"), [state]) => Ok(Value::Int(-int(state))),
            other => Err(format!("unexpected call {other:?}")),
        }),
    );
    functions.insert(
        2,
        function(move |_, arguments| Ok(Value::Int(int(&arguments[0]) * 100))),
    );
    functions.insert(
        3,
        function(move |_, arguments| match int(&arguments[1]) {
            13 => Err("ValueError: unlucky".to_owned()),
            value => Ok(Value::Int(int(&arguments[0]) + value)),
        }),
    );
    let mut driver = Driver::new(&spec, &functions);
    for input in [
        record("a", 2, 3),
        record("a", 1, 4),
        record("a", 3, 13),
        record("a", 4, "null"),
    ] {
        driver.step(&[input]);
        driver.restart();
    }
    assert_eq!(
        driver.failed[0].error,
        "ValueError: unlucky line=`app.py:7`"
    );
    let driver = driver.feed(&[Input::End]);
    assert_eq!(driver.rows(), ["a [0, 10) -1007 \"[4,3,null]\" 304"]);
}

#[test]
fn a_result_that_fails_when_its_window_closes_fails_alone_and_the_window_is_closed() {
    let mut spec = WindowSpec {
        key_timeout_ms: 10,
        ..tumbling(10)
    };
    let aggregator = function_ref(1);
    spec.aggregates.push(aggregate(
        "user",
        AggregateFunction::User {
            aggregator,
            is_collector: false,
        },
    ));
    let mut functions = Functions::default();
    functions.insert(
        1,
        function(|method, arguments| match (method, arguments.last()) {
            (Some("result"), Some(Value::Int(7))) => Err("ZeroDivisionError".to_owned()),
            (Some("agg"), _) => Ok(arguments[1].clone()),
            _ => Ok(Value::Int(0)),
        }),
    );
    // Whether time or a record of the key closes it.
    for closing in [record("c", 100, 1), record("a", 12, 1)] {
        let inputs = [
            record("a", 1, 7),
            record("b", 1, 8),
            closing,
            record("a", 2, 1),
            record("b", 100, 9),
        ];
        let driver = Driver::new(&spec, &functions).feed(&inputs);
        assert_eq!(driver.rows()[0], "b [0, 10) 8 0");
        assert_eq!(driver.failed.len(), 1);
        assert_eq!(driver.failed[0].at, 2);
        assert!(driver.failed[0].is_emission);
        assert_eq!(driver.late, 1, "the window of a was counted as closed");
    }
}

#[test]
fn only_what_has_changed_is_logged() {
    let spec = WindowSpec {
        grace_ms: 10_000,
        ..tumbling(10)
    };
    let mut driver = Driver::new(&spec, &Functions::default());
    for n in 0..100 {
        driver.step(&[record("a", n * 10, 1)]);
    }
    driver.drain();
    assert_eq!(driver.logged_records, 100);
    driver.step(&[record("a", 995, 1)]);
    driver.drain();
    assert_eq!(
        driver.logged_records, 102,
        "the window, and the first one for the clock"
    );
    driver.step(&[record("a", 1, 1)]);
    driver.drain();
    assert_eq!(driver.logged_records, 103, "the first window");
}

#[test]
fn what_opens_and_closes_between_drains_leaves_no_trace() {
    let mut driver = run(
        &tumbling(10),
        &[record("a", 1, 1), record("a", 11, 1), record("a", 21, 1)],
    );
    driver.drain();
    assert_eq!(driver.logged_records, 1, "the open window with the clock");
}

#[test]
fn a_collected_item_is_logged_once() {
    let mut spec = tumbling(1_000);
    spec.aggregates = vec![aggregate("all", AggregateFunction::Collect)];
    let mut driver = Driver::new(&spec, &Functions::default());
    for n in 0..100 {
        driver.step(&[record("a", n, n)]);
        driver.drain();
    }
    assert_eq!(
        driver.logged_records, 200,
        "each time the window with the clock, and one item"
    );
    driver.restart();
    driver = driver.feed(&[Input::End]);
    let all: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!(driver.rows(), [format!("a [0, 1000) [{}]", all.join(","))]);
}

#[test]
fn another_aggregate_joins_a_running_window_and_the_others_go_on() {
    let mut driver = run(&tumbling(10), &[record("a", 1, 5)]);
    driver.drain();
    let mut spec = tumbling(10);
    spec.aggregates
        .insert(0, aggregate("n", AggregateFunction::Count));
    let mut wider = Driver::new(&spec, &Functions::default());
    wider.log = driver.log.clone();
    wider.restart();
    let wider = wider.feed(&[record("a", 2, 6), Input::End]);
    assert_eq!(wider.rows(), ["a [0, 10) 1 11"]);
}

#[test]
fn after_an_at_least_once_restart_what_was_closed_is_closed_again_at_once() {
    let mut driver = run(&tumbling(10), &[record("a", 1, 5)]);
    driver.drain();
    let with_window = driver.log.clone();
    let mut driver = driver.feed(&[record("a", 11, 6)]);
    driver.drain();
    // The clock was written, the removal of the window was not.
    let mut log = with_window;
    log.extend(driver.log.clone());
    let mut restarted = Driver::new(&tumbling(10), &Functions::default());
    restarted.log = log;
    restarted.restart();
    restarted.step(&[]);
    assert_eq!(restarted.rows(), ["a [0, 10) 5"]);
}

#[test]
fn a_removal_that_comes_an_epoch_late_leaves_the_clock_as_it_is() {
    let spec = WindowSpec {
        key_timeout_ms: 5,
        ..tumbling(10)
    };
    let mut driver = run(&spec, &[record("a", 1, 1), record("b", 50, 1)]);
    driver.drain();
    let of_clock = driver.log.keys().find(|key| key[0] == 1).cloned();
    let of_clock = of_clock.expect("a key without windows has a record for its clock");
    let mut driver = driver.feed(&[record("a", 60, 1)]);
    // With the window that is open now the clock has gone to its record.
    driver.restart();
    let store = driver.window.store().expect("a window has a store");
    store.restore(&of_clock, None).expect("it restores");
    let driver = driver.feed(&[record("a", 9, 1)]);
    assert_eq!(driver.late, 1, "what was closed stays closed");
}

/// What stands on disk says when it is due by the rules of the program that wrote it.
#[test]
fn other_rules_hold_for_windows_on_disk_too() {
    let before = WindowSpec {
        key_timeout_ms: 1_000,
        ..tumbling(10)
    };
    let after = WindowSpec {
        key_timeout_ms: 5,
        ..before.clone()
    };
    let functions = Functions::default();
    let mut rows = Vec::new();
    for driver in [
        Driver::new(&before, &functions),
        Driver::spilling(&before, &functions, 1),
    ] {
        let mut driver = driver.feed(&[record("a", 1, 1), record("b", 2, 1)]);
        driver.restart_with(after.clone());
        // By now `a` has been silent for too long; by the old rules it would not have been.
        let driver = driver.feed(&[record("b", 50, 1), record("b", 51, 1)]);
        assert_eq!(driver.rows().len(), 2, "both windows have closed");
        rows.push(driver.outs);
    }
    assert_eq!(rows[0], rows[1]);
}

#[test]
fn a_key_without_windows_has_a_record_for_its_clock_and_only_then() {
    let spec = WindowSpec {
        key_retention_ms: 100,
        key_timeout_ms: 5,
        ..tumbling(10)
    };
    let mut driver = run(&spec, &[record("a", 1, 1)]);
    let kinds = |driver: &mut Driver| {
        driver.drain();
        let mut keys: Vec<_> = driver.log.keys().map(|key| (key[0], key[3])).collect();
        keys.sort_unstable();
        keys
    };
    assert_eq!(kinds(&mut driver), [(2, b'a')]);
    let mut driver = driver.feed(&[record("b", 50, 1)]);
    assert_eq!(kinds(&mut driver), [(1, b'a'), (2, b'b')]);
    driver.restart();
    let mut driver = driver.feed(&[record("a", 9, 1), record("a", 60, 1)]);
    assert_eq!(driver.late, 1, "what was closed stays closed");
    assert_eq!(kinds(&mut driver), [(1, b'b'), (2, b'a')]);
    let mut driver = driver.feed(&[record("c", 1_000, 1)]);
    assert_eq!(kinds(&mut driver), [(2, b'c')], "a and b are forgotten");
}

#[test]
fn a_changelog_of_version_1_is_read_and_replaced() {
    let spec = hopping(10, 5);
    let mut driver = run(&spec, &[record("a", 16, 5)]);
    driver.drain();
    // Version 1: a record for every clock, and none in a window's.
    const HEAD: usize = 1 + 8;
    const CLOCK: usize = 3 * 8;
    let mut old = std::collections::BTreeMap::new();
    for (key, value) in &driver.log {
        let (head, flags, rest) = (&value[1..HEAD], value[HEAD], &value[HEAD + 1..]);
        let (clock, rest) = rest.split_at(if flags & 2 == 0 { 0 } else { CLOCK });
        if flags & 2 != 0 {
            old.insert(vec![1, 1, 1, b'a'], [&[1], head, clock].concat());
        }
        old.insert(key.clone(), [&[1], head, &[flags & 1], rest].concat());
    }
    assert_eq!(old.len(), 3, "two windows and a clock");

    let mut restarted = Driver::new(&spec, &Functions::default());
    restarted.log = old;
    restarted.restart();
    let inputs = [record("a", 9, 1), record("a", 17, 1)];
    let mut restarted = restarted.feed(&inputs);
    assert_eq!(restarted.late, 1, "the clock came back");
    let mut driver = driver.feed(&inputs);
    driver.drain();
    restarted.drain();
    assert_eq!(restarted.log, driver.log);
    assert_eq!(
        restarted.feed(&[Input::End]).rows(),
        ["a [10, 20) 6", "a [15, 25) 6"]
    );
}

#[test]
fn a_record_at_the_edge_of_time_is_a_data_error() {
    let driver = run(
        &hopping(10, 3),
        &[record("a", i64::MAX, 1), record("a", i64::MIN, 1)],
    );
    assert_eq!(driver.failed.len(), 2);
    assert!(
        driver.failed[0]
            .error
            .starts_with("the event time is out of range")
    );
}

#[test]
fn at_the_end_of_the_input_a_window_of_windows_takes_what_the_first_one_emits() {
    for closing in [Closing::Key, Closing::Partition] {
        let first = WindowSpec {
            closing,
            ..tumbling(10)
        };
        let mut second = WindowSpec {
            closing,
            ..tumbling(100)
        };
        second.aggregates[0].input = Some(col("sum"));
        let none = Functions::default();
        let mut first = Window::new(&first, &none, "one").expect("it is sound");
        let mut second = Window::new(&second, &none, "two").expect("it is sound");
        let (partition, mut keyed) = (TopicPartition::new("telemetry", 0), Default::default());
        let mut records = RecordsBuilder::default();
        for timestamp in [1, 12] {
            records.push(Some(b"a"), Some(b"{\"v\":4}"), timestamp, None);
        }
        let mut sums = Vec::new();
        let mut causes = Vec::new();
        let steps = [
            (Batch::from_records(&records.finish()), vec![1, 12]),
            (empty(), vec![i64::MAX]),
        ];
        for (batch, after) in steps {
            let times = StepTimes {
                before: i64::MIN,
                after,
            };
            let mut step = Step::new(&times, &mut keyed, &partition);
            let passed = first.process(batch, &mut step).expect("it goes on");
            let due = first.advance(&mut step).expect("it goes on");
            let mut out = Vec::new();
            for batch in passed.into_iter().chain(due) {
                out.extend(second.process(batch, &mut step).expect("it goes on"));
            }
            out.extend(second.advance(&mut step).expect("it goes on"));
            for mut batch in out {
                causes.extend(batch.causes.iter().copied());
                let sum = batch.rows.column(&FieldPath::name("sum")).column;
                sums.extend(sum.iter().map(|sum| sum.to_owned()));
            }
        }
        assert_eq!(sums, [Value::Int(8)]);
        assert_eq!((first.take_late_count(), second.take_late_count()), (0, 0));
        assert!(Cause(causes[0]).is_emission());
    }
}

fn empty() -> Batch {
    Batch::from_records(&RecordsBuilder::default().finish())
}

/// What cannot be a text must be found when it is restored, not when it is shown.
#[test]
fn a_damaged_item_is_an_error_and_no_panic() {
    let mut spec = tumbling(10);
    spec.aggregates = vec![aggregate("all", AggregateFunction::Collect)];
    let mut driver = run(&spec, &[record("a", 1, "\"Q\"")]);
    driver.drain();
    let mut window = Window::new(&spec, &Functions::default(), "telemetry").expect("it is sound");
    let store = window.store().expect("a window has a store");
    let results: Vec<_> = driver
        .log
        .iter()
        .map(|(key, value)| {
            let mut value = value.clone();
            for byte in &mut value {
                if *byte == b'Q' {
                    *byte = 0xff;
                }
            }
            store.restore(key, Some(&value))
        })
        .collect();
    let errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0].to_string().contains("not a text"),
        "{}",
        errors[0]
    );
}
