//! What keeps the file small and no writer waits for: checkpoints of the WAL,
//! retention, the removal of deleted topics and [compaction](super::compaction),
//! on a thread of its own.
//!
//! Every process has such a thread; the one that holds `housekeeping.lock` works
//! for all, and another takes over when its process ends.
//!
//! A checkpoint copies pages from the WAL into the file. `PASSIVE` disturbs
//! nobody but never empties a WAL to which others keep writing; so when the WAL
//! has grown to [`WAL_RESTART_BYTES`], writers are kept out for the moment that
//! the last pages take, and the next writer starts at its beginning. Should even
//! that fall behind, writers do it themselves (`WAL_HARD_BYTES`).
//!
//! Compaction works in slices of [`COMPACTION_TIME`] with pauses three times as
//! long, so that it takes at most a quarter of one core and a checkpoint that is
//! due waits for one slice at most.

use super::compaction::Compaction;
use super::connection::{Connection, WAL_KEPT_BYTES};
use super::open::EmbeddedLog;
use super::retention::Retention;
use super::shared::{Shared, WAL_SOFT_BYTES, lock};
use headwater_core::{Error, Result};
use std::fs::File;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the thread looks if nobody wakes it: other processes cannot.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// From this size on, writers are kept out for a moment to empty the WAL.
const WAL_RESTART_BYTES: u64 = 64 << 20;

/// How long a checkpoint waits for readers. Short: writers may be waiting.
const CHECKPOINT_WAIT: Duration = Duration::from_millis(50);

/// How long compaction works at a time, and how long it rests then.
const COMPACTION_TIME: Duration = Duration::from_millis(10);
const COMPACTION_PAUSE: Duration = Duration::from_millis(30);

/// How often who waits for a request looks whether the thread is still there.
const REQUEST_LOOK: Duration = Duration::from_millis(100);

/// Wakes and ends the thread.
#[derive(Default)]
pub(super) struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    woken: bool,
    ending: bool,
    /// How often everything that is due has been asked for at once.
    requested: u64,
    /// The last request that has been answered, and whether there was the right
    /// to do it.
    answered: u64,
    answer: Option<Result<bool>>,
}

impl Signal {
    pub(super) fn wake(&self) {
        lock(&self.state).woken = true;
        self.changed.notify_all();
    }

    fn end(&self) {
        lock(&self.state).ending = true;
        self.changed.notify_all();
    }

    /// Waits for a wake-up or the time; whether the thread goes on.
    fn wait(&self, time: Duration) -> bool {
        let idle = |state: &mut State| !state.woken && !state.ending;
        let state = self
            .changed
            .wait_timeout_while(lock(&self.state), time, idle);
        let Ok((mut state, _)) = state else {
            return false;
        };
        state.woken = false;
        !state.ending
    }

    /// The request that waits for an answer.
    fn open_request(&self) -> Option<u64> {
        let state = lock(&self.state);
        (state.answered < state.requested).then_some(state.requested)
    }

    fn answer(&self, request: u64, answer: Result<bool>) {
        let mut state = lock(&self.state);
        state.answered = request;
        state.answer = Some(answer);
        self.changed.notify_all();
    }
}

