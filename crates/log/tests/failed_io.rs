//! The Nth input or output fails, for every N of a script: nothing that was
//! acknowledged is lost, nothing else is half there, and nobody panics or hangs.
//!
//! The script runs in a process of its own, under a shim that `cc` builds from
//! `support/fail_io.c`. Failures take turns: `EIO` once, `ENOSPC` once, a short
//! write, a disk that is dead from then on. `HEADWATER_FAIL_SCRIPTS` says how many
//! scripts are run, each with another seed (`HEADWATER_SEED` and up) and other
//! turns.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failure ends the test")]

mod support;

use headwater_core::Class;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::job::{Job, SEED, Said, check};
use support::*;

const STEPS: u64 = 12;
const HOWS: [&str; 4] = ["eio", "enospc", "short", "dead"];

/// After so many failures in a row the script gives up, as a user would.
const FAILURES_MAX: u32 = 4;

/// Builds the shim.
fn build_shim(directory: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/fail_io.c");
    let shim = directory.join("fail_io.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .args([&shim, &source])
        .arg("-ldl")
        .status()
        .expect("there is a C compiler: SQLite needs one too");
    assert!(built.success());
    shim
}

#[test]
fn child_runs_the_script() {
    let Some(directory) = child_directory() else {
        return;
    };
    let seed = setting(SEED, 0);
    let mut failures = 0;
    while failures < FAILURES_MAX {
        let run = Job::start(&directory).and_then(|mut job| {
            while job.next < STEPS {
                job.step(seed)?;
                failures = 0;
            }
            Ok(())
        });
        match run {
            Ok(()) => {
                say("done");
                return;
            }
            Err(error) => {
                say(format!("failed {:?}: {error}", error.class()).replace('\n', " "));
                assert_ne!(
                    error.class(),
                    Class::Fenced,
                    "nobody else is there: {error}"
                );
                failures += 1;
            }
        }
    }
    say("gave up");
}

/// Runs the script; what it said, and how many calls could have failed.
fn run_script(shim: &Path, directory: &Path, seed: u64, fail_at: u64, how: &str) -> (Said, u64) {
    let count = shim.with_extension("count");
    let mut command = Command::new("timeout");
    command
        .args(["--signal=KILL", "60"])
        .arg(std::env::current_exe().unwrap())
        .env("LD_PRELOAD", shim)
        .env("HEADWATER_FAIL_UNDER", directory)
        .env("HEADWATER_FAIL_AT", fail_at.to_string())
        .env("HEADWATER_FAIL_HOW", how)
        .env("HEADWATER_FAIL_COUNT", &count)
        .env(SEED, seed.to_string());
    let mut child = Process::start_by(command, "child_runs_the_script", directory);
    let mut said = Said::default();
    while let Some(line) = child.line() {
        said.hear(&line);
    }
    let status = child.child.wait().unwrap();
    assert!(
        status.success(),
        "the script ended by {status} (137 is a hang): seed={seed} N={fail_at} {how} {said:?}"
    );
    let calls = std::fs::read_to_string(&count).unwrap();
    (said, calls.parse().unwrap())
}

#[test]
fn whichever_io_fails_nothing_acknowledged_is_lost() {
    let scripts = setting("HEADWATER_FAIL_SCRIPTS", 1);
    let first_seed = setting("HEADWATER_SEED", 0x10_fa11);
    let tools = tempfile::tempdir().unwrap();
    let shim = build_shim(tools.path());
    let (mut runs, mut faults, mut unharmed) = (0, 0, 0);
    for script in 0..scripts {
        let seed = first_seed + script;
        println!("script {script}: HEADWATER_SEED={seed}");
        let mut calls = BTreeMap::new();
        for how in HOWS {
            let directory = memory_directory();
            let (said, count) = run_script(&shim, directory.path(), seed, 0, how);
            assert!(said.is_done && said.failures.is_empty(), "{said:?}");
            check(directory.path(), seed, &said, "without a fault");
            calls.insert(how, count);
        }
        println!("counted: {calls:?}");
        for number in 1..=calls[HOWS[0]] {
            let how = HOWS[((number + script) % HOWS.len() as u64) as usize];
            // Fewer calls count where only some can fail in this way.
            let fail_at = (number - 1) % calls[how] + 1;
            let directory = memory_directory();
            let (said, _) = run_script(&shim, directory.path(), seed, fail_at, how);
            let place = format!("seed={seed} N={fail_at} {how} {:?}", said.fault);
            check(directory.path(), seed, &said, &place);
            runs += 1;
            faults += u64::from(said.fault.is_some());
            unharmed += u64::from(said.is_done && said.failures.is_empty());
            assert!(said.is_done || how == "dead", "{place}: {said:?}");
        }
    }
    println!("{runs} runs, {faults} faults, {unharmed} runs did not notice");
    assert!(faults * 10 >= runs * 9, "the faults fire");
    println!(
        "trust: what=failed-io count={runs} seeds={first_seed}..{} faults={faults} failures=0",
        first_seed + scripts
    );
}
