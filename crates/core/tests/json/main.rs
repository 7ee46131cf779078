//! JSON as text against `serde_json`, a strict parser that shares no code with it.
//!
//! Every property runs as often as `HEADWATER_JSON_CASES` says, 4,000 times
//! without it; proptest prints the seed of a failure. For the long mode:
//!
//! ```text
//! HEADWATER_JSON_CASES=1000000 cargo test --release -p headwater-core --test json
//! ```
//!
//! The key decision: **documents are generated as text, not as values**, because
//! whitespace, number spellings, escapes and duplicate keys exist only there.

mod cases;
mod generate;
mod locating;
mod oracle;
mod splicing;
mod walking;
