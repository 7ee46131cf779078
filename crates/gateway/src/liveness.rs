//! Whether the workers of an application move.

use headwater::{Phase, Snapshot};
use std::time::Duration;

/// A worker that has not ended a turn for so long is stuck. A turn is one batch, whose
/// rows are fewer the longer they take: milliseconds, but for the first one, or the first
/// that a user's function suddenly takes long for: that may have up to 1,000 rows, or as
/// many as went before. A commit takes seconds at most.
pub(crate) const STUCK_AFTER: Duration = Duration::from_secs(60);

/// When each worker was last seen to have moved.
///
/// A worker is known by its number of turns. Nobody looks between two questions, so one
/// that stands still is found at the first question that comes `STUCK_AFTER` after
/// another that saw it stand there.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    /// By worker: its turns, and when they were first seen.
    seen: Vec<(u64, Duration)>,
}

impl Liveness {
    /// The number of a worker that is stuck, if one is.
    pub(crate) fn stuck(&mut self, snapshot: &Snapshot, now: Duration) -> Option<usize> {
        if snapshot.phase != Phase::Running {
            self.seen.clear();
            return None;
        }
        self.seen.resize(snapshot.turns.len(), (u64::MAX, now));
        for (seen, &turns) in self.seen.iter_mut().zip(&snapshot.turns) {
            if seen.0 != turns {
                *seen = (turns, now);
            }
        }
        let mut seen = self.seen.iter();
        seen.position(|(_, since)| STUCK_AFTER <= now.saturating_sub(*since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_makes_no_turns_is_stuck() {
        let mut liveness = Liveness::default();
        let mut snapshot = Snapshot {
            phase: Phase::Running,
            turns: vec![1, 1],
            ..Snapshot::default()
        };
        let at = Duration::from_secs;
        assert_eq!(liveness.stuck(&snapshot, at(0)), None);
        snapshot.turns = vec![2, 1];
        assert_eq!(liveness.stuck(&snapshot, at(59)), None);
        assert_eq!(liveness.stuck(&snapshot, at(60)), Some(1));
        snapshot.turns = vec![2, 2];
        assert_eq!(liveness.stuck(&snapshot, at(61)), None);
        assert_eq!(liveness.stuck(&snapshot, at(119)), Some(0));
        // Whoever restores has no workers, and is not stuck.
        snapshot.phase = Phase::Restoring;
        assert_eq!(liveness.stuck(&snapshot, at(500)), None);
        snapshot.phase = Phase::Running;
        assert_eq!(liveness.stuck(&snapshot, at(501)), None);
    }
}
