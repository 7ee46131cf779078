//! One run of an application: from what is committed to its end.
//!
//! 1. Topics that are missing are made, the internal ones too.
//! 2. The application joins its group, which fences a former owner, and reads
//!    what is committed.
//! 3. The plan is compared with the stores of the last run.
//! 4. Tasks are made, one for each input partition, and their state restored.
//! 5. Sinks and sources are opened at their committed positions.
//! 6. Workers run until the run ends.
//!
//! Where the log is unavailable, or the outcome of a commit unknown, everything
//! in memory is dropped and the run starts again from 2.

use crate::application::{Application, Shared};
use crate::checkpoint::Epoch;
use crate::dead_letter::dead_letter_topic;
use crate::delivery::Screen;
use crate::lowering::Lowered;
use crate::metadata::TaskMetadata;
use crate::restore::restore;
use crate::settings::{ErrorPolicy, OffsetReset, Report, RunOptions, Start};
use crate::source_task::source_partition;
use crate::task::Task;
use crate::worker::{Common, TaskSlot, Worker};
use headwater_core::{Class, Error, Position, Result, TimestampMs, TopicPartition};
use headwater_log::{Committed, Member, TopicConfig};
use headwater_plan::{LogicalPlan, NodeId, Op, StoreId, StoreUse, Target, describe};
use headwater_state::KeyedStore;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Waits between attempts while the log is unavailable.
const BACK_OFF: [Duration; 6] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

type CommittedMap = BTreeMap<TopicPartition, Committed>;

pub(crate) fn run(
    application: &mut Application,
    plan: &LogicalPlan,
    options: &RunOptions,
) -> Result<Report> {
    check(application, options)?;
    let mut waits = BACK_OFF.iter();
    loop {
        let error = match attempt(application, plan, options) {
            Err(error) if error.class() == Class::Unavailable => error,
            result => return result,
        };
        let Some(&wait) = waits.next() else {
            return Err(error);
        };
        application.host.log(&format!(
            "{error}; starting again from the last commit in {} ms",
            wait.as_millis()
        ));
        application.env.clock.sleep(wait);
    }
}

fn check(application: &Application, options: &RunOptions) -> Result<()> {
    let name = &application.settings.name;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.contains("--") || !name.bytes().all(is_plain) {
        return Err(Error::invalid(format!(
            "the name of an application has letters, digits, `.`, `_` and single `-` only, name=`{name}`"
        )));
    }
    if options.start == Start::Earliest && options.commit {
        return Err(Error::invalid(
            "a run from the beginning would repeat what is committed: add commit=False, or reset the \
             application with clear_state()",
        ));
    }
    Ok(())
}

fn attempt(
    application: &mut Application,
    plan: &LogicalPlan,
    options: &RunOptions,
) -> Result<Report> {
    let plan = Arc::new(plan.clone());
    let partitions = make_topics(application, &plan, options)?;
    let member = match options.commit {
        true => Some(application.log.join(&application.settings.name)?),
        false => None,
    };
    let committed: CommittedMap = match &member {
        Some(member) => member.committed()?.into_iter().collect(),
        None => CommittedMap::new(),
    };
    let stores = plan.stores()?;
    check_stores(application, &stores, &committed, options)?;
    let slots = make_tasks(
        application,
        &plan,
        &stores,
        &partitions,
        &committed,
        options,
    )?;
    if options.commit {
        application.sinks.open(&application.env, &committed)?;
        for source in &mut application.sources {
            let count = partitions.get(&*source.topic.name).copied().unwrap_or(1);
            let known = committed.get(&source_partition(&source.name));
            source.open(&application.env, count, known)?;
        }
    }
    let result = run_workers(
        application,
        &plan,
        member.as_deref(),
        slots,
        &stores,
        options,
    );
    application.sinks.close();
    result
}

/// Makes the topics that are missing and returns the partitions of all. A run
/// that commits nothing makes none; what it would write to counts as one
/// partition.
fn make_topics(
    application: &Application,
    plan: &LogicalPlan,
    options: &RunOptions,
) -> Result<BTreeMap<String, u32>> {
    let mut wanted: Vec<(String, Option<TopicConfig>, bool)> = Vec::new();
    for (topic, config) in &application.topics {
        wanted.push((topic.name.to_string(), config.clone(), false));
    }
    let policy = &application.settings.on_data_error;
    let letters = matches!(policy, ErrorPolicy::DeadLetter | ErrorPolicy::Callback(_));
    for (_, input) in plan.inputs() {
        wanted.push((input.topic.name.to_string(), None, true));
        if letters {
            let name = dead_letter_topic(&input.topic.name);
            wanted.push((name, Some(TopicConfig::default()), false));
        }
    }
    for node in plan.nodes() {
        if let Op::ToTopic {
            target: Target::Topic(topic),
            ..
        } = &node.op
        {
            wanted.push((topic.name.to_string(), None, false));
        }
    }
    let mut partitions = BTreeMap::new();
    for (name, config, is_input) in wanted {
        let count = match application.log.topic(&name)? {
            Some(info) => info.config.partitions,
            None if !options.commit && !is_input => 1,
            None => make_topic(application, &name, config, options)?,
        };
        partitions.insert(name, count);
    }
    Ok(partitions)
}

