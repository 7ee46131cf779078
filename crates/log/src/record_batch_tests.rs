use super::*;
use proptest::prelude::*;

fn encode(records: &Records) -> EncodedBatch {
    let mut encoder = BatchEncoder::default();
    for index in 0..records.len() {
        let timestamp = records.timestamps[index];
        let headers = records.headers(index);
        encoder
            .push(records.key(index), records.value(index), timestamp, headers)
            .unwrap();
    }
    encoder.finish().unwrap()
}

fn decode(bytes: &[u8], base_offset: u64) -> Result<Records, Damage> {
    let mut decoder = BatchDecoder::default();
    decoder.push(bytes, base_offset)?;
    Ok(decoder.finish().0)
}

fn assert_equal(left: &Records, right: &Records) {
    assert_eq!(left.len(), right.len());
    assert_eq!(left.timestamps, right.timestamps);
    for index in 0..left.len() {
        assert_eq!(left.key(index), right.key(index));
        assert_eq!(left.value(index), right.value(index));
        assert_eq!(left.headers(index), right.headers(index));
    }
}

type RecordParts = (
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    TimestampMs,
    Vec<(String, Option<Vec<u8>>)>,
);

fn some_bytes(len_max: usize) -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..len_max))
}

fn some_records() -> impl Strategy<Value = Records> {
    let header = ("\\PC{0,5}", some_bytes(8));
    let headers = prop::collection::vec(header, 0..3);
    let timestamp = prop_oneof![any::<i64>(), 1_700_000_000_000..1_700_000_100_000_i64];
    let record = (some_bytes(20), some_bytes(300), timestamp, headers);
    prop::collection::vec(record, 1..40).prop_map(|records| build(&records))
}

fn build(records: &[RecordParts]) -> Records {
    let mut builder = headwater_core::RecordsBuilder::default();
    for (key, value, timestamp, headers) in records {
        let headers: Vec<Header> = headers
            .iter()
            .map(|(name, value)| Header {
                name: name.as_str().into(),
                value: value.as_deref().map(Into::into),
            })
            .collect();
        let headers = (!headers.is_empty()).then(|| headers.into());
        builder.push(key.as_deref(), value.as_deref(), *timestamp, headers);
    }
    builder.finish()
}

