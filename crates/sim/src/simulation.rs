//! One run of a script: the world, the log, the disk, and the processes in them.
//!
//! ```text
//! chaos   loaders append, applications run, faults fire, until all input is
//!         processed and every application stands at its end
//! calm    faults end; probes are appended and processed: what they give shows the
//!         state that the chaos has left
//! check   the oracle says what must be there
//! ```

use crate::bug::Bug;
use crate::check;
use crate::disk::{SimDisk, SimStorage};
use crate::log::{SimLog, SimLogHandle};
use crate::script::{Input, Loading, Script, probes};
use crate::seed::Seed;
use crate::trouble::{Fault, Trouble};
use crate::world::{SimClock, SimRandom, World};
use headwater::connect::{JsonLinesSink, JsonLinesSinkOptions};
use headwater::core::env::Env;
use headwater::core::partitioner::partition_of;
use headwater::core::{RecordsBuilder, TopicPartition};
use headwater::log::{CommitOutcome, Log, Member, Producer, TopicConfig, fixed};
use headwater::{Application, Class, Error, Host, Report, Result, RunOptions};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Stands for everything that happened.
    pub trace_hash: u64,
    /// The faults that fired.
    pub fired: Vec<Fault>,
    /// What was wrong.
    pub failure: Option<String>,
}

/// Everything in a run.
pub(crate) struct Simulation {
    pub(crate) script: Script,
    pub(crate) world: Arc<World>,
    pub(crate) log: Arc<SimLog>,
    pub(crate) disk: Arc<SimDisk>,
    /// The next batch of the loader.
    next_batch: AtomicUsize,
    is_loaded: AtomicBool,
    /// The processes that still run each application.
    running: Vec<AtomicUsize>,
    /// The values that the log has acknowledged.
    pub(crate) acknowledged: Mutex<Vec<String>>,
    /// What runs reported, by application.
    pub(crate) reports: Mutex<Vec<Vec<Report>>>,
    /// Lives of each application whose counts are not all in its reports.
    pub(crate) uncounted: Vec<AtomicUsize>,
}

/// Runs a script, with a bug if one is planted.
pub fn run(script: &Script, bug: Option<Bug>) -> Outcome {
    let mut seed = Seed(script.seed);
    let point = bug.and_then(Bug::point);
    let world = World::new(seed.fork("world"), script.faults.clone(), point);
    let mut nature = script.nature;
    nature.bug = bug;
    let log = SimLog::new(Arc::clone(&world), seed.fork("log"), nature);
    let disk = SimDisk::new(Arc::clone(&world), seed.fork("disk"), bug);
    let programs = script.topology.programs.len();
    let simulation = Arc::new(Simulation {
        script: script.clone(),
        world: Arc::clone(&world),
        log,
        disk,
        next_batch: AtomicUsize::new(0),
        is_loaded: AtomicBool::new(false),
        running: (0..programs).map(|_| AtomicUsize::new(0)).collect(),
        acknowledged: Mutex::default(),
        reports: Mutex::new((0..programs).map(|_| Vec::new()).collect()),
        uncounted: (0..programs).map(|_| AtomicUsize::new(0)).collect(),
    });
    let failure = simulation.unfold().err();
    Outcome {
        trace_hash: world.trace_hash(),
        fired: world.fired(),
        failure,
    }
}

impl Simulation {
    fn unfold(self: &Arc<Self>) -> std::result::Result<(), String> {
        let handle = self.handle(false);
        for &(name, partitions) in &self.script.topology.topics {
            let config = TopicConfig {
                partitions,
                ..TopicConfig::default()
            };
            handle
                .create_topic(name, &config)
                .map_err(|error| error.to_string())?;
        }
        self.add_programs();
        let own = Arc::clone(self);
        self.world.add_process(move || own.load(&own.script.inputs));
        self.world.run()?;

        self.world.calm_down();
        self.log.calm_down();
        self.is_loaded.store(false, Ordering::Release);
        self.next_batch.store(0, Ordering::Release);
        self.add_programs();
        let own = Arc::clone(self);
        self.world.add_process(move || {
            let partitions = own.partitions("in");
            let of = |key: &str| partition_of(key.as_bytes(), partitions);
            own.load(&probes(of, partitions));
        });
        self.world.run()?;
        check::check(self)
    }

    fn handle(&self, is_repeating: bool) -> Arc<SimLogHandle> {
        Arc::new(SimLogHandle {
            log: Arc::clone(&self.log),
            is_repeating,
        })
    }

    pub(crate) fn partitions(&self, topic: &str) -> u32 {
        self.script.topology.partitions(topic)
    }

    fn env(&self) -> Env {
        Env {
            clock: Arc::new(SimClock(Arc::clone(&self.world))),
            random: Arc::new(SimRandom(Arc::clone(&self.world))),
            storage: Arc::new(SimStorage(Arc::clone(&self.disk))),
        }
    }

    fn add_programs(self: &Arc<Self>) {
        for (application, program) in self.script.topology.programs.iter().enumerate() {
            self.running[application].store(program.processes, Ordering::Release);
            for _ in 0..program.processes {
                let own = Arc::clone(self);
                self.world.add_process(move || own.live(application));
            }
        }
    }

    /// The path of a sink's file.
    pub(crate) fn path_of(sink: &str) -> PathBuf {
        PathBuf::from(format!("/sim/{sink}.jsonl"))
    }

