//! Where each task of a run begins: its position, its watermark, its state.

use crate::application::Application;
use crate::lowering::Lowered;
use crate::metadata::TaskMetadata;
use crate::replay::{PAUSE, WAIT_MAX, not_readable};
use crate::restore::{attach, to_restore};
use crate::run::{CommittedMap, input_partition, made_again};
use crate::settings::{OffsetReset, Places, RunOptions, Start};
use crate::task::Task;
use crate::upstream::{Announcements, Upstream};
use crate::worker::TaskSlot;
use headwater_core::{Error, Position, Result, TimestampMs, TopicPartition, fault};
use headwater_log::{Bounds, Committed, Ends, FetchLimits, Log, TopicConfig};
use headwater_plan::{LogicalPlan, NodeId, Op, StoreUse};
use headwater_state::{KeyedStore, StateStore};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is known when tasks are made.
pub(crate) struct Known<'a> {
    pub(crate) application: &'a Application,
    pub(crate) plan: &'a LogicalPlan,
    pub(crate) stores: &'a [StoreUse],
    /// The number of partitions of each topic.
    pub(crate) partitions: &'a BTreeMap<String, u32>,
    pub(crate) committed: &'a CommittedMap,
    pub(crate) options: &'a RunOptions,
}

/// Makes and restores one task for each partition that is owned, but for those
/// that are `kept`: they go on as they are.
pub(crate) fn make_tasks(
    known: &Known<'_>,
    owned: &BTreeSet<TopicPartition>,
    mut kept: BTreeMap<TopicPartition, TaskSlot>,
) -> Result<BTreeMap<TopicPartition, TaskSlot>> {
    let application = known.application;
    let declared: Vec<_> = application
        .topics
        .iter()
        .map(|(topic, _)| topic.clone())
        .filter(|topic| known.partitions.contains_key(&*topic.name))
        .collect();
    let mut slots = BTreeMap::new();
    for (id, input) in known.plan.inputs() {
        let name = &input.topic.name;
        let lowered = Lowered::new(
            known.plan,
            id,
            &application.functions,
            &application.settings,
            known.partitions,
            &declared,
        );
        let info = application.log.topic(name)?.ok_or_else(|| {
            Error::invalid(format!(
                "a topic was deleted while the run began, topic=`{name}`"
            ))
        })?;
        let (mut waiting, mut starts) = (0, Vec::new());
        for partition in 0..info.config.partitions {
            let partition = TopicPartition::new(Arc::clone(name), partition);
            if !owned.contains(&partition) {
                continue;
            }
            let kept = kept.remove(&partition);
            let slot = match kept.filter(|slot| is_as_committed(slot, &partition, known)) {
                Some(mut slot) => {
                    if let Some(upstream) = &mut slot.task.upstream {
                        upstream.expect(upstream_count(known, id));
                    }
                    slot
                }
                None => {
                    let is_internal = known.plan.upstream_of(id).is_some();
                    let begin = begin_at(known, &partition, info.id, is_internal)?;
                    waiting += application.log.waiting(&partition, begin.resume)?;
                    starts.push((begin.resume, begin.why));
                    make_task(known, &lowered, id, &partition, begin)?
                }
            };
            slots.insert(partition, slot);
        }
        if known.plan.upstream_of(id).is_none() {
            say_where(application, name, &starts, waiting);
        }
    }
    Ok(slots)
}

/// Whether a task that was kept is still what is committed. While a process waits for
/// its assignment, a partition may go to another instance, which commits, and come
/// back: what the process has kept of it is then the past.
fn is_as_committed(slot: &TaskSlot, partition: &TopicPartition, known: &Known<'_>) -> bool {
    let Some(committed) = known.committed.get(partition) else {
        return false;
    };
    let named = slot.changelog_ends.iter();
    let named = named.map(|(changelog, &end)| (changelog.topic.clone(), end));
    TaskMetadata::decode(&committed.metadata).is_ok_and(|metadata| {
        if fault!("kept-after-comeback") {
            return true;
        }
        committed.position == slot.resume
            && metadata.topic_id == slot.topic_id
            && metadata.watermark_ms == slot.task.watermark
            && metadata.is_ended == slot.is_ended
            && metadata.clocks_ms == slot.task.tree.clocks()
            && metadata.upstream == slot.task.upstream
            && metadata.changelog_ends.into_iter().eq(named)
    })
}

