//! What the embedded log costs on this machine, with the disk's sync beside it.
//!
//! ```text
//! cargo run --release -p headwater-log --example log_bench -- [--dir DIR] \
//!     [--records 4000000] [--page 32768] [--mmap BYTES] [--partitions 1] [--reads 3]
//! ```
//!
//! Idle latency is measured from a second process, which the program starts
//! from itself: it stamps a record, appends and flushes it, and the stamp is
//! compared when the waiting poll returns here, so a sync is part of the figure.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use headwater_core::{Position, Records, RecordsBuilder, Result, TopicPartition};
use headwater_log::embedded::{EmbeddedLog, Options};
use headwater_log::record_batch::{BatchDecoder, BatchEncoder};
use headwater_log::{Committed, FetchLimits, Log, TopicConfig, fixed};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const BATCH_RECORDS: usize = 1_000;
const VALUE_BYTES: usize = 212;
const KEY: &[u8] = b"device-7";

type AnyError = Box<dyn std::error::Error>;

struct Settings {
    directory: PathBuf,
    records: usize,
    page_bytes: u32,
    mmap_bytes: u64,
    partitions: u32,
    reads: usize,
    idle_appends: usize,
}

fn main() -> std::result::Result<(), AnyError> {
    let mut settings = Settings {
        directory: std::env::temp_dir().join(format!("log_bench-{}", std::process::id())),
        records: 4_000_000,
        page_bytes: Options::default().page_bytes,
        mmap_bytes: Options::default().mmap_bytes,
        partitions: 1,
        reads: 3,
        idle_appends: 0,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or("every option takes a value")?;
        match name.as_str() {
            "--dir" => settings.directory = value.into(),
            "--records" => settings.records = value.parse()?,
            "--page" => settings.page_bytes = value.parse()?,
            "--mmap" => settings.mmap_bytes = value.parse()?,
            "--partitions" => settings.partitions = value.parse()?,
            "--reads" => settings.reads = value.parse()?,
            // How the program starts itself.
            "--idle-appends" => settings.idle_appends = value.parse()?,
            _ => return Err(format!("there is no option {name}").into()),
        }
    }
    if settings.idle_appends > 0 {
        return append_now_and_then(&settings);
    }
    println!(
        "{} records of {} bytes, batches of {BATCH_RECORDS}, {} partition(s), pages of {} bytes",
        settings.records,
        KEY.len() + VALUE_BYTES,
        settings.partitions,
        settings.page_bytes
    );
    measure_codec()?;
    std::fs::create_dir_all(&settings.directory)?;
    measure_sync(&settings.directory)?;
    let log = open(&settings)?;
    let topic = TopicConfig {
        partitions: settings.partitions,
        ..TopicConfig::default()
    };
    log.create_topic("bench", &topic)?;
    log.create_topic("idle", &TopicConfig::default())?;
    measure_write(&*log, &settings)?;
    measure_read(&*log, &settings)?;
    measure_commit(&*log)?;
    measure_idle(&*log, &settings)?;
    drop(log);
    let file = settings.directory.join("log.db").metadata()?.len();
    println!(
        "file          {:>9.1} bytes a record",
        file as f64 / settings.records as f64
    );
    std::fs::remove_dir_all(&settings.directory)?;
    Ok(())
}

fn open(settings: &Settings) -> Result<Arc<EmbeddedLog>> {
    let (page_bytes, mmap_bytes) = (settings.page_bytes, settings.mmap_bytes);
    let options = Options {
        page_bytes,
        mmap_bytes,
        ..Options::default()
    };
    EmbeddedLog::open(&settings.directory, options)
}

fn batch(count: usize) -> Records {
    let mut builder = RecordsBuilder::default();
    for index in 0..count {
        let value = [b'a' + (index % 26) as u8; VALUE_BYTES];
        builder.push(
            Some(KEY),
            Some(&value),
            1_700_000_000_000 + index as i64,
            None,
        );
    }
    builder.finish()
}

/// The median of many rounds, so that what else runs on the machine counts less.
fn measure_codec() -> Result<()> {
    let records = batch(BATCH_RECORDS);
    let encode = || {
        let mut encoder = BatchEncoder::with_capacity(records.bytes.len() + 16 * records.len());
        for index in 0..records.len() {
            let (key, value) = (records.key(index), records.value(index));
            encoder.push(
                key,
                value,
                records.timestamps[index],
                records.headers(index),
            )?;
        }
        Result::<_>::Ok(encoder.finish().expect("records were pushed"))
    };
    let batch = encode()?;
    let decode = || {
        let mut decoder = BatchDecoder::with_capacity(batch.bytes.len());
        let damage = decoder.push(&batch.bytes, 0).err();
        assert!(damage.is_none() && decoder.finish().0.len() == BATCH_RECORDS);
    };
    report(
        "encode",
        median(|| assert!(encode().is_ok())),
        BATCH_RECORDS,
    );
    report("decode", median(decode), BATCH_RECORDS);
    Ok(())
}

