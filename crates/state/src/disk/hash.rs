//! The hash of the filters. It is part of the format: it must be the same on
//! every machine and in every version, which a map's hash need not be.

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Sixty-four bits of a key.
pub(super) fn hash(key: &[u8]) -> u64 {
    let mix = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(MULTIPLIER);
        (product as u64) ^ (product >> 64) as u64
    };
    let mut state = MULTIPLIER ^ key.len() as u64;
    let mut chunks = key.chunks_exact(8);
    for chunk in &mut chunks {
        state = mix(
            state,
            u64::from_le_bytes(chunk.try_into().expect("8 bytes")),
        );
    }
    let mut last = [0; 8];
    last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    state = mix(state, u64::from_le_bytes(last));
    mix(state ^ state >> 29, 0xbf58_476d_1ce4_e5b9)
}

#[cfg(test)]
mod tests {
    use super::hash;

    #[test]
    fn the_hash_stays_as_it_is() {
        // Files of released versions were written with these.
        assert_eq!(hash(b""), HASHES[0]);
        assert_eq!(hash(b"car-1"), HASHES[1]);
        assert_eq!(hash(b"a key that is longer than one word"), HASHES[2]);
    }

    const HASHES: [u64; 3] = [
        0x38da_6cd0_3db8_58df,
        0x2e65_3732_d5cc_e469,
        0x5f16_3fdf_0533_2cc1,
    ];
}