/// How many tasks are before the change of key that an input is behind.
fn upstream_count(known: &Known<'_>, input: NodeId) -> u32 {
    let upstream = known.plan.upstream_of(input);
    let topic = upstream.map(|upstream| &known.plan.input_of(upstream).topic.name);
    let count = topic.and_then(|topic| known.partitions.get(&**topic));
    count.copied().unwrap_or(0)
}

fn make_task(
    known: &Known<'_>,
    lowered: &Lowered<'_>,
    input: NodeId,
    partition: &TopicPartition,
    begin: Begin,
) -> Result<TaskSlot> {
    let upstream = known.plan.upstream_of(input).map(|_| {
        let count = upstream_count(known, input);
        let mut upstream = begin.upstream.unwrap_or_else(|| Upstream::new(count));
        upstream.expect(count);
        upstream
    });
    let until = match upstream {
        None => until(known, partition, begin.resume)?,
        Some(_) => None,
    };
    let mut slot = TaskSlot {
        task: Task {
            partition: partition.clone(),
            input: lowered.input()?,
            tree: lowered.tree()?,
            keyed: KeyedStore::new(known.application.settings.max_future_ms),
            upstream,
            watermark: begin.watermark,
            before_step: None,
        },
        resume: begin.resume,
        topic_id: begin.topic_id,
        is_ended: begin.is_ended,
        is_at_end: false,
        quiet: None,
        keyed_changelog: None,
        changelogs: BTreeMap::new(),
        changelog_ends: begin.changelog_ends,
        announcements: Announcements::default(),
        to_restore: BTreeMap::new(),
        until,
        trimmed_to: None,
    };
    slot.task.tree.set_clocks(&begin.clocks_ms);
    if known.options.commit {
        prepare_restore(known, partition, &mut slot)?;
        slot.forget_other_changelogs();
    }
    Ok(slot)
}

/// Where a task begins, and why there.
struct Begin {
    resume: Position,
    topic_id: u64,
    watermark: TimestampMs,
    is_ended: bool,
    clocks_ms: Vec<TimestampMs>,
    upstream: Option<Upstream>,
    changelog_ends: Ends,
    why: &'static str,
}

fn begin_at(
    known: &Known<'_>,
    partition: &TopicPartition,
    topic_id: u64,
    is_internal: bool,
) -> Result<Begin> {
    let application = known.application;
    let bounds = application.log.bounds(partition)?;
    let fresh = |resume, why| Begin {
        resume,
        topic_id,
        watermark: TimestampMs::MIN,
        is_ended: false,
        clocks_ms: Vec::new(),
        upstream: None,
        changelog_ends: Ends::new(),
        why,
    };
    let log = &*application.log;
    if let Start::At(places) = &known.options.start
        && !is_internal
    {
        let at = match places {
            Places::Beginning => bounds.start,
            places => place_in(log, partition, places)?.max(bounds.start),
        };
        return Ok(fresh(at, "as asked"));
    }
    if let Some(committed) = known.committed.get(partition) {
        if committed.metadata.is_empty() {
            // By a consumer of that group, or a tool of the cluster's.
            return Ok(fresh(committed.position, "where its group stood"));
        }
        let metadata = TaskMetadata::decode(&committed.metadata)?;
        if metadata.topic_id != topic_id {
            return Err(made_again(&application.settings.name, &partition.topic));
        }
        return Ok(Begin {
            resume: committed.position,
            topic_id,
            watermark: match fault!("watermark-forgotten") {
                true => TimestampMs::MIN,
                false => metadata.watermark_ms,
            },
            is_ended: metadata.is_ended,
            clocks_ms: metadata.clocks_ms,
            upstream: metadata.upstream,
            changelog_ends: metadata
                .changelog_ends
                .into_iter()
                .map(|(topic, end)| (TopicPartition::new(topic, partition.partition), end))
                .collect(),
            why: "where the last run ended",
        });
    }
    let (resume, why) = first_place(known, partition, bounds, is_internal)?;
    Ok(fresh(resume, why))
}

