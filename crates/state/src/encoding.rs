//! How keys and values of stores are written to changelogs.
//!
//! Keys are typed and length-prefixed, so no key can read another's state
//! whatever bytes it holds. Every value begins with the format's version and an
//! expiry slot (event time in milliseconds; `i64::MAX` for never), so that a
//! later format or a time to live needs no migration.

use headwater_core::{Error, Result};

/// The version that every stored value begins with. Version 2 lets a window's
/// record hold its key's clock; whoever reads it reads version 1 as well.
pub const FORMAT_VERSION: u8 = 2;

/// Writes the parts of a key.
#[derive(Debug, Default)]
pub struct KeyWriter(Vec<u8>);

impl KeyWriter {
    /// A key whose first byte tells it from other kinds of the same store.
    pub fn new(kind: u8) -> Self {
        KeyWriter::reusing(Vec::with_capacity(32), kind)
    }

    /// As [`KeyWriter::new`], in the memory of an earlier key.
    pub fn reusing(mut buffer: Vec<u8>, kind: u8) -> Self {
        buffer.clear();
        buffer.push(kind);
        KeyWriter(buffer)
    }

    /// Appends bytes that may be missing; missing differs from empty.
    #[must_use]
    pub fn bytes(mut self, bytes: Option<&[u8]>) -> Self {
        match bytes {
            None => self.0.push(0),
            Some(bytes) => {
                self.0.push(1);
                write_varint(bytes.len() as u64, &mut self.0);
                self.0.extend_from_slice(bytes);
            }
        }
        self
    }

    /// Appends a number so that the order of bytes is that of numbers.
    #[must_use]
    pub fn int(mut self, value: i64) -> Self {
        self.0
            .extend_from_slice(&(value as u64 ^ 1 << 63).to_be_bytes());
        self
    }

    /// The key.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads the parts of a key in the order in which they were written.
#[derive(Debug)]
pub struct KeyReader<'a>(&'a [u8]);

impl<'a> KeyReader<'a> {
    /// A reader of a key, and the byte that tells its kind.
    ///
    /// # Errors
    /// `Internal` if the key is empty.
    pub fn new(key: &'a [u8]) -> Result<(Self, u8)> {
        let (&kind, rest) = key.split_first().ok_or_else(damaged)?;
        Ok((KeyReader(rest), kind))
    }

    /// Reads what [`KeyWriter::bytes`] wrote.
    ///
    /// # Errors
    /// `Internal` if the key is damaged.
    pub fn bytes(&mut self) -> Result<Option<&'a [u8]>> {
        let (&tag, rest) = self.0.split_first().ok_or_else(damaged)?;
        self.0 = rest;
        match tag {
            0 => Ok(None),
            1 => take_bytes(&mut self.0).map(Some),
            _ => Err(damaged()),
        }
    }

    /// Reads what [`KeyWriter::int`] wrote.
    ///
    /// # Errors
    /// `Internal` if the key is damaged.
    pub fn int(&mut self) -> Result<i64> {
        let (bytes, rest) = self.0.split_first_chunk::<8>().ok_or_else(damaged)?;
        self.0 = rest;
        Ok((u64::from_be_bytes(*bytes) ^ 1 << 63) as i64)
    }
}

/// Writes a value: version, expiry, then parts.
#[derive(Debug)]
pub struct ValueWriter(Vec<u8>);

impl ValueWriter {
    /// A value that expires at `expires_ms` by event time, or never.
    pub fn new(expires_ms: Option<i64>) -> Self {
        ValueWriter::reusing(Vec::with_capacity(64), expires_ms)
    }

    /// As [`ValueWriter::new`], in the memory of an earlier value.
    pub fn reusing(mut buffer: Vec<u8>, expires_ms: Option<i64>) -> Self {
        buffer.clear();
        buffer.push(FORMAT_VERSION);
        buffer.extend_from_slice(&expires_ms.unwrap_or(i64::MAX).to_le_bytes());
        ValueWriter(buffer)
    }

    /// Appends a number in few bytes if it is small.
    pub fn varint(&mut self, value: u64) -> &mut Self {
        write_varint(value, &mut self.0);
        self
    }

    /// Appends a number in eight bytes.
    pub fn int(&mut self, value: i64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Appends a float, bit by bit.
    pub fn float(&mut self, value: f64) -> &mut Self {
        self.0.extend_from_slice(&value.to_bits().to_le_bytes());
        self
    }

    /// Appends bytes and their length.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        write_varint(bytes.len() as u64, &mut self.0);
        self.0.extend_from_slice(bytes);
        self
    }

