//! Transactions, and the groups that own them.

use super::support::{
    WAIT, at, commit, committed_at, count, fenced, invalid, numbers, ok, partitions, positions_of,
    read_to_end, reader_at_start, values,
};
use crate::{CommitOutcome, Committed, Ends, FetchLimits, Log, fixed};
use headwater_core::env::Env;
use headwater_core::{Class, Error, Position, Records};
use std::time::Duration;

/// transaction or nothing, in one poll.
pub fn a_transaction_is_seen_whole(log: &dyn Log) {
    const TRANSACTIONS: u64 = 200;
    let topics = ["a", "b", "c"];
    for topic in topics {
        ok(log.create_topic(topic, &partitions(1)));
    }
    let partitions = topics.map(|topic| at(topic, 0));
    let mut reader = reader_at_start(log, &partitions);
    let member = ok(log.join("g", &[]));
    let mut transactor = ok(member.transactor(0));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..TRANSACTIONS {
                for topic in topics {
                    ok(transactor.append(&at(topic, 0), numbers(number..number + 1)));
                }
                commit(&mut *transactor, &[]);
            }
        });
        let mut read = [0; 3];
        while read.iter().sum::<u64>() < 3 * TRANSACTIONS {
            for fetched in ok(reader.poll(WAIT, FetchLimits::default())) {
                let topic = topics
                    .iter()
                    .position(|topic| *topic == &*fetched.partition.topic);
                read[topic.expect("only these are read")] += fetched.records.len() as u64;
            }
            assert!(
                read.iter().all(|&count| count == read[0]),
                "a part was seen: {read:?}"
            );
        }
    });
}

/// While a reader polls, a partition shows the committed transactions in order, each
/// once, and never a record of one that is open or aborted.
pub fn an_aborted_transaction_is_never_seen(log: &dyn Log) {
    const TRANSACTIONS: u64 = 60;
    const ABORTED: u64 = u64::MAX;
    ok(log.create_topic("t", &partitions(2)));
    let places = [at("t", 0), at("t", 1)];
    let mut reader = reader_at_start(log, &places);
    let member = ok(log.join("g", &[]));
    let mut transactor = ok(member.transactor(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..TRANSACTIONS {
                for place in &places {
                    ok(transactor.append(place, numbers(ABORTED - 2..ABORTED)));
                }
                ok(transactor.abort());
                for place in &places {
                    ok(transactor.append(place, numbers(number..number + 1)));
                }
                commit(&mut *transactor, &[]);
            }
        });
        let mut next = [0; 2];
        while next.iter().sum::<u64>() < 2 * TRANSACTIONS {
            for fetched in ok(reader.poll(WAIT, FetchLimits::default())) {
                let next = &mut next[fetched.partition.partition as usize];
                for value in values(&[fetched]) {
                    assert_eq!(value, *next, "committed transactions alone, in order");
                    *next += 1;
                }
            }
        }
    });
    for place in places {
        let mut reader = reader_at_start(log, &[place]);
        let all = values(&read_to_end(&mut *reader, FetchLimits::default()));
        assert_eq!(all, (0..TRANSACTIONS).collect::<Vec<_>>());
    }
}

/// What is appended and not committed, because it is open, aborted or dropped, is not
/// seen, and its positions are not kept. Nothing of it is pending afterwards.
pub fn what_is_not_committed_is_not_seen(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(1)));
    let partition = at("t", 0);
    let mut reader = reader_at_start(log, std::slice::from_ref(&partition));
    let member = ok(log.join("g", &[]));
    let mut transactor = ok(member.transactor(0));
    ok(transactor.append(&partition, numbers(0..1_000)));
    assert!(transactor.pending_bytes() >= 8_000);
    assert_eq!(
        count(&ok(reader.poll(Duration::ZERO, FetchLimits::default()))),
        0
    );
    ok(transactor.abort());
    assert_eq!(transactor.pending_bytes(), 0);
    ok(transactor.append(&partition, numbers(0..10)));
    let too_long = committed_at(1, &[0; Committed::METADATA_BYTES_MAX + 1]);
    invalid(transactor.commit(&mut fixed(&[(partition.clone(), too_long)])));
    assert_eq!(transactor.pending_bytes(), 0);
    let mut dropped = ok(member.transactor(1));
    ok(dropped.append(&partition, numbers(0..10)));
    drop(dropped);
    ok(transactor.append(&partition, numbers(7..8)));
    commit(&mut *transactor, &[]);
    let fetched = ok(reader.poll(WAIT, FetchLimits::default()));
    assert_eq!(values(&fetched), [7]);
    assert_eq!(ok(log.committed("g")), []);
}

/// it appended to, and of no other.
pub fn a_commit_says_where_partitions_end(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(3)));
    let member = ok(log.join("g", &[]));
    let mut transactor = ok(member.transactor(0));
    for round in 0..3 {
        ok(transactor.append(&at("t", 2), numbers(0..5)));
        ok(transactor.append(&at("t", 0), numbers(0..round + 1)));
        ok(transactor.append(&at("t", 2), numbers(5..6)));
        ok(transactor.append(&at("t", 1), Records::default()));
        let ends = commit(&mut *transactor, &[(at("t", 1), committed_at(0, b""))]);
        reaches_ends(log, &ends);
        assert_eq!(
            ends.into_keys().collect::<Vec<_>>(),
            [at("t", 0), at("t", 2)]
        );
    }
}

