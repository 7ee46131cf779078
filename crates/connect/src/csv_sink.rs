//! Rows as comma-separated values.
//!
//! A CSV file has one set of columns, a stream has none. The columns are those
//! that the user names, or those of the first row; a later row with others is
//! an error, because leaving them out would lose data without a word.

use crate::committed_file::{CommittedFile, ExistingFile};
use crate::file::{FileReader, file_error};
use crate::row::{key_text, row_error, write_row};
use crate::{Delivery, Sink};
use headwater_core::env::Env;
use headwater_core::json::{decode, entries};
use headwater_core::{DataError, Error, Result, ValueRef};
use std::borrow::Cow;
use std::path::PathBuf;

/// How a CSV file is written.
#[derive(Clone, Debug)]
pub struct CsvSinkOptions {
    /// What separates cells.
    pub delimiter: u8,
    /// The fields that become columns, others being left out; `None` is those
    /// of the first row, others being errors.
    pub columns: Option<Vec<String>>,
    /// The name of a first column with the key.
    pub key_column: Option<String>,
    /// The name of a column with the event time in milliseconds.
    pub timestamp_column: Option<String>,
    /// What happens to a file that is there already.
    pub existing: ExistingFile,
}

impl Default for CsvSinkOptions {
    fn default() -> Self {
        CsvSinkOptions {
            delimiter: b',',
            columns: None,
            key_column: None,
            timestamp_column: None,
            existing: ExistingFile::default(),
        }
    }
}

/// The column of a row that is not an object.
const VALUE_COLUMN: &str = "value";

/// Writes rows to a CSV file with a header, exactly once.
///
/// Null and a missing field become an empty cell, objects and arrays their JSON
/// text. A row that is not an object becomes one column, `value`.
pub struct CsvSink {
    file: CommittedFile,
    options: CsvSinkOptions,
    /// The columns of fields, once they are known.
    columns: Option<Vec<String>>,
    /// The row that is being written: its JSON and its line.
    json: Vec<u8>,
    line: Vec<u8>,
}

impl std::fmt::Debug for CsvSink {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "CsvSink({})", self.file.path().display())
    }
}

impl CsvSink {
    /// A sink to the file at `path`, made with its folders if it is missing.
    pub fn new(path: impl Into<PathBuf>, options: CsvSinkOptions) -> Self {
        CsvSink {
            file: CommittedFile::new(path.into()),
            options,
            columns: None,
            json: Vec::new(),
            line: Vec::new(),
        }
    }

    /// The columns before those of fields.
    fn leading(&self) -> impl Iterator<Item = &String> {
        self.options
            .key_column
            .iter()
            .chain(&self.options.timestamp_column)
    }

    /// The columns that the file's header names.
    fn columns_of_file(&self, env: &Env) -> Result<Vec<String>> {
        let path = self.file.path();
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .delimiter(self.options.delimiter)
            .from_reader(FileReader::open(env, path)?);
        let mut header = csv::StringRecord::new();
        reader.read_record(&mut header).map_err(|error| {
            let reason = std::io::Error::other(error);
            file_error("read as CSV", path, reason)
        })?;
        let names: Vec<String> = header.iter().map(String::from).collect();
        let leading: Vec<String> = self.leading().cloned().collect();
        let columns = names
            .strip_prefix(leading.as_slice())
            .map(<[String]>::to_vec);
        let is_wanted = |columns: &Vec<String>| {
            self.options
                .columns
                .as_ref()
                .is_none_or(|wanted| wanted == columns)
        };
        columns.filter(is_wanted).ok_or_else(|| {
            Error::invalid(format!(
                "the columns of the file are not those of the sink file=`{}` columns=`{}`\n\
                 hint: give the sink another path, or the columns of the file",
                path.display(),
                names.join(", ")
            ))
        })
    }

