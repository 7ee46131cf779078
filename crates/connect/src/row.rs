//! A row of a delivery as JSON text, whatever form it has.

use crate::Delivery;
use headwater_core::json::write_value;
use headwater_core::{DataError, Error, Rows, ValueRef};

/// Appends a row as JSON; `false` for null, which appends nothing.
///
/// # Errors
/// If the row holds what JSON has no form for; nothing is appended then.
pub(crate) fn write_row(
    delivery: &Delivery,
    row: usize,
    out: &mut Vec<u8>,
) -> Result<bool, DataError> {
    match &delivery.batch.rows {
        Rows::Json(rows) => rows.write_row(row, out),
        Rows::Objects(objects) => objects.write_json(row, out),
        Rows::Values(column) => match column.value(row) {
            ValueRef::Null => Ok(false),
            value => write_value(value, out)
                .map(|()| true)
                .map_err(DataError::from),
        },
    }
}

/// The key of a row as text; `None` where it has none.
///
/// # Errors
/// If it is not UTF-8.
pub(crate) fn key_text(delivery: &Delivery, row: usize) -> Result<Option<&str>, DataError> {
    let key = delivery.batch.keys.get(row);
    key.map(std::str::from_utf8)
        .transpose()
        .map_err(|_| DataError::new("the key is not UTF-8"))
}

/// Says which record a row descends from.
pub(crate) fn row_error(error: DataError, delivery: &Delivery, row: usize) -> Error {
    Error::data(DataError {
        partition: Some(delivery.partition.clone()),
        position: delivery.positions.get(row).copied(),
        ..error
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use headwater_core::{Batch, Header, Position, Records, RecordsBuilder, TopicPartition};

    /// Rows of `telemetry[2]` from offset 7 on, with key `k` and times from 1,000 on.
    pub(crate) fn delivery(rows: &[&str]) -> Delivery {
        let mut records = RecordsBuilder::default();
        for (index, row) in rows.iter().enumerate() {
            let value = (*row != "null").then_some(row.as_bytes());
            records.push(Some(b"k"), value, 1_000 + index as i64, None);
        }
        delivery_of(&records.finish())
    }

    /// Records as they would reach a sink.
    pub(crate) fn delivery_of(records: &Records) -> Delivery {
        let mut batch = Batch::from_records(records);
        if let Rows::Json(rows) = &mut batch.rows {
            assert!(rows.prepare_to_write().is_empty());
        }
        let positions = (0..records.len() as u64).map(|row| Position::from_offset(7 + row));
        Delivery {
            batch,
            partition: TopicPartition::new("telemetry", 2),
            positions: positions.collect(),
        }
    }

    /// One record with headers.
    pub(crate) fn delivery_with_headers(row: &str) -> Delivery {
        let headers = [
            Header {
                name: "unit".into(),
                value: Some(b"km/h".as_slice().into()),
            },
            Header {
                name: "seen".into(),
                value: None,
            },
        ];
        let mut records = RecordsBuilder::default();
        records.push(None, Some(row.as_bytes()), 5, Some(headers.into()));
        delivery_of(&records.finish())
    }

    #[test]
    fn a_failed_row_says_which_record_it_descends_from() {
        let error = row_error(DataError::new("wrong"), &delivery(&["1", "2"]), 1);
        assert_eq!(
            error.to_string(),
            "wrong topic=`telemetry` partition=`2` offset=`8`"
        );
    }
}
