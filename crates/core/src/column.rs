//! One field of a batch, as Arrow arrays.
//!
//! **A batch never changes a value**: what a row holds does not depend on its
//! neighbours. A column whose rows are all of one kind is one Arrow array. A
//! column of several kinds keeps one array per kind and, as the mask, the kind
//! of each row; nothing is widened to a common type.

use crate::value::{Kind, ValueRef};
use arrow_array::{
    Array, BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray,
    builder::{BinaryBuilder, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder},
};
use std::sync::Arc;

/// One field of a batch. Cloning it copies no values.
#[derive(Clone, Debug)]
pub enum Column {
    /// Every row is null; the number is that of the rows.
    Null(usize),
    /// Booleans and nulls.
    Bool(BooleanArray),
    /// 64-bit integers and nulls.
    Int(Int64Array),
    /// Doubles and nulls.
    Float(Float64Array),
    /// Texts and nulls.
    Str(StringArray),
    /// Bytes and nulls.
    Bytes(BinaryArray),
    /// JSON texts of objects and arrays, and nulls.
    Json(StringArray),
    /// Rows of several kinds.
    Mixed(Arc<Mixed>),
}

/// A column whose rows differ in kind: one array per kind, each as long as the
/// column, and the kind of each row.
#[derive(Debug)]
pub struct Mixed {
    kinds: Vec<Kind>,
    bools: BooleanArray,
    ints: Int64Array,
    floats: Float64Array,
    /// Texts, big integers and JSON; `kinds` says which.
    texts: StringArray,
    bytes: BinaryArray,
}

impl Column {
    /// The number of rows.
    pub fn len(&self) -> usize {
        match self {
            Column::Null(len) => *len,
            Column::Bool(array) => array.len(),
            Column::Int(array) => array.len(),
            Column::Float(array) => array.len(),
            Column::Str(array) | Column::Json(array) => array.len(),
            Column::Bytes(array) => array.len(),
            Column::Mixed(mixed) => mixed.kinds.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of one row.
    ///
    /// # Panics
    /// If `row` is not below [`Column::len`].
    #[inline]
    pub fn value(&self, row: usize) -> ValueRef<'_> {
        match self {
            Column::Null(len) => {
                assert!(row < *len);
                ValueRef::Null
            }
            Column::Bool(array) if array.is_valid(row) => ValueRef::Bool(array.value(row)),
            Column::Int(array) if array.is_valid(row) => ValueRef::Int(array.value(row)),
            Column::Float(array) if array.is_valid(row) => ValueRef::Float(array.value(row)),
            Column::Str(array) if array.is_valid(row) => ValueRef::Str(array.value(row)),
            Column::Bytes(array) if array.is_valid(row) => ValueRef::Bytes(array.value(row)),
            Column::Json(array) if array.is_valid(row) => ValueRef::Json(array.value(row)),
            Column::Mixed(mixed) => match mixed.kinds[row] {
                Kind::Null => ValueRef::Null,
                Kind::Bool => ValueRef::Bool(mixed.bools.value(row)),
                Kind::Int => ValueRef::Int(mixed.ints.value(row)),
                Kind::Float => ValueRef::Float(mixed.floats.value(row)),
                Kind::Str => ValueRef::Str(mixed.texts.value(row)),
                Kind::Bytes => ValueRef::Bytes(mixed.bytes.value(row)),
                Kind::BigInt => ValueRef::BigInt(mixed.texts.value(row)),
                Kind::Json => ValueRef::Json(mixed.texts.value(row)),
            },
            _ => ValueRef::Null,
        }
    }

    /// The values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = ValueRef<'_>> {
        (0..self.len()).map(|row| self.value(row))
    }

    /// A column of the rows named by `rows`, in that order.
    ///
    /// # Panics
    /// If a row is not below [`Column::len`].
    pub fn take(&self, rows: &[u32]) -> Column {
        match self {
            Column::Null(_) => Column::Null(rows.len()),
            Column::Int(array) if array.null_count() == 0 => {
                let values = array.values();
                Column::Int(
                    rows.iter()
                        .map(|&row| values[row as usize])
                        .collect::<Vec<_>>()
                        .into(),
                )
            }
            Column::Float(array) if array.null_count() == 0 => {
                let values = array.values();
                Column::Float(
                    rows.iter()
                        .map(|&row| values[row as usize])
                        .collect::<Vec<_>>()
                        .into(),
                )
            }
            _ => {
                let mut builder = ColumnBuilder::with_capacity(rows.len());
                for &row in rows {
                    builder.push(self.value(row as usize));
                }
                builder.finish()
            }
        }
    }

