//! JSON rows: the texts of a batch, what has been located in them and what lies
//! over them. See [`batch`](crate::batch) for why rows stay text.

use crate::batch::{Evaluated, RowError, gather};
use crate::json::{self, Edit, Locator};
use crate::{Column, ColumnBuilder, DataError, FieldPath, Span, ValueRef};
use arrow_buffer::Buffer;
use std::sync::Arc;

/// JSON rows: the texts, what has been located in them and what lies over them.
#[derive(Clone, Debug)]
pub struct JsonRows {
    text: Buffer,
    /// Where each row's text stands; null is a tombstone.
    spans: Arc<[Span]>,
    /// Whether every text is known to be well-formed.
    is_valid: bool,
    located: Vec<Located>,
    overlay: Vec<Overlay>,
    /// The only fields of the rows, in order; `None` is all of the text's.
    only: Option<Arc<[Box<str>]>>,
}

#[derive(Clone, Debug)]
struct Located {
    path: Arc<FieldPath>,
    /// Relative to the text buffer.
    spans: Arc<[Span]>,
    decoded: Option<Column>,
}

#[derive(Clone, Debug)]
struct Overlay {
    name: Box<str>,
    /// `None`: the field has been dropped.
    column: Option<Column>,
}

impl JsonRows {
    /// Rows whose texts stand in `text`.
    pub fn new(text: Buffer, spans: impl Into<Arc<[Span]>>) -> Self {
        JsonRows {
            text,
            spans: spans.into(),
            is_valid: false,
            located: Vec::new(),
            overlay: Vec::new(),
            only: None,
        }
    }

    /// Rows whose texts are known to be well-formed.
    pub(crate) fn well_formed(text: Buffer, spans: impl Into<Arc<[Span]>>) -> Self {
        JsonRows {
            is_valid: true,
            ..JsonRows::new(text, spans)
        }
    }

