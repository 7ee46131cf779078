//! A script: what a simulation does, as a list that can be shortened.

use crate::log::Nature;
use crate::seed::Seed;
use crate::topology::Topology;
use crate::trouble::{Call, Fault, Trouble};
use crate::world::WALL_MS;

/// A record that a loader puts into the first topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Its key.
    pub key: Option<String>,
    /// Its value; `None` is a tombstone.
    pub value: Option<String>,
    /// Its event time.
    pub timestamp: i64,
    /// The batch with which it is appended, and how.
    pub batch: (u32, Loading),
    /// How long the loader waits before the batch, in milliseconds.
    pub pause_ms: u64,
}

/// How a batch is appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loading {
    /// Outside any transaction.
    Plain,
    /// In a transaction.
    Committed,
    /// In a transaction that is aborted: nobody may ever see it.
    Aborted,
}

/// Everything that decides a run.
#[derive(Clone, Debug)]
pub struct Script {
    /// What decides everything that the lists below do not.
    pub seed: u64,
    /// What runs.
    pub topology: Topology,
    /// How the log behaves.
    pub nature: Nature,
    /// What is put in.
    pub inputs: Vec<Input>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

impl Script {
    /// The script of a seed.
    pub fn random(number: u64) -> Script {
        let mut seed = Seed(number);
        let topology = Topology::random(&mut seed.fork("topology"));
        let inputs = random_inputs(&mut seed.fork("inputs"));
        let processes: usize = topology.programs.iter().map(|known| known.processes).sum();
        let mut own = seed.fork("faults");
        let count = *own.pick(&[0, 1, 2, 3, 4, 6, 9]);
        let mut faults: Vec<Fault> = (0..count)
            .map(|_| Fault::random(&mut own, processes))
            .collect();
        if own.hits(6) {
            // Instances come and go all the time.
            faults.extend((0..12).map(|_| Fault::rebalance(&mut own, processes)));
        }
        let mut first = 0;
        for program in &topology.programs {
            if program.is_repeating {
                // At least once is a matter of the order in a commit.
                faults.extend((0..4).map(|_| Fault {
                    process: first + own.below(program.processes as u64) as usize,
                    call: Call::InCommit,
                    nth: own.below(20),
                    trouble: Trouble::Kill,
                }));
            }
            first += program.processes;
        }
        // A file has no fencing: a zombie that writes it would need a lock, which the
        // embedded log has and this one has not.
        if topology.pipelines.iter().any(|known| known.sink.is_some()) {
            for fault in &mut faults {
                if let Trouble::Zombie(ms) = fault.trouble {
                    fault.trouble = Trouble::Stall(ms);
                }
            }
        }
        Script {
            seed: number,
            nature: Nature::random(&mut seed.fork("nature"), None),
            topology,
            inputs,
            faults,
        }
    }
}

const KEYS: [&str; 7] = ["a", "b", "c", "é", "", "k5", "k6"];

fn random_inputs(seed: &mut Seed) -> Vec<Input> {
    let len = 5 + seed.below(55);
    let key_count = 1 + seed.below(KEYS.len() as u64) as usize;
    let mut time = WALL_MS;
    let (mut batch, mut pause_ms) = ((0, Loading::Plain), 0);
    (0..len)
        .map(|id| {
            let is_new = seed.hits(3);
            if is_new {
                let loading = match seed.below(8) {
                    0 => Loading::Aborted,
                    1 | 2 => Loading::Committed,
                    _ => Loading::Plain,
                };
                batch = (batch.0 + 1, loading);
                pause_ms = match seed.below(12) {
                    0 => seed.below(4_000),
                    1..=3 => seed.below(300),
                    _ => seed.below(20),
                };
            }
            time += seed.below(60) as i64;
            let timestamp = match seed.below(20) {
                0 => time - 400,
                1 => time - 5_000,
                2 => time + 700,
                3 if seed.hits(4) => WALL_MS * 1_000,
                _ => time - seed.below(90) as i64,
            };
            let value = match seed.below(30) {
                0 => Some("{\"x\":".to_owned()),
                1 => Some("{\"x\":1}}".to_owned()),
                _ => Some(random_text(seed, id, batch.1)),
            };
            Input {
                key: (!seed.hits(40)).then(|| (*seed.pick(&KEYS[..key_count])).to_owned()),
                value,
                timestamp,
                batch,
                pause_ms,
            }
        })
        .collect()
}

fn random_text(seed: &mut Seed, id: u64, loading: Loading) -> String {
    let x = match seed.below(16) {
        0 => "null".to_owned(),
        1 => "\"12\"".to_owned(),
        2 => "123456789012345678901234567890".to_owned(),
        3 => "9007199254740993".to_owned(),
        4 if seed.hits(3) => "9223372036854775807".to_owned(),
        5 => "-4.5".to_owned(),
        6 => "1e2".to_owned(),
        7 => "true".to_owned(),
        8..=11 => (*seed.pick(&["0.1", "0.2", "0.3", "0.7", "1e15", "-0.1"])).to_owned(),
        _ => format!("{}", seed.between(-5, 35)),
    };
    let group = seed.pick(&["red", "green", "blue"]);
    let mut fields = vec![
        format!("\"id\":{id}"),
        format!("\"x\": {x}"),
        format!("\"g\":\"{group}\""),
    ];
    if loading == Loading::Aborted {
        fields.push("\"ghost\":true".into());
    }
    if seed.hits(4) {
        fields.push("\"p\":{\"q\":[1,2.50,{\"x\":3}],\"s\":\"\\ud83d\\ude00\\\"\"}".into());
    }
    if seed.hits(2) {
        fields.reverse();
    }
    format!("{{{}}}", fields.join(*seed.pick(&[",", " , "])))
}

/// What is put in at the end, when everything is calm: a record of each key, to see
/// what state is left, and records that are far ahead, to see which windows are open.
pub(crate) fn probes(partition_of_input: impl Fn(&str) -> u32, partitions: u32) -> Vec<Input> {
    let probe = |key: &str, id: u64, timestamp| Input {
        key: Some(key.to_owned()),
        value: Some(format!("{{\"id\":{id},\"x\":1,\"g\":\"red\"}}")),
        timestamp,
        batch: (0, Loading::Plain),
        pause_ms: 0,
    };
    let newest = WALL_MS + 4_000;
    let mut probes: Vec<Input> = KEYS
        .iter()
        .enumerate()
        .map(|(at, key)| probe(key, 100_003 + 1_001 * at as u64, newest))
        .collect();
    for wanted in 0..partitions {
        let key = (0..)
            .map(|number| format!("flush{number}"))
            .find(|key| partition_of_input(key) == wanted);
        probes.extend(key.map(|key| probe(&key, 200_001 + u64::from(wanted), WALL_MS + 7_200_000)));
    }
    probes
}