    /// A column that repeats one value.
    pub fn repeat(value: ValueRef<'_>, len: usize) -> Column {
        match value {
            ValueRef::Null => Column::Null(len),
            ValueRef::Int(value) => Column::Int(vec![value; len].into()),
            ValueRef::Float(value) => Column::Float(vec![value; len].into()),
            ValueRef::Bool(value) => Column::Bool(vec![value; len].into()),
            _ => {
                let mut builder = ColumnBuilder::with_capacity(len);
                for _ in 0..len {
                    builder.push(value);
                }
                builder.finish()
            }
        }
    }
}

impl<'a> FromIterator<ValueRef<'a>> for Column {
    fn from_iter<I: IntoIterator<Item = ValueRef<'a>>>(values: I) -> Self {
        let values = values.into_iter();
        let mut builder = ColumnBuilder::with_capacity(values.size_hint().0);
        for value in values {
            builder.push(value);
        }
        builder.finish()
    }
}

/// Builds a [`Column`] value by value and decides at the end what it is.
///
/// While all values are of one kind only that kind's array is filled; a second
/// kind turns the builder into a mixed one.
#[derive(Debug)]
pub struct ColumnBuilder {
    len: usize,
    capacity: usize,
    building: Building,
}

#[derive(Debug)]
enum Building {
    Null,
    Bool(BooleanBuilder),
    Int(Int64Builder),
    Float(Float64Builder),
    Str(StringBuilder),
    Bytes(BinaryBuilder),
    Json(StringBuilder),
    Mixed(Box<MixedBuilder>),
}

#[derive(Debug, Default)]
struct MixedBuilder {
    kinds: Vec<Kind>,
    bools: BooleanBuilder,
    ints: Int64Builder,
    floats: Float64Builder,
    texts: StringBuilder,
    bytes: BinaryBuilder,
}

impl MixedBuilder {
    fn push(&mut self, value: ValueRef<'_>) {
        self.kinds.push(value.kind());
        self.bools.append_option(match value {
            ValueRef::Bool(value) => Some(value),
            _ => None,
        });
        self.ints.append_option(match value {
            ValueRef::Int(value) => Some(value),
            _ => None,
        });
        self.floats.append_option(match value {
            ValueRef::Float(value) => Some(value),
            _ => None,
        });
        self.texts.append_option(match value {
            ValueRef::Str(text) | ValueRef::BigInt(text) | ValueRef::Json(text) => Some(text),
            _ => None,
        });
        self.bytes.append_option(match value {
            ValueRef::Bytes(bytes) => Some(bytes),
            _ => None,
        });
    }
}

impl ColumnBuilder {
    /// A builder that expects about `capacity` rows.
    pub fn with_capacity(capacity: usize) -> Self {
        ColumnBuilder {
            len: 0,
            capacity,
            building: Building::Null,
        }
    }

    /// The number of values pushed.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a value.
    #[inline]
    pub fn push(&mut self, value: ValueRef<'_>) {
        match (&mut self.building, value) {
            (Building::Int(builder), ValueRef::Int(value)) => builder.append_value(value),
            (Building::Float(builder), ValueRef::Float(value)) => builder.append_value(value),
            (Building::Str(builder), ValueRef::Str(value)) => builder.append_value(value),
            (Building::Bool(builder), ValueRef::Bool(value)) => builder.append_value(value),
            (Building::Bytes(builder), ValueRef::Bytes(value)) => builder.append_value(value),
            (Building::Json(builder), ValueRef::Json(value)) => builder.append_value(value),
            (Building::Null, ValueRef::Null) => {}
            (Building::Int(builder), ValueRef::Null) => builder.append_null(),
            (Building::Float(builder), ValueRef::Null) => builder.append_null(),
            (Building::Str(builder) | Building::Json(builder), ValueRef::Null) => {
                builder.append_null();
            }
            (Building::Bool(builder), ValueRef::Null) => builder.append_null(),
            (Building::Bytes(builder), ValueRef::Null) => builder.append_null(),
            (Building::Mixed(builder), value) => builder.push(value),
            (_, value) => self.push_new_kind(value),
        }
        self.len += 1;
    }

