//! Eight or sixteen bytes of a text at once.
//!
//! The key decision: **8 bytes at a time, and masks instead of loops.** The
//! texts of a row are short, so a loop over bytes is mostly mispredicted exits;
//! a mask of the bytes that end a string or a number finds the exit without a
//! branch. The masks are integer arithmetic, because vector instructions would
//! need `unsafe`, which this crate does without.

/// The 16 bytes from `at`, little endian. Zeros stand for the bytes after the
/// end; no zero is legal in JSON, so they end everything.
#[inline(always)]
pub(super) fn chunk(text: &[u8], at: usize) -> u128 {
    match text.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(bytes) => u128::from_le_bytes(*bytes),
        None => last_chunk(text, at),
    }
}

#[inline(never)]
fn last_chunk(text: &[u8], at: usize) -> u128 {
    let rest = match text.get(at..) {
        Some(rest) if !rest.is_empty() => rest,
        _ => return 0,
    };
    match text.last_chunk() {
        Some(bytes) => u128::from_le_bytes(*bytes) >> (8 * (16 - rest.len())),
        None => {
            let mut bytes = [0; 16];
            bytes[..rest.len()].copy_from_slice(rest);
            u128::from_le_bytes(bytes)
        }
    }
}

/// The 8 bytes from `at`, as [`chunk`].
#[inline(always)]
pub(super) fn word(text: &[u8], at: usize) -> u64 {
    match text.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => last_chunk(text, at) as u64,
    }
}

/// `byte` in each byte.
const fn each(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// A mask whose lowest set bit is in the first byte that is a quote, backslash
/// or control character. The bytes after that one may be marked wrongly,
/// because subtractions borrow from them.
#[inline(always)]
pub(super) fn string_stops(word: u64) -> u64 {
    let quote = (word ^ each(b'"')).wrapping_sub(each(1));
    let backslash = (word ^ each(b'\\')).wrapping_sub(each(1));
    let control = word.wrapping_sub(each(0x20));
    (quote | backslash | control) & !word & each(0x80)
}

/// A mask with the highest bit of each byte that is not a digit.
#[inline(always)]
pub(super) fn number_stops(word: u64) -> u64 {
    let digits = word ^ each(b'0');
    // A nibble above 9 carries into the highest bit, and no further.
    (((digits & each(0x7f)) + each(0x76)) | digits) & each(0x80)
}

/// The number of the byte that the lowest bit of `stops` is in; 8 if there is
/// none.
#[inline(always)]
pub(super) fn first(stops: u64) -> usize {
    stops.trailing_zeros() as usize / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_masks_find_every_byte_at_every_place() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                for around in [b'7', b'a', b'"', 0xc3, 0xff, 0] {
                    let mut bytes = [around; 8];
                    bytes[place] = byte;
                    let word = u64::from_le_bytes(bytes);
                    let is_stop = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
                    let stop = bytes.iter().position(is_stop).unwrap_or(8);
                    assert_eq!(first(string_stops(word)), stop, "{bytes:?}");
                    let is_digit = |byte: u8| u8::from(!byte.is_ascii_digit()) << 7;
                    assert_eq!(
                        number_stops(word).to_le_bytes(),
                        bytes.map(is_digit),
                        "{bytes:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_chunk_is_padded_with_zeros_after_the_end() {
        let text: Vec<u8> = (1..=40).collect();
        for len in 0..text.len() {
            for at in 0..len + 3 {
                let mut expected = [0; 16];
                for (index, byte) in text[..len].iter().skip(at).take(16).enumerate() {
                    expected[index] = *byte;
                }
                assert_eq!(
                    chunk(&text[..len], at).to_le_bytes(),
                    expected,
                    "len {len} at {at}"
                );
            }
        }
    }
}
