//! One value of one row, and the path that names it.
//!
//! Values keep Python's number rules: an integer and a float are different
//! kinds, and an integer beyond 64 bits is kept as its digits, because turning
//! it into a float would change it.

use std::fmt;

/// What a value is. The order is that of [`ValueRef`]'s variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// Missing, or JSON `null`, or Python `None`.
    Null,
    /// `true` or `false`.
    Bool,
    /// An integer of 64 bits.
    Int,
    /// A double-precision number.
    Float,
    /// Text.
    Str,
    /// Bytes that are not text.
    Bytes,
    /// An integer beyond 64 bits, as its decimal digits.
    BigInt,
    /// An object or an array, as its JSON text.
    Json,
}

impl Kind {
    /// The name a Python user knows the kind by.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "bool",
            Kind::Int => "int",
            Kind::Float => "float",
            Kind::Str => "str",
            Kind::Bytes => "bytes",
            Kind::BigInt => "int beyond 64 bits",
            Kind::Json => "object or array",
        }
    }
}

/// A value that borrows its text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// See [`Kind::Null`].
    Null,
    /// See [`Kind::Bool`].
    Bool(bool),
    /// See [`Kind::Int`].
    Int(i64),
    /// See [`Kind::Float`].
    Float(f64),
    /// See [`Kind::Str`].
    Str(&'a str),
    /// See [`Kind::Bytes`].
    Bytes(&'a [u8]),
    /// See [`Kind::BigInt`].
    BigInt(&'a str),
    /// See [`Kind::Json`].
    Json(&'a str),
}

impl ValueRef<'_> {
    /// The kind of the value.
    pub fn kind(&self) -> Kind {
        match self {
            ValueRef::Null => Kind::Null,
            ValueRef::Bool(_) => Kind::Bool,
            ValueRef::Int(_) => Kind::Int,
            ValueRef::Float(_) => Kind::Float,
            ValueRef::Str(_) => Kind::Str,
            ValueRef::Bytes(_) => Kind::Bytes,
            ValueRef::BigInt(_) => Kind::BigInt,
            ValueRef::Json(_) => Kind::Json,
        }
    }

    /// Whether the value is missing or null.
    pub fn is_null(&self) -> bool {
        matches!(self, ValueRef::Null)
    }

    /// Python's truth of the value: zero, empty text, `{}` and `[]` are false.
    pub fn is_truthy(&self) -> bool {
        match self {
            ValueRef::Null => false,
            ValueRef::Bool(value) => *value,
            ValueRef::Int(value) => *value != 0,
            ValueRef::Float(value) => *value != 0.0,
            ValueRef::Str(value) => !value.is_empty(),
            ValueRef::Bytes(value) => !value.is_empty(),
            ValueRef::BigInt(_) => true,
            ValueRef::Json(text) => {
                let inner = text.trim();
                inner[1..inner.len() - 1].trim() != ""
            }
        }
    }

    /// The value with text of its own.
    pub fn to_owned(&self) -> Value {
        match *self {
            ValueRef::Null => Value::Null,
            ValueRef::Bool(value) => Value::Bool(value),
            ValueRef::Int(value) => Value::Int(value),
            ValueRef::Float(value) => Value::Float(value),
            ValueRef::Str(value) => Value::Str(value.into()),
            ValueRef::Bytes(value) => Value::Bytes(value.into()),
            ValueRef::BigInt(value) => Value::BigInt(value.into()),
            ValueRef::Json(value) => Value::Json(value.into()),
        }
    }
}

/// A value that owns its text; see [`ValueRef`] for the variants.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Value {
    /// See [`Kind::Null`].
    #[default]
    Null,
    /// See [`Kind::Bool`].
    Bool(bool),
    /// See [`Kind::Int`].
    Int(i64),
    /// See [`Kind::Float`].
    Float(f64),
    /// See [`Kind::Str`].
    Str(Box<str>),
    /// See [`Kind::Bytes`].
    Bytes(Box<[u8]>),
    /// See [`Kind::BigInt`].
    BigInt(Box<str>),
    /// See [`Kind::Json`].
    Json(Box<str>),
}

impl Value {
    /// The value, borrowed.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Value::Null => ValueRef::Null,
            Value::Bool(value) => ValueRef::Bool(*value),
            Value::Int(value) => ValueRef::Int(*value),
            Value::Float(value) => ValueRef::Float(*value),
            Value::Str(value) => ValueRef::Str(value),
            Value::Bytes(value) => ValueRef::Bytes(value),
            Value::BigInt(value) => ValueRef::BigInt(value),
            Value::Json(value) => ValueRef::Json(value),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}
impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}
impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Value::Int(value.into())
    }
}
impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Float(value)
    }
}
impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Str(value.into())
    }
}
impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Str(value.into())
    }
}

/// One step of a [`FieldPath`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// A property of an object, by its unescaped name.
    Name(Box<str>),
    /// An element of an array; negative counts from the end, as in Python.
    Index(i64),
}

/// Where a value stands in a row: `["tyre"]["fl"]` is `Name("tyre"), Name("fl")`.
///
/// The empty path is the row itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct FieldPath(pub Vec<Step>);

impl FieldPath {
    /// The path of a top-level field.
    pub fn name(name: &str) -> Self {
        FieldPath(vec![Step::Name(name.into())])
    }

    /// The top-level field that the path starts at, if it starts with a name.
    pub fn root(&self) -> Option<&str> {
        match self.0.first() {
            Some(Step::Name(name)) => Some(name),
            _ => None,
        }
    }

    /// The path after its first step.
    pub fn rest(&self) -> FieldPath {
        FieldPath(self.0.get(1..).unwrap_or(&[]).to_vec())
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Name(name) if depth == 0 => write!(out, "{name}")?,
                Step::Name(name) => write!(out, ".{name}")?,
                Step::Index(index) => write!(out, "[{index}]")?,
            }
        }
        Ok(())
    }
}
