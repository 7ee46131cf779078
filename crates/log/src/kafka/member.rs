//! Membership of a group.
//!
//! The member's consumer subscribes to the lead topics for the sake of the
//! assignment alone: what it is assigned is paused, and readers read it. A thread of
//! its own polls the group, so that the member stays alive whatever the owner does.
//!
//! # States
//!
//! ```text
//!            join                assignment() waits for the first assignment
//! (nobody) ───────▶ Waiting ─────────────────────────────▶ Settled(owned)
//!                                                           │       ▲
//!                   the thread: assign (owned grows) or     │       │ assignment():
//!                   revoke (nothing is given up yet)        ▼       │ what is revoked is given up
//!                                                          Changing(owned, revoked)
//!                                                           │
//!        the thread: the group took partitions away, or     │
//!        the owner let the revoke timeout pass              ▼
//! (left) ◀──────── drop, from any state ─────────────────  Lost(why)
//! ```
//!
//! - The thread alone moves `Waiting` and `Settled` to `Changing`, and any state to
//!   `Lost`; the owner alone moves `Changing` to `Settled`.
//! - `Lost` is final: no commit of this membership succeeds any more, even where the
//!   group would let it, and the owner joins anew.
//! - Once dropped, the membership is given up: its transactors are fenced here,
//!   before a broker is asked.

use super::cluster::Cluster;
use super::errors;
use super::ffi::{Client, Fault, GroupEvent, GroupEvents, GroupMetadata, Kind, code};
use super::instance::Identity;
use super::options::Guarantee;
use super::positions;
use super::repeating::RepeatingTransactor;
use super::transactor::KafkaTransactor;
use super::wake::Wake;
use crate::{Committed, Member, Transactor};
use headwater_core::{Class, Error, Result, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long one poll of the group may wait.
const POLL_WAIT: Duration = Duration::from_millis(100);
/// How long leaving the group may take.
const LEAVE_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a member may be without any assignment, once the group has let it in,
/// before its share is known to be empty: the group says nothing to whom it gives nothing.
const EMPTY_SHARE_AFTER: Duration = Duration::from_secs(3);

/// See [`Member`].
pub(super) struct KafkaMember {
    shared: Arc<Membership>,
    thread: Option<JoinHandle<()>>,
}

/// What the owner, its transactors and the member's thread share.
pub(super) struct Membership {
    pub(super) cluster: Arc<Cluster>,
    pub(super) group: String,
    pub(super) identity: Identity,
    leads: Vec<Arc<str>>,
    client: Arc<Client>,
    state: Mutex<State>,
    /// Told when `state` changes.
    changed: Condvar,
    is_changing: AtomicBool,
    is_dropped: AtomicBool,
    /// The internal topics for positions that exist, with their partitions.
    internal: Mutex<BTreeMap<Arc<str>, u32>>,
}

#[derive(Default)]
struct State {
    is_assigned: bool,
    owned: BTreeSet<TopicPartition>,
    revoked: Vec<TopicPartition>,
    /// When what is revoked is given up by force.
    revoke_deadline: Duration,
    lost: Option<(Class, String)>,
}

impl KafkaMember {
    pub(super) fn join(
        cluster: Arc<Cluster>,
        group: &str,
        leads: &[Arc<str>],
    ) -> Result<KafkaMember> {
        if group.is_empty() {
            return Err(Error::invalid("the name of an application is empty"));
        }
        for lead in leads {
            if cluster.describe(lead)?.is_none() {
                return Err(crate::no_such_topic(lead));
            }
        }
        let identity = cluster.options.instance.claim(group)?;
        let client = cluster.start(Kind::Consumer, &cluster.options.member(group))?;
        let shared = Arc::new(Membership {
            group: group.into(),
            identity,
            leads: leads.to_vec(),
            client,
            state: Mutex::default(),
            changed: Condvar::new(),
            is_changing: AtomicBool::new(false),
            is_dropped: AtomicBool::new(false),
            internal: Mutex::default(),
            cluster,
        });
        let mut thread = None;
        if !leads.is_empty() {
            let events = GroupEvents::new(&shared.client, &Arc::<Wake>::default());
            shared.client.subscribe(leads).map_err(|fault| {
                errors::error(&format!("joining a group group=`{group}`"), &fault)
            })?;
            let shared = shared.clone();
            let spawned = std::thread::Builder::new()
                .name("kafka-member".into())
                .spawn(move || shared.serve(&events));
            thread = Some(spawned.map_err(|error| {
                Error::unavailable("the member's thread cannot start").with_source(error)
            })?);
        }
        Ok(KafkaMember { shared, thread })
    }
}

impl Drop for KafkaMember {
    fn drop(&mut self) {
        self.shared.is_dropped.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // It ends within `POLL_WAIT` and `LEAVE_WAIT_MAX`. If it panicked, that
            // has been printed, and the group will notice.
            let _ = thread.join();
        }
    }
}

