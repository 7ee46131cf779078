//! The lines of a file, with the place after each.

use crate::file::{FileReader, file_error};
use headwater_core::{Error, Result};
use std::io::Read;
use std::path::PathBuf;

/// The bytes read at once.
const CHUNK_BYTES: usize = 256 << 10;
/// A longer line is not read: it is no record, but a file without line breaks.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Reads lines from one place on.
pub(crate) struct Lines {
    pub(crate) reader: FileReader,
    path: PathBuf,
    buffer: Vec<u8>,
    /// Where the next line starts in the buffer.
    start: usize,
    /// The bytes of it that hold no line break.
    searched: usize,
    /// The place of the next line in the file.
    pub(crate) offset: u64,
    /// Its number, from 1.
    pub(crate) line: u64,
}

impl Lines {
    pub(crate) fn new(reader: FileReader, path: PathBuf, offset: u64, line: u64) -> Lines {
        let reader = reader.at(offset, b"");
        Lines {
            reader,
            path,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            offset,
            line,
        }
    }

    /// The next line without its break; `None` at the end of the file. A last
    /// line that has no break counts if `takes_torn`, else it is not there yet.
    ///
    /// # Errors
    /// `Invalid` for a line that is too long: it is no record.
    pub(crate) fn next(&mut self, takes_torn: bool) -> Result<Option<&[u8]>> {
        loop {
            let rest = &self.buffer[self.start..];
            if let Some(at) = memchr::memchr(b'\n', &rest[self.searched..]) {
                let len = self.searched + at;
                return Ok(Some(self.take(len, 1)));
            }
            let len = rest.len();
            if len > LINE_BYTES_MAX {
                return Err(Error::invalid(format!(
                    "a line of the file is too long to be a record bytes_max=`{LINE_BYTES_MAX}` \
                     line=`{}:{}`",
                    self.path.display(),
                    self.line
                )));
            }
            self.searched = len;
            if self.fill()? > 0 {
                continue;
            }
            if len == 0 || !takes_torn {
                return Ok(None);
            }
            return Ok(Some(self.take(len, 0)));
        }
    }

    fn take(&mut self, len: usize, break_len: usize) -> &[u8] {
        let start = self.start;
        self.start += len + break_len;
        self.searched = 0;
        self.offset += (len + break_len) as u64;
        self.line += 1;
        let line = &self.buffer[start..start + len];
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// Reads on; 0 is the end of the file as it is now.
    fn fill(&mut self) -> Result<usize> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let len = self.buffer.len();
        self.buffer.resize(len + CHUNK_BYTES, 0);
        let read = loop {
            match self.reader.read(&mut self.buffer[len..]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(len + *read.as_ref().unwrap_or(&0));
        read.map_err(|error| file_error("read", &self.path, error))
    }
}
