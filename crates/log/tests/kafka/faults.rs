//! Brokers that die, freeze, and lose replies: every number is there once.
//!
//! Where a broker dies, there are three. One that comes back from a kill alone has
//! partitions without a leader for a moment, takes them for deleted, and skips the markers of
//! transactions that it ends then ("likely deleted already and hence can be skipped" in
//! its log): what they were for stays in doubt for ever.

use crate::brokers::Brokers;
use crate::proxy::{COMMIT_OFFSETS, END_TRANSACTION, Order, Proxy};
use crate::{at, committed_at, numbers, open, partitions, read_all};
use headwater_core::env::Env;
use headwater_core::{Class, Result};
use headwater_log::kafka::Options;
use headwater_log::{CommitOutcome, FetchLimits, Log, Transactor, fixed};
use std::time::Duration;

/// A broker behind a proxy, and a log that reaches it through that.
fn behind_a_proxy() -> (Brokers, Proxy, std::sync::Arc<dyn Log>) {
    let proxy = Proxy::listen();
    let brokers = Brokers::start_with(&["--advertised", &proxy.address]);
    proxy.connect_to(&brokers.listening);
    let log = open(Options::new(&brokers.addresses));
    log.create_topic("in", &partitions(1)).unwrap();
    log.create_topic("out", &partitions(1)).unwrap();
    (brokers, proxy, log)
}

fn commit(transactor: &mut dyn Transactor, next: u64) -> Result<CommitOutcome> {
    transactor.commit(&mut fixed(&[(at("in", 0), committed_at(next))]))
}

/// The sharp edge of librdkafka's transactions: a request to commit that was held up
/// arrives while the next transaction is open, and must not commit that one.
#[test]
fn a_late_commit_cannot_touch_the_next_transaction() {
    let (_brokers, proxy, log) = behind_a_proxy();
    let member = log.join("g", &[]).unwrap();
    let mut transactor = member.transactor(0).unwrap();
    transactor.append(&at("out", 0), numbers(0..3)).unwrap();
    proxy.order(Order::Hold(END_TRANSACTION));
    // The client repeats the request by itself, and says nothing.
    let outcome = commit(&mut *transactor, 3).unwrap();
    assert_eq!(outcome, CommitOutcome::Committed);
    assert_eq!(proxy.fired(), 1, "the request was held");

    transactor.append(&at("out", 0), numbers(100..103)).unwrap();
    Env::system().clock.sleep(Duration::from_millis(300));
    assert_eq!(proxy.release().len(), 1);
    transactor.abort().unwrap();
    assert_eq!(read_all(&*log, &at("out", 0)), [0, 1, 2]);
    assert_eq!(
        log.committed("g").unwrap(),
        [(at("in", 0), committed_at(3))]
    );
}

#[test]
fn lost_replies_repeat_and_lose_nothing() {
    let (_brokers, proxy, log) = behind_a_proxy();
    let orders = [END_TRANSACTION, COMMIT_OFFSETS].repeat(3);
    let mut orders = orders.into_iter();
    write_all(&*log, 60, |next| {
        if next % 10 == 0
            && let Some(kind) = orders.next()
        {
            proxy.order(Order::LoseReply(kind));
        }
    });
    assert_eq!(proxy.fired(), 6);
    assert_eq!(read_all(&*log, &at("out", 0)), (0..60).collect::<Vec<_>>());
}

/// Appends numbers up to `total` exactly once, as the engine does: whatever goes
/// wrong, it begins again at what is committed.
fn write_all(log: &dyn Log, total: u64, mut before: impl FnMut(u64)) {
    const STEP: u64 = 2;
    let clock = Env::system().clock;
    let deadline = clock.monotonic() + Duration::from_secs(240);
    let mut attempt = || -> Result<bool> {
        let member = log.join("g", &[])?;
        let mut transactor = member.transactor(0)?;
        let committed = member.committed()?;
        let mut next = committed.first().map_or(0, |(_, committed)| {
            committed.position.offset().expect("an offset")
        });
        while next < total {
            before(next);
            transactor.append(&at("out", 0), numbers(next..next + STEP))?;
            if commit(&mut *transactor, next + STEP)? != CommitOutcome::Committed {
                return Ok(false);
            }
            next += STEP;
        }
        Ok(true)
    };
    loop {
        match attempt() {
            Ok(true) => return,
            Ok(false) => eprintln!("a commit in doubt"),
            Err(error) if error.class() == Class::Unavailable => eprintln!("{error}"),
            Err(error) => panic!("{error}"),
        }
        assert!(clock.monotonic() < deadline, "it comes to an end");
    }
}

/// Three brokers with a replica of everything each, and a log that gives up soon.
fn three_brokers() -> (Brokers, std::sync::Arc<dyn Log>) {
    let brokers = Brokers::start_with(&["--brokers", "3"]);
    let mut options = Options::new(&brokers.addresses);
    options.request_timeout = Duration::from_secs(2);
    let log = open(options);
    log.create_topic("in", &partitions(1)).unwrap();
    log.create_topic("out", &partitions(1)).unwrap();
    (brokers, log)
}

