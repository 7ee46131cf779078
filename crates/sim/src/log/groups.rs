//! The group coordinator: who owns which partitions.
//!
//! ```text
//!              a member joins, leaves, is thrown out; or for no reason
//!   STABLE(g) ─────────────────────────────────────────────────────▶ CHANGING
//!       ▲      all members came back, or the others were thrown out     │
//!       └──────────────────── STABLE(g + 1) ◀──────────────────────────┘
//! ```
//!
//! While a group is changing, the assignment of generation g still holds for those
//! who have not come back: they may commit.

use super::state::State;
use crate::bug::Bug;
use headwater::core::{Error, Result, TopicPartition};
use headwater::log::Committed;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long a changing group waits for its members, in session timeouts.
const REJOIN_TIMEOUTS: u32 = 2;

#[derive(Default)]
pub(super) struct Group {
    pub(super) generation: u64,
    pub(super) members: BTreeMap<u64, Membership>,
    members_made: u64,
    /// Members whose instance has come back as another member.
    replaced: BTreeSet<u64>,
    /// Since when the group is changing.
    changing: Option<Duration>,
    pub(super) positions: BTreeMap<TopicPartition, Committed>,
    /// Positions of transactions that are not over, by transaction.
    pub(super) pending: BTreeMap<u64, Vec<(TopicPartition, Committed)>>,
}

pub(super) struct Membership {
    /// Tells an instance from the others over its lives.
    pub(super) instance: String,
    life: Option<usize>,
    leads: BTreeSet<Arc<str>>,
    heard_of: Duration,
    has_come_back: bool,
    generation: u64,
    owned: BTreeSet<TopicPartition>,
}

impl State {
    /// A new member of a group; its number.
    ///
    /// # Errors
    /// `Invalid` for a lead topic that does not exist.
    pub(super) fn enter(
        &mut self,
        group: &str,
        leads: &[Arc<str>],
        process: Option<usize>,
        life: Option<usize>,
    ) -> Result<u64> {
        if group.is_empty() {
            return Err(Error::invalid("the name of an application is empty"));
        }
        if let Some(lead) = leads
            .iter()
            .find(|lead| !self.topics.contains_key(&***lead))
        {
            return Err(Error::invalid(format!(
                "there is no such topic topic=`{lead}`"
            )));
        }
        let now = self.now;
        let group = self.groups.entry(group.to_owned()).or_default();
        group.members_made += 1;
        let id = group.members_made;
        let instance = process.map_or(format!("m{id}"), |process| format!("p{process}"));
        // A static member: its former life is fenced.
        let former = group.members.iter();
        let former = former.filter(|(_, known)| known.instance == instance);
        group.replaced.extend(former.map(|(&id, _)| id));
        group.members.retain(|_, known| known.instance != instance);
        let membership = Membership {
            instance,
            life,
            leads: leads.iter().cloned().collect(),
            heard_of: now,
            has_come_back: false,
            generation: 0,
            owned: BTreeSet::new(),
        };
        group.members.insert(id, membership);
        group.change(now);
        Ok(id)
    }

    /// A member leaves.
    pub(super) fn leave(&mut self, group: &str, member: u64) {
        let now = self.now;
        if let Some(group) = self.groups.get_mut(group)
            && group.members.remove(&member).is_some()
        {
            group.change(now);
        }
    }

    /// A member has given up what it had and asks for its share: `None` while the
    /// group is changing, an error if it is no member any more.
    pub(super) fn come_back(
        &mut self,
        group: &str,
        member: u64,
    ) -> Option<Result<Vec<TopicPartition>>> {
        let found = self.groups.get_mut(group)?;
        let Some(membership) = found.members.get_mut(&member) else {
            return Some(Err(found.gone(group, member)));
        };
        membership.has_come_back = true;
        self.complete(group);
        let found = self.groups.get(group)?;
        let membership = found.members.get(&member)?;
        let is_there = found.changing.is_none() && membership.generation == found.generation;
        is_there.then(|| Ok(membership.owned.iter().cloned().collect()))
    }

    pub(super) fn is_changing(&self, group: &str, member: u64) -> bool {
        let Some(found) = self.groups.get(group) else {
            return true;
        };
        match found.members.get(&member) {
            Some(membership) => {
                found.changing.is_some() || membership.generation != found.generation
            }
            None => true,
        }
    }

    /// # Errors
    /// `Unavailable` if the group has gone on without this member.
    pub(super) fn check_generation(&self, group: &str, member: u64) -> Result<()> {
        let found = self.groups.get(group);
        let is_current = found.is_some_and(|found| {
            let membership = found.members.get(&member);
            membership.is_some_and(|membership| {
                membership.generation == found.generation || membership.leads.is_empty()
            })
        });
        match is_current || self.has_bug(Bug::NoFencing) {
            true => Ok(()),
            false => Err(found.map_or_else(
                || Error::unavailable("there is no such group any more"),
                |found| found.gone(group, member),
            )),
        }
    }

