//! The newest rows as a table on a terminal.
//!
//! On a terminal one table is redrawn in place; elsewhere (a pipe, a notebook, a
//! test) a table is printed when it is full or has waited long enough, and the
//! next one begins empty.

use crate::Delivery;
use crate::row::write_row;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment};
use headwater_core::ValueRef;
use headwater_core::json::{decode, entries};
use std::collections::VecDeque;
use std::time::Duration;

/// What a table shows, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct TableOptions {
    /// The number of rows, at least one is shown.
    pub size: usize,
    /// The line above the table.
    pub title: Option<String>,
    /// Whether `_key` and `_timestamp` are shown.
    pub has_metadata: bool,
    /// The columns in order; `None` is all that the shown rows have.
    pub columns: Option<Vec<String>>,
    /// Column widths in characters, by name.
    pub column_widths: Vec<(String, usize)>,
    /// Whether the table is redrawn in place: only a terminal can.
    pub is_live: bool,
    /// Where it is not, how long rows wait for the table to be full.
    pub timeout: Duration,
}

impl Default for TableOptions {
    fn default() -> Self {
        TableOptions {
            size: 5,
            title: None,
            has_metadata: true,
            columns: None,
            column_widths: Vec::new(),
            is_live: false,
            timeout: Duration::from_secs(5),
        }
    }
}

/// A terminal is redrawn no more often: nobody reads faster.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);
/// A column without a width of its own is no wider.
const WIDTH_MAX: usize = 40;
/// Wide rows are cut at the edge of the terminal: a wrapped one would take two
/// lines, and the next drawing would begin too low.
const WRAP_OFF: &str = "\x1b[?7l";
const WRAP_ON: &str = "\x1b[?7h";

/// The newest rows, and what has been drawn of them.
#[derive(Debug)]
pub struct Table {
    options: TableOptions,
    rows: VecDeque<Shown>,
    /// When the oldest change came that has not been drawn.
    changed: Option<Duration>,
    drawn: Option<Duration>,
    /// The lines of the last drawing, which the next one replaces.
    drawn_lines: usize,
}

/// A row as it is shown: name, text, whether it is a number.
type Shown = Vec<(String, String, bool)>;

impl Table {
    /// An empty table.
    pub fn new(options: TableOptions) -> Self {
        Table {
            options,
            rows: VecDeque::new(),
            changed: None,
            drawn: None,
            drawn_lines: 0,
        }
    }

    /// Takes rows; `now` is the time on the monotonic clock.
    pub fn push(&mut self, delivery: &Delivery, now: Duration) {
        let len = delivery.batch.len();
        let size = self.options.size.max(1);
        for row in len.saturating_sub(size)..len {
            self.rows
                .push_back(shown(delivery, row, self.options.has_metadata));
        }
        self.rows.drain(..self.rows.len().saturating_sub(size));
        if len > 0 {
            self.changed.get_or_insert(now);
        }
    }

    /// What to print now, if anything; a last time whatever has not been shown.
    pub fn draw(&mut self, now: Duration, is_last: bool) -> Option<String> {
        let changed = self.changed?;
        let is_due = if self.options.is_live {
            self.drawn
                .is_none_or(|drawn| drawn + REDRAW_INTERVAL <= now)
        } else {
            self.rows.len() >= self.options.size || changed + self.options.timeout <= now
        };
        if !is_due && !is_last {
            return None;
        }
        self.changed = None;
        self.drawn = Some(now);
        let text = render(&self.options, self.rows.make_contiguous());
        if !self.options.is_live {
            self.rows.clear();
            return Some(text);
        }
        let lines = text.matches('\n').count();
        let back = match std::mem::replace(&mut self.drawn_lines, lines) {
            0 => String::new(),
            above => format!("\x1b[{above}F\x1b[J"),
        };
        Some(format!("{WRAP_OFF}{back}{text}{WRAP_ON}"))
    }
}

