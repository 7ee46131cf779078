//! Lists: as columns of text, or as JSON for scripts.

use crate::flags::Form;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use headwater::Value;
use headwater::core::ValueRef;
use headwater::core::json::{write_key, write_value};
use std::io::{self, Write};

/// One cell of a list.
#[derive(Debug)]
pub(crate) struct Cell {
    value: Value,
    text: Option<String>,
}

impl Cell {
    /// A number.
    pub(crate) fn number(value: impl TryInto<i64> + ToString) -> Cell {
        let digits = value.to_string();
        Cell {
            value: match value.try_into() {
                Ok(value) => Value::Int(value),
                Err(_) => Value::BigInt(digits.into()),
            },
            text: None,
        }
    }

    /// A text.
    pub(crate) fn text(text: impl Into<Box<str>>) -> Cell {
        Cell {
            value: Value::Str(text.into()),
            text: None,
        }
    }

    /// A text that may be missing.
    pub(crate) fn maybe(text: Option<impl Into<Box<str>>>) -> Cell {
        text.map_or(Cell::none(), Cell::text)
    }

    /// Nothing.
    pub(crate) fn none() -> Cell {
        Cell {
            value: Value::Null,
            text: None,
        }
    }

    /// Bytes that may be missing: a text where they are one.
    pub(crate) fn bytes(bytes: Option<&[u8]>) -> Cell {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        match bytes {
            None => Cell::none(),
            Some(bytes) => match text(bytes) {
                Some(text) => Cell::text(text),
                None => Cell {
                    value: Value::Bytes(bytes.into()),
                    text: None,
                },
            },
        }
    }

    /// A value that people are shown in other words.
    pub(crate) fn shown(value: Value, text: impl Into<String>) -> Cell {
        Cell {
            value,
            text: Some(text.into()),
        }
    }

    fn plain(&self) -> String {
        match (&self.text, &self.value) {
            (Some(text), _) => text.clone(),
            (None, Value::Null) => "-".to_owned(),
            (None, Value::Str(text)) => one_line(text),
            (None, Value::Bytes(bytes)) => bytes.escape_ascii().to_string(),
            (None, value) => one_line(&json_text(value)),
        }
    }
}

/// Rows under the names of their columns.
#[derive(Debug)]
pub(crate) struct Listing<const COLUMNS: usize> {
    names: [&'static str; COLUMNS],
    rows: Vec<[Cell; COLUMNS]>,
}

impl<const COLUMNS: usize> Listing<COLUMNS> {
    pub(crate) fn new(names: [&'static str; COLUMNS]) -> Self {
        Listing {
            names,
            rows: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, row: [Cell; COLUMNS]) {
        self.rows.push(row);
    }

    pub(crate) fn write(&self, form: Form, out: &mut dyn Write) -> io::Result<()> {
        match form {
            Form::Table => self.write_table(out),
            Form::Json => {
                for row in &self.rows {
                    let fields = self.names.iter().zip(row);
                    let fields = fields.map(|(name, cell)| (*name, cell.value.as_ref()));
                    writeln!(out, "{}", json_object(fields))?;
                }
                Ok(())
            }
        }
    }

    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new();
        table.load_style(NOTHING);
        let heads = self.names.map(|name| name.replace('_', " ").to_uppercase());
        table.set_header(heads.to_vec());
        for row in &self.rows {
            table.add_row(row.iter().map(Cell::plain).collect::<Vec<_>>());
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for line in table.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A JSON object of some fields.
pub(crate) fn json_object<'a>(fields: impl IntoIterator<Item = (&'a str, ValueRef<'a>)>) -> String {
    let mut line = vec![b'{'];
    for (name, value) in fields {
        if line.last() != Some(&b'{') {
            line.push(b',');
        }
        write_key(name, &mut line);
        write_json(value, &mut line);
    }
    line.push(b'}');
    String::from_utf8_lossy(&line).into_owned()
}

/// A value as JSON; bytes and what is not finite, for which there is none, as texts.
pub(crate) fn write_json(value: ValueRef<'_>, out: &mut Vec<u8>) {
    let before = out.len();
    if write_value(value, out).is_ok() {
        return;
    }
    out.truncate(before);
    let text = match value {
        ValueRef::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ValueRef::Float(value) => value.to_string(),
        _ => String::new(),
    };
    write_value(ValueRef::Str(&text), out).expect("a text has a form in JSON");
}

fn json_text(value: &Value) -> String {
    let mut text = Vec::new();
    write_json(value.as_ref(), &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Text that stays on its line.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter.is_control() {
            true => line.extend(letter.escape_default()),
            false => line.push(letter),
        }
    }
    line
}

/// A number of milliseconds in the largest unit that fits.
pub(crate) fn duration(ms: u64) -> String {
    let units = [
        (86_400_000, "days"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1_000, "s"),
    ];
    let unit = units
        .iter()
        .find(|(size, _)| ms > 0 && ms.is_multiple_of(*size));
    unit.map_or(format!("{ms} ms"), |(size, name)| {
        format!("{} {name}", ms / size)
    })
}

/// A number of bytes in the largest unit that fits.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units
        .iter()
        .find(|(size, _)| bytes > 0 && bytes.is_multiple_of(*size));
    unit.map_or(format!("{bytes} bytes"), |(size, name)| {
        format!("{} {name}", bytes / size)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(form: Form) -> String {
        let mut listing = Listing::new(["name", "count", "kept_for"]);
        listing.push([
            Cell::text("long"),
            Cell::number(3),
            Cell::shown(Value::Int(1_000), "1 s"),
        ]);
        listing.push([Cell::text("é\n"), Cell::number(u64::MAX), Cell::none()]);
        let mut out = Vec::new();
        listing.write(form, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        assert_eq!(
            text_of(Form::Table),
            "NAME  COUNT                 KEPT FOR\n\
             long  3                     1 s\n\
             é\\n   18446744073709551615  -\n"
        );
    }

    #[test]
    fn json_is_one_object_a_line() {
        assert_eq!(
            text_of(Form::Json),
            "{\"name\":\"long\",\"count\":3,\"kept_for\":1000}\n\
             {\"name\":\"é\\n\",\"count\":18446744073709551615,\"kept_for\":null}\n"
        );
    }

    #[test]
    fn sizes_are_shown_in_units_that_people_use() {
        assert_eq!(duration(7 * 86_400_000), "7 days");
        assert_eq!(duration(90_000), "90 s");
        assert_eq!(duration(0), "0 ms");
        assert_eq!(bytes(4 << 30), "4 GiB");
        assert_eq!(bytes(1_500), "1500 bytes");
    }
}
