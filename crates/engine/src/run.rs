//! One run of an application: from what is committed to its end.
//!
//! 1. Topics that are missing are made, the internal ones too.
//! 2. The application joins its group and waits for its partitions.
//! 3. A transactor is opened for each worker, which fences a former owner and
//!    settles what it left open; only then is read what is committed.
//! 4. The plan is compared with the stores of the last run.
//! 5. Tasks are made, one for each input partition, and their state restored.
//! 6. Sinks and sources are opened at their committed positions.
//! 7. Workers run until the run ends, or the group wants another assignment.
//!
//! ```text
//!  JOINING ──▶ ASSIGNED ──▶ RESTORING ──▶ RUNNING ──▶ ended
//!     ▲           ▲                          │ │
//!     │           │ every worker has         │ │
//!     │           │ committed its epoch      │ │ the group changes
//!     │           └────────── DRAINING ◀─────┘─┘
//!     │                          │
//!     └── anything Unavailable, or the outcome of a commit unknown:
//!         everything in memory is dropped
//! ```
//!
//! After DRAINING a task whose partition stays keeps its state and goes on where
//! it stood: it equals what is committed. A task that left is dropped.

use crate::application::Application;
use crate::begin::{Known, make_tasks};
use crate::crew::{Crew, Outcome, run_workers, worker_count};
use crate::dead_letter::dead_letter_topic;
use crate::metrics::Phase;
use crate::patterns::{Patterns, is_pattern};
use crate::replay::replay;
use crate::scratch::ScratchLog;
use crate::settings::{Ended, ErrorPolicy, Places, Report, RunOptions, Start};
use crate::source_task::source_partition;
use crate::tally::Totals;
use headwater_core::{Class, Error, Position, Result, TopicPartition};
use headwater_log::{Committed, Member, TopicConfig, Transactor};
use headwater_plan::{Input, LogicalPlan, Op, StoreId, StoreUse, Target, repartition_prefix};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

/// How long a run that has committed nothing yet waits for brokers at most.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// How often a waiting run looks whether it is asked to stop.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Trouble after a run has gone well for this long is new trouble.
const RECOVERED: Duration = Duration::from_secs(60);

pub(crate) type CommittedMap = BTreeMap<TopicPartition, Committed>;

pub(crate) fn run(
    application: &mut Application,
    plan: &LogicalPlan,
    options: &RunOptions,
) -> Result<Report> {
    check(application, options)?;
    let metrics = application.metrics();
    let totals = Arc::new(Mutex::new(Totals::new(metrics.clone())));
    let result = repeat(application, plan, options, &totals);
    metrics.enter(Phase::Stopped);
    result
}

fn lock(totals: &Mutex<Totals>) -> MutexGuard<'_, Totals> {
    totals.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins again where the log was unavailable for a while.
fn repeat(
    application: &mut Application,
    plan: &LogicalPlan,
    options: &RunOptions,
    totals: &Arc<Mutex<Totals>>,
) -> Result<Report> {
    let clock = Arc::clone(&application.env.clock);
    let (mut waits, mut trouble_since, mut commits) = (BACK_OFF.iter(), None, 0);
    loop {
        let started = clock.monotonic();
        let error = match attempt(application, plan, options, totals) {
            Err(error) if error.class() == Class::Unavailable => error,
            result => return result,
        };
        let now = clock.monotonic();
        let commits_now = lock(totals).commits;
        if RECOVERED <= now.saturating_sub(started) || commits < commits_now {
            // It has gone well for a while, or got further: this is new trouble.
            (waits, trouble_since) = (BACK_OFF.iter(), None);
        }
        commits = commits_now;
        let lasted = now.saturating_sub(*trouble_since.get_or_insert(now));
        let is_patient = is_patient(application, lasted, commits > 0);
        let wait = match (waits.next(), BACK_OFF.last()) {
            (Some(&wait), _) if is_patient.unwrap_or(true) => wait,
            (None, Some(&longest)) if is_patient == Some(true) => longest,
            _ => return Err(error),
        };
        let next = match application.stop_flag().load(Ordering::Acquire) {
            true => "stopped at the last commit, where the next run goes on".to_owned(),
            false => {
                application.metrics.enter(Phase::Waiting);
                let wait_ms = wait.as_millis();
                format!("starting again from the last commit in {wait_ms} ms")
            }
        };
        application.host.log(&format!("{error}; {next}"));
        if !wait_for(application, wait)? {
            return Ok(lock(totals).report(Ended::Stopped));
        }
    }
}

