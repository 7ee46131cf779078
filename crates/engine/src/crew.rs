//! The workers of one run: dealt out, started, waited for.

use crate::aging::Aging;
use crate::application::{Application, Shared};
use crate::checkpoint::Epoch;
use crate::delivery::Screen;
use crate::metrics::Phase;
use crate::settings::{Report, RunOptions, Settings};
use crate::tally::{Tally, Totals};
use crate::worker::{Common, TaskSlot, Worker};
use headwater_core::{Result, TopicPartition};
use headwater_log::{Committed, Log, Reader, Transactor};
use headwater_plan::{LogicalPlan, describe};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// What a run brings to its workers.
pub(crate) struct Crew<'a> {
    pub(crate) plan: &'a Arc<LogicalPlan>,
    /// The topics of the run with the number of their partitions.
    pub(crate) partitions: &'a BTreeMap<String, u32>,
    /// One for each worker; none for a run that commits nothing.
    pub(crate) transactors: Vec<Box<dyn Transactor>>,
    /// Whether the group wants another assignment; asked on this thread.
    pub(crate) is_changing: &'a dyn Fn() -> bool,
    pub(crate) worker_count: usize,
    pub(crate) slots: BTreeMap<TopicPartition, TaskSlot>,
    /// What is committed before anything else: first positions of sinks, and the
    /// plan's stores.
    pub(crate) first_positions: Vec<(TopicPartition, Committed)>,
    pub(crate) options: &'a RunOptions,
    /// What the run has committed before it started again.
    pub(crate) totals: &'a Arc<Mutex<Totals>>,
}

/// How the workers ended.
pub(crate) enum Outcome {
    /// The run is over.
    Ended(Report),
    /// The group wants another assignment; every worker has committed its epoch,
    /// and these are the tasks as they stand.
    Reassigned(BTreeMap<TopicPartition, TaskSlot>),
}

/// Runs the workers and adds up what they did.
///
/// # Errors
/// The first error of any worker.
pub(crate) fn run_workers(application: &mut Application, crew: Crew<'_>) -> Result<Outcome> {
    let common = common(application, &crew);
    let Crew {
        transactors,
        is_changing,
        slots,
        first_positions,
        options,
        ..
    } = crew;
    let mut workers = make_workers(application, &common, transactors, slots, crew.worker_count)?;
    let mut first = workers.remove(0);
    first.first_positions = first_positions;
    if options.commit {
        first.sources = std::mem::take(&mut application.sources);
    }
    let shared = &common.shared;
    common.metrics.enter(Phase::Running);
    if let Err(error) = first.commit_first() {
        // After a commit that has failed nothing is committed.
        application.sources.append(&mut first.sources);
        return Err(error);
    }
    let mut joins = Vec::new();
    for mut worker in workers {
        let own = Arc::clone(shared);
        let name = format!("headwater-worker-{}", worker.index);
        let work = Box::new(move || run_one(&mut worker, &own, &|| false));
        match application.host.spawn(&name, work) {
            Ok(join) => joins.push(join),
            Err(error) => shared.fail(error),
        }
    }
    run_one(&mut first, shared, is_changing);
    common.metrics.enter(Phase::Draining);
    joins.into_iter().for_each(|join| join());
    let now = application.env.clock.monotonic();
    common
        .screen
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .draw(now, true);
    application.sources.append(&mut first.sources);
    match shared.take_failure() {
        Some(error) => Err(error),
        None => Ok(match shared.take_kept() {
            Some(kept) => Outcome::Reassigned(kept),
            None => Outcome::Ended(shared.report()),
        }),
    }
}

/// How many workers run `tasks` tasks.
pub(crate) fn worker_count(application: &Application, plan: &LogicalPlan, tasks: usize) -> usize {
    let calls_functions = (0..plan.nodes().len()).any(|id| !plan.functions_of(id).is_empty());
    let default = match calls_functions {
        true => 1,
        false => std::thread::available_parallelism().map_or(1, usize::from),
    };
    application
        .settings
        .workers
        .unwrap_or(default)
        .clamp(1, tasks.max(1))
}

