//! The record batch: any bytes give records or say what is wrong, and what was
//! encoded comes back.

use crate::input::Input;
use headwater_core::{Header, Records};
use headwater_log::record_batch::{BatchDecoder, BatchEncoder, HEADER_BYTES};

const MODE_RAW: u8 = 0;
const MODE_SEALED: u8 = 1;

/// Bytes as they are, bytes behind a header that fits them (a CRC keeps chance
/// away from the records), or records.
pub(crate) fn batch(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() % 3 {
        MODE_RAW => decode(input.rest(), 0),
        MODE_SEALED => {
            let count = u32::from(input.byte()) * u32::from(input.byte()).max(1);
            let offset = input.byte().into();
            decode(&sealed(count, offset, input.rest()), offset);
        }
        _ => round_trip(&mut input),
    }
}

fn decode(batch: &[u8], offset: u64) {
    let mut decoder = BatchDecoder::with_capacity(0);
    // A sound batch before it: what comes second lands behind other bytes.
    let mut first = BatchEncoder::default();
    let header = Header {
        name: "h".into(),
        value: None,
    };
    first
        .push(Some(b"k"), None, 5, &[header])
        .expect("a small record");
    let first = first.finish().expect("one record");
    decoder.push(&first.bytes, 0).expect("a sound batch");
    if let Ok(covered) = decoder.push(batch, offset) {
        let count = decoder.len();
        assert!((1..=1 + covered as usize).contains(&count));
        let (records, offsets) = decoder.finish();
        assert_eq!(records.len(), count);
        for index in 1..records.len() {
            std::hint::black_box(offsets.get(index));
        }
        touch(&records);
    }
}

/// A header as a writer would make it for these bytes.
fn sealed(count: u32, offset: u64, records: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes.extend_from_slice(records);
    let length = bytes.len() as i32 - 12;
    bytes[..8].copy_from_slice(&offset.to_be_bytes());
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[16] = 2;
    bytes[23..27].copy_from_slice(&count.wrapping_sub(1).to_be_bytes());
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn touch(records: &Records) {
    for index in 0..records.len() {
        std::hint::black_box(records.key(index).map(<[u8]>::len));
        std::hint::black_box(records.value(index).map(<[u8]>::len));
        std::hint::black_box(records.headers(index).len());
    }
}

fn round_trip(input: &mut Input<'_>) {
    type Parts<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, i64, Vec<Header>);
    let mut encoder = BatchEncoder::with_capacity(16);
    let mut wanted: Vec<Parts<'_>> = Vec::new();
    while !input.is_empty() {
        let (key, value, time) = (input.nullable(), input.nullable(), input.int());
        let headers: Vec<Header> = (0..input.below(3))
            .map(|_| Header {
                name: String::from_utf8_lossy(input.bytes()).into(),
                value: input.nullable().map(Into::into),
            })
            .collect();
        encoder
            .push(key, value, time, &headers)
            .expect("a small record");
        wanted.push((key, value, time, headers));
    }
    let Some(mut batch) = encoder.finish() else {
        assert!(wanted.is_empty());
        return;
    };
    let latest = wanted.iter().map(|record| record.2).max();
    assert_eq!(Some(batch.timestamp_max), latest);
    batch.set_base_offset(77);
    let mut decoder = BatchDecoder::default();
    let count = decoder.push(&batch.bytes, 77).expect("a sound batch");
    assert_eq!((count, batch.count as usize), (batch.count, wanted.len()));
    let (records, offsets) = decoder.finish();
    for (index, (key, value, time, headers)) in wanted.iter().enumerate() {
        assert_eq!(offsets.get(index), 77 + index as u64);
        assert_eq!(records.key(index), *key);
        assert_eq!(records.value(index), *value);
        assert_eq!(records.timestamps[index], *time);
        assert_eq!(records.headers(index), headers);
    }
}