/// replaces it, one partition at a time. A group is listed once it has committed.
pub fn positions_and_metadata_are_kept(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(2)));
    let member = ok(log.join("application: 1/ä", &[]));
    assert_eq!(ok(member.committed()), []);
    assert_eq!(ok(log.groups()), Vec::<String>::new());
    let mut transactor = ok(member.transactor(0));
    let source = (at("csv source #1", 7), committed_at(3, &[0, 255]));
    let longest = Position::from_bytes(&[9; Position::BYTES_MAX]).expect("it is not too long");
    let opaque = (
        at("t", 1),
        Committed {
            position: longest,
            metadata: b"m".to_vec(),
        },
    );
    let first = (
        at("t", 0),
        committed_at(1, &[1; Committed::METADATA_BYTES_MAX]),
    );
    commit(&mut *transactor, &[opaque.clone(), source.clone(), first]);
    let second = (at("t", 0), committed_at(2, b"second"));
    commit(&mut *transactor, std::slice::from_ref(&second));
    let expected = [source, second, opaque];
    assert_eq!(ok(member.committed()), expected);
    drop(transactor);
    drop(member);
    assert_eq!(ok(log.committed("application: 1/ä")), expected);
    assert_eq!(
        ok(ok(log.join("application: 1/ä", &[])).committed()),
        expected
    );
    assert_eq!(ok(log.committed("other")), []);
    assert_eq!(ok(log.groups()), ["application: 1/ä"]);
}

/// More metadata than [`Committed::METADATA_BYTES_MAX`] is `Invalid`.
pub fn metadata_is_bounded(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(1)));
    let member = ok(log.join("g", &[]));
    let mut transactor = ok(member.transactor(0));
    let bound = Committed::METADATA_BYTES_MAX;
    let text = invalid(transactor.commit(&mut fixed(&[(
        at("t", 0),
        committed_at(0, &vec![0; bound + 1]),
    )])));
    assert!(
        text.contains(&(bound + 1).to_string()),
        "the size is named: {text}"
    );
    commit(
        &mut *transactor,
        &[(at("t", 0), committed_at(0, &vec![0; bound]))],
    );
}

/// A transaction without records, or without anything, commits.
pub fn an_empty_commit_succeeds(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(1)));
    let member = ok(log.join("g", &[]));
    let mut transactor = ok(member.transactor(0));
    assert!(commit(&mut *transactor, &[]).is_empty());
    let position = (at("t", 0), committed_at(1, b""));
    assert!(commit(&mut *transactor, &[position]).is_empty());
    assert_eq!(ok(log.committed("g")).len(), 1);
}

/// lives, and names the group; one that can lets it in.
pub fn a_group_has_one_owner(log: &dyn Log) {
    let member = ok(log.join("g", &[]));
    match log.join("g", &[]) {
        Ok(_) => return,
        Err(error) => {
            assert_eq!(error.class(), Class::Invalid);
            assert!(
                error.to_string().contains("`g`"),
                "the group is named: {error}"
            );
        }
    }
    invalid(log.forget_group("g"));
    ok(log.join("other", &[]));
    drop(member);
    ok(log.join("g", &[]));
    invalid(log.join("", &[]));
}

/// `Fenced`, with an empty commit too, and leaves nothing behind.
pub fn an_earlier_member_is_fenced(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(1)));
    let member = ok(log.join("g", &[]));
    let mut stale = ok(member.transactor(0));
    let mut idle = ok(member.transactor(1));
    commit(&mut *stale, &[(at("t", 0), committed_at(1, b""))]);
    drop(member);
    let member = ok(log.join("g", &[]));
    ok(stale.append(&at("t", 0), numbers(0..10)));
    fenced(stale.commit(&mut fixed(&[(at("t", 0), committed_at(2, b""))])));
    assert_eq!(stale.pending_bytes(), 0);
    fenced(idle.commit(&mut fixed(&[])));
    let expected = [(at("t", 0), committed_at(1, b""))];
    assert_eq!(ok(member.committed()), expected);
    let mut reader = reader_at_start(log, &[at("t", 0)]);
    let read = read_to_end(&mut *reader, FetchLimits::default());
    assert_eq!(count(&read), 0, "no record was left behind");
    let mut transactor = ok(member.transactor(0));
    commit(&mut *transactor, &[(at("t", 0), committed_at(3, b""))]);
}

