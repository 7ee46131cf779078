//! How positions are kept in a group's offsets.
//!
//! A broker keeps, for a partition of a topic that exists, an offset and a short
//! text. Headwater commits more: positions of names that are no topics (`source:x`,
//! `sink:y`: no topic's name has a colon), positions that are no offsets, and bytes
//! of metadata. So:
//!
//! - A name that could not be a topic's gets an internal topic of its own,
//!   `headwater__<group>--<name>` with what a name may not have replaced and a hash
//!   of the true name behind it; it holds no records. It is made when it is first
//!   committed to and gets more partitions when a larger number is.
//! - The text is `hw1:` and, in base 64: one byte of flags; if flag 1, a length and
//!   the bytes of a position that is no offset; if flag 2, the true name's length
//!   and bytes; then the metadata. A text without that beginning is another
//!   program's and is no metadata of ours: after a reset by a tool, the position
//!   counts.

use crate::Committed;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use headwater_core::{Position, TopicPartition};
use std::sync::Arc;

/// What internal topics of positions begin with.
pub(super) const PREFIX: &str = "headwater__";

const TEXT_PREFIX: &str = "hw1:";
const HAS_POSITION: u8 = 1;
const HAS_NAME: u8 = 2;

/// Whether a name could be a topic's.
pub(super) fn is_topic_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty() && name.len() <= 249 && name.bytes().all(is_allowed)
}

/// The internal topic for a group's positions of a name that is no topic's.
pub(super) fn internal_topic(group: &str, name: &str) -> Arc<str> {
    let hash = fnv1a(group.bytes().chain([0]).chain(name.bytes()));
    format!("{}{}-{hash:016x}", internal_prefix(group), plain(name)).into()
}

/// What the internal topics of a group begin with; those of a similar name may too.
pub(super) fn internal_prefix(group: &str) -> String {
    format!("{PREFIX}{}--", plain(group))
}

/// A name with what a topic's may not have replaced, and not too long.
fn plain(name: &str) -> String {
    const CHARS_MAX: usize = 90;
    let replace = |char: char| {
        if char.is_ascii_alphanumeric() || matches!(char, '.' | '-') {
            char
        } else {
            '_'
        }
    };
    name.chars().take(CHARS_MAX).map(replace).collect()
}

/// FNV-1a, 64 bits: the names of topics must never change with a library.
fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What the broker keeps: an offset and a text.
pub(super) fn encode(true_name: Option<&str>, committed: &Committed) -> (u64, String) {
    let offset = committed.position.offset();
    let mut bytes = vec![0];
    if offset.is_none() {
        let position = committed.position.as_bytes();
        bytes[0] |= HAS_POSITION;
        bytes.push(position.len() as u8);
        bytes.extend_from_slice(position);
    }
    if let Some(name) = true_name {
        bytes[0] |= HAS_NAME;
        bytes.extend_from_slice(&(name.len() as u16).to_be_bytes());
        bytes.extend_from_slice(name.as_bytes());
    }
    bytes.extend_from_slice(&committed.metadata);
    let text = if bytes == [0] {
        String::new()
    } else {
        format!("{TEXT_PREFIX}{}", STANDARD_NO_PAD.encode(bytes))
    };
    (offset.unwrap_or(0), text)
}

/// What was committed, from what the broker keeps.
pub(super) fn decode(
    partition: TopicPartition,
    offset: u64,
    text: &[u8],
) -> (TopicPartition, Committed) {
    let plain = Committed {
        position: Position::from_offset(offset),
        metadata: Vec::new(),
    };
    match parse(text) {
        None => (partition, plain),
        Some((position, name, metadata)) => {
            let partition = match name {
                Some(name) => TopicPartition::new(name, partition.partition),
                None => partition,
            };
            let position = position.unwrap_or(plain.position);
            (partition, Committed { position, metadata })
        }
    }
}

type Parsed = (Option<Position>, Option<String>, Vec<u8>);

fn parse(text: &[u8]) -> Option<Parsed> {
    let bytes = STANDARD_NO_PAD
        .decode(text.strip_prefix(TEXT_PREFIX.as_bytes())?)
        .ok()?;
    let (&flags, mut rest) = bytes.split_first()?;
    let mut position = None;
    if flags & HAS_POSITION != 0 {
        let (&len, after) = rest.split_first()?;
        let (bytes, after) = after.split_at_checked(len.into())?;
        position = Some(Position::from_bytes(bytes)?);
        rest = after;
    }
    let mut name = None;
    if flags & HAS_NAME != 0 {
        let (len, after) = rest.split_first_chunk()?;
        let (bytes, after) = after.split_at_checked(u16::from_be_bytes(*len).into())?;
        name = Some(String::from_utf8(bytes.to_vec()).ok()?);
        rest = after;
    }
    Some((position, name, rest.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_comes_back() {
        let positions = [
            Position::from_offset(0),
            Position::from_offset(i64::MAX as u64),
            Position::from_bytes(&[9; Position::BYTES_MAX]).unwrap(),
        ];
        let longest = vec![7; Committed::METADATA_BYTES_MAX];
        for position in positions {
            for metadata in [Vec::new(), vec![0, 255], longest.clone()] {
                for name in [None, Some("source:x"), Some("ä".repeat(100).as_str())] {
                    let committed = Committed {
                        position,
                        metadata: metadata.clone(),
                    };
                    let (offset, text) = encode(name, &committed);
                    assert!(text.len() <= 4096, "a broker takes {} bytes", text.len());
                    let place = TopicPartition::new("stored", 3);
                    let expected = TopicPartition::new(name.unwrap_or("stored"), 3);
                    let back = decode(place, offset, text.as_bytes());
                    assert_eq!(back, (expected, committed));
                }
            }
        }
    }

    #[test]
    fn the_text_of_another_program_is_no_metadata() {
        for text in ["", "reset by hand", "hw1:", "hw1:%%%", "hw1:Ag", "hw1:AQ"] {
            let (_, committed) = decode(TopicPartition::new("t", 0), 7, text.as_bytes());
            assert_eq!(committed.position, Position::from_offset(7));
            assert_eq!(committed.metadata, Vec::<u8>::new(), "{text}");
        }
    }

    #[test]
    fn internal_topics_have_names_that_topics_may_have() {
        let names = ["source:a", "source_a", "sink:ä", "", &"x:".repeat(300)];
        let mut all = Vec::new();
        for group in ["g", "application: 1/ä", &"long ".repeat(60)] {
            for name in names {
                let topic = internal_topic(group, name);
                assert!(is_topic_name(&topic), "{topic}");
                assert!(topic.starts_with(&internal_prefix(group)));
                all.push(topic);
            }
        }
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 15, "each has its own");
    }
}
