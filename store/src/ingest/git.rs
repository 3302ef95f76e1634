//! What git keeps beside the files: ignore lists, and links to places outside the source.

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::{FileType, Mode, OFlags, fstat, openat};

use super::Tally;

/// Longest file of this kind that is read.
const MAX_TEXT: u64 = 1024 * 1024;

/// A small regular file below `dir`, without following links; none if there is no such file.
pub(super) fn read_below(dir: &OwnedFd, names: &[&[u8]]) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut fd = None::<OwnedFd>;
    for name in names {
        fd = Some(openat(fd.as_ref().unwrap_or(dir), *name, flags, Mode::empty()).ok()?);
    }
    let fd = fd?;
    if FileType::from_raw_mode(fstat(&fd).ok()?.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut text = Vec::new();
    std::fs::File::from(fd).take(MAX_TEXT).read_to_end(&mut text).ok()?;
    Some(text)
}

/// A `.git` that is a file names the real directory. If that lies outside the source, or is named
/// by an absolute path, git will not find it in a workspace.
pub(super) fn warn_about_link(dir: &OwnedFd, path: &[u8], source: &Path, tally: &Tally) {
    let Some(text) = read_below(dir, &[b".git"]) else { return };
    let Some(target) = text.strip_prefix(b"gitdir:") else { return };
    let target = Path::new(OsStr::from_bytes(target.trim_ascii()));
    if !target.is_absolute() && stays_inside(path, target) {
        return;
    }
    let shown = pyro_format::escape(target.as_os_str().as_encoded_bytes());
    let source = pyro_format::escape(source.as_os_str().as_encoded_bytes());
    tally.warn(
        [path, b".git"].join(&b"/"[..usize::from(!path.is_empty())]),
        format!(
            "a linked worktree or submodule: its repository is at {shown}, outside the workspace, \
             so git will not work there; start from the main checkout, or from a clone \
             (git clone --no-local {source} DIR)"
        ),
    );
}

/// Borrowed objects are not in the source.
pub(super) fn warn_about_alternates(path: &[u8], tally: &Tally) {
    tally.warn(
        [path, b"alternates"].join(&b'/'),
        "this repository borrows objects from another one, which is not in the workspace; \
         'git repack -a -d' and removing this file makes it complete"
            .to_owned(),
    );
}

/// Whether a relative path from the directory at `from` leads to a place below the source.
fn stays_inside(from: &[u8], target: &Path) -> bool {
    let mut depth = from.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).count();
    for component in target.components() {
        match component {
            Component::ParentDir if depth == 0 => return false,
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_targets_below_the_source_stay_inside() {
        assert!(stays_inside(b"a/b", Path::new("../../.git/modules/b")));
        assert!(!stays_inside(b"a", Path::new("../../.git/worktrees/a")));
        assert!(stays_inside(b"", Path::new(".real")));
    }
}
