//! A record's key, as the store holds it.
//!
//! Short keys, which nearly all are, stand where they are used: finding a key
//! reads no memory but the map's.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// The bytes of a key. Compares, orders and hashes as they do.
#[derive(Clone)]
pub(super) enum Key {
    Short {
        len: u8,
        bytes: [u8; Key::SHORT_MAX],
    },
    Long(Arc<[u8]>),
}

impl Key {
    const SHORT_MAX: usize = 22;
}

impl From<&[u8]> for Key {
    fn from(key: &[u8]) -> Key {
        if Key::SHORT_MAX < key.len() {
            return Key::Long(key.into());
        }
        let mut bytes = [0; Key::SHORT_MAX];
        bytes[..key.len()].copy_from_slice(key);
        Key::Short {
            len: key.len() as u8,
            bytes,
        }
    }
}

impl Deref for Key {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Key::Short { len, bytes } => &bytes[..usize::from(*len)],
            Key::Long(key) => key,
        }
    }
}

impl Borrow<[u8]> for Key {
    #[inline]
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl PartialEq for Key {
    #[inline]
    fn eq(&self, other: &Key) -> bool {
        **self == **other
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> std::cmp::Ordering {
        (**self).cmp(other)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}", self.escape_ascii())
    }
}

impl AsRef<[u8]> for Key {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}