impl Member for KafkaMember {
    fn assignment(&mut self) -> Result<Vec<TopicPartition>> {
        let shared = &self.shared;
        if shared.leads.is_empty() {
            return Ok(Vec::new());
        }
        let clock = shared.cluster.options.env.clock.clone();
        let deadline = clock.monotonic() + shared.cluster.options.revoke_timeout;
        let mut state = shared.state();
        loop {
            shared.check_lost(&state)?;
            let revoked = std::mem::take(&mut state.revoked);
            if !revoked.is_empty() {
                for partition in &revoked {
                    state.owned.remove(partition);
                }
                drop(state);
                shared
                    .client
                    .confirm_revoke(&revoked)
                    .map_err(|fault| errors::error("giving partitions up", &fault))?;
                state = shared.state();
                continue;
            }
            if state.is_assigned {
                shared.is_changing.store(false, Ordering::Release);
                return Ok(state.owned.iter().cloned().collect());
            }
            let left = deadline.saturating_sub(clock.monotonic());
            if left.is_zero() {
                let last = shared.client.events().last_line().unwrap_or_default();
                return Err(Error::unavailable(format!(
                    "the group gives no assignment in time group=`{}` last=`{last}`",
                    shared.group
                )));
            }
            state = shared
                .changed
                .wait_timeout(state, left)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state);
        }
    }

    fn is_changing(&self) -> bool {
        self.shared.is_changing.load(Ordering::Acquire)
    }

    fn committed(&self) -> Result<Vec<(TopicPartition, Committed)>> {
        let shared = &self.shared;
        // A worker's transaction commits its tasks' partitions of the lead topics, or
        // positions of internal topics, whatever else it commits.
        let internal = positions::internal_prefix(&shared.group);
        let is_ours = |name: &str| {
            name.starts_with(&internal) || shared.leads.iter().any(|lead| **lead == *name)
        };
        let places = shared.cluster.partitions_of(is_ours)?;
        shared.cluster.wait_stable(&shared.group, &places)?;
        shared.cluster.committed(&shared.group)
    }

    fn transactor(&self, worker: usize) -> Result<Box<dyn Transactor>> {
        let shared = self.shared.clone();
        match shared.cluster.options.guarantee {
            Guarantee::ExactlyOnce => Ok(Box::new(KafkaTransactor::open(shared, worker)?)),
            Guarantee::AtLeastOnce => Ok(Box::new(RepeatingTransactor::new(shared)?)),
        }
    }
}

