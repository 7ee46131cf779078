//! Topics: made, refused, counted, emptied by retention and deleted.

use super::support::{
    WAIT, append, at, commit, committed_at, invalid, numbers, ok, partitions, positions_of,
    read_to_end, reader_at_start, values,
};
use crate::{FetchLimits, Log, TopicConfig, fixed};
use headwater_core::env::Env;
use headwater_core::{Class, Position, RecordsBuilder};
use std::time::Duration;

/// A group of brokers looks for new partitions when it looks at the topics anew.
const NOTICE_WAIT: Duration = Duration::from_secs(30);

/// again after a deletion included. Topics are listed by name.
pub fn topics_are_made_once(log: &dyn Log) {
    let config = TopicConfig {
        partitions: 3,
        retention_ms: Some(5),
        // What is not asked for may be as the log has it.
        retention_bytes: Some(1 << 30),
        ..TopicConfig::default()
    };
    assert!(ok(log.create_topic("b.topic-1_X", &config)));
    assert!(!ok(log.create_topic("b.topic-1_X", &config)));
    let other = TopicConfig {
        retention_ms: None,
        ..config.clone()
    };
    assert!(!ok(log.create_topic("b.topic-1_X", &other)));
    assert!(ok(log.create_topic("a", &TopicConfig::default())));
    let topics = ok(log.topics());
    let names: Vec<_> = topics.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(names, ["a", "b.topic-1_X"]);
    assert_eq!(topics[1].config, config);
    assert_ne!(topics[0].id, topics[1].id);
    assert_eq!(ok(log.topic("a")).as_ref(), Some(&topics[0]));
    assert_eq!(ok(log.topic("nothing")), None);
    assert!(ok(log.delete_topic("a")));
    assert!(!ok(log.delete_topic("a")));
    assert!(ok(log.create_topic("a", &TopicConfig::default())));
    assert_ne!(ok(log.topic("a")).map(|topic| topic.id), Some(topics[0].id));
}

/// partition that does not exist are `Invalid`, wherever they are used.
pub fn wrong_topics_are_refused(log: &dyn Log) {
    let long = "x".repeat(250);
    for name in ["", "a b", "a/b", "ä", &long] {
        invalid(log.create_topic(name, &TopicConfig::default()));
    }
    invalid(log.create_topic("none", &partitions(0)));
    ok(log.create_topic(&long[1..], &partitions(1)));
    ok(log.create_topic("t", &partitions(2)));
    let text = invalid(log.create_topic("t", &partitions(3)));
    assert!(
        text.contains('2') && text.contains('3'),
        "both numbers: {text}"
    );

    let member = ok(log.join("g", &[]));
    for partition in [at("t", 2), at("nothing", 0)] {
        let start = Position::from_offset(0);
        invalid(log.bounds(&partition));
        invalid(log.waiting(&partition, start));
        invalid(log.reader(&[(partition.clone(), start)]));
        // A log may find out when it is asked to append or when it must store.
        let mut producer = ok(log.producer());
        let appended = producer.append(&partition, numbers(0..1));
        invalid(appended.and_then(|()| producer.flush()));
        let mut transactor = ok(member.transactor(0));
        let appended = transactor.append(&partition, numbers(0..1));
        invalid(appended.and_then(|()| transactor.commit(&mut fixed(&[])).map(|_| ())));
    }
}