/// The table of some rows, with a line break at its end.
fn render(options: &TableOptions, rows: &[Shown]) -> String {
    let columns = columns_of(options, rows);
    let width_of = |column: &str| {
        let width = options
            .column_widths
            .iter()
            .find(|(name, _)| name == column);
        width.map_or(WIDTH_MAX, |(_, width)| (*width).max(1))
    };
    let mut table = comfy_table::Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(columns.iter().map(|column| cut(column, width_of(column))));
    for row in rows {
        table.add_row(columns.iter().map(|column| {
            let found = row.iter().rfind(|(name, _, _)| name == column);
            let Some((_, text, is_number)) = found else {
                return Cell::new("");
            };
            let cell = Cell::new(cut(text, width_of(column)));
            if *is_number {
                cell.set_alignment(CellAlignment::Right)
            } else {
                cell
            }
        }));
    }
    for (column, name) in table.column_iter_mut().zip(&columns) {
        if let Some((_, width)) = options
            .column_widths
            .iter()
            .find(|(known, _)| known == name)
        {
            // With the space on either side.
            let width = (*width)
                .max(1)
                .saturating_add(2)
                .try_into()
                .unwrap_or(u16::MAX);
            column.set_constraint(comfy_table::ColumnConstraint::Absolute(
                comfy_table::Width::Fixed(width),
            ));
        }
    }
    let title = options
        .title
        .as_ref()
        .map(|title| format!("{title}\n"))
        .unwrap_or_default();
    format!("{title}{table}\n")
}

fn columns_of(options: &TableOptions, rows: &[Shown]) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    if options.has_metadata {
        columns.extend(["_key", "_timestamp"].map(String::from));
    }
    let all = rows.iter().flatten().map(|(name, _, _)| name);
    for name in options
        .columns
        .as_ref()
        .map_or_else(|| all.collect(), |named| named.iter().collect::<Vec<_>>())
    {
        if !columns.contains(name) {
            columns.push(name.clone());
        }
    }
    columns
}

/// At most `width` characters.
fn cut(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        None => text.to_owned(),
        Some(_) => text.chars().take(width - 1).chain(['…']).collect(),
    }
}

fn shown(delivery: &Delivery, row: usize, has_metadata: bool) -> Shown {
    let mut fields = Shown::new();
    if has_metadata {
        let key = delivery.batch.keys.get(row);
        let key = key
            .map(|key| visible(&String::from_utf8_lossy(key)))
            .unwrap_or_default();
        fields.push(("_key".into(), key, false));
        fields.push((
            "_timestamp".into(),
            delivery.batch.timestamps[row].to_string(),
            true,
        ));
    }
    let mut json = Vec::new();
    let text = match write_row(delivery, row, &mut json) {
        Ok(true) => String::from_utf8_lossy(&json).into_owned(),
        Ok(false) => "null".into(),
        Err(error) => {
            fields.push(("_value".into(), error.to_string(), false));
            return fields;
        }
    };
    match entries(&text) {
        Some(entries) => fields.extend(entries.map(|(name, value)| field(&name, value))),
        None => fields.push(field("_value", &text)),
    }
    fields
}

fn field(name: &str, value: &str) -> (String, String, bool) {
    let (text, is_number) = match decode(value, &mut String::new()) {
        Ok(ValueRef::Str(text)) => (visible(text), false),
        Ok(ValueRef::Int(_) | ValueRef::Float(_) | ValueRef::BigInt(_)) => (value.to_owned(), true),
        _ => (visible(value), false),
    };
    (visible(name), text, is_number)
}

