//! The transaction coordinator.

use super::state::State;
use crate::bug::Bug;
use headwater::core::{Error, Result, TopicPartition};
use headwater::log::Committed;
use std::collections::BTreeSet;
use std::time::Duration;

pub(super) struct Transaction {
    pub(super) identity: String,
    epoch: u64,
    group: String,
    began: Duration,
    pub(super) partitions: BTreeSet<TopicPartition>,
    /// Whether it commits, once that is decided.
    pub(super) decision: Option<bool>,
    /// Markers on their way.
    markers: usize,
}

/// Something that happens by itself.
pub(super) enum Due {
    /// A marker reaches a partition, or the group's positions.
    Marker {
        transaction: u64,
        partition: Option<TopicPartition>,
    },
    /// A request to commit arrives late.
    LateEnd { transaction: u64 },
}

impl State {
    /// Takes an identity: fences who had it and settles what that one left open.
    pub(super) fn take_identity(&mut self, identity: &str) -> u64 {
        self.abort_open(identity);
        let epoch = self.epochs.entry(identity.to_owned()).or_default();
        *epoch += 1;
        *epoch
    }

    /// Aborts what an identity has open.
    pub(super) fn abort_open(&mut self, identity: &str) {
        let open: Vec<u64> = self
            .transactions
            .iter()
            .filter(|(_, known)| known.identity == identity && known.decision.is_none())
            .map(|(&id, _)| id)
            .collect();
        for id in open {
            self.decide(id, false);
        }
    }

    /// Whether an identity has a transaction whose markers are on their way.
    pub(super) fn is_settling(&self, identity: &str) -> bool {
        self.transactions
            .values()
            .any(|known| known.identity == identity)
    }

    pub(super) fn begin(&mut self, identity: &str, epoch: u64, group: &str) -> u64 {
        self.transactions_made += 1;
        let transaction = Transaction {
            identity: identity.to_owned(),
            epoch,
            group: group.to_owned(),
            began: self.now,
            partitions: BTreeSet::new(),
            decision: None,
            markers: 0,
        };
        self.transactions
            .insert(self.transactions_made, transaction);
        self.transactions_made
    }

    /// # Errors
    /// `Fenced` if another has the identity.
    pub(super) fn check_epoch(&self, identity: &str, epoch: u64) -> Result<()> {
        let current = self.epochs.get(identity).copied().unwrap_or_default();
        match current == epoch || self.has_bug(Bug::NoFencing) {
            true => Ok(()),
            false => Err(Error::fenced(format!(
                "another has taken this identity, identity=`{identity}` epoch=`{epoch}` \
                 current=`{current}`"
            ))),
        }
    }

    /// Adds positions to a transaction.
    pub(super) fn add_positions(&mut self, id: u64, positions: Vec<(TopicPartition, Committed)>) {
        if let Some(transaction) = self.transactions.get(&id) {
            let group = self.groups.entry(transaction.group.clone()).or_default();
            group.pending.entry(id).or_default().extend(positions);
        }
    }

    /// Decides a transaction that is open; its markers set out.
    pub(super) fn decide(&mut self, id: u64, commits: bool) {
        let Some(transaction) = self.transactions.get_mut(&id) else {
            return;
        };
        if transaction.decision.is_some() {
            return;
        }
        transaction.decision = Some(commits);
        let has_positions = self
            .groups
            .get(&transaction.group)
            .is_some_and(|group| group.pending.contains_key(&id));
        let partitions = transaction.partitions.iter().cloned().map(Some);
        let places: Vec<_> = partitions.chain(has_positions.then_some(None)).collect();
        transaction.markers = places.len();
        if places.is_empty() {
            self.transactions.remove(&id);
        }
        for partition in places {
            let delay = match self.seed.hits(2) {
                true => 0,
                false => self.seed.below(self.nature.marker_delay_ms_max + 1),
            };
            let marker = Due::Marker {
                transaction: id,
                partition,
            };
            if delay == 0 {
                self.happen(marker);
            } else {
                self.happen_after(Duration::from_millis(delay), marker);
            }
        }
    }