    /// Rows that consist of the given fields, in order.
    ///
    /// # Panics
    /// If the columns differ in length or there are none.
    pub fn from_columns(fields: Vec<(Box<str>, Column)>) -> Self {
        let len = fields.first().expect("rows have a field").1.len();
        let span = Span { start: 0, len: 2 };
        let mut rows = JsonRows::new(Buffer::from_vec(b"{}".to_vec()), vec![span; len]);
        rows.is_valid = true;
        rows.only = Some(fields.iter().map(|(name, _)| name.clone()).collect());
        for (name, column) in fields {
            assert_eq!(column.len(), len);
            rows.overlay.push(Overlay {
                name,
                column: Some(column),
            });
        }
        rows
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The rows named by `rows`, in that order.
    #[must_use]
    pub fn take(&self, rows: &[u32]) -> JsonRows {
        JsonRows {
            text: self.text.clone(),
            spans: gather(&self.spans, rows).into(),
            is_valid: self.is_valid,
            located: self
                .located
                .iter()
                .map(|located| Located {
                    path: Arc::clone(&located.path),
                    spans: gather(&located.spans, rows).into(),
                    decoded: located.decoded.as_ref().map(|column| column.take(rows)),
                })
                .collect(),
            overlay: self
                .overlay
                .iter()
                .map(|over| Overlay {
                    name: over.name.clone(),
                    column: over.column.as_ref().map(|column| column.take(rows)),
                })
                .collect(),
            only: self.only.clone(),
        }
    }

    /// The text of a row as it came, without what lies over it. `None` for a
    /// tombstone.
    pub fn text(&self, row: usize) -> Option<&[u8]> {
        self.spans[row].of(&self.text)
    }

    /// Whether the rows are still the texts, with nothing laid over them.
    pub fn is_untouched(&self) -> bool {
        self.overlay.is_empty() && self.only.is_none()
    }

    /// Whether every path that `locator` names has been located, or needs no
    /// locating because the field lies over the text.
    pub fn has_located(&self, locator: &Locator) -> bool {
        self.is_valid
            && locator.paths().iter().all(|path| {
                self.is_overlaid(path) || self.located.iter().any(|known| *known.path == *path)
            })
    }

    fn is_overlaid(&self, path: &FieldPath) -> bool {
        let Some(root) = path.root() else {
            return false;
        };
        self.overlay
            .iter()
            .any(|over| &*over.name == root && over.column.is_some())
    }

    /// Finds the fields that `locator` names and checks that the texts are
    /// well-formed, in one pass; nothing if that has been done. Rows that are
    /// malformed are returned, and hold nothing.
    pub fn locate(&mut self, locator: &mut Locator) -> Vec<RowError> {
        if self.has_located(locator) {
            return Vec::new();
        }
        let paths = locator.paths().len();
        let mut columns = vec![Vec::with_capacity(self.len()); paths];
        let mut found = vec![Span::NULL; paths];
        let mut errors = Vec::new();
        for (row, span) in self.spans.iter().enumerate() {
            found.fill(Span::NULL);
            if let Some(text) = span.of(&self.text)
                && let Err(error) = locator.locate(text, &mut found)
            {
                found.fill(Span::NULL);
                errors.push(RowError {
                    row: row as u32,
                    error: error.into(),
                });
            }
            for (column, found) in columns.iter_mut().zip(&found) {
                column.push(if found.is_null() {
                    Span::NULL
                } else {
                    Span {
                        start: span.start + found.start,
                        len: found.len,
                    }
                });
            }
        }
        for (path, spans) in locator.paths().iter().zip(columns) {
            if !self.located.iter().any(|known| *known.path == *path) {
                let spans = spans.into();
                self.located.push(Located {
                    path: Arc::new(path.clone()),
                    spans,
                    decoded: None,
                });
            }
        }
        self.is_valid = true;
        errors
    }

    fn overlaid(&self, path: &FieldPath) -> Option<Evaluated> {
        let root = path.root()?;
        let Some(over) = self.overlay.iter().find(|over| &*over.name == root) else {
            let hidden = self
                .only
                .as_ref()
                .is_some_and(|only| !only.iter().any(|n| &**n == root));
            return hidden.then(|| Column::Null(self.len()).into());
        };
        let Some(column) = &over.column else {
            return Some(Column::Null(self.len()).into());
        };
        let rest = path.rest();
        if rest.0.is_empty() {
            return Some(column.clone().into());
        }
        let texts = (0..column.len()).map(|row| match column.value(row) {
            ValueRef::Json(text) => json::find(text, &rest),
            _ => None,
        });
        Some(decode_all(texts, column.len(), path))
    }

    /// The column at `path`, which [`JsonRows::locate`] has found or which lies
    /// over the text. The empty path is the whole row.
    ///
    /// # Panics
    /// If the path was not located.
    pub fn column(&mut self, path: &FieldPath) -> Evaluated {
        if let Some(overlaid) = self.overlaid(path) {
            return overlaid;
        }
        if path.0.is_empty() {
            return self.whole();
        }
        let len = self.len();
        let located = self
            .located
            .iter_mut()
            .find(|located| *located.path == *path)
            .unwrap_or_else(|| panic!("`{path}` is located before it is read"));
        if let Some(column) = &located.decoded {
            return column.clone().into();
        }
        let text = &self.text;
        let texts = located.spans.iter().map(|span| {
            span.of(text).map(|text| {
                std::str::from_utf8(text).expect("located texts have been checked to be UTF-8")
            })
        });
        let evaluated = decode_all(texts, len, path);
        if evaluated.errors.is_empty() {
            located.decoded = Some(evaluated.column.clone());
        }
        evaluated
    }

    /// The rows themselves, as they would be written.
    fn whole(&self) -> Evaluated {
        let mut builder = ColumnBuilder::with_capacity(self.len());
        let mut errors = Vec::new();
        let mut text = Vec::new();
        let mut scratch = String::new();
        for row in 0..self.len() {
            text.clear();
            let value = match self.write_row(row, &mut text) {
                Ok(false) => Ok(ValueRef::Null),
                Ok(true) => std::str::from_utf8(&text)
                    .map_err(|_| DataError::new("the text is not UTF-8"))
                    .and_then(|text| json::decode(text, &mut scratch).map_err(DataError::from)),
                Err(error) => Err(error),
            };
            match value {
                Ok(value) => builder.push(value),
                Err(error) => {
                    builder.push(ValueRef::Null);
                    errors.push(RowError {
                        row: row as u32,
                        error,
                    });
                }
            }
        }
        Evaluated {
            column: builder.finish(),
            errors,
        }
    }

    /// Whether a row has the field at `path`, null or not.
    ///
    /// # Panics
    /// If the path was not located.
    pub fn has_field(&self, row: usize, path: &FieldPath) -> bool {
        let Some(root) = path.root() else {
            return !self.spans[row].is_null();
        };
        if let Some(over) = self.overlay.iter().find(|over| &*over.name == root) {
            let Some(column) = &over.column else {
                return false;
            };
            let rest = path.rest();
            return rest.0.is_empty()
                || matches!(column.value(row), ValueRef::Json(text) if json::find(text, &rest).is_some());
        }
        if let Some(only) = &self.only
            && !only.iter().any(|name| &**name == root)
        {
            return false;
        }
        let located = self.located.iter().find(|located| *located.path == *path);
        !located.expect("a path is located before it is read").spans[row].is_null()
    }

    /// Lays a field over the rows.
    ///
    /// # Panics
    /// If `column` is not as long as the rows.
    pub fn assign(&mut self, name: &str, column: Column) {
        assert_eq!(column.len(), self.len());
        self.lay_over(name, Some(column));
        if let Some(only) = &self.only
            && !only.iter().any(|known| &**known == name)
        {
            self.only = Some(only.iter().cloned().chain([name.into()]).collect());
        }
    }

    /// Removes a field from the rows.
    pub fn drop_field(&mut self, name: &str) {
        if let Some(only) = &self.only {
            self.only = Some(
                only.iter()
                    .filter(|known| &***known != name)
                    .cloned()
                    .collect(),
            );
            self.overlay.retain(|over| &*over.name != name);
        } else {
            self.lay_over(name, None);
        }
    }

    fn lay_over(&mut self, name: &str, column: Option<Column>) {
        match self.overlay.iter_mut().find(|over| &*over.name == name) {
            Some(over) => over.column = column,
            None => self.overlay.push(Overlay {
                name: name.into(),
                column,
            }),
        }
    }

    /// Keeps the named fields alone, in that order. A field that a row lacks is
    /// written as null.
    pub fn project(&mut self, names: &[Box<str>]) {
        // What is not visible now must not become visible by naming it.
        let hidden: Vec<Box<str>> = match &self.only {
            Some(only) => names
                .iter()
                .filter(|name| !only.contains(name))
                .cloned()
                .collect(),
            None => Vec::new(),
        };
        for name in hidden {
            self.lay_over(&name, Some(Column::Null(self.len())));
        }
        self.overlay.retain(|over| names.contains(&over.name));
        self.only = Some(names.into());
    }

    /// The fields that must be located before rows can be written.
    pub fn paths_to_write(&self) -> Vec<FieldPath> {
        let mut names: Vec<&str> = Vec::new();
        match &self.only {
            Some(only) => names.extend(only.iter().map(|name| &**name)),
            None => names.extend(
                self.overlay
                    .iter()
                    .filter(|over| over.column.is_some())
                    .map(|over| &*over.name),
            ),
        }
        let is_needed = |name: &str| {
            self.only.is_none() || !self.overlay.iter().any(|over| &*over.name == name)
        };
        names
            .into_iter()
            .filter(|name| is_needed(name))
            .map(FieldPath::name)
            .filter(|path| !self.located.iter().any(|known| *known.path == *path))
            .collect()
    }

    /// Locates what [`JsonRows::write_row`] needs. Malformed rows are returned.
    pub fn prepare_to_write(&mut self) -> Vec<RowError> {
        let paths = self.paths_to_write();
        // A row that goes out must be well-formed, even one that goes out as it came.
        if paths.is_empty() && self.is_valid {
            Vec::new()
        } else {
            self.locate_hidden(&paths)
        }
    }

    fn locate_hidden(&mut self, paths: &[FieldPath]) -> Vec<RowError> {
        self.is_valid = false;
        self.locate(&mut Locator::new(paths))
    }

    fn span_of(&self, name: &str, row: usize) -> Span {
        let located = self
            .located
            .iter()
            .find(|known| known.path.0.len() == 1 && known.path.root() == Some(name));
        located
            .expect("fields are located before rows are written")
            .spans[row]
    }

    /// Appends a row as JSON: its own bytes, or those with the overlay spliced
    /// in. `false` for a tombstone, which appends nothing. Call
    /// [`JsonRows::prepare_to_write`] before.
    ///
    /// # Errors
    /// If a field cannot be written or the row is not an object; nothing is
    /// appended then.
    pub fn write_row(&self, row: usize, out: &mut Vec<u8>) -> Result<bool, DataError> {
        let Some(text) = self.spans[row].of(&self.text) else {
            return Ok(false);
        };
        let start = out.len();
        let written = if let Some(only) = &self.only {
            self.write_fields(only, row, out)
        } else if self.overlay.is_empty() {
            out.extend_from_slice(text);
            Ok(())
        } else {
            self.write_spliced(text, row, out)
        };
        match written {
            Ok(()) => Ok(true),
            Err(error) => {
                out.truncate(start);
                Err(error)
            }
        }
    }

    fn write_fields(
        &self,
        only: &[Box<str>],
        row: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        out.push(b'{');
        for (index, name) in only.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            json::write_key(name, out);
            let over = self.overlay.iter().find(|over| over.name == *name);
            match over.and_then(|over| over.column.as_ref()) {
                Some(column) => json::write_value(column.value(row), out)
                    .map_err(|error| DataError::new(error.reason).in_field(name))?,
                None => {
                    let text = self.span_of(name, row).of(&self.text).unwrap_or(b"null");
                    out.extend_from_slice(text);
                }
            }
        }
        out.push(b'}');
        Ok(())
    }

