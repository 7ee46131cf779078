//! Applies changelogs to many stores at once.
//!
//! All stores that are to be restored are read side by side: one reader over all
//! their changelogs, so that a broker sends what the next batches need while this
//! one is applied; where there is much to read, several threads, each with its share
//! of the tasks. The thread that runs the application looks around meanwhile: it
//! hears of signals, says how far the restore is, and breaks it off when the group
//! wants another assignment. A task that was broken off keeps what it has, with the
//! position up to which it is, and goes on from there if it stays.
//!
//! ```text
//!            prepare                 read, apply            at the end
//!  (slot) ───────────▶ TO RESTORE ────────────────▶ … ─────────────────▶ restored
//!                         ▲   │ the files on disk are of a past that the
//!                         └───┘ log has forgotten: from the start
//! ```

use crate::application::Application;
use crate::metrics::Metrics;
use crate::worker::TaskSlot;
use headwater_core::env::Clock;
use headwater_core::{Class, Error, Position, Result, TopicPartition, fault};
use headwater_log::{FetchLimits, Fetched, Log};
use headwater_state::StateStore;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a restore waits for what is committed to be readable. Longer than a
/// transaction of a writer that has died stays open.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(60);
/// How often it looks.
pub(crate) const PAUSE: Duration = Duration::from_millis(10);
/// With fewer records to read, another thread costs more than it saves.
const RECORDS_PER_THREAD: u64 = 20_000;
/// How often a run says how far its restore is.
const SAY_INTERVAL: Duration = Duration::from_secs(2);
/// The most changelog partitions that one line names.
const NAMED_MAX: usize = 8;
const BAR_CELLS: u64 = 20;

/// What a store has still to be told of its changelog: `[at, end)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToRestore {
    pub(crate) at: Position,
    pub(crate) end: Position,
    /// The first position that the changelog has.
    pub(crate) start: Position,
    /// Whether the store had something on disk before.
    pub(crate) is_resumed: bool,
}

impl ToRestore {
    /// Whether it has begun and not ended, so that it can begin anew.
    fn is_under_way(&self) -> bool {
        self.start < self.at && self.at < self.end
    }
}

/// A store on its way.
struct Replayed<'a> {
    changelog: TopicPartition,
    left: ToRestore,
    store: &'a mut dyn StateStore,
    meter: Arc<Meter>,
}

/// How far one store is.
#[derive(Default)]
struct Meter {
    name: String,
    /// Offsets passed, of so many.
    done: AtomicU64,
    total: u64,
    /// What was applied.
    records: AtomicU64,
    bytes: AtomicU64,
}

/// Looks around between two reads: whether the restore is to be broken off.
type Look<'a> = dyn FnMut() -> Result<bool> + 'a;

/// Restores the stores of tasks; `false` if `look` has broken it off, and then some
/// tasks still have something [to restore](TaskSlot::to_restore).
///
/// # Errors
/// `Unavailable` if the log does not show what is committed in time, or the disk
/// fails; what `look` says.
pub(crate) fn replay(
    application: &Application,
    slots: &mut BTreeMap<TopicPartition, TaskSlot>,
    is_changing: &dyn Fn() -> bool,
) -> Result<bool> {
    let clock = Arc::clone(&application.env.clock);
    let expected = slots.len();
    let mut unfinished = BTreeMap::new();
    for (partition, slot) in std::mem::take(slots) {
        let place = match slot.to_restore.is_empty() {
            true => &mut *slots,
            false => &mut unfinished,
        };
        place.insert(partition, slot);
    }
    if unfinished.is_empty() {
        return Ok(true);
    }
    let mut progress = Progress::new(clock.monotonic());
    let all: Share = unfinished
        .into_iter()
        .map(|(partition, slot)| {
            let meters = progress.meters_of(&slot);
            (partition, slot, meters)
        })
        .collect();
    let mut shares = deal(thread_count(application, &progress, all.len()), all).into_iter();
    let common = Arc::new(Common {
        metrics: application.metrics(),
        ..Common::default()
    });
    let own = shares.next().expect("there is one thread at least");
    let joins = spawn(application, &common, shares);
    let mut look = || -> Result<bool> {
        progress.say_now_and_then(application, clock.monotonic());
        let is_stopped = application.stop_flag().load(Ordering::Acquire);
        if application.host.check()? || is_stopped || is_changing() {
            common.is_over.store(true, Ordering::Release);
        }
        Ok(common.is_over.load(Ordering::Acquire))
    };
    common.work(&*application.log, &*clock, own, &mut look);
    while common.running.load(Ordering::Acquire) > 0 {
        if let Err(error) = look() {
            common.fail(error);
        }
        clock.sleep(PAUSE);
    }
    joins.into_iter().for_each(|join| join());
    slots.append(&mut *lock(&common.slots));
    if let Some(error) = lock(&common.failure).take() {
        return Err(error);
    }
    assert!(slots.len() == expected, "no thread of a restore panics");
    let is_done = slots.values().all(|slot| slot.to_restore.is_empty());
    if is_done {
        progress.say_end(application, clock.monotonic());
    }
    Ok(is_done)
}

