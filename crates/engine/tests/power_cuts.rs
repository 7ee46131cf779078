//! The power is cut while a job with state, windows and file sinks runs: it starts
//! again from what is on the disk, loses nothing and repeats nothing, in topics and
//! in files.
//!
//! `HEADWATER_POWER_CUTS` says how often, `HEADWATER_SEED` when.

#![cfg(target_os = "linux")]

mod support;

use headwater::core::env::Env;
use std::path::Path;
use std::time::Duration;
use support::Seed;
use support::image::{Image, freeze, say_untested, thaw};
use support::lap_job::{
    check, child_directory, finish, run, start, uncommitted_bytes, write_input,
};

const MEBIBYTES: u64 = 64;
/// Some 300 ms of work for the job.
const ROWS: u64 = 2_000;

#[test]
fn child_runs_the_job() {
    let Some(directory) = child_directory() else {
        return;
    };
    run(&directory);
}

fn sync(path: &Path) {
    let file = std::fs::File::open(path).expect("opens");
    file.sync_all().expect("syncs");
}

#[test]
fn a_job_goes_on_after_a_power_cut() {
    let cuts = support::number("HEADWATER_POWER_CUTS", 6);
    let seed = support::number("HEADWATER_SEED", 0xc0de);
    let mut random = Seed(seed);
    let (mut done, mut void, mut begun, mut beyond) = (0, 0, 0, 0);
    while done + void < cuts {
        let image = match Image::new(MEBIBYTES) {
            Ok(image) => image,
            Err(why) => return say_untested(&why),
        };
        let directory = image.directory().join("job");
        std::fs::create_dir(&directory).expect("a folder");
        let input = write_input(&directory, &mut random, ROWS);
        sync(&directory.join("input.csv"));
        sync(&directory);
        sync(&image.directory());
        let mut child = start(&directory);
        for _ in 0..3 {
            let pause = Duration::from_micros(random.below(150_000));
            Env::system().clock.sleep(pause);
            freeze(child.id());
            let copy = image.cut_power();
            thaw(child.id());
            let Some(copy) = copy else {
                void += 1;
                continue;
            };
            let left = copy.directory().join("job");
            begun += u64::from(left.join("log/log.db").exists());
            // A file is never shorter than what is committed of it.
            beyond += u64::from(uncommitted_bytes(&left) > 0);
            finish(&left, seed);
            check(&left, &input);
            done += 1;
        }
        child.kill().expect("kills");
        child.wait().expect("waits");
    }
    println!("{done} cuts, {begun} after the start, {beyond} with rows not committed, {void} void");
    assert!(
        void * 10 <= cuts,
        "most copies can be mounted: {void} cannot"
    );
    assert!(begun * 2 >= done, "most cuts find a job: {begun} of {done}");
    let after = seed + 1;
    println!(
        "trust: what=power-cut-job count={done} seeds={seed}..{after} faults={done} failures=0"
    );
}