    fn edit<'a>(&'a self, over: &'a Overlay, row: usize) -> Edit<'a> {
        let Some(column) = &over.column else {
            return Edit::Remove { name: &over.name };
        };
        let mut span = self.span_of(&over.name, row);
        if !span.is_null() {
            span.start -= self.spans[row].start;
        }
        Edit::Set {
            name: &over.name,
            span,
            value: column.value(row),
        }
    }

    fn write_spliced(&self, text: &[u8], row: usize, out: &mut Vec<u8>) -> Result<(), DataError> {
        let text = simdutf8::basic::from_utf8(text)
            .map_err(|_| DataError::new("the text is not UTF-8"))?;
        let edit = |over| self.edit(over, row);
        // Few edits need no allocation for each row.
        let mut few = [Edit::Remove { name: "" }; 8];
        let many: Vec<Edit<'_>>;
        let edits = if self.overlay.len() <= few.len() {
            for (slot, over) in few.iter_mut().zip(&self.overlay) {
                *slot = edit(over);
            }
            &few[..self.overlay.len()]
        } else {
            many = self.overlay.iter().map(edit).collect();
            &many
        };
        json::splice(text, edits, out).map_err(|error| {
            let culprit = self.overlay.iter().find(|over| {
                matches!(
                    over.column.as_ref().map(|column| column.value(row)),
                    Some(ValueRef::Float(value)) if !value.is_finite()
                )
            });
            let error = DataError::new(error.reason);
            match culprit {
                Some(over) => error.in_field(&over.name),
                None => error,
            }
        })
    }
}

/// Decodes JSON texts of one field into a column.
fn decode_all<'a>(
    texts: impl Iterator<Item = Option<&'a str>>,
    len: usize,
    path: &FieldPath,
) -> Evaluated {
    let mut builder = ColumnBuilder::with_capacity(len);
    let mut errors = Vec::new();
    let mut scratch = String::new();
    for (row, text) in texts.enumerate() {
        match text.map(|text| json::decode(text, &mut scratch)) {
            None => builder.push(ValueRef::Null),
            Some(Ok(value)) => builder.push(value),
            Some(Err(error)) => {
                builder.push(ValueRef::Null);
                let error = DataError::from(error).in_field(path);
                errors.push(RowError {
                    row: row as u32,
                    error,
                });
            }
        }
    }
    Evaluated {
        column: builder.finish(),
        errors,
    }
}
