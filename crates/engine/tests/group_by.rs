//! Changes of key: rows of equal keys meet, and time crosses the repartition topic.

mod support;

use headwater::connect::{CsvSource, CsvSourceOptions, TimestampField, TimestampFormat};
use headwater::core::env::Env;
use headwater::log::{Log, TopicConfig};
use headwater::{
    Aggregate, AggregateFunction, Application, Class, Closing, DataFrame, Ended, ErrorPolicy, Expr,
    Report, RunOptions, Settings, TopicRef, WindowLength, WindowSpec, col,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use support::{In, QuietHost, Seed, Stop, Variant, WALL_MS};

const PARTITIONS: u32 = 3;
const SIZE_MS: i64 = 1_000;

fn sum_of(field: &str) -> Vec<Aggregate> {
    let aggregate = |output: &str, function, input: Option<Expr>| Aggregate {
        output: output.into(),
        function,
        input,
    };
    vec![
        aggregate("sum", AggregateFunction::Sum, Some(col(field))),
        aggregate("count", AggregateFunction::Count, None),
    ]
}

fn windows(closing: Closing) -> WindowSpec {
    WindowSpec {
        aggregates: sum_of("x"),
        closing,
        ..WindowSpec::new(WindowLength::Tumbling { size_ms: SIZE_MS })
    }
}

/// Sums by city; every input partition has rows of every city.
fn by_city(closing: Closing) -> DataFrame {
    DataFrame::topic("in")
        .group_by("city", col("city"))
        .window(windows(closing))
        .to_topic("sums")
}

/// Records of many users of few cities, each partition in order of time.
fn input(seed: u64, count: u64) -> Vec<In> {
    let mut random = Seed(seed);
    let record = |id: u64| In {
        key: Some(format!("user-{}", random.below(40))),
        value: Some(
            format!(
                "{{\"city\":\"c{}\",\"x\":{}}}",
                random.below(4),
                random.below(100)
            )
            .into_bytes(),
        ),
        timestamp: WALL_MS - 1_000_000 + id as i64 * 37,
    };
    (0..count).map(record).collect()
}

/// The sum and count of each city and window, recomputed; but for the windows that
/// nothing has closed yet where the input has no end: those that end after `until`
/// and, where the key's own time closes, after its last record.
fn model(input: &[In], until: i64, closing: Closing) -> BTreeMap<(String, i64), (i64, u64)> {
    let mut sums: BTreeMap<(String, i64), (i64, u64)> = BTreeMap::new();
    let mut latest: BTreeMap<String, i64> = BTreeMap::new();
    for record in input {
        let text = String::from_utf8(record.value.clone().expect("a value")).expect("text");
        let row: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let city = row["city"].as_str().expect("a city").to_owned();
        let start = record.timestamp.div_euclid(SIZE_MS) * SIZE_MS;
        let time = latest.entry(city.clone()).or_insert(i64::MIN);
        *time = record.timestamp.max(*time);
        if start + SIZE_MS <= until {
            let sum = sums.entry((city, start)).or_default();
            sum.0 += row["x"].as_i64().expect("a number");
            sum.1 += 1;
        }
    }
    if closing == Closing::Key && until < i64::MAX {
        sums.retain(|(city, start), _| start + SIZE_MS <= latest[city]);
    }
    sums
}

/// Runs a job as the variant says, then until nothing is left on the way: what the
/// last epoch of a run has sent to a repartition topic is for the next run.
fn run(log: &Arc<dyn Log>, env: &Env, frame: &DataFrame, variant: &Variant) -> Vec<Report> {
    let frames = [frame.clone()];
    let mut reports = support::run(log, env, &frames, &Default::default(), variant).expect("runs");
    let settings = Settings {
        workers: Some(variant.workers),
        idle_timeout: None,
        ..Settings::new("test")
    };
    let mut application =
        Application::new(Arc::clone(log), env.clone(), settings, QuietHost::new(None));
    let options = RunOptions {
        timeout: Some(Duration::from_millis(500)),
        ..RunOptions::default()
    };
    reports.push(application.run_frames(&frames, &options).expect("runs"));
    reports
}

fn found(log: &dyn Log) -> BTreeMap<(String, i64), (i64, u64)> {
    let mut sums = BTreeMap::new();
    for record in support::read(log, "sums") {
        let row: serde_json::Value = serde_json::from_str(record.text()).expect("JSON");
        let key: String =
            serde_json::from_str(record.key.as_deref().expect("a key")).expect("JSON");
        let start = row["start"].as_i64().expect("a start");
        let sum = row["sum"].as_i64().expect("a sum");
        let count = row["count"].as_u64().expect("a count");
        let old = sums.insert((key.clone(), start), (sum, count));
        assert_eq!(old, None, "{key} [{start}, …) twice");
    }
    sums
}

/// The smallest of the largest times of the partitions: what no partition holds back.
fn common_time(input: &[In]) -> i64 {
    let mut latest: BTreeMap<u32, i64> = BTreeMap::new();
    for record in input {
        let partition = support::partition(record.key.as_deref(), PARTITIONS);
        let time = latest.entry(partition).or_insert(i64::MIN);
        *time = (*time).max(record.timestamp);
    }
    assert_eq!(
        latest.len() as u32,
        PARTITIONS,
        "every partition has records"
    );
    *latest.values().min().expect("partitions")
}

#[test]
fn rows_of_equal_keys_meet_whatever_the_cuts_stops_and_workers() {
    let variant = |batch_rows_max, commit_every, workers, stops| Variant {
        batch_rows_max,
        commit_every,
        workers,
        stops,
        ..Variant::plain(ErrorPolicy::Stop)
    };
    let variants = [
        variant(1_000, 0, 1, vec![]),
        variant(7, 3, 1, vec![]),
        variant(1, 1, 1, vec![Stop::Looks(40), Stop::Looks(400)]),
        variant(
            50,
            20,
            1,
            vec![Stop::Looks(9), Stop::Looks(9), Stop::Looks(15)],
        ),
        variant(50, 20, 3, vec![]),
    ];
    let cases = variants
        .iter()
        .flat_map(|variant| [Closing::Partition, Closing::Key].map(|closing| (variant, closing)));
    for (number, (variant, closing)) in cases.enumerate() {
        let about = format!("case {number}, {closing:?}");
        let folder = support::scratch();
        let mut variant = variant.clone();
        if number % 3 > 0 {
            variant.spill = Some((folder.path().to_owned(), 2_000));
        }
        let input = input(number as u64, 600);
        let (log, env) = match variant.workers {
            1 => support::memory(),
            _ => support::memory_in_real_time(),
        };
        support::fill(&*log, "in", PARTITIONS, &input, 10);
        let reports = run(&log, &env, &by_city(closing), &variant);
        // Each partition's own watermark has passed these windows, and nothing was
        // late although the partitions are processed one after the other.
        let wanted = model(&input, common_time(&input), closing);
        assert_eq!(found(&*log), wanted, "{about}");
        assert_eq!(
            reports.iter().map(|report| report.late).sum::<u64>(),
            0,
            "{about}"
        );
        let read = reports.iter().map(|report| report.records_in).sum::<u64>();
        assert_eq!(read, 600, "internal records are not counted: {about}");
    }
}

#[test]
fn changes_of_key_may_follow_each_other() {
    let input = input(9, 400);
    let (log, env) = support::memory();
    support::fill(&*log, "in", PARTITIONS, &input, 10);
    // By x first, which spreads rows anew, then by city.
    let frame = DataFrame::topic("in")
        .group_by("x", col("x"))
        .group_by("city", col("city"))
        .window(windows(Closing::Partition))
        .to_topic("sums");
    let reports = run(&log, &env, &frame, &Variant::plain(ErrorPolicy::Stop));
    assert_eq!(
        found(&*log),
        model(&input, common_time(&input), Closing::Partition)
    );
    assert_eq!(reports.iter().map(|report| report.late).sum::<u64>(), 0);
    let topics = log.topics().expect("topics");
    let names: Vec<&str> = topics
        .iter()
        .map(|topic| &*topic.name)
        .filter(|name| name.starts_with("repartition__"))
        .collect();
    assert_eq!(
        names,
        [
            "repartition__test--in--groupby--x",
            "repartition__test--in--groupby--x--groupby--city"
        ]
    );
}

#[test]
fn an_empty_or_silent_partition_holds_nobody_up() {
    let mut input = input(4, 300);
    // One partition is empty, and another falls silent half-way.
    let half = input[150].timestamp;
    input.retain(
        |record| match support::partition(record.key.as_deref(), PARTITIONS) {
            0 => false,
            1 => record.timestamp < half,
            _ => true,
        },
    );
    for closing in [Closing::Partition, Closing::Key] {
        let (log, env) = support::memory();
        support::fill(&*log, "in", PARTITIONS, &input, 10);
        let settings = Settings {
            workers: Some(1),
            idle_timeout: Some(Duration::from_secs(10)),
            ..Settings::new("test")
        };
        let mut application = Application::new(log.clone(), env, settings, QuietHost::new(None));
        let options = RunOptions {
            timeout: Some(Duration::from_secs(60)),
            ..RunOptions::default()
        };
        let report = application
            .run_frames(&[by_city(closing)], &options)
            .expect("runs");
        assert_eq!(report.late, 0);
        // Every window closes, by the quiet time that passes.
        assert_eq!(
            found(&*log),
            model(&input, i64::MAX, closing),
            "{closing:?}"
        );
    }
}

#[test]
fn the_end_of_a_file_closes_windows_behind_a_change_of_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("in.csv");
    let input = input(5, 200);
    let mut text = String::from("time,user,city,x\n");
    for record in &input {
        let row: serde_json::Value =
            serde_json::from_slice(record.value.as_deref().expect("a value")).expect("JSON");
        let (city, x) = (row["city"].as_str().expect("a city"), &row["x"]);
        let user = record.key.as_deref().expect("a key");
        text.push_str(&format!("{},{user},{city},{x}\n", record.timestamp));
    }
    std::fs::write(&path, text).expect("writes");
    let (log, env) = support::memory();
    let config = TopicConfig {
        partitions: PARTITIONS,
        ..TopicConfig::default()
    };
    log.create_topic("in", &config).expect("a topic");
    for run in 0..2 {
        let (settings, host) = (Settings::new("test"), QuietHost::new(None));
        let settings = Settings {
            workers: Some(1),
            ..settings
        };
        let mut application = Application::new(log.clone(), env.clone(), settings, host);
        let options = CsvSourceOptions {
            key_column: Some("user".into()),
            timestamp: Some(TimestampField {
                name: "time".into(),
                format: TimestampFormat::Milliseconds,
            }),
            ..CsvSourceOptions::default()
        };
        let source = Box::new(CsvSource::new(&path, options));
        application
            .add_source("file", source, TopicRef::json("in"))
            .expect("a source");
        let frames = [by_city(Closing::Partition)];
        let report = application
            .run_frames(&frames, &RunOptions::default())
            .expect("runs");
        assert_eq!(report.ended, Ended::EndOfInput, "run {run}");
        assert_eq!(
            report.records_in,
            if run == 0 {
                200 + u64::from(PARTITIONS)
            } else {
                0
            }
        );
    }
    assert_eq!(found(&*log), model(&input, i64::MAX, Closing::Key));
}

