//! A stateful, windowed job from a CSV file to topics and files, killed with
//! SIGKILL at random moments, loses nothing and repeats nothing.
//!
//! `HEADWATER_KILLS` sets how often, `HEADWATER_SEED` when. A third of the kills
//! come within the first 200 ms of a process, a third as soon as a sink's file
//! has grown, which is between its flush and the commit, the rest at any time.

mod support;

use headwater::core::env::Env;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;
use support::Seed;
use support::lap_job::{
    STATE_MEMORY, check, child_directory, finish, open, run, start, start_by, uncommitted_bytes,
    write_input,
};

/// In bytes: some of the job's state is on disk only.
const HARDLY_ANY: &str = "600";

/// Whether any store of the job has a part on disk.
fn has_spilled(directory: &Path) -> bool {
    let storage = Env::system().storage;
    let state = directory.join("log/state/app-job/laps-0");
    let stores = storage.list(&state).expect("lists");
    stores.iter().any(|store| {
        let files = storage.list(&state.join(store)).expect("lists");
        files.iter().any(|file| file.starts_with("manifest-"))
    })
}

#[test]
fn child_runs_the_job() {
    let Some(directory) = child_directory() else {
        return;
    };
    run(&directory);
}

fn wait_to_kill(directory: &Path, kill: u64, seed: &mut Seed, child: &mut Child) {
    let clock = Env::system().clock;
    let pause = match kill % 3 {
        0 => seed.below(200_000),
        1 => {
            let path = directory.join("rows.jsonl");
            let len = || std::fs::metadata(&path).map_or(0, |file| file.len());
            clock.sleep(Duration::from_millis(seed.below(150)));
            let (before, give_up) = (len(), clock.monotonic() + Duration::from_secs(5));
            while len() == before
                && matches!(child.try_wait(), Ok(None))
                && clock.monotonic() < give_up
            {
                clock.sleep(Duration::from_micros(50));
            }
            seed.below(3) * seed.below(400)
        }
        _ => seed.below(400_000),
    };
    clock.sleep(Duration::from_micros(pause));
}

#[test]
fn a_killed_job_loses_nothing_and_repeats_nothing() {
    let kills = support::number("HEADWATER_KILLS", 20);
    let seed = support::number("HEADWATER_SEED", 0xdead);
    let mut random = Seed(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path();
    let input = write_input(directory, &mut random, kills * 2_500);
    let (mut alive, mut between) = (0, 0);
    for kill in 0..kills {
        // The next start may have more memory or less.
        let mut command = Command::new(std::env::current_exe().expect("a path"));
        if kill % 2 == 1 {
            command.env(STATE_MEMORY, HARDLY_ANY);
        }
        let mut child = start_by(command, directory);
        wait_to_kill(directory, kill, &mut random, &mut child);
        let ended = child.try_wait().expect("waits");
        alive += u64::from(ended.is_none());
        if ended.is_some_and(|status| !status.success()) {
            let output = child.wait_with_output().expect("waits");
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            panic!("the job failed: {text} HEADWATER_SEED={seed} kill={kill}");
        }
        child.kill().expect("kills");
        child.wait().expect("waits");
        between += u64::from(uncommitted_bytes(directory) > 0);
    }
    finish(directory, seed);
    assert!(has_spilled(directory), "some state is on disk");
    println!("{kills} kills, {alive} of a living job, {between} between flush and commit");
    let records = input.len();
    assert!(
        kills * 3 / 4 <= alive,
        "too few kills met a living job: {alive}"
    );
    check(directory, &input);
    let again = start(directory).wait_with_output().expect("waits");
    assert!(
        String::from_utf8_lossy(&again.stdout).contains("> done 0"),
        "a finished file adds nothing"
    );
    check(directory, &input);
    println!(
        "trust: what=kill-rust-job count={kills} seeds={seed}..{} records={records} \
         faults={between} failures=0",
        seed + 1
    );
}

/// A disk that is full while the job runs, in the form of a limit to the size of
/// files: the job says so and tries again, and nothing is lost.
#[test]
fn a_full_disk_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path();
    let input = write_input(directory, &mut Seed(7), 12_000);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 800; exec \"$0\" \"$@\""]);
    command.arg(std::env::current_exe().expect("a path"));
    let mut child = start_by(command, directory);
    Env::system().clock.sleep(Duration::from_secs(3));
    child.kill().expect("kills");
    let output = child.wait_with_output().expect("waits");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("starting again from the last commit"),
        "{said}"
    );
    assert!(
        said.contains("log.db") || said.contains("jsonl"),
        "names the file: {said}"
    );
    finish(directory, 7);
    check(directory, &input);
}

/// The first start makes the log, its topics and the sinks' files; whichever of
/// them is half made, the next start goes on.
#[test]
fn a_job_killed_at_its_first_start_can_start_again() {
    let seed = support::number("HEADWATER_SEED", 0xbeef);
    let mut random = Seed(seed);
    let starts = support::number("HEADWATER_KILLS", 20);
    for kill in 0..starts {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = folder.path();
        let input = write_input(directory, &mut random, 50);
        for _ in 0..3 {
            let mut child = start(directory);
            let pause = Duration::from_micros(random.below(30_000));
            Env::system().clock.sleep(pause);
            child.kill().expect("kills");
            child.wait().expect("waits");
        }
        open(directory);
        if kill % 4 == 0 {
            finish(directory, seed);
            check(directory, &input);
        }
    }
    println!(
        "trust: what=kill-first-start count={} seeds={seed}..{} faults={} failures=0",
        3 * starts,
        seed + 1,
        3 * starts
    );
}