/// Deals tasks out, by turns.
fn deal(threads: usize, all: Share) -> Vec<Share> {
    let mut shares: Vec<Share> = Vec::new();
    shares.resize_with(threads, Vec::new);
    for (index, task) in all.into_iter().enumerate() {
        shares[index % threads].push(task);
    }
    shares
}

/// Restores each of some shares on a thread of its own; gives what waits for them.
fn spawn(
    application: &Application,
    common: &Arc<Common>,
    shares: impl Iterator<Item = Share>,
) -> Vec<Box<dyn FnOnce() + Send>> {
    let mut joins = Vec::new();
    for (index, share) in shares.enumerate() {
        let running = Running::new(common);
        let (log, env) = (Arc::clone(&application.log), application.env.clone());
        let work = Box::new(move || {
            let shared = &running.0;
            let mut look = || Ok(shared.is_over.load(Ordering::Acquire));
            shared.work(&*log, &*env.clock, share, &mut look);
        });
        let name = format!("headwater-restore-{}", index + 1);
        match application.host.spawn(&name, work) {
            Ok(join) => joins.push(join),
            Err(error) => common.fail(error),
        }
    }
    joins
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn thread_count(application: &Application, progress: &Progress, tasks: usize) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = application.settings.workers.unwrap_or_else(cores);
    let useful = progress.total() / RECORDS_PER_THREAD;
    wanted
        .min(tasks)
        .min(usize::try_from(useful).unwrap_or(usize::MAX))
        .max(1)
}

type Share = Vec<(
    TopicPartition,
    TaskSlot,
    BTreeMap<TopicPartition, Arc<Meter>>,
)>;

/// What the threads of a restore share.
#[derive(Default)]
struct Common {
    slots: Mutex<BTreeMap<TopicPartition, TaskSlot>>,
    failure: Mutex<Option<Error>>,
    /// Whether it ends, for whatever reason.
    is_over: AtomicBool,
    running: AtomicU64,
    metrics: Metrics,
}

/// One more thread that works; until it is dropped.
struct Running(Arc<Common>);