    /// The first value of a second kind, or the first that is not null.
    #[cold]
    fn push_new_kind(&mut self, value: ValueRef<'_>) {
        let nulls = self.len;
        if matches!(self.building, Building::Null) {
            let capacity = self.capacity.max(nulls + 1);
            self.building = match value.kind() {
                Kind::Bool => {
                    let mut builder = BooleanBuilder::with_capacity(capacity);
                    builder.append_nulls(nulls);
                    Building::Bool(builder)
                }
                Kind::Int => {
                    let mut builder = Int64Builder::with_capacity(capacity);
                    builder.append_nulls(nulls);
                    Building::Int(builder)
                }
                Kind::Float => {
                    let mut builder = Float64Builder::with_capacity(capacity);
                    builder.append_nulls(nulls);
                    Building::Float(builder)
                }
                Kind::Str | Kind::Json => {
                    let mut builder = StringBuilder::with_capacity(capacity, capacity * 8);
                    for _ in 0..nulls {
                        builder.append_null();
                    }
                    if value.kind() == Kind::Str {
                        Building::Str(builder)
                    } else {
                        Building::Json(builder)
                    }
                }
                Kind::Bytes => {
                    let mut builder = BinaryBuilder::with_capacity(capacity, capacity * 8);
                    for _ in 0..nulls {
                        builder.append_null();
                    }
                    Building::Bytes(builder)
                }
                Kind::BigInt | Kind::Null => {
                    let mut builder = MixedBuilder::default();
                    for _ in 0..nulls {
                        builder.push(ValueRef::Null);
                    }
                    Building::Mixed(Box::new(builder))
                }
            };
        } else {
            let so_far = std::mem::replace(&mut self.building, Building::Null).finish(self.len);
            let mut builder = MixedBuilder::default();
            for value in so_far.iter() {
                builder.push(value);
            }
            self.building = Building::Mixed(Box::new(builder));
        }
        match (&mut self.building, value) {
            (Building::Bool(builder), ValueRef::Bool(value)) => builder.append_value(value),
            (Building::Int(builder), ValueRef::Int(value)) => builder.append_value(value),
            (Building::Float(builder), ValueRef::Float(value)) => builder.append_value(value),
            (Building::Str(builder), ValueRef::Str(value)) => builder.append_value(value),
            (Building::Json(builder), ValueRef::Json(value)) => builder.append_value(value),
            (Building::Bytes(builder), ValueRef::Bytes(value)) => builder.append_value(value),
            (Building::Mixed(builder), value) => builder.push(value),
            _ => unreachable!("the builder was just made for this kind"),
        }
    }

    /// The column.
    pub fn finish(self) -> Column {
        self.building.finish(self.len)
    }
}

impl Building {
    fn finish(self, len: usize) -> Column {
        match self {
            Building::Null => Column::Null(len),
            Building::Bool(mut builder) => Column::Bool(builder.finish()),
            Building::Int(mut builder) => Column::Int(builder.finish()),
            Building::Float(mut builder) => Column::Float(builder.finish()),
            Building::Str(mut builder) => Column::Str(builder.finish()),
            Building::Bytes(mut builder) => Column::Bytes(builder.finish()),
            Building::Json(mut builder) => Column::Json(builder.finish()),
            Building::Mixed(mut builder) => Column::Mixed(Arc::new(Mixed {
                kinds: std::mem::take(&mut builder.kinds),
                bools: builder.bools.finish(),
                ints: builder.ints.finish(),
                floats: builder.floats.finish(),
                texts: builder.texts.finish(),
                bytes: builder.bytes.finish(),
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_keeps_each_rows_kind() {
        let values = [
            ValueRef::Null,
            ValueRef::Int(1),
            ValueRef::Float(1.0),
            ValueRef::BigInt("123456789012345678901"),
            ValueRef::Str("a"),
            ValueRef::Bool(true),
            ValueRef::Json("[1]"),
            ValueRef::Bytes(b"x"),
        ];
        let column: Column = values.into_iter().collect();
        assert_eq!(column.iter().collect::<Vec<_>>(), values);
        let back: Vec<_> = column
            .take(&[7, 0, 2])
            .iter()
            .map(|value| value.to_owned())
            .collect();
        assert_eq!(
            back,
            [
                values[7].to_owned(),
                values[0].to_owned(),
                values[2].to_owned()
            ]
        );
    }

    #[test]
    fn a_column_of_one_kind_is_one_array() {
        let column: Column = [ValueRef::Null, ValueRef::Int(3), ValueRef::Null]
            .into_iter()
            .collect();
        assert!(matches!(&column, Column::Int(array) if array.null_count() == 2));
        assert_eq!(column.value(1), ValueRef::Int(3));
        assert_eq!(
            Column::repeat(ValueRef::Str("k"), 3).value(2),
            ValueRef::Str("k")
        );
    }
}
