//! Names and link targets as the kernel allows them: bytes, not text.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::path::escape;

/// Longest name of one directory entry, in bytes (`NAME_MAX`, limits.h).
pub const MAX_NAME: usize = 255;
/// Longest symlink target, in bytes (`PATH_MAX` less the final NUL).
pub const MAX_TARGET: usize = 4095;

/// Why bytes are no entry name or link target.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// No bytes at all.
    #[error("empty name")]
    Empty,
    /// `.` or `..`.
    #[error("'{0}' is not a name")]
    Dots(&'static str),
    /// A `/` inside a name, or a NUL byte.
    #[error("name '{0}' holds a '/' or NUL")]
    Forbidden(String),
    /// More bytes than the kernel allows.
    #[error("name of {0} bytes is too long")]
    TooLong(usize),
}

/// The name of one directory entry: 1 to 255 bytes, no `/`, no NUL, neither `.` nor `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryName(Box<[u8]>);

impl EntryName {
    /// Checks `bytes` and keeps them.
    pub fn parse(bytes: &[u8]) -> Result<Self, NameError> {
        match bytes {
            [] => Err(NameError::Empty),
            b"." => Err(NameError::Dots(".")),
            b".." => Err(NameError::Dots("..")),
            _ if bytes.len() > MAX_NAME => Err(NameError::TooLong(bytes.len())),
            _ if bytes.iter().any(|b| matches!(b, 0 | b'/')) => {
                Err(NameError::Forbidden(escape(bytes)))
            }
            _ => Ok(Self(bytes.into())),
        }
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Where a symlink points, verbatim: 1 to 4095 bytes without NUL. Never followed by pyro.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkTarget(Box<[u8]>);

impl LinkTarget {
    /// Checks `bytes` and keeps them.
    pub fn parse(bytes: &[u8]) -> Result<Self, NameError> {
        match bytes {
            [] => Err(NameError::Empty),
            _ if bytes.len() > MAX_TARGET => Err(NameError::TooLong(bytes.len())),
            _ if bytes.contains(&0) => Err(NameError::Forbidden(escape(bytes))),
            _ => Ok(Self(bytes.into())),
        }
    }

    /// The bytes of the target.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

macro_rules! as_checked_bytes {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&escape(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", escape(&self.0))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("the bytes of a name")
                    }
                    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<$name, E> {
                        $name::parse(bytes).map_err(E::custom)
                    }
                }
                deserializer.deserialize_bytes(Visitor)
            }
        }
    };
}

as_checked_bytes!(EntryName);
as_checked_bytes!(LinkTarget);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_directory_are_refused() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0b", b"/", &[b'x'; 256]] {
            assert!(EntryName::parse(bad).is_err(), "{bad:?}");
        }
        for good in [&b"a"[..], b"...", b"\xff\n", b" ", &[b'x'; 255]] {
            assert!(EntryName::parse(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn link_targets_are_kept_verbatim() {
        assert_eq!(LinkTarget::parse(b"../../etc/x").unwrap().as_bytes(), b"../../etc/x");
        assert!(LinkTarget::parse(b"").is_err());
        assert!(LinkTarget::parse(&[b'x'; 4096]).is_err());
    }
}