/// Whether to wait longer for brokers after trouble that has lasted so long; `None` where
/// there are none.
fn is_patient(application: &Application, lasted: Duration, has_worked: bool) -> Option<bool> {
    if !application.log.is_remote() {
        return None;
    }
    let patience = application.settings.broker_availability_timeout;
    Some(match (patience, has_worked) {
        (None, true) => true,
        (Some(patience), true) => lasted < patience,
        (patience, false) => lasted < patience.unwrap_or(START_PATIENCE).min(START_PATIENCE),
    })
}

/// Waits, while the host may ask to stop; `false` if it did.
fn wait_for(application: &Application, wait: Duration) -> Result<bool> {
    let clock = &application.env.clock;
    let until = clock.monotonic() + wait;
    while clock.monotonic() < until {
        if application.host.check()? || application.stop_flag().load(Ordering::Acquire) {
            return Ok(false);
        }
        clock.sleep(LOOK_INTERVAL.min(until.saturating_sub(clock.monotonic())));
    }
    Ok(true)
}

fn check(application: &Application, options: &RunOptions) -> Result<()> {
    let name = &application.settings.name;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    // The first `--` of an internal topic's name ends that of its application.
    let is_ambiguous = name.contains("--") || name.ends_with('-');
    if name.is_empty() || is_ambiguous || !name.bytes().all(is_plain) {
        return Err(Error::invalid(format!(
            "the name of an application has letters, digits, `.`, `_` and single `-` only, and does \
             not end with `-`, name=`{name}`"
        )));
    }
    let is_elsewhere = options.start != Start::Committed || options.until.is_some();
    if is_elsewhere && options.commit {
        return Err(Error::invalid(
            "a run from another place than the last one ended at would repeat what is committed: add \
             commit=False, or reset the application with clear_state()",
        ));
    }
    if options.commit && options.writes_topics {
        return Err(Error::invalid(
            "a run that commits writes to its topics anyway: outputs=True goes with commit=False",
        ));
    }
    Ok(())
}

fn check_range(plan: &LogicalPlan, options: &RunOptions) -> Result<()> {
    let place = match &options.start {
        Start::At(place) => Some(place),
        Start::Committed => None,
    };
    let mut places = place.into_iter().chain(&options.until);
    places.try_for_each(|places| check_places(plan, places))
}

/// # Errors
/// `Invalid` if places name a topic that the plan does not read.
fn check_places(plan: &LogicalPlan, places: &Places) -> Result<()> {
    let Places::Positions(positions) = places else {
        return Ok(());
    };
    let reads = |topic: &Arc<str>| {
        let mut inputs = plan.inputs();
        inputs.any(|(id, input)| plan.upstream_of(id).is_none() && input.topic.name == *topic)
    };
    match positions.keys().find(|named| !reads(&named.topic)) {
        Some(named) => Err(Error::invalid(format!(
            "the range names a topic that nothing reads, topic=`{}`",
            named.topic
        ))),
        None => Ok(()),
    }
}

fn attempt(
    application: &mut Application,
    plan: &LogicalPlan,
    options: &RunOptions,
    totals: &Arc<Mutex<Totals>>,
) -> Result<Report> {
    let real = Arc::clone(&application.log);
    let is_scratch = !options.commit && (options.writes_topics || changes_keys(plan));
    if is_scratch {
        let prefix = repartition_prefix(&application.settings.name);
        let (env, writes) = (application.env.clone(), options.writes_topics);
        application.log = Arc::new(ScratchLog::new(Arc::clone(&real), env, &prefix, writes));
    }
    let result = loop {
        match attempt_on_log(application, plan, options, is_scratch, totals) {
            // There are other topics than before.
            Ok(None) => application.release(),
            Ok(Some(report)) => break Ok(report),
            Err(error) => break Err(error),
        }
    };
    application.log = real;
    application.release();
    result
}

