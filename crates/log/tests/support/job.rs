//! A job on the embedded log that uses all of it, for tests that take the disk
//! away: transactions, a producer, a reader, compaction. It says what has been
//! acknowledged, and whoever started it compares that with what is there.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use super::*;
use headwater_core::Error;
use headwater_log::{Member, Producer, Reader, fixed};
use std::collections::BTreeMap;

/// The seed of the job that a child runs.
pub const SEED: &str = "HEADWATER_SCRIPT_SEED";

/// A flush of the producer has so many records, to see whether it is whole.
const FLUSHED: u64 = 5;

/// What transaction `number` appends: to `a` its number some times over, to `c`
/// changes of a few keys.
fn outputs(seed: u64, number: u64) -> (Records, Records) {
    let mut seed = (seed ^ (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1;
    let mut a = RecordsBuilder::default();
    for _ in 0..random(&mut seed) % 40 + 1 {
        let value = number
            .to_be_bytes()
            .repeat((random(&mut seed) % 300) as usize + 1);
        a.push(None, Some(&value), 0, None);
    }
    let mut c = RecordsBuilder::default();
    for _ in 0..random(&mut seed) % 60 + 20 {
        let key = [(random(&mut seed) % 30) as u8];
        let value = (!random(&mut seed).is_multiple_of(5)).then_some([number as u8; 50]);
        c.push(Some(&key), value.as_ref().map(|value| &value[..]), 0, None);
    }
    (a.finish(), c.finish())
}

fn flushed(number: u64) -> Records {
    let mut builder = RecordsBuilder::default();
    for _ in 0..FLUSHED {
        builder.push(None, Some(&number.to_be_bytes()), 0, None);
    }
    builder.finish()
}

pub fn options() -> Options {
    Options {
        // Only when the script says so: then runs are alike.
        retention_interval: Duration::from_secs(3_600),
        compaction_bytes: 2_000,
        tombstone_retention: Duration::ZERO,
        busy_max: Duration::from_secs(5),
        warn: Arc::new(|_| {}),
        ..Options::default()
    }
}

/// One life of the job: until the script is done or something fails.
pub struct Job {
    transactor: Box<dyn Transactor>,
    producer: Box<dyn Producer>,
    reader: Box<dyn Reader>,
    /// The number of the next transaction.
    pub next: u64,
    next_flush: u64,
    log: Arc<EmbeddedLog>,
    _member: Box<dyn Member>,
}

impl Job {
    /// Goes on where the last one stopped.
    pub fn start(directory: &Path) -> headwater_core::Result<Job> {
        let log = EmbeddedLog::open(directory, options())?;
        for topic in ["a", "c", "p"] {
            let config = TopicConfig {
                compacted: topic == "c",
                ..TopicConfig::default()
            };
            log.create_topic(topic, &config)?;
        }
        let member = log.join("g", &[])?;
        let committed = member.committed()?;
        let next = committed
            .first()
            .map_or(0, |(_, committed)| committed.position.offset().unwrap());
        let end = log.bounds(&at("p"))?.end.offset().unwrap();
        assert_eq!(end % FLUSHED, 0, "a flush is whole");
        let start = log.bounds(&at("a"))?.start;
        Ok(Job {
            transactor: member.transactor(0)?,
            producer: log.producer()?,
            reader: log.reader(&[(at("a"), start)])?,
            next,
            next_flush: end / FLUSHED,
            log,
            _member: member,
        })
    }

    /// One transaction, and now and then something else.
    pub fn step(&mut self, seed: u64) -> headwater_core::Result<()> {
        let number = self.next;
        let (a, c) = outputs(seed, number);
        self.transactor.append(&at("a"), a)?;
        self.transactor.append(&at("c"), c)?;
        let positions = [(at("a"), position(number + 1))];
        match self.transactor.commit(&mut fixed(&positions))? {
            CommitOutcome::Committed => say(format!("committed {number}")),
            CommitOutcome::Unknown { reason } => return Err(Error::unavailable(reason)),
        }
        self.next += 1;
        if number.is_multiple_of(3) {
            self.producer.append(&at("p"), flushed(self.next_flush))?;
            // What was queued stays queued: the second flush may succeed.
            let again = self.producer.flush();
            again.or_else(|_| self.producer.flush())?;
            say(format!("flushed {}", self.next_flush));
            self.next_flush += 1;
        }
        if number % 4 == 1 {
            self.reader.poll(Duration::ZERO, FetchLimits::default())?;
        }
        if number % 5 == 4 {
            self.log.tidy()?;
        }
        Ok(())
    }
}

/// What a job has said so far.
#[derive(Debug, Default)]
pub struct Said {
    committed: u64,
    flushed: u64,
    pub fault: Option<String>,
    pub failures: Vec<String>,
    pub is_done: bool,
}

impl Said {
    pub fn hear(&mut self, line: &str) {
        let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
        match what {
            "committed" => self.committed = rest.parse::<u64>().unwrap() + 1,
            "flushed" => self.flushed = rest.parse::<u64>().unwrap() + 1,
            "fault" => self.fault = Some(rest.to_owned()),
            "failed" => self.failures.push(rest.to_owned()),
            "done" => self.is_done = true,
            _ => {}
        }
    }

    /// Whether anything has been acknowledged.
    pub fn has_written(&self) -> bool {
        self.committed + self.flushed > 0
    }
}

/// Opens what is left, compares it with what was acknowledged, and goes on.
pub fn check(directory: &Path, seed: u64, said: &Said, place: &str) {
    let log = EmbeddedLog::open(directory, options()).unwrap();
    let committed = log.committed("g").unwrap();
    let stored = committed
        .first()
        .map_or(0, |(_, committed)| committed.position.offset().unwrap());
    assert!(
        said.committed <= stored,
        "{place}: {stored} are stored, {said:?}"
    );
    if log.topic("p").unwrap().is_none() {
        assert_eq!((stored, said.flushed), (0, 0), "{place}");
        return;
    }
    let (mut numbers, mut model) = (Vec::new(), BTreeMap::new());
    for number in 0..stored {
        let (a, c) = outputs(seed, number);
        numbers.extend((0..a.len()).map(|_| number));
        for index in 0..c.len() {
            let key = c.key(index).unwrap().to_vec();
            match c.value(index) {
                Some(value) => model.insert(key, value.to_vec()),
                None => model.remove(&key),
            };
        }
    }
    assert_eq!(read(&*log, "a").unwrap(), numbers, "{place}");
    assert_eq!(table(&*log, "c"), model, "{place}");
    let flushes = read(&*log, "p").unwrap();
    assert!(said.flushed * FLUSHED <= flushes.len() as u64, "{place}");
    let expected =
        (0..flushes.len() as u64 / FLUSHED).flat_map(|number| vec![number; FLUSHED as usize]);
    assert!(flushes.iter().copied().eq(expected), "{place}: {flushes:?}");
    drop(log);
    let mut job = Job::start(directory).unwrap();
    job.step(seed).unwrap();
    job.log.tidy().unwrap();
    assert_eq!(job.next, stored + 1);
}

/// The newest value of each key.
fn table(log: &dyn Log, topic: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let start = log.bounds(&at(topic)).unwrap().start;
    let mut reader = log.reader(&[(at(topic), start)]).unwrap();
    let mut table = BTreeMap::new();
    loop {
        let fetched = reader.poll(Duration::ZERO, FetchLimits::default()).unwrap();
        for records in fetched.iter().map(|fetched| &fetched.records) {
            for index in 0..records.len() {
                let key = records.key(index).unwrap().to_vec();
                match records.value(index) {
                    Some(value) => table.insert(key, value.to_vec()),
                    None => table.remove(&key),
                };
            }
        }
        if fetched.iter().all(|fetched| fetched.at_end) {
            return table;
        }
    }
}
