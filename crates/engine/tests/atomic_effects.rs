//! A cause that fails leaves nothing behind, wherever it fails: the result is
//! that of the run in which it never existed, clocks included.
//!
//! Records say themselves where they fail. The reference is a run over the input
//! without them, one record at a time.

mod support;

use headwater::log::Log;
use headwater::plan::Op;
use headwater::{
    Aggregate, AggregateFunction, Closing, DataFrame, Emit, ErrorPolicy, WindowLength, WindowSpec,
    col,
};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use support::functions::{Registry, add_to};
use support::{In, Out, Seed, Stop, Variant, WALL_MS};

/// Where records of a plan may fail.
const PLACES: [&str; 7] = [
    "early", "before", "after", "branch", "other", "window", "json",
];

fn fails_at(row: &Json, place: &str) -> Result<(), String> {
    match row.get("fails").and_then(Json::as_str) {
        Some(wanted) if wanted == place => Err(format!("fails {place}")),
        _ => Ok(()),
    }
}

fn spec(is_final: bool, is_by_key: bool) -> WindowSpec {
    let aggregate = |output: &str, function, input| Aggregate {
        output: output.into(),
        function,
        input,
    };
    WindowSpec {
        emit: if is_final { Emit::Final } else { Emit::Current },
        closing: if is_by_key {
            Closing::Key
        } else {
            Closing::Partition
        },
        key_timeout_ms: 200,
        aggregates: vec![
            aggregate("total", AggregateFunction::Sum, Some(col("x"))),
            aggregate("n", AggregateFunction::Count, None),
        ],
        ..WindowSpec::new(WindowLength::Hopping {
            size_ms: 100,
            advance_ms: 50,
        })
    }
}

/// A stateless step, a stateful one, and two or three branches after them. What
/// fails in one branch must undo the others, and what left before the state.
fn frames(shape: u64, registry: &mut Registry, calls: &Arc<AtomicU64>) -> Vec<DataFrame> {
    let input = DataFrame::topic("in");
    let calls = Arc::clone(calls);
    let mut early = registry.apply(&input, "early", move |row| {
        calls.fetch_add(1, Ordering::Relaxed);
        fails_at(row, "early").map(|()| row.clone())
    });
    if shape & 16 != 0 {
        early = early.then(Op::SetTimestamp(col("t")));
        // What is left out has moved the clock nevertheless.
        early = registry.filter(&early, "some", |row| {
            Ok(row["id"] != 7 || row.get("fails").is_some())
        });
    }
    let counted = registry.stateful(&early, "count", false, |row, state| {
        fails_at(row, "before")?;
        let count = add_to(state, "count", 1);
        fails_at(row, "after")?;
        let mut row = row.clone();
        row["count"] = count.into();
        Ok(vec![row])
    });
    let branch = registry.apply(&counted, "branch", |row| {
        fails_at(row, "branch").map(|()| row.clone())
    });
    let other = registry.filter(&counted, "other", |row| {
        fails_at(row, "other").map(|()| true)
    });
    let windows = counted.window(spec(shape & 1 == 0, shape & 2 == 0));
    let mut frames = vec![
        early.to_topic("early"),
        branch.to_topic("branch"),
        windows.to_topic("windows"),
        other.to_topic("other"),
    ];
    if shape & 4 != 0 {
        frames.push(other.to_topic("branch"));
    }
    if shape & 8 != 0 {
        frames.reverse();
    }
    frames
}