    /// One life of a process that runs an application.
    fn live(&self, application: usize) {
        // Until the life has come to its end, its counts may be lost with it.
        self.uncounted[application].fetch_add(1, Ordering::AcqRel);
        loop {
            match self.run_once(application) {
                Ok(report) => {
                    let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
                    reports[application].push(report);
                }
                Err(error) if self.is_expected(&error) => {
                    self.uncounted[application].fetch_add(1, Ordering::AcqRel);
                    if !self.world.is_current() {
                        return;
                    }
                    self.world.wait(Duration::from_millis(100), false);
                }
                Err(error) => {
                    let class = error.class();
                    return self
                        .world
                        .fail(format!("the run ended with {class:?}: {error}"));
                }
            }
            if !self.world.is_current() {
                return;
            }
            if self.is_done(application) {
                self.running[application].fetch_sub(1, Ordering::AcqRel);
                self.uncounted[application].fetch_sub(1, Ordering::AcqRel);
                return self.world.retire();
            }
        }
    }

    fn run_once(&self, application: usize) -> Result<Report> {
        let topology = &self.script.topology;
        let program = &topology.programs[application];
        let log: Arc<dyn Log> = self.handle(program.is_repeating);
        let host = Arc::new(SimHost(Arc::clone(&self.world)));
        let mut settings = program.settings.clone();
        if let Some(folder) = settings
            .state_directory
            .as_mut()
            .filter(|_| program.has_own_folders)
            && let Some(life) = self.world.life()
        {
            folder.push(format!("host-{}", self.world.process_of(life)));
        }
        let mut running = Application::new(log, self.env(), settings, host);
        let (frames, functions) = topology.program(application);
        *running.functions_mut() = functions;
        let own = topology
            .pipelines
            .iter()
            .filter(|known| known.application == application);
        for sink in own.filter_map(|known| known.sink) {
            let path = Simulation::path_of(sink);
            let file = JsonLinesSink::new(path, JsonLinesSinkOptions::default());
            running.add_sink(sink, Box::new(file))?;
        }
        let timeout = Duration::from_millis(300 + self.world.below(2_500));
        let options = RunOptions {
            timeout: Some(timeout),
            ..RunOptions::default()
        };
        running.run_frames(&frames, &options)
    }

    /// Errors that a fault explains: the process is started again.
    fn is_expected(&self, error: &Error) -> bool {
        match error.class() {
            Class::Unavailable | Class::Fenced => true,
            Class::Internal => self.world.fired().iter().any(|fault| {
                matches!(
                    fault.trouble,
                    Trouble::IoError | Trouble::SyncFails | Trouble::DiskFull
                )
            }),
            _ => false,
        }
    }

    /// Whether everything that will ever come has been processed.
    fn is_done(&self, application: usize) -> bool {
        let topology = &self.script.topology;
        let name = topology.programs[application].name;
        let segments = topology.segments();
        let mut own = segments
            .iter()
            .filter(|known| known.application == application);
        // A tick of an application before this one may still send something.
        let is_fed = self.running[..application]
            .iter()
            .all(|running| running.load(Ordering::Acquire) == 0);
        self.is_loaded.load(Ordering::Acquire)
            && is_fed
            && own.all(|known| self.log.is_at_end(name, &known.input))
    }

    /// The loader: appends the batches of a list, each once.
    fn load(&self, inputs: &[Input]) {
        let batches: Vec<&[Input]> = inputs
            .chunk_by(|left, right| left.batch == right.batch)
            .collect();
        loop {
            let next = self.next_batch.fetch_add(1, Ordering::AcqRel);
            let Some(batch) = batches.get(next) else {
                break;
            };
            self.world
                .wait(Duration::from_millis(batch[0].pause_ms), false);
            if let Err(error) = self.load_batch(batch)
                && !matches!(error.class(), Class::Unavailable | Class::Fenced)
            {
                return self.world.fail(format!("the loader failed: {error}"));
            }
        }
        self.is_loaded.store(true, Ordering::Release);
        self.world.retire();
    }

    fn load_batch(&self, batch: &[Input]) -> Result<()> {
        let log = self.handle(false);
        let partitions = self.partitions("in");
        let mut parts = Vec::new();
        for input in batch {
            let key = input.key.as_deref().map(str::as_bytes);
            let partition = key.map_or(0, |key| partition_of(key, partitions));
            let mut builder = RecordsBuilder::default();
            let value = input.value.as_deref().map(str::as_bytes);
            builder.push(key, value, input.timestamp, None);
            parts.push((TopicPartition::new("in", partition), builder.finish()));
        }
        let loading = batch[0].batch.1;
        let is_acknowledged = match loading {
            Loading::Plain => {
                let mut producer: Box<dyn Producer> = log.producer()?;
                for (partition, records) in parts {
                    producer.append(&partition, records)?;
                }
                producer.flush()?;
                true
            }
            _ => {
                let member: Box<dyn Member> = log.join("loader", &[])?;
                let mut transactor = member.transactor(0)?;
                for (partition, records) in parts {
                    transactor.append(&partition, records)?;
                }
                match loading {
                    Loading::Committed => {
                        transactor.commit(&mut fixed(&[]))? == CommitOutcome::Committed
                    }
                    _ => {
                        transactor.abort()?;
                        false
                    }
                }
            }
        };
        if is_acknowledged {
            let mut acknowledged = self
                .acknowledged
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            acknowledged.extend(batch.iter().filter_map(|input| input.value.clone()));
        }
        Ok(())
    }
}

/// A process that says nothing.
struct SimHost(Arc<World>);

impl Host for SimHost {
    fn check(&self) -> Result<bool> {
        Ok(false)
    }

    fn print(&self, _text: &str) {}

    fn log(&self, text: &str) {
        self.0.say(text);
    }

    fn spawn(
        &self,
        _name: &str,
        work: Box<dyn FnOnce() + Send>,
    ) -> Result<Box<dyn FnOnce() + Send>> {
        Ok(self.0.spawn(work))
    }
}
