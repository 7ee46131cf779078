//! Brokers that die, freeze, and lose replies: every number is there once.

use crate::brokers::Brokers;
use crate::proxy::{COMMIT_OFFSETS, END_TRANSACTION, Order, Proxy};
use crate::{at, committed_at, numbers, open, partitions, read_all};
use headwater_core::env::Env;
use headwater_core::{Class, Result};
use headwater_log::kafka::Options;
use headwater_log::{CommitOutcome, Log, Transactor, fixed};
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

#[test]
fn a_broker_that_dies_and_freezes_repeats_and_loses_nothing() {
    let mut brokers = Brokers::start();
    let mut options = Options::new(&brokers.addresses);
    options.request_timeout = Duration::from_secs(2);
    let log = open(options);
    log.create_topic("in", &partitions(1)).unwrap();
    log.create_topic("out", &partitions(1)).unwrap();
    let clock = Env::system().clock;
    let mut faults = [
        ["kill 1", "start 1"],
        ["freeze 1", "thaw 1"],
        ["stop 1", "start 1"],
        ["freeze 1", "thaw 1"],
        ["kill 1", "start 1"],
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

/// The broker dies when the records of a transaction are stored, and its positions are not.
#[test]
fn records_without_positions_are_never_seen() {
    let mut brokers = Brokers::start();
    let mut options = Options::new(&brokers.addresses);
    options.request_timeout = Duration::from_secs(2);
    let log = open(options);
    log.create_topic("in", &partitions(1)).unwrap();
    log.create_topic("out", &partitions(1)).unwrap();
    let member = log.join("g", &[]).unwrap();
    let mut transactor = member.transactor(0).unwrap();
    transactor.append(&at("out", 0), numbers(100..102)).unwrap();
    let error = transactor
        .commit(&mut |_| {
            brokers.tell("kill 1");
            Ok(vec![(at("in", 0), committed_at(102))])
        })
        .unwrap_err();
    assert_eq!(error.class(), Class::Unavailable, "{error}");
    brokers.tell("start 1");
    write_all(&*log, 4, |_| {});
    assert_eq!(read_all(&*log, &at("out", 0)), [0, 1, 2, 3]);
}
