//! What is left out: `--exclude` patterns and, only when asked for, the source's `.gitignore`s.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::error::{Error, Result};

/// The patterns of one directory's `.gitignore` and of those above it.
pub struct Ignores {
    /// Length of the directory's path.
    prefix: usize,
    matcher: Gitignore,
    above: Option<Arc<Ignores>>,
}

/// The patterns the caller gave.
pub struct Excludes(Option<Gitignore>);

impl Excludes {
    /// Patterns as in a `.gitignore` at the top. The error names one that is none.
    pub fn new(patterns: &[String]) -> Result<Self> {
        if patterns.is_empty() {
            return Ok(Self(None));
        }
        let mut builder = GitignoreBuilder::new("");
        builder.allow_unclosed_class(false);
        let fail = |pattern: &str, source| Error::Pattern { pattern: pattern.to_owned(), source };
        for pattern in patterns {
            builder.add_line(None, pattern).map_err(|error| fail(pattern, error))?;
        }
        let matcher = builder.build().map_err(|error| fail(&patterns.join(" "), error))?;
        Ok(Self(Some(matcher)))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a path below the source is left out.
    pub fn exclude(&self, path: &[u8], is_dir: bool) -> bool {
        let matched = |matcher: &Gitignore| matcher.matched(as_path(path), is_dir).is_ignore();
        self.0.as_ref().is_some_and(matched)
    }
}

impl Ignores {
    /// The ignore file of the directory at `path`; lines that git would not understand either, and
    /// lines that are not UTF-8, match nothing.
    pub fn parse(path: &[u8], lines: &[u8], above: Option<Arc<Ignores>>) -> Option<Arc<Self>> {
        let mut builder = GitignoreBuilder::new("");
        for line in lines.split(|byte| *byte == b'\n') {
            if let Ok(line) = std::str::from_utf8(line) {
                let _ = builder.add_line(None, line.trim_end_matches('\r'));
            }
        }
        match builder.build() {
            Ok(matcher) if !matcher.is_empty() => {
                Some(Arc::new(Self { prefix: path.len(), matcher, above }))
            }
            _ => above,
        }
    }

    /// Whether a path below the source is ignored: the nearest file that says something decides.
    /// Git's own directory never is.
    pub fn ignore(&self, path: &[u8], is_dir: bool) -> bool {
        if path == b".git" || path.ends_with(b"/.git") {
            return false;
        }
        let mut level = Some(self);
        while let Some(ignores) = level {
            let below =
                path[ignores.prefix..].strip_prefix(b"/").unwrap_or(&path[ignores.prefix..]);
            match ignores.matcher.matched(as_path(below), is_dir) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => level = ignores.above.as_deref(),
            }
        }
        false
    }
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearer_ignore_files_decide() {
        let top = Ignores::parse(b"", b"*.o\n/build/\n# note\n\xff\n", None).unwrap();
        assert!(top.ignore(b"a/b.o", false) && top.ignore(b"build", true));
        assert!(!top.ignore(b"a/build", true) && !top.ignore(b"build", false));
        let near = Ignores::parse(b"a", b"!keep.o\n/x", Some(top)).unwrap();
        assert!(!near.ignore(b"a/keep.o", false) && near.ignore(b"a/other.o", false));
        assert!(near.ignore(b"a/x", false) && !near.ignore(b"a/.git", true));
    }

    #[test]
    fn excludes_are_gitignore_patterns_from_the_top() {
        let excludes =
            Excludes::new(&["/target".into(), "*.log".into(), "node_modules/".into()]).unwrap();
        assert!(excludes.exclude(b"target", true) && !excludes.exclude(b"a/target", true));
        assert!(
            excludes.exclude(b"a/\xff.log", false) && excludes.exclude(b"a/node_modules", true)
        );
        assert!(Excludes::new(&["a[".into()]).is_err());
    }
}