impl Running {
    fn new(common: &Arc<Common>) -> Running {
        common.running.fetch_add(1, Ordering::AcqRel);
        Running(Arc::clone(common))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Common {
    fn fail(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
        self.is_over.store(true, Ordering::Release);
    }

    /// Restores one share, and puts its tasks back whatever happens.
    fn work(&self, log: &dyn Log, clock: &dyn Clock, mut share: Share, look: &mut Look<'_>) {
        let mut replayed = Vec::new();
        for (_, slot, meters) in &mut share {
            let mut to_restore = std::mem::take(&mut slot.to_restore);
            for (changelog, store) in slot.stores() {
                let Some(changelog) = changelog else { continue };
                if let Some(left) = to_restore.remove(changelog) {
                    replayed.push(Replayed {
                        changelog: changelog.clone(),
                        left,
                        store,
                        meter: Arc::clone(&meters[changelog]),
                    });
                }
            }
        }
        if let Err(error) = apply_all(log, clock, &mut replayed, &self.metrics, look) {
            self.fail(error);
        }
        let left: Vec<_> = replayed
            .into_iter()
            .filter(|replayed| replayed.left.at < replayed.left.end)
            .map(|replayed| (replayed.changelog, replayed.left))
            .collect();
        let mut slots = lock(&self.slots);
        for (partition, mut slot, _) in share {
            for (changelog, left) in &left {
                if slot.own_changelogs().any(|own| own == changelog) {
                    slot.to_restore.insert(changelog.clone(), *left);
                }
            }
            slots.insert(partition, slot);
        }
    }
}

/// Reads all changelogs side by side until each store is at its end.
fn apply_all(
    log: &dyn Log,
    clock: &dyn Clock,
    all: &mut [Replayed<'_>],
    metrics: &Metrics,
    look: &mut Look<'_>,
) -> Result<()> {
    let from: Vec<_> = all
        .iter()
        .map(|one| (one.changelog.clone(), one.left.at))
        .collect();
    let places: BTreeMap<TopicPartition, usize> = (from.iter().enumerate())
        .map(|(index, (changelog, _))| (changelog.clone(), index))
        .collect();
    let mut reader = log.reader(&from)?;
    let mut deadline = clock.monotonic() + WAIT_MAX;
    while let Some(first) = all.iter().find(|one| one.left.at < one.left.end) {
        if deadline <= clock.monotonic() {
            return Err(not_readable(
                &first.changelog,
                first.left.at,
                first.left.end,
            ));
        }
        if look()? {
            return Ok(());
        }
        let fetched = match reader.poll(PAUSE, FetchLimits::default()) {
            Ok(fetched) => fetched,
            Err(error) if error.class() == Class::Invalid => {
                // The log no longer has everything from where a store stood: on disk, or
                // when its restore was broken off, or when a compaction overtook it.
                let mut is_any = false;
                for one in all.iter_mut().filter(|one| one.left.is_under_way()) {
                    one.begin_anew();
                    reader.seek(&one.changelog, one.left.at)?;
                    is_any = true;
                }
                match is_any {
                    true => continue,
                    false => return Err(error),
                }
            }
            Err(error) => return Err(error),
        };
        for fetched in &fetched {
            let Some(&index) = places.get(&fetched.partition) else {
                continue;
            };
            if all[index].apply(fetched, metrics)? {
                deadline = clock.monotonic() + WAIT_MAX;
            }
        }
    }
    Ok(())
}

impl Replayed<'_> {
    fn begin_anew(&mut self) {
        self.store.clear();
        self.left.at = self.left.start;
        self.left.is_resumed = false;
        self.meter.done.store(0, Ordering::Relaxed);
    }

    /// Applies what was read before the end; whether that moved it on.
    fn apply(&mut self, fetched: &Fetched, metrics: &Metrics) -> Result<bool> {
        let (at, end) = (self.left.at, self.left.end);
        if end <= at || fetched.resume <= at {
            return Ok(false);
        }
        let (mut bytes, mut records) = (0, 0);
        for index in 0..fetched.records.len() {
            if end <= fetched.positions.get(index) {
                break;
            }
            let key = fetched.records.key(index).ok_or_else(|| {
                Error::internal(format!(
                    "a changelog record has no key, changelog=`{}`",
                    self.changelog
                ))
            })?;
            let value = fetched.records.value(index);
            self.store.restore(key, value)?;
            bytes += key.len() + value.map_or(0, <[u8]>::len);
            records += 1;
        }
        self.left.at = fetched.resume.min(end);
        self.meter.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let before = self.meter.records.fetch_add(records, Ordering::Relaxed);
        metrics.restored(&self.changelog, before + records, (self.left.at, end));
        let passed = distance(at, self.left.at);
        self.meter.done.fetch_add(passed, Ordering::Relaxed);
        self.store
            .settle_restoring(match fault!("restored-too-far") {
                true => end,
                false => self.left.at,
            })?;
        self.store.check()?;
        Ok(true)
    }
}

/// How many offsets lie between two positions; 0 where positions are no offsets.
fn distance(from: Position, to: Position) -> u64 {
    match (from.offset(), to.offset()) {
        (Some(from), Some(to)) => to.saturating_sub(from),
        _ => 0,
    }
}

pub(crate) fn not_readable(changelog: &TopicPartition, at: Position, end: Position) -> Error {
    Error::unavailable(format!(
        "a changelog cannot be read up to its committed end: a transaction is still open there, or \
         the topic was deleted and made again, changelog=`{changelog}` readable=`{at}` \
         committed=`{end}`"
    ))
}

/// How far the whole restore is, for people.
struct Progress {
    began: Duration,
    said: Duration,
    meters: Vec<Arc<Meter>>,
    resumed: usize,
}

impl Progress {
    fn new(now: Duration) -> Progress {
        Progress {
            began: now,
            said: now,
            meters: Vec::new(),
            resumed: 0,
        }
    }

    fn meters_of(&mut self, slot: &TaskSlot) -> BTreeMap<TopicPartition, Arc<Meter>> {
        let mut meters = BTreeMap::new();
        for (changelog, left) in &slot.to_restore {
            let meter = Arc::new(Meter {
                name: changelog.to_string(),
                total: distance(left.at, left.end),
                ..Meter::default()
            });
            self.resumed += usize::from(left.is_resumed);
            self.meters.push(Arc::clone(&meter));
            meters.insert(changelog.clone(), meter);
        }
        meters
    }

    fn total(&self) -> u64 {
        self.meters.iter().map(|meter| meter.total).sum()
    }

    fn sum(&self, of: impl Fn(&Meter) -> &AtomicU64) -> u64 {
        let numbers = self.meters.iter().map(|meter| of(meter));
        numbers.map(|number| number.load(Ordering::Relaxed)).sum()
    }

    fn say_now_and_then(&mut self, application: &Application, now: Duration) {
        if now < self.said + SAY_INTERVAL {
            return;
        }
        self.said = now;
        let (done, total) = (self.sum(|meter| &meter.done), self.total().max(1));
        let mut behind: Vec<_> = self
            .meters
            .iter()
            .map(|meter| (meter.done.load(Ordering::Relaxed), meter))
            .filter(|(done, meter)| *done < meter.total)
            .collect();
        behind.sort_by_key(|(done, meter)| done * 100 / meter.total.max(1));
        let more = behind.len().saturating_sub(NAMED_MAX);
        let mut parts: Vec<String> = behind
            .iter()
            .take(NAMED_MAX)
            .map(|(done, meter)| format!("{} {done} of {}", meter.name, meter.total))
            .collect();
        if more > 0 {
            parts.push(format!("{more} more"));
        }
        application.host.log(&format!(
            "restoring state {} {done} of {total} records, {}: {}",
            bar(done, total),
            self.rate(now),
            parts.join(", ")
        ));
    }

    fn say_end(&self, application: &Application, now: Duration) {
        let done = self.sum(|meter| &meter.records);
        if done == 0 {
            return;
        }
        let from_disk = match self.resumed {
            0 => String::new(),
            resumed => format!("; {resumed} of them went on from what is on disk"),
        };
        application.host.log(&format!(
            "state of {} stores restored in {:.1} s: {done} records, {}{from_disk}",
            self.meters.len(),
            now.saturating_sub(self.began).as_secs_f64(),
            self.rate(now),
        ));
    }

    fn rate(&self, now: Duration) -> String {
        let seconds = now.saturating_sub(self.began).as_secs_f64().max(0.001);
        let bytes = self.sum(|meter| &meter.bytes) as f64;
        format!(
            "{:.0} records/s, {:.1} MB/s",
            self.sum(|meter| &meter.records) as f64 / seconds,
            bytes / 1e6 / seconds
        )
    }
}

fn bar(done: u64, total: u64) -> String {
    let cells = (done * BAR_CELLS / total).min(BAR_CELLS);
    let (full, empty) = (cells as usize, (BAR_CELLS - cells) as usize);
    format!(
        "[{}{}] {} %",
        "#".repeat(full),
        ".".repeat(empty),
        done * 100 / total
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_says_how_much_is_done() {
        assert_eq!(bar(0, 7), "[....................] 0 %");
        assert_eq!(bar(1, 2), "[##########..........] 50 %");
        assert_eq!(bar(9, 9), "[####################] 100 %");
    }
}
