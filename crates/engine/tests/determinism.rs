//! A job's rows and state depend on nothing but its input: not on how batches
//! are cut, when epochs end, where it was stopped or on how many workers it ran.
//! And they are what an oracle computes one record at a time.
//!
//! `HEADWATER_CASES` sets how many random jobs are tried, `HEADWATER_SEED` which.
//!
//! tidy: long because one family of jobs and its oracle serve every way to run them.

mod support;

use headwater::connect::{
    CsvSource, CsvSourceOptions, JsonLinesSink, JsonLinesSinkOptions, TimestampField,
    TimestampFormat,
};
use headwater::log::Log;
use headwater::plan::{MissingField, Op};
use headwater::{
    Aggregate, AggregateFunction, Application, Closing, DataFrame, Emit, Ended, ErrorPolicy,
    Metrics, Report, RunOptions, TopicRef, WindowLength, WindowSpec, col,
};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;
use support::functions::{Registry, add_to};
use support::oracle::{Num, Row, Rules, Windows, canonical, canonical_text};
use support::{In, Seed, Stop, Variant, WALL_MS};

/// A job of the family that is tried.
#[derive(Clone, Debug)]
enum Plan {
    Stateless,
    Branches,
    Stateful,
    Window(Rules),
    StatefulAndWindow(Rules),
    Chained(Rules, Rules),
}

fn spec(rules: &Rules, field: &str, name: &str) -> WindowSpec {
    let (size_ms, advance_ms) = (rules.size, rules.advance);
    let length = if size_ms == advance_ms {
        WindowLength::Tumbling { size_ms }
    } else {
        WindowLength::Hopping {
            size_ms,
            advance_ms,
        }
    };
    let aggregate = |output: &str, function, has_input: bool| Aggregate {
        output: output.into(),
        function,
        input: has_input.then(|| col(field)),
    };
    WindowSpec {
        name: Some(name.into()),
        grace_ms: rules.grace,
        emit: if rules.is_final {
            Emit::Final
        } else {
            Emit::Current
        },
        closing: if rules.is_by_key {
            Closing::Key
        } else {
            Closing::Partition
        },
        key_timeout_ms: rules.key_timeout,
        key_retention_ms: rules.key_retention,
        aggregates: [
            aggregate("total", AggregateFunction::Sum, true),
            aggregate("n", AggregateFunction::Count, false),
            aggregate("first", AggregateFunction::First, true),
            aggregate("last", AggregateFunction::Last, true),
        ]
        .into_iter()
        // A list at every update would be refused.
        .chain(
            rules
                .is_final
                .then(|| aggregate("all", AggregateFunction::Collect, true)),
        )
        .collect(),
        ..WindowSpec::new(length)
    }
}

/// Counts a key's rows: every fifth comes twice, every seventh not at all, and
/// ids divisible by 13 fail after the state has changed.
fn count_rows(row: &Json, count: i64) -> Result<Vec<Json>, String> {
    let id = row.get("id").and_then(Json::as_i64).unwrap_or(-1);
    if id % 13 == 0 {
        return Err("an unlucky id".into());
    }
    let mut row = row.clone();
    if let Json::Object(fields) = &mut row {
        fields.insert("count".into(), count.into());
    }
    Ok(match count {
        count if count % 7 == 0 => Vec::new(),
        count if count % 5 == 0 => vec![row.clone(), row],
        _ => vec![row],
    })
}

impl Plan {
    fn random(seed: &mut Seed) -> Plan {
        match seed.below(8) {
            0 => Plan::Stateless,
            1 => Plan::Branches,
            2 => Plan::Stateful,
            3 | 4 => Plan::Window(random_rules(seed)),
            5 => Plan::StatefulAndWindow(random_rules(seed)),
            _ => {
                let first = Rules {
                    is_final: true,
                    ..random_rules(seed)
                };
                Plan::Chained(
                    first,
                    Rules {
                        size: 700,
                        advance: 700,
                        ..random_rules(seed)
                    },
                )
            }
        }
    }

