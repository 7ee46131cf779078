//! The words everyone uses: values, columns, record batches, positions, errors
//! and the environment.
//!
//! Every other crate stands on this one, so it knows none of them. It does no
//! input or output outside [`env`], and it alone names Arrow: the others take
//! it from [`arrow`], which keeps one version in the whole build.
//!
//! ```text
//! Records   what a log stores: keys, values, timestamps and headers as bytes
//!   │       (`records`)
//! Batch     the same records on their way through operators: bytes stay where
//!   │       they are, named fields are located and decoded on demand (`batch`)
//! Column    one field of a batch as Arrow arrays, each row with its own kind
//!           (`column`), read and written as JSON text by `json`
//! ```

pub mod batch;
pub mod column;
pub mod env;
pub mod error;
pub mod fault;
pub mod json;
mod json_rows;
pub mod partitioner;
pub mod position;
pub mod records;
pub mod value;

/// Arrow, in the one version that the workspace uses.
pub mod arrow {
    pub use arrow_array as array;
    pub use arrow_buffer as buffer;
    pub use arrow_schema as schema;
    pub use arrow_select as select;
}

pub use batch::{Batch, Cause, Evaluated, Keys, Objects, RowError, Rows};
pub use column::{Column, ColumnBuilder};
pub use error::{Class, DataError, Error, Result};
pub use json_rows::JsonRows;
pub use position::{Position, Positions, TopicPartition};
pub use records::{Header, Headers, Records, RecordsBuilder, Span};
pub use value::{FieldPath, Kind, Step, Value, ValueRef};

/// Event time in integer milliseconds since 1970-01-01T00:00:00Z.
pub type TimestampMs = i64;