/// too: deleted records leave their numbers behind.
pub fn retention_passed_names_both_positions(log: &dyn Log) {
    let config = TopicConfig {
        retention_ms: None,
        retention_bytes: Some(1_000),
        ..TopicConfig::default()
    };
    ok(log.create_topic("t", &config));
    let partition = at("t", 0);
    let old = ok(log.bounds(&partition)).start;
    let clock = Env::system().clock;
    let mut bounds = ok(log.bounds(&partition));
    let mut appended = 0;
    let deadline = clock.monotonic() + WAIT;
    while bounds.start == old {
        assert!(
            clock.monotonic() < deadline,
            "retention deletes within {WAIT:?}"
        );
        // A broker deletes whole segments, which have a megabyte at least.
        append(log, &partition, numbers(appended..appended + 20_000));
        appended += 20_000;
        clock.sleep(Duration::from_millis(5));
        bounds = ok(log.bounds(&partition));
    }
    // A reader that was there before may have the records already.
    let mut reader = ok(log.reader(&[(partition.clone(), old)]));
    let text = invalid(reader.poll(Duration::ZERO, FetchLimits::default()));
    assert!(
        text.contains("position=`0`") && text.contains("start=`"),
        "both: {text}"
    );
    assert_eq!(
        ok(log.waiting(&partition, old)),
        ok(log.waiting(&partition, bounds.start))
    );
    let mut read = Vec::new();
    while read.is_empty() {
        ok(reader.seek(&partition, ok(log.bounds(&partition)).start));
        // Retention may be faster once more.
        read.extend(
            reader
                .poll(Duration::ZERO, FetchLimits::default())
                .unwrap_or_default(),
        );
    }
    assert!(values(&read)[0] > 0);
}

/// anew under its name starts empty.
pub fn a_deleted_topic_is_gone(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(1)));
    ok(log.create_topic("other", &partitions(1)));
    let partition = at("t", 0);
    append(log, &partition, numbers(0..10));
    let member = ok(log.join("g", &[]));
    let mut transactor = ok(member.transactor(0));
    let place = |topic: &str| (at(topic, 0), committed_at(5, b""));
    commit(&mut *transactor, &[place("t"), place("other")]);
    let mut reader = reader_at_start(log, std::slice::from_ref(&partition));
    ok(transactor.append(&partition, numbers(0..1)));
    assert!(ok(log.delete_topic("t")));
    assert_eq!(ok(log.topic("t")), None);
    // What it had read already it may hand out first.
    let polls = std::iter::repeat_with(|| reader.poll(Duration::ZERO, FetchLimits::default()));
    invalid(polls.take(100).find(Result::is_err).expect("it is told"));
    // Where records leave the process before the commit, they may have been stored
    // and deleted with the topic.
    if let Err(error) = transactor.commit(&mut fixed(&[])) {
        assert_eq!(error.class(), Class::Invalid, "{error}");
    }
    // A broker forgets in its own time.
    let kept = std::iter::repeat_with(|| ok(log.committed("g")));
    assert!(
        kept.take(1_000).any(|kept| kept == [place("other")]),
        "what was committed in it is forgotten"
    );
    ok(log.create_topic("t", &partitions(1)));
    let bounds = ok(log.bounds(&partition));
    assert_eq!(bounds.start, bounds.end);
    append(log, &partition, numbers(70..72));
    let mut reader = reader_at_start(log, &[partition]);
    assert_eq!(
        values(&read_to_end(&mut *reader, FetchLimits::default())),
        [70, 71]
    );
}

/// `waiting` counts the records from a position to the end.
pub fn waiting_counts_records(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(1)));
    let partition = at("t", 0);
    let start = ok(log.bounds(&partition)).start;
    assert_eq!(ok(log.waiting(&partition, start)), 0);
    append(log, &partition, numbers(0..12));
    assert_eq!(ok(log.waiting(&partition, start)), 12);
    assert_eq!(
        ok(log.waiting(&partition, ok(log.bounds(&partition)).end)),
        0
    );
}

