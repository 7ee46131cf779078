//! Members of a group: sharing, handing over, and being left behind.

use crate::brokers::Brokers;
use crate::{at, committed_at, numbers, open, partitions, read_all};
use headwater_core::env::Env;
use headwater_core::{Class, TopicPartition};
use headwater_log::kafka::{GroupProtocol, Instance, Options};
use headwater_log::{CommitOutcome, Committed, FetchLimits, Log, Member, fixed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(30);

/// One broker for all tests here; each has topics and groups of its own.
fn addresses() -> String {
    static BROKERS: OnceLock<std::sync::Mutex<Brokers>> = OnceLock::new();
    let brokers = BROKERS.get_or_init(|| std::sync::Mutex::new(Brokers::start()));
    brokers.lock().unwrap().addresses.clone()
}

/// A log as the process `instance` has it.
fn log_of(instance: &str, group_protocol: GroupProtocol) -> Arc<dyn Log> {
    let mut options = Options::new(addresses());
    options.instance = Instance::Named(instance.into());
    options.group_protocol = group_protocol;
    options.revoke_timeout = Duration::from_secs(20);
    open(options)
}

/// Lets members take part until what they own satisfies `is_done`.
fn settle(
    members: &mut [&mut Box<dyn Member>],
    is_done: impl Fn(&[Vec<TopicPartition>]) -> bool,
) -> Vec<Vec<TopicPartition>> {
    let clock = Env::system().clock;
    let deadline = clock.monotonic() + WAIT;
    let mut owned: Vec<Vec<TopicPartition>> = vec![Vec::new(); members.len()];
    loop {
        // The first assignment of one may need what another gives up.
        std::thread::scope(|scope| {
            for (member, owned) in members.iter_mut().zip(&mut owned) {
                scope.spawn(move || *owned = member.assignment().unwrap());
            }
        });
        if is_done(&owned) && members.iter().all(|member| !member.is_changing()) {
            return owned;
        }
        assert!(clock.monotonic() < deadline, "not settled: {owned:?}");
        clock.sleep(Duration::from_millis(20));
    }
}

fn shares_and_hands_over(protocol: GroupProtocol, topic: &str) {
    let (first, second) = (log_of("1", protocol), log_of("2", protocol));
    first.create_topic(topic, &partitions(4)).unwrap();
    let all: Vec<_> = (0..4).map(|partition| at(topic, partition)).collect();
    let mut one = first.join(topic, &[topic.into()]).unwrap();
    assert_eq!(one.assignment().unwrap(), all);
    let mut transactor = one.transactor(0).unwrap();
    let positions: Vec<_> = all
        .iter()
        .map(|place| (place.clone(), committed_at(0)))
        .collect();
    transactor.commit(&mut fixed(&positions)).unwrap();

    let mut two = second.join(topic, &[topic.into()]).unwrap();
    let owned = settle(&mut [&mut one, &mut two], |owned| {
        owned.iter().all(|owned| owned.len() == 2)
    });
    let mut union = owned.concat();
    union.sort();
    assert_eq!(union, all, "each partition has one owner");
    // Who stays and who came both commit what they own.
    let mut other = two.transactor(0).unwrap();
    for (transactor, owned) in [(&mut transactor, &owned[0]), (&mut other, &owned[1])] {
        let place = owned[0].clone();
        transactor.append(&place, numbers(0..3)).unwrap();
        let outcome = transactor.commit(&mut fixed(&[(place.clone(), committed_at(3))]));
        assert_eq!(outcome.unwrap(), CommitOutcome::Committed);
        assert_eq!(read_all(&*first, &place), [0, 1, 2]);
    }
    assert_eq!(one.committed().unwrap(), two.committed().unwrap());

    drop((other, two));
    settle(&mut [&mut one], |owned| owned[0] == all);
}

#[test]
fn members_share_partitions_and_hand_them_over() {
    shares_and_hands_over(GroupProtocol::Classic, "shared-classic");
}

#[test]
fn members_share_partitions_and_hand_them_over_with_groups_of_the_broker() {
    shares_and_hands_over(GroupProtocol::Consumer, "shared-consumer");
}

fn gets_nothing(protocol: GroupProtocol, topic: &str) {
    let (first, second) = (log_of("1", protocol), log_of("2", protocol));
    first.create_topic(topic, &partitions(1)).unwrap();
    let mut one = first.join(topic, &[topic.into()]).unwrap();
    assert_eq!(one.assignment().unwrap().len(), 1);
    let mut two = second.join(topic, &[topic.into()]).unwrap();
    let total = |owned: &[Vec<TopicPartition>]| owned.iter().map(Vec::len).sum::<usize>();
    settle(&mut [&mut one, &mut two], |owned| total(owned) == 1);
}

#[test]
fn a_member_too_many_gets_an_empty_share() {
    gets_nothing(GroupProtocol::Classic, "small-classic");
    gets_nothing(GroupProtocol::Consumer, "small-consumer");
}

#[test]
fn an_owner_that_does_not_give_up_in_time_loses_its_membership() {
    let topic = "stubborn";
    let mut options = Options::new(addresses());
    options.instance = Instance::Named("1".into());
    options.revoke_timeout = Duration::from_secs(2);
    let first = open(options);
    let second = log_of("2", GroupProtocol::Classic);
    first.create_topic(topic, &partitions(2)).unwrap();
    let mut one = first.join(topic, &[topic.into()]).unwrap();
    assert_eq!(one.assignment().unwrap().len(), 2);
    let mut transactor = one.transactor(0).unwrap();
    transactor
        .commit(&mut fixed(&[(at(topic, 0), committed_at(1))]))
        .unwrap();
    let mut two = second.join(topic, &[topic.into()]).unwrap();
    let clock = Env::system().clock;
    let deadline = clock.monotonic() + WAIT;
    while two.assignment().unwrap().is_empty() {
        assert!(clock.monotonic() < deadline, "the partitions move on");
        clock.sleep(Duration::from_millis(50));
    }
    assert!(one.is_changing());
    transactor.append(&at(topic, 0), numbers(0..5)).unwrap();
    let error = transactor
        .commit(&mut fixed(&[(at(topic, 0), committed_at(2))]))
        .unwrap_err();
    assert_eq!(error.class(), Class::Unavailable, "{error}");
    assert_eq!(one.assignment().unwrap_err().class(), Class::Unavailable);
    assert_eq!(read_all(&*second, &at(topic, 0)), [], "nothing is left");
    assert_eq!(
        two.committed().unwrap(),
        [(at(topic, 0), committed_at(1))],
        "nor a position"
    );
}

#[test]
fn an_identity_that_another_took_is_fenced() {
    let topic = "taken";
    let first = log_of("1", GroupProtocol::Classic);
    first.create_topic(topic, &partitions(1)).unwrap();
    let mut one = first.join(topic, &[topic.into()]).unwrap();
    assert_eq!(one.assignment().unwrap().len(), 1);
    let mut old = one.transactor(0).unwrap();
    old.commit(&mut fixed(&[(at(topic, 0), committed_at(1))]))
        .unwrap();
    // The same group id with the same identity, in another process.
    let second = log_of("1", GroupProtocol::Classic);
    let two = second.join(topic, &[topic.into()]).unwrap();
    let mut new = two.transactor(0).unwrap();
    old.append(&at(topic, 0), numbers(0..5)).unwrap();
    let error = old
        .commit(&mut fixed(&[(at(topic, 0), committed_at(2))]))
        .unwrap_err();
    assert_eq!(error.class(), Class::Fenced, "{error}");
    assert_eq!(read_all(&*second, &at(topic, 0)), []);
    new.append(&at(topic, 0), numbers(0..5)).unwrap();
    drop(one);
    let outcome = new.commit(&mut fixed(&[]));
    assert_eq!(outcome.unwrap(), CommitOutcome::Committed);
    assert_eq!(read_all(&*second, &at(topic, 0)), [0, 1, 2, 3, 4]);
}

#[test]
fn a_static_member_comes_back_to_its_partitions() {
    let topic = "static";
    let member = |name: &str| {
        let mut options = Options::new(addresses());
        options.instance = Instance::Named(name.into());
        options.group_instance_id = Some(name.into());
        let log = open(options);
        let _ = log.create_topic(topic, &partitions(4)).unwrap();
        log.join(topic, &[topic.into()]).unwrap()
    };
    let (mut one, mut two) = (member("a"), member("b"));
    let before = settle(&mut [&mut one, &mut two], |owned| {
        owned.iter().all(|owned| owned.len() == 2)
    });
    drop(one);
    let mut one = member("a");
    let after = settle(&mut [&mut one, &mut two], |owned| {
        owned.iter().all(|owned| owned.len() == 2)
    });
    assert_eq!(before, after, "nobody else was given them");
}

#[test]
fn an_open_transaction_is_no_quiet_end() {
    let topic = "quiet";
    let log = log_of("1", GroupProtocol::Classic);
    log.create_topic(topic, &partitions(1)).unwrap();
    let place = at(topic, 0);
    let start = log.bounds(&place).unwrap().start;
    let mut reader = log.reader(&[(place.clone(), start)]).unwrap();
    let mut poll = || {
        reader
            .poll(Duration::from_millis(200), FetchLimits::default())
            .unwrap()
    };
    assert!(poll()[0].at_end);
    let member = log.join(topic, &[]).unwrap();
    let mut transactor = member.transactor(0).unwrap();
    transactor.append(&place, numbers(0..1)).unwrap();
    let ends = |transactor: &mut dyn headwater_log::Transactor, is_kept: bool| {
        transactor.commit(&mut |_| match is_kept {
            true => Ok(Vec::<(TopicPartition, Committed)>::new()),
            false => Err(headwater_core::Error::invalid("not now")),
        })
    };
    // Until the records have left the client there is nothing to see.
    let clock = Env::system().clock;
    let deadline = clock.monotonic() + Duration::from_secs(8);
    while poll().iter().any(|fetched| fetched.at_end) {
        assert!(clock.monotonic() < deadline, "it is open");
    }
    ends(&mut *transactor, false).unwrap_err();
    assert!(
        poll()
            .iter()
            .any(|fetched| fetched.at_end && fetched.records.is_empty()),
        "aborted records and their marker are passed"
    );
    transactor.append(&place, numbers(1..2)).unwrap();
    ends(&mut *transactor, true).unwrap();
    assert_eq!(read_all(&*log, &place), [1]);
}