    /// The value.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads the parts of a value in the order in which they were written.
#[derive(Debug)]
pub struct ValueReader<'a>(&'a [u8]);

impl<'a> ValueReader<'a> {
    /// A reader of a value, and when it expires.
    ///
    /// # Errors
    /// `Internal` if the value is damaged or of another version.
    pub fn new(value: &'a [u8]) -> Result<(Self, Option<i64>)> {
        let (&version, rest) = value.split_first().ok_or_else(damaged)?;
        if !(1..=FORMAT_VERSION).contains(&version) {
            return Err(Error::internal(format!(
                "a changelog record was written by a newer headwater; update this one, \
                 version=`{version}` known=`{FORMAT_VERSION}`"
            )));
        }
        let mut reader = ValueReader(rest);
        let expires = reader.int()?;
        Ok((reader, (expires != i64::MAX).then_some(expires)))
    }

    /// Reads what [`ValueWriter::varint`] wrote.
    ///
    /// # Errors
    /// `Internal` if the value is damaged.
    pub fn varint(&mut self) -> Result<u64> {
        take_varint(&mut self.0)
    }

    /// Reads what [`ValueWriter::int`] wrote.
    ///
    /// # Errors
    /// `Internal` if the value is damaged.
    pub fn int(&mut self) -> Result<i64> {
        let (bytes, rest) = self.0.split_first_chunk::<8>().ok_or_else(damaged)?;
        self.0 = rest;
        Ok(i64::from_le_bytes(*bytes))
    }

    /// Reads what [`ValueWriter::float`] wrote.
    ///
    /// # Errors
    /// `Internal` if the value is damaged.
    pub fn float(&mut self) -> Result<f64> {
        self.int().map(|bits| f64::from_bits(bits as u64))
    }

    /// Reads what [`ValueWriter::bytes`] wrote.
    ///
    /// # Errors
    /// `Internal` if the value is damaged.
    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        take_bytes(&mut self.0)
    }

    /// Whether everything has been read.
    pub fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }
}

fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or_else(damaged)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(damaged())
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8]> {
    let len = take_varint(bytes)? as usize;
    let (taken, rest) = bytes.split_at_checked(len).ok_or_else(damaged)?;
    *bytes = rest;
    Ok(taken)
}

fn damaged() -> Error {
    Error::internal("a changelog record is damaged: it ends before its last part")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_as_written() {
        let key = KeyWriter::new(7)
            .bytes(Some(b"a|b"))
            .bytes(None)
            .bytes(Some(b""))
            .int(-5)
            .finish();
        let (mut reader, kind) = KeyReader::new(&key).expect("a key");
        assert_eq!(kind, 7);
        assert_eq!(reader.bytes().expect("bytes"), Some(b"a|b".as_slice()));
        assert_eq!(reader.bytes().expect("null"), None);
        assert_eq!(reader.bytes().expect("empty"), Some(b"".as_slice()));
        assert_eq!(reader.int().expect("int"), -5);
        assert!(reader.int().is_err());

        let mut writer = ValueWriter::new(Some(9));
        writer.varint(300).int(i64::MIN).float(-0.0).bytes(b"xyz");
        let value = writer.finish();
        let (mut reader, expires) = ValueReader::new(&value).expect("a value");
        assert_eq!(expires, Some(9));
        assert_eq!(reader.varint().expect("varint"), 300);
        assert_eq!(reader.int().expect("int"), i64::MIN);
        assert_eq!(
            reader.float().expect("float").to_bits(),
            (-0.0_f64).to_bits()
        );
        assert_eq!(reader.bytes().expect("bytes"), b"xyz");
        assert!(reader.is_at_end());
    }

    #[test]
    fn keys_never_collide() {
        let one = KeyWriter::new(0)
            .bytes(Some(b"a"))
            .bytes(Some(b"b|c"))
            .finish();
        let two = KeyWriter::new(0)
            .bytes(Some(b"a|b"))
            .bytes(Some(b"c"))
            .finish();
        assert_ne!(one, two);
        let small = KeyWriter::new(0).int(-1).finish();
        let large = KeyWriter::new(0).int(1).finish();
        assert!(small < large);
    }
}