fn make_topic(
    application: &Application,
    name: &str,
    config: Option<TopicConfig>,
    options: &RunOptions,
) -> Result<u32> {
    let default = application.settings.auto_create_partitions;
    let by_default = default.map(|partitions| TopicConfig {
        partitions,
        ..TopicConfig::default()
    });
    match config.or(by_default).filter(|_| options.commit) {
        Some(config) => {
            application.log.create_topic(name, &config)?;
            Ok(config.partitions)
        }
        None => Err(Error::invalid(format!(
            "a topic does not exist; produce to it first, or declare it with app.topic(...), \
             topic=`{name}`"
        ))),
    }
}

/// Compares the plan with the stores that the last run left.
fn check_stores(
    application: &Application,
    stores: &[StoreUse],
    committed: &CommittedMap,
    options: &RunOptions,
) -> Result<()> {
    let name = &application.settings.name;
    let ways_out = format!(
        "give the operator another name with name=\"...\", or reset the application: \
         `headwater reset {name}` or app.clear_state()"
    );
    for store in stores {
        let Some(known) = committed.get(&store_partition(&store.id)) else {
            continue;
        };
        let signature = store.signature.join(" ");
        if known.metadata != signature.as_bytes() {
            return Err(Error::invalid(format!(
                "an operator has changed so that its state cannot be used: {ways_out}, \
                 operator=`{}` was=`{}` is=`{signature}`",
                store.id,
                String::from_utf8_lossy(&known.metadata)
            )));
        }
    }
    if options.confirm_lost_state {
        return Ok(());
    }
    let lost = committed.keys().find_map(|partition| {
        let id = partition.topic.strip_prefix("store:")?;
        (!stores.iter().any(|store| store.id.0 == id)).then(|| id.to_owned())
    });
    match lost {
        None => Ok(()),
        Some(id) => Err(Error::invalid(format!(
            "the last run kept state that this program no longer has; bring the operator back under \
             its name, confirm the loss with run(confirm_lost_state=True), or reset the application: \
             `headwater reset {name}` or app.clear_state(), operator=`{id}`"
        ))),
    }
}

fn store_partition(id: &StoreId) -> TopicPartition {
    TopicPartition::new(format!("store:{id}"), 0)
}

/// Makes and restores one task for each partition of each input.
fn make_tasks(
    application: &Application,
    plan: &LogicalPlan,
    stores: &[StoreUse],
    partitions: &BTreeMap<String, u32>,
    committed: &CommittedMap,
    options: &RunOptions,
) -> Result<BTreeMap<TopicPartition, TaskSlot>> {
    let declared: Vec<_> = application
        .topics
        .iter()
        .map(|(topic, _)| topic.clone())
        .filter(|topic| partitions.contains_key(&*topic.name))
        .collect();
    let mut slots = BTreeMap::new();
    for (id, input) in plan.inputs() {
        let name = &input.topic.name;
        let lowered = Lowered::new(
            plan,
            id,
            &application.functions,
            &application.settings,
            partitions,
            &declared,
        );
        let info = application.log.topic(name)?.ok_or_else(|| {
            Error::invalid(format!(
                "a topic was deleted while the run began, topic=`{name}`"
            ))
        })?;
        let own = stores
            .iter()
            .filter(|store| plan.input_of(store.node).topic.name == *name);
        let own: Vec<&StoreUse> = own.collect();
        let (mut waiting, mut starts) = (0, Vec::new());
        for partition in 0..info.config.partitions {
            let partition = TopicPartition::new(Arc::clone(name), partition);
            let begin = begin_at(application, &partition, info.id, committed, options)?;
            waiting += application.log.waiting(&partition, begin.resume)?;
            starts.push((begin.resume, begin.why));
            let mut slot = TaskSlot {
                task: Task {
                    partition: partition.clone(),
                    input: lowered.input()?,
                    tree: lowered.tree()?,
                    keyed: KeyedStore::default(),
                    watermark: begin.watermark,
                    before_step: None,
                },
                resume: begin.resume,
                topic_id: info.id,
                is_ended: begin.is_ended,
                is_at_end: false,
                quiet: None,
                keyed_changelog: None,
                changelogs: BTreeMap::new(),
            };
            if options.commit {
                let is_new = !committed.contains_key(&partition);
                restore_slot(application, plan, &own, &partition, is_new, &mut slot)?;
            }
            slots.insert(partition, slot);
        }
        say_where(application, name, &starts, waiting);
    }
    Ok(slots)
}

