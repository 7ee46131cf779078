//! A file system of its own on a file, whose power can be cut.
//!
//! What a power cut leaves is what has reached the file behind the loop device: a
//! copy of it, taken while the writer is frozen, is mounted elsewhere. The system
//! writes back nothing by itself for five minutes (`commit=300`), so what was not
//! synced is missing from the copy. It takes root and loop devices.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use headwater_core::env::Env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

const PREFIX: &str = "headwater-power-cut-";

/// A file system that is mounted until this is dropped, a panic included.
pub struct Image {
    folder: tempfile::TempDir,
}

impl Image {
    /// A new one, or why there cannot be one on this machine.
    pub fn new(mebibytes: u64) -> Result<Image, String> {
        sweep();
        let folder = Image::folder()?;
        let image = Image { folder };
        let file = std::fs::File::create(image.file()).map_err(|error| error.to_string())?;
        file.set_len(mebibytes << 20)
            .map_err(|error| error.to_string())?;
        // Only root may fill a small rest, and the journal is as small as can be.
        run("mkfs.ext4", &["-q", "-F", "-J", "size=4"], &[&image.file()])?;
        image.mount()?;
        Ok(image)
    }

    /// What a power cut would leave now; `None` if the copy cannot be mounted,
    /// because the system was writing while it was made.
    pub fn cut_power(&self) -> Option<Image> {
        let copy = Image {
            folder: Image::folder().ok()?,
        };
        run("cp", &["--sparse=always"], &[&self.file(), &copy.file()]).ok()?;
        copy.mount().ok()?;
        Some(copy)
    }

    /// Where it is mounted.
    pub fn directory(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn folder() -> Result<tempfile::TempDir, String> {
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix(&prefix);
        // In memory, if the system has that: it is copied often.
        let folder = builder
            .tempdir_in("/dev/shm")
            .or_else(|_| builder.tempdir());
        folder.map_err(|error| error.to_string())
    }

    fn mount(&self) -> Result<(), String> {
        let directory = self.directory();
        std::fs::create_dir(&directory).map_err(|error| error.to_string())?;
        run(
            "mount",
            &["-o", "loop,commit=300,noatime"],
            &[&self.file(), &directory],
        )
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        unmount(&self.directory());
    }
}

fn run(program: &str, options: &[&str], paths: &[&Path]) -> Result<(), String> {
    let output = Command::new(program).args(options).args(paths).output();
    match output {
        Ok(Output { status, .. }) if status.success() => Ok(()),
        Ok(output) => Err(format!(
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

fn unmount(directory: &Path) {
    if run("umount", &[], &[directory]).is_err() {
        let _ = run("umount", &["--lazy"], &[directory]);
    }
}

/// Unmounts what a test left that was killed itself.
fn sweep() {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    for directory in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        let Some((_, rest)) = directory.split_once(PREFIX) else {
            continue;
        };
        let process = rest.split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(process).exists() {
            unmount(directory.as_ref());
            if let Some(folder) = Path::new(directory).parent() {
                let _ = std::fs::remove_dir_all(folder);
            }
        }
    }
}

/// Stops all threads of a process, and returns once they stand.
pub fn freeze(process: u32) {
    signal(process, "STOP");
    let is_running = |task: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        // The state follows the name, which is in parentheses.
        let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
        state.is_some_and(|state| !state.starts_with(['T', 'Z', 'X']))
    };
    let tasks = PathBuf::from(format!("/proc/{process}/task"));
    while std::fs::read_dir(&tasks).is_ok_and(|tasks| tasks.flatten().any(is_running)) {
        Env::system().clock.sleep(Duration::from_micros(200));
    }
}

/// Lets a frozen process go on.
pub fn thaw(process: u32) {
    signal(process, "CONT");
}

/// Sends a signal to a process.
pub fn signal(process: u32, name: &str) {
    let _ = Command::new("kill")
        .args([format!("-{name}"), process.to_string()])
        .status();
}

/// Says, past the harness that keeps what passing tests write, that there are no
/// images on this machine.
pub fn say_untested(why: &str) {
    use std::io::Write;
    let line = format!("NOT TESTED: power cuts need root, loop devices and mkfs.ext4: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}
