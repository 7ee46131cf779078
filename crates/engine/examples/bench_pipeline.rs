//! The Rust half of `make bench`: the input, pipelines through the Rust API, and
//! the loop that a skilled person would write by hand over the same log.
//!
//! ```text
//! bench_pipeline generate --dir DIR [--records 3000000] [--keys 100000] [--lines 1000000]
//! bench_pipeline filter|sum|loop-filter|loop-sum --dir DIR [--interval-ms 50]
//! ```
//!
//! The first `lines` rows also go to the file `rows.tsv`, for programs that read
//! no log. Each command prints one line of JSON. A run of
//! the engine ends when nothing has come for [`QUIET`], which is not counted.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use headwater::core::json::{Locator, decode, write_value};
use headwater::core::{FieldPath, RecordsBuilder, Span, ValueRef};
use headwater::log::embedded::{EmbeddedLog, Options};
use headwater::log::{Committed, FetchLimits, Log, TopicConfig, Transactor, fixed};
use headwater::{
    Aggregate, AggregateFunction, Application, DataFrame, Position, Result, RunOptions, Settings,
    TopicPartition, WindowLength, WindowSpec, col,
};
use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TOPIC: &str = "telemetry";
/// How long a run of the engine waits for more before it ends.
const QUIET: Duration = Duration::from_millis(500);
/// As the engine: an epoch ends after this, or at this many bytes; behind the end
/// of the log each is twice as long as the last, up to [`EPOCH_BEHIND_MAX`].
const EPOCH_MAX: Duration = Duration::from_millis(50);
const EPOCH_BEHIND_MAX: Duration = Duration::from_secs(1);
const EPOCH_BYTES: usize = 32 << 20;
/// 10 % of the rows have more.
const RPM_ABOVE: i64 = 12_500;
/// Five rows of each of 100,000 keys.
const WINDOW_MS: i64 = 500_000;
const FIRST_MS: i64 = 1_729_850_000_000;
const GENERATED_BATCH: usize = 2_000;

type AnyError = Box<dyn std::error::Error>;

fn main() -> std::result::Result<(), AnyError> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().ok_or("a command is missing")?;
    let mut directory = PathBuf::from(".");
    let mut size = Size {
        records: 3_000_000,
        keys: 100_000,
        lines: 0,
    };
    let mut interval = None;
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or("every option takes a value")?;
        match name.as_str() {
            "--dir" => directory = value.into(),
            "--records" => size.records = value.parse()?,
            "--keys" => size.keys = value.parse()?,
            "--lines" => size.lines = value.parse()?,
            "--interval-ms" => interval = Some(Duration::from_millis(value.parse()?)),
            _ => return Err(format!("there is no option {name}").into()),
        }
    }
    let log = EmbeddedLog::open(&directory, Options::default())?;
    match command.as_str() {
        "generate" => generate(&*log, &size, &directory.join("rows.tsv"))?,
        "filter" => run_engine(log, &filter_frame(), interval)?,
        "sum" => run_engine(log, &sum_frame(), interval)?,
        "loop-filter" => run_by_hand(&*log, &mut HandFilter::new())?,
        "loop-sum" => run_by_hand(&*log, &mut HandSum::default())?,
        _ => return Err(format!("there is no command {command}").into()),
    }
    Ok(())
}

/// How much is generated.
struct Size {
    records: u64,
    keys: u64,
    lines: u64,
}

/// Rows of 260 bytes with 15 fields, one of them an object: cars' telemetry, one
/// row a millisecond.
fn generate(
    log: &dyn Log,
    size: &Size,
    lines: &std::path::Path,
) -> std::result::Result<(), AnyError> {
    log.create_topic(TOPIC, &TopicConfig::default())?;
    let mut producer = log.producer()?;
    let mut lines = std::io::BufWriter::new(std::fs::File::create(lines)?);
    let partition = TopicPartition::new(TOPIC, 0);
    let mut state = 42;
    let (mut builder, mut row, mut bytes) = (RecordsBuilder::default(), Vec::new(), 0);
    for number in 0..size.records {
        let driver = random(&mut state, size.keys);
        let timestamp = FIRST_MS + number as i64;
        let key = format!("driver-{driver}");
        row.clear();
        write_row(&mut row, &mut state, timestamp, driver)?;
        bytes += row.len() as u64;
        if number < size.lines {
            write!(lines, "{key}\t{timestamp}\t")?;
            lines.write_all(&row)?;
            lines.write_all(b"\n")?;
        }
        builder.push(Some(key.as_bytes()), Some(&row), timestamp, None);
        if builder.len() == GENERATED_BATCH || number + 1 == size.records {
            producer.append(&partition, std::mem::take(&mut builder).finish())?;
        }
    }
    producer.flush()?;
    lines.flush()?;
    let records = size.records;
    println!(
        "{{\"records\":{records},\"value_bytes\":{}}}",
        bytes / records.max(1)
    );
    Ok(())
}