/// Where a task begins of which nothing is committed, and why there.
fn first_place(
    known: &Known<'_>,
    partition: &TopicPartition,
    bounds: Bounds,
    is_internal: bool,
) -> Result<(Position, &'static str)> {
    let first_count = known.committed.get(&input_partition(&partition.topic));
    let first_count = first_count.and_then(|known| known.position.offset());
    let is_added =
        first_count.is_some_and(|count| (1..=u64::from(partition.partition)).contains(&count));
    if is_internal || is_added {
        return Ok((bounds.start, "the beginning, as it is new"));
    }
    match known.application.settings.auto_offset_reset {
        OffsetReset::Earliest => Ok((bounds.start, "the beginning, as this is the first run")),
        OffsetReset::Latest => Ok((bounds.end, "the end, by auto_offset_reset=\"latest\"")),
        OffsetReset::Error => Err(Error::invalid(format!(
            "nothing is committed for a partition and auto_offset_reset is \"error\", \
             partition=`{partition}`"
        ))),
        OffsetReset::Time(time_ms) => Ok((
            known.application.log.position_at(partition, time_ms)?,
            "the time that auto_offset_reset says",
        )),
    }
}

/// A place in one partition.
fn place_in(log: &dyn Log, partition: &TopicPartition, places: &Places) -> Result<Position> {
    let end = || log.bounds(partition).map(|bounds| bounds.end);
    match places {
        Places::Beginning => log.bounds(partition).map(|bounds| bounds.start),
        Places::End => end(),
        Places::Time(time_ms) => log.position_at(partition, *time_ms),
        Places::Positions(positions) => {
            let end = end()?;
            Ok(positions.get(partition).map_or(end, |at| (*at).min(end)))
        }
    }
}

/// Where a task's part of the run ends, if it does.
fn until(
    known: &Known<'_>,
    partition: &TopicPartition,
    start: Position,
) -> Result<Option<Position>> {
    let Some(places) = &known.options.until else {
        return Ok(None);
    };
    let is_left_out = |places: &Places| matches!(places, Places::Positions(positions) if !positions.contains_key(partition));
    let starts_nowhere = matches!(&known.options.start, Start::At(places) if is_left_out(places));
    match starts_nowhere || is_left_out(places) {
        true => Ok(Some(start)),
        false => place_in(&*known.application.log, partition, places).map(Some),
    }
}

