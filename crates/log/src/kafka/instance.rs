//! What tells a process from the others of its group, and stays after a restart.
//!
//! Transactional ids are made of it. A name that another living process has would
//! fence that process, and one that changes with every start would leave the
//! transaction of a crashed predecessor open until the brokers give it up, with all
//! readers waiting. So by default it is the host's name and the first free slot: a
//! file that is locked as long as the member lives, which the system unlocks when
//! the process dies.

use headwater_core::{Error, Result};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// No host runs more processes of one application.
const SLOTS_MAX: usize = 10_000;

/// How a process gets its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instance {
    /// The user has named it.
    Named(String),
    /// The host's name and the first slot that is free in this directory.
    Slot(PathBuf),
}

/// A name, held as long as this lives.
pub(super) struct Identity {
    pub(super) name: String,
    _slot: Option<File>,
}

impl Instance {
    /// Takes the name for a member of `group`.
    ///
    /// # Errors
    /// `Invalid` if the directory cannot be written.
    pub(super) fn claim(&self, group: &str) -> Result<Identity> {
        let directory = match self {
            Instance::Named(name) => {
                return Ok(Identity {
                    name: name.clone(),
                    _slot: None,
                });
            }
            Instance::Slot(directory) => directory.join("instances"),
        };
        let failed = |path: &Path, error: std::io::Error| {
            Error::invalid(format!(
                "this process cannot be told from others of its application: {error} \
                 file=`{}`\nhint: choose a directory that can be written, by HEADWATER_DIR",
                path.display()
            ))
            .with_source(error)
        };
        std::fs::create_dir_all(&directory).map_err(|error| failed(&directory, error))?;
        for slot in 0..SLOTS_MAX {
            let path = directory.join(format!("{group}.{slot}.lock"));
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .map_err(|error| failed(&path, error))?;
            match file.try_lock() {
                Ok(()) => {
                    let host = rustix::system::uname();
                    let host = host.nodename().to_string_lossy();
                    return Ok(Identity {
                        name: format!("{host}-{slot}"),
                        _slot: Some(file),
                    });
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(failed(&path, error)),
            }
        }
        Err(Error::invalid(format!(
            "too many processes of one application on this host application=`{group}` \
             max=`{SLOTS_MAX}`"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_held_while_its_member_lives() {
        let folder = tempfile::tempdir().unwrap();
        let instance = Instance::Slot(folder.path().into());
        let slot = |identity: &Identity| identity.name.rsplit('-').next().unwrap().to_owned();
        let first = instance.claim("a").unwrap();
        let second = instance.claim("a").unwrap();
        let other = instance.claim("b").unwrap();
        assert_eq!([slot(&first), slot(&second), slot(&other)], ["0", "1", "0"]);
        drop(first);
        assert_eq!(slot(&instance.claim("a").unwrap()), "0");
        let named = Instance::Named("blue".into()).claim("a").unwrap();
        assert_eq!(named.name, "blue");
    }
}
