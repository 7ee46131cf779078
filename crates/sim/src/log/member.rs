//! A process's membership of a group.

use super::{SimLog, SimLogHandle, unavailable};
use crate::trouble::Call;
use headwater::core::{Result, TopicPartition};
use headwater::log::{Committed, Member, Transactor};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a process waits for the coordinator.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long an answer of the coordinator takes, in milliseconds: most, and some.
const ANSWER_MS_MAX: u64 = 20;
const LATE_ANSWER_MS_MAX: u64 = 700;
/// One answer in so many is late.
const LATE_ONE_IN: u64 = 6;

/// See [`Member`].
pub(super) struct SimMember {
    log: Arc<SimLog>,
    group: String,
    id: u64,
    instance: String,
    life: Option<usize>,
    is_repeating: bool,
    /// The identities of its transactors.
    identities: Mutex<Vec<String>>,
}

impl SimMember {
    pub(super) fn join(
        handle: &SimLogHandle,
        group: &str,
        leads: &[Arc<str>],
    ) -> Result<SimMember> {
        let log = Arc::clone(&handle.log);
        log.ask_coordinator(Call::Join, 0)?;
        let life = log.world.life();
        let process = life.map(|life| log.world.process_of(life));
        let mut state = log.state();
        let id = state.enter(group, leads, process, life)?;
        let instance = state.groups[group].members[&id].instance.clone();
        drop(state);
        Ok(SimMember {
            log,
            group: group.to_owned(),
            id,
            instance,
            life,
            is_repeating: handle.is_repeating,
            identities: Mutex::default(),
        })
    }

    /// Waits until `done` has something, for a bounded time.
    fn wait_for<T>(&self, mut done: impl FnMut() -> Option<Result<T>>) -> Result<T> {
        let deadline = self.log.world.now() + PATIENCE;
        loop {
            if let Some(result) = done() {
                return result;
            }
            if deadline <= self.log.world.now() {
                return Err(unavailable());
            }
            let world = &self.log.world;
            let max = match world.below(LATE_ONE_IN) {
                0 => LATE_ANSWER_MS_MAX,
                _ => ANSWER_MS_MAX,
            };
            world.wait(Duration::from_millis(1 + world.below(max)), false);
        }
    }
}

impl Member for SimMember {
    fn assignment(&mut self) -> Result<Vec<TopicPartition>> {
        self.log.ask_coordinator(Call::Join, 1)?;
        let owned = self.wait_for(|| self.log.state().come_back(&self.group, self.id))?;
        let world = &self.log.world;
        world.say(&format!(
            "member {} of {} owns {owned:?}",
            self.id, self.group
        ));
        Ok(owned)
    }

    fn is_changing(&self) -> bool {
        self.log.state().is_changing(&self.group, self.id)
    }

    fn committed(&self) -> Result<Vec<(TopicPartition, Committed)>> {
        self.log.ask_coordinator(Call::Committed, 0)?;
        self.wait_for(|| {
            let state = self.log.state();
            let is_stable = state
                .groups
                .get(&self.group)
                .is_none_or(|group| group.pending.is_empty());
            is_stable.then(|| Ok(state.positions_of(&self.group)))
        })
    }

    fn transactor(&self, worker: usize) -> Result<Box<dyn Transactor>> {
        self.log.ask_coordinator(Call::Open, worker as u64)?;
        if self.is_repeating {
            return Ok(Box::new(super::repeating::SimRepeating::new(
                Arc::clone(&self.log),
                &self.group,
                self.id,
                self.life,
            )));
        }
        let identity = format!("{}-{}-{worker}", self.group, self.instance);
        let epoch = self.log.state().take_identity(&identity);
        self.wait_for(|| {
            let state = self.log.state();
            (!state.is_settling(&identity)).then_some(Ok(()))
        })?;
        let mut identities = self
            .identities
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        identities.push(identity.clone());
        Ok(Box::new(super::writer::SimTransactor::new(
            Arc::clone(&self.log),
            identity,
            epoch,
            &self.group,
            self.id,
        )))
    }
}

impl Drop for SimMember {
    fn drop(&mut self) {
        if std::thread::panicking() || !self.log.world.is_alive(self.life) {
            return;
        }
        let mut state = self.log.state();
        let identities = self
            .identities
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for identity in identities.iter() {
            state.take_identity(identity);
        }
        state.leave(&self.group, self.id);
    }
}
