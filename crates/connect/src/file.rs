//! A file that a source reads: its bytes from any place on, and the position
//! that says how far it has been read.

use headwater_core::env::{Env, StorageFile};
use headwater_core::{Class, DataError, Error, Result};
use std::io;
use std::path::{Path, PathBuf};

/// The bytes before a position that must be the same when reading goes on.
const TAIL_BYTES: usize = 64;

/// Says what failed on which file; keeps what to do about it.
pub(crate) fn file_error(doing: &str, path: &Path, error: io::Error) -> Error {
    let class = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory => {
            Class::Invalid
        }
        kind => Error::from(io::Error::from(kind)).class(),
    };
    let message = format!(
        "the file cannot be {doing}: {error} file=`{}`",
        path.display()
    );
    Error::new(class, message).with_source(error)
}

/// An error about one line of a file.
pub(crate) fn at_line(error: DataError, path: &Path, line: u64) -> DataError {
    let line = Some(format!("{}:{line}", path.display()));
    DataError { line, ..error }
}

/// How far a file has been read.
///
/// A length alone would go on in the middle of a row when somebody has put
/// another file in its place, so it is kept with what the file looked like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FilePlace {
    /// The bytes that have been read.
    pub(crate) offset: u64,
    /// The number of the line that follows, from 1.
    pub(crate) line: u64,
    /// What the kind of source must know besides: of CSV the fingerprint of the
    /// header, of JSON lines the time of the last record.
    pub(crate) detail: u64,
    /// The fingerprint of the bytes before `offset`.
    pub(crate) tail: u64,
}

impl FilePlace {
    const VERSION: u8 = 1;

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![Self::VERSION];
        for number in [self.offset, self.line, self.detail, self.tail] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    /// # Errors
    /// `Invalid` if another kind of source wrote it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<FilePlace> {
        let wrong = || {
            Error::invalid(
                "the committed position is not one of this source\n\
                 hint: give the source another name, or reset the application",
            )
        };
        let Some((&Self::VERSION, numbers)) = bytes.split_first() else {
            return Err(wrong());
        };
        let mut numbers = numbers.chunks_exact(8).map(|bytes| {
            u64::from_be_bytes(bytes.try_into().expect("a chunk of eight has eight bytes"))
        });
        let mut next = || numbers.next().ok_or_else(wrong);
        Ok(FilePlace {
            offset: next()?,
            line: next()?,
            detail: next()?,
            tail: next()?,
        })
    }
}

/// FNV-1a: tells files apart, and need not resist an attack.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A file open for reading, from one place on.
pub(crate) struct FileReader {
    file: Box<dyn StorageFile>,
    path: PathBuf,
    offset: u64,
    /// Stands before the bytes of the file.
    prefix: &'static [u8],
}

impl FileReader {
    pub(crate) fn open(env: &Env, path: &Path) -> Result<FileReader> {
        let file = env
            .storage
            .open(path)
            .map_err(|error| file_error("opened", path, error))?;
        Ok(FileReader {
            file,
            path: path.to_owned(),
            offset: 0,
            prefix: b"",
        })
    }

    /// Goes on at `offset`, as if `prefix` stood before it.
    pub(crate) fn at(self, offset: u64, prefix: &'static [u8]) -> FileReader {
        FileReader {
            offset,
            prefix,
            ..self
        }
    }

    /// The fingerprint of the bytes before `offset`.
    pub(crate) fn tail(&self, offset: u64) -> Result<u64> {
        let mut bytes = [0; TAIL_BYTES];
        let len = offset.min(TAIL_BYTES as u64) as usize;
        let found = self.bytes_at(offset - len as u64, &mut bytes[..len])?;
        Ok(fingerprint(&bytes[..found]))
    }

    /// The byte at `offset`, unless the file ends there.
    pub(crate) fn byte_at(&self, offset: u64) -> Result<Option<u8>> {
        let mut byte = [0];
        Ok((self.bytes_at(offset, &mut byte)? == 1).then_some(byte[0]))
    }

    /// The bytes from one place to another, as far as the file has them.
    pub(crate) fn range(&self, from: u64, to: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; to.saturating_sub(from) as usize];
        let found = self.bytes_at(from, &mut bytes)?;
        bytes.truncate(found);
        Ok(bytes)
    }

    fn bytes_at(&self, offset: u64, out: &mut [u8]) -> Result<usize> {
        let mut found = 0;
        while found < out.len() {
            match self.file.read_at(&mut out[found..], offset + found as u64) {
                Ok(0) => break,
                Ok(more) => found += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(file_error("read", &self.path, error)),
            }
        }
        Ok(found)
    }

    /// Checks that reading can go on at `place`.
    ///
    /// # Errors
    /// `Invalid` if the file is shorter, or is not the one that was read.
    pub(crate) fn check(&self, place: &FilePlace) -> Result<()> {
        let path = self.path.display();
        let len = self
            .file
            .len()
            .map_err(|error| file_error("read", &self.path, error))?;
        if len < place.offset {
            return Err(Error::invalid(format!(
                "the file is shorter than what has been read of it file=`{path}` bytes=`{len}` \
                 read=`{}`\nhint: {AFRESH}",
                place.offset
            )));
        }
        if self.tail(place.offset)? != place.tail {
            return Err(Error::invalid(format!(
                "the file is not the one that was read: what stands before the committed position \
                 has changed file=`{path}` read=`{}`\nhint: {AFRESH}",
                place.offset
            )));
        }
        let is_break = |byte: Option<u8>| matches!(byte, None | Some(b'\n' | b'\r'));
        let before = match place.offset.checked_sub(1) {
            Some(before) => self.byte_at(before)?,
            None => None,
        };
        if !is_break(before) && !is_break(self.byte_at(place.offset)?) {
            return Err(Error::invalid(format!(
                "the last line of the file was read before it was complete file=`{path}` \
                 line=`{}`\nhint: {AFRESH}",
                place.line
            )));
        }
        Ok(())
    }
}

const AFRESH: &str = "to read the file from its beginning, give the source another name, or reset \
                      the application";

impl io::Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.prefix.is_empty() {
            let len = self.prefix.len().min(buffer.len());
            buffer[..len].copy_from_slice(&self.prefix[..len]);
            self.prefix = &self.prefix[len..];
            return Ok(len);
        }
        let len = self.file.read_at(buffer, self.offset)?;
        self.offset += len as u64;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_encoding() -> Result<()> {
        let place = FilePlace {
            offset: 1 << 40,
            line: 7,
            detail: u64::MAX,
            tail: 0,
        };
        assert_eq!(FilePlace::decode(&place.encode())?, place);
        for bytes in [&b""[..], b"\x02", b"\x01short", b"{}"] {
            assert!(FilePlace::decode(bytes).is_err());
        }
        Ok(())
    }
}
