//! What a commit stores beside a position: any bytes give metadata or an error,
//! and what comes of them encodes to what was read.

/// The engine keeps it to itself, so its file is compiled a second time here.
#[path = "../../crates/engine/src/metadata.rs"]
mod engine;

pub(crate) fn decode(bytes: &[u8]) {
    if let Ok(metadata) = engine::TaskMetadata::decode(bytes) {
        let again = engine::TaskMetadata::decode(&metadata.encode());
        assert_eq!(again.ok(), Some(metadata), "metadata comes back");
    }
}
