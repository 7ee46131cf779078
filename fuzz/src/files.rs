//! The sources that read files, from files that are only bytes in memory.
//!
//! Reading in one go, reading row by row, and reading with a restart after every
//! batch must give the same records; and what a source says is a row is JSON.

use crate::input::Input;
use headwater_connect::{
    AtEnd, CellTypes, CsvSource, CsvSourceOptions, JsonLinesSource, JsonLinesSourceOptions, Source,
    TimestampField, TimestampFormat,
};
use headwater_core::env::{Env, ManualClock, Storage, StorageFile, StorageLock};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// One file of these bytes, whatever its name.
struct OneFile(Arc<[u8]>);

impl Storage for OneFile {
    fn open(&self, _: &Path) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(OneFile(Arc::clone(&self.0))))
    }

    fn open_append(&self, _: &Path) -> io::Result<Box<dyn StorageFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove_folder(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Box<dyn StorageLock>>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl StorageFile for OneFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn append(&mut self, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn truncate(&mut self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|from| self.0.get(from..));
        let rest = rest.unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A record, or the error that stands in its place.
type Item = Result<(Option<Vec<u8>>, Vec<u8>, i64), String>;

/// Everything a source gives, `at_once` records a poll, opened anew after each
/// batch or not. A position that is refused ends it.
fn read(
    env: &Env,
    source: &mut dyn Source,
    at_once: usize,
    restarts: bool,
) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    source.open(env, None).map_err(|error| error.to_string())?;
    loop {
        // An error ends a source; what it has given until then counts.
        let batch = match source.poll(Duration::ZERO, at_once) {
            Ok(batch) => batch,
            Err(error) => {
                items.push(Err(error.to_string()));
                return Ok(items);
            }
        };
        for index in 0..batch.records.len() {
            let value = batch.records.value(index).expect("rows have values");
            let key = batch.records.key(index).map(<[u8]>::to_vec);
            items.push(Ok((key, value.to_vec(), batch.records.timestamps[index])));
        }
        for unread in batch.unread {
            assert!(batch.records.is_empty(), "it comes alone");
            items.push(Err(format!("{} {:?}", unread.error, unread.bytes)));
        }
        if batch.is_end {
            return Ok(items);
        }
        if let Some(position) = batch.position.filter(|_| restarts) {
            source.close();
            source.open(env, Some(&position)).expect("its own position");
        }
        assert!(items.len() < 100_000, "a source comes to an end");
    }
}

fn check(bytes: &[u8], new: &dyn Fn() -> Box<dyn Source>, is_json: bool) {
    let env = Env {
        clock: Arc::new(ManualClock::at(99)),
        storage: Arc::new(OneFile(bytes.into())),
        ..Env::system()
    };
    let whole = read(&env, &mut *new(), 10_000, false);
    for (_, value, _) in whole.iter().flatten().flatten() {
        if is_json {
            let row = serde_json::from_slice::<serde_json::Value>(value);
            assert!(row.is_ok_and(|row| row.is_object()), "a row is an object");
        }
    }
    assert_eq!(read(&env, &mut *new(), 1, false), whole, "row by row");
    assert_eq!(read(&env, &mut *new(), 2, true), whole, "with restarts");
}

fn timestamp(input: &mut Input<'_>) -> Option<TimestampField> {
    let formats = [
        TimestampFormat::Iso8601,
        TimestampFormat::Seconds,
        TimestampFormat::Milliseconds,
        TimestampFormat::Microseconds,
        TimestampFormat::Nanoseconds,
    ];
    let format = *formats.get(input.below(6))?;
    let name = "t".to_owned();
    Some(TimestampField { name, format })
}

/// Any bytes as a CSV file.
pub(crate) fn csv(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let timestamp = timestamp(&mut input);
    let flags = input.byte();
    let options = CsvSourceOptions {
        delimiter: if flags & 1 == 0 { b',' } else { b';' },
        types: if flags & 2 == 0 {
            CellTypes::default()
        } else {
            CellTypes::Text
        },
        key_column: (flags & 4 == 4).then(|| "k".to_owned()),
        timestamp,
        ..CsvSourceOptions::default()
    };
    let rest = input.rest();
    let new = || Box::new(CsvSource::new("in.csv", options.clone())) as Box<dyn Source>;
    check(rest, &new, true);
    check_position(rest, bytes, &new);
}

/// Any bytes as a file of JSON lines.
pub(crate) fn json_lines(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let options = JsonLinesSourceOptions {
        timestamp: timestamp(&mut input),
        key_field: (input.byte() & 1 == 1).then(|| "k".to_owned()),
        at_end: AtEnd::Finish,
    };
    let rest = input.rest();
    let new = || Box::new(JsonLinesSource::new("in.jsonl", options.clone())) as Box<dyn Source>;
    check(rest, &new, false);
    check_position(rest, bytes, &new);
}

/// A position that no source wrote is refused, or read on from.
fn check_position(file: &[u8], position: &[u8], new: &dyn Fn() -> Box<dyn Source>) {
    let env = Env {
        clock: Arc::new(ManualClock::at(99)),
        storage: Arc::new(OneFile(file.into())),
        ..Env::system()
    };
    let mut source = new();
    if source.open(&env, Some(position)).is_ok() {
        std::hint::black_box(source.poll(Duration::ZERO, 10).is_ok());
    }
}
