//! What each command prints, on a log in a temporary directory.

use headwater::core::env::Env;
use headwater::core::{Header, RecordsBuilder};
use headwater::log::embedded::{EmbeddedLog, Options};
use headwater::log::{Committed, Log, TopicConfig, fixed};
use headwater::{Position, Result, TopicPartition};
use headwater_cli::{Console, run};
use std::io::Write;
use std::sync::Arc;

/// A directory with a log.
struct Fixture {
    directory: tempfile::TempDir,
    log: Arc<EmbeddedLog>,
}

/// What a command answered.
#[derive(Debug, PartialEq)]
struct Answer {
    code: i32,
    out: String,
    err: String,
}

/// Runs a command; the directory's name becomes `DIR` in what it says.
fn run_in(directory: &std::path::Path, args: &[&str], input: &str) -> Answer {
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
    fn new() -> Result<Fixture> {
        let directory = tempfile::tempdir()?;
        let log = EmbeddedLog::open(directory.path(), Options::new(Env::system()))?;
        Ok(Fixture { directory, log })
    }

    /// A log with records, and an application that has read two of them.
    fn with_records() -> Result<Fixture> {
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

    fn append(&self, topic: &str, partition: u32, records: RecordsBuilder) -> Result<()> {
        let mut producer = self.log.producer()?;
        producer.append(&TopicPartition::new(topic, partition), records.finish())?;
        producer.flush()
    }

    fn run(&self, args: &str) -> Answer {
        self.answer(args, "")
    }

    fn answer(&self, args: &str, input: &str) -> Answer {
        run_in(
            self.directory.path(),
            &args.split(' ').collect::<Vec<_>>(),
            input,
        )
    }

    #[track_caller]
    fn check(&self, args: &str, lines: &[&str]) {
        let answer = self.run(args);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(
            (answer.code, answer.out, answer.err),
            (0, text, String::new()),
            "{args}"
        );
    }

    #[track_caller]
    fn check_error(&self, args: &str, lines: &[&str]) {
        let answer = self.run(args);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(
            (answer.code, answer.out, answer.err),
            (1, String::new(), text),
            "{args}"
        );
    }
}

#[test]
fn topics_are_listed() -> Result<()> {
    let fixture = Fixture::with_records()?;
    let answer = fixture.run("topics list");
    assert_eq!(
        answer.out,
        "TOPIC      PARTITIONS  RECORDS  KEPT\n\
         pair       2           2        7 days, 4 GiB a partition\n\
         telemetry  1           4        7 days, 4 GiB a partition\n"
    );
    assert_eq!(answer.err, "hint: 2 internal topics are shown with --all\n");
    fixture.check(
        "topics list --all",
        &[
            "TOPIC                                 PARTITIONS  RECORDS  KEPT",
            "changelog__crash--telemetry--default  1           1        newest of each key",
            "changelog__crash2--x                  1           0        newest of each key",
            "pair                                  2           2        7 days, 4 GiB a partition",
            "telemetry                             1           4        7 days, 4 GiB a partition",
        ],
    );
    Ok(())
}

#[test]
fn records_are_read_one_a_line() -> Result<()> {
    let fixture = Fixture::with_records()?;
    let first = "0\t1970-01-01T00:00:00.000Z\ta\t{\"x\": 1.50,\\n\"y\":\"é\"}";
    let second = "1\t2013-12-02T21:15:00.123Z\tnull\ttab\\there";
    let last = "3\t9223372036854775807\t\\xff\tnull";
    fixture.check("topics read telemetry", &[first, second, last]);
    fixture.check("topics read telemetry --count 1", &[first]);
    fixture.check("topics read telemetry --from 1 --count 1", &[second]);
    fixture.check("topics read telemetry --from latest", &[]);
    fixture.check("topics read telemetry --from 4", &[]);
    fixture.check(
        "topics read telemetry --follow --count 3",
        &[first, second, last],
    );
    fixture.check(
        "topics read telemetry --json",
        &[
            "{\"partition\":0,\"offset\":0,\"timestamp\":0,\"key\":\"a\",\
         \"value\":{\"x\": 1.50, \"y\":\"é\"},\"headers\":[]}",
            "{\"partition\":0,\"offset\":1,\"timestamp\":1386018900123,\"key\":null,\
         \"value\":\"tab\\there\",\"headers\":[[\"unit\",\"g\"]]}",
            "{\"partition\":0,\"offset\":3,\"timestamp\":9223372036854775807,\"key\":\"\u{fffd}\",\
         \"value\":null,\"headers\":[]}",
        ],
    );
    Ok(())
}

#[test]
fn partitions_are_read_together_or_alone() -> Result<()> {
    let fixture = Fixture::with_records()?;
    let [first, second] = [
        "0:0\t1970-01-01T00:00:00.000Z\tk\t0",
        "1:0\t1970-01-01T00:00:00.000Z\tk\t1",
    ];
    let both = fixture.run("topics read pair").out;
    let mut lines: Vec<&str> = both.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, [first, second]);
    fixture.check("topics read pair --partition 1", &[second]);
    fixture.check_error(
        "topics read pair --from 0",
        &[
            "error: an offset belongs to one partition topic=`pair` partitions=`2`",
            "hint: add --partition",
        ],
    );
    assert_eq!(fixture.run("topics read pair --partition 2").code, 1);
    Ok(())
}