/// Text that moves no cursor.
fn visible(text: &str) -> String {
    text.chars()
        .flat_map(|letter| {
            let escaped = letter.is_control().then(|| letter.escape_default());
            let plain = if letter.is_control() {
                None
            } else {
                Some(letter)
            };
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::tests::delivery;

    const SECOND: Duration = Duration::from_secs(1);

    fn plain(size: usize) -> TableOptions {
        TableOptions {
            size,
            has_metadata: false,
            ..Default::default()
        }
    }

    fn drawn(options: TableOptions, rows: &[&str]) -> Option<String> {
        let mut table = Table::new(options);
        table.push(&delivery(rows), SECOND);
        table.draw(SECOND, true)
    }

    #[track_caller]
    fn check(options: TableOptions, rows: &[&str], lines: &[&str]) {
        let text = drawn(options, rows).unwrap_or_default();
        assert_eq!(text.lines().collect::<Vec<_>>(), lines, "\n{text}");
    }

    #[test]
    fn the_newest_rows_are_shown() {
        check(
            plain(2),
            &[
                r#"{"a":1}"#,
                r#"{"car":"x","speed":12.50}"#,
                r#"{"speed":7,"tyre":{"fl":1}}"#,
            ],
            &[
                "┌─────┬───────┬──────────┐",
                "│ car ┆ speed ┆ tyre     │",
                "╞═════╪═══════╪══════════╡",
                "│ x   ┆ 12.50 ┆          │",
                "│     ┆     7 ┆ {\"fl\":1} │",
                "└─────┴───────┴──────────┘",
            ],
        );
    }

    #[test]
    fn title_metadata_columns_and_widths_are_as_wanted() {
        let options = TableOptions {
            title: Some("Laps".into()),
            columns: Some(vec!["b".into(), "none".into()]),
            column_widths: vec![("b".into(), 4)],
            ..Default::default()
        };
        check(
            options,
            &[r#"{"a":1,"b":"too long"}"#, "7"],
            &[
                "Laps",
                "┌──────┬────────────┬──────┬──────┐",
                "│ _key ┆ _timestamp ┆ b    ┆ none │",
                "╞══════╪════════════╪══════╪══════╡",
                "│ k    ┆       1000 ┆ too… ┆      │",
                "│ k    ┆       1001 ┆      ┆      │",
                "└──────┴────────────┴──────┴──────┘",
            ],
        );
    }

    #[test]
    fn a_text_cannot_move_the_cursor() {
        let text = drawn(plain(1), &[r#"{"a":"\u001b[2Jx\n"}"#]).unwrap_or_default();
        assert!(text.contains(r"\u{1b}[2Jx\n"), "{text}");
    }

    #[test]
    fn a_table_off_the_terminal_waits_until_it_is_full_or_old() {
        let mut table = Table::new(plain(2));
        assert_eq!(table.draw(SECOND, true), None);
        table.push(&delivery(&["1"]), SECOND);
        assert_eq!(table.draw(5 * SECOND, false), None);
        assert!(table.draw(6 * SECOND, false).is_some());
        table.push(&delivery(&["2", "3"]), 6 * SECOND);
        let text = table.draw(6 * SECOND, false).unwrap_or_default();
        assert!(
            text.contains("2") && text.contains("3") && !text.contains("1"),
            "{text}"
        );
        assert_eq!(table.draw(99 * SECOND, true), None);
    }

    #[test]
    fn a_table_on_the_terminal_is_redrawn_in_place() {
        let mut table = Table::new(TableOptions {
            is_live: true,
            ..plain(2)
        });
        table.push(&delivery(&["1"]), SECOND);
        let text = table.draw(SECOND, false).unwrap_or_default();
        assert!(
            text.starts_with("\x1b[?7l┌") && text.ends_with("\n\x1b[?7h"),
            "{text:?}"
        );
        table.push(&delivery(&["2"]), SECOND);
        assert_eq!(table.draw(SECOND, false), None);
        let text = table.draw(2 * SECOND, false).unwrap_or_default();
        assert!(text.starts_with("\x1b[?7l\x1b[5F\x1b[J┌"), "{text:?}");
        assert!(text.contains("1") && text.contains("2"), "{text}");
    }
}
