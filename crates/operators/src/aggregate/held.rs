//! A value that an accumulator keeps.
//!
//! Texts are shared, because a savepoint copies accumulators.

use headwater_core::{Error, Kind, Result, Value, ValueRef};
use headwater_state::{ValueReader, ValueWriter};
use std::sync::Arc;

/// One value; see [`ValueRef`] for the variants.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Held {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Arc<str>),
    Bytes(Arc<[u8]>),
    BigInt(Arc<str>),
    Json(Arc<str>),
}

impl From<ValueRef<'_>> for Held {
    #[inline]
    fn from(value: ValueRef<'_>) -> Held {
        match value {
            ValueRef::Null => Held::Null,
            ValueRef::Bool(value) => Held::Bool(value),
            ValueRef::Int(value) => Held::Int(value),
            ValueRef::Float(value) => Held::Float(value),
            ValueRef::Str(text) => Held::Str(text.into()),
            ValueRef::Bytes(bytes) => Held::Bytes(bytes.into()),
            ValueRef::BigInt(text) => Held::BigInt(text.into()),
            ValueRef::Json(text) => Held::Json(text.into()),
        }
    }
}

impl Held {
    #[inline]
    pub(super) fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Held::Null => ValueRef::Null,
            Held::Bool(value) => ValueRef::Bool(*value),
            Held::Int(value) => ValueRef::Int(*value),
            Held::Float(value) => ValueRef::Float(*value),
            Held::Str(text) => ValueRef::Str(text),
            Held::Bytes(bytes) => ValueRef::Bytes(bytes),
            Held::BigInt(text) => ValueRef::BigInt(text),
            Held::Json(text) => ValueRef::Json(text),
        }
    }

    pub(super) fn to_value(&self) -> Value {
        self.as_ref().to_owned()
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self, Held::Null)
    }

    pub(super) fn is_nan(&self) -> bool {
        matches!(self, Held::Float(value) if value.is_nan())
    }

    pub(super) fn write(&self, out: &mut ValueWriter) {
        let value = self.as_ref();
        out.varint(value.kind() as u64);
        match value {
            ValueRef::Null => {}
            ValueRef::Bool(value) => {
                out.varint(value.into());
            }
            ValueRef::Int(value) => {
                out.int(value);
            }
            ValueRef::Float(value) => {
                out.float(value);
            }
            ValueRef::Str(text) | ValueRef::BigInt(text) | ValueRef::Json(text) => {
                out.bytes(text.as_bytes());
            }
            ValueRef::Bytes(bytes) => {
                out.bytes(bytes);
            }
        }
    }

    pub(super) fn read(input: &mut ValueReader<'_>) -> Result<Held> {
        const KINDS: [Kind; 8] = [
            Kind::Null,
            Kind::Bool,
            Kind::Int,
            Kind::Float,
            Kind::Str,
            Kind::Bytes,
            Kind::BigInt,
            Kind::Json,
        ];
        let tag = input.varint()?;
        let kind = usize::try_from(tag).ok().and_then(|tag| KINDS.get(tag));
        Ok(match kind.ok_or_else(|| unknown("kind", tag))? {
            Kind::Null => Held::Null,
            Kind::Bool => Held::Bool(input.varint()? != 0),
            Kind::Int => Held::Int(input.int()?),
            Kind::Float => Held::Float(input.float()?),
            Kind::Str => Held::Str(read_text(input)?),
            Kind::Bytes => Held::Bytes(input.bytes()?.into()),
            Kind::BigInt => Held::BigInt(read_text(input)?),
            Kind::Json => Held::Json(read_text(input)?),
        })
    }
}

fn read_text(input: &mut ValueReader<'_>) -> Result<Arc<str>> {
    let bytes = input.bytes()?;
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Error::internal("a stored text is not UTF-8").with_source(error))?;
    Ok(text.into())
}

/// The error for a stored value of a form that this version does not know.
pub(super) fn unknown(what: &str, tag: u64) -> Error {
    Error::internal(format!(
        "a stored accumulator is of an unknown {what}, {what}=`{tag}`"
    ))
}
