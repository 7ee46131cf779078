//! A log in a temporary directory, and commands on it.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

use headwater::core::env::Env;
use headwater::core::{Header, RecordsBuilder};
use headwater::log::embedded::{EmbeddedLog, Options};
use headwater::log::{Committed, Log, TopicConfig, fixed};
use headwater::{Position, Result, TopicPartition};
use headwater_cli::{Console, run};
use std::sync::Arc;

/// A directory with a log.
pub struct Fixture {
    pub directory: tempfile::TempDir,
    pub log: Arc<EmbeddedLog>,
}

/// What a command answered.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs a command; the directory's name becomes `DIR` in what it says.
pub fn run_in(directory: &std::path::Path, args: &[&str], input: &str) -> Answer {
    let name = directory.to_string_lossy();
    let mut all = vec!["headwater".to_owned()];
    all.extend(args.iter().map(ToString::to_string));
    all.extend(["--directory".to_owned(), name.to_string()]);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console {
        out: &mut out,
        err: &mut err,
        input: &mut input.as_bytes(),
    };
    let code = run(all, &mut console);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace(&*name, "DIR");
    Answer {
        code,
        out: text(out),
        err: text(err),
    }
}

impl Fixture {
    pub fn new() -> Result<Fixture> {
        let directory = tempfile::tempdir()?;
        let log = EmbeddedLog::open(directory.path(), Options::new(Env::system()))?;
        Ok(Fixture { directory, log })
    }

    /// A log with records, and an application that has read two of them.
    pub fn with_records() -> Result<Fixture> {
        let fixture = Fixture::new()?;
        let log = &fixture.log;
        log.create_topic("telemetry", &TopicConfig::default())?;
        log.create_topic(
            "pair",
            &TopicConfig {
                partitions: 2,
                ..Default::default()
            },
        )?;
        let changelog = TopicConfig {
            compacted: true,
            ..Default::default()
        };
        log.create_topic("changelog__crash--telemetry--default", &changelog)?;
        log.create_topic("changelog__crash2--x", &changelog)?;
        let mut records = RecordsBuilder::default();
        records.push(
            Some(b"a"),
            Some(b"{\"x\": 1.50,\n\"y\":\"\xc3\xa9\"}"),
            0,
            None,
        );
        let header = Header {
            name: "unit".into(),
            value: Some(b"g".as_slice().into()),
        };
        records.push(
            None,
            Some(b"tab\there"),
            1_386_018_900_123,
            Some([header].into()),
        );
        let control = Header {
            name: "headwater.control".into(),
            value: None,
        };
        records.push(None, None, 0, Some([control].into()));
        records.push(Some(b"\xff"), None, i64::MAX, None);
        fixture.append("telemetry", 0, records)?;
        for partition in 0..2 {
            let mut records = RecordsBuilder::default();
            records.push(Some(b"k"), Some(partition.to_string().as_bytes()), 0, None);
            fixture.append("pair", partition, records)?;
        }
        let mut state = RecordsBuilder::default();
        state.push(Some(b"k"), Some(b"v"), 0, None);
        fixture.append("changelog__crash--telemetry--default", 0, state)?;
        let places = [
            ("telemetry", 2),
            ("gone", 7),
            ("source:file", 0),
            ("sink:out", 0),
            ("store:x", 0),
        ];
        let committed = places.map(|(topic, offset)| {
            let position = Position::from_offset(offset);
            (
                TopicPartition::new(topic, 0),
                Committed {
                    position,
                    metadata: Vec::new(),
                },
            )
        });
        log.join("crash", &[])?
            .transactor(0)?
            .commit(&mut fixed(&committed))?;
        Ok(fixture)
    }

    pub fn append(&self, topic: &str, partition: u32, records: RecordsBuilder) -> Result<()> {
        let mut producer = self.log.producer()?;
        producer.append(&TopicPartition::new(topic, partition), records.finish())?;
        producer.flush()
    }

    pub fn run(&self, args: &str) -> Answer {
        self.answer(args, "")
    }

    pub fn answer(&self, args: &str, input: &str) -> Answer {
        run_in(
            self.directory.path(),
            &args.split(' ').collect::<Vec<_>>(),
            input,
        )
    }

    #[track_caller]
    pub fn check(&self, args: &str, lines: &[&str]) {
        let answer = self.run(args);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(
            (answer.code, answer.out, answer.err),
            (0, text, String::new()),
            "{args}"
        );
    }

    #[track_caller]
    pub fn check_error(&self, args: &str, lines: &[&str]) {
        let answer = self.run(args);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(
            (answer.code, answer.out, answer.err),
            (1, String::new(), text),
            "{args}"
        );
    }
}
