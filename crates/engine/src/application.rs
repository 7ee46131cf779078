//! An application: the user's program, as the engine sees it.

use crate::delivery::{SinkSet, row_text};
use crate::metrics::Metrics;
use crate::run;
use crate::settings::{Ended, Host, Report, RunOptions, Settings};
use crate::source_task::SourceTask;
use crate::tally::Totals;
use crate::worker::{Common, TaskSlot};
use headwater_connect::{Sink, Source};
use headwater_core::env::Env;
use headwater_core::{Error, Result, TopicPartition};
use headwater_log::{Log, TopicConfig};
use headwater_operators::Functions;
use headwater_plan::{DataFrame, LogicalPlan, TopicRef};
use headwater_state::MemoryBudget;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A run without `count` or `timeout` that has waited this long for its first
/// record says so, once.
const SAY_AFTER: Duration = Duration::from_secs(3);

/// A program over one log: its topics, functions, sources and sinks.
pub struct Application {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) env: Env,
    pub(crate) settings: Settings,
    /// What the stores of all tasks share.
    pub(crate) state_memory: Arc<MemoryBudget>,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) functions: Functions,
    pub(crate) topics: Vec<(TopicRef, Option<TopicConfig>)>,
    pub(crate) sources: Vec<SourceTask>,
    pub(crate) sinks: SinkSet,
    pub(crate) metrics: Metrics,
    stop: Arc<AtomicBool>,
}

impl std::fmt::Debug for Application {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "Application({} on {})",
            self.settings.name,
            self.log.describe()
        )
    }
}

/// Ends a run from elsewhere: it finishes its epoch first.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<AtomicBool>);

impl Stopper {
    /// Asks the run to end; before it has begun, the next one.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Application {
    /// An application over a log, in a process that `host` speaks for.
    pub fn new(log: Arc<dyn Log>, env: Env, settings: Settings, host: Arc<dyn Host>) -> Self {
        Application {
            log,
            env,
            state_memory: MemoryBudget::new(settings.state_memory_max),
            settings,
            host,
            functions: Functions::default(),
            topics: Vec::new(),
            sources: Vec::new(),
            sinks: SinkSet::default(),
            metrics: Metrics::default(),
            stop: Arc::default(),
        }
    }

    /// An application in a plain Rust process, with the machine's clock.
    pub fn in_process(log: Arc<dyn Log>, settings: Settings) -> Self {
        Application::new(log, Env::system(), settings, Arc::new(StreamHost))
    }

    /// The functions that plans may name.
    pub fn functions_mut(&mut self) -> &mut Functions {
        &mut self.functions
    }

    /// What the application was told.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Names a topic that the application reads or writes. It is made when a run
    /// begins, if it is missing and that is allowed.
    pub fn declare_topic(&mut self, topic: TopicRef, config: Option<TopicConfig>) {
        match self
            .topics
            .iter_mut()
            .find(|(known, _)| known.name == topic.name)
        {
            Some(known) => *known = (topic, config.or(known.1.take())),
            None => self.topics.push((topic, config)),
        }
    }

    /// Adds a source, which fills `topic`.
    ///
    /// # Errors
    /// `Invalid` if there is a source of that name.
    pub fn add_source(
        &mut self,
        name: &str,
        source: Box<dyn Source>,
        topic: TopicRef,
    ) -> Result<()> {
        if self.sources.iter().any(|known| known.name == name) {
            return Err(Error::invalid(format!(
                "two sources have one name; give one of them another, name=`{name}`"
            )));
        }
        self.declare_topic(topic.clone(), None);
        self.sources
            .push(SourceTask::new(name.to_owned(), source, topic));
        Ok(())
    }

    /// Adds a sink under the name by which plans know it.
    ///
    /// # Errors
    /// `Invalid` if there is a sink of that name.
    pub fn add_sink(&mut self, name: &str, sink: Box<dyn Sink>) -> Result<()> {
        if self.sinks.contains(name) {
            return Err(Error::invalid(format!(
                "two sinks have one name; give one of them another, name=`{name}`"
            )));
        }
        self.sinks.insert(name, sink);
        Ok(())
    }