    /// Writes the line of one row, after the header where there is none.
    fn write_line(&mut self, delivery: &Delivery, row: usize) -> Result<(), DataError> {
        self.line.clear();
        self.json.clear();
        let has_value = write_row(delivery, row, &mut self.json)?;
        let text = if has_value {
            std::str::from_utf8(&self.json)
        } else {
            Ok("null")
        };
        let fields = fields_of(text.map_err(|_| DataError::new("the row is not UTF-8"))?);
        if self.columns.is_none() {
            self.columns = Some(names_of(&fields)?);
        }
        let columns = self.columns.as_deref().unwrap_or_default();
        let cells = cells_of(&fields, columns, &self.options)?;
        let mut line = Line {
            bytes: &mut self.line,
            delimiter: self.options.delimiter,
        };
        if self.file.len() == 0 {
            let leading = self
                .options
                .key_column
                .iter()
                .chain(&self.options.timestamp_column);
            leading.chain(columns).for_each(|name| line.push(name));
            line.end();
        }
        if self.options.key_column.is_some() {
            line.push(key_text(delivery, row)?.unwrap_or_default());
        }
        if self.options.timestamp_column.is_some() {
            line.push(&delivery.batch.timestamps[row].to_string());
        }
        for (value, name) in cells.into_iter().zip(columns) {
            line.push_json(value)
                .map_err(|error| error.in_field(name))?;
        }
        line.end();
        Ok(())
    }
}

impl Sink for CsvSink {
    fn open(&mut self, env: &Env, position: Option<&[u8]>) -> Result<()> {
        self.file.open(env, position, self.options.existing)?;
        self.columns = match self.file.len() {
            0 => self.options.columns.clone(),
            _ => Some(self.columns_of_file(env)?),
        };
        Ok(())
    }

    fn write(&mut self, delivery: &Delivery) -> Result<()> {
        for row in 0..delivery.batch.len() {
            self.write_line(delivery, row)
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

/// The fields of a row: name and JSON text.
type Fields<'a> = Vec<(Cow<'a, str>, &'a str)>;

fn fields_of(text: &str) -> Fields<'_> {
    match entries(text) {
        Some(entries) => entries.collect(),
        None => vec![(VALUE_COLUMN.into(), text)],
    }
}

/// The columns that a first row gives.
fn names_of(fields: &Fields<'_>) -> Result<Vec<String>, DataError> {
    let mut names: Vec<String> = Vec::with_capacity(fields.len());
    for (name, _) in fields {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_string());
        }
    }
    if names.is_empty() {
        return Err(
            DataError::new("the first row has no fields, so the columns are not known")
                .with_hint("name the columns of the sink"),
        );
    }
    Ok(names)
}

/// The JSON text for each column; the last of duplicate fields counts.
fn cells_of<'a>(
    fields: &Fields<'a>,
    columns: &[String],
    options: &CsvSinkOptions,
) -> Result<Vec<Option<&'a str>>, DataError> {
    let mut cells = vec![None; columns.len()];
    let mut unknown: Vec<&str> = Vec::new();
    for (at, (name, value)) in fields.iter().enumerate() {
        // Rows mostly have their fields in the order of the columns.
        let is_expected = columns.get(at).is_some_and(|column| column == name);
        let index = if is_expected {
            Some(at)
        } else {
            columns.iter().position(|c| c == name)
        };
        match index {
            Some(index) => cells[index] = Some(*value),
            // Null and an empty cell are the same.
            None if options.columns.is_some() || *value == "null" => {}
            None => unknown.push(name),
        }
    }
    if unknown.is_empty() {
        return Ok(cells);
    }
    Err(DataError::new(format!(
        "the row has fields that the file has no columns for fields=`{}` columns=`{}`",
        unknown.join(", "),
        columns.join(", ")
    ))
    .with_hint("name all columns of the sink, or select them before it"))
}

/// A line that is being written.
struct Line<'a> {
    bytes: &'a mut Vec<u8>,
    delimiter: u8,
}