/// `position_at` gives the first record of a time or later, in whatever order times
/// stand, and the end where there is none.
pub fn a_time_has_a_position(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(1)));
    let partition = at("t", 0);
    assert_eq!(
        ok(log.position_at(&partition, 5)),
        ok(log.bounds(&partition)).end
    );
    let times = [-3, 0, 1, 40, 20, 60, 60, 50, 1_700_000_000_000, 90];
    for chunk in times.chunks(4) {
        let mut records = RecordsBuilder::default();
        for time in chunk {
            records.push(None, Some(&[]), *time, None);
        }
        append(log, &partition, records.finish());
    }
    let mut reader = reader_at_start(log, std::slice::from_ref(&partition));
    let fetched = read_to_end(&mut *reader, FetchLimits::default());
    let stored: Vec<Position> = fetched.iter().flat_map(positions_of).collect();
    for time in [i64::MIN, -3, -1, 0, 1, 2, 20, 41, 60, 61, 1_699_999_999_999] {
        let first = times.iter().position(|stored| time <= *stored);
        let first = first.expect("one is as new");
        assert_eq!(
            ok(log.position_at(&partition, time)),
            stored[first],
            "{time}"
        );
    }
    let end = ok(log.bounds(&partition)).end;
    assert_eq!(ok(log.position_at(&partition, i64::MAX)), end);
    assert_eq!(ok(log.position_at(&partition, 1_700_000_000_001)), end);
    invalid(log.position_at(&at("t", 1), 5));
    invalid(log.position_at(&at("nothing", 0), 5));
}

/// Partitions are added, never taken away; those that were there keep their records,
/// and the owner of a group is told.
pub fn partitions_can_be_added(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(1)));
    append(log, &at("t", 0), numbers(0..3));
    let mut member = ok(log.join("g", &["t".into()]));
    assert_eq!(ok(member.assignment()), [at("t", 0)]);
    assert!(!member.is_changing());
    assert!(ok(log.add_partitions("t", 3)));
    assert!(!ok(log.add_partitions("t", 3)));
    invalid(log.add_partitions("t", 2));
    invalid(log.add_partitions("nothing", 2));
    assert_eq!(
        ok(log.topic("t")).map(|topic| topic.config.partitions),
        Some(3)
    );
    append(log, &at("t", 2), numbers(3..5));
    let all = [at("t", 0), at("t", 1), at("t", 2)];
    let mut reader = reader_at_start(log, &all);
    let mut read = values(&read_to_end(&mut *reader, FetchLimits::default()));
    read.sort_unstable();
    assert_eq!(read, [0, 1, 2, 3, 4]);
    let clock = Env::system().clock;
    let deadline = clock.monotonic() + NOTICE_WAIT;
    let mut owned = Vec::new();
    while owned != all {
        assert!(clock.monotonic() < deadline, "told within {NOTICE_WAIT:?}");
        clock.sleep(Duration::from_millis(20));
        if member.is_changing() {
            owned = ok(member.assignment());
        }
    }
}

/// Deleted records are gone for readers, others stay where they are; what is asked for
/// twice, or before the start, changes nothing.
pub fn records_before_a_position_can_be_deleted(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(2)));
    let partition = at("t", 0);
    for start in (0..200).step_by(10) {
        append(log, &partition, numbers(start..start + 10));
    }
    append(log, &at("t", 1), numbers(0..10));
    let mut reader = reader_at_start(log, std::slice::from_ref(&partition));
    let fetched = read_to_end(&mut *reader, FetchLimits::default());
    let stored: Vec<Position> = fetched.iter().flat_map(positions_of).collect();
    let before = ok(log.bounds(&partition));
    for _ in 0..2 {
        ok(log.delete_before(&partition, stored[100]));
        let bounds = ok(log.bounds(&partition));
        assert!(before.start < bounds.start && bounds.start <= stored[100]);
        assert_eq!(bounds.end, before.end);
        let mut reader = reader_at_start(log, std::slice::from_ref(&partition));
        let read = values(&read_to_end(&mut *reader, FetchLimits::default()));
        assert!(read.ends_with(&(100..200).collect::<Vec<_>>()));
        ok(log.delete_before(&partition, before.start));
    }
    assert_eq!(ok(log.waiting(&at("t", 1), before.start)), 10);
    // The end is known when nothing is left.
    ok(log.delete_before(&partition, before.end));
    assert_eq!(ok(log.bounds(&partition)).end, before.end);
    append(log, &partition, numbers(200..201));
    let mut reader = reader_at_start(log, std::slice::from_ref(&partition));
    let read = values(&read_to_end(&mut *reader, FetchLimits::default()));
    assert_eq!(read.last(), Some(&200));
    invalid(log.delete_before(&at("t", 2), before.start));
}