#[test]
fn brokers_that_die_and_freeze_repeat_and_lose_nothing() {
    let (mut brokers, log) = three_brokers();
    let clock = Env::system().clock;
    // One after the other, so that leaders and coordinators are among them.
    let mut faults = [
        ["kill 1", "start 1"],
        ["freeze 2", "thaw 2"],
        ["kill 3", "start 3"],
        ["freeze 1", "thaw 1"],
        ["kill 2", "start 2"],
    ]
    .into_iter();
    let (sender, orders) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while orders.recv().is_ok() {
                let Some([down, up]) = faults.next() else {
                    break;
                };
                // A moment later, in the midst of some transaction.
                clock.sleep(Duration::from_millis(30));
                brokers.tell(down);
                clock.sleep(Duration::from_secs(4));
                brokers.tell(up);
            }
            // The brokers end with this thread; what is read is read before.
            while orders.recv().is_ok() {}
        });
        let mut sent = 0;
        write_all(&*log, 300, |next| {
            if sent < 5 && 50 * sent <= next {
                sent += 1;
                sender.send(()).unwrap();
            }
        });
        assert_eq!(sent, 5, "all faults were asked for");
        assert_eq!(read_all(&*log, &at("out", 0)), (0..300).collect::<Vec<_>>());
        drop(sender);
    });
}

/// Not every broker knows of a new topic at once, and which one is asked is chance.
#[test]
fn a_topic_that_another_process_has_just_made_is_there() {
    let (brokers, one) = three_brokers();
    let two = open(Options::new(&brokers.addresses));
    for number in 0..15 {
        let topic = format!("new-{number}");
        assert!(one.create_topic(&topic, &partitions(2)).unwrap());
        assert!(!two.create_topic(&topic, &partitions(2)).unwrap());
        let place = at(&topic, 1);
        let start = two.bounds(&place).unwrap().start;
        let mut reader = two.reader(&[(place.clone(), start)]).unwrap();
        let mut producer = two.producer().unwrap();
        producer.append(&place, numbers(0..1)).unwrap();
        producer.flush().unwrap();
        let wait = Duration::from_secs(20);
        let fetched = reader.poll(wait, FetchLimits::default()).unwrap();
        assert!(!fetched.is_empty());
        two.join("g", &[topic.as_str().into()]).unwrap();
    }
}

/// Brokers die when the records of a transaction are stored, and its positions are not.
#[test]
fn records_without_positions_are_never_seen() {
    let (mut brokers, log) = three_brokers();
    let member = log.join("g", &[]).unwrap();
    let mut transactor = member.transactor(0).unwrap();
    transactor.append(&at("out", 0), numbers(100..102)).unwrap();
    // One is left, which takes nothing alone and leads what the others led.
    let error = transactor
        .commit(&mut |_| {
            brokers.tell("kill 1");
            brokers.tell("kill 2");
            Ok(vec![(at("in", 0), committed_at(102))])
        })
        .unwrap_err();
    assert_eq!(error.class(), Class::Unavailable, "{error}");
    brokers.tell("start 1");
    brokers.tell("start 2");
    write_all(&*log, 4, |_| {});
    assert_eq!(read_all(&*log, &at("out", 0)), [0, 1, 2, 3]);
}

/// librdkafka 2.12 touches freed memory where a question to a group's coordinator is over its
/// own limit and the coordinator comes back: the process would end here.
#[test]
fn a_question_that_was_given_up_is_forgotten() {
    let mut brokers = Brokers::start();
    open(Options::new(&brokers.addresses))
        .create_topic("in", &partitions(1))
        .unwrap();
    let mut options = Options::new(&brokers.addresses);
    options.request_timeout = Duration::from_millis(500);
    let hasty = open(options);
    let clock = Env::system().clock;
    let wait_for_answer = || {
        let deadline = clock.monotonic() + Duration::from_secs(60);
        while hasty.committed("g").is_err() {
            assert!(clock.monotonic() < deadline, "it answers");
        }
    };
    wait_for_answer();
    for _ in 0..2 {
        brokers.tell("stop 1");
        for _ in 0..3 {
            let error = hasty.committed("g").unwrap_err();
            assert_eq!(error.class(), Class::Unavailable, "{error}");
        }
        brokers.tell("start 1");
        wait_for_answer();
    }
}

/// A transaction whose end never arrives: whoever waits for it is told where, and what to do.
#[test]
fn a_transaction_that_hangs_is_named() {
    let (brokers, proxy, log) = behind_a_proxy();
    let mut options = Options::new(&brokers.addresses);
    options.request_timeout = Duration::from_secs(2);
    options.transaction_timeout = Duration::from_secs(60);
    let member = open(options).join("g", &[]).unwrap();
    let mut transactor = member.transactor(0).unwrap();
    proxy.order_all(Order::Hold(END_TRANSACTION));
    let outcome = commit(&mut *transactor, 3).unwrap();
    assert!(matches!(outcome, CommitOutcome::Unknown { .. }));
    drop((transactor, log));

    let mut options = Options::new(&brokers.addresses);
    options.transaction_timeout = Duration::from_secs(1);
    let waiting = open(options);
    let error = waiting.join("g", &["in".into()]).unwrap();
    let error = error.committed().unwrap_err();
    assert_eq!(error.class(), Class::Unavailable);
    let text = error.to_string();
    for part in [
        "group=`g`",
        "in[0]",
        "__consumer_offsets",
        "kafka-transactions",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