/// is left of an earlier membership stays fenced.
pub fn a_forgotten_group_starts_anew(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(1)));
    let position = (at("t", 0), committed_at(1, b"m"));
    for group in ["g", "kept"] {
        let member = ok(log.join(group, &[]));
        commit(
            &mut *ok(member.transactor(0)),
            std::slice::from_ref(&position),
        );
    }
    let member = ok(log.join("g", &[]));
    let mut stale = ok(member.transactor(0));
    drop(member);
    ok(log.forget_group("g"));
    ok(log.forget_group("never seen"));
    assert_eq!(ok(log.committed("g")), []);
    assert_eq!(ok(log.groups()), ["kept"]);
    fenced(stale.commit(&mut fixed(std::slice::from_ref(&position))));
    let member = ok(log.join("g", &[]));
    fenced(stale.commit(&mut fixed(std::slice::from_ref(&position))));
    assert_eq!(ok(member.committed()), []);
    assert_eq!(ok(log.committed("kept")), [position]);
}

/// Several transactors of one member commit at the same time; all of it is kept.
pub fn workers_commit_side_by_side(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(4)));
    let member = ok(log.join("g", &[]));
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let mut transactor = ok(member.transactor(worker as usize));
            scope.spawn(move || {
                for number in 0..50 {
                    ok(transactor.append(&at("t", worker), numbers(number..number + 1)));
                    let position = (at("t", worker), committed_at(number + 1, b""));
                    commit(&mut *transactor, &[position]);
                }
            });
        }
    });
    let expected: Vec<_> = (0..4)
        .map(|worker| (at("t", worker), committed_at(50, b"")))
        .collect();
    assert_eq!(ok(log.committed("g")), expected);
    for worker in 0..4 {
        let mut reader = reader_at_start(log, &[at("t", worker)]);
        let fetched = read_to_end(&mut *reader, FetchLimits::default());
        assert_eq!(values(&fetched), (0..50).collect::<Vec<_>>());
    }
}

/// The one owner of a group is assigned all partitions of its lead topics, and a
/// group that shares assigns them all to its only member. A lead topic that does
/// not exist is `Invalid`.
pub fn a_lone_member_owns_all_partitions(log: &dyn Log) {
    ok(log.create_topic("a", &partitions(2)));
    ok(log.create_topic("b", &partitions(1)));
    let mut member = ok(log.join("g", &["b".into(), "a".into()]));
    // A group may learn of a new topic a little later than of the other.
    let clock = Env::system().clock;
    let deadline = clock.monotonic() + WAIT;
    let all = [at("a", 0), at("a", 1), at("b", 0)];
    while ok(member.assignment()) != all {
        assert!(clock.monotonic() < deadline, "it owns all");
        clock.sleep(Duration::from_millis(5));
    }
    assert!(!member.is_changing());
    drop(member);
    let unknown = log.join("g", &["c".into()]);
    invalid(unknown.and_then(|mut member| member.assignment()));
}

/// Positions that a commit makes of the ends of its own appends are kept with them,
/// and positions that fail keep everything back.
pub fn a_commit_may_name_its_own_ends(log: &dyn Log) {
    ok(log.create_topic("t", &partitions(1)));
    let partition = at("t", 0);
    let member = ok(log.join("g", &[]));
    let mut transactor = ok(member.transactor(0));
    for round in 0..3 {
        ok(transactor.append(&partition, numbers(0..round + 1)));
        let mut named = None;
        let outcome = transactor.commit(&mut |ends| {
            let position = ends[&partition];
            named = Some(position);
            let metadata = position.as_bytes().to_vec();
            Ok(vec![(partition.clone(), Committed { position, metadata })])
        });
        assert_eq!(ok(outcome), CommitOutcome::Committed);
        let kept = ok(member.committed());
        assert_eq!(kept[0].1.position, named.expect("it was called"));
        assert_eq!(kept[0].1.metadata, kept[0].1.position.as_bytes());
        reaches_ends(log, &[(partition.clone(), kept[0].1.position)].into());
    }
    let seen = || {
        let mut reader = reader_at_start(log, std::slice::from_ref(&partition));
        let read = values(&read_to_end(&mut *reader, FetchLimits::default()));
        (read, ok(member.committed()))
    };
    let before = seen();
    ok(transactor.append(&partition, numbers(0..5)));
    invalid(transactor.commit(&mut |_| Err(Error::invalid("no positions"))));
    assert_eq!(transactor.pending_bytes(), 0);
    assert_eq!(seen(), before);
    commit(&mut *transactor, &[]);
}

/// Waits until everything before `ends` can be read, and checks that a reader that
/// starts at the beginning comes to stand at or after them.
fn reaches_ends(log: &dyn Log, ends: &Ends) {
    for (partition, end) in ends {
        let until = std::iter::repeat_with(|| ok(log.bounds(partition)).end);
        let reached = until.take(10_000).find(|reached| end <= reached);
        assert!(
            reached.is_some(),
            "the end {end} of {partition} is never readable"
        );
        let mut reader = reader_at_start(log, std::slice::from_ref(partition));
        let all = read_to_end(&mut *reader, FetchLimits::default());
        let resume = all.last().expect("something was read").resume;
        assert!(*end <= resume, "{partition} ends at {resume}, before {end}");
        let last = all.iter().rev().find(|fetched| !fetched.records.is_empty());
        let last = positions_of(last.expect("records were read"));
        assert!(last.last() < Some(end), "the end is after the last record");
    }
}