fn write_row(
    out: &mut Vec<u8>,
    state: &mut u64,
    timestamp: i64,
    driver: u64,
) -> std::io::Result<()> {
    let mut below = |bound| random(state, bound);
    write!(
        out,
        "{{\"ts\":{timestamp},\"driver\":\"driver-{driver}\",\"lap\":{},\"speed\":{}.{},\"rpm\":{},\"gear\":{},\
         \"throttle\":0.{},\"brake\":{},\"lat\":48.{:05},\"lon\":11.{:05},\"drs\":{},\
         \"status\":\"on_the_track\",\"tyre\":{{\"fl\":{}.{},\"fr\":{}.{},\"rl\":{}.{}}},\
         \"session\":\"2024-monza-race-1\",\"note\":null}}",
        1 + below(70),
        50 + below(280),
        below(10),
        5_000 + below(8_334),
        1 + below(8),
        10 + below(90),
        below(2),
        below(100_000),
        below(100_000),
        below(2) == 0,
        70 + below(40),
        below(10),
        70 + below(40),
        below(10),
        70 + below(40),
        below(10),
    )
}

fn random(state: &mut u64, bound: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % bound
}

fn filter_frame() -> DataFrame {
    DataFrame::topic(TOPIC)
        .filter(col("rpm").gt(RPM_ABOVE))
        .assign("speed_kmh", col("speed") * 3.6)
        .project(&["ts", "driver", "lap", "speed_kmh"])
        .to_topic("fast")
}

fn sum_frame() -> DataFrame {
    let mut window = WindowSpec::new(WindowLength::Tumbling { size_ms: WINDOW_MS });
    window.aggregates.push(Aggregate {
        output: "total".into(),
        function: AggregateFunction::Sum,
        input: Some(col("speed")),
    });
    DataFrame::topic(TOPIC).window(window).to_topic("totals")
}

fn run_engine(
    log: Arc<EmbeddedLog>,
    frame: &DataFrame,
    commit_interval: Option<Duration>,
) -> Result<()> {
    let name = format!("bench-{}", std::process::id());
    let settings = Settings {
        workers: Some(1),
        commit_interval,
        ..Settings::new(name)
    };
    let mut application = Application::in_process(log, settings);
    let options = RunOptions {
        timeout: Some(QUIET),
        ..RunOptions::default()
    };
    let started = Instant::now();
    let report = application.run_frames(std::slice::from_ref(frame), &options)?;
    let took = started.elapsed().saturating_sub(QUIET);
    print_result(report.records_in, report.records_out, took);
    Ok(())
}

fn print_result(records: u64, records_out: u64, took: Duration) {
    let seconds = took.as_secs_f64();
    println!("{{\"records\":{records},\"records_out\":{records_out},\"seconds\":{seconds:.4}}}");
}

/// What a loop does with one record.
trait ByHand {
    /// The topic of its results.
    fn output(&self) -> &'static str;
    fn take(&mut self, key: &[u8], value: &[u8], timestamp: i64, out: &mut RecordsBuilder);
}

/// Reads the topic to its end, in batches and transactions like the engine's.
fn run_by_hand(log: &dyn Log, work: &mut dyn ByHand) -> Result<()> {
    let started = Instant::now();
    log.create_topic(work.output(), &TopicConfig::default())?;
    let output = TopicPartition::new(work.output(), 0);
    let input = TopicPartition::new(TOPIC, 0);
    let member = log.join(&format!("by-hand-{}", std::process::id()), &[])?;
    let mut transactor = member.transactor(0)?;
    let mut reader = log.reader(&[(input.clone(), Position::from_offset(0))])?;
    let limits = FetchLimits {
        records_max: 10_000,
        bytes_max: EPOCH_BYTES,
    };
    let (mut records, mut records_out) = (0, 0);
    let mut opened = Instant::now();
    let mut epoch_max = EPOCH_MAX;
    let mut at_end = false;
    while !at_end {
        let mut resume = None;
        for fetched in reader.poll(EPOCH_MAX, limits)? {
            let batch = &fetched.records;
            let mut builder = RecordsBuilder::default();
            for index in 0..batch.len() {
                let key = batch.key(index).unwrap_or_default();
                let value = batch.value(index).unwrap_or_default();
                work.take(key, value, batch.timestamps[index], &mut builder);
            }
            records += batch.len() as u64;
            records_out += builder.len() as u64;
            if !builder.is_empty() {
                transactor.append(&output, builder.finish())?;
            }
            at_end = fetched.at_end;
            resume = Some(fetched.resume);
        }
        let is_due =
            at_end || opened.elapsed() >= epoch_max || transactor.pending_bytes() >= EPOCH_BYTES;
        if let Some(resume) = resume
            && is_due
        {
            commit(&mut *transactor, &input, resume)?;
            opened = Instant::now();
            epoch_max = (epoch_max * 2).min(EPOCH_BEHIND_MAX);
        }
    }
    print_result(records, records_out, started.elapsed());
    Ok(())
}

