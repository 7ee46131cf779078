//! A changelog record for people.

use crate::keyed::{KIND_CLOCK, KIND_VALUE};
use crate::{KeyReader, ValueReader};
use headwater_core::json::Locator;
use headwater_core::{Error, Result, Value};

/// What one changelog record says, in names and values that can be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEntry {
    /// The key of the records that it belongs to; `None` for those without.
    pub key: Option<Vec<u8>>,
    /// What it is: `value`, `clock`, `window` ...
    pub kind: &'static str,
    /// The rest.
    pub fields: Vec<(&'static str, Value)>,
}

impl StoredEntry {
    /// What a record of the store of record functions says.
    ///
    /// # Errors
    /// `Internal` if it is damaged or of a newer version.
    pub fn of_keyed(key: &[u8], value: &[u8]) -> Result<StoredEntry> {
        let (mut parts, kind) = KeyReader::new(key)?;
        let key = parts.bytes()?.map(<[u8]>::to_vec);
        let (mut reader, expires_ms) = ValueReader::new(value)?;
        let mut fields = Vec::new();
        let kind = match kind {
            KIND_VALUE => {
                let name = parts.bytes()?.unwrap_or_default();
                fields.push(("name", shown_tagged(name)));
                fields.push(("value", shown_tagged(reader.bytes()?)));
                "value"
            }
            KIND_CLOCK => {
                fields.push(("latest_ms", Value::Int(reader.int()?)));
                "clock"
            }
            kind => {
                return Err(Error::internal(format!(
                    "a changelog record of a store is of an unknown kind, kind=`{kind}`"
                )));
            }
        };
        if let Some(expires_ms) = expires_ms {
            fields.push(("expires_ms", Value::Int(expires_ms)));
        }
        Ok(StoredEntry { key, kind, fields })
    }

    /// Bytes as the JSON that they are, else as text, else as they are.
    pub fn shown(bytes: &[u8]) -> Value {
        shown(bytes)
    }
}

fn shown(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) if Locator::new(&[]).locate(bytes, &mut []).is_ok() => Value::Json(text.into()),
        Ok(text) => Value::Str(text.into()),
        Err(_) => Value::Bytes(bytes.into()),
    }
}

/// A stored name or value. Python writes JSON behind a `j` and bytes behind a `b`.
fn shown_tagged(bytes: &[u8]) -> Value {
    match bytes.split_first() {
        Some((b'j', json)) if matches!(shown(json), Value::Json(_)) => shown(json),
        Some((b'b', raw)) => match shown(raw) {
            Value::Json(text) => Value::Str(text),
            other => other,
        },
        _ => shown(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyWriter, KeyedStore, StateStore};
    use headwater_core::RecordsBuilder;

    #[test]
    fn what_a_function_has_stored_can_be_read() -> Result<()> {
        let mut store = KeyedStore::new(1_000);
        let mut state = store.of_key(Some(b"car-1"), 5);
        state.set(br#"j"sum""#, br#"j{"n": 3}"#, None);
        state.set(b"raw", b"b\xff", Some(7));
        let mut changes = RecordsBuilder::default();
        store.drain_changes(&mut changes);
        let changes = changes.finish();
        let mut found: Vec<StoredEntry> = (0..changes.len())
            .filter_map(|index| changes.key(index).zip(changes.value(index)))
            .map(|(key, value)| StoredEntry::of_keyed(key, value))
            .collect::<Result<_>>()?;
        found.retain(|entry| entry.kind == "value");
        found.sort_by_key(|entry| entry.fields.len());
        let [plain, expiring] = found.as_slice() else {
            panic!("two values: {found:?}")
        };
        assert_eq!(plain.key.as_deref(), Some(b"car-1".as_slice()));
        assert_eq!(
            plain.fields,
            [
                ("name", Value::Json(r#""sum""#.into())),
                ("value", Value::Json(r#"{"n": 3}"#.into())),
            ]
        );
        assert_eq!(expiring.fields[1], ("value", Value::Bytes([0xff].into())));
        assert_eq!(expiring.fields[2].0, "expires_ms");
        let unknown = KeyWriter::new(77).bytes(None).finish();
        assert!(StoredEntry::of_keyed(&unknown, b"").is_err());
        Ok(())
    }
}
