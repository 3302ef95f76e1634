//! A cgroup of the host for a sandbox, where pyro's owner may make one below pyro's own (cgroups(7),
//! "delegation"): by it commands are frozen and killed. Version 2 alone has what that takes.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Result, records};

/// How long killed processes may take to leave.
const LEAVE: Duration = Duration::from_secs(2);
/// Pause between two looks, for nothing says when the last one has left.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A cgroup, removed when dropped.
pub(super) struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes one for the machine in `dir`; `None` where that cannot be, which is nothing unusual.
    pub(super) fn make(dir: &Path) -> Result<Option<Cgroup>> {
        let Some(cgroup) = Self::make_named(&format!("pyro-{}", std::process::id())) else {
            return Ok(None);
        };
        // For whoever finds that the shim was killed.
        records::write(dir, records::CGROUP, &cgroup.0)?;
        Ok(Some(cgroup))
    }

    /// Whether one can be made.
    pub(super) fn can_be_made() -> bool {
        Self::make_named(&format!("pyro-trial-{}", std::process::id())).is_some()
    }

    fn make_named(name: &str) -> Option<Cgroup> {
        let path = own()?.join(name);
        fs::create_dir(&path).ok()?;
        let cgroup = Cgroup(path);
        // Since Linux 5.14; what it takes to freeze is older.
        let complete = cgroup.0.join("cgroup.kill").exists();
        complete.then_some(cgroup)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Its `cgroup.procs`, open for writing.
    pub(super) fn procs(&self) -> io::Result<OwnedFd> {
        let file = fs::File::options().write(true).open(self.0.join("cgroup.procs"));
        file.map(OwnedFd::from)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What cannot be removed now goes with the machine's next stop.
        let _ = remove(&self.0);
    }
}

/// Removes the cgroup of a machine whose shim was killed, and its record.
pub(crate) fn remove_left(dir: &Path) -> Result<()> {
    if let Some(path) = records::read::<PathBuf>(dir, records::CGROUP)? {
        remove(&path).map_err(crate::Error::io("remove", &path))?;
        records::remove(dir, records::CGROUP)?;
    }
    Ok(())
}

/// Kills whoever is in a cgroup and removes it with those below.
fn remove(path: &Path) -> io::Result<()> {
    let _ = fs::write(path.join("cgroup.kill"), "1");
    let deadline = Instant::now() + LEAVE;
    loop {
        match remove_once(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) if Instant::now() < deadline => thread::sleep(LOOK_AGAIN),
            other => return other,
        }
    }
}

fn remove_once(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_once(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

/// The directory of the cgroup that this process is in.
fn own() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    Some(mount_point(&mounts)?.join(own_path(&groups)?))
}

/// Where the whole of the cgroup2 file system is mounted (proc(5), `mountinfo`).
fn mount_point(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        let plain = kind.starts_with("cgroup2 ") && root == "/" && !at.contains('\\');
        plain.then(|| at.into())
    })
}

/// The path below it (cgroups(7), `/proc/PID/cgroup`).
fn own_path(groups: &str) -> Option<&Path> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let outside = path.split('/').any(|part| part == "..");
    (!outside).then(|| Path::new(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_cgroup_is_found_in_mixed_hierarchies() {
        let mounts = "30 29 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
                      31 30 0:27 /part /other rw shared:9 - cgroup2 cgroup2 rw\n\
                      32 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(mounts), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_point("30 29 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n"), None);
        let groups = "2:cpu:/x\n0::/user.slice/a.scope\n";
        assert_eq!(own_path(groups), Some(Path::new("user.slice/a.scope")));
        assert_eq!(own_path("0::/\n"), Some(Path::new("")));
        assert_eq!(own_path("0::/../other\n"), None);
        assert_eq!(own_path("2:cpu:/x\n"), None);
    }

    #[test]
    fn one_that_was_made_goes_with_its_value_or_by_its_record() {
        let dir = tempfile::tempdir().unwrap();
        let Some(cgroup) = Cgroup::make(dir.path()).unwrap() else {
            eprintln!("skipped: no cgroup v2 can be made here");
            return;
        };
        let path = cgroup.path().to_owned();
        fs::create_dir(path.join("below")).unwrap();
        std::mem::forget(cgroup);
        remove_left(dir.path()).unwrap();
        assert!(!path.exists());
        remove_left(dir.path()).unwrap();
        drop(Cgroup::make(dir.path()).unwrap());
        assert!(!path.exists());
        remove_left(dir.path()).unwrap();
    }
}
