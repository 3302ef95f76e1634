//! A read-only view of a baseline as a FUSE file system of the host.
//!
//! Nothing is copied: directories and content are read from the store when the kernel first asks, and
//! the kernel may keep them for ever, since a baseline never changes. Where a view is mounted is on
//! record, so that what a killed process left is unmounted when the store is opened next.
//!
//! Needs `/dev/fuse`, and without root the program `fusermount3` (fuse(4), mount.fuse3(8)).

mod fs;
mod inodes;

use std::ffi::OsStr;
use std::fs as files;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use fuser::{BackgroundSession, Config, MountOption, Session};
use pyro_format::BaselineId;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use serde::{Deserialize, Serialize};

use crate::baseline::PathBytes;
use crate::error::{Error, IoContext, Result};
use crate::holds::Pin;
use crate::reach::Root;
use crate::store::Store;

/// What mounts without root.
const HELPER: &str = "fusermount3";
/// How the names of our file systems begin in `/proc/self/mountinfo`.
const NAME: &str = "pyro:";

/// A mounted view of a baseline; unmounted when dropped.
pub struct Mount {
    dir: PathBuf,
    record: PathBuf,
    session: Option<BackgroundSession>,
    /// What is shown stays in the store.
    _pin: Pin,
}

/// Where a view is mounted.
#[derive(Serialize, Deserialize)]
struct Mounted {
    dir: PathBytes,
}

impl Store {
    /// Mounts a baseline on `dir`, an empty directory outside the store.
    pub fn mount(&self, baseline: BaselineId, dir: &Path) -> Result<Mount> {
        let key = self.baseline(baseline)?.key();
        let pin = self.pin(Root { root: key.root, times: Some(key.times) });
        let dir = dir.canonicalize().at("mount on", dir)?;
        let refuse = |reason| Err(Error::MountPoint { path: dir.clone(), reason });
        if !dir.is_dir() {
            return refuse("it is not a directory");
        }
        if dir.starts_with(self.dir()) || self.dir().starts_with(&dir) {
            return refuse("it and the store contain one another");
        }
        if files::read_dir(&dir).at("read", &dir)?.next().is_some() {
            return refuse("it is not empty");
        }
        let view = fs::View::new(self.clone(), &key)?;
        let record = self.dir().join("mounts").join(format!("{}.json", blake3::hash(bytes(&dir))));
        let mounted = serde_json::to_vec(&Mounted { dir: PathBytes(bytes(&dir).to_vec()) });
        let mounted = mounted.map_err(std::io::Error::from).at("write", &record)?;
        pyro_durable::write(&record, &mounted).at("write", &record)?;
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName(format!("{NAME}{baseline}")),
            MountOption::Subtype("pyro".to_owned()),
            MountOption::RO,
            MountOption::NoSuid,
            MountOption::NoDev,
            MountOption::NoAtime,
            MountOption::DefaultPermissions,
        ];
        let session = Session::new(view, &dir, &config).and_then(Session::spawn);
        match session {
            Ok(session) => Ok(Mount { dir, record, session: Some(session), _pin: pin }),
            Err(source) => {
                let _ = pyro_durable::remove(&record);
                Err(Error::Fuse { path: dir, source })
            }
        }
    }
}

impl Mount {
    /// Where it is mounted, links resolved.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether it is mounted still: somebody else may have unmounted it.
    pub fn is_mounted(&self) -> bool {
        self.session.as_ref().is_some_and(|session| !session.guard.is_finished())
    }
}

impl Drop for Mount {
    /// Whoever still has something open in it keeps that; everybody else sees the directory below.
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            if !session.guard.is_finished() {
                detach(&self.dir);
            }
            // Ends when the last one has left.
            std::thread::spawn(move || session.join());
        }
        let _ = pyro_durable::remove(&self.record);
    }
}

/// Unmounts what killed processes left.
pub(crate) fn remove_abandoned(records: &Path) -> Result<()> {
    for entry in files::read_dir(records).at("read", records)? {
        let path = entry.at("read", records)?.path();
        let bytes = files::read(&path).at("read", &path)?;
        if let Ok(mounted) = serde_json::from_slice::<Mounted>(&bytes) {
            let dir = Path::new(OsStr::from_bytes(&mounted.dir.0));
            let table = files::read("/proc/self/mountinfo").unwrap_or_default();
            if is_ours(&table, &mounted.dir.0) {
                detach(dir);
            }
        }
        pyro_durable::remove(&path).at("remove", &path)?;
    }
    Ok(())
}

/// Whether the topmost mount on `dir` is one of ours (proc_pid_mountinfo(5)).
fn is_ours(table: &[u8], dir: &[u8]) -> bool {
    let mut ours = false;
    for line in table.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b' ');
        let at = fields.nth(4).map(unescape);
        let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
        let (kind, name) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        if at.as_deref() == Some(dir) {
            // With the helper the type also says who.
            ours = matches!(kind, b"fuse" | b"fuse.pyro") && name.starts_with(NAME.as_bytes());
        }
    }
    ours
}

/// Spaces and the like are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = tail.get(..3).filter(|_| *first == b'\\').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        out.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    out
}

/// Unmounts, at once for everybody who has nothing open there.
fn detach(dir: &Path) {
    if let Err(Errno::PERM) = unmount(dir, UnmountFlags::DETACH) {
        let _ = Command::new(HELPER).args(["-u", "-q", "-z", "--"]).arg(dir).status();
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_of_ours_are_taken_for_ours() {
        let table = b"30 1 0:2 / /a\\040b ro - fuse.pyro pyro:x ro\n\
            31 1 0:3 / /c rw - ext4 pyro:x rw\n\
            34 1 0:6 / /f ro - fuse sshfs rw\n\
            35 1 0:7 / /g ro - fuse pyro:z rw\n\
            32 1 0:4 / /d rw shared:1 - fuse.pyro pyro:y rw\n\
            33 1 0:5 / /d rw - tmpfs tmpfs rw\n";
        assert!(is_ours(table, b"/a b") && is_ours(table, b"/g"));
        for other in [&b"/a"[..], b"/c", b"/d", b"/e", b"/f", b""] {
            assert!(!is_ours(table, other), "{other:?}");
        }
        assert_eq!(unescape(b"\\1"), b"\\1");
    }
}
