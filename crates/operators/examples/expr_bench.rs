//! Rows per second of stateless operators, and what each stage costs.
//!
//! ```text
//! cargo run --release -p headwater-operators --example expr_bench
//! ```
//!
//! One chain on rows of about 260 bytes: filter (a tenth is kept), assign,
//! project, encode into records; then the same without the filter; then
//! expressions alone, on columns that are decoded already. One thread. Each
//! figure is the best of several runs, because other work on the machine can
//! only make a run slower.

use headwater_core::json::Locator;
use headwater_core::{
    Batch, Column, FieldPath, JsonRows, Keys, Records, RecordsBuilder, Result, Rows,
    TopicPartition, ValueRef,
};
use headwater_operators::{
    Assign, Compiled, Filter, Functions, Operator, Project, Step, StepTimes, ToTopic, TopicRoute,
};
use headwater_plan::{Expr, Target, TopicRef, col};
use std::hint::black_box;

const ROWS: usize = 20_000;
const RUNS: usize = 12;

fn main() -> Result<()> {
    for batch_rows in [1_000, 100, 1] {
        let batches = batches(batch_rows);
        println!("\nbatches of {batch_rows}: M rows/s, and ns per row that entered");
        chain("filter 10 %, assign, project, encode", &batches, true)?;
        chain("assign, project, encode", &batches, false)?;
        splice("assign, encode (splice)", &batches)?;
    }
    for batch_rows in [1_000, 1] {
        println!("\nexpressions on decoded columns, batches of {batch_rows}: M rows/s");
        let float = || col("x") * 3.6;
        expression("x * 3.6", float(), batch_rows, false)?;
        expression(
            "x * 3.6, where ints and floats mix",
            float(),
            batch_rows,
            true,
        )?;
        expression(
            "(x * 3.6 + y) / 2.0",
            (float() + col("y")) / 2.0,
            batch_rows,
            false,
        )?;
        expression("x > 12.5", col("x").gt(12.5), batch_rows, false)?;
        let both = col("x").gt(12.5) & col("y").lt(1000.0);
        expression("(x > 12.5) & (y < 1000.0)", both, batch_rows, false)?;
        expression("n + 1 (ints)", col("n") + 1i64, batch_rows, false)?;
        expression(
            "name == \"driver-7\"",
            col("name").eq("driver-7"),
            batch_rows,
            false,
        )?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark needs the clock")]
fn seconds(mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let start = std::time::Instant::now();
    run()?;
    Ok(start.elapsed().as_secs_f64())
}

/// Seconds by stage, in order of first appearance.
type Stages = Vec<(&'static str, f64)>;

fn add(stages: &mut Stages, name: &'static str, spent: f64) {
    match stages.iter_mut().find(|(known, _)| *known == name) {
        Some((_, total)) => *total += spent,
        None => stages.push((name, spent)),
    }
}

fn operators(is_filtered: bool) -> Result<Vec<(&'static str, Box<dyn Operator>)>> {
    let functions = Functions::default();
    let names = ["ts", "driver", "speed_kmh"].map(Box::from).to_vec();
    let mut operators: Vec<(&'static str, Box<dyn Operator>)> = Vec::new();
    if is_filtered {
        operators.push((
            "filter",
            Box::new(Filter::new(&col("speed").gt_eq(315.0), &functions)?),
        ));
    }
    let assigned = [("speed_kmh".into(), col("speed") * 3.6)];
    operators.push(("assign", Box::new(Assign::new(&assigned, &functions)?)));
    operators.push(("project", Box::new(Project::new(names))));
    operators.push(("encode", to_topic(&functions)?));
    Ok(operators)
}

fn to_topic(functions: &Functions) -> Result<Box<dyn Operator>> {
    let topic = TopicRef::json("out");
    let routes = vec![TopicRoute {
        topic: topic.clone(),
        partitions: 8,
    }];
    Ok(Box::new(ToTopic::new(
        routes,
        &Target::Topic(topic),
        None,
        None,
        functions,
    )?))
}

fn chain(title: &str, batches: &[Records], is_filtered: bool) -> Result<()> {
    let paths = ["speed", "speed_kmh", "ts", "driver"].map(FieldPath::name);
    run(title, batches, &paths, || operators(is_filtered))
}

fn splice(title: &str, batches: &[Records]) -> Result<()> {
    let paths = ["speed", "speed_kmh"].map(FieldPath::name);
    run(title, batches, &paths, || {
        let mut operators = operators(false)?;
        operators.retain(|(name, _)| *name != "project");
        Ok(operators)
    })
}

fn run(
    title: &str,
    batches: &[Records],
    paths: &[FieldPath],
    operators: impl Fn() -> Result<Vec<(&'static str, Box<dyn Operator>)>>,
) -> Result<()> {
    let mut operators = operators()?;
    let mut locator = Locator::new(paths);
    let (mut stages, mut best) = (Stages::new(), f64::INFINITY);
    for _ in 0..RUNS {
        let whole = seconds(|| {
            batches
                .iter()
                .try_for_each(|records| pass(records, &mut locator, &mut operators, None))
        })?;
        best = best.min(whole);
        let mut spent = Stages::new();
        for records in batches {
            let mut stop = |name, time| add(&mut spent, name, time);
            pass(records, &mut locator, &mut operators, Some(&mut stop))?;
        }
        let is_first = stages.is_empty();
        for (index, stage) in spent.into_iter().enumerate() {
            if is_first {
                stages.push(stage);
            } else {
                stages[index].1 = stages[index].1.min(stage.1);
            }
        }
    }
    println!("{:7.2}  {title}", ROWS as f64 / best / 1e6);
    for (name, spent) in stages {
        println!("         {:7.1} ns  {name}", spent / ROWS as f64 * 1e9);
    }
    Ok(())
}

/// One batch through all stages; `stop` hears how long each took.
fn pass(
    records: &Records,
    locator: &mut Locator,
    operators: &mut [(&'static str, Box<dyn Operator>)],
    mut stop: Option<&mut dyn FnMut(&'static str, f64)>,
) -> Result<()> {
    let times = StepTimes {
        before: 0,
        after: Vec::new(),
    };
    let partition = TopicPartition::new("in", 0);
    let mut keyed = Default::default();
    let mut step = Step::new(&times, &mut keyed, &partition);
    let mut batch = None;
    let mut timed = |name, run: &mut dyn FnMut() -> Result<()>| match &mut stop {
        None => run(),
        Some(stop) => {
            let spent = seconds(run)?;
            stop(name, spent);
            Ok(())
        }
    };
    timed("locate", &mut || {
        let mut made = Batch::from_records(records);
        if let Rows::Json(rows) = &mut made.rows {
            assert!(rows.locate(locator).is_empty());
        }
        batch = Some(made);
        Ok(())
    })?;
    for (name, operator) in operators {
        timed(name, &mut || {
            let Some(taken) = batch.take() else {
                return Ok(());
            };
            batch = operator
                .process(taken, &mut step)?
                .filter(|batch| !batch.is_empty());
            Ok(())
        })?;
    }
    assert!(step.failures.is_empty());
    black_box(step.outputs);
    Ok(())
}

/// An expression over `ROWS` rows whose fields are columns already.
fn expression(title: &str, expr: Expr, batch_rows: usize, is_mixed: bool) -> Result<()> {
    let mut compiled = Compiled::new(&expr, &Functions::default())?;
    let mut batches: Vec<Batch> = (0..ROWS / batch_rows)
        .map(|index| columns(index, batch_rows, is_mixed))
        .collect();
    let times = StepTimes {
        before: 0,
        after: Vec::new(),
    };
    let partition = TopicPartition::new("in", 0);
    let mut keyed = Default::default();
    let mut step = Step::new(&times, &mut keyed, &partition);
    let mut best = f64::INFINITY;
    for _ in 0..RUNS * 10 {
        let spent = seconds(|| {
            for batch in &mut batches {
                black_box(compiled.evaluate(batch, &mut step)?);
            }
            Ok(())
        })?;
        best = best.min(spent);
    }
    println!("{:9.1}  {title}", ROWS as f64 / best / 1e6);
    Ok(())
}

fn columns(index: usize, len: usize, is_mixed: bool) -> Batch {
    let rows = index * len..(index + 1) * len;
    let x: Column = rows
        .clone()
        .map(|row| match row % 3 {
            0 if is_mixed => ValueRef::Int(row as i64),
            _ => ValueRef::Float(row as f64 * 0.25),
        })
        .collect();
    let y: Column = rows
        .clone()
        .map(|row| ValueRef::Float(row as f64 * 1.5))
        .collect();
    let n: Column = rows.clone().map(|row| ValueRef::Int(row as i64)).collect();
    let names: Vec<String> = rows.map(|row| format!("driver-{}", row % 20)).collect();
    let name: Column = names.iter().map(|name| ValueRef::Str(name)).collect();
    let fields = [("x", x), ("y", y), ("n", n), ("name", name)];
    let fields = fields.map(|(name, column)| (name.into(), column)).to_vec();
    Batch {
        rows: Rows::Json(JsonRows::from_columns(fields)),
        keys: Keys::collect((0..len).map(|_| None)),
        timestamps: vec![0; len].into(),
        headers: None,
        causes: vec![0; len].into(),
    }
}

/// Rows with random numbers, in batches of records.
fn batches(batch_rows: usize) -> Vec<Records> {
    let mut state = 42u64;
    let mut random = |bound: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mut row = |index: usize| {
        format!(
            r#"{{"ts":{},"driver":"driver-{}","lap":{},"speed":{}.{},"rpm":{},"gear":{},"throttle":0.{},"brake":{},"lat":{}.{},"lon":{}.{},"drs":false,"tyre":{{"fl":{}.5,"fr":{}.1,"rl":{}.2,"rr":{}.9}},"session":"race-{}","flag":"green","note":null}}"#,
            1_729_850_000_000 + index,
            random(10_000),
            random(70),
            random(350),
            random(10),
            5_000 + random(10_000),
            random(8),
            10 + random(90),
            random(2),
            random(90),
            100_000 + random(99_999),
            random(180),
            100_000 + random(99_999),
            70 + random(40),
            70 + random(40),
            70 + random(40),
            70 + random(40),
            random(20),
        )
    };
    let records = |start: usize, row: &mut dyn FnMut(usize) -> String| {
        let mut builder = RecordsBuilder::default();
        for index in start..start + batch_rows {
            let key = format!("car-{}", index % 50);
            builder.push(
                Some(key.as_bytes()),
                Some(row(index).as_bytes()),
                index as i64,
                None,
            );
        }
        builder.finish()
    };
    (0..ROWS / batch_rows)
        .map(|index| records(index * batch_rows, &mut row))
        .collect()
}
