//! The world: time, turns, and the lives of processes.
//!
//! The key decision: **threads hand a baton.** The engine is synchronous code that
//! blocks in its log, clock and files, and it runs here unchanged, on threads of its
//! own. But only the thread that holds the baton runs. At every call into the world
//! the seed decides whether the baton goes to another thread, and a thread that
//! waits gives it away; when all wait, time jumps to the first that is due. So a run
//! depends on the seed alone, and hours of simulated time cost nothing.
//!
//! ```text
//!           spawned            its turn             waits, or loses its turn
//!   BORN ──────────▶ READY ──────────────▶ RUNNING ──────────────▶ READY/WAITING
//!                                             │ ends, or its process is dead
//!                                             ▼
//!                                           DONE
//! ```
//!
//! A process is a number; its lives follow each other. When a life ends by a kill,
//! each of its threads unwinds at its next call with a private payload, and what it
//! does on the way has no effect: a dead process cannot say goodbye.

use crate::seed::{Seed, mix};
use crate::trouble::{Call, Fault, Trouble};
use headwater::core::env::{Clock, Env, Random};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

/// What the wall clock says when the world begins.
pub const WALL_MS: i64 = 1_700_000_000_000;
/// A run that takes so many calls does not come to an end.
const CALLS_MAX: u64 = 150_000;
/// How it fails then.
pub const NO_END: &str = "it does not come to an end";
/// A run that stands still for so long, by the real clock, is stuck.
const STUCK: Duration = Duration::from_secs(60);
/// The baton lies with the thread that started the world.
const NOBODY: usize = usize::MAX;
/// A life begins so long after the one before it ended, at most.
const REBIRTH_MS_MAX: u64 = 400;

