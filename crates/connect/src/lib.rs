//! The edge of the world other than the log: where records come from and where
//! rows go to.
//!
//! Sources and sinks take part in the checkpoint without knowing it: a source
//! hands out its position with its records, a sink hands out its position when
//! it is flushed, and the engine commits both together with everything else of
//! the epoch. After a crash they are opened at the committed position.
//!
//! ```text
//! CsvSource        file ─▶ cells ─▶ JSON objects    position: the bytes read
//! JsonLinesSource  file ─▶ lines as they are        position: the bytes read
//! CsvSink          JSON objects ─▶ cells ─▶ file    position: its length
//! JsonLinesSink    rows as JSON ─▶ file             position: its length
//! Table            the newest rows ─▶ a terminal    no position: a view
//! ```
//!
//! Files come through [`Storage`](headwater_core::env::Storage), so that a
//! simulation can tear them.

mod committed_file;
mod csv_cell;
mod csv_sink;
mod csv_source;
mod file;
mod json_lines_sink;
mod json_lines_source;
mod lines;
mod row;
mod sink;
mod source;
mod table;
mod timestamp;

pub use committed_file::ExistingFile;
pub use csv_cell::CellTypes;
pub use csv_sink::{CsvSink, CsvSinkOptions};
pub use csv_source::{CsvSource, CsvSourceOptions};
pub use json_lines_sink::{JsonLinesSink, JsonLinesSinkOptions};
pub use json_lines_source::{AtEnd, JsonLinesSource, JsonLinesSourceOptions};
pub use sink::{Delivery, Sink};
pub use source::{Source, SourceBatch, Unread};
pub use table::{Table, TableOptions};
pub use timestamp::{TimestampField, TimestampFormat};
