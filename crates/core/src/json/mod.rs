//! JSON as text: fields are located, decoded and spliced in place.
//!
//! The key decision: **a row stays the text that its producer wrote.** A plan
//! names a few fields of a row and changes fewer, so a row is scanned once, the
//! named fields are remembered as spans, and a changed field is written into
//! the old text. Parsing into a tree and writing the tree back costs ten times
//! as much and changes bytes that nobody asked to change (`0.50` to `0.5`).
//!
//! Keeping text obliges the scan to be strict: [`Locator`] validates the whole
//! row, also what it skips, so that everything else here ([`decode`], [`find`],
//! [`entries`], [`elements`], [`splice`]) may rely on sound JSON. A row that is
//! accepted here is accepted by every strict parser that reads it later.
//!
//! ```text
//! scan     one value, strictly, several bytes at a time (words)
//! locate   the fields of a plan in one pass, with the key order learned (layout)
//! walk     the entries of one object, the elements of one array, one path
//! decode   the value of a located text (escape: texts with backslashes)
//! write    a value as text
//! splice   changed fields into the old text
//! ```

mod decode;
mod error;
mod escape;
mod layout;
mod locate;
mod pretty;
mod scan;
mod splice;
mod walk;
mod words;
mod write;

pub use decode::decode;
pub use error::{JsonError, WriteError};
pub use locate::Locator;
pub use pretty::pretty;
pub use splice::{Edit, splice};
pub use walk::{elements, entries, find};
pub use write::{write_key, write_value};
