//! Random programs: what runs in a simulation.

use crate::disk::STATE_FOLDER;
use crate::functions::Registry;
use crate::naive::Rules;
use crate::seed::Seed;
use headwater::operators::Functions;
use headwater::state::KeyedState;
use headwater::{
    Aggregate, AggregateFunction, Closing, DataFrame, Emit, ErrorPolicy, Settings, WindowLength,
    WindowSpec, col,
};
use serde_json::Value as Json;
use std::time::Duration;

/// A step of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Keeps the rows whose field is above a bound.
    FilterAbove(&'static str, i64),
    /// Sets `y` to twice a field and one.
    Double(&'static str),
    /// Sets `ok`; fails where the id can be divided.
    FailSome(i64),
    /// Counts the rows of each key, some twice and some not passed on, until the key
    /// has been silent for so long.
    Count(Option<i64>),
    /// Sends a copy to a topic.
    Tee(&'static str),
    /// Aggregates a field.
    Window(Rules, &'static str),
    /// Makes a field the key; the rows go by way of a repartition topic.
    GroupBy(&'static str),
}

/// A chain of steps from a topic to a topic.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// The application that runs it.
    pub application: usize,
    /// What it reads.
    pub input: &'static str,
    /// What it does.
    pub steps: Vec<Step>,
    /// Where its rows go.
    pub output: &'static str,
    /// The sink that gets them too.
    pub sink: Option<&'static str>,
}

/// A part of a pipeline that runs in tasks of its own: all of it, or what stands
/// between changes of key.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The application that runs it.
    pub application: usize,
    /// The topic that it reads.
    pub input: String,
    /// The name of its stream, which its stores have.
    pub stream: String,
    /// The topic whose tasks fill its input, if that is a repartition topic.
    pub upstream: Option<String>,
    /// What it does; a change of key comes last.
    pub steps: Vec<Step>,
    /// Where its rows go.
    pub output: String,
    /// The sink that gets them too.
    pub sink: Option<&'static str>,
}

/// One application: a program, and how it is run.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// How many processes run it.
    pub processes: usize,
    /// Whether it runs at least once, not exactly once.
    pub is_repeating: bool,
    /// Whether each keeps its state in a folder of its own, as on a host of its own.
    pub has_own_folders: bool,
    /// How it is run.
    pub settings: Settings,
}

/// Everything that runs.
#[derive(Clone, Debug)]
pub struct Topology {
    /// The topics with their numbers of partitions.
    pub topics: Vec<(&'static str, u32)>,
    /// In the order of the flow.
    pub pipelines: Vec<Pipeline>,
    /// The applications.
    pub programs: Vec<Program>,
}

impl Topology {
    /// A random one.
    pub fn random(seed: &mut Seed) -> Topology {
        let count = |seed: &mut Seed| *seed.pick(&[1, 1, 2, 3]);
        let topics = vec![
            ("in", count(seed)),
            ("mid", count(seed)),
            ("out", count(seed)),
            ("copy", count(seed)),
            ("copy2", count(seed)),
        ];
        let is_chained = seed.hits(2);
        let is_one_program = seed.hits(3);
        let has_sink = seed.hits(3);
        let sink = has_sink.then_some("rows");
        let (first, ends_in_windows) = random_steps(seed, false, "copy");
        let mut pipelines = vec![Pipeline {
            application: 0,
            input: "in",
            steps: first,
            output: if is_chained { "mid" } else { "out" },
            sink,
        }];
        if is_chained {
            pipelines.push(Pipeline {
                application: usize::from(!is_one_program),
                input: "mid",
                steps: random_steps(seed, ends_in_windows, "copy2").0,
                output: "out",
                sink: None,
            });
        }
        let applications = 1 + pipelines
            .iter()
            .map(|known| known.application)
            .max()
            .unwrap_or(0);
        let programs = (0..applications)
            .map(|number| {
                let has_sink = has_sink && number == 0;
                Program {
                    name: ["first", "second"][number],
                    processes: match has_sink {
                        true => 1,
                        false => *seed.pick(&[1, 1, 2, 3]),
                    },
                    // Of what a file holds under at-least-once nothing is said here.
                    is_repeating: !has_sink && seed.hits(4),
                    has_own_folders: seed.hits(2),
                    settings: random_settings(seed, ["first", "second"][number], has_sink),
                }
            })
            .collect();
        Topology {
            topics,
            pipelines,
            programs,
        }
    }

    /// The segments of all pipelines, in the order of the flow.
    pub fn segments(&self) -> Vec<Segment> {
        let mut segments = Vec::new();
        for pipeline in &self.pipelines {
            let program = self.programs[pipeline.application].name;
            let mut segment = Segment {
                application: pipeline.application,
                input: pipeline.input.to_owned(),
                stream: pipeline.input.to_owned(),
                upstream: None,
                steps: Vec::new(),
                output: pipeline.output.to_owned(),
                sink: pipeline.sink,
            };
            for step in &pipeline.steps {
                segment.steps.push(step.clone());
                if let Step::GroupBy(field) = step {
                    let stream = format!("{}--groupby--{field}", segment.stream);
                    let topic = format!("repartition__{program}--{stream}");
                    let next = Segment {
                        input: topic.clone(),
                        stream,
                        upstream: Some(segment.input.clone()),
                        steps: Vec::new(),
                        ..segment.clone()
                    };
                    segment.output = topic;
                    segment.sink = None;
                    segments.push(std::mem::replace(&mut segment, next));
                }
            }
            segments.push(segment);
        }
        segments
    }

    /// The number of partitions of a topic.
    pub fn partitions(&self, topic: &str) -> u32 {
        let known = self.topics.iter().find(|(name, _)| *name == topic);
        if let Some((_, partitions)) = known {
            return *partitions;
        }
        // A repartition topic has as many as the topic that fills it.
        let segments = self.segments();
        let own = segments.iter().find(|segment| segment.input == topic);
        match own.and_then(|segment| segment.upstream.as_deref()) {
            Some(upstream) => self.partitions(upstream),
            None => 1,
        }
    }

    /// The program of an application: its frames and functions.
    pub fn program(&self, application: usize) -> (Vec<DataFrame>, Functions) {
        let mut registry = Registry::default();
        let mut frames = Vec::new();
        let own = |pipeline: &&Pipeline| pipeline.application == application;
        for (number, pipeline) in self.pipelines.iter().filter(own).enumerate() {
            let mut frame = DataFrame::topic(pipeline.input);
            for (at, step) in pipeline.steps.iter().enumerate() {
                let name = format!("s{number}{at}");
                frame = match step {
                    Step::FilterAbove(field, bound) => frame.filter(col(field).gt(*bound)),
                    Step::Double(field) => frame.assign("y", col(field) * 2 + 1),
                    Step::FailSome(divisor) => {
                        let divisor = *divisor;
                        registry.apply(&frame, &name, move |row| fail_some(row, divisor))
                    }
                    Step::Count(ttl_ms) => {
                        let ttl_ms = *ttl_ms;
                        registry.stateful(&frame, &name, true, move |row, state| {
                            let count = count(state, ttl_ms);
                            count_rows(row, count)
                        })
                    }
                    Step::Tee(topic) => {
                        frames.push(frame.to_topic(topic));
                        frame
                    }
                    Step::Window(rules, field) => frame.window(spec(rules, field, &name)),
                    Step::GroupBy(field) => frame.group_by(field, col(field)),
                };
            }
            frames.push(frame.to_topic(pipeline.output));
            if let Some(sink) = pipeline.sink {
                frames.push(frame.sink(sink));
            }
        }
        (frames, registry.functions)
    }
}

fn random_steps(seed: &mut Seed, after_windows: bool, copy: &'static str) -> (Vec<Step>, bool) {
    let mut steps = Vec::new();
    let mut field = if after_windows { "total" } else { "x" };
    let mut windows = 0;
    let mut is_grouped = false;
    let (mut has_count, mut has_tee) = (false, false);
    for _ in 0..1 + seed.below(5) {
        let step = match seed.below(11) {
            0 => Step::FilterAbove(field, seed.between(-3, 6)),
            1 => Step::Double(field),
            2 => Step::FailSome(*seed.pick(&[3, 7, 13])),
            3 | 4 if !has_count => {
                has_count = true;
                Step::Count(*seed.pick(&[None, None, Some(80), Some(400)]))
            }
            5 if !has_tee => {
                has_tee = true;
                Step::Tee(copy)
            }
            6 | 7 if windows == 0 && !is_grouped && !after_windows => {
                is_grouped = true;
                has_count = false;
                Step::GroupBy("g")
            }
            8..=10 if windows < 2 => {
                windows += 1;
                let step = Step::Window(random_rules(seed), field);
                field = "total";
                step
            }
            _ => continue,
        };
        steps.push(step);
    }
    (steps, after_windows || windows > 0)
}

fn random_rules(seed: &mut Seed) -> Rules {
    let (size, advance) = *seed.pick(&[(100, 100), (100, 30), (100, 50), (250, 250), (1, 1)]);
    Rules {
        size,
        advance,
        grace: *seed.pick(&[0, 0, 40, 200]),
        is_by_key: seed.below(3) > 0,
        is_final: seed.below(3) > 0,
        key_timeout: *seed.pick(&[0, 150, 3_000, 900_000]),
        key_retention: *seed.pick(&[300, 604_800_000]),
    }
}

fn random_settings(seed: &mut Seed, name: &str, has_sink: bool) -> Settings {
    let policy = match seed.below(4) {
        0 => ErrorPolicy::Skip,
        _ => ErrorPolicy::DeadLetter,
    };
    let interval = *seed.pick(&[None, None, Some(5), Some(100), Some(600)]);
    Settings {
        commit_interval: interval.map(Duration::from_millis),
        commit_every: *seed.pick(&[0, 0, 1, 5, 17]),
        // Workers that share a sink wait for each other outside the simulation.
        workers: Some(match has_sink {
            true => 1,
            false => *seed.pick(&[1, 1, 2, 3]),
        }),
        batch_rows_max: *seed.pick(&[1, 7, 1_000]),
        on_data_error: policy,
        idle_timeout: seed
            .pick(&[None, Some(300), Some(1_500)])
            .map(Duration::from_millis),
        // Some state has room in memory, some nearly none, some no disk.
        state_memory_max: *seed.pick(&[1, 1, 400, 2_000, 512 << 20]),
        state_directory: (!seed.hits(4)).then(|| STATE_FOLDER.into()),
        ..Settings::new(name)
    }
}

fn spec(rules: &Rules, field: &str, name: &str) -> WindowSpec {
    let (size_ms, advance_ms) = (rules.size, rules.advance);
    let length = match size_ms == advance_ms {
        true => WindowLength::Tumbling { size_ms },
        false => WindowLength::Hopping {
            size_ms,
            advance_ms,
        },
    };
    let aggregate = |output: &str, function, has_input: bool| Aggregate {
        output: output.into(),
        function,
        input: has_input.then(|| col(field)),
    };
    WindowSpec {
        name: Some(name.into()),
        grace_ms: rules.grace,
        emit: match rules.is_final {
            true => Emit::Final,
            false => Emit::Current,
        },
        closing: match rules.is_by_key {
            true => Closing::Key,
            false => Closing::Partition,
        },
        key_timeout_ms: rules.key_timeout,
        key_retention_ms: rules.key_retention,
        aggregates: vec![
            aggregate("total", AggregateFunction::Sum, true),
            aggregate("n", AggregateFunction::Count, false),
            aggregate("first", AggregateFunction::First, true),
            aggregate("last", AggregateFunction::Last, true),
        ],
        ..WindowSpec::new(length)
    }
}

/// Counts a key's rows, for ever or until the key has been silent for `ttl_ms`.
fn count(state: &mut KeyedState<'_>, ttl_ms: Option<i64>) -> i64 {
    if state.has_clock() {
        state.advance_clock();
    }
    let known = state.get(b"count");
    let before: i64 = known
        .as_deref()
        .and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse().ok())
        .unwrap_or(0);
    let after = before + 1;
    state.set(b"count", after.to_string().as_bytes(), ttl_ms);
    after
}

/// The id of a row.
fn id_of(row: &Json) -> i64 {
    row.get("id").and_then(Json::as_i64).unwrap_or(-1)
}

/// See [`Step::FailSome`].
///
/// # Errors
/// Why the row fails.
pub fn fail_some(row: &Json, divisor: i64) -> Result<Json, String> {
    if id_of(row) % divisor == 0 {
        return Err("an id that fails".into());
    }
    let mut row = row.clone();
    if let Json::Object(fields) = &mut row {
        fields.insert("ok".into(), true.into());
    }
    Ok(row)
}

/// What a row becomes whose key has been counted: every fifth comes twice, every
/// seventh not at all, and ids divisible by 11 fail after the state has changed.
///
/// # Errors
/// Why the row fails.
pub fn count_rows(row: &Json, count: i64) -> Result<Vec<Json>, String> {
    if id_of(row) % 11 == 0 {
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