#[test]
fn a_mistake_is_answered_with_a_hint() -> Result<()> {
    let fixture = Fixture::with_records()?;
    fixture.check_error(
        "topics read telemetri",
        &[
            "error: there is no such topic topic=`telemetri`",
            "hint: the topics of embedded log at DIR are: pair, telemetry",
        ],
    );
    fixture.check_error(
        "topics read telemetry --from 5",
        &[
            "error: the partition does not reach to this offset topic=`telemetry` partition=`0` \
         offset=`5` first=`0` end=`4`",
        ],
    );
    let usage = fixture.run("topics read telemetry --from yesterday");
    assert_eq!((usage.code, usage.out.as_str()), (2, ""));
    assert!(
        usage.err.contains("expected earliest, latest or an offset"),
        "{}",
        usage.err
    );
    let help = fixture.run("--help");
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    assert!(
        help.out.starts_with("Look at a log and put it in order"),
        "{}",
        help.out
    );
    Ok(())
}

#[test]
fn a_command_that_only_looks_makes_no_log() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let answer = run_in(directory.path(), &["topics", "list"], "");
    assert_eq!(answer.code, 1);
    assert!(
        answer
            .err
            .starts_with("error: there is no log in this directory directory=`DIR`\nhint: "),
        "{}",
        answer.err
    );
    assert_eq!(std::fs::read_dir(directory.path())?.count(), 0);
    Ok(())
}

#[test]
fn topics_are_created_and_deleted() -> Result<()> {
    let fixture = Fixture::new()?;
    fixture.check(
        "topics create new --partitions 2 --retention-ms 60000",
        &["topic `new` created"],
    );
    fixture.check(
        "topics create new --partitions 2",
        &["topic `new` exists already"],
    );
    fixture.check(
        "topics list",
        &[
            "TOPIC  PARTITIONS  RECORDS  KEPT",
            "new    2           0        1 min, 4 GiB a partition",
        ],
    );
    assert_eq!(fixture.run("topics create new --partitions 3").code, 1);
    let refused = fixture.answer("topics delete new", "n\n");
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert_eq!(
        refused.err,
        "delete `new` (0 records)? [y/N] nothing was changed\nhint: answer y, or add --yes\n"
    );
    let asked = fixture.answer("topics delete new", "y\n");
    assert_eq!(
        (asked.code, asked.out.as_str()),
        (0, "topic `new` deleted\n")
    );
    assert_eq!(fixture.run("topics delete new --yes").code, 1);
    Ok(())
}

#[test]
fn groups_show_what_waits_and_who_runs() -> Result<()> {
    let fixture = Fixture::new()?;
    let empty = fixture.run("groups");
    assert_eq!((empty.code, empty.out.as_str()), (0, ""));
    assert_eq!(empty.err, "no application has committed anything yet\n");

    let fixture = Fixture::with_records()?;
    fixture.check(
        "groups",
        &[
            "APPLICATION  PROCESS  TOPIC      PARTITION  COMMITTED  END      WAITING",
            "crash        -        gone       0          7          deleted  -",
            "crash        -        telemetry  0          2          4        2",
        ],
    );
    let member = fixture.log.join("crash", &[])?;
    let process = std::process::id();
    let line = format!("crash        {process}");
    let answer = fixture.run("groups");
    assert!(
        answer.out.lines().skip(1).all(|row| row.starts_with(&line)),
        "{}",
        answer.out
    );
    drop(member);
    Ok(())
}

#[test]
fn reset_forgets_one_application() -> Result<()> {
    let fixture = Fixture::with_records()?;
    let plan = "reset of application `crash`:\n  \
                forgets that it has read gone[0] to 7\n  \
                forgets sink `out`: remove its file before the next run\n  \
                forgets how far source `file` has been read\n  \
                forgets that it has read telemetry[0] to 2\n  \
                deletes its state in changelog__crash--telemetry--default (1 records)\n\
                its topics and their records stay\n";
    let refused = fixture.run("reset crash");
    assert_eq!((refused.code, refused.out.as_str()), (1, plan));
    assert_eq!(
        refused.err,
        "go on? [y/N] \nnothing was changed\nhint: answer y, or add --yes\n"
    );
    let member = fixture.log.join("crash", &[])?;
    fixture.check_error(
        "reset crash --yes",
        &[
            &format!(
                "error: the application is running application=`crash` process=`{}`",
                std::process::id()
            ),
            "hint: stop it first",
        ],
    );
    drop(member);
    assert_eq!(fixture.log.committed("crash")?.len(), 5);

    let done = fixture.run("reset crash --yes");
    assert_eq!((done.code, done.out), (0, format!("{plan}done\n")));
    assert_eq!(fixture.log.committed("crash")?, []);
    let names: Vec<String> = fixture
        .log
        .topics()?
        .into_iter()
        .map(|topic| topic.name)
        .collect();
    assert_eq!(names, ["changelog__crash2--x", "pair", "telemetry"]);
    assert_eq!(fixture.run("reset crash --yes").code, 1);
    Ok(())
}

/// `head` closes the pipe before the command has written everything.
#[test]
fn a_reader_that_has_seen_enough_is_no_error() -> Result<()> {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let fixture = Fixture::with_records()?;
    let directory = fixture.directory.path().to_string_lossy();
    let args = [
        "headwater",
        "topics",
        "read",
        "telemetry",
        "--directory",
        &directory,
    ];
    let mut err = Vec::new();
    let mut console = Console {
        out: &mut Closed,
        err: &mut err,
        input: &mut std::io::empty(),
    };
    assert_eq!(run(args.map(String::from).to_vec(), &mut console), 0);
    assert_eq!(err, b"");
    Ok(())
}