    pub(super) fn happen_after(&mut self, delay: Duration, due: Due) {
        let order = self.due.len() as u64 + self.transactions_made * 1_000;
        let mut key = (self.now + delay, order);
        while self.due.contains_key(&key) {
            key.1 += 1;
        }
        self.due.insert(key, due);
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::LateEnd { transaction } => {
                let known = self.transactions.get(&transaction);
                let is_current = known
                    .is_some_and(|known| self.check_epoch(&known.identity, known.epoch).is_ok());
                if is_current {
                    self.decide(transaction, true);
                }
            }
            Due::Marker {
                transaction,
                partition,
            } => {
                let Some(known) = self.transactions.get_mut(&transaction) else {
                    return;
                };
                known.markers -= 1;
                let commits = known.decision == Some(true);
                let group = known.group.clone();
                if known.markers == 0 {
                    self.transactions.remove(&transaction);
                }
                match partition {
                    Some(partition) => self.mark(&partition, transaction, commits),
                    None => self.settle_positions(&group, transaction, commits),
                }
            }
        }
    }

    fn mark(&mut self, partition: &TopicPartition, transaction: u64, commits: bool) {
        let has_markers = self.nature.has_markers;
        let Some(found) = self.partition_mut(partition) else {
            return;
        };
        let first = found.open.remove(&transaction);
        found
            .records
            .retain(|record| commits || record.transaction != Some(transaction));
        for record in &mut found.records {
            if record.transaction == Some(transaction) {
                record.transaction = None;
            }
        }
        found.next += u64::from(has_markers);
        let last = found.records.last().map(|record| record.offset);
        if let Some(first) = first
            && !has_markers
            && last.is_none_or(|last| last < first)
        {
            // A log without surprises takes the offsets back.
            found.next = first;
        }
        self.has_news = true;
    }

    /// Commits positions outside any transaction.
    pub(super) fn commit_positions(
        &mut self,
        group: &str,
        positions: Vec<(TopicPartition, Committed)>,
    ) {
        let found = self.groups.entry(group.to_owned()).or_default();
        for (partition, committed) in positions {
            let entry = (group.to_owned(), partition.clone(), committed.clone());
            self.history.push(entry);
            found.positions.insert(partition, committed);
        }
    }

    fn settle_positions(&mut self, group: &str, transaction: u64, commits: bool) {
        let Some(found) = self.groups.get_mut(group) else {
            return;
        };
        let positions = found.pending.remove(&transaction).unwrap_or_default();
        if commits {
            self.commit_positions(group, positions);
        }
    }

    /// Lets happen what is due; whether records became visible.
    pub(super) fn settle(&mut self) -> bool {
        while let Some(entry) = self.due.first_entry() {
            if self.now < entry.key().0 {
                break;
            }
            let due = entry.remove();
            self.happen(due);
        }
        let timeout = self.nature.transaction_timeout;
        let late: Vec<(u64, String)> = self
            .transactions
            .iter()
            .filter(|(_, known)| {
                known.decision.is_none() && known.began.saturating_add(timeout) <= self.now
            })
            .map(|(&id, known)| (id, known.identity.clone()))
            .collect();
        for (id, identity) in late {
            *self.epochs.entry(identity).or_default() += 1;
            self.decide(id, false);
        }
        self.throw_out_the_silent();
        std::mem::take(&mut self.has_news)
    }

    /// Ends what is open, and lets everything happen that is on its way.
    pub(super) fn end_all(&mut self) {
        let open: Vec<u64> = self.transactions.keys().copied().collect();
        for id in open {
            self.decide(id, false);
        }
        while let Some((_, due)) = self.due.pop_first() {
            self.happen(due);
        }
    }
}
