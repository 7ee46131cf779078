//! Appends outside transactions, and what readers get of them.

use super::support::{
    WAIT, append, at, count, invalid, numbers, ok, partitions, positions_of, read_to_end,
    reader_at_start, record, values,
};
use crate::{FetchLimits, Log};
use headwater_core::env::Env;
use headwater_core::{Class, Header, Position, RecordsBuilder};
use std::time::Duration;

/// position larger than the one before; gaps are allowed.
pub fn records_keep_their_order(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(2)));
    let mut producer = ok(log.producer());
    for start in (0..10_000).step_by(7) {
        ok(producer.append(
            &at("t", (start % 2) as u32),
            numbers(start..(start + 7).min(10_000)),
        ));
    }
    ok(producer.flush());
    for partition in 0..2 {
        let mut reader = reader_at_start(log, &[at("t", partition)]);
        let fetched = read_to_end(&mut *reader, FetchLimits::default());
        let expected: Vec<u64> = (0..10_000)
            .step_by(7)
            .filter(|start| start % 2 == u64::from(partition))
            .flat_map(|start| start..(start + 7).min(10_000))
            .collect();
        assert_eq!(values(&fetched), expected);
        let positions: Vec<Position> = fetched.iter().flat_map(positions_of).collect();
        assert!(
            positions.is_sorted_by(|left, right| left < right),
            "positions grow"
        );
    }
}

/// Once `flush` has returned, whoever polls sees the records.
pub fn a_flushed_append_is_seen_by_every_reader(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(1)));
    let mut early = reader_at_start(log, &[at("t", 0)]);
    assert_eq!(
        count(&ok(early.poll(Duration::ZERO, FetchLimits::default()))),
        0
    );
    for round in 0..20 {
        append(log, &at("t", 0), numbers(round..round + 1));
        let mut late = reader_at_start(log, &[at("t", 0)]);
        let seen = ok(late.poll(Duration::ZERO, FetchLimits::default()));
        assert_eq!(count(&seen), round as usize + 1);
        assert_eq!(
            values(&ok(early.poll(Duration::ZERO, FetchLimits::default()))),
            [round]
        );
    }
}

/// without a value, are read as they were written.
pub fn every_kind_of_record_survives(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(1)));
    let header = |name: &str, value: Option<&[u8]>| Header {
        name: name.into(),
        value: value.map(Into::into),
    };
    let mut builder = RecordsBuilder::default();
    builder.push(None, None, 0, None);
    builder.push(Some(b""), Some(b""), -1, None);
    let headers = [
        header("a", Some(b"1")),
        header("a", None),
        header("", Some(b"")),
    ];
    builder.push(Some(b"key"), None, i64::MAX, Some(headers.clone().into()));
    builder.push(None, Some(&[0, 255, 10]), i64::MIN, None);
    let large = vec![7; 3 << 20];
    builder.push(Some(b"key"), Some(&large), 1_700_000_000_000, None);
    let written = builder.finish();
    append(log, &at("t", 0), written.clone());
    append(log, &at("t", 0), written.slice(1, 4));

    let mut reader = reader_at_start(log, &[at("t", 0)]);
    let fetched = read_to_end(&mut *reader, FetchLimits::default());
    let read = fetched.iter().flat_map(|fetched| {
        (0..fetched.records.len()).map(move |index| record(&fetched.records, index))
    });
    let expected = [0, 1, 2, 3, 4, 1, 2, 3].map(|index| record(&written, index));
    assert!(read.eq(expected), "every record is as it was written");
}

