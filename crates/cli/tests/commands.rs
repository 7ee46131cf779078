//! What each command prints, on a log in a temporary directory.

mod support;

use headwater::Result;
use headwater::log::Log;
use headwater_cli::{Console, run};
use std::io::Write;
use support::{Fixture, run_in};

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
    // What stands before a line that is refused is written, and the line is named.
    let refused = fixture.answer("topics write lines --json", "{\"value\":1}\n\n{\"key\":\n");
    assert_eq!(refused.code, 1);
    assert!(
        refused.err.starts_with("1 records written to `lines`\n"),
        "{}",
        refused.err
    );
    assert!(refused.err.contains("line=`3`"), "{}", refused.err);
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