#[test]
fn definitions_that_cannot_work_are_refused() {
    let in_topic = DataFrame::topic("in");
    let twice = [
        in_topic.group_by("city", col("city")).to_topic("a"),
        in_topic.group_by("city", col("town")).to_topic("b"),
    ];
    let error = headwater::LogicalPlan::new(&twice).expect_err("two of one name");
    assert_eq!(error.class(), Class::Invalid);
    assert!(error.to_string().contains("in--groupby--city"), "{error}");
    // Equal ones are one.
    let equal = [
        in_topic.group_by("city", col("city")).to_topic("a"),
        in_topic.group_by("city", col("city")).to_topic("b"),
    ];
    headwater::LogicalPlan::new(&equal).expect("one change of key");
}

/// The last rows of an input are the news for partitions to which none of them goes,
/// also where no time passes by itself.
#[test]
fn the_last_time_is_told_to_partitions_that_get_no_rows() {
    let (log, env) = support::memory();
    let mut records = input(11, 60);
    let end_ms = WALL_MS;
    let mut missing: Vec<u32> = (0..PARTITIONS).collect();
    for id in 0.. {
        let key = format!("user-{id}");
        let partition = support::partition(Some(&key), PARTITIONS);
        if let Some(at) = missing.iter().position(|missing| *missing == partition) {
            missing.swap_remove(at);
            records.push(In {
                key: Some(key),
                value: Some(br#"{"city":"end","x":0}"#.to_vec()),
                timestamp: end_ms,
            });
        }
        if missing.is_empty() {
            break;
        }
    }
    support::fill(&*log, "in", PARTITIONS, &records, 7);
    let settings = Settings {
        idle_timeout: None,
        commit_every: 1,
        batch_rows_max: 1,
        workers: Some(1),
        ..Settings::new("test")
    };
    let options = RunOptions {
        timeout: Some(Duration::from_secs(4)),
        ..RunOptions::default()
    };
    let host = QuietHost::new(None);
    let mut application = Application::new(Arc::clone(&log), env, settings, host);
    let frames = [by_city(Closing::Partition)];
    application.run_frames(&frames, &options).expect("runs");
    assert_eq!(found(&*log), model(&records, end_ms, Closing::Partition));
}