fn random_input(seed: &mut Seed) -> Vec<In> {
    let mut time = WALL_MS;
    let len = 5 + seed.below(60);
    let mut records: Vec<In> = (0..len)
        .map(|id| {
            time += seed.below(40) as i64;
            let mut timestamp = time - seed.below(120) as i64;
            let x = if seed.below(6) == 0 {
                "2.5".into()
            } else {
                seed.below(90).to_string()
            };
            let x = format!("{x},\"t\":{}", time + seed.below(150) as i64 - 50);
            let mut text = format!("{{\"id\":{id},\"x\":{x}}}");
            if seed.below(3) == 0 {
                // A failing record far ahead would close windows, if it moved a clock.
                timestamp += if seed.below(2) == 0 { 3_000 } else { 0 };
                text = match *seed.pick(&PLACES) {
                    // Only a record that is not late is looked at by the window.
                    "window" => {
                        timestamp = timestamp.max(time);
                        // Not even by the time that the plan may set.
                        let t = time + 200;
                        format!("{{\"id\":{id},\"x\":[],\"t\":{t},\"fails\":\"window\"}}")
                    }
                    "json" => format!("{{\"id\":{id},\"x\":"),
                    place => format!("{{\"id\":{id},\"x\":{x},\"fails\":\"{place}\"}}"),
                };
                if seed.below(8) == 0 {
                    // Late for its windows or not, it fails elsewhere.
                    timestamp -= 5_000;
                    text = format!("{{\"id\":{id},\"x\":{x},\"fails\":\"other\"}}");
                }
            }
            let key = Some((*seed.pick(&["a", "b", "c"])).to_owned());
            In {
                key,
                value: Some(text.into_bytes()),
                timestamp,
            }
        })
        .collect();
    records.push(In {
        key: Some("flush".into()),
        value: Some(format!("{{\"id\":1000,\"x\":0,\"t\":{}}}", WALL_MS + 3_600_000).into_bytes()),
        timestamp: WALL_MS + 3_600_000,
    });
    records
}

fn is_failing(record: &In) -> bool {
    let text = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default());
    text.contains("fails") || is_malformed(record)
}

fn is_malformed(record: &In) -> bool {
    record.value.as_deref().unwrap_or_default().ends_with(b":")
}

type Left = BTreeMap<&'static str, Vec<(Option<String>, String, i64)>>;

fn left(log: &dyn Log) -> Left {
    let bare = |record: Out| {
        (
            record.key.clone(),
            record.text().to_owned(),
            record.timestamp,
        )
    };
    ["early", "branch", "windows", "other"]
        .into_iter()
        .map(|topic| {
            (
                topic,
                support::read(log, topic).into_iter().map(bare).collect(),
            )
        })
        .collect()
}

fn check_case(seed: u64) {
    let mut random = Seed(seed);
    let shape = random.below(32);
    let input = random_input(&mut random);
    let sound: Vec<In> = input
        .iter()
        .filter(|record| !is_failing(record))
        .cloned()
        .collect();
    let (log, env) = support::memory();
    support::fill(&*log, "in", 1, &sound, 10);
    let mut registry = Registry::default();
    let calls = Arc::new(AtomicU64::new(0));
    let frames = frames(shape, &mut registry, &calls);
    let one = Variant {
        batch_rows_max: 1,
        ..Variant::plain(ErrorPolicy::Stop)
    };
    support::run(&log, &env, &frames, &registry.functions, &one).expect("nothing fails");
    let (wanted, wanted_state) = (left(&*log), support::state(&*log, "test"));
    let failing: Vec<(usize, &In)> = input
        .iter()
        .enumerate()
        .filter(|(_, record)| is_failing(record))
        .collect();
    for batch_rows_max in [1, 7, 1_000] {
        for policy in [ErrorPolicy::Skip, ErrorPolicy::DeadLetter] {
            let variant = Variant {
                batch_rows_max,
                commit_every: random.below(3),
                stops: (0..random.below(3))
                    .map(|_| Stop::Looks(random.below(5)))
                    .collect(),
                ..Variant::plain(policy.clone())
            };
            let about = format!("HEADWATER_SEED={seed} HEADWATER_CASES=1 {shape} {variant:?}");
            let (log, env) = support::memory();
            support::fill(&*log, "in", 1, &input, 1 + random.below(30) as usize);
            calls.store(0, Ordering::Relaxed);
            let reports = support::run(&log, &env, &frames, &registry.functions, &variant)
                .unwrap_or_else(|error| panic!("{error} {about}"));
            assert_eq!(left(&*log), wanted, "{about}");
            let well_formed = input.iter().filter(|record| !is_malformed(record)).count();
            let calls = calls.load(Ordering::Relaxed);
            assert_eq!(calls, well_formed as u64, "called once for each: {about}");
            assert_eq!(
                support::state(&*log, "test"),
                wanted_state,
                "state: {about}"
            );
            let is_skip = matches!(policy, ErrorPolicy::Skip);
            let skipped: u64 = reports.iter().map(|report| report.skipped).sum();
            let dead: u64 = reports.iter().map(|report| report.dead_lettered).sum();
            let count = failing.len() as u64;
            assert_eq!(
                (skipped, dead),
                if is_skip { (count, 0) } else { (0, count) },
                "{about}"
            );
            if !is_skip {
                check_letters(&support::read(&*log, "in.dead-letter"), &failing, &about);
            }
        }
    }
}