/// and in a new one from [`Fetched::resume`]. Limits are kept.
pub fn limits_and_resume_tokens_lose_nothing(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(1)));
    for (start, end) in [(0, 1), (1, 500), (500, 1500), (1500, 2503)] {
        append(log, &at("t", 0), numbers(start..end));
    }
    for records_max in [1, 7, 1000, usize::MAX] {
        let limits = FetchLimits {
            records_max,
            ..FetchLimits::default()
        };
        let mut reader = reader_at_start(log, &[at("t", 0)]);
        let fetched = read_to_end(&mut *reader, limits);
        assert_eq!(
            values(&fetched),
            (0..2503).collect::<Vec<_>>(),
            "records_max {records_max}"
        );
    }
    for records_max in [61, 1000] {
        let limits = FetchLimits {
            records_max,
            ..FetchLimits::default()
        };
        let mut position = ok(log.bounds(&at("t", 0))).start;
        let mut read = Vec::new();
        while read.len() < 2503 {
            let mut reader = ok(log.reader(&[(at("t", 0), position)]));
            let fetched = ok(reader.poll(WAIT, limits));
            assert!(count(&fetched) > 0, "a poll within the log returns records");
            assert!(count(&fetched) <= records_max, "the limit is kept");
            read.extend(values(&fetched));
            position = fetched[fetched.len() - 1].resume;
        }
        assert_eq!(
            read,
            (0..2503).collect::<Vec<_>>(),
            "records_max {records_max}"
        );
        assert_eq!(position, ok(log.bounds(&at("t", 0))).end);
    }
    // The position of a record resumes at that record, in the middle of a batch too.
    let mut reader = reader_at_start(log, &[at("t", 0)]);
    let fetched = read_to_end(&mut *reader, FetchLimits::default());
    let positions: Vec<Position> = fetched.iter().flat_map(positions_of).collect();
    for index in [0, 1, 499, 500, 501, 2502] {
        let mut reader = ok(log.reader(&[(at("t", 0), positions[index])]));
        let fetched = ok(reader.poll(WAIT, FetchLimits::default()));
        assert_eq!(values(&fetched).first(), Some(&(index as u64)));
    }
}

/// `bytes_max` bounds a poll, but at least one record is returned.
pub fn one_record_is_returned_whatever_its_size(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(2)));
    append(log, &at("t", 0), numbers(0..50));
    append(log, &at("t", 1), numbers(50..100));
    for bytes_max in [0, 1, 8, 20, 100] {
        let limits = FetchLimits {
            bytes_max,
            ..FetchLimits::default()
        };
        let mut reader = reader_at_start(log, &[at("t", 0), at("t", 1)]);
        let mut read = Vec::new();
        for _ in 0..200 {
            let fetched = ok(reader.poll(Duration::ZERO, limits));
            let bytes: usize = fetched
                .iter()
                .map(|fetched| {
                    fetched
                        .records
                        .values
                        .iter()
                        .map(|span| span.len as usize)
                        .sum::<usize>()
                })
                .sum();
            assert!(
                bytes <= bytes_max || count(&fetched) == 1,
                "{bytes} of {bytes_max} bytes"
            );
            read.extend(values(&fetched));
        }
        read.sort_unstable();
        assert_eq!(read, (0..100).collect::<Vec<_>>(), "bytes_max {bytes_max}");
    }
}

/// With small limits and much to read everywhere, no partition starves.
pub fn partitions_take_turns(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(4)));
    for partition in 0..4 {
        append(log, &at("t", partition), numbers(0..1_000));
    }
    let partitions: Vec<_> = (0..4).map(|partition| at("t", partition)).collect();
    let mut reader = reader_at_start(log, &partitions);
    let limits = FetchLimits {
        records_max: 1,
        ..FetchLimits::default()
    };
    let clock = Env::system().clock;
    let mut read = [0; 4];
    // Fewer than one partition has. All are read at once, unless a broker is slow.
    for _ in 0..900 {
        for fetched in ok(reader.poll(WAIT, limits)) {
            read[fetched.partition.partition as usize] += fetched.records.len();
        }
        if read.iter().all(|&count| count > 0) {
            break;
        }
        clock.sleep(Duration::from_millis(5));
    }
    assert!(
        read.iter().all(|&count| count > 0),
        "every partition was read: {read:?}"
    );
    for fetched in read_to_end(&mut *reader, FetchLimits::default()) {
        read[fetched.partition.partition as usize] += fetched.records.len();
    }
    assert_eq!(read, [1_000; 4]);
}

