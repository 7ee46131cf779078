//! Rows as JSON, one a line.

use crate::committed_file::{CommittedFile, ExistingFile};
use crate::row::{key_text, row_error, write_row};
use crate::{Delivery, Sink};
use headwater_core::env::Env;
use headwater_core::json::{write_key, write_value};
use headwater_core::{DataError, Result, ValueRef};
use std::path::PathBuf;

/// How a file of JSON lines is written.
#[derive(Clone, Debug, Default)]
pub struct JsonLinesSinkOptions {
    /// Whether each row gets `_key`, `_timestamp`, `_headers`, `_topic`,
    /// `_partition` and `_offset`. A row that is not an object becomes `_value`.
    pub has_metadata: bool,
    /// What happens to a file that is there already.
    pub existing: ExistingFile,
}

/// Writes rows to a file as JSON, one a line, exactly once. Null becomes `null`.
pub struct JsonLinesSink {
    file: CommittedFile,
    options: JsonLinesSinkOptions,
    /// The line that is being written.
    line: Vec<u8>,
}

impl std::fmt::Debug for JsonLinesSink {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "JsonLinesSink({})", self.file.path().display())
    }
}

impl JsonLinesSink {
    /// A sink to the file at `path`, made with its folders if it is missing.
    pub fn new(path: impl Into<PathBuf>, options: JsonLinesSinkOptions) -> Self {
        JsonLinesSink {
            file: CommittedFile::new(path.into()),
            options,
            line: Vec::new(),
        }
    }
}

impl Sink for JsonLinesSink {
    fn open(&mut self, env: &Env, position: Option<&[u8]>) -> Result<()> {
        self.file.open(env, position, self.options.existing)
    }

    fn write(&mut self, delivery: &Delivery) -> Result<()> {
        for row in 0..delivery.batch.len() {
            self.line.clear();
            write_line(delivery, row, &self.options, &mut self.line)
                .map_err(|error| row_error(error, delivery, row))?;
            self.file.write(&self.line)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<Option<Vec<u8>>> {
        self.file.flush().map(Some)
    }

    fn close(&mut self) {
        self.file.close();
    }
}

fn write_line(
    delivery: &Delivery,
    row: usize,
    options: &JsonLinesSinkOptions,
    line: &mut Vec<u8>,
) -> Result<(), DataError> {
    if !write_row(delivery, row, line)? {
        line.extend_from_slice(b"null");
    }
    // A producer may have written an object over several lines. Inside its texts
    // JSON allows no line break.
    for byte in line.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
    if options.has_metadata {
        write_metadata(delivery, row, line)?;
    }
    line.push(b'\n');
    Ok(())
}

/// Adds the metadata to the object in `line`.
fn write_metadata(delivery: &Delivery, row: usize, line: &mut Vec<u8>) -> Result<(), DataError> {
    let trimmed = line.trim_ascii();
    match trimmed
        .strip_prefix(b"{")
        .and_then(|inner| inner.strip_suffix(b"}"))
    {
        Some(inner) if inner.trim_ascii().is_empty() => *line = b"{".to_vec(),
        Some(_) => {
            line.truncate(line.trim_ascii_end().len() - 1);
            line.push(b',');
        }
        None => {
            let value = std::mem::replace(line, b"{\"_value\":".to_vec());
            line.extend_from_slice(&value);
            line.push(b',');
        }
    }
    let partition = &delivery.partition;
    let offset = delivery.positions.get(row).map(ToString::to_string);
    let is_number = |offset: &str| offset.bytes().all(|byte| byte.is_ascii_digit());
    let offset = match offset.as_deref() {
        None => ValueRef::Null,
        Some(offset) if is_number(offset) => ValueRef::BigInt(offset),
        Some(offset) => ValueRef::Str(offset),
    };
    let key = key_text(delivery, row)?.map_or(ValueRef::Null, ValueRef::Str);
    let headers = headers_text(delivery, row)?;
    for (name, value) in [
        ("_key", key),
        ("_timestamp", ValueRef::Int(delivery.batch.timestamps[row])),
        ("_headers", ValueRef::Json(&headers)),
        ("_topic", ValueRef::Str(&partition.topic)),
        ("_partition", ValueRef::Int(partition.partition.into())),
        ("_offset", offset),
    ] {
        write_key(name, line);
        write_value(value, line)?;
        line.push(b',');
    }
    line.pop();
    line.push(b'}');
    Ok(())
}

/// The headers as pairs of name and text.
fn headers_text(delivery: &Delivery, row: usize) -> Result<String, DataError> {
    let mut text = b"[".to_vec();
    for header in delivery.batch.headers(row) {
        if text.len() > 1 {
            text.push(b',');
        }
        let value = header.value.as_deref().map(String::from_utf8_lossy);
        text.push(b'[');
        write_value(ValueRef::Str(&header.name), &mut text)?;
        text.push(b',');
        write_value(
            value.as_deref().map_or(ValueRef::Null, ValueRef::Str),
            &mut text,
        )?;
        text.push(b']');
    }
    text.push(b']');
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::tests::{delivery, delivery_with_headers};

    fn lines(deliveries: &[Delivery], options: JsonLinesSinkOptions) -> Result<String> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("new").join("out.jsonl");
        let mut sink = JsonLinesSink::new(&path, options);
        sink.open(&Env::system(), None)?;
        deliveries
            .iter()
            .try_for_each(|delivery| sink.write(delivery))?;
        sink.flush()?;
        Ok(std::fs::read_to_string(path)?)
    }

    #[test]
    fn each_row_is_a_line_with_its_own_bytes() -> Result<()> {
        let rows = ["{\"a\": 1.50,\n \"b\": \"x\"}", "7", "null", "[1]"];
        let text = lines(&[delivery(&rows)], JsonLinesSinkOptions::default())?;
        assert_eq!(text, "{\"a\": 1.50,  \"b\": \"x\"}\n7\nnull\n[1]\n");
        Ok(())
    }

    #[test]
    fn metadata_is_added_to_objects_and_wraps_other_rows() -> Result<()> {
        let options = JsonLinesSinkOptions {
            has_metadata: true,
            ..Default::default()
        };
        let rows = [
            delivery(&["{\"a\":1} ", "{ }", "7"]),
            delivery_with_headers("{}"),
        ];
        let text = lines(&rows, options)?;
        let place = "\"_headers\":[],\"_topic\":\"telemetry\",\"_partition\":2,\"_offset\"";
        assert_eq!(
            text,
            format!(
                "{{\"a\":1,\"_key\":\"k\",\"_timestamp\":1000,{place}:7}}\n\
                 {{\"_key\":\"k\",\"_timestamp\":1001,{place}:8}}\n\
                 {{\"_value\":7,\"_key\":\"k\",\"_timestamp\":1002,{place}:9}}\n\
                 {{\"_key\":null,\"_timestamp\":5,\"_headers\":[[\"unit\",\"km/h\"],[\"seen\",null]],\
                 \"_topic\":\"telemetry\",\"_partition\":2,\"_offset\":7}}\n"
            )
        );
        Ok(())
    }
}