/// Dead letters have the records' bytes, in the order of the input, each once,
/// and say where and why.
fn check_letters(letters: &[Out], failing: &[(usize, &In)], about: &str) {
    let found: Vec<(String, Vec<u8>)> = letters
        .iter()
        .map(|letter| {
            (
                letter.header("headwater.offset").to_owned(),
                letter.text().into(),
            )
        })
        .collect();
    let wanted: Vec<(String, Vec<u8>)> = failing
        .iter()
        .map(|(offset, record)| (offset.to_string(), record.value.clone().unwrap_or_default()))
        .collect();
    assert_eq!(found, wanted, "{about}");
    for letter in letters {
        assert_eq!(letter.header("headwater.topic"), "in", "{about}");
        for header in ["headwater.error", "headwater.operator"] {
            assert!(!letter.header(header).is_empty(), "{header} {about}");
        }
    }
}

#[test]
fn a_failed_cause_never_existed() {
    let first = support::number("HEADWATER_SEED", 1);
    for seed in first..first + support::number("HEADWATER_CASES", 400) {
        check_case(seed);
    }
}

/// Windows of 100 ms, closed by time alone or by records of their keys, with a
/// result that fails below if its total is a multiple of three.
fn emitting(registry: &mut Registry, fails: bool, shape: u64) -> Vec<DataFrame> {
    let input = match shape & 4 {
        0 => DataFrame::topic("in"),
        _ => DataFrame::topic("in").then(Op::SetTimestamp(col("t"))),
    };
    let length = match shape & 2 {
        0 => WindowLength::Tumbling { size_ms: 100 },
        _ => WindowLength::Hopping {
            size_ms: 100,
            advance_ms: 50,
        },
    };
    let windows = input.window(WindowSpec {
        length,
        ..spec(true, shape & 1 != 0)
    });
    let is_bad = |row: &Json| row["total"].as_i64().is_some_and(|total| total % 3 == 0);
    let checked = match fails {
        true => registry.apply(&windows, "check", move |row| match is_bad(row) {
            true => Err("a bad total".into()),
            false => Ok(row.clone()),
        }),
        false => registry.filter(&windows, "check", move |row| Ok(!is_bad(row))),
    };
    // The state below must not see a failed row, whichever branch it fails in.
    let source = if fails { &windows } else { &checked };
    let counted = registry.stateful(source, "count", false, |row, state| {
        let mut row = row.clone();
        row["count"] = add_to(state, "count", 1).into();
        Ok(vec![row])
    });
    // Windows of windows, whose results leave in one topic with the first ones'.
    let chained = checked.window(WindowSpec {
        name: Some("chained".into()),
        length: WindowLength::Tumbling { size_ms: 300 },
        ..spec(true, true)
    });
    let chained = chained.filter(col("n").gt(0));
    // The record's own effects stay.
    let own = registry.stateful(&input, "own", false, |row, state| {
        let mut row = row.clone();
        row["own"] = add_to(state, "own", 1).into();
        Ok(vec![row])
    });
    let other = if shape & 8 == 0 { "other" } else { "windows" };
    let mut frames = vec![
        counted.to_topic("branch"),
        checked.to_topic("windows"),
        own.to_topic("early"),
        chained.to_topic(other),
    ];
    if shape & 16 != 0 {
        frames.reverse();
    }
    frames
}

