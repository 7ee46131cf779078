//! What each command prints, on a log in a temporary directory.

use headwater::core::env::Env;
use headwater::core::{Header, RecordsBuilder};
use headwater::log::embedded::{EmbeddedLog, Options};
use headwater::log::{Committed, Log, TopicConfig, fixed};
use headwater::{
    Aggregate, AggregateFunction, Application, DataFrame, ErrorPolicy, Position, Result,
    RunOptions, Settings, TopicPartition, WindowLength, WindowSpec, col,
};
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
    assert_eq!(
        answer.err,
        "hint: --all shows internal topics too internal=`2`\n"
    );
    fixture.check(
        "topics list --orphaned",
        &[
            "TOPIC                 PARTITIONS  RECORDS  KEPT",
            "changelog__crash2--x  1           0        newest of each key",
        ],
    );
    fixture.check(
        "topics list -o json",
        &[
            "{\"topic\":\"pair\",\"partitions\":2,\"records\":2,\"kept\":{\"retention_ms\":604800000,\
             \"retention_bytes\":4294967296,\"compacted\":false}}",
            "{\"topic\":\"telemetry\",\"partitions\":1,\"records\":4,\"kept\":{\"retention_ms\":604800000,\
             \"retention_bytes\":4294967296,\"compacted\":false}}",
        ],
    );
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
fn applications_are_listed() -> Result<()> {
    let fixture = Fixture::with_records()?;
    fixture.check(
        "groups list",
        &[
            "APPLICATION  PROCESS  PARTITIONS  WAITING",
            "crash        -        2           2",
        ],
    );
    fixture.check(
        "groups lag crash --output json",
        &[
            "{\"application\":\"crash\",\"process\":null,\"topic\":\"gone\",\"partition\":0,\
             \"committed\":7,\"end\":null,\"waiting\":null}",
            "{\"application\":\"crash\",\"process\":null,\"topic\":\"telemetry\",\"partition\":0,\
             \"committed\":2,\"end\":4,\"waiting\":2}",
        ],
    );
    fixture.check_error(
        "groups lag crush",
        &[
            "error: nothing is known of this application application=`crush`",
            "hint: the applications of embedded log at DIR are: crash",
        ],
    );
    Ok(())
}

#[test]
fn internal_topics_of_applications_that_are_gone_are_cleaned() -> Result<()> {
    let fixture = Fixture::with_records()?;
    let refused = fixture.answer("topics delete --orphaned", "n\n");
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert!(
        refused
            .err
            .starts_with("delete `changelog__crash2--x` (0 records)? [y/N] "),
        "{}",
        refused.err
    );
    fixture.check(
        "topics delete --orphaned --yes",
        &["topic `changelog__crash2--x` deleted"],
    );
    let nothing = fixture.run("topics delete --orphaned");
    assert_eq!((nothing.code, nothing.out.as_str()), (0, ""));
    assert!(
        fixture
            .log
            .topic("changelog__crash--telemetry--default")?
            .is_some()
    );
    assert_eq!(fixture.run("topics delete").code, 2);
    Ok(())
}

#[test]
fn lines_become_records() -> Result<()> {
    let fixture = Fixture::new()?;
    fixture.run("topics create lines");
    let written = fixture.answer("topics write lines", "a\t{\"x\":1}\n\nalone\r\nb\tlast");
    assert_eq!((written.code, written.out.as_str()), (0, ""));
    assert_eq!(written.err, "3 records written to `lines`\n");
    let read = fixture.run("topics read lines").out;
    let mut without_times = read.lines().map(|line| {
        let parts: Vec<&str> = line.split('\t').collect();
        [parts[0], parts[2], parts[3]]
    });
    assert_eq!(without_times.next(), Some(["0", "a", "{\"x\":1}"]));
    assert_eq!(without_times.next(), Some(["1", "null", "alone"]));
    assert_eq!(without_times.next(), Some(["2", "b", "last"]));
    assert_eq!(fixture.run("topics write nowhere").code, 1);
    assert_eq!(fixture.run("topics write lines --partition 1").code, 1);
    Ok(())
}

/// What `topics read` prints can be written again, and is the same.
#[test]
fn json_objects_become_records() -> Result<()> {
    let fixture = Fixture::new()?;
    fixture.run("topics create one --partitions 3");
    let lines = "{\"key\":\"k\",\"value\":{\"x\": 1.50},\"timestamp\":7,\
                 \"headers\":[[\"unit\",\"g\"],[\"none\",null]]}\n\
                 {\"value\":null,\"key\":\"\\u00e9\",\"timestamp\":8}\n";
    assert_eq!(fixture.answer("topics write one --json", lines).code, 0);
    let read = fixture.run("topics read one -o json").out;
    assert!(read.contains("\"timestamp\":7,\"key\":\"k\",\"value\":{\"x\": 1.50},\"headers\":[[\"unit\",\"g\"],[\"none\",null]]"), "{read}");
    assert!(
        read.contains("\"timestamp\":8,\"key\":\"é\",\"value\":null"),
        "{read}"
    );
    fixture.run("topics create two --partitions 3");
    assert_eq!(fixture.answer("topics write two --json", &read).code, 0);
    let again = fixture.run("topics read two -o json").out;
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&again), sorted(&read));
    for (line, reason) in [
        ("{\"key\":\"k\"}", "it has no value"),
        ("{\"key\":1,\"value\":1}", "its key is no text"),
        (
            "{\"value\":1,\"timestamp\":\"now\"}",
            "its timestamp is no integer",
        ),
        ("{\"value\":1,\"headers\":[1]}", "its headers are no list"),
        ("{\"value\":", "malformed JSON"),
    ] {
        let refused = fixture.answer("topics write one --json", line);
        assert_eq!(refused.code, 1, "{line}");
        assert!(refused.err.contains(reason), "{line}: {}", refused.err);
        assert!(refused.err.contains("line=`1`"), "{line}: {}", refused.err);
    }
    Ok(())
}

