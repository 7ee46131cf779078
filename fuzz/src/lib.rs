//! What must hold for every input, however it was made.
//!
//! A target is a function of bytes that panics if something is wrong, and
//! [`TARGETS`] lists them. The key decision: **a target knows nothing of the
//! fuzzer.** libFuzzer's driver is one small program that calls them
//! (`main.rs`, behind a feature), and the stored corpus runs through the same
//! functions as an ordinary test, on every machine, without a C++ compiler.
//!
//! ```text
//! json      scanner, locator, decoder and splicer against serde_json
//! log       the record batch, and operations on logs against a map
//! state     changelog records of both stores, and operations against a map
//! metadata  what a commit stores beside a position, and upstream tasks announce
//! files     the CSV and the JSON lines source
//! text      casts, times, round trips of floats, bare formats, headers
//! ```
//!
//! Corrupt bytes must give an error or a value; sound ones must give what an
//! independent reader gives. Neither may panic, take a second or take memory
//! beyond the size of the input times a constant.

mod files;
mod input;
mod json;
mod log;
mod record_batch;
mod state;
mod text;
mod windows;

/// A target: what it is called, and what must not panic.
pub type Target = (&'static str, fn(&[u8]));

/// Every target, by name.
pub const TARGETS: &[Target] = &[
    ("batch", record_batch::batch),
    ("csv", files::csv),
    ("embedded_ops", log::embedded_operations),
    ("formats", text::formats),
    ("json", json::locate),
    ("json_lines", files::json_lines),
    ("keyed", state::restore),
    ("keyed_ops", state::operations),
    ("log_ops", log::memory_operations),
    ("metadata", headwater::check_any_bytes),
    ("splice", json::splice),
    ("text", text::expressions),
    ("window", windows::restore),
];

/// The target of that name.
pub fn target(name: &str) -> Option<fn(&[u8])> {
    let (_, run) = TARGETS.iter().find(|(known, _)| *known == name)?;
    Some(*run)
}