fn median(mut round: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..2_000)
        .map(|_| {
            let start = Instant::now();
            round();
            start.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

fn measure_sync(directory: &Path) -> std::io::Result<()> {
    let path = directory.join("sync");
    let mut file = std::fs::File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..500 {
        let start = Instant::now();
        file.write_all(&[1; 4096])?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    std::fs::remove_file(path)?;
    report_times("fsync of 4 KB", times);
    Ok(())
}

fn measure_write(log: &dyn Log, settings: &Settings) -> Result<()> {
    let records = batch(BATCH_RECORDS);
    let mut producer = log.producer()?;
    let start = Instant::now();
    let mut appends = Vec::new();
    for index in 0..settings.records / BATCH_RECORDS {
        let start = Instant::now();
        let partition = TopicPartition::new("bench", index as u32 % settings.partitions);
        producer.append(&partition, records.clone())?;
        appends.push(start.elapsed());
    }
    producer.flush()?;
    report("write", start.elapsed(), settings.records);
    report_times("  an append", appends);
    Ok(())
}

fn measure_read(log: &dyn Log, settings: &Settings) -> Result<()> {
    for _ in 0..settings.reads {
        let from: Vec<_> = (0..settings.partitions)
            .map(|number| {
                (
                    TopicPartition::new("bench", number),
                    Position::from_offset(0),
                )
            })
            .collect();
        let mut reader = log.reader(&from)?;
        let start = Instant::now();
        let mut count = 0;
        while count < settings.records {
            let fetched = reader.poll(Duration::from_secs(1), FetchLimits::default())?;
            count += fetched
                .iter()
                .map(|fetched| fetched.records.len())
                .sum::<usize>();
        }
        report("read", start.elapsed(), count);
    }
    Ok(())
}

fn measure_commit(log: &dyn Log) -> Result<()> {
    let member = log.join("bench", &[])?;
    let mut transactor = member.transactor(0)?;
    let partition = TopicPartition::new("idle", 0);
    let mut times = Vec::new();
    for number in 0..1_000 {
        let position = Committed {
            position: Position::from_offset(number),
            metadata: vec![0; 100],
        };
        let start = Instant::now();
        transactor.append(&partition, batch(1))?;
        transactor.commit(&mut fixed(&[(partition.clone(), position)]))?;
        times.push(start.elapsed());
    }
    report_times("commit of 1", times);
    Ok(())
}

fn measure_idle(log: &dyn Log, settings: &Settings) -> std::result::Result<(), AnyError> {
    const APPENDS: usize = 500;
    let partition = TopicPartition::new("idle", 0);
    let end = log.bounds(&partition)?.end;
    let mut reader = log.reader(&[(partition, end)])?;
    let mut child = std::process::Command::new(std::env::current_exe()?)
        .arg("--dir")
        .arg(&settings.directory)
        .args(["--idle-appends", &APPENDS.to_string()])
        .spawn()?;
    let mut times = Vec::new();
    while times.len() < APPENDS {
        let fetched = reader.poll(Duration::from_secs(20), FetchLimits::default())?;
        let now = since_epoch();
        for fetched in fetched {
            for index in 0..fetched.records.len() {
                let stamp = fetched.records.value(index).unwrap_or_default();
                let stamp = u64::from_be_bytes(stamp.try_into()?);
                times.push(now.saturating_sub(Duration::from_nanos(stamp)));
            }
        }
    }
    child.wait()?;
    report_times("idle latency", times);
    Ok(())
}

fn append_now_and_then(settings: &Settings) -> std::result::Result<(), AnyError> {
    let log = open(settings)?;
    let mut producer = log.producer()?;
    let partition = TopicPartition::new("idle", 0);
    for number in 0..settings.idle_appends {
        // Steps that do not fall in with the reader's.
        std::thread::sleep(Duration::from_micros(8_000 + number as u64 * 37 % 4_000));
        let mut builder = RecordsBuilder::default();
        let stamp = (since_epoch().as_nanos() as u64).to_be_bytes();
        builder.push(None, Some(&stamp), 0, None);
        producer.append(&partition, builder.finish())?;
        producer.flush()?;
    }
    Ok(())
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn report(what: &str, time: Duration, count: usize) {
    let nanoseconds = time.as_nanos() as f64 / count as f64;
    println!(
        "{what:<13} {nanoseconds:>9.1} ns a record  {:>6.2} M/s",
        1e3 / nanoseconds
    );
}

fn report_times(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[(times.len() as f64 * share) as usize].as_secs_f64() * 1e3;
    let max = times[times.len() - 1].as_secs_f64() * 1e3;
    println!(
        "{what:<13} p50 {:>7.3} ms  p99 {:>7.3} ms  max {max:>7.3} ms",
        at(0.5),
        at(0.99)
    );
}
