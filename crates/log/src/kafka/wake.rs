//! Waking a thread that waits for several queues.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// What any thread rings and one waits for. A ring that nobody waits for is kept
/// for the next wait.
#[derive(Debug, Default)]
pub(super) struct Wake {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Wake {
    /// Ends the present or the next wait.
    pub(super) fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }

    /// Waits for a ring, so long at most.
    pub(super) fn wait(&self, limit: Duration) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut rung, _) = self
            .changed
            .wait_timeout_while(rung, limit, |rung| !*rung)
            .unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }
}

/// The bell of one queue: it remembers that it rang, and wakes who waits.
#[derive(Debug, Default)]
pub(super) struct Bell {
    has_rung: AtomicBool,
    wake: Arc<Wake>,
}

impl Bell {
    /// A bell that wakes who waits at `wake`.
    pub(super) fn new(wake: &Arc<Wake>) -> Bell {
        Bell {
            has_rung: AtomicBool::new(false),
            wake: wake.clone(),
        }
    }

    pub(super) fn ring(&self) {
        self.has_rung.store(true, Ordering::Release);
        self.wake.ring();
    }

    /// Whether it has rung since this was last asked.
    pub(super) fn take(&self) -> bool {
        self.has_rung.swap(false, Ordering::AcqRel)
    }

    /// Whether it has rung; it stays so.
    pub(super) fn has_rung(&self) -> bool {
        self.has_rung.load(Ordering::Acquire)
    }

    /// Keeps it rung: there is more to take.
    pub(super) fn keep(&self) {
        self.has_rung.store(true, Ordering::Release);
    }
}
