//! Operations on a log against a map: appends, transactions, reads in all
//! sizes, and, for the embedded log, the process that goes away and comes back.

use crate::input::Input;
use headwater_core::env::{Env, ManualClock};
use headwater_core::{Header, Headers, Position, Records, RecordsBuilder, TopicPartition};
use headwater_log::embedded::{EmbeddedLog, Options};
use headwater_log::memory::MemoryLog;
use headwater_log::{
    CommitOutcome, Committed, Durability, Ends, FetchLimits, Log, Member, Producer, Reader,
    TopicConfig, Transactor,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A record as a reader must see it.
#[derive(Clone, Debug, PartialEq)]
struct Record {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    time: i64,
    headers: Vec<Header>,
}

type Batch = Vec<Record>;

/// What the log must hold.
#[derive(Default)]
struct Model {
    partitions: [Batch; PARTITIONS],
    committed: BTreeMap<usize, Committed>,
}

const PARTITIONS: usize = 3;

fn at(index: usize) -> TopicPartition {
    match index {
        0 => TopicPartition::new("one", 0),
        1 => TopicPartition::new("two", 0),
        _ => TopicPartition::new("two", 1),
    }
}

fn env() -> Env {
    Env {
        clock: Arc::new(ManualClock::at(1_000_000)),
        ..Env::system()
    }
}

/// Operations on the log in memory.
pub(crate) fn memory_operations(bytes: &[u8]) {
    Run::new(MemoryLog::new(env()), None).all(bytes);
}

/// Operations on the embedded log.
pub(crate) fn embedded_operations(bytes: &[u8]) {
    // In memory where there is such a folder: the disk is not what is tested.
    let shared = std::path::Path::new("/dev/shm");
    let folder = match shared.is_dir() {
        true => tempfile::tempdir_in(shared),
        false => tempfile::tempdir(),
    };
    let folder = folder.expect("a folder can be made");
    let directory = folder.path().to_owned();
    let open = move || {
        let options = Options {
            durability: Durability::ProcessCrash,
            ..Options::new(env())
        };
        EmbeddedLog::open(&directory, options).expect("the log opens") as Arc<dyn Log>
    };
    Run::new(open(), Some(Box::new(open))).all(bytes);
}

/// What a process has open.
struct Handles {
    // Handles before what they came from.
    reader: Box<dyn Reader>,
    producer: Box<dyn Producer>,
    transactor: Box<dyn Transactor>,
    /// Its membership; dropping it gives it up.
    _member: Box<dyn Member>,
    log: Arc<dyn Log>,
    /// How far the reader is.
    read: [usize; PARTITIONS],
    queued: Vec<(usize, Batch)>,
    pending: Vec<(usize, Batch)>,
}

impl Handles {
    fn open(log: Arc<dyn Log>) -> Handles {
        for (name, partitions) in [("one", 1), ("two", 2)] {
            let config = TopicConfig {
                partitions,
                ..TopicConfig::default()
            };
            log.create_topic(name, &config).expect("a topic");
        }
        let from: Vec<_> = (0..PARTITIONS)
            .map(|index| {
                let start = log.bounds(&at(index)).expect("a partition").start;
                (at(index), start)
            })
            .collect();
        let leads = [Arc::from("one"), Arc::from("two")];
        let member = log.join("group", &leads).expect("the only member");
        Handles {
            reader: log.reader(&from).expect("a reader"),
            producer: log.producer().expect("a producer"),
            transactor: member.transactor(0).expect("a transactor"),
            _member: member,
            log,
            read: [0; PARTITIONS],
            queued: Vec::new(),
            pending: Vec::new(),
        }
    }

    fn commit(&mut self, positions: &[(TopicPartition, Committed)]) {
        let mut positions_of = |_: &Ends| Ok(positions.to_vec());
        let outcome = self.transactor.commit(&mut positions_of);
        match outcome.expect("no faults") {
            CommitOutcome::Committed => {}
            CommitOutcome::Unknown { reason } => panic!("no faults, yet it is open: {reason}"),
        }
    }
}

type Open = dyn Fn() -> Arc<dyn Log>;

struct Run {
    handles: Option<Handles>,
    model: Model,
    open: Option<Box<Open>>,
    reopened: usize,
}

const REOPENED_MAX: usize = 3;

impl Run {
    fn new(log: Arc<dyn Log>, open: Option<Box<Open>>) -> Run {
        Run {
            handles: Some(Handles::open(log)),
            model: Model::default(),
            open,
            reopened: 0,
        }
    }

    fn all(mut self, bytes: &[u8]) {
        let mut input = Input::new(bytes);
        while !input.is_empty() {
            self.operation(&mut input);
        }
        self.flush();
        self.reopen();
        self.check();
    }

    fn handles(&mut self) -> &mut Handles {
        self.handles.as_mut().expect("open between operations")
    }

    fn operation(&mut self, input: &mut Input<'_>) {
        let what = input.below(8);
        let index = input.below(PARTITIONS);
        match what {
            0 => {
                let batch = batch(input);
                let handles = self.handles();
                let queued = handles.producer.append(&at(index), records(&batch));
                queued.expect("the queue has room");
                handles.queued.push((index, batch));
            }
            1 => self.flush(),
            2 => {
                let batch = batch(input);
                let handles = self.handles();
                let appended = handles.transactor.append(&at(index), records(&batch));
                appended.expect("the partition is there");
                handles.pending.push((index, batch));
            }
            3 => {
                let committed = Committed {
                    position: Position::from_offset(input.int() as u64 >> 1),
                    metadata: input.bytes().to_vec(),
                };
                self.commit(index, committed);
            }
            4 => {
                let handles = self.handles();
                handles
                    .transactor
                    .abort()
                    .expect("nothing stands against it");
                handles.pending.clear();
            }
            5 => {
                let limits = FetchLimits {
                    records_max: 1 + input.below(9),
                    bytes_max: 1 + usize::from(input.byte()) * 8,
                };
                self.poll(limits);
            }
            6 => {
                let to = usize::from(input.byte()) % (1 + self.model.partitions[index].len());
                let handles = self.handles();
                let sought = handles
                    .reader
                    .seek(&at(index), Position::from_offset(to as u64));
                sought.expect("a place within the partition");
                handles.read[index] = to;
            }
            // Opening is slow, and a few times are enough.
            _ if self.reopened < REOPENED_MAX => {
                self.reopened += 1;
                self.reopen();
                self.check();
            }
            _ => self.flush(),
        }
    }

    fn flush(&mut self) {
        let handles = self.handles.as_mut().expect("open between operations");
        handles.producer.flush().expect("there is room");
        for (index, batch) in handles.queued.drain(..) {
            self.model.partitions[index].extend(batch);
        }
    }

    fn commit(&mut self, index: usize, committed: Committed) {
        // A transaction is appended in one piece, so what a producer has queued
        // lands before or after it; a flush says which.
        self.flush();
        let handles = self.handles.as_mut().expect("open between operations");
        handles.commit(&[(at(index), committed.clone())]);
        for (index, batch) in handles.pending.drain(..) {
            self.model.partitions[index].extend(batch);
        }
        self.model.committed.insert(index, committed);
    }

    fn poll(&mut self, limits: FetchLimits) {
        self.flush();
        let handles = self.handles.as_mut().expect("open between operations");
        let fetched = handles
            .reader
            .poll(Duration::ZERO, limits)
            .expect("it reads");
        let mut count = 0;
        for fetched in fetched {
            let index = (0..PARTITIONS)
                .find(|index| at(*index) == fetched.partition)
                .expect("one that was asked for");
            let whole = &self.model.partitions[index];
            let from = handles.read[index];
            let got = batch_of(&fetched.records);
            count += got.len();
            assert_eq!(got, whole[from..from + got.len()], "{}", fetched.partition);
            for offset in 0..got.len() {
                let wanted = Position::from_offset((from + offset) as u64);
                assert_eq!(fetched.positions.get(offset), wanted);
            }
            handles.read[index] += got.len();
            let is_at_end = handles.read[index] == whole.len();
            assert!(!fetched.at_end || is_at_end, "the end is the end");
            let resume = Position::from_offset(handles.read[index] as u64);
            assert_eq!(fetched.resume, resume);
        }
        assert!(count <= limits.records_max, "the limit is kept");
    }

    /// The process ends without a word, and another begins.
    fn reopen(&mut self) {
        self.flush();
        let Some(open) = &self.open else {
            let log = Arc::clone(&self.handles.as_ref().expect("open").log);
            self.handles = None;
            self.handles = Some(Handles::open(log));
            return;
        };
        self.handles = None;
        self.handles = Some(Handles::open(open()));
    }

    /// Everything is there, in order, and no more.
    fn check(&mut self) {
        let limits = FetchLimits::default();
        for _ in 0..=PARTITIONS {
            self.poll(limits);
        }
        let handles = self.handles.as_ref().expect("open between operations");
        for (index, whole) in self.model.partitions.iter().enumerate() {
            assert_eq!(handles.read[index], whole.len(), "{}", at(index));
            let bounds = handles.log.bounds(&at(index)).expect("a partition");
            assert_eq!(bounds.end, Position::from_offset(whole.len() as u64));
        }
        let mut committed = handles.log.committed("group").expect("positions");
        committed.sort_by(|left, right| left.0.cmp(&right.0));
        let wanted = self.model.committed.iter();
        let wanted: Vec<_> = wanted
            .map(|(index, known)| (at(*index), known.clone()))
            .collect();
        assert_eq!(committed, wanted);
    }
}

fn batch(input: &mut Input<'_>) -> Batch {
    (0..1 + input.below(4))
        .map(|_| {
            let headers = (0..input.below(3) / 2).map(|_| Header {
                name: String::from_utf8_lossy(input.bytes()).into(),
                value: input.nullable().map(Into::into),
            });
            Record {
                headers: headers.collect(),
                key: input.nullable().map(<[u8]>::to_vec),
                value: input.nullable().map(<[u8]>::to_vec),
                time: input.int(),
            }
        })
        .collect()
}

fn records(batch: &[Record]) -> Records {
    let mut builder = RecordsBuilder::default();
    for record in batch {
        let headers: Headers = match record.headers.as_slice() {
            [] => None,
            headers => Some(headers.into()),
        };
        builder.push(
            record.key.as_deref(),
            record.value.as_deref(),
            record.time,
            headers,
        );
    }
    builder.finish()
}

fn batch_of(records: &Records) -> Batch {
    (0..records.len())
        .map(|index| Record {
            key: records.key(index).map(<[u8]>::to_vec),
            value: records.value(index).map(<[u8]>::to_vec),
            time: records.timestamps[index],
            headers: records.headers(index).to_vec(),
        })
        .collect()
}