#[test]
fn a_failed_row_of_a_closing_window_is_a_dead_letter_by_itself() {
    let first = support::number("HEADWATER_SEED", 1);
    for seed in first..first + support::number("HEADWATER_CASES", 200) {
        let mut random = Seed(seed);
        let mut input = random_input(&mut random);
        input.retain(|record| !is_failing(record));
        // A record that closes several windows of its key.
        input.iter_mut().for_each(|record| {
            record.timestamp += 400 * i64::from(random.below(9) == 0);
        });
        let shape = random.below(32);
        let run = |fails, variant: &Variant| {
            let (log, env) = support::memory();
            support::fill(&*log, "in", 1, &input, 10);
            let mut registry = Registry::default();
            let frames = emitting(&mut registry, fails, shape);
            support::run(&log, &env, &frames, &registry.functions, variant).expect("runs");
            log
        };
        let one = Variant {
            batch_rows_max: 1,
            ..Variant::plain(ErrorPolicy::Stop)
        };
        let wanted = run(false, &one);
        let (wanted, wanted_state) = (left(&*wanted), support::state(&*wanted, "test"));
        let mut first_letters = None;
        for batch_rows_max in [1, 7, 1_000] {
            let variant = Variant {
                batch_rows_max,
                ..Variant::plain(ErrorPolicy::DeadLetter)
            };
            let log = run(true, &variant);
            let about = format!("HEADWATER_SEED={seed} HEADWATER_CASES=1 {shape} {variant:?}");
            assert_eq!(left(&*log), wanted, "{about}");
            assert_eq!(
                support::state(&*log, "test"),
                wanted_state,
                "state: {about}"
            );
            let letters = support::read(&*log, "in.dead-letter");
            for letter in &letters {
                let row: Json = serde_json::from_str(letter.text()).expect("the row itself");
                assert_eq!(
                    row["total"].as_i64().map(|total| total % 3),
                    Some(0),
                    "{about}"
                );
            }
            let first_letters = first_letters.get_or_insert_with(|| letters.clone());
            assert_eq!(letters, *first_letters, "{about}");
        }
    }
}

/// Under the policy stop the run ends at the result; started again with corrected
/// code, nothing is lost.
#[test]
fn a_result_that_stops_the_run_leaves_once_the_code_is_corrected() {
    for (by_key, batch_rows_max) in [(0, 1), (0, 1_000), (1, 1), (1, 7), (1, 1_000)] {
        let mut random = Seed(17);
        let mut input = random_input(&mut random);
        input.retain(|record| !is_failing(record));
        let frames = |wrong: bool, registry: &mut Registry| {
            let windows = DataFrame::topic("in").window(spec(true, by_key == 1));
            let checked = registry.apply(&windows, "check", move |row| {
                let total = row["total"].as_f64().unwrap_or_default();
                match wrong && total > 60.0 {
                    true => Err("not yet corrected".into()),
                    false => Ok(row.clone()),
                }
            });
            vec![checked.to_topic("windows")]
        };
        let variant = Variant {
            batch_rows_max,
            ..Variant::plain(ErrorPolicy::Stop)
        };
        let mut lefts = Vec::new();
        for versions in [vec![false], vec![true, true, false]] {
            let (log, env) = support::memory();
            support::fill(&*log, "in", 1, &input, 10);
            for wrong in versions {
                let mut registry = Registry::default();
                let frames = frames(wrong, &mut registry);
                let ran = support::run(&log, &env, &frames, &registry.functions, &variant);
                assert_eq!(ran.is_err(), wrong, "{by_key} {variant:?}");
            }
            lefts.push((left(&*log), support::state(&*log, "test")));
        }
        assert!(!lefts[0].0["windows"].is_empty());
        assert_eq!(lefts[0], lefts[1], "{by_key} {variant:?}");
    }
}
