//! Where each task of a run begins: its position, its watermark, its state.

use crate::application::Application;
use crate::lowering::Lowered;
use crate::metadata::TaskMetadata;
use crate::restore::restore;
use crate::run::CommittedMap;
use crate::settings::{OffsetReset, RunOptions, Start};
use crate::task::Task;
use crate::worker::TaskSlot;
use headwater_core::{Error, Position, Result, TimestampMs, TopicPartition};
use headwater_log::TopicConfig;
use headwater_plan::{LogicalPlan, Op, StoreUse};
use headwater_state::KeyedStore;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Makes and restores one task for each partition of each input.
pub(crate) fn make_tasks(
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
                    keyed: KeyedStore::new(application.settings.max_future_ms),
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
            slot.task.tree.set_clocks(&begin.clocks_ms);
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
    clocks_ms: Vec<TimestampMs>,
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
        clocks_ms: Vec::new(),
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
            clocks_ms: metadata.clocks_ms,
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
                "there is state of the application but no position in the topic that it comes from, \
                 which was perhaps deleted and made again: reset the application with \
                 `headwater reset {}` or app.clear_state(), topic=`{}` changelog=`{changelog}`",
                application.settings.name, partition.topic
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