/// Where a task begins, and why there.
struct Begin {
    resume: Position,
    watermark: TimestampMs,
    is_ended: bool,
    why: &'static str,
}

fn begin_at(
    application: &Application,
    partition: &TopicPartition,
    topic_id: u64,
    committed: &CommittedMap,
    options: &RunOptions,
) -> Result<Begin> {
    let bounds = application.log.bounds(partition)?;
    let fresh = |resume, why| Begin {
        resume,
        watermark: TimestampMs::MIN,
        is_ended: false,
        why,
    };
    if options.start == Start::Earliest {
        return Ok(fresh(bounds.start, "the beginning, as asked"));
    }
    if let Some(known) = committed.get(partition) {
        let metadata = TaskMetadata::decode(&known.metadata)?;
        if metadata.topic_id != topic_id {
            return Err(Error::invalid(format!(
                "a topic was deleted and made again since the last run; its positions and state are \
                 those of the old one: reset the application with `headwater reset {}` or \
                 app.clear_state(), topic=`{}`",
                application.settings.name, partition.topic
            )));
        }
        return Ok(Begin {
            resume: known.position,
            watermark: metadata.watermark_ms,
            is_ended: metadata.is_ended,
            why: "where the last run ended",
        });
    }
    match application.settings.auto_offset_reset {
        OffsetReset::Earliest => Ok(fresh(
            bounds.start,
            "the beginning, as this is the first run",
        )),
        OffsetReset::Latest => Ok(fresh(
            bounds.end,
            "the end, by auto_offset_reset=\"latest\"",
        )),
        OffsetReset::Error => Err(Error::invalid(format!(
            "nothing is committed for a partition and auto_offset_reset is \"error\", \
             partition=`{partition}`"
        ))),
    }
}

/// Finds the changelogs of a task's stores, and applies them.
fn restore_slot(
    application: &Application,
    plan: &LogicalPlan,
    stores: &[&StoreUse],
    partition: &TopicPartition,
    is_new: bool,
    slot: &mut TaskSlot,
) -> Result<()> {
    let log = &*application.log;
    for store in stores {
        let topic = store.id.changelog_topic(&application.settings.name);
        let partitions = log
            .topic(&partition.topic)?
            .map_or(1, |info| info.config.partitions);
        let config = TopicConfig {
            partitions,
            retention_ms: None,
            retention_bytes: None,
            compacted: true,
        };
        log.create_topic(&topic, &config)?;
        let changelog = TopicPartition::new(topic, partition.partition);
        let is_keyed = !matches!(plan.node(store.node).op, Op::Window(_));
        let bounds = log.bounds(&changelog)?;
        if is_new && bounds.start < bounds.end {
            return Err(Error::invalid(format!(
                "a changelog holds state but nothing is committed: reset the application with \
                 `headwater reset {}` or app.clear_state(), changelog=`{changelog}`",
                application.settings.name
            )));
        }
        if is_keyed {
            restore(log, &changelog, &mut slot.task.keyed)?;
            slot.keyed_changelog = Some(changelog);
            continue;
        }
        let found = slot
            .task
            .tree
            .stores_by_node()
            .find(|(node, _)| *node == store.node);
        if let Some((_, state)) = found {
            restore(log, &changelog, state)?;
        }
        slot.changelogs.insert(store.node, changelog);
    }
    Ok(())
}