impl Membership {
    /// Held for a look or a change, never while a broker is asked.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_lost(&self, state: &State) -> Result<()> {
        match &state.lost {
            None => Ok(()),
            Some((class, why)) => Err(Error::new(
                *class,
                format!("the membership is lost: {why} group=`{}`", self.group),
            )),
        }
    }

    /// # Errors
    /// `Fenced` once the membership has been dropped, `Unavailable` once it is lost.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_dropped.load(Ordering::Acquire) {
            return Err(Error::fenced(format!(
                "the membership of this writer has been given up group=`{}`",
                self.group
            )));
        }
        self.check_lost(&self.state())
    }

    /// Who we are in the group now.
    pub(super) fn metadata(&self) -> Result<GroupMetadata> {
        self.client
            .group_metadata()
            .ok_or_else(|| Error::internal("a consumer with a group has no group metadata"))
    }

    /// Positions as the broker keeps them.
    pub(super) fn offsets(
        &self,
        committed: &[(TopicPartition, Committed)],
    ) -> Result<Vec<(TopicPartition, u64, String)>> {
        crate::check_metadata(committed)?;
        let offset = |(partition, committed): &(TopicPartition, Committed)| {
            let (place, true_name) = self.place(partition)?;
            let (offset, text) = positions::encode(true_name.as_deref(), committed);
            Ok((place, offset, text))
        };
        committed.iter().map(offset).collect()
    }

    /// Commits positions outside a transaction.
    pub(super) fn commit_offsets(
        &self,
        offsets: &[(TopicPartition, u64, String)],
    ) -> Result<(), Fault> {
        let limit = self.cluster.options.request_timeout;
        self.client.commit_offsets(offsets, limit)
    }

    /// The topic whose offsets hold the positions of a name, made if it is an
    /// internal one that is missing; the true name if it is another.
    fn place(&self, partition: &TopicPartition) -> Result<(TopicPartition, Option<Arc<str>>)> {
        if positions::is_topic_name(&partition.topic) {
            return Ok((partition.clone(), None));
        }
        let topic = positions::internal_topic(&self.group, &partition.topic);
        let needed = partition.partition + 1;
        let mut internal = self.internal.lock().unwrap_or_else(PoisonError::into_inner);
        if internal.get(&topic).is_none_or(|known| *known < needed) {
            let partitions = self.cluster.create_internal(&topic, needed)?;
            internal.insert(topic.clone(), partitions);
        }
        let place = TopicPartition::new(topic, partition.partition);
        Ok((place, Some(partition.topic.clone())))
    }

    /// The member's thread, from the subscription until it has left.
    fn serve(&self, events: &GroupEvents) {
        let clock = self.cluster.options.env.clock.clone();
        let mut joined_at = None;
        while !self.is_dropped.load(Ordering::Acquire) {
            match events.next(POLL_WAIT) {
                Some(event) => self.on_event(event),
                None if joined_at.is_none() => {
                    let metadata = self.client.group_metadata();
                    let is_in = metadata.is_some_and(|metadata| 0 <= metadata.generation());
                    joined_at = is_in.then(|| clock.monotonic());
                }
                None => {}
            }
            let now = clock.monotonic();
            if joined_at.is_some_and(|at| at + EMPTY_SHARE_AFTER <= now) {
                let mut state = self.state();
                if !state.is_assigned {
                    state.is_assigned = true;
                    self.changed.notify_all();
                }
            }
            self.force_revoke(now);
        }
        let _ = events.leave();
        let deadline = clock.monotonic() + LEAVE_WAIT_MAX;
        while !events.has_left() && clock.monotonic() < deadline {
            if let Some(
                GroupEvent::Assign(partitions)
                | GroupEvent::Revoke(partitions)
                | GroupEvent::Lost(partitions),
            ) = events.next(Duration::from_millis(10))
            {
                // Whatever it is, nothing is kept.
                let _ = self.client.confirm_revoke(&partitions);
            }
        }
    }

    fn on_event(&self, event: GroupEvent) {
        match event {
            GroupEvent::Assign(partitions) => {
                if let Err(fault) = self.client.confirm_assign(&partitions) {
                    return self.lose(Class::Unavailable, &fault.text);
                }
                let mut state = self.state();
                state.is_assigned = true;
                if !partitions.is_empty() {
                    self.is_changing.store(true, Ordering::Release);
                }
                state.owned.extend(partitions);
                self.changed.notify_all();
            }
            GroupEvent::Revoke(partitions) if partitions.is_empty() => {
                let _ = self.client.confirm_revoke(&partitions);
            }
            GroupEvent::Revoke(partitions) => {
                let options = &self.cluster.options;
                let mut state = self.state();
                state.revoked.extend(partitions);
                state.revoke_deadline = options.env.clock.monotonic() + options.revoke_timeout;
                self.is_changing.store(true, Ordering::Release);
                self.changed.notify_all();
            }
            GroupEvent::Lost(partitions) => {
                self.lose(Class::Unavailable, "the group took its partitions away");
                let _ = self.client.confirm_revoke(&partitions);
            }
            GroupEvent::Failed(fault) => match errors::class_of(&fault) {
                Class::Fenced => self.lose(Class::Fenced, &fault.text),
                Class::Invalid if fault.code == code::GROUP_AUTHORIZATION => {
                    self.lose(Class::Invalid, &fault.text);
                }
                // The member goes on trying by itself.
                _ => {}
            },
        }
    }

    /// Gives up what the owner has not given up in time.
    fn force_revoke(&self, now: Duration) {
        let revoked = {
            let mut state = self.state();
            if state.revoked.is_empty() || now < state.revoke_deadline {
                return;
            }
            std::mem::take(&mut state.revoked)
        };
        self.lose(
            Class::Unavailable,
            "its work did not end in time when the group took partitions away",
        );
        let _ = self.client.confirm_revoke(&revoked);
    }

    fn lose(&self, class: Class, why: &str) {
        let mut state = self.state();
        state.lost.get_or_insert((class, why.into()));
        self.is_changing.store(true, Ordering::Release);
        self.changed.notify_all();
    }
}