impl Line<'_> {
    fn push(&mut self, cell: &str) {
        let needs_quotes = |byte: u8| byte == self.delimiter || b"\"\r\n".contains(&byte);
        if cell.bytes().any(needs_quotes) {
            self.bytes.push(b'"');
            self.bytes
                .extend_from_slice(cell.replace('"', "\"\"").as_bytes());
            self.bytes.push(b'"');
        } else {
            self.bytes.extend_from_slice(cell.as_bytes());
        }
        self.bytes.push(self.delimiter);
    }

    fn push_json(&mut self, value: Option<&str>) -> Result<(), DataError> {
        let Some(value) = value else {
            self.push("");
            return Ok(());
        };
        match decode(value, &mut String::new())? {
            ValueRef::Null => self.push(""),
            ValueRef::Str(text) => self.push(text),
            _ => self.push(value.trim_ascii()),
        }
        Ok(())
    }

    /// Turns the last delimiter into the end of the line.
    fn end(&mut self) {
        self.bytes.pop();
        // Readers take a line without anything for none.
        if self.bytes.last().is_none_or(|last| *last == b'\n') {
            self.bytes.extend_from_slice(b"\"\"");
        }
        self.bytes.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::tests::delivery;
    use std::path::Path;

    fn write(path: &Path, options: &CsvSinkOptions, rows: &[&str]) -> Result<String> {
        let mut sink = CsvSink::new(path, options.clone());
        sink.open(&Env::system(), None)?;
        sink.write(&delivery(rows))?;
        sink.flush()?;
        Ok(std::fs::read_to_string(path)?)
    }

    fn write_new(options: &CsvSinkOptions, rows: &[&str]) -> Result<String> {
        write(&tempfile::tempdir()?.path().join("out.csv"), options, rows)
    }

    #[test]
    fn the_first_row_gives_the_columns() -> Result<()> {
        let rows = [
            r#"{"car": "a,b", "speed": 12.50, "tyre": {"fl": 1}}"#,
            r#"{"tyre": null, "car": "say \"hi\"\n", "new": null}"#,
            r#"{"speed": true, "speed": 7}"#,
        ];
        assert_eq!(
            write_new(&CsvSinkOptions::default(), &rows)?,
            "car,speed,tyre\n\"a,b\",12.50,\"{\"\"fl\"\": 1}\"\n\"say \"\"hi\"\"\n\",,\n,7,\n"
        );
        Ok(())
    }

    #[test]
    fn a_field_without_a_column_is_an_error_that_names_it() {
        let error = write_new(
            &CsvSinkOptions::default(),
            &[r#"{"a":1}"#, r#"{"a":1,"b":2}"#],
        );
        assert_eq!(
            error.map_err(|error| error.to_string()),
            Err(
                "the row has fields that the file has no columns for fields=`b` columns=`a` \
                 topic=`telemetry` partition=`2` offset=`8`\n\
                 hint: name all columns of the sink, or select them before it"
                    .into()
            )
        );
        assert!(write_new(&CsvSinkOptions::default(), &["{}"]).is_err());
    }

    #[test]
    fn named_columns_are_selected() -> Result<()> {
        let options = CsvSinkOptions {
            delimiter: b';',
            columns: Some(vec!["b".into()]),
            key_column: Some("_key".into()),
            timestamp_column: Some("_timestamp".into()),
            ..Default::default()
        };
        assert_eq!(
            write_new(&options, &[r#"{"a":1,"b":"x;y"}"#, "{}"])?,
            "_key;_timestamp;b\nk;1000;\"x;y\"\nk;1001;\n"
        );
        Ok(())
    }

    #[test]
    fn rows_that_are_no_objects_fill_one_column() -> Result<()> {
        let text = write_new(&CsvSinkOptions::default(), &["7", "null", "\"\""])?;
        assert_eq!(text, "value\n7\n\"\"\n\"\"\n");
        Ok(())
    }

    #[test]
    fn a_file_is_gone_on_with_only_under_its_own_columns() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("out.csv");
        std::fs::write(&path, "a,b\n1,2")?;
        let append = CsvSinkOptions {
            existing: ExistingFile::Append,
            ..Default::default()
        };
        assert_eq!(
            write(&path, &append, &[r#"{"b":4,"a":3}"#])?,
            "a,b\n1,2\n3,4\n"
        );
        let other = CsvSinkOptions {
            columns: Some(vec!["b".into()]),
            ..append
        };
        assert!(write(&path, &other, &["{}"]).is_err());
        Ok(())
    }
}