    fn frames(&self, registry: &mut Registry) -> Vec<DataFrame> {
        let input = DataFrame::topic("in");
        match self {
            Plan::Stateless => {
                let drop = Op::Drop {
                    names: vec!["junk".into()],
                    missing: MissingField::Ignore,
                };
                vec![
                    input
                        .filter(col("x").gt(0))
                        .assign("y", col("x") * 2 + 1)
                        .then(drop)
                        .to_topic("out"),
                ]
            }
            Plan::Branches => {
                let small = input.filter(col("x").lt_eq(9)).assign("kind", "small");
                let large = input.filter(col("x").gt(9)).assign("kind", "large");
                vec![
                    input.to_topic("copy"),
                    small.to_topic("out"),
                    large.to_topic("out"),
                ]
            }
            Plan::Stateful => vec![counted(registry, &input).to_topic("out")],
            Plan::Window(rules) => vec![input.window(spec(rules, "x", "w")).to_topic("out")],
            Plan::StatefulAndWindow(rules) => {
                let counted = counted(registry, &input);
                let windows = counted.window(spec(rules, "x", "w"));
                vec![
                    counted.to_topic("copy"),
                    windows.assign("double", col("n") * 2).to_topic("out"),
                ]
            }
            Plan::Chained(first, second) => {
                let first = input.window(spec(first, "x", "w"));
                vec![first.window(spec(second, "total", "v")).to_topic("out")]
            }
        }
    }
}

fn counted(registry: &mut Registry, input: &DataFrame) -> DataFrame {
    registry.stateful(input, "count", true, |row, state| {
        let count = add_to(state, "count", 1);
        count_rows(row, count)
    })
}

fn random_rules(seed: &mut Seed) -> Rules {
    let (size, advance) = *seed.pick(&[(100, 100), (100, 30), (100, 50), (250, 250), (1, 1)]);
    Rules {
        size,
        advance,
        grace: *seed.pick(&[0, 0, 40, 200]),
        is_by_key: seed.below(3) > 0,
        is_final: seed.below(3) > 0,
        key_timeout: *seed.pick(&[0, 150, 900_000]),
        key_retention: *seed.pick(&[300, 604_800_000]),
    }
}

/// What the oracle remembers of one partition.
struct Oracle {
    plan: Plan,
    watermark: i64,
    counts: BTreeMap<Option<String>, i64>,
    first: Option<Windows>,
    second: Option<Windows>,
    /// Rows emitted by time that failed at the newest input.
    dead_rows: Vec<String>,
}