impl EmbeddedLog {
    /// Does at once what the log's own thread does from time to time: deletes what
    /// retention has passed, compacts what has enough to be dropped, and copies the
    /// WAL into the file. `false` if another process has the right to do so and
    /// this one has not.
    ///
    /// # Errors
    /// What kept it from doing all of that.
    pub fn tidy(&self) -> Result<bool> {
        let signal = &self.shared.signal;
        let mut state = lock(&signal.state);
        state.requested += 1;
        state.woken = true;
        let request = state.requested;
        signal.changed.notify_all();
        loop {
            if request <= state.answered {
                return state.answer.take().unwrap_or(Ok(true));
            }
            if self.housekeeping.is_finished() {
                return Err(Error::internal("the log's housekeeping has stopped"));
            }
            let waited = signal.changed.wait_timeout(state, REQUEST_LOOK);
            state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }
}

/// The thread, which ends when this is dropped.
pub(super) struct Housekeeping {
    shared: Arc<Shared>,
    process: u32,
    thread: Option<JoinHandle<()>>,
}

impl Housekeeping {
    pub(super) fn start(shared: Arc<Shared>) -> Result<Self> {
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("headwater-log-housekeeping".into())
            .spawn(move || run(&of_thread))
            .map_err(Error::from)?;
        Ok(Housekeeping {
            shared,
            process: std::process::id(),
            thread: Some(thread),
        })
    }
}

impl Housekeeping {
    /// Whether the thread has ended, or is one of the process that was forked.
    fn is_finished(&self) -> bool {
        self.process != std::process::id()
            || self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Housekeeping {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // A fork has the handle but not the thread; a join would never end.
            std::mem::forget(self.thread.take());
            return;
        }
        self.shared.signal.end();
        if let Some(thread) = self.thread.take() {
            // A panic has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared) {
    let mut office: Option<Office> = None;
    let mut warned = false;
    let mut pause = LOOK_INTERVAL;
    while shared.signal.wait(pause) {
        let request = shared.signal.open_request();
        let result = match &mut office {
            Some(office) => office.tidy(shared, request.is_some()),
            None => Office::enter(shared).and_then(|entered| {
                office = entered;
                let wanted = office.as_mut().filter(|_| request.is_some());
                wanted.map_or(Ok(false), |office| office.tidy(shared, true))
            }),
        };
        pause = match &result {
            Ok(true) => COMPACTION_PAUSE,
            _ => LOOK_INTERVAL,
        };
        if let Some(request) = request {
            shared
                .signal
                .answer(request, result.map(|_| office.is_some()));
            continue;
        }
        match result {
            Ok(_) => warned = false,
            Err(error) if !warned => {
                warned = true;
                (shared.options.warn)(&format!("the log's housekeeping failed: {error}"));
            }
            // It goes on failing; once is enough to say.
            Err(_) => {}
        }
    }
}

/// Held by the one process that tidies up.
struct Office {
    _lock: File,
    connection: Connection,
    retention: Retention,
    retention_due: Duration,
    compaction: Compaction,
    compaction_due: Duration,
}

impl Office {
    /// `None` while another process holds it.
    fn enter(shared: &Shared) -> Result<Option<Office>> {
        let path = shared.directory.join("housekeeping.lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
            Err(std::fs::TryLockError::Error(error)) => return Err(error.into()),
        }
        let connection = Connection::open(&shared.file, &shared.options)?;
        Ok(Some(Office {
            _lock: file,
            connection,
            retention: Retention::default(),
            retention_due: Duration::ZERO,
            compaction: Compaction::default(),
            compaction_due: Duration::ZERO,
        }))
    }

    /// Does what is due, all of it if `at_once`; whether compaction has more to do.
    fn tidy(&mut self, shared: &Shared, at_once: bool) -> Result<bool> {
        self.checkpoint(shared)?;
        let now = shared.options.env.clock.monotonic();
        let is_due = self.retention_due <= now || at_once;
        if is_due {
            self.retention_due = now + shared.options.retention_interval;
        }
        self.retention.run(shared, &self.connection, is_due)?;
        if at_once {
            // What was begun, and then what has become due since.
            while self.compact(shared, false)? {}
            while self.compact(shared, true)? {}
            self.checkpoint(shared)?;
            return Ok(false);
        }
        if now < self.compaction_due {
            return Ok(true);
        }
        let more = self.compact(shared, is_due)?;
        if more {
            self.compaction_due = shared.options.env.clock.monotonic() + COMPACTION_PAUSE;
        }
        Ok(more)
    }

    fn compact(&mut self, shared: &Shared, is_due: bool) -> Result<bool> {
        self.compaction
            .run(shared, &self.connection, is_due, COMPACTION_TIME)
    }

    fn checkpoint(&mut self, shared: &Shared) -> Result<()> {
        let sqlite = self.connection.get()?;
        let run = |mode: &str| -> Result<Wal> {
            let sql = format!("PRAGMA wal_checkpoint({mode})");
            let row = sqlite.query_row(&sql, [], |row| Ok((row.get(1)?, row.get(2)?)));
            let (pages, copied): (i64, i64) = shared.sql(row)?;
            let bytes = |pages: i64| pages.max(0) as u64 * shared.page_bytes;
            Ok(Wal {
                bytes: bytes(pages),
                copied_bytes: bytes(copied),
            })
        };
        let wal = run("NOOP")?;
        if wal.bytes - wal.copied_bytes.min(wal.bytes) < WAL_SOFT_BYTES {
            return self.shrink(shared, &wal);
        }
        let wal = run("PASSIVE")?;
        if wal.bytes >= WAL_RESTART_BYTES {
            let _turn = shared.take_write_turn()?;
            self.connection.set_busy_max(CHECKPOINT_WAIT);
            // A reader in the way is gone by the next look.
            let _ = run("RESTART");
            self.connection.set_busy_max(shared.options.busy_max);
        }
        Ok(())
    }

    /// Gives the space of a WAL that has grown large back, when all is copied.
    fn shrink(&self, shared: &Shared, wal: &Wal) -> Result<()> {
        let file = shared.file.with_extension("db-wal");
        let is_large = file
            .metadata()
            .is_ok_and(|file| file.len() > WAL_KEPT_BYTES);
        if !is_large || wal.bytes != wal.copied_bytes {
            return Ok(());
        }
        self.connection.set_busy_max(Duration::ZERO);
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        let result = self.connection.get()?.query_row(sql, [], |_| Ok(()));
        self.connection.set_busy_max(shared.options.busy_max);
        // Whoever is in the way shows that it is in use.
        drop(result);
        Ok(())
    }
}

/// The length of the WAL, and how much of it is in the file already.
struct Wal {
    bytes: u64,
    copied_bytes: u64,
}
