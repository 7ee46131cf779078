//! Every promise of a log, with both protocols of groups.

use crate::brokers::Brokers;
use crate::open;
use headwater_log::Log;
use headwater_log::conformance::{self, Visibility};
use headwater_log::kafka::{GroupProtocol, Options};

/// Deletes all topics and groups: each promise finds an empty cluster.
fn empty(log: &dyn Log) {
    for group in log.groups().unwrap() {
        log.forget_group(&group).unwrap();
    }
    for topic in log.topics().unwrap() {
        log.delete_topic(&topic.name).unwrap();
    }
}

/// A half of the promises, with a broker of its own: most of the time is waiting.
fn keeps_promises(group_protocol: GroupProtocol, half: usize) {
    let brokers = Brokers::start();
    conformance::run_part(Visibility::ByPartition, half, 2, &mut || {
        let mut options = Options::new(&brokers.addresses);
        options.group_protocol = group_protocol;
        let log = open(options);
        empty(&*log);
        log
    });
}

#[test]
fn every_other_promise_is_kept_with_classic_groups() {
    keeps_promises(GroupProtocol::Classic, 0);
}

#[test]
fn the_others_are_kept_with_classic_groups() {
    keeps_promises(GroupProtocol::Classic, 1);
}

#[test]
fn every_other_promise_is_kept_with_groups_of_the_broker() {
    keeps_promises(GroupProtocol::Consumer, 0);
}

#[test]
fn the_others_are_kept_with_groups_of_the_broker() {
    keeps_promises(GroupProtocol::Consumer, 1);
}
