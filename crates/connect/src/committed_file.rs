//! A file whose length stands in the commit, which makes a sink exactly-once.
//!
//! What is written goes to the end of the file; the commit names the length
//! after it. Opened at a committed length, the file is cut back to it, so rows
//! of an epoch that was never committed are gone before it is repeated.

use crate::file::file_error;
use headwater_core::env::{Env, StorageFile};
use headwater_core::{Error, Result};
use std::path::{Path, PathBuf};

/// What a sink does with a file that was there before its first commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ExistingFile {
    /// It refuses one that is not empty.
    #[default]
    Refuse,
    /// It goes on after what is there.
    Append,
}

/// Bytes are kept up to this many before they are written.
const BUFFER_BYTES_MAX: usize = 1 << 20;
const VERSION: u8 = 1;

/// See the module.
pub(crate) struct CommittedFile {
    path: PathBuf,
    file: Option<Box<dyn StorageFile>>,
    buffer: Vec<u8>,
    /// With what is in the buffer.
    len: u64,
}

impl CommittedFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        CommittedFile {
            path,
            file: None,
            buffer: Vec::new(),
            len: 0,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The length, with what has been written since the last flush.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Opens the file and cuts it back to the length that `position` holds.
    ///
    /// # Errors
    /// `Invalid` if the file is shorter than that, or there is no position and
    /// the file is not empty, unless that is allowed.
    pub(crate) fn open(
        &mut self,
        env: &Env,
        position: Option<&[u8]>,
        existing: ExistingFile,
    ) -> Result<()> {
        self.file = None;
        self.buffer.clear();
        let path = &self.path;
        let open = env.storage.open_append(path);
        let mut file = open.map_err(|error| file_error("opened for writing", path, error))?;
        let len = file
            .len()
            .map_err(|error| file_error("read", path, error))?;
        let committed = match position {
            Some(position) => decode(position)?,
            None if len > 0 && existing == ExistingFile::Refuse => {
                return Err(Error::invalid(format!(
                    "the file is not empty, and this application has not written it file=`{}`\n\
                     hint: remove it, give another path, or choose to append",
                    path.display()
                )));
            }
            None => len,
        };
        if len < committed {
            return Err(Error::invalid(format!(
                "the file is shorter than what has been committed file=`{}` bytes=`{len}` \
                 committed=`{committed}`\n\
                 hint: restore the file, or give the sink another path and reset the application",
                path.display()
            )));
        }
        if committed < len {
            file.truncate(committed)
                .map_err(|error| file_error("cut back", path, error))?;
        }
        self.len = committed;
        if position.is_none() && len > 0 {
            end_line(&*file, len, &mut self.buffer)
                .map_err(|error| file_error("read", path, error))?;
            self.len += self.buffer.len() as u64;
        }
        self.file = Some(file);
        Ok(())
    }

    /// Takes bytes.
    ///
    /// # Errors
    /// `Unavailable` if the disk is full.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        self.len += bytes.len() as u64;
        if self.buffer.len() < BUFFER_BYTES_MAX {
            Ok(())
        } else {
            self.spill()
        }
    }

    /// Makes everything taken durable and returns the position after it.
    ///
    /// # Errors
    /// As [`CommittedFile::write`].
    pub(crate) fn flush(&mut self) -> Result<Vec<u8>> {
        self.spill()?;
        let file = open_file(&mut self.file)?;
        file.sync()
            .map_err(|error| file_error("synced", &self.path, error))?;
        let mut position = vec![VERSION];
        position.extend_from_slice(&self.len.to_be_bytes());
        Ok(position)
    }

    pub(crate) fn close(&mut self) {
        self.file = None;
        self.buffer.clear();
    }

    fn spill(&mut self) -> Result<()> {
        let file = open_file(&mut self.file)?;
        file.append(&self.buffer)
            .map_err(|error| file_error("written", &self.path, error))?;
        self.buffer.clear();
        Ok(())
    }
}

fn open_file(file: &mut Option<Box<dyn StorageFile>>) -> Result<&mut Box<dyn StorageFile>> {
    file.as_mut()
        .ok_or_else(|| Error::internal("a sink is written to that is not open"))
}

/// Somebody else's last line may lack its break.
fn end_line(file: &dyn StorageFile, len: u64, out: &mut Vec<u8>) -> std::io::Result<()> {
    let mut last = [0];
    if file.read_at(&mut last, len - 1)? == 1 && last != *b"\n" {
        out.push(b'\n');
    }
    Ok(())
}

fn decode(position: &[u8]) -> Result<u64> {
    let len = match position.split_first() {
        Some((&VERSION, len)) => len.try_into().ok().map(u64::from_be_bytes),
        _ => None,
    };
    len.ok_or_else(|| {
        Error::invalid(
            "the committed position is not one of this sink\n\
             hint: give the sink another name, or reset the application",
        )
    })
}
