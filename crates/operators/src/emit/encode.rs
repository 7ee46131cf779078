//! Keys and values as bytes of a topic's format.

use headwater_core::{DataError, Result, ValueRef, json};
use headwater_plan::TextFormat;

/// Appends a value in a format; `false` for null, which appends nothing.
///
/// # Errors
/// If the format has no form for the value; nothing is appended then.
pub(super) fn encode(
    value: ValueRef<'_>,
    format: TextFormat,
    out: &mut Vec<u8>,
) -> Result<bool, Box<DataError>> {
    match (format, value) {
        (_, ValueRef::Null) => return Ok(false),
        (TextFormat::Json, value) => {
            json::write_value(value, out).map_err(|error| Box::new(DataError::from(error)))?;
        }
        (TextFormat::String, ValueRef::Str(text)) | (TextFormat::Bytes, ValueRef::Str(text)) => {
            out.extend_from_slice(text.as_bytes())
        }
        (TextFormat::Bytes, ValueRef::Bytes(bytes)) => out.extend_from_slice(bytes),
        (TextFormat::Integer, ValueRef::Int(value)) => {
            let value = i32::try_from(value).map_err(|_| {
                Box::new(DataError::new(format!(
                    "the integer does not fit the four bytes of the topic's format, value=`{value}`"
                )))
            })?;
            out.extend_from_slice(&value.to_be_bytes());
        }
        (TextFormat::Double, ValueRef::Float(value)) => {
            out.extend_from_slice(&value.to_be_bytes());
        }
        (TextFormat::Double, ValueRef::Int(value)) => {
            out.extend_from_slice(&(value as f64).to_be_bytes());
        }
        (format, value) => return Err(unfit(format, value)),
    }
    Ok(true)
}

#[cold]
fn unfit(format: TextFormat, value: ValueRef<'_>) -> Box<DataError> {
    let (name, wanted) = match format {
        TextFormat::Json => ("json", "what JSON has"),
        TextFormat::String => ("str", "a text"),
        TextFormat::Bytes => ("bytes", "bytes or a text"),
        TextFormat::Integer => ("int", "an int"),
        TextFormat::Double => ("double", "a float"),
    };
    let error = DataError::new(format!(
        "cannot write {} as {name}, which takes {wanted}",
        value.kind().name()
    ));
    Box::new(match format {
        TextFormat::String | TextFormat::Bytes => {
            error.with_hint("cast it with `.astype(str)`, or declare the topic with another format")
        }
        _ => error,
    })
}