/// Finds the changelogs of a task's stores, and what is to be applied of them.
fn prepare_restore(
    known: &Known<'_>,
    partition: &TopicPartition,
    slot: &mut TaskSlot,
) -> Result<()> {
    let (application, plan) = (known.application, known.plan);
    let log = &*application.log;
    let of_run = known.committed.get(partition);
    let is_new = of_run.is_none_or(|committed| committed.metadata.is_empty());
    let own = known
        .stores
        .iter()
        .filter(|store| plan.input_of(store.node).topic.name == partition.topic);
    for store in own {
        let topic = store.id.changelog_topic(&application.settings.name);
        let partitions = log
            .topic(&partition.topic)?
            .map_or(1, |info| info.config.partitions);
        let config = TopicConfig {
            partitions,
            retention_ms: None,
            retention_bytes: None,
            compacted: true,
            replicas: None,
        };
        match log.topic(&topic)?.map(|known| known.config.partitions) {
            Some(was) if was != partitions => {
                return Err(other_partitions(application, partition, partitions, was));
            }
            Some(_) => {}
            None => {
                log.create_topic(&topic, &config)?;
            }
        }
        let changelog = TopicPartition::new(topic, partition.partition);
        let is_keyed = !matches!(plan.node(store.node).op, Op::Window(_));
        let clock = &*application.env.clock;
        let ends = &slot.changelog_ends;
        let prepare = |state: &mut dyn StateStore| {
            attach(application, partition, &changelog, state)?;
            if is_new {
                // What was left on disk belongs to nothing that is committed.
                state.clear();
                check_empty(application, partition, &changelog)?;
                return Ok(None);
            }
            let end = ends.get(&changelog).copied();
            to_restore(log, clock, &changelog, end, state)
        };
        let left = match is_keyed {
            true => prepare(&mut slot.task.keyed)?,
            false => {
                let mut stores = slot.task.tree.stores_by_node();
                let own = stores.find(|(node, _)| *node == store.node);
                own.map_or(Ok(None), |(_, state)| prepare(state))?
            }
        };
        if let Some(left) = left {
            slot.to_restore.insert(changelog.clone(), left);
        }
        match is_keyed {
            true => slot.keyed_changelog = Some(changelog),
            false => {
                slot.changelogs.insert(store.node, changelog);
            }
        }
    }
    Ok(())
}

/// Keys stand in other partitions than their state does.
fn other_partitions(
    application: &Application,
    partition: &TopicPartition,
    partitions: u32,
    was: u32,
) -> Error {
    let name = &application.settings.name;
    Error::invalid(format!(
        "a topic has another number of partitions than when its state was made, so keys and their \
         state have parted: write its records to a new topic and read that, or reset the application \
         with `headwater reset {name}` or app.clear_state(), topic=`{}` partitions=`{partitions}` \
         was=`{was}`",
        partition.topic
    ))
}

/// # Errors
/// `Invalid` if a changelog holds records though no position was committed.
fn check_empty(
    application: &Application,
    partition: &TopicPartition,
    changelog: &TopicPartition,
) -> Result<()> {
    let bounds = application.log.bounds(changelog)?;
    if bounds.end <= bounds.start {
        return Ok(());
    }
    let mut reader = application
        .log
        .reader(&[(changelog.clone(), bounds.start)])?;
    let mut at = bounds.start;
    let clock = &application.env.clock;
    let deadline = clock.monotonic() + WAIT_MAX;
    // Markers of transactions that were aborted are no state.
    while at < bounds.end {
        if deadline <= clock.monotonic() {
            return Err(not_readable(changelog, at, bounds.end));
        }
        for fetched in reader.poll(PAUSE, FetchLimits::default())? {
            if !fetched.records.is_empty() {
                return Err(unknown_state(application, partition, changelog));
            }
            at = fetched.resume;
        }
    }
    Ok(())
}

/// A changelog holds state though no position was committed when this run joined.
fn unknown_state(
    application: &Application,
    partition: &TopicPartition,
    changelog: &TopicPartition,
) -> Error {
    let name = &application.settings.name;
    let now = match application.log.committed(name) {
        Ok(now) => now,
        Err(error) => return error,
    };
    let is_ours = |committed: &Committed| !committed.metadata.is_empty();
    if (now.iter()).any(|(known, committed)| known == partition && is_ours(committed)) {
        // This process stood still while another took its place.
        return Error::unavailable(format!(
            "another instance has begun with the partition meanwhile, partition=`{partition}`"
        ));
    }
    Error::invalid(format!(
        "there is state of the application but no position in the topic that it comes from, \
         which was perhaps deleted and made again: reset the application with \
         `headwater reset {name}` or app.clear_state(), topic=`{}` changelog=`{changelog}`",
        partition.topic
    ))
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