fn common(application: &Application, crew: &Crew<'_>) -> Common {
    let plan = crew.plan;
    let sources = &application.sources;
    // A run comes to an end where all its inputs do.
    let is_filled = crew.options.commit && !sources.is_empty();
    let can_finish = is_filled
        && plan.inputs().all(|(id, input)| {
            plan.upstream_of(id).is_some()
                || sources
                    .iter()
                    .any(|source| source.topic.name == input.topic.name)
        });
    let can_finish = can_finish || crew.options.until.is_some();
    let now = application.env.clock.monotonic();
    let count = crew.worker_count;
    Common {
        aging: Arc::new(Aging::of(&*application.log, crew.partitions.keys())),
        log: Arc::clone(&application.log),
        env: application.env.clone(),
        host: Arc::clone(&application.host),
        settings: Settings {
            // What is not committed costs nothing to commit.
            commit_interval: (application.settings.commit_interval)
                .or_else(|| application.log.commit_interval())
                .filter(|_| crew.options.commit),
            ..application.settings.clone()
        },
        options: crew.options.clone(),
        plan: Arc::clone(plan),
        names: plan.nodes().iter().map(|node| describe(&node.op)).collect(),
        lines: plan.nodes().iter().map(|node| node.line.clone()).collect(),
        shared: Arc::new(Shared::new(
            application.stop_flag(),
            count,
            can_finish,
            now,
            Arc::clone(crew.totals),
        )),
        metrics: application.metrics.clone(),
        sinks: application.sinks.clone(),
        screen: Arc::new(Mutex::new(Screen::new(plan, Arc::clone(&application.host)))),
    }
}

fn run_one(worker: &mut Worker, shared: &Shared, is_changing: &dyn Fn() -> bool) {
    // The first worker has done so before the others were started. Where an epoch that
    // does not commit leaves state behind, there must be a position that it began at.
    let begun = match worker.index {
        0 => Ok(()),
        _ => worker.commit_first(),
    };
    match begun.and_then(|()| worker.run(is_changing)) {
        Ok(()) => shared.keep(std::mem::take(&mut worker.tasks)),
        Err(error) => shared.fail(error),
    }
    shared.finished[worker.index].store(true, Ordering::Release);
}

/// What reads on where tasks go on; `None` for no tasks.
pub(crate) fn reader_of<'a>(
    log: &dyn Log,
    tasks: impl Iterator<Item = (&'a TopicPartition, &'a TaskSlot)>,
) -> Result<Option<Box<dyn Reader>>> {
    let from: Vec<_> = tasks
        .map(|(partition, slot)| (partition.clone(), slot.resume))
        .collect();
    match from.is_empty() {
        true => Ok(None),
        false => log.reader(&from).map(Some),
    }
}

/// Deals the tasks out to workers, by turns in the order of partitions.
fn make_workers(
    application: &Application,
    common: &Common,
    transactors: Vec<Box<dyn Transactor>>,
    slots: BTreeMap<TopicPartition, TaskSlot>,
    count: usize,
) -> Result<Vec<Worker>> {
    let mut transactors = transactors.into_iter();
    let mut dealt: Vec<BTreeMap<TopicPartition, TaskSlot>> = Vec::new();
    dealt.resize_with(count, BTreeMap::new);
    for (index, (partition, slot)) in slots.into_iter().enumerate() {
        dealt[index % count].insert(partition, slot);
    }
    dealt
        .into_iter()
        .enumerate()
        .map(|(index, tasks)| {
            let reader = reader_of(&*application.log, tasks.iter())?;
            Ok(Worker {
                common: common.clone(),
                env: common.env.clone(),
                index,
                tasks,
                sources: Vec::new(),
                reader,
                transactor: transactors.next(),
                sinks: common.sinks.clone(),
                sink_rows: Vec::new(),
                epoch: Epoch::default(),
                tally: Tally::default(),
                first_positions: Vec::new(),
                has_all_input: false,
                trimmed_at: common.env.clock.monotonic(),
                rows_max: common.settings.batch_rows_max.min(1_000),
            })
        })
        .collect()
}
