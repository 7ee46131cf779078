//! Crash detection through the Rust API: `cargo run --release --example crash_detection`.
//!
//! Three phones send nested JSON to a topic of an embedded log. One pipeline
//! makes a row of each reading, a second one sums the g-force of each phone over
//! two seconds: a pothole hits harder than a crash, but a crash lasts. At the end
//! the alerts are held against the crashes that the phones really had; a missed
//! or wrong one makes the program fail. A seed may be given as an argument.
//!
//! The Python package's `headwater demo` does the same job with its parts in
//! processes of their own.

use headwater::core::arrow::buffer::Buffer;
use headwater::core::{
    Column, Evaluated, FieldPath, JsonRows, RowError, Rows, Span, ValueRef, json,
};
use headwater::log::Log;
use headwater::log::embedded::{EmbeddedLog, Options};
use headwater::operators::{Call, Function, FunctionRows, Wants};
use headwater::plan::{BatchForm, FunctionRef, FunctionShape, Op};
use headwater::{
    Aggregate, AggregateFunction, Application, DataError, DataFrame, Error, Places, Report, Result,
    RunOptions, Settings, Start, Value, WindowLength, WindowSpec, col, produce,
};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const RAW: &str = "phones-raw";
const ROWS: &str = "phones-rows";
const ALERTS: &str = "crash-alerts";

const G: f64 = 9.80665;
/// G-force summed over two seconds of a hundred readings each.
const CRASH: f64 = 300.0;
const WINDOW_MS: i64 = 2_000;
const ADVANCE_MS: i64 = 250;

fn main() -> ExitCode {
    let seed = std::env::args()
        .nth(1)
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1);
    match run(seed) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(seed: u64) -> Result<bool> {
    let directory = tempfile::tempdir()?;
    let log: Arc<dyn Log> = EmbeddedLog::open(directory.path(), Options::default())?;
    let fleet = Fleet::drive(seed);
    produce(
        &*log,
        RAW,
        fleet
            .messages
            .iter()
            .map(|(phone, text, at)| (&**phone, &**text, *at)),
    )?;

    // Both pipelines at once; they share nothing but the log.
    let (flattened, detected) = std::thread::scope(|scope| {
        let flatten = scope.spawn(|| flatten(Arc::clone(&log)));
        let detect = scope.spawn(|| detect(Arc::clone(&log)));
        (
            flatten.join().expect("it does not panic"),
            detect.join().expect("it does not panic"),
        )
    });
    let (flattened, detected) = (flattened?, detected?);
    let alerts = read_alerts(&log)?;
    let verdict = judge(&alerts, &fleet.crashes);
    println!("messages in      {}", flattened.records_in);
    println!(
        "rows             {} of {}",
        flattened.records_out, fleet.reading_count
    );
    println!(
        "windows above    {} ({} late records)",
        detected.records_out, detected.late
    );
    println!(
        "crashes          {} of {} found, {} missed, {} wrong",
        fleet.crashes.len() - verdict.missed,
        fleet.crashes.len(),
        verdict.missed,
        verdict.wrong
    );
    let is_complete = flattened.records_out == fleet.reading_count && detected.late == 0;
    Ok(is_complete && verdict.missed == 0 && verdict.wrong == 0)
}

/// What these pipelines do until no record has come for a second.
const UNTIL_QUIET: RunOptions = RunOptions {
    count: None,
    timeout: Some(Duration::from_secs(1)),
    start: Start::Committed,
    until: None,
    writes_topics: false,
    commit: true,
    collect: false,
    confirm_lost_state: false,
};

/// Makes a row of each reading of a message.
fn flatten(log: Arc<dyn Log>) -> Result<Report> {
    let mut application = Application::in_process(log, Settings::new("flatten"));
    application.functions_mut().insert(0, Arc::new(Readings));
    let readings = FunctionRef {
        id: 0,
        name: "readings".into(),
        line: None,
        shape: FunctionShape {
            is_expand: true,
            ..FunctionShape::default()
        },
        reads: Vec::new(),
    };
    let rows = DataFrame::topic(RAW)
        .then(Op::Apply(readings))
        .to_topic(ROWS);
    application.run_frames(&[rows], &UNTIL_QUIET)
}

/// Finds windows of too much g-force.
fn detect(log: Arc<dyn Log>) -> Result<Report> {
    let mut application = Application::in_process(log, Settings::new("crash-detection"));
    let axis = |name: &str| col(&format!("accelerometer_{name}"));
    let square = |name: &str| axis(name) * axis(name);

    let alerts = DataFrame::topic(ROWS)
        // Rows of other sensors lack these columns, and what a row lacks is null.
        .filter(axis("x").not_null())
        // Time is when the phone measured, in nanoseconds.
        .then(Op::SetTimestamp(col("time").floor_div(1_000_000)))
        .assign("g", (square("x") + square("y") + square("z")).pow(0.5) / G)
        .window(WindowSpec {
            aggregates: vec![Aggregate {
                output: "total_g".into(),
                function: AggregateFunction::Sum,
                input: Some(col("g")),
            }],
            ..WindowSpec::new(WindowLength::Hopping {
                size_ms: WINDOW_MS,
                advance_ms: ADVANCE_MS,
            })
        })
        .filter(col("total_g").gt(CRASH))
        .to_topic(ALERTS);
    application.run_frames(&[alerts], &UNTIL_QUIET)
}

