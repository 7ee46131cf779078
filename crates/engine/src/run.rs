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

use crate::application::Application;
use crate::begin::make_tasks;
use crate::crew::{Crew, run_workers};
use crate::dead_letter::dead_letter_topic;
use crate::settings::{ErrorPolicy, Report, RunOptions, Start};
use crate::source_task::source_partition;
use crate::tally::Totals;
use headwater_core::{Class, Error, Position, Result, TopicPartition};
use headwater_log::{Committed, TopicConfig};
use headwater_plan::{LogicalPlan, Op, StoreId, StoreUse, Target};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
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

/// Trouble after a run has gone well for this long is new trouble.
const RECOVERED: Duration = Duration::from_secs(60);

pub(crate) type CommittedMap = BTreeMap<TopicPartition, Committed>;

pub(crate) fn run(
    application: &mut Application,
    plan: &LogicalPlan,
    options: &RunOptions,
) -> Result<Report> {
    check(application, options)?;
    let mut waits = BACK_OFF.iter();
    let totals = Arc::default();
    loop {
        let started = application.env.clock.monotonic();
        let error = match attempt(application, plan, options, &totals) {
            Err(error) if error.class() == Class::Unavailable => error,
            result => return result,
        };
        if RECOVERED <= application.env.clock.monotonic().saturating_sub(started) {
            waits = BACK_OFF.iter();
        }
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
    totals: &Arc<Mutex<Totals>>,
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
    let counted = totals.lock();
    counted
        .unwrap_or_else(PoisonError::into_inner)
        .resolve(&committed);
    let stores = plan.stores()?;
    let lost = check_stores(application, &stores, &committed, options)?;
    let slots = make_tasks(
        application,
        &plan,
        &stores,
        &partitions,
        &committed,
        options,
    )?;
    let mut first_positions = signatures(&stores);
    if options.commit {
        first_positions.extend(forget_stores(application, &lost)?);
        first_positions.extend(application.sinks.open(&application.env, &committed)?);
        for source in &mut application.sources {
            let count = partitions.get(&*source.topic.name).copied().unwrap_or(1);
            let known = committed.get(&source_partition(&source.name));
            source.open(&application.env, count, known)?;
        }
    }
    let crew = Crew {
        plan: &plan,
        member: member.as_deref(),
        slots,
        first_positions,
        options,
        totals,
    };
    let result = run_workers(application, crew);
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

/// Compares the plan with the stores that the last run left; returns those that
/// it lacks, where the user has confirmed their loss.
fn check_stores(
    application: &Application,
    stores: &[StoreUse],
    committed: &CommittedMap,
    options: &RunOptions,
) -> Result<Vec<StoreId>> {
    let name = &application.settings.name;
    let ways_out = format!(
        "give the operator another name with name=\"...\", or reset the application: \
         `headwater reset {name}` or app.clear_state()"
    );
    for store in stores {
        let known = committed.get(&store_partition(&store.id));
        let Some(known) = known.filter(|known| !known.metadata.is_empty()) else {
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
    let lost: Vec<StoreId> = committed
        .iter()
        .filter(|(_, known)| !known.metadata.is_empty())
        .filter_map(|(partition, _)| partition.topic.strip_prefix("store:"))
        .map(|id| StoreId(id.to_owned()))
        .filter(|id| !stores.iter().any(|store| store.id == *id))
        .collect();
    match lost.first() {
        Some(id) if !options.confirm_lost_state => Err(Error::invalid(format!(
            "the last run kept state that this program no longer has; bring the operator back under \
             its name, confirm the loss with run(confirm_lost_state=True), or reset the application: \
             `headwater reset {name}` or app.clear_state(), operator=`{id}`"
        ))),
        _ => Ok(lost),
    }
}

fn store_partition(id: &StoreId) -> TopicPartition {
    TopicPartition::new(format!("store:{id}"), 0)
}

/// Deletes the state that the user has given up; returns what is committed of
/// it, so that nobody asks again and an operator that comes back begins anew.
fn forget_stores(
    application: &Application,
    lost: &[StoreId],
) -> Result<Vec<(TopicPartition, Committed)>> {
    let gone = |id: &StoreId| -> Result<(TopicPartition, Committed)> {
        let changelog = id.changelog_topic(&application.settings.name);
        application.log.delete_topic(&changelog)?;
        let position = Position::from_offset(0);
        let metadata = Vec::new();
        Ok((store_partition(id), Committed { position, metadata }))
    };
    lost.iter().map(gone).collect()
}

/// What is committed of each store, so that the next run can compare.
fn signatures(stores: &[StoreUse]) -> Vec<(TopicPartition, Committed)> {
    let committed = |store: &StoreUse| Committed {
        position: Position::from_offset(0),
        metadata: store.signature.join(" ").into_bytes(),
    };
    stores
        .iter()
        .map(|store| (store_partition(&store.id), committed(store)))
        .collect()
}
