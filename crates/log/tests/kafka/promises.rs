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

fn keeps_every_promise(group_protocol: GroupProtocol) {
    let brokers = Brokers::start();
    conformance::run_with(Visibility::ByPartition, &mut || {
        let mut options = Options::new(&brokers.addresses);
        options.group_protocol = group_protocol;
        let log = open(options);
        empty(&*log);
        log
    });
}

#[test]
fn every_promise_is_kept_with_classic_groups() {
    keeps_every_promise(GroupProtocol::Classic);
}

#[test]
fn every_promise_is_kept_with_groups_of_the_broker() {
    keeps_every_promise(GroupProtocol::Consumer);
}