/// `None` where other topics match the plan's patterns than when it began.
fn attempt_on_log(
    application: &mut Application,
    user_plan: &LogicalPlan,
    options: &RunOptions,
    is_scratch: bool,
    totals: &Arc<Mutex<Totals>>,
) -> Result<Option<Report>> {
    let patterns = Patterns::of(user_plan, application)?;
    let matches = patterns.matches(user_plan)?;
    let expanded = user_plan.with_topics(|name| matches.get(name).cloned())?;
    let plan = &Arc::new(expanded.bound_to(&application.settings.name));
    check_range(plan, options)?;
    application.metrics.begin(&application.settings.name, plan);
    let has_other_topics = Cell::new(false);
    let is_out_of_date = || {
        let is_known = has_other_topics.get();
        has_other_topics.set(is_known || patterns.have_changed(user_plan, &matches));
        has_other_topics.get()
    };
    let partitions = make_topics(application, plan, options)?;
    let leads = leads(application, plan);
    application.metrics.enter(Phase::Joining);
    let member = match options.commit || is_scratch {
        true => Some(application.log.join(&application.settings.name, &leads)?),
        false => None,
    };
    let parts = (partitions, member);
    follow_assignments(application, plan, parts, options, totals, &is_out_of_date)
}

/// The topics whose partitions decide who runs what: all inputs, and what sources fill.
fn leads(application: &Application, plan: &LogicalPlan) -> Vec<Arc<str>> {
    let inputs = plan.inputs().map(|(_, input)| &input.topic.name);
    let filled = application.sources.iter().map(|source| &source.topic.name);
    let leads: BTreeSet<&Arc<str>> = inputs.chain(filled).collect();
    leads.into_iter().cloned().collect()
}