    /// What the application has done and where it stands, over all its runs; the
    /// handle may be read from any thread, while it runs too.
    ///
    /// # Examples
    ///
    /// ```
    /// # use headwater::{Application, Settings, core::env::Env, log::memory::MemoryLog};
    /// let application = Application::in_process(MemoryLog::new(Env::system()), Settings::new("a"));
    /// let metrics = application.metrics();
    /// assert_eq!(metrics.snapshot().phase.name(), "stopped");
    /// ```
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Goes on counting where another application has, which did the same work before.
    pub fn set_metrics(&mut self, metrics: Metrics) {
        self.metrics = metrics;
    }

    /// Ends a run from another thread or a signal handler.
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// Runs the plan on this thread, and on further ones if the settings say so,
    /// until it is stopped or what `options` say has happened.
    ///
    /// # Errors
    /// A definition that cannot work, a record under the policy `stop`, a log
    /// that stays unavailable, and what a user's function ends the run with.
    pub fn run(&mut self, plan: &LogicalPlan, options: &RunOptions) -> Result<Report> {
        let report = run::run(self, plan, options);
        self.stop.store(false, Ordering::Release);
        report
    }

    /// Runs the plan that some frames make together.
    ///
    /// # Errors
    /// As [`Application::run`].
    pub fn run_frames(&mut self, frames: &[DataFrame], options: &RunOptions) -> Result<Report> {
        self.run(&LogicalPlan::new(frames)?, options)
    }

    /// Forgets the application's state and positions.
    ///
    /// # Errors
    /// `Invalid` while it is running.
    pub fn clear_state(&self) -> Result<()> {
        let directory = self.settings.state_directory.as_deref();
        let name = &self.settings.name;
        crate::restore::reset_with_state(&*self.log, &self.env, directory, name).map(|_| ())
    }

    /// Lets go of what a run has opened.
    pub(crate) fn release(&mut self) {
        self.sinks.close();
        self.sources.iter_mut().for_each(SourceTask::release);
    }

    pub(crate) fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }
}

impl Report {
    /// The collected rows as JSON texts.
    ///
    /// # Errors
    /// None today; reserved for rows that have no JSON form.
    pub fn rows_as_json(&self) -> Result<Vec<String>> {
        Ok(self
            .collected
            .iter()
            .flat_map(|delivery| {
                (0..delivery.batch.len()).map(|row| row_text(&delivery.batch, row))
            })
            .collect())
    }
}

/// A plain process: standard output and error, no signals of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamHost;

impl Host for StreamHost {
    fn check(&self) -> Result<bool> {
        Ok(false)
    }

    fn print(&self, text: &str) {
        // A closed pipe is the reader's choice, not an error of the run.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }

    fn log(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    fn is_terminal(&self) -> bool {
        std::io::stdout().is_terminal()
    }

    fn spawn(
        &self,
        name: &str,
        work: Box<dyn FnOnce() + Send>,
    ) -> Result<Box<dyn FnOnce() + Send>> {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(work)?;
        Ok(Box::new(move || {
            // A panic has been reported by the worker's own guard.
            let _ = thread.join();
        }))
    }
}

/// What the workers of one run tell each other.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) stop: Arc<AtomicBool>,
    ended: Mutex<Option<Ended>>,
    failure: Mutex<Option<Error>>,
    /// Whether the group wants another assignment.
    is_reassigning: AtomicBool,
    /// The tasks of workers that have committed their last epoch.
    kept: Mutex<BTreeMap<TopicPartition, TaskSlot>>,
    /// What is committed, kept when the run starts again.
    totals: Arc<Mutex<Totals>>,
    /// Rows that reached the end of a frame, committed or not.
    rows_out: AtomicU64,
    /// When records last came, in microseconds of the run's clock.
    last_activity: AtomicU64,
    has_said: AtomicBool,
    pub(crate) finished: Vec<AtomicBool>,
    pub(crate) sources_done: AtomicBool,
    /// Whether all inputs come from sources, so that the run can come to an end.
    pub(crate) can_finish: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(
        stop: Arc<AtomicBool>,
        workers: usize,
        can_finish: bool,
        now: Duration,
        totals: Arc<Mutex<Totals>>,
    ) -> Self {
        let rows_out = AtomicU64::new(lock(&totals).committed.rows_out);
        Shared {
            stop,
            can_finish,
            totals,
            rows_out,
            finished: (0..workers).map(|_| AtomicBool::new(false)).collect(),
            last_activity: AtomicU64::new(now.as_micros() as u64),
            ..Shared::default()
        }
    }

    pub(crate) fn ask_to_stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Whether somebody has asked for the end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.stop.load(Ordering::Acquire)
            || self.is_reassigning()
            || lock(&self.ended).is_some()
            || lock(&self.failure).is_some()
    }