fn commit(transactor: &mut dyn Transactor, input: &TopicPartition, resume: Position) -> Result<()> {
    let committed = Committed {
        position: resume,
        metadata: Vec::new(),
    };
    transactor
        .commit(&mut fixed(&[(input.clone(), committed)]))
        .map(|_| ())
}

/// Filter, assign and project: every row is checked, as the engine does, and the
/// kept ones are written from their spans.
struct HandFilter {
    locator: Locator,
    spans: [Span; 5],
}

impl HandFilter {
    fn new() -> Self {
        let names = ["rpm", "speed", "ts", "driver", "lap"];
        let locator = Locator::new(&names.map(FieldPath::name));
        HandFilter {
            locator,
            spans: [Span::NULL; 5],
        }
    }
}

impl ByHand for HandFilter {
    fn output(&self) -> &'static str {
        "fast-by-hand"
    }

    fn take(&mut self, key: &[u8], value: &[u8], timestamp: i64, out: &mut RecordsBuilder) {
        self.locator
            .locate(value, &mut self.spans)
            .expect("the rows are JSON");
        let text = |span: Span| span.of(value).expect("the rows have the field");
        if number(text(self.spans[0])) <= RPM_ABOVE as f64 {
            return;
        }
        let [_, speed, ts, driver, lap] = self.spans;
        out.push_with(Some(key), timestamp, None, |out| {
            for (name, span) in [
                ("{\"ts\":", ts),
                (",\"driver\":", driver),
                (",\"lap\":", lap),
            ] {
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(text(span));
            }
            out.extend_from_slice(b",\"speed_kmh\":");
            let speed_kmh = ValueRef::Float(number(text(speed)) * 3.6);
            write_value(speed_kmh, out).expect("a speed is finite");
            out.push(b'}');
        });
    }
}

fn number(text: &[u8]) -> f64 {
    let text = std::str::from_utf8(text).expect("the rows are UTF-8");
    match decode(text, &mut String::new()) {
        Ok(ValueRef::Int(value)) => value as f64,
        Ok(ValueRef::Float(value)) => value,
        _ => panic!("the field is a number"),
    }
}

/// A sum for each key, sent out when the key's next window begins.
struct HandSum {
    locator: Locator,
    sums: HashMap<Box<[u8]>, (i64, f64)>,
}

impl Default for HandSum {
    fn default() -> Self {
        HandSum {
            locator: Locator::new(&[FieldPath::name("speed")]),
            sums: HashMap::new(),
        }
    }
}

impl ByHand for HandSum {
    fn output(&self) -> &'static str {
        "totals-by-hand"
    }

    fn take(&mut self, key: &[u8], value: &[u8], timestamp: i64, out: &mut RecordsBuilder) {
        let mut spans = [Span::NULL];
        self.locator
            .locate(value, &mut spans)
            .expect("the rows are JSON");
        let speed = number(spans[0].of(value).expect("the rows have a speed"));
        let start = timestamp - timestamp.rem_euclid(WINDOW_MS);
        let Some(sum) = self.sums.get_mut(key) else {
            self.sums.insert(key.into(), (start, speed));
            return;
        };
        if sum.0 == start {
            sum.1 += speed;
            return;
        }
        let (start, total) = std::mem::replace(sum, (start, speed));
        out.push_with(Some(key), start, None, |out| {
            let end = start + WINDOW_MS;
            write!(out, "{{\"start\":{start},\"end\":{end},\"total\":{total}}}")
                .expect("a Vec takes what is written");
        });
    }
}
