//! The power is cut while a job writes: every acknowledged record is on the disk,
//! and the log opens by itself. See `support/image.rs` for how.
//!
//! `HEADWATER_POWER_CUTS` says how often, `HEADWATER_SEED` when.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failure ends the test")]

mod support;

use headwater_core::env::Env;
use std::sync::mpsc;
use std::time::Duration;
use support::image::{Image, freeze, say_untested, signal, thaw};
use support::job::{Job, SEED, Said, check};
use support::*;

/// A file system lives for so many cuts, so that it stays small.
const CUTS_EACH: u64 = 5;
const MEBIBYTES: u64 = 96;

#[test]
fn child_works_until_it_is_killed() {
    let Some(directory) = child_directory() else {
        return;
    };
    let seed = setting(SEED, 0);
    let mut job = Job::start(&directory).unwrap();
    loop {
        job.step(seed).unwrap();
        // Or the file system is soon full.
        Env::system().clock.sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    let cuts = setting("HEADWATER_POWER_CUTS", 20);
    let first = setting("HEADWATER_SEED", 0x0ff0ff);
    let mut seed = first;
    println!("HEADWATER_SEED={seed}");
    let (mut done, mut written, mut void) = (0, 0, 0);
    while done + void < cuts {
        let image = match Image::new(MEBIBYTES) {
            Ok(image) => image,
            Err(why) => return say_untested(&why),
        };
        let directory = image.directory().join("log");
        let job_seed = random(&mut seed);
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.env(SEED, job_seed.to_string());
        let name = "child_works_until_it_is_killed";
        let mut child = Process::start_by(command, name, &directory);
        let process = child.child.id();
        let (sender, lines) = mpsc::channel();
        let listener = std::thread::spawn(move || {
            while let Some(line) = child.line() {
                sender.send(line).unwrap();
            }
            child.child.wait().unwrap();
        });
        let mut said = Said::default();
        for _ in 0..CUTS_EACH {
            let pause = Duration::from_micros(random(&mut seed) % 80_000);
            Env::system().clock.sleep(pause);
            freeze(process);
            let copy = image.cut_power();
            // All of it was said before the cut.
            lines.try_iter().for_each(|line| said.hear(&line));
            thaw(process);
            let Some(copy) = copy else {
                void += 1;
                continue;
            };
            let place = format!("cut {done}, job {job_seed}");
            check(&copy.directory().join("log"), job_seed, &said, &place);
            done += 1;
            written += u64::from(said.has_written());
        }
        signal(process, "KILL");
        listener.join().unwrap();
    }
    println!("{done} cuts, {written} of them of a job that had written, {void} void");
    assert!(
        void * 10 <= cuts,
        "most copies can be mounted: {void} cannot"
    );
    assert!(
        written * 2 >= done,
        "most cuts find something: {written} of {done}"
    );
    let after = first + 1;
    println!("trust: what=power-cut count={done} seeds={first}..{after} faults={done} failures=0");
}

/// What the other test relies on: without a sync, nothing is there.
#[test]
fn what_was_not_synced_does_not_survive() {
    let image = match Image::new(16) {
        Ok(image) => image,
        Err(why) => return say_untested(&why),
    };
    let directory = image.directory();
    std::fs::write(directory.join("synced"), "kept").unwrap();
    std::fs::File::open(directory.join("synced"))
        .unwrap()
        .sync_all()
        .unwrap();
    std::fs::write(directory.join("lost"), "lost").unwrap();
    let copy = image.cut_power().unwrap();
    let kept = std::fs::read_to_string(copy.directory().join("synced"));
    assert_eq!(kept.unwrap(), "kept");
    let lost = std::fs::read_to_string(copy.directory().join("lost"));
    assert!(lost.is_err() || lost.unwrap().is_empty());
}