proptest! {
    #[test]
    fn records_survive_the_round_trip(records in some_records(), offset in 0..u64::MAX / 2) {
        let mut batch = encode(&records);
        batch.set_base_offset(offset);
        prop_assert_eq!(batch.count as usize, records.len());
        prop_assert_eq!(Some(batch.timestamp_max), records.timestamps.iter().copied().max());
        assert_equal(&decode(&batch.bytes, offset).unwrap(), &records);
    }

    #[test]
    fn records_with_gaps_keep_their_offsets(
        records in some_records(),
        gaps in prop::collection::vec(prop_oneof![Just(0_u32), 0..5_u32, 0..1_000_000_u32], 40),
        base in 0..u64::MAX / 2,
    ) {
        let (mut encoder, mut offsets, mut delta) = (BatchEncoder::default(), Vec::new(), 0);
        for (index, gap) in (0..records.len()).zip(gaps) {
            delta += gap;
            let (key, value) = (records.key(index), records.value(index));
            encoder.push_at(delta, key, value, records.timestamps[index], records.headers(index)).unwrap();
            offsets.push(base + u64::from(delta));
            delta += 1;
        }
        let mut batch = encoder.finish().unwrap();
        batch.set_base_offset(base);
        prop_assert_eq!(batch.span, delta);
        let mut decoder = BatchDecoder::default();
        prop_assert_eq!(decoder.push(&batch.bytes, base), Ok(batch.span));
        // One without gaps, right behind it or further on.
        let next = encode(&records);
        let second = base + u64::from(delta) + u64::from(delta % 2);
        let mut bytes = next.bytes;
        bytes[..8].copy_from_slice(&second.to_be_bytes());
        decoder.push(&bytes, second).unwrap();
        offsets.extend(second..second + u64::from(next.count));
        let (read, found) = decoder.finish();
        prop_assert_eq!((0..read.len()).map(|index| found.get(index)).collect::<Vec<_>>(), offsets.clone());
        for (index, &offset) in offsets.iter().enumerate() {
            prop_assert_eq!(found.index_from(offset), index);
            prop_assert!(found.index_from(offset + 1) == index + 1);
        }
        assert_equal(&read.slice(0, records.len()), &records);
        assert_equal(&read.slice(records.len(), read.len()), &records);
    }

    #[test]
    fn a_flipped_bit_is_found(records in some_records(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let batch = encode(&records);
        let mut damaged = batch.bytes.clone();
        let at = at.index(damaged.len());
        damaged[at] ^= 1_u8 << bit;
        // The leader epoch alone is neither covered by the CRC nor used.
        prop_assert!((12..16).contains(&at) || decode(&damaged, 0).is_err());
    }

    #[test]
    fn a_cut_batch_is_found(records in some_records(), at in any::<prop::sample::Index>()) {
        let batch = encode(&records);
        let cut = at.index(batch.bytes.len());
        prop_assert!(decode(&batch.bytes[..cut], 0).is_err());
    }

    /// With the CRC made right again, whatever the bytes say must be an error or
    /// records, and never a panic or memory without a bound.
    #[test]
    fn bytes_of_an_enemy_never_panic(
        records in some_records(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = encode(&records).bytes;
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let length = bytes.len() as i32 - 12;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[CHECKED_FROM..]);
        bytes[CRC_AT..CHECKED_FROM].copy_from_slice(&crc.to_be_bytes());
        if let Ok(records) = decode(&bytes, u64::from_be_bytes(array(&bytes, 0))) {
            for index in 0..records.len() {
                let _ = (records.key(index), records.value(index));
            }
        }
    }
}

#[test]
fn a_batch_of_kafka_is_read_and_written_byte_for_byte() {
    let mut encoder = BatchEncoder::default();
    let header = Header {
        name: "h".into(),
        value: None,
    };
    encoder
        .push(Some(b"k"), Some(b"value"), 1_000, &[])
        .unwrap();
    encoder.push(None, None, 998, &[header]).unwrap();
    let batch = encoder.finish().unwrap();
    #[rustfmt::skip]
    let records = [
        // length 12, attributes, timestamp +0, offset +0, key 1, value 5, no headers
        24, 0, 0, 0, 2, b'k', 10, b'v', b'a', b'l', b'u', b'e', 0,
        // length 9, attributes, timestamp -2, offset +1, null, null, one header without value
        18, 0, 3, 2, 1, 1, 2, 2, b'h', 1,
    ];
    assert_eq!(batch.bytes[HEADER_BYTES..], records);
    assert_eq!(batch.bytes[..8], [0; 8]);
    assert_eq!(
        batch.bytes[8..12],
        (49 + records.len() as u32).to_be_bytes()
    );
    assert_eq!(batch.timestamp_max, 1_000);
    assert_eq!(decode(&batch.bytes, 0).unwrap().headers(1)[0].value, None);
}

#[test]
fn batches_of_one_partition_join_into_one_run() {
    let first = build(&[(None, Some(b"a".to_vec()), 1, vec![])]);
    let second = build(&[(Some(b"k".to_vec()), None, 2, vec![("h".into(), None)])]);
    let mut decoder = BatchDecoder::default();
    decoder.push(&encode(&first).bytes, 0).unwrap();
    let mut batch = encode(&second);
    batch.set_base_offset(1);
    decoder.push(&batch.bytes, 1).unwrap();
    let (run, offsets) = decoder.finish();
    assert_eq!(offsets, Offsets::From(0));
    assert_equal(&run.slice(0, 1), &first);
    assert_equal(&run.slice(1, 2), &second);
}

#[test]
fn damage_names_the_place_and_the_way_out() {
    let records = build(&[(None, Some(b"a".to_vec()), 1, vec![])]);
    let mut batch = encode(&records);
    *batch.bytes.last_mut().unwrap() ^= 1;
    let damage = decode(&batch.bytes, 0).unwrap_err();
    let error = damage.at(&TopicPartition::new("telemetry", 3), 17);
    assert_eq!(error.class(), headwater_core::Class::Internal);
    let text = error.to_string();
    assert!(
        text.contains("topic=`telemetry` partition=`3` offset=`17`"),
        "{text}"
    );
    assert!(text.contains("hint:"), "{text}");
}
