//! Columns that a program reads and no record has: most likely a typo.
//!
//! A missing field is null, because records of one topic may differ. So a typo
//! in an expression raises nothing; this notices it and says so, once.

use headwater_core::{FieldPath, JsonRows, json};

/// Enough records to speak up while the run goes on.
const RECORDS_MIN: u64 = 1_000;

/// The fields that are read and have not been seen yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unseen {
    fields: Vec<FieldPath>,
    records: u64,
    /// The names of a record's fields, to guess what was meant.
    names: Vec<String>,
}

impl Unseen {
    pub(crate) fn new(reads: Vec<FieldPath>) -> Self {
        Unseen {
            fields: reads,
            records: 0,
            names: Vec::new(),
        }
    }

    /// Looks at rows in which the fields have been located.
    pub(crate) fn look(&mut self, rows: &JsonRows) {
        self.records += rows.len() as u64;
        if self.fields.is_empty() || rows.is_empty() {
            return;
        }
        self.fields
            .retain(|field| !(0..rows.len()).any(|row| rows.has_field(row, field)));
        if !self.fields.is_empty() && self.names.is_empty() {
            let text = rows.text(0).and_then(|text| std::str::from_utf8(text).ok());
            let entries = text.and_then(json::entries).into_iter().flatten();
            self.names = entries.map(|(name, _)| name.into_owned()).collect();
        }
    }

    /// What to tell the user, if it is time to; each field once.
    pub(crate) fn warnings(&mut self, topic: &str, is_last: bool) -> Vec<String> {
        if self.records == 0 || (!is_last && self.records < RECORDS_MIN) {
            return Vec::new();
        }
        std::mem::take(&mut self.fields)
            .into_iter()
            .map(|field| {
                let guess = field.root().and_then(|root| closest(root, &self.names));
                let hint = match guess {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => format!("the first record has {}", self.names.join(", ")),
                };
                format!(
                    "none of {} records of `{topic}` has the column `{field}`, so it is null everywhere; {hint}",
                    self.records
                )
            })
            .collect()
    }
}

/// The name that differs least, if it differs by a third of its letters at most.
fn closest<'a>(wanted: &str, names: &'a [String]) -> Option<&'a str> {
    let best = names
        .iter()
        .map(|name| (distance(wanted, name), name))
        .min()?;
    (best.0 * 3 <= wanted.chars().count().max(3)).then_some(best.1.as_str())
}

/// Levenshtein's edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (index, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, &right) in b.iter().enumerate() {
            let change = diagonal + usize::from(left != right);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_name_is_guessed_if_it_is_close() {
        let names = ["speed".to_owned(), "rpm".to_owned()];
        assert_eq!(closest("speeed", &names), Some("speed"));
        assert_eq!(closest("Speed", &names), Some("speed"));
        assert_eq!(closest("altitude", &names), None);
    }
}
