//! A path inside a tree: names joined by `/`, never absolute, never climbing.

use std::fmt::{self, Write};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::name::{EntryName, NameError};

/// Deepest nesting of directories that is stored. A 4,096-byte path can hold 2,048 names; twice
/// that leaves room for trees that were made with relative calls.
pub const MAX_DEPTH: usize = 4096;

/// Why bytes are no path inside a tree.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PathError {
    /// One of the names is not allowed.
    #[error("'{path}' is not a path inside the tree")]
    Name {
        /// The whole path, escaped.
        path: String,
        /// What is wrong with the name.
        source: NameError,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("a path of {0} levels is too deep")]
    TooDeep(usize),
}

/// Zero or more names joined by `/`. The empty path is the top directory itself.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreePath(Vec<u8>);

impl TreePath {
    /// The top directory.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// Checks a `/`-separated relative path. No empty, `.` or `..` components.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.is_empty() {
            return Ok(Self::root());
        }
        let mut depth = 0;
        for name in bytes.split(|b| *b == b'/') {
            EntryName::parse(name)
                .map_err(|source| PathError::Name { path: escape(bytes), source })?;
            depth += 1;
        }
        if depth > MAX_DEPTH { Err(PathError::TooDeep(depth)) } else { Ok(Self(bytes.to_vec())) }
    }

    /// This path with one more name at its end.
    pub fn join(&self, name: &EntryName) -> Self {
        let mut path = self.clone();
        path.push(name);
        path
    }

    /// Adds one name at the end.
    pub fn push(&mut self, name: &EntryName) {
        if !self.0.is_empty() {
            self.0.push(b'/');
        }
        self.0.extend_from_slice(name.as_bytes());
    }

    /// Whether this is the top directory.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes, names joined by `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The names, outermost first.
    pub fn names(&self) -> impl Iterator<Item = EntryName> + '_ {
        self.0
            .split(|b| *b == b'/')
            .filter(|name| !name.is_empty())
            .map(|name| EntryName::parse(name).expect("checked when the path was made"))
    }

    /// The directory that holds this path and the last name; none for the top.
    pub fn split_last(&self) -> Option<(TreePath, EntryName)> {
        let name = self.names().last()?;
        let parent = self.0.len().saturating_sub(name.as_bytes().len() + 1);
        Some((Self(self.0[..parent].to_vec()), name))
    }

    /// The directories above this path, innermost first; the last is the top.
    pub fn ancestors(&self) -> impl Iterator<Item = TreePath> + use<> {
        let above = |path: &TreePath| path.split_last().map(|(parent, _)| parent);
        std::iter::successors(above(self), above)
    }

    /// Whether this path is `other` or lies below it.
    pub fn starts_with(&self, other: &TreePath) -> bool {
        other.is_root()
            || self.0.strip_prefix(&other.0[..]).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_root() { "." } else { "" })?;
        f.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", escape(&self.0))
    }
}

impl Serialize for TreePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for TreePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = TreePath;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of a path")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<TreePath, E> {
                TreePath::parse(bytes).map_err(E::custom)
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

/// `bytes` made safe to show: control characters and bytes that are not UTF-8 become `\xNN`, so
/// that a hostile name can neither move the cursor nor forge a line.
pub fn escape(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for part in bytes.utf8_chunks() {
        for c in part.valid().chars() {
            // Bidirectional controls reorder what a person reads (Unicode TR 36).
            let hides = matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            match c {
                '\n' => shown.push_str("\\n"),
                '\t' => shown.push_str("\\t"),
                '\\' => shown.push_str("\\\\"),
                c if c.is_control() || hides => {
                    let _ = write!(shown, "\\u{{{:x}}}", c as u32);
                }
                c => shown.push(c),
            }
        }
        for byte in part.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn climbing_and_absolute_paths_are_refused() {
        for bad in [&b"/a"[..], b"a/", b"a//b", b"../a", b"a/..", b".", b"a/./b", b"a\0"] {
            assert!(TreePath::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn splitting_undoes_joining() {
        let path = TreePath::parse(b"a/b/c").unwrap();
        let (parent, name) = path.split_last().unwrap();
        assert_eq!(parent.join(&name), path);
        assert_eq!(TreePath::parse(b"a").unwrap().split_last().unwrap().0, TreePath::root());
        assert!(TreePath::root().split_last().is_none());
        let above = TreePath::parse(b"a/b/c").unwrap().ancestors();
        assert_eq!(above.map(|dir| dir.to_string()).collect::<Vec<_>>(), ["a/b", "a", "."]);
        assert_eq!(TreePath::root().ancestors().count(), 0);
    }

    #[test]
    fn a_prefix_ends_at_a_name() {
        let path = |p: &str| TreePath::parse(p.as_bytes()).unwrap();
        assert!(path("a/b").starts_with(&path("a")));
        assert!(path("a").starts_with(&path("a")));
        assert!(path("a").starts_with(&TreePath::root()));
        assert!(!path("ab").starts_with(&path("a")));
    }

    #[test]
    fn escaping_leaves_nothing_that_moves_a_cursor() {
        assert_eq!(escape(b"a\x1b[2J\n\xff\\"), "a\\u{1b}[2J\\n\\xff\\\\");
        assert_eq!(escape("é\u{202e}".as_bytes()), "é\\u{202e}");
    }
}