    /// A process gives a sign of life.
    pub(super) fn hear_of(&mut self, life: usize) {
        for group in self.groups.values_mut() {
            for membership in group.members.values_mut() {
                if membership.life == Some(life) {
                    membership.heard_of = self.now;
                }
            }
        }
    }

    pub(super) fn throw_out_the_silent(&mut self) {
        let (now, timeout) = (self.now, self.nature.session_timeout);
        let mut names = Vec::new();
        for (name, group) in &mut self.groups {
            let before = group.members.len();
            group
                .members
                .retain(|_, known| known.heard_of.saturating_add(timeout) > now);
            if group.members.len() < before {
                group.change(now);
            }
            let rejoin = timeout.saturating_mul(REJOIN_TIMEOUTS);
            if group
                .changing
                .is_some_and(|since| since.saturating_add(rejoin) <= now)
            {
                group.members.retain(|_, known| known.has_come_back);
            }
            if group.changing.is_some() {
                names.push(name.clone());
            }
        }
        for name in names {
            self.complete(&name);
        }
    }

    /// Shares out a changing group whose members have all come back.
    fn complete(&mut self, name: &str) {
        let Some(group) = self.groups.get_mut(name) else {
            return;
        };
        let is_complete =
            group.changing.is_some() && group.members.values().all(|member| member.has_come_back);
        if !is_complete {
            return;
        }
        group.changing = None;
        group.generation += 1;
        let leads: BTreeSet<&Arc<str>> = group
            .members
            .values()
            .flat_map(|member| &member.leads)
            .collect();
        let mut partitions = Vec::new();
        for lead in leads {
            let count = self
                .topics
                .get(&**lead)
                .map_or(0, |topic| topic.partitions.len());
            partitions
                .extend((0..count).map(|at| TopicPartition::new(Arc::clone(lead), at as u32)));
        }
        let is_shuffled = self.seed.hits(2);
        let ids: Vec<u64> = group.members.keys().copied().collect();
        let share = partitions.len().div_ceil(ids.len().max(1));
        let mut given: BTreeMap<u64, BTreeSet<TopicPartition>> =
            ids.iter().map(|&id| (id, BTreeSet::new())).collect();
        let mut rest = Vec::new();
        for partition in partitions {
            let owner = group
                .members
                .iter()
                .find(|(_, member)| member.owned.contains(&partition))
                .map(|(&id, _)| id)
                .filter(|id| !is_shuffled && given[id].len() < share);
            match owner {
                Some(owner) => {
                    given.entry(owner).or_default().insert(partition);
                }
                None => rest.push(partition),
            }
        }
        let turn = self.seed.below(ids.len() as u64 + 1) as usize;
        for (index, partition) in rest.into_iter().enumerate() {
            let mut order: Vec<u64> = ids.clone();
            order.rotate_left((turn + index) % ids.len().max(1));
            let least = order.into_iter().min_by_key(|id| given[id].len());
            if let Some(least) = least {
                given.entry(least).or_default().insert(partition);
            }
        }
        for (id, member) in &mut group.members {
            member.owned = given.remove(id).unwrap_or_default();
            member.generation = group.generation;
        }
    }

    /// Every group is shared out anew, for no reason.
    pub(super) fn share_out_all(&mut self) {
        let now = self.now;
        for group in self.groups.values_mut() {
            if !group.members.is_empty() {
                group.change(now);
            }
        }
    }

    pub(super) fn positions_of(&self, group: &str) -> Vec<(TopicPartition, Committed)> {
        let group = self.groups.get(group);
        let positions = group.iter().flat_map(|group| &group.positions);
        positions
            .map(|(partition, committed)| (partition.clone(), committed.clone()))
            .collect()
    }

    pub(super) fn groups_with_positions(&self) -> Vec<String> {
        let committed = |group: &&Group| !group.positions.is_empty();
        let groups = self.groups.iter().filter(|(_, group)| committed(group));
        groups.map(|(name, _)| name.clone()).collect()
    }

    /// # Errors
    /// `Invalid` while the group has members.
    pub(super) fn forget_group(&mut self, name: &str) -> Result<()> {
        let Some(group) = self.groups.get_mut(name) else {
            return Ok(());
        };
        if !group.members.is_empty() {
            return Err(Error::invalid(format!(
                "application `{name}` is running\nhint: stop it first"
            )));
        }
        group.generation += 1;
        group.positions.clear();
        Ok(())
    }
}

impl Group {
    /// Why somebody is no member any more.
    fn gone(&self, group: &str, member: u64) -> Error {
        match self.replaced.contains(&member) {
            true => Error::fenced(format!(
                "this instance has been started again, group=`{group}`"
            )),
            false => Error::unavailable(format!(
                "the group has gone on without this member, group=`{group}`"
            )),
        }
    }

    fn change(&mut self, now: Duration) {
        self.changing = Some(now);
        for member in self.members.values_mut() {
            member.has_come_back = false;
        }
    }
}