thread_local! {
    static FIBRE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The payload with which the threads of a dead process unwind.
struct Dead;

/// See the module.
pub struct World {
    inner: Mutex<Inner>,
    holder: AtomicUsize,
}

type Work = Box<dyn FnOnce() + Send>;
type Begin = Arc<dyn Fn() + Send + Sync>;

struct Inner {
    now: Duration,
    seed: Seed,
    hash: u64,
    calls: u64,
    /// A turn ends once in so many calls.
    switch_one_in: u64,
    fibres: Vec<Fibre>,
    lives: Vec<Life>,
    /// How each process begins; `None` once it needs no further life.
    begins: Vec<Option<Begin>>,
    faults: Vec<Fault>,
    bug: Option<&'static str>,
    is_loud: bool,
    counts: BTreeMap<(usize, Call), u64>,
    fired: Vec<Fault>,
    power_cuts: u64,
    /// What the log must do.
    for_log: Vec<Trouble>,
    failure: Option<String>,
    is_ending: bool,
    main: Option<Thread>,
}

struct Fibre {
    life: usize,
    thread: Thread,
    wakes: Wakes,
}

#[derive(Clone, Copy, PartialEq)]
enum Wakes {
    Now,
    At(Duration),
    /// As [`Wakes::At`], or when records come.
    OnRecords(Duration),
    After(usize),
    Never,
}

struct Life {
    process: usize,
    is_dead: bool,
    /// Whether another life has taken its place already.
    is_replaced: bool,
    fibres_running: usize,
}

impl World {
    /// A world in which chance and faults are those of a script, and perhaps a bug of
    /// the engine.
    pub fn new(seed: Seed, faults: Vec<Fault>, bug: Option<&'static str>) -> Arc<World> {
        let mut seed = seed;
        let switch_one_in = *seed.pick(&[2, 4, 8, 30]);
        Arc::new(World {
            inner: Mutex::new(Inner {
                now: Duration::ZERO,
                seed,
                hash: 0,
                calls: 0,
                switch_one_in,
                fibres: Vec::new(),
                lives: Vec::new(),
                begins: Vec::new(),
                faults,
                bug,
                is_loud: std::env::var_os("HEADWATER_TRACE").is_some(),
                counts: BTreeMap::new(),
                fired: Vec::new(),
                power_cuts: 0,
                for_log: Vec::new(),
                failure: None,
                is_ending: false,
                main: None,
            }),
            holder: AtomicUsize::new(NOBODY),
        })
    }

    /// Held for moments, never across a turn.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a process, which begins when the world runs; its number.
    pub fn add_process(self: &Arc<Self>, begin: impl Fn() + Send + Sync + 'static) -> usize {
        let begin: Begin = Arc::new(begin);
        let mut inner = self.inner();
        let process = inner.begins.len();
        inner.begins.push(Some(begin));
        self.bear(&mut inner, process, Duration::ZERO);
        process
    }

    /// Lets everything run to its end.
    ///
    /// # Errors
    /// The first failure of any process.
    ///
    /// # Panics
    /// If nothing has moved for a minute of real time.
    pub fn run(&self) -> Result<(), String> {
        let mut inner = self.inner();
        inner.main = Some(std::thread::current());
        inner.is_ending = false;
        let first = inner.pick();
        self.hand_over(inner, first);
        let real = Env::system().clock;
        let (mut since, mut calls) = (real.monotonic(), 0);
        while self.holder.load(Ordering::Acquire) != NOBODY {
            std::thread::park_timeout(Duration::from_secs(1));
            let now = self.inner().calls;
            if now != calls {
                (since, calls) = (real.monotonic(), now);
            }
            assert!(
                real.monotonic() < since + STUCK,
                "a simulated thread waits for something outside the simulation"
            );
        }
        let mut inner = self.inner();
        inner.fibres.clear();
        inner.lives.clear();
        inner.begins.clear();
        match inner.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// Chance from now on, without faults.
    pub fn calm_down(&self) {
        self.inner().faults.clear();
    }

    /// The number that stands for all that has happened so far.
    pub fn trace_hash(&self) -> u64 {
        self.inner().hash
    }

    /// The faults that have fired.
    pub fn fired(&self) -> Vec<Fault> {
        self.inner().fired.clone()
    }

    /// Ends everything, with a reason.
    pub fn fail(&self, reason: String) {
        let mut inner = self.inner();
        inner.failure.get_or_insert(reason);
        inner.end_all();
    }

    /// Time since the world began.
    pub fn now(&self) -> Duration {
        self.inner().now
    }

    /// What the wall clock says.
    pub fn wall_ms(&self) -> i64 {
        WALL_MS + self.now().as_millis() as i64
    }

    /// How often power was lost.
    pub(crate) fn power_cuts(&self) -> u64 {
        self.inner().power_cuts
    }

    /// What a process says, for who looks at a trace.
    pub(crate) fn say(&self, text: &str) {
        let inner = self.inner();
        if inner.is_loud {
            let me = FIBRE.get();
            eprintln!("{:?} {me:?}: {text}", inner.now);
        }
    }

    /// What has been asked of the log since the last look.
    pub(crate) fn take_for_log(&self) -> Vec<Trouble> {
        std::mem::take(&mut self.inner().for_log)
    }

    /// The life that calls; `None` outside any process.
    pub(crate) fn life(&self) -> Option<usize> {
        let inner = self.inner();
        FIBRE.get().and_then(|me| Some(inner.fibres.get(me)?.life))
    }

    /// The process of a life.
    pub(crate) fn process_of(&self, life: usize) -> usize {
        self.inner().lives[life].process
    }

    /// Whether a life can still do something.
    pub(crate) fn is_alive(&self, life: Option<usize>) -> bool {
        let inner = self.inner();
        life.is_none_or(|life| inner.lives.get(life).is_some_and(|life| !life.is_dead))
    }

    /// Whether a life is the newest one of its process.
    pub(crate) fn is_current(&self) -> bool {
        let inner = self.inner();
        let life = FIBRE.get().map(|me| inner.fibres[me].life);
        life.is_none_or(|life| !inner.lives[life].is_replaced)
    }

    /// The process that calls needs no further life.
    pub(crate) fn retire(&self) {
        let mut inner = self.inner();
        if let Some(me) = FIBRE.get() {
            let process = inner.lives[inner.fibres[me].life].process;
            inner.begins[process] = None;
        }
    }

    /// Something happens in the world: the place where turns end and faults fire.
    /// What the log or the disk must do about it is returned.
    pub(crate) fn call(self: &Arc<Self>, call: Call, detail: u64) -> Option<Trouble> {
        let me = FIBRE.get()?;
        if std::thread::panicking() {
            return None;
        }
        let mut inner = self.inner();
        inner.leave_if_dead(me);
        inner.calls += 1;
        if inner.calls > CALLS_MAX {
            inner.failure.get_or_insert_with(|| NO_END.into());
            inner.end_all();
        }
        let latency = Duration::from_micros(inner.seed.below(400));
        inner.now += latency;
        inner.trace(me, call, detail);
        let process = inner.lives[inner.fibres[me].life].process;
        let mut trouble = None;
        for kind in [Call::Any, call] {
            trouble = inner.fire(process, kind).or(trouble);
        }
        match trouble {
            Some(Trouble::Kill) => self.kill(&mut inner, me),
            Some(Trouble::PowerCut) => self.cut_power(&mut inner),
            Some(Trouble::Stall(ms)) => {
                let at = inner.now + Duration::from_millis(ms);
                inner.fibres[me].wakes = Wakes::At(at);
            }
            Some(Trouble::Zombie(ms)) => {
                let at = inner.now + Duration::from_millis(ms);
                inner.fibres[me].wakes = Wakes::At(at);
                self.replace(&mut inner, me);
            }
            other => {
                inner
                    .for_log
                    .extend(other.filter(|other| other.is_of_the_log()));
                let one_in = inner.switch_one_in;
                if !inner.seed.hits(one_in) {
                    inner.leave_if_dead(me);
                    return trouble;
                }
            }
        }
        self.end_turn(inner, me);
        trouble
    }

    /// Waits, for records too if `for_records`.
    pub(crate) fn wait(self: &Arc<Self>, duration: Duration, for_records: bool) {
        let Some(me) = FIBRE.get() else {
            // Outside any process: a test of the log alone.
            Env::system()
                .clock
                .sleep(Duration::from_millis(1).min(duration));
            self.inner().now += duration.min(Duration::from_millis(1));
            return;
        };
        if std::thread::panicking() {
            return;
        }
        self.call(Call::Sleep, duration.as_micros() as u64);
        let mut inner = self.inner();
        inner.leave_if_dead(me);
        let at = inner.now + duration;
        inner.fibres[me].wakes = match for_records {
            true => Wakes::OnRecords(at),
            false => Wakes::At(at),
        };
        self.end_turn(inner, me);
    }

    /// Wakes those who wait for records.
    pub(crate) fn records_came(&self) {
        let mut inner = self.inner();
        let now = inner.now;
        for fibre in &mut inner.fibres {
            if matches!(fibre.wakes, Wakes::OnRecords(_)) {
                fibre.wakes = Wakes::At(now + Duration::from_micros(50));
            }
        }
    }

    /// A number of the world's own chance.
    pub(crate) fn below(&self, below: u64) -> u64 {
        self.inner().seed.below(below)
    }

    /// Starts another thread of the process that calls. The result waits for its end.
    pub(crate) fn spawn(self: &Arc<Self>, work: Work) -> Work {
        let mut inner = self.inner();
        let life = FIBRE.get().map(|me| inner.fibres[me].life);
        let life = life.expect("only a process starts threads");
        let child = self.start(&mut inner, life, Duration::ZERO, work);
        drop(inner);
        let world = Arc::clone(self);
        Box::new(move || world.join(child))
    }

    fn join(self: &Arc<Self>, child: usize) {
        let Some(me) = FIBRE.get() else { return };
        if std::thread::panicking() {
            return;
        }
        let mut inner = self.inner();
        inner.leave_if_dead(me);
        inner.fibres[me].wakes = Wakes::After(child);
        self.end_turn(inner, me);
    }

    /// Begins a new life of a process, if it needs one.
    fn bear(self: &Arc<Self>, inner: &mut Inner, process: usize, after: Duration) {
        let Some(begin) = inner.begins[process].clone() else {
            return;
        };
        let life = inner.lives.len();
        inner.lives.push(Life {
            process,
            is_dead: false,
            is_replaced: false,
            fibres_running: 0,
        });
        self.start(inner, life, after, Box::new(move || begin()));
    }

    fn start(
        self: &Arc<Self>,
        inner: &mut Inner,
        life: usize,
        after: Duration,
        work: Work,
    ) -> usize {
        let me = inner.fibres.len();
        let world = Arc::clone(self);
        let thread = std::thread::Builder::new()
            .name(format!("sim-{life}-{me}"))
            .stack_size(1 << 20)
            .spawn(move || world.live(me, work))
            .expect("the machine has room for a thread");
        inner.lives[life].fibres_running += 1;
        inner.fibres.push(Fibre {
            life,
            thread: thread.thread().clone(),
            wakes: Wakes::At(inner.now + after),
        });
        me
    }

    /// A thread from its first turn to its end.
    fn live(self: &Arc<Self>, me: usize, work: Work) {
        FIBRE.set(Some(me));
        self.await_turn(me);
        let (is_dead, bug) = {
            let inner = self.inner();
            (inner.is_dead(me), inner.bug)
        };
        #[cfg(feature = "faults")]
        headwater::core::fault::plant(bug);
        #[cfg(not(feature = "faults"))]
        assert!(bug.is_none(), "bugs are planted with the feature `faults`");
        let result = match is_dead {
            true => Ok(()),
            false => std::panic::catch_unwind(AssertUnwindSafe(work)),
        };
        let mut inner = self.inner();
        inner.fibres[me].wakes = Wakes::Never;
        let life = inner.fibres[me].life;
        inner.lives[life].fibres_running -= 1;
        if let Err(payload) = result
            && !payload.is::<Dead>()
        {
            let text = payload
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| payload.downcast_ref::<&str>().map(|&text| text.to_owned()));
            let text = text.unwrap_or_else(|| "something that is no text".into());
            inner.failure.get_or_insert(format!("a panic: {text}"));
            inner.end_all();
        }
        let next = inner.pick();
        self.hand_over(inner, next);
    }

    /// Ends the life of the thread that calls, and begins the next.
    fn kill(self: &Arc<Self>, inner: &mut Inner, me: usize) {
        let life = inner.fibres[me].life;
        self.replace(inner, me);
        inner.end_life(life);
    }

    fn replace(self: &Arc<Self>, inner: &mut Inner, me: usize) {
        let life = inner.fibres[me].life;
        if std::mem::replace(&mut inner.lives[life].is_replaced, true) {
            return;
        }
        let process = inner.lives[life].process;
        let after = Duration::from_millis(inner.seed.below(REBIRTH_MS_MAX));
        self.bear(inner, process, after);
    }

    fn cut_power(self: &Arc<Self>, inner: &mut Inner) {
        inner.power_cuts += 1;
        let living: Vec<usize> = (0..inner.lives.len())
            .filter(|&life| !inner.lives[life].is_dead && inner.lives[life].fibres_running > 0)
            .collect();
        for life in living {
            let fibre = inner.fibres.iter().position(|fibre| fibre.life == life);
            if let Some(fibre) = fibre {
                self.replace(inner, fibre);
            }
            inner.end_life(life);
        }
    }

    /// Gives the baton away and waits until it comes back.
    fn end_turn(&self, mut inner: MutexGuard<'_, Inner>, me: usize) {
        let next = inner.pick();
        if next == me {
            inner.fibres[me].wakes = Wakes::Now;
            inner.leave_if_dead(me);
            return;
        }
        self.hand_over(inner, next);
        self.await_turn(me);
        let inner = self.inner();
        inner.leave_if_dead(me);
    }

    fn hand_over(&self, mut inner: MutexGuard<'_, Inner>, next: usize) {
        let thread = match next {
            NOBODY => inner.main.clone(),
            next => {
                inner.fibres[next].wakes = Wakes::Now;
                Some(inner.fibres[next].thread.clone())
            }
        };
        drop(inner);
        self.holder.store(next, Ordering::Release);
        if let Some(thread) = thread {
            thread.unpark();
        }
    }

    fn await_turn(&self, me: usize) {
        while self.holder.load(Ordering::Acquire) != me {
            std::thread::park();
        }
    }
}

impl Inner {
    fn trace(&mut self, me: usize, call: Call, detail: u64) {
        let now = self.now.as_micros() as u64;
        let line = mix(me as u64 ^ (call as u64) << 32) ^ mix(detail ^ now << 20);
        self.hash = mix(self.hash ^ line);
        if self.is_loud {
            eprintln!("{:?} fibre {me}: {call:?} {detail}", self.now);
        }
    }

    fn fire(&mut self, process: usize, call: Call) -> Option<Trouble> {
        let count = self.counts.entry((process, call)).or_default();
        let nth = *count;
        *count += 1;
        let fault = self
            .faults
            .iter()
            .find(|fault| fault.process == process && fault.call == call && fault.nth == nth)?;
        self.fired.push(*fault);
        Some(fault.trouble)
    }

    fn is_dead(&self, me: usize) -> bool {
        self.is_ending || self.lives[self.fibres[me].life].is_dead
    }

    /// Unwinds the thread of a dead process.
    fn leave_if_dead(&self, me: usize) {
        if self.is_dead(me) && !std::thread::panicking() {
            std::panic::resume_unwind(Box::new(Dead));
        }
    }

    fn end_life(&mut self, life: usize) {
        self.lives[life].is_dead = true;
        for fibre in &mut self.fibres {
            if fibre.life == life && fibre.wakes != Wakes::Never {
                fibre.wakes = Wakes::Now;
            }
        }
    }

    fn end_all(&mut self) {
        self.is_ending = true;
        for fibre in &mut self.fibres {
            if fibre.wakes != Wakes::Never {
                fibre.wakes = Wakes::Now;
            }
        }
    }

    /// Whose turn it is. If all wait, time goes on.
    fn pick(&mut self) -> usize {
        loop {
            let ready: Vec<usize> = (0..self.fibres.len())
                .filter(|&fibre| self.is_ready(fibre))
                .collect();
            if !ready.is_empty() {
                return ready[self.seed.below(ready.len() as u64) as usize];
            }
            let due = self.fibres.iter().filter_map(|fibre| match fibre.wakes {
                Wakes::At(at) | Wakes::OnRecords(at) => Some(at),
                _ => None,
            });
            match due.min() {
                Some(at) => self.now = self.now.max(at),
                None => return NOBODY,
            }
        }
    }

    fn is_ready(&self, fibre: usize) -> bool {
        match self.fibres[fibre].wakes {
            Wakes::Now => true,
            Wakes::At(at) | Wakes::OnRecords(at) => at <= self.now,
            Wakes::After(child) => self.fibres[child].wakes == Wakes::Never,
            Wakes::Never => false,
        }
    }
}

/// The clock of a world.
pub(crate) struct SimClock(pub(crate) Arc<World>);

impl Clock for SimClock {
    fn monotonic(&self) -> Duration {
        self.0.now()
    }

    fn wall_ms(&self) -> i64 {
        self.0.wall_ms()
    }

    fn sleep(&self, duration: Duration) {
        self.0.wait(duration, false);
    }
}

/// The chance of a world.
pub(crate) struct SimRandom(pub(crate) Arc<World>);

impl Random for SimRandom {
    fn next_u64(&self) -> u64 {
        self.0.below(u64::MAX)
    }
}