/// The function of the first pipeline: a message in, its readings out.
struct Readings;

impl Readings {
    /// Appends a row for each reading: `{"device":…,"time":…,"accelerometer_x":…}`.
    fn expand(message: &str, out: &mut Vec<u8>, spans: &mut Vec<Span>) -> Option<()> {
        let field = |text, name| json::find(text, &FieldPath::name(name));
        let device = field(message, "deviceId")?;
        for reading in json::elements(field(message, "payload")?)? {
            let sensor = field(reading, "name")?.trim_matches('"');
            let start = out.len();
            let time = field(reading, "time")?;
            out.extend(format!(r#"{{"device":{device},"time":{time}"#).bytes());
            for (name, value) in json::entries(field(reading, "values")?)? {
                out.extend(format!(r#","{sensor}_{name}":{value}"#).bytes());
            }
            out.push(b'}');
            spans.push(Span {
                start: start as u32,
                len: (out.len() - start) as u32,
            });
        }
        Some(())
    }
}

impl Function for Readings {
    fn rows(&self, call: Call<'_>) -> Result<FunctionRows> {
        let (messages, _) = call.batch.rows.clone().into_json();
        let (mut out, mut spans) = (Vec::new(), Vec::new());
        let (mut sources, mut errors) = (Vec::new(), Vec::new());
        for row in 0..messages.len() {
            let text = messages
                .text(row)
                .and_then(|text| std::str::from_utf8(text).ok());
            let made = text.and_then(|text| Readings::expand(text, &mut out, &mut spans));
            if made.is_none() {
                spans.truncate(sources.len());
                let error = DataError::new("this is no message of a phone");
                errors.push(RowError {
                    row: row as u32,
                    error,
                });
            }
            sources.resize(spans.len(), row as u32);
        }
        let rows = Rows::Json(JsonRows::new(Buffer::from_vec(out), spans));
        Ok(FunctionRows {
            rows,
            sources: Some(sources),
            errors,
        })
    }

    fn update(&self, _: Call<'_>) -> Result<FunctionRows> {
        Err(only_rows())
    }

    fn values(&self, _: Call<'_>, _: Wants) -> Result<Evaluated> {
        Err(only_rows())
    }

    fn batch(&self, _: &[(Box<str>, Column)], _: BatchForm) -> Result<Vec<(Box<str>, Column)>> {
        Err(only_rows())
    }

    fn invoke(&self, _: Option<&str>, _: &[ValueRef<'_>]) -> Result<Value> {
        Err(only_rows())
    }
}

fn only_rows() -> Error {
    Error::invalid("this function makes rows of rows")
}

/// The starts of the windows above the threshold, by phone.
fn read_alerts(log: &Arc<dyn Log>) -> Result<Vec<(String, i64)>> {
    let mut reader = Application::in_process(Arc::clone(log), Settings::new("reader"));
    let options = RunOptions {
        timeout: Some(Duration::from_millis(100)),
        start: Start::At(Places::Beginning),
        commit: false,
        collect: true,
        ..UNTIL_QUIET
    };
    let report = reader.run_frames(&[DataFrame::topic(ALERTS)], &options)?;
    let mut alerts = Vec::new();
    for delivery in &report.collected {
        for row in 0..delivery.batch.len() {
            let key = delivery.batch.keys.get(row).unwrap_or_default();
            // The time of a window's result is its start.
            let start = delivery.batch.timestamps[row];
            alerts.push((String::from_utf8_lossy(key).into_owned(), start));
        }
    }
    alerts.sort_unstable();
    Ok(alerts)
}

struct Verdict {
    missed: usize,
    wrong: usize,
}

/// Joins overlapping windows to one alert, and finds the crash of each.
fn judge(windows: &[(String, i64)], crashes: &[Crash]) -> Verdict {
    let mut alerts: Vec<(&str, i64, i64)> = Vec::new();
    for (phone, start) in windows {
        let end = start + WINDOW_MS;
        match alerts.last_mut() {
            Some(last) if last.0 == phone && *start < last.2 => last.2 = end,
            _ => alerts.push((phone, *start, end)),
        }
    }
    let is_of = |alert: &(&str, i64, i64), crash: &Crash| {
        alert.0 == crash.phone && alert.1 < crash.end_ms && crash.start_ms < alert.2
    };
    let is_missed = |crash: &&Crash| alerts.iter().filter(|alert| is_of(alert, crash)).count() != 1;
    let is_wrong = |alert: &&(&str, i64, i64)| !crashes.iter().any(|crash| is_of(alert, crash));
    Verdict {
        missed: crashes.iter().filter(is_missed).count(),
        wrong: alerts.iter().filter(is_wrong).count(),
    }
}

/// A crash that a phone really had, `[start_ms, end_ms)`.
struct Crash {
    phone: String,
    start_ms: i64,
    end_ms: i64,
}

/// What three phones sent, and what happened to them.
#[derive(Default)]
struct Fleet {
    messages: Vec<(String, String, i64)>,
    crashes: Vec<Crash>,
    reading_count: u64,
}

impl Fleet {
    const BEGAN_MS: i64 = 1_746_432_000_000;
    const TICK_MS: i64 = 10;
    const TICKS_PER_MESSAGE: i64 = 50;

    /// Two minutes of three phones, one after the other, which a key's own clock
    /// does not mind: none of it is late.
    fn drive(seed: u64) -> Fleet {
        let mut fleet = Fleet::default();
        for phone in 0..3 {
            let mut chance = Chance(seed * 3 + phone);
            let phone = format!("phone-{:04x}", chance.next() & 0xffff);
            fleet.drive_one(&phone, &mut chance);
        }
        fleet
    }

    fn drive_one(&mut self, phone: &str, chance: &mut Chance) {
        let mut incidents = Vec::new();
        for index in 0..12 {
            let start_ms = 6_000 + index * 10_000 + (chance.unit() * 3_000.0) as i64;
            // Every fourth one is a crash; the others peak higher but are short.
            incidents.push(match index % 4 {
                3 => (
                    start_ms,
                    1_500 + (chance.unit() * 500.0) as i64,
                    2.8 + chance.unit() * 1.2,
                ),
                _ => (
                    start_ms,
                    50 + (chance.unit() * 70.0) as i64,
                    9.0 + chance.unit() * 3.0,
                ),
            });
        }
        let is_crash = |incident: &&(i64, i64, f64)| incident.1 >= 1_500;
        self.crashes.extend(
            incidents
                .iter()
                .filter(is_crash)
                .map(|(start, length, _)| Crash {
                    phone: phone.to_owned(),
                    start_ms: Self::BEGAN_MS + start,
                    end_ms: Self::BEGAN_MS + start + length,
                }),
        );
        // Three seconds beyond the last crash, so that its windows close.
        let end_ms = incidents
            .last()
            .map_or(0, |(start, length, _)| start + length)
            + 3_000;
        let mut payload: Vec<String> = Vec::new();
        for tick in 0..=end_ms / Self::TICK_MS {
            let age_ms = tick * Self::TICK_MS;
            self.measure(age_ms, &incidents, chance, &mut payload);
            if (tick + 1) % Self::TICKS_PER_MESSAGE == 0 || tick == end_ms / Self::TICK_MS {
                let text = format!(
                    r#"{{"deviceId":"{phone}","payload":[{}]}}"#,
                    payload.join(",")
                );
                self.messages
                    .push((phone.to_owned(), text, Self::BEGAN_MS + age_ms));
                payload.clear();
            }
        }
    }

    /// Accelerometer and gyroscope 100 times a second, GPS once.
    fn measure(
        &mut self,
        age_ms: i64,
        incidents: &[(i64, i64, f64)],
        chance: &mut Chance,
        payload: &mut Vec<String>,
    ) {
        let time_ns = (Self::BEGAN_MS + age_ms) * 1_000_000;
        let force = incidents
            .iter()
            .find(|(start, length, _)| (*start..start + length).contains(&age_ms))
            .map_or(0.0, |(_, _, level)| level * G);
        let (x, y, z) = (force + chance.noise(), chance.noise(), chance.noise());
        payload.push(format!(
            r#"{{"name":"accelerometer","time":{time_ns},"values":{{"x":{x:.6},"y":{y:.6},"z":{z:.6}}}}}"#
        ));
        let turn = chance.noise() / 20.0;
        payload.push(format!(
            r#"{{"name":"gyroscope","time":{time_ns},"values":{{"x":0.0,"y":0.0,"z":{turn:.6}}}}}"#
        ));
        self.reading_count += 2;
        if age_ms % 1_000 == 0 {
            let speed = 20.0 + chance.noise();
            payload.push(format!(
                r#"{{"name":"location","time":{time_ns},"values":{{"latitude":52.5,"longitude":13.4,"speed":{speed:.2}}}}}"#
            ));
            self.reading_count += 1;
        }
    }
}

/// Numbers that follow from a seed (SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In `[0, 1)`.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// What an engine and a road do to a phone, in m/s².
    fn noise(&mut self) -> f64 {
        (self.unit() + self.unit() + self.unit() - 1.5) * 2.0
    }
}
