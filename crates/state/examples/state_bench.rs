//! What state costs: a store in memory, one that spills, and the disk store by
//! itself.
//!
//! ```text
//! state_bench [--keys 1000000] [--value 1000] [--batch-mb 64]
//! ```
//!
//! The disk store is filled in batches of random keys, read at random, and then
//! changed in batches of 20,000 and of 200,000 random keys. Each line has the
//! clock's time and the processor's.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use headwater_core::env::Env;
use headwater_core::{Position, RecordsBuilder, Result};
use headwater_state::conformance::Seed;
use headwater_state::{DiskStore, KeyedStore, MemoryBudget, StateStore, Tier, TierSettings};
use std::path::Path;
use std::time::Instant;

type AnyError = Box<dyn std::error::Error>;

fn main() -> std::result::Result<(), AnyError> {
    let (mut keys, mut value, mut batch_mb) = (1_000_000, 1_000, 64);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let number = arguments.next().ok_or("every option takes a value")?;
        match name.as_str() {
            "--keys" => keys = number.parse()?,
            "--value" => value = number.parse()?,
            "--batch-mb" => batch_mb = number.parse()?,
            _ => return Err(format!("there is no option {name}").into()),
        }
    }
    let folder = std::env::temp_dir().join(format!("state_bench-{}", std::process::id()));
    let done = disk(&folder.join("disk"), keys, value, batch_mb << 20)
        .and_then(|()| keyed(None, keys / 10, 100))
        .and_then(|()| keyed(Some(&folder.join("keyed")), keys / 10, 100));
    std::fs::remove_dir_all(&folder)?;
    Ok(done?)
}

/// Measures what `work` does `count` times, `bytes` each.
fn measured<T>(what: &str, count: u64, bytes: u64, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let (cpu, written, started) = (cpu_seconds(), bytes_written(), Instant::now());
    let done = work()?;
    let (took, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let written = bytes_written() - written;
    println!(
        "{what}: {count} in {took:.2} s, {:.2} us of processor time each, {:.0} MB/s, \
         wrote {:.1} times as much",
        cpu * 1e6 / count as f64,
        (count * bytes) as f64 / 1e6 / took,
        written as f64 / (count * bytes) as f64,
    );
    Ok(done)
}

fn disk(folder: &Path, keys: u64, value_len: u64, batch_bytes: u64) -> Result<()> {
    let env = Env::system();
    let mut store = DiskStore::open(&env, folder)?;
    let per_batch = (batch_bytes / (value_len + 27)).max(1);
    measured("fill", keys, value_len, || {
        let mut first = 0;
        while first < keys {
            write(&mut store, first..keys.min(first + per_batch), value_len)?;
            first += per_batch;
        }
        Ok(())
    })?;
    drop(store);
    let mut store = measured("open", 1, 0, || DiskStore::open(&env, folder))?;
    let mut seed = Seed(1);
    measured("get", 50_000, value_len, || {
        for _ in 0..50_000 {
            let found = store.get(&key(seed.below(keys)))?;
            assert!(found.is_some_and(|value| value.len() as u64 == value_len));
        }
        Ok(())
    })?;
    for (batches, len) in [(10, 20_000), (1, 200_000)] {
        let what = format!("put {batches} x {len}");
        measured(&what, batches * len, value_len, || {
            for _ in 0..batches {
                write(&mut store, (0..len).map(|_| seed.below(keys)), value_len)?;
            }
            Ok(())
        })?;
    }
    measured("merge", 1, 0, || store.merge_some(u64::MAX))?;
    println!(
        "{} MB on disk, {:.1} MB in memory",
        store.disk_bytes() / 1_000_000,
        store.memory_bytes() as f64 / 1e6
    );
    Ok(())
}

fn write(store: &mut DiskStore, numbers: impl Iterator<Item = u64>, value_len: u64) -> Result<()> {
    let mut keys: Vec<Vec<u8>> = numbers.map(key).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut batch = store.batch(keys.len())?;
    for key in &keys {
        let value: Vec<u8> = key
            .iter()
            .copied()
            .cycle()
            .take(value_len as usize)
            .collect();
        batch.push(key, Some(&value))?;
    }
    store.write(batch, b"header")?;
    store.merge_some(16 << 20)
}

fn key(number: u64) -> Vec<u8> {
    format!("{:016x}-value", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into_bytes()
}

/// Reads and changes random keys as a stateful function does, in epochs of
/// 10,000; with a folder the store may take half of what it needs.
fn keyed(folder: Option<&Path>, keys: u64, value_len: u64) -> Result<()> {
    let mut store = KeyedStore::new(0);
    if let Some(folder) = folder {
        store.attach(Tier::open(TierSettings {
            env: Env::system(),
            folder: folder.to_owned(),
            budget: MemoryBudget::new((keys * (value_len + 230) / 2) as usize),
            changelog_id: 1,
        })?);
    }
    let (mut seed, mut position) = (Seed(2), 0);
    let value = vec![b'v'; value_len as usize];
    let mut epoch = |store: &mut KeyedStore, numbers: &mut dyn Iterator<Item = u64>| {
        for number in numbers {
            let key = key(number);
            let mut state = store.of_key(Some(&key), 0);
            let known = state.get(b"n").map_or(0, |known| known.len());
            state.set(b"n", &value[known / value.len().max(1)..], None);
        }
        let mut changes = RecordsBuilder::default();
        store.drain_changes(&mut changes);
        position += changes.len() as u64;
        store.settle(Position::from_offset(position))
    };
    let what = if folder.is_some() {
        "spilling"
    } else {
        "in memory"
    };
    measured(&format!("{what}: first change"), keys, value_len, || {
        (0..keys.div_ceil(10_000))
            .try_for_each(|at| epoch(&mut store, &mut (at * 10_000..keys.min((at + 1) * 10_000))))
    })?;
    measured(&format!("{what}: get and set"), keys * 4, value_len, || {
        (0..(keys * 4).div_ceil(10_000))
            .try_for_each(|_| epoch(&mut store, &mut (0..10_000).map(|_| seed.below(keys))))
    })?;
    store.check()
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

fn bytes_written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}