/// One line for each input: what is read, from where, and why.
fn say_where(
    application: &Application,
    topic: &str,
    starts: &[(Position, &'static str)],
    waiting: u64,
) {
    let Some((first, why)) = starts.first() else {
        return;
    };
    let from = match starts {
        [_] => format!("offset {first}"),
        _ => {
            let offsets: Vec<String> = starts.iter().map(|(at, _)| at.to_string()).collect();
            format!("offsets {}", offsets.join(", "))
        }
    };
    application.host.log(&format!(
        "reading `{topic}` on the {} as `{}` from {from} ({why}), {waiting} records waiting; to read it \
         from the beginning: run(start=\"earliest\", commit=False)",
        application.log.describe(),
        application.settings.name
    ));
}

fn worker_count(application: &Application, plan: &LogicalPlan, tasks: usize) -> usize {
    let calls_functions =
        (0..plan.nodes().len()).any(|id: NodeId| !plan.functions_of(id).is_empty());
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

/// Runs the workers and adds up what they did.
fn run_workers(
    application: &mut Application,
    plan: &Arc<LogicalPlan>,
    member: Option<&dyn Member>,
    slots: BTreeMap<TopicPartition, TaskSlot>,
    stores: &[StoreUse],
    options: &RunOptions,
) -> Result<Report> {
    let count = worker_count(application, plan, slots.len());
    let sources = if options.commit {
        std::mem::take(&mut application.sources)
    } else {
        Vec::new()
    };
    let can_finish = !sources.is_empty()
        && plan.inputs().all(|(_, input)| {
            sources
                .iter()
                .any(|source| source.topic.name == input.topic.name)
        });
    let now = application.env.clock.monotonic();
    let shared = Arc::new(Shared::new(application.stop_flag(), count, can_finish, now));
    let screen = Arc::new(Mutex::new(Screen::new(plan, Arc::clone(&application.host))));
    let common = Common {
        env: application.env.clone(),
        host: Arc::clone(&application.host),
        settings: application.settings.clone(),
        options: options.clone(),
        plan: Arc::clone(plan),
        names: plan.nodes().iter().map(|node| describe(&node.op)).collect(),
        lines: plan.nodes().iter().map(|node| node.line.clone()).collect(),
        shared: Arc::clone(&shared),
        sinks: application.sinks.clone(),
        screen: Arc::clone(&screen),
    };
    let signatures = stores
        .iter()
        .map(|store| {
            let metadata = store.signature.join(" ").into_bytes();
            (
                store_partition(&store.id),
                Committed {
                    position: Position::from_offset(0),
                    metadata,
                },
            )
        })
        .collect();
    let mut workers = make_workers(application, &common, member, slots, count)?;
    let mut first = workers.remove(0);
    first.store_signatures = signatures;
    let mut joins = Vec::new();
    for mut worker in workers {
        let own = Arc::clone(&shared);
        let name = format!("headwater-worker-{}", worker.index);
        let work = Box::new(move || run_one(&mut worker, &own));
        match application.host.spawn(&name, work) {
            Ok(join) => joins.push(join),
            Err(error) => shared.fail(error),
        }
    }
    if options.commit {
        first.sources = std::mem::take(&mut application.sources);
    }
    run_one(&mut first, &shared);
    joins.into_iter().for_each(|join| join());
    let now = application.env.clock.monotonic();
    screen
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .draw(now, true);
    for source in &mut first.sources {
        source.close();
    }
    application.sources.append(&mut first.sources);
    match shared.take_failure() {
        Some(error) => Err(error),
        None => Ok(shared.report()),
    }
}

fn run_one(worker: &mut Worker, shared: &Shared) {
    if let Err(error) = worker.run() {
        shared.fail(error);
    }
    shared.count_late(worker.late());
    let index = worker.index;
    shared.finished[index].store(true, std::sync::atomic::Ordering::Release);
}

/// Deals the tasks out to workers, by turns in the order of partitions.
fn make_workers(
    application: &Application,
    common: &Common,
    member: Option<&dyn Member>,
    slots: BTreeMap<TopicPartition, TaskSlot>,
    count: usize,
) -> Result<Vec<Worker>> {
    let mut dealt: Vec<BTreeMap<TopicPartition, TaskSlot>> = Vec::new();
    dealt.resize_with(count, BTreeMap::new);
    for (index, (partition, slot)) in slots.into_iter().enumerate() {
        dealt[index % count].insert(partition, slot);
    }
    dealt
        .into_iter()
        .enumerate()
        .map(|(index, tasks)| {
            let from: Vec<(TopicPartition, Position)> = tasks
                .iter()
                .map(|(partition, slot)| (partition.clone(), slot.resume))
                .collect();
            let reader = match from.is_empty() {
                true => None,
                false => Some(application.log.reader(&from)?),
            };
            Ok(Worker {
                common: common.clone(),
                env: common.env.clone(),
                index,
                tasks,
                sources: Vec::new(),
                reader,
                transactor: member.map(|member| member.transactor()).transpose()?,
                sinks: common.sinks.clone(),
                sink_rows: Vec::new(),
                epoch: Epoch::default(),
                store_signatures: Vec::new(),
                rows_max: common.settings.batch_rows_max.min(1_000),
            })
        })
        .collect()
}