/// Runs workers over one assignment after another, until the run ends.
fn follow_assignments(
    application: &mut Application,
    plan: &Arc<LogicalPlan>,
    (mut partitions, mut member): (BTreeMap<String, u32>, Option<Box<dyn Member>>),
    options: &RunOptions,
    totals: &Arc<Mutex<Totals>>,
    is_out_of_date: &dyn Fn() -> bool,
) -> Result<Option<Report>> {
    let stores = plan.stores()?;
    let (mut kept, mut first_positions) = (BTreeMap::new(), Vec::new());
    let mut is_first = true;
    while !is_out_of_date() {
        let owned: BTreeSet<TopicPartition> = match &mut member {
            Some(member) => member.assignment()?.into_iter().collect(),
            None => all_partitions(plan, &partitions),
        };
        application.metrics.assign(&owned);
        if !is_first {
            // Some may have been added.
            partitions = make_topics(application, plan, options)?;
        }
        // Others may already wait for the files of what has gone.
        kept.retain(|partition, _| owned.contains(partition));
        let count = worker_count(application, plan, owned.len());
        let (transactors, committed) = open(member.as_deref(), count)?;
        lock(totals).resolve(&committed);
        if std::mem::take(&mut is_first) {
            first_positions = begin(application, plan, &stores, &committed, options)?;
        }
        let known = Known {
            application,
            plan,
            stores: &stores,
            partitions: &partitions,
            committed: &committed,
            options,
        };
        let is_changing =
            || is_out_of_date() || member.as_ref().is_some_and(|member| member.is_changing());
        let mut slots = make_tasks(&known, &owned, std::mem::take(&mut kept))?;
        if !replay(application, &mut slots, &is_changing)? {
            if !is_changing() {
                return Ok(Some(lock(totals).report(Ended::Stopped)));
            }
            kept = slots;
            continue;
        }
        if options.commit {
            assign_sources(application, &partitions, &committed, &owned)?;
        }
        let crew = Crew {
            plan,
            partitions: &partitions,
            transactors,
            is_changing: &is_changing,
            worker_count: count,
            slots,
            first_positions: std::mem::take(&mut first_positions),
            options,
            totals,
        };
        match run_workers(application, crew) {
            Ok(Outcome::Ended(report)) => return Ok(Some(report)),
            Ok(Outcome::Reassigned(slots)) => kept = slots,
            Err(error) if is_changing() => return Err(of_the_past(error)),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Opens the workers' transactors, which fences those before them, and only then reads
/// what is committed.
fn open(
    member: Option<&dyn Member>,
    workers: usize,
) -> Result<(Vec<Box<dyn Transactor>>, CommittedMap)> {
    let Some(member) = member else {
        return Ok((Vec::new(), CommittedMap::new()));
    };
    let transactors = (0..workers).map(|worker| member.transactor(worker));
    let transactors = transactors.collect::<Result<_>>()?;
    Ok((transactors, member.committed()?.into_iter().collect()))
}

/// Compares the plan with what the last run left, and opens the sinks; returns what is
/// to be committed before the first record.
fn begin(
    application: &Application,
    plan: &LogicalPlan,
    stores: &[StoreUse],
    committed: &CommittedMap,
    options: &RunOptions,
) -> Result<Vec<(TopicPartition, Committed)>> {
    let lost = check_stores(application, stores, committed, options)?;
    let mut first = signatures(stores);
    first.extend(check_inputs(application, plan, committed)?);
    if options.commit {
        first.extend(forget_stores(application, &lost)?);
        first.extend(application.sinks.open(&application.env, committed)?);
    }
    Ok(first)
}

/// What an error says of an instance that the group has gone on without: an instance
/// that has stood still finds its positions deleted, and nothing is wrong with its
/// program. It begins again.
fn of_the_past(error: Error) -> Error {
    match error.class() {
        Class::Invalid => Error::unavailable(format!(
            "the group has gone on without this instance: {error}"
        )),
        _ => error,
    }
}

fn all_partitions(
    plan: &LogicalPlan,
    partitions: &BTreeMap<String, u32>,
) -> BTreeSet<TopicPartition> {
    let mut all = BTreeSet::new();
    for (_, input) in plan.inputs() {
        let count = partitions.get(&*input.topic.name).copied().unwrap_or(0);
        all.extend((0..count).map(|number| TopicPartition::new(input.topic.name.clone(), number)));
    }
    all
}

/// A source is run by the instance that owns partition 0 of its topic.
fn assign_sources(
    application: &mut Application,
    partitions: &BTreeMap<String, u32>,
    committed: &CommittedMap,
    owned: &BTreeSet<TopicPartition>,
) -> Result<()> {
    for source in &mut application.sources {
        let topic = &source.topic.name;
        let count = partitions.get(&**topic).copied().unwrap_or(1);
        let is_owned = owned.contains(&TopicPartition::new(Arc::clone(topic), 0));
        let known = committed.get(&source_partition(&source.name));
        source.assign(&application.env, count, is_owned, known)?;
    }
    Ok(())
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
    let declared = application.topics.iter();
    for (topic, config) in declared.filter(|(topic, _)| !is_pattern(&topic.name)) {
        wanted.push((topic.name.to_string(), config.clone(), false));
    }
    let policy = &application.settings.on_data_error;
    let letters = matches!(policy, ErrorPolicy::DeadLetter | ErrorPolicy::Callback(_));
    for (id, input) in plan.inputs() {
        if plan.upstream_of(id).is_none() {
            wanted.push((input.topic.name.to_string(), None, true));
        }
    }
    let of_sources = application.sources.iter().map(|source| &source.topic);
    let inputs = plan.inputs().map(|(_, input)| &input.topic);
    for topic in of_sources.chain(inputs).filter(|_| letters) {
        let name = dead_letter_topic(&topic.name);
        wanted.push((name, Some(TopicConfig::default()), false));
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
            None if !options.commit && !options.writes_topics && !is_input => 1,
            None => {
                let is_read = |(_, input): (_, &Input)| *input.topic.name == *name;
                if options.commit && plan.inputs().any(is_read) {
                    check_never_read(application, &name)?;
                }
                make_topic(application, &name, config, options)?
            }
        };
        partitions.insert(name, count);
    }
    make_repartition_topics(application, plan, &mut partitions)?;
    Ok(partitions)
}

/// # Errors
/// `Invalid` if the application has read the topic, which is missing: made anew it would be
/// another topic.
fn check_never_read(application: &Application, topic: &str) -> Result<()> {
    let name = &application.settings.name;
    let committed = application.log.committed(name)?;
    // A log forgets positions of a topic with the topic.
    let known = input_partition(topic);
    match committed.iter().any(|(at, _)| *at == known) {
        false => Ok(()),
        true => Err(Error::invalid(format!(
            "a topic was deleted since the last run, and there are positions of it: make it again \
             and reset the application with `headwater reset {name}` or app.clear_state(), \
             topic=`{topic}`"
        ))),
    }
}

/// A repartition topic is made with as many partitions as the input that fills it has. Nothing
/// is deleted from it by age: its records carry the times of those that they are made of.
fn make_repartition_topics(
    application: &Application,
    plan: &LogicalPlan,
    partitions: &mut BTreeMap<String, u32>,
) -> Result<()> {
    for (id, input) in plan.inputs() {
        let Some(upstream) = plan.upstream_of(id) else {
            continue;
        };
        let upstream = &plan.input_of(upstream).topic.name;
        let topic = &input.topic.name;
        if let Some(known) = application.log.topic(topic)? {
            // It may have been made when the input had fewer.
            partitions.insert(topic.to_string(), known.config.partitions);
            continue;
        }
        let config = TopicConfig {
            partitions: partitions.get(&**upstream).copied().unwrap_or(1),
            retention_ms: None,
            retention_bytes: None,
            compacted: false,
            replicas: None,
        };
        application.log.create_topic(topic, &config)?;
        partitions.insert(topic.to_string(), config.partitions);
    }
    Ok(())
}

/// Whether rows go by way of a topic.
fn changes_keys(plan: &LogicalPlan) -> bool {
    plan.inputs().any(|(id, _)| plan.upstream_of(id).is_some())
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
    let may_make = options.commit || options.writes_topics;
    match config.or(by_default).filter(|_| may_make) {
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

/// What is committed of an input topic as a whole: its id, and as a position the number
/// of partitions that it had at first.
pub(crate) fn input_partition(topic: &str) -> TopicPartition {
    TopicPartition::new(format!("input:{topic}"), 0)
}

/// Compares the input topics with those that the last run read, whose positions
/// the log has forgotten with them; returns what is committed of each.
fn check_inputs(
    application: &Application,
    plan: &LogicalPlan,
    committed: &CommittedMap,
) -> Result<Vec<(TopicPartition, Committed)>> {
    let mut inputs = Vec::new();
    for (_, input) in plan.inputs() {
        let topic = &input.topic.name;
        let Some(info) = application.log.topic(topic)? else {
            continue;
        };
        let partition = input_partition(topic);
        let metadata = info.id.to_le_bytes().to_vec();
        let known = committed.get(&partition);
        if known.is_some_and(|known| known.metadata != metadata) {
            return Err(made_again(&application.settings.name, topic));
        }
        let first_count = Position::from_offset(info.config.partitions.into());
        let position = known.map_or(first_count, |known| known.position);
        inputs.push((partition, Committed { position, metadata }));
    }
    Ok(inputs)
}

/// The topic is not the one of that name that the last run read.
pub(crate) fn made_again(application: &str, topic: &str) -> Error {
    Error::invalid(format!(
        "a topic was deleted and made again since the last run; its positions and state are those of \
         the old one: reset the application with `headwater reset {application}` or \
         app.clear_state(), topic=`{topic}`"
    ))
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