/// Runs a job that sums by windows, and sends what it cannot add to dead letters.
fn run_job(fixture: &Fixture, name: &str) -> Result<u64> {
    let sum = Aggregate {
        output: "total".into(),
        function: AggregateFunction::Sum,
        input: Some(col("x")),
    };
    let frame = DataFrame::topic("readings")
        .window(WindowSpec {
            aggregates: vec![sum],
            ..WindowSpec::new(WindowLength::Tumbling { size_ms: 1_000 })
        })
        .to_topic("sums");
    let settings = Settings {
        on_data_error: ErrorPolicy::DeadLetter,
        ..Settings::new(name)
    };
    let log: Arc<dyn Log> = Arc::clone(&fixture.log) as Arc<dyn Log>;
    let options = RunOptions {
        timeout: Some(std::time::Duration::from_millis(150)),
        ..RunOptions::default()
    };
    let report = Application::in_process(log, settings).run_frames(&[frame], &options)?;
    Ok(report.records_in)
}

#[test]
fn state_is_shown_up_to_the_last_commit() -> Result<()> {
    let fixture = Fixture::new()?;
    let rows = [
        ("car", r#"{"x":2}"#, 1_500),
        ("car", r#"{"x":3}"#, 1_600),
        ("bike", r#"{"x":1.5}"#, 1_000),
    ];
    headwater::produce(&*fixture.log, "readings", rows)?;
    run_job(&fixture, "sums")?;
    fixture.check(
        "state scan sums",
        &[
            "STORE                           KIND    PARTITIONS  ENTRIES",
            "readings--tumbling_window_1000  window  1           2",
        ],
    );
    let store = "readings--tumbling_window_1000";
    let line = |key: &str, sum: &str, latest: u64| {
        format!(
            "{{\"store\":\"{store}\",\"partition\":0,\"key\":\"{key}\",\"kind\":\"window\",\
             \"start_ms\":1000,\"sum\":{sum},\"latest_ms\":{latest},\"moved_ms\":"
        )
    };
    let answer = fixture.run(&format!("state scan sums --store {store} -o json"));
    let mut lines = answer.out.lines();
    for (key, sum, latest) in [("car", "5", 1_600), ("bike", "1.5", 1_000)] {
        let expected = line(key, sum, latest);
        assert!(
            lines.any(|line| line.starts_with(&expected)),
            "{expected}: {}",
            answer.out
        );
        lines = answer.out.lines();
    }
    let one = fixture.run("state get sums car --output json");
    assert!(one.out.starts_with(&line("car", "5", 1_600)), "{}", one.out);
    assert_eq!(one.out.lines().count(), 1);
    let limited = fixture.run(&format!("state scan sums --store {store} --count 1"));
    assert_eq!(limited.out.lines().count(), 2, "{}", limited.out);
    // What has been appended and not committed is no state.
    let mut stray = RecordsBuilder::default();
    stray.push(Some(b"\x02broken"), Some(b"broken"), 0, None);
    fixture.append(&format!("changelog__sums--{store}"), 0, stray)?;
    assert_eq!(fixture.run("state get sums car --output json"), one);
    fixture.check_error(
        "state get sums car --store other",
        &[
            "error: the application has no such store application=`sums` store=`other`",
            &format!("hint: its stores are: {store}"),
        ],
    );
    assert_eq!(fixture.run("state scan nobody").code, 1);
    Ok(())
}

#[test]
fn dead_letters_are_shown_and_sent_back_once() -> Result<()> {
    let fixture = Fixture::new()?;
    let rows = [
        ("car", r#"{"x":1}"#, 1_500),
        ("car", r#"{"x":"two"}"#, 1_600),
        ("car", r#"{"x":"#, 1_700),
    ];
    headwater::produce(&*fixture.log, "readings", rows)?;
    assert_eq!(run_job(&fixture, "sums")?, 3);
    let error = "cannot add `two` to a sum";
    let list = fixture.run("dlq list");
    assert!(
        list.out
            .contains("readings.dead-letter  2        0         malformed JSON"),
        "{}",
        list.out
    );
    let table = fixture.run("dlq show readings").out;
    let rows: Vec<&str> = table.lines().collect();
    assert!(
        rows[0].starts_with("OFFSET  FROM           ERROR"),
        "{table}"
    );
    assert!(rows[1].starts_with("0       readings[0]@1  "), "{table}");
    assert!(
        rows[1].contains("tumbling window of 1000 ms"),
        "{table} {error}"
    );
    assert!(
        rows[1].ends_with("no        car  {\"x\":\"two\"}"),
        "{table}"
    );
    let json = fixture
        .run("dlq show readings.dead-letter --offset 1 -o json")
        .out;
    assert!(json.starts_with("{\"partition\":0,\"offset\":1,\"from_topic\":\"readings\",\"from_partition\":0,\"from_offset\":\"2\",\"error\":\"malformed JSON"), "{json}");
    assert!(json.contains("\"is_record\":true,\"is_replayed\":false,\"timestamp\":1700,\"key\":\"car\",\"value\":\"{\\\"x\\\":\",\"headers\":[]}"), "{json}");

    let refused = fixture.answer("dlq replay readings", "n\n");
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert!(
        refused.err.starts_with(
            "send 2 dead letters of `readings.dead-letter` to the topics that they came from? [y/N]"
        ),
        "{}",
        refused.err
    );
    fixture.check("dlq replay readings --offset 1 --yes", &["1 sent"]);
    fixture.check("dlq replay readings --yes", &["1 sent"]);
    let again = fixture.run("dlq replay readings --yes");
    assert_eq!((again.code, again.out.as_str()), (0, "0 sent\n"));
    let sent = fixture.run("topics read readings -o json --from 3").out;
    let lines: Vec<&str> = sent.lines().collect();
    let replayed = |offset: u32| {
        format!("\"headers\":[[\"headwater.replayed\",\"readings.dead-letter[0]@{offset}\"]]}}")
    };
    assert!(lines[0].ends_with(&replayed(1)), "{sent}");
    assert!(
        lines[1].contains("\"key\":\"car\",\"value\":{\"x\":\"two\"}"),
        "{sent}"
    );
    assert!(lines[1].ends_with(&replayed(0)), "{sent}");
    assert_eq!(lines.len(), 2);
    // They fail again, and are new letters.
    assert_eq!(run_job(&fixture, "sums")?, 2);
    let list = fixture.run("dlq list").out;
    assert!(list.contains("readings.dead-letter  4        2 "), "{list}");
    fixture.run("topics create elsewhere");
    fixture.check(
        "dlq replay readings --again --to elsewhere --yes",
        &["4 sent"],
    );
    fixture.check_error(
        "dlq replay readings --offset 9 --yes",
        &["error: there is no such dead letter topic=`readings.dead-letter` offset=`9`"],
    );
    // Who replays is no application.
    let groups = fixture.run("groups list").out;
    assert_eq!(groups.lines().count(), 2, "{groups}");
    Ok(())
}

/// A window's result that failed does not belong into the window's input.
#[test]
fn a_failed_result_is_sent_only_where_it_is_told_to() -> Result<()> {
    let fixture = Fixture::new()?;
    let log: Arc<dyn Log> = Arc::clone(&fixture.log) as Arc<dyn Log>;
    let rows = [("k", r#"{"x":1}"#, 0), ("k", r#"{"x":1}"#, 5_000)];
    headwater::produce(&*log, "readings", rows)?;
    let count = Aggregate {
        output: "n".into(),
        function: AggregateFunction::Count,
        input: None,
    };
    let frame = DataFrame::topic("readings")
        .window(WindowSpec {
            aggregates: vec![count],
            ..WindowSpec::new(WindowLength::Tumbling { size_ms: 1_000 })
        })
        .assign("bad", col("n") + "text");
    let settings = Settings {
        on_data_error: ErrorPolicy::DeadLetter,
        ..Settings::new("job")
    };
    let options = RunOptions {
        timeout: Some(std::time::Duration::from_millis(150)),
        ..RunOptions::default()
    };
    Application::in_process(log, settings).run_frames(&[frame], &options)?;
    let nowhere = fixture.run("dlq replay readings --yes");
    assert_eq!((nowhere.code, nowhere.out.as_str()), (0, "0 sent\n"));
    assert!(
        nowhere.err.contains("1 are no input records"),
        "{}",
        nowhere.err
    );
    fixture.run("topics create repaired");
    fixture.check("dlq replay readings --to repaired --yes", &["1 sent"]);
    let sent = fixture.run("topics read repaired").out;
    assert!(sent.contains("{\"start\":0,\"end\":1000,\"n\":1"), "{sent}");
    Ok(())
}

#[test]
fn settings_of_a_client_need_a_cluster() -> Result<()> {
    let fixture = Fixture::new()?;
    fixture.check_error(
        "topics list --config a=b",
        &[
            "error: settings of a client are for a cluster",
            "hint: name it with --broker or HEADWATER_BROKER",
        ],
    );
    assert_eq!(fixture.run("topics list --broker a:1").code, 2);
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