/// partition without anything new says so by an answer without records.
pub fn at_end_means_the_end(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(2)));
    let (full, empty) = (at("t", 0), at("t", 1));
    append(log, &full, numbers(0..10));
    for records_max in [1, 3, 5, 10, 100] {
        let limits = FetchLimits {
            records_max,
            ..FetchLimits::default()
        };
        let mut reader = reader_at_start(log, std::slice::from_ref(&full));
        let mut read = 0;
        while read < 10 {
            for fetched in ok(reader.poll(Duration::ZERO, limits)) {
                read += fetched.records.len();
                assert_eq!(fetched.at_end, fetched.resume == ok(log.bounds(&full)).end);
            }
        }
        let fetched = ok(reader.poll(Duration::ZERO, limits));
        assert!(fetched.len() == 1 && fetched[0].at_end && fetched[0].records.is_empty());
    }
    let mut reader = reader_at_start(log, &[full.clone(), empty.clone()]);
    let fetched = ok(reader.poll(Duration::ZERO, FetchLimits::default()));
    assert!(
        fetched
            .iter()
            .any(|fetched| fetched.partition == empty && fetched.at_end)
    );
    let fetched = ok(reader.poll(Duration::ZERO, FetchLimits::default()));
    assert_eq!(fetched.len(), 2, "both are quiet and say so");
    assert!(
        fetched
            .iter()
            .all(|fetched| fetched.at_end && fetched.records.is_empty())
    );
    append(log, &empty, numbers(0..1));
    let fetched = ok(reader.poll(Duration::ZERO, FetchLimits::default()));
    assert_eq!(values(&fetched), [0]);
}

/// what was read too. Only a partition of the reader can be sought.
pub fn seek_goes_on_elsewhere(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(2)));
    let partition = at("t", 0);
    append(log, &partition, numbers(0..100));
    append(log, &partition, numbers(100..200));
    let mut reader = reader_at_start(log, std::slice::from_ref(&partition));
    let all = read_to_end(&mut *reader, FetchLimits::default());
    let positions: Vec<Position> = all.iter().flat_map(positions_of).collect();
    let limits = FetchLimits {
        records_max: 3,
        ..FetchLimits::default()
    };
    for index in [150, 0, 99, 100, 197, 42] {
        ok(reader.seek(&partition, positions[index]));
        let expected: Vec<u64> = (index as u64..index as u64 + 3).collect();
        let mut read = Vec::new();
        while read.len() < 3 {
            read.extend(values(&ok(reader.poll(WAIT, limits))));
        }
        assert_eq!(read[..3], expected);
    }
    ok(reader.seek(&partition, ok(log.bounds(&partition)).end));
    assert_eq!(count(&ok(reader.poll(Duration::ZERO, limits))), 0);
    invalid(reader.seek(&at("t", 1), positions[0]));
}

/// While one partition of a reader gives an error, no record of another is lost.
pub fn an_error_of_one_partition_loses_no_other(log: &dyn Log) {
    ok(log.create_topic("good", &partitions(1)));
    ok(log.create_topic("gone", &partitions(1)));
    append(log, &at("good", 0), numbers(0..5));
    append(log, &at("gone", 0), numbers(0..5));
    let mut reader = reader_at_start(log, &[at("good", 0), at("gone", 0)]);
    ok(log.delete_topic("gone"));
    let mut read = Vec::new();
    let mut errors = 0;
    for _ in 0..10 {
        match reader.poll(Duration::ZERO, FetchLimits::default()) {
            Ok(mut fetched) => {
                // Of the deleted topic it may hand out what it had read already.
                fetched.retain(|fetched| *fetched.partition.topic == *"good");
                read.extend(values(&fetched));
            }
            Err(error) => {
                assert_eq!(error.class(), Class::Invalid);
                errors += 1;
            }
        }
    }
    assert!(errors > 0, "the error is told");
    assert_eq!(read, [0, 1, 2, 3, 4]);
}

/// time is up.
pub fn a_waiting_reader_is_woken(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(2)));
    let mut reader = reader_at_start(log, &[at("t", 0), at("t", 1)]);
    let clock = Env::system().clock;
    let start = clock.monotonic();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            clock.sleep(Duration::from_millis(30));
            append(log, &at("t", 1), numbers(0..1));
        });
        let fetched = ok(reader.poll(WAIT, FetchLimits::default()));
        assert_eq!(values(&fetched), [0]);
    });
    assert!(
        clock.monotonic() - start < WAIT / 2,
        "it did not wait to the end"
    );
}

/// every partition is at its end.
pub fn a_poll_without_records_waits(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(1)));
    let mut reader = reader_at_start(log, &[at("t", 0)]);
    let clock = Env::system().clock;
    let start = clock.monotonic();
    let fetched = ok(reader.poll(Duration::from_millis(40), FetchLimits::default()));
    assert!(Duration::from_millis(40) <= clock.monotonic() - start);
    assert!(fetched.len() == 1 && fetched[0].at_end);
}