/// What one input gives: rows by topic.
type Given = Vec<(&'static str, Row)>;

impl Oracle {
    fn new(plan: &Plan) -> Oracle {
        let windows = |rules: &Rules, field| {
            let mut windows = Windows::new(*rules, field, false);
            windows.collects = rules.is_final;
            Some(windows)
        };
        let (first, second) = match plan {
            Plan::Window(rules) | Plan::StatefulAndWindow(rules) => (windows(rules, "x"), None),
            Plan::Chained(first, second) => (windows(first, "x"), windows(second, "total")),
            _ => (None, None),
        };
        Oracle {
            plan: plan.clone(),
            watermark: i64::MIN,
            counts: BTreeMap::new(),
            first,
            second,
            dead_rows: Vec::new(),
        }
    }

    fn late(&self) -> u64 {
        let late = |windows: &Option<Windows>| windows.as_ref().map_or(0, |windows| windows.late);
        late(&self.first) + late(&self.second)
    }

    /// All of a record's effects, or none.
    fn take(&mut self, record: &In) -> Result<Given, String> {
        let before = (
            self.watermark,
            self.counts.clone(),
            self.first.clone(),
            self.second.clone(),
        );
        let given = self.attempt(record);
        if given.is_err() {
            (self.watermark, self.counts, self.first, self.second) = before;
        }
        given
    }

    fn attempt(&mut self, record: &In) -> Result<Given, String> {
        let text = record.value.as_deref().ok_or("a tombstone")?;
        let value: Json = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if WALL_MS + 24 * 3_600_000 < record.timestamp {
            return Err("too far ahead".into());
        }
        self.watermark = self.watermark.max(record.timestamp);
        let row = Row {
            key: record.key.clone(),
            value,
            timestamp: record.timestamp,
        };
        match self.plan {
            Plan::Stateless => stateless(row),
            Plan::Branches => branches(row),
            Plan::Stateful => {
                let rows = self.count(&row)?;
                Ok(rows.into_iter().map(|row| ("out", row)).collect())
            }
            Plan::Window(_) => self.windows(vec![row]),
            Plan::StatefulAndWindow(_) => {
                let rows = self.count(&row)?;
                let mut given: Given = rows.iter().cloned().map(|row| ("copy", row)).collect();
                for (topic, mut row) in self.windows(rows)? {
                    let doubled = Num::of(row.value.get("n"))?.expect("a count");
                    row.value["double"] = doubled.times(Num::Int(2))?.json();
                    given.push((topic, row));
                }
                Ok(given)
            }
            Plan::Chained(..) => self.windows(vec![row]),
        }
    }

    fn count(&mut self, row: &Row) -> Result<Vec<Row>, String> {
        let count = self.counts.entry(row.key.clone()).or_default();
        *count += 1;
        let made = count_rows(&row.value, *count)?;
        Ok(made
            .into_iter()
            .map(|value| Row {
                value,
                ..row.clone()
            })
            .collect())
    }

    fn windows(&mut self, rows: Vec<Row>) -> Result<Given, String> {
        let watermark = self.watermark;
        let first = self.first.as_mut().expect("the plan has a window");
        let mut emitted = Vec::new();
        for row in &rows {
            let (closed, own) = first.record(row, watermark)?;
            emitted.extend(closed.into_iter().chain(own));
        }
        self.emitted(emitted, None)
    }

    /// What becomes of rows that the first window has emitted, and of those that
    /// time makes it emit.
    fn emitted(&mut self, emitted: Vec<Row>, idle_timeout: Option<i64>) -> Result<Given, String> {
        let watermark = self.watermark;
        let mut emitted = emitted;
        let Some(first) = &mut self.first else {
            return Ok(Vec::new());
        };
        emitted.extend(first.advance(watermark, idle_timeout));
        let Some(second) = &mut self.second else {
            return Ok(emitted.into_iter().map(|row| ("out", row)).collect());
        };
        // A row that a closing window emits fails alone, and its window stays closed.
        let mut results = Vec::new();
        for row in emitted {
            match second.record(&row, watermark) {
                Ok((closed, own)) => results.extend(closed.into_iter().chain(own)),
                Err(_) => self.dead_rows.push(row.value.to_string()),
            }
        }
        results.extend(second.advance(watermark, idle_timeout));
        Ok(results.into_iter().map(|row| ("out", row)).collect())
    }

    /// The input is quiet until every window has closed. What closes in which of
    /// the ticks makes no difference: what comes next is long after them.
    fn be_quiet(&mut self) -> Given {
        let mut given = Vec::new();
        if self.watermark == i64::MIN {
            return given;
        }
        let stood = self.watermark;
        for passed in [3_000, 11_000] {
            self.watermark = stood + passed;
            let idle_timeout = support::IDLE_TIMEOUT.as_millis() as i64;
            let emitted = self.emitted(Vec::new(), Some(idle_timeout));
            given.extend(
                emitted
                    .expect("rows of windows fail alone")
                    .into_iter()
                    .map(|(topic, mut row)| {
                        if let (Plan::StatefulAndWindow(_), Ok(Some(n))) =
                            (&self.plan, Num::of(row.value.get("n")))
                        {
                            let double = n.times(Num::Int(2)).expect("a small count");
                            row.value["double"] = double.json();
                        }
                        (topic, row)
                    }),
            );
        }
        given
    }
}

fn stateless(row: Row) -> Result<Given, String> {
    let Some(x) = Num::of(row.value.get("x"))? else {
        return Ok(Vec::new());
    };
    if !x.is_above(0) {
        return Ok(Vec::new());
    }
    let y = x.times(Num::Int(2))?.plus(Num::Int(1))?;
    let mut row = row;
    let fields = row.value.as_object_mut().expect("an object");
    fields.insert("y".into(), y.json());
    fields.shift_remove("junk");
    Ok(vec![("out", row)])
}

fn branches(row: Row) -> Result<Given, String> {
    let mut given = vec![("copy", row.clone())];
    if let Some(x) = Num::of(row.value.get("x"))? {
        let kind = if x.is_above(9) { "large" } else { "small" };
        let mut row = row;
        row.value["kind"] = kind.into();
        given.push(("out", row));
    }
    Ok(given)
}

/// A row's text: fields in any order, some twice, some with escaped names.
fn random_text(seed: &mut Seed, id: u64, keeps_small: bool) -> String {
    let x = match seed.below(16) {
        0 => "null".to_owned(),
        1 => "\"12\"".to_owned(),
        2 if !keeps_small => "123456789012345678901234567890".to_owned(),
        3 => "9007199254740993".to_owned(),
        4 if !keeps_small => "9223372036854775807".to_owned(),
        5 => "-4.5".to_owned(),
        6 => "1e2".to_owned(),
        7 => "true".to_owned(),
        8..=10 => format!("{}.25", seed.below(40)),
        _ => format!("{}", seed.below(40) as i64 - 5),
    };
    let name = *seed.pick(&["x", "x", "x", "\\u0078", "y\\u0000"]);
    let mut fields = vec![format!("\"id\":{id}"), format!("\"{name}\": {x}")];
    if seed.below(6) == 0 {
        fields.insert(0, "\"x\":1000".into());
    }
    if seed.below(3) == 0 {
        fields.push("\"p\":{\"q\":[1,2.50,{\"x\":3}],\"s\":\"\\ud83d\\ude00\\\"\"}".into());
    }
    if seed.below(3) == 0 {
        fields.push("\"junk\" : [ ]".into());
    }
    if seed.below(2) == 0 {
        fields.reverse();
    }
    format!("{{{}}}", fields.join(*seed.pick(&[",", " , ", ",\n"])))
}

fn random_input(seed: &mut Seed, partitions: u32) -> Vec<In> {
    let len = seed.below(90);
    let keys = ["a", "b", "c", "é", "", "k5", "k6", "k7"];
    let key_count = 1 + seed.below(keys.len() as u64) as usize;
    let mut time = WALL_MS;
    let mut records: Vec<In> = (0..len)
        .map(|id| {
            time += seed.below(60) as i64;
            let timestamp = match seed.below(20) {
                0 => time - 400,
                1 => time - 5_000,
                2 => time + 700,
                3 if seed.below(3) == 0 => WALL_MS * 1_000,
                _ => time - seed.below(90) as i64,
            };
            let value = match seed.below(25) {
                0 => Some(b"{\"x\":".to_vec()),
                1 => Some(b"{\"x\":1}}".to_vec()),
                _ => Some(random_text(seed, id, false).into_bytes()),
            };
            let key = (seed.below(40) > 0).then(|| (*seed.pick(&keys[..key_count])).to_owned());
            In {
                key,
                value,
                timestamp,
            }
        })
        .collect();
    // One record far ahead on each partition closes every window by time.
    for wanted in 0..partitions {
        let key = (0..)
            .map(|number| format!("flush{number}"))
            .find(|key| support::partition(Some(key), partitions) == wanted);
        records.push(In {
            key,
            value: Some(b"{\"id\":1}".to_vec()),
            timestamp: WALL_MS + 7_200_000,
        });
    }
    records
}

/// What a job left behind, in the form that is compared.
#[derive(Debug, PartialEq)]
struct Left {
    /// By topic and key, in order.
    rows: BTreeMap<(String, Option<String>), Vec<(i64, String)>>,
    /// By partition: offset and original text, in order.
    dead: BTreeMap<String, Vec<(String, String)>>,
}

fn left(log: &dyn Log) -> Left {
    let mut rows: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for topic in ["out", "copy"] {
        for record in support::read(log, topic) {
            let text = canonical_text(record.text());
            let key = (topic.to_owned(), record.key);
            rows.entry(key).or_default().push((record.timestamp, text));
        }
    }
    let mut dead: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for letter in support::read(log, "in.dead-letter") {
        let partition = letter.header("headwater.partition").to_owned();
        let offset = letter.header("headwater.offset").to_owned();
        dead.entry(partition)
            .or_default()
            .push((offset, canonical_text(letter.text())));
    }
    Left { rows, dead }
}

/// What the oracle says, and how many rows were late.
fn wanted(plan: &Plan, input: &[In], partitions: u32) -> (Left, u64) {
    wanted_of(plan, input, partitions, &[])
}

/// As [`wanted`], where the input is quiet before the records `quiet_at` of the one
/// partition, and at its end if it is anywhere.
fn wanted_of(plan: &Plan, input: &[In], partitions: u32, quiet_at: &[usize]) -> (Left, u64) {
    let mut wanted = Left {
        rows: BTreeMap::new(),
        dead: BTreeMap::new(),
    };
    let mut late = 0;
    for number in 0..partitions {
        let mut oracle = Oracle::new(plan);
        let own = |record: &&In| support::partition(record.key.as_deref(), partitions) == number;
        for (offset, record) in input.iter().filter(own).enumerate() {
            if quiet_at.contains(&offset) {
                wanted.pass_quietly(&mut oracle, number);
            }
            match oracle.take(record) {
                Ok(given) => {
                    for text in oracle.dead_rows.drain(..) {
                        let letters = wanted.dead.entry(number.to_string()).or_default();
                        letters.push((offset.to_string(), canonical_text(&text)));
                    }
                    for (topic, row) in given {
                        let key = (topic.to_owned(), row.key.clone());
                        let text = (row.timestamp, canonical(&row.value));
                        wanted.rows.entry(key).or_default().push(text);
                    }
                }
                Err(_) => {
                    oracle.dead_rows.clear();
                    let text =
                        String::from_utf8_lossy(record.value.as_deref().unwrap_or(b"<null>"));
                    let letters = wanted.dead.entry(number.to_string()).or_default();
                    letters.push((offset.to_string(), canonical_text(&text)));
                }
            }
        }
        if !quiet_at.is_empty() {
            wanted.pass_quietly(&mut oracle, number);
        }
        late += oracle.late();
    }
    (wanted, late)
}

impl Left {
    fn pass_quietly(&mut self, oracle: &mut Oracle, partition: u32) {
        for (topic, row) in oracle.be_quiet() {
            let key = (topic.to_owned(), row.key.clone());
            let text = (row.timestamp, canonical(&row.value));
            self.rows.entry(key).or_default().push(text);
        }
        for text in oracle.dead_rows.drain(..) {
            // No record is to blame.
            let letters = self.dead.entry(partition.to_string()).or_default();
            letters.push((String::new(), canonical_text(&text)));
        }
    }
}

/// A job whose input pauses: ticks close its windows, the same ones however it is
/// cut and restarted.
fn check_ticking_case(seed: u64) {
    let mut random = Seed(seed);
    let plan = Plan::random(&mut random);
    let mut phases: Vec<Vec<In>> = Vec::new();
    for phase in 0..2 + random.below(2) as i64 {
        let mut input = random_input(&mut random, 1);
        input.pop();
        for record in &mut input {
            record.timestamp += phase * 3_600_000;
        }
        phases.push(input);
    }
    let input = phases.concat();
    let mut quiet_at = Vec::new();
    for phase in &phases {
        quiet_at.push(quiet_at.last().unwrap_or(&0) + phase.len());
    }
    let (wanted, late) = wanted_of(&plan, &input, 1, &quiet_at);
    let mut first_state = None;
    for batch_rows_max in [1, 7, 1_000] {
        let (log, env) = support::memory();
        let mut reports = Vec::new();
        let mut about = format!("HEADWATER_SEED={seed} ticks {plan:?} {batch_rows_max}");
        for phase in &phases {
            support::fill(&*log, "in", 1, phase, 1 + random.below(40) as usize);
            let stops = (0..random.below(3)).map(|_| Stop::Looks(random.below(6)));
            let variant = Variant {
                batch_rows_max,
                stops: stops.collect(),
                commit_every: random.below(3),
                ticks: true,
                ..Variant::plain(ErrorPolicy::DeadLetter)
            };
            about += &format!(" {:?}", variant.stops);
            let mut registry = Registry::default();
            let frames = plan.frames(&mut registry);
            let ran = support::run(&log, &env, &frames, &registry.functions, &variant);
            reports.extend(ran.unwrap_or_else(|error| panic!("{error}: {about}")));
        }
        let left = left(&*log);
        assert_eq!(left.rows, wanted.rows, "rows: {about}");
        assert_eq!(left.dead, wanted.dead, "dead letters: {about}");
        check_report(&reports, &wanted, input.len(), late, &about);
        let state = support::state(&*log, "test")
            .into_keys()
            .collect::<Vec<_>>();
        let first_state = first_state.get_or_insert_with(|| state.clone());
        assert_eq!(state, *first_state, "state: {about}");
    }
}

#[test]
fn ticks_close_the_same_windows_in_every_way() {
    let first = support::number("HEADWATER_SEED", 1);
    for seed in first..first + support::number("HEADWATER_CASES", 100) {
        check_ticking_case(seed);
    }
}

fn variants(seed: &mut Seed, partitions: u32) -> Vec<Variant> {
    let mut variants = Vec::new();
    for batch_rows_max in [1, 7, 1_000, 10_000] {
        for commit_every in [0, 1] {
            let stops = (0..seed.below(4))
                .map(|_| match seed.below(2) {
                    0 => Stop::Looks(seed.below(6)),
                    _ => Stop::Rows(1 + seed.below(25)),
                })
                .collect();
            variants.push(Variant {
                batch_rows_max,
                commit_every,
                stops,
                ..Variant::plain(ErrorPolicy::DeadLetter)
            });
        }
    }
    if partitions > 1 {
        variants.push(Variant {
            workers: 4,
            batch_rows_max: *seed.pick(&[1, 7, 1_000]),
            commit_every: seed.below(3),
            ..Variant::plain(ErrorPolicy::DeadLetter)
        });
    }
    variants
}

fn check_report(reports: &[Report], wanted: &Left, input: usize, late: u64, about: &str) {
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let dead: usize = wanted.dead.values().map(Vec::len).sum();
    let rows: usize = wanted.rows.values().map(Vec::len).sum();
    assert_eq!(
        sum(|report| report.records_in),
        input as u64,
        "records in: {about}"
    );
    assert_eq!(
        sum(|report| report.dead_lettered),
        dead as u64,
        "dead letters: {about}"
    );
    assert_eq!(
        sum(|report| report.records_out),
        rows as u64,
        "records out: {about}"
    );
    assert_eq!(sum(|report| report.late), late, "late: {about}");
    assert_eq!(sum(|report| report.skipped), 0, "skipped: {about}");
}

fn check_case(seed: u64) {
    let mut random = Seed(seed);
    let plan = Plan::random(&mut random);
    let partitions = *random.pick(&[1, 1, 4]);
    let input = random_input(&mut random, partitions);
    let (wanted, late) = wanted(&plan, &input, partitions);
    let mut first_state = None;
    let mut first_counts = None;
    for mut variant in variants(&mut random, partitions) {
        let folder = support::scratch();
        if random.below(3) == 0 {
            // What nothing fits into, a few entries, or most of them.
            let memory_max = *random.pick(&[1, 2_000, 20_000]);
            variant.spill = Some((folder.path().to_owned(), memory_max));
        }
        let stored = 1 + random.below(40) as usize;
        let about = format!("HEADWATER_SEED={seed} HEADWATER_CASES=1 {plan:?} {variant:?}");
        let (log, env) = match variant.workers {
            1 => support::memory(),
            _ => support::memory_in_real_time(),
        };
        support::fill(&*log, "in", partitions, &input, stored);
        let mut registry = Registry::default();
        let frames = plan.frames(&mut registry);
        let metrics = Metrics::default();
        let reports =
            support::run_counted(&log, &env, &frames, &registry.functions, &variant, &metrics)
                .unwrap_or_else(|error| panic!("{error}: {about}"));
        let counts = metrics.snapshot();
        counts
            .check()
            .unwrap_or_else(|error| panic!("{error}: {about}"));
        let first_counts = first_counts.get_or_insert_with(|| counts.operators.clone());
        assert_eq!(counts.operators, *first_counts, "counts: {about}");
        let left = left(&*log);
        assert_eq!(left.dead, wanted.dead, "dead letters: {about}");
        assert_eq!(left.rows, wanted.rows, "rows: {about}");
        check_report(&reports, &wanted, input.len(), late, &about);
        let state = support::state(&*log, "test");
        let first_state = first_state.get_or_insert_with(|| state.clone());
        assert_eq!(state, *first_state, "state: {about}");
    }
}

/// As [`check_case`], on a log in a directory, where small batches are read as one.
fn check_embedded_case(seed: u64) {
    let mut random = Seed(seed);
    let plan = Plan::random(&mut random);
    let input = random_input(&mut random, 1);
    let (wanted, late) = wanted(&plan, &input, 1);
    for batch_rows_max in [1, 7, 1_000] {
        let variant = Variant {
            batch_rows_max,
            commit_every: random.below(20),
            stops: vec![Stop::Looks(random.below(4))],
            ..Variant::plain(ErrorPolicy::DeadLetter)
        };
        let about = format!("HEADWATER_SEED={seed} embedded {plan:?} {variant:?}");
        let folder = tempfile::tempdir().expect("a folder");
        let (log, env) = support::embedded(folder.path());
        support::fill(&*log, "in", 1, &input, 1 + random.below(9) as usize);
        let mut registry = Registry::default();
        let frames = plan.frames(&mut registry);
        let reports = support::run(&log, &env, &frames, &registry.functions, &variant)
            .unwrap_or_else(|error| panic!("{error}: {about}"));
        assert_eq!(left(&*log), wanted, "{about}");
        check_report(&reports, &wanted, input.len(), late, &about);
    }
}

#[test]
fn the_embedded_log_gives_the_same() {
    let first = support::number("HEADWATER_SEED", 1);
    for seed in first..first + support::number("HEADWATER_CASES", 100) / 5 {
        check_embedded_case(seed);
    }
}

/// What a job from a file to a file leaves: the file, and the lines of the other
/// one that were no rows.
fn file_to_file(text: &str, variant: &Variant) -> (String, Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (
        folder.path().join("in.csv"),
        folder.path().join("out.jsonl"),
    );
    std::fs::write(&from, text).expect("writes");
    let (log, env) = support::memory();
    let ends = variant.stops.iter().copied().map(Some).chain([None]);
    for stop in ends {
        let looks = match stop {
            Some(Stop::Looks(looks)) => Some(looks),
            _ => None,
        };
        let host = support::QuietHost::new(looks);
        let mut application =
            Application::new(Arc::clone(&log), env.clone(), variant.settings(), host);
        let options = CsvSourceOptions {
            key_column: Some("key".into()),
            timestamp: Some(TimestampField {
                name: "time".into(),
                format: TimestampFormat::Milliseconds,
            }),
            ..CsvSourceOptions::default()
        };
        let source = Box::new(CsvSource::new(&from, options));
        application
            .add_source("csv", source, TopicRef::json("in"))
            .expect("a source");
        let sink = Box::new(JsonLinesSink::new(&to, JsonLinesSinkOptions::default()));
        application.add_sink("out", sink).expect("a sink");
        let mut registry = Registry::default();
        let windows =
            counted(&mut registry, &DataFrame::topic("in")).window(spec(&HOPPING, "x", "w"));
        *application.functions_mut() = registry.functions;
        let report = application
            .run_frames(&[windows.sink("out")], &RunOptions::default())
            .unwrap_or_else(|error| panic!("{error}: {variant:?}"));
        assert!(stop.is_some() || report.ended == Ended::EndOfInput);
    }
    let letters = support::read(&*log, "in.dead-letter").into_iter();
    let unread = letters.filter(|letter| letter.header("headwater.operator") == "source csv");
    let unread = unread.map(|letter| {
        let line = letter.header("headwater.line");
        let number = line.rsplit(':').next().unwrap_or_default();
        format!("{number} {}", letter.text())
    });
    let file = std::fs::read_to_string(&to).expect("reads");
    (file, unread.collect())
}

const HOPPING: Rules = Rules {
    size: 100,
    advance: 50,
    grace: 0,
    is_by_key: true,
    is_final: true,
    key_timeout: 200,
    key_retention: 604_800_000,
};

#[test]
fn a_file_becomes_the_same_file_in_every_way() {
    let first = support::number("HEADWATER_SEED", 1);
    for seed in first..first + support::number("HEADWATER_CASES", 96) / 12 {
        let mut random = Seed(seed);
        let mut text = "key,time,id,x\n".to_owned();
        let mut no_rows = Vec::new();
        for id in 0..random.below(120) {
            if random.below(20) == 0 {
                no_rows.push(format!("{} too,few,{id}", text.lines().count() + 1));
                text += &format!("too,few,{id}\n");
            }
            let key = random.pick(&["a", "b", "c"]);
            let time = WALL_MS + id as i64 * 20 - random.below(150) as i64;
            let x = random.pick(&["1", "2.5", "9007199254740993", "", "-3"]);
            text += &format!("{key},{time},{id},{x}\n");
        }
        let mut wanted = None;
        for batch_rows_max in [1, 7, 1_000, 10_000] {
            let stops = (0..random.below(4)).map(|_| Stop::Looks(random.below(9)));
            let variant = Variant {
                batch_rows_max,
                stops: stops.collect(),
                commit_every: random.below(3),
                ..Variant::plain(ErrorPolicy::DeadLetter)
            };
            let (file, unread) = file_to_file(&text, &variant);
            let wanted = wanted.get_or_insert_with(|| file.clone());
            assert_eq!(file, *wanted, "HEADWATER_SEED={seed} {variant:?}");
            assert_eq!(unread, no_rows, "HEADWATER_SEED={seed} {variant:?}");
        }
    }
}

/// A record that was too far ahead when it was stored is so for ever, whatever is
/// stored and fetched after it.
#[test]
fn a_poison_timestamp_is_judged_by_its_own_append_time() {
    let day_ms = 24 * 3_600_000;
    for batch_rows_max in [1, 1_000] {
        let folder = tempfile::tempdir().expect("a folder");
        let (log, env) = support::embedded(folder.path());
        let record = In {
            key: Some("k".into()),
            value: Some(b"{\"x\":1}".to_vec()),
            timestamp: WALL_MS + day_ms + 1_800_000,
        };
        support::fill(&*log, "in", 1, std::slice::from_ref(&record), 1);
        env.clock.sleep(std::time::Duration::from_secs(7_200));
        support::fill(&*log, "in", 1, &[record], 1);
        let variant = Variant {
            batch_rows_max,
            ..Variant::plain(ErrorPolicy::DeadLetter)
        };
        let frames = Plan::Branches.frames(&mut Registry::default());
        support::run(
            &log,
            &env,
            &frames,
            &Registry::default().functions,
            &variant,
        )
        .expect("runs");
        let dead = left(&*log).dead;
        assert_eq!(dead.values().map(Vec::len).sum::<usize>(), 1, "{variant:?}");
        assert_eq!(support::read(&*log, "copy").len(), 1, "{variant:?}");
    }
}

#[test]
fn rows_and_state_depend_on_the_input_alone() {
    let first = support::number("HEADWATER_SEED", 1);
    let cases = support::number("HEADWATER_CASES", 150);
    for seed in first..first + cases {
        check_case(seed);
    }
    println!(
        "trust: what=determinism count={cases} seeds={first}..{} faults=0 failures=0",
        first + cases
    );
}