    pub(crate) fn reassign(&self) {
        self.is_reassigning.store(true, Ordering::Release);
    }

    pub(crate) fn is_reassigning(&self) -> bool {
        self.is_reassigning.load(Ordering::Acquire)
    }

    /// Keeps the tasks of a worker that has ended well.
    pub(crate) fn keep(&self, tasks: BTreeMap<TopicPartition, TaskSlot>) {
        lock(&self.kept).extend(tasks);
    }

    /// The tasks to go on with, if the workers have ended only because the group
    /// wants another assignment.
    pub(crate) fn take_kept(&self) -> Option<BTreeMap<TopicPartition, TaskSlot>> {
        let is_over = self.stop.load(Ordering::Acquire) || lock(&self.ended).is_some();
        (self.is_reassigning() && !is_over).then(|| std::mem::take(&mut *lock(&self.kept)))
    }

    pub(crate) fn fail(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
    }

    pub(crate) fn take_failure(&self) -> Option<Error> {
        lock(&self.failure).take()
    }

    pub(crate) fn saw_records(&self, now: Duration) {
        self.last_activity
            .store(now.as_micros() as u64, Ordering::Relaxed);
    }

    /// The time that a commit took is not time without records.
    pub(crate) fn was_busy(&self, took: Duration, now: Duration) {
        let later = |last: u64| Some((last + took.as_micros() as u64).min(now.as_micros() as u64));
        let order = Ordering::Relaxed;
        let _ = self.last_activity.fetch_update(order, order, later);
    }

    pub(crate) fn reached_end(&self, count: u64) {
        self.rows_out.fetch_add(count, Ordering::AcqRel);
    }

    /// What this run has committed, over all its beginnings.
    pub(crate) fn totals(&self) -> std::sync::MutexGuard<'_, Totals> {
        lock(&self.totals)
    }

    /// Rows that have reached the end of a frame so far.
    pub(crate) fn rows_out(&self) -> u64 {
        self.rows_out.load(Ordering::Acquire)
    }

    pub(crate) fn check_count(&self, count: Option<u64>) {
        if count.is_some_and(|count| self.rows_out() >= count) {
            lock(&self.ended).get_or_insert(Ended::Count);
        }
    }

    /// Ends the run on a time-out, or when all inputs have ended.
    pub(crate) fn check_end(&self, now: Duration, options: &RunOptions) {
        if let Some(timeout) = options.timeout {
            let last = Duration::from_micros(self.last_activity.load(Ordering::Relaxed));
            if now.saturating_sub(last) >= timeout {
                lock(&self.ended).get_or_insert(Ended::Timeout);
            }
        }
        let is_finished = self.can_finish
            && self.sources_done.load(Ordering::Acquire)
            && self
                .finished
                .iter()
                .all(|finished| finished.load(Ordering::Acquire));
        if is_finished {
            lock(&self.ended).get_or_insert(Ended::EndOfInput);
        }
    }

    /// Tells a user who waits for rows why none come.
    pub(crate) fn say_what_it_waits_for(&self, now: Duration, common: &Common) {
        let last = Duration::from_micros(self.last_activity.load(Ordering::Relaxed));
        let Some(count) = common.options.count else {
            return;
        };
        if now.saturating_sub(last) < SAY_AFTER || self.has_said.swap(true, Ordering::Relaxed) {
            return;
        }
        let topics: Vec<String> = common
            .plan
            .inputs()
            .map(|(_, input)| format!("`{}`", input.topic.name))
            .collect();
        common.host.log(&format!(
            "waiting for new records in {}: run(count={count}) ends after {count} rows, {} so far; \
             start a producer, or read what is there with run(start=\"earliest\", commit=False)",
            topics.join(", "),
            self.rows_out.load(Ordering::Acquire)
        ));
    }

    pub(crate) fn report(&self) -> Report {
        let ended = lock(&self.ended).unwrap_or(Ended::Stopped);
        self.totals().report(ended)
    }
}
